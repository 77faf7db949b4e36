//! What was found and what was made of it, in words, for people who look for trouble. Changes nothing.

use std::{fs, path::PathBuf};

use kennel_shared::ids::{AgentId, Generation};

use super::{
    Containment,
    choose::Seen,
    layout::{self, Controller, Version},
};

/// A cgroup hierarchy that is mounted here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Whether it is the unified one, of which there is one at most.
    pub v2: bool,
    /// What of it Kennel has use for, by the kernel's names.
    pub controllers: Vec<&'static str>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The group below which ours would be, as `/proc/<pid>/cgroup` writes it.
    pub group: String,
    /// Why no group can be made there, if that is so.
    pub closed: Option<String>,
}

/// The group of one life, and the hierarchies in which a process is somewhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Its path, as `/proc/<pid>/cgroup` writes it.
    pub path: String,
    /// `v2`, or the controllers of a v1 hierarchy.
    pub strays: Vec<String>,
}

impl Containment {
    /// The hierarchies that were found when the host was looked at; none of a backend of choice that has no
    /// use for them.
    pub fn survey(&self) -> Vec<Hierarchy> {
        self.facts.seen.iter().map(hierarchy).collect()
    }

    /// Where one life of an agent is held, and whether a process is there. `None` where there are no groups
    /// or the process is gone.
    pub fn placement(&self, agent: &AgentId, life: Generation, pid: i32) -> Option<Placement> {
        let prepared = self.prepared.as_ref()?;
        let first = self.choice.trees.first()?;
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let below = format!("{}/fleet/{agent}.{life}", prepared.instance);
        let strays = self.choice.trees.iter().filter_map(|tree| {
            let group = tree.path_of(&below);
            let mut memberships = text.lines().filter_map(layout::membership);
            let is_in = memberships
                .any(|(names, path)| tree.is_called(&names) && layout::is_below(path, &group));
            let called = match tree.version {
                Version::V2 => "v2".to_owned(),
                Version::V1 => {
                    let names = tree.controllers.iter().map(|one| v1_name(*one));
                    names.collect::<Vec<_>>().join(",")
                }
            };
            (!is_in).then_some(called)
        });
        Some(Placement {
            strays: strays.collect(),
            path: first.path_of(&below),
        })
    }
}

fn hierarchy(seen: &Seen) -> Hierarchy {
    let found = &seen.hierarchy;
    let (controllers, name): (_, fn(Controller) -> &'static str) = match found.version {
        Version::V2 => (&seen.v2.controllers, Controller::v2_name),
        Version::V1 => (&found.controllers, v1_name),
    };
    Hierarchy {
        v2: found.version == Version::V2,
        controllers: controllers.iter().copied().map(name).collect(),
        mount: found.mount.clone(),
        group: found.path.clone(),
        closed: seen.closed.clone(),
    }
}

fn v1_name(controller: Controller) -> &'static str {
    match controller {
        Controller::Io => "blkio",
        other => other.v2_name(),
    }
}
