//! The control API as seen by its client: typed requests over the control socket.
//!
//! One connection per request: the socket is local, and a connection that breaks then takes nothing
//! else with it. Every answer is bounded in size, every wait that is not for a person or a model is
//! bounded in time. Nothing is tried twice: whether that is safe is for the caller to know.

mod error;
mod request;
pub mod sse;
mod stream;

#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::de::DeserializeOwned;

use self::request::{Request, decode};
pub use self::{
    error::ClientError,
    stream::{EventStream, TurnStream},
};
use crate::control::wire::{
    Action, ActionReply, ActionRequest, AgentDoctor, AgentLimits, AgentList, AgentStatus,
    AuditList, AuditQuery, BudgetList, CancelReply, ChannelList, DeliveryDetail, Doctor, EventList,
    EventsQuery, Fairness, Health, LimitsPatch, LimitsReply, LogLines, ProcessList, Queue,
    QueueAction, QueueQuery, QueueReply, QueueView, ReloadReply, ReloadRequest, ScheduleAction,
    ScheduleList, ScheduleReply, SessionDeleted, ShutdownReply, Status, TurnDetail, TurnList,
    TurnReply, TurnRequest, TurnsQuery, UpgradeReply, UpgradeRequest,
};

/// The largest answer that is read, in bytes; also the largest event of a stream.
pub const ANSWER_MAX_BYTES: usize = 8 * 1024 * 1024;

/// How long a question that needs no work may take.
const SHORT: Duration = Duration::from_secs(10);

/// How long an action may take that has no limit of its own: the agents' grace periods are shorter.
const ACTION: Duration = Duration::from_mins(15);

/// How long the new program may take to say that it would start, and a little.
const UPGRADE: Duration = Duration::from_secs(30);

/// What an action with a limit may take beyond it, for the supervisor to say so itself.
const ACTION_SLACK: Duration = Duration::from_secs(5);

/// What reading a configuration may take beyond the wait for its agents: others that were asked before, programs that
/// print secrets, caps that the kernel takes its time over.
const RELOAD_SLACK: Duration = Duration::from_mins(1);

/// An answer as it came, and what it means.
#[derive(Debug, Clone)]
pub struct Answer<T> {
    /// The JSON, byte for byte.
    pub json: String,
    /// What it means.
    pub value: T,
}

