//! How much of the supervisor's time one agent's messages may take. Pure.
//!
//! A message costs time to read, and the supervisor has one thread for all agents. An agent that says more than
//! any model can is not read for a while: its socket fills, and its own writing waits. So a flood costs its
//! author only, as one of its log does (see `capture`).

use std::time::{Duration, Instant};

use kennel_shared::protocol::{ToSupervisor, TurnOutcome};

/// What an agent may say per second, in the long run. A model that writes a thousand tokens a second in each of
/// eight turns stays below it, and reading it takes three percent of a core.
const BYTES_PER_SECOND: u64 = 8 * 1024 * 1024;

/// What it may say at once: eight of the longest replies.
const BURST_BYTES: u64 = 4 * 1024 * 1024;

/// What a message costs beside its text, in bytes.
const MESSAGE_BYTES: u64 = 512;

/// What one agent has left.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Allowance {
    /// When all that was said will have been paid for.
    paid: Option<Instant>,
}

impl Allowance {
    /// Takes the cost of a message.
    pub(super) fn charge(&mut self, message: &ToSupervisor, now: Instant) {
        let bytes = MESSAGE_BYTES + text_of(message) as u64;
        let from = self.paid.map_or(now, |paid| paid.max(now));
        self.paid = Some(from + time_of(bytes));
    }

    /// Until when nothing more is to be read; `None` when there is something left.
    pub(super) fn pause(&self, now: Instant) -> Option<Instant> {
        let until = self.paid?.checked_sub(time_of(BURST_BYTES))?;
        (until > now).then_some(until)
    }
}

fn time_of(bytes: u64) -> Duration {
    Duration::from_nanos(bytes * 1_000_000_000 / BYTES_PER_SECOND)
}

fn text_of(message: &ToSupervisor) -> usize {
    match message {
        ToSupervisor::Delta { text, .. }
        | ToSupervisor::Finished {
            outcome: TurnOutcome::Replied(text),
            ..
        } => text.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use kennel_shared::{ids::TurnId, protocol::DELTA_MAX_BYTES};

    use super::*;

    fn delta(length: usize) -> ToSupervisor {
        ToSupervisor::Delta {
            turn: TurnId::new(),
            text: "x".repeat(length),
        }
    }

    fn instant() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// How many of these messages are read within `lasts`.
    fn read(length: usize, lasts: Duration) -> u64 {
        let begin = instant();
        let (mut now, mut count) = (begin, 0);
        let (mut allowance, message) = (Allowance::default(), delta(length));
        while now < begin + lasts {
            if let Some(until) = allowance.pause(now) {
                now = until;
            } else {
                allowance.charge(&message, now);
                count += 1;
            }
        }
        count
    }

    #[test]
    fn a_flood_is_read_at_its_rate_after_a_burst() {
        for length in [0, 120, DELTA_MAX_BYTES] {
            let each = MESSAGE_BYTES + length as u64;
            let allowed = (BURST_BYTES + 10 * BYTES_PER_SECOND) / each;
            let count = read(length, Duration::from_secs(10));
            assert!(count.abs_diff(allowed) <= 2, "{length}: {count}, {allowed}");
        }
    }

    #[test]
    fn who_says_little_never_waits() {
        let mut now = instant();
        let mut allowance = Allowance::default();
        for _ in 0..100_000 {
            assert_eq!(allowance.pause(now), None);
            allowance.charge(&delta(8), now);
            now += Duration::from_micros(125);
        }
    }

    #[test]
    fn a_pause_ends() {
        let now = instant();
        let mut allowance = Allowance::default();
        while allowance.pause(now).is_none() {
            allowance.charge(&delta(DELTA_MAX_BYTES), now);
        }
        let until = allowance.pause(now).expect("it has said too much");
        assert!(until - now < Duration::from_millis(20));
        assert_eq!(allowance.pause(until), None);
    }
}
