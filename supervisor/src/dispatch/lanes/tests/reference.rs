//! The same rules said a second time, without any index: lists that are searched, time that passes for each by itself.
//! After any steps both must have done the same, and what must always hold is looked at beside that.

use kennel_shared::session_key::SessionKey;
use proptest::{prelude::*, sample::Index};

use super::*;

const AGENTS: [&str; 4] = ["a0", "a1", "a2", "a3"];
const CLASSES: [&str; 3] = [INTERACTIVE, BATCH, "other"];
const WEIGHTS: [u32; 3] = [1, 100, 250];

#[derive(Debug, Clone)]
struct Waiting {
    ticket: Ticket,
    /// Where its session stands among those of the agent.
    key: (i64, DeliveryId),
    waits: Waits,
    held: bool,
}

#[derive(Debug)]
struct Turn {
    ticket: Ticket,
    waits: Waits,
    took: Duration,
    ahead: u128,
}

#[derive(Debug)]
struct Agent {
    terms: Terms,
    waiting: Vec<Waiting>,
    running: Vec<Turn>,
    open: bool,
    used: u128,
    typical: u128,
    served: u64,
    competes: bool,
    front: i64,
    number: usize,
}

impl Agent {
    fn ahead(&self) -> u128 {
        let ahead: u128 = self.running.iter().map(|turn| turn.ahead).sum();
        ahead * rate(self.terms.weight)
    }

    fn tag(&self) -> u128 {
        self.used + self.ahead()
    }

    /// The first of each session that is free, but for those that are held.
    fn startable(&self) -> Vec<usize> {
        let mut seen: Vec<&SessionKey> = self
            .running
            .iter()
            .map(|turn| &turn.ticket.session)
            .collect();
        let mut found = Vec::new();
        for (index, waiting) in self.waiting.iter().enumerate() {
            if !seen.contains(&&waiting.ticket.session) {
                seen.push(&waiting.ticket.session);
                if !waiting.held {
                    found.push(index);
                }
            }
        }
        found
    }

    fn could_start(&self) -> bool {
        self.open && self.running.len() < self.terms.max_concurrent && !self.startable().is_empty()
    }

    fn waits_for(&self, index: usize, class_is_full: bool) -> WaitsFor {
        let session = &self.waiting[index].ticket.session;
        let mut before = self.waiting[..index].iter();
        if before.any(|other| other.ticket.session == *session)
            || self
                .running
                .iter()
                .any(|turn| turn.ticket.session == *session)
        {
            WaitsFor::Session
        } else if !self.open || self.waiting[index].held {
            WaitsFor::Held
        } else if self.running.len() >= self.terms.max_concurrent {
            WaitsFor::Agent
        } else if class_is_full {
            WaitsFor::Class
        } else {
            WaitsFor::Fleet
        }
    }

    /// At the end of its session.
    fn push(&mut self, ticket: Ticket) {
        let mut of_session = self.waiting.iter().rev();
        let last = of_session.find(|other| other.ticket.session == ticket.session);
        let own = (0, ticket.delivery);
        let key = last.map_or(own, |last| last.key.max(own));
        self.waiting.push(waiting(ticket, key, Waits::default()));
    }

    fn push_front(&mut self, ticket: Ticket, waits: Waits) {
        if self.waiting.is_empty() {
            self.front = 0;
        }
        self.front -= 1;
        let key = (self.front, ticket.delivery);
        self.waiting.insert(0, waiting(ticket, key, waits));
    }

    /// Before the first of its session that came later. One that was admitted out of turn came when the one before it did.
    fn push_in_place(&mut self, ticket: Ticket) {
        let own = (0, ticket.delivery);
        let is_later = |other: &Waiting| match other.key {
            (0, _) => other.key >= own,
            _ => other.ticket.delivery > ticket.delivery,
        };
        let later = self
            .waiting
            .iter()
            .position(|other| other.ticket.session == ticket.session && is_later(other));
        let key = later.map_or(0, |later| self.waiting[later].key.0.min(0));
        let key = (key, ticket.delivery);
        let place = later.unwrap_or(self.waiting.len());
        self.waiting
            .insert(place, waiting(ticket, key, Waits::default()));
    }
}

