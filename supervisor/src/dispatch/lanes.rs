//! What may run now: `session -> agent -> fleet`. Pure.
//!
//! - One turn at a time in a session, in the order of admission.
//! - At most so many turns at once for an agent, and for the fleet.
//! - Agents take turns for the places of the fleet, so a long queue of one delays no other.
//! - A queue is bounded; a full one refuses.
//!
//! Invariant: an admitted delivery is either waiting or running, and leaves only through
//! [`Lanes::finish`] or [`Lanes::withdraw`].

use std::collections::{BTreeMap, HashSet, VecDeque};

use kennel_shared::{
    ids::{AgentId, DeliveryId},
    session_key::SessionKey,
};

/// What a lane knows of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Which.
    pub delivery: DeliveryId,
    /// In which conversation, and so for which agent.
    pub session: SessionKey,
}

/// Why a delivery is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no such agent.
    UnknownAgent,
    /// The agent's queue has this many places, all taken.
    QueueFull(usize),
}

#[derive(Debug)]
struct Lane {
    waiting: VecDeque<Ticket>,
    /// Waiting ones that are not to start now. They keep their places, and their sessions wait for them.
    held: HashSet<DeliveryId>,
    running: Vec<Ticket>,
    max_concurrent: usize,
    max_waiting: usize,
    open: bool,
}

impl Lane {
    /// The first ticket whose session is free. Tickets of one session stay in order, since its
    /// first is looked at first and blocks the others.
    fn startable(&self) -> Option<usize> {
        if !self.open || self.running.len() >= self.max_concurrent {
            return None;
        }
        let mut busy: HashSet<&SessionKey> =
            self.running.iter().map(|ticket| &ticket.session).collect();
        self.waiting.iter().position(|ticket| {
            busy.insert(&ticket.session) && !self.held.contains(&ticket.delivery)
        })
    }
}

/// All lanes.
#[derive(Debug)]
pub struct Lanes {
    agents: BTreeMap<AgentId, Lane>,
    max_running: usize,
    running: usize,
    /// The agent that was served last; the search for the next begins behind it.
    last: Option<AgentId>,
}

impl Lanes {
    /// No agents, and a fleet that runs `max_running` turns at once.
    pub fn new(max_running: usize) -> Self {
        Self {
            agents: BTreeMap::new(),
            max_running,
            running: 0,
            last: None,
        }
    }

    /// Adds an agent, closed until [`open`](Self::open).
    pub fn add(&mut self, agent: AgentId, max_concurrent: usize, max_waiting: usize) {
        let lane = Lane {
            waiting: VecDeque::new(),
            held: HashSet::new(),
            running: Vec::new(),
            max_concurrent,
            max_waiting,
            open: false,
        };
        self.agents.insert(agent, lane);
    }

    /// Other limits for an agent; false when there is none of the name. What is over them has been admitted, and goes
    /// on.
    pub fn limit(&mut self, agent: &AgentId, max_concurrent: usize, max_waiting: usize) -> bool {
        let lane = self.agents.get_mut(agent);
        lane.map(|lane| (lane.max_concurrent, lane.max_waiting) = (max_concurrent, max_waiting))
            .is_some()
    }

    /// Another number of turns at once for the fleet.
    pub fn limit_fleet(&mut self, max_running: usize) {
        self.max_running = max_running;
    }

    /// Forgets an agent and gives what it still had: first what ran, then what waited.
    pub fn remove(&mut self, agent: &AgentId) -> Vec<Ticket> {
        let Some(lane) = self.agents.remove(agent) else {
            return Vec::new();
        };
        self.running -= lane.running.len();
        lane.running.into_iter().chain(lane.waiting).collect()
    }

    /// Whether an agent's queue has room for another delivery, beside `coming` ones that are not
    /// admitted yet.
    pub fn room(&self, agent: &str, coming: usize) -> Result<(), Refused> {
        let lane = self.agents.get(agent).ok_or(Refused::UnknownAgent)?;
        if lane.waiting.len() + coming >= lane.max_waiting {
            return Err(Refused::QueueFull(lane.max_waiting));
        }
        Ok(())
    }

