//! The server's outside: connections, paths, tokens, and injected faults.
//!
//! One task accepts; it owns the tasks of its connections, so that ending it closes the port and cuts every
//! connection at once, as when a machine goes down.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::error::ApiError;
use super::fault::Fault;
use super::params::Params;
use super::world::Shared;
use super::{control, methods};

/// Serves until the future is dropped.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        // A client that is gone before it was accepted is no reason to stop.
        let Ok((stream, _)) = accepted else { continue };
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let shared = Arc::clone(&shared);
            async move { Ok::<_, Infallible>(route(&shared, request.map(Body::new)).await) }
        });
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// Splits the path: a bot's method, a bot's file, or the control API.
async fn route(shared: &Shared, request: Request<Body>) -> Response {
    // Some clients escape the colon of a token.
    let path = request.uri().path().trim_matches('/');
    let path = path.replace("%3A", ":").replace("%3a", ":");
    if let Some(command) = path.strip_prefix("control/") {
        return control::handle(shared, command, request).await;
    }
    if let Some((token, file)) = path
        .strip_prefix("file/bot")
        .and_then(|rest| rest.split_once('/'))
    {
        return download(shared, token, file);
    }
    match path
        .strip_prefix("bot")
        .and_then(|rest| rest.split_once('/'))
    {
        Some((token, method)) => answer(shared, token, method, request).await,
        None => ApiError::new(404, "Not Found").into_response(),
    }
}

fn download(shared: &Shared, token: &str, path: &str) -> Response {
    let found = shared.look(|world| {
        let known = world.bots.contains_key(token);
        let id = path.strip_prefix("documents/").filter(|_| known)?;
        Some(world.files.get(id)?.bytes.clone())
    });
    match found {
        Some(bytes) => bytes.into_response(),
        None => ApiError::new(404, "Not Found").into_response(),
    }
}

/// Answers one call, or lets it meet the fault that waits for it.
async fn answer(shared: &Shared, token: &str, method: &str, request: Request<Body>) -> Response {
    let method = method.to_ascii_lowercase();
    let fault = match admit(shared, token, &method) {
        Ok(fault) => fault,
        Err(error) => return error.into_response(),
    };
    match fault {
        Some(Fault::Hang) => {
            let _held = Held::new(shared, token);
            std::future::pending::<()>().await;
        }
        Some(Fault::Status { code, retry_after }) => {
            return ApiError::status(code, retry_after).into_response();
        }
        Some(Fault::Garbage) => {
            return ([(header::CONTENT_TYPE, "text/html")], "<html>{\"ok\":tru").into_response(); // typos: on purpose
        }
        Some(Fault::Slow(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::Disconnect) | None => {}
    }
    let result = match Params::read(request).await {
        Ok(params) => methods::call(shared, token, &method, &params).await,
        Err(error) => Err(error),
    };
    let response = result.map_or_else(IntoResponse::into_response, IntoResponse::into_response);
    if fault == Some(Fault::Disconnect) {
        cut_short(response).await
    } else {
        response
    }
}

/// Checks the token, counts the call, and takes the fault that it is to meet.
fn admit(shared: &Shared, token: &str, method: &str) -> Result<Option<Fault>, ApiError> {
    if token.starts_with('0') || token.len() > 80 || !token.contains(':') {
        return Err(ApiError::invalid_token());
    }
    shared.change(|world| {
        let bot = world
            .bots
            .get_mut(token)
            .ok_or_else(ApiError::unauthorized)?;
        if bot.logged_out {
            return Err(ApiError::logged_out());
        }
        *bot.calls.entry(method.to_owned()).or_default() += 1;
        Ok(bot.faults.take(method))
    })
}

/// The same reply, promised whole and cut in its middle.
async fn cut_short(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let whole = to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts
        .headers
        .insert(header::CONTENT_LENGTH, whole.len().into());
    let half = whole.slice(..whole.len() / 2);
    let pieces = stream::unfold(Some(half), |half| async move {
        if let Some(half) = half {
            return Some((Ok::<Bytes, io::Error>(half), None));
        }
        // The first half goes out only while the second is waited for.
        tokio::task::yield_now().await;
        Some((Err(io::ErrorKind::ConnectionReset.into()), None))
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}

/// Counts a hung request for as long as its client stays.
struct Held<'a> {
    shared: &'a Shared,
    token: &'a str,
}

impl<'a> Held<'a> {
    fn new(shared: &'a Shared, token: &'a str) -> Self {
        shared.change(|world| world.bot_mut(token).hung += 1);
        Self { shared, token }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.shared.change(|world| {
            let bot = world.bot_mut(self.token);
            // The test may have replaced the bot by a fresh one meanwhile.
            bot.hung = bot.hung.saturating_sub(1);
        });
    }
}
