//! The agent's end of the link, and the way back to it when it is lost.
//!
//! A [`Wire`] is either up, with a [`Link`], or away, with the session that the link left behind and an
//! attempt to reconnect under way. Its owner calls [`Wire::next`] either way; messages can be queued
//! either way too, until the session is full. It has no task of its own: the attempt makes progress
//! while `next` is polled.
//!
//! ```text
//!            ┌──────────── lost ───────────┐
//!            │                             ▼
//!   open ─► up ◄──── welcome ──── away: 10 ms … 1 s between attempts
//!                                     │ refused, or nobody for the grace: over
//! ```
//!
//! Turns that run when the grace is over are finished first, within their own time limit.
//!
//! A supervisor that was not there when the link began knows nothing of it, and begins another. What it
//! has to know is said again: that this agent is ready, what a turn has taken in, and every end of one that nobody acknowledged.
//! It hands out again what it misses beyond that, and the store answers for what was done.

use std::{
    fmt,
    future::Future,
    io,
    os::fd::AsFd as _,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use interprocess::local_socket::{
    GenericFilePath, ToFsName,
    tokio::{Stream as LocalStream, prelude::*},
};
use kennel_shared::{
    cage::CageStep,
    ids::{AgentId, Generation},
    link::{HandshakeError, Incoming, Link, LinkError, SendError, Session, Violation, say_hello},
    protocol::{
        AgentSpec, Heartbeat, Hello, LinkId, PROTOCOL, Position, Refusal, ToAgent, ToSupervisor,
        Welcome,
    },
    secret::Token,
};
use nix::sys::socket::{getsockopt, sockopt};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep, timeout},
};
use tracing::{debug, info, warn};

/// The longest time for one connection and its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause after a failed attempt: doubles from the first to the longest, less up to a half.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Makes byte streams to the supervisor.
pub(crate) trait Connector: Clone + Send + 'static {
    /// What it makes.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send;
    /// Makes one.
    fn connect(&mut self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// The link socket.
#[derive(Debug, Clone)]
pub(crate) struct Socket(pub(crate) PathBuf);

impl Connector for Socket {
    type Stream = LocalStream;

    async fn connect(&mut self) -> io::Result<LocalStream> {
        let name = self.0.as_path().to_fs_name::<GenericFilePath>()?;
        let stream = LocalStream::connect(name).await?;
        // Whoever can bind the socket's path could pose as the supervisor: it must be our own user, or
        // root, which made us what we are where we have a user of our own.
        // Asked of the socket itself: in a PID namespace of our own the supervisor has no pid, which
        // `peer_creds` takes for a broken connection.
        let LocalStream::UdSocket(socket) = &stream;
        let peer = getsockopt(&socket.as_fd(), sockopt::PeerCredentials)?.uid();
        let own = nix::unistd::geteuid().as_raw();
        if peer != own && peer != 0 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the link socket belongs to another user",
            ));
        }
        Ok(stream)
    }
}

/// Who we are to the supervisor.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) agent: AgentId,
    pub(crate) generation: Generation,
    pub(crate) cage: Vec<CageStep>,
}

