//! What operators did.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// What to list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// At most so many, from 1 to 1000; 100 when 0.
    pub limit: u32,
    /// Only those before this one.
    pub before: Option<i64>,
}

/// The answer of `GET /audit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditList {
    /// Newest first.
    pub entries: Vec<AuditEntry>,
}

/// Something that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Its number.
    pub id: i64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What, in a word: `start`, `stop`, `restart`, `set`, `shutdown`, `drop`, `retry`, `revive`, `poison`, `damage`, …
    pub what: String,
    /// To which agent.
    pub agent: Option<String>,
    /// In words.
    pub detail: String,
}
