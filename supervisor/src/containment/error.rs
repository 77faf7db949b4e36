//! What can go wrong with groups.

use std::{fmt, io, path::PathBuf};

use thiserror::Error;

use super::{caps::Cap, choose::BackendKind, files::FileError};

/// Why agents are not held as was asked.
#[derive(Debug, Error)]
pub enum ContainmentError {
    /// The backend was asked for by name, and the host has another.
    #[error("the backend {wanted} cannot be had here, only {found}: {why}")]
    Backend {
        /// What was asked for.
        wanted: BackendKind,
        /// What there is.
        found: BackendKind,
        /// Why.
        why: String,
    },
    /// A group cannot be made.
    #[error("the group {path} cannot be made")]
    Make {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// This process cannot be moved.
    #[error("the supervisor cannot move itself into {path}")]
    Move {
        /// Where to.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A process of an agent that is adopted cannot be moved.
    #[error("process {pid} cannot be moved into {path}")]
    Adopt {
        /// Which.
        pid: i32,
        /// Where to.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No group was prepared before the first agent's.
    #[error("the groups of this instance were not prepared")]
    Unprepared,
    /// The kernel does not take a cap.
    #[error("the cap {cap} cannot be set")]
    Cap {
        /// Which.
        cap: Cap,
        /// Why.
        source: FileError,
    },
    /// More is in use, and cannot be taken back, than the new cap allows.
    #[error("{cap} cannot be lowered to {allowed}: {used} are in use")]
    InUse {
        /// Which.
        cap: Cap,
        /// What is in use.
        used: u64,
        /// What the cap would have been.
        allowed: u64,
    },
    /// The limit of a process's open files cannot be set.
    #[error("open_files of process {pid} cannot be set to {allowed}")]
    OpenFiles {
        /// Whose.
        pid: i32,
        /// To what.
        allowed: u32,
        /// Why. To raise it beyond where it began takes `CAP_SYS_RESOURCE`.
        source: io::Error,
    },
    /// What was in a group did not end.
    #[error(transparent)]
    LeftBehind(#[from] LeftBehind),
}

/// A process that is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remaining {
    /// Its id.
    pub pid: i32,
    /// The kernel's letter for what it does: `D` is a wait that no signal ends, `Z` is dead.
    pub state: char,
    /// Its short name.
    pub command: String,
}

impl fmt::Display for Remaining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.pid, self.command, self.state)
    }
}

/// A group that is not empty, or not gone, after all that could be done.
#[derive(Debug, Error)]
pub struct LeftBehind {
    /// Which group.
    pub group: String,
    /// Who is in it.
    pub remaining: Vec<Remaining>,
    /// Why the empty group cannot be removed.
    pub source: Option<io::Error>,
}

impl fmt::Display for LeftBehind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the group {} is still there", self.group)?;
        for (index, one) in self.remaining.iter().enumerate() {
            let before = if index == 0 { ", with " } else { ", " };
            write!(f, "{before}{one}")?;
        }
        Ok(())
    }
}
