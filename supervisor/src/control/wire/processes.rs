//! The processes of an agent.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The answer of `GET /agents/{id}/processes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProcessList {
    /// The agent-host first, every other process behind the one that started it. Empty when the
    /// agent has no process.
    pub processes: Vec<AgentProcess>,
    /// How many more there are than are listed.
    #[serde(default)]
    pub omitted: u64,
}

/// One process of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentProcess {
    /// Its process id.
    pub pid: u32,
    /// The process that started it, or that took it over.
    pub ppid: u32,
    /// Its name as the kernel knows it: at most 15 bytes, of the process's own choice.
    pub name: String,
    /// Its threads.
    pub threads: u64,
    /// Its resident memory.
    pub memory_bytes: u64,
    /// Its processor time in all.
    pub cpu_ms: u64,
}
