//! Kennel's own API, version 1. Each route is a few lines: read the request, ask a handle, convert.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    http::HeaderMap,
    response::{
        IntoResponse, Response,
        sse::{Event as SseEvent, KeepAlive, Sse},
    },
    routing::{delete, get, post},
};
use futures::{Stream, stream};
use kennel_shared::{
    envelope::{Sender, TEXT_MAX_BYTES},
    ids::{AgentId, DeliveryId, Generation},
    session_key::SessionKey,
};
use serde::Serialize;
use tokio::time::Instant;

use super::{
    App, Current, audit, budget, doctor,
    error::Failure,
    fairness, idempotency, limits, processes, queue, reload, schedules, sessions, turns, usage,
    view,
    wire::{self, ErrorCode},
};
use crate::{
    dispatch::{TurnEnd, TurnEvent, TurnStream},
    supervision::{
        driver::{AgentHandle, Observed},
        lifecycle::{Answer, Event, State as Life},
    },
};

/// How long an action may take to show, unless the caller says.
const ACTION_TIMEOUT: Duration = Duration::from_mins(1);

/// The longest that a caller may wait for an action.
pub(super) const ACTION_TIMEOUT_MAX: Duration = Duration::from_mins(10);

/// How often a quiet stream says that it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) mod streams;

use self::streams::{agent_logs, events};

pub(super) type AppState = State<Arc<App>>;

pub(super) fn routes() -> Router<Current> {
    Router::new()
        .route("/health", get(health))
        .route("/status", get(status))
        .route("/agents", get(agents))
        .route("/agents/{id}", get(agent))
        .route("/agents/{id}/start", post(start))
        .route("/agents/{id}/stop", post(stop))
        .route("/agents/{id}/restart", post(restart))
        .route(
            "/agents/{id}/limits",
            get(limits::limits).patch(limits::set_limits),
        )
        .route("/agents/{id}/turns", post(turn))
        .route("/agents/{id}/sessions", delete(sessions::delete_session))
        .route("/agents/{id}/logs", get(agent_logs))
        .route("/agents/{id}/processes", get(processes::processes))
        .route("/agents/{id}/doctor", get(doctor::agent_doctor))
        .route("/doctor", get(doctor::doctor))
        .route("/turns", get(turns::turns))
        .route("/turns/{turn_id}", get(turns::turn).delete(cancel))
        .route("/audit", get(audit::audit))
        .route("/budget", get(budget::budget))
        .route("/queue", get(queue::queue))
        .route("/queue/{id}", get(queue::show))
        .route("/queue/{id}/drop", post(queue::drop))
        .route("/queue/{id}/retry", post(queue::retry))
        .route("/queue/{id}/requeue", post(queue::requeue))
        .route("/schedules", get(schedules::schedules))
        .route("/schedules/{name}/run", post(schedules::run))
        .route("/schedules/{name}/pause", post(schedules::pause))
        .route("/schedules/{name}/resume", post(schedules::resume))
        .route("/channels", get(channels))
        .route("/events", get(events))
        .route("/fairness", get(fairness::fairness))
        .route("/reload", post(reload::reload))
        .route("/shutdown", post(shutdown))
        .route("/openapi.json", get(|| async { Json(super::document()) }))
}

/// Whether the supervisor answers.
#[utoipa::path(get, path = "/api/v1/health", responses((status = 200, body = wire::Health)))]
pub(super) async fn health(State(app): AppState) -> Json<wire::Health> {
    Json(wire::Health {
        status: "ok".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        uptime_ms: view::millis(app.began.elapsed()),
        undone: app.undone.as_deref().map(str::to_owned),
    })
}

/// The supervisor and its agents.
#[utoipa::path(get, path = "/api/v1/status", responses((status = 200, body = wire::Status)))]
pub(super) async fn status(State(app): AppState) -> Json<wire::Status> {
    let sample = app.sampler.latest();
    let report = app.fairness.report().await;
    Json(wire::Status {
        fairness: report.as_ref().and_then(fairness::summary),
        supervisor: wire::SupervisorStatus {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_ms: view::millis(app.began.elapsed()),
            memory_bytes: sample.supervisor.reading.memory,
            config: app.config_path.display().to_string(),
        },
        agents: app.view_agents().await,
        fleet: usage::fleet(&sample.fleet),
        host: usage::host(&sample.host),
        containment: wire::ContainmentStatus {
            backend: app.containment.backend().as_str().to_owned(),
            why: app.containment.why().to_owned(),
            cannot: app
                .containment
                .cannot()
                .iter()
                .map(|one| one.cap.to_string())
                .collect(),
        },
    })
}

