//! What is known, before anybody judges it: plain values.

use std::{path::PathBuf, sync::Arc, time::Duration};

use kennel_shared::cage::CageStep;

use crate::{
    containment::{BackendKind, Cap, Caps, Hierarchy, Unenforced},
    journal::Health,
    supervision::ending::End,
};

/// Everything about a fleet.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// Who answers.
    pub supervisor: Supervisor,
    /// How the journal is; `None` when nobody has it open.
    pub journal: Option<Journal>,
    /// What holds the agents, or would.
    pub backend: Backend,
    /// What agents and the fleet ask of it.
    pub asks: Vec<Ask>,
    /// The machine.
    pub host: Host,
    /// The supervisor's folders.
    pub places: Vec<Place>,
    /// The program that agents are run by.
    pub program: Program,
    /// The file, as it is now.
    pub config: ConfigFile,
    /// What is missing of the secrets that are in use; `None` when nobody could look.
    pub secrets: Option<Vec<Finding>>,
    /// Every enabled agent.
    pub agents: Vec<Agent>,
    /// Agents that are switched off.
    pub disabled: usize,
    /// Every channel account.
    pub channels: Vec<Channel>,
}

/// Everything about one agent.
#[derive(Debug, Clone)]
pub struct OneAgent {
    /// Who answers.
    pub supervisor: Supervisor,
    /// Itself.
    pub agent: Agent,
    /// Whether it is switched off.
    pub disabled: bool,
    /// What holds it, or would.
    pub backend: Backend,
    /// The group of its present life.
    pub group: Option<Group>,
    /// What it was asked to be held to.
    pub asked: Caps,
    /// What it is held to, defaults included; what is not enforced is among them.
    pub caps: Caps,
    /// What of that the host cannot enforce.
    pub unenforced: Vec<Unenforced>,
    /// Whether its caps are not those of the configuration any more.
    pub changed: bool,
    /// What it uses.
    pub usage: Usage,
}

/// Whether a supervisor runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Supervisor {
    /// It does.
    Running {
        /// Its process.
        pid: u32,
        /// Since when.
        up: Duration,
    },
    /// It does not; everything else is what one that is started here would find.
    Absent {
        /// Where it would listen.
        socket: PathBuf,
    },
    /// Nobody knows where it would be.
    Unknown,
}

/// How the journal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// As it says itself.
    pub health: Health,
    /// For how long nothing was accepted, if that is so.
    pub refusing_for: Option<Duration>,
    /// Messages that wait, and messages that were set aside.
    pub waiting: u64,
    /// See above.
    pub poison: u64,
}

/// What holds the agents.
#[derive(Debug, Clone)]
pub struct Backend {
    /// What is used.
    pub kind: BackendKind,
    /// Why this and nothing better.
    pub why: String,
    /// Every cap that it does not hold.
    pub cannot: Vec<Unenforced>,
    /// Whether the configuration names it, rather than leaving it to the host.
    pub named: bool,
    /// Why what the configuration names cannot be had, if that is so; then no supervisor starts.
    pub refused: Option<String>,
}

/// What one agent asks of the host.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Which agent; `None` for the fleet.
    pub agent: Option<String>,
    /// Whether it runs under nothing less.
    pub strict: bool,
    /// The caps that are set.
    pub caps: Vec<Cap>,
    /// Whether it is to be closed in.
    pub sandbox: bool,
    /// Whether it may connect to some TCP ports only.
    pub ports: bool,
}

/// The machine.
#[derive(Debug, Clone)]
pub struct Host {
    /// Name and release of the kernel.
    pub kernel: String,
    /// Cores that can be used.
    pub cores: u64,
    /// Bytes of memory, where that is known.
    pub memory: Option<u64>,
    /// What of them programs could still get.
    pub available: Option<u64>,
    /// The version of Landlock's interface; `None` without Landlock.
    pub landlock: Option<u32>,
    /// Whether system calls can be filtered.
    pub seccomp: bool,
    /// Why a process without privileges cannot make a user namespace, if that is so.
    pub no_user_namespaces: Option<String>,
    /// The cgroup hierarchies that Kennel could use.
    pub hierarchies: Vec<Hierarchy>,
}

/// A folder.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its key in the configuration.
    pub key: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// Whose it must be.
    pub owner: u32,
    /// Less free space than this is trouble soon, than this trouble now.
    pub room: (u64, u64),
    /// What was found.
    pub found: Found,
    /// A socket in it whose path is longer than the kernel takes.
    pub long_socket: Option<PathBuf>,
}

