//! What everybody has used so far, for whoever holds it against what they should have.

use std::time::Duration;

use kennel_shared::ids::AgentId;

use super::Lanes;

/// Of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentUsage {
    /// Whose.
    pub agent: AgentId,
    /// Its class.
    pub class: Box<str>,
    /// Its weight in it.
    pub weight: u32,
    /// For how long it has had slots, in all.
    pub slot_time: Duration,
    /// For how long it could have used slots, had nobody else been there.
    pub wanted_time: Duration,
    /// The longest wait of what was started since this was asked last, or is its next.
    pub longest_wait: Duration,
}

/// Of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassUsage {
    /// Whose.
    pub class: Box<str>,
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
    /// The agents, in no order.
    pub agents: Vec<AgentUsage>,
    /// The classes that have agents.
    pub classes: Vec<ClassUsage>,
}

impl Lanes {
    /// What has been used by now.
    pub fn take_usage(&mut self) -> Usage {
        let numbers: Vec<u32> = self.agents.numbers().collect();
        let mut agents = Vec::with_capacity(numbers.len());
        for number in numbers {
            let now = self.now;
            let lane = self.advanced(number);
            let next = Duration::from_nanos(lane.queue.next_age(now));
            agents.push(AgentUsage {
                agent: lane.agent.clone(),
                class: lane.terms.class.clone(),
                weight: lane.terms.weight,
                slot_time: Duration::from_nanos(lane.account.slot_time),
                wanted_time: Duration::from_nanos(lane.wanted_time),
                longest_wait: std::mem::take(&mut lane.longest).max(next),
            });
        }
        let classes = self.classes.iter().filter(|class| class.members > 0);
        let classes = classes.map(|class| ClassUsage {
            class: class.name.clone(),
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
