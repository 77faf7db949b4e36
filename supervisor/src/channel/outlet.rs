//! The way out: what waits to be sent by one account, in order for each peer.
//!
//! [`Queue`] is the pure part: it knows what is waiting, what is with the platform, and what may go next. [`Outlet`]
//! feeds it from the account's handle.
//!
//! ```text
//! handle ─► Waiting ──next──► InFlight ──sent(Ok)──────► settled: delivered
//!             ▲                  │ ├─────sent(Permanent)► settled: failed
//!             └──sent(Passing)───┘ └ too old or too often ► settled: failed
//! ```
//!
//! Invariants: of one peer at most one item is in flight, and it is that peer's oldest; at most [`HELD_MAX`] items are
//! held, the rest stays in the handle's bounded queue.

use std::collections::VecDeque;
use std::time::Duration;

use kennel_shared::ids::ChannelId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::account::Settlement;
use super::backoff::step;
use super::status::Board;
use super::{Outbound, OutboundKind, SendError};

/// The most items that the outlet holds by itself.
pub(super) const HELD_MAX: usize = 64;
/// A typing notice that is older than this is no longer true.
const TYPING_TRUE_FOR: Duration = Duration::from_secs(5);
/// The longest pause between two attempts at one item, unless the platform asks for a longer one.
const RETRY_MAX: Duration = Duration::from_mins(1);
/// The first pause.
const RETRY_INITIAL: Duration = Duration::from_secs(1);
/// An item that could not be sent for this long is given up.
const GIVE_UP_AFTER: Duration = Duration::from_hours(1);

/// One thing to send, on loan to the platform until [`Outlet::sent`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// Names the loan.
    pub id: u64,
    /// What to send.
    pub outbound: Outbound,
    /// How many parts of a split text went out on an earlier attempt.
    pub parts_done: usize,
}

/// A thing to send and who wants to know how it went.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) outbound: Outbound,
    pub(super) handed_in: Instant,
    /// Parts that went out in an earlier life.
    pub(super) parts_done: usize,
    pub(super) tell: Tell,
}

/// Who wants to know.
#[derive(Debug)]
pub(super) struct Tell {
    pub(super) settlement: oneshot::Sender<Settlement>,
    pub(super) parts: watch::Sender<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting { not_before: Option<Instant> },
    InFlight,
}

#[derive(Debug)]
struct Item<T> {
    id: u64,
    outbound: Outbound,
    handed_in: Instant,
    parts_done: usize,
    attempts: u32,
    stage: Stage,
    /// It was with a connection that broke: nobody knows what became of it.
    doubtful: bool,
    /// When the platform got it first.
    first_lent: Option<Instant>,
    tag: T,
}

/// What is held, oldest first. `T` travels along with each item.
#[derive(Debug)]
struct Queue<T> {
    items: VecDeque<Item<T>>,
    last_id: u64,
}

/// What may go next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// This, now.
    Now(Sending),
    /// Nothing before this time.
    At(Instant),
    /// Nothing until something else happens.
    Nothing,
}

/// What became of an attempt.
#[derive(Debug, PartialEq, Eq)]
enum Verdict<T> {
    /// It is done with, well or not.
    Settled {
        tag: T,
        outbound: Outbound,
        failure: Option<String>,
        doubtful: bool,
    },
    /// It waits for another attempt.
    Kept,
    /// There is no such loan.
    Unknown,
}

impl<T> Queue<T> {
    fn new() -> Self {
        Self {
            items: VecDeque::new(),
            last_id: 0,
        }
    }

    fn push(&mut self, outbound: Outbound, handed_in: Instant, parts_done: usize, tag: T) {
        self.last_id += 1;
        self.items.push_back(Item {
            id: self.last_id,
            outbound,
            handed_in,
            parts_done,
            attempts: 0,
            stage: Stage::Waiting { not_before: None },
            doubtful: false,
            first_lent: None,
            tag,
        });
    }

