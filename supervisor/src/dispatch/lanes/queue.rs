//! The messages of one agent that wait, by session: which may start, and what each has waited for.
//!
//! Every step takes as long with a hundred thousand messages as with ten. All of them lie in one tree, sorted by session
//! and place; the first of each session is its head, and the heads whose sessions are free are sorted by place once more.
//! Only a head waits for anything but its session, so only heads have their waits counted: when a message becomes head,
//! the agent's clocks are noted, and when it is no longer, what they have gone on by is its wait.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use kennel_shared::{ids::DeliveryId, session_key::SessionKey};

use super::{
    clocks::{Clocks, Mark},
    place::{FIRST, Place, Ready},
    slab::Slab,
    ticket::{Ticket, Waits, WaitsFor},
};

#[derive(Debug, Clone, Copy)]
struct Head {
    place: Place,
    held: bool,
    /// Its class, where that does not follow from its agent.
    own: Option<u32>,
    /// Where the clocks stood when it became the head.
    mark: Mark,
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
            self.mark.until(&now.mark(self.own))
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

/// What one that waited was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Was {
    /// Its class, where it had one of its own.
    pub(super) own: Option<u32>,
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
    /// Of those that have one of their own.
    classes: HashMap<DeliveryId, u32>,
    /// Heads that may start.
    ready: Ready,
    /// The rank of the last that went ahead of all.
    front: i32,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// How many of a class could start, if their agent had room. `follows` says that it is the class of their agent.
    pub(super) fn ready_in(&self, class: u32, follows: bool) -> usize {
        self.ready.count(class, follows)
    }

    /// For how long the one that is next in a class has waited, but for what it had waited before it was put back.
    pub(super) fn next_age(&self, class: u32, follows: bool, now: u64) -> u64 {
        let next = self.ready.next(class, follows);
        next.map_or(0, |(place, number)| now - self.waiting[&(number, place)])
    }

    /// Takes one in at the end of its session.
    pub(super) fn push_back(&mut self, ticket: &Ticket, own: Option<u32>, clocks: &Clocks) {
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
        self.put(number, place, ticket.delivery, own, clocks);
    }

    /// Takes one in ahead of all, which may have run and have waited before.
    pub(super) fn push_front(
        &mut self,
        ticket: &Ticket,
        own: Option<u32>,
        before: Waits,
        clocks: &Clocks,
    ) {
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
        self.put(number, place, ticket.delivery, own, clocks);
    }

    /// Takes one in ahead of all of its session that came later.
    pub(super) fn push_in_place(&mut self, ticket: &Ticket, own: Option<u32>, clocks: &Clocks) {
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
        self.put(number, place, ticket.delivery, own, clocks);
    }

    fn put(
        &mut self,
        number: u32,
        place: Place,
        delivery: DeliveryId,
        own: Option<u32>,
        clocks: &Clocks,
    ) {
        if let Some(class) = own {
            self.classes.insert(delivery, class);
        }
        self.waiting.insert((number, place), clocks.now);
        self.look(number, clocks);
    }

    /// Takes out the one that is next in a class, which runs from now on: with the class that it has of its own, and what it has waited for.
    pub(super) fn start(
        &mut self,
        class: u32,
        follows: bool,
        clocks: &Clocks,
    ) -> Option<(Ticket, Option<u32>, Waits)> {
        let (place, number) = self.ready.next(class, follows)?;
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
        Some((ticket, head.own, waits))
    }

    /// The running message of a session goes back, ahead of all.
    pub(super) fn returned(
        &mut self,
        ticket: &Ticket,
        own: Option<u32>,
        before: Waits,
        clocks: &Clocks,
    ) {
        let number = self.session(&ticket.session);
        self.sessions.get_mut(number).runs = false;
        self.push_front(ticket, own, before, clocks);
    }

    /// The running message of a session is done with.
    pub(super) fn ended(&mut self, session: &SessionKey, clocks: &Clocks) {
        if let Some(number) = self.numbers.get(session).copied() {
            self.sessions.get_mut(number).runs = false;
            self.look(number, clocks);
        }
    }

    /// Takes one out: the class that it had of its own. `None` when it did not wait.
    pub(super) fn withdraw(&mut self, ticket: &Ticket, clocks: &Clocks) -> Option<Was> {
        let (number, place) = self.find(ticket)?;
        let own = self.own_of(ticket.delivery);
        self.waiting.remove(&(number, place));
        self.forget(number, place, ticket.delivery);
        self.look(number, clocks);
        Some(Was { own })
    }

    /// Gives one another class of its own, or none: which it had. `None` when it does not wait.
    pub(super) fn change_class(
        &mut self,
        ticket: &Ticket,
        own: Option<u32>,
        clocks: &Clocks,
    ) -> Option<Was> {
        let (number, _) = self.find(ticket)?;
        let own = match own {
            Some(class) => self.classes.insert(ticket.delivery, class),
            None => self.classes.remove(&ticket.delivery),
        };
        self.look(number, clocks);
        Some(Was { own })
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

    /// What one that waits has waited for by now, and its class where it has one of its own. `None` in the first place where that
    /// is not its session, nor itself.
    pub(super) fn looked_at(
        &self,
        ticket: &Ticket,
        clocks: &Clocks,
    ) -> Option<(Option<WaitsFor>, Waits, Option<u32>)> {
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
        Some((waits_for, waits, self.own_of(ticket.delivery)))
    }

    fn own_of(&self, delivery: DeliveryId) -> Option<u32> {
        self.classes.get(&delivery).copied()
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
        self.classes.remove(&delivery);
        self.before.remove(&delivery).unwrap_or_default()
    }

    /// Sees who is head of a session now, after something has changed in it.
    fn look(&mut self, number: u32, clocks: &Clocks) {
        let session = self.sessions.get(number);
        let (runs, old) = (session.runs, session.head);
        let place = self.first_of(number).filter(|_| !runs);
        let new = place.map(|place| {
            let delivery = self.delivery(number, place);
            (place, self.held.contains(&delivery), self.own_of(delivery))
        });
        if old.map(|head| (head.place, head.held, head.own)) != new {
            if let Some(head) = old {
                self.ready.remove(head.own, head.place, number);
                self.bank(number, head, clocks);
            }
            let head = new.map(|(place, held, own)| Head {
                place,
                held,
                own,
                mark: clocks.mark(own),
            });
            if let Some(head) = head.filter(|head| !head.held) {
                self.ready.insert(head.own, head.place, number);
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
