//! Reading the configuration again while the supervisor runs.
//!
//! ```text
//! kennel reload ─┐                        errors: nothing changes, all of them are told
//! SIGHUP ────────┼─► Requests ─► propose ─┤
//! up --watch ────┘  one at a time         └─► Plan ─► carried out (supervisor/fleet)
//! ```
//!
//! [`plan`] compares, and is pure; [`keys`] says of each key what it takes for a change to take effect; [`watch`] sees
//! that files have changed. What is here asks the machine what only it knows: the files, their secrets, and whether
//! this host can do what is asked for.
//!
//! A request is carried out whole before the next begins, so two of them never mix.

mod keys;
mod plan;
pub mod watch;

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
};

use kennel_shared::ids::Generation;
use tokio::sync::{mpsc, oneshot};

pub use self::{
    keys::Effect,
    plan::{AgentChange, AgentStep, ChannelChange, KeyChange, Plan, Setting},
};
use crate::{
    config::{
        AgentConfig, AgentId, Config, Diagnostics, Directories, Enforcement, Fault, Loaded,
        SystemPrompt,
    },
    containment::{Caps, Unenforced},
    plan as parts,
    supervision::driver::AgentHandle,
};

/// Requests that may wait. Full: who waits for an answer waits to ask, and others need not ask again.
const REQUESTS: usize = 8;

/// Who wants the configuration read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// Somebody who is told what comes of it.
    Operator,
    /// SIGHUP.
    Signal,
    /// A file has changed.
    Watch,
}

impl Asker {
    /// In the log and in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "kennel reload",
            Self::Signal => "SIGHUP",
            Self::Watch => "a file that changed",
        }
    }
}

/// The wish to have the configuration read again.
pub struct Request {
    /// Whose.
    pub by: Asker,
    /// Tell what would be done, and do nothing.
    pub dry_run: bool,
    /// Who waits for the answer.
    pub reply: Option<oneshot::Sender<Outcome>>,
}

/// What came of it; an error is everything that is wrong, and then nothing has changed.
pub type Outcome = Result<Done, Diagnostics>;

/// What was done, or would be.
pub struct Done {
    /// The difference.
    pub plan: Plan,
    /// What there is to say about the configuration all the same.
    pub warnings: Diagnostics,
    /// Agents on their way to what they shall be.
    pub underway: Vec<Underway>,
    /// What could not be done, in words.
    pub troubles: Vec<String>,
}

/// An agent on its way.
pub struct Underway {
    /// Which.
    pub handle: AgentHandle,
    /// To what.
    pub goal: Goal,
}

/// What an agent is on its way to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// To be ready in a later life than this.
    Ready(Generation),
    /// To be gone.
    Gone,
}

/// Has the configuration read again.
#[derive(Clone)]
pub struct Requests(mpsc::Sender<Request>);

impl Requests {
    /// A queue of requests, and its end.
    pub fn new() -> (Self, mpsc::Receiver<Request>) {
        let (requests, inbox) = mpsc::channel(REQUESTS);
        (Self(requests), inbox)
    }

    /// Asks, and waits for what comes of it; `None` when the supervisor is leaving.
    pub async fn ask(&self, dry_run: bool) -> Option<Outcome> {
        let (reply, answer) = oneshot::channel();
        let request = Request {
            by: Asker::Operator,
            dry_run,
            reply: Some(reply),
        };
        self.0.send(request).await.ok()?;
        answer.await.ok()
    }

    /// Asks in passing. A full queue means that somebody has asked already, and that the file is not read yet.
    pub fn hint(&self, by: Asker) {
        let _ = self.0.try_send(Request {
            by,
            dry_run: false,
            reply: None,
        });
    }
}

/// A configuration that can be run in place of another.
pub struct Proposal {
    /// What differs.
    pub plan: Plan,
    /// What will run.
    pub next: Setting,
    /// As it was read.
    pub loaded: Loaded,
}

impl Setting {
    /// A configuration with what its files say. Blocks.
    pub fn read(config: Config) -> Self {
        Self {
            prompts: prompts(&config),
            config,
        }
    }
}

/// Reads the file and holds it against what runs. Blocks.
pub fn propose(
    file: &Path,
    directories: &Directories,
    current: &Setting,
    unenforced: &dyn Fn(&Caps) -> Vec<Unenforced>,
) -> Result<Proposal, Diagnostics> {
    let loaded = Config::load(file, directories)?;
    let new = Setting::read(loaded.config.clone());
    let plan = Plan::between(current, &new);
    let next = plan.apply(current);
    let mut faults = unmovable(&plan, &current.config);
    for (id, change) in &plan.agents {
        let Some(agent) = next.config.agents.get(id) else {
            continue;
        };
        faults.extend(unheld(agent, change, unenforced));
        if matches!(change.step, AgentStep::Add | AgentStep::Restart)
            && let Err(why) = parts::cage(&next.config, agent)
        {
            faults.push(Fault {
                agent: Some(id.clone()),
                says: format!("`{id}` could not be started: {why}"),
                remedy: "nothing was changed".to_owned(),
            });
        }
    }
    let found = loaded.check_secrets().merge(loaded.faults(faults));
    if found.errors() > 0 {
        return Err(loaded.warnings.merge(found));
    }
    Ok(Proposal { plan, next, loaded })
}

