//! What `kennel sessions` asks `kennel-agent-host sessions`, and what that prints.
//!
//! Sessions are in an agent's own store, which the supervisor never opens. Whoever wants to read one starts
//! `kennel-agent-host sessions` and writes a [`Request`] to its standard input, as one JSON object. It
//! prints a [`Line`] after the other, one JSON object each, and nothing else; when it cannot go on, it
//! prints [`Trouble`] to its standard error, as one JSON object too, and ends with another code than 0.
//!
//! The lines of an export are a format that others read: a field is never given another meaning, and one
//! that is added may be absent. [`FORMAT`] is raised when that does not hold.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{cage::UserIds, ids::AgentId, session_key::SessionKey};

/// The version of the lines of an export, told in its first one.
pub const FORMAT: u32 = 1;

/// The most sessions, messages or finds that are listed at once.
pub const LISTED_MAX: u32 = 10_000;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Whose sessions.
    pub agent: AgentId,
    /// The agent's own directory.
    pub state_dir: PathBuf,
    /// Whose that is, where it is not whoever asks: become that user before the store is opened.
    pub user: Option<UserIds>,
    /// What to do.
    pub ask: Ask,
}

/// What to do with an agent's sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// The sessions, the one that was used last first: [`Line::Session`], then [`Line::More`] if there are more.
    List {
        /// At most so many.
        limit: u32,
    },
    /// The last messages of a session, oldest first: [`Line::More`] if there are older ones, then
    /// [`Line::Message`].
    Show {
        /// Which.
        session: SessionKey,
        /// At most so many.
        limit: u32,
        /// Only those before this message.
        before: Option<i64>,
    },
    /// All of a session: [`Line::Export`], then [`Line::Message`] and [`Line::Turn`] in their order, then
    /// [`Line::End`].
    Export {
        /// Which.
        session: SessionKey,
    },
    /// Messages that have a text, newest first: [`Line::Message`], then [`Line::More`] if not all was
    /// looked through.
    Search {
        /// In this session only.
        session: Option<SessionKey>,
        /// Which text; upper and lower case are the same.
        text: String,
        /// At most so many.
        limit: u32,
        /// Only those before this message.
        before: Option<i64>,
    },
    /// Deletes a session of an agent that does not run: [`Line::Deleted`].
    Delete {
        /// Which.
        session: SessionKey,
    },
}

/// A line of what is printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Line {
    /// A session.
    Session(Session),
    /// The first line of an export.
    Export(Export),
    /// A message of a session.
    Message(Message),
    /// How the turn of the messages before it went. Known for a week.
    Turn(Turn),
    /// The last line of an export: without it, the export is not whole.
    End {
        /// How many messages were exported.
        messages: u64,
    },
    /// There is more than was listed or looked through.
    More {
        /// Ask for what is before this message to go on; absent in a list of sessions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<i64>,
        /// How many more there are, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        omitted: Option<u64>,
    },
    /// The session is gone. The space that it took is freed by now, or will be soon.
    Deleted {
        /// How many messages it had.
        messages: u64,
    },
}

/// One session.
#[expect(
    clippy::struct_field_names,
    reason = "the key of a session is called `session` in every line"
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its key.
    pub session: SessionKey,
    /// Whose it is.
    pub agent: AgentId,
    /// When it began, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// When it was used last.
    pub updated_ms: i64,
    /// How many messages it has, calls of tools and their results included.
    pub messages: u64,
}

/// What is exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// [`FORMAT`].
    pub format: u32,
    /// The session's key.
    pub session: SessionKey,
    /// Whose it is.
    pub agent: AgentId,
    /// When it began, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// When it was exported.
    pub exported_ms: i64,
    /// How many messages it had then. More may follow, of turns that end meanwhile.
    pub messages: u64,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A tool, to the model.
    Tool,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its number in the agent's store: greater than that of every message before it.
    pub id: i64,
    /// Of which session, where not all are of the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionKey>,
    /// Who speaks.
    pub role: Role,
    /// What is said; of a find, the part with what was searched for.
    pub text: String,
    /// What the model wants done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Call>,
    /// Of which call this is the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_of: Option<ResultOf>,
    /// The turn that it is of.
    pub turn: String,
    /// When that turn was written down, in milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Names it within the session.
    pub id: String,
    /// Which tool.
    pub name: String,
    /// What the model wrote: JSON, or what it took for JSON.
    pub arguments: String,
}

