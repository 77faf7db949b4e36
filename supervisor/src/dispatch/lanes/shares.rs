//! How many slots each class has: shares of the fleet, in whole slots.

use std::collections::BTreeMap;

use super::{
    Lanes,
    class::{Class, Shares},
};

impl Lanes {
    /// Says how much of the fleet classes have; one that is not named has a usual weight, and no bounds.
    pub fn set_classes(&mut self, classes: &BTreeMap<String, Shares>) {
        for name in classes.keys() {
            self.class(name);
        }
        for class in &mut self.classes {
            class.shares = classes.get(&*class.name).copied().unwrap_or_default();
            class.account.weigh(class.shares.weight, self.now);
        }
        self.share_out();
    }

    /// The number of a class, which begins to be if it is not there.
    pub(super) fn class(&mut self, name: &str) -> u32 {
        let known = (0_u32..)
            .zip(&self.classes)
            .find(|(_, class)| *class.name == *name);
        if let Some((number, _)) = known {
            return number;
        }
        self.classes.push(Class::new(name, self.now));
        u32::try_from(self.classes.len() - 1).expect("classes are few")
    }

    /// Says anew how many slots each class has.
    pub(super) fn share_out(&mut self) {
        self.guarantee();
        for class in &mut self.classes {
            class.advance(self.now);
            class.max_slots = class.shares.max_slots(self.max_running);
            class.capped = class.max_slots < self.max_running;
            class.settle(self.now, &self.clock);
        }
    }

    /// Says how many slots are guaranteed to whom. Where a class with agents has none, one slot at least is guaranteed to
    /// nobody: else those that have some could keep it waiting for ever.
    fn guarantee(&mut self) {
        let fleet = self.max_running;
        for class in &mut self.classes {
            class.min_slots = class.shares.min_slots(fleet);
        }
        let has_agents = |class: &&Class| class.members > 0;
        let mut left_out = self.classes.iter().filter(has_agents);
        if !left_out.any(|class| class.min_slots == 0) {
            return;
        }
        loop {
            let guaranteed = self.classes.iter().filter(has_agents);
            let all: usize = guaranteed.map(|class| class.min_slots).sum();
            let largest = self.classes.iter_mut().filter(|class| class.members > 0);
            match largest.max_by_key(|class| class.min_slots) {
                Some(class) if all >= fleet && class.min_slots > 0 => class.min_slots -= 1,
                _ => return,
            }
        }
    }
}
