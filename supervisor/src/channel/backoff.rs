//! How long to wait before the next attempt: grows by a factor up to a limit, with jitter, so that many accounts that lost
//! one server do not return at once. Pure: the caller brings time and chance.

use std::time::Duration;

/// The shape of a backoff.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackoffSettings {
    /// The first wait.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
    /// A connection that lasted this long begins anew at `initial`.
    pub stable_after: Duration,
}

impl Default for BackoffSettings {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            max: Duration::from_mins(1),
            stable_after: Duration::from_mins(1),
        }
    }
}

/// Attempts so far.
#[derive(Debug, Clone)]
pub struct Backoff {
    settings: BackoffSettings,
    attempt: u32,
}

impl Backoff {
    /// None so far.
    pub fn new(settings: BackoffSettings) -> Self {
        Self {
            settings,
            attempt: 0,
        }
    }

    /// The wait before the next attempt, given how long the last connection held and a `chance` from 0 to 1.
    /// It is between half and the whole of the step.
    pub fn next(&mut self, held: Option<Duration>, chance: f64) -> Duration {
        if held.is_some_and(|held| held >= self.settings.stable_after) {
            self.attempt = 0;
        }
        let step = step(self.settings.initial, self.settings.max, self.attempt);
        self.attempt = self.attempt.saturating_add(1);
        step.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }
}

/// `initial` doubled `attempt` times, at most `max`.
pub(super) fn step(initial: Duration, max: Duration, attempt: u32) -> Duration {
    let factor = 2_u32.checked_pow(attempt).unwrap_or(u32::MAX);
    initial.saturating_mul(factor).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_doubles_up_to_the_limit_and_stays_there() {
        let mut backoff = Backoff::new(BackoffSettings::default());
        let waits: Vec<u64> = (0..8).map(|_| backoff.next(None, 1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        for _ in 0..100 {
            assert_eq!(backoff.next(None, 1.0), 60 * SECOND);
        }
    }

    #[test]
    fn jitter_takes_up_to_half() {
        for (chance, expected) in [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0), (7.0, 1.0)] {
            let mut backoff = Backoff::new(BackoffSettings::default());
            assert_eq!(backoff.next(None, chance), SECOND.mul_f64(expected));
        }
    }

    #[test]
    fn only_a_stable_connection_begins_anew() {
        let mut backoff = Backoff::new(BackoffSettings::default());
        backoff.next(None, 1.0);
        assert_eq!(backoff.next(Some(59 * SECOND), 1.0), 2 * SECOND);
        assert_eq!(backoff.next(Some(60 * SECOND), 1.0), SECOND);
    }
}
