//! One class: how many slots it may have, who competes in it, and who is next.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    lane::Lane,
    share::{Account, Clock},
    slab::Slab,
};

/// The weight of whoever is given none.
pub const USUAL_WEIGHT: u32 = 100;

/// The class of whoever is given none: people wait for it.
pub const INTERACTIVE: &str = "interactive";

/// The other one that is always there: for long work, for which nobody waits.
pub const BATCH: &str = "batch";

/// How much of the fleet a class has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares {
    /// Its part where classes compete, beside the weights of the others.
    pub weight: u32,
    /// While it has less of the fleet than this, from 0 to 1, it is served first.
    pub min: f64,
    /// More of the fleet it never has.
    pub max: Most,
}

/// The most that a class may have of the fleet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Most {
    /// A part, from 0 to 1. One slot at least: a class that could never run would keep its messages for ever.
    Share(f64),
    /// All slots but the last one, so that there is one for others. The only slot of a fleet of one is not kept free: then
    /// the class could not run at all.
    AllButOne,
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            weight: USUAL_WEIGHT,
            min: 0.0,
            max: Most::Share(1.0),
        }
    }
}

impl Shares {
    /// The slots of `fleet` below which it is served first: whole ones, so a part of one is none.
    pub fn min_slots(&self, fleet: usize) -> usize {
        part(self.min, fleet).min(self.max_slots(fleet))
    }

    /// The slots of `fleet` that it may have.
    pub fn max_slots(&self, fleet: usize) -> usize {
        match self.max {
            Most::Share(share) => part(share, fleet).max(1),
            Most::AllButOne => fleet.saturating_sub(1).max(1),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share is from 0 to 1, a fleet has at most 10,000 slots"
)]
fn part(share: f64, fleet: usize) -> usize {
    // A third of three is one, whatever becomes of it in binary.
    (share * fleet as f64 + 1e-6).floor() as usize
}

/// Where somebody stands who has no turn that runs: its tag does not move. Between the same tags who was served longer ago.
pub(super) type Rank = (u128, u64, u32);

/// How an agent that competes is kept in its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filed {
    Still(Rank),
    /// It has turns that run, so its tag grows.
    Moving,
}

#[derive(Debug)]
pub(super) struct Class {
    pub(super) name: Arc<str>,
    pub(super) shares: Shares,
    pub(super) min_slots: usize,
    pub(super) max_slots: usize,
    /// Whether the fleet has more slots than that.
    pub(super) capped: bool,
    pub(super) account: Account,
    pub(super) clock: Clock,
    /// Agents that are of it, or have messages that are.
    pub(super) members: usize,
    /// When it was served last.
    pub(super) served: u64,
    pub(super) competes: bool,
    still: BTreeSet<Rank>,
    moving: BTreeSet<u32>,
    /// Time for which it had all its slots, until `until`.
    full_time: u64,
    until: u64,
}

impl Class {
    pub(super) fn new(name: &str, now: u64) -> Self {
        let shares = Shares::default();
        Self {
            name: name.into(),
            shares,
            min_slots: 0,
            max_slots: 0,
            capped: false,
            account: Account::new(shares.weight, now),
            clock: Clock::default(),
            members: 0,
            served: 0,
            competes: false,
            still: BTreeSet::new(),
            moving: BTreeSet::new(),
            full_time: 0,
            until: now,
        }
    }

    /// Whether it has all the slots that it may have, though the fleet has others.
    pub(super) fn is_full(&self) -> bool {
        self.capped && self.account.running() >= self.max_slots
    }

    /// For how long it has had all its slots, in all. To be called before that changes.
    pub(super) fn advance(&mut self, now: u64) -> u64 {
        self.full_time = self.full_time_at(now);
        self.until = now;
        self.full_time
    }

    pub(super) fn full_time_at(&self, now: u64) -> u64 {
        let more = if self.is_full() { now - self.until } else { 0 };
        self.full_time + more
    }

    pub(super) fn start(&mut self, now: u64, ahead: u64) {
        self.advance(now);
        self.account.start(now, ahead);
    }

    pub(super) fn finish(&mut self, now: u64, ahead: u64) {
        self.advance(now);
        self.account.finish(now, ahead);
    }

    pub(super) fn file(&mut self, agent: u32, filed: Filed) {
        match filed {
            Filed::Still(rank) => self.still.insert(rank),
            Filed::Moving => self.moving.insert(agent),
        };
    }

    pub(super) fn unfile(&mut self, agent: u32, filed: Filed) {
        match filed {
            Filed::Still(rank) => self.still.remove(&rank),
            Filed::Moving => self.moving.remove(&agent),
        };
    }

    /// Whether anybody in it could use a slot.
    pub(super) fn wants(&self) -> bool {
        !(self.still.is_empty() && self.moving.is_empty())
    }

    /// Who is next in it, with the tag. `number` is its own.
    pub(super) fn next(&self, number: u32, lanes: &Slab<Lane>, now: u64) -> Option<Rank> {
        // Those that move have turns that run, so there are no more of them than slots.
        let rank = |agent: &u32| lanes.get(*agent).rank(number, now);
        let moving = self.moving.iter().map(rank);
        moving.chain(self.still.first().copied()).min()
    }

    /// Sees whether it competes now, and what that means for where it stands.
    pub(super) fn settle(&mut self, now: u64, fleet: &Clock) {
        let competes = self.wants() && !self.is_full();
        if competes && !self.competes {
            self.account.lift(now, fleet.at());
        }
        self.competes = competes;
        if self.account.running() == 0 && !self.wants() {
            self.clock.idle();
        }
    }
}
