//! The files of a group: small reads and writes, with the path in every error.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use thiserror::Error;
use tokio::time::Instant;

/// A file of a group that could not be read or written.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be opened or read.
    #[error("{path} cannot be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel refuses the value.
    #[error("{value:?} cannot be written to {path}")]
    Write {
        /// Which.
        path: PathBuf,
        /// What was to be written.
        value: String,
        /// Why.
        source: io::Error,
    },
    /// The kernel took the value and does not show it.
    #[error("{value:?} was written to {path}, which now reads {shown:?}")]
    NotTaken {
        /// Which.
        path: PathBuf,
        /// What was written.
        value: String,
        /// What it says instead.
        shown: String,
    },
}

impl FileError {
    /// The operating system's word, where it had one.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => Some(source),
            Self::NotTaken { .. } => None,
        }
    }

    /// Whether the kernel has no such file, or no such group.
    pub fn is_missing(&self) -> bool {
        self.io()
            .is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
    }
}

/// The text of a file, without the line's end.
pub(super) fn read(path: &Path) -> Result<String, FileError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(source) => Err(FileError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Writes in one call, as cgroup files ask for.
pub(super) fn write(path: &Path, value: &str) -> Result<(), FileError> {
    write_plain(path, value.as_bytes()).map_err(|source| FileError::Write {
        path: path.to_owned(),
        value: value.to_owned(),
        source,
    })
}

fn write_plain(path: &Path, value: &[u8]) -> io::Result<()> {
    // Never created: a file that the kernel does not offer is an error.
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    file.write_all(value)
}

/// Writes, and reads back whether the kernel took it: some files round in silence.
pub(super) fn write_checked(
    path: &Path,
    value: &str,
    taken: impl Fn(&str) -> bool,
) -> Result<(), FileError> {
    write(path, value)?;
    let shown = read(path)?;
    if taken(&shown) {
        return Ok(());
    }
    Err(FileError::NotTaken {
        path: path.to_owned(),
        value: value.to_owned(),
        shown,
    })
}

/// Moves a process, with all its threads, into a group.
pub(super) fn enter(group: &Path, pid: i32) -> io::Result<()> {
    write_plain(&group.join("cgroup.procs"), pid.to_string().as_bytes())
}

/// The processes of a group, without those of groups below. A process of another PID namespace shows as
/// 0 and is passed over.
pub(super) fn pids(group: &Path) -> io::Result<Vec<i32>> {
    let text = fs::read_to_string(group.join("cgroup.procs"))?;
    Ok(text
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter(|pid| *pid > 0)
        .collect())
}

/// The groups directly below one.
pub(super) fn below(group: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// A group and all below it, the deepest first. One that vanishes meanwhile is passed over.
pub(super) fn subtree(group: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![group.to_owned()];
    while let Some(next) = todo.pop() {
        todo.extend(below(&next).unwrap_or_default());
        found.push(next);
    }
    found.reverse();
    found
}

/// The processes of a group and of all below it.
pub(super) fn pids_below(group: &Path) -> Vec<i32> {
    let mut found: Vec<i32> = subtree(group)
        .iter()
        .flat_map(|group| pids(group).unwrap_or_default())
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Makes a group; one that is there already is fine.
pub(super) fn make(group: &Path) -> io::Result<()> {
    match fs::create_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Removes a group and all below it; one that is gone already is fine. The kernel refuses while a
/// process is in one of them.
pub(super) fn remove(group: &Path) -> io::Result<()> {
    for one in subtree(group) {
        match fs::remove_dir(&one) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Calls `done` until it says so or `limit` is over; with pauses that grow from 0.1 to 5 ms, since the
/// kernel takes its time to end processes. Blocks the thread.
pub(super) fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    let mut pause = Duration::from_micros(100);
    loop {
        if done() {
            return true;
        }
        if begun.elapsed() >= limit {
            return false;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "only on threads that may block, and the kernel tells of no v1 group that becomes empty"
        )]
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}