/// Why there is no link and will be none.
#[derive(Debug, Error)]
pub(crate) enum WireError {
    /// The supervisor does not want us.
    #[error("the supervisor refused this agent: {0}")]
    Refused(Refusal),
    /// What it says of our common past cannot be.
    #[error("the supervisor resumes the link where it never was")]
    Resume(#[from] Violation),
    /// Nobody answered for the whole grace.
    #[error("no supervisor answered for {0:?}")]
    Orphaned(Duration),
    /// Our own end is broken: a message that no frame can hold.
    #[error("a message of this agent does not fit the link")]
    Unsendable(#[source] LinkError),
}

/// The wire takes no more for now.
#[derive(Debug)]
pub(crate) struct Full;

/// What happens on the wire.
#[derive(Debug)]
pub(crate) enum WireEvent {
    /// The supervisor says something.
    Message(ToAgent),
    /// The link is up again; this is what to be from now on.
    Restored(Box<AgentSpec>),
    /// The wire was full, and takes messages again.
    Room,
}

type Reconnecting<S> = Pin<Box<dyn Future<Output = Result<(S, Welcome), WireError>> + Send>>;

enum State<S> {
    Up(Link<S, ToSupervisor, ToAgent>),
    Away(Session<ToSupervisor>, Reconnecting<S>),
    /// Only while a state is replaced.
    Changing,
}

/// One agent's end of the link.
pub(crate) struct Wire<C: Connector> {
    connector: C,
    identity: Identity,
    /// For the next handshake.
    token: Token,
    link: LinkId,
    draining: bool,
    grace: Duration,
    /// How long after the grace turns that run may still take, in milliseconds.
    overtime_ms: Arc<AtomicU64>,
    state: State<C::Stream>,
}

impl<C: Connector> fmt::Debug for Wire<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("identity", &self.identity)
            .field("up", &self.is_up())
            .finish_non_exhaustive()
    }
}

impl<C: Connector> Wire<C> {
    /// Connects for the first time, within `grace`.
    pub(crate) async fn open(
        connector: C,
        identity: Identity,
        token: Token,
        grace: Duration,
    ) -> Result<(Self, AgentSpec), WireError> {
        let mut wire = Self {
            connector,
            identity,
            token,
            link: LinkId::NONE,
            draining: false,
            grace,
            overtime_ms: Arc::default(),
            state: State::Changing,
        };
        let session = Session::default();
        let (stream, welcome) = wire.reconnecting(session.position()).await?;
        wire.token = welcome.next_token;
        wire.link = welcome.link;
        wire.state = State::Up(Link::resume(stream, session, welcome.resume)?);
        Ok((wire, welcome.spec))
    }

    /// Whether the supervisor can hear us.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Whether [`send`](Self::send) would refuse.
    pub(crate) fn is_full(&self) -> bool {
        match &self.state {
            State::Up(link) => link.is_full(),
            State::Away(session, _) => session.is_full(),
            State::Changing => true,
        }
    }

    /// Queues a message; [`next`](Self::next) sends it. A full wire does not take it.
    pub(crate) fn send(&mut self, message: ToSupervisor) -> Result<(), Full> {
        let sent = match &mut self.state {
            State::Up(link) => link.send(message),
            State::Away(session, _) => session.send(message),
            State::Changing => Err(SendError::Full(message)),
        };
        sent.map_err(|SendError::Full(_)| Full)
    }

    /// No more deliveries are taken. Said to whoever answers next.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    /// How much longer than the grace a supervisor is looked for: as long as a turn may take that runs.
    pub(crate) fn set_overtime(&mut self, overtime: Duration) {
        let millis = u64::try_from(overtime.as_millis()).unwrap_or(u64::MAX);
        self.overtime_ms.store(millis, Ordering::Relaxed);
    }

    /// Shows that we live, if anybody can see it.
    pub(crate) fn send_heartbeat(&mut self, heartbeat: Heartbeat) {
        if let State::Up(link) = &mut self.state {
            link.send_heartbeat(heartbeat);
        }
    }

    /// The next thing that happens. Cancel-safe. After an error the wire is over.
    pub(crate) async fn next(&mut self) -> Result<WireEvent, WireError> {
        loop {
            match &mut self.state {
                State::Up(link) => match link.next_or_room().await {
                    Ok(Some(Incoming::Message(message))) => {
                        return Ok(WireEvent::Message(message));
                    }
                    Ok(Some(Incoming::Heartbeat(_))) => {}
                    Ok(None) => return Ok(WireEvent::Room),
                    Err(error @ LinkError::Encode(_)) => return Err(WireError::Unsendable(error)),
                    Err(error) => self.lose(&error),
                },
                State::Away(_, reconnecting) => {
                    let (stream, welcome) = reconnecting.await?;
                    let spec = self.restore(stream, welcome)?;
                    return Ok(WireEvent::Restored(spec));
                }
                State::Changing => std::future::pending().await,
            }
        }
    }

