//! What is to be done for one schedule at one moment. Pure: a timetable, a policy, what is dealt with and the wall clock
//! in; runs, what is missed and when to look again out.
//!
//! Due times are dealt with in order: all up to `through` are, however (run, missed, skipped while it was paused). Of
//! those behind it that have come, the policy says which are run:
//!
//! | `catch_up` | are run |
//! | --- | --- |
//! | `skip` | the last one, if it came [`ON_TIME`] ago at most or was seen in time and could not be handed over yet |
//! | `once` | the last one |
//! | `all` | the last [`MOST`] |
//!
//! The others are missed. A run comes later than it is due by its share of the jitter, but never as late as the next due
//! time; so runs of one schedule do not overtake each other.
//!
//! The wall clock may be set. Forward, that is like a time in which nobody was there. Back by up to [`SET_BACK`],
//! nothing is due until it has come to where it was; by more, it is believed, and the schedule begins anew from there.

use std::time::Duration;

use super::timetable::DueTimes;
use crate::journal::entry::UnixMs;

/// A run that is handed over so soon after it was due is not late: a supervisor was started anew meanwhile.
pub const ON_TIME: Duration = Duration::from_mins(1);

/// The most due times that are caught up with.
pub const MOST: usize = 100;

/// Due times that are missed are counted so far.
const COUNTED: usize = 1_000;

/// A clock that was set back by more was wrong before.
pub const SET_BACK: Duration = Duration::from_hours(3);

/// What becomes of due times that nobody could run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatchUp {
    /// They are left out.
    #[default]
    Skip,
    /// One run stands for all of them.
    Once,
    /// Each is run, in order.
    All,
}

impl CatchUp {
    /// As the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All => "all",
        }
    }
}

/// How a schedule is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What becomes of due times that nobody could run.
    pub catch_up: CatchUp,
    /// A run comes up to so much later than it is due.
    pub jitter: Duration,
    /// Which share of it, for each due time: another number for each schedule.
    pub seed: u64,
}

/// How a schedule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// All due times up to this one are dealt with.
    pub through: UnixMs,
    /// A due time that was seen in time, and is still to be handed over.
    pub seen: Option<UnixMs>,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The clock was set back so far that all begins anew from now.
    pub set_back: bool,
    /// Due times that are over, if any.
    pub missed: Option<Missed>,
    /// Due times to be run now, in order, after what is missed was written down.
    pub run: Vec<UnixMs>,
    /// A due time that has come, and whose run waits for its share of the jitter.
    pub waits: Option<UnixMs>,
    /// When something is to be done that is not to be done now.
    pub wake: Option<UnixMs>,
}

/// Due times that are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// How many.
    pub count: usize,
    /// There are more than were counted.
    pub more: bool,
    /// The first of those that were counted.
    pub first: UnixMs,
    /// The last: all up to here are dealt with.
    pub last: UnixMs,
}

/// See the module.
pub fn plan(times: &impl DueTimes, policy: Policy, standing: Standing, now: UnixMs) -> Plan {
    let Standing { through, seen } = standing;
    if through.saturating_sub(now) > ms(SET_BACK) {
        return Plan {
            set_back: true,
            wake: times.after(now).map(|due| ripe(times, policy, due)),
            ..Plan::default()
        };
    }
    // From here on nothing is due that is dealt with.
    let next = times.after(now.max(through));
    let wake_for_next = next.map(|due| ripe(times, policy, due));
    let (come, more) = come(times, through, now);
    let Some((&newest, older)) = come.split_last() else {
        return Plan {
            wake: wake_for_next,
            ..Plan::default()
        };
    };
    let ripe_at = ripe(times, policy, newest);
    let kept = match policy.catch_up {
        CatchUp::All => come.len().min(MOST),
        CatchUp::Once => 1,
        CatchUp::Skip => {
            let late = now.saturating_sub(ripe_at) > ms(ON_TIME);
            usize::from(!late || seen == Some(newest))
        }
    };
    let (over, mut run) = (&come[..come.len() - kept], &come[come.len() - kept..]);
    debug_assert!(older.iter().all(|due| ripe(times, policy, *due) <= now));
    let mut wake = wake_for_next;
    let mut waits = None;
    if ripe_at > now
        && let Some((&last, before)) = run.split_last()
    {
        (run, waits) = (before, Some(last));
        wake = Some(ripe_at);
    }
    Plan {
        set_back: false,
        missed: over.first().zip(over.last()).map(|(&first, &last)| Missed {
            count: over.len(),
            more,
            first,
            last,
        }),
        run: run.to_vec(),
        waits,
        wake,
    }
}

/// The due times after `through` that have come by `now`, in order: the last [`COUNTED`]; and whether there are more.
fn come(times: &impl DueTimes, through: UnixMs, now: UnixMs) -> (Vec<UnixMs>, bool) {
    let mut found = Vec::new();
    let mut behind = now;
    while let Some(due) = times.until(behind).filter(|due| *due > through) {
        if found.len() == COUNTED {
            found.reverse();
            return (found, true);
        }
        found.push(due);
        behind = due - 1;
    }
    found.reverse();
    (found, false)
}

/// When the run of a due time comes: always the same for the same one.
fn ripe(times: &impl DueTimes, policy: Policy, due: UnixMs) -> UnixMs {
    let mut room = ms(policy.jitter);
    if room == 0 {
        return due;
    }
    if let Some(next) = times.after(due) {
        room = room.min(next - due - 1);
    }
    let share = mixed(policy.seed ^ due.cast_unsigned());
    let room = room.max(0).cast_unsigned() + 1;
    due.saturating_add((share % room).cast_signed())
}

/// Scatters the bits of a number (`splitmix64`).
fn mixed(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn ms(duration: Duration) -> UnixMs {
    UnixMs::try_from(duration.as_millis()).unwrap_or(UnixMs::MAX)
}

#[cfg(test)]
mod tests;
