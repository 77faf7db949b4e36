//! For how long an agent was closed, or had all its turns, or a class of its messages had. One that waits notes where these
//! stand, and what they have gone on by since is its wait.

use std::time::Duration;

use super::ticket::Waits;

/// What stands in the way of all messages of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It takes none now.
    Closed,
    /// It has all its turns.
    Full,
    /// Nothing: so it may be the class.
    Free,
}

/// Of one class, as the agent sees it.
#[derive(Debug, Clone, Copy)]
struct Full {
    class: u32,
    /// For how long it was full while nothing nearer stood in the way.
    time: u64,
    /// For how long it had been full in all, when that was looked at last.
    seen: u64,
}

impl Full {
    fn new(class: u32, seen: u64) -> Self {
        Self {
            class,
            time: 0,
            seen,
        }
    }

    fn advance(&mut self, way: Way, seen: u64) {
        if way == Way::Free {
            self.time += seen - self.seen;
        }
        self.seen = seen;
    }
}

/// The clocks of one agent.
#[derive(Debug, Clone)]
pub(super) struct Clocks {
    pub(super) now: u64,
    held: u64,
    agent: u64,
    /// For messages that have the class of their agent, whichever that is.
    follows: Full,
    /// For those that have one of their own.
    own: Vec<Full>,
}

impl Clocks {
    /// For an agent of `class`, which has been full for so long in all.
    pub(super) fn new(now: u64, class: u32, full_time: u64) -> Self {
        Self {
            now,
            held: 0,
            agent: 0,
            follows: Full::new(class, full_time),
            own: Vec::new(),
        }
    }

    /// The agent has another class from now on.
    pub(super) fn follow(&mut self, class: u32, full_time: u64) {
        self.follows = Full {
            time: self.follows.time,
            ..Full::new(class, full_time)
        };
    }

    /// There are messages that have a class of their own.
    pub(super) fn watch(&mut self, class: u32, full_time: u64) {
        if !self.own.iter().any(|full| full.class == class) {
            self.own.push(Full::new(class, full_time));
        }
    }

    /// Sets them. `way` is what stood in the way since that was done last.
    pub(super) fn advance(&mut self, now: u64, way: Way, full_time: impl Fn(u32) -> u64) {
        let passed = now - self.now;
        self.now = now;
        match way {
            Way::Closed => self.held += passed,
            Way::Full => self.agent += passed,
            Way::Free => {}
        }
        for full in std::iter::once(&mut self.follows).chain(&mut self.own) {
            full.advance(way, full_time(full.class));
        }
    }

    /// Where they stand, for a message with this class of its own.
    pub(super) fn mark(&self, own: Option<u32>) -> Mark {
        let full = match own {
            None => self.follows,
            Some(class) => {
                let mut watched = self.own.iter();
                let full = watched.find(|full| full.class == class);
                *full.expect("it is watched since the first such message came")
            }
        };
        Mark {
            now: self.now,
            held: self.held,
            agent: self.agent,
            class: full.time,
        }
    }
}

/// Where the clocks stood, as one message sees them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) now: u64,
    held: u64,
    agent: u64,
    class: u64,
}

impl Mark {
    /// What a head has waited for since then; whatever is none of the others was the fleet.
    pub(super) fn until(&self, later: &Self) -> Waits {
        let (held, agent, class) = (
            later.held - self.held,
            later.agent - self.agent,
            later.class - self.class,
        );
        Waits {
            session: Duration::ZERO,
            agent: Duration::from_nanos(agent),
            class: Duration::from_nanos(class),
            fleet: Duration::from_nanos(later.now - self.now - held - agent - class),
            held: Duration::from_nanos(held),
        }
    }
}
