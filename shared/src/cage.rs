//! What a child is told of its cage, and what it reports of having closed it.
//!
//! The settings travel in the [bootstrap](crate::bootstrap), since the cage is closed before anything
//! else happens; the report travels in [`Hello`](crate::protocol::Hello).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How a child is to close itself in, in its first instructions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CageSpec {
    /// Leave, rather than run, when a step that was asked for cannot be taken.
    pub strict: bool,
    /// Become this user, where the supervisor runs as root.
    pub user: Option<UserIds>,
    /// Whether to restrict files and system calls at all; the other steps are always taken.
    pub sandbox: bool,
    /// Folders and files beside its own that it may read, and run programs from.
    pub read: Vec<PathBuf>,
    /// Folders and files beside its own that it may change.
    pub write: Vec<PathBuf>,
    /// What it may connect to.
    pub network: Network,
    /// Where its tools work; read and write.
    pub workspace: PathBuf,
    /// Whether to found a PID namespace, whose end is the end of all in it: where nothing else finds
    /// whom the agent started.
    pub pid_namespace: bool,
}

/// User and groups of a child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserIds {
    /// The user.
    pub uid: u32,
    /// The group. There are no others.
    pub gid: u32,
}

/// What a child may connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Whatever the host reaches.
    Open,
    /// These TCP ports only; its provider's is among them.
    Ports(Vec<u16>),
    /// Nothing.
    Closed,
}

/// One step of closing the cage, in the order in which they were taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CageStep {
    /// Its name: `descriptors`, `environment`, `session`, `umask`, `core`, `group`, `user`,
    /// `capabilities`, `no-new-privs`, `dumpable`, `landlock`, `seccomp`.
    pub name: String,
    /// What came of it.
    pub outcome: CageOutcome,
    /// More, in words: the ABI that was found, what was left out and why.
    pub detail: String,
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CageOutcome {
    /// Taken in full.
    Done,
    /// Taken as far as this kernel goes.
    Partial,
    /// Not asked for.
    Off,
    /// Asked for, and not to be had here.
    Failed,
}

impl CageOutcome {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Partial => "partial",
            Self::Off => "off",
            Self::Failed => "failed",
        }
    }
}
