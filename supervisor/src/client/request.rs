//! One request and its answer.

use std::{future::Future, path::Path, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Response, StatusCode,
    body::Incoming,
    client::conn::http1,
    header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use super::{ANSWER_MAX_BYTES, Answer, ClientError, EventStream};
use crate::control::wire::{API, ApiError, ErrorBody, ErrorCode};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

/// A request that is not sent yet.
pub(super) struct Request {
    method: Method,
    path: String,
    body: Option<Bytes>,
    limit: Option<Duration>,
}

impl Request {
    fn new(method: Method, path: &str) -> Self {
        Self {
            method,
            path: format!("{API}{path}"),
            body: None,
            limit: None,
        }
    }

    pub(super) fn get(path: &str) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn post(path: &str) -> Self {
        Self::new(Method::POST, path)
    }

    pub(super) fn patch(path: &str) -> Self {
        Self::new(Method::PATCH, path)
    }

    pub(super) fn delete(path: &str) -> Self {
        Self::new(Method::DELETE, path)
    }

    pub(super) fn json(mut self, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("wire types are plain data");
        self.body = Some(body.into());
        self
    }

    /// Gives up after `limit`. For a stream, this is the wait for its beginning.
    pub(super) fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    pub(super) async fn answer<T: DeserializeOwned>(
        self,
        socket: &Path,
    ) -> Result<Answer<T>, ClientError> {
        let limit = self.limit;
        within(limit, async {
            let response = self.send(socket, JSON).await?;
            let response = refuse_errors(response).await?;
            let body = read(response.into_body()).await?;
            let value = decode(&body)?;
            let json =
                String::from_utf8(body.into()).map_err(|error| ClientError::unreadable(&error))?;
            Ok(Answer { json, value })
        })
        .await
    }

    pub(super) async fn stream(self, socket: &Path) -> Result<EventStream, ClientError> {
        let limit = self.limit;
        within(limit, async {
            let response = self.send(socket, EVENTS).await?;
            let response = refuse_errors(response).await?;
            let kind = response.headers().get(CONTENT_TYPE);
            if !kind.is_some_and(|kind| kind.as_bytes().starts_with(EVENTS.as_bytes())) {
                return Err(ClientError::unreadable(&"not an event stream"));
            }
            Ok(EventStream::new(response.into_body()))
        })
        .await
    }

    async fn send(
        self,
        socket: &Path,
        accept: HeaderValue,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(socket)
            .await
            .map_err(|error| ClientError::from_connect(socket, error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(ClientError::Lost)?;
        // Ends with the response's body; what it has to say is said there too.
        tokio::spawn(connection);
        let mut request = hyper::Request::builder()
            .method(self.method)
            .uri(self.path)
            // There is no host on a Unix socket, but HTTP/1.1 wants one.
            .header(HOST, "localhost")
            .header(ACCEPT, accept);
        if self.body.is_some() {
            request = request.header(CONTENT_TYPE, JSON);
        }
        let request = request
            .body(Full::new(self.body.unwrap_or_default()))
            .expect("paths are built from encoded segments");
        sender
            .send_request(request)
            .await
            .map_err(ClientError::Lost)
    }
}

async fn within<T>(
    limit: Option<Duration>,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    match limit {
        None => work.await,
        Some(limit) => tokio::time::timeout(limit, work)
            .await
            .unwrap_or(Err(ClientError::Timeout { limit })),
    }
}

async fn refuse_errors(response: Response<Incoming>) -> Result<Response<Incoming>, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = read(response.into_body()).await?;
    Err(ClientError::Api {
        status: status.as_u16(),
        error: serde_json::from_slice::<ErrorBody>(&body)
            .map_or_else(|_| bare_error(status), |body| body.error),
    })
}

/// What is left to say about an error that does not explain itself.
fn bare_error(status: StatusCode) -> ApiError {
    ApiError {
        code: ErrorCode::Unknown,
        message: format!("the supervisor answered {status}"),
        hint: None,
    }
}

async fn read(body: Incoming) -> Result<Bytes, ClientError> {
    match Limited::new(body, ANSWER_MAX_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ClientError::TooLarge {
            limit: ANSWER_MAX_BYTES,
        }),
        Err(error) => Err(match error.downcast::<hyper::Error>() {
            Ok(error) => ClientError::Lost(*error),
            Err(error) => ClientError::unreadable(&error),
        }),
    }
}

pub(super) fn decode<T: DeserializeOwned>(json: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(json).map_err(|error| ClientError::unreadable(&error))
}
