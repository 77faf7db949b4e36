//! A small client of the control API. It knows nothing of Kennel's own types: what it reads is what
//! any program reads.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::slowed;

/// The longest that one answer, or one event, is waited for.
const LIMIT: Duration = Duration::from_secs(20);

/// An agent as the control API shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct AgentView {
    /// Its name.
    pub id: String,
    /// Its state, in one word.
    pub state: String,
    /// `running` or `stopped`.
    pub desired: String,
    /// Its process.
    pub pid: Option<i32>,
    /// Which life.
    pub generation: u64,
    /// Whether an earlier supervisor has started it.
    pub adopted: bool,
    /// Starts that nobody asked for.
    pub restarts: u64,
    /// Messages that wait.
    pub queued: u64,
    /// Turns that run.
    pub running: u64,
    /// Turns that have ended.
    pub turns: u64,
    /// `connected` or not.
    pub link: String,
    /// Why.
    pub detail: Option<String>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: hyper::HeaderMap,
    /// Its body, as JSON; a string when it is none.
    pub body: Value,
}

impl Response {
    /// The code of the error that it is.
    pub fn error_code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }
}

/// The end of a turn.
#[derive(Debug)]
pub struct Answer(pub Response);

impl Answer {
    /// The reply; panics when there is none.
    pub fn reply(&self) -> &str {
        self.ok()
            .unwrap_or_else(|| panic!("no reply: {} {}", self.0.status, self.0.body))
    }

    /// The reply, if there is one.
    pub fn ok(&self) -> Option<&str> {
        match self.0.status {
            200 => self.0.body["reply"].as_str(),
            _ => None,
        }
    }

    /// The message of the error that it is.
    pub fn error(&self) -> &str {
        self.0.body["error"]["message"].as_str().unwrap_or_default()
    }
}

#[derive(Debug, Clone)]
enum Target {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// Talks to one supervisor, each request on a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    target: Target,
    headers: Vec<(String, String)>,
}

impl Client {
    /// Over the control socket.
    pub fn unix(socket: PathBuf) -> Self {
        Self {
            target: Target::Unix(socket),
            headers: vec![("host".into(), "localhost".into())],
        }
    }

    /// Over TCP.
    pub fn tcp(port: u16) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            target: Target::Tcp(address),
            headers: vec![("host".into(), address.to_string())],
        }
    }

    /// Sends this header with every request, in place of another of the name.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> anyhow::Result<Response> {
        self.whole(Method::GET, path, Bytes::new()).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> anyhow::Result<Response> {
        self.whole(Method::DELETE, path, Bytes::new()).await
    }

    /// `POST` of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Response> {
        self.whole(Method::POST, path, body.to_string().into())
            .await
    }

    /// Any request, with any body.
    pub async fn whole(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Response> {
        let request = async {
            let (parts, body) = self.request(method, path, body).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Response {
                status: parts.status.as_u16(),
                headers: parts.headers,
                body: serde_json::from_slice(&body)
                    .unwrap_or_else(|_| String::from_utf8_lossy(&body).into()),
            })
        };
        let limit = slowed(LIMIT);
        timeout(limit, request)
            .await
            .with_context(|| format!("no answer within {limit:?}: {path}"))?
    }

    /// One agent; panics when the supervisor does not know it.
    pub async fn agent(&self, id: &str) -> AgentView {
        let found = self.get(&format!("/api/v1/agents/{id}")).await;
        let found = found.expect("the supervisor answers").body;
        serde_json::from_value(found.clone())
            .unwrap_or_else(|error| panic!("{error}: not an agent: {found}"))
    }

    /// Sends a text to an agent and waits for the end of the turn.
    pub async fn send(&self, id: &str, text: &str, session: Option<&str>) -> Answer {
        self.try_send(id, text, session)
            .await
            .expect("the supervisor answers")
    }

    /// Sends a text to an agent; an error is a supervisor that does not answer.
    pub async fn try_send(
        &self,
        id: &str,
        text: &str,
        session: Option<&str>,
    ) -> anyhow::Result<Answer> {
        let body = json!({ "text": text, "session": session });
        let path = format!("/api/v1/agents/{id}/turns");
        Ok(Answer(self.post(&path, &body).await?))
    }

    /// Sends a text to an agent and gives the events of the turn.
    pub async fn stream(&self, id: &str, text: &str, session: Option<&str>) -> Events {
        let body = json!({ "text": text, "session": session, "stream": true });
        let path = format!("/api/v1/agents/{id}/turns");
        self.events(Method::POST, &path, body.to_string().into())
            .await
    }

    /// The events that a request is answered with.
    pub async fn events(&self, method: Method, path: &str, body: Bytes) -> Events {
        let response = self.request(method, path, body).await;
        let response = response.expect("the supervisor answers");
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        Events {
            body: response.into_body(),
            text: String::new(),
        }
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<hyper::Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(path);
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body))?;
        match &self.target {
            Target::Unix(path) => exchange(UnixStream::connect(path).await?, request).await,
            Target::Tcp(address) => exchange(TcpStream::connect(address).await?, request).await,
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<hyper::Response<Incoming>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the response's body, or with the supervisor.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

/// Server-sent events. Dropping it closes the connection.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    text: String,
}

impl Events {
    /// The next event: its name and its data. `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| {
                    let value = block.lines().find_map(|line| line.strip_prefix(name));
                    value.map(|value| value.trim_start().to_owned())
                };
                // Without data it is a comment that keeps the connection.
                let Some(data) = field("data:") else {
                    continue;
                };
                let data = serde_json::from_str(&data).unwrap_or(Value::String(data));
                return Some((field("event:").unwrap_or_default(), data));
            }
            let frame = timeout(slowed(LIMIT), self.body.frame()).await;
            match frame.expect("an event, or the end, in time") {
                Some(Ok(frame)) => {
                    let bytes = frame.into_data().unwrap_or_default();
                    self.text.push_str(&String::from_utf8_lossy(&bytes));
                }
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Waits for the next event with this name and gives its data.
    pub async fn until(&mut self, name: &str) -> Value {
        loop {
            match self.next().await {
                Some((its_name, data)) if its_name == name => return data,
                Some(_) => {}
                None => panic!("the stream ended without `{name}`"),
            }
        }
    }

    /// Everything to the end.
    pub async fn rest(&mut self) -> Vec<(String, Value)> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push(event);
        }
        all
    }
}
