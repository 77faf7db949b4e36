//! The task that owns one account, and the handle to it.

use std::convert::Infallible;
use std::time::Duration;

use kennel_shared::ids::ChannelId;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{Instrument as _, debug, error, info, info_span, warn};

use super::backoff::{Backoff, BackoffSettings};
use super::inlet::{Inbound, Inlet};
use super::outlet::{Outlet, Parcel, Tell};
use super::status::{Board, ChannelState, ChannelStatus};
use super::{ChannelError, Outbound, Platform};

/// How many outbounds wait in an account's queue before [`AccountHandle::send`] waits too.
pub const OUTBOUND_QUEUE: usize = 64;

/// How an account behaves in trouble.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AccountOptions {
    /// Between attempts to connect.
    pub backoff: BackoffSettings,
    /// Between attempts when the platform refuses and a person must act.
    pub refused_retry: Duration,
}

impl Default for AccountOptions {
    fn default() -> Self {
        Self {
            backoff: BackoffSettings::default(),
            refused_retry: Duration::from_mins(5),
        }
    }
}

/// A platform's two ways to the rest. They are separate so that receiving and sending can run side by side.
#[derive(Debug)]
pub struct AccountIo {
    /// The way in.
    pub inlet: Inlet,
    /// The way out.
    pub outlet: Outlet,
}

/// What became of an outbound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// The platform has it.
    Delivered {
        /// It may have it twice: an attempt before went unanswered.
        doubtful: bool,
    },
    /// It was given up, with the reason.
    Failed(String),
    /// The account ended first.
    Abandoned {
        /// The platform may have it all the same.
        tried: bool,
    },
}

/// Tells what becomes of an outbound. Dropping it is fine.
#[derive(Debug)]
pub struct Receipt {
    settlement: oneshot::Receiver<Settlement>,
    parts: watch::Receiver<usize>,
}

impl Receipt {
    /// How many parts of a split text are out, when more are; `None` once nothing more comes.
    pub async fn progress(&mut self) -> Option<usize> {
        // What was marked last is told also when the other end is gone.
        self.parts.changed().await.ok()?;
        Some(*self.parts.borrow_and_update())
    }

    /// Waits until it is known. Bounded by the hour after which an outbound is given up.
    pub async fn settled(self) -> Settlement {
        let settled = self.settlement.await;
        settled.unwrap_or(Settlement::Abandoned { tried: true })
    }
}

/// Why an outbound was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SendRefused {
    /// The account's queue is full.
    #[error("the channel has too much to send")]
    Full(Box<Outbound>),
    /// The account has ended.
    #[error("the channel is stopped")]
    Stopped(Box<Outbound>),
}

/// A running account. Cheap to clone; the account ends when it is told to or when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct AccountHandle {
    outbound_tx: mpsc::Sender<Parcel>,
    outstanding: watch::Sender<usize>,
    status_rx: watch::Receiver<ChannelStatus>,
    stop_tx: watch::Sender<bool>,
}

impl AccountHandle {
    /// Queues something to send; waits while the queue is full.
    pub async fn send(&self, outbound: Outbound) -> Result<Receipt, SendRefused> {
        self.send_from(outbound, 0).await
    }

    /// Like [`AccountHandle::send`], for a text of which so many parts are out already.
    pub async fn send_from(
        &self,
        outbound: Outbound,
        parts_done: usize,
    ) -> Result<Receipt, SendRefused> {
        match self.outbound_tx.reserve().await {
            Ok(permit) => Ok(self.hand_in(permit, outbound, parts_done)),
            Err(_) => Err(SendRefused::Stopped(Box::new(outbound))),
        }
    }

    /// Queues something to send, or gives it back when the queue is full.
    pub fn try_send(&self, outbound: Outbound) -> Result<Receipt, SendRefused> {
        match self.outbound_tx.try_reserve() {
            Ok(permit) => Ok(self.hand_in(permit, outbound, 0)),
            Err(mpsc::error::TrySendError::Full(())) => Err(SendRefused::Full(Box::new(outbound))),
            Err(mpsc::error::TrySendError::Closed(())) => {
                Err(SendRefused::Stopped(Box::new(outbound)))
            }
        }
    }

    fn hand_in(
        &self,
        permit: mpsc::Permit<'_, Parcel>,
        outbound: Outbound,
        parts_done: usize,
    ) -> Receipt {
        let (settlement, settled) = oneshot::channel();
        let (parts, marked) = watch::channel(parts_done);
        self.outstanding.send_modify(|count| *count += 1);
        permit.send(Parcel {
            outbound,
            handed_in: Instant::now(),
            parts_done,
            tell: Tell { settlement, parts },
        });
        Receipt {
            settlement: settled,
            parts: marked,
        }
    }

    /// How the account stands, and a way to wait for changes.
    pub fn status(&self) -> watch::Receiver<ChannelStatus> {
        self.status_rx.clone()
    }

