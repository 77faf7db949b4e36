//! The part of `OpenAI`'s API that chat clients use: the models are the agents.
//!
//! `model = "agent/<id>"` names an agent (`<id>` alone does too). The session comes from the header
//! `x-kennel-session`, else from the `user` field; then the agent remembers, and only the last
//! message is news to it. Without either the session is fresh and the whole conversation of the
//! request goes to the agent, since these clients send it every time.

mod request;

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event as SseEvent, KeepAlive, Sse},
    },
    routing::{get, post},
};
use futures::{Stream, stream};
use kennel_shared::{envelope::Sender, protocol::Spent};
use serde_json::{Value, json};

use self::request::{ChatRequest, Invalid};
use super::{
    App, Current, api,
    error::{openai_error, openai_error_body},
    idempotency::{self, InvalidKey},
};
use crate::{
    dispatch::{EndKind, Rejected, TurnEnd, TurnEvent, TurnStream},
    journal::JournalError,
};

/// The header that names a session.
const SESSION_HEADER: &str = "x-kennel-session";

/// What a model's name begins with.
const MODEL_PREFIX: &str = "agent/";

/// How often a quiet stream says that it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) fn routes() -> Router<Current> {
    Router::new()
        .route("/models", get(models))
        .route("/models/{*id}", get(model))
        .route("/chat/completions", post(chat))
}

async fn models(State(app): State<Arc<App>>) -> Json<Value> {
    let models: Vec<Value> = app.agents.keys().map(|id| model_object(&app, id)).collect();
    Json(json!({ "object": "list", "data": models }))
}

async fn model(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    let id = id.strip_prefix(MODEL_PREFIX).unwrap_or(&id);
    if app.agents.contains_key(id) {
        Json(model_object(&app, id)).into_response()
    } else {
        Problem::no_model(id).into_response()
    }
}

fn model_object(app: &App, id: &str) -> Value {
    let created = unix_now().saturating_sub(app.began.elapsed().as_secs());
    json!({ "id": format!("{MODEL_PREFIX}{id}"), "object": "model", "created": created, "owned_by": "kennel" })
}

fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// An error as these clients read it.
struct Problem {
    status: StatusCode,
    kind: &'static str,
    code: &'static str,
    message: String,
}

impl Problem {
    fn new(
        status: StatusCode,
        kind: &'static str,
        code: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            kind,
            code,
            message: message.into(),
        }
    }

    fn no_model(id: &str) -> Self {
        let message = format!("there is no agent `{id}`; GET /v1/models lists them");
        Self::new(
            StatusCode::NOT_FOUND,
            "invalid_request_error",
            "model_not_found",
            message,
        )
    }

    fn body(&self) -> Value {
        openai_error_body(self.kind, self.code, &self.message)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        openai_error(self.status, self.kind, self.code, &self.message)
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "invalid_request_error",
            "invalid_request",
            invalid.to_string(),
        )
    }
}

impl From<InvalidKey> for Problem {
    fn from(invalid: InvalidKey) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "invalid_request_error",
            "invalid_idempotency_key",
            invalid.to_string(),
        )
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        Self::new(
            rejection.status(),
            "invalid_request_error",
            "invalid_request",
            rejection.body_text(),
        )
    }
}

impl From<Rejected> for Problem {
    fn from(rejected: Rejected) -> Self {
        let (status, kind, code) = match rejected {
            Rejected::UnknownAgent(_) => (
                StatusCode::NOT_FOUND,
                "invalid_request_error",
                "model_not_found",
            ),
            Rejected::QueueFull { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_error",
                "rate_limit_exceeded",
            ),
            Rejected::Resting { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "server_error",
                "agent_not_running",
            ),
            Rejected::OverBudget { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "insufficient_quota",
                "insufficient_quota",
            ),
            Rejected::Journal(JournalError::Refused(_)) => (
                StatusCode::CONFLICT,
                "invalid_request_error",
                "idempotency_key_reused",
            ),
            Rejected::Journal(JournalError::Closed) | Rejected::Leaving => (
                StatusCode::SERVICE_UNAVAILABLE,
                "server_error",
                "shutting_down",
            ),
            Rejected::Journal(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "server_error",
                "journal_unavailable",
            ),
        };
        Self::new(status, kind, code, rejected.to_string())
    }
}

impl From<TurnEnd> for Problem {
    /// For an end without an answer.
    fn from(end: TurnEnd) -> Self {
        let (kind, message) = match end {
            TurnEnd::Failed { kind, message } => (kind, message),
            TurnEnd::Cancelled => (EndKind::Stopped, "the turn was cancelled".to_owned()),
            TurnEnd::Replied { .. } => unreachable!("an answer is no problem"),
        };
        let (status, code) = match kind {
            EndKind::Provider => (StatusCode::BAD_GATEWAY, "provider_error"),
            EndKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "provider_unavailable"),
            EndKind::Timeout => (StatusCode::GATEWAY_TIMEOUT, "timeout"),
            EndKind::Store | EndKind::Agent => (StatusCode::BAD_GATEWAY, "agent_failed"),
            EndKind::Stopped => (StatusCode::SERVICE_UNAVAILABLE, "agent_not_running"),
            EndKind::Budget => (StatusCode::TOO_MANY_REQUESTS, "insufficient_quota"),
        };
        Self::new(status, "server_error", code, message)
    }
}

