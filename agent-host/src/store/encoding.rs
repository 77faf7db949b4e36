//! How values are written into columns. A number or a name, once used, is never given to another meaning.

use kennel_shared::protocol::FailureKind;
use rusqlite::types::Type;
use serde::{Deserialize, Serialize};

use crate::window::{Call, Message};

/// The role of what is said to the model: by the person, or by a tool.
pub(super) const TO_MODEL: i64 = 0;

/// The role of what the model says.
const FROM_MODEL: i64 = 1;

/// Of which call a result is.
#[derive(Serialize, Deserialize)]
struct Of {
    call: String,
    name: String,
}

pub(super) fn role(message: &Message) -> i64 {
    match message {
        Message::User(_) | Message::Result { .. } => TO_MODEL,
        Message::Model { .. } => FROM_MODEL,
    }
}

/// The column `tools` of a message.
pub(super) fn tools(message: &Message) -> Option<String> {
    match message {
        Message::User(_) => None,
        Message::Model { calls, .. } if calls.is_empty() => None,
        Message::Model { calls, .. } => Some(self::calls(calls)),
        Message::Result { call, name, .. } => Some(json(&Of {
            call: call.clone(),
            name: name.clone(),
        })),
    }
}

/// A message from its columns.
pub(super) fn message(role: i64, text: String, tools: Option<String>) -> rusqlite::Result<Message> {
    Ok(match (role, tools) {
        (TO_MODEL, None) => Message::User(text),
        (TO_MODEL, Some(tools)) => {
            let Of { call, name } = read(&tools)?;
            Message::Result { call, name, text }
        }
        (_, None) => Message::answer(text),
        (_, Some(tools)) => Message::Model {
            text,
            calls: read_calls(&tools)?,
        },
    })
}

pub(super) fn calls(calls: &[Call]) -> String {
    json(&calls)
}

pub(super) fn read_calls(text: &str) -> rusqlite::Result<Vec<Call>> {
    read(text)
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings serialize")
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> rusqlite::Result<T> {
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error.into()))
}

pub(super) fn failure_number(kind: FailureKind) -> i64 {
    match kind {
        FailureKind::Provider => 0,
        FailureKind::Unavailable => 1,
        FailureKind::Timeout => 2,
        FailureKind::Store => 3,
        FailureKind::Overloaded => 4,
    }
}

pub(super) fn failure_kind(number: i64) -> FailureKind {
    match number {
        0 => FailureKind::Provider,
        2 => FailureKind::Timeout,
        3 => FailureKind::Store,
        4 => FailureKind::Overloaded,
        _ => FailureKind::Unavailable,
    }
}
