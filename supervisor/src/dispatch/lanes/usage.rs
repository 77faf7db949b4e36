//! What everybody has used so far, for whoever holds it against what they should have.

use std::{collections::HashSet, sync::Arc, time::Duration};

use kennel_shared::ids::AgentId;

use super::Lanes;

/// Of an agent in one class: in its own, and in each in which it has, or had, a delivery. No slot counts in two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentUsage {
    /// Whose.
    pub agent: AgentId,
    /// In which class.
    pub class: Arc<str>,
    /// Whether that is the agent's own.
    pub is_own: bool,
    /// Its weight in it.
    pub weight: u32,
    /// For how long it has had slots, in all.
    pub slot_time: Duration,
    /// For how long it could have used slots, had nobody else been there. What it could have used in either of two classes counts in
    /// its own.
    pub wanted_time: Duration,
    /// The longest wait of what was started since this was asked last, or is its next.
    pub longest_wait: Duration,
}

/// Of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassUsage {
    /// Whose.
    pub class: Arc<str>,
    /// Its weight among the others.
    pub weight: u32,
    /// The slots below which it is served first.
    pub min_slots: usize,
    /// The slots that it may have.
    pub max_slots: usize,
    /// The slots that it has.
    pub running: usize,
}

/// Of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// How long ago all of it began.
    pub at: Duration,
    /// The slots that there are.
    pub slots: usize,
    /// The agents, in no order; one that has used several classes has as many places.
    pub agents: Vec<AgentUsage>,
    /// The classes that have agents, or had something of one.
    pub classes: Vec<ClassUsage>,
}

impl Lanes {
    /// What has been used by now.
    pub fn take_usage(&mut self) -> Usage {
        let numbers: Vec<u32> = self.agents.numbers().collect();
        let mut agents = Vec::with_capacity(numbers.len());
        for number in numbers {
            let now = self.now;
            self.advanced(number);
            let lane = self.agents.get_mut(number);
            for (index, seat) in lane.seats.iter_mut().enumerate() {
                let next = lane.queue.next_age(seat.class, index == 0, now);
                agents.push(AgentUsage {
                    agent: lane.agent.clone(),
                    class: Arc::clone(&self.classes[seat.class as usize].name),
                    is_own: index == 0,
                    weight: lane.terms.weight,
                    slot_time: Duration::from_nanos(seat.account.slot_time),
                    wanted_time: Duration::from_nanos(seat.wanted_time),
                    longest_wait: std::mem::take(&mut seat.longest).max(Duration::from_nanos(next)),
                });
            }
        }
        let used: HashSet<Arc<str>> = agents.iter().map(|one| Arc::clone(&one.class)).collect();
        let classes = self.classes.iter();
        let classes = classes.filter(|class| used.contains(&class.name));
        let classes = classes.map(|class| ClassUsage {
            class: Arc::clone(&class.name),
            weight: class.shares.weight,
            min_slots: class.min_slots,
            max_slots: class.max_slots,
            running: class.account.running(),
        });
        Usage {
            at: Duration::from_nanos(self.now),
            slots: self.max_running,
            classes: classes.collect(),
            agents,
        }
    }
}
