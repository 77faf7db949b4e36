//! What [`choose`](mod@super::choose) has to know of the host, read from it. Changes nothing.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use rustix::fs::{Access, access};

use super::{
    choose::{Facts, Seen, V2Facts},
    files,
    layout::{self, Controller, Hierarchy, Version},
};

/// Looks at the host. What cannot be read is not there.
pub(super) fn facts() -> Facts {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Facts {
        uid: rustix::process::geteuid().as_raw(),
        seen: layout::parse(&mountinfo, &own)
            .into_iter()
            .map(Hierarchy::before_supervisor)
            .map(|hierarchy| hierarchy.above_subgroup(is_marked))
            .map(look)
            .collect(),
        weighted_disks: weighted_disks(Path::new("/sys/block")),
    }
}

fn look(hierarchy: Hierarchy) -> Seen {
    let v2 = match hierarchy.version {
        Version::V1 => V2Facts::default(),
        Version::V2 => look_v2(&hierarchy),
    };
    Seen {
        closed: closed(&hierarchy.own).err(),
        v2,
        hierarchy,
    }
}

/// Whether groups can be made in `group` and processes moved into and out of it.
fn closed(group: &Path) -> Result<(), String> {
    for path in [group, &group.join("cgroup.procs")] {
        access(path, Access::WRITE_OK).map_err(|errno| {
            let why = std::io::Error::from(errno);
            format!("{}: {why}", path.display())
        })?;
    }
    Ok(())
}

fn look_v2(hierarchy: &Hierarchy) -> V2Facts {
    let own = &hierarchy.own;
    let me = std::process::id().cast_signed();
    // The real root has no type; neither has it one that could be changed.
    let is_top = |group: &Path| !group.join("cgroup.type").exists();
    let others = files::pids(own).unwrap_or_default();
    V2Facts {
        controllers: controllers(own),
        top: is_top(own),
        delegated: is_delegated(own),
        others: others.iter().filter(|pid| **pid != me).count(),
        above: (is_top(&hierarchy.mount) && closed(&hierarchy.mount).is_ok())
            .then(|| controllers(&hierarchy.mount)),
    }
}

fn controllers(group: &Path) -> Vec<Controller> {
    fs::read_to_string(group.join("cgroup.controllers"))
        .unwrap_or_default()
        .split_ascii_whitespace()
        .filter_map(Controller::from_name)
        .collect()
}

/// systemd marks what it gives away by an attribute, and hands it over to the unit's user.
fn is_delegated(group: &Path) -> bool {
    fs::metadata(group).is_ok_and(|about| about.uid() != 0) || is_marked(group)
}

fn is_marked(group: &Path) -> bool {
    ["user.delegate", "trusted.delegate"]
        .into_iter()
        .any(|name| {
            let mut value = [0; 8];
            rustix::fs::getxattr(group, name, &mut value)
                .is_ok_and(|length| value[..length].starts_with(b"1"))
        })
}

/// Whether some disk shares itself by weight. The scheduler in use stands in brackets.
fn weighted_disks(disks: &Path) -> bool {
    let Ok(disks) = fs::read_dir(disks) else {
        return false;
    };
    disks.flatten().any(|disk| {
        fs::read_to_string(disk.path().join("queue/scheduler"))
            .is_ok_and(|text| text.contains("[bfq]"))
    })
}
