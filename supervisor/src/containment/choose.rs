//! From what the host offers to the backend that is used, and to what it cannot do. Pure.
//!
//! Each cap goes to the v2 tree if that has the controller, else to the v1 hierarchy that has it. So one
//! rule serves every host, and the [`BackendKind`] only names the outcome.

use std::{fmt, path::PathBuf};

use super::{
    caps::{Cap, Unenforced},
    layout::{Controller, Hierarchy, Version},
};

/// How agents are held, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendKind {
    /// The v2 hierarchy below a group that systemd, or whoever started us, gave away.
    V2Delegated,
    /// The v2 hierarchy by the rights of root.
    V2Root,
    /// v1 controllers for the caps, the v2 tree to end and to stop a group.
    Hybrid,
    /// v1 controllers alone.
    V1,
    /// No groups: limits of single processes, and a look at `/proc` each second.
    BestEffort,
}

impl BackendKind {
    /// Its name in `doctor`, `status` and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2Delegated => "cgroup-v2-delegated",
            Self::V2Root => "cgroup-v2-root",
            Self::Hybrid => "hybrid",
            Self::V1 => "cgroup-v1",
            Self::BestEffort => "best-effort",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is known of the host.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// The effective user.
    pub uid: u32,
    /// Each hierarchy that is mounted.
    pub seen: Vec<Seen>,
    /// Whether a disk has a scheduler that heeds weights.
    pub weighted_disks: bool,
}

/// One hierarchy, looked at.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Where it is.
    pub hierarchy: Hierarchy,
    /// Why no group can be made below our own, if that is so.
    pub closed: Option<String>,
    /// More of a v2 hierarchy.
    pub v2: V2Facts,
}

/// What matters of a v2 group before controllers can be enabled below it.
#[derive(Debug, Clone, Default)]
pub(super) struct V2Facts {
    /// The controllers that our own group may hand down.
    pub controllers: Vec<Controller>,
    /// Whether it is the real root, to which the rule against processes in inner groups does not apply.
    pub top: bool,
    /// Whether it was given away: it belongs to a user who is not root, or systemd marked it so.
    pub delegated: bool,
    /// Processes in it beside us.
    pub others: usize,
    /// The controllers of the mount's own root, where that is the real root and may be written.
    pub above: Option<Vec<Controller>>,
}

/// What is used.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    /// The name of it.
    pub kind: BackendKind,
    /// Why this one, in words.
    pub why: String,
    /// The hierarchies in which groups are made; the v2 one first.
    pub trees: Vec<Tree>,
    /// Caps that are not held, or only by looking now and then.
    pub cannot: Vec<Unenforced>,
}

/// A hierarchy in which groups are made.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    /// Of which generation.
    pub version: Version,
    /// The group below which everything is.
    pub base: PathBuf,
    /// The same as `/proc/<pid>/cgroup` writes it.
    pub path: String,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The group that this process goes back to when it leaves.
    pub home: PathBuf,
    /// What it is used for.
    pub controllers: Vec<Controller>,
    /// Whether the base is the real root of a v2 hierarchy.
    pub top: bool,
}

impl Tree {
    /// Of a group in it, as `/proc/<pid>/cgroup` writes it.
    pub(super) fn path_of(&self, below: &str) -> String {
        format!("{}/{below}", self.path.trim_end_matches('/'))
    }

    /// Whether a line of `/proc/<pid>/cgroup` that names these controllers is about this hierarchy.
    pub(super) fn is_called(&self, names: &[&str]) -> bool {
        match self.version {
            Version::V2 => names.is_empty(),
            Version::V1 => names.iter().any(|name| {
                Controller::from_name(name).is_some_and(|one| self.controllers.contains(&one))
            }),
        }
    }
}

impl Choice {
    /// Gives up a controller that turned out not to be had after all.
    pub(super) fn lose(&mut self, controller: Controller, why: &str) {
        for tree in &mut self.trees {
            tree.controllers.retain(|one| *one != controller);
        }
        let caps: &[Cap] = match controller {
            Controller::Memory => &[Cap::Memory, Cap::MemoryHigh],
            Controller::Cpu => &[Cap::Cpu, Cap::CpuWeight],
            Controller::Pids => &[Cap::Pids],
            Controller::Io => &[Cap::IoWeight],
            Controller::CpuAcct | Controller::Freezer => &[],
        };
        let name = controller.v2_name();
        self.cannot.retain(|one| !caps.contains(&one.cap));
        self.cannot.extend(caps.iter().map(|cap| Unenforced {
            cap: *cap,
            why: format!("{} cannot use the {name} controller: {why}", self.kind),
            remedy: format!(
                "hand the controller down to our group: Delegate={name} in the systemd unit"
            ),
        }));
    }
}

