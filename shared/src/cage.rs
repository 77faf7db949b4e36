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
    /// The control group that the supervisor has put the child into: how its path ends. The child
    /// checks that it is there.
    pub group: Option<String>,
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
    /// Folders that no agent sees, but for what is its own: those of the supervisor, in which those of
    /// the other agents are. What may be read leaves them out; what may be written to must not hold one.
    pub hidden: Vec<PathBuf>,
    /// Where its tools work; read and write.
    pub workspace: PathBuf,
    /// Whether to found a PID namespace, whose end is the end of all in it: where nothing else finds
    /// whom the agent started.
    pub pid_namespace: bool,
}

impl CageSpec {
    /// The cage of an agent that nothing was said about: its own files, all of the network, and what
    /// this host cannot do is reported.
    pub fn plain(workspace: PathBuf) -> Self {
        Self {
            strict: false,
            group: None,
            user: None,
            sandbox: true,
            read: Vec::new(),
            write: Vec::new(),
            network: Network::Open,
            hidden: Vec::new(),
            workspace,
            pid_namespace: false,
        }
    }
}

/// User and groups of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Its name: `descriptors`, `pid-namespace`, `environment`, `session`, `umask`, `core`, `mark`,
    /// `group`, `user`, `capabilities`, `no-new-privs`, `dumpable`, `landlock`, `seccomp`.
    pub name: String,
    /// What came of it.
    pub outcome: CageOutcome,
    /// More, in words: the ABI that was found, what was left out and why. At most
    /// [`DETAIL_MAX_BYTES`].
    pub detail: String,
}

/// The most that is said of one step, so that a report fits the first frame of a link
/// ([`HELLO_MAX_BYTES`](crate::codec::HELLO_MAX_BYTES)).
pub const DETAIL_MAX_BYTES: usize = 180;

/// The most steps of a report.
pub const STEPS_MAX: usize = 16;

impl CageStep {
    /// A step; a detail that is too long is cut.
    pub fn new(name: &str, outcome: CageOutcome, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if detail.len() > DETAIL_MAX_BYTES {
            detail.truncate(detail.floor_char_boundary(DETAIL_MAX_BYTES - '…'.len_utf8()));
            detail.push('…');
        }
        Self {
            name: name.to_owned(),
            outcome,
            detail,
        }
    }
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

/// The limit that marks all that runs in a cage: `RLIMIT_MSGQUEUE` is 0, which nothing else sets,
/// which every descendant inherits, and which no process without privileges can undo. So the
/// supervisor knows whom an agent has started, also where no group says so and its parents are gone.
pub const MARK: &str = "Max msgqueue size";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_at_its_longest_fits_the_first_frame() {
        let step = CageStep::new("capabilities", CageOutcome::Partial, "ä".repeat(1000));
        assert!(step.detail.len() <= DETAIL_MAX_BYTES && step.detail.ends_with("ä…"));
        let steps = vec![step; STEPS_MAX];
        let mut frame = bytes::BytesMut::new();
        crate::codec::encode_frame(&steps, &mut frame).unwrap();
        // What else a hello holds is an id, a token and some numbers.
        assert!(
            frame.len() + 512 <= crate::codec::HELLO_MAX_BYTES,
            "{}",
            frame.len()
        );
    }
}
