//! Who is behind and who is ahead: slot time used, divided by weight.
//!
//! This is start-time fair queueing (Goyal, Vin and Cheng, "Start-time Fair Queuing", IEEE/ACM Transactions on
//! Networking 5(5), 1997) in two levels, as it is described there for hierarchies. Its costs are known in advance; ours
//! are not, and several turns run at once. So a turn is charged by what it holds: a slot, for as long as it runs, while it
//! runs (the "refresh charging" of Mace et al., "2DFQ", SIGCOMM 2016). Beside that it counts ahead as long as its agent's turns
//! take on average, so that whoever finds many slots free does not take all of them before the first charge; that is
//! given back when it ends.

use std::time::Duration;

/// How much virtual time one nanosecond of a slot is, for a weight of one.
const SCALE: u128 = 100_000_000;

/// What a turn is taken to last before any has ended.
const UNKNOWN_TURN: Duration = Duration::from_secs(1);

/// The part of the last turn in the average.
const SMOOTHING: u64 = 8;

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What an agent or a class has used.
#[derive(Debug)]
pub(super) struct Account {
    rate: u128,
    /// What has been used by `until`, over the weight.
    used: u128,
    /// The same as time.
    pub(super) slot_time: u64,
    until: u64,
    /// Turns that run.
    running: u64,
    /// What is charged ahead for them.
    ahead: u64,
}

impl Account {
    pub(super) fn new(weight: u32, now: u64) -> Self {
        Self {
            rate: rate(weight),
            used: 0,
            slot_time: 0,
            until: now,
            running: 0,
            ahead: 0,
        }
    }

    pub(super) fn running(&self) -> usize {
        usize::try_from(self.running).unwrap_or(usize::MAX)
    }

    /// Charges until `now`.
    pub(super) fn advance(&mut self, now: u64) {
        let held = (now - self.until) * self.running;
        self.used += u128::from(held) * self.rate;
        self.slot_time += held;
        self.until = now;
    }

    /// Another weight, for what is charged from now on.
    pub(super) fn weigh(&mut self, weight: u32, now: u64) {
        self.advance(now);
        self.rate = rate(weight);
    }

    pub(super) fn start(&mut self, now: u64, ahead: u64) {
        self.advance(now);
        self.running += 1;
        self.ahead += ahead;
    }

    pub(super) fn finish(&mut self, now: u64, ahead: u64) {
        self.advance(now);
        self.running -= 1;
        self.ahead -= ahead;
    }

    /// The lowest is served next.
    pub(super) fn tag(&self, now: u64) -> u128 {
        let held = u128::from((now - self.until) * self.running);
        self.used + (held + u128::from(self.ahead)) * self.rate
    }

    /// Whoever begins to compete has no claim on what it did not want before: it is no further behind than `clock`, but for
    /// what is charged ahead for its turns. Without that, one that often has all it may have, and so does not compete, would get
    /// less of it than it may, since what it is ahead by is kept and what it is behind by is not.
    pub(super) fn lift(&mut self, now: u64, clock: u128) {
        let tag = self.tag(now);
        let floor = clock.saturating_sub(u128::from(self.ahead) * self.rate);
        if tag < floor {
            self.used += floor - tag;
        }
    }
}

fn rate(weight: u32) -> u128 {
    SCALE / u128::from(weight.max(1))
}

/// Where those who compete stand: the tag of the last that was served in its order.
#[derive(Debug, Default)]
pub(super) struct Clock {
    at: u128,
    /// The highest tag of anybody who has ended a turn.
    horizon: u128,
}

impl Clock {
    pub(super) fn at(&self) -> u128 {
        self.at
    }

    pub(super) fn served(&mut self, tag: u128) {
        self.at = self.at.max(tag);
    }

    pub(super) fn ended(&mut self, tag: u128) {
        self.horizon = self.horizon.max(tag);
    }

    /// Nobody wants anything: whoever comes next begins level with all others.
    pub(super) fn idle(&mut self) {
        self.at = self.at.max(self.horizon);
    }
}

/// What a turn of an agent takes, going by those before.
#[derive(Debug)]
pub(super) struct Typical(u64);

impl Default for Typical {
    fn default() -> Self {
        Self(nanos(UNKNOWN_TURN))
    }
}

impl Typical {
    pub(super) fn get(&self) -> u64 {
        self.0
    }

    pub(super) fn learn(&mut self, took: u64) {
        self.0 = self.0 - self.0 / SMOOTHING + took / SMOOTHING;
    }
}
