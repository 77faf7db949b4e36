//! A client of the control API: one connection, kept open, one request at a time.

use std::path::Path;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request,
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

/// Server-sent events, on a connection of their own.
pub(super) struct Events {
    body: Incoming,
    text: String,
}

impl Events {
    pub(super) async fn unix(socket: &Path, path: &str) -> anyhow::Result<Self> {
        let mut api = Api::unix(socket).await?;
        let request = Request::builder().uri(path).header(HOST, "localhost");
        let response = api.0.send_request(request.body(Full::default())?).await?;
        anyhow::ensure!(
            response.status().is_success(),
            "{path}: {}",
            response.status()
        );
        Ok(Self {
            body: response.into_body(),
            text: String::new(),
        })
    }

    /// The data of the next event; `None` at the end.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        loop {
            while let Some((line, _)) = self.text.split_once('\n') {
                let data = line.strip_prefix("data:").map(serde_json::from_str);
                self.text.drain(..=line.len());
                if let Some(data) = data {
                    return Ok(Some(data?));
                }
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            let bytes = frame?.into_data().unwrap_or_default();
            self.text.push_str(std::str::from_utf8(&bytes)?);
        }
    }
}

/// The header that names a session.
const SESSION: &str = "x-kennel-session";

pub(super) struct Api(SendRequest<Full<Bytes>>);

impl Api {
    pub(super) async fn unix(path: &Path) -> anyhow::Result<Self> {
        Self::over(UnixStream::connect(path).await?).await
    }

    pub(super) async fn tcp(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Self::over(stream).await
    }

    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Ends with the sender; its errors come out of the request that they fail.
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    pub(super) async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None, Bytes::new()).await
    }

    /// The answer as it is.
    pub(super) async fn text(&mut self, path: &str) -> anyhow::Result<String> {
        let bytes = self.bytes(Method::GET, path, None, Bytes::new()).await?;
        Ok(String::from_utf8(bytes.into())?)
    }

    pub(super) async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let body = body.to_string().into();
        self.call(Method::POST, path, None, body).await
    }

    pub(super) async fn delete(&mut self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::DELETE, path, None, Bytes::new()).await
    }

    /// Starts, stops or restarts an agent, and waits until it is so.
    pub(super) async fn act(&mut self, agent: &str, action: &str) -> anyhow::Result<()> {
        let path = format!("/api/v1/agents/{agent}/{action}");
        let reply = self.post(&path, &json!({ "wait": true })).await?;
        anyhow::ensure!(reply["outcome"] == "done", "{action} {agent}: {reply}");
        Ok(())
    }

    /// Sends a message to an agent and waits for the end of the turn, whatever it is.
    pub(super) async fn tell(&mut self, agent: &str, text: &str) -> anyhow::Result<Value> {
        let path = format!("/api/v1/agents/{agent}/turns");
        self.post(&path, &json!({ "text": text })).await
    }

    /// The same in a session of this name.
    pub(super) async fn tell_in(
        &mut self,
        agent: &str,
        session: &str,
        text: &str,
    ) -> anyhow::Result<Value> {
        let path = format!("/api/v1/agents/{agent}/turns");
        self.post(&path, &json!({ "text": text, "session": session }))
            .await
    }

    /// Has an agent answer a chat completion, and checks the answer.
    pub(super) async fn chat(
        &mut self,
        agent: &str,
        session: Option<&str>,
        text: &str,
    ) -> anyhow::Result<()> {
        let body = json!({
            "model": format!("agent/{agent}"),
            "messages": [{ "role": "user", "content": text }],
        });
        let body = body.to_string().into();
        let answer = self
            .call(Method::POST, "/v1/chat/completions", session, body)
            .await?;
        let content = &answer["choices"][0]["message"]["content"];
        anyhow::ensure!(content == text, "`{agent}` answered {answer}");
        Ok(())
    }

    async fn call(
        &mut self,
        method: Method,
        path: &str,
        session: Option<&str>,
        body: Bytes,
    ) -> anyhow::Result<Value> {
        let bytes = self.bytes(method, path, session, body).await?;
        serde_json::from_slice(&bytes).with_context(|| format!("{path} answers no JSON"))
    }

    async fn bytes(
        &mut self,
        method: Method,
        path: &str,
        session: Option<&str>,
        body: Bytes,
    ) -> anyhow::Result<Bytes> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json");
        if let Some(session) = session {
            request = request.header(SESSION, session);
        }
        self.0.ready().await?;
        let response = self.0.send_request(request.body(Full::new(body))?).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("{path}: {status}: {}", String::from_utf8_lossy(&bytes));
        }
        Ok(bytes)
    }
}