    /// Takes a delivery into its agent's queue, at its end. The bound is [`Lanes::room`]'s: what is on
    /// the disk is not turned away. False when there is no such agent.
    pub fn admit(&mut self, ticket: Ticket) -> bool {
        let lane = self.agents.get_mut(ticket.session.agent_str());
        lane.map(|lane| lane.waiting.push_back(ticket)).is_some()
    }

    /// Takes a delivery in ahead of all that wait. False when there is no such agent.
    pub fn admit_first(&mut self, ticket: Ticket) -> bool {
        let lane = self.agents.get_mut(ticket.session.agent_str());
        lane.map(|lane| lane.waiting.push_front(ticket)).is_some()
    }

    /// Takes a delivery in ahead of all that came after it: ids grow with time. False when there is no
    /// such agent.
    pub fn admit_in_place(&mut self, ticket: Ticket) -> bool {
        let lane = self.agents.get_mut(ticket.session.agent_str());
        lane.map(|lane| {
            let later = |other: &Ticket| other.delivery > ticket.delivery;
            let place = lane.waiting.iter().position(later);
            lane.waiting
                .insert(place.unwrap_or(lane.waiting.len()), ticket);
        })
        .is_some()
    }

    /// Has a waiting delivery not start until [`Lanes::release`]; false when it does not wait, or is held
    /// already.
    pub fn hold(&mut self, ticket: &Ticket) -> bool {
        let Some(lane) = self.agents.get_mut(ticket.session.agent_str()) else {
            return false;
        };
        let mut waiting = lane.waiting.iter();
        waiting.any(|waiting| waiting.delivery == ticket.delivery)
            && lane.held.insert(ticket.delivery)
    }

    /// Lets a delivery start that was held.
    pub fn release(&mut self, ticket: &Ticket) {
        if let Some(lane) = self.agents.get_mut(ticket.session.agent_str()) {
            lane.held.remove(&ticket.delivery);
        }
    }

    /// Whether an agent's deliveries may start.
    pub fn is_open(&self, agent: &AgentId) -> bool {
        self.agents.get(agent).is_some_and(|lane| lane.open)
    }

    /// Starts the next delivery that may run.
    pub fn start_next(&mut self) -> Option<Ticket> {
        if self.running >= self.max_running {
            return None;
        }
        let after = self.agents.range::<str, _>((
            self.last
                .as_ref()
                .map_or(std::ops::Bound::Unbounded, |last| {
                    std::ops::Bound::Excluded(last.as_str())
                }),
            std::ops::Bound::Unbounded,
        ));
        let (agent, index) = after
            .chain(self.agents.iter())
            .find_map(|(agent, lane)| lane.startable().map(|index| (agent.clone(), index)))?;
        let lane = self.agents.get_mut(&agent).expect("just found");
        let ticket = lane.waiting.remove(index).expect("just found");
        lane.running.push(ticket.clone());
        self.running += 1;
        self.last = Some(agent);
        Some(ticket)
    }

    /// A running delivery has ended; false when it was not running.
    pub fn finish(&mut self, ticket: &Ticket) -> bool {
        let Some(lane) = self.agents.get_mut(ticket.session.agent_str()) else {
            return false;
        };
        let Some(index) = lane
            .running
            .iter()
            .position(|running| running.delivery == ticket.delivery)
        else {
            return false;
        };
        lane.running.swap_remove(index);
        self.running -= 1;
        true
    }

    /// Takes a waiting delivery out; false when it was not waiting.
    pub fn withdraw(&mut self, ticket: &Ticket) -> bool {
        let Some(lane) = self.agents.get_mut(ticket.session.agent_str()) else {
            return false;
        };
        lane.held.remove(&ticket.delivery);
        let before = lane.waiting.len();
        lane.waiting
            .retain(|waiting| waiting.delivery != ticket.delivery);
        lane.waiting.len() < before
    }