    /// Takes out the typing notices that are no longer true.
    fn take_stale(&mut self, now: Instant) -> Vec<T> {
        let mut stale = Vec::new();
        let mut index = 0;
        while let Some(item) = self.items.get(index) {
            let old = now.saturating_duration_since(item.handed_in) > TYPING_TRUE_FOR;
            if old && item.outbound.kind == OutboundKind::Typing && item.stage != Stage::InFlight {
                stale.extend(self.items.remove(index).map(|item| item.tag));
            } else {
                index += 1;
            }
        }
        stale
    }

    /// The oldest item that is the first of its peer and due; it is lent out.
    fn next(&mut self, now: Instant) -> Next {
        let mut earliest: Option<Instant> = None;
        for index in 0..self.items.len() {
            let item = &self.items[index];
            let Stage::Waiting { not_before } = item.stage else {
                continue;
            };
            let peer = &item.outbound.peer;
            if self
                .items
                .range(..index)
                .any(|older| older.outbound.peer == *peer)
            {
                continue;
            }
            match not_before {
                Some(due) if due > now => {
                    earliest = Some(earliest.map_or(due, |earliest| earliest.min(due)));
                }
                _ => return Next::Now(self.lend(index, now)),
            }
        }
        earliest.map_or(Next::Nothing, Next::At)
    }

    fn lend(&mut self, index: usize, now: Instant) -> Sending {
        let item = &mut self.items[index];
        item.first_lent.get_or_insert(now);
        item.stage = Stage::InFlight;
        Sending {
            id: item.id,
            outbound: item.outbound.clone(),
            parts_done: item.parts_done,
        }
    }

    fn in_flight(&mut self, id: u64) -> Option<(usize, &mut Item<T>)> {
        let mut items = self.items.iter_mut().enumerate();
        items.find(|(_, item)| item.id == id && item.stage == Stage::InFlight)
    }

    /// Who is to know of it, when there is something new.
    fn progress(&mut self, id: u64, parts_done: usize) -> Option<&T> {
        let (_, item) = self.in_flight(id)?;
        if parts_done <= item.parts_done {
            return None;
        }
        item.parts_done = parts_done;
        Some(&item.tag)
    }

    fn sent(&mut self, id: u64, result: Result<(), SendError>, now: Instant) -> Verdict<T> {
        let Some((index, item)) = self.in_flight(id) else {
            return Verdict::Unknown;
        };
        let failure = match result {
            Ok(()) => None,
            Err(SendError::Permanent { detail }) => Some(detail),
            Err(SendError::Passing {
                detail,
                retry_after,
                doubtful,
            }) => {
                item.doubtful |= doubtful;
                let wait = retry_after.unwrap_or(step(RETRY_INITIAL, RETRY_MAX, item.attempts));
                // While the platform could not be reached at all, it was not tried.
                let since = item.first_lent.unwrap_or(item.handed_in);
                let age = (now + wait).saturating_duration_since(since);
                if age <= GIVE_UP_AFTER && item.outbound.kind != OutboundKind::Typing {
                    item.attempts += 1;
                    item.stage = Stage::Waiting {
                        not_before: Some(now + wait),
                    };
                    return Verdict::Kept;
                }
                Some(detail)
            }
        };
        match self.items.remove(index) {
            Some(Item {
                tag,
                outbound,
                doubtful,
                ..
            }) => Verdict::Settled {
                tag,
                outbound,
                failure,
                doubtful,
            },
            None => Verdict::Unknown,
        }
    }

    /// Takes all loans back: the connection that had them is gone.
    fn recall(&mut self) {
        for item in &mut self.items {
            if item.stage == Stage::InFlight {
                item.stage = Stage::Waiting { not_before: None };
                item.doubtful = true;
            }
        }
    }
}

/// The way out of one account.
#[derive(Debug)]
pub struct Outlet {
    channel: ChannelId,
    outbound_rx: mpsc::Receiver<Parcel>,
    queue: Queue<Tell>,
    outstanding: watch::Sender<usize>,
    board: Board,
}

