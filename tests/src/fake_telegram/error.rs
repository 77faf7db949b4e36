//! How a Bot API call ends: a result, or one of the errors that the real server words.
//!
//! Clients match on these texts, so they are spelt as the real server spells them.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// What a method answers: the `result`, and for a few methods a `description` beside it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) result: Value,
    pub(super) description: Option<&'static str>,
}

impl From<Value> for Answer {
    fn from(result: Value) -> Self {
        Self {
            result,
            description: None,
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut body = json!({"ok": true, "result": self.result});
        if let Some(description) = self.description {
            body["description"] = description.into();
        }
        Json(body).into_response()
    }
}

/// An error of the Bot API. The HTTP status equals `code`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) code: u16,
    pub(super) description: String,
    pub(super) retry_after: Option<u32>,
}

impl ApiError {
    pub(super) fn new(code: u16, description: impl Into<String>) -> Self {
        Self {
            code,
            description: description.into(),
            retry_after: None,
        }
    }

    /// 400 with the prefix that the real server puts before what went wrong.
    pub(super) fn bad_request(what: impl AsRef<str>) -> Self {
        Self::new(400, format!("Bad Request: {}", what.as_ref()))
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized")
    }

    pub(super) fn invalid_token() -> Self {
        Self::new(401, "Unauthorized: invalid token specified")
    }

    pub(super) fn logged_out() -> Self {
        Self::new(400, "Logged out")
    }

    pub(super) fn forbidden(what: impl AsRef<str>) -> Self {
        Self::new(403, format!("Forbidden: {}", what.as_ref()))
    }

    pub(super) fn method_not_found() -> Self {
        Self::new(404, "Not Found: method not found")
    }

    pub(super) fn conflict(what: impl AsRef<str>) -> Self {
        Self::new(409, format!("Conflict: {}", what.as_ref()))
    }

    /// The error that a status stands for, as an injected fault sends it.
    pub(super) fn status(code: u16, retry_after: Option<u32>) -> Self {
        let description = match (code, retry_after) {
            (429, after) => format!("Too Many Requests: retry after {}", after.unwrap_or(1)),
            (code, _) => StatusCode::from_u16(code)
                .ok()
                .and_then(|status| status.canonical_reason())
                .unwrap_or("Unknown error")
                .to_owned(),
        };
        Self {
            code,
            description,
            retry_after: retry_after.or((code == 429).then_some(1)),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({
            "ok": false,
            "error_code": self.code,
            "description": self.description,
        });
        if let Some(seconds) = self.retry_after {
            body["parameters"] = json!({"retry_after": seconds});
        }
        let status = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
