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