    /// Waits until the account has ended.
    pub async fn ended(&self) {
        let mut status = self.status();
        // Its end is also that of the task that tells.
        let _ = status
            .wait_for(|status| status.state == ChannelState::Stopped)
            .await;
    }

    /// Waits until everything that was queued is settled. Bound it: an account that cannot connect settles nothing.
    pub async fn drained(&self) {
        // The sender is in `self`, so this ends only by the count.
        let _ = self
            .outstanding
            .subscribe()
            .wait_for(|count| *count == 0)
            .await;
    }

    /// Ends the account now; what is still queued is settled as abandoned. Does nothing the second time.
    pub fn stop(&self) {
        self.stop_tx.send_replace(true);
    }
}

/// Starts the task of one account. Its messages go to `inbound_tx`, which all accounts share.
///
/// The join handle ends after [`AccountHandle::stop`], when the last handle is dropped, or when nobody takes messages
/// any more.
pub fn spawn_account<P: Platform>(
    id: ChannelId,
    platform: P,
    inbound_tx: mpsc::Sender<Inbound>,
    options: AccountOptions,
) -> (AccountHandle, JoinHandle<()>) {
    spawn_account_after(id, platform, inbound_tx, options, async {})
}

/// The same, but it connects only once `before` is over: platforms let in one of a name. What is handed to it meanwhile
/// waits.
pub fn spawn_account_after<P: Platform>(
    id: ChannelId,
    platform: P,
    inbound_tx: mpsc::Sender<Inbound>,
    options: AccountOptions,
    before: impl Future<Output = ()> + Send + 'static,
) -> (AccountHandle, JoinHandle<()>) {
    let (board, status_rx) = Board::new(id.clone(), platform.kind());
    let (outbound_tx, outbound_rx) = mpsc::channel(OUTBOUND_QUEUE);
    let (stop_tx, stop_rx) = watch::channel(false);
    let outstanding = watch::Sender::new(0);
    let span = info_span!("channel", channel.id = %id, channel.kind = platform.kind());
    let account = Account {
        platform,
        io: AccountIo {
            inlet: Inlet::new(id.clone(), inbound_tx, board.clone()),
            outlet: Outlet::new(id, outbound_rx, outstanding.clone(), board.clone()),
        },
        board,
        backoff: Backoff::new(options.backoff),
        refused_retry: options.refused_retry,
    };
    let handle = AccountHandle {
        outbound_tx,
        outstanding,
        status_rx,
        stop_tx,
    };
    let task = tokio::spawn(account.run(before, stop_rx).instrument(span));
    (handle, task)
}

struct Account<P> {
    platform: P,
    io: AccountIo,
    board: Board,
    backoff: Backoff,
    refused_retry: Duration,
}

impl<P: Platform> Account<P> {
    async fn run(mut self, before: impl Future<Output = ()>, mut stop_rx: watch::Receiver<bool>) {
        let serve = async {
            before.await;
            self.reconnect().await;
        };
        tokio::select! {
            // An error says that the last handle is gone.
            _ = stop_rx.wait_for(|stop| *stop) => {}
            () = serve => {}
        }
        self.io.outlet.abandon();
        info!("channel stopped");
        self.board.enter(ChannelState::Stopped, None);
    }

    /// Serves connection after connection, until nobody takes messages any more.
    async fn reconnect(&mut self) {
        loop {
            debug!("connecting");
            let ended: Result<Infallible, ChannelError> = self.platform.serve(&mut self.io).await;
            let Err(error) = ended;
            self.io.outlet.recall();
            let Some(until) = self.fail(error) else {
                return;
            };
            tokio::time::sleep_until(until).await;
            self.board.note(|status| status.reconnects += 1);
            // The trouble stays visible until the next connection is up.
            let detail = self.board.detail();
            self.board.enter(ChannelState::Connecting, detail);
        }
    }

    /// Publishes the failure; when to try again, if at all.
    fn fail(&mut self, error: ChannelError) -> Option<Instant> {
        let now = Instant::now();
        let held = self.board.online_since().map(|since| now - since);
        let wait = self.backoff.next(held, fastrand::f64());
        let detail = error.to_string();
        let (until, state, detail) = match error {
            ChannelError::Closed => return None,
            ChannelError::Lost { .. } => backing_off(now + wait, detail),
            ChannelError::Throttled { retry_after, .. } => {
                backing_off(now + wait.max(retry_after), detail)
            }
            ChannelError::Refused { hint, .. } => {
                let until = now + self.refused_retry.max(wait);
                error!(error = detail, hint, "the platform refuses this channel");
                (
                    until,
                    ChannelState::Failed { until },
                    format!("{detail}: {hint}"),
                )
            }
        };
        self.board.enter(state, Some(detail));
        Some(until)
    }
}

fn backing_off(until: Instant, detail: String) -> (Instant, ChannelState, String) {
    warn!(
        error = detail,
        "channel lost its connection: will reconnect"
    );
    (until, ChannelState::BackingOff { until }, detail)
}

#[cfg(test)]
mod tests;
