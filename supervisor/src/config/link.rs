//! Joins what the files say into one [`Config`]: merges defaults, looks up names, and checks what spans tables.

mod schedules;

use std::collections::BTreeMap;
use std::path::Path;

use super::Directories;
use super::diagnostic::{Diagnostic, Location, quoted};
use super::domain::{
    AgentConfig, AgentId, Binding, Channel, ChannelId, Class, Config, ModelRef, PeerKind, Provider,
    ProviderId, Supervisor, plain_duration,
};
use super::draft::{Draft, Entry};
use super::fence::Fence;
use super::intensity::{cancelled, round_up};
use super::nearest::did_you_mean;
use super::reader::{Context, PathSite};
use super::sections::agent::AgentPatch;
use super::sections::binding::BindingDraft;
use super::sections::class;
use super::sections::limits::FleetDraft;
use super::sections::supervisor::{self, socket_too_long};
use super::value::{Placed, fits_socket};
use crate::containment::Cap;

/// The whole configuration, as far as it could be read; usable only when nothing was reported as an error.
pub(super) fn link(
    context: &Context,
    draft: Draft,
    directories: &Directories,
    main: &Path,
) -> Config {
    let linker = Linker {
        context,
        providers: &draft.providers,
        agents: &draft.agents,
        channels: &draft.channels,
    };
    let supervisor_draft = draft
        .supervisor
        .unwrap_or_else(|| supervisor::absent(directories));
    let mut supervisor = supervisor_draft.supervisor;
    if !fits_socket(&supervisor.control_socket()) {
        // Already said, with its place, when the table is there; this is for a file without one.
        context.report_once(socket_too_long(&supervisor));
    }
    supervisor.default_agent = supervisor_draft
        .default_agent
        .and_then(|agent| linker.agent(&agent));

    let written = draft.classes.iter();
    let written = written.filter_map(|(name, entry)| Some((name, entry.value.as_ref()?)));
    let classes = class::settle(context, written, supervisor.max_concurrent);

    linker.check_policy(&draft.defaults, "defaults");
    linker.check_limits(&draft.defaults);
    let mut agents = BTreeMap::new();
    for (id, entry) in &draft.agents {
        let Some(patch) = entry.value.clone() else {
            continue;
        };
        let patch = patch.over(&draft.defaults);
        linker.check_policy(&patch, id.as_str());
        linker.check_limits(&patch);
        linker.check_class(&patch, &classes, &draft.classes);
        linker.note_places(id, &patch);
        linker.check_downgrade(&patch);
        if let Some(model) = linker.model(id, &patch, entry) {
            let workspace = supervisor.agent_dir(id).join("workspace");
            agents.insert(id.clone(), patch.settle(id.clone(), model, workspace));
        }
    }
    linker.check_fleet(&supervisor_draft.fleet, &supervisor, &agents);
    if !draft.any_agent {
        context.report(
            Diagnostic::warning("no agent is declared")
                .hint("add one with `[agents.assistant]` and a `model`"),
        );
    }
    let bindings = linker.bindings(&draft.bindings);
    linker.warn_unbound(&draft.bindings, supervisor.default_agent.is_some());
    linker.warn_disabled(&draft.bindings, &agents);
    let schedules = linker.schedules(&draft.schedules, &agents, &classes);
    let config = Config {
        base_dir: context.base_dir.clone(),
        supervisor,
        classes,
        agents,
        bindings,
        schedules,
        providers: values(draft.providers),
        channels: values(draft.channels),
    };
    let fence = Fence::written(&config, main, &context.secrets.borrow());
    for refusal in context
        .paths
        .borrow()
        .iter()
        .filter_map(|site| fence.refusal(site))
    {
        context.report(refusal);
    }
    config
}

fn values<I: Ord, T>(entries: BTreeMap<I, Entry<T>>) -> BTreeMap<I, T> {
    entries
        .into_iter()
        .filter_map(|(id, entry)| Some((id, entry.value?)))
        .collect()
}

