//! The JSON of the control API, seen by the server, by `kennel` as its client, and by other programs.
//!
//! Wire types only: the server converts its own types to them beside its routes, the command line
//! prints them. New optional fields may come at any time, and so may new values of the open enums
//! (those with `Unknown`), so a reader must live with both. Times are milliseconds, sizes are bytes.
//!
//! Streams are server-sent events. The `event:` field repeats the `type` of the JSON in `data:`, so
//! that a reader needs only one of the two.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

mod audit;
mod budget;
mod doctor;
mod events;
mod fairness;
mod limits;
mod processes;
mod queue;
mod reload;
mod schedules;
mod turns;
mod upgrade;
mod usage;

pub use self::{
    audit::{AuditEntry, AuditList, AuditQuery},
    budget::{AgentBudget, BudgetList, BudgetState, BudgetWindow},
    doctor::{
        AgentDoctor, AgentLife, CageStep, CgroupHierarchy, Check, CheckState, Containment, Doctor,
        DoctorHost,
    },
    events::{AgentEnd, EventList, EventsQuery, HeldBack, InterruptedTurn, LifecycleEvent},
    fairness::{AgentShare, ClassShare, Fairness, FairnessSummary, FairnessWindow, LongestWait},
    limits::{AgentLimits, Limits, LimitsPatch, LimitsReply, UnenforcedCap},
    processes::{AgentProcess, ProcessList},
    queue::{
        Delivery, DeliveryDetail, DeliveryState, DeliveryWaitsFor, Queue, QueueAction, QueueCount,
        QueueQuery, QueueReply, QueueView, Send,
    },
    reload::{
        ReloadChange, ReloadDiagnostic, ReloadKey, ReloadOutcome, ReloadReply, ReloadRequest,
        ReloadStep, ReloadSubject,
    },
    schedules::{
        CatchUp, Schedule, ScheduleAction, ScheduleHeld, ScheduleList, ScheduleReply, ScheduleRun,
        ScheduleTell,
    },
    turns::{TurnDetail, TurnList, TurnShare, TurnStep, TurnSummary, TurnWaits, TurnsQuery},
    upgrade::{UpgradeReply, UpgradeRequest},
    usage::{AgentUsage, ContainmentStatus, FleetUsage, HostUsage},
};

/// The path under which this version of the API lives.
pub const API: &str = "/api/v1";

/// The answer of `GET /health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Always `ok`: a supervisor that is not well does not answer.
    pub status: String,
    /// The supervisor's version.
    pub version: String,
    /// The supervisor's process id.
    pub pid: u32,
    /// How long it has been running.
    pub uptime_ms: u64,
    /// Why the last upgrade was undone: the new program had taken over, and did not come up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone: Option<String>,
}

/// The answer of `GET /status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The supervisor itself.
    pub supervisor: SupervisorStatus,
    /// Every configured agent, by id.
    pub agents: Vec<AgentStatus>,
    /// The agents together.
    #[serde(default)]
    pub fleet: FleetUsage,
    /// The machine.
    #[serde(default)]
    pub host: HostUsage,
    /// How agents are held.
    #[serde(default)]
    pub containment: ContainmentStatus,
    /// Whether everybody has the share that weights give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fairness: Option<FairnessSummary>,
}

/// The supervisor itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SupervisorStatus {
    /// Its process id.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// How long it has been running.
    pub uptime_ms: u64,
    /// Its resident memory, where the system says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The configuration file that it runs.
    pub config: String,
}

/// The answer of `GET /agents`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentList {
    /// Every configured agent, by id.
    pub agents: Vec<AgentStatus>,
}

/// The query of `GET /agents/{id}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AgentQuery {
    /// How much to tell about memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryDetail>,
}

/// How much to tell about an agent's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemoryDetail {
    /// Also what the kernel finds by walking through the pages of each process, which takes it some
    /// time.
    Full,
}

