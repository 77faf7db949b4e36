//! What only the machine can tell: whether files and secrets that the configuration names are there.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

mod host;

pub use host::Host;

use super::Loaded;
use super::diagnostic::{Diagnostic, Diagnostics};
use super::domain::{AgentId, SystemPrompt};
use super::fence::Fence;
use super::secret::{SecretError, SecretRef};
use crate::error_chain;

impl Loaded {
    /// Looks for every secret that is in use, without running a command and without showing one. A missing secret is
    /// an error, a secret file that others can read a warning.
    pub fn check_secrets(&self) -> Diagnostics {
        let used: BTreeSet<String> = self
            .config
            .agents
            .values()
            .filter(|agent| agent.enabled)
            .map(|agent| format!("providers.{}.", agent.model.provider))
            .collect();
        let in_use = |name: &str| {
            !name.starts_with("providers.") || used.iter().any(|prefix| name.starts_with(prefix))
        };
        let base_dir = &self.config.base_dir;
        let mut found = Vec::new();
        for site in self.secrets.iter().filter(|site| in_use(&site.name)) {
            if let Err(error) = site.secret.probe(base_dir) {
                found.push(
                    Diagnostic::error(format!("`{}`: {}", site.name, error_chain(&error)))
                        .at(site.at.clone(), "no secret here")
                        .hint(remedy(&error, &site.secret)),
                );
            }
            if let (Some(mode), SecretRef::File(path)) =
                (site.secret.exposed_mode(base_dir), &site.secret)
            {
                found.push(
                    Diagnostic::warning(format!(
                        "`{}`: others can read this secret's file (mode {mode:03o})",
                        site.name
                    ))
                    .at(site.at.clone(), "not private")
                    .hint(format!("run `chmod 600 {}`", path.display())),
                );
            }
        }
        Diagnostics::new(found, Arc::clone(&self.sources))
    }
}

/// Why a configuration cannot be run, though nothing in it is wrong by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Whom it concerns; all of it without one.
    pub agent: Option<AgentId>,
    /// What is the matter.
    pub says: String,
    /// What to do about it.
    pub remedy: String,
}

impl Loaded {
    /// The faults that somebody found who was to run this, as errors; each is shown where the agent's caps are written,
    /// or with the main file.
    pub fn faults(&self, faults: impl IntoIterator<Item = Fault>) -> Diagnostics {
        let found = faults.into_iter().map(|fault| {
            let place = fault.agent.as_ref().and_then(|id| self.limits.get(id));
            let error = Diagnostic::error(fault.says).hint(fault.remedy);
            match (place, self.files.first()) {
                (Some(at), _) => error.at(at.clone(), "of this agent"),
                (None, Some(main)) => error.in_file(main),
                (None, None) => error,
            }
        });
        Diagnostics::new(found.collect(), Arc::clone(&self.sources))
    }
}

fn remedy(error: &SecretError, secret: &SecretRef) -> String {
    match (error, secret) {
        (SecretError::EnvMissing(name), _) => {
            format!("set {name} in the environment of `kennel up`")
        }
        (_, SecretRef::Env(name)) => format!("set {name} to the secret alone"),
        (_, SecretRef::File(path)) => format!(
            "put the secret alone into {}, readable by the supervisor",
            path.display()
        ),
        _ => "write the secret alone".to_owned(),
    }
}

/// Tries every prompt file: an agent without its prompt must not start as another character.
pub(super) fn prompt_files(loaded: &Loaded) -> Diagnostics {
    let found = loaded
        .config
        .agents
        .values()
        .filter_map(|agent| {
            let prompt @ SystemPrompt::File(path) = agent.system_prompt.as_ref()? else {
                return None;
            };
            let error = prompt.load().err()?;
            Some(
                Diagnostic::error(format!(
                    "failed to read the system prompt of \"{}\": {error}",
                    agent.id
                ))
                .in_file(path)
                .hint("`system_prompt_file` counts from the folder of the main file"),
            )
        })
        .collect();
    Diagnostics::new(found, Arc::clone(&loaded.sources))
}

/// Asks the system for every user that an agent is to run as.
pub(super) fn users(loaded: &Loaded) -> Diagnostics {
    let found = loaded
        .users
        .iter()
        .filter_map(|site| {
            let error = site.user.resolve().err()?;
            Some(
                Diagnostic::error(format!("`{}`: {error}", site.name))
                    .at(site.at.clone(), "not to be found here")
                    .hint(error.advice()),
            )
        })
        .collect();
    Diagnostics::new(found, Arc::clone(&loaded.sources))
}

/// Looks where the paths of the agents lead.
pub(super) fn real_paths(loaded: &Loaded) -> Diagnostics {
    let main = loaded.files.first().map_or(Path::new(""), |path| path);
    let fence = Fence::real(&loaded.config, main, &loaded.secrets);
    let found = loaded.paths.iter().filter_map(|site| fence.refusal(site));
    Diagnostics::new(found.collect(), Arc::clone(&loaded.sources))
}
