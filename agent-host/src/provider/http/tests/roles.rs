//! What each API is sent.

use genai::chat::ChatRole::{Assistant, Tool, User};

use super::super::*;

/// Whose turn it is, in the words of each API, when a person speaks behind the result of a tool.
#[test]
fn a_word_behind_a_result_is_as_each_api_wants_it() {
    let call = Call {
        id: "abcdefghi".into(),
        name: "read".into(),
        arguments: "{}".into(),
        signature: None,
    };
    let request = Request {
        system: None,
        messages: vec![
            Message::User("what is in it?".into()),
            Message::Model {
                text: String::new(),
                calls: vec![call],
            },
            Message::Result {
                call: "abcdefghi".into(),
                name: "read".into(),
                text: "nothing".into(),
            },
            Message::User("never mind".into()),
        ],
        tools: Vec::new(),
        may_call: true,
    };
    for (api, expected) in [
        (
            AdapterKind::OpenAI,
            vec![User, Assistant, Tool, Assistant, User],
        ),
        (AdapterKind::Anthropic, vec![User, Assistant, Tool, User]),
        (AdapterKind::Gemini, vec![User, Assistant, Tool, User]),
        (AdapterKind::Ollama, vec![User, Assistant, Tool, User]),
    ] {
        let chat = chat_request(&request, api);
        let roles: Vec<_> = chat
            .messages
            .iter()
            .map(|message| message.role.to_string())
            .collect();
        let expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
        assert_eq!(roles, expected, "{api}");
    }
}
