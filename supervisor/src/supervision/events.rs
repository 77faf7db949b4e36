//! What happened to agents: told as it happens, and remembered for a while.
//!
//! The drivers and the sampler write, the control API reads. The memory is a ring behind a lock that
//! is held for a push or a copy, so no writer waits for a reader; who listens too slowly misses events
//! and is told how many.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use kennel_shared::ids::{AgentId, Generation};
use tokio::sync::broadcast;

use super::ending::{End, TurnThen};
use crate::containment::Cap;

/// Events that are remembered, over all agents.
pub const REMEMBERED: usize = 2048;

/// Events that a slow listener may lag behind.
const LAG: usize = 1024;

/// Something worth telling operators.
#[derive(Debug, Clone, PartialEq)]
pub struct LifecycleEvent {
    /// When.
    pub at: SystemTime,
    /// Whose; `None` for what the supervisor does as a whole.
    pub agent: Option<AgentId>,
    /// Which life.
    pub generation: Generation,
    /// What: the name of a state, or `ended`, `hung`, `link-lost`, `start-failed`, `oom-kill`,
    /// `over-cap`, `left-behind`; of one that another supervisor has started `adopted`, `not-adopted`, `leaving`;
    /// of a cap that holds it back `pids-denied`, `throttled`, `throttled-over`,
    /// `memory-high`, `memory-high-over`; of a configuration that was read again `config`, and of the supervisor
    /// `reloaded` and `reload-refused`; of schedules `schedule-missed` and `schedule-set-back`;
    /// `budget` when one runs out.
    pub kind: &'static str,
    /// More, in words.
    pub detail: Option<String>,
    /// How a child ended, for the kind `ended`.
    pub end: Option<Arc<End>>,
    /// What held it back.
    pub held_back: Option<Arc<HeldBack>>,
}

impl LifecycleEvent {
    /// Whether it is this agent's.
    pub fn is_of(&self, agent: &str) -> bool {
        self.agent.as_ref().is_some_and(|own| own.as_str() == agent)
    }
}

/// A cap that holds an agent back and does not end it.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldBack {
    /// Which.
    pub cap: Cap,
    /// What it is: bytes, processes or CPUs.
    pub allowed: Option<f64>,
    /// The turn that ran, the oldest of them.
    pub turn: Option<TurnThen>,
}

/// Where events go. A clone is the same place.
#[derive(Debug, Clone)]
pub struct Events {
    live: broadcast::Sender<LifecycleEvent>,
    past: Arc<Mutex<VecDeque<LifecycleEvent>>>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            live: broadcast::Sender::new(LAG),
            past: Arc::default(),
        }
    }
}

impl Events {
    /// Tells those who listen, and remembers.
    pub fn tell(&self, event: LifecycleEvent) {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        if past.len() == REMEMBERED {
            past.pop_front();
        }
        past.push_back(event.clone());
        // Under the lock, so that `follow` cuts between two events. Nobody listening is the usual case.
        let _ = self.live.send(event);
    }

    /// The last `count` events that `wanted` takes, oldest first, and all that come after them.
    pub fn follow(
        &self,
        count: usize,
        wanted: impl Fn(&LifecycleEvent) -> bool,
    ) -> (Vec<LifecycleEvent>, broadcast::Receiver<LifecycleEvent>) {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<_> = past
            .iter()
            .rev()
            .filter(|event| wanted(event))
            .take(count)
            .cloned()
            .collect();
        found.reverse();
        (found, self.live.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(agent: &str, generation: u64) -> LifecycleEvent {
        LifecycleEvent {
            at: SystemTime::UNIX_EPOCH,
            agent: Some(agent.parse().unwrap()),
            generation: Generation(generation),
            kind: "ready",
            detail: None,
            end: None,
            held_back: None,
        }
    }

    #[test]
    fn the_past_is_bounded_and_filtered_and_goes_over_into_the_present() {
        let events = Events::default();
        for n in 0..REMEMBERED as u64 + 10 {
            events.tell(event(if n % 2 == 0 { "even" } else { "odd" }, n));
        }
        let (all, _) = events.follow(usize::MAX, |_| true);
        assert_eq!(all.len(), REMEMBERED);
        assert_eq!(all[0].generation, Generation(10));

        let (last, mut live) = events.follow(3, |event| event.is_of("odd"));
        let last: Vec<u64> = last.iter().map(|event| event.generation.0).collect();
        let newest = REMEMBERED as u64 + 9;
        assert_eq!(last, [newest - 4, newest - 2, newest]);
        assert!(live.try_recv().is_err(), "nothing comes twice");
        events.tell(event("even", 7));
        assert_eq!(live.try_recv().unwrap().generation, Generation(7));
    }
}