/// Every agent.
#[utoipa::path(get, path = "/api/v1/agents", responses((status = 200, body = wire::AgentList)))]
pub(super) async fn agents(State(app): AppState) -> Json<wire::AgentList> {
    Json(wire::AgentList {
        agents: app.view_agents().await,
    })
}

/// One agent.
#[utoipa::path(get, path = "/api/v1/agents/{id}", params(("id" = String, Path), wire::AgentQuery), responses(
    (status = 200, body = wire::AgentStatus), (status = 400, body = wire::ErrorBody), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn agent(
    State(app): AppState,
    Path(id): Path<String>,
    query: Result<Query<wire::AgentQuery>, QueryRejection>,
) -> Result<Json<wire::AgentStatus>, Failure> {
    let Query(query) = query?;
    let agent = app.view_agent(&id).await;
    let mut agent = agent.ok_or_else(|| no_agent(&app, &id))?;
    if query.memory == Some(wire::MemoryDetail::Full)
        && let Some(handle) = app.agents.get(&id)
        && let Some(share) = app.memory_share(&handle.agent).await
    {
        usage::add_share(&mut agent.usage, share);
    }
    Ok(Json(agent))
}

/// Runs an agent that does not.
#[utoipa::path(post, path = "/api/v1/agents/{id}/start", params(("id" = String, Path)), request_body = wire::ActionRequest, responses(
    (status = 200, body = wire::ActionReply), (status = 404, body = wire::ErrorBody), (status = 504, body = wire::ErrorBody)))]
pub(super) async fn start(
    State(app): AppState,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<wire::ActionReply>, Failure> {
    act(&app, &id, Event::Start, &body).await
}

/// Ends an agent after its turns, and keeps it down.
#[utoipa::path(post, path = "/api/v1/agents/{id}/stop", params(("id" = String, Path)), request_body = wire::ActionRequest, responses(
    (status = 200, body = wire::ActionReply), (status = 404, body = wire::ErrorBody), (status = 504, body = wire::ErrorBody)))]
pub(super) async fn stop(
    State(app): AppState,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<wire::ActionReply>, Failure> {
    act(&app, &id, Event::Stop, &body).await
}

/// Gives an agent a new process, after the turns of the old one.
#[utoipa::path(post, path = "/api/v1/agents/{id}/restart", params(("id" = String, Path)), request_body = wire::ActionRequest, responses(
    (status = 200, body = wire::ActionReply), (status = 404, body = wire::ErrorBody), (status = 504, body = wire::ErrorBody)))]
pub(super) async fn restart(
    State(app): AppState,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<wire::ActionReply>, Failure> {
    act(&app, &id, Event::Restart, &body).await
}

async fn act(
    app: &Arc<App>,
    id: &str,
    event: Event,
    body: &Bytes,
) -> Result<Json<wire::ActionReply>, Failure> {
    let request = if body.is_empty() {
        wire::ActionRequest::default()
    } else {
        serde_json::from_slice(body)
            .map_err(|error| Failure::new(ErrorCode::InvalidRequest, error.to_string()))?
    };
    let handle = find(app, id)?;
    let before = handle.observed.borrow().generation;
    if app.shutdown.is_closed() {
        // What is started now would hold up the end.
        return Err(leaving());
    }
    let answer = handle.order(event).await.ok_or_else(leaving)?;
    let what = match event {
        Event::Start => "start",
        Event::Stop => "stop",
        _ => "restart",
    };
    let detail = match answer {
        Answer::Accepted => "asked for",
        Answer::Already => "asked for; it was so already",
    };
    app.audit(what, Some(&handle.agent), detail);
    let limit = request
        .timeout_ms
        .map_or(ACTION_TIMEOUT, Duration::from_millis)
        .min(ACTION_TIMEOUT_MAX);
    if request.wait
        && !handle
            .wait(limit, |seen| settled(seen, event, before))
            .await
    {
        let state = handle.observed.borrow().state.name();
        return Err(Failure::new(
            ErrorCode::Timeout,
            format!("agent `{id}` is still {state} after {limit:?}"),
        )
        .hint(format!(
            "`kennel status` shows how it goes on, `kennel logs {id}` why it takes so long"
        )));
    }
    let agent = app.view_agent(id).await.ok_or_else(|| no_agent(app, id))?;
    let failed = request.wait && event != Event::Stop && agent.state != wire::AgentState::Ready;
    let (outcome, reason) = match answer {
        _ if failed => {
            let why = agent.detail.clone().unwrap_or_default();
            (
                wire::ActionOutcome::Denied,
                Some(format!("it did not become ready: {why}")),
            )
        }
        Answer::Accepted => (wire::ActionOutcome::Done, None),
        Answer::Already => (wire::ActionOutcome::Already, None),
    };
    Ok(Json(wire::ActionReply {
        outcome,
        agent,
        reason,
    }))
}

/// Whether an action has come to its end, good or bad.
pub(super) fn settled(seen: &Observed, event: Event, before: Generation) -> bool {
    let renewed = event != Event::Restart || seen.generation > before;
    match seen.state {
        Life::Ready { .. } => event != Event::Stop && renewed,
        Life::Stopped => event == Event::Stop,
        // What failed once is tried again, but not for a caller that waits.
        Life::BackingOff { .. } | Life::Quarantined { .. } | Life::Exited(_) => {
            event != Event::Stop && renewed
        }
        Life::Starting { .. } | Life::Draining { .. } | Life::Stopping { .. } => false,
    }
}

/// Sends a message to an agent and answers with its reply, whole or as it comes.
#[utoipa::path(post, path = "/api/v1/agents/{id}/turns", params(("id" = String, Path),
    ("idempotency-key" = Option<String>, Header, description = "a name for this request: the same again gets the same answer")),
    request_body = wire::TurnRequest, responses(
    (status = 200, body = wire::TurnReply, description = "with `stream`, server-sent events of TurnEvent"),
    (status = 404, body = wire::ErrorBody), (status = 409, body = wire::ErrorBody), (status = 429, body = wire::ErrorBody),
    (status = 502, body = wire::ErrorBody), (status = 503, body = wire::ErrorBody)))]
