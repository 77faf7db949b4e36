//! What turns took. Times in microseconds, money in millionths of a unit.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// What to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct TurnsQuery {
    /// Only of this agent.
    pub agent: Option<String>,
    /// At most so many, from 1 to 1000; 100 when 0.
    pub limit: u32,
    /// Only those before this one, as `next` of the list before named it.
    pub before: Option<i64>,
}

/// The answer of `GET /turns`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TurnList {
    /// Those that have ended, the last first.
    pub turns: Vec<TurnSummary>,
    /// For the next list, when there may be more.
    pub next: Option<i64>,
}

/// A turn that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TurnSummary {
    /// The attempt.
    pub id: String,
    /// The message that it answered: the `turn_id` of whoever asked.
    pub delivery: String,
    /// Whose.
    pub agent: String,
    /// In which conversation.
    pub session: String,
    /// The class in which it had its slot; absent from turns that an earlier version has kept.
    pub class: Option<String>,
    /// Which model was asked, as `provider/model`.
    pub model: Option<String>,
    /// How it ended: `replied`, `cancelled`, or why it failed.
    pub outcome: String,
    /// When it ended, in milliseconds since 1970.
    pub ended_ms: u64,
    /// From its acceptance to its end.
    pub total_us: u64,
    /// Waiting in lanes, and in attempts that were lost with their process.
    pub queued_us: u64,
    /// Waiting for the provider.
    pub provider_us: u64,
    /// Running tools.
    pub tools_us: u64,
    /// CPU time of the agent and all that it started meanwhile, user and system.
    pub cpu_us: Option<u64>,
    /// Some of it could have run, and waited for a CPU.
    pub runnable_us: Option<u64>,
    /// Other turns of the agent ran meanwhile: both figures are theirs too.
    pub cpu_shared: bool,
    /// Tokens read.
    pub input_tokens: u32,
    /// Tokens written.
    pub output_tokens: u32,
    /// What it cost, where its model has a price, in millionths of a unit.
    pub cost_micros: Option<u64>,
    /// What held it up most, in a word or two: `provider`, `CPU`, `session lane`, …
    pub bound: String,
    /// The same in a line.
    pub verdict: String,
}

/// The answer of `GET /turns/{turn_id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TurnDetail {
    /// As in a list.
    #[serde(flatten)]
    pub turn: TurnSummary,
    /// The life of the agent.
    pub generation: u64,
    /// Lives of the agent that the message has cost.
    pub attempts: u32,
    /// What it waited for.
    pub waits: TurnWaits,
    /// From the lane until the agent had it.
    pub dispatch_us: u64,
    /// From the lane to its end.
    pub run_us: u64,
    /// Loading the window of the session.
    pub context_us: u64,
    /// From the agent's having it to the first piece of the answer; 0 without one.
    pub first_token_us: u64,
    /// Committing.
    pub commit_us: u64,
    /// From the agent's having it to its end, as the agent says.
    pub agent_us: u64,
    /// How late the agent's event loop was, at most.
    pub event_loop_lag_us: u64,
    /// Attempts at the provider beyond the first.
    pub retries: u32,
    /// By what `runnable_us` is known: `pressure`, or `threads` where the kernel gives no account of pressure.
    pub runnable_by: Option<String>,
    /// For how long its CPU cap held it back.
    pub throttled_us: Option<u64>,
    /// How much of the CPU it could have had.
    pub share: Option<TurnShare>,
    /// What it did, in order.
    pub steps: Vec<TurnStep>,
    /// Steps that are not among them.
    pub steps_left_out: u32,
}

/// What a turn waited for: each moment counts once.
#[expect(clippy::struct_field_names, reason = "numbers carry their unit")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TurnWaits {
    /// For the turn before it in its session.
    pub session_us: u64,
    /// For a place of its agent.
    pub agent_us: u64,
    /// For a place of its class.
    pub class_us: u64,
    /// For a place of the fleet.
    pub fleet_us: u64,
    /// For its agent to be up, or on purpose.
    pub held_us: u64,
    /// In attempts that were lost with their process.
    pub lost_us: u64,
}

/// How much of the CPU an agent could have had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TurnShare {
    /// Cores of the machine.
    pub cores: u64,
    /// Its own cap, in thousandths of a core.
    pub cap_milli: Option<u64>,
    /// Its weight.
    pub weight: u64,
    /// The weights of all agents that were at work, its own among them.
    pub of_weights: u64,
}

/// A step of a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TurnStep {
    /// The tool that was run; none where the model was asked.
    pub tool: Option<String>,
    /// When it began, from the agent's having the turn on.
    pub start_us: u64,
    /// How long it took.
    pub took_us: u64,
    /// Until the first piece of text, where a model was asked and wrote some.
    pub first_token_us: Option<u64>,
    /// Tokens that the model read.
    pub input_tokens: u32,
    /// Tokens that it wrote.
    pub output_tokens: u32,
    /// Attempts beyond the first.
    pub retries: u32,
}
