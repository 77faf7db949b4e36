//! How long to wait before a restart, and when to stop restarting. Pure.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Exponential backoff: `initial · factor^n`, at most `max`, spread by `jitter`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackoffPolicy {
    /// The wait before the first restart.
    pub initial: Duration,
    /// The longest wait, before jitter.
    pub max: Duration,
    /// What each wait is multiplied by; at least 1.
    pub factor: f64,
    /// The share of the wait that is random, 0 to 1: the wait is spread evenly over `±jitter`.
    pub jitter: f64,
}

impl BackoffPolicy {
    /// The wait before restart number `attempt` (from 0). `random` is uniform in 0..1.
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let exponent = i32::try_from(attempt).unwrap_or(i32::MAX);
        let grown = self.initial.as_secs_f64() * self.factor.max(1.0).powi(exponent);
        let capped = grown.min(self.max.as_secs_f64());
        let spread = 1.0 + self.jitter.clamp(0.0, 1.0) * (2.0 * random - 1.0);
        Duration::try_from_secs_f64(capped * spread).unwrap_or(self.max)
    }
}

/// At most `max_restarts` within `window`: more is a loop that waiting does not mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntensityPolicy {
    /// How many restarts are taken.
    pub max_restarts: u32,
    /// Within how long.
    pub window: Duration,
}

/// The restarts of one agent, as far back as its window.
#[derive(Debug, Default)]
pub struct Intensity {
    restarts: VecDeque<Instant>,
}

impl Intensity {
    /// Counts a restart at `now`; false when that is one too many.
    pub fn allows(&mut self, policy: IntensityPolicy, now: Instant) -> bool {
        while self
            .restarts
            .front()
            .is_some_and(|then| now.duration_since(*then) > policy.window)
        {
            self.restarts.pop_front();
        }
        if self.restarts.len() >= policy.max_restarts as usize {
            return false;
        }
        self.restarts.push_back(now);
        true
    }

    /// Forgets: an operator has taken over.
    pub fn reset(&mut self) {
        self.restarts.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: BackoffPolicy = BackoffPolicy {
        initial: Duration::from_millis(100),
        max: Duration::from_secs(5),
        factor: 2.0,
        jitter: 0.0,
    };

    #[test]
    fn waits_double_up_to_the_maximum() {
        let waits: Vec<u128> = (0..8).map(|n| POLICY.delay(n, 0.5).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn restarts_outside_the_window_do_not_count() {
        let policy = IntensityPolicy {
            max_restarts: 2,
            window: Duration::from_secs(10),
        };
        let (mut intensity, start) = (Intensity::default(), tokio::time::Instant::now().into_std());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(intensity.allows(policy, at(0)));
        assert!(intensity.allows(policy, at(1)));
        assert!(!intensity.allows(policy, at(10)));
        assert!(intensity.allows(policy, at(11)));
    }

    proptest! {
        #[test]
        fn a_wait_stays_within_its_jitter(attempt in any::<u32>(), random in 0.0..1.0f64, jitter in 0.0..1.0f64) {
            let policy = BackoffPolicy { jitter, ..POLICY };
            let plain = POLICY.delay(attempt, 0.5).as_secs_f64();
            let wait = policy.delay(attempt, random).as_secs_f64();
            prop_assert!(wait >= plain * (1.0 - jitter) - 1e-6 && wait <= plain * (1.0 + jitter) + 1e-6);
        }

        #[test]
        fn never_more_than_the_maximum_within_any_window(gaps in prop::collection::vec(0u64..5_000, 1..60)) {
            let policy = IntensityPolicy { max_restarts: 3, window: Duration::from_secs(4) };
            let (mut intensity, mut now, mut taken) = (Intensity::default(), tokio::time::Instant::now().into_std(), Vec::new());
            for gap in gaps {
                now += Duration::from_millis(gap);
                if intensity.allows(policy, now) {
                    taken.push(now);
                }
            }
            for (index, first) in taken.iter().enumerate() {
                let within = taken[index..].iter().filter(|then| then.duration_since(*first) <= policy.window);
                prop_assert!(within.count() <= 3);
            }
        }
    }
}
