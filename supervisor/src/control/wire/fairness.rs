//! Whether everybody has the share that weights give.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The answer of `GET /fairness`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Fairness {
    /// Turns at once of the fleet.
    pub slots: u64,
    /// The last minute, five minutes, hour.
    pub windows: Vec<FairnessWindow>,
}

/// How it was over the time just past.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FairnessWindow {
    /// How far back it goes.
    pub window_ms: u64,
    /// For how much of that anything is known.
    pub covered_ms: u64,
    /// Jain's index of slots used over slots entitled: 1 when that is the same for all, 1/n when one of n has everything.
    /// Absent when nobody wanted any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots_index: Option<f64>,
    /// The same of the CPU; absent where the host cannot tell who waited for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_index: Option<f64>,
    /// The longest wait of what began, or is its agent's next; absent when nothing waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_wait: Option<LongestWait>,
    /// The classes that have agents, or runs of schedules.
    pub classes: Vec<ClassShare>,
    /// The agents: one for its own class, and one for each other in which it wanted or had slots.
    pub agents: Vec<AgentShare>,
}

/// Who waited longest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LongestWait {
    /// Whose message.
    pub agent: String,
    /// How long.
    pub wait_ms: u64,
}

/// What a class had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClassShare {
    /// Its name.
    pub class: String,
    /// Its weight among the others.
    pub weight: u32,
    /// Slots below which it is served first.
    pub min_slots: u64,
    /// Slots that it may have.
    pub max_slots: u64,
    /// Slots that it has now.
    pub running: u64,
    /// Slots that it had, on average.
    pub slots_used: f64,
    /// Slots that it was entitled to.
    pub slots_entitled: f64,
}

/// What an agent had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentShare {
    /// Its id.
    pub agent: String,
    /// In which class.
    pub class: String,
    /// Its weight in the class.
    pub weight: u32,
    /// Slots that it had, on average.
    pub slots_used: f64,
    /// Slots that it was entitled to.
    pub slots_entitled: f64,
    /// Slots that it could have used.
    pub slots_wanted: f64,
    /// CPUs that it had, on average: all of them are said with its own class.
    pub cpu_used: f64,
    /// CPUs that it was entitled to, where it is known who waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_entitled: Option<f64>,
    /// The longest wait of what began, or is next.
    pub longest_wait_ms: u64,
}

/// The last minute in short, in the status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FairnessSummary {
    /// Turns at once of the fleet.
    pub slots: u64,
    /// Turns that run.
    pub running: u64,
    /// See [`FairnessWindow::slots_index`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots_index: Option<f64>,
    /// See [`FairnessWindow::cpu_index`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_index: Option<f64>,
    /// See [`FairnessWindow::longest_wait`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_wait: Option<LongestWait>,
}
