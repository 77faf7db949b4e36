//! What its caps do to an agent short of ending it: told when it begins, and when it is over. Pure.
//!
//! ```text
//!                 held back for 3 s, the last telling a minute ago
//!   free ────────────────────────────────────────────────────────► held back
//!        ◄──────────────────────────────────────────────────────── (told: began)
//!   (told: over)               free for 5 s
//! ```
//!
//! The sampler feeds a [`Watch`] with successive readings of one life and hands what it says to the
//! driver. A life tells each kind at most once a minute, and an end only after its beginning, so an
//! agent that lives at its caps cannot crowd others out of the events.
//!
//! One of the notices is an end in the making. The kernel slows a group down that is above its soft mark
//! ([`Caps::high`]), the more the further it is above, so that reclaim can keep up. Where nothing is left
//! to reclaim, that is a standstill which lasts minutes and ends at the cap all the same:
//! [`Notice::Stalled`] says that it is one, and the driver makes the end.

use std::time::{Duration, Instant};

use kennel_shared::ids::Generation;

use crate::containment::{Caps, Pressure, Reading};

/// A life tells a kind of notice not sooner than this after the last of that kind.
pub const SPACING: Duration = Duration::from_mins(1);

/// What lasts so long has begun.
const BEGINS: Duration = Duration::from_secs(3);
/// What was not so for so long is over.
const ENDS: Duration = Duration::from_secs(5);

/// The share of CPU periods from which on the cap holds an agent back substantially, and the share below
/// which it no longer does.
const THROTTLED: f64 = 0.5;
const FREE: f64 = 0.1;
/// The kernel's period of CPU caps, as `containment` leaves it.
const PERIOD: Duration = Duration::from_millis(100);

/// A group is stuck when all of it waits for memory for this share of the time, for so long.
const ALL_STALLED: (f64, Duration) = (0.8, Duration::from_secs(2));
/// Or some of it does: the closer to the mark, the more of the time is the kernel's search for memory, and a
/// neighbour in the group may go on meanwhile.
const SOME_STALLED: (f64, Duration) = (0.4, Duration::from_secs(10));

/// Looks that are further apart say nothing about the time between them.
const GAP: Duration = Duration::from_millis(2500);

/// Something to tell of a life.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Notice {
    /// So many more processes or threads were denied.
    PidsDenied {
        /// Since the life began, or since this was told last.
        more: u64,
    },
    /// The CPU cap holds it back.
    Throttled {
        /// In so many percent of the kernel's periods.
        percent: u8,
    },
    /// The CPU cap no longer does.
    ThrottledOver {
        /// For how long it did.
        lasted: Duration,
    },
    /// It stands at the soft mark of its memory with little to reclaim.
    MemoryHigh {
        /// Bytes in use.
        used: u64,
        /// The mark.
        high: u64,
    },
    /// It no longer does.
    MemoryHighOver {
        /// For how long it did.
        lasted: Duration,
    },
    /// It stands still above the soft mark, and nothing can be reclaimed. Said on every look from then on.
    Stalled {
        /// Bytes in use.
        used: u64,
        /// The mark.
        high: u64,
        /// For how long.
        lasted: Duration,
    },
}

/// A notice, and the life that it is about.
pub type Noticed = (Generation, Notice);

/// Watches one life.
#[derive(Debug, Default)]
pub struct Watch {
    before: Option<(Instant, Reading)>,
    denied: Denied,
    throttled: Spell,
    high: Spell,
    /// Since when all of it, and some of it, stands still.
    all_stalled: Option<Instant>,
    some_stalled: Option<Instant>,
}

impl Watch {
    /// Whether a quick look tells enough; else this life wants a full one now, because it is near a cap.
    pub fn is_close(&self, reading: &Reading, caps: &Caps, cpu_percent: Option<f64>) -> bool {
        let memory = reading.memory.zip(caps.high());
        let pids = reading.pids.zip(caps.pids.map(u64::from));
        let cpu = cpu_percent.zip(caps.cpu);
        memory.is_some_and(|(used, high)| used / 19 >= high / 20)
            || pids.is_some_and(|(used, cap)| used * 20 >= cap * 19)
            || cpu.is_some_and(|(percent, cores)| percent >= cores * 80.0)
            || self.throttled.is_open()
            || self.high.is_open()
    }

    /// Takes a full reading that was made `at`; gives what is to be told.
    pub fn look(&mut self, reading: &Reading, caps: &Caps, at: Instant) -> Vec<Notice> {
        let mut notices = Vec::new();
        if let Some(more) = self.denied.look(reading.pids_denied, at) {
            notices.push(Notice::PidsDenied { more });
        }
        if let Some((then, before)) = self.before.replace((at, *reading)) {
            let step = Step { then, at };
            notices.extend(self.look_at_cpu(&before, reading, step));
            notices.extend(self.look_at_memory(&before, reading, caps, step));
        }
        notices
    }

    fn look_at_cpu(&mut self, before: &Reading, now: &Reading, step: Step) -> Option<Notice> {
        let periods = grown(before.throttled_periods, now.throttled_periods)?;
        #[expect(clippy::cast_precision_loss, reason = "ten a second")]
        let share = periods as f64 * PERIOD.as_secs_f64() / step.length().as_secs_f64();
        let limit = if self.throttled.has_begun() {
            FREE
        } else {
            THROTTLED
        };
        Some(match self.throttled.look(share >= limit, step)? {
            Turn::Begins => Notice::Throttled {
                percent: percent(share),
            },
            Turn::Ends(lasted) => Notice::ThrottledOver { lasted },
        })
    }

