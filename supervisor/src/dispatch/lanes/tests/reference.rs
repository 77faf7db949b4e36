//! The same rules said a second time, without any index: lists that are searched, time that passes for each by itself.

use kennel_shared::session_key::SessionKey;

use super::*;

mod steps;

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
    own: Own,
}

/// The class that a message has of its own.
type Own = Option<&'static str>;

#[derive(Debug)]
struct Turn {
    ticket: Ticket,
    waits: Waits,
    took: Duration,
    ahead: u128,
    own: Own,
}

/// An agent in one class.
#[derive(Debug)]
struct Seat {
    used: u128,
    typical: u128,
    served: u64,
    competes: bool,
    slot_time: Duration,
}

impl Default for Seat {
    fn default() -> Self {
        Self {
            used: 0,
            typical: Duration::from_secs(1).as_nanos(),
            served: 0,
            competes: false,
            slot_time: Duration::ZERO,
        }
    }
}

#[derive(Debug)]
struct Agent {
    terms: Terms,
    waiting: Vec<Waiting>,
    running: Vec<Turn>,
    open: bool,
    seats: BTreeMap<Box<str>, Seat>,
    wanted_time: Duration,
    front: i64,
    number: usize,
}

impl Agent {
    fn class(&self, own: Own) -> &str {
        own.unwrap_or(&self.terms.class)
    }

    fn seat(&mut self, class: &str) -> &mut Seat {
        self.seats.entry(class.into()).or_default()
    }

    fn turns(&self, class: &str) -> impl Iterator<Item = &Turn> {
        let turns = self.running.iter();
        turns.filter(move |turn| self.class(turn.own) == class)
    }

    fn ahead(&self, class: &str) -> u128 {
        let ahead: u128 = self.turns(class).map(|turn| turn.ahead).sum();
        ahead * rate(self.terms.weight)
    }

    fn tag(&self, class: &str) -> u128 {
        let used = self.seats.get(class).map_or(0, |seat| seat.used);
        used + self.ahead(class)
    }

    /// Whether the class has agents because of this one.
    fn is_member(&self, class: &str) -> bool {
        let waiting = self.waiting.iter().map(|waiting| waiting.own);
        let mut own = waiting.chain(self.running.iter().map(|turn| turn.own));
        *self.terms.class == *class || own.any(|own| own == Some(class))
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

    fn startable_in(&self, class: &str) -> Vec<usize> {
        let mut startable = self.startable();
        startable.retain(|index| self.class(self.waiting[*index].own) == class);
        startable
    }

    fn room(&self) -> usize {
        let room = self.terms.max_concurrent.saturating_sub(self.running.len());
        if self.open { room } else { 0 }
    }

    fn could_start(&self, class: &str) -> bool {
        self.room() > 0 && !self.startable_in(class).is_empty()
    }

    fn waits_for(&self, index: usize, is_full: impl Fn(&str) -> bool) -> WaitsFor {
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
        } else if is_full(self.class(self.waiting[index].own)) {
            WaitsFor::Class
        } else {
            WaitsFor::Fleet
        }
    }

    /// At the end of its session.
    fn push(&mut self, ticket: Ticket, own: Own) {
        let mut of_session = self.waiting.iter().rev();
        let last = of_session.find(|other| other.ticket.session == ticket.session);
        let natural = (0, ticket.delivery);
        let key = last.map_or(natural, |last| last.key.max(natural));
        self.waiting
            .push(waiting(ticket, own, key, Waits::default()));
    }

    fn push_front(&mut self, ticket: Ticket, own: Own, waits: Waits) {
        if self.waiting.is_empty() {
            self.front = 0;
        }
        self.front -= 1;
        let key = (self.front, ticket.delivery);
        self.waiting.insert(0, waiting(ticket, own, key, waits));
    }

