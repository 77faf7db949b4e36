//! What came of a reload, for those who did not ask for it: in the log and as events.

use std::time::SystemTime;

use kennel_shared::ids::{AgentId, Generation};
use tracing::{debug, error, info, warn};

use super::Fleet;
use crate::{
    reload::{AgentChange, AgentStep, Asker, Effect, Outcome, Request},
    supervision::events::LifecycleEvent,
};

impl Fleet {
    /// Tells in the log and as events what came of a request.
    pub(super) fn tell(&self, request: &Request, outcome: &Outcome) {
        let by = request.by.as_str();
        let (kind, detail) = match outcome {
            _ if request.dry_run => return,
            Err(found) => {
                error!(by, error = %found, "the configuration is refused; everything stays as it is");
                ("reload-refused", format!("{}: {found}", found.summary()))
            }
            Ok(done) if done.plan.is_empty() && request.by == Asker::Watch => {
                debug!("the files of the configuration say what runs");
                return;
            }
            Ok(done) => {
                let summary = done.plan.summary();
                info!(by, plan = summary, "the configuration was read again");
                for (id, change) in &done.plan.agents {
                    self.tell_agent(id, change);
                }
                for key in done.plan.supervisor_keys(Effect::Supervisor) {
                    warn!(
                        key = key.name,
                        "this takes effect when the supervisor is started again"
                    );
                }
                for trouble in &done.troubles {
                    error!(
                        error = trouble,
                        "a part of the configuration could not be carried out"
                    );
                }
                (
                    "reloaded",
                    [vec![summary], done.troubles.clone()].concat().join("; "),
                )
            }
        };
        self.stage.events.tell(LifecycleEvent {
            at: SystemTime::now(),
            agent: None,
            generation: Generation(0),
            kind,
            detail: Some(detail),
            end: None,
            held_back: None,
        });
    }

    fn tell_agent(&self, id: &AgentId, change: &AgentChange) {
        let keys: Vec<&str> = change.keys.iter().map(|key| key.name.as_str()).collect();
        let keys = keys.join(", ");
        let detail = match change.step {
            AgentStep::Add => "added".to_owned(),
            AgentStep::Remove => {
                "removed; it finishes its turns, and what it has kept stays".to_owned()
            }
            AgentStep::Restart => format!("restarts after its turns: {keys}"),
            AgentStep::Live => format!("changed while it runs: {keys}"),
            AgentStep::Note => return,
        };
        info!(agent.id = %id, detail, "an agent's configuration has changed");
        let handle = self.agents.get(id);
        self.stage.events.tell(LifecycleEvent {
            at: SystemTime::now(),
            agent: Some(id.clone()),
            generation: handle.map_or(Generation(0), |handle| handle.observed.borrow().generation),
            kind: "config",
            detail: Some(detail),
            end: None,
            held_back: None,
        });
    }
}
