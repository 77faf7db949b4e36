//! How the messages of chats wait.

use std::time::Duration;

use crate::dispatch::gather::{DropPolicy, Mode, Queueing};

/// What a table says of [`Queueing`]; the rest is left to the one above it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueuePatch {
    /// What becomes of a message that comes while others wait or run.
    pub mode: Option<Mode>,
    /// How long it must be quiet before what was collected is answered.
    pub debounce: Option<Duration>,
    /// How many may wait in a session.
    pub cap: Option<u32>,
    /// What is dropped beyond that.
    pub drop: Option<DropPolicy>,
}

impl QueuePatch {
    /// When nothing is said.
    pub const DEFAULT: Queueing = Queueing {
        mode: Mode::Collect,
        debounce: Duration::ZERO,
        cap: 20,
        drop: DropPolicy::Summarize,
    };

    /// What holds where this is laid over `below`.
    pub fn over(self, below: Queueing) -> Queueing {
        Queueing {
            mode: self.mode.unwrap_or(below.mode),
            debounce: self.debounce.unwrap_or(below.debounce),
            cap: self.cap.unwrap_or(below.cap),
            drop: self.drop.unwrap_or(below.drop),
        }
    }
}
