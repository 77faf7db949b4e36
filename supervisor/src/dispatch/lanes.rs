//! What may run now: `session -> agent -> class -> fleet`. Pure: time comes in by [`Lanes::advance`].
//!
//! - One turn at a time in a session, in the order of admission.
//! - At most so many turns at once for an agent, for a class of agents, and for the fleet.
//! - Within that no slot stays free that somebody could use.
//! - Between agents of a class, and between classes, slot time is shared by weight: who is furthest behind is next ([`share`]
//!   says how, and whose idea it is). A class that has less than is guaranteed to it goes before those that have theirs.
//! - A queue is bounded; a full one refuses.
//! - A delivery is of the class of its agent, or of one of its own: then its slot is one of that class, where its agent competes as
//!   if it were another one. Sessions, their order, and the bounds of the agent are the same for all of its deliveries.
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
//! | [`clocks`] | for how long what stood in an agent's way |
//! | [`lane`] | one agent |
//! | [`place`] | the order of an agent's messages, and which may start |
//! | [`roster`] | agents that come and go |
//! | [`seat`] | one agent in one class |
//! | [`class`] | one class |
//! | [`share`] | who is behind and who is ahead |
//! | [`shares`] | how many slots each class has |

mod class;
mod clocks;
mod lane;
mod place;
mod queue;
mod roster;
mod seat;
mod share;
mod shares;
mod slab;
mod ticket;
mod usage;

use std::{collections::HashMap, sync::Arc, time::Instant};

use kennel_shared::{ids::AgentId, session_key::SessionKey};

