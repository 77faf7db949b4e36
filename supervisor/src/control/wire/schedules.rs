//! What the clock asks for.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::DeliveryState;

/// The answer of `GET /schedules`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleList {
    /// By name.
    pub schedules: Vec<Schedule>,
}

/// A prompt, and when which agent gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// Who gets the prompt.
    pub agent: String,
    /// In which conversation.
    pub session: String,
    /// The class of its turns, where it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The cron expression, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// In which time zone that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Between two due times, where it has no cron expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_ms: Option<u64>,
    /// What becomes of due times at which it could not be run.
    pub catch_up: CatchUp,
    /// A run comes up to so much later than it is due.
    pub jitter_ms: u64,
    /// Whether the configuration has it run by itself.
    pub enabled: bool,
    /// Whether an operator has paused it.
    pub paused: bool,
    /// Who is told the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tell: Option<ScheduleTell>,
    /// When it is due next, in milliseconds since 1970; not while it is paused or disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_ms: Option<u64>,
    /// The same, as the clocks of its zone show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// A run that is due, and that could not be begun yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<ScheduleHeld>,
    /// The last run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<ScheduleRun>,
    /// How often it was run since it is known.
    pub runs: u64,
    /// Due times that were missed since then.
    pub missed: u64,
}

/// What becomes of due times at which a schedule could not be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// They are left out.
    Skip,
    /// One run stands for all of them.
    Once,
    /// Each is run.
    All,
    /// Something that this reader does not know.
    #[serde(other)]
    Unknown,
}

/// Who is told an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleTell {
    /// Through which channel.
    pub channel: String,
    /// Which chat.
    pub peer: String,
}

/// A run that could not be begun yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleHeld {
    /// When it was due, in milliseconds since 1970.
    pub due_ms: u64,
    /// Why it was not begun.
    pub why: String,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleRun {
    /// As which delivery: `kennel queue show` shows it.
    pub id: String,
    /// For which due time, in milliseconds since 1970; none for one that an operator asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<u64>,
    /// When it was accepted, in milliseconds since 1970.
    pub at_ms: u64,
    /// How it stands, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<DeliveryState>,
    /// When it ended, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// Why it has no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What is done with a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScheduleAction {
    /// Run it now.
    Run,
    /// Run it by itself no more.
    Pause,
    /// Run it by itself again.
    Resume,
}

impl ScheduleAction {
    /// The last segment of its route.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

/// The answer of `POST /schedules/{name}/run`, `pause` and `resume`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleReply {
    /// Which.
    pub name: String,
    /// Its agent.
    pub agent: String,
    /// Whether it is paused now.
    pub paused: bool,
    /// Whether it was so already.
    pub already: bool,
    /// As which delivery it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}