    /// A running delivery goes back to the head of the queue, ahead of all that came after it. The
    /// queue's bound does not apply: it has been admitted.
    pub fn requeue(&mut self, ticket: &Ticket) {
        if self.finish(ticket)
            && let Some(lane) = self.agents.get_mut(ticket.session.agent_str())
        {
            lane.waiting.push_front(ticket.clone());
        }
    }

    /// Lets an agent's deliveries start.
    pub fn open(&mut self, agent: &AgentId) {
        self.set_open(agent, true);
    }

    /// Lets none start; those that run go on.
    pub fn close(&mut self, agent: &AgentId) {
        self.set_open(agent, false);
    }

    fn set_open(&mut self, agent: &AgentId, open: bool) {
        if let Some(lane) = self.agents.get_mut(agent) {
            lane.open = open;
        }
    }

    /// The deliveries of an agent that run, oldest first.
    pub fn running(&self, agent: &AgentId) -> Vec<Ticket> {
        let mut running = self
            .agents
            .get(agent)
            .map_or_else(Vec::new, |lane| lane.running.clone());
        running.sort_by_key(|ticket| ticket.delivery);
        running
    }

    /// The deliveries of an agent that wait, in order.
    pub fn waiting(&self, agent: &AgentId) -> Vec<Ticket> {
        self.agents
            .get(agent)
            .map_or_else(Vec::new, |lane| lane.waiting.iter().cloned().collect())
    }