    /// Hands everything that waits to the kernel. Gives up when the link is away, or breaks.
    pub(crate) async fn flush(&mut self) {
        while let State::Up(link) = &mut self.state {
            if link.flush().await.is_err() {
                return;
            }
            if link.unsent() == 0 {
                return;
            }
            // The rest needs credit, which comes with what the supervisor says next.
            if link.next().await.is_err() {
                return;
            }
        }
    }

    /// Looks for a supervisor to go on with from where our end of the link stands.
    fn reconnecting(&self, resume: Position) -> Reconnecting<C::Stream> {
        let hello = Hello {
            protocol: PROTOCOL,
            build: env!("CARGO_PKG_VERSION").to_owned(),
            agent: self.identity.agent.clone(),
            generation: self.identity.generation,
            token: self.token,
            link: self.link,
            resume,
            draining: self.draining,
            cage: self.identity.cage.clone(),
        };
        let overtime_ms = Arc::clone(&self.overtime_ms);
        Box::pin(reconnect(
            self.connector.clone(),
            hello,
            self.grace,
            overtime_ms,
        ))
    }

    fn lose(&mut self, error: &LinkError) {
        if error.is_misbehaviour() {
            warn!(error = %error, cause = ?error, "the supervisor broke the link; reconnecting");
        } else {
            info!(error = %error, "the link is lost; reconnecting");
        }
        if let State::Up(link) = std::mem::replace(&mut self.state, State::Changing) {
            let session = link.into_session();
            let reconnecting = self.reconnecting(session.position());
            self.state = State::Away(session, reconnecting);
        }
    }

    fn restore(
        &mut self,
        stream: C::Stream,
        welcome: Welcome,
    ) -> Result<Box<AgentSpec>, WireError> {
        if let State::Away(session, _) = std::mem::replace(&mut self.state, State::Changing) {
            let session = if welcome.link == self.link {
                info!("the link is back");
                session
            } else {
                info!("another supervisor has answered; the link begins anew");
                renewed(session)
            };
            self.token = welcome.next_token;
            self.link = welcome.link;
            self.state = State::Up(Link::resume(stream, session, welcome.resume)?);
        }
        Ok(Box::new(welcome.spec))
    }
}

/// What is said again on a link that begins anew.
fn renewed(before: Session<ToSupervisor>) -> Session<ToSupervisor> {
    let mut session = Session::default();
    let ends = before.into_kept().filter(|message| {
        matches!(
            message,
            ToSupervisor::Finished { .. } | ToSupervisor::Steered { .. }
        )
    });
    for message in std::iter::once(ToSupervisor::Ready).chain(ends) {
        if session.send(message).is_err() {
            // Nothing is lost: the store has it for whoever asks again.
            warn!("the end of a turn was left out of a new link");
        }
    }
    session
}

/// Tries until somebody answers, or `grace` is over.
async fn reconnect<C: Connector>(
    mut connector: C,
    hello: Hello,
    grace: Duration,
    overtime_ms: Arc<AtomicU64>,
) -> Result<(C::Stream, Welcome), WireError> {
    let lost_at = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let overtime = Duration::from_millis(overtime_ms.load(Ordering::Relaxed));
        let deadline = lost_at + grace + overtime;
        let attempt = async {
            let mut stream = connector.connect().await?;
            let welcome = say_hello(&mut stream, &hello).await?;
            Ok::<_, HandshakeError>((stream, welcome))
        };
        let patience = HANDSHAKE_TIMEOUT.min(deadline.saturating_duration_since(Instant::now()));
        match timeout(patience, attempt).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(HandshakeError::Refused(refusal))) => return Err(WireError::Refused(refusal)),
            Ok(Err(error)) => debug!(error = %error, cause = ?error, "no link yet"),
            Err(_elapsed) => debug!("no link yet: the handshake took too long"),
        }
        let jittered = pause.mul_f64(1.0 - fastrand::f64() / 2.0);
        if Instant::now() + jittered >= deadline {
            return Err(WireError::Orphaned(grace));
        }
        sleep(jittered).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