/// The controllers that hold caps.
const CAPPING: [Controller; 4] = [
    Controller::Memory,
    Controller::Cpu,
    Controller::Pids,
    Controller::Io,
];

/// Chooses.
pub(super) fn choose(facts: &Facts) -> Choice {
    let v2 = facts.seen.iter().find_map(|seen| v2_tree(facts, seen));
    let mut trees: Vec<Tree> = v2.iter().map(|v2| v2.tree.clone()).collect();
    let open = facts
        .seen
        .iter()
        .filter(|seen| seen.hierarchy.version == Version::V1 && seen.closed.is_none());
    for seen in open {
        let mut controllers = seen.hierarchy.controllers.clone();
        controllers.retain(|controller| match controller {
            Controller::Freezer => v2.is_none(),
            // Kept beside v2 too: it tells the CPU time for less.
            Controller::CpuAcct => true,
            _ => !trees
                .iter()
                .any(|tree| tree.controllers.contains(controller)),
        });
        if !controllers.is_empty() {
            trees.push(Tree {
                version: Version::V1,
                base: seen.hierarchy.own.clone(),
                path: seen.hierarchy.path.clone(),
                mount: seen.hierarchy.mount.clone(),
                home: seen.hierarchy.home.clone(),
                controllers,
                top: false,
            });
        }
    }
    let by_v1 = trees.iter().any(|tree| {
        tree.version == Version::V1 && CAPPING.iter().any(|one| tree.controllers.contains(one))
    });
    if v2.is_some() && !by_v1 {
        // v2 has everything that this host has; a clock alone is not worth a second tree.
        trees.truncate(1);
    }
    let has = |controller| {
        trees
            .iter()
            .any(|tree: &Tree| tree.controllers.contains(&controller))
    };
    let counts_time = has(Controller::CpuAcct);
    if v2.is_none()
        && ![Controller::Memory, Controller::Cpu, Controller::Pids]
            .map(has)
            .contains(&true)
    {
        trees.clear();
    }
    let (kind, why) = match &v2 {
        Some(v2) if !by_v1 => (v2.kind, v2.why.clone()),
        Some(v2) => (
            BackendKind::Hybrid,
            format!(
                "{} of v1{}; groups are ended and stopped through the v2 tree at {}",
                names(&trees, Version::V1),
                if counts_time {
                    ", whose cpuacct counts CPU time"
                } else {
                    ""
                },
                v2.tree.mount.display()
            ),
        ),
        None if trees.is_empty() => (BackendKind::BestEffort, nothing(facts)),
        None => (
            BackendKind::V1,
            format!("{} of v1, and no v2 tree", names(&trees, Version::V1)),
        ),
    };
    let cannot = cannot(facts, kind, &trees);
    Choice {
        kind,
        why,
        trees,
        cannot,
    }
}

struct V2 {
    tree: Tree,
    kind: BackendKind,
    why: String,
}

fn v2_tree(facts: &Facts, seen: &Seen) -> Option<V2> {
    let hierarchy = &seen.hierarchy;
    if hierarchy.version != Version::V2 || seen.closed.is_some() {
        return None;
    }
    let about = &seen.v2;
    let mut tree = Tree {
        version: Version::V2,
        base: hierarchy.own.clone(),
        path: hierarchy.path.clone(),
        mount: hierarchy.mount.clone(),
        home: hierarchy.home.clone(),
        controllers: useful(&about.controllers),
        top: about.top,
    };
    let kind = if about.delegated {
        BackendKind::V2Delegated
    } else {
        BackendKind::V2Root
    };
    let why = if about.top || about.others == 0 {
        match kind {
            BackendKind::V2Delegated => format!("the group {} was given to us", hierarchy.path),
            _ => format!("root may make groups below {}", hierarchy.path),
        }
    } else if let Some(above) = about.above.as_ref().filter(|_| facts.uid == 0) {
        tree.base.clone_from(&hierarchy.mount);
        "/".clone_into(&mut tree.path);
        tree.controllers = useful(above);
        tree.top = true;
        format!(
            "root may make groups at the top, since others are in our own group {}",
            hierarchy.path
        )
    } else {
        tree.controllers.clear();
        format!(
            "groups below {} can be ended as a whole; others are in it, so that they cannot be capped",
            hierarchy.path
        )
    };
    Some(V2 { tree, kind, why })
}

