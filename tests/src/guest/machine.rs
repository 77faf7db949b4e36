//! The guest's kernel, as its own files tell.

use std::fs;

/// One line: which kernel, which groups, how long it has run.
pub(super) fn description() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let uptime = read("/proc/uptime");
    format!(
        "Linux {}, {} s after its start; controllers: {}",
        read("/proc/sys/kernel/osrelease").trim(),
        uptime.split(' ').next().unwrap_or_default(),
        read("/sys/fs/cgroup/cgroup.controllers").trim(),
    )
}
