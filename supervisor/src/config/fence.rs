//! Which paths an agent may be given: never what is the supervisor's, nor what is another agent's.
//!
//! A path that holds such a place gives it away, and so does one inside it. The rule is applied twice: to the paths as
//! they are written, and at load to where they lead when links are followed.

use std::path::{Component, Path, PathBuf};

use super::diagnostic::{Diagnostic, quoted};
use super::domain::{AgentId, Config};
use super::reader::{PathSite, SecretSite};
use super::secret::SecretRef;
use super::source::FRAGMENTS;

/// A place that agents are kept out of.
struct Kept {
    path: PathBuf,
    what: String,
    /// Whose it is: that agent may be there.
    owner: Option<AgentId>,
    /// Whether it is private to its last file; of others only what holds them whole is refused.
    below: bool,
    /// Whether a workspace may be below it all the same: the supervisor itself puts them there.
    workspaces: bool,
}

/// All places that agents are kept out of.
pub(super) struct Fence {
    kept: Vec<Kept>,
    /// The folders of each agent.
    own: Vec<(AgentId, PathBuf)>,
    follow: fn(&Path) -> PathBuf,
}

impl Fence {
    /// By the paths as they are written.
    pub(super) fn written(config: &Config, main: &Path, secrets: &[SecretSite]) -> Self {
        Self::new(config, main, secrets, plain)
    }

    /// By where the paths lead on this machine.
    pub(super) fn real(config: &Config, main: &Path, secrets: &[SecretSite]) -> Self {
        Self::new(config, main, secrets, real)
    }

    fn new(
        config: &Config,
        main: &Path,
        secrets: &[SecretSite],
        follow: fn(&Path) -> PathBuf,
    ) -> Self {
        let supervisor = &config.supervisor;
        let place = |path: &Path, what: &str| Kept {
            path: follow(path),
            what: what.to_owned(),
            owner: None,
            below: true,
            workspaces: false,
        };
        let file = |path: &Path, what: &str| Kept {
            below: false,
            ..place(path, what)
        };
        let main = config.base_dir.join(main.file_name().unwrap_or_default());
        let mut kept = vec![
            file(&main, "the configuration"),
            place(
                &config.base_dir.join(FRAGMENTS),
                "the configuration of the agents",
            ),
            place(
                &supervisor.runtime_dir,
                "the supervisor's sockets (`runtime_dir`)",
            ),
        ];
        for site in secrets {
            if let SecretRef::File(path) = &site.secret {
                let what = format!("the secret of `{}`", site.name);
                kept.push(file(&config.base_dir.join(path), &what));
            }
        }
        let mut own = Vec::new();
        for agent in config.agents.values() {
            let folder = supervisor.agent_dir(&agent.id);
            for (path, what) in [(&folder, "state"), (&agent.workspace, "workspace")] {
                let what = format!("the {what} of the agent \"{}\"", agent.id);
                kept.push(Kept {
                    owner: Some(agent.id.clone()),
                    // Two agents may work in one place, or one inside the other's, when both are told so.
                    workspaces: path == &agent.workspace,
                    ..place(path, &what)
                });
                own.push((agent.id.clone(), follow(path)));
            }
        }
        // Last: what is inside it has a better name.
        kept.push(Kept {
            workspaces: true,
            ..place(
                &supervisor.state_dir,
                "the state of the fleet (`state_dir`)",
            )
        });
        Self { kept, own, follow }
    }

    /// What is wrong with a path of an agent.
    pub(super) fn refusal(&self, site: &PathSite) -> Option<Diagnostic> {
        let path = (self.follow)(&site.path);
        let own = |(agent, folder): &(AgentId, PathBuf)| {
            *agent == site.agent && path.starts_with(folder) && !(site.workspace && path == *folder)
        };
        if self.own.iter().any(own) {
            return None;
        }
        let meets = |kept: &&Kept| {
            let holds = kept.path.starts_with(&path);
            let inside = kept.below && path.starts_with(&kept.path);
            let excused = if site.workspace {
                kept.workspaces && (inside || kept.owner.is_some())
            } else {
                false
            };
            kept.owner.as_ref() != Some(&site.agent) && (holds || inside) && !excused
        };
        let kept = self.kept.iter().find(meets)?;
        let key = if site.workspace {
            "`workspace`"
        } else {
            "this path of the sandbox"
        };
        let place = quoted(&kept.path.display().to_string());
        let diagnostic = if path.starts_with(&kept.path) {
            Diagnostic::error(format!("{key} is {}", kept.what))
        } else {
            Diagnostic::error(format!("{key} holds {}", kept.what))
        };
        let led = if path == plain(&site.path) {
            String::new()
        } else {
            format!(", by way of {}", quoted(&path.display().to_string()))
        };
        Some(
            diagnostic
                .at(site.at.clone(), format!("leads to {place}{led}"))
                .hint(
                    "name a folder apart from it: an agent's own folders, the supervisor's and those of other agents \
                     are kept apart; `sandbox = { enabled = false }` gives that up",
                ),
        )
    }
}

/// Without `.` and `..`, by the text alone.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if out.file_name().is_some() => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

/// Where it leads: links are followed as far as the path is there.
fn real(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let (Ok(found), Ok(rest)) = (ancestor.canonicalize(), path.strip_prefix(ancestor)) {
            return plain(&found.join(rest));
        }
    }
    plain(path)
}
