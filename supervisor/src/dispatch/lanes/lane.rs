//! One agent: what waits for it, what runs, and its seats in classes.

use std::collections::BTreeMap;

use kennel_shared::{
    ids::{AgentId, DeliveryId},
    session_key::SessionKey,
};

use super::{
    class::{Class, Rank},
    clocks::{Clocks, Way},
    queue::Queue,
    seat::Seat,
    ticket::{Ticket, Waits, WaitsFor},
};

/// How much of an agent may run and wait, and against whom it competes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Turns at once.
    pub max_concurrent: usize,
    /// Deliveries that may wait.
    pub max_waiting: usize,
    /// Its part of a class, beside the weights of the others.
    pub weight: u32,
    /// The class of its turns, but for deliveries that have one of their own.
    pub class: Box<str>,
}

#[derive(Debug)]
pub(super) struct Running {
    session: SessionKey,
    since: u64,
    /// What was charged ahead for it.
    ahead: u64,
    /// Its class, where that does not follow from its agent.
    own: Option<u32>,
    /// What it had waited for when it was started.
    waits: Waits,
}

/// A turn that has left a class.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left {
    pub(super) class: u32,
    /// What was charged ahead for it.
    pub(super) ahead: u64,
}

/// A turn that is in another class from now on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moved {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) ahead: u64,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) agent: AgentId,
    pub(super) terms: Terms,
    /// The first is that in the class of the agent.
    pub(super) seats: Vec<Seat>,
    pub(super) queue: Queue,
    pub(super) running: BTreeMap<DeliveryId, Running>,
    pub(super) open: bool,
    pub(super) clocks: Clocks,
    number: u32,
}

impl Lane {
    /// Of an agent in `class`, which has been full for so long in all.
    pub(super) fn new(agent: AgentId, terms: Terms, class: u32, full_time: u64, now: u64) -> Self {
        Self {
            agent,
            seats: vec![Seat::new(class, terms.weight, now)],
            terms,
            queue: Queue::default(),
            running: BTreeMap::new(),
            open: false,
            clocks: Clocks::new(now, class, full_time),
            number: 0,
        }
    }

    pub(super) fn join(&mut self, number: u32) {
        self.number = number;
    }

    /// The number of the agent's class.
    pub(super) fn class(&self) -> u32 {
        self.seats[0].class
    }

    fn class_of(&self, own: Option<u32>) -> u32 {
        own.unwrap_or_else(|| self.class())
    }

    fn is_full(&self) -> bool {
        self.running.len() >= self.terms.max_concurrent
    }

    fn way(&self) -> Way {
        if !self.open {
            Way::Closed
        } else if self.is_full() {
            Way::Full
        } else {
            Way::Free
        }
    }

    /// Sets the clocks and charges what runs. To be called before anything changes.
    pub(super) fn advance(&mut self, now: u64, classes: &[Class]) {
        let (way, passed) = (self.way(), now - self.clocks.now);
        for seat in &mut self.seats {
            seat.advance(now, passed);
        }
        let full_time = |class: u32| classes[class as usize].full_time_at(now);
        self.clocks.advance(now, way, full_time);
    }

    /// Sees which seats could use a slot. To be called when something has changed. Where it could use several and has room
    /// for less, those of its own class are counted as wanted first, so that none counts twice.
    pub(super) fn look(&mut self) {
        let mut room = match self.way() {
            Way::Free => self.terms.max_concurrent - self.running.len(),
            Way::Closed | Way::Full => 0,
        };
        let has_room = room > 0;
        for (index, seat) in self.seats.iter_mut().enumerate() {
            let ready = self.queue.ready_in(seat.class, index == 0);
            seat.competes = has_room && ready > 0;
            let more = room.min(ready);
            room -= more;
            seat.wanted = (seat.account.running() + more) as u64;
        }
    }

    pub(super) fn seat(&mut self, class: u32) -> &mut Seat {
        let mut seats = self.seats.iter_mut();
        let seat = seats.find(|seat| seat.class == class);
        seat.expect("it has had something in the class")
    }

    /// The place of its seat in a class, which it takes if it has none.
    fn take_seat(&mut self, class: u32) -> usize {
        let known = self.seats.iter().position(|seat| seat.class == class);
        known.unwrap_or_else(|| {
            let seat = Seat::new(class, self.terms.weight, self.clocks.now);
            self.seats.push(seat);
            self.seats.len() - 1
        })
    }

    /// A message comes that has a class of its own, which has been full for so long in all.
    pub(super) fn expect_in(&mut self, class: u32, full_time: u64) {
        let seat = self.take_seat(class);
        self.seats[seat].own += 1;
        self.clocks.watch(class, full_time);
    }

    fn no_more_in(&mut self, own: Option<u32>) {
        if let Some(class) = own {
            self.seat(class).own -= 1;
        }
    }

