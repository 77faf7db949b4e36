//! What a request gets that cannot be served, in the form that its caller reads.

use std::time::Duration;

use axum::{
    Json,
    extract::rejection::{JsonRejection, QueryRejection},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::idempotency::InvalidKey;
use super::wire::{ApiError, ErrorBody, ErrorCode};
use crate::{dispatch::Rejected, journal::JournalError};

/// A failure of a route of Kennel's own API.
#[derive(Debug)]
pub(super) struct Failure {
    code: ErrorCode,
    message: String,
    hint: Option<String>,
    /// In how many seconds it may go better.
    retry_after: Option<u64>,
}

impl Failure {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            retry_after: matches!(code, ErrorCode::Overloaded | ErrorCode::Unavailable)
                .then_some(1),
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// As JSON.
    pub(super) fn body(self) -> String {
        let error = ApiError {
            code: self.code,
            message: self.message,
            hint: self.hint,
        };
        serde_json::to_string(&ErrorBody { error }).expect("three texts serialize")
    }

    /// No such agent; names the nearest one.
    pub(super) fn no_agent<'a>(id: &str, known: impl IntoIterator<Item = &'a String>) -> Self {
        let nearest = known
            .into_iter()
            .map(|known| (strsim::damerau_levenshtein(id, known), known))
            .min()
            .filter(|(distance, _)| *distance <= 2);
        let failure = Self::new(
            ErrorCode::AgentNotFound,
            format!("there is no agent `{id}`"),
        );
        match nearest {
            Some((_, nearest)) => failure.hint(format!("did you mean `{nearest}`?")),
            None => failure.hint("`kennel status` lists the agents"),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.http_status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let error = ApiError {
            code: self.code,
            message: self.message,
            hint: self.hint,
        };
        let mut response = (status, Json(ErrorBody { error })).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert("retry-after", seconds.into());
        }
        response
    }
}

impl From<Rejected> for Failure {
    fn from(rejected: Rejected) -> Self {
        let code = match rejected {
            Rejected::UnknownAgent(_) => ErrorCode::AgentNotFound,
            Rejected::QueueFull { .. } => ErrorCode::Overloaded,
            Rejected::Resting { .. } => ErrorCode::Denied,
            Rejected::OverBudget { .. } => ErrorCode::BudgetSpent,
            Rejected::Journal(JournalError::Refused(_)) => ErrorCode::KeyReused,
            Rejected::Journal(JournalError::Internal(_)) => ErrorCode::Internal,
            Rejected::Journal(JournalError::Closed) | Rejected::Leaving => ErrorCode::ShuttingDown,
            Rejected::Journal(_) => ErrorCode::Unavailable,
        };
        let failure = Self::new(code, rejected.to_string());
        match &rejected {
            Rejected::OverBudget { agent, wait, .. } => Self {
                retry_after: Some(seconds(*wait)),
                ..failure.hint(format!(
                    "`kennel budget {agent}` shows what was spent; [agents.{agent}.budget] says how much may be"
                ))
            },
            _ => failure,
        }
    }
}

/// Whole seconds, and up: who comes back then is let in.
pub(super) fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

impl From<InvalidKey> for Failure {
    fn from(invalid: InvalidKey) -> Self {
        Self::new(ErrorCode::InvalidRequest, invalid.to_string())
    }
}

fn of_status(status: StatusCode) -> ErrorCode {
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        ErrorCode::TooLarge
    } else {
        ErrorCode::InvalidRequest
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(of_status(rejection.status()), rejection.body_text())
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(of_status(rejection.status()), rejection.body_text())
    }
}

/// An error in the form that `OpenAI`'s clients read.
pub(super) fn openai_error(status: StatusCode, kind: &str, code: &str, message: &str) -> Response {
    (status, Json(openai_error_body(kind, code, message))).into_response()
}

/// The body of [`openai_error`], for the middle of a stream too.
pub(super) fn openai_error_body(kind: &str, code: &str, message: &str) -> serde_json::Value {
    json!({ "error": { "message": message, "type": kind, "param": null, "code": code } })
}

pub(super) async fn no_route(uri: Uri) -> Response {
    let message = format!("there is no route {}", uri.path());
    if uri.path().starts_with("/v1/") {
        return openai_error(
            StatusCode::NOT_FOUND,
            "invalid_request_error",
            "unknown_url",
            &message,
        );
    }
    let hint = "GET /api/v1/openapi.json describes the routes";
    Failure::new(ErrorCode::NotFound, message)
        .hint(hint)
        .into_response()
}

pub(super) async fn no_method(uri: Uri) -> Response {
    let message = format!("{} does not take this method", uri.path());
    if uri.path().starts_with("/v1/") {
        return openai_error(
            StatusCode::METHOD_NOT_ALLOWED,
            "invalid_request_error",
            "method_not_allowed",
            &message,
        );
    }
    Failure::new(ErrorCode::MethodNotAllowed, message).into_response()
}
