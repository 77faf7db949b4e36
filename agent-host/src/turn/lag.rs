//! How late the event loop comes to what is due while a turn runs: something else holds it, or the kernel gives it no
//! processor.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(100);

/// Does the work, and says how late the loop was meanwhile, at most.
pub(super) async fn during<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let mut ticks = interval_at(Instant::now() + EVERY, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut most = Duration::ZERO;
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            // First: a loop that was held and is free again has both to do.
            due = ticks.tick() => most = most.max(Instant::now().saturating_duration_since(due)),
            done = &mut work => return (done, most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loop_that_is_held_is_late() {
        let work = async {
            tokio::time::sleep(EVERY / 2).await;
            #[expect(clippy::disallowed_methods, reason = "the loop is to be held")]
            std::thread::sleep(EVERY * 3);
            tokio::task::yield_now().await;
            7
        };
        let (done, late) = during(work).await;
        assert_eq!(done, 7);
        assert!(late >= EVERY * 2, "{late:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_is_free_is_not() {
        let ((), late) = during(tokio::time::sleep(EVERY * 10)).await;
        assert!(late <= Duration::from_millis(2), "{late:?}");
    }
}
