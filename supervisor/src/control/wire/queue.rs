//! What waits, runs or was set aside.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::TurnWaits;

/// What to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct QueueQuery {
    /// Only of this agent.
    pub agent: Option<String>,
    /// Which; what waits or runs when absent.
    #[param(inline)]
    pub view: QueueView,
    /// At most so many, from 1 to 1000; 100 when 0.
    pub limit: u32,
    /// Go on behind this one, as `next` of the list before named it.
    pub behind: Option<String>,
}

/// Which deliveries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum QueueView {
    /// Those that wait or run.
    #[default]
    Open,
    /// Those that were set aside.
    Poison,
    /// All that the journal keeps.
    All,
}

/// The answer of `GET /queue`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Queue {
    /// By agent, then in the order of acceptance.
    pub deliveries: Vec<Delivery>,
    /// How much there is, for each agent that has some.
    pub counts: Vec<QueueCount>,
    /// For the next list, when there is more.
    pub next: Option<String>,
}

/// How many deliveries of an agent there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueCount {
    /// Whose.
    pub agent: String,
    /// That wait.
    pub queued: u64,
    /// That an agent has.
    pub leased: u64,
    /// That were set aside.
    pub poison: u64,
}

/// How a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryState {
    /// It waits for its agent.
    Queued,
    /// An agent's process has it.
    Leased,
    /// It was answered.
    Replied,
    /// It ended without an answer.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// It was set aside: its agent kept dying of it.
    Poison,
    /// An operator took it out, or too many waited.
    Dropped,
    /// It is answered with another of its session.
    Gathered,
    /// One that this reader does not know.
    #[serde(other)]
    Unknown,
}

impl DeliveryState {
    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Leased => "running",
            Self::Replied => "replied",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Poison => "poison",
            Self::Dropped => "dropped",
            Self::Gathered => "gathered",
            Self::Unknown => "?",
        }
    }
}

/// A message on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    /// Its id.
    pub id: String,
    /// For whom.
    pub agent: String,
    /// In which conversation.
    pub session: String,
    /// How it stands.
    pub state: DeliveryState,
    /// How many lives of its agent it has cost.
    pub attempts: u32,
    /// The life that has it, or had it last.
    pub generation: Option<u64>,
    /// Who wrote it.
    pub sender: String,
    /// The channel that it came through; none for callers of the API.
    pub channel: Option<String>,
    /// When it was accepted, in milliseconds since 1970.
    pub received_ms: u64,
    /// How its text begins.
    pub preview: String,
    /// The length of its text.
    pub bytes: u64,
    /// What stands in its way, while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<DeliveryWaitsFor>,
    /// What it has waited for so far, as far as this supervisor has seen it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<TurnWaits>,
}

/// What stands in the way of a message: the first of these that does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryWaitsFor {
    /// Another message of its session is before it.
    Session,
    /// Its chat is to be quiet for a moment.
    Quiet,
    /// Its agent takes none now, or something is being done with it.
    Held,
    /// Its agent has as many turns as it may.
    Agent,
    /// Its class has as many turns as it may.
    Class,
    /// The fleet has as many turns as it may, or somebody else's turn is first.
    Fleet,
    /// Its agent has many: it is read from the journal when those before it are done.
    Queue,
    /// One that this reader does not know.
    #[serde(other)]
    Unknown,
}

impl DeliveryWaitsFor {
    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Quiet => "quiet",
            Self::Held => "held",
            Self::Agent => "agent",
            Self::Class => "class",
            Self::Fleet => "fleet",
            Self::Queue => "queue",
            Self::Unknown => "?",
        }
    }

    /// In a sentence: "it waits for …".
    pub fn words(self) -> &'static str {
        match self {
            Self::Session => "the messages before it in its session",
            Self::Quiet => "its chat to be quiet for a moment",
            Self::Held => "its agent to be ready",
            Self::Agent => "a turn of its agent: all that it may have at once run",
            Self::Class => "a turn of its class: all that it may have at once run",
            Self::Fleet => "a turn of the fleet: all run, or others are first",
            Self::Queue => "the messages before it in its agent's queue",
            Self::Unknown => "something that this program does not know",
        }
    }
}

/// The answer of `GET /queue/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryDetail {
    /// As in a list.
    #[serde(flatten)]
    pub delivery: Delivery,
    /// Its text; gone where a damaged journal has lost it.
    pub text: Option<String>,
    /// When it ended, in milliseconds since 1970.
    pub ended_ms: Option<u64>,
    /// The answer where it was kept, or why there is none.
    pub end: Option<String>,
    /// The delivery as which it was tried again.
    pub retried: Option<String>,
    /// What was sent because of it.
    pub sends: Vec<Send>,
}

/// Something that was sent to a chat, or is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Send {
    /// Through which channel.
    pub channel: String,
    /// `pending`, `sending`, `sent`, `failed`, or `maybe`: it was with the platform when the supervisor died.
    pub state: String,
    /// Parts of a split text that the platform has.
    pub parts_done: u32,
    /// Some of it may have been sent twice.
    pub doubtful: bool,
    /// What.
    pub text: String,
    /// Why it was given up.
    pub failure: Option<String>,
}

/// What to do with a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueAction {
    /// Take out what waits or was set aside.
    Drop,
    /// Have what ended without an answer tried again.
    Retry,
    /// Put what was set aside back in the queue.
    Requeue,
}

impl QueueAction {
    /// In a path.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Retry => "retry",
            Self::Requeue => "requeue",
        }
    }
}

/// The answer of `POST /queue/{id}/drop`, `/retry` and `/requeue`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueReply {
    /// The delivery: another than was named when it is tried again.
    pub id: String,
    /// Whose.
    pub agent: String,
}
