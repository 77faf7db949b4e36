//! Answers that come piece by piece.

use std::collections::VecDeque;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::{
    ANSWER_MAX_BYTES, ClientError, decode,
    sse::{Event, Parser},
};
use crate::control::wire::TurnEvent;

/// The events of a stream, as they come.
#[derive(Debug)]
pub struct EventStream {
    body: Incoming,
    parser: Parser,
    complete: VecDeque<Event>,
}

impl EventStream {
    pub(super) fn new(body: Incoming) -> Self {
        Self {
            body,
            parser: Parser::new(ANSWER_MAX_BYTES),
            complete: VecDeque::new(),
        }
    }

    /// The next event; `None` once the supervisor has ended the stream. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            if let Some(event) = self.complete.pop_front() {
                return Ok(Some(event));
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            if let Ok(data) = frame.map_err(ClientError::Lost)?.into_data() {
                self.parser.push(&data, &mut self.complete)?;
            }
        }
    }

    /// The next event called `name`, read as JSON; others are passed over: a newer supervisor may
    /// send more than this client knows.
    pub async fn next_named<T: DeserializeOwned>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, ClientError> {
        while let Some(event) = self.next().await? {
            if event.name == name {
                return decode(event.data.as_bytes()).map(Some);
            }
        }
        Ok(None)
    }
}

/// The events of one turn.
#[derive(Debug)]
pub struct TurnStream {
    events: EventStream,
}

impl TurnStream {
    pub(super) fn new(events: EventStream) -> Self {
        Self { events }
    }

    /// The next event. A stream that ends without `finished` or `failed` is an error. Cancel safe.
    pub async fn next(&mut self) -> Result<TurnEvent, ClientError> {
        const KNOWN: [&str; 5] = ["accepted", "started", "delta", "finished", "failed"];
        while let Some(event) = self.events.next().await? {
            if KNOWN.contains(&event.name.as_str()) {
                return decode(event.data.as_bytes());
            }
        }
        Err(ClientError::Truncated)
    }
}
