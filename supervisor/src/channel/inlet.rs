//! The way in: from a platform to whoever keeps its messages.

use std::time::Duration;

use kennel_shared::envelope::{Envelope, TEXT_MAX_BYTES};
use kennel_shared::ids::ChannelId;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::allow::Seldom;
use super::status::{Board, ChannelState};
use super::text;

/// How often an account says in the log that it turned somebody away.
const STRANGERS_EVERY: Duration = Duration::from_mins(1);

/// A message that waits for its verdict.
#[derive(Debug)]
pub struct Inbound {
    /// The message.
    pub envelope: Envelope,
    /// Where the verdict goes. Dropping it counts as [`Rejected::Closed`].
    pub verdict: oneshot::Sender<Result<Accepted, Rejected>>,
}

/// The message is safe with the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is new.
    New,
    /// It was accepted before.
    Duplicate,
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Rejected {
    /// There is no room at the moment.
    #[error("no room for another message")]
    Full {
        /// When to ask again.
        retry_after: Duration,
    },
    /// Nobody takes messages any more.
    #[error("nobody takes messages any more")]
    Closed,
}

/// Nobody takes messages any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("nobody takes messages any more")]
pub struct InboundClosed;

/// The way in of one account. A clone leads to the same place; only the log line about strangers is counted apart.
#[derive(Debug, Clone)]
pub struct Inlet {
    channel: ChannelId,
    inbound_tx: mpsc::Sender<Inbound>,
    board: Board,
    strangers: Seldom,
}

impl Inlet {
    pub(super) fn new(channel: ChannelId, inbound_tx: mpsc::Sender<Inbound>, board: Board) -> Self {
        Self {
            channel,
            inbound_tx,
            board,
            strangers: Seldom::new(STRANGERS_EVERY),
        }
    }

    /// The account.
    pub fn channel(&self) -> &ChannelId {
        &self.channel
    }

    /// The connection is up and logged in. `detail` says as whom.
    pub fn online(&mut self, detail: impl Into<String>) {
        info!(channel.id = %self.channel, "channel is online");
        self.board.enter(ChannelState::Online, Some(detail.into()));
    }

    /// Something that the operator should see beside the state, such as a poll that had to be renewed.
    pub fn remark(&mut self, detail: impl Into<String>) {
        self.board
            .note(|status| status.detail = Some(detail.into()));
    }

    /// Hands a message in and waits for the verdict. Only after [`Accepted`] may the platform be told that we have it.
    ///
    /// Dropped midway, the message may or may not have been taken: hand it in again, the other side knows it by its id.
    pub async fn accept(&mut self, mut envelope: Envelope) -> Result<Accepted, Rejected> {
        text::truncate(&mut envelope.text, TEXT_MAX_BYTES);
        let (verdict, answer) = oneshot::channel();
        let inbound = Inbound { envelope, verdict };
        if self.inbound_tx.send(inbound).await.is_err() {
            return Err(Rejected::Closed);
        }
        let answer = answer.await.unwrap_or(Err(Rejected::Closed));
        if answer == Ok(Accepted::New) {
            self.board.note(|status| status.received += 1);
        }
        answer
    }

    /// Like [`Inlet::accept`], and asks again for as long as there is no room.
    pub async fn deliver(&mut self, envelope: Envelope) -> Result<Accepted, InboundClosed> {
        loop {
            match self.accept(envelope.clone()).await {
                Ok(accepted) => return Ok(accepted),
                Err(Rejected::Closed) => return Err(InboundClosed),
                Err(Rejected::Full { retry_after }) => {
                    debug!(channel.id = %self.channel, "no room for a message: waiting");
                    tokio::time::sleep(retry_after).await;
                }
            }
        }
    }

    /// Counts a message from somebody who may not write, and says now and then who it was, so that the operator can
    /// add them.
    pub fn turned_away(&mut self, sender: &str) {
        self.board.note(|status| status.rejected += 1);
        if let Some(others) = self.strangers.speak(Instant::now()) {
            info!(
                channel.id = %self.channel,
                sender = ?sender,
                others,
                "ignored a message from a sender who is not in `allow_from`"
            );
        }
    }

    /// Counts messages that are lost, because the platform does not keep them and nobody took them in time.
    pub fn dropped(&mut self, sender: &str) {
        self.board.note(|status| status.dropped += 1);
        warn!(channel.id = %self.channel, sender = ?sender, "lost a message: too many wait to be taken");
    }
}
