//! Against a small HTTP server on loopback that says, byte by byte, what it is told to.

use std::{collections::VecDeque, time::Duration};

use kennel_shared::{
    protocol::{Endpoint, HttpSpec, ModelApi, ModelSpec},
    secret::Secret,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

use super::super::{Answer, Fault, ProviderError, Request, RetryPolicy, Usage};
use super::Http;
use crate::window::{Call, Message};

mod roles;
mod tools;

const KEY: &str = "sk-very-secret";

/// What the server does with one request.
#[derive(Debug, Clone)]
enum Act {
    /// Answers in these pieces, then closes.
    Say(Vec<String>),
    /// Says this, then nothing more.
    Hang(String),
    /// Says the first once, and the second again and again, so long apart.
    Drip(String, String, Duration),
    /// Closes without a word.
    Close,
}

/// A request as the server saw it.
#[derive(Debug)]
struct Seen {
    head: String,
    body: serde_json::Value,
}

struct Server {
    port: u16,
    seen: mpsc::Receiver<Seen>,
}

impl Server {
    /// Serves one connection per act, each closed at its end.
    async fn start(acts: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen_tx, seen) = mpsc::channel(16);
        let mut acts: VecDeque<Act> = acts.into_iter().collect();
        tokio::spawn(async move {
            while let Some(act) = acts.pop_front() {
                let (mut stream, _) = listener.accept().await.unwrap();
                seen_tx.send(read_request(&mut stream).await).await.unwrap();
                match act {
                    Act::Close => {}
                    Act::Say(pieces) => {
                        for piece in pieces {
                            stream.write_all(piece.as_bytes()).await.unwrap();
                            stream.flush().await.unwrap();
                            tokio::task::yield_now().await;
                        }
                    }
                    Act::Drip(first, again, pause) => {
                        let mut said = stream.write_all(first.as_bytes()).await;
                        while said.is_ok() {
                            tokio::time::sleep(pause).await;
                            said = stream.write_all(again.as_bytes()).await;
                        }
                    }
                    Act::Hang(text) => {
                        stream.write_all(text.as_bytes()).await.unwrap();
                        // Until the client gives up.
                        let _ = stream.read_to_end(&mut Vec::new()).await;
                    }
                }
            }
        });
        Self { port, seen }
    }

    async fn seen(&mut self) -> Seen {
        let seen = timeout(Duration::from_secs(10), self.seen.recv()).await;
        seen.expect("the server is asked").unwrap()
    }
}

async fn read_request(stream: &mut TcpStream) -> Seen {
    let mut bytes = Vec::new();
    let body_at = loop {
        stream.read_buf(&mut bytes).await.unwrap();
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8(bytes[..body_at].to_vec()).unwrap();
    let length: usize = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length:")?
                .trim()
                .parse()
                .ok()
        })
        .expect("a request with a length");
    while bytes.len() < body_at + length {
        stream.read_buf(&mut bytes).await.unwrap();
    }
    Seen {
        head,
        body: serde_json::from_slice(&bytes[body_at..]).unwrap(),
    }
}

fn head(status: &str, content_type: &str, more: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\nconnection: close\r\n{more}\r\n")
}

/// An error answer with a body.
fn status(status: &str, more: &str, body: &str) -> Act {
    let length = format!("content-length: {}\r\n{more}", body.len());
    Act::Say(vec![head(status, "application/json", &length), body.into()])
}

/// A chunk of HTTP's chunked encoding.
fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

fn stream_head() -> String {
    head(
        "200 OK",
        "text/event-stream",
        "transfer-encoding: chunked\r\n",
    )
}

fn openai_event(text: &str) -> String {
    let event = serde_json::json!({
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}],
    });
    chunk(&format!("data: {event}\n\n"))
}

/// A whole answer as OpenAI's servers stream it.
fn openai(texts: &[&str]) -> Act {
    let mut pieces = vec![stream_head()];
    pieces.extend(texts.iter().map(|text| openai_event(text)));
    let stop = serde_json::json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    let usage = serde_json::json!({
        "choices": [],
        "usage": {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16},
    });
    pieces.push(chunk(&format!("data: {stop}\n\n")));
    pieces.push(chunk(&format!("data: {usage}\n\n")));
    pieces.push(chunk("data: [DONE]\n\n"));
    pieces.push("0\r\n\r\n".into());
    Act::Say(pieces)
}

