//! Connections of the control API: accepted, counted, given a time limit for their headers.
//!
//! Whoever can reach the TCP port can connect before a token is asked for, so connections are
//! bounded ([`CONNECTIONS`]) and one that sends no request is closed ([`HEADER_TIMEOUT`]). Further
//! ones wait in the kernel's backlog; agents' links and spawns keep their descriptors.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper::{Request, body::Incoming, server::conn::http1, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, UnixListener},
    sync::{Semaphore, watch},
    time::{Instant, timeout},
};
use tracing::{debug, warn};

use super::{
    error::Failure,
    peer::{Peers, Stranger},
    wire::ErrorCode,
};

/// Connections at once, for each listener. A stream of events holds one.
const CONNECTIONS: usize = 512;

/// How long the headers of a request may take, the wait of a kept connection for its next one
/// included.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Strangers that are told why at once; the connections of more of them are closed without a word.
const STRANGERS: usize = 16;

/// How long a stranger may take over its request.
const STRANGER_TIMEOUT: Duration = Duration::from_secs(1);

/// How often strangers are worth a line of the log.
const WARN_AT_MOST_EVERY: Duration = Duration::from_secs(10);

/// How long a connection may take over its first request that was accepted before the gate was closed: it was let in, and
/// is not turned away while it speaks.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// How long to wait after a connection could not be accepted, as when descriptors run out.
const PAUSE: Duration = Duration::from_millis(100);

/// What connections are accepted from.
pub(super) trait Accept {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    async fn accept(&self) -> io::Result<Self::Stream>;

    /// Why this connection is not served.
    fn refuses(&self, _stream: &Self::Stream) -> Option<Stranger> {
        None
    }
}

impl Accept for UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn accept(&self) -> io::Result<Self::Stream> {
        UnixListener::accept(self).await.map(|(stream, _)| stream)
    }
}

/// The control socket, and whom it does not serve.
pub(super) struct Doorkept {
    pub(super) listener: UnixListener,
    pub(super) peers: Peers,
}

impl Accept for Doorkept {
    type Stream = tokio::net::UnixStream;

    async fn accept(&self) -> io::Result<Self::Stream> {
        Accept::accept(&self.listener).await
    }

    fn refuses(&self, stream: &Self::Stream) -> Option<Stranger> {
        self.peers.look(stream).err()
    }
}

impl Accept for TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn accept(&self) -> io::Result<Self::Stream> {
        let (stream, _) = TcpListener::accept(self).await?;
        // Pieces of a stream are small and wanted at once.
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Counts connections, and asks them to end. A clone is the same.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    closing: watch::Sender<bool>,
    open: watch::Sender<usize>,
}

/// An open connection.
struct Open(Gate);

impl Gate {
    fn enter(&self) -> Open {
        self.open.send_modify(|open| *open += 1);
        Open(self.clone())
    }

    /// Has every connection end behind the request that it is answering.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Waits until none is open.
    pub async fn empty(&self) {
        // The sender is in `self`, so this ends only by the number.
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }
}

impl Open {
    async fn closing(&self) {
        let _ = self
            .0
            .closing
            .subscribe()
            .wait_for(|closing| *closing)
            .await;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

/// Notes that a connection has asked for something.
struct Noting<S> {
    inner: S,
    asked: watch::Sender<bool>,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for Noting<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: Request<Incoming>) -> S::Future {
        self.asked.send_replace(true);
        self.inner.call(request)
    }
}

/// Serves until the task is aborted; connections that are open then end with the runtime.
pub(super) async fn serve(listener: impl Accept, routes: Router, gate: Gate) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    let mut warned: Option<Instant> = None;
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    loop {
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .expect("never closed");
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                warn!(%error, "a connection to the control API cannot be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if let Some(stranger) = listener.refuses(&stream) {
            if warned.is_none_or(|at| at.elapsed() > WARN_AT_MOST_EVERY) {
                warned = Some(Instant::now());
                warn!(peer = ?stranger, "a connection to the control socket is refused");
            }
            if let Ok(place) = Arc::clone(&strangers).try_acquire_owned() {
                tokio::spawn(async move {
                    let _ = timeout(STRANGER_TIMEOUT, turn_away(stream, stranger)).await;
                    drop(place);
                });
            }
            continue;
        }
        let (asked, mut has_asked) = watch::channel(false);
        let service = Noting {
            inner: TowerToHyperService::new(routes.clone()),
            asked,
        };
        let connection = protocol.serve_connection(TokioIo::new(stream), service);
        let open = gate.enter();
        tokio::spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let last_request = async {
                open.closing().await;
                let _ = timeout(FIRST_REQUEST, has_asked.wait_for(|asked| *asked)).await;
            };
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = last_request => {
                    // The request that is being answered is the last.
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                debug!(%error, "a connection to the control API ended badly");
            }
            drop((place, open));
        });
    }
}

/// Tells a stranger why, in the form of the API, and closes.
async fn turn_away(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    stranger: Stranger,
) -> io::Result<()> {
    // Its request is read, not looked at: a socket that is closed with something unread resets.
    let mut request = [0; 4096];
    let _ = stream.read(&mut request).await?;
    let body = Failure::new(ErrorCode::Forbidden, stranger.message()).body();
    let answer = format!(
        "HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use axum::routing::get;

    use super::*;

    async fn answer(stream: &mut tokio::net::UnixStream) -> String {
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut answer = [0; 256];
        let read = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..read]).into_owned()
    }

    #[tokio::test]
    async fn who_was_let_in_is_answered_before_the_gate_closes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let routes = Router::new().route("/", get(|| async { "here" }));
        let gate = Gate::default();
        let task = tokio::spawn(serve(listener, routes, gate.clone()));
        let connect = || tokio::net::UnixStream::connect(&path);
        let (mut first, mut idle) = (connect().await.unwrap(), connect().await.unwrap());
        assert!(answer(&mut idle).await.ends_with("here"));
        let mut open = gate.open.subscribe();
        open.wait_for(|open| *open == 2).await.unwrap();
        gate.close();
        // It ends at once.
        assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
        assert!(answer(&mut first).await.ends_with("here"));
        timeout(FIRST_REQUEST / 2, gate.empty()).await.unwrap();
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn silent_connections_give_their_places_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let routes = Router::new().route("/", get(|| async { "here" }));
        let task = tokio::spawn(serve(listener, routes, Gate::default()));
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS {
            silent.push(tokio::net::UnixStream::connect(&path).await.unwrap());
        }
        let mut late = tokio::net::UnixStream::connect(&path).await.unwrap();
        // All places are taken until the silent ones have had their time.
        assert!(answer(&mut late).await.ends_with("here"));
        task.abort();
    }
}
