//! What a channel shows of itself, and the pure rules by which it changes.

use std::sync::Arc;

use kennel_shared::ids::ChannelId;
use tokio::sync::watch;
use tokio::time::Instant;

/// Where a channel stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelState {
    /// Making a connection.
    Connecting,
    /// Connected and logged in.
    Online,
    /// The connection failed; the next attempt comes by itself.
    BackingOff {
        /// When.
        until: Instant,
    },
    /// The platform refuses; a person must act. Attempts continue, rarely.
    Failed {
        /// When the next one comes.
        until: Instant,
    },
    /// Ended for good.
    Stopped,
}

impl ChannelState {
    /// The state in one word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Online => "online",
            Self::BackingOff { .. } => "backing-off",
            Self::Failed { .. } => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// What a channel shows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelStatus {
    /// The account.
    pub id: ChannelId,
    /// The platform.
    pub kind: &'static str,
    /// Where it stands.
    pub state: ChannelState,
    /// Since when.
    pub since: Instant,
    /// The last trouble and what to do about it, or who we are there.
    pub detail: Option<String>,
    /// Messages that were accepted.
    pub received: u64,
    /// Texts that were delivered.
    pub sent: u64,
    /// Texts that were given up.
    pub failed: u64,
    /// Connections after the first.
    pub reconnects: u64,
    /// Messages from senders that are not allowed to write.
    pub rejected: u64,
    /// Messages that were lost because nobody took them in time, on a platform that does not keep them.
    pub dropped: u64,
}

/// The writing end of a [`ChannelStatus`], shared by the parts of one account.
#[derive(Debug, Clone)]
pub(super) struct Board(Arc<watch::Sender<ChannelStatus>>);

impl Board {
    pub(super) fn new(id: ChannelId, kind: &'static str) -> (Self, watch::Receiver<ChannelStatus>) {
        let (status_tx, status_rx) = watch::channel(ChannelStatus {
            id,
            kind,
            state: ChannelState::Connecting,
            since: Instant::now(),
            detail: None,
            received: 0,
            sent: 0,
            failed: 0,
            reconnects: 0,
            rejected: 0,
            dropped: 0,
        });
        (Self(Arc::new(status_tx)), status_rx)
    }

    /// Changes counters or the detail.
    pub(super) fn note(&self, change: impl FnOnce(&mut ChannelStatus)) {
        self.0.send_modify(change);
    }

    /// Moves to another state. `since` changes only with the state.
    pub(super) fn enter(&self, state: ChannelState, detail: Option<String>) {
        self.0.send_modify(|status| {
            if std::mem::discriminant(&status.state) != std::mem::discriminant(&state) {
                status.since = Instant::now();
            }
            status.state = state;
            status.detail = detail;
        });
    }

    /// The last trouble, or who we are.
    pub(super) fn detail(&self) -> Option<String> {
        self.0.borrow().detail.clone()
    }

    /// When the connection came up, if it is up.
    pub(super) fn online_since(&self) -> Option<Instant> {
        let status = self.0.borrow();
        (status.state == ChannelState::Online).then_some(status.since)
    }
}