fn waiting(ticket: Ticket, key: (i64, DeliveryId), waits: Waits) -> Waiting {
    Waiting {
        ticket,
        key,
        waits,
        held: false,
    }
}

fn rate(weight: u32) -> u128 {
    100_000_000 / u128::from(weight)
}

#[derive(Debug, Default)]
struct Class {
    shares: Shares,
    used: u128,
    served: u64,
    competes: bool,
    clock: u128,
    horizon: u128,
}

#[derive(Debug)]
struct Reference {
    fleet: usize,
    agents: BTreeMap<&'static str, Agent>,
    classes: Vec<(Box<str>, Class)>,
    clock: u128,
    horizon: u128,
    turns: u64,
}

impl Reference {
    fn class_of(&mut self, name: &str) -> usize {
        if let Some(index) = self.classes.iter().position(|(known, _)| **known == *name) {
            return index;
        }
        self.classes.push((name.into(), Class::default()));
        self.classes.len() - 1
    }

    fn members(&self, class: usize) -> impl Iterator<Item = &Agent> {
        let name = &*self.classes[class].0;
        self.agents
            .values()
            .filter(move |agent| *agent.terms.class == *name)
    }

    fn running(&self, class: usize) -> usize {
        self.members(class).map(|agent| agent.running.len()).sum()
    }

    fn all_running(&self) -> usize {
        self.agents.values().map(|agent| agent.running.len()).sum()
    }

    fn is_full(&self, class: usize) -> bool {
        let max = self.classes[class].1.shares.max_slots(self.fleet);
        max < self.fleet && self.running(class) >= max
    }

    fn ahead(&self, class: usize) -> u128 {
        let turns = self.members(class).flat_map(|agent| &agent.running);
        let ahead: u128 = turns.map(|turn| turn.ahead).sum();
        ahead * rate(self.classes[class].1.shares.weight)
    }

    fn tag(&self, class: usize) -> u128 {
        self.classes[class].1.used + self.ahead(class)
    }

    fn min_slots(&self) -> Vec<usize> {
        let classes = 0..self.classes.len();
        let shares = |class: usize| self.classes[class].1.shares;
        let mut slots: Vec<usize> = classes.map(|c| shares(c).min_slots(self.fleet)).collect();
        let with_agents: Vec<usize> = (0..slots.len())
            .filter(|class| self.members(*class).next().is_some())
            .collect();
        while with_agents.iter().any(|class| slots[*class] == 0) {
            let all: usize = with_agents.iter().map(|class| slots[*class]).sum();
            let largest = with_agents
                .iter()
                .copied()
                .max_by_key(|class| slots[*class]);
            let largest = largest.expect("one has none");
            if all < self.fleet || slots[largest] == 0 {
                break;
            }
            slots[largest] -= 1;
        }
        slots
    }

    fn pass(&mut self, time: Duration) {
        let full: Vec<bool> = (0..self.classes.len()).map(|c| self.is_full(c)).collect();
        for agent in self.agents.values_mut() {
            let class = self
                .classes
                .iter()
                .position(|(name, _)| *name == agent.terms.class);
            let class = class.expect("it has one");
            let reasons: Vec<WaitsFor> = (0..agent.waiting.len())
                .map(|index| agent.waits_for(index, full[class]))
                .collect();
            for (waiting, reason) in agent.waiting.iter_mut().zip(reasons) {
                *waiting.waits.part(reason) += time;
            }
            for turn in &mut agent.running {
                turn.took += time;
                agent.used += time.as_nanos() * rate(agent.terms.weight);
                let class = &mut self.classes[class].1;
                class.used += time.as_nanos() * rate(class.shares.weight);
            }
        }
    }

