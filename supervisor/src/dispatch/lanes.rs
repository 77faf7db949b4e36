//! What may run now: `session -> agent -> class -> fleet`. Pure: time comes in by [`Lanes::advance`].
//!
//! - One turn at a time in a session, in the order of admission.
//! - At most so many turns at once for an agent, for a class of agents, and for the fleet.
//! - Within that no slot stays free that somebody could use.
//! - Between agents of a class, and between classes, slot time is shared by weight: who is furthest behind is next ([`share`]
//!   says how, and whose idea it is). A class that has less than is guaranteed to it goes before those that have theirs.
//! - A queue is bounded; a full one refuses.
//!
//! Nobody starves. Say that no turn lasts longer than `L`, that an agent has the weight `w` and runs `k` turns at most, and that
//! the agents of its class have the weight `W` together, may run `n` turns together, and have `s` slots. Once nothing of its
//! own agent stands in its way, its next message starts within `L * (2 + (2 * n + (k + 1) * W / w) / s)`: what is served before it
//! is what the others may use before they are as far as it is, and beyond that the turns that they have begun by then. How many
//! slots a class has follows in the same way from the weights of classes; there is one slot at least that is guaranteed
//! to nobody.
//!
//! Each message says what it has waited for, [`Waits`]; each moment counts for the first of the four that stood in the way.
//!
//! Invariant: an admitted delivery is either waiting or running, and leaves only through
//! [`Lanes::finish`] or [`Lanes::withdraw`].
//!
//! | module | holds |
//! | --- | --- |
//! | [`ticket`] | what goes in and comes out |
//! | [`queue`] | the messages of one agent that wait, by session |
//! | [`lane`] | one agent |
//! | [`class`] | one class |
//! | [`share`] | who is behind and who is ahead |

mod class;
mod lane;
mod queue;
mod share;
mod slab;
mod ticket;
mod usage;

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use kennel_shared::{ids::AgentId, session_key::SessionKey};

pub use self::{
    class::{BATCH, INTERACTIVE, Most, Shares, USUAL_WEIGHT},
    lane::Terms,
    ticket::{Refused, Started, Ticket, Waits, WaitsFor},
    usage::{AgentUsage, ClassUsage, Usage},
};
use self::{
    class::{Class, Filed},
    lane::Lane,
    share::{Clock, nanos},
    slab::Slab,
};

/// All lanes.
#[derive(Debug)]
pub struct Lanes {
    agents: Slab<Lane>,
    numbers: HashMap<AgentId, u32>,
    /// They are few, and stay once they were named.
    classes: Vec<Class>,
    clock: Clock,
    max_running: usize,
    running: usize,
    /// Turns that were started.
    turns: u64,
    began: Instant,
    now: u64,
}

impl Lanes {
    /// No agents, and a fleet that runs `max_running` turns at once.
    pub fn new(max_running: usize, now: Instant) -> Self {
        Self {
            agents: Slab::default(),
            numbers: HashMap::new(),
            classes: Vec::new(),
            clock: Clock::default(),
            max_running,
            running: 0,
            turns: 0,
            began: now,
            now: 0,
        }
    }

    /// It is so late: all that is done until this is called again is done now.
    pub fn advance(&mut self, now: Instant) {
        let passed = nanos(now.saturating_duration_since(self.began));
        self.now = self.now.max(passed);
    }

    /// Adds an agent, closed until [`open`](Self::open).
    pub fn add(&mut self, agent: AgentId, terms: Terms) {
        self.remove(&agent);
        let class = self.class(&terms.class);
        let class_time = self.classes[class as usize].advance(self.now);
        let lane = Lane::new(agent.clone(), terms, class, self.now);
        let number = self.agents.put(lane);
        self.agents.get_mut(number).join(number, class_time);
        self.numbers.insert(agent, number);
        self.classes[class as usize].members += 1;
        self.share_out();
    }

    /// Other terms for an agent; false when there is none of the name. What is over its limits has been admitted, and
    /// goes on.
    pub fn limit(&mut self, agent: &AgentId, terms: Terms) -> bool {
        let Some(number) = self.numbers.get(agent).copied() else {
            return false;
        };
        let to = self.class(&terms.class);
        let now = self.now;
        let lane = self.advanced(number);
        let from = lane.class;
        if lane.terms.weight != terms.weight {
            lane.account.weigh(terms.weight, now);
        }
        lane.terms = terms;
        let filed = lane.filed.take();
        lane.class = to;
        let running: Vec<u64> = lane.running.values().map(|running| running.ahead).collect();
        let old = &mut self.classes[from as usize];
        if let Some(filed) = filed {
            old.unfile(number, filed);
        }
        for ahead in &running {
            old.finish(now, *ahead);
        }
        old.members -= 1;
        let new = &mut self.classes[to as usize];
        let class_time = new.advance(now);
        for ahead in running {
            new.start(now, ahead);
        }
        new.members += 1;
        self.agents.get_mut(number).join(number, class_time);
        self.file(number);
        self.share_out();
        true
    }

