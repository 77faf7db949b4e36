//! The messages of one agent that wait, by session: which may start, and what each has waited for.
//!
//! Every step takes as long with a hundred thousand messages as with ten. All of them lie in one tree, sorted by session
//! and place; the first of each session is its head, and the heads whose sessions are free are sorted by place once more.
//! Only a head waits for anything but its session, so only heads have their waits counted: when a message becomes head,
//! the agent's clocks are noted, and when it is no longer, what they have gone on by is its wait.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use kennel_shared::{ids::DeliveryId, session_key::SessionKey};

use super::{
    slab::Slab,
    ticket::{Ticket, Waits, WaitsFor},
};

/// The order of an agent's messages: deliveries are numbered as they come, so most have the place that follows from their
/// number. What goes ahead of all has a negative rank; what came out of turn counts on from the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    rank: i32,
    delivery: DeliveryId,
    after: u32,
}

/// Before all that there are.
const FIRST: Place = Place {
    rank: i32::MIN,
    delivery: DeliveryId::LOWEST,
    after: 0,
};

impl Place {
    fn natural(delivery: DeliveryId) -> Self {
        Self {
            rank: 0,
            delivery,
            after: 0,
        }
    }
}

/// For how long an agent was closed, or had all its turns, or its class had.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clocks {
    pub(super) now: u64,
    pub(super) held: u64,
    pub(super) agent: u64,
    pub(super) class: u64,
}

