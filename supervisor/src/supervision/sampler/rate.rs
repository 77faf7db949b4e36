//! From counters to a rate. Pure.

use std::time::{Duration, Instant};

/// Two readings that are nearer to each other say more about the clock than about the CPU.
const SHORTEST: Duration = Duration::from_millis(200);

/// CPU time that had been used at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) cpu_us: u64,
    pub(super) at: Instant,
}

/// Percent of one core between two readings. A counter that went back (a process left that had been
/// counted) tells nothing.
pub(super) fn cpu_percent(before: Mark, after: Mark) -> Option<f64> {
    let used = after.cpu_us.checked_sub(before.cpu_us)?;
    let passed = after.at.checked_duration_since(before.at)?;
    if passed.is_zero() {
        return None;
    }
    Some(Duration::from_micros(used).as_secs_f64() / passed.as_secs_f64() * 100.0)
}

/// A rate that is kept up to date.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CpuRate {
    since: Option<Mark>,
    percent: Option<f64>,
}

impl CpuRate {
    /// Takes a reading that was made `at`.
    pub(super) fn feed(&mut self, cpu_us: Option<u64>, at: Instant) {
        let Some(cpu_us) = cpu_us else {
            *self = Self::default();
            return;
        };
        let after = Mark { cpu_us, at };
        match self.since {
            Some(before) if at.saturating_duration_since(before.at) < SHORTEST => {}
            Some(before) => {
                self.percent = cpu_percent(before, after);
                self.since = Some(after);
            }
            None => self.since = Some(after),
        }
    }

    /// Percent of one core; `None` before there were two readings.
    pub(super) fn percent(&self) -> Option<f64> {
        self.percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(before_us: u64, after_us: u64, passed: Duration) -> Option<f64> {
        let at = tokio::time::Instant::now().into_std();
        let before = Mark {
            cpu_us: before_us,
            at,
        };
        let after = Mark {
            cpu_us: after_us,
            at: at + passed,
        };
        cpu_percent(before, after)
    }

    #[test]
    fn a_share_is_time_used_by_time_passed() {
        let second = Duration::from_secs(1);
        assert_eq!(marks(0, 0, second), Some(0.0));
        assert_eq!(marks(1_000_000, 1_500_000, second), Some(50.0));
        assert_eq!(marks(0, 4_000_000, second * 2), Some(200.0));
        assert_eq!(marks(5, 5, Duration::ZERO), None);
        assert_eq!(marks(10, 9, second), None, "a counter went back");
    }

    #[test]
    fn a_rate_needs_two_readings_some_way_apart() {
        let mut at = tokio::time::Instant::now().into_std();
        let mut rate = CpuRate::default();
        rate.feed(Some(0), at);
        assert_eq!(rate.percent(), None);
        at += Duration::from_millis(50);
        rate.feed(Some(40_000), at);
        assert_eq!(rate.percent(), None, "too near");
        at += Duration::from_millis(450);
        rate.feed(Some(250_000), at);
        assert_eq!(rate.percent(), Some(50.0), "from the first reading on");
        at += Duration::from_millis(10);
        rate.feed(Some(260_000), at);
        assert_eq!(rate.percent(), Some(50.0), "kept meanwhile");
        rate.feed(None, at);
        assert_eq!(rate.percent(), None, "nothing is known any more");
    }
}