    fn look_at_memory(
        &mut self,
        before: &Reading,
        now: &Reading,
        caps: &Caps,
        step: Step,
    ) -> Vec<Notice> {
        // Where nobody counts how often the mark was passed, nobody holds it.
        let (Some(hits), Some(used)) = (
            grown(before.memory_high_hits, now.memory_high_hits),
            now.memory,
        ) else {
            return Vec::new();
        };
        // A mark that was lifted is none that anybody stands at.
        let high = caps.high().unwrap_or(u64::MAX);
        let held = used.saturating_sub(now.memory_reclaimable.unwrap_or(0));
        // Page cache at the mark is nothing to tell: it makes room, and costs next to nothing.
        let stands = (hits > 0 || used >= high) && held >= high / 10 * 9;
        let turn = self.high.look(stands, step).map(|turn| match turn {
            Turn::Begins => Notice::MemoryHigh { used, high },
            Turn::Ends(lasted) => Notice::MemoryHighOver { lasted },
        });

        // What is counted a moment after `used` was read may be a little less.
        let stuck = used > high && held >= high / 100 * 97;
        let waited = |total: fn(&Pressure) -> u64| {
            let before = before.memory_pressure.as_ref().map(total);
            let now = now.memory_pressure.as_ref().map(total);
            grown(before, now).map(|waited| {
                Duration::from_micros(waited).as_secs_f64() / step.length().as_secs_f64()
            })
        };
        let all = waited(|pressure| pressure.full_total_us);
        // Without pressure: so far above the mark the kernel lets it have a MiB or two a second.
        let some = waited(|pressure| pressure.some_total_us).unwrap_or({
            if used >= high / 100 * 103 && hits > 0 {
                1.0
            } else {
                0.0
            }
        });
        let lasted = [
            (&mut self.all_stalled, all.unwrap_or(0.0), ALL_STALLED),
            (&mut self.some_stalled, some, SOME_STALLED),
        ]
        .map(|(since, share, (limit, bound))| {
            let holds = stuck && share >= limit;
            *since = holds.then(|| since.unwrap_or(step.from()));
            let lasted = step.at.saturating_duration_since((*since)?);
            (lasted >= bound).then_some(lasted)
        });
        let stalled = lasted.into_iter().flatten().max();
        let stalled = stalled.map(|lasted| Notice::Stalled { used, high, lasted });
        turn.into_iter().chain(stalled).collect()
    }
}

/// From one look to the next.
#[derive(Debug, Clone, Copy)]
struct Step {
    then: Instant,
    at: Instant,
}

impl Step {
    /// Never nothing, so that it can be divided by.
    fn length(self) -> Duration {
        let length = self.at.saturating_duration_since(self.then);
        length.max(Duration::from_millis(1))
    }

    /// Since when that holds which was true of this step.
    fn from(self) -> Instant {
        if self.length() > GAP {
            self.at
        } else {
            self.then
        }
    }
}

/// Denied processes, and how many of them were told.
#[derive(Debug, Default)]
struct Denied {
    told: u64,
    last: Option<Instant>,
}

impl Denied {
    fn look(&mut self, denied: Option<u64>, at: Instant) -> Option<u64> {
        let more = denied?.checked_sub(self.told).filter(|more| *more > 0)?;
        if !may_tell(self.last, at) {
            return None;
        }
        self.told += more;
        self.last = Some(at);
        Some(more)
    }
}

/// A state that lasts.
#[derive(Debug, Default)]
struct Spell {
    /// Since when it is told to be so.
    begun: Option<Instant>,
    /// Since when it is otherwise than told.
    otherwise: Option<Instant>,
    /// When a beginning was last told.
    last: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Begins,
    Ends(Duration),
}

impl Spell {
    fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Whether something is to be seen soon.
    fn is_open(&self) -> bool {
        self.begun.is_some() || self.otherwise.is_some()
    }

    fn look(&mut self, holds: bool, step: Step) -> Option<Turn> {
        if holds == self.has_begun() {
            self.otherwise = None;
            return None;
        }
        let since = *self.otherwise.get_or_insert(step.from());
        let lasted = step.at.saturating_duration_since(since);
        match self.begun {
            None if lasted >= BEGINS && may_tell(self.last, step.at) => {
                self.last = Some(step.at);
                self.begun = Some(since);
                self.otherwise = None;
                Some(Turn::Begins)
            }
            Some(begun) if lasted >= ENDS => {
                self.begun = None;
                self.otherwise = None;
                Some(Turn::Ends(since.saturating_duration_since(begun)))
            }
            _ => None,
        }
    }
}

fn may_tell(last: Option<Instant>, at: Instant) -> bool {
    last.is_none_or(|last| at.saturating_duration_since(last) >= SPACING)
}

/// By how much a counter has grown; `None` where it cannot be told.
fn grown(before: Option<u64>, now: Option<u64>) -> Option<u64> {
    now?.checked_sub(before?)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and 100"
)]
fn percent(share: f64) -> u8 {
    (share.clamp(0.0, 1.0) * 100.0).round() as u8
}

#[cfg(test)]
mod tests;