fn useful(controllers: &[Controller]) -> Vec<Controller> {
    let mut useful = controllers.to_vec();
    useful.retain(|controller| CAPPING.contains(controller));
    useful
}

fn names(trees: &[Tree], version: Version) -> String {
    let names: Vec<_> = CAPPING
        .into_iter()
        .filter(|one| {
            trees
                .iter()
                .any(|tree| tree.version == version && tree.controllers.contains(one))
        })
        .map(Controller::v2_name)
        .collect();
    names.join(", ")
}

/// Why there are no groups at all.
fn nothing(facts: &Facts) -> String {
    let closed = facts.seen.iter().find_map(|seen| {
        let reason = seen.closed.as_ref()?;
        Some(format!("no cgroup can be made: {reason}"))
    });
    closed.unwrap_or_else(|| "no cgroup hierarchy is mounted here that could be used".to_owned())
}

fn cannot(facts: &Facts, kind: BackendKind, trees: &[Tree]) -> Vec<Unenforced> {
    let holder = |controller| {
        trees
            .iter()
            .find(|tree| tree.controllers.contains(&controller))
    };
    let refused = |cap, why: &str, remedy: String| Unenforced {
        cap,
        why: format!("{kind} {why}"),
        remedy,
    };
    let mut cannot = Vec::new();
    if holder(Controller::Memory).is_none() {
        cannot.push(refused(
            Cap::Memory,
            "only looks at the use of memory each second",
            remedy(facts, Controller::Memory),
        ));
    }
    match holder(Controller::Memory).map(|tree| tree.version) {
        Some(Version::V2) => {}
        Some(Version::V1) => cannot.push(refused(
            Cap::MemoryHigh,
            "has the v1 memory controller, which knows one limit only",
            "boot with the v2 hierarchy (systemd.unified_cgroup_hierarchy=1), or leave memory_high out"
                .to_owned(),
        )),
        None => cannot.push(refused(
            Cap::MemoryHigh,
            "has no memory controller",
            remedy(facts, Controller::Memory),
        )),
    }
    if holder(Controller::Cpu).is_none() {
        for cap in [Cap::Cpu, Cap::CpuWeight] {
            let remedy = remedy(facts, Controller::Cpu);
            cannot.push(refused(cap, "has no cpu controller", remedy));
        }
    }
    if holder(Controller::Pids).is_none() {
        cannot.push(refused(
            Cap::Pids,
            "only counts processes each second",
            remedy(facts, Controller::Pids),
        ));
    }
    if holder(Controller::Io).is_none() {
        let remedy = remedy(facts, Controller::Io);
        cannot.push(refused(Cap::IoWeight, "has no io controller", remedy));
    } else if !facts.weighted_disks {
        cannot.push(refused(
            Cap::IoWeight,
            "found no disk whose scheduler heeds weights",
            "write bfq into /sys/block/<disk>/queue/scheduler, or enable io.cost.qos".to_owned(),
        ));
    }
    cannot
}

/// What would give us the controller.
fn remedy(facts: &Facts, controller: Controller) -> String {
    let name = controller.v2_name();
    let Some(seen) = facts.seen.iter().find(|seen| {
        seen.hierarchy.version == Version::V2 || seen.hierarchy.controllers.contains(&controller)
    }) else {
        return "mount the cgroup hierarchy at /sys/fs/cgroup, writable for Kennel".to_owned();
    };
    match (&seen.closed, seen.hierarchy.version) {
        (Some(_), _) if facts.uid != 0 => {
            "run Kennel as a systemd service with Delegate=cpu memory pids io, or as root"
                .to_owned()
        }
        (Some(reason), _) => format!("make the cgroups writable for Kennel ({reason})"),
        (None, Version::V2) if seen.v2.others > 0 => format!(
            "start Kennel in a group of its own, such as a systemd service with Delegate=yes: {} processes share {}",
            seen.v2.others, seen.hierarchy.path
        ),
        (None, Version::V2) if !seen.v2.top => {
            format!("hand the controller down to our group: Delegate={name} in the systemd unit")
        }
        (None, _) => format!("boot a kernel with the {name} controller enabled"),
    }
}

#[cfg(test)]
mod tests;
