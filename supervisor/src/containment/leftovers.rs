//! Ends what a supervisor that died left behind.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    choose::Facts,
    dirs::{Dir, Dirs},
    error::LeftBehind,
    files, kill,
    layout::Controller,
};

/// The most groups of a hierarchy that are looked through.
const LOOKED_AT: usize = 20_000;
/// How long everything of a dead supervisor may take to end.
pub(super) const ENDING: Duration = Duration::from_secs(5);

/// What was cleaned up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Groups of agents.
    pub groups: usize,
    /// Processes that were in them.
    pub processes: usize,
}

/// A group of one life of an agent that a supervisor of the instance has left, wherever it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// `<agent>.<generation>`.
    pub name: String,
    /// Who is in it.
    pub pids: Vec<i32>,
}

/// What supervisors of `instance` have left, wherever they made it: in another session its own group was
/// another. The groups of one that is elsewhere and alive are left alone: it is another host's, as it were.
struct Left {
    roots: Vec<Dir>,
    fleets: Vec<Dir>,
    /// The groups of lives by their names: one folder in each hierarchy, and in each place.
    lives: BTreeMap<String, Vec<Dir>>,
}

impl Left {
    fn find(facts: &Facts, instance: &str) -> Self {
        let mut roots = Vec::new();
        for seen in facts.seen.iter().filter(|seen| seen.closed.is_none()) {
            let hierarchy = &seen.hierarchy;
            let found = find(&hierarchy.mount, instance);
            roots.extend(
                found
                    .into_iter()
                    .filter(|root| root.parent() == Some(&hierarchy.own) || !is_alive(root))
                    .map(|path| Dir {
                        version: hierarchy.version,
                        // Only this one matters to end somebody.
                        controllers: hierarchy
                            .controllers
                            .iter()
                            .copied()
                            .filter(|one| *one == Controller::Freezer)
                            .collect(),
                        path,
                    }),
            );
        }
        let fleets: Vec<Dir> = roots
            .iter()
            .map(|root| Dir {
                path: root.path.join("fleet"),
                ..root.clone()
            })
            .filter(|fleet| fleet.path.is_dir())
            .collect();
        let mut lives: BTreeMap<String, Vec<Dir>> = BTreeMap::new();
        for fleet in &fleets {
            for path in files::below(&fleet.path).unwrap_or_default() {
                let name = path.file_name().and_then(|name| name.to_str());
                if let Some(name) = name.map(ToOwned::to_owned) {
                    let dir = Dir {
                        path,
                        ..fleet.clone()
                    };
                    lives.entry(name).or_default().push(dir);
                }
            }
        }
        Self {
            roots,
            fleets,
            lives,
        }
    }
}

/// The lives that supervisors of `instance` have left.
pub(super) fn list(facts: &Facts, instance: &str) -> Vec<Leftover> {
    let lives = Left::find(facts, instance).lives;
    let of = |(name, dirs): (String, Vec<Dir>)| Leftover {
        name,
        pids: Dirs::found(dirs).members(),
    };
    lives.into_iter().map(of).collect()
}

/// Ends and removes all that supervisors of `instance` have left but the lives to `keep`. Only after it is
/// sure that no other supervisor of the instance runs.
pub(super) fn clean(
    facts: &Facts,
    instance: &str,
    keep: &BTreeSet<String>,
) -> Result<Cleaned, LeftBehind> {
    let left = Left::find(facts, instance);
    let mut cleaned = Cleaned::default();
    for (name, dirs) in left.lives {
        if keep.contains(&name) {
            continue;
        }
        let dirs = Dirs::found(dirs);
        cleaned.groups += 1;
        cleaned.processes += dirs.members().len();
        passable(kill::remove(&dirs, &name, ENDING))?;
    }
    if keep.is_empty() {
        // Whoever is in none of the groups, too.
        let fleets = Dirs::found(left.fleets);
        cleaned.processes += fleets.members().len();
        passable(kill::remove(&fleets, instance, ENDING))?;
    }
    for root in &left.roots {
        // Still in use, where this process began in it; then it is used on.
        let _ = fs::remove_dir(root.path.join("fleet"));
        let _ = fs::remove_dir(root.path.join("supervisor"));
        let _ = fs::remove_dir(&root.path);
    }
    Ok(cleaned)
}

/// Empty groups are in nobody's way; they may be another user's.
fn passable(removed: Result<(), LeftBehind>) -> Result<(), LeftBehind> {
    match removed {
        Err(left) if left.remaining.is_empty() => {
            tracing::warn!(
                error = crate::error_chain(&left),
                "a dead supervisor's groups cannot be removed"
            );
            Ok(())
        }
        removed => removed,
    }
}

/// The groups called `name` below `mount`.
fn find(mount: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![mount.to_owned()];
    let mut left = LOOKED_AT;
    while let Some(next) = todo.pop() {
        if left == 0 {
            break;
        }
        left -= 1;
        for group in files::below(&next).unwrap_or_default() {
            if group.file_name().is_some_and(|its| its == name) {
                found.push(group);
            } else {
                todo.push(group);
            }
        }
    }
    found
}

/// Whether somebody is in the group of its supervisor.
fn is_alive(root: &Path) -> bool {
    fs::read_to_string(root.join("supervisor/cgroup.procs")).is_ok_and(|pids| !pids.is_empty())
}