impl Clocks {
    /// What a head has waited for since `mark`; whatever is none of the others was the fleet.
    fn since(&self, mark: &Self) -> Waits {
        let (held, agent, class) = (
            self.held - mark.held,
            self.agent - mark.agent,
            self.class - mark.class,
        );
        Waits {
            session: Duration::ZERO,
            agent: Duration::from_nanos(agent),
            class: Duration::from_nanos(class),
            fleet: Duration::from_nanos(self.now - mark.now - held - agent - class),
            held: Duration::from_nanos(held),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Head {
    place: Place,
    held: bool,
    /// Since when it is the head.
    mark: Clocks,
}

impl Head {
    /// What the head, which waits since `since`, has waited for by `now`.
    fn waits(&self, since: u64, now: &Clocks) -> Waits {
        let mut waits = if self.held {
            Waits {
                held: Duration::from_nanos(now.now - self.mark.now),
                ..Waits::default()
            }
        } else {
            now.since(&self.mark)
        };
        waits.session = Duration::from_nanos(self.mark.now - since);
        waits
    }
}

#[derive(Debug)]
struct Session {
    key: Arc<SessionKey>,
    runs: bool,
    head: Option<Head>,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    sessions: Slab<Session>,
    numbers: HashMap<Arc<SessionKey>, u32>,
    /// Since when each waits.
    waiting: BTreeMap<(u32, Place), u64>,
    /// Places that do not follow from the number of the delivery.
    odd: HashMap<DeliveryId, Place>,
    /// Who has the places that are named after another delivery.
    named_after: HashMap<(u32, Place), DeliveryId>,
    /// Those that are not to start now. They keep their places, and their sessions wait for them.
    held: HashSet<DeliveryId>,
    /// What those have waited for before that were head before.
    before: HashMap<DeliveryId, Waits>,
    /// Heads that may start.
    ready: BTreeSet<(Place, u32)>,
    /// The rank of the last that went ahead of all.
    front: i32,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// How many could start, if their agent had room.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// For how long the one that is next has waited, but for what it had waited before it was put back.
    pub(super) fn next_age(&self, now: u64) -> u64 {
        let next = self.ready.first();
        next.map_or(0, |(place, number)| now - self.waiting[&(*number, *place)])
    }

    /// Takes one in at the end of its session.
    pub(super) fn push_back(&mut self, ticket: &Ticket, clocks: &Clocks) {
        let number = self.session(&ticket.session);
        let natural = Place::natural(ticket.delivery);
        let place = match self.last_of(number) {
            Some(last) if last > natural => Place {
                after: last.after + 1,
                ..last
            },
            _ => natural,
        };
        if place != natural {
            self.odd.insert(ticket.delivery, place);
            self.named_after.insert((number, place), ticket.delivery);
        }
        self.put(number, place, clocks);
    }

    /// Takes one in ahead of all, which may have run and have waited before.
    pub(super) fn push_front(&mut self, ticket: &Ticket, before: Waits, clocks: &Clocks) {
        let number = self.session(&ticket.session);
        self.front -= 1;
        let place = Place {
            rank: self.front,
            ..Place::natural(ticket.delivery)
        };
        self.odd.insert(ticket.delivery, place);
        if before != Waits::default() {
            self.before.insert(ticket.delivery, before);
        }
        self.put(number, place, clocks);
    }

    /// Takes one in ahead of all of its session that came later.
    pub(super) fn push_in_place(&mut self, ticket: &Ticket, clocks: &Clocks) {
        let number = self.session(&ticket.session);
        let natural = Place::natural(ticket.delivery);
        // Those that went ahead of all are few.
        let ahead = (number, FIRST)..(number, Place::natural(DeliveryId::LOWEST));
        let mut ahead = self.waiting.range(ahead).map(|((_, place), _)| *place);
        let later = ahead.find(|other| other.delivery > ticket.delivery);
        let place = later.map_or(natural, |other| Place {
            rank: other.rank,
            ..natural
        });
        if place != natural {
            self.odd.insert(ticket.delivery, place);
        }
        self.put(number, place, clocks);
    }

    fn put(&mut self, number: u32, place: Place, clocks: &Clocks) {
        self.waiting.insert((number, place), clocks.now);
        self.look(number, clocks);
    }

    /// Takes out the one that is next, which runs from now on, and what it has waited for.
    pub(super) fn start(&mut self, clocks: &Clocks) -> Option<(Ticket, Waits)> {
        let (place, number) = self.ready.first().copied()?;
        let since = self.waiting.remove(&(number, place)).expect("a head waits");
        let session = self.sessions.get_mut(number);
        session.runs = true;
        let head = session.head.expect("what is ready is a head");
        let ticket = Ticket {
            delivery: self.delivery(number, place),
            session: (*self.sessions.get(number).key).clone(),
        };
        let mut waits = head.waits(since, clocks);
        waits += self.forget(number, place, ticket.delivery);
        self.look(number, clocks);
        Some((ticket, waits))
    }

    /// The running message of a session goes back, ahead of all.
    pub(super) fn returned(&mut self, ticket: &Ticket, before: Waits, clocks: &Clocks) {
        let number = self.session(&ticket.session);
        self.sessions.get_mut(number).runs = false;
        self.push_front(ticket, before, clocks);
    }

    /// The running message of a session is done with.
    pub(super) fn ended(&mut self, session: &SessionKey, clocks: &Clocks) {
        if let Some(number) = self.numbers.get(session).copied() {
            self.sessions.get_mut(number).runs = false;
            self.look(number, clocks);
        }
    }

    /// Takes one out; false when it did not wait.
    pub(super) fn withdraw(&mut self, ticket: &Ticket, clocks: &Clocks) -> bool {
        let Some((number, place)) = self.find(ticket) else {
            return false;
        };
        self.waiting.remove(&(number, place));
        self.forget(number, place, ticket.delivery);
        self.look(number, clocks);
        true
    }

    /// Holds one back; false when it does not wait, or is held already.
    pub(super) fn hold(&mut self, ticket: &Ticket, clocks: &Clocks) -> bool {
        let Some((number, _)) = self.find(ticket) else {
            return false;
        };
        let held = self.held.insert(ticket.delivery);
        self.look(number, clocks);
        held
    }

    pub(super) fn release(&mut self, ticket: &Ticket, clocks: &Clocks) {
        if self.held.remove(&ticket.delivery)
            && let Some(number) = self.numbers.get(&ticket.session).copied()
        {
            self.look(number, clocks);
        }
    }

    /// All that wait, in order.
    pub(super) fn tickets(&self) -> Vec<Ticket> {
        let mut places: Vec<(Place, u32)> = self
            .waiting
            .keys()
            .map(|(number, place)| (*place, *number))
            .collect();
        places.sort_unstable();
        let ticket = |(place, number)| Ticket {
            delivery: self.delivery(number, place),
            session: (*self.sessions.get(number).key).clone(),
        };
        places.into_iter().map(ticket).collect()
    }

    /// Those of one session, in order.
    pub(super) fn tickets_of(&self, session: &SessionKey) -> Vec<Ticket> {
        let Some(number) = self.numbers.get(session).copied() else {
            return Vec::new();
        };
        let all = self.waiting.range((number, FIRST)..(number + 1, FIRST));
        let ticket = |place| Ticket {
            delivery: self.delivery(number, place),
            session: session.clone(),
        };
        all.map(|((_, place), _)| ticket(*place)).collect()
    }

    /// What one that waits has waited for by now. `None` in the first place where that is not its session, nor itself.
    pub(super) fn looked_at(
        &self,
        ticket: &Ticket,
        clocks: &Clocks,
    ) -> Option<(Option<WaitsFor>, Waits)> {
        let (number, place) = self.find(ticket)?;
        let since = self.waiting[&(number, place)];
        let before = self.before.get(&ticket.delivery).copied();
        let head = self.sessions.get(number).head;
        let head = head.filter(|head| head.place == place);
        let mut waits = match head {
            Some(head) => head.waits(since, clocks),
            None => Waits {
                session: Duration::from_nanos(clocks.now - since),
                ..Waits::default()
            },
        };
        waits += before.unwrap_or_default();
        let waits_for = match head {
            None => Some(WaitsFor::Session),
            Some(head) if head.held => Some(WaitsFor::Held),
            Some(_) => None,
        };
        Some((waits_for, waits))
    }

    fn session(&mut self, key: &SessionKey) -> u32 {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        let key = Arc::new(key.clone());
        let number = self.sessions.put(Session {
            key: Arc::clone(&key),
            runs: false,
            head: None,
        });
        self.numbers.insert(key, number);
        number
    }

    fn find(&self, ticket: &Ticket) -> Option<(u32, Place)> {
        let number = *self.numbers.get(&ticket.session)?;
        let odd = self.odd.get(&ticket.delivery).copied();
        let place = odd.unwrap_or_else(|| Place::natural(ticket.delivery));
        let waits = self.waiting.contains_key(&(number, place));
        waits.then_some((number, place))
    }

    /// Who has a place.
    fn delivery(&self, number: u32, place: Place) -> DeliveryId {
        if place.after == 0 {
            return place.delivery;
        }
        self.named_after[&(number, place)]
    }

    fn last_of(&self, number: u32) -> Option<Place> {
        let mut all = self.waiting.range((number, FIRST)..(number + 1, FIRST));
        all.next_back().map(|((_, place), _)| *place)
    }

    fn first_of(&self, number: u32) -> Option<Place> {
        let mut all = self.waiting.range((number, FIRST)..);
        all.next()
            .filter(|((of, _), _)| *of == number)
            .map(|((_, place), _)| *place)
    }

    /// Nothing more is to be known of one that does not wait any more.
    fn forget(&mut self, number: u32, place: Place, delivery: DeliveryId) -> Waits {
        if self.odd.remove(&delivery).is_some() {
            self.named_after.remove(&(number, place));
        }
        self.held.remove(&delivery);
        self.before.remove(&delivery).unwrap_or_default()
    }

    /// Sees who is head of a session now, after something has changed in it.
    fn look(&mut self, number: u32, clocks: &Clocks) {
        let session = self.sessions.get(number);
        let (runs, old) = (session.runs, session.head);
        let place = self.first_of(number).filter(|_| !runs);
        let new = place.map(|place| {
            let held = self.held.contains(&self.delivery(number, place));
            (place, held)
        });
        if old.map(|head| (head.place, head.held)) != new {
            if let Some(head) = old {
                self.ready.remove(&(head.place, number));
                self.bank(number, head, clocks);
            }
            let head = new.map(|(place, held)| Head {
                place,
                held,
                mark: *clocks,
            });
            if let Some(head) = head.filter(|head| !head.held) {
                self.ready.insert((head.place, number));
            }
            self.sessions.get_mut(number).head = head;
        }
        if place.is_none() && !runs {
            let session = self.sessions.take(number);
            self.numbers.remove(&session.key);
        }
        if self.waiting.is_empty() {
            self.front = 0;
        }
    }

    /// One that goes on waiting, but not as it did: what it has waited for is put down.
    fn bank(&mut self, number: u32, head: Head, clocks: &Clocks) {
        let Some(since) = self.waiting.get_mut(&(number, head.place)) else {
            return;
        };
        let waits = head.waits(*since, clocks);
        *since = clocks.now;
        let delivery = self.delivery(number, head.place);
        *self.before.entry(delivery).or_default() += waits;
    }
}