/// The call that a result is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultOf {
    /// [`Call::id`].
    pub call: String,
    /// [`Call::name`].
    pub name: String,
}

/// How a turn went.
#[expect(
    clippy::struct_field_names,
    reason = "the id of a turn is called `turn` in every line"
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Which.
    pub turn: String,
    /// The delivery that it answered.
    pub delivery: String,
    /// When it ended, in milliseconds since the Unix epoch.
    pub finished_ms: i64,
    /// What it did, in order.
    pub steps: Vec<Step>,
}

/// A step of a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The tool that was run; absent where the model was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// When it began, in milliseconds since the Unix epoch.
    pub began_ms: i64,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<i64>,
    /// Tokens that the model read, where it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u32>,
    /// Tokens that it wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u32>,
}

/// Why it cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// For programs.
    pub code: TroubleCode,
    /// For people: a lowercase sentence.
    pub message: String,
}

/// Kinds of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TroubleCode {
    /// The agent has no such session.
    NoSession,
    /// Its store may not be read by whoever asks.
    Denied,
    /// The agent runs, so only it may change its store.
    Running,
    /// Anything else.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What others read: a change of these lines is a change of the format.
    #[test]
    fn lines_are_as_documented() {
        let session: SessionKey = "agent:hexa:api:main".parse().unwrap();
        let agent: AgentId = "hexa".parse().unwrap();
        let message = Message {
            id: 7,
            session: None,
            role: Role::Assistant,
            text: "Let me look.".into(),
            calls: vec![Call {
                id: "c1".into(),
                name: "read".into(),
                arguments: r#"{"path":"a"}"#.into(),
            }],
            result_of: None,
            turn: "t1".into(),
            created_ms: 5,
        };
        let lines = [
            (
                Line::Export(Export {
                    format: FORMAT,
                    session: session.clone(),
                    agent: agent.clone(),
                    created_ms: 1,
                    exported_ms: 9,
                    messages: 2,
                }),
                r#"{"type":"export","format":1,"session":"agent:hexa:api:main","agent":"hexa","created_ms":1,"exported_ms":9,"messages":2}"#,
            ),
            (
                Line::Message(message.clone()),
                r#"{"type":"message","id":7,"role":"assistant","text":"Let me look.","calls":[{"id":"c1","name":"read","arguments":"{\"path\":\"a\"}"}],"turn":"t1","created_ms":5}"#,
            ),
            (
                Line::Message(Message {
                    id: 8,
                    session: Some(session.clone()),
                    role: Role::Tool,
                    text: "no".into(),
                    calls: Vec::new(),
                    result_of: Some(ResultOf {
                        call: "c1".into(),
                        name: "read".into(),
                    }),
                    ..message
                }),
                r#"{"type":"message","id":8,"session":"agent:hexa:api:main","role":"tool","text":"no","result_of":{"call":"c1","name":"read"},"turn":"t1","created_ms":5}"#,
            ),
            (
                Line::Turn(Turn {
                    turn: "t1".into(),
                    delivery: "d1".into(),
                    finished_ms: 6,
                    steps: vec![Step {
                        tool: Some("read".into()),
                        began_ms: 3,
                        ended_ms: None,
                        input_tokens: None,
                        output_tokens: Some(4),
                    }],
                }),
                r#"{"type":"turn","turn":"t1","delivery":"d1","finished_ms":6,"steps":[{"tool":"read","began_ms":3,"output_tokens":4}]}"#,
            ),
            (Line::End { messages: 2 }, r#"{"type":"end","messages":2}"#),
            (
                Line::More {
                    before: Some(7),
                    omitted: None,
                },
                r#"{"type":"more","before":7}"#,
            ),
            (
                Line::Session(Session {
                    session,
                    agent,
                    created_ms: 1,
                    updated_ms: 5,
                    messages: 2,
                }),
                r#"{"type":"session","session":"agent:hexa:api:main","agent":"hexa","created_ms":1,"updated_ms":5,"messages":2}"#,
            ),
        ];
        for (line, expected) in lines {
            assert_eq!(serde_json::to_string(&line).unwrap(), expected);
            assert_eq!(serde_json::from_str::<Line>(expected).unwrap(), line);
        }
    }
}
