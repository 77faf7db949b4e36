//! Schedules: their names, their agents, their sessions, and who is told.

use std::collections::BTreeMap;

use kennel_shared::session_key::SessionKey;

use super::super::diagnostic::{Diagnostic, quoted};
use super::super::domain::{AgentConfig, AgentId, Class};
use super::super::sections::schedule::ScheduleDraft;
use super::super::value::Placed;
use super::Linker;
use crate::schedule::{Schedule, ScheduleId, Tell};

impl Linker<'_> {
    pub(super) fn schedules(
        &self,
        drafts: &[ScheduleDraft],
        agents: &BTreeMap<AgentId, AgentConfig>,
        classes: &BTreeMap<String, Class>,
    ) -> BTreeMap<ScheduleId, Schedule> {
        let mut seen = BTreeMap::new();
        let mut schedules = BTreeMap::new();
        for draft in drafts {
            let id = &draft.id.value;
            if let Some(first) = seen.insert(id.clone(), draft.id.at.clone()) {
                self.context.report(
                    Diagnostic::error(format!("\"{id}\" names a schedule twice"))
                        .at(draft.id.at.clone(), "again here")
                        .related(first, "first here")
                        .hint("rename one of them"),
                );
            }
            self.check_class_of(draft, classes);
            if let Some(schedule) = self.schedule(draft, agents) {
                schedules.insert(id.clone(), schedule);
            }
        }
        schedules
    }

    fn schedule(
        &self,
        draft: &ScheduleDraft,
        agents: &BTreeMap<AgentId, AgentConfig>,
    ) -> Option<Schedule> {
        let id = &draft.id.value;
        let named = draft.agent.as_ref();
        let agent = named.and_then(|agent| self.agent(agent));
        let session = agent.as_ref().and_then(|agent| self.session(draft, agent));
        let tell = draft.tell.as_ref().map(|tell| {
            let channel = self.channel(&tell.channel)?;
            let peer = tell.peer.clone();
            Some(Tell { channel, peer })
        });
        let settled = agent.as_ref().and_then(|agent| agents.get(agent));
        if let (Some(named), true) = (named, settled.is_some_and(|agent| !agent.enabled))
            && draft.enabled
        {
            self.context.report(
                Diagnostic::warning(format!("schedule \"{id}\" names an agent that is disabled"))
                    .at(named.at.clone(), "nobody will run it")
                    .hint("enable the agent, or set `enabled = false` for the schedule"),
            );
        }
        let tell = match tell {
            Some(tell) => Some(tell?),
            None if draft.tell_given => return None,
            None => None,
        };
        Some(Schedule {
            id: id.clone(),
            enabled: draft.enabled,
            timetable: draft.timetable.clone()?,
            catch_up: draft.catch_up,
            jitter: draft.jitter,
            agent: agent?,
            session: session?,
            class: draft.class.as_ref().map(|class| class.value.clone()),
            prompt: draft.prompt.clone()?,
            tell,
        })
    }

    /// A class must be there; it need not be that of the agent.
    fn check_class_of(&self, draft: &ScheduleDraft, classes: &BTreeMap<String, Class>) {
        if let Some(class) = &draft.class
            && !classes.contains_key(&class.value)
        {
            let names = classes.keys().map(String::as_str);
            self.unknown("class", &class.value, &class.at, names);
        }
    }

    /// The conversation that runs are part of: the one that is named, or one of the schedule's own.
    fn session(&self, draft: &ScheduleDraft, agent: &AgentId) -> Option<SessionKey> {
        let Some(Placed { value, at }) = &draft.session else {
            let own = format!("cron:{}", draft.id.value);
            let own = || SessionKey::new(agent, &own).expect("names fit into a key");
            return (!draft.session_given).then(own);
        };
        let key = if value.starts_with("agent:") {
            value.parse()
        } else {
            SessionKey::new(agent, value)
        };
        let (title, hint) = match key {
            Ok(key) if key.agent_str() == agent.as_str() => return Some(key),
            Ok(key) => (
                format!(
                    "`session` is one of agent \"{}\", and the schedule is for \"{agent}\"",
                    key.agent_str()
                ),
                "name a session of the agent, or leave it out for one of its own".to_owned(),
            ),
            Err(error) => (
                format!("`session` cannot name a conversation: {error}"),
                format!(
                    "write `session = \"agent:{agent}:{}\"`, or leave it out",
                    quoted("notes")
                ),
            ),
        };
        self.context.report(
            Diagnostic::error(title)
                .at(at.clone(), "not a session of it")
                .hint(hint),
        );
        None
    }
}
