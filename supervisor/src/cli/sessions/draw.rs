//! Sessions and messages as text.

use std::{
    fmt::Write as _,
    time::{Duration, UNIX_EPOCH},
};

use kennel_shared::sessions::{Message, Role, Session};

use crate::cli::output::foreign;

/// A line for each, under a head.
pub(super) fn sessions(sessions: &[Session]) -> String {
    const HEAD: &str = "SESSION";
    let mut text = String::new();
    if sessions.is_empty() {
        return text;
    }
    let shown: Vec<_> = sessions
        .iter()
        .map(|one| foreign(one.session.as_str()).into_owned())
        .collect();
    let widest = shown.iter().map(|key| key.chars().count()).max();
    let width = widest.unwrap_or(0).max(HEAD.len());
    let mut line = |key: &str, messages: &str, used: &str, began: &str| {
        writeln!(text, "{key:width$}  {messages:>8}  {used:20}  {began}")
            .expect("a string takes everything");
    };
    line(HEAD, "MESSAGES", "LAST USED", "BEGAN");
    for (one, key) in sessions.iter().zip(&shown) {
        let [used, began] = [one.updated_ms, one.created_ms].map(time);
        line(key, &one.messages.to_string(), &used, &began);
    }
    text
}

/// A message under its number, who says it, and when; with an empty line behind it.
pub(super) fn message(message: &Message) -> String {
    let who = match (message.role, &message.result_of) {
        (Role::User, _) => "user".to_owned(),
        (Role::Assistant, _) => "assistant".to_owned(),
        (Role::Tool, Some(of)) => format!("tool {}", of.name),
        (Role::Tool, None) => "tool".to_owned(),
    };
    let mut text = format!("#{} {who} {}", message.id, time(message.created_ms));
    if let Some(session) = &message.session {
        write!(text, " {session}").expect("a string takes everything");
    }
    text.push('\n');
    if !message.text.is_empty() {
        text.push_str(&message.text);
        if !message.text.ends_with('\n') {
            text.push('\n');
        }
    }
    for call in &message.calls {
        writeln!(text, "-> {} {}", call.name, call.arguments).expect("a string takes everything");
    }
    foreign(&text).into_owned()
}

/// To the second. What no calendar holds is shown as its first or last.
fn time(ms: i64) -> String {
    let at = u64::try_from(ms).unwrap_or(0).min(253_402_300_799_000);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(at)).to_string()
}

#[cfg(test)]
mod tests {
    use kennel_shared::sessions::{Call, ResultOf};

    use super::*;

    #[test]
    fn sessions_are_a_table() {
        let session = |key: &str, messages| Session {
            session: key.parse().unwrap(),
            agent: "hexa".parse().unwrap(),
            created_ms: 1_700_000_000_000,
            updated_ms: 1_700_000_100_000,
            messages,
        };
        let all = [
            session("agent:hexa:tg:direct:42", 12_345),
            session("agent:hexa:a", 2),
        ];
        insta::assert_snapshot!(sessions(&all), @"
        SESSION                  MESSAGES  LAST USED             BEGAN
        agent:hexa:tg:direct:42     12345  2023-11-14T22:15:00Z  2023-11-14T22:13:20Z
        agent:hexa:a                    2  2023-11-14T22:15:00Z  2023-11-14T22:13:20Z
        ");
        assert_eq!(sessions(&[]), "");
    }

    #[test]
    fn messages_say_who_and_when() {
        let said = Message {
            id: 7,
            session: None,
            role: Role::Assistant,
            text: "Let me look.".into(),
            calls: vec![Call {
                id: "c".into(),
                name: "read".into(),
                arguments: "{\"path\":\"a\"}".into(),
            }],
            result_of: None,
            turn: "t".into(),
            created_ms: 1_700_000_000_000,
        };
        insta::assert_snapshot!(message(&said), @r#"
        #7 assistant 2023-11-14T22:13:20Z
        Let me look.
        -> read {"path":"a"}
        "#);
        let result = Message {
            id: 8,
            session: Some("agent:hexa:a".parse().unwrap()),
            role: Role::Tool,
            text: "not there\n".into(),
            calls: Vec::new(),
            result_of: Some(ResultOf {
                call: "c".into(),
                name: "read".into(),
            }),
            created_ms: -1,
            ..said
        };
        insta::assert_snapshot!(message(&result), @"
        #8 tool read 1970-01-01T00:00:00Z agent:hexa:a
        not there
        ");
    }
}
