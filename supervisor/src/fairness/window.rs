//! Sums over the time just past: pieces of equal length, of which the oldest is dropped when a new one begins. Pure.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

/// What one agent has had, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sums {
    pub(super) used: f64,
    pub(super) wanted: f64,
    pub(super) entitled: f64,
    pub(super) cpu: f64,
    /// Where it is known.
    pub(super) cpu_waited: Option<f64>,
    /// The longest one, and no sum.
    pub(super) longest_wait: f64,
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.used += other.used;
        self.wanted += other.wanted;
        self.entitled += other.entitled;
        self.cpu += other.cpu;
        self.cpu_waited = match (self.cpu_waited, other.cpu_waited) {
            (Some(own), Some(other)) => Some(own + other),
            (own, other) => own.or(other),
        };
        self.longest_wait = self.longest_wait.max(other.longest_wait);
    }
}

#[derive(Debug)]
struct Piece {
    number: u128,
    covered: Duration,
    sums: HashMap<u32, Sums>,
}

/// A window that moves on by pieces. It covers its length, and the part of a piece that has just begun.
#[derive(Debug)]
pub(super) struct Ring {
    piece: Duration,
    count: u32,
    pieces: VecDeque<Piece>,
}

impl Ring {
    pub(super) fn new(length: Duration, count: u32) -> Self {
        Self {
            piece: length / count,
            count,
            pieces: VecDeque::new(),
        }
    }

    pub(super) fn length(&self) -> Duration {
        self.piece * self.count
    }

    /// Adds what was had in the time of this length that ends at `at`.
    pub(super) fn add(
        &mut self,
        at: Duration,
        passed: Duration,
        sums: impl Iterator<Item = (u32, Sums)>,
    ) {
        let number = at.as_nanos() / self.piece.as_nanos().max(1);
        if self.pieces.back().is_none_or(|last| last.number != number) {
            self.pieces.push_back(Piece {
                number,
                covered: Duration::ZERO,
                sums: HashMap::new(),
            });
        }
        let oldest = number.saturating_sub(u128::from(self.count));
        while self
            .pieces
            .front()
            .is_some_and(|piece| piece.number < oldest)
        {
            self.pieces.pop_front();
        }
        let piece = self.pieces.back_mut().expect("just seen to");
        piece.covered += passed;
        for (agent, sums) in sums {
            if sums != Sums::default() {
                piece.sums.entry(agent).or_default().add(&sums);
            }
        }
    }

    /// All that is in it, by agent, and how much time that is.
    pub(super) fn sums(&self) -> (Duration, HashMap<u32, Sums>) {
        let mut all: HashMap<u32, Sums> = HashMap::new();
        for (agent, sums) in self.pieces.iter().flat_map(|piece| &piece.sums) {
            all.entry(*agent).or_default().add(sums);
        }
        (self.pieces.iter().map(|piece| piece.covered).sum(), all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let second = Duration::from_secs(1);
        let mut ring = Ring::new(10 * second, 5);
        assert_eq!(ring.length(), 10 * second);
        for at in 1..=40_u32 {
            let used = if at <= 20 { 1.0 } else { 0.5 };
            let sums = Sums {
                used,
                longest_wait: f64::from(40 - at),
                cpu_waited: (at == 39).then_some(2.0),
                ..Sums::default()
            };
            ring.add(
                second * at,
                second,
                [(7, sums), (8, Sums::default())].into_iter(),
            );
        }
        let (covered, sums) = ring.sums();
        // From 30 on, and the one that begins at 40.
        assert_eq!(covered, 11 * second);
        assert_eq!(sums.len(), 1, "who had nothing has no place");
        let wanted = Sums {
            used: 5.5,
            longest_wait: 10.0,
            cpu_waited: Some(2.0),
            ..Sums::default()
        };
        assert_eq!(sums[&7], wanted);
        ring.add(1000 * second, second, std::iter::empty());
        assert_eq!(ring.sums().0, second);
    }
}