pub(super) async fn turn(
    State(app): AppState,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Json<wire::TurnRequest>, JsonRejection>,
) -> Result<Response, Failure> {
    let Json(request) = body?;
    let handle = find(&app, &id)?;
    let named = request.session.as_deref();
    let parts = [
        id.as_bytes(),
        named.map_or(b"", str::as_bytes),
        request.text.as_bytes(),
    ];
    let key = idempotency::key(&headers, &parts)?;
    if request.text.trim().is_empty() {
        return Err(Failure::new(ErrorCode::InvalidRequest, "the text is empty"));
    }
    if request.text.len() > TEXT_MAX_BYTES {
        return Err(Failure::new(
            ErrorCode::TooLarge,
            format!("the text is longer than {TEXT_MAX_BYTES} bytes"),
        ));
    }
    let session = session(&handle.agent, named)
        .map_err(|error| Failure::new(ErrorCode::InvalidRequest, error.to_string()))?;
    let sender = Sender {
        id: "api".into(),
        name: None,
    };
    let began = Instant::now();
    let stream = app
        .dispatcher
        .ask(session, sender, request.text, key)
        .await?;
    let turn = Turn {
        began,
        agent: id,
        session: stream.session().clone(),
        stream,
    };
    if request.stream {
        Ok(turn.stream().into_response())
    } else {
        turn.reply().await
    }
}

/// The session that a caller of the API names, or a fresh one.
pub(super) fn session(
    agent: &AgentId,
    name: Option<&str>,
) -> Result<SessionKey, kennel_shared::session_key::InvalidSessionKey> {
    match name {
        // A whole key, as it was answered before.
        Some(name) if name.starts_with(&format!("agent:{agent}:")) => name.parse(),
        Some(name) => SessionKey::new(agent, &format!("api:{name}")),
        None => SessionKey::new(agent, &format!("api:{}", DeliveryId::new())),
    }
}

/// A turn that a caller waits for.
struct Turn {
    began: Instant,
    agent: String,
    session: SessionKey,
    stream: TurnStream,
}

impl Turn {
    fn id(&self) -> String {
        self.stream.delivery().to_string()
    }

    async fn reply(mut self) -> Result<Response, Failure> {
        // Reading to the end keeps the turn alive; what comes before is not asked for.
        loop {
            match self.stream.next().await {
                Some(TurnEvent::End(end)) => {
                    return match self.ended(end) {
                        wire::TurnEvent::Finished(reply) => Ok(Json(reply).into_response()),
                        wire::TurnEvent::Failed(failure) => Err(Failure::new(
                            match failure.kind {
                                wire::TurnFailureKind::Timeout => ErrorCode::Timeout,
                                wire::TurnFailureKind::Budget => ErrorCode::BudgetSpent,
                                _ => ErrorCode::TurnFailed,
                            },
                            failure.message,
                        )),
                        _ => unreachable!("an end is one of the two"),
                    };
                }
                Some(_) => {}
                None => unreachable!("the end comes first"),
            }
        }
    }

