//! Takes over the agents of a supervisor that died.
//!
//! What is written down of each last life is held against what `/proc` shows; [`judge`] says what becomes
//! of it, and is pure. A child is only ever the one that was written down: its pid and the time at which
//! it began name one process, which is looked at while a descriptor of it is held.
//!
//! ```text
//! journal: children ─┐             ┌─ Adopt ──► its driver waits for it to connect again
//!                    ├─► judge ──► ├─ Retire ─► the same; then it drains and is not started again
//! /proc, groups ─────┘             ├─ End ────► it is killed, with its group; another takes its place
//!                                  └─ Gone ───► what is left of its group is ended
//! ```
//!
//! Whoever is in a group of the agents and is not adopted is ended before anything starts.

mod look;

use std::{
    os::fd::OwnedFd,
    time::{Duration, SystemTime},
};

use kennel_shared::{cage::CageSpec, ids::Generation};

pub use self::look::look;
use crate::{
    containment::Group,
    journal::entry::{Child, Digest, TokenDigests, UnixMs},
};

/// What `/proc` shows of the process that has a child's pid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When it began, in the kernel's ticks since boot.
    pub start_time: u64,
    /// Whether it has ended and only waits to be reaped.
    pub is_dead: bool,
    /// The agent that it was started as, by its command line.
    pub agent: Option<String>,
    /// Its user.
    pub uid: u32,
    /// Whether it is in the group of the life that was written down; `None` where there are no groups.
    pub in_group: Option<bool>,
}

/// What the configuration says of an agent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The user that it runs as.
    pub uid: u32,
    /// What it would be started with, if it can be.
    pub made_of: Option<Digest>,
}

/// What becomes of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Adopt {
        /// It was started with what does not hold any more: another takes its place after its turns.
        renew: bool,
    },
    /// It goes on until its turns have ended, and nothing takes its place.
    Retire,
    /// It is ended now.
    End(&'static str),
    /// It has ended, and who has its pid is somebody else.
    Gone,
}

/// Decides. `wanted` is `None` for an agent that is not to run any more.
pub fn judge(child: &Child, wanted: Option<Wanted>, seen: Option<&Seen>) -> Verdict {
    let Some(seen) = seen else {
        return Verdict::Gone;
    };
    let is_it = seen.start_time == child.start_time
        && seen.agent.as_deref() == Some(child.agent.as_str())
        && !seen.is_dead;
    if child.ended.is_some() || !is_it {
        return Verdict::Gone;
    }
    if seen.in_group == Some(false) {
        return Verdict::End("it is not in its group, so that nothing holds it");
    }
    let Some(wanted) = wanted else {
        return Verdict::Retire;
    };
    if seen.uid != wanted.uid {
        return Verdict::End("it runs as another user than the configuration says");
    }
    Verdict::Adopt {
        renew: wanted.made_of.is_none() || child.made_of != wanted.made_of,
    }
}

/// A child that is taken over.
#[derive(Debug)]
pub struct Adoptee {
    /// Its process.
    pub pid: i32,
    /// The descriptor that tells of its end.
    pub pidfd: OwnedFd,
    /// What it is in.
    pub group: Group,
    /// How it proves itself.
    pub tokens: TokenDigests,
    /// When it was started.
    pub started: SystemTime,
    /// Whether another takes its place after its turns.
    pub renew: bool,
    /// Whether it is not to run any more after its turns.
    pub retire: bool,
}

/// What a supervisor before this one has left of an agent.
#[derive(Debug, Default)]
pub struct Past {
    /// Its last life; 0 for none.
    pub generation: Generation,
    /// That life, if it goes on.
    pub adoptee: Option<Adoptee>,
    /// What became of it, if it does not and nobody was there to say so.
    pub lost: Option<String>,
}

/// Of what a child is started with and keeps for its life.
pub fn made_of(cage: &CageSpec) -> Digest {
    let cage = CageSpec {
        // It names the life.
        group: None,
        ..cage.clone()
    };
    Digest::of(&[&serde_json::to_vec(&cage).expect("paths and numbers serialize")])
}

/// The time that the journal writes in milliseconds.
pub(crate) fn at(unix_ms: UnixMs) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(unix_ms).unwrap_or(0))
}

#[cfg(test)]
mod tests;
