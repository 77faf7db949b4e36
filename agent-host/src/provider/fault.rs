//! What can go wrong with a model, and what that means. Pure tables.
//!
//! A [`ProviderError`] has two faces: [`ProviderError::for_person`] for the chat, in plain words and with
//! what to do, and `Display` for the log, with the provider's own words. Neither ever has the key.

use std::{fmt, time::Duration};

use kennel_shared::protocol::{FailureKind, ModelSpec, TurnFailure};

/// The most that is kept of a provider's own words.
const DETAIL_MAX_CHARS: usize = 400;

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The provider answered with this HTTP status.
    Status(u16),
    /// No connection could be made.
    Connect,
    /// The connection was lost before the answer was whole.
    Disconnected,
    /// Nothing came for this long.
    Silent(Duration),
    /// The answer was not whole after this long.
    Slow(Duration),
    /// The provider reported an error in the midst of its answer.
    Reported,
    /// What came is not what the API promises.
    Garbage,
    /// The answer was empty.
    Empty,
    /// The request could not even be made: a base URL that is none, a key that is no header.
    Request,
}

/// A fault with what is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProviderError {
    pub(crate) fault: Fault,
    /// How long the provider asks to wait.
    pub(crate) retry_after: Option<Duration>,
    /// The provider's or the library's own words: one line, bounded, without the key.
    detail: String,
}

impl ProviderError {
    pub(crate) fn new(fault: Fault, detail: &str) -> Self {
        Self {
            fault,
            retry_after: None,
            detail: one_line(detail),
        }
    }

    /// As [`new`](Self::new), with every occurrence of `key` taken out of `detail`.
    pub(crate) fn without_key(fault: Fault, detail: &str, key: Option<&str>) -> Self {
        match key {
            Some(key) if !key.is_empty() => Self::new(fault, &detail.replace(key, "[redacted]")),
            _ => Self::new(fault, detail),
        }
    }

    /// Whether the same request may succeed later.
    pub(crate) fn is_passing(&self) -> bool {
        match self.fault {
            Fault::Status(status) => matches!(status, 408 | 425 | 429 | 500..=599),
            Fault::Connect | Fault::Disconnected | Fault::Silent(_) => true,
            Fault::Slow(_) | Fault::Reported | Fault::Garbage | Fault::Empty | Fault::Request => {
                false
            }
        }
    }

    /// What the person in the chat is told.
    pub(crate) fn for_person(&self, model: &ModelSpec) -> TurnFailure {
        let kind = match self.fault {
            Fault::Slow(_) => FailureKind::Timeout,
            Fault::Reported => FailureKind::Unavailable,
            _ if self.is_passing() => FailureKind::Unavailable,
            _ => FailureKind::Provider,
        };
        let ModelSpec {
            provider, model, ..
        } = model;
        let message = match self.fault {
            Fault::Status(status) => for_status(status, provider, model, self.retry_after),
            Fault::Connect => format!(
                "The model cannot be reached: check that the server of provider `{provider}` runs, and its base_url."
            ),
            Fault::Disconnected => format!(
                "The connection to the model was lost before the answer was complete (provider `{provider}`): try again."
            ),
            Fault::Silent(limit) => format!(
                "The model said nothing for {} (provider `{provider}`): try again, or raise its idle_timeout and first_byte_timeout.",
                words(limit)
            ),
            Fault::Slow(limit) => format!(
                "The model's answer was not complete after {} (provider `{provider}`): ask for less, or raise its request_timeout.",
                words(limit)
            ),
            Fault::Reported => format!(
                "The model stopped with an error (provider `{provider}`): try again; the log has the details."
            ),
            Fault::Garbage => format!(
                "The model server sent something that is not an answer: check the kind and the base_url of provider `{provider}`."
            ),
            Fault::Empty => {
                "The model answered with nothing: try again, or put it differently.".to_owned()
            }
            Fault::Request => format!(
                "The model could not be asked: check the base_url and the api_key of provider `{provider}`."
            ),
        };
        TurnFailure { kind, message }
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            Fault::Status(status) => write!(f, "status {status}")?,
            Fault::Connect => f.write_str("no connection")?,
            Fault::Disconnected => f.write_str("connection lost")?,
            Fault::Silent(limit) => write!(f, "silent for {}", words(limit))?,
            Fault::Slow(limit) => write!(f, "not whole after {}", words(limit))?,
            Fault::Reported => f.write_str("the provider reported an error")?,
            Fault::Garbage => f.write_str("not an answer")?,
            Fault::Empty => f.write_str("an empty answer")?,
            Fault::Request => f.write_str("the request cannot be made")?,
        }
        if self.detail.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", self.detail)
    }
}

impl std::error::Error for ProviderError {}

