//! What holds an agent: its caps, its groups, and the end of all that it started.
//!
//! ```text
//! <where the supervisor was started>          in each hierarchy that is used
//! └── kennel-<instance>
//!     ├── supervisor                          this process; the fleet cannot squeeze it
//!     └── fleet                               caps of all agents together
//!         └── <agent>.<generation>            one life of one agent: a `Group`
//! ```
//!
//! [`Containment::probe`] looks at the host and changes nothing; `choose` says in a pure function what is
//! made of it. A cap is held by the v2 hierarchy or by a v1 one, whichever has its controller; on most
//! hosts one of the two has all. Without groups, processes are limited one by one and looked at each
//! second, which is called best effort and not more.
//!
//! Nothing here knows agents' lives: the driver makes a group before it starts a child, and removes it
//! after. Methods that write to the kernel block, for microseconds unless they say otherwise.

pub mod caps;
mod choose;
mod counters;
mod dirs;
mod error;
mod files;
mod group;
#[cfg(test)]
mod host_tests;
mod kill;
mod layout;
mod leftovers;
mod limits;
mod meter;
mod notice;
mod probe;
mod process_tree;
mod procfs;
mod reader;
pub mod reading;
mod scan;
mod survey;

use std::{collections::BTreeSet, fs, io, path::Path, sync::Arc};

use kennel_shared::ids::{AgentId, Generation};

pub use self::{
    caps::{Cap, Caps, Unenforced},
    choose::BackendKind,
    error::{ContainmentError, LeftBehind, Remaining},
    files::FileError,
    group::{Group, Over},
    leftovers::{Cleaned, Leftover},
    meter::{CpuMeter, CpuTimes},
    notice::OomNotice,
    procfs::Stat,
    reader::GroupReader,
    reading::{Pressure, Reading},
    survey::{Hierarchy, Placement},
};
use self::{
    choose::{Choice, Facts, Tree, choose},
    dirs::Dirs,
    group::Place,
    layout::{Controller, INSTANCE_PREFIX, Version},
    limits::Level,
    scan::Scans,
};

/// The weight of the supervisor beside its fleet, which has 100: it answers while agents compute.
const SUPERVISOR_WEIGHT: u32 = 1_000;
/// Memory that is not reclaimed from the supervisor for the sake of others.
const SUPERVISOR_MEMORY: &str = "67108864";

/// The host's means to hold agents, and the groups that are held.
#[derive(Debug)]
pub struct Containment {
    facts: Facts,
    choice: Choice,
    prepared: Option<Prepared>,
    /// For groups that are none.
    scans: Arc<Scans>,
}

#[derive(Debug)]
struct Prepared {
    /// `kennel-<instance>`.
    instance: String,
}

impl Prepared {
    /// Below which agents' groups are.
    fn fleet(&self) -> String {
        format!("{}/fleet", self.instance)
    }
}

impl Containment {
    /// Looks at the host. Never fails: where nothing else can be had there is best effort.
    pub fn probe() -> Self {
        Self::of(probe::facts())
    }

    /// The same with a backend of choice. An error where the host cannot do it.
    pub fn with(wanted: BackendKind) -> Result<Self, ContainmentError> {
        let mut facts = probe::facts();
        match wanted {
            BackendKind::V2Delegated | BackendKind::V2Root => {
                facts
                    .seen
                    .retain(|seen| seen.hierarchy.version == Version::V2);
            }
            BackendKind::V1 => facts
                .seen
                .retain(|seen| seen.hierarchy.version == Version::V1),
            BackendKind::BestEffort => facts.seen.clear(),
            BackendKind::Hybrid => {}
        }
        let mut this = Self::of(facts);
        if wanted == BackendKind::BestEffort {
            "it was asked for, whatever else there is".clone_into(&mut this.choice.why);
        }
        let complete = match wanted {
            BackendKind::V2Delegated | BackendKind::V2Root => {
                !this.cannot().iter().any(|one| one.cap == Cap::Memory)
            }
            _ => true,
        };
        if this.backend() == wanted && complete {
            return Ok(this);
        }
        Err(ContainmentError::Backend {
            wanted,
            found: this.backend(),
            why: this.choice.why,
        })
    }

    /// Best effort, because the better way failed with `error`.
    pub fn fallback(error: &str) -> Self {
        let mut facts = probe::facts();
        facts.seen.clear();
        let mut this = Self::of(facts);
        this.choice.why = format!("the groups could not be made: {error}");
        this.prepared = Some(Prepared {
            instance: String::new(),
        });
        this
    }

    fn of(facts: Facts) -> Self {
        Self {
            choice: choose(&facts),
            facts,
            prepared: None,
            scans: Arc::default(),
        }
    }

    /// What is used.
    pub fn backend(&self) -> BackendKind {
        self.choice.kind
    }