    /// What follows from a step for those that compete.
    fn settle(&mut self) {
        for class in 0..self.classes.len() {
            let name = self.classes[class].0.clone();
            let clock = self.classes[class].1.clock;
            for agent in self
                .agents
                .values_mut()
                .filter(|agent| agent.terms.class == name)
            {
                let competes = agent.could_start();
                if competes && !agent.competes {
                    let floor = clock.saturating_sub(agent.ahead());
                    agent.used += floor.saturating_sub(agent.tag());
                }
                agent.competes = competes;
            }
            let wants = self.members(class).any(|agent| agent.competes);
            let competes = wants && !self.is_full(class);
            let floor = self.clock.saturating_sub(self.ahead(class));
            let (behind, running) = (floor.saturating_sub(self.tag(class)), self.running(class));
            let class = &mut self.classes[class].1;
            if competes && !class.competes {
                class.used += behind;
            }
            class.competes = competes;
            if running == 0 && !wants {
                class.clock = class.clock.max(class.horizon);
            }
        }
        if self.all_running() == 0 && !self.agents.values().any(|agent| agent.competes) {
            self.clock = self.clock.max(self.horizon);
        }
    }

    fn start_next(&mut self) -> Option<Started> {
        if self.all_running() >= self.fleet {
            return None;
        }
        let min = self.min_slots();
        let rank = |class: usize| (self.tag(class), self.classes[class].1.served, class);
        let competing = || (0..self.classes.len()).filter(|c| self.classes[*c].1.competes);
        let owed = competing().filter(|class| self.running(*class) < min[*class]);
        let furthest = competing().map(rank).min()?;
        let (tag, _, class) = owed.map(rank).min().unwrap_or(furthest);
        if class == furthest.2 {
            self.clock = self.clock.max(tag);
        }
        let members = self.members(class).filter(|agent| agent.competes);
        let agent = members.min_by_key(|agent| (agent.tag(), agent.served, agent.number))?;
        let tag = agent.tag();
        let key = AGENTS[agent.number];
        self.turns += 1;
        let class = &mut self.classes[class].1;
        class.clock = class.clock.max(tag);
        class.served = self.turns;
        let agent = self.agents.get_mut(key).unwrap();
        agent.served = self.turns;
        let first = agent.startable();
        let first = first
            .into_iter()
            .min_by_key(|index| agent.waiting[*index].key);
        let waiting = agent.waiting.remove(first?);
        agent.running.push(Turn {
            ticket: waiting.ticket.clone(),
            waits: waiting.waits,
            took: Duration::ZERO,
            ahead: agent.typical,
        });
        Some(Started {
            ticket: waiting.ticket,
            waits: waiting.waits,
        })
    }

