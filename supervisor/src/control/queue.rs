//! The routes of the queue: what the journal has, and what operators do with it.

use std::collections::HashMap;

use axum::{
    Json,
    extract::{Path, Query, rejection::QueryRejection},
};
use kennel_shared::ids::{AgentId, DeliveryId};

use super::{
    App,
    api::AppState,
    error::Failure,
    wire::{self, ErrorCode},
};
use crate::{
    dispatch::{Operation, OperationError, Waiting, lanes::WaitsFor},
    journal::{
        JournalError, ReadError,
        entry::State,
        reader::{Behind, Listed, Owed, Shown, View},
    },
};

/// Entries of the journal in one answer, unless the caller says.
const LIST: u32 = 100;

/// The most entries of the journal in one answer.
const LIST_MAX: u32 = 1000;

/// How many entries a caller gets who asks for `limit`; 0 leaves it to us.
pub(super) fn list_length(limit: u32) -> u32 {
    match limit {
        0 => LIST,
        limit => limit.min(LIST_MAX),
    }
}

pub(super) fn unreadable(error: &ReadError) -> Failure {
    Failure::new(ErrorCode::Internal, crate::error_chain(error))
        .hint("`kennel doctor` says how the journal is")
}

/// What waits, runs or was set aside.
#[utoipa::path(get, path = "/api/v1/queue", params(wire::QueueQuery), responses((status = 200, body = wire::Queue)))]
pub(super) async fn queue(
    state: AppState,
    query: Result<Query<wire::QueueQuery>, QueryRejection>,
) -> Result<Json<wire::Queue>, Failure> {
    let Query(query) = query?;
    let agent = query
        .agent
        .as_deref()
        .map(str::parse::<AgentId>)
        .transpose();
    let agent = agent
        .map_err(|error| Failure::new(ErrorCode::InvalidRequest, format!("`agent`: {error}")))?;
    let behind = query.behind.as_deref().map(behind).transpose()?;
    let view = match query.view {
        wire::QueueView::Open => View::Open,
        wire::QueueView::Poison => View::Poison,
        wire::QueueView::All => View::All,
    };
    let limit = list_length(query.limit);
    let read = state.journal.read(move |reader| {
        let window = reader.list(view, agent.as_ref(), behind.as_ref(), limit)?;
        Ok((window, reader.counts()?, agent))
    });
    let (window, counts, agent) = read.await.map_err(|error| unreadable(&error))?;
    let waiting = waiting(&state, window.entries.iter()).await;
    let counts = counts.into_iter();
    let counts = counts.filter(|count| agent.as_ref().is_none_or(|agent| count.agent == *agent));
    Ok(Json(wire::Queue {
        deliveries: window
            .entries
            .into_iter()
            .map(|listed| delivery(listed, &waiting))
            .collect(),
        counts: counts
            .map(|count| wire::QueueCount {
                agent: count.agent.to_string(),
                queued: count.queued,
                leased: count.leased,
                poison: count.poison,
            })
            .collect(),
        next: window.next.map(|at| format!("{}:{}", at.agent, at.seq.0)),
    }))
}

/// As [`queue`] names the place where the next list begins.
fn behind(text: &str) -> Result<Behind, Failure> {
    let parsed = text.rsplit_once(':').and_then(|(agent, seq)| {
        Some(Behind {
            agent: agent.to_owned(),
            seq: crate::journal::entry::Seq(seq.parse().ok()?),
        })
    });
    parsed.ok_or_else(|| {
        Failure::new(
            ErrorCode::InvalidRequest,
            "`behind` is not what `next` of another list was",
        )
    })
}

/// One delivery in full, by its id or the beginning of it.
#[utoipa::path(get, path = "/api/v1/queue/{id}", params(("id" = String, Path)), responses(
    (status = 200, body = wire::DeliveryDetail), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn show(
    state: AppState,
    Path(id): Path<String>,
) -> Result<Json<wire::DeliveryDetail>, Failure> {
    let shown = find(&state, &id).await?;
    let waiting = waiting(&state, [&shown.listed]).await;
    Ok(Json(detail(shown, &waiting)))
}

/// Takes out what waits or was set aside.
#[utoipa::path(post, path = "/api/v1/queue/{id}/drop", params(("id" = String, Path)), responses(
    (status = 200, body = wire::QueueReply), (status = 404, body = wire::ErrorBody), (status = 409, body = wire::ErrorBody)))]
pub(super) async fn drop(
    state: AppState,
    id: Path<String>,
) -> Result<Json<wire::QueueReply>, Failure> {
    operate(&state, Operation::Drop, &id).await
}

/// Has what ended without an answer tried again, as a new delivery.
#[utoipa::path(post, path = "/api/v1/queue/{id}/retry", params(("id" = String, Path)), responses(
    (status = 200, body = wire::QueueReply), (status = 404, body = wire::ErrorBody), (status = 409, body = wire::ErrorBody)))]
pub(super) async fn retry(
    state: AppState,
    id: Path<String>,
) -> Result<Json<wire::QueueReply>, Failure> {
    operate(&state, Operation::Retry, &id).await
}

/// Puts what was set aside back in the queue.
#[utoipa::path(post, path = "/api/v1/queue/{id}/requeue", params(("id" = String, Path)), responses(
    (status = 200, body = wire::QueueReply), (status = 404, body = wire::ErrorBody), (status = 409, body = wire::ErrorBody)))]
pub(super) async fn requeue(
    state: AppState,
    id: Path<String>,
) -> Result<Json<wire::QueueReply>, Failure> {
    operate(&state, Operation::Requeue, &id).await
}