impl Outlet {
    pub(super) fn new(
        channel: ChannelId,
        outbound_rx: mpsc::Receiver<Parcel>,
        outstanding: watch::Sender<usize>,
        board: Board,
    ) -> Self {
        Self {
            channel,
            outbound_rx,
            queue: Queue::new(),
            outstanding,
            board,
        }
    }

    /// The next thing to send. Several may be lent out at once, each of another peer. Cancel-safe: what was not returned
    /// is not lost.
    pub async fn next(&mut self) -> Sending {
        loop {
            self.refill();
            let now = Instant::now();
            for tag in self.queue.take_stale(now) {
                self.settle(tag, Settlement::Failed("it was no longer true".into()));
            }
            let due = match self.queue.next(now) {
                Next::Now(sending) => return sending,
                Next::At(due) => Some(due),
                Next::Nothing => None,
            };
            let room = self.queue.items.len() < HELD_MAX && !self.outbound_rx.is_closed();
            tokio::select! {
                parcel = self.outbound_rx.recv(), if room => match parcel {
                    Some(parcel) => self.hold(parcel),
                    // Every handle is gone; the account is about to stop.
                    None if due.is_none() => std::future::pending().await,
                    None => {}
                },
                () = wait_until(due) => {}
            }
        }
    }

    fn refill(&mut self) {
        while self.queue.items.len() < HELD_MAX {
            let Ok(parcel) = self.outbound_rx.try_recv() else {
                return;
            };
            self.hold(parcel);
        }
    }

    fn hold(&mut self, parcel: Parcel) {
        let Parcel {
            outbound,
            handed_in,
            parts_done,
            tell,
        } = parcel;
        self.queue.push(outbound, handed_in, parts_done, tell);
    }

    /// Remembers how many parts of a split text are out, so that another attempt goes on behind them.
    pub fn progress(&mut self, id: u64, parts_done: usize) {
        if let Some(tell) = self.queue.progress(id, parts_done) {
            tell.parts.send_replace(parts_done);
        }
    }

    /// Ends a loan. After a passing failure it is tried again later, before anything else for that peer.
    pub fn sent(&mut self, id: u64, result: Result<(), SendError>) {
        let passing = result.as_ref().err().map(ToString::to_string);
        match self.queue.sent(id, result, Instant::now()) {
            Verdict::Settled {
                tag,
                outbound,
                failure,
                doubtful,
            } => self.note(tag, &outbound, failure, doubtful),
            Verdict::Kept => {
                let error = passing.unwrap_or_default();
                debug!(channel.id = %self.channel, error, "could not send for now: will try again");
            }
            Verdict::Unknown => {}
        }
    }

    fn note(&self, tag: Tell, outbound: &Outbound, failure: Option<String>, doubtful: bool) {
        let text = outbound.kind != OutboundKind::Typing;
        match &failure {
            None if text => self.board.note(|status| status.sent += 1),
            Some(error) if text => {
                self.board.note(|status| status.failed += 1);
                warn!(channel.id = %self.channel, peer = ?outbound.peer.id, error, "gave up sending a message");
            }
            _ => {}
        }
        let settlement = failure.map_or(Settlement::Delivered { doubtful }, Settlement::Failed);
        self.settle(tag, settlement);
    }

    fn settle(&self, tag: Tell, settlement: Settlement) {
        // Whoever handed it in need not care.
        let _ = tag.settlement.send(settlement);
        self.outstanding
            .send_modify(|count| *count = count.saturating_sub(1));
    }

    /// Takes back what the last connection had on loan.
    pub(super) fn recall(&mut self) {
        self.queue.recall();
    }

    /// Gives everything up: the account ends.
    pub(super) fn abandon(&mut self) {
        self.outbound_rx.close();
        while let Ok(parcel) = self.outbound_rx.try_recv() {
            self.hold(parcel);
        }
        for item in std::mem::take(&mut self.queue.items) {
            let tried = item.doubtful || item.stage == Stage::InFlight;
            self.settle(item.tag, Settlement::Abandoned { tried });
        }
    }
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