    /// It is of another class from now on, and what runs and has none of its own goes along.
    pub(super) fn follow(&mut self, class: u32, full_time: u64) -> Vec<Moved> {
        let from = self.class();
        let seat = self.take_seat(class);
        self.seats.swap(0, seat);
        self.clocks.follow(class, full_time);
        let follow = self.running.values().filter(|one| one.own.is_none());
        let moved: Vec<Moved> = follow
            .map(|one| Moved {
                from,
                to: class,
                ahead: one.ahead,
            })
            .collect();
        for moved in &moved {
            self.move_turn(*moved);
        }
        moved
    }

    fn move_turn(&mut self, Moved { from, to, ahead }: Moved) {
        let now = self.clocks.now;
        self.seat(from).account.finish(now, ahead);
        self.seat(to).account.start(now, ahead);
    }

    /// A message that waits or runs has another class from now on, which [`expect_in`](Self::expect_in) has been told of. False when
    /// there is none; one that runs takes its slot along.
    pub(super) fn change_class(
        &mut self,
        ticket: &Ticket,
        own: Option<u32>,
    ) -> (bool, Option<Moved>) {
        let home = self.class();
        if let Some(running) = self.running.get_mut(&ticket.delivery) {
            let before = std::mem::replace(&mut running.own, own);
            let moved = Moved {
                from: before.unwrap_or(home),
                to: own.unwrap_or(home),
                ahead: running.ahead,
            };
            self.no_more_in(before);
            let moved = (moved.from != moved.to).then_some(moved);
            if let Some(moved) = moved {
                self.move_turn(moved);
            }
            return (true, moved);
        }
        let before = self.queue.change_class(ticket, own, &self.clocks);
        // What was expected has not come.
        self.no_more_in(before.map_or(own, |before| before.own));
        (before.is_some(), None)
    }

    pub(super) fn rank(&self, class: u32, now: u64) -> Rank {
        let seat = self.seats.iter().find(|seat| seat.class == class);
        let seat = seat.expect("it competes in the class");
        seat.rank(now, self.number)
    }

    /// Starts what is next in a class; what is charged ahead for it.
    pub(super) fn start(&mut self, class: u32, turn: u64) -> Option<(Ticket, Waits, u64)> {
        let follows = class == self.class();
        let (ticket, own, waits) = self.queue.start(class, follows, &self.clocks)?;
        let now = self.clocks.now;
        let seat = self.seat(class);
        let ahead = seat.typical.get();
        seat.account.start(now, ahead);
        seat.served = turn;
        seat.longest = seat.longest.max(waits.total());
        let running = Running {
            session: ticket.session.clone(),
            since: now,
            ahead,
            own,
            waits,
        };
        self.running.insert(ticket.delivery, running);
        Some((ticket, waits, ahead))
    }

    /// Ends what runs.
    pub(super) fn finish(&mut self, ticket: &Ticket) -> Option<Left> {
        let running = self.running.remove(&ticket.delivery)?;
        let left = self.leave(&running);
        let took = self.clocks.now - running.since;
        self.seat(left.class).typical.learn(took);
        self.no_more_in(running.own);
        self.queue.ended(&running.session, &self.clocks);
        Some(left)
    }

    /// Puts what runs back, ahead of all.
    pub(super) fn requeue(&mut self, ticket: &Ticket) -> Option<Left> {
        let running = self.running.remove(&ticket.delivery)?;
        let left = self.leave(&running);
        self.queue
            .returned(ticket, running.own, running.waits, &self.clocks);
        Some(left)
    }

    fn leave(&mut self, running: &Running) -> Left {
        let (class, ahead, now) = (self.class_of(running.own), running.ahead, self.clocks.now);
        self.seat(class).account.finish(now, ahead);
        Left { class, ahead }
    }

    /// Takes out what waits; false when it does not.
    pub(super) fn withdraw(&mut self, ticket: &Ticket) -> bool {
        let Some(was) = self.queue.withdraw(ticket, &self.clocks) else {
            return false;
        };
        self.no_more_in(was.own);
        true
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

    /// Where each turn that runs is.
    pub(super) fn turns(&self) -> impl Iterator<Item = Left> {
        self.running.values().map(|running| Left {
            class: self.class_of(running.own),
            ahead: running.ahead,
        })
    }

    /// What stands in the way of one that waits, and what it has waited for.
    pub(super) fn looked_at(
        &self,
        ticket: &Ticket,
        now: u64,
        classes: &[Class],
    ) -> Option<(WaitsFor, Waits)> {
        let way = self.way();
        let mut clocks = self.clocks.clone();
        clocks.advance(now, way, |class| classes[class as usize].full_time_at(now));
        let (waits_for, waits, own) = self.queue.looked_at(ticket, &clocks)?;
        let waits_for = waits_for.unwrap_or(match way {
            Way::Closed => WaitsFor::Held,
            Way::Full => WaitsFor::Agent,
            Way::Free if classes[self.class_of(own) as usize].is_full() => WaitsFor::Class,
            Way::Free => WaitsFor::Fleet,
        });
        Some((waits_for, waits))
    }
}
