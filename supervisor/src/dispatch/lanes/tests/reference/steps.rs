//! Any steps: both must have done the same after each, and what must always hold is looked at beside that.

use proptest::{prelude::*, sample::Index};

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Admit(usize, u8, Own),
    /// One whose number was given out earlier than those of others.
    AdmitLate(Index, Own),
    Early(usize, u8),
    AdmitFirst(usize, u8, Own),
    InPlace(Index, Own),
    /// One that waits or runs has another class from now on.
    Class(Index, Own),
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

/// Most messages have the class of their agent; some name just that.
fn own() -> impl Strategy<Value = Own> {
    prop_oneof![
        3 => Just(None),
        2 => (0..CLASSES.len()).prop_map(|class| Some(CLASSES[class])),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let agent = || 0..AGENTS.len();
    let index = any::<Index>;
    prop_oneof![
        8 => (agent(), 0u8..3, own())
            .prop_map(|(agent, session, own)| Step::Admit(agent, session, own)),
        1 => (index(), own()).prop_map(|(index, own)| Step::AdmitLate(index, own)),
        1 => (agent(), 0u8..3).prop_map(|(agent, session)| Step::Early(agent, session)),
        1 => (agent(), 0u8..3, own())
            .prop_map(|(agent, session, own)| Step::AdmitFirst(agent, session, own)),
        1 => (index(), own()).prop_map(|(index, own)| Step::InPlace(index, own)),
        2 => (index(), own()).prop_map(|(index, own)| Step::Class(index, own)),
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
                seats: BTreeMap::new(),
                wanted_time: Duration::ZERO,
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
            let mut classes = self.reference.classes.iter();
            classes
                .any(|(name, _)| agent.could_start(name) && !self.reference.is_full_by_name(name))
        });
        let could = could && self.reference.all_running() < self.reference.fleet;
        let wanted = self.reference.start_next();
        let started = self.bench.lanes.start_next();
        prop_assert_eq!(&started, &wanted);
        // No slot stays free that somebody could use.
        prop_assert_eq!(started.is_some(), could);
        // No class has more than it may, whoever uses it.
        if let Some(started) = started {
            let class = self.reference.class_of(&started.class);
            let shares = self.reference.classes[class].1.shares;
            let running = self.reference.running(class);
            prop_assert!(running <= shares.max_slots(self.reference.fleet));
        }
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
            Step::Early(agent, session) => {
                let ticket = ticket(AGENTS[*agent], &session.to_string());
                self.early.push(ticket);
            }
            Step::Admit(agent, session, own) => {
                let ticket = ticket(AGENTS[*agent], &session.to_string());
                self.names(*own);
                prop_assert!(self.bench.lanes.admit(&ticket, *own));
                self.agent(&ticket).push(ticket.clone(), *own);
            }
            Step::AdmitLate(index, own) => {
                if let Some(ticket) = one_of(index, &self.early) {
                    self.early.retain(|early| *early != ticket);
                    self.names(*own);
                    prop_assert!(self.bench.lanes.admit(&ticket, *own));
                    self.agent(&ticket).push(ticket.clone(), *own);
                }
            }
            Step::AdmitFirst(agent, session, own) => {
                let ticket = ticket(AGENTS[*agent], &session.to_string());
                self.names(*own);
                prop_assert!(self.bench.lanes.admit_first(&ticket, *own));
                self.agent(&ticket)
                    .push_front(ticket.clone(), *own, Waits::default());
            }
            Step::InPlace(index, own) => {
                if let Some(ticket) = one_of(index, &self.withdrawn) {
                    self.withdrawn.retain(|withdrawn| *withdrawn != ticket);
                    self.names(*own);
                    prop_assert!(self.bench.lanes.admit_in_place(&ticket, *own));
                    self.agent(&ticket).push_in_place(ticket.clone(), *own);
                }
            }
            Step::Class(index, own) => {
                let all = [&running[..], &waiting[..]].concat();
                if let Some(ticket) = one_of(index, &all) {
                    self.names(*own);
                    prop_assert!(self.bench.lanes.set_class(&ticket, *own));
                    let agent = self.agent(&ticket);
                    let waiting = agent.waiting.iter_mut();
                    let waiting = waiting.map(|one| (&one.ticket, &mut one.own));
                    let running = agent.running.iter_mut();
                    let running = running.map(|one| (&one.ticket, &mut one.own));
                    let mut all = waiting.chain(running);
                    *all.find(|(other, _)| **other == ticket).unwrap().1 = *own;
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
                    prop_assert!(!self.bench.lanes.set_class(&ticket, Some(BATCH)));
                    self.names(Some(BATCH));
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
                for seat in agent.seats.values_mut() {
                    seat.competes = false;
                }
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

    /// A class begins to be when it is named.
    fn names(&mut self, own: Own) {
        if let Some(class) = own {
            self.reference.class_of(class);
        }
    }

    /// What each has used is told, in the class in which it was used, and once.
    fn same_usage(&mut self) -> Result<(), TestCaseError> {
        let usage = self.bench.lanes.take_usage();
        for (name, agent) in &self.reference.agents {
            let rows = usage.agents.iter();
            let rows: Vec<&AgentUsage> = rows.filter(|row| row.agent.as_str() == *name).collect();
            let own = rows.iter().filter(|row| row.is_own);
            let own: Vec<&str> = own.map(|row| &*row.class).collect();
            prop_assert_eq!(own, [&*agent.terms.class]);
            for (class, seat) in &agent.seats {
                let mut told = rows.iter().filter(|row| *row.class == **class);
                let slot_time = told.next().map_or(Duration::ZERO, |row| row.slot_time);
                prop_assert_eq!(slot_time, seat.slot_time);
                prop_assert!(told.next().is_none(), "twice");
            }
            let wanted: Duration = rows.iter().map(|row| row.wanted_time).sum();
            prop_assert_eq!(wanted, agent.wanted_time);
            prop_assert!(rows.iter().all(|row| row.wanted_time >= row.slot_time));
        }
        for row in &usage.classes {
            let class = self.reference.class_of(&row.class);
            prop_assert_eq!(row.running, self.reference.running(class));
            prop_assert_eq!(row.min_slots, self.reference.min_slots()[class]);
        }
        Ok(())
    }

    fn same(&mut self) -> Result<(), TestCaseError> {
        self.same_usage()?;
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
            for (index, waiting) in agent.waiting.iter().enumerate() {
                let is_full = |class: &str| self.reference.is_full_by_name(class);
                let wanted = (agent.waits_for(index, is_full), waiting.waits);
                prop_assert_eq!(lanes.waits_for(&waiting.ticket), Some(wanted));
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

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