    fn end(&mut self, ticket: &Ticket, requeued: bool) {
        let agent = self.agents.get_mut(ticket.session.agent_str()).unwrap();
        let index = agent.running.iter().position(|turn| turn.ticket == *ticket);
        let turn = agent.running.remove(index.unwrap());
        if requeued {
            agent.push_front(turn.ticket, turn.waits);
        } else {
            agent.typical = agent.typical - agent.typical / 8 + turn.took.as_nanos() / 8;
        }
        let (tag, class) = (agent.tag(), agent.terms.class.clone());
        let class = self.class_of(&class);
        let class_tag = self.tag(class);
        let class = &mut self.classes[class].1;
        class.horizon = class.horizon.max(tag);
        self.horizon = self.horizon.max(class_tag);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Admit(usize, u8),
    /// One whose number was given out earlier than those of others.
    AdmitLate(Index),
    Early(usize, u8),
    AdmitFirst(usize, u8),
    InPlace(Index),
    Next,
    Fill,
    Finish(Index),
    Requeue(Index),
    Withdraw(Index),
    Hold(Index),
    Release(Index),
    Open(usize, bool),
    Limit(usize, usize, usize, usize),
    Fleet(usize),
    Shares(usize, u32, u32, bool),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let agent = || 0..AGENTS.len();
    let index = any::<Index>;
    prop_oneof![
        8 => (agent(), 0u8..3).prop_map(|(agent, session)| Step::Admit(agent, session)),
        1 => index().prop_map(Step::AdmitLate),
        1 => (agent(), 0u8..3).prop_map(|(agent, session)| Step::Early(agent, session)),
        1 => (agent(), 0u8..3).prop_map(|(agent, session)| Step::AdmitFirst(agent, session)),
        1 => index().prop_map(Step::InPlace),
        6 => Just(Step::Next),
        2 => Just(Step::Fill),
        6 => index().prop_map(Step::Finish),
        2 => index().prop_map(Step::Requeue),
        1 => index().prop_map(Step::Withdraw),
        2 => index().prop_map(Step::Hold),
        2 => index().prop_map(Step::Release),
        1 => (agent(), any::<bool>()).prop_map(|(agent, open)| Step::Open(agent, open)),
        1 => (agent(), 1usize..4, 0..WEIGHTS.len(), 0..CLASSES.len())
            .prop_map(|(agent, max, weight, class)| Step::Limit(agent, max, weight, class)),
        1 => (1usize..7).prop_map(Step::Fleet),
        1 => (0..CLASSES.len(), 0u32..5, 1u32..5, any::<bool>())
            .prop_map(|(class, min, max, last)| Step::Shares(class, min.min(max), max, last)),
        8 => (1u64..3000).prop_map(Step::Pass),
    ]
}

/// Both, and what was given out.
struct Pair {
    bench: Bench,
    reference: Reference,
    shares: BTreeMap<String, Shares>,
    /// Not admitted yet.
    early: Vec<Ticket>,
    withdrawn: Vec<Ticket>,
}

impl Pair {
    fn new() -> Self {
        let mut pair = Self {
            bench: Bench::new(3, &[]),
            reference: Reference {
                fleet: 3,
                agents: BTreeMap::new(),
                classes: Vec::new(),
                clock: 0,
                horizon: 0,
                turns: 0,
            },
            shares: BTreeMap::new(),
            early: Vec::new(),
            withdrawn: Vec::new(),
        };
        for (number, name) in AGENTS.into_iter().enumerate() {
            let terms = terms(number % 3 + 1, WEIGHTS[number % 3], CLASSES[number % 2]);
            pair.reference.class_of(&terms.class);
            pair.bench.lanes.add(id(name), terms.clone());
            pair.bench.lanes.open(&id(name));
            let agent = Agent {
                terms,
                waiting: Vec::new(),
                running: Vec::new(),
                open: true,
                used: 0,
                typical: Duration::from_secs(1).as_nanos(),
                served: 0,
                competes: false,
                front: 0,
                number,
            };
            pair.reference.agents.insert(name, agent);
        }
        pair
    }

    fn agent(&mut self, ticket: &Ticket) -> &mut Agent {
        let name = ticket.session.agent_str();
        self.reference.agents.get_mut(name).unwrap()
    }

    fn all_running(&self) -> Vec<Ticket> {
        let agents = self.reference.agents.values();
        let turns = agents.flat_map(|agent| &agent.running);
        turns.map(|turn| turn.ticket.clone()).collect()
    }

    fn all_waiting(&self) -> Vec<Ticket> {
        let agents = self.reference.agents.values();
        let waiting = agents.flat_map(|agent| &agent.waiting);
        waiting.map(|waiting| waiting.ticket.clone()).collect()
    }