pub use self::{
    class::{BATCH, INTERACTIVE, Most, Shares, USUAL_WEIGHT},
    lane::Terms,
    ticket::{Refused, Started, Ticket, Waits, WaitsFor},
    usage::{AgentUsage, ClassUsage, Usage},
};
use self::{
    class::{Class, Filed},
    clocks::Clocks,
    lane::{Lane, Left},
    queue::Queue,
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

    /// Another number of turns at once for the fleet.
    pub fn limit_fleet(&mut self, max_running: usize) {
        self.max_running = max_running;
        self.share_out();
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

    /// How many deliveries of an agent may wait.
    pub fn max_waiting(&self, agent: &str) -> Option<usize> {
        let number = self.numbers.get(agent)?;
        Some(self.agents.get(*number).terms.max_waiting)
    }

    /// Takes a delivery into its agent's queue, at its end. Its turn is of `class`, or else of that of its agent. The bound is
    /// [`Lanes::room`]'s: what is on the disk is not turned away. False when there is no such agent.
    pub fn admit(&mut self, ticket: &Ticket, class: Option<&str>) -> bool {
        self.take_in(ticket, class, Queue::push_back)
    }

    /// Takes a delivery in ahead of all that wait. False when there is no such agent.
    pub fn admit_first(&mut self, ticket: &Ticket, class: Option<&str>) -> bool {
        self.take_in(ticket, class, |queue, ticket, own, clocks| {
            queue.push_front(ticket, own, Waits::default(), clocks);
        })
    }

    /// Takes a delivery in ahead of all that came after it: ids grow with time. False when there is no
    /// such agent.
    pub fn admit_in_place(&mut self, ticket: &Ticket, class: Option<&str>) -> bool {
        self.take_in(ticket, class, Queue::push_in_place)
    }

    fn take_in(&mut self, ticket: &Ticket, class: Option<&str>, push: Push) -> bool {
        let Some(number) = self.numbers.get(ticket.session.agent_str()).copied() else {
            return false;
        };
        let own = self.own_class(number, class);
        let lane = self.agents.get_mut(number);
        push(&mut lane.queue, ticket, own, &lane.clocks);
        self.file(number);
        true
    }

    /// Has a waiting delivery not start until [`Lanes::release`]; false when it does not wait, or is held
    /// already.
    pub fn hold(&mut self, ticket: &Ticket) -> bool {
        let held = self.change(ticket, |lane| lane.queue.hold(ticket, &lane.clocks));
        held.unwrap_or(false)
    }

    /// Lets a delivery start that was held.
    pub fn release(&mut self, ticket: &Ticket) {
        self.change(ticket, |lane| lane.queue.release(ticket, &lane.clocks));
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
        let competing = || (0_u32..).zip(&self.classes).filter(|(_, c)| c.competes);
        let rank = |(index, class): (u32, &Class)| (class.account.tag(now), class.served, index);
        let owed = competing().filter(|(_, class)| class.account.running() < class.min_slots);
        let furthest = competing().map(rank).min()?;
        let (tag, _, class) = owed.map(rank).min().unwrap_or(furthest);
        if class == furthest.2 {
            self.clock.served(tag);
        }
        let (tag, _, number) = self.classes[class as usize].next(class, &self.agents, now)?;
        self.turns += 1;
        let turn = self.turns;
        let (ticket, waits, ahead) = self.advanced(number).start(class, turn)?;
        let class = &mut self.classes[class as usize];
        class.clock.served(tag);
        class.served = turn;
        class.start(now, ahead);
        let class = Arc::clone(&class.name);
        self.running += 1;
        self.file(number);
        Some(Started {
            ticket,
            waits,
            class,
        })
    }

    /// A running delivery has ended; false when it was not running.
    pub fn finish(&mut self, ticket: &Ticket) -> bool {
        self.end(ticket, Lane::finish)
    }

    /// Takes a waiting delivery out; false when it was not waiting.
    pub fn withdraw(&mut self, ticket: &Ticket) -> bool {
        let withdrawn = self.change(ticket, |lane| lane.withdraw(ticket));
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
        lane.looked_at(ticket, self.now, &self.classes)
    }

    fn lane(&self, agent: &AgentId) -> Option<&Lane> {
        let number = self.numbers.get(agent)?;
        Some(self.agents.get(*number))
    }

    /// A lane that is to be changed, with all that has come about by now.
    fn advanced(&mut self, number: u32) -> &mut Lane {
        let lane = self.agents.get_mut(number);
        lane.advance(self.now, &self.classes);
        lane
    }

    fn change<T>(&mut self, ticket: &Ticket, change: impl FnOnce(&mut Lane) -> T) -> Option<T> {
        let number = *self.numbers.get(ticket.session.agent_str())?;
        let changed = change(self.advanced(number));
        self.file(number);
        Some(changed)
    }

    fn end(&mut self, ticket: &Ticket, end: fn(&mut Lane, &Ticket) -> Option<Left>) -> bool {
        let now = self.now;
        let Some(number) = self.numbers.get(ticket.session.agent_str()).copied() else {
            return false;
        };
        let lane = self.advanced(number);
        let Some(Left { class, ahead }) = end(lane, ticket) else {
            return false;
        };
        let tag = lane.seat(class).account.tag(now);
        let class = &mut self.classes[class as usize];
        class.finish(now, ahead);
        class.clock.ended(tag);
        self.clock.ended(class.account.tag(now));
        self.running -= 1;
        self.file(number);
        true
    }

    /// Keeps an agent, in each of its classes, among those that could use a slot, or not; and each class, too.
    fn file(&mut self, number: u32) {
        let now = self.now;
        let lane = self.agents.get_mut(number);
        lane.look();
        let mut other_members = false;
        for (index, seat) in lane.seats.iter_mut().enumerate() {
            let class = &mut self.classes[seat.class as usize];
            other_members |= seat.count(index == 0 || seat.own > 0, &mut class.members);
            if seat.competes && seat.filed.is_none() {
                seat.account.lift(now, class.clock.at());
            }
            let filed = seat.competes.then(|| match seat.account.running() {
                0 => Filed::Still(seat.rank(now, number)),
                _ => Filed::Moving,
            });
            if filed != seat.filed {
                if let Some(old) = std::mem::replace(&mut seat.filed, filed) {
                    class.unfile(number, old);
                }
                if let Some(new) = filed {
                    class.file(number, new);
                }
            }
            class.settle(now, &self.clock);
        }
        if other_members {
            self.share_out();
        }
        if self.running == 0 && !self.classes.iter().any(Class::wants) {
            self.clock.idle();
        }
    }
}

/// How a queue takes something in.
type Push = fn(&mut Queue, &Ticket, Option<u32>, &Clocks);

#[cfg(test)]
mod tests;