/// What no running supervisor can change.
fn unmovable(plan: &Plan, current: &Config) -> Vec<Fault> {
    let socket = current.supervisor.control_socket();
    let keys = plan.supervisor_keys(Effect::Fixed);
    keys.map(|key| Fault {
        agent: None,
        says: format!("`{}` cannot be changed while the supervisor runs", key.name),
        remedy: format!(
            "put it back; or end the supervisor by `kennel --socket {} shutdown`, and start it with `kennel up`",
            socket.display()
        ),
    })
    .collect()
}

/// The caps that an agent asks for which runs under nothing less, and that this host cannot hold.
fn unheld(
    agent: &AgentConfig,
    change: &AgentChange,
    unenforced: &dyn Fn(&Caps) -> Vec<Unenforced>,
) -> Vec<Fault> {
    let of_caps = |name: &str| name.starts_with("limits.") || name == "enforcement";
    let concerned = match change.step {
        AgentStep::Add => true,
        AgentStep::Restart | AgentStep::Live => change.keys.iter().any(|key| of_caps(&key.name)),
        AgentStep::Remove | AgentStep::Note => false,
    };
    if !concerned || agent.enforcement != Enforcement::Strict {
        return Vec::new();
    }
    let (caps, requested) = parts::caps(&agent.limits);
    let cannot = unenforced(&caps).into_iter();
    cannot
        .filter(|one| requested.contains(&one.cap))
        .map(|Unenforced { cap, why, remedy }| Fault {
            agent: Some(agent.id.clone()),
            says: format!(
                "`{cap}` of `{}` cannot be enforced here, and without it the agent does not run: {why}",
                agent.id
            ),
            remedy: format!("{remedy}; or set `enforcement = \"best-effort\"`, to run without it"),
        })
        .collect()
}

/// A digest of every prompt file that can be read.
fn prompts(config: &Config) -> BTreeMap<AgentId, u64> {
    let digest = |agent: &AgentConfig| {
        let prompt @ SystemPrompt::File(_) = agent.system_prompt.as_ref()? else {
            return None;
        };
        let mut hasher = DefaultHasher::new();
        prompt.load().ok()?.hash(&mut hasher);
        Some((agent.id.clone(), hasher.finish()))
    };
    config.agents.values().filter_map(digest).collect()
}

/// The files beside the configuration's own that a change of is a change of the configuration.
pub fn prompt_files(config: &Config) -> Vec<PathBuf> {
    let file = |agent: &AgentConfig| match &agent.system_prompt {
        Some(SystemPrompt::File(path)) => Some(path.clone()),
        _ => None,
    };
    config.agents.values().filter_map(file).collect()
}

impl Plan {
    /// What it does, in a few words: "1 agent added, 2 restarted, 1 channel removed, bindings".
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        let mut count = |n: usize, what: &str, word: &str| {
            if n > 0 {
                let s = if n == 1 { "" } else { "s" };
                parts.push(format!("{n} {what}{s} {word}"));
            }
        };
        for (step, word) in [
            (AgentStep::Add, "added"),
            (AgentStep::Remove, "removed"),
            (AgentStep::Restart, "restarted"),
            (AgentStep::Live, "changed live"),
            (AgentStep::Note, "changed while disabled"),
        ] {
            count(self.agents_to(step).count(), "agent", word);
        }
        let channels = |of: fn(&ChannelChange) -> bool| {
            self.channels.values().filter(|change| of(change)).count()
        };
        count(
            channels(|change| matches!(change, ChannelChange::Add(_))),
            "channel",
            "added",
        );
        count(
            channels(|change| matches!(change, ChannelChange::Remove)),
            "channel",
            "removed",
        );
        count(
            channels(|change| matches!(change, ChannelChange::Restart { .. })),
            "channel",
            "connected anew",
        );
        count(self.providers.len(), "provider", "changed");
        if !self.classes.is_empty() {
            let names: Vec<&str> = self.classes.keys().map(String::as_str).collect();
            parts.push(format!("classes: {}", names.join(", ")));
        }
        if self.bindings.is_some() {
            parts.push("bindings changed".to_owned());
        }
        let names = |effect| -> Vec<&str> {
            let keys = self.supervisor_keys(effect);
            keys.map(|key| key.name.as_str()).collect()
        };
        let mut live = names(Effect::Live);
        live.extend(names(Effect::NextStart));
        if !live.is_empty() {
            parts.push(format!("supervisor: {}", live.join(", ")));
        }
        let waiting = names(Effect::Supervisor);
        if !waiting.is_empty() {
            parts.push(format!(
                "not before the supervisor is started again: {}",
                waiting.join(", ")
            ));
        }
        if parts.is_empty() {
            return "nothing differs".to_owned();
        }
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests;
