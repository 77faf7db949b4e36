//! When a schedule is due. Pure.

use std::{fmt, time::Duration};

use super::cron::Cron;
use crate::journal::entry::UnixMs;

/// The due times of a schedule.
#[derive(Clone, Debug, PartialEq)]
pub enum Timetable {
    /// Those that a cron expression names.
    Cron(Box<Cron>),
    /// Every so often, counted from the Unix epoch: so each supervisor finds the same times, whenever it was started.
    Every(Duration),
}

/// What a planner asks of due times.
pub trait DueTimes {
    /// The first one after `time`.
    fn after(&self, time: UnixMs) -> Option<UnixMs>;

    /// The last one that is not after `time`.
    fn until(&self, time: UnixMs) -> Option<UnixMs>;
}

impl DueTimes for Timetable {
    fn after(&self, time: UnixMs) -> Option<UnixMs> {
        match self {
            Self::Cron(cron) => cron.after(time),
            Self::Every(every) => {
                let every = period(*every);
                time.div_euclid(every).checked_add(1)?.checked_mul(every)
            }
        }
    }

    fn until(&self, time: UnixMs) -> Option<UnixMs> {
        match self {
            Self::Cron(cron) => cron.until(time),
            Self::Every(every) => {
                let every = period(*every);
                Some(time.div_euclid(every) * every)
            }
        }
    }
}

fn period(every: Duration) -> i64 {
    i64::try_from(every.as_millis()).unwrap_or(i64::MAX).max(1)
}

impl Timetable {
    /// The zone in which it is written.
    pub fn zone(&self) -> &str {
        match self {
            Self::Cron(cron) => cron.zone(),
            Self::Every(_) => "UTC",
        }
    }

    /// A time as the clocks of its zone show it.
    pub fn local(&self, time: UnixMs) -> String {
        match self {
            Self::Cron(cron) => cron.local(time),
            Self::Every(_) => super::cron::show(time, &jiff::tz::TimeZone::UTC),
        }
    }
}

impl fmt::Display for Timetable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron(cron) => write!(f, "{} {}", cron.expression(), cron.zone()),
            Self::Every(every) => write!(f, "every {}", humantime::format_duration(*every)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_counts_from_the_epoch() {
        let table = Timetable::Every(Duration::from_mins(15));
        let quarter = 15 * 60 * 1000;
        assert_eq!(table.after(0), Some(quarter));
        assert_eq!(table.after(quarter - 1), Some(quarter));
        assert_eq!(table.until(quarter), Some(quarter));
        assert_eq!(table.until(quarter - 1), Some(0));
        assert_eq!(table.until(-1), Some(-quarter));
        assert_eq!(table.to_string(), "every 15m");
    }
}
