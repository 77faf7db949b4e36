//! Ends what a supervisor that died left behind.

use std::{
    collections::BTreeSet,
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

/// Ends and removes the groups of `instance`, wherever a supervisor of it may have made them: in another
/// session its own group was another. Only after it is sure that no other supervisor of the instance
/// runs. The groups of one that is elsewhere and alive are left alone: it is another host's, as it were.
pub(super) fn clean(facts: &Facts, instance: &str) -> Result<Cleaned, LeftBehind> {
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
    let mut groups = BTreeSet::new();
    let mut processes = BTreeSet::new();
    let fleets: Vec<Dir> = roots
        .iter()
        .map(|root| Dir {
            path: root.path.join("fleet"),
            ..root.clone()
        })
        .filter(|fleet| fleet.path.is_dir())
        .collect();
    for fleet in &fleets {
        let names = files::below(&fleet.path).unwrap_or_default();
        groups.extend(
            names
                .iter()
                .filter_map(|path| path.file_name().map(ToOwned::to_owned)),
        );
        processes.extend(files::pids_below(&fleet.path));
    }
    if !fleets.is_empty()
        && let Err(left) = kill::remove(&Dirs::found(fleets), instance, ENDING)
    {
        if !left.remaining.is_empty() {
            return Err(left);
        }
        // Empty groups are in nobody's way; they may be another user's.
        tracing::warn!(
            error = crate::error_chain(&left),
            "a dead supervisor's groups cannot be removed"
        );
    }
    for root in &roots {
        // Still in use, where this process began in it; then it is used on.
        let _ = fs::remove_dir(root.path.join("supervisor"));
        let _ = fs::remove_dir(&root.path);
    }
    Ok(Cleaned {
        groups: groups.len(),
        processes: processes.len(),
    })
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
