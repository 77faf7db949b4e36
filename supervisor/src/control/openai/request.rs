//! A request for a chat completion, and the one text that an agent gets of it. Pure.

use kennel_shared::envelope::TEXT_MAX_BYTES;
use serde::Deserialize;
use thiserror::Error;

/// Messages of one request.
const MESSAGES_MAX: usize = 1000;

/// Why a request cannot be served.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum Invalid {
    #[error("the body is not a chat completion request: {0}")]
    Json(String),
    #[error("`messages` is empty or has more than {MESSAGES_MAX} entries")]
    Messages,
    #[error("the last message must be the user's, with some text")]
    LastMessage,
    #[error("an agent takes text only; a message has a part of type `{0}`")]
    Part(String),
    #[error("the messages have more than {TEXT_MAX_BYTES} bytes of text")]
    TooLong,
    #[error("`n` must be 1: an agent gives one answer")]
    Choices,
    #[error("`tools` and `functions` are not taken: an agent brings its own tools")]
    Tools,
    #[error(
        "the session's name is empty, too long, or has characters that a session key cannot have"
    )]
    Session,
}

/// The fields that are used. Sampling is the agent's own affair, so those fields are accepted and
/// left alone.
#[derive(Debug, Deserialize)]
struct Body {
    model: String,
    messages: Vec<Message>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    n: Option<u32>,
    #[serde(default)]
    tools: Option<Vec<serde_json::Value>>,
    #[serde(default)]
    functions: Option<Vec<serde_json::Value>>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: Option<Content>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
}

/// A request that can be served.
#[derive(Debug)]
pub(super) struct ChatRequest {
    pub(super) model: String,
    pub(super) user: Option<String>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    /// Role and text; the last is the user's.
    messages: Vec<(String, String)>,
}

impl ChatRequest {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Invalid> {
        let body: Body =
            serde_json::from_slice(body).map_err(|error| Invalid::Json(error.to_string()))?;
        if body.n.is_some_and(|n| n != 1) {
            return Err(Invalid::Choices);
        }
        let given = |tools: &Option<Vec<_>>| tools.as_ref().is_some_and(|tools| !tools.is_empty());
        if given(&body.tools) || given(&body.functions) {
            return Err(Invalid::Tools);
        }
        if body.messages.is_empty() || body.messages.len() > MESSAGES_MAX {
            return Err(Invalid::Messages);
        }
        let messages = body
            .messages
            .into_iter()
            .map(|message| Ok((message.role, text_of(message.content)?)));
        let messages = messages.collect::<Result<Vec<_>, Invalid>>()?;
        match messages.last() {
            Some((role, text)) if role == "user" && !text.trim().is_empty() => {}
            _ => return Err(Invalid::LastMessage),
        }
        Ok(Self {
            model: body.model,
            user: body.user,
            stream: body.stream.unwrap_or(false),
            include_usage: body
                .stream_options
                .and_then(|options| options.include_usage)
                .unwrap_or(false),
            messages,
        })
    }

    /// What the agent is told: the last message, or, when it does not `remember` the conversation,
    /// all of it.
    pub(super) fn text(&self, remembers: bool) -> Result<String, Invalid> {
        let (last, before) = self.messages.split_last().expect("checked when parsed");
        let text = if remembers || before.is_empty() {
            last.1.clone()
        } else {
            transcript(before, &last.1)
        };
        if text.len() > TEXT_MAX_BYTES {
            Err(Invalid::TooLong)
        } else {
            Ok(text)
        }
    }
}

fn text_of(content: Option<Content>) -> Result<String, Invalid> {
    match content {
        None => Ok(String::new()),
        Some(Content::Text(text)) => Ok(text),
        Some(Content::Parts(parts)) => {
            let texts = parts.into_iter().map(|part| match part.text {
                Some(text) if part.kind == "text" => Ok(text),
                _ => Err(Invalid::Part(part.kind)),
            });
            Ok(texts.collect::<Result<Vec<_>, _>>()?.join("\n"))
        }
    }
}

fn transcript(before: &[(String, String)], last: &str) -> String {
    let mut text = String::new();
    for (role, said) in before
        .iter()
        .filter(|(role, _)| matches!(role.as_str(), "system" | "developer"))
    {
        debug_assert!(!role.is_empty());
        text.push_str(said);
        text.push_str("\n\n");
    }
    let talk: Vec<_> = before
        .iter()
        .filter(|(role, _)| matches!(role.as_str(), "user" | "assistant"))
        .collect();
    if !talk.is_empty() {
        text.push_str("The conversation so far:\n\n");
        for (role, said) in talk {
            text.push_str(if role == "user" {
                "User: "
            } else {
                "Assistant: "
            });
            text.push_str(said);
            text.push_str("\n\n");
        }
        text.push_str("The user now says:\n\n");
    }
    text.push_str(last);
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(body: &serde_json::Value) -> Result<ChatRequest, Invalid> {
        ChatRequest::parse(body.to_string().as_bytes())
    }

    fn request(messages: &serde_json::Value) -> ChatRequest {
        parse(&json!({ "model": "agent/a", "messages": messages, "temperature": 0.2 })).unwrap()
    }

    #[test]
    fn a_remembering_agent_gets_the_last_message_only() {
        let messages = json!([
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": "1+1?" },
            { "role": "assistant", "content": "2" },
            { "role": "user", "content": [{ "type": "text", "text": "2+2?" }] },
        ]);
        let request = request(&messages);
        assert_eq!(request.text(true).unwrap(), "2+2?");
        assert_eq!(
            request.text(false).unwrap(),
            "Be brief.\n\nThe conversation so far:\n\nUser: 1+1?\n\nAssistant: 2\n\nThe user now says:\n\n2+2?"
        );
    }

    #[test]
    fn a_lone_message_goes_as_it_is() {
        let request = request(&json!([{ "role": "user", "content": "hi" }]));
        assert_eq!(request.text(false).unwrap(), "hi");
    }

    #[test]
    fn what_cannot_be_served_is_refused_with_a_reason() {
        let user = json!([{ "role": "user", "content": "hi" }]);
        let cases = [
            (json!({ "model": "a", "messages": [] }), Invalid::Messages),
            (
                json!({ "model": "a", "messages": [{ "role": "assistant", "content": "x" }] }),
                Invalid::LastMessage,
            ),
            (
                json!({ "model": "a", "messages": [{ "role": "user", "content": "  " }] }),
                Invalid::LastMessage,
            ),
            (
                json!({ "model": "a", "messages": user, "n": 2 }),
                Invalid::Choices,
            ),
            (
                json!({ "model": "a", "messages": user, "tools": [{}] }),
                Invalid::Tools,
            ),
            (
                json!({ "model": "a", "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] }),
                Invalid::Part("image_url".into()),
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(parse(&body).unwrap_err(), expected, "{body}");
        }
        assert!(matches!(ChatRequest::parse(b"{"), Err(Invalid::Json(_))));
        let long = json!([{ "role": "user", "content": "x".repeat(TEXT_MAX_BYTES + 1) }]);
        assert_eq!(request(&long).text(true), Err(Invalid::TooLong));
    }
}
