//! What is to be done so that a supervisor that runs one configuration runs another. Pure.
//!
//! [`Plan::between`] compares, [`Plan::apply`] does on paper what the supervisor does in earnest. Applied to what it
//! was made from, a plan gives what was wanted, but for the keys that only another supervisor can take
//! ([`Effect::Supervisor`], [`Effect::Fixed`]): those stay as they run, and so differ again the next time.

use std::collections::BTreeMap;

use super::keys::{self, Effect, Key};
use crate::config::{
    AgentConfig, AgentId, Binding, Channel, ChannelId, Class, Config, Provider, ProviderId,
    Schedule, ScheduleId, Supervisor,
};

/// What a supervisor runs, or shall run: all that is compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The configuration; caps as they are in force.
    pub config: Config,
    /// Digests of the prompt files that agents have.
    pub prompts: BTreeMap<AgentId, u64>,
}

/// All that differs between two settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Of agents.
    pub agents: BTreeMap<AgentId, AgentChange>,
    /// Of channels.
    pub channels: BTreeMap<ChannelId, ChannelChange>,
    /// Of providers; `None` is one that is gone. The agents that use one say so themselves.
    pub providers: BTreeMap<ProviderId, Option<Provider>>,
    /// Who answers where, when that differs.
    pub bindings: Option<Vec<Binding>>,
    /// Of schedules.
    pub schedules: BTreeMap<ScheduleId, ScheduleChange>,
    /// Of classes of agents, by name.
    pub classes: BTreeMap<String, ClassChange>,
    /// Of the supervisor.
    pub supervisor: Vec<KeyChange>,
    settings: Supervisor,
}

/// One key that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// As the configuration writes it.
    pub name: String,
    /// When it takes effect.
    pub effect: Effect,
    /// What it was, where that is short enough to be shown.
    pub from: Option<String>,
    /// What it will be.
    pub to: Option<String>,
}

/// What becomes of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AgentStep {
    /// It begins to be.
    Add,
    /// It ends, after its turns; what it has kept stays.
    Remove,
    /// It gets a new process, after its turns.
    Restart,
    /// It goes on.
    Live,
    /// It is disabled: there is nothing to do but to know.
    Note,
}

/// How an agent differs.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentChange {
    /// What becomes of it.
    pub step: AgentStep,
    /// In what; nothing for one that is new or gone.
    pub keys: Vec<KeyChange>,
    /// What it shall be; `None` when it is no longer declared.
    to: Option<Box<AgentConfig>>,
    prompt: Option<u64>,
}

/// How a class differs. It takes effect at once.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassChange {
    /// In what; nothing for one that is new or gone.
    pub keys: Vec<KeyChange>,
    /// What it shall be; `None` when it is no longer declared.
    pub to: Option<Class>,
}

/// What becomes of a channel.
#[derive(Debug, Clone, PartialEq)]
pub enum ChannelChange {
    /// It is new.
    Add(Box<Channel>),
    /// It is gone.
    Remove,
    /// It is connected anew.
    Restart {
        /// What it shall be.
        to: Box<Channel>,
        /// Where it differs.
        keys: Vec<&'static str>,
    },
}

/// What becomes of a schedule. Nothing is started anew for it.
#[derive(Debug, Clone, PartialEq)]
pub enum ScheduleChange {
    /// It is new.
    Add(Box<Schedule>),
    /// It is gone.
    Remove,
    /// It is another.
    Change {
        /// What it shall be.
        to: Box<Schedule>,
        /// Where it differs.
        keys: Vec<&'static str>,
    },
}

impl ScheduleChange {
    /// What it shall be; `None` when it shall not be.
    pub fn to(&self) -> Option<&Schedule> {
        match self {
            Self::Add(to) | Self::Change { to, .. } => Some(to),
            Self::Remove => None,
        }
    }
}

impl ChannelChange {
    /// What it shall be; `None` when it shall not be.
    pub fn to(&self) -> Option<&Channel> {
        match self {
            Self::Add(to) | Self::Restart { to, .. } => Some(to),
            Self::Remove => None,
        }
    }
}

