//! A client against a socket that answers what the test wrote, byte for byte.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixListener,
    thread,
};

use serde_json::json;

use super::*;
use crate::control::wire::{ErrorCode, EventsQuery, TurnEvent};

/// Answers one request with `answer` and returns what was asked.
struct Script {
    _dir: tempfile::TempDir,
    client: Client,
    server: thread::JoinHandle<String>,
}

impl Script {
    fn new(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; 64 * 1024];
            let n = stream.read(&mut request).unwrap();
            request.truncate(n);
            // The client may hang up as soon as it has seen enough.
            let _ = stream.write_all(&answer);
            String::from_utf8(request).unwrap()
        });
        Self {
            client: Client::new(socket),
            server,
            _dir: dir,
        }
    }

    fn json(status: &str, body: &serde_json::Value) -> Self {
        let body = body.to_string();
        let length = body.len();
        Self::new(format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
    }

    /// A stream that ends where the text ends, without the last chunk when `whole` is false.
    fn events(text: &str, whole: bool) -> Self {
        let end = if whole { "0\r\n\r\n" } else { "" };
        Self::new(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n{end}",
            text.len(),
        ))
    }

    fn asked(self) -> String {
        self.server.join().unwrap()
    }
}

fn turn() -> TurnRequest {
    TurnRequest {
        text: "hello".into(),
        session: None,
        stream: true,
    }
}

#[tokio::test]
async fn a_question_is_asked_and_the_answer_is_kept_as_it_came() {
    let answer = json!({"channels": [], "later": true});
    let script = Script::json("200 OK", &answer);
    let found = script.client.channels().await.unwrap();
    assert_eq!(found.json, answer.to_string());
    assert_eq!(found.value.channels, []);
    let asked = script.asked();
    assert!(
        asked.starts_with("GET /api/v1/channels HTTP/1.1\r\n"),
        "{asked}"
    );
    assert!(asked.contains("host: localhost\r\n"), "{asked}");
}

#[tokio::test]
async fn an_action_carries_its_limit() {
    let script = Script::json("200 OK", &json!({}));
    let request = ActionRequest {
        wait: true,
        timeout_ms: Some(1500),
    };
    let refused = script.client.act("a/b", Action::Stop, &request).await;
    assert!(matches!(refused, Err(ClientError::Unreadable { .. })));
    let asked = script.asked();
    assert!(
        asked.starts_with("POST /api/v1/agents/a%2Fb/stop HTTP/1.1\r\n"),
        "{asked}"
    );
    assert!(
        asked.ends_with(r#"{"wait":true,"timeout_ms":1500}"#),
        "{asked}"
    );
}

#[tokio::test]
async fn an_error_of_the_api_is_read() {
    let body =
        json!({"error": {"code": "agent_not_found", "message": "no agent", "hint": "hexa?"}});
    let script = Script::json("404 Not Found", &body);
    let Err(ClientError::Api { status: 404, error }) = script.client.agent("hexx").await else {
        panic!("not an API error");
    };
    assert_eq!(error.code, ErrorCode::AgentNotFound);
    assert_eq!(error.hint.as_deref(), Some("hexa?"));
}

#[tokio::test]
async fn an_error_that_does_not_explain_itself_is_still_an_error() {
    let script = Script::new("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\noops");
    let error = script.client.health().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the supervisor answered 500 Internal Server Error"
    );
}

#[tokio::test]
async fn nobody_listens() {
    let dir = tempfile::tempdir().unwrap();
    let absent = Client::new(dir.path().join("control.sock"));
    let error = absent.health().await.unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error:?}");

    drop(UnixListener::bind(absent.socket()).unwrap());
    let error = absent.health().await.unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error:?}");

    let long = Client::new(dir.path().join("x".repeat(200)));
    let error = long.health().await.unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }), "{error:?}");
}

#[tokio::test]
async fn what_is_not_http_is_an_error() {
    let script = Script::new("220 mail.example ESMTP\r\n");
    let error = script.client.health().await.unwrap_err();
    assert!(matches!(error, ClientError::Lost(_)), "{error:?}");
}

#[tokio::test]
async fn half_an_answer_is_an_error() {
    let script = Script::new("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"status\"");
    let error = script.client.health().await.unwrap_err();
    assert!(matches!(error, ClientError::Lost(_)), "{error:?}");
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    answer.resize(ANSWER_MAX_BYTES + 1024, b' ');
    let script = Script::new(answer);
    let error = script.client.status().await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_supervisor_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let client = Client::new(dir.path().join("control.sock"));
    let _listener = UnixListener::bind(client.socket()).unwrap();
    let error = client.health().await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { limit } if limit == SHORT));
}

#[tokio::test]
async fn a_turn_is_streamed() {
    let script = Script::events(
        "event: accepted\ndata: {\"type\":\"accepted\",\"turn_id\":\"t1\",\"session\":\"s\"}\n\n\
         : still here\n\n\
         event: weather\ndata: sunny\n\n\
         event: delta\ndata: {\"type\":\"delta\",\"text\":\"hi\"}\n\n",
        true,
    );
    let mut events = script.client.turn_stream("hexa", &turn()).await.unwrap();
    let accepted = TurnEvent::Accepted {
        turn_id: "t1".into(),
        session: "s".into(),
    };
    assert_eq!(events.next().await.unwrap(), accepted);
    let delta = TurnEvent::Delta { text: "hi".into() };
    assert_eq!(events.next().await.unwrap(), delta);
    let end = events.next().await;
    assert!(matches!(end, Err(ClientError::Truncated)), "{end:?}");
    assert!(script.asked().contains(r#""stream":true"#));
}

#[tokio::test]
async fn a_stream_that_breaks_is_an_error() {
    let script = Script::events("data: 1\n\ndata: 2", false);
    let mut events = script.client.events(&EventsQuery::default()).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().data, "1");
    let end = events.next().await;
    assert!(matches!(end, Err(ClientError::Lost(_))), "{end:?}");
}

#[tokio::test]
async fn what_is_not_a_stream_is_an_error() {
    let script = Script::json("200 OK", &json!({}));
    let error = script.client.follow_logs("hexa", 1).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreadable { .. }), "{error:?}");
}

#[test]
fn every_text_is_one_segment() {
    assert_eq!(segment("hexa-1_b"), "hexa-1_b");
    assert_eq!(segment("../a?b#c%ü"), "%2E%2E%2Fa%3Fb%23c%25%C3%BC");
}
