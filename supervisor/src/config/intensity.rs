//! Whether a restart policy can ever put a crashing agent into quarantine.
//!
//! An agent that crashes at once on every start makes its n-th restart after the sum of the first n waits. When the
//! waits for `max_restarts` restarts, made as short as jitter can, add up to more than `window`, the count within the
//! window never gets there: the agent would crash for ever, slowly. Such a policy is refused.

use std::time::Duration;

use super::domain::{RestartMode, RestartPolicy};

/// A policy that never gives up, and what would mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cancelled {
    /// How long `max_restarts` restarts take at least.
    pub(super) takes: Duration,
    /// The most restarts that fit into the window.
    pub(super) fitting: u32,
}

/// Finds out by adding up; `None` is a policy that works.
pub(super) fn cancelled(policy: &RestartPolicy) -> Option<Cancelled> {
    if policy.mode == RestartMode::Never {
        return None;
    }
    let mut takes = Duration::ZERO;
    let mut fitting = 0;
    for attempt in 1..=policy.max_restarts {
        takes = takes.saturating_add(policy.backoff.shortest(attempt));
        if takes <= policy.window {
            fitting = attempt;
        }
    }
    (takes > policy.window).then_some(Cancelled { takes, fitting })
}

/// Rounded up to what reads well, so that a window of this length is long enough.
pub(super) fn round_up(duration: Duration) -> Duration {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    let step = match seconds {
        0..=120 => 1,
        121..=7200 => 60,
        _ => 3600,
    };
    Duration::from_secs(seconds.div_ceil(step) * step)
}

#[cfg(test)]
mod tests {
    use super::super::domain::Backoff;
    use super::*;

    fn policy(initial: u64, max: u64, jitter: f64, restarts: u32, window: u64) -> RestartPolicy {
        RestartPolicy {
            mode: RestartMode::Always,
            backoff: Backoff {
                initial: Duration::from_secs(initial),
                max: Duration::from_secs(max),
                factor: 2.0,
                jitter,
            },
            max_restarts: restarts,
            window: Duration::from_secs(window),
            stable_after: Duration::from_mins(1),
        }
    }

    #[test]
    fn the_sum_of_the_waits_decides() {
        // 1 + 2 + 4 + 8 + 16 = 31
        assert_eq!(cancelled(&policy(1, 60, 0.0, 5, 31)), None);
        assert_eq!(
            cancelled(&policy(1, 60, 0.0, 5, 30)),
            Some(Cancelled {
                takes: Duration::from_secs(31),
                fitting: 4
            })
        );
        // The maximum holds the waits down: 1 + 2 + 2 + 2 + 2 = 9
        assert_eq!(cancelled(&policy(1, 2, 0.0, 5, 9)), None);
        assert!(cancelled(&policy(1, 2, 0.0, 5, 8)).is_some());
        // Jitter may halve every wait.
        assert_eq!(cancelled(&policy(1, 60, 0.5, 5, 16)), None);
        assert!(cancelled(&policy(1, 60, 0.5, 5, 15)).is_some());
        // No restart needs no time, and an agent that is never restarted needs no window.
        assert_eq!(cancelled(&policy(1, 60, 0.0, 0, 1)), None);
        let never = RestartPolicy {
            mode: RestartMode::Never,
            ..policy(100, 100, 0.0, 5, 1)
        };
        assert_eq!(cancelled(&never), None);
    }

    #[test]
    fn a_rounded_window_is_never_too_short() {
        for millis in [1, 999, 1000, 1001, 120_000, 121_500, 7_200_000, 7_300_001] {
            let exact = Duration::from_millis(millis);
            assert!(round_up(exact) >= exact, "{exact:?}");
        }
        assert_eq!(round_up(Duration::from_secs(125)), Duration::from_mins(3));
    }
}
