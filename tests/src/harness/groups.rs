//! Control groups, as a stranger sees them: which a process is in, and whether they are still there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The groups that a process is in and this one is not, as directories: one for each hierarchy in
/// which the two differ. Never a hierarchy's root, where a process is shown that has ended.
pub fn groups_of(pid: i32) -> Vec<PathBuf> {
    let mounts = mounts();
    let own = memberships("self");
    let apart = memberships(&pid.to_string())
        .into_iter()
        .filter(|membership| membership.1 != "/" && !own.contains(membership));
    apart
        .filter_map(|(hierarchy, path)| {
            let mount = mounts.iter().find(|mount| mount.carries(&hierarchy))?;
            mount.directory_of(&path)
        })
        .collect()
}

/// The groups directly below a group.
pub fn groups_below(group: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).collect()
}

/// Bytes that count against a group, where it counts memory.
pub fn memory_of(group: &Path) -> Option<u64> {
    ["memory.current", "memory.usage_in_bytes"]
        .into_iter()
        .find_map(|file| {
            fs::read_to_string(group.join(file))
                .ok()?
                .trim()
                .parse()
                .ok()
        })
}

/// A hierarchy by its controllers (v1, empty for v2), and the path in it.
fn memberships(pid: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
        })
        .collect()
}

/// Where a hierarchy is mounted.
#[derive(Debug)]
struct Mount {
    /// What of the hierarchy is mounted there.
    root: String,
    point: PathBuf,
    /// `cgroup` or `cgroup2`.
    kind: String,
    options: String,
}

impl Mount {
    fn carries(&self, controllers: &str) -> bool {
        match self.kind.as_str() {
            "cgroup2" => controllers.is_empty(),
            _ => {
                !controllers.is_empty()
                    && controllers
                        .split(',')
                        .all(|one| self.options.split(',').any(|option| option == one))
            }
        }
    }

    fn directory_of(&self, path: &str) -> Option<PathBuf> {
        let root = self.root.trim_end_matches('/');
        let below = path.strip_prefix(root)?.trim_start_matches('/');
        Some(self.point.join(below))
    }
}

fn mounts() -> Vec<Mount> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines().filter_map(mount).collect()
}

fn mount(line: &str) -> Option<Mount> {
    let (place, what) = line.split_once(" - ")?;
    let place: Vec<&str> = place.split(' ').collect();
    let what: Vec<&str> = what.split(' ').collect();
    let (&kind, &options) = (what.first()?, what.get(2)?);
    kind.starts_with("cgroup").then(|| Mount {
        root: place.get(3).copied().unwrap_or("/").to_owned(),
        point: place.get(4).copied().unwrap_or_default().into(),
        kind: kind.to_owned(),
        options: options.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_a_directory_below_its_mount() {
        let v1 = mount("34 31 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory")
            .expect("a mount");
        assert!(v1.carries("memory") && !v1.carries("") && !v1.carries("memory,pids"));
        assert_eq!(
            v1.directory_of("/kennel-1/fleet/a"),
            Some("/sys/fs/cgroup/memory/kennel-1/fleet/a".into())
        );
        let v2 = mount("41 31 0:38 /box /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate")
            .expect("a mount");
        assert!(v2.carries("") && !v2.carries("memory"));
        assert_eq!(v2.directory_of("/box/a"), Some("/sys/fs/cgroup/a".into()));
        assert_eq!(v2.directory_of("/elsewhere"), None);
        assert!(mount("23 1 254:0 / / rw - ext4 /dev/vda rw").is_none());
    }

    #[test]
    fn this_process_is_in_no_group_of_its_own() {
        let own = i32::try_from(std::process::id()).expect("a pid");
        assert_eq!(groups_of(own), Vec::<PathBuf>::new());
    }
}
