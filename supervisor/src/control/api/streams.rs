//! What goes on for as long as somebody listens: logs and events.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    response::{
        IntoResponse, Response,
        sse::{Event as SseEvent, KeepAlive, Sse},
    },
};
use futures::{Stream, StreamExt as _, future::ready, stream};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{AppState, KEEP_ALIVE, find, leaving, sse};
use crate::control::{
    error::Failure,
    logs, view,
    wire::{self, ErrorCode},
};
use crate::supervision::events::LifecycleEvent;

/// The last lines of an agent's output, and new ones as they come.
#[utoipa::path(get, path = "/api/v1/agents/{id}/logs", params(("id" = String, Path), wire::LogsQuery), responses(
    (status = 200, body = wire::LogLines, description = "with `follow`, server-sent events of LogLine"),
    (status = 404, body = wire::ErrorBody)))]
pub(in crate::control) async fn agent_logs(
    State(app): AppState,
    Path(id): Path<String>,
    query: Result<Query<wire::LogsQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query?;
    let log = find(&app, &id)?.log.clone();
    // Subscribed before the file is read: a line between the two comes twice rather than never.
    let follow = query.follow.then(|| log.follow());
    let path = log.path();
    let tail = query.tail as usize;
    let read = tokio::task::spawn_blocking(move || logs::tail(&path, tail)).await;
    let lines = match read {
        Ok(Ok(lines)) => lines,
        Ok(Err(error)) => {
            return Err(Failure::new(
                ErrorCode::Internal,
                format!("the log cannot be read: {error}"),
            ));
        }
        Err(_) => return Err(leaving()),
    };
    let Some(follow) = follow else {
        let lines = lines
            .into_iter()
            .map(|text| wire::LogLine { text })
            .collect();
        return Ok(Json(wire::LogLines { lines }).into_response());
    };
    let past = stream::iter(lines).map_line();
    let new = live(
        follow,
        |line| {
            let text = line.to_string();
            Some(sse("line", &wire::LogLine { text }))
        },
        |missed| {
            sse(
                "line",
                &wire::LogLine {
                    text: format!(
                        "[{missed} lines left out: they came faster than they were read]"
                    ),
                },
            )
        },
    );
    Ok(Sse::new(past.chain(new))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response())
}

trait MapLine: Stream<Item = String> + Sized {
    fn map_line(self) -> impl Stream<Item = Result<SseEvent, Infallible>> {
        self.map(|text| Ok(sse("line", &wire::LogLine { text })))
    }
}

impl<S: Stream<Item = String>> MapLine for S {}

/// A broadcast as server-sent events, until its sender is gone; what `view` gives nothing for is left
/// out. Who is too slow is told what it missed.
fn live<T: Clone>(
    receiver: Receiver<T>,
    view: impl Fn(T) -> Option<SseEvent>,
    missed: impl Fn(u64) -> SseEvent,
) -> impl Stream<Item = Result<SseEvent, Infallible>> {
    stream::unfold(
        (receiver, view, missed),
        |(mut receiver, view, missed)| async move {
            let event = match receiver.recv().await {
                Ok(item) => view(item),
                Err(RecvError::Lagged(count)) => Some(missed(count)),
                Err(RecvError::Closed) => return None,
            };
            Some((event, (receiver, view, missed)))
        },
    )
    .filter_map(|event| ready(event.map(Ok)))
}

/// What happened to agents, and what happens to them, as it happens.
#[utoipa::path(get, path = "/api/v1/events", params(wire::EventsQuery), responses(
    (status = 200, body = wire::EventList, description = "with `follow`, server-sent events named `lifecycle` of LifecycleEvent, or `missed` with their count"),
    (status = 404, body = wire::ErrorBody)))]
pub(in crate::control) async fn events(
    State(app): AppState,
    query: Result<Query<wire::EventsQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query?;
    if let Some(agent) = &query.agent {
        find(&app, agent)?;
    }
    let agent = query.agent.map(Arc::<str>::from);
    let wanted =
        move |event: &LifecycleEvent| agent.as_deref().is_none_or(|agent| event.is_of(agent));
    let (past, live_rx) = app.events.follow(query.tail as usize, &wanted);
    let past = past.iter().map(view::view_event);
    if !query.follow {
        let events = past.collect();
        return Ok(Json(wire::EventList { events }).into_response());
    }
    let past: Vec<_> = past.map(|event| Ok(sse("lifecycle", &event))).collect();
    let new = live(
        live_rx,
        move |event| wanted(&event).then(|| sse("lifecycle", &view::view_event(&event))),
        |missed| sse("missed", &serde_json::json!({ "missed": missed })),
    );
    Ok(Sse::new(stream::iter(past).chain(new))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response())
}
