//! Agents that come and go, and terms that change.

use kennel_shared::ids::AgentId;

use super::{
    Lanes,
    lane::{Lane, Moved, Terms},
    ticket::Ticket,
};

impl Lanes {
    /// Adds an agent, closed until [`open`](Self::open).
    pub fn add(&mut self, agent: AgentId, terms: Terms) {
        self.remove(&agent);
        let class = self.class(&terms.class);
        let full_time = self.classes[class as usize].full_time_at(self.now);
        let lane = Lane::new(agent.clone(), terms, class, full_time, self.now);
        let number = self.agents.put(lane);
        self.agents.get_mut(number).join(number);
        self.numbers.insert(agent, number);
        self.file(number);
    }

    /// Other terms for an agent; false when there is none of the name. What is over its limits has been admitted, and
    /// goes on.
    pub fn limit(&mut self, agent: &AgentId, terms: Terms) -> bool {
        let Some(number) = self.numbers.get(agent).copied() else {
            return false;
        };
        let to = self.class(&terms.class);
        let now = self.now;
        let full_time = self.classes[to as usize].full_time_at(now);
        self.advanced(number);
        self.unfile(number);
        let lane = self.agents.get_mut(number);
        if lane.terms.weight != terms.weight {
            for seat in &mut lane.seats {
                seat.account.weigh(terms.weight, now);
            }
        }
        lane.terms = terms;
        if lane.class() != to {
            let moved = lane.follow(to, full_time);
            self.move_turns(&moved);
        }
        self.file(number);
        true
    }

    /// Gives a delivery that waits or runs another class of its own, or that of its agent; false when there is none such. One that
    /// runs takes its slot along.
    pub fn set_class(&mut self, ticket: &Ticket, class: Option<&str>) -> bool {
        let Some(number) = self.numbers.get(ticket.session.agent_str()).copied() else {
            return false;
        };
        let own = self.own_class(number, class);
        let lane = self.agents.get_mut(number);
        let (is_there, moved) = lane.change_class(ticket, own);
        self.move_turns(moved.as_slice());
        self.file(number);
        is_there
    }

    /// The class that a delivery has of its own, which its lane expects to come.
    pub(super) fn own_class(&mut self, number: u32, class: Option<&str>) -> Option<u32> {
        let own = class.map(|class| self.class(class));
        self.advanced(number);
        if let Some(class) = own {
            let full_time = self.classes[class as usize].full_time_at(self.now);
            self.agents.get_mut(number).expect_in(class, full_time);
        }
        own
    }

    fn move_turns(&mut self, moved: &[Moved]) {
        for Moved { from, to, ahead } in moved {
            self.classes[*from as usize].finish(self.now, *ahead);
            self.classes[*to as usize].start(self.now, *ahead);
        }
    }

    fn unfile(&mut self, number: u32) {
        for seat in &mut self.agents.get_mut(number).seats {
            if let Some(filed) = seat.filed.take() {
                self.classes[seat.class as usize].unfile(number, filed);
            }
        }
    }

    /// Forgets an agent and gives what it still had: first what ran, then what waited.
    pub fn remove(&mut self, agent: &AgentId) -> Vec<Ticket> {
        let Some(number) = self.numbers.remove(agent) else {
            return Vec::new();
        };
        self.unfile(number);
        let mut lane = self.agents.take(number);
        for turn in lane.turns() {
            self.classes[turn.class as usize].finish(self.now, turn.ahead);
        }
        for seat in &mut lane.seats {
            let class = &mut self.classes[seat.class as usize];
            seat.count(false, &mut class.members);
        }
        self.running -= lane.running.len();
        self.share_out();
        let mut left = lane.running();
        left.extend(lane.queue.tickets());
        left
    }
}
