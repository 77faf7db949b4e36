//! Flood protection: servers disconnect who sends too many lines too fast. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// How many lines may go out at once, and how fast after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flood {
    /// Lines without a pause.
    pub burst: u32,
    /// Then one line for each of these.
    pub every: Duration,
}

impl Default for Flood {
    fn default() -> Self {
        Self {
            burst: 5,
            every: Duration::from_millis(500),
        }
    }
}

/// A token bucket, kept as the time at which it would be full again.
#[derive(Debug)]
pub(super) struct Bucket {
    flood: Flood,
    full_at: Option<Instant>,
}

impl Bucket {
    pub(super) fn new(flood: Flood) -> Self {
        Self {
            flood,
            full_at: None,
        }
    }

    /// When the next line may go out; not after `now` means at once.
    pub(super) fn ready_at(&self, now: Instant) -> Instant {
        let spare = self.flood.every * self.flood.burst.saturating_sub(1);
        self.full_at
            .and_then(|full_at| full_at.checked_sub(spare))
            .map_or(now, |ready| ready.max(now))
    }

    /// Takes a token for a line that goes out now.
    pub(super) fn take(&mut self, now: Instant) {
        let from = self.full_at.map_or(now, |full_at| full_at.max(now));
        self.full_at = Some(from + self.flood.every);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_steady_pace() {
        let start = Instant::now() + Duration::from_hours(1);
        let mut bucket = Bucket::new(Flood::default());
        let mut now = start;
        let mut sent = Vec::new();
        for _ in 0..9 {
            now = bucket.ready_at(now);
            bucket.take(now);
            sent.push((now - start).as_millis());
        }
        assert_eq!(sent, [0, 0, 0, 0, 0, 500, 1000, 1500, 2000]);
        // After a rest the burst is there again, and no more than that.
        now += Duration::from_mins(1);
        for _ in 0..5 {
            assert_eq!(bucket.ready_at(now), now);
            bucket.take(now);
        }
        assert_eq!(bucket.ready_at(now), now + Duration::from_millis(500));
    }
}
