//! What goes into lanes and what comes out of them.

use std::{ops::AddAssign, sync::Arc, time::Duration};

use kennel_shared::{ids::DeliveryId, session_key::SessionKey};

/// What a lane knows of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Which.
    pub delivery: DeliveryId,
    /// In which conversation, and so for which agent.
    pub session: SessionKey,
}

/// Why a delivery is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no such agent.
    UnknownAgent,
    /// The agent's queue has this many places, all taken.
    QueueFull(usize),
}

/// A delivery that runs now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Which.
    pub ticket: Ticket,
    /// What it has waited for since it was admitted; the time for which it ran in vain is not in it.
    pub waits: Waits,
    /// The class in which it has a slot.
    pub class: Arc<str>,
}

/// What stands in the way of a delivery: the first of these that does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WaitsFor {
    /// Another message of its conversation is before it.
    Session,
    /// Its agent takes none now (it is down, or starts), or it is held back itself.
    Held,
    /// Its agent has as many turns as it may.
    Agent,
    /// Its class has as many turns as it may.
    Class,
    /// The fleet has as many turns as it may, or somebody else's turn is first.
    Fleet,
}

impl WaitsFor {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Held => "held",
            Self::Agent => "agent",
            Self::Class => "class",
            Self::Fleet => "fleet",
        }
    }
}

/// For how long a delivery has waited for what. Each moment counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waits {
    /// See [`WaitsFor::Session`].
    pub session: Duration,
    /// See [`WaitsFor::Agent`].
    pub agent: Duration,
    /// See [`WaitsFor::Class`].
    pub class: Duration,
    /// See [`WaitsFor::Fleet`].
    pub fleet: Duration,
    /// See [`WaitsFor::Held`].
    pub held: Duration,
}

impl Waits {
    /// All of it.
    pub fn total(&self) -> Duration {
        self.session + self.agent + self.class + self.fleet + self.held
    }

    /// The part for one of them.
    pub fn part(&mut self, of: WaitsFor) -> &mut Duration {
        match of {
            WaitsFor::Session => &mut self.session,
            WaitsFor::Held => &mut self.held,
            WaitsFor::Agent => &mut self.agent,
            WaitsFor::Class => &mut self.class,
            WaitsFor::Fleet => &mut self.fleet,
        }
    }
}

impl AddAssign for Waits {
    fn add_assign(&mut self, other: Self) {
        self.session += other.session;
        self.agent += other.agent;
        self.class += other.class;
        self.fleet += other.fleet;
        self.held += other.held;
    }
}
