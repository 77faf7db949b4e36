//! What operators did, kept in the journal, and the route that reads it.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use kennel_shared::ids::AgentId;

use super::{
    App,
    api::AppState,
    error::Failure,
    queue::{list_length, unreadable},
    wire,
};
use crate::journal::{Op, entry::NewAudit};

impl App {
    /// Writes down what an operator did. Nobody waits for it: what was done is done.
    pub(super) fn audit(&self, what: &str, agent: Option<&AgentId>, detail: impl Into<String>) {
        let entry = NewAudit {
            what: what.to_owned(),
            agent: agent.cloned(),
            detail: detail.into(),
        };
        if let Err(error) = self.journal.submit(Op::Audit(Box::new(entry))) {
            tracing::warn!(what, %error, "what an operator did is not written down");
        }
    }
}

/// What operators did, and what became of single messages and of the journal, newest first.
#[utoipa::path(get, path = "/api/v1/audit", params(wire::AuditQuery), responses((status = 200, body = wire::AuditList)))]
pub(super) async fn audit(
    State(app): AppState,
    query: Result<Query<wire::AuditQuery>, QueryRejection>,
) -> Result<Json<wire::AuditList>, Failure> {
    let Query(query) = query?;
    let limit = list_length(query.limit);
    let read = app
        .journal
        .read(move |reader| reader.audit(query.before, limit));
    let entries = read.await.map_err(|error| unreadable(&error))?;
    let entry = |entry: crate::journal::reader::Audited| wire::AuditEntry {
        id: entry.id,
        at_ms: entry.at.unsigned_abs(),
        what: entry.what,
        agent: entry.agent.map(|agent| agent.to_string()),
        detail: entry.detail,
    };
    Ok(Json(wire::AuditList {
        entries: entries.into_iter().map(entry).collect(),
    }))
}
