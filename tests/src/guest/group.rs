//! A control group, as the kernel's files tell. None of this is Kennel's own code.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// Where the guests have the hierarchy.
const TREE: &str = "/sys/fs/cgroup";

/// The directory of a group that was there when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group(PathBuf);

impl Group {
    /// The one that a process is in.
    pub(super) fn of(pid: i32) -> Self {
        let path = format!("/proc/{pid}/cgroup");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let group = text.trim_end().strip_prefix("0::/");
        let group = group.unwrap_or_else(|| panic!("not a group of v2 alone: {text}"));
        Self(Path::new(TREE).join(group))
    }

    pub(super) fn parent(&self) -> Self {
        Self(
            self.0
                .parent()
                .expect("no group of ours is the root")
                .to_owned(),
        )
    }

    /// The last part of its path.
    pub(super) fn name(&self) -> &str {
        let name = self.0.file_name().and_then(|name| name.to_str());
        name.expect("no group of ours is the root")
    }

    pub(super) fn exists(&self) -> bool {
        self.0.is_dir()
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The groups directly below.
    pub(super) fn below(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    }

    /// The processes in it.
    pub(super) fn members(&self) -> Vec<i32> {
        let pids = self.read("cgroup.procs");
        pids.lines()
            .map(|pid| pid.parse().expect("a pid"))
            .collect()
    }

    /// What a file says, without the line's end.
    pub(super) fn read(&self, file: &str) -> String {
        let path = self.0.join(file);
        let text = fs::read_to_string(&path);
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text.trim_end().to_owned()
    }

    /// The number in a file.
    pub(super) fn number(&self, file: &str) -> u64 {
        let text = self.read(file);
        let number = text.parse();
        number.unwrap_or_else(|_| panic!("{file} is no number: {text}"))
    }

    /// The number behind a key.
    pub(super) fn counter(&self, file: &str, key: &str) -> u64 {
        let text = self.read(file);
        let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
        let found = pairs.find(|(name, _)| *name == key);
        let (_, number) = found.unwrap_or_else(|| panic!("{file} has no {key}: {text}"));
        number.parse().expect("counters are numbers")
    }

    /// Microseconds in which some task of it waited: for `cpu`, `memory` or `io`.
    pub(super) fn pressure(&self, what: &str) -> u64 {
        let text = self.read(&format!("{what}.pressure"));
        let some = text.lines().find_map(|line| line.strip_prefix("some "));
        let total = some.and_then(|some| some.split_once("total="));
        let (_, total) = total.unwrap_or_else(|| panic!("{what}.pressure is odd: {text}"));
        total.parse().expect("a time in microseconds")
    }
}

/// One line for each group of Kennel's, for whoever looks why a check failed.
pub(super) fn overview() -> String {
    let mut lines = String::new();
    let mut waiting = vec![PathBuf::from(TREE)];
    while let Some(path) = waiting.pop() {
        let group = Group(path);
        waiting.extend(group.below().iter().map(|name| group.0.join(name)));
        if group
            .0
            .iter()
            .any(|part| part.as_encoded_bytes().starts_with(b"kennel-"))
        {
            let read = |file: &str| {
                let text = fs::read_to_string(group.0.join(file)).unwrap_or_default();
                text.split_whitespace().collect::<Vec<_>>().join(" ")
            };
            let _ = writeln!(
                lines,
                "  {}: processes {}; memory {} of {}, {}; pids {} of {}, {}",
                group.name(),
                read("cgroup.procs"),
                read("memory.current"),
                read("memory.max"),
                read("memory.events"),
                read("pids.current"),
                read("pids.max"),
                read("pids.events"),
            );
        }
    }
    lines
}