    /// How many deliveries of an agent wait, and how many run.
    pub fn counts(&self, agent: &AgentId) -> (usize, usize) {
        self.agents
            .get(agent)
            .map_or((0, 0), |lane| (lane.waiting.len(), lane.running.len()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn ticket(agent: &str, session: &str) -> Ticket {
        Ticket {
            delivery: DeliveryId::new(),
            session: format!("agent:{agent}:{session}").parse().unwrap(),
        }
    }

    fn lanes(max_running: usize, agents: &[(&str, usize)]) -> Lanes {
        let mut lanes = Lanes::new(max_running);
        for (agent, max_concurrent) in agents {
            lanes.add(agent.parse().unwrap(), *max_concurrent, 10);
            lanes.open(&agent.parse().unwrap());
        }
        lanes
    }

    #[test]
    fn two_agents_run_at_once_and_each_one_in_turn() {
        let mut lanes = lanes(2, &[("a", 1), ("b", 1)]);
        let (a1, a2, b1) = (ticket("a", "x"), ticket("a", "y"), ticket("b", "x"));
        for ticket in [&a1, &a2, &b1] {
            assert!(lanes.admit(ticket.clone()));
        }
        assert_eq!(lanes.start_next(), Some(a1.clone()));
        assert_eq!(lanes.start_next(), Some(b1));
        assert_eq!(lanes.start_next(), None);
        assert!(lanes.finish(&a1));
        assert_eq!(lanes.start_next(), Some(a2));
    }

    #[test]
    fn a_session_has_one_turn_at_a_time_and_holds_up_no_other() {
        let mut lanes = lanes(8, &[("a", 8)]);
        let (x1, x2, y1) = (ticket("a", "x"), ticket("a", "x"), ticket("a", "y"));
        for ticket in [&x1, &x2, &y1] {
            assert!(lanes.admit(ticket.clone()));
        }
        assert_eq!(
            (lanes.start_next(), lanes.start_next(), lanes.start_next()),
            (Some(x1.clone()), Some(y1), None)
        );
        lanes.finish(&x1);
        assert_eq!(lanes.start_next(), Some(x2));
    }

    #[test]
    fn the_fleet_s_places_go_round() {
        let mut lanes = lanes(1, &[("a", 1), ("b", 1)]);
        for _ in 0..3 {
            assert!(lanes.admit(ticket("a", "x")));
        }
        assert!(lanes.admit(ticket("b", "x")));
        let mut order = Vec::new();
        while let Some(next) = lanes.start_next() {
            order.push(next.session.agent_str().to_owned());
            lanes.finish(&next);
        }
        assert_eq!(order, ["a", "b", "a", "a"]);
    }

    #[test]
    fn what_is_requeued_comes_first_and_a_closed_agent_starts_nothing() {
        let mut lanes = lanes(1, &[("a", 1)]);
        let (first, second) = (ticket("a", "x"), ticket("a", "x"));
        assert!(lanes.admit(first.clone()));
        assert!(lanes.admit(second));
        assert_eq!(lanes.start_next(), Some(first.clone()));
        let agent = "a".parse().unwrap();
        lanes.close(&agent);
        lanes.requeue(&first);
        assert_eq!(lanes.start_next(), None);
        lanes.open(&agent);
        assert_eq!(lanes.start_next(), Some(first));
    }

    #[test]
    fn limits_that_change_hold_for_what_comes() {
        let mut lanes = lanes(8, &[("a", 4), ("b", 4)]);
        let agent = "a".parse().unwrap();
        for n in 0..6 {
            assert!(lanes.admit(ticket("a", &n.to_string())));
        }
        let first = lanes.start_next().unwrap();
        lanes.start_next().unwrap();
        assert!(lanes.limit(&agent, 1, 2));
        assert_eq!(lanes.start_next(), None, "one too many run already");
        lanes.finish(&first);
        assert_eq!(lanes.start_next(), None);
        assert_eq!(lanes.room("a", 0), Err(Refused::QueueFull(2)));
        lanes.limit(&agent, 8, 9);
        lanes.limit_fleet(3);
        assert!(lanes.start_next().is_some() && lanes.start_next().is_some());
        assert_eq!(lanes.start_next(), None, "the fleet runs three");
        lanes.limit_fleet(4);
        assert!(lanes.start_next().is_some());
        assert!(!lanes.limit(&"z".parse().unwrap(), 1, 1));
    }

    #[test]
    fn an_agent_that_is_removed_leaves_its_places_to_others() {
        let mut lanes = lanes(1, &[("a", 1), ("b", 1)]);
        let (a1, a2, b1) = (ticket("a", "x"), ticket("a", "x"), ticket("b", "x"));
        for ticket in [&a1, &a2, &b1] {
            assert!(lanes.admit(ticket.clone()));
        }
        assert_eq!(lanes.start_next(), Some(a1.clone()));
        let agent: AgentId = "a".parse().unwrap();
        assert_eq!(lanes.remove(&agent), [a1.clone(), a2]);
        assert!(lanes.remove(&agent).is_empty());
        assert_eq!(lanes.start_next(), Some(b1));
        assert!(!lanes.finish(&a1), "it is nobody's any more");
        assert!(!lanes.admit(ticket("a", "x")));
    }

    #[test]
    fn a_full_queue_and_an_unknown_agent_refuse() {
        let mut lanes = lanes(1, &[("a", 1)]);
        for _ in 0..10 {
            assert!(lanes.admit(ticket("a", "x")));
        }
        assert_eq!(lanes.room("a", 0), Err(Refused::QueueFull(10)));
        assert_eq!(lanes.room("z", 0), Err(Refused::UnknownAgent));
        assert!(!lanes.admit(ticket("z", "x")));
        let first = lanes.start_next().unwrap();
        assert_eq!(lanes.room("a", 0), Ok(()));
        assert_eq!(lanes.room("a", 1), Err(Refused::QueueFull(10)));
        // What was admitted once has its place.
        lanes.requeue(&first);
        assert_eq!(lanes.start_next(), Some(first));
    }

    #[test]
    fn what_is_held_keeps_its_place_and_its_session_waits_for_it() {
        let mut lanes = lanes(8, &[("a", 8)]);
        let (x1, x2, y1) = (ticket("a", "x"), ticket("a", "x"), ticket("a", "y"));
        for ticket in [&x1, &x2, &y1] {
            assert!(lanes.admit(ticket.clone()));
        }
        assert!(lanes.hold(&x1));
        assert!(!lanes.hold(&x1), "once");
        assert_eq!((lanes.start_next(), lanes.start_next()), (Some(y1), None));
        lanes.release(&x1);
        assert_eq!(lanes.start_next(), Some(x1.clone()));
        assert!(!lanes.hold(&x1), "it runs");
        lanes.finish(&x1);
        assert!(lanes.hold(&x2));
        assert!(lanes.withdraw(&x2));
        let x0 = Ticket {
            delivery: x1.delivery,
            ..x2.clone()
        };
        assert!(lanes.admit(x2.clone()));
        assert!(lanes.admit_in_place(x0.clone()));
        assert_eq!(lanes.start_next(), Some(x0));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Admit(u8, u8),
        Next,
        Finish(usize),
        Requeue(usize),
        Withdraw(usize),
        Open(u8, bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0u8..3, 0u8..3).prop_map(|(agent, session)| Step::Admit(agent, session)),
            4 => Just(Step::Next),
            3 => any::<usize>().prop_map(Step::Finish),
            1 => any::<usize>().prop_map(Step::Requeue),
            1 => any::<usize>().prop_map(Step::Withdraw),
            1 => (0u8..3, any::<bool>()).prop_map(|(agent, open)| Step::Open(agent, open)),
        ]
    }

    proptest! {
        #[test]
        fn limits_hold_order_holds_and_nothing_is_lost(steps in prop::collection::vec(step(), 0..200)) {
            let mut lanes = lanes(3, &[("a0", 2), ("a1", 1), ("a2", 3)]);
            let (mut running, mut inside): (Vec<Ticket>, Vec<Ticket>) = (vec![], vec![]);
            for step in steps {
                match step {
                    Step::Admit(agent, session) => {
                        let ticket = ticket(&format!("a{agent}"), &session.to_string());
                        if lanes.room(ticket.session.agent_str(), 0).is_ok() {
                            prop_assert!(lanes.admit(ticket.clone()));
                            inside.push(ticket);
                        }
                    }
                    Step::Next => if let Some(next) = lanes.start_next() {
                        // The first of its session among all that wait.
                        let first = inside.iter().find(|t| t.session == next.session && !running.contains(t));
                        prop_assert_eq!(first, Some(&next));
                        running.push(next);
                    },
                    Step::Finish(n) if !running.is_empty() => {
                        let ticket = running.remove(n % running.len());
                        prop_assert!(lanes.finish(&ticket));
                        inside.retain(|t| *t != ticket);
                    }
                    Step::Requeue(n) if !running.is_empty() => {
                        let ticket = running.remove(n % running.len());
                        lanes.requeue(&ticket);
                    }
                    Step::Withdraw(n) if !inside.is_empty() => {
                        let ticket = inside[n % inside.len()].clone();
                        if lanes.withdraw(&ticket) {
                            inside.retain(|t| *t != ticket);
                        } else {
                            prop_assert!(running.contains(&ticket));
                        }
                    }
                    Step::Open(agent, open) => lanes.set_open(&format!("a{agent}").parse().unwrap(), open),
                    _ => {}
                }
                prop_assert!(running.len() <= 3);
                let mut sessions = HashMap::new();
                for ticket in &running {
                    *sessions.entry(&ticket.session).or_insert(0) += 1;
                }
                prop_assert!(sessions.values().all(|count| *count == 1));
            }
            // Whatever is inside comes out.
            for agent in ["a0", "a1", "a2"] {
                lanes.open(&agent.parse().unwrap());
            }
            for ticket in running.drain(..) {
                lanes.finish(&ticket);
                inside.retain(|t| *t != ticket);
            }
            while let Some(next) = lanes.start_next() {
                lanes.finish(&next);
                inside.retain(|t| *t != next);
            }
            prop_assert!(inside.is_empty());
        }
    }
}
