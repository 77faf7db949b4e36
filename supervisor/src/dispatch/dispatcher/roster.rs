//! Agents that come and go while the dispatcher runs, and limits that change.

use kennel_shared::ids::AgentId;
use tokio::sync::mpsc;
use tracing::info;

use super::{Dispatcher, EndKind, TurnEnd};
use crate::supervision::driver::Command;

/// A change of who there is, or of how much may run at once.
#[derive(Debug)]
pub enum Change {
    /// Another agent; closed until its driver says that it is up.
    Add {
        /// Who.
        agent: AgentId,
        /// To its driver.
        commands: mpsc::Sender<Command>,
        /// Turns at once.
        max_concurrent: usize,
        /// Messages that wait.
        max_waiting: usize,
        /// Whether nobody has asked for it to run.
        rests: bool,
    },
    /// Other limits for an agent. What is over them goes on.
    Limit {
        /// Whose.
        agent: AgentId,
        /// Turns at once.
        max_concurrent: usize,
        /// Messages that wait.
        max_waiting: usize,
    },
    /// Another number of turns at once for the fleet.
    LimitFleet(usize),
    /// An agent takes no more: what waits for it is ended, and what runs goes on.
    Retire(AgentId),
    /// A retired agent is gone.
    Remove(AgentId),
}

impl Dispatcher {
    pub(super) fn on_change(&mut self, change: Change) {
        match change {
            Change::Add {
                agent,
                commands,
                max_concurrent,
                max_waiting,
                rests,
            } => {
                self.add(agent.clone(), commands, max_concurrent, max_waiting);
                if rests {
                    self.rest(&agent);
                }
            }
            Change::Limit {
                agent,
                max_concurrent,
                max_waiting,
            } => self.lanes.limit(&agent, max_concurrent, max_waiting),
            Change::LimitFleet(max_running) => self.lanes.limit_fleet(max_running),
            Change::Retire(agent) => {
                self.tally(&agent).retired = true;
                self.lanes.close(&agent);
                for ticket in self.lanes.waiting(&agent) {
                    self.end(ticket.delivery, removed(&agent));
                }
            }
            Change::Remove(agent) => {
                let mut left = self.lanes.running(&agent);
                left.extend(self.lanes.waiting(&agent));
                for ticket in left {
                    self.end(ticket.delivery, removed(&agent));
                }
                self.lanes.remove(&agent);
                self.agents.remove(&agent);
                self.tallies.remove(&agent);
                self.swamped.remove(&agent);
                info!(agent.id = %agent, "an agent was removed");
            }
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
