//! A supervisor that has two agents, and says what the agent `hexa` is told to say:
//!
//! | message | what comes |
//! | --- | --- |
//! | `fail` | two pieces, then a failure |
//! | `hang` | one piece, then nothing until it is cancelled |
//! | `cut` | one piece, then the end of the stream |
//! | anything else | itself, in two pieces |

use std::{convert::Infallible, path::PathBuf, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response, Sse, sse::Event},
    routing::{delete, get, post},
};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::{net::UnixListener, sync::Notify};

#[derive(Clone, Default)]
struct Script {
    cancelled: Arc<Notify>,
    ended: Arc<Notify>,
}

/// The scripted supervisor; ends when dropped.
pub(super) struct Scripted {
    dir: tempfile::TempDir,
    server: tokio::task::JoinHandle<()>,
}

impl Scripted {
    pub(super) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder for the socket");
        let listener = UnixListener::bind(dir.path().join("control.sock")).expect("a socket");
        let script = Script::default();
        let ended = Arc::clone(&script.ended);
        let api = Router::new()
            .route(
                "/health",
                get(|| async {
                    Json(json!({"status": "ok", "version": "0", "pid": 7, "uptime_ms": 1}))
                }),
            )
            .route("/status", get(status))
            .route(
                "/agents",
                get(|| async { Json(json!({"agents": [agent("hexa"), agent("other")]})) }),
            )
            .route("/agents/{id}", get(one))
            .route("/agents/{id}/turns", post(turn))
            .route("/agents/{id}/logs", get(logs))
            .route("/agents/{id}/{action}", post(act))
            .route("/turns/{id}", delete(cancel))
            .route("/channels", get(|| async { Json(json!({"channels": []})) }))
            .route("/events", get(events))
            .route("/shutdown", post(shutdown))
            .with_state(script);
        let router = Router::new().nest("/api/v1", api);
        let server = tokio::spawn(async move {
            // Without graceful shutdown: what is under way breaks, as when a supervisor dies.
            let serve = axum::serve(listener, router).into_future();
            tokio::select! {
                served = serve => served.expect("the script is served"),
                () = ended.notified() => {}
            }
        });
        Self { dir, server }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir.path().join("control.sock")
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn agent(id: &str) -> Value {
    json!({
        "id": id, "state": "ready", "desired": "running", "pid": 4711, "generation": 2, "uptime_ms": 65_000,
        "restarts": 1, "queued": 0, "running": 0, "turns": 3, "cpu_percent": 0.5, "memory_bytes": 3_145_728,
        "model": "echo/echo", "link": "connected",
    })
}

async fn status() -> Json<Value> {
    let supervisor = json!({
        "pid": 7, "version": "0.1.0", "uptime_ms": 3_600_000, "memory_bytes": 8_388_608, "config": "/etc/kennel.toml",
    });
    Json(json!({"supervisor": supervisor, "agents": [agent("hexa"), agent("other")], "later": 1}))
}

fn error(status: StatusCode, code: &str, message: &str, hint: Option<&str>) -> Response {
    let body = json!({"error": {"code": code, "message": message, "hint": hint}});
    (status, Json(body)).into_response()
}

fn unknown(id: &str) -> Option<Response> {
    let message = format!("no agent is called `{id}`");
    let known = ["hexa", "other"].contains(&id);
    let hint = Some("did you mean `hexa`?");
    (!known).then(|| error(StatusCode::NOT_FOUND, "agent_not_found", &message, hint))
}

async fn one(Path(id): Path<String>) -> Response {
    unknown(&id).unwrap_or_else(|| Json(agent(&id)).into_response())
}

async fn act(Path((id, action)): Path<(String, String)>, Json(body): Json<Value>) -> Response {
    assert_eq!(body["wait"], true);
    let (outcome, reason) = match (id.as_str(), action.as_str()) {
        ("hexa", "start") => ("already", None),
        ("other", "restart") => ("denied", Some("it is being stopped")),
        ("other", "stop") => {
            let message = "it did not stop within 100ms";
            return error(StatusCode::GATEWAY_TIMEOUT, "timeout", message, None);
        }
        _ => ("done", None),
    };
    let reply = json!({"outcome": outcome, "agent": agent(&id), "reason": reason});
    unknown(&id).unwrap_or_else(|| Json(reply).into_response())
}

fn event(name: &str, mut data: Value) -> Event {
    data["type"] = name.into();
    Event::default().event(name).data(data.to_string())
}

async fn turn(
    State(script): State<Script>,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Response {
    if let Some(response) = unknown(&id) {
        return response;
    }
    let text = body["text"].as_str().expect("a turn has a text").to_owned();
    let session = format!(
        "agent:{id}:api:{}",
        body["session"].as_str().unwrap_or("fresh")
    );
    let reply = json!({
        "turn_id": "t1", "agent": id, "session": session, "reply": text, "usage": {}, "timing": {},
    });
    if body["stream"] == false {
        return match text.as_str() {
            "fail" => error(
                StatusCode::BAD_GATEWAY,
                "turn_failed",
                "the model answered 401",
                None,
            ),
            _ => Json(reply).into_response(),
        };
    }
    let half = text.len() / 2;
    let failure =
        |kind| json!({"turn_id": "t1", "kind": kind, "message": "the model answered 401"});
    let mut events = vec![
        event("accepted", json!({"turn_id": "t1", "session": session})),
        event("started", json!({"turn_id": "t1"})),
        event("delta", json!({"text": text[..half]})),
    ];
    match text.as_str() {
        "cut" => {}
        "hang" => {
            let cancelled = async move {
                script.cancelled.notified().await;
                Ok::<_, Infallible>(event("failed", failure("cancelled")))
            };
            let events = stream::iter(events.into_iter().map(Ok));
            return Sse::new(events.chain(stream::once(cancelled))).into_response();
        }
        text => {
            events.push(event("delta", json!({"text": text[half..]})));
            events.push(match text {
                "fail" => event("failed", failure("provider")),
                _ => event("finished", reply),
            });
        }
    }
    Sse::new(stream::iter(events.into_iter().map(Ok::<_, Infallible>))).into_response()
}

async fn cancel(State(script): State<Script>, Path(turn_id): Path<String>) -> Json<Value> {
    script.cancelled.notify_one();
    Json(json!({"turn_id": turn_id, "cancelled": true}))
}

#[derive(serde::Deserialize)]
struct Logs {
    tail: usize,
    follow: bool,
}

async fn logs(Path(id): Path<String>, Query(logs): Query<Logs>) -> Response {
    let lines = ["one", "two", "three"].map(|text| json!({"text": text}));
    let lines = lines[lines.len().saturating_sub(logs.tail)..].to_vec();
    if let Some(response) = unknown(&id) {
        response
    } else if logs.follow {
        let lines = lines.into_iter().map(|line| event("line", line));
        Sse::new(stream::iter(lines.map(Ok::<_, Infallible>))).into_response()
    } else {
        Json(json!({"lines": lines})).into_response()
    }
}

async fn events(Query(logs): Query<Logs>) -> Response {
    let exited = json!({"at_ms": 0, "agent": "hexa", "generation": 2, "kind": "exited", "detail": "killed by SIGKILL"});
    if !logs.follow {
        return Json(json!({"events": [exited]})).into_response();
    }
    let events = [
        Event::default().event("weather").data("sunny"),
        event("lifecycle", exited),
    ];
    Sse::new(stream::iter(events.map(Ok::<_, Infallible>))).into_response()
}

async fn shutdown(State(script): State<Script>) -> Json<Value> {
    script.ended.notify_one();
    Json(json!({"pid": 7}))
}