/// One agent as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentStatus {
    /// Its name in the configuration.
    pub id: String,
    /// What was observed last.
    pub state: AgentState,
    /// What the operator wants.
    pub desired: Desired,
    /// The process that runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Which life of it; 0 before the first.
    pub generation: u64,
    /// Whether a supervisor before this one has started this life.
    #[serde(default)]
    pub adopted: bool,
    /// How long this life lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_ms: Option<u64>,
    /// Starts that nobody asked for, since the supervisor started.
    pub restarts: u64,
    /// Messages that wait for it.
    pub queued: u64,
    /// Turns that are running.
    pub running: u64,
    /// Turns that have ended since the supervisor started.
    pub turns: u64,
    /// Processor time over the last interval; 100 is one full core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
    /// Memory of all its processes, as it counts against its cap; where no group holds them, resident
    /// memory of its agent-host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The model, as `provider/model`.
    pub model: String,
    /// Its connection to the supervisor.
    pub link: LinkState,
    /// What it uses and may use, in full.
    #[serde(default)]
    pub usage: AgentUsage,
    /// How its last process ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_end: Option<AgentEnd>,
    /// Why it is in this state, in plain words, where there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What an agent's process was last seen doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// No process, and none is wanted.
    Stopped,
    /// Spawned, not ready yet.
    Starting,
    /// Answers.
    Ready,
    /// Finishes its turns and takes no more.
    Draining,
    /// Was told to end.
    Stopping,
    /// Has ended by itself; what follows is the restart policy's.
    Exited,
    /// Waits for its next start.
    BackingOff,
    /// Failed too often: stays down until an operator restarts it.
    Quarantined,
    /// Ended to save memory; the next message wakes it.
    Hibernated,
    /// A state that this reader does not know.
    #[serde(other)]
    Unknown,
}

impl AgentState {
    /// The word used on the wire and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Exited => "exited",
            Self::BackingOff => "backing_off",
            Self::Quarantined => "quarantined",
            Self::Hibernated => "hibernated",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for AgentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the operator wants of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// It shall run.
    Running,
    /// It shall not.
    Stopped,
}

/// An agent's connection to the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// Connected, handshake done.
    Connected,
    /// Not connected.
    Disconnected,
}

/// What can be asked of an agent's process; the last segment of the route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Run, if it does not.
    Start,
    /// Drain, end, and stay down.
    Stop,
    /// A new life. Also the way out of quarantine.
    Restart,
}

impl Action {
    /// The word used in the route.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }
}

/// The body of `POST /agents/{id}/start|stop|restart`. An empty body is the default one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ActionRequest {
    /// Answer when it is done, not when it is begun.
    pub wait: bool,
    /// How long to wait; the agent's own limits when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

impl Default for ActionRequest {
    fn default() -> Self {
        Self {
            wait: true,
            timeout_ms: None,
        }
    }
}

/// The answer to an [`ActionRequest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ActionReply {
    /// What came of it.
    pub outcome: ActionOutcome,
    /// The agent after it.
    pub agent: AgentStatus,
    /// Why it was denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What came of a request to an agent's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionOutcome {
    /// It was done (or is begun, for a request that does not wait).
    Done,
    /// It was so already.
    Already,
    /// It was refused; the reason says why.
    Denied,
}

/// The body of `POST /agents/{id}/turns`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TurnRequest {
    /// The message.
    pub text: String,
    /// Which conversation: the name behind `agent:<id>:api:`. A fresh one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Answer with a stream of [`TurnEvent`]s instead of one [`TurnReply`].
    #[serde(default)]
    pub stream: bool,
}

/// A turn that ended with an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TurnReply {
    /// The turn.
    pub turn_id: String,
    /// The agent that answered.
    pub agent: String,
    /// The whole session key.
    pub session: String,
    /// The whole answer.
    pub reply: String,
    /// Tokens and attempts.
    pub usage: Usage,
    /// Where the time went.
    pub timing: Timing,
}

/// What a turn cost at its provider.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Usage {
    /// Tokens read by the model, where the provider says.
    pub input_tokens: u32,
    /// Tokens written by the model, where the provider says.
    pub output_tokens: u32,
    /// Attempts beyond the first.
    pub retries: u32,
}

/// Where the time of a turn went, in microseconds.
#[expect(
    clippy::struct_field_names,
    reason = "the unit is part of the JSON's names"
)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Timing {
    /// Waiting in the supervisor's lanes.
    pub queued_us: u64,
    /// Loading the window of the session.
    pub context_us: u64,
    /// Until the first piece of the answer.
    pub first_token_us: u64,
    /// Waiting for the provider in all.
    pub provider_us: u64,
    /// Running tools in all.
    pub tools_us: u64,
    /// Committing the turn.
    pub commit_us: u64,
    /// From delivery to the agent until its end.
    pub total_us: u64,
}

