//! Tools over each API: what is offered, what is heard, what is handed back.

use kennel_shared::protocol::{AgentSpec, ContextSpec, Tool, ToolsSpec};
use serde_json::{Value, json};

use super::*;
use crate::tool::{Definition, Toolbox};

fn definitions(tools: &[Tool]) -> Vec<Definition> {
    let spec = AgentSpec {
        cheaper: None,
        model: super::spec(ModelApi::OpenAi, String::new()),
        system_prompt: None,
        context: ContextSpec {
            max_messages: 1,
            max_bytes: 1,
        },
        max_concurrent: 1,
        turn_timeout_ms: 1,
        workspace: "/".into(),
        heartbeat_interval_ms: 1,
        tools: ToolsSpec {
            enabled: tools.to_vec(),
            ..ToolsSpec::none()
        },
    };
    Toolbox::new(&spec, std::path::Path::new("/")).definitions(false)
}

fn call(id: &str, name: &str, arguments: &str) -> Call {
    Call {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
        signature: None,
    }
}

/// A conversation in which two tools were called at once, one with arguments that are no JSON.
fn with_tools(may_call: bool) -> Request {
    let result = |call: &str, name: &str, text: &str| Message::Result {
        call: call.into(),
        name: name.into(),
        text: text.into(),
    };
    Request {
        system: None,
        messages: vec![
            Message::User("look".into()),
            Message::Model {
                text: "Looking.".into(),
                calls: vec![
                    call("id1", "list", r#"{"path":"."}"#),
                    call("id2", "exec", r#"{"command":"#),
                ],
            },
            result("id1", "list", "a\nb\n"),
            result("id2", "exec", "error: …"),
        ],
        tools: definitions(&[Tool::List, Tool::Exec]),
        may_call,
    }
}

async fn heard(api: ModelApi, path: &str, act: Act, request: &Request) -> (Outcome, Value) {
    let mut server = Server::start([act]).await;
    let http = provider(api, format!("http://127.0.0.1:{}{path}", server.port));
    let outcome = ask_this(&http, request).await;
    let body = server.seen().await.body;
    (outcome, body)
}

fn told(outcome: &Outcome) -> Vec<(&str, &str)> {
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    let calls = outcome.calls.iter();
    calls
        .map(|call| (call.name.as_str(), call.arguments.as_str()))
        .collect()
}

/// The events as OpenAI's servers stream them.
fn openai_events(deltas: &[Value]) -> Act {
    let mut pieces = vec![stream_head()];
    let event = |choice: &Value| chunk(&format!("data: {}\n\n", json!({"choices": [choice]})));
    for delta in deltas {
        pieces.push(event(
            &json!({"index": 0, "delta": delta, "finish_reason": null}),
        ));
    }
    pieces.push(event(
        &json!({"index": 0, "delta": {}, "finish_reason": "tool_calls"}),
    ));
    pieces.push(chunk("data: [DONE]\n\n"));
    pieces.push("0\r\n\r\n".into());
    Act::Say(pieces)
}

#[tokio::test]
async fn openai_calls_come_in_pieces() {
    let piece = |index: u64, more: Value| {
        let mut call = json!({"index": index, "function": {"arguments": more["arguments"]}});
        if let Some(name) = more.get("name") {
            call["id"] = json!(format!("call_{name}{index}"));
            call["type"] = json!("function");
            call["function"]["name"] = name.clone();
        }
        json!({"tool_calls": [call]})
    };
    let act = openai_events(&[
        json!({"role": "assistant", "content": "One moment."}),
        piece(0, json!({"name": "list", "arguments": ""})),
        piece(0, json!({"arguments": "{\"path\":"})),
        piece(1, json!({"name": "exec", "arguments": "{}"})),
        piece(0, json!({"arguments": "\"x\"}"})),
    ]);
    let (outcome, body) = heard(ModelApi::OpenAi, "/v1", act, &with_tools(true)).await;
    assert_eq!(outcome.text, "One moment.");
    assert_eq!(
        told(&outcome),
        [("list", "{\"path\":\"x\"}"), ("exec", "{}")]
    );

    assert_eq!(body["tools"][0]["function"]["name"], "list");
    assert_eq!(
        body["tools"][1]["function"]["parameters"]["required"],
        json!(["command"])
    );
    assert!(body.get("tool_choice").is_none());
    let said = body["messages"].as_array().unwrap();
    assert_eq!(said.len(), 4);
    assert_eq!(said[1]["content"], "Looking.");
    assert_eq!(said[1]["tool_calls"][0]["id"], "id1");
    let again = said[1]["tool_calls"][1]["function"]["arguments"]
        .as_str()
        .unwrap();
    let again: Value = serde_json::from_str(again).unwrap();
    assert_eq!(again, json!({"malformed": "{\"command\":"}));
    let results = json!([
        {"role": "tool", "tool_call_id": "id1", "content": "a\nb\n"},
        {"role": "tool", "tool_call_id": "id2", "content": "error: …"},
    ]);
    assert_eq!(json!(said[2..]), results);
}

/// The library would make room for four thousand million calls.
#[tokio::test]
async fn a_number_of_a_call_that_cannot_be_does_no_harm() {
    let act = openai_events(&[json!({"tool_calls": [
        {"index": 4_294_967_295_u32, "id": "x", "function": {"name": "list", "arguments": "{}"}},
    ]})]);
    let (outcome, _) = heard(ModelApi::OpenAi, "/v1", act, &with_tools(true)).await;
    assert_eq!(told(&outcome), [("list", "{}")]);
}

#[tokio::test]
async fn the_last_time_tools_are_told_and_forbidden() {
    let act = openai(&["Done."]);
    let (outcome, body) = heard(ModelApi::OpenAi, "/v1", act, &with_tools(false)).await;
    assert_eq!(
        (outcome.text.as_str(), told(&outcome)),
        ("Done.", Vec::new())
    );
    assert_eq!(body["tool_choice"], "none");
    assert_eq!(body["tools"].as_array().unwrap().len(), 2);
    // Without tools nothing is said of them.
    let (_, body) = heard(ModelApi::OpenAi, "/v1", openai(&["Hi."]), &request()).await;
    assert!(body.get("tools").is_none() && body.get("tool_choice").is_none());
}

#[tokio::test]
async fn anthropic_calls_tools() {
    let events = [
        json!({"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Let me see."}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "toolu_1", "name": "list", "input": {}}}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{\"path\":"}}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "\".\"}"}}),
        json!({"type": "content_block_stop", "index": 1}),
        json!({"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "toolu_2", "name": "list", "input": {}}}),
        json!({"type": "content_block_stop", "index": 2}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 4}}),
        json!({"type": "message_stop"}),
    ];
    let mut pieces = vec![stream_head()];
    pieces.extend(events.map(|event| {
        let name = event["type"].as_str().unwrap();
        chunk(&format!("event: {name}\ndata: {event}\n\n"))
    }));
    pieces.push("0\r\n\r\n".into());
    let act = Act::Say(pieces);
    let (outcome, body) = heard(ModelApi::Anthropic, "/v1", act, &with_tools(false)).await;
    assert_eq!(outcome.text, "Let me see.");
    assert_eq!(
        told(&outcome),
        [("list", "{\"path\":\".\"}"), ("list", "{}")]
    );

    assert_eq!(body["tools"][1]["name"], "exec");
    assert_eq!(body["tool_choice"]["type"], "none");
    let said = body["messages"].as_array().unwrap();
    assert_eq!(said.len(), 3, "all results are in one message: {said:?}");
    assert_eq!(said[1]["content"][1]["type"], "tool_use");
    assert_eq!(said[1]["content"][1]["id"], "id1");
    assert_eq!(said[2]["role"], "user");
    assert_eq!(said[2]["content"][0]["tool_use_id"], "id1");
    assert_eq!(said[2]["content"][1]["tool_use_id"], "id2");
}