    /// Another number of turns at once for the fleet.
    pub fn limit_fleet(&mut self, max_running: usize) {
        self.max_running = max_running;
        self.share_out();
    }

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

    /// Forgets an agent and gives what it still had: first what ran, then what waited.
    pub fn remove(&mut self, agent: &AgentId) -> Vec<Ticket> {
        let Some(number) = self.numbers.remove(agent) else {
            return Vec::new();
        };
        let now = self.now;
        let lane = self.agents.take(number);
        let class = &mut self.classes[lane.class as usize];
        if let Some(filed) = lane.filed {
            class.unfile(number, filed);
        }
        for running in lane.running.values() {
            class.finish(now, running.ahead);
        }
        class.members -= 1;
        self.running -= lane.running.len();
        self.share_out();
        let mut left = lane.running();
        left.extend(lane.queue.tickets());
        left
    }

    /// Whether an agent's queue has room for another delivery, beside `coming` ones that are not
    /// admitted yet.
    pub fn room(&self, agent: &str, coming: usize) -> Result<(), Refused> {
        let number = self.numbers.get(agent).ok_or(Refused::UnknownAgent)?;
        let lane = self.agents.get(*number);
        let max = lane.terms.max_waiting;
        if lane.queue.len() + coming >= max {
            return Err(Refused::QueueFull(max));
        }
        Ok(())
    }

    /// Takes a delivery into its agent's queue, at its end. The bound is [`Lanes::room`]'s: what is on
    /// the disk is not turned away. False when there is no such agent.
    pub fn admit(&mut self, ticket: &Ticket) -> bool {
        let admitted = self.change(ticket, |lane| {
            let clocks = lane.clocks();
            lane.queue.push_back(ticket, &clocks);
        });
        admitted.is_some()
    }

    /// Takes a delivery in ahead of all that wait. False when there is no such agent.
    pub fn admit_first(&mut self, ticket: &Ticket) -> bool {
        let admitted = self.change(ticket, |lane| {
            let clocks = lane.clocks();
            lane.queue.push_front(ticket, Waits::default(), &clocks);
        });
        admitted.is_some()
    }

    /// Takes a delivery in ahead of all that came after it: ids grow with time. False when there is no
    /// such agent.
    pub fn admit_in_place(&mut self, ticket: &Ticket) -> bool {
        let admitted = self.change(ticket, |lane| {
            let clocks = lane.clocks();
            lane.queue.push_in_place(ticket, &clocks);
        });
        admitted.is_some()
    }

    /// Has a waiting delivery not start until [`Lanes::release`]; false when it does not wait, or is held
    /// already.
    pub fn hold(&mut self, ticket: &Ticket) -> bool {
        let held = self.change(ticket, |lane| {
            let clocks = lane.clocks();
            lane.queue.hold(ticket, &clocks)
        });
        held.unwrap_or(false)
    }

    /// Lets a delivery start that was held.
    pub fn release(&mut self, ticket: &Ticket) {
        self.change(ticket, |lane| {
            let clocks = lane.clocks();
            lane.queue.release(ticket, &clocks);
        });
    }

    /// Whether an agent's deliveries may start.
    pub fn is_open(&self, agent: &AgentId) -> bool {
        self.lane(agent).is_some_and(|lane| lane.open)
    }

    /// Starts the next delivery that may run.
    pub fn start_next(&mut self) -> Option<Started> {
        if self.running >= self.max_running {
            return None;
        }
        let now = self.now;
        let competing = || (0_usize..).zip(&self.classes).filter(|(_, c)| c.competes);
        let rank = |(index, class): (usize, &Class)| (class.account.tag(now), class.served, index);
        let owed = competing().filter(|(_, class)| class.account.running() < class.min_slots);
        let furthest = competing().map(rank).min()?;
        let (tag, _, class) = owed.map(rank).min().unwrap_or(furthest);
        if class == furthest.2 {
            self.clock.served(tag);
        }
        let (tag, _, number) = self.classes[class].next(&self.agents, now)?;
        self.turns += 1;
        let turn = self.turns;
        let (ticket, waits, ahead) = self.advanced(number).start(turn)?;
        let class = &mut self.classes[class];
        class.clock.served(tag);
        class.served = turn;
        class.start(now, ahead);
        self.running += 1;
        self.file(number);
        Some(Started { ticket, waits })
    }

    /// A running delivery has ended; false when it was not running.
    pub fn finish(&mut self, ticket: &Ticket) -> bool {
        self.end(ticket, Lane::finish)
    }

    /// Takes a waiting delivery out; false when it was not waiting.
    pub fn withdraw(&mut self, ticket: &Ticket) -> bool {
        let withdrawn = self.change(ticket, |lane| {
            let clocks = lane.clocks();
            lane.queue.withdraw(ticket, &clocks)
        });
        withdrawn.unwrap_or(false)
    }

