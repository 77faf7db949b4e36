//! What of a configuration a host cannot do. All of it is warnings: the supervisor may run elsewhere, or as a service
//! that is given more than who asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::diagnostic::{Diagnostic, Diagnostics, Location};
use super::super::domain::{AgentConfig, Enforcement, Excess, Limits, plain_size};
use super::super::{AgentId, Loaded};
use crate::containment::{Cap, Unenforced};

/// What a host is and can do.
pub struct Host<'a> {
    /// Bytes of memory that there are, where that is known.
    pub memory: Option<u64>,
    /// Whether a supervisor would run as root.
    pub root: bool,
    /// Why agents cannot be held in the way that the configuration names, if they cannot.
    pub refused: Option<String>,
    /// Which caps of those that are set it cannot enforce.
    pub unenforced: &'a dyn Fn(&Limits) -> Vec<Unenforced>,
}

/// Agents of one enforcement whose cap cannot be had for one reason.
type Reason = (Enforcement, Cap, String, String);

impl Loaded {
    /// Holds the configuration against a host.
    pub fn check_host(&self, host: &Host<'_>) -> Diagnostics {
        let mut found = self.unenforced(host);
        if let Some(why) = &host.refused {
            found.push(
                Diagnostic::warning(format!("the supervisor would not start here: {why}"))
                    .hint("remove `containment` under [supervisor]: \"auto\" takes the best that a host has"),
            );
        }
        found.extend(self.memory(host));
        for site in self.users.iter().filter(|_| !host.root) {
            found.push(
                Diagnostic::warning(format!("`{}` needs a supervisor that runs as root", site.name))
                    .at(site.at.clone(), "you are not root")
                    .hint("run the supervisor as root, or remove `user`: then the agent runs as the supervisor does"),
            );
        }
        for site in self.paths.iter().filter(|site| !site.workspace) {
            // What cannot be asked for is another matter.
            if site.path.try_exists().is_ok_and(|there| !there) {
                found.push(
                    Diagnostic::warning("this path of the sandbox is not there")
                        .at(site.at.clone(), site.path.display().to_string())
                        .hint("an agent that starts before it is made does not reach it: make it, or remove it here"),
                );
            }
        }
        Diagnostics::new(found, Arc::clone(&self.sources))
    }

    fn enabled(&self) -> impl Iterator<Item = &AgentConfig> + Clone {
        self.config.agents.values().filter(|agent| agent.enabled)
    }

    /// One finding for each reason, not for each of two hundred agents.
    fn unenforced(&self, host: &Host<'_>) -> Vec<Diagnostic> {
        let mut reasons: Vec<(Reason, Vec<&AgentId>)> = Vec::new();
        for agent in self.enabled() {
            for one in (host.unenforced)(&agent.limits) {
                let reason = (agent.enforcement, one.cap, one.why, one.remedy);
                match reasons.iter_mut().find(|(known, _)| *known == reason) {
                    Some((_, agents)) => agents.push(&agent.id),
                    None => reasons.push((reason, vec![&agent.id])),
                }
            }
        }
        let agents = reasons.into_iter().map(|((enforcement, cap, why, remedy), agents)| {
            let who = names(&agents);
            let (title, hint) = match enforcement {
                Enforcement::Strict => (
                    format!("`{cap}` of {who} cannot be enforced here, and without it an agent does not run: {why}"),
                    format!("{remedy}; or set `enforcement = \"best-effort\"`, to run without it"),
                ),
                Enforcement::BestEffort => (
                    format!("`{cap}` of {who} is not enforced here: {why}"),
                    remedy,
                ),
            };
            let place = first_place(&self.limits, &agents);
            let diagnostic = Diagnostic::warning(title).hint(hint);
            match place {
                Some(at) => diagnostic.at(at.clone(), "asked for here"),
                None => diagnostic,
            }
        });
        let fleet = (host.unenforced)(&self.config.supervisor.fleet.limits);
        let fleet = fleet.into_iter().map(|one| {
            let Unenforced { cap, why, remedy } = one;
            Diagnostic::warning(format!(
                "`{cap}` of [supervisor.fleet] is not enforced here: {why}"
            ))
            .hint(remedy)
        });
        agents.chain(fleet).collect()
    }

    /// Whether the machine has the memory that is handed out.
    fn memory(&self, host: &Host<'_>) -> Option<Diagnostic> {
        let fleet = &self.config.supervisor.fleet;
        let memory = host.memory?;
        let there = bytesize::ByteSize(memory);
        if let Some(ceiling) = fleet.limits.memory {
            return (ceiling > memory).then(|| {
                Diagnostic::warning(format!(
                    "the fleet's `memory` ({}) is more than this machine has ({there})",
                    plain_size(ceiling)
                ))
                .hint("lower it: what is beyond the machine's memory holds nobody")
            });
        }
        if fleet.overcommit {
            return None;
        }
        let caps = self
            .enabled()
            .map(|agent| (agent.id.as_str(), agent.limits.memory));
        let excess = Excess::of(Cap::Memory, Some(memory), caps)?;
        Some(
            Diagnostic::warning(format!(
                "the agents' `memory` adds up to {}, more than this machine has ({there})",
                excess.shown(excess.sum)
            ))
            .hint(format!(
                "{}: lower some, or say that it is meant so by a ceiling: `memory` and `overcommit = true` in \
                 [supervisor.fleet]",
                excess.who()
            )),
        )
    }
}

fn first_place<'a>(
    places: &'a BTreeMap<AgentId, Location>,
    agents: &[&AgentId],
) -> Option<&'a Location> {
    agents.iter().find_map(|id| places.get(*id))
}

/// "`a`", "`a` and `b`", "`a`, `b`, `c` and 4 more".
fn names(agents: &[&AgentId]) -> String {
    const SHOWN: usize = 3;
    let mut parts: Vec<String> = agents
        .iter()
        .take(SHOWN)
        .map(|id| format!("`{id}`"))
        .collect();
    if agents.len() > SHOWN {
        parts.push(format!("{} more", agents.len() - SHOWN));
    }
    match parts.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        _ => parts.concat(),
    }
}

#[cfg(test)]
mod tests;