    fn stream(self) -> Sse<impl Stream<Item = Result<SseEvent, Infallible>>> {
        let accepted = wire::TurnEvent::Accepted {
            turn_id: self.id(),
            session: self.session.to_string(),
        };
        let events = stream::unfold((self, Some(accepted)), |(mut turn, first)| async move {
            let event = if let Some(first) = first {
                first
            } else {
                let event = turn.stream.next().await?;
                turn.view(event)
            };
            Some((Ok(sse(event.name(), &event)), (turn, None)))
        });
        Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
    }

    fn view(&self, event: TurnEvent) -> wire::TurnEvent {
        match event {
            TurnEvent::Started => wire::TurnEvent::Started { turn_id: self.id() },
            TurnEvent::Delta(text) => wire::TurnEvent::Delta { text },
            TurnEvent::Restarted => {
                let text = "\n[the agent was restarted and answers anew]\n".to_owned();
                wire::TurnEvent::Delta { text }
            }
            TurnEvent::End(end) => self.ended(end),
        }
    }

    fn ended(&self, end: TurnEnd) -> wire::TurnEvent {
        let failed = |kind, message| {
            wire::TurnEvent::Failed(wire::TurnFailure {
                turn_id: self.id(),
                kind,
                message,
            })
        };
        match end {
            TurnEnd::Replied { text, spent } => wire::TurnEvent::Finished(wire::TurnReply {
                turn_id: self.id(),
                agent: self.agent.clone(),
                session: self.session.to_string(),
                reply: text,
                usage: view::usage(&spent),
                timing: view::timing(&spent, self.began.elapsed()),
            }),
            TurnEnd::Failed { kind, message } => failed(view::failure_kind(kind), message),
            TurnEnd::Cancelled => failed(
                wire::TurnFailureKind::Cancelled,
                "the turn was cancelled".into(),
            ),
        }
    }
}

fn sse(name: &str, data: &impl Serialize) -> SseEvent {
    SseEvent::default()
        .event(name)
        .json_data(data)
        .expect("wire types are JSON without line breaks")
}

/// Cancels a turn, waiting or running.
#[utoipa::path(delete, path = "/api/v1/turns/{turn_id}", params(("turn_id" = String, Path)), responses(
    (status = 200, body = wire::CancelReply), (status = 400, body = wire::ErrorBody)))]
pub(super) async fn cancel(
    State(app): AppState,
    Path(turn_id): Path<String>,
) -> Result<Json<wire::CancelReply>, Failure> {
    let delivery: DeliveryId = turn_id
        .parse()
        .map_err(|_| Failure::new(ErrorCode::InvalidRequest, "this is not the id of a turn"))?;
    let cancelled = app.dispatcher.cancel(delivery).await;
    Ok(Json(wire::CancelReply { turn_id, cancelled }))
}

/// Every channel account.
#[utoipa::path(get, path = "/api/v1/channels", responses((status = 200, body = wire::ChannelList)))]
pub(super) async fn channels(State(app): AppState) -> Json<wire::ChannelList> {
    Json(wire::ChannelList {
        channels: app.view_channels(),
    })
}

/// Ends the supervisor and its agents, after their turns.
#[utoipa::path(post, path = "/api/v1/shutdown", responses((status = 200, body = wire::ShutdownReply)))]
pub(super) async fn shutdown(State(app): AppState) -> Json<wire::ShutdownReply> {
    app.audit("shutdown", None, "asked for");
    // Full means that it was asked before.
    let _ = app.shutdown.try_send(());
    Json(wire::ShutdownReply {
        pid: std::process::id(),
    })
}

pub(super) fn find<'a>(app: &'a App, id: &str) -> Result<&'a AgentHandle, Failure> {
    if let Some(handle) = app.agents.get(id) {
        return Ok(handle);
    }
    if app.config.agent(id).is_some() {
        return Err(
            Failure::new(ErrorCode::Denied, format!("agent `{id}` is disabled")).hint(format!(
                "set `enabled = true` under [agents.{id}], then `kennel reload`"
            )),
        );
    }
    Err(no_agent(app, id))
}

pub(super) fn no_agent(app: &App, id: &str) -> Failure {
    let known: Vec<String> = app.config.agents.keys().map(ToString::to_string).collect();
    Failure::no_agent(id, &known)
}

pub(super) fn leaving() -> Failure {
    Failure::new(ErrorCode::ShuttingDown, "the supervisor is shutting down")
}
