//! One agent: what waits for it, what runs, and where it stands among the agents of its class.

use std::{collections::BTreeMap, time::Duration};

use kennel_shared::{
    ids::{AgentId, DeliveryId},
    session_key::SessionKey,
};

use super::{
    class::{Filed, Rank},
    queue::{Clocks, Queue},
    share::{Account, Typical},
    ticket::{Ticket, Waits, WaitsFor},
};

/// How much of an agent may run and wait, and against whom it competes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Turns at once.
    pub max_concurrent: usize,
    /// Deliveries that may wait.
    pub max_waiting: usize,
    /// Its part of its class, beside the weights of the others.
    pub weight: u32,
    /// The class of its turns.
    pub class: Box<str>,
}

#[derive(Debug)]
pub(super) struct Running {
    session: SessionKey,
    since: u64,
    /// What was charged ahead for it.
    pub(super) ahead: u64,
    /// What it had waited for when it was started.
    waits: Waits,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) agent: AgentId,
    pub(super) terms: Terms,
    /// Its class's number.
    pub(super) class: u32,
    pub(super) account: Account,
    pub(super) queue: Queue,
    pub(super) running: BTreeMap<DeliveryId, Running>,
    pub(super) open: bool,
    /// How it is kept in its class, while it competes.
    pub(super) filed: Option<Filed>,
    /// When it was served last.
    pub(super) served: u64,
    /// The longest wait of what was started since somebody asked.
    pub(super) longest: Duration,
    /// Slots that it could use, over time.
    pub(super) wanted_time: u64,
    wanted: u64,
    typical: Typical,
    clocks: Clocks,
    /// What the class's clock showed when those of the agent were set.
    class_time: u64,
    number: u32,
}

impl Lane {
    pub(super) fn new(agent: AgentId, terms: Terms, class: u32, now: u64) -> Self {
        let clocks = Clocks {
            now,
            ..Clocks::default()
        };
        Self {
            agent,
            account: Account::new(terms.weight, now),
            terms,
            class,
            queue: Queue::default(),
            running: BTreeMap::new(),
            open: false,
            filed: None,
            served: 0,
            longest: Duration::ZERO,
            wanted_time: 0,
            wanted: 0,
            typical: Typical::default(),
            clocks,
            class_time: 0,
            number: 0,
        }
    }

    /// Its number, and where its class's clock stands that it goes by from now on.
    pub(super) fn join(&mut self, number: u32, class_time: u64) {
        (self.number, self.class_time) = (number, class_time);
    }

    fn is_full(&self) -> bool {
        self.running.len() >= self.terms.max_concurrent
    }

    /// The clocks as they are now; `class_time` is how long the class has been full in all.
    pub(super) fn clocks_at(&self, now: u64, class_time: u64) -> Clocks {
        let (passed, mut clocks) = (now - self.clocks.now, self.clocks);
        clocks.now = now;
        if !self.open {
            clocks.held += passed;
        } else if self.is_full() {
            clocks.agent += passed;
        } else {
            clocks.class += class_time - self.class_time;
        }
        clocks
    }

    /// Sets the clocks and charges what runs. To be called before anything changes.
    pub(super) fn advance(&mut self, now: u64, class_time: u64) {
        self.wanted_time += (now - self.clocks.now) * self.wanted;
        self.clocks = self.clocks_at(now, class_time);
        self.class_time = class_time;
        self.account.advance(now);
    }

    /// The clocks as they were set last.
    pub(super) fn clocks(&self) -> Clocks {
        self.clocks
    }

    /// Whether it could use a slot. To be called when something has changed.
    pub(super) fn competes(&mut self) -> bool {
        let room = self.terms.max_concurrent.saturating_sub(self.running.len());
        let more = if self.open {
            room.min(self.queue.ready())
        } else {
            0
        };
        self.wanted = (self.running.len() + more) as u64;
        more > 0
    }

    pub(super) fn rank(&self, now: u64) -> Rank {
        (self.account.tag(now), self.served, self.number)
    }

    /// Starts what is next; what is charged ahead for it.
    pub(super) fn start(&mut self, turn: u64) -> Option<(Ticket, Waits, u64)> {
        let (ticket, waits) = self.queue.start(&self.clocks)?;
        let ahead = self.typical.get();
        let running = Running {
            session: ticket.session.clone(),
            since: self.clocks.now,
            ahead,
            waits,
        };
        self.running.insert(ticket.delivery, running);
        self.account.start(self.clocks.now, ahead);
        self.served = turn;
        self.longest = self.longest.max(waits.total());
        Some((ticket, waits, ahead))
    }

    /// Ends what runs: what was charged ahead for it.
    pub(super) fn finish(&mut self, ticket: &Ticket) -> Option<u64> {
        let running = self.running.remove(&ticket.delivery)?;
        self.account.finish(self.clocks.now, running.ahead);
        self.typical.learn(self.clocks.now - running.since);
        self.queue.ended(&running.session, &self.clocks);
        Some(running.ahead)
    }

    /// Puts what runs back, ahead of all; what was charged ahead for it.
    pub(super) fn requeue(&mut self, ticket: &Ticket) -> Option<u64> {
        let running = self.running.remove(&ticket.delivery)?;
        self.account.finish(self.clocks.now, running.ahead);
        self.queue.returned(ticket, running.waits, &self.clocks);
        Some(running.ahead)
    }

    /// What runs, oldest first.
    pub(super) fn running(&self) -> Vec<Ticket> {
        let running = self.running.iter();
        let ticket = |(delivery, running): (&DeliveryId, &Running)| Ticket {
            delivery: *delivery,
            session: running.session.clone(),
        };
        running.map(ticket).collect()
    }

    /// What stands in the way of one that waits, and what it has waited for.
    pub(super) fn looked_at(
        &self,
        ticket: &Ticket,
        now: u64,
        class_time: u64,
        class_is_full: bool,
    ) -> Option<(WaitsFor, Waits)> {
        let clocks = self.clocks_at(now, class_time);
        let (waits_for, waits) = self.queue.looked_at(ticket, &clocks)?;
        let waits_for = waits_for.unwrap_or(if !self.open {
            WaitsFor::Held
        } else if self.is_full() {
            WaitsFor::Agent
        } else if class_is_full {
            WaitsFor::Class
        } else {
            WaitsFor::Fleet
        });
        Some((waits_for, waits))
    }
}