fn spec(api: ModelApi, base_url: String) -> ModelSpec {
    ModelSpec {
        provider: "local".into(),
        model: "tiny".into(),
        temperature_milli: Some(250),
        max_tokens: Some(64),
        endpoint: Endpoint::Http(HttpSpec {
            api,
            base_url: Some(base_url),
            api_key: Some(Secret::new(KEY)),
            request_timeout_ms: 1000,
            first_byte_timeout_ms: 300,
            idle_timeout_ms: 200,
            max_retries: 2,
        }),
    }
}

fn provider(api: ModelApi, base_url: String) -> Http {
    let spec = spec(api, base_url);
    let Endpoint::Http(http) = &spec.endpoint else {
        unreachable!()
    };
    Http::new(&spec, http).with_retries(RetryPolicy {
        max_retries: http.max_retries,
        first: Duration::from_millis(5),
        longest: Duration::from_millis(20),
    })
}

fn request() -> Request {
    Request {
        system: Some("Be kind.".into()),
        messages: vec![
            Message::User("hi".into()),
            Message::answer("hello"),
            Message::User("how are you?".into()),
        ],
        ..Request::default()
    }
}

/// What came of asking.
#[derive(Debug)]
struct Outcome {
    text: String,
    error: Option<ProviderError>,
    usage: Usage,
    calls: Vec<Call>,
    retries: u32,
}

async fn ask(http: &Http) -> Outcome {
    ask_this(http, &request()).await
}

