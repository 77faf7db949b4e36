//! Channels: the accounts on chat platforms through which people reach agents.
//!
//! A [`Platform`] knows one protocol and one account; [`spawn_account`] gives it a task of its own, which reconnects
//! it with backoff, publishes its [`ChannelStatus`] and keeps what waits to be sent. A platform sees nothing of agents,
//! configuration or the dispatcher: it hands [`Envelope`](kennel_shared::envelope::Envelope)s in through its [`Inlet`]
//! and takes [`Outbound`]s from its [`Outlet`].
//!
//! ```text
//!            Envelope ─► Inlet ─► inbound queue (bounded, shared by all accounts) ─► whoever keeps it, who answers
//! Platform                                                                           "accepted" or "full"
//!            Outbound ◄─ Outlet ◄─ outbound queue (bounded, one per account) ◄─ AccountHandle::send
//! ```
//!
//! Invariants:
//! - An envelope is confirmed to the platform only after the other side said [`Accepted`].
//! - Outbounds of one peer leave in order; a peer that cannot be reached does not hold up another.
//! - An account that fails, hangs or is refused delays no other: nothing is shared but the inbound queue.
//! - Every queue has a bound. When the inbound queue is full, [`Inlet::deliver`] waits, and with it the platform's
//!   confirmation. When an outbound queue is full, [`AccountHandle::try_send`] refuses and [`AccountHandle::send`] waits.
//!
//! Deliberately absent: which agent answers (the router), and storing anything (the journal).

mod account;
mod allow;
mod backoff;
mod inlet;
pub mod irc;
mod outlet;
mod status;
pub mod telegram;
pub mod text;

use std::convert::Infallible;
use std::time::Duration;

use kennel_shared::envelope::Peer;
use thiserror::Error;

pub use account::{
    AccountHandle, AccountIo, AccountOptions, OUTBOUND_QUEUE, Receipt, SendRefused, Settlement,
    spawn_account, spawn_account_after,
};
pub use allow::AllowFrom;
pub use backoff::{Backoff, BackoffSettings};
pub use inlet::{Accepted, Inbound, InboundClosed, Inlet, Rejected};
pub use outlet::{Outlet, Sending};
pub use status::{ChannelState, ChannelStatus};

/// What a chat platform must do: serve one connection of one account until it fails.
///
/// `serve` is called again after each failure, with a growing pause between the calls. It may be dropped at any await
/// point, when the account is stopped. What it needs to know across connections lives in `self`.
pub trait Platform: Send + 'static {
    /// The platform's name as the configuration writes it.
    fn kind(&self) -> &'static str;

    /// Connects, says [`Inlet::online`], and serves until the connection ends, which is always an error.
    fn serve(
        &mut self,
        io: &mut AccountIo,
    ) -> impl Future<Output = Result<Infallible, ChannelError>> + Send;
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChannelError {
    /// It broke, or could not be made. Retried with backoff.
    #[error("{detail}")]
    Lost {
        /// What happened, without secrets.
        detail: String,
    },
    /// The platform asks us to stay away for a while. Retried then.
    #[error("{detail}; the platform asks to wait {retry_after:?}")]
    Throttled {
        /// What happened.
        detail: String,
        /// For how long.
        retry_after: Duration,
    },
    /// It will not work until a person changes something. Retried rarely, in case that happened on the other side.
    #[error("{detail}")]
    Refused {
        /// What happened.
        detail: String,
        /// What to do about it.
        hint: String,
    },
    /// Nobody takes envelopes any more: the supervisor is going down.
    #[error("nobody takes messages any more")]
    Closed,
}

impl ChannelError {
    /// The connection broke.
    pub fn lost(detail: impl Into<String>) -> Self {
        Self::Lost {
            detail: detail.into(),
        }
    }
}

impl From<InboundClosed> for ChannelError {
    fn from(InboundClosed: InboundClosed) -> Self {
        Self::Closed
    }
}

/// Something to be sent to a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// The chat.
    pub peer: Peer,
    /// The message that it answers, by its [`message_id`](kennel_shared::envelope::Envelope::message_id); used where the
    /// platform can show it.
    pub reply_to: Option<String>,
    /// What to send.
    pub kind: OutboundKind,
}

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutboundKind {
    /// A text of any length; the platform splits it.
    Text(String),
    /// "… is typing", for about five seconds: repeat it while a turn runs. Dropped rather than sent late, and ignored by
    /// platforms that have no such thing.
    Typing,
}

/// Why something was not sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SendError {
    /// It may work later: it is kept, ahead of what else waits for the peer.
    #[error("{detail}")]
    Passing {
        /// What happened.
        detail: String,
        /// When the platform wants to be asked again, where it says so.
        retry_after: Option<Duration>,
        /// The platform may have it all the same: nobody heard its answer.
        doubtful: bool,
    },
    /// It will never work, as with a chat that does not exist.
    #[error("{detail}")]
    Permanent {
        /// What happened.
        detail: String,
    },
}