/// A supervisor, by its control socket.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The supervisor that listens on `socket`. Connects only when asked something.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    /// Where it is looked for.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether it is there.
    pub async fn health(&self) -> Result<Health, ClientError> {
        self.get("/health").await.map(|answer| answer.value)
    }

    /// The supervisor and all agents.
    pub async fn status(&self) -> Result<Answer<Status>, ClientError> {
        self.get("/status").await
    }

    /// All agents.
    pub async fn agents(&self) -> Result<Vec<AgentStatus>, ClientError> {
        let answer: Answer<AgentList> = self.get("/agents").await?;
        Ok(answer.value.agents)
    }

    /// One agent.
    pub async fn agent(&self, id: &str) -> Result<AgentStatus, ClientError> {
        let path = format!("/agents/{}", segment(id));
        self.get(&path).await.map(|answer| answer.value)
    }

    /// One agent in full; its processes are asked for their memory.
    pub async fn agent_in_full(&self, id: &str) -> Result<Answer<AgentStatus>, ClientError> {
        let path = format!("/agents/{}?memory=full", segment(id));
        self.get(&path).await
    }

    /// Whether all is well.
    pub async fn doctor(&self) -> Result<Answer<Doctor>, ClientError> {
        self.get("/doctor").await
    }

    /// Whether one agent is well.
    pub async fn agent_doctor(&self, id: &str) -> Result<Answer<AgentDoctor>, ClientError> {
        self.get(&format!("/agents/{}/doctor", segment(id))).await
    }

    /// Starts, stops or restarts an agent.
    pub async fn act(
        &self,
        id: &str,
        action: Action,
        request: &ActionRequest,
    ) -> Result<ActionReply, ClientError> {
        let path = format!("/agents/{}/{}", segment(id), action.as_str());
        let limit = request.timeout_ms.map_or(ACTION, |ms| {
            Duration::from_millis(ms).saturating_add(ACTION_SLACK)
        });
        let request = Request::post(&path).json(request).within(limit);
        request
            .answer(&self.socket)
            .await
            .map(|answer| answer.value)
    }

    /// What an agent may use.
    pub async fn limits(&self, id: &str) -> Result<Answer<AgentLimits>, ClientError> {
        self.get(&format!("/agents/{}/limits", segment(id))).await
    }

    /// Changes what an agent may use.
    pub async fn set_limits(
        &self,
        id: &str,
        patch: &LimitsPatch,
    ) -> Result<Answer<LimitsReply>, ClientError> {
        let route = format!("/agents/{}/limits", segment(id));
        let request = Request::patch(&route).json(patch).within(SHORT);
        request.answer(&self.socket).await
    }

    /// Has an agent answer, and waits for the whole answer for as long as the agent may take.
    pub async fn turn(
        &self,
        id: &str,
        request: &TurnRequest,
    ) -> Result<Answer<TurnReply>, ClientError> {
        let path = format!("/agents/{}/turns", segment(id));
        Request::post(&path)
            .json(request)
            .answer(&self.socket)
            .await
    }

    /// Has an agent answer, piece by piece.
    pub async fn turn_stream(
        &self,
        id: &str,
        request: &TurnRequest,
    ) -> Result<TurnStream, ClientError> {
        let path = format!("/agents/{}/turns", segment(id));
        let request = Request::post(&path).json(request).within(SHORT);
        request.stream(&self.socket).await.map(TurnStream::new)
    }

    /// Cancels a turn.
    pub async fn cancel(&self, turn_id: &str) -> Result<CancelReply, ClientError> {
        let path = format!("/turns/{}", segment(turn_id));
        let answer = Request::delete(&path).within(SHORT).answer(&self.socket);
        answer.await.map(|answer| answer.value)
    }

    /// Has an agent delete one of its sessions.
    pub async fn delete_session(
        &self,
        id: &str,
        session: &str,
    ) -> Result<Answer<SessionDeleted>, ClientError> {
        let path = format!(
            "/agents/{}/sessions?session={}",
            segment(id),
            segment(session)
        );
        let request = Request::delete(&path).within(SHORT + ACTION_SLACK);
        request.answer(&self.socket).await
    }

    /// The last lines of an agent's log.
    pub async fn logs(&self, id: &str, tail: u32) -> Result<LogLines, ClientError> {
        let path = format!("/agents/{}/logs?tail={tail}&follow=false", segment(id));
        self.get(&path).await.map(|answer| answer.value)
    }

    /// The last lines of an agent's log, and those that are written from now on.
    pub async fn follow_logs(&self, id: &str, tail: u32) -> Result<EventStream, ClientError> {
        let path = format!("/agents/{}/logs?tail={tail}&follow=true", segment(id));
        Request::get(&path).within(SHORT).stream(&self.socket).await
    }

    /// The processes of an agent.
    pub async fn processes(&self, id: &str) -> Result<ProcessList, ClientError> {
        let path = format!("/agents/{}/processes", segment(id));
        self.get(&path).await.map(|answer| answer.value)
    }

    /// All channel accounts.
    pub async fn channels(&self) -> Result<Answer<ChannelList>, ClientError> {
        self.get("/channels").await
    }

    /// Whether everybody has the share that weights give.
    pub async fn fairness(&self) -> Result<Answer<Fairness>, ClientError> {
        self.get("/fairness").await
    }

    /// What happened to the agents.
    pub async fn past_events(&self, query: &EventsQuery) -> Result<EventList, ClientError> {
        let path = events_path(query, false);
        self.get(&path).await.map(|answer| answer.value)
    }

    /// What happened to the agents, and what happens to them from now on.
    pub async fn events(&self, query: &EventsQuery) -> Result<EventStream, ClientError> {
        let path = events_path(query, true);
        Request::get(&path).within(SHORT).stream(&self.socket).await
    }

    /// Has the configuration read again.
    pub async fn reload(
        &self,
        request: &ReloadRequest,
    ) -> Result<Answer<ReloadReply>, ClientError> {
        let limit = request.timeout_ms.map_or(ACTION, |ms| {
            Duration::from_millis(ms).saturating_add(RELOAD_SLACK)
        });
        let request = Request::post("/reload").json(request).within(limit);
        request.answer(&self.socket).await
    }

    /// What operators did.
    pub async fn audit(&self, query: AuditQuery) -> Result<Answer<AuditList>, ClientError> {
        let before = query.before;
        let before = before.map_or_else(String::new, |before| format!("&before={before}"));
        self.get(&format!("/audit?limit={}{before}", query.limit))
            .await
    }

    /// What agents may spend, and have.
    pub async fn budget(&self) -> Result<Answer<BudgetList>, ClientError> {
        self.get("/budget").await
    }

    /// Turns that have ended.
    pub async fn turns(&self, query: &TurnsQuery) -> Result<Answer<TurnList>, ClientError> {
        let agent = query.agent.as_deref().map(segment);
        let agent = agent.map_or_else(String::new, |agent| format!("&agent={agent}"));
        let before = query.before;
        let before = before.map_or_else(String::new, |before| format!("&before={before}"));
        self.get(&format!("/turns?limit={}{agent}{before}", query.limit))
            .await
    }

    /// What one turn took.
    pub async fn turn_detail(&self, id: &str) -> Result<Answer<TurnDetail>, ClientError> {
        self.get(&format!("/turns/{}", segment(id))).await
    }

    /// What waits, runs or was set aside.
    pub async fn queue(&self, query: &QueueQuery) -> Result<Answer<Queue>, ClientError> {
        let view = match query.view {
            QueueView::Open => "open",
            QueueView::Poison => "poison",
            QueueView::All => "all",
        };
        let named = |key, value: &Option<String>| {
            let value = value.as_deref().map(segment);
            value.map_or_else(String::new, |value| format!("&{key}={value}"))
        };
        let (agent, behind) = (named("agent", &query.agent), named("behind", &query.behind));
        let path = format!("/queue?view={view}&limit={}{agent}{behind}", query.limit);
        self.get(&path).await
    }

    /// One message in full.
    pub async fn delivery(&self, id: &str) -> Result<Answer<DeliveryDetail>, ClientError> {
        self.get(&format!("/queue/{}", segment(id))).await
    }

    /// Does something with one message.
    pub async fn queue_action(
        &self,
        id: &str,
        action: QueueAction,
    ) -> Result<Answer<QueueReply>, ClientError> {
        let path = format!("/queue/{}/{}", segment(id), action.as_str());
        let request = Request::post(&path).within(SHORT);
        request.answer(&self.socket).await
    }

    /// Every schedule.
    pub async fn schedules(&self) -> Result<Answer<ScheduleList>, ClientError> {
        self.get("/schedules").await
    }

    /// Does something with one schedule.
    pub async fn schedule_action(
        &self,
        name: &str,
        action: ScheduleAction,
    ) -> Result<Answer<ScheduleReply>, ClientError> {
        let path = format!("/schedules/{}/{}", segment(name), action.as_str());
        let request = Request::post(&path).within(SHORT);
        request.answer(&self.socket).await
    }

    /// Has another program take over; returns before that is done.
    pub async fn upgrade(
        &self,
        request: &UpgradeRequest,
    ) -> Result<Answer<UpgradeReply>, ClientError> {
        let request = Request::post("/upgrade").json(request).within(UPGRADE);
        request.answer(&self.socket).await
    }

    /// Ends the supervisor and all agents. Returns before that is done.
    pub async fn shutdown(&self) -> Result<ShutdownReply, ClientError> {
        let answer = Request::post("/shutdown")
            .within(SHORT)
            .answer(&self.socket);
        answer.await.map(|answer| answer.value)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, ClientError> {
        Request::get(path).within(SHORT).answer(&self.socket).await
    }
}

fn events_path(query: &EventsQuery, follow: bool) -> String {
    let agent = query.agent.as_deref().map(segment);
    let agent = agent.map_or_else(String::new, |agent| format!("&agent={agent}"));
    format!("/events?tail={}&follow={follow}{agent}", query.tail)
}

/// `text` as one segment of a path, whatever it contains.
fn segment(text: &str) -> String {
    use std::fmt::Write as _;

    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a string takes everything");
        }
        out
    })
}