    /// A running delivery goes back to the head of the queue, ahead of all that came after it. The
    /// queue's bound does not apply: it has been admitted.
    pub fn requeue(&mut self, ticket: &Ticket) {
        self.end(ticket, Lane::requeue);
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
        if let Some(number) = self.numbers.get(agent).copied() {
            self.advanced(number).open = open;
            self.file(number);
        }
    }

    /// The deliveries of an agent that run, oldest first.
    pub fn running(&self, agent: &AgentId) -> Vec<Ticket> {
        self.lane(agent).map_or_else(Vec::new, Lane::running)
    }

    /// The deliveries of an agent that wait, in order.
    pub fn waiting(&self, agent: &AgentId) -> Vec<Ticket> {
        let lane = self.lane(agent);
        lane.map_or_else(Vec::new, |lane| lane.queue.tickets())
    }

    /// The deliveries of a session that wait, in order. Takes as long as they are many.
    pub fn waiting_in(&self, session: &SessionKey) -> Vec<Ticket> {
        let number = self.numbers.get(session.agent_str());
        let lane = number.map(|number| self.agents.get(*number));
        lane.map_or_else(Vec::new, |lane| lane.queue.tickets_of(session))
    }

    /// How many deliveries of an agent wait, and how many run.
    pub fn counts(&self, agent: &AgentId) -> (usize, usize) {
        let lane = self.lane(agent);
        lane.map_or((0, 0), |lane| (lane.queue.len(), lane.running.len()))
    }

    /// What stands in the way of a delivery that waits, and what it has waited for by now; `None` when it does not wait.
    pub fn waits_for(&self, ticket: &Ticket) -> Option<(WaitsFor, Waits)> {
        let number = self.numbers.get(ticket.session.agent_str())?;
        let lane = self.agents.get(*number);
        let class = &self.classes[lane.class as usize];
        lane.looked_at(
            ticket,
            self.now,
            class.full_time_at(self.now),
            class.is_full(),
        )
    }

    fn lane(&self, agent: &AgentId) -> Option<&Lane> {
        let number = self.numbers.get(agent)?;
        Some(self.agents.get(*number))
    }

    /// The number of a class, which begins to be if it is not there.
    fn class(&mut self, name: &str) -> u32 {
        let known = (0_u32..)
            .zip(&self.classes)
            .find(|(_, class)| *class.name == *name);
        if let Some((number, _)) = known {
            return number;
        }
        self.classes.push(Class::new(name, self.now));
        u32::try_from(self.classes.len() - 1).expect("classes are few")
    }

    /// A lane that is to be changed, with all that has come about by now.
    fn advanced(&mut self, number: u32) -> &mut Lane {
        let lane = self.agents.get_mut(number);
        let class_time = self.classes[lane.class as usize].advance(self.now);
        lane.advance(self.now, class_time);
        lane
    }

    fn change<T>(&mut self, ticket: &Ticket, change: impl FnOnce(&mut Lane) -> T) -> Option<T> {
        let number = *self.numbers.get(ticket.session.agent_str())?;
        let changed = change(self.advanced(number));
        self.file(number);
        Some(changed)
    }

    fn end(&mut self, ticket: &Ticket, end: fn(&mut Lane, &Ticket) -> Option<u64>) -> bool {
        let now = self.now;
        let Some(number) = self.numbers.get(ticket.session.agent_str()).copied() else {
            return false;
        };
        let lane = self.advanced(number);
        let Some(ahead) = end(lane, ticket) else {
            return false;
        };
        let (class, tag) = (lane.class, lane.account.tag(now));
        let class = &mut self.classes[class as usize];
        class.finish(now, ahead);
        class.clock.ended(tag);
        self.clock.ended(class.account.tag(now));
        self.running -= 1;
        self.file(number);
        true
    }

    /// Keeps an agent, and its class, among those that could use a slot, or not.
    fn file(&mut self, number: u32) {
        let now = self.now;
        let lane = self.agents.get_mut(number);
        let class = &mut self.classes[lane.class as usize];
        let competes = lane.competes();
        if competes && lane.filed.is_none() {
            lane.account.lift(now, class.clock.at());
        }
        let filed = competes.then(|| match lane.account.running() {
            0 => Filed::Still(lane.rank(now)),
            _ => Filed::Moving,
        });
        if filed != lane.filed {
            if let Some(old) = std::mem::replace(&mut lane.filed, filed) {
                class.unfile(number, old);
            }
            if let Some(new) = filed {
                class.file(number, new);
            }
        }
        class.settle(now, &self.clock);
        if self.running == 0 && !self.classes.iter().any(Class::wants) {
            self.clock.idle();
        }
    }

    /// Says anew how many slots each class has.
    fn share_out(&mut self) {
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

#[cfg(test)]
mod tests;