    fn next(&mut self) -> Result<bool, TestCaseError> {
        let could = self.reference.agents.values().any(|agent| {
            let class = self.reference.classes.iter();
            let class = class
                .clone()
                .position(|(name, _)| *name == agent.terms.class);
            agent.could_start() && !self.reference.is_full(class.unwrap())
        });
        let could = could && self.reference.all_running() < self.reference.fleet;
        let wanted = self.reference.start_next();
        let started = self.bench.lanes.start_next();
        prop_assert_eq!(&started, &wanted);
        // No slot stays free that somebody could use.
        prop_assert_eq!(started.is_some(), could);
        Ok(could)
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each step")]
    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let (running, waiting) = (self.all_running(), self.all_waiting());
        let one_of = |index: &Index, tickets: &[Ticket]| {
            let some = !tickets.is_empty();
            some.then(|| tickets[index.index(tickets.len())].clone())
        };
        match step {
            Step::Admit(agent, session) | Step::Early(agent, session) => {
                let ticket = ticket(AGENTS[*agent], &session.to_string());
                if let Step::Early(..) = step {
                    self.early.push(ticket);
                } else {
                    prop_assert!(self.bench.lanes.admit(&ticket));
                    self.agent(&ticket).push(ticket.clone());
                }
            }
            Step::AdmitLate(index) => {
                if let Some(ticket) = one_of(index, &self.early) {
                    self.early.retain(|early| *early != ticket);
                    prop_assert!(self.bench.lanes.admit(&ticket));
                    self.agent(&ticket).push(ticket.clone());
                }
            }
            Step::AdmitFirst(agent, session) => {
                let ticket = ticket(AGENTS[*agent], &session.to_string());
                prop_assert!(self.bench.lanes.admit_first(&ticket));
                self.agent(&ticket)
                    .push_front(ticket.clone(), Waits::default());
            }
            Step::InPlace(index) => {
                if let Some(ticket) = one_of(index, &self.withdrawn) {
                    self.withdrawn.retain(|withdrawn| *withdrawn != ticket);
                    prop_assert!(self.bench.lanes.admit_in_place(&ticket));
                    self.agent(&ticket).push_in_place(ticket.clone());
                }
            }
            Step::Next => {
                self.next()?;
            }
            Step::Fill => {
                while self.next()? {
                    self.reference.settle();
                }
            }
            Step::Finish(index) => {
                if let Some(ticket) = one_of(index, &running) {
                    prop_assert!(self.bench.lanes.finish(&ticket));
                    prop_assert!(!self.bench.lanes.finish(&ticket));
                    self.reference.end(&ticket, false);
                }
            }
            Step::Requeue(index) => {
                if let Some(ticket) = one_of(index, &running) {
                    self.bench.lanes.requeue(&ticket);
                    self.reference.end(&ticket, true);
                }
            }
            Step::Withdraw(index) => {
                if let Some(ticket) = one_of(index, &waiting) {
                    prop_assert!(self.bench.lanes.withdraw(&ticket));
                    prop_assert!(!self.bench.lanes.withdraw(&ticket));
                    self.agent(&ticket)
                        .waiting
                        .retain(|other| other.ticket != ticket);
                    self.withdrawn.push(ticket);
                }
            }
            Step::Hold(index) | Step::Release(index) => {
                if let Some(ticket) = one_of(index, &waiting) {
                    let hold = matches!(step, Step::Hold(_));
                    let mut all = self.agent(&ticket).waiting.iter_mut();
                    let own = all.find(|other| other.ticket == ticket).unwrap();
                    let was = std::mem::replace(&mut own.held, hold);
                    if hold {
                        prop_assert_eq!(self.bench.lanes.hold(&ticket), !was);
                    } else {
                        self.bench.lanes.release(&ticket);
                    }
                }
            }
            Step::Open(agent, open) => {
                self.bench.lanes.set_open(&id(AGENTS[*agent]), *open);
                self.reference.agents.get_mut(AGENTS[*agent]).unwrap().open = *open;
            }
            Step::Limit(agent, max, weight, class) => {
                let terms = terms(*max, WEIGHTS[*weight], CLASSES[*class]);
                self.reference.class_of(&terms.class);
                prop_assert!(self.bench.lanes.limit(&id(AGENTS[*agent]), terms.clone()));
                let agent = self.reference.agents.get_mut(AGENTS[*agent]).unwrap();
                agent.terms = terms;
                agent.competes = false;
            }
            Step::Fleet(fleet) => {
                self.bench.lanes.limit_fleet(*fleet);
                self.reference.fleet = *fleet;
            }
            Step::Shares(class, min, max, last) => {
                let max = if *last {
                    Most::AllButOne
                } else {
                    Most::Share(f64::from(*max) / 4.0)
                };
                let min = f64::from(*min) / 4.0;
                let shares = Shares {
                    weight: WEIGHTS[*class],
                    min,
                    max,
                };
                self.shares.insert(CLASSES[*class].to_owned(), shares);
                for name in self.shares.keys() {
                    self.reference.class_of(name);
                }
                for (name, class) in &mut self.reference.classes {
                    class.shares = self.shares.get(&**name).copied().unwrap_or_default();
                }
                self.bench.lanes.set_classes(&self.shares);
            }
            Step::Pass(millis) => {
                self.reference.pass(Duration::from_millis(*millis));
                self.bench.pass(*millis);
            }
        }
        self.reference.settle();
        Ok(())
    }

