//! Deletes a session of an agent that runs, by asking the agent. What is in sessions is none of the
//! supervisor's business: they are read by `kennel sessions`, without it.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use kennel_shared::{protocol::Deletion, session_key::SessionKey};

use super::{
    api::{AppState, find},
    error::Failure,
    wire::{self, ErrorCode},
};
use crate::supervision::driver::Deleted;

/// How long the agent may take to answer; it takes milliseconds, unless its store is stuck.
const PATIENCE: Duration = Duration::from_secs(15);

/// Deletes a session of an agent that runs.
#[utoipa::path(delete, path = "/api/v1/agents/{id}/sessions", params(("id" = String, Path), wire::SessionQuery), responses(
    (status = 200, body = wire::SessionDeleted), (status = 400, body = wire::ErrorBody),
    (status = 404, body = wire::ErrorBody), (status = 409, body = wire::ErrorBody)))]
pub(super) async fn delete_session(
    State(app): AppState,
    Path(id): Path<String>,
    query: Result<Query<wire::SessionQuery>, QueryRejection>,
) -> Result<Json<wire::SessionDeleted>, Failure> {
    let Query(query) = query?;
    let session: SessionKey = query
        .session
        .parse()
        .map_err(|error| Failure::new(ErrorCode::InvalidRequest, format!("{error}")))?;
    if session.agent_str() != id {
        return Err(Failure::new(
            ErrorCode::InvalidRequest,
            format!("`{session}` is no session of `{id}`"),
        ));
    }
    let handle = find(&app, &id)?;
    let asked = handle.delete_session(session.clone());
    let answer = tokio::time::timeout(PATIENCE, asked).await;
    let answer = answer.map_err(|_| {
        Failure::new(ErrorCode::Timeout, "the agent does not answer")
            .hint("it may have deleted the session all the same: `kennel sessions list` tells")
    })?;
    match answer {
        Some(Deleted::Said(Deletion::Done(messages))) => {
            app.audit("delete-session", Some(&handle.agent), session.to_string());
            Ok(Json(wire::SessionDeleted {
                agent: id,
                session: session.to_string(),
                messages,
            }))
        }
        Some(Deleted::Said(Deletion::Absent)) => Err(Failure::new(
            ErrorCode::NotFound,
            format!("there is no session `{session}`"),
        )
        .hint(format!("`kennel sessions list {id}` lists them"))),
        Some(Deleted::Said(Deletion::Busy)) => Err(Failure::new(
            ErrorCode::Denied,
            format!("a turn of `{session}` is running"),
        )
        .hint("wait for its end, or cancel it")),
        Some(Deleted::Said(Deletion::Failed)) => Err(Failure::new(
            ErrorCode::Internal,
            "the agent's store failed",
        )
        .hint(format!("`kennel logs {id}` has the details"))),
        Some(Deleted::NotRunning) => Err(Failure::new(
            ErrorCode::Denied,
            format!("`{id}` is not running, or has no link at the moment"),
        )
        .hint(
            "`kennel sessions delete` deletes it without the agent, for whom the store belongs to",
        )),
        Some(Deleted::TooMany) => Err(Failure::new(
            ErrorCode::Overloaded,
            "too many sessions are being deleted",
        )),
        None => Err(
            Failure::new(ErrorCode::Internal, "the agent ended before it answered")
                .hint("try again: to delete a session twice does no harm"),
        ),
    }
}
