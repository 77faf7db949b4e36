//! Where a message stands among those of its agent, and the heads that may start, by that.
//!
//! A message may have a class of its own; the others have that of their agent, whichever that is. So the heads lie in one tree for
//! those that have none of their own, and in one for each class that some have: another class of the agent moves none.

use std::collections::{BTreeMap, BTreeSet};

use kennel_shared::ids::DeliveryId;

/// The order of an agent's messages: deliveries are numbered as they come, so most have the place that follows from their
/// number. What goes ahead of all has a negative rank; what came out of turn counts on from the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) rank: i32,
    pub(super) delivery: DeliveryId,
    pub(super) after: u32,
}

/// Before all that there are.
pub(super) const FIRST: Place = Place {
    rank: i32::MIN,
    delivery: DeliveryId::LOWEST,
    after: 0,
};

impl Place {
    pub(super) fn natural(delivery: DeliveryId) -> Self {
        Self {
            rank: 0,
            delivery,
            after: 0,
        }
    }
}

/// Heads by place; the number is that of the session.
type Heads = BTreeSet<(Place, u32)>;

/// Heads that may start.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// With the class of their agent.
    follow: Heads,
    /// The others, by their class; none is empty.
    own: BTreeMap<u32, Heads>,
}

impl Ready {
    /// Those of a class. `follows` says that it is the class of their agent.
    fn of(&self, class: u32, follows: bool) -> impl Iterator<Item = &Heads> {
        let own = if self.own.is_empty() {
            None
        } else {
            self.own.get(&class)
        };
        follows.then_some(&self.follow).into_iter().chain(own)
    }

    pub(super) fn count(&self, class: u32, follows: bool) -> usize {
        self.of(class, follows).map(BTreeSet::len).sum()
    }

    pub(super) fn next(&self, class: u32, follows: bool) -> Option<(Place, u32)> {
        let all = self.of(class, follows);
        all.filter_map(BTreeSet::first).min().copied()
    }

    pub(super) fn insert(&mut self, own: Option<u32>, place: Place, session: u32) {
        let heads = match own {
            None => &mut self.follow,
            Some(class) => self.own.entry(class).or_default(),
        };
        heads.insert((place, session));
    }

    pub(super) fn remove(&mut self, own: Option<u32>, place: Place, session: u32) {
        let Some(class) = own else {
            self.follow.remove(&(place, session));
            return;
        };
        if let Some(heads) = self.own.get_mut(&class) {
            heads.remove(&(place, session));
            if heads.is_empty() {
                self.own.remove(&class);
            }
        }
    }
}