impl Plan {
    /// What leads from `old` to `new`.
    pub fn between(old: &Setting, new: &Setting) -> Self {
        Self {
            agents: agents(old, new),
            channels: channels(&old.config.channels, &new.config.channels),
            providers: compare(&old.config.providers, &new.config.providers)
                .map(|(id, _, new)| (id.clone(), new.cloned()))
                .collect(),
            bindings: (old.config.bindings != new.config.bindings)
                .then(|| new.config.bindings.clone()),
            schedules: schedules(&old.config.schedules, &new.config.schedules),
            classes: compare(&old.config.classes, &new.config.classes)
                .map(|(name, old, new)| (name.clone(), class(old, new)))
                .collect(),
            supervisor: differing(
                keys::SUPERVISOR,
                &old.config.supervisor,
                &new.config.supervisor,
            ),
            settings: new.config.supervisor.clone(),
        }
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.is_still() && self.supervisor.is_empty()
    }

    /// Whether there is nothing to do, though something may differ that only another supervisor takes.
    pub fn is_idle(&self) -> bool {
        let waits = |key: &KeyChange| matches!(key.effect, Effect::Supervisor | Effect::Fixed);
        self.is_still() && self.supervisor.iter().all(waits)
    }

    fn is_still(&self) -> bool {
        self.agents.is_empty()
            && self.channels.is_empty()
            && self.providers.is_empty()
            && self.classes.is_empty()
            && self.bindings.is_none()
            && self.schedules.is_empty()
    }

    /// The keys of the supervisor that differ and take this to have effect.
    pub fn supervisor_keys(&self, effect: Effect) -> impl Iterator<Item = &KeyChange> {
        let keys = self.supervisor.iter();
        keys.filter(move |key| key.effect == effect)
    }

    /// The agents that this becomes of.
    pub fn agents_to(&self, step: AgentStep) -> impl Iterator<Item = &AgentId> {
        let agents = self.agents.iter();
        agents
            .filter(move |(_, change)| change.step == step)
            .map(|(id, _)| id)
    }

    /// What comes of it.
    #[must_use]
    pub fn apply(&self, old: &Setting) -> Setting {
        let mut next = old.clone();
        for (id, change) in &self.agents {
            change.apply(id, &mut next);
        }
        let config = &mut next.config;
        for (id, change) in &self.channels {
            put(&mut config.channels, id, change.to().cloned());
        }
        for (name, change) in &self.classes {
            put(&mut config.classes, name, change.to);
        }
        for (id, provider) in &self.providers {
            put(&mut config.providers, id, provider.clone());
        }
        if let Some(bindings) = &self.bindings {
            config.bindings.clone_from(bindings);
        }
        for (id, change) in &self.schedules {
            put(&mut config.schedules, id, change.to().cloned());
        }
        for key in keys::SUPERVISOR {
            let known = self.supervisor.iter().find(|known| known.name == key.name);
            if known.is_some_and(|known| known.effect < Effect::Supervisor) {
                (key.copy)(&self.settings, &mut config.supervisor);
            }
        }
        next
    }
}

impl AgentChange {
    fn apply(&self, id: &AgentId, next: &mut Setting) {
        put(&mut next.prompts, id, self.prompt);
        let Some(to) = &self.to else {
            next.config.agents.remove(id);
            return;
        };
        let agent = next.config.agents.entry(id.clone());
        let agent = agent.or_insert_with(|| (**to).clone());
        for key in keys::AGENT {
            if self.keys.iter().any(|known| known.name == key.name) {
                (key.copy)(to, agent);
            }
        }
    }
}

fn agents(old: &Setting, new: &Setting) -> BTreeMap<AgentId, AgentChange> {
    let ids = old.config.agents.keys().chain(new.config.agents.keys());
    let change = |id: &AgentId| Some((id.clone(), agent(id, old, new)?));
    ids.filter_map(change).collect()
}

fn agent(id: &AgentId, old: &Setting, new: &Setting) -> Option<AgentChange> {
    let (before, after) = (old.config.agents.get(id), new.config.agents.get(id));
    let runs = |agent: Option<&AgentConfig>| agent.is_some_and(|agent| agent.enabled);
    let keys = match (before, after) {
        (Some(before), Some(after)) => {
            let mut keys = differing(keys::AGENT, before, after);
            keys.extend(provider(before, old, after, new));
            keys.extend(prompt(id, before, old, after, new));
            if keys.is_empty() {
                return None;
            }
            keys
        }
        _ => Vec::new(),
    };
    let step = match (runs(before), runs(after)) {
        (false, true) => AgentStep::Add,
        (true, false) => AgentStep::Remove,
        (false, false) => AgentStep::Note,
        (true, true) if keys.iter().any(|key| key.effect == Effect::Restart) => AgentStep::Restart,
        (true, true) => AgentStep::Live,
    };
    Some(AgentChange {
        step,
        keys,
        to: after.cloned().map(Box::new),
        prompt: new.prompts.get(id).copied(),
    })
}

