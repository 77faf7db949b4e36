//! Reading the configuration again, and what that changes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of `POST /reload`. An empty body is the default one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReloadRequest {
    /// Tell what would be done, and do nothing.
    pub dry_run: bool,
    /// Answer when every agent is what it shall be, not when that is begun.
    pub wait: bool,
    /// How long to wait for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

impl Default for ReloadRequest {
    fn default() -> Self {
        Self {
            dry_run: false,
            wait: true,
            timeout_ms: None,
        }
    }
}

/// The answer to a [`ReloadRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReloadReply {
    /// What came of it.
    pub outcome: ReloadOutcome,
    /// What differs between what ran and what the configuration says.
    #[serde(default)]
    pub changes: Vec<ReloadChange>,
    /// What is wrong with the configuration, or there is to say about it.
    #[serde(default)]
    pub diagnostics: Vec<ReloadDiagnostic>,
    /// The same drawn for people: with the lines that it is about.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub report: String,
    /// What was to be done and could not be, in plain words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<String>,
}

/// What came of a request to read the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReloadOutcome {
    /// It runs now, but for the troubles.
    Applied,
    /// It would be applied: nothing was done.
    Planned,
    /// It says what runs; keys that wait for another supervisor may differ.
    Unchanged,
    /// It is refused, and everything is as it was.
    Refused,
    /// Something that this reader does not know.
    #[serde(other)]
    Unknown,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReloadChange {
    /// What kind of thing.
    pub what: ReloadSubject,
    /// Its name, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What becomes of it.
    pub step: ReloadStep,
    /// Where it differs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<ReloadKey>,
}

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReloadSubject {
    /// An agent.
    Agent,
    /// A chat connection.
    Channel,
    /// A provider.
    Provider,
    /// A class of agents.
    Class,
    /// Who answers where.
    Bindings,
    /// The supervisor itself.
    Supervisor,
    /// Something that this reader does not know.
    #[serde(other)]
    Unknown,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReloadStep {
    /// It is new.
    Added,
    /// It goes: an agent after its turns.
    Removed,
    /// It is started anew: an agent after its turns.
    Restarted,
    /// It goes on, otherwise.
    Changed,
    /// It does not run, and is only known to be otherwise.
    Noted,
    /// Something that this reader does not know.
    #[serde(other)]
    Unknown,
}

/// One key that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReloadKey {
    /// As the configuration writes it.
    pub name: String,
    /// When that takes effect: `live`, `restart`, `next-start`, `supervisor-restart`.
    pub effect: String,
    /// What it was, where that is short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it is to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// Something that is wrong with a configuration, or that its author should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReloadDiagnostic {
    /// `error` or `warning`.
    pub severity: String,
    /// What.
    pub message: String,
    /// In which file, where one is concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column in characters, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_request_waits_and_does_it() {
        let request: ReloadRequest = serde_json::from_str("{}").unwrap();
        assert_eq!((request.wait, request.dry_run), (true, false));
    }

    #[test]
    fn words_of_a_newer_server_are_read_as_unknown() {
        let change: ReloadChange =
            serde_json::from_str(r#"{"what":"moon","step":"waxed"}"#).unwrap();
        assert_eq!(
            (change.what, change.step),
            (ReloadSubject::Unknown, ReloadStep::Unknown)
        );
    }
}