async fn chat(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body?;
    let request = ChatRequest::parse(&body)?;
    let id = request
        .model
        .strip_prefix(MODEL_PREFIX)
        .unwrap_or(&request.model);
    let handle = app.agents.get(id).ok_or_else(|| Problem::no_model(id))?;
    let named = headers
        .get(SESSION_HEADER)
        .map(|value| value.to_str())
        .transpose();
    let named = named
        .map_err(|_| Invalid::Session)?
        .or(request.user.as_deref())
        .filter(|name| !name.is_empty());
    let session = api::session(&handle.agent, named).map_err(|_| Invalid::Session)?;
    let text = request.text(named.is_some())?;
    let sender = Sender {
        id: "openai".into(),
        name: None,
    };
    let parts = [named.map_or(b"".as_slice(), str::as_bytes), &body];
    let key = idempotency::key(&headers, &parts)?;
    let turn = app.dispatcher.ask(session, sender, text, key).await?;
    let answer = Answer {
        id: format!("chatcmpl-{}", turn.delivery()),
        created: unix_now(),
        model: format!("{MODEL_PREFIX}{id}"),
    };
    if request.stream {
        return Ok(stream_answer(answer, turn, request.include_usage).into_response());
    }
    match turn.finish().await {
        TurnEnd::Replied { text, spent } => Ok(Json(answer.whole(&text, &spent)).into_response()),
        end => Err(end.into()),
    }
}

/// What all pieces of one answer share.
struct Answer {
    id: String,
    created: u64,
    model: String,
}

impl Answer {
    fn whole(&self, text: &str, spent: &Spent) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [{
                "index": 0,
                "message": { "role": "assistant", "content": text, "refusal": null },
                "logprobs": null,
                "finish_reason": "stop",
            }],
            "usage": usage(spent),
        })
    }

    fn chunk(&self, choices: &Value, usage: Option<Value>) -> Value {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        });
        if let Some(usage) = usage {
            chunk["usage"] = usage;
        }
        chunk
    }

    fn delta(&self, delta: &Value, finish_reason: Option<&str>) -> Value {
        let choice =
            json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason });
        self.chunk(&json!([choice]), None)
    }
}

fn usage(spent: &Spent) -> Value {
    json!({
        "prompt_tokens": spent.input_tokens,
        "completion_tokens": spent.output_tokens,
        "total_tokens": spent.input_tokens.saturating_add(spent.output_tokens),
    })
}

/// The state of a stream: what is ready to go, and the turn that makes more.
struct Streaming {
    answer: Answer,
    turn: Option<TurnStream>,
    include_usage: bool,
    /// In reverse: the last goes first.
    ready: Vec<SseEvent>,
}

fn stream_answer(
    answer: Answer,
    turn: TurnStream,
    include_usage: bool,
) -> Sse<impl Stream<Item = Result<SseEvent, Infallible>>> {
    let opening = answer.delta(&json!({ "role": "assistant", "content": "" }), None);
    let state = Streaming {
        ready: vec![data(&opening)],
        answer,
        turn: Some(turn),
        include_usage,
    };
    let events = stream::unfold(state, |mut state| async move {
        while state.ready.is_empty() {
            let event = state.turn.as_mut()?.next().await?;
            state.take(event);
        }
        state.ready.pop().map(|event| (Ok(event), state))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

impl Streaming {
    fn take(&mut self, event: TurnEvent) {
        let text = |text: &str| json!({ "content": text });
        match event {
            TurnEvent::Started => {}
            TurnEvent::Delta(delta) => self
                .ready
                .push(data(&self.answer.delta(&text(&delta), None))),
            TurnEvent::Restarted => {
                let note = text("\n[the agent was restarted and answers anew]\n");
                self.ready.push(data(&self.answer.delta(&note, None)));
            }
            TurnEvent::End(TurnEnd::Replied { spent, .. }) => {
                self.ready.push(SseEvent::default().data("[DONE]"));
                if self.include_usage {
                    self.ready
                        .push(data(&self.answer.chunk(&json!([]), Some(usage(&spent)))));
                }
                self.ready
                    .push(data(&self.answer.delta(&json!({}), Some("stop"))));
                self.turn = None;
            }
            TurnEvent::End(end) => {
                self.ready.push(data(&Problem::from(end).body()));
                self.turn = None;
            }
        }
    }
}

fn data(value: &Value) -> SseEvent {
    SseEvent::default()
        .json_data(value)
        .expect("JSON has no line breaks")
}
