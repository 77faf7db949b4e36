//! Agents that come and go while the dispatcher runs, and limits that change.
//!
//! An agent goes in two steps. Retired, it takes no more, what waits is ended, and what runs goes on. Removed, once its
//! driver has nothing left, it is forgotten as soon as nothing of it is on the way to or from the disk any more.

use std::collections::{BTreeMap, HashSet};

use kennel_shared::ids::AgentId;
use tokio::sync::mpsc;
use tracing::info;

use super::{Dispatcher, EndKind, Limits, ScheduleClasses, TurnEnd, restore::Found};
use crate::{
    dispatch::lanes::{Shares, Ticket},
    supervision::driver::Command,
    turns::{Books, Budget, Prices},
};

/// A change of who there is, or of how much may run at once.
#[derive(Debug)]
pub enum Change {
    /// Another agent; closed until its driver says that it is up.
    Add {
        /// Who.
        agent: AgentId,
        /// To its driver.
        commands: mpsc::Sender<Command>,
        /// How much of it may run and wait.
        limits: Limits,
        /// Whether nobody has asked for it to run.
        rests: bool,
        /// What waits for it in the journal.
        found: Found,
    },
    /// Other limits for an agent. What is over them goes on.
    Limit {
        /// Whose.
        agent: AgentId,
        /// How much of it may run and wait.
        limits: Limits,
    },
    /// Another number of turns at once for the fleet.
    LimitFleet(usize),
    /// What an agent may spend and, as the journal says, has; nothing limits it without.
    Budget {
        /// Whose.
        agent: AgentId,
        /// How much.
        budget: Option<Box<(Budget, Books)>>,
    },
    /// Other prices, for the turns that end from now on.
    Prices(Prices),
    /// Other shares of the fleet for classes.
    Classes(BTreeMap<String, Shares>),
    /// Other classes for runs of schedules, also for those that wait.
    Schedules(ScheduleClasses),
    /// An agent takes no more: what waits for it is ended, and what runs goes on.
    Retire(AgentId),
    /// A retired agent has nothing that runs any more.
    Remove(AgentId),
}

/// How far an agent is on its way out of the configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Going {
    /// It stays.
    #[default]
    No,
    /// It takes no more.
    Retired,
    /// It is to be forgotten.
    Removed,
}

impl Dispatcher {
    pub(super) fn on_change(&mut self, change: Change) {
        match change {
            Change::Add {
                agent,
                commands,
                limits,
                rests,
                found,
            } => {
                self.add(agent.clone(), commands, &limits);
                let tally = self.tally(&agent);
                tally.going = Going::No;
                tally.resting = rests.then_some("stopped");
                self.take_over(&agent, found, &HashSet::new());
            }
            Change::Limit { agent, limits } => {
                self.lanes.limit(&agent, limits.terms());
                let tally = self.tally(&agent);
                tally.poison_after = limits.poison_after;
                tally.time = limits.time;
            }
            Change::LimitFleet(max_running) => self.lanes.limit_fleet(max_running),
            Change::Budget { agent, budget } => self.budget(&agent, budget.map(|both| *both)),
            Change::Prices(prices) => self.prices = prices,
            Change::Classes(classes) => self.lanes.set_classes(&classes),
            Change::Schedules(classes) => self.set_schedules(classes),
            Change::Retire(agent) => {
                self.tally(&agent).going = Going::Retired;
                self.lanes.close(&agent);
                self.swamped.remove(&agent);
                let mut waiting = self.lanes.waiting(&agent);
                // What a turn that runs may have is answered by it, or ended when that has.
                waiting.retain(|ticket| !self.is_offered(ticket.delivery));
                self.end_removed(&agent, waiting);
            }
            Change::Remove(agent) => {
                self.tally(&agent).going = Going::Removed;
                let mut left = self.lanes.running(&agent);
                left.extend(self.lanes.waiting(&agent));
                self.end_removed(&agent, left);
                self.forget_if_done(&agent);
            }
        }
    }

    /// Whether an agent takes no more, since it leaves the configuration.
    pub(super) fn is_going(&self, agent: &str) -> bool {
        let tally = self.tallies.get(agent);
        tally.is_some_and(|tally| tally.going > Going::No)
    }

    /// Ends what an agent is no longer there for.
    pub(super) fn end_removed(&mut self, agent: &AgentId, tickets: Vec<Ticket>) {
        for ticket in tickets {
            self.end(ticket.delivery, removed(agent));
        }
    }

    /// Forgets an agent that is to be forgotten, when it has nothing left.
    pub(super) fn forget_if_done(&mut self, agent: &AgentId) {
        let done = self
            .tallies
            .get(agent)
            .is_some_and(|tally| tally.going == Going::Removed && tally.accepting == 0);
        if done && self.lanes.counts(agent) == (0, 0) && !self.has_backlog(agent) {
            self.lanes.remove(agent);
            self.agents.remove(agent);
            self.tallies.remove(agent);
            self.swamped.remove(agent);
            info!(agent.id = %agent, "an agent is forgotten");
        }
    }
}

/// The end of what an agent is no longer there for.
pub(super) fn removed(agent: &AgentId) -> TurnEnd {
    TurnEnd::Failed {
        kind: EndKind::Stopped,
        message: format!("agent `{agent}` was removed from the configuration"),
    }
}
