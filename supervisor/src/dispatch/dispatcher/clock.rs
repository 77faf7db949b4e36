//! When things happened to a delivery, and what it waited for meanwhile. Pure.

use std::collections::HashMap;

use kennel_shared::{ids::AgentId, session_key::SessionKey};
use tokio::time::{Duration, Instant};

use crate::{
    dispatch::lanes::Ticket,
    turns::{Waits, record::micros},
};

/// Sessions and agents whose last end is remembered. More are forgotten all at once: then what waited for them counts for
/// the fleet.
const REMEMBERED: usize = 4096;

/// Of one delivery.
#[derive(Debug)]
pub(super) struct Clock {
    /// Since when it waits.
    pub(super) queued_at: Instant,
    pub(super) waits: Waits,
    /// In attempts that came to nothing.
    pub(super) lost_us: u64,
    pub(super) handed_at: Option<Instant>,
    started_after: Option<Duration>,
}

impl Clock {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            queued_at: now,
            waits: Waits::default(),
            lost_us: 0,
            handed_at: None,
            started_after: None,
        }
    }

    /// It was accepted so long ago, by a supervisor before this one.
    pub(super) fn waited_before(&mut self, time: Duration) {
        self.waits.held_us = self.waits.held_us.saturating_add(micros(time));
    }

    /// It leaves its lane, after it has waited for these.
    pub(super) fn handed(&mut self, waits: Waits, now: Instant) {
        self.waits += waits;
        self.handed_at = Some(now);
        self.started_after = None;
    }

    /// Its agent has begun with it.
    pub(super) fn started(&mut self, now: Instant) {
        if let (Some(handed), None) = (self.handed_at, self.started_after) {
            self.started_after = Some(now.saturating_duration_since(handed));
        }
    }

    /// It is back in its lane.
    pub(super) fn returned(&mut self, now: Instant) {
        if let Some(handed) = self.handed_at.take() {
            self.lost_us += micros(now.saturating_duration_since(handed));
        }
        self.queued_at = now;
    }

    /// From the lane to the agent, which has then loaded its context for so long; and from the lane to now.
    pub(super) fn run(&self, context_us: u64, now: Instant) -> (u64, u64) {
        let handed = self.handed_at.unwrap_or(now);
        let dispatch = self.started_after.map_or(0, micros);
        (
            dispatch.saturating_sub(context_us),
            micros(now.saturating_duration_since(handed)),
        )
    }
}

/// When lanes gave way the last time.
#[derive(Debug, Default)]
pub(super) struct GaveWay {
    sessions: HashMap<SessionKey, Instant>,
    agents: HashMap<AgentId, Instant>,
    opened: HashMap<AgentId, Instant>,
}

impl GaveWay {
    /// A turn has ended.
    pub(super) fn ended(&mut self, ticket: &Ticket, now: Instant) {
        if self.sessions.len() >= REMEMBERED {
            self.sessions.clear();
        }
        self.sessions.insert(ticket.session.clone(), now);
        self.agents.insert(ticket.session.agent(), now);
    }

    /// An agent takes deliveries again.
    pub(super) fn opened(&mut self, agent: &AgentId, now: Instant) {
        self.opened.insert(agent.clone(), now);
    }

    /// An agent is forgotten.
    pub(super) fn forget(&mut self, agent: &AgentId) {
        self.agents.remove(agent);
        self.opened.remove(agent);
        self.sessions
            .retain(|session, _| session.agent_str() != agent.as_str());
    }

    /// What a delivery waited for from `since` on that leaves its lane now: first for its agent to be up, then for its
    /// session, then for its agent's places; the rest for the fleet.
    pub(super) fn waits(&self, ticket: &Ticket, since: Instant, now: Instant) -> Waits {
        let agent = ticket.session.agent();
        let mut from = since;
        let mut until = |at: Option<&Instant>| {
            let at = at.copied().unwrap_or(from).max(from).min(now);
            let waited = at.saturating_duration_since(from);
            from = at;
            micros(waited)
        };
        Waits {
            held_us: until(self.opened.get(&agent)),
            session_us: until(self.sessions.get(&ticket.session)),
            agent_us: until(self.agents.get(&agent)),
            class_us: 0,
            fleet_us: until(Some(&now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use kennel_shared::ids::DeliveryId;

    use super::*;

    fn ticket(session: &str) -> Ticket {
        Ticket {
            delivery: DeliveryId::new(),
            session: format!("agent:a:{session}").parse().unwrap(),
        }
    }

    #[test]
    fn each_moment_of_a_wait_counts_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut gave_way = GaveWay::default();
        let mine = ticket("x");
        let none = gave_way.waits(&mine, at(1), at(1));
        assert_eq!(none, Waits::default());
        gave_way.opened(&mine.session.agent(), at(2));
        gave_way.ended(&ticket("x"), at(5));
        gave_way.ended(&ticket("y"), at(9));
        let expected = Waits {
            held_us: 1_000_000,
            session_us: 3_000_000,
            agent_us: 4_000_000,
            class_us: 0,
            fleet_us: 1_000_000,
        };
        assert_eq!(gave_way.waits(&mine, at(1), at(10)), expected);
        // What was before it came is not its own.
        let waits = gave_way.waits(&mine, at(9), at(10));
        assert_eq!(waits.total_us(), waits.fleet_us);
        gave_way.forget(&mine.session.agent());
        let waits = gave_way.waits(&mine, at(1), at(10));
        assert_eq!(waits.fleet_us, 9_000_000);
    }

    #[test]
    fn attempts_that_came_to_nothing_are_told_apart() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let waited = |fleet_us| Waits {
            fleet_us,
            ..Waits::default()
        };
        let mut clock = Clock::new(start);
        clock.handed(waited(1), at(1));
        clock.started(at(2));
        clock.returned(at(4));
        assert_eq!((clock.queued_at, clock.lost_us), (at(4), 3_000_000));
        clock.returned(at(5));
        clock.handed(waited(2), at(6));
        assert_eq!(clock.run(0, at(7)), (0, 1_000_000), "it has not begun");
        clock.started(at(7));
        clock.started(at(8));
        assert_eq!(clock.run(400_000, at(9)), (600_000, 3_000_000));
        assert_eq!((clock.waits.fleet_us, clock.lost_us), (3, 3_000_000));
    }
}
