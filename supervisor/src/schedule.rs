//! Schedules: turns that nobody asks for by a message, but the clock.
//!
//! ```text
//! [[schedules]] ─► Schedule ─┐
//! journal: schedules ────────┼─► planner ─► Plan { run, missed, wake } ─► keeper ─► dispatcher ─► journal: Accept
//! wall clock ────────────────┘   (pure)                                  (task)                    (+ the mark, in one commit)
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`timetable`], [`cron`] | when a schedule is due: pure |
//! | [`planner`] | which due times are run, which are missed, and when to look again: pure |
//! | [`keeper`] | the task that looks at the clock and hands runs to the dispatcher |
//!
//! Invariants:
//! - A due time is run once: the acceptance of its run and the mark that it is dealt with are one commit of the journal.
//! - Due times of one schedule are dealt with in order, so what is dealt with is one number: all up to that time.
//! - Only the wall clock counts, and it is looked at once in [`keeper::LOOK`] at least: a machine that slept, or whose clock
//!   was set, is noticed.

pub mod cron;
pub mod keeper;
pub mod planner;
pub mod timetable;

use std::{borrow::Borrow, fmt, str::FromStr, time::Duration};

use kennel_shared::{
    envelope::Peer,
    ids::{AgentId, ChannelId, InvalidId},
    session_key::SessionKey,
};
use serde::{Deserialize, Serialize};

pub use self::{
    keeper::{Keeper, Observed, Schedules},
    planner::CatchUp,
    timetable::Timetable,
};
use crate::journal::entry::Digest;

/// The name of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleId(String);

impl ScheduleId {
    /// Takes a text that may name an agent.
    pub fn new(text: &str) -> Result<Self, InvalidId> {
        AgentId::new(text).map(|name| Self(name.to_string()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ScheduleId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::new(text)
    }
}

impl fmt::Display for ScheduleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Borrow<str> for ScheduleId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// `[[schedules]]`: a prompt, and when which agent gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Its name.
    pub id: ScheduleId,
    /// Whether it runs by itself.
    pub enabled: bool,
    /// When it is due.
    pub timetable: Timetable,
    /// What becomes of due times that nobody could run.
    pub catch_up: CatchUp,
    /// A run comes up to so much later than it is due.
    pub jitter: Duration,
    /// Who runs it.
    pub agent: AgentId,
    /// In which conversation.
    pub session: SessionKey,
    /// The class of its turns; the agent's, unless it says.
    pub class: Option<String>,
    /// What the agent is told.
    pub prompt: String,
    /// Who is told the answer.
    pub tell: Option<Tell>,
}

impl Schedule {
    /// Of all that says which due times there are: a schedule that was changed in that begins anew.
    pub fn made_of(&self) -> Digest {
        let on: &[u8] = if self.enabled { b"on" } else { b"off" };
        Digest::of(&[self.timetable.to_string().as_bytes(), on])
    }
}

/// Where an answer goes that nobody has asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tell {
    /// Through which account.
    pub channel: ChannelId,
    /// To which chat.
    pub peer: Peer,
}
