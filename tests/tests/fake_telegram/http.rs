//! A bare HTTP client: one connection, one request.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|why| panic!("no JSON ({why}): {:?}", self.body))
    }
}

/// Posts a JSON body; `null` makes it a GET.
pub(crate) async fn request(url: &str, body: Value) -> Result<Reply> {
    let rest = url.strip_prefix("http://").context("only http")?;
    let (host, _) = rest.split_once('/').context("a path")?;
    let method = if body.is_null() { "GET" } else { "POST" };
    let content = if body.is_null() {
        Bytes::new()
    } else {
        body.to_string().into()
    };
    let request = Request::builder()
        .method(method)
        .uri(&rest[host.len()..])
        .header("host", host)
        .header("content-type", "application/json")
        .body(Full::new(content))?;
    let stream = TcpStream::connect(host).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let response: Response<_> = sender.send_request(request).await?;
        let (parts, body) = response.into_parts();
        let retry_after = parts.headers.get("retry-after");
        anyhow::Ok(Reply {
            status: parts.status.as_u16(),
            retry_after: retry_after.map(|value| value.to_str().unwrap_or_default().to_owned()),
            body: body.collect().await?.to_bytes(),
        })
    };
    let mut exchange = std::pin::pin!(exchange);
    // The connection is driven here and not in a task, so that dropping this future hangs up.
    tokio::select! {
        reply = &mut exchange => reply,
        _ = connection => exchange.await,
    }
}

/// Posts and answers status and JSON body.
pub(crate) async fn call(url: &str, body: Value) -> (u16, Value) {
    let reply = request(url, body).await.expect("an answer");
    (reply.status, reply.json())
}