async fn ask_this(http: &Http, request: &Request) -> Outcome {
    let mut answer = Answer::to(request, http);
    let mut text = String::new();
    let error = loop {
        match timeout(Duration::from_secs(20), answer.next())
            .await
            .unwrap()
        {
            Ok(Some(piece)) => text.push_str(&piece),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    Outcome {
        text,
        error,
        usage: answer.usage,
        calls: answer.calls,
        retries: answer.retries,
    }
}

async fn ask_openai(acts: impl IntoIterator<Item = Act>) -> (Outcome, Server) {
    let server = Server::start(acts).await;
    let http = provider(
        ModelApi::OpenAi,
        format!("http://127.0.0.1:{}/v1", server.port),
    );
    (ask(&http).await, server)
}

fn fault(outcome: &Outcome) -> Option<Fault> {
    outcome.error.as_ref().map(|error| error.fault)
}

#[tokio::test]
async fn openai_streams() {
    let (outcome, mut server) = ask_openai([openai(&["Fine", ", ", "thänks."])]).await;
    assert_eq!(outcome.text, "Fine, thänks.");
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    let expected = Usage {
        input_tokens: 11,
        output_tokens: 5,
    };
    assert_eq!((outcome.usage, outcome.retries), (expected, 0));

    let seen = server.seen().await;
    assert!(
        seen.head
            .starts_with("POST /v1/chat/completions HTTP/1.1\r\n"),
        "{}",
        seen.head
    );
    let authorization = format!("authorization: bearer {KEY}\r\n");
    assert!(
        seen.head.to_ascii_lowercase().contains(&authorization),
        "{}",
        seen.head
    );
    assert_eq!(seen.body["model"], "tiny");
    assert_eq!(seen.body["stream"], true);
    assert_eq!(seen.body["temperature"], 0.25);
    assert_eq!(seen.body["max_tokens"], 64);
    let said: Vec<_> = seen.body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| {
            (
                message["role"].as_str().unwrap(),
                message["content"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("system", "Be kind."),
        ("user", "hi"),
        ("assistant", "hello"),
        ("user", "how are you?"),
    ];
    assert_eq!(said, expected);
}

#[tokio::test]
async fn a_base_url_may_end_with_a_slash() {
    let mut server = Server::start([openai(&["yes"])]).await;
    let http = provider(
        ModelApi::OpenAi,
        format!("http://127.0.0.1:{}/v1/", server.port),
    );
    assert_eq!(ask(&http).await.text, "yes");
    assert!(
        server
            .seen()
            .await
            .head
            .starts_with("POST /v1/chat/completions ")
    );
}

#[tokio::test]
async fn a_wrong_key_is_told_at_once_and_nowhere_shown() {
    let body = format!(r#"{{"error":{{"message":"Incorrect API key provided: {KEY}"}}}}"#);
    let (outcome, _server) = ask_openai([status("401 Unauthorized", "", &body)]).await;
    assert_eq!(
        (fault(&outcome), outcome.retries),
        (Some(Fault::Status(401)), 0)
    );
    let error = outcome.error.unwrap();
    let told = error
        .for_person(&spec(ModelApi::OpenAi, String::new()))
        .message;
    assert_eq!(
        told,
        "The model answered 401 (unauthorized): check the api_key of provider `local`."
    );
    let logged = error.to_string();
    assert!(
        logged.contains("Incorrect API key provided: [redacted]"),
        "{logged}"
    );
    assert!(!format!("{error:?}").contains(KEY));
}

#[tokio::test]
async fn too_many_requests_waits_as_long_as_it_is_asked_to() {
    let begun = tokio::time::Instant::now();
    let busy = status("429 Too Many Requests", "retry-after-ms: 300\r\n", "{}");
    let (outcome, _server) = ask_openai([busy, openai(&["now"])]).await;
    assert_eq!((outcome.text.as_str(), outcome.retries), ("now", 1));
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_wait_that_is_too_long_is_told_instead() {
    let busy = status("429 Too Many Requests", "retry-after: 3600\r\n", "{}");
    let (outcome, _server) = ask_openai([busy]).await;
    assert_eq!(
        (fault(&outcome), outcome.retries),
        (Some(Fault::Status(429)), 0)
    );
    let asked = outcome.error.unwrap().retry_after;
    assert_eq!(asked, Some(Duration::from_hours(1)));
}

#[tokio::test]
async fn a_broken_server_is_asked_again_until_it_answers() {
    let broken = status("500 Internal Server Error", "", "oops");
    let (outcome, _server) = ask_openai([broken, Act::Close, openai(&["at last"])]).await;
    assert_eq!((outcome.text.as_str(), outcome.retries), ("at last", 2));
    assert!(outcome.error.is_none());
}

#[tokio::test]
async fn patience_ends() {
    let broken = status("503 Service Unavailable", "", "oops");
    let (outcome, _server) = ask_openai(vec![broken; 3]).await;
    assert_eq!(
        (fault(&outcome), outcome.retries),
        (Some(Fault::Status(503)), 2)
    );
}

#[tokio::test]
async fn what_was_shown_is_not_begun_anew() {
    // The chunked body is never ended: the connection breaks in the middle.
    let half = Act::Say(vec![stream_head(), openai_event("half an ans")]);
    let (outcome, _server) = ask_openai([half, openai(&["never asked for"])]).await;
    assert_eq!(outcome.text, "half an ans");
    assert_eq!(
        (fault(&outcome), outcome.retries),
        (Some(Fault::Disconnected), 0)
    );
}

#[tokio::test]
async fn an_answer_without_its_end_mark_is_broken() {
    let mut pieces = vec![stream_head(), openai_event("half")];
    pieces.push("0\r\n\r\n".into());
    let (outcome, _server) = ask_openai([Act::Say(pieces)]).await;
    assert_eq!(fault(&outcome), Some(Fault::Disconnected));
}

#[tokio::test]
async fn silence_ends() {
    let before = Act::Hang(String::new());
    let (outcome, _server) = ask_openai([before.clone(), openai(&["awake"])]).await;
    assert_eq!((outcome.text.as_str(), outcome.retries), ("awake", 1));

    let (outcome, _server) = ask_openai(vec![before; 3]).await;
    let limit = Duration::from_millis(300);
    assert_eq!(fault(&outcome), Some(Fault::Silent(limit)));

    let amid = Act::Hang(format!("{}{}", stream_head(), openai_event("well")));
    let (outcome, _server) = ask_openai([amid]).await;
    assert_eq!(outcome.text, "well");
    let limit = Duration::from_millis(200);
    assert_eq!(fault(&outcome), Some(Fault::Silent(limit)));
}

#[tokio::test]
async fn an_answer_that_never_ends_is_given_up() {
    let drip = Act::Drip(
        stream_head(),
        openai_event("and "),
        Duration::from_millis(20),
    );
    let (outcome, _server) = ask_openai([drip]).await;
    assert!(outcome.text.starts_with("and and "), "{}", outcome.text);
    let limit = Duration::from_secs(1);
    assert_eq!(fault(&outcome), Some(Fault::Slow(limit)));
}

#[tokio::test]
async fn garbage_is_not_an_answer() {
    let page = "<html>Welcome to nginx!</html>";
    let length = format!("content-length: {}\r\n", page.len());
    let html = Act::Say(vec![head("200 OK", "text/html", &length), page.into()]);
    let json = Act::Say(vec![stream_head(), chunk("data: {\"choices\": [\n\n")]);
    let bytes = Act::Say(vec![stream_head(), "zz\r\n".into()]);
    for (act, expected) in [
        (html, Fault::Garbage),
        (json, Fault::Garbage),
        // A broken transfer is taken for a broken connection, so it is asked again.
        (bytes, Fault::Disconnected),
    ] {
        let (outcome, _server) = ask_openai(vec![act; 3]).await;
        assert_eq!(
            (outcome.text.as_str(), fault(&outcome)),
            ("", Some(expected))
        );
    }
}

#[tokio::test]
async fn an_error_amid_an_answer_is_reported() {
    let error = |body: &str| {
        let data = chunk(&format!("data: {{\"error\":{body}}}\n\n"));
        Act::Say(vec![stream_head(), openai_event("hm"), data])
    };
    let cases = [
        (r#"{"message":"slot died"}"#, Fault::Reported),
        (r#"{"message":"no memory","code":500}"#, Fault::Status(500)),
        (r#"{"type":"overloaded_error"}"#, Fault::Status(529)),
    ];
    for (body, expected) in cases {
        let (outcome, _server) = ask_openai([error(body)]).await;
        assert_eq!(
            (outcome.text.as_str(), fault(&outcome)),
            ("hm", Some(expected))
        );
    }
}

#[tokio::test]
async fn a_redirection_is_not_followed() {
    let mut other = Server::start([openai(&["got you"])]).await;
    let location = format!(
        "location: http://127.0.0.1:{}/v1/chat/completions\r\n",
        other.port
    );
    let (outcome, _server) = ask_openai([status("307 Temporary Redirect", &location, "")]).await;
    assert_eq!(fault(&outcome), Some(Fault::Status(307)));
    assert!(other.seen.try_recv().is_err());
}

#[tokio::test]
async fn nobody_there_is_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let http = provider(ModelApi::OpenAi, format!("http://127.0.0.1:{port}/v1"));
    let outcome = ask(&http).await;
    assert_eq!(
        (fault(&outcome), outcome.retries),
        (Some(Fault::Connect), 2)
    );
    let logged = outcome.error.unwrap().to_string();
    assert!(logged.contains("refused"), "the cause is told: {logged}");
}

#[tokio::test]
async fn a_base_url_that_is_none_is_told() {
    let http = provider(ModelApi::OpenAi, "not a url".into());
    let outcome = ask(&http).await;
    assert_eq!(
        (fault(&outcome), outcome.retries),
        (Some(Fault::Request), 0)
    );
}

#[tokio::test]
async fn dropping_an_answer_ends_the_request() {
    let server = Server::start([Act::Hang(stream_head()), openai(&["next"])]).await;
    let http = provider(
        ModelApi::OpenAi,
        format!("http://127.0.0.1:{}/v1", server.port),
    );
    let request = request();
    let mut answer = Answer::to(&request, &http);
    assert!(
        timeout(Duration::from_millis(100), answer.next())
            .await
            .is_err()
    );
    drop(answer);
    // The server serves one connection after the other: it goes on when the first is closed.
    assert_eq!(ask(&http).await.text, "next");
}

#[tokio::test]
async fn anthropic_streams() {
    let events = [
        (
            "message_start",
            r#"{"type":"message_start","message":{"id":"m","role":"assistant","content":[],"model":"tiny","usage":{"input_tokens":9,"output_tokens":1}}}"#,
        ),
        (
            "content_block_start",
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        ),
        ("ping", r#"{"type":"ping"}"#),
        (
            "content_block_delta",
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Bon"}}"#,
        ),
        (
            "content_block_delta",
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"jour"}}"#,
        ),
        (
            "content_block_stop",
            r#"{"type":"content_block_stop","index":0}"#,
        ),
        (
            "message_delta",
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":4}}"#,
        ),
        ("message_stop", r#"{"type":"message_stop"}"#),
    ];
    let mut pieces = vec![stream_head()];
    pieces.extend(events.map(|(name, data)| chunk(&format!("event: {name}\ndata: {data}\n\n"))));
    pieces.push("0\r\n\r\n".into());
    let mut server = Server::start([Act::Say(pieces)]).await;
    let http = provider(
        ModelApi::Anthropic,
        format!("http://127.0.0.1:{}/v1", server.port),
    );
    let outcome = ask(&http).await;
    assert_eq!(outcome.text, "Bonjour");
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    assert_eq!(outcome.usage.input_tokens, 9);
    assert!(outcome.usage.output_tokens >= 4);

    let seen = server.seen().await;
    assert!(
        seen.head.starts_with("POST /v1/messages HTTP/1.1\r\n"),
        "{}",
        seen.head
    );
    assert!(
        seen.head
            .to_ascii_lowercase()
            .contains(&format!("x-api-key: {KEY}"))
    );
    assert_eq!(seen.body["system"], "Be kind.");
    assert_eq!(seen.body["messages"][2]["role"], "user");
    assert_eq!(seen.body["max_tokens"], 64);
}

#[tokio::test]
async fn ollama_streams() {
    let lines = [
        r#"{"model":"tiny","message":{"role":"assistant","content":"Gu"},"done":false}"#,
        r#"{"model":"tiny","message":{"role":"assistant","content":"ten"},"done":false}"#,
        r#"{"model":"tiny","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","prompt_eval_count":7,"eval_count":3}"#,
    ];
    let mut pieces = vec![head(
        "200 OK",
        "application/x-ndjson",
        "transfer-encoding: chunked\r\n",
    )];
    pieces.extend(lines.map(|line| chunk(&format!("{line}\n"))));
    pieces.push("0\r\n\r\n".into());
    let mut server = Server::start([Act::Say(pieces)]).await;
    let http = provider(
        ModelApi::Ollama,
        format!("http://127.0.0.1:{}", server.port),
    );
    let outcome = ask(&http).await;
    assert_eq!(outcome.text, "Guten");
    let expected = Usage {
        input_tokens: 7,
        output_tokens: 3,
    };
    assert_eq!(outcome.usage, expected);
    let seen = server.seen().await;
    assert!(
        seen.head.starts_with("POST /api/chat HTTP/1.1\r\n"),
        "{}",
        seen.head
    );
}

#[tokio::test]
async fn gemini_streams() {
    let event = |text: &str, more: &str| {
        chunk(&format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{text}\"}}],\"role\":\"model\"}},\"index\":0{more}}}],\
             \"usageMetadata\":{{\"promptTokenCount\":6,\"candidatesTokenCount\":2,\"totalTokenCount\":8}}}}\r\n\r\n"
        ))
    };
    let pieces = vec![
        stream_head(),
        event("Bue", ""),
        event("nas", ",\"finishReason\":\"STOP\""),
        "0\r\n\r\n".into(),
    ];
    let mut server = Server::start([Act::Say(pieces)]).await;
    let http = provider(
        ModelApi::Gemini,
        format!("http://127.0.0.1:{}/v1beta", server.port),
    );
    let outcome = ask(&http).await;
    assert_eq!(outcome.text, "Buenas");
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    let expected = Usage {
        input_tokens: 6,
        output_tokens: 2,
    };
    assert_eq!(outcome.usage, expected);
    let seen = server.seen().await;
    let path = "POST /v1beta/models/tiny:streamGenerateContent?alt=sse HTTP/1.1\r\n";
    assert!(seen.head.starts_with(path), "{}", seen.head);
    assert!(!seen.head.lines().next().unwrap().contains(KEY));
}