async fn operate(
    app: &App,
    operation: Operation,
    id: &str,
) -> Result<Json<wire::QueueReply>, Failure> {
    let Listed {
        delivery, session, ..
    } = find(app, id).await?.listed;
    let agent = session.agent_str().to_owned();
    let done = app.dispatcher.operate(operation, delivery, session).await;
    let done = done.map_err(|error| {
        let code = match &error {
            OperationError::Running
            | OperationError::TriedAgain(..)
            | OperationError::Journal(JournalError::Refused(_)) => ErrorCode::Denied,
            OperationError::Journal(_) => ErrorCode::Unavailable,
            OperationError::Leaving => ErrorCode::ShuttingDown,
        };
        let text = match operation {
            Operation::Drop => format!("delivery {delivery} is not dropped: {error}"),
            Operation::Retry => format!("delivery {delivery} is not tried again: {error}"),
            Operation::Requeue => format!("delivery {delivery} is not put back: {error}"),
        };
        let failure = Failure::new(code, text);
        match operation {
            Operation::Retry => failure.hint(
                "what failed, was cancelled or dropped can be tried again; `requeue` is for poison",
            ),
            Operation::Requeue => failure.hint(
                "only poison is put back; `retry` is for what failed, was cancelled or dropped",
            ),
            Operation::Drop => failure.hint("what waits or is poison can be dropped"),
        }
    })?;
    Ok(Json(wire::QueueReply {
        id: done.to_string(),
        agent,
    }))
}

/// By its id, or by as much of it as names just one.
async fn find(app: &App, id: &str) -> Result<Shown, Failure> {
    let none = || {
        Failure::new(
            ErrorCode::DeliveryNotFound,
            format!("there is no one delivery whose id begins with `{id}`"),
        )
        .hint("`kennel queue list --all` lists those that are kept")
    };
    let beginning = id.to_ascii_lowercase();
    let hex = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    if beginning.is_empty() || !beginning.bytes().all(hex) {
        return Err(none());
    }
    let shown = app.journal.read(move |reader| {
        let delivery = match beginning.parse::<DeliveryId>() {
            Ok(delivery) => Some(delivery),
            Err(_) => reader.find(&beginning)?,
        };
        match delivery {
            Some(delivery) => reader.show(delivery),
            None => Ok(None),
        }
    });
    let shown = shown.await.map_err(|error| unreadable(&error))?;
    shown.ok_or_else(none)
}

pub(super) fn delivery_state(state: State) -> wire::DeliveryState {
    match state {
        State::Queued => wire::DeliveryState::Queued,
        State::Leased => wire::DeliveryState::Leased,
        State::Replied => wire::DeliveryState::Replied,
        State::Failed => wire::DeliveryState::Failed,
        State::Cancelled => wire::DeliveryState::Cancelled,
        State::Poison => wire::DeliveryState::Poison,
        State::Dropped => wire::DeliveryState::Dropped,
        State::Gathered => wire::DeliveryState::Gathered,
    }
}

/// What those wait for that wait.
async fn waiting(
    app: &App,
    listed: impl IntoIterator<Item = &Listed>,
) -> HashMap<DeliveryId, Waiting> {
    let queued = listed
        .into_iter()
        .filter(|listed| listed.state == State::Queued);
    let queued = queued.map(|listed| (listed.delivery, listed.session.clone()));
    app.dispatcher.waiting(queued.collect()).await
}

fn waits_for(waiting: WaitsFor) -> wire::DeliveryWaitsFor {
    match waiting {
        WaitsFor::Session => wire::DeliveryWaitsFor::Session,
        WaitsFor::Held => wire::DeliveryWaitsFor::Held,
        WaitsFor::Agent => wire::DeliveryWaitsFor::Agent,
        WaitsFor::Class => wire::DeliveryWaitsFor::Class,
        WaitsFor::Fleet => wire::DeliveryWaitsFor::Fleet,
    }
}

fn delivery(listed: Listed, waiting: &HashMap<DeliveryId, Waiting>) -> wire::Delivery {
    let waiting = waiting.get(&listed.delivery);
    wire::Delivery {
        waits_for: waiting.map(|waiting| match waiting {
            Waiting::Lane(lane, _) => waits_for(*lane),
            Waiting::Quiet(_) => wire::DeliveryWaitsFor::Quiet,
            Waiting::Queue => wire::DeliveryWaitsFor::Queue,
        }),
        waits: waiting.and_then(|waiting| match waiting {
            Waiting::Lane(_, waits) | Waiting::Quiet(waits) => Some(super::turns::waits(waits)),
            Waiting::Queue => None,
        }),
        id: listed.delivery.to_string(),
        agent: listed.session.agent_str().to_owned(),
        session: listed.session.to_string(),
        state: delivery_state(listed.state),
        attempts: listed.attempts,
        generation: listed.lease.map(|lease| lease.generation.0),
        sender: listed.sender.name.unwrap_or(listed.sender.id),
        channel: listed.channel.map(|channel| channel.to_string()),
        received_ms: listed.received.unsigned_abs(),
        preview: listed.preview,
        bytes: listed.bytes,
    }
}

fn detail(shown: Shown, waiting: &HashMap<DeliveryId, Waiting>) -> wire::DeliveryDetail {
    wire::DeliveryDetail {
        delivery: delivery(shown.listed, waiting),
        text: shown.text,
        ended_ms: shown.end.as_ref().map(|end| end.at.unsigned_abs()),
        end: shown.end.and_then(|end| end.text),
        retried: shown.retried.map(|delivery| delivery.to_string()),
        sends: shown.sends.into_iter().map(send).collect(),
    }
}

fn send(owed: Owed) -> wire::Send {
    wire::Send {
        channel: owed.channel.to_string(),
        state: owed.state.word().to_owned(),
        parts_done: owed.parts_done,
        doubtful: owed.doubtful,
        text: owed.text,
        failure: owed.failure,
    }
}