struct Linker<'a> {
    context: &'a Context,
    providers: &'a BTreeMap<ProviderId, Entry<Provider>>,
    agents: &'a BTreeMap<AgentId, Entry<AgentPatch>>,
    channels: &'a BTreeMap<ChannelId, Entry<Channel>>,
}

impl Linker<'_> {
    fn unknown<'n>(
        &self,
        what: &str,
        wrong: &str,
        at: &Location,
        names: impl Iterator<Item = &'n str> + Clone,
    ) {
        let hint = did_you_mean(wrong, names.clone()).unwrap_or_else(|| {
            const SHOWN: usize = 8;
            let all = format!("{what}{}", if what.ends_with('s') { "es" } else { "s" });
            let known: Vec<_> = names
                .clone()
                .take(SHOWN)
                .map(|n| format!("`{n}`"))
                .collect();
            let more = if names.count() > SHOWN { ", …" } else { "" };
            if known.is_empty() {
                format!("no {what} is declared: add [{all}.<name>]")
            } else {
                format!("the {all} are {}{more}", known.join(", "))
            }
        });
        self.context.report(
            Diagnostic::error(format!("there is no {what} \"{}\"", quoted(wrong)))
                .at(at.clone(), format!("unknown {what}"))
                .hint(hint),
        );
    }

    /// A mistake of the defaults is found with every agent, and reported once.
    fn check_class<T>(
        &self,
        patch: &AgentPatch,
        classes: &BTreeMap<String, Class>,
        written: &BTreeMap<String, Entry<T>>,
    ) {
        let Some(class) = &patch.class else { return };
        // One that is there and could not be read is there.
        let mut names = classes.keys().chain(written.keys());
        if !names.any(|name| *name == class.value) {
            let names = classes.keys().map(String::as_str);
            self.unknown("class", &class.value, &class.at, names);
        }
    }

    fn agent(&self, name: &Placed<String>) -> Option<AgentId> {
        let found = self.agents.get_key_value(name.value.as_str());
        if found.is_none() {
            let names = self.agents.keys().map(AgentId::as_str);
            self.unknown("agent", &name.value, &name.at, names);
        }
        found.map(|(id, _)| id.clone())
    }

    fn channel(&self, name: &Placed<String>) -> Option<ChannelId> {
        let found = self.channels.get_key_value(name.value.as_str());
        if found.is_none() {
            let names = self.channels.keys().map(ChannelId::as_str);
            self.unknown("channel", &name.value, &name.at, names);
        }
        found.map(|(id, _)| id.clone())
    }

    fn model(
        &self,
        id: &AgentId,
        patch: &AgentPatch,
        entry: &Entry<AgentPatch>,
    ) -> Option<ModelRef> {
        let Some(model) = &patch.model else {
            if patch.model_given.is_none() {
                let provider = self.providers.keys().next();
                let provider = provider.map_or("provider", ProviderId::as_str);
                self.context.report(
                    Diagnostic::error(format!("the agent \"{id}\" has no model"))
                        .at(entry.at.clone(), "needs `model`")
                        .hint(format!(
                            "add `model = \"{provider}/model\"` here, or under [defaults] for all"
                        )),
                );
            }
            return None;
        };
        if !self.providers.contains_key(model.value.provider.as_str()) {
            let names = self.providers.keys().map(ProviderId::as_str);
            self.unknown("provider", model.value.provider.as_str(), &model.at, names);
            return None;
        }
        Some(model.value.clone())
    }

    /// Whether the cheaper model is at a provider that there is.
    fn check_downgrade(&self, patch: &AgentPatch) {
        if let Some(model) = &patch.budget_downgrade
            && !self.providers.contains_key(model.value.provider.as_str())
        {
            let names = self.providers.keys().map(ProviderId::as_str);
            self.unknown("provider", model.value.provider.as_str(), &model.at, names);
        }
    }

    /// What only the merged view shows. A mistake of the defaults has the same place for every agent, and is
    /// reported once.
    fn check_policy(&self, patch: &AgentPatch, name: &str) {
        self.check_intensity(patch);
        let timeouts = patch.timeouts();
        if timeouts.watchdog <= timeouts.heartbeat_interval {
            let places = [&patch.watchdog, &patch.heartbeat_interval];
            let mut places = places.into_iter().flatten().map(|placed| placed.at.clone());
            if let Some(at) = places.next() {
                self.context.report(
                    places.fold(
                        Diagnostic::error("the watchdog would end every healthy agent")
                            .at(at, "not longer than the heartbeat interval")
                            .hint(format!(
                                "`watchdog` ({}) must be longer than `heartbeat_interval` ({})",
                                plain_duration(timeouts.watchdog),
                                plain_duration(timeouts.heartbeat_interval)
                            )),
                        |diagnostic, at| diagnostic.related(at, "the heartbeat interval"),
                    ),
                );
            }
        }
        let backoff = patch.restart_policy().backoff;
        if backoff.initial > backoff.max {
            let at = patch.backoff_max.as_ref().map(|max| max.at.clone());
            let at = at.or_else(|| patch.backoff_initial.as_ref().map(|i| i.at.clone()));
            if let Some(at) = at {
                self.context.report(
                    Diagnostic::error("the first wait of the backoff is longer than the longest")
                        .at(at, format!("in the backoff of `{}`", quoted(name)))
                        .hint(format!(
                            "`initial` ({}) must not exceed `max` ({})",
                            plain_duration(backoff.initial),
                            plain_duration(backoff.max)
                        )),
                );
            }
        }
    }

    fn check_intensity(&self, patch: &AgentPatch) {
        let policy = patch.restart_policy();
        let Some(found) = cancelled(&policy) else {
            return;
        };
        let places = [
            patch.window.as_ref().map(|p| (&p.at, "the window")),
            patch.max_restarts.as_ref().map(|p| (&p.at, "the count")),
            patch
                .backoff_max
                .as_ref()
                .map(|p| (&p.at, "the longest wait")),
            patch
                .backoff_initial
                .as_ref()
                .map(|p| (&p.at, "the first wait")),
            patch.backoff_factor.as_ref().map(|p| (&p.at, "the growth")),
            patch.backoff_jitter.as_ref().map(|p| (&p.at, "the jitter")),
        ];
        let mut places = places.into_iter().flatten();
        // The defaults fit each other, so something was set.
        let Some((at, label)) = places.next() else {
            return;
        };
        let restarts = policy.max_restarts;
        let diagnostic = Diagnostic::error(
            "the backoff and the restart intensity cancel each other: no crash loop would end",
        )
        .at(at.clone(), label)
        .hint(format!(
            "{restarts} restarts take at least {}, and `window` is {}: set `window = \"{}\"` or more, \
             or `max_restarts = {}` or less, or a shorter backoff",
            plain_duration(found.takes),
            plain_duration(policy.window),
            plain_duration(round_up(found.takes)).replace(' ', ""),
            found.fitting,
        ));
        self.context
            .report(places.fold(diagnostic, |d, (at, label)| d.related(at.clone(), label)));
    }

    fn check_limits(&self, patch: &AgentPatch) {
        let limits = patch.limits();
        // Each value is in its range, so only what two of them say together is left.
        let (Some(fault), Some(high)) = (limits.fault(), &patch.memory_high) else {
            return;
        };
        let mut diagnostic =
            Diagnostic::error("the agent would be slowed down only beyond its end")
                .at(high.at.clone(), "above `memory`")
                .hint(format!(
                    "{fault}: lower it, or leave it out for 90 % of `memory`"
                ));
        if let Some(memory) = &patch.memory {
            diagnostic = diagnostic.related(memory.at.clone(), "the most it may have");
        }
        self.context.report(diagnostic);
    }

    /// Whether the agents' caps fit under the fleet's ceiling.
    fn check_fleet(
        &self,
        draft: &FleetDraft,
        supervisor: &Supervisor,
        agents: &BTreeMap<AgentId, AgentConfig>,
    ) {
        let caps = agents
            .iter()
            .filter(|(_, agent)| agent.enabled)
            .map(|(id, agent)| (id.as_str(), agent.limits));
        for excess in supervisor.fleet.excess(caps) {
            let at = match excess.cap {
                Cap::Memory => draft.memory.as_ref().map(|placed| &placed.at),
                _ => draft.pids.as_ref().map(|placed| &placed.at),
            };
            let mut diagnostic = Diagnostic::error(excess.to_string()).hint(excess.advice());
            if let Some(at) = at {
                diagnostic = diagnostic.at(at.clone(), "the ceiling");
            }
            self.context.report(diagnostic);
        }
    }

    /// Keeps where an agent's caps and paths are written, for what is checked later.
    fn note_places(&self, id: &AgentId, patch: &AgentPatch) {
        if let Some(at) = &patch.limits_at {
            let mut limits = self.context.limits.borrow_mut();
            limits.insert(id.clone(), at.clone());
        }
        if patch.sandbox_enabled == Some(false) {
            return;
        }
        let lists = [&patch.sandbox_read, &patch.sandbox_write];
        let listed = lists.into_iter().flatten().flatten();
        let listed = listed.map(|path| (path, false));
        let all = listed.chain(patch.workspace.iter().map(|path| (path, true)));
        let sites = all.map(|(path, workspace)| PathSite {
            agent: id.clone(),
            workspace,
            path: path.value.clone(),
            at: path.at.clone(),
        });
        self.context.paths.borrow_mut().extend(sites);
    }

    fn bindings(&self, drafts: &[BindingDraft]) -> Vec<Binding> {
        type Key<'k> = (&'k str, Option<&'k str>, Option<PeerKind>);
        let mut seen: BTreeMap<Key<'_>, &BindingDraft> = BTreeMap::new();
        let mut bindings = Vec::new();
        for draft in drafts {
            let (channel, agent) = (self.channel(&draft.channel), self.agent(&draft.agent));
            let key = (
                draft.channel.value.as_str(),
                draft.peer.as_deref(),
                draft.kind,
            );
            if let Some(first) = seen.get(&key) {
                let same = first.agent.value == draft.agent.value;
                let (title, hint) = if same {
                    ("this binding is given twice", "remove one of them")
                } else {
                    (
                        "two bindings give the same messages to different agents",
                        "remove one of them, or tell them apart by `peer` or `kind`",
                    )
                };
                self.context.report(
                    Diagnostic::error(title)
                        .at(draft.at.clone(), "again here")
                        .related(first.at.clone(), "first here")
                        .hint(hint),
                );
                continue;
            }
            seen.insert(key, draft);
            if let (Some(channel), Some(agent)) = (channel, agent) {
                bindings.push(Binding {
                    channel,
                    agent,
                    peer: draft.peer.clone(),
                    kind: draft.kind,
                });
            }
        }
        bindings
    }

    fn warn_unbound(&self, bindings: &[BindingDraft], default_agent: bool) {
        if default_agent {
            return;
        }
        for (id, entry) in self.channels {
            if bindings.iter().any(|b| b.channel.value == id.as_str()) {
                continue;
            }
            self.context.report(
                Diagnostic::warning(format!("no agent answers on the channel \"{id}\""))
                    .at(entry.at.clone(), "has no binding")
                    .hint("add [[bindings]] with this channel, or `default_agent` to [supervisor]"),
            );
        }
    }

    fn warn_disabled(&self, bindings: &[BindingDraft], agents: &BTreeMap<AgentId, AgentConfig>) {
        for binding in bindings {
            let agent = agents.get(binding.agent.value.as_str());
            if agent.is_some_and(|agent| !agent.enabled) {
                self.context.report(
                    Diagnostic::warning("this binding names an agent that is disabled")
                        .at(binding.agent.at.clone(), "nobody will answer")
                        .hint("enable the agent, or bind another one"),
                );
            }
        }
    }
}
