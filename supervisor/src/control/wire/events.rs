//! What happens to agents.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// What to show of the events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// How many of the past ones; the supervisor remembers about two thousand.
    pub tail: u32,
    /// Go on with new ones, as server-sent events.
    pub follow: bool,
    /// Only those of this agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// The answer of `GET /events` without `follow`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventList {
    /// The oldest first.
    pub events: Vec<LifecycleEvent>,
}

/// Something that happened to an agent's process, or that the supervisor did as a whole; the data of a `lifecycle`
/// event of `GET /events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LifecycleEvent {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Whose; absent for what the supervisor does as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Which life of it; 0 where it is nobody's.
    pub generation: u64,
    /// What, as one word: the state that was entered, or the thing that happened.
    pub kind: String,
    /// More, in plain words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// How its process ended, for the kind `ended`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<AgentEnd>,
    /// What holds it back, for the kinds `pids-denied`, `throttled`, `throttled-over`, `memory-high` and
    /// `memory-high-over`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_back: Option<HeldBack>,
}

/// A cap that holds an agent back and does not end it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HeldBack {
    /// The cap, as the configuration names it.
    pub cap: String,
    /// What it is: bytes, processes or CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap_value: Option<f64>,
    /// The turn that ran, the oldest of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<InterruptedTurn>,
}

/// How an agent's process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentEnd {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Which life of it.
    pub generation: u64,
    /// Why: `out-of-memory`, `too-many-processes`, `hung`, `start-timeout`, `not-back` (adopted,
    /// and did not connect in time), `asked`, `exited`, `signal`, `unknown` (nobody saw it end).
    pub cause: String,
    /// The code that it exited with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The cap that ended it, as the configuration names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<String>,
    /// What that cap was: bytes, or processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap_value: Option<u64>,
    /// The soft mark of its memory, where it stood still above it and was ended for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_high_bytes: Option<u64>,
    /// The most memory that it had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
    /// The turns that ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turns: Vec<InterruptedTurn>,
    /// What is done next, in words.
    pub next: String,
    /// All of it as one sentence.
    pub sentence: String,
}

/// A turn that ran when its agent ended, or was held back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InterruptedTurn {
    /// Which attempt.
    pub turn: String,
    /// In which conversation.
    pub session: String,
    /// How far it was: `loading`, `asking`, `answering`, `running <tool>`.
    pub step: String,
    /// For how long it had been running.
    pub running_ms: u64,
}
