//! One agent in one class: where it stands among the others there.
//!
//! An agent has a seat in its own class, and one in each class that messages of it have, or had, of their own. Each has an
//! account of its own, so what it uses in one class makes it no worse in another.

use std::time::Duration;

use super::{
    class::{Filed, Rank},
    share::{Account, Typical},
};

#[derive(Debug)]
pub(super) struct Seat {
    pub(super) class: u32,
    pub(super) account: Account,
    /// Whether it could use a slot.
    pub(super) competes: bool,
    /// How it is kept in its class, while it competes.
    pub(super) filed: Option<Filed>,
    /// Messages that wait or run and have this class of their own.
    pub(super) own: usize,
    /// Whether it counts among the members of the class.
    pub(super) is_member: bool,
    /// The longest wait of what was started since somebody asked.
    pub(super) longest: Duration,
    /// Slots that it could use, over time.
    pub(super) wanted_time: u64,
    pub(super) wanted: u64,
    pub(super) typical: Typical,
    /// When it was served last.
    pub(super) served: u64,
}

impl Seat {
    pub(super) fn new(class: u32, weight: u32, now: u64) -> Self {
        Self {
            class,
            account: Account::new(weight, now),
            competes: false,
            filed: None,
            own: 0,
            is_member: false,
            longest: Duration::ZERO,
            wanted_time: 0,
            wanted: 0,
            typical: Typical::default(),
            served: 0,
        }
    }

    /// Charges what runs, and what is wanted, for the time since that was done last.
    pub(super) fn advance(&mut self, now: u64, passed: u64) {
        self.wanted_time += passed * self.wanted;
        self.account.advance(now);
    }

    /// Where agent `number` stands with it.
    pub(super) fn rank(&self, now: u64, number: u32) -> Rank {
        (self.account.tag(now), self.served, number)
    }

    /// Begins or ends to be among the members; whether that is another than before.
    pub(super) fn count(&mut self, is_member: bool, members: &mut usize) -> bool {
        if self.is_member == is_member {
            return false;
        }
        self.is_member = is_member;
        if is_member {
            *members += 1;
        } else {
            *members -= 1;
        }
        true
    }
}