    /// Why this and nothing better.
    pub fn why(&self) -> &str {
        &self.choice.why
    }

    /// Every cap that this host does not hold, or only by looking now and then.
    pub fn cannot(&self) -> Vec<Unenforced> {
        self.choice.cannot.clone()
    }

    /// Of the caps that are asked for, those it does not hold.
    pub fn unenforced(&self, caps: &Caps) -> Vec<Unenforced> {
        let requested = caps.requested();
        let mut cannot = self.cannot();
        cannot.retain(|one| requested.contains(&one.cap));
        cannot
    }

    /// Ends and removes what a supervisor of `instance` left that has died. Nobody may run the instance.
    pub fn clean(&self, instance: &str) -> Result<Cleaned, ContainmentError> {
        let instance = format!("{INSTANCE_PREFIX}{instance}");
        Ok(leftovers::clean(&self.facts, &instance, &BTreeSet::new())?)
    }

    /// The lives of agents that supervisors of `instance` have left in their groups; none where there are
    /// no groups.
    pub fn leftovers(&self, instance: &str) -> Vec<Leftover> {
        leftovers::list(&self.facts, &format!("{INSTANCE_PREFIX}{instance}"))
    }

    /// Makes the groups of `instance` and moves this process into the supervisor's, after it has ended and
    /// removed what a dead supervisor of the same instance left. Nobody else may run the instance.
    pub fn prepare(&mut self, instance: &str, fleet: &Caps) -> Result<Cleaned, ContainmentError> {
        self.prepare_keeping(instance, fleet, &BTreeSet::new())
    }

    /// The same, but for the lives to `keep`, by the names of their groups: they are to be
    /// [adopted](Self::adopt).
    pub fn prepare_keeping(
        &mut self,
        instance: &str,
        fleet: &Caps,
        keep: &BTreeSet<String>,
    ) -> Result<Cleaned, ContainmentError> {
        let instance = format!("{INSTANCE_PREFIX}{instance}");
        let cleaned = leftovers::clean(&self.facts, &instance, keep)?;
        if let Err(error) = self.establish(instance, fleet) {
            // As far as it goes: the first error says more.
            let _ = self.release();
            return Err(error);
        }
        Ok(cleaned)
    }

    fn establish(&mut self, instance: String, fleet: &Caps) -> Result<(), ContainmentError> {
        // From here on `release` knows what to undo.
        let base = instance.clone();
        self.prepared = Some(Prepared { instance });
        let supervisor = format!("{base}/supervisor");
        for below in [&base, &supervisor] {
            make(&Dirs::new(&self.choice.trees, below))?;
        }
        for dir in Dirs::new(&self.choice.trees, &supervisor).iter() {
            move_self(&dir.path)?;
        }
        // Only now: no group but the real root may have processes and hand controllers down.
        self.hand_down("");
        self.hand_down(&base);
        make(&self.fleet_dirs())?;
        self.hand_down(&format!("{base}/fleet"));
        self.favour_supervisor(&base);
        limits::apply(&self.fleet_dirs(), fleet, Level::Fleet, true)
    }

    /// Switches the v2 controllers on for the groups below `below`. One that cannot be is given up.
    fn hand_down(&mut self, below: &str) {
        let trees = &self.choice.trees;
        let Some(tree) = trees.iter().find(|tree| tree.version == Version::V2) else {
            return;
        };
        let file = tree.base.join(below).join("cgroup.subtree_control");
        let on = files::read(&file).unwrap_or_default();
        for controller in tree.controllers.clone() {
            let name = controller.v2_name();
            let is_on = |shown: &str| shown.split(' ').any(|one| one == name);
            if is_on(&on) {
                continue;
            }
            if let Err(error) = files::write_checked(&file, &format!("+{name}"), is_on) {
                self.choice.lose(controller, &crate::error_chain(&error));
            }
        }
    }

    /// What helps the supervisor and does no harm where it cannot be had.
    fn favour_supervisor(&self, base: &str) {
        let root = Dirs::new(&self.choice.trees, base);
        let supervisor = Dirs::new(&self.choice.trees, &format!("{base}/supervisor"));
        for dirs in [&root, &supervisor] {
            if let Some((Version::V2, dir)) = dirs.of(Controller::Memory) {
                let _ = files::write(&dir.join("memory.min"), SUPERVISOR_MEMORY);
            }
        }
        if let Some((version, dir)) = supervisor.of(Controller::Cpu) {
            let _ = limits::weight(version, dir, SUPERVISOR_WEIGHT);
        }
    }

    fn fleet_dirs(&self) -> Dirs {
        match &self.prepared {
            Some(prepared) => {
                Dirs::new(&self.choice.trees, &format!("{}/fleet", prepared.instance))
            }
            None => Dirs::default(),
        }
    }

