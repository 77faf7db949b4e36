//! When things happened to a delivery, and what it waited for meanwhile. Pure.

use tokio::time::{Duration, Instant};

use crate::turns::{Waits, record::micros};

/// Of one delivery.
#[derive(Debug)]
pub(super) struct Clock {
    pub(super) waits: Waits,
    /// The part of that from before it came into its lane.
    pub(super) before: Waits,
    /// In attempts that came to nothing.
    pub(super) lost_us: u64,
    pub(super) handed_at: Option<Instant>,
    started_after: Option<Duration>,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self {
            waits: Waits::default(),
            before: Waits::default(),
            lost_us: 0,
            handed_at: None,
            started_after: None,
        }
    }

    /// It was accepted so long ago, by a supervisor before this one.
    pub(super) fn waited_before(&mut self, time: Duration) {
        self.before.held_us = self.before.held_us.saturating_add(micros(time));
    }

    /// It leaves its lane, after it has waited there for these: in all, also before it was put back.
    pub(super) fn handed(&mut self, waits: Waits, now: Instant) {
        self.waits = self.before;
        self.waits += waits;
        self.handed_at = Some(now);
        self.started_after = None;
    }

    /// Its agent has begun with it.
    pub(super) fn started(&mut self, now: Instant) {
        if let (Some(handed), None) = (self.handed_at, self.started_after) {
            self.started_after = Some(now.saturating_duration_since(handed));
        }
    }

    /// It is back in its lane.
    pub(super) fn returned(&mut self, now: Instant) {
        if let Some(handed) = self.handed_at.take() {
            self.lost_us += micros(now.saturating_duration_since(handed));
        }
    }

    /// From the lane to the agent, which has then loaded its context for so long; and from the lane to now.
    pub(super) fn run(&self, context_us: u64, now: Instant) -> (u64, u64) {
        let handed = self.handed_at.unwrap_or(now);
        let dispatch = self.started_after.map_or(0, micros);
        (
            dispatch.saturating_sub(context_us),
            micros(now.saturating_duration_since(handed)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_that_came_to_nothing_are_told_apart() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let waited = |fleet_us| Waits {
            fleet_us,
            ..Waits::default()
        };
        let mut clock = Clock::new();
        clock.handed(waited(1), at(1));
        clock.started(at(2));
        clock.returned(at(4));
        assert_eq!(clock.lost_us, 3_000_000);
        clock.returned(at(5));
        clock.handed(waited(3), at(6));
        assert_eq!(clock.run(0, at(7)), (0, 1_000_000), "it has not begun");
        clock.started(at(7));
        clock.started(at(8));
        assert_eq!(clock.run(400_000, at(9)), (600_000, 3_000_000));
        assert_eq!((clock.waits.fleet_us, clock.lost_us), (3, 3_000_000));
    }
}