/// One event of a streamed turn. `finished` or `failed` is the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TurnEvent {
    /// The message waits in the agent's queue.
    Accepted {
        /// The turn, for cancelling it.
        turn_id: String,
        /// The whole session key.
        session: String,
    },
    /// The agent has begun.
    Started {
        /// The turn.
        turn_id: String,
    },
    /// A piece of the answer.
    Delta {
        /// To be appended as it is.
        text: String,
    },
    /// The answer is complete.
    Finished(TurnReply),
    /// There is no answer.
    Failed(TurnFailure),
}

impl TurnEvent {
    /// The name for the `event:` field.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Started { .. } => "started",
            Self::Delta { .. } => "delta",
            Self::Finished(_) => "finished",
            Self::Failed(_) => "failed",
        }
    }
}

/// A turn that ended without an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TurnFailure {
    /// The turn.
    pub turn_id: String,
    /// What kind of trouble.
    pub kind: TurnFailureKind,
    /// Plain words.
    pub message: String,
}

/// Kinds of trouble in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TurnFailureKind {
    /// The provider refused the key, the model or the request.
    Provider,
    /// The provider was busy, broken or out of reach.
    Unavailable,
    /// The turn took longer than it may.
    Timeout,
    /// The agent's own store failed.
    Store,
    /// The agent's queue is full.
    Overloaded,
    /// It was cancelled on request.
    Cancelled,
    /// The agent died, or was stopped, before it could answer.
    AgentGone,
    /// The agent has spent what it may.
    Budget,
    /// Something that this reader does not know.
    #[serde(other)]
    Unknown,
}

/// The answer of `DELETE /turns/{turn_id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CancelReply {
    /// The turn.
    pub turn_id: String,
    /// Whether there was something to cancel: false when the turn had ended already.
    pub cancelled: bool,
}

/// The query of `DELETE /agents/{id}/sessions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SessionQuery {
    /// The session's key, such as `agent:hexa:api:main`.
    pub session: String,
}

/// The answer of `DELETE /agents/{id}/sessions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionDeleted {
    /// The agent.
    pub agent: String,
    /// The session's key.
    pub session: String,
    /// How many messages it had.
    pub messages: u64,
}

/// The query of `GET /agents/{id}/logs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogsQuery {
    /// How many of the last lines.
    pub tail: u32,
    /// Go on with new lines as they come, over restarts of the agent, as `line` events.
    pub follow: bool,
}

impl Default for LogsQuery {
    fn default() -> Self {
        Self {
            tail: 100,
            follow: false,
        }
    }
}

/// The answer of `GET /agents/{id}/logs` without `follow`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLines {
    /// Oldest first.
    pub lines: Vec<LogLine>,
}

/// A line of an agent's log; the data of a `line` event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// The line as it is in the file, without its end.
    pub text: String,
}

/// The answer of `GET /channels`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChannelList {
    /// Every configured channel account, by id.
    pub channels: Vec<ChannelStatus>,
}

/// One channel account as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChannelStatus {
    /// Its name in the configuration.
    pub id: String,
    /// Which platform: `telegram`, `irc`.
    pub kind: String,
    /// Its connection.
    pub state: ChannelState,
    /// How long it has been in this state.
    pub since_ms: u64,
    /// Why, in plain words, where there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Messages taken in since the supervisor started.
    pub received: u64,
    /// Messages sent since then.
    pub sent: u64,
    /// Connections made anew since then.
    pub reconnects: u64,
}

/// The connection of a channel account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChannelState {
    /// On its way.
    Connecting,
    /// Takes and sends messages.
    Connected,
    /// Lost it, and will try again.
    BackingOff,
    /// The platform refuses it (a wrong token, a ban): an operator must act.
    Failed,
    /// Switched off.
    Stopped,
    /// A state that this reader does not know.
    #[serde(other)]
    Unknown,
}

impl ChannelState {
    /// The word used on the wire and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::BackingOff => "backing_off",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
        }
    }
}

