//! What agents, the fleet and the host use, and how it is held.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What one agent uses and may use. Everything but the gauges counts from the start of the present
/// life; what the host cannot tell is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct AgentUsage {
    /// Processor time in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// The CPU cap, in CPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_cap: Option<f64>,
    /// How long it was held back by its CPU cap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled_ms: Option<u64>,
    /// Bytes that count against its memory cap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The most there was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
    /// What of it is no page cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_anon_bytes: Option<u64>,
    /// The memory cap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_cap_bytes: Option<u64>,
    /// Its processes' share of everything that they have in memory (PSS). Only with `memory=full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_pss_bytes: Option<u64>,
    /// What of it no other process has (USS). Only with `memory=full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_private_bytes: Option<u64>,
    /// Their share of what is in swap. Only with `memory=full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swap_bytes: Option<u64>,
    /// Processes that these three are the sum of. Only with `memory=full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
    /// Their cap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids_cap: Option<u64>,
    /// How often one more was denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids_denied: Option<u64>,
    /// Bytes read from disks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_read_bytes: Option<u64>,
    /// Bytes written to disks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_written_bytes: Option<u64>,
    /// Percent of the last 10 s in which some of it waited for the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_pressure: Option<f64>,
    /// Percent of the last 10 s in which some of it waited for memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_pressure: Option<f64>,
    /// Percent of the last 10 s in which some of it waited for disks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_pressure: Option<f64>,
    /// Processes ended for want of memory, over all lives since the supervisor started.
    pub oom_kills: u64,
    /// How late its event loop was at the last heartbeat, in microseconds.
    pub lag_us: u64,
    /// Open files of its agent-host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
    /// Their cap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files_cap: Option<u64>,
    /// Tokens read by its models since the supervisor started.
    pub input_tokens: u64,
    /// Tokens written by its models since the supervisor started.
    pub output_tokens: u64,
}

/// The fleet as a whole: everything but the supervisor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct FleetUsage {
    /// Processor time over the last interval; 100 is one full core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
    /// The CPU ceiling, in CPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_cap: Option<f64>,
    /// Memory of all agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The memory ceiling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_cap_bytes: Option<u64>,
    /// Processes and threads of all agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
    /// Their ceiling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids_cap: Option<u64>,
}

/// The machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct HostUsage {
    /// Cores.
    pub cpus: u64,
    /// All cores together; 100 is one full core.
    pub cpu_percent: f64,
    /// Memory in all.
    pub memory_total_bytes: u64,
    /// Memory that programs could still get.
    pub memory_available_bytes: u64,
    /// The load averages of 1, 5 and 15 minutes.
    pub load: [f64; 3],
}

/// How agents are held on this host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ContainmentStatus {
    /// The backend: `cgroup-v2-delegated`, `cgroup-v2-root`, `hybrid`, `cgroup-v1`, `best-effort`.
    pub backend: String,
    /// Why this one.
    pub why: String,
    /// The caps that it cannot enforce, by their names in the configuration.
    pub cannot: Vec<String>,
}