    /// Makes the group for one life of an agent.
    pub fn create(
        &self,
        agent: &AgentId,
        generation: Generation,
        caps: &Caps,
    ) -> Result<Group, ContainmentError> {
        let prepared = self.prepared.as_ref().ok_or(ContainmentError::Unprepared)?;
        Group::create(&self.place(&prepared.fleet()), agent, generation, caps)
    }

    fn place<'a>(&'a self, fleet: &'a str) -> Place<'a> {
        Place {
            kind: self.choice.kind,
            trees: &self.choice.trees,
            fleet,
            scans: &self.scans,
        }
    }

    /// Takes over the group of one life of an agent that another supervisor has made, with the processes
    /// `pids` that are in it. One that was made elsewhere, as in another session, is moved here. Its caps
    /// hold as they did and are not known until [`Group::set`] says others.
    pub fn adopt(
        &self,
        agent: &AgentId,
        generation: Generation,
        pids: &[i32],
    ) -> Result<Group, ContainmentError> {
        let prepared = self.prepared.as_ref().ok_or(ContainmentError::Unprepared)?;
        let group = Group::new(&self.place(&prepared.fleet()), agent, generation);
        group.adopt(pids)?;
        Ok(group)
    }

    /// Changes the caps of the fleet. In v1 an agent has no more CPU than the fleet: its own cap is
    /// lowered with the fleet's, and raised again only by [`Group::set`].
    pub fn set_fleet(&self, caps: &Caps) -> Result<(), ContainmentError> {
        limits::apply(&self.fleet_dirs(), caps, Level::Fleet, false)
    }

    /// The counters of the fleet; `None` where there are no groups.
    pub fn fleet_reader(&self) -> Option<GroupReader> {
        if self.prepared.is_none() || self.choice.trees.is_empty() {
            return None;
        }
        GroupReader::open(&self.fleet_dirs()).ok()
    }

    /// Whether a process is in a group of the fleet. `None` when it is gone, or where there are no groups.
    pub fn is_member(&self, pid: i32) -> Option<bool> {
        let prepared = self.prepared.as_ref()?;
        if self.choice.trees.is_empty() {
            return None;
        }
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let below = format!("{}/fleet", prepared.instance);
        Some(self.choice.trees.iter().any(|tree| {
            let fleet = tree.path_of(&below);
            text.lines()
                .filter_map(layout::membership)
                .filter(|(names, _)| tree.is_called(names))
                .any(|(_, path)| layout::is_below(path, &fleet))
        }))
    }

    /// Ends what is left of the fleet, removes all groups and moves this process back to where it was
    /// started. Blocks for up to the time that processes take to end. The last that is done with it.
    pub fn release(&self) -> Result<(), ContainmentError> {
        let Some(prepared) = &self.prepared else {
            return Ok(());
        };
        let trees = &self.choice.trees;
        let fleet = format!("{}/fleet", prepared.instance);
        kill::remove(&Dirs::new(trees, &fleet), &fleet, leftovers::ENDING)?;
        for tree in trees {
            let root = tree.base.join(&prepared.instance);
            hand_down_nothing(tree, &root);
            // A supervisor that was started by the one before it is at home in what goes away now.
            if tree.home.starts_with(&root) || move_self(&tree.home).is_err() {
                move_self(&tree.base)?;
            }
            files::remove(&root).map_err(|source| LeftBehind {
                remaining: procfs::remaining(&files::pids_below(&root)),
                group: root.display().to_string(),
                source: Some(source),
            })?;
        }
        Ok(())
    }
}

/// Switches controllers off again, so that processes may be in the groups above: in the base only where
/// nobody else has groups in it, and never at the real root.
fn hand_down_nothing(tree: &Tree, root: &Path) {
    if tree.version == Version::V1 {
        return;
    }
    let alone =
        files::below(&tree.base).is_ok_and(|groups| groups.iter().all(|group| group == root));
    for group in [Some(root), (alone && !tree.top).then_some(&*tree.base)]
        .into_iter()
        .flatten()
    {
        for controller in &tree.controllers {
            let off = format!("-{}", controller.v2_name());
            let _ = files::write(&group.join("cgroup.subtree_control"), &off);
        }
    }
}

fn make(dirs: &Dirs) -> Result<(), ContainmentError> {
    dirs.iter().try_for_each(|dir| {
        files::make(&dir.path).map_err(|source| ContainmentError::Make {
            path: dir.path.clone(),
            source,
        })
    })
}

fn move_self(group: &Path) -> Result<(), ContainmentError> {
    let moved: io::Result<()> = files::enter(group, std::process::id().cast_signed());
    moved.map_err(|source| ContainmentError::Move {
        path: group.to_owned(),
        source,
    })
}