/// The answer of `POST /shutdown`, sent before the supervisor begins to drain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShutdownReply {
    /// The process that will be gone.
    pub pid: u32,
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ApiError,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiError {
    /// For programs.
    pub code: ErrorCode,
    /// For people: a lowercase sentence without its full stop.
    pub message: String,
    /// What to do about it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What went wrong, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// 400: the request does not read as what the route takes.
    InvalidRequest,
    /// 401: no token, or a wrong one.
    Unauthorized,
    /// 403: not from there (`Host`, `Origin`).
    Forbidden,
    /// 404: no such route.
    NotFound,
    /// 404: no such agent.
    AgentNotFound,
    /// 404: no such turn.
    TurnNotFound,
    /// 404: no such delivery.
    DeliveryNotFound,
    /// 404: no such schedule.
    ScheduleNotFound,
    /// 405: not with this method.
    MethodNotAllowed,
    /// 409: refused, because of the state that the agent is in.
    Denied,
    /// 409: the idempotency key was used before, for another request.
    KeyReused,
    /// 413: the body is too large.
    TooLarge,
    /// 429: the queue is full.
    Overloaded,
    /// 429: the agent has spent what it may; `Retry-After` says when that begins anew.
    BudgetSpent,
    /// 502: the turn has no answer.
    TurnFailed,
    /// 503: the supervisor is ending.
    ShuttingDown,
    /// 503: nothing can be written down at the moment, so nothing is accepted.
    Unavailable,
    /// 504: it took longer than it may.
    Timeout,
    /// 500: a fault of the supervisor.
    Internal,
    /// A code that this reader does not know.
    #[serde(other)]
    Unknown,
}

impl ErrorCode {
    /// The HTTP status that goes with it.
    pub fn http_status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound
            | Self::AgentNotFound
            | Self::TurnNotFound
            | Self::DeliveryNotFound
            | Self::ScheduleNotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Denied | Self::KeyReused => 409,
            Self::TooLarge => 413,
            Self::Overloaded | Self::BudgetSpent => 429,
            Self::TurnFailed => 502,
            Self::ShuttingDown | Self::Unavailable => 503,
            Self::Timeout => 504,
            Self::Internal | Self::Unknown => 500,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_repeats_its_name_in_its_data() {
        let failure = TurnFailure {
            turn_id: "t1".into(),
            kind: TurnFailureKind::AgentGone,
            message: "the agent died".into(),
        };
        let reply = TurnReply {
            turn_id: "t1".into(),
            agent: "hexa".into(),
            session: "agent:hexa:api:x".into(),
            reply: "hi".into(),
            usage: Usage::default(),
            timing: Timing::default(),
        };
        let (turn_id, session) = ("t1".to_owned(), "agent:hexa:api:x".to_owned());
        for event in [
            TurnEvent::Accepted {
                turn_id: turn_id.clone(),
                session,
            },
            TurnEvent::Started { turn_id },
            TurnEvent::Delta { text: "h".into() },
            TurnEvent::Finished(reply),
            TurnEvent::Failed(failure),
        ] {
            let data = serde_json::to_value(&event).unwrap();
            assert_eq!(data["type"], event.name());
            assert_eq!(serde_json::from_value::<TurnEvent>(data).unwrap(), event);
        }
    }

    #[test]
    fn words_of_a_newer_server_are_read_as_unknown() {
        assert_eq!(
            serde_json::from_value::<AgentState>(json!("dreaming")).unwrap(),
            AgentState::Unknown
        );
        assert_eq!(
            serde_json::from_value::<ErrorCode>(json!("out_of_tea")).unwrap(),
            ErrorCode::Unknown
        );
    }

    #[test]
    fn words_in_tables_are_the_words_on_the_wire() {
        use AgentState::{
            BackingOff, Draining, Exited, Hibernated, Quarantined, Ready, Starting, Stopped,
            Stopping,
        };
        for state in [
            Stopped,
            Starting,
            Ready,
            Draining,
            Stopping,
            Exited,
            BackingOff,
            Quarantined,
            Hibernated,
        ] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for state in [
            ChannelState::Connecting,
            ChannelState::Connected,
            ChannelState::BackingOff,
            ChannelState::Failed,
            ChannelState::Stopped,
        ] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for action in [Action::Start, Action::Stop, Action::Restart] {
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
        }
    }

    #[test]
    fn an_empty_action_waits() {
        let request: ActionRequest = serde_json::from_str("{}").unwrap();
        assert!(request.wait);
    }
}
