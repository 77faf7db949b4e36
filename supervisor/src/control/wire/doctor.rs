//! Whether Kennel is well, and what to do where it is not.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AgentEnd, AgentState, Desired, Limits, UnenforcedCap};

/// The answer of `GET /doctor`, and what `kennel doctor` finds without a supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Doctor {
    /// The worst of the checks.
    pub state: CheckState,
    /// Whether a supervisor runs; else this is what one started here would get.
    pub running: bool,
    /// The version of who answers.
    pub version: String,
    /// Everything that was looked at.
    pub checks: Vec<Check>,
    /// What holds the agents.
    pub containment: Containment,
    /// The machine.
    pub host: DoctorHost,
}

/// The answer of `GET /agents/{id}/doctor`, and what `kennel doctor <agent>` finds without a supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentDoctor {
    /// Whose.
    pub agent: String,
    /// The worst of the checks.
    pub state: CheckState,
    /// Whether a supervisor runs; else this is what the agent would get from one started here.
    pub running: bool,
    /// Everything that was looked at.
    pub checks: Vec<Check>,
    /// How it lives; absent where no supervisor runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<AgentLife>,
    /// What holds it.
    pub backend: String,
    /// The control group of its present life, as `/proc/<pid>/cgroup` writes it; absent where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The caps that were asked for.
    pub asked: Limits,
    /// The caps that hold, defaults included.
    pub in_force: Limits,
    /// The caps that were asked for and do not hold.
    #[serde(default)]
    pub unenforced: Vec<UnenforcedCap>,
    /// The steps by which it closed itself in, in their order; empty until it has told.
    #[serde(default)]
    pub cage: Vec<CageStep>,
}

/// How an agent lives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentLife {
    /// What was observed last.
    pub state: AgentState,
    /// What the operator wants.
    pub desired: Desired,
    /// The process that runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Which life of it; 0 before the first.
    pub generation: u64,
    /// How long this life lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_ms: Option<u64>,
    /// Starts that nobody asked for, since the supervisor started.
    pub restarts: u64,
    /// How its last process ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_end: Option<AgentEnd>,
}

/// How one thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// Nothing has to be done.
    Ok,
    /// It works, less well than it could, or not for long.
    Warn,
    /// Something does not work.
    Fail,
    /// A word that this reader does not know.
    #[serde(other)]
    Unknown,
}

impl CheckState {
    /// The word used on the wire and on terminals.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for CheckState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// What it is about: `supervisor`, `containment`, `host`, `files`, `configuration`, `secrets`, `agents`, `channels`;
    /// of one agent also `life`, `caps`, `cage`.
    pub area: String,
    /// Which thing: a word such as `backend`, the name of a cap, or the id of an agent or a channel.
    pub name: String,
    /// How it is.
    pub state: CheckState,
    /// The same in words.
    pub message: String,
    /// What to type or to do; always there when the state is `warn` or `fail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// What holds the agents, and what it does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Containment {
    /// The backend: `cgroup-v2-delegated`, `cgroup-v2-root`, `hybrid`, `cgroup-v1`, `best-effort`.
    pub backend: String,
    /// Why this one.
    pub why: String,
    /// Every cap that it cannot enforce, asked for or not.
    pub cannot: Vec<UnenforcedCap>,
}

/// What the machine has of what Kennel uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DoctorHost {
    /// Name and release of the kernel.
    pub kernel: String,
    /// Cores that can be used.
    pub cpus: u64,
    /// Memory in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_total_bytes: Option<u64>,
    /// Memory that programs could still get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_available_bytes: Option<u64>,
    /// The version of Landlock's interface; absent without Landlock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landlock_abi: Option<u32>,
    /// Whether system calls can be filtered.
    pub seccomp: bool,
    /// Whether processes without privileges can make user namespaces.
    pub user_namespaces: bool,
    /// Which cgroup hierarchies there are: `v1`, `v2`, `hybrid` (both), `none`.
    pub cgroup_layout: String,
    /// Each of them.
    pub cgroups: Vec<CgroupHierarchy>,
}

/// A cgroup hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CgroupHierarchy {
    /// 1 or 2.
    pub version: u8,
    /// Where it is mounted.
    pub mount: String,
    /// The group below which Kennel's would be.
    pub group: String,
    /// What of it Kennel has use for.
    pub controllers: Vec<String>,
    /// Why no group can be made there, if that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<String>,
}

/// One step by which an agent closed itself in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CageStep {
    /// Its name.
    pub name: String,
    /// What came of it: `done`, `partial` (as far as this kernel goes), `off` (not asked for), `failed`.
    pub outcome: String,
    /// More, in words.
    pub detail: String,
}
