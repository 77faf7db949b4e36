//! The model, behind a small trait: a request in, pieces of text out, and at the end what it wants done.
//!
//! An [`Answer`] drives a provider: it asks again while nothing has been said yet, watches for silence,
//! and adds up what was used. Providers only stream; they never retry by themselves.
//!
//! | module | holds |
//! | --- | --- |
//! | [`fault`] | what can go wrong, and what it means to the person, the log and the retry policy |
//! | [`retry`] | when to try again, and how long to wait |
//! | [`calls`] | what a model wants done, as it comes in pieces |
//! | [`echo`] | the built-in provider for tests and benchmarks |
//! | [`http`] | model servers |

mod calls;
mod echo;
mod fault;
mod http;
mod retry;

use std::{pin::Pin, time::Duration};

use futures::{Stream, StreamExt};
use kennel_shared::protocol::{Endpoint, ModelSpec};
use tokio::time::{Instant, timeout};
use tracing::warn;

pub(crate) use calls::ARGUMENTS_MAX_BYTES;
pub(crate) use fault::{Fault, ProviderError, words};
use retry::RetryPolicy;

use crate::{
    tool::Definition,
    window::{Call, Message},
};

/// What a model is asked. What it is to answer is at the end of the messages.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    pub(crate) system: Option<String>,
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: Vec<Definition>,
    /// Whether it may use them now; some want to know them in any case, since the messages speak of them.
    pub(crate) may_call: bool,
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text to show.
    Text(String),
    /// The model is at work, with nothing to show: reasoning, keep-alives.
    Progress,
    /// What the answer took, and what the model wants done before it goes on. The last piece.
    End(Usage, Vec<Call>),
}

/// Tokens, as far as the provider says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) input_tokens: u32,
    pub(crate) output_tokens: u32,
}

/// An answer on its way. Dropping it ends the request.
pub(crate) type Pieces = Pin<Box<dyn Stream<Item = Result<Piece, ProviderError>> + Send>>;

/// Something that answers.
pub(crate) trait Provider: Send + Sync {
    /// Asks once. Everything that goes wrong, also before the first byte, is an item of the stream; an
    /// answer is whole when the stream ends without an error.
    fn stream(&self, request: &Request) -> Pieces;

    /// When to ask again.
    fn retries(&self) -> RetryPolicy;

    /// How long to wait for it.
    fn limits(&self) -> Limits;
}

/// How long to wait for an answer; beside these, a turn has a limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// For one whole answer.
    pub(crate) whole: Duration,
    /// The longest silence before its first piece.
    pub(crate) first: Duration,
    /// The longest silence between pieces.
    pub(crate) between: Duration,
}

/// The provider of `spec`. Builds nothing expensive: an HTTP client comes with the first request.
pub(crate) fn build(spec: &ModelSpec) -> Box<dyn Provider> {
    match &spec.endpoint {
        Endpoint::Echo(echo) => Box::new(echo::Echo::new(*echo)),
        Endpoint::Http(http) => Box::new(http::Http::new(spec, http)),
    }
}

/// One answer, read piece by piece. Dropping it ends the request.
pub(crate) struct Answer<'a> {
    provider: &'a dyn Provider,
    request: &'a Request,
    pieces: Pieces,
    /// When this attempt began, and whether anything has come of it.
    asked_at: Instant,
    heard: bool,
    /// Tokens, once the provider has told.
    pub(crate) usage: Usage,
    /// What the model wants done; when the answer is whole.
    pub(crate) calls: Vec<Call>,
    /// Attempts beyond the first.
    pub(crate) retries: u32,
    /// When the first text came.
    pub(crate) first_text_at: Option<Instant>,
}

impl<'a> Answer<'a> {
    /// Asks `provider`; nothing happens before the first [`next`](Self::next).
    pub(crate) fn to(request: &'a Request, provider: &'a dyn Provider) -> Self {
        Self {
            provider,
            request,
            pieces: provider.stream(request),
            asked_at: Instant::now(),
            heard: false,
            usage: Usage::default(),
            calls: Vec::new(),
            retries: 0,
            first_text_at: None,
        }
    }

    /// The next text; `None` when the answer is whole. Asks again as long as nothing has come.
    pub(crate) async fn next(&mut self) -> Result<Option<String>, ProviderError> {
        loop {
            let error = match self.next_text().await {
                Ok(text) => return Ok(text),
                Err(error) => error,
            };
            // What was shown cannot be taken back, so a broken answer is not begun anew.
            let pause = match self.first_text_at {
                Some(_) => None,
                None => self
                    .provider
                    .retries()
                    .pause(&error, self.retries, fastrand::f64()),
            };
            let Some(pause) = pause else {
                return Err(error);
            };
            self.retries += 1;
            warn!(
                attempt = self.retries,
                pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                error = %error,
                "the model did not answer; asking again"
            );
            tokio::time::sleep(pause).await;
            self.pieces = self.provider.stream(self.request);
            self.asked_at = Instant::now();
            self.heard = false;
        }
    }

    async fn next_text(&mut self) -> Result<Option<String>, ProviderError> {
        loop {
            let piece = self.next_piece().await?;
            self.heard = true;
            match piece {
                None => return Ok(None),
                Some(Piece::Progress) => {}
                Some(Piece::End(usage, calls)) => (self.usage, self.calls) = (usage, calls),
                Some(Piece::Text(text)) => {
                    self.first_text_at.get_or_insert_with(Instant::now);
                    return Ok(Some(text));
                }
            }
        }
    }

    /// The next piece, in time.
    async fn next_piece(&mut self) -> Result<Option<Piece>, ProviderError> {
        let limits = self.provider.limits();
        let silence = if self.heard {
            limits.between
        } else {
            limits.first
        };
        let rest = limits.whole.saturating_sub(self.asked_at.elapsed());
        match timeout(silence.min(rest), self.pieces.next()).await {
            Ok(piece) => piece.transpose(),
            Err(_elapsed) if rest < silence => {
                Err(ProviderError::new(Fault::Slow(limits.whole), ""))
            }
            Err(_elapsed) => Err(ProviderError::new(Fault::Silent(silence), "")),
        }
    }
}