/// Whether the provider that an agent has is another one now, under the same name.
fn provider(
    before: &AgentConfig,
    old: &Setting,
    after: &AgentConfig,
    new: &Setting,
) -> Option<KeyChange> {
    let changed = |was: Option<&Provider>, is: Option<&Provider>| {
        let (was, is) = was.zip(is)?;
        (was.id == is.id && was != is).then(|| is.id.clone())
    };
    let (was, is) = (&old.config, &new.config);
    let own = changed(was.provider_of(before), is.provider_of(after));
    let cheaper = || {
        changed(
            was.cheaper_provider_of(before),
            is.cheaper_provider_of(after),
        )
    };
    own.or_else(cheaper).map(|id| KeyChange {
        name: format!("providers.{id}"),
        effect: Effect::Restart,
        from: None,
        to: None,
    })
}

/// Whether the file of a prompt says something else now.
fn prompt(
    id: &AgentId,
    before: &AgentConfig,
    old: &Setting,
    after: &AgentConfig,
    new: &Setting,
) -> Option<KeyChange> {
    let same_file = before.system_prompt == after.system_prompt;
    (same_file && old.prompts.get(id) != new.prompts.get(id)).then(|| KeyChange {
        name: "the text of system_prompt_file".to_owned(),
        effect: Effect::Restart,
        from: None,
        to: None,
    })
}

fn class(before: Option<&Class>, after: Option<&Class>) -> ClassChange {
    let keys = before.zip(after);
    let keys = keys.map(|(before, after)| differing(keys::CLASS, before, after));
    ClassChange {
        keys: keys.unwrap_or_default(),
        to: after.copied(),
    }
}

fn channels(
    old: &BTreeMap<ChannelId, Channel>,
    new: &BTreeMap<ChannelId, Channel>,
) -> BTreeMap<ChannelId, ChannelChange> {
    let change = |before: Option<&Channel>, after: Option<&Channel>| match (before, after) {
        (_, None) => ChannelChange::Remove,
        (None, Some(after)) => ChannelChange::Add(Box::new(after.clone())),
        (Some(before), Some(after)) => ChannelChange::Restart {
            to: Box::new(after.clone()),
            keys: keys::of_channel(before, after),
        },
    };
    compare(old, new)
        .map(|(id, before, after)| (id.clone(), change(before, after)))
        .collect()
}

fn schedules(
    old: &BTreeMap<ScheduleId, Schedule>,
    new: &BTreeMap<ScheduleId, Schedule>,
) -> BTreeMap<ScheduleId, ScheduleChange> {
    let change = |before: Option<&Schedule>, after: Option<&Schedule>| match (before, after) {
        (_, None) => ScheduleChange::Remove,
        (None, Some(after)) => ScheduleChange::Add(Box::new(after.clone())),
        (Some(before), Some(after)) => ScheduleChange::Change {
            to: Box::new(after.clone()),
            keys: keys::of_schedule(before, after),
        },
    };
    compare(old, new)
        .map(|(id, before, after)| (id.clone(), change(before, after)))
        .collect()
}

/// What is not in both, or not the same there.
fn compare<'a, K: Ord, V: PartialEq>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, Option<&'a V>, Option<&'a V>)> {
    let gone = old.iter().filter(|(id, _)| !new.contains_key(id));
    let gone = gone.map(|(id, before)| (id, Some(before), None));
    let come = new.iter().map(|(id, after)| (id, old.get(id), Some(after)));
    gone.chain(come)
        .filter(|(_, before, after)| before != after)
}

fn differing<T>(keys: &[Key<T>], old: &T, new: &T) -> Vec<KeyChange> {
    let keys = keys.iter().filter(|key| !(key.same)(old, new));
    keys.map(|key| KeyChange {
        name: key.name.to_owned(),
        effect: (key.effect)(old, new),
        from: (key.show)(old),
        to: (key.show)(new),
    })
    .collect()
}

fn put<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, key: &K, value: Option<V>) {
    match value {
        Some(value) => {
            map.insert(key.clone(), value);
        }
        None => {
            map.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