#[tokio::test]
async fn gemini_calls_tools_and_gets_its_signature_back() {
    let parts = json!([
        {"functionCall": {"name": "list", "args": {"path": "."}}, "thoughtSignature": "c2lnbmVk"},
        {"functionCall": {"name": "exec", "args": {"command": "date"}}},
    ]);
    let event = json!({
        "candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 6, "candidatesTokenCount": 2, "totalTokenCount": 8},
    });
    let pieces = vec![
        stream_head(),
        chunk(&format!("data: {event}\r\n\r\n")),
        "0\r\n\r\n".into(),
    ];
    let act = Act::Say(pieces.clone());
    let (outcome, body) = heard(ModelApi::Gemini, "/v1beta", act, &with_tools(true)).await;
    let expected = [
        ("list", "{\"path\":\".\"}"),
        ("exec", "{\"command\":\"date\"}"),
    ];
    assert_eq!(told(&outcome), expected);
    let said = &body["contents"];
    assert_eq!(said[1]["parts"][1]["functionCall"]["name"], "list");
    assert_eq!(said[2]["parts"][0]["functionResponse"]["name"], "list");
    assert_eq!(said[2]["parts"][1]["functionResponse"]["name"], "exec");

    let mut again = with_tools(true);
    again.messages = vec![
        Message::User("look".into()),
        Message::Model {
            text: String::new(),
            calls: outcome.calls.clone(),
        },
    ];
    again
        .messages
        .extend(outcome.calls.iter().map(|call| Message::Result {
            call: call.id.clone(),
            name: call.name.clone(),
            text: "fine".into(),
        }));
    let (_, body) = heard(ModelApi::Gemini, "/v1beta", Act::Say(pieces), &again).await;
    assert_eq!(
        body["contents"][1]["parts"][0]["thoughtSignature"],
        "c2lnbmVk"
    );
}

#[tokio::test]
async fn ollama_calls_tools() {
    let call = json!({"function": {"name": "list", "arguments": {"path": "."}}});
    let lines = [
        json!({"message": {"role": "assistant", "content": "", "tool_calls": [call]}, "done": false}),
        json!({"message": {"role": "assistant", "content": ""}, "done": true, "done_reason": "stop"}),
    ];
    let head = head(
        "200 OK",
        "application/x-ndjson",
        "transfer-encoding: chunked\r\n",
    );
    let mut pieces = vec![head];
    pieces.extend(lines.map(|line| chunk(&format!("{line}\n"))));
    pieces.push("0\r\n\r\n".into());
    let act = Act::Say(pieces);
    let (outcome, body) = heard(ModelApi::Ollama, "", act.clone(), &with_tools(true)).await;
    assert_eq!(told(&outcome), [("list", "{\"path\":\".\"}")]);
    assert_eq!(body["tools"].as_array().unwrap().len(), 2);
    let said = body["messages"].as_array().unwrap();
    let contents: Vec<_> = said[2..]
        .iter()
        .map(|m| (&m["role"], &m["content"]))
        .collect();
    let (tool, first, second) = (json!("tool"), json!("a\nb\n"), json!("error: …"));
    assert_eq!(contents, [(&tool, &first), (&tool, &second)]);
    // It cannot be told of tools and forbidden to use them.
    let (_, body) = heard(ModelApi::Ollama, "", act, &with_tools(false)).await;
    assert!(body.get("tools").is_none());
}