fn for_status(status: u16, provider: &str, model: &str, retry_after: Option<Duration>) -> String {
    let (meaning, advice) = match status {
        300..=399 => (
            "a redirection",
            format!("check the base_url of provider `{provider}`"),
        ),
        400 | 422 => (
            "bad request",
            format!("the model `{model}` does not take this; the log has the details"),
        ),
        401 => (
            "unauthorized",
            format!("check the api_key of provider `{provider}`"),
        ),
        402 => (
            "payment required",
            format!("check the account of provider `{provider}`"),
        ),
        403 => (
            "forbidden",
            format!("check what the api_key of provider `{provider}` may do"),
        ),
        404 => (
            "not found",
            format!("check the model `{model}` and the base_url of provider `{provider}`"),
        ),
        405 | 406 | 415 => (
            "not understood",
            format!("check the kind and the base_url of provider `{provider}`"),
        ),
        413 => (
            "too large",
            "send a shorter message, or lower the context's max_bytes".to_owned(),
        ),
        408 | 504 => ("timed out", "try again in a moment".to_owned()),
        429 => ("too many requests", again(retry_after)),
        503 | 529 => ("overloaded", again(retry_after)),
        500..=599 => (
            "the server has trouble",
            format!("try again in a moment; the log has what provider `{provider}` said"),
        ),
        _ => (
            "unexpected",
            format!("the log has what provider `{provider}` said"),
        ),
    };
    format!("The model answered {status} ({meaning}): {advice}.")
}

fn again(after: Option<Duration>) -> String {
    match after {
        Some(after) if !after.is_zero() => format!("try again in {}", words(after)),
        _ => "try again in a moment".to_owned(),
    }
}

/// A duration as people write it.
pub(crate) fn words(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0..1000 => format!("{ms} ms"),
        _ if ms.is_multiple_of(1000) => format!("{} s", ms / 1000),
        _ => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
    }
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(DETAIL_MAX_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use kennel_shared::protocol::{EchoSpec, Endpoint};

    use super::*;

    fn model() -> ModelSpec {
        ModelSpec {
            provider: "local".into(),
            model: "tiny".into(),
            temperature_milli: None,
            max_tokens: None,
            endpoint: Endpoint::Echo(EchoSpec::default()),
        }
    }

    #[test]
    fn every_status_says_what_to_do() {
        use FailureKind::{Provider, Unavailable};
        let cases = [
            (
                301,
                Provider,
                false,
                "The model answered 301 (a redirection): check the base_url of provider `local`.",
            ),
            (
                400,
                Provider,
                false,
                "The model answered 400 (bad request): the model `tiny` does not take this; the log has the details.",
            ),
            (
                401,
                Provider,
                false,
                "The model answered 401 (unauthorized): check the api_key of provider `local`.",
            ),
            (
                404,
                Provider,
                false,
                "The model answered 404 (not found): check the model `tiny` and the base_url of provider `local`.",
            ),
            (
                413,
                Provider,
                false,
                "The model answered 413 (too large): send a shorter message, or lower the context's max_bytes.",
            ),
            (
                418,
                Provider,
                false,
                "The model answered 418 (unexpected): the log has what provider `local` said.",
            ),
            (
                429,
                Unavailable,
                true,
                "The model answered 429 (too many requests): try again in a moment.",
            ),
            (
                500,
                Unavailable,
                true,
                "The model answered 500 (the server has trouble): try again in a moment; the log has what provider `local` said.",
            ),
            (
                503,
                Unavailable,
                true,
                "The model answered 503 (overloaded): try again in a moment.",
            ),
            (
                529,
                Unavailable,
                true,
                "The model answered 529 (overloaded): try again in a moment.",
            ),
        ];
        for (status, kind, passing, message) in cases {
            let error = ProviderError::new(Fault::Status(status), "");
            let expected = TurnFailure {
                kind,
                message: message.into(),
            };
            assert_eq!(error.for_person(&model()), expected);
            assert_eq!(error.is_passing(), passing, "{status}");
        }
    }

    #[test]
    fn the_wait_that_was_asked_for_is_told() {
        let mut error = ProviderError::new(Fault::Status(429), "");
        error.retry_after = Some(Duration::from_millis(7500));
        let told = error.for_person(&model()).message;
        assert!(told.ends_with("try again in 7.5 s."), "{told}");
    }

    #[test]
    fn other_faults_are_classified() {
        let cases = [
            (Fault::Connect, FailureKind::Unavailable, true),
            (Fault::Disconnected, FailureKind::Unavailable, true),
            (
                Fault::Silent(Duration::from_mins(1)),
                FailureKind::Unavailable,
                true,
            ),
            (
                Fault::Slow(Duration::from_mins(1)),
                FailureKind::Timeout,
                false,
            ),
            (Fault::Reported, FailureKind::Unavailable, false),
            (Fault::Garbage, FailureKind::Provider, false),
            (Fault::Empty, FailureKind::Provider, false),
            (Fault::Request, FailureKind::Provider, false),
        ];
        for (fault, kind, passing) in cases {
            let error = ProviderError::new(fault, "");
            assert_eq!(error.for_person(&model()).kind, kind, "{fault:?}");
            assert_eq!(error.is_passing(), passing, "{fault:?}");
        }
    }

    #[test]
    fn the_log_has_the_detail_in_one_bounded_line_without_the_key() {
        let body = format!("Incorrect key: sk-secret\n{}", "x ".repeat(1000));
        let error = ProviderError::without_key(Fault::Status(401), &body, Some("sk-secret"));
        let logged = error.to_string();
        assert!(
            logged.starts_with("status 401: Incorrect key: [redacted] x x"),
            "{logged}"
        );
        assert!(logged.chars().count() < DETAIL_MAX_CHARS + 20);
        assert!(!format!("{error:?}").contains("sk-secret"));
    }
}
