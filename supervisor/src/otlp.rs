//! Turns as traces, to a collector of OpenTelemetry: OTLP over HTTP, as JSON.
//!
//! ```text
//! dispatcher ── offer ──► queue, bounded ──► Exporter: batches ── POST /v1/traces ──► collector
//!                 └ full: dropped, and counted
//! ```
//!
//! Nobody waits for it. What a collector does not take within some attempts is dropped too; what the supervisor has not
//! sent when it ends is lost. The journal has all of it.

mod encode;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::{
    Client, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};
use tracing::{debug, warn};

use crate::turns::TurnRecord;

/// Turns that may wait. Full: they are dropped.
const QUEUE: usize = 512;

/// Turns in one request, and how long the first of them waits for others.
const BATCH: usize = 64;
const GATHER: Duration = Duration::from_millis(500);

/// How long a collector may take to connect, and to answer.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(10);

/// How often a batch is tried, and the waits between.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What became of turns, counted.
#[derive(Debug, Default)]
pub struct SpanCounts {
    sent: AtomicU64,
    dropped: AtomicU64,
}

impl SpanCounts {
    /// Turns that the collector has.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Turns that it does not have and will not get.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Where turns are handed in.
#[derive(Debug, Clone)]
pub struct SpanSink {
    queue: mpsc::Sender<Box<TurnRecord>>,
    counts: Arc<SpanCounts>,
}

impl SpanSink {
    /// Hands a turn in, if there is room. Never waits.
    pub fn offer(&self, turn: &TurnRecord) {
        if self.queue.try_send(Box::new(turn.clone())).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What became of them.
    pub fn counts(&self) -> Arc<SpanCounts> {
        Arc::clone(&self.counts)
    }
}

/// Sends what is handed in.
pub struct Exporter {
    inbox: mpsc::Receiver<Box<TurnRecord>>,
    url: String,
    headers: Vec<(String, SecretString)>,
    counts: Arc<SpanCounts>,
}

/// An exporter to the collector at `endpoint`, and the way to it.
pub fn prepare(endpoint: &str, headers: Vec<(String, SecretString)>) -> (SpanSink, Exporter) {
    let (queue, inbox) = mpsc::channel(QUEUE);
    let counts = Arc::new(SpanCounts::default());
    let sink = SpanSink {
        queue,
        counts: Arc::clone(&counts),
    };
    let exporter = Exporter {
        inbox,
        url: format!("{}/v1/traces", endpoint.trim_end_matches('/')),
        headers,
        counts,
    };
    (sink, exporter)
}

/// Why a request came to nothing.
#[derive(Debug)]
enum Failure {
    /// It may be tried again, not before this time if the collector says so.
    Again(String, Option<Duration>),
    /// It never will.
    Refused(String),
}

impl Exporter {
    /// Until every sink is gone.
    pub async fn run(mut self) {
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => {
                warn!(
                    error,
                    "no collector can be told of turns: a header cannot be sent"
                );
                return;
            }
        };
        let mut failing = false;
        while let Some(batch) = self.gather().await {
            let turns = batch.len() as u64;
            let body = encode::request(&batch).to_string();
            match self.deliver(&client, body).await {
                Ok(()) => {
                    self.counts.sent.fetch_add(turns, Ordering::Relaxed);
                    failing = false;
                }
                Err(error) => {
                    self.counts.dropped.fetch_add(turns, Ordering::Relaxed);
                    if !failing {
                        warn!(url = %self.url, error, turns, "a collector does not take traces; they are dropped");
                    }
                    failing = true;
                }
            }
        }
    }

    fn client(&self) -> Result<Client, String> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, secret) in &self.headers {
            let bytes = name.as_bytes();
            let name = HeaderName::from_bytes(bytes).map_err(|_| "its name".to_owned())?;
            let value = HeaderValue::from_str(secret.expose_secret().trim());
            let mut value = value.map_err(|_| format!("the value of `{name}`"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let mut builder = Client::builder()
            .default_headers(headers)
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(1)
            .user_agent(concat!("kennel/", env!("CARGO_PKG_VERSION")));
        if crate::config::is_loopback(&self.url) {
            // A proxy of the environment has no business between two programs of one machine.
            builder = builder.no_proxy();
        }
        builder
            .build()
            .map_err(|error| error.without_url().to_string())
    }

    /// The next turns; `None` when there will be no more.
    async fn gather(&mut self) -> Option<Vec<Box<TurnRecord>>> {
        let mut batch = vec![self.inbox.recv().await?];
        let until = Instant::now() + GATHER;
        while batch.len() < BATCH {
            match timeout_at(until, self.inbox.recv()).await {
                Ok(Some(turn)) => batch.push(turn),
                Ok(None) | Err(_) => break,
            }
        }
        Some(batch)
    }

    async fn deliver(&self, client: &Client, body: String) -> Result<(), String> {
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            match self.post(client, body.clone()).await {
                Ok(()) => return Ok(()),
                Err(Failure::Refused(why)) => return Err(why),
                Err(Failure::Again(why, _)) if attempt == ATTEMPTS => return Err(why),
                Err(Failure::Again(why, wait)) => {
                    debug!(url = %self.url, error = why, attempt, "traces are sent again");
                    sleep(wait.unwrap_or(pause).min(LONGEST_PAUSE)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    attempt += 1;
                }
            }
        }
    }

    async fn post(&self, client: &Client, body: String) -> Result<(), Failure> {
        let sent = client.post(&self.url).body(body).send().await;
        let answer =
            sent.map_err(|error| Failure::Again(crate::error_chain(&error.without_url()), None))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status @ (StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT) => {
                let wait = answer.headers().get(RETRY_AFTER);
                let wait = wait.and_then(|wait| wait.to_str().ok()?.parse().ok());
                Err(Failure::Again(
                    format!("it answers {status}"),
                    wait.map(Duration::from_secs),
                ))
            }
            status => Err(Failure::Refused(format!("it answers {status}"))),
        }
    }
}

#[cfg(test)]
mod tests;
