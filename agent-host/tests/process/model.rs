//! A model server that speaks OpenAI's API: it answers from a script, by what it is shown, and counts.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use kennel_shared::protocol::{Endpoint, HttpSpec, ModelApi, ModelSpec};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// An answer: its text, and the calls with their arguments.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) text: &'static str,
    pub(crate) calls: Vec<(&'static str, Value)>,
}

/// How far it has come with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Point {
    Asked(usize),
    HalfAnswered(usize),
    Answered(usize),
}

/// What was asked for, by the number of the answer.
#[derive(Debug, Default)]
struct Seen(BTreeMap<usize, Vec<Value>>);

#[derive(Debug)]
pub(crate) struct Model {
    port: u16,
    seen: Arc<Mutex<Seen>>,
    /// The last point that it came to.
    pub(crate) at: watch::Receiver<Option<Point>>,
}

impl Model {
    pub(crate) async fn start(script: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (at_tx, at) = watch::channel(None);
        let (script, noted) = (Arc::new(script), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, noted, at) = (Arc::clone(&script), Arc::clone(&noted), at_tx.clone());
                // Whoever asked may be killed at any time.
                tokio::spawn(async move { serve(stream, &script, &noted, &at).await });
            }
        });
        Self { port, seen, at }
    }

    pub(crate) fn spec(&self) -> ModelSpec {
        ModelSpec {
            provider: "local".into(),
            model: "tiny".into(),
            temperature_milli: None,
            max_tokens: None,
            endpoint: Endpoint::Http(HttpSpec {
                api: ModelApi::OpenAi,
                base_url: Some(format!("http://127.0.0.1:{}/v1", self.port)),
                api_key: None,
                request_timeout_ms: 20_000,
                first_byte_timeout_ms: 20_000,
                idle_timeout_ms: 20_000,
                max_retries: 0,
            }),
        }
    }

    /// Waits until all requests are counted of agents that are gone: the last may still be on its way.
    pub(crate) async fn settled(&self) {
        // Connections are taken in order, this one after theirs.
        let mut last = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        last.shutdown().await.unwrap();
        assert_eq!(last.read_u8().await.ok(), None, "nothing was asked");
        // One here, one with whoever takes connections.
        while Arc::strong_count(&self.seen) > 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// How often this answer was asked for.
    pub(crate) fn asked(&self, number: usize) -> usize {
        self.seen.lock().unwrap().0.get(&number).map_or(0, Vec::len)
    }

    /// The last request for this answer.
    pub(crate) fn last(&self, number: usize) -> Value {
        let seen = self.seen.lock().unwrap();
        seen.0[&number].last().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    script: &[Answer],
    seen: &Mutex<Seen>,
    at: &watch::Sender<Option<Point>>,
) -> Option<()> {
    let body = request(&mut stream).await?;
    // By how often it has answered since the person spoke last.
    let messages = body["messages"].as_array().unwrap();
    let since = messages.iter().rev().take_while(|m| m["role"] != "user");
    let number = since.filter(|m| m["role"] == "assistant").count();
    seen.lock().unwrap().0.entry(number).or_default().push(body);
    at.send_replace(Some(Point::Asked(number)));
    tokio::time::sleep(Duration::from_millis(5)).await;

    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.ok()?;
    let answer = &script[number];
    let mut deltas = vec![json!({"role": "assistant", "content": answer.text})];
    for (index, (name, arguments)) in answer.calls.iter().enumerate() {
        let id = format!("call_{name}_{number}_{index}");
        deltas.push(json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}]}));
        let arguments = arguments.to_string();
        let (first, second) = arguments.split_at(arguments.len() / 2);
        for piece in [first, second] {
            deltas
                .push(json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}));
        }
    }
    let half = deltas.len() / 2;
    for (place, delta) in deltas.into_iter().enumerate() {
        let event = json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]});
        say(&mut stream, &event.to_string()).await?;
        if place == half {
            at.send_replace(Some(Point::HalfAnswered(number)));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    say(&mut stream, &end.to_string()).await?;
    say(&mut stream, "[DONE]").await?;
    stream.shutdown().await.ok()?;
    at.send_replace(Some(Point::Answered(number)));
    Some(())
}

async fn say(stream: &mut TcpStream, data: &str) -> Option<()> {
    let event = format!("data: {data}\n\n");
    stream.write_all(event.as_bytes()).await.ok()
}

async fn request(stream: &mut TcpStream) -> Option<Value> {
    let mut bytes = Vec::new();
    let body_at = loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8(bytes[..body_at].to_vec()).unwrap();
    let length: usize = head
        .lines()
        .find_map(|line| {
            let line = line.to_ascii_lowercase();
            line.strip_prefix("content-length:")?.trim().parse().ok()
        })
        .unwrap();
    while bytes.len() < body_at + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    serde_json::from_slice(&bytes[body_at..]).ok()
}
