//! Where each cgroup controller is on this host. Pure: text of `/proc` in, a list out.
//!
//! A host mounts its v1 controllers apart (`cpu`), together (`cpu,cpuacct`) or not at all, and the v2
//! hierarchy alone, beside v1, or below a mount of its own. In a container a mount may show only a part
//! of a hierarchy.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Component, Path, PathBuf},
};

/// What the group of an instance is called, before the instance's name.
pub(super) const INSTANCE_PREFIX: &str = "kennel-";

/// The two generations of the kernel's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// One hierarchy for each controller, or for some of them.
    V1,
    /// One for all.
    V2,
}

/// What Kennel uses of the kernel's controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Controller {
    /// Caps and counts memory.
    Memory,
    /// Caps and shares CPU time.
    Cpu,
    /// Counts CPU time; v1 only.
    CpuAcct,
    /// Caps and counts processes.
    Pids,
    /// Shares disks, and counts their use; `blkio` in v1.
    Io,
    /// Stops all of a group at once; v1 only.
    Freezer,
}

impl Controller {
    /// From the kernel's name; `None` for one that Kennel does not use.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "memory" => Self::Memory,
            "cpu" => Self::Cpu,
            "cpuacct" => Self::CpuAcct,
            "pids" => Self::Pids,
            "io" | "blkio" => Self::Io,
            "freezer" => Self::Freezer,
            _ => return None,
        })
    }

    /// The kernel's name for it in the v2 hierarchy.
    pub(super) fn v2_name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::CpuAcct => "cpuacct",
            Self::Pids => "pids",
            Self::Io => "io",
            Self::Freezer => "freezer",
        }
    }
}

/// A mounted hierarchy, and the place of this process in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// Of which generation.
    pub version: Version,
    /// The controllers of a v1 hierarchy that Kennel uses; empty for v2, whose groups tell.
    pub controllers: Vec<Controller>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The folder of the group in which this process is.
    pub home: PathBuf,
    /// The folder of the group below which it makes others: the same, but see
    /// [`before_supervisor`](Self::before_supervisor).
    pub own: PathBuf,
    /// Of `own`, as `/proc/self/cgroup` writes it.
    pub path: String,
}

impl Hierarchy {
    /// The same for a supervisor that is still in the group of one before it: where that began.
    #[must_use]
    pub(super) fn before_supervisor(mut self) -> Self {
        let Some((base, instance)) = self
            .path
            .strip_suffix("/supervisor")
            .and_then(|path| path.rsplit_once('/'))
        else {
            return self;
        };
        if !instance.starts_with(INSTANCE_PREFIX) {
            return self;
        }
        let Some(own) = self.own.parent().and_then(Path::parent) else {
            return self;
        };
        self.own = own.to_owned();
        self.path = if base.is_empty() { "/" } else { base }.to_owned();
        self
    }

    /// The same for a process that systemd has put into the subgroup `supervisor` of a group that it gives
    /// away (`DelegateSubgroup=supervisor`): that group. There it can start the process once more while
    /// groups of agents are beside it, which v2 allows nowhere above them.
    #[must_use]
    pub(super) fn above_subgroup(mut self, is_given: impl Fn(&Path) -> bool) -> Self {
        let above = match (self.version, self.own.parent()) {
            (Version::V2, Some(above)) if self.own.ends_with("supervisor") => above.to_owned(),
            _ => return self,
        };
        if let Some(path) = self.path.strip_suffix("/supervisor")
            && is_given(&above)
        {
            let path = path.to_owned();
            self.path = path;
            self.own = above;
        }
        self
    }
}

/// The hierarchies that are mounted where this process sees its own place in them, without those whose
/// controllers Kennel has no use for. Lines that make no sense are passed over.
pub(super) fn parse(mountinfo: &str, own_cgroup: &str) -> Vec<Hierarchy> {
    let mounts = mounts(mountinfo);
    own_cgroup
        .lines()
        .filter_map(|line| {
            let (names, path) = membership(line)?;
            let controllers: Vec<_> = names
                .iter()
                .filter_map(|name| Controller::from_name(name))
                .collect();
            let version = if names.is_empty() {
                Version::V2
            } else {
                Version::V1
            };
            if version == Version::V1 && controllers.is_empty() {
                return None;
            }
            mounts.iter().find_map(|mount| {
                if !mount.holds(version, &names) {
                    return None;
                }
                let inside = mount.inside(path)?;
                let own = if inside.as_os_str().is_empty() {
                    mount.at.clone()
                } else {
                    mount.at.join(inside)
                };
                Some(Hierarchy {
                    version,
                    controllers: controllers.clone(),
                    mount: mount.at.clone(),
                    home: own.clone(),
                    own,
                    path: path.to_owned(),
                })
            })
        })
        .collect()
}

/// The controllers and the path of one line of `/proc/<pid>/cgroup`; none are named for v2.
pub(super) fn membership(line: &str) -> Option<(Vec<&str>, &str)> {
    let mut parts = line.splitn(3, ':');
    let _id: u32 = parts.next()?.parse().ok()?;
    let names = parts.next()?;
    let path = parts.next()?;
    let names = names.split(',').filter(|name| !name.is_empty()).collect();
    path.starts_with('/').then_some((names, path))
}

/// Whether `path` is the group `group` or one below it; both as `/proc/<pid>/cgroup` writes them.
pub(super) fn is_below(path: &str, group: &str) -> bool {
    let rest = path.strip_prefix(group.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

struct Mount {
    version: Version,
    /// Which part of the hierarchy it shows.
    root: PathBuf,
    at: PathBuf,
    options: Vec<String>,
}

impl Mount {
    fn holds(&self, version: Version, names: &[&str]) -> bool {
        self.version == version
            && names
                .iter()
                .all(|name| self.options.iter().any(|option| option == name))
    }

    /// Where a group is below the mount point, if the mount shows it.
    fn inside(&self, group: &str) -> Option<PathBuf> {
        let below = Path::new(group).strip_prefix(&self.root).ok()?;
        let plain = |part| matches!(part, Component::Normal(_));
        below.components().all(plain).then(|| below.to_owned())
    }
}

/// The cgroup mounts, without those that a later one hides.
fn mounts(mountinfo: &str) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for mount in mountinfo.lines().filter_map(mount) {
        mounts.retain(|earlier| earlier.at != mount.at);
        mounts.push(mount);
    }
    mounts
}

/// One line: `id parent major:minor root mount-point options [optional …] - type source options`.
fn mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let root = unescape(before.next()?);
    let at = unescape(before.next()?);
    let mut after = after.split(' ');
    let version = match after.next()? {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    let options = after.nth(1)?.split(',').map(str::to_owned).collect();
    Some(Mount {
        version,
        root,
        at,
        options,
    })
}

/// Undoes the kernel's octal escapes of space, tab, newline and backslash.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| first == b'\\').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        bytes.push(octal.unwrap_or(first));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests;
