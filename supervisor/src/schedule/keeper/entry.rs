//! What the keeper knows of one schedule.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    super::{
        Schedule,
        planner::{self, Missed, Plan, Policy, Standing},
    },
    handle::Held,
};
use crate::journal::entry::{ScheduleMark, UnixMs};

/// That due times of a schedule were missed is told so often at most.
const TELL: Duration = Duration::from_mins(1);

/// One schedule.
pub(super) struct Entry {
    pub(super) schedule: Schedule,
    /// How far it has come; not known until the journal has said so.
    pub(super) mark: Option<ScheduleMark>,
    /// A due time that was seen in time.
    pub(super) seen: Option<UnixMs>,
    pub(super) held: Option<Held>,
    pub(super) untold: Untold,
}

/// Missed due times that nobody was told of yet.
#[derive(Default)]
pub(super) struct Untold {
    missed: Option<Missed>,
    /// When something was told.
    before: Option<Instant>,
}

impl Untold {
    /// Adds some; gives all of them when they are to be told.
    pub(super) fn add(&mut self, missed: Missed) -> Option<Missed> {
        let all = match self.missed.take() {
            None => missed,
            Some(earlier) => Missed {
                count: earlier.count + missed.count,
                more: earlier.more || missed.more,
                first: earlier.first,
                last: missed.last,
            },
        };
        let now = Instant::now();
        if self.before.is_some_and(|before| now < before + TELL) {
            self.missed = Some(all);
            return None;
        }
        self.before = Some(now);
        Some(all)
    }
}

impl Entry {
    fn policy(&self) -> Policy {
        let seed = self.schedule.id.as_str().bytes();
        Policy {
            catch_up: self.schedule.catch_up,
            jitter: self.schedule.jitter,
            seed: seed.fold(0, |seed, byte| {
                seed.rotate_left(7) ^ u64::from(byte).wrapping_mul(0x0100_0000_01b3)
            }),
        }
    }

    /// Whether it runs by itself.
    pub(super) fn is_on(&self) -> bool {
        self.schedule.enabled && self.mark.as_ref().is_some_and(|mark| !mark.paused)
    }

    pub(super) fn plan(&self, now: UnixMs) -> Option<Plan> {
        let mark = self.mark.as_ref().filter(|_| self.is_on())?;
        let standing = Standing {
            through: mark.through,
            seen: self.seen,
        };
        let policy = self.policy();
        Some(planner::plan(
            &self.schedule.timetable,
            policy,
            standing,
            now,
        ))
    }
}