    fn same(&self) -> Result<(), TestCaseError> {
        for (name, agent) in &self.reference.agents {
            let lanes = &self.bench.lanes;
            let counts = (agent.waiting.len(), agent.running.len());
            prop_assert_eq!(lanes.counts(&id(name)), counts);
            let waiting = lanes.waiting(&id(name));
            for session in ["0", "1", "2"] {
                let of = |ticket: &&Ticket| ticket.session.rest() == session;
                let found: Vec<&Ticket> = waiting.iter().filter(of).collect();
                let wanted = agent.waiting.iter().map(|waiting| &waiting.ticket);
                let wanted: Vec<&Ticket> = wanted.filter(of).collect();
                prop_assert_eq!(found, wanted);
                let turns = agent.running.iter();
                let turns = turns.filter(|turn| turn.ticket.session.rest() == session);
                prop_assert!(turns.count() <= 1, "two turns in a session");
            }
            let class = self.reference.classes.iter();
            let class = class
                .clone()
                .position(|(name, _)| *name == agent.terms.class);
            let class_is_full = self.reference.is_full(class.unwrap());
            for (index, waiting) in agent.waiting.iter().enumerate() {
                let wanted = (agent.waits_for(index, class_is_full), waiting.waits);
                prop_assert_eq!(lanes.waits_for(&waiting.ticket), Some(wanted));
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn it_does_what_a_scheduler_without_any_index_does(
        steps in prop::collection::vec(step(), 0..150)
    ) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.take(step)?;
            pair.same()?;
        }
        // Whatever is inside comes out, and once only.
        pair.reference.settle();
        for name in AGENTS {
            pair.take(&Step::Open(AGENTS.iter().position(|n| *n == name).unwrap(), true))?;
        }
        for ticket in pair.all_waiting() {
            pair.bench.lanes.release(&ticket);
            let mut all = pair.agent(&ticket).waiting.iter_mut();
            all.find(|other| other.ticket == ticket).unwrap().held = false;
        }
        pair.reference.settle();
        let mut left = pair.all_waiting().len() + pair.all_running().len();
        while left > 0 {
            pair.take(&Step::Fill)?;
            pair.take(&Step::Pass(100))?;
            for ticket in pair.all_running() {
                prop_assert!(pair.bench.lanes.finish(&ticket));
                pair.reference.end(&ticket, false);
                pair.reference.settle();
                left -= 1;
            }
            pair.same()?;
        }
        for name in AGENTS {
            prop_assert_eq!(pair.bench.lanes.remove(&id(name)), []);
        }
        prop_assert_eq!(pair.bench.lanes.running, 0);
    }
}
