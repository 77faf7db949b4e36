//! What the machine had of each turn: the difference of two readings, and how late the agent's loop was between them.
//! Pure; the driver does the reading.
//!
//! An agent with several turns at once has one account: each of them is told the whole of it, and that it shared it.

use std::collections::HashMap;

use kennel_shared::ids::TurnId;

use crate::{
    containment::{Caps, CpuTimes},
    supervision::sampler::Sample,
    turns::{Machine, RunnableBy, Share},
};

/// The weight of who has none of its own.
const WEIGHT: u32 = 100;

/// Who used less of a core in the last second, in percent, is at rest.
const AT_WORK: f64 = 5.0;

#[derive(Debug)]
struct Begun {
    at: CpuTimes,
    lag_us: u64,
    shared: bool,
}

/// The turns that run.
#[derive(Debug, Default)]
pub(super) struct Meter(HashMap<TurnId, Begun>);

impl Meter {
    /// A turn is handed to the agent. One that is handed out again goes on.
    pub(super) fn begin(&mut self, turn: TurnId, at: CpuTimes) {
        let shared = self.0.keys().any(|other| *other != turn);
        if shared {
            self.0.values_mut().for_each(|begun| begun.shared = true);
        }
        self.0.entry(turn).or_insert(Begun {
            at,
            lag_us: 0,
            shared,
        });
    }

    /// Its loop was so late.
    pub(super) fn late(&mut self, lag_us: u64) {
        for begun in self.0.values_mut() {
            begun.lag_us = begun.lag_us.max(lag_us);
        }
    }

    /// A turn has ended. Of one that never began nothing is known.
    pub(super) fn end(&mut self, turn: TurnId, now: CpuTimes) -> Machine {
        let Some(begun) = self.0.remove(&turn) else {
            return Machine::default();
        };
        let grown = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        let pressed = grown(now.pressed, begun.at.pressed);
        let waited = grown(now.waited, begun.at.waited);
        Machine {
            cpu_us: grown(now.used, begun.at.used),
            runnable_us: pressed.or(waited),
            runnable_by: pressed
                .map(|_| RunnableBy::Pressure)
                .or(waited.map(|_| RunnableBy::Threads)),
            throttled_us: grown(now.throttled, begun.at.throttled),
            shared: begun.shared,
            lag_us: begun.lag_us,
            share: None,
        }
    }

    /// The process is gone, and all turns with it.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// How much of the CPU the process `own` could have had beside those that were at work.
pub(super) fn share(caps: &Caps, own: Option<i32>, sample: &Sample) -> Share {
    let weight = |caps: &Caps| u64::from(caps.cpu_weight.unwrap_or(WEIGHT));
    let lives = sample.agents.values().filter_map(|agent| agent.life);
    let others = lives.filter(|life| {
        Some(life.pid) != own && life.cpu_percent.is_some_and(|percent| percent >= AT_WORK)
    });
    let others: u64 = others.map(|life| weight(&life.caps)).sum();
    Share {
        cores: sample.host.cpus,
        cap_milli: caps.cpu.map(milli),
        weight: weight(caps),
        of_weights: weight(caps) + others,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cap has at most a few thousand cores"
)]
fn milli(cores: f64) -> u64 {
    (cores * 1000.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(used: u64, pressed: Option<u64>, waited: Option<u64>) -> CpuTimes {
        CpuTimes {
            used: Some(used),
            pressed,
            waited,
            throttled: None,
        }
    }

    #[test]
    fn a_turn_has_what_was_used_meanwhile() {
        let (mut meter, turn) = (Meter::default(), TurnId::new());
        meter.late(9);
        meter.begin(turn, times(100, Some(10), None));
        meter.late(5);
        meter.late(3);
        // Handed out again: it goes on.
        meter.begin(turn, times(150, Some(20), None));
        let expected = Machine {
            cpu_us: Some(300),
            runnable_us: Some(40),
            runnable_by: Some(RunnableBy::Pressure),
            lag_us: 5,
            ..Machine::default()
        };
        assert_eq!(meter.end(turn, times(400, Some(50), None)), expected);
        assert_eq!(
            meter.end(turn, times(400, Some(50), None)),
            Machine::default()
        );
    }

    #[test]
    fn turns_beside_each_other_share() {
        let mut meter = Meter::default();
        let (first, second, third) = (TurnId::new(), TurnId::new(), TurnId::new());
        meter.begin(first, times(0, None, Some(7)));
        meter.begin(second, times(10, None, Some(7)));
        let ended = meter.end(first, times(30, None, Some(5)));
        assert!(ended.shared && ended.cpu_us == Some(30));
        // A thread has ended, and its account with it.
        assert_eq!(ended.runnable_us, Some(0));
        assert_eq!(ended.runnable_by, Some(RunnableBy::Threads));
        assert!(meter.end(second, times(30, None, None)).shared);
        meter.begin(third, times(30, None, None));
        let ended = meter.end(third, times(40, None, None));
        assert!(!ended.shared && ended.runnable_us.is_none());
    }
}