    /// Before the first of its session that came later. One that was admitted out of turn came when the one before it did.
    fn push_in_place(&mut self, ticket: Ticket, own: Own) {
        let natural = (0, ticket.delivery);
        let is_later = |other: &Waiting| match other.key {
            (0, _) => other.key >= natural,
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
            .insert(place, waiting(ticket, own, key, Waits::default()));
    }
}

fn waiting(ticket: Ticket, own: Own, key: (i64, DeliveryId), waits: Waits) -> Waiting {
    Waiting {
        ticket,
        key,
        waits,
        held: false,
        own,
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

    fn name(&self, class: usize) -> &str {
        &self.classes[class].0
    }

    fn has_members(&self, class: usize) -> bool {
        let mut agents = self.agents.values();
        agents.any(|agent| agent.is_member(self.name(class)))
    }

    fn turns(&self, class: usize) -> impl Iterator<Item = &Turn> {
        let agents = self.agents.values();
        agents.flat_map(move |agent| agent.turns(self.name(class)))
    }

    fn running(&self, class: usize) -> usize {
        self.turns(class).count()
    }

    fn is_full_by_name(&self, name: &str) -> bool {
        let mut names = self.classes.iter();
        let class = names.position(|(known, _)| **known == *name);
        self.is_full(class.expect("it is known"))
    }

    fn all_running(&self) -> usize {
        self.agents.values().map(|agent| agent.running.len()).sum()
    }

    fn is_full(&self, class: usize) -> bool {
        let max = self.classes[class].1.shares.max_slots(self.fleet);
        max < self.fleet && self.running(class) >= max
    }

    fn ahead(&self, class: usize) -> u128 {
        let ahead: u128 = self.turns(class).map(|turn| turn.ahead).sum();
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
            .filter(|class| self.has_members(*class))
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
        let names = self.classes.iter().map(|(name, _)| name.clone());
        let full: BTreeMap<Box<str>, bool> = names
            .map(|name| (name.clone(), self.is_full_by_name(&name)))
            .collect();
        for agent in self.agents.values_mut() {
            let reasons: Vec<WaitsFor> = (0..agent.waiting.len())
                .map(|index| agent.waits_for(index, |class| full[class]))
                .collect();
            let wanted = agent.running.len() + agent.room().min(agent.startable().len());
            agent.wanted_time += time * u32::try_from(wanted).unwrap();
            for (waiting, reason) in agent.waiting.iter_mut().zip(reasons) {
                *waiting.waits.part(reason) += time;
            }
            for index in 0..agent.running.len() {
                agent.running[index].took += time;
                let class = agent.class(agent.running[index].own).to_owned();
                let rate_of_agent = rate(agent.terms.weight);
                let seat = agent.seat(&class);
                seat.used += time.as_nanos() * rate_of_agent;
                seat.slot_time += time;
                let mut classes = self.classes.iter_mut();
                let (_, class) = classes.find(|(name, _)| **name == *class).unwrap();
                class.used += time.as_nanos() * rate(class.shares.weight);
            }
        }
    }

    fn competing(&self, class: &str) -> impl Iterator<Item = &Agent> {
        let agents = self.agents.values();
        agents.filter(move |agent| agent.seats.get(class).is_some_and(|seat| seat.competes))
    }

    /// What follows from a step for those that compete.
    fn settle(&mut self) {
        for class in 0..self.classes.len() {
            let name = self.classes[class].0.clone();
            let clock = self.classes[class].1.clock;
            for agent in self.agents.values_mut() {
                let competes = agent.could_start(&name);
                let floor = clock.saturating_sub(agent.ahead(&name));
                let behind = floor.saturating_sub(agent.tag(&name));
                let seat = agent.seat(&name);
                if competes && !seat.competes {
                    seat.used += behind;
                }
                seat.competes = competes;
            }
            let wants = self.competing(&name).next().is_some();
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
        let mut names = self.classes.iter();
        let wants = names.any(|(name, _)| self.competing(name).next().is_some());
        if self.all_running() == 0 && !wants {
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
        let name = self.classes[class].0.clone();
        let rank = |agent: &&Agent| (agent.tag(&name), agent.seats[&name].served, agent.number);
        let agent = self.competing(&name).min_by_key(rank)?;
        let tag = agent.tag(&name);
        let key = AGENTS[agent.number];
        self.turns += 1;
        let class = &mut self.classes[class].1;
        class.clock = class.clock.max(tag);
        class.served = self.turns;
        let agent = self.agents.get_mut(key).unwrap();
        agent.seat(&name).served = self.turns;
        let first = agent.startable_in(&name);
        let first = first
            .into_iter()
            .min_by_key(|index| agent.waiting[*index].key);
        let waiting = agent.waiting.remove(first?);
        agent.running.push(Turn {
            ticket: waiting.ticket.clone(),
            waits: waiting.waits,
            took: Duration::ZERO,
            ahead: agent.seats[&name].typical,
            own: waiting.own,
        });
        Some(Started {
            ticket: waiting.ticket,
            waits: waiting.waits,
            class: (*name).into(),
        })
    }

    fn end(&mut self, ticket: &Ticket, requeued: bool) {
        let agent = self.agents.get_mut(ticket.session.agent_str()).unwrap();
        let index = agent.running.iter().position(|turn| turn.ticket == *ticket);
        let turn = agent.running.remove(index.unwrap());
        let class = agent.class(turn.own).to_owned();
        if requeued {
            agent.push_front(turn.ticket, turn.own, turn.waits);
        } else {
            let seat = agent.seat(&class);
            seat.typical = seat.typical - seat.typical / 8 + turn.took.as_nanos() / 8;
        }
        let tag = agent.tag(&class);
        let class = self.class_of(&class);
        let class_tag = self.tag(class);
        let class = &mut self.classes[class].1;
        class.horizon = class.horizon.max(tag);
        self.horizon = self.horizon.max(class_tag);
    }
}