/// What was found where a folder should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing; and why it cannot be made, if that is so.
    Nothing(Option<String>),
    /// Something else.
    NoFolder,
    /// It cannot even be looked at.
    Closed(String),
    /// A folder.
    Folder {
        /// Whose.
        uid: u32,
        /// Its permissions.
        mode: u32,
        /// Free bytes, where the file system says.
        free: Option<u64>,
        /// Whether no more files can be made for want of inodes.
        full: bool,
        /// Why we cannot write to it, if that is so.
        closed: Option<String>,
    },
}

/// The program that agents are run by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// What is run.
    pub path: PathBuf,
    /// Why it cannot be, if that is so.
    pub problem: Option<String>,
}

/// Something that was said about a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it is more than a warning.
    pub fails: bool,
    /// What, and where.
    pub says: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// The configuration file.
#[derive(Debug, Clone)]
pub enum ConfigFile {
    /// There is none.
    Absent {
        /// Where it was looked for.
        looked: String,
    },
    /// It cannot be used.
    Refused {
        /// Which.
        file: String,
        /// "2 errors, 1 warning".
        summary: String,
        /// The first error.
        first: Finding,
        /// Whether a supervisor runs on what it said before.
        running: bool,
    },
    /// It can.
    Right {
        /// Which.
        file: String,
        /// "3 agents, 1 channel".
        content: String,
        /// What there is to say about it.
        warnings: Vec<Finding>,
        /// Whether the supervisor that runs was started with another one.
        changed: bool,
    },
}

/// One agent.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Its name.
    pub id: String,
    /// Whether it runs under nothing less than it asks for.
    pub strict: bool,
    /// Whether it is closed in.
    pub sandbox: bool,
    /// How it is; `None` when no supervisor runs.
    pub life: Option<Life>,
}

/// How an agent is.
#[derive(Debug, Clone)]
pub struct Life {
    /// Where it is in its life.
    pub stage: Stage,
    /// Whether it is wanted.
    pub wanted: bool,
    /// Which life.
    pub generation: u64,
    /// Its process.
    pub pid: Option<i32>,
    /// How long this life lasts.
    pub up: Option<Duration>,
    /// Starts that nobody asked for.
    pub restarts: u64,
    /// Whether its link is up.
    pub linked: bool,
    /// How late its loop was at the last heartbeat.
    pub lag: Duration,
    /// The latest trouble.
    pub detail: Option<String>,
    /// How its last process ended.
    pub last_end: Option<LastEnd>,
    /// How its cage was closed.
    pub cage: Vec<CageStep>,
}

/// Where an agent is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// No process, none wanted.
    Stopped,
    /// Not ready yet.
    Starting,
    /// Answers.
    Ready,
    /// Finishes its turns, or is being ended.
    Leaving,
    /// Waits for its next start.
    BackingOff,
    /// Has ended by itself, and stays down.
    Exited {
        /// With an error.
        failed: bool,
    },
    /// Stays down until an operator says restart.
    Quarantined,
}

impl Stage {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Leaving => "being stopped",
            Self::BackingOff => "backing off",
            Self::Exited { .. } => "exited",
            Self::Quarantined => "quarantined",
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone)]
pub struct LastEnd {
    /// How long ago.
    pub ago: Duration,
    /// Of which life.
    pub generation: u64,
    /// How.
    pub end: Arc<End>,
}

/// A group, and who is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its path, as the kernel writes it.
    pub path: String,
    /// The hierarchies in which the agent's process is somewhere else.
    pub strays: Vec<String>,
}

/// What an agent uses.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// How often one more was denied.
    pub pids_denied: Option<u64>,
    /// How long it was held back by its CPU cap.
    pub throttled: Option<Duration>,
}

/// A chat connection.
#[derive(Debug, Clone)]
pub struct Channel {
    /// Its name.
    pub id: String,
    /// Its platform.
    pub kind: String,
    /// How it is.
    pub state: Connection,
    /// For how long.
    pub since: Duration,
    /// Why.
    pub detail: Option<String>,
}

/// How a chat connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// On its way.
    Connecting,
    /// There.
    Online,
    /// Lost, and tried again.
    BackingOff,
    /// Refused by the platform.
    Failed,
    /// Switched off.
    Stopped,
}
