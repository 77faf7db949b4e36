//! The control API: HTTP over a Unix socket, and over TCP when configured.
//!
//! Whoever can open the Unix socket is the user who runs the supervisor, so nothing more is asked
//! there, except that no process of the fleet is let in ([`Peers`]). On TCP [`Guard`] checks every request before any route sees it. Routes live in `api` (the
//! versioned API of Kennel), `openai` (for clients of that API) and `metrics` (for Prometheus); `wire` has
//! the JSON of the first.

mod api;
mod audit;
mod auth;
mod body;
mod budget;
pub(crate) mod doctor;
mod document;
mod error;
mod fairness;
mod idempotency;
mod limits;
mod logs;
mod metrics;
mod openai;
mod peer;
mod processes;
mod queue;
mod reload;
mod schedules;
mod serve;
mod sessions;
mod turns;
mod upgrade;
mod usage;
mod view;
pub mod wire;

use std::{
    collections::BTreeMap,
    io,
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRef},
};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{Mutex, mpsc, watch},
    time::Instant,
};

pub use self::{
    auth::Guard,
    document::document,
    peer::{InFleet, Peers},
    serve::Gate,
};
use crate::{
    config::Config,
    containment::Containment,
    dispatch::DispatcherHandle,
    fairness::FairnessHandle,
    gateway::Accounts,
    journal::Journal,
    otlp::SpanCounts,
    reload::Requests,
    schedule::Schedules,
    supervision::{driver::AgentHandle, events::Events, sampler::SamplerHandle},
    supervisor::Upgrades,
};

/// The longest body of a request, in bytes: a message at its longest, written as JSON.
const BODY_MAX_BYTES: usize = 2 * 1024 * 1024;

/// What the routes see of the supervisor at one moment: a request sees one of these, from its beginning to its end.
/// All of it is handles: nobody's state is here.
#[derive(Clone)]
pub struct App {
    /// The configuration that runs.
    pub config: Arc<Config>,
    /// The file that it came from.
    pub config_path: PathBuf,
    /// Every enabled agent, by id.
    pub agents: BTreeMap<String, AgentHandle>,
    /// Agents that were removed and are still on their way out.
    pub leaving: Vec<AgentHandle>,
    /// Every channel account, by id.
    pub accounts: Accounts,
    /// Where messages go.
    pub dispatcher: DispatcherHandle,
    /// What was accepted, and what became of it.
    pub journal: Journal,
    /// What processes use.
    pub sampler: SamplerHandle,
    /// What became of turns that a collector was to be told of, if there is one.
    pub spans: Option<Arc<SpanCounts>>,
    /// Whether everybody has the share that weights give.
    pub fairness: FairnessHandle,
    /// Held while caps change: each change is held against the caps of all agents.
    pub limits_changing: Arc<Mutex<()>>,
    /// What happens to agents.
    pub events: Events,
    /// What holds the agents.
    pub containment: Arc<Containment>,
    /// Has the configuration read again.
    pub reloads: Requests,
    /// Has another program take over.
    pub upgrades: Upgrades,
    /// What the clock asks for.
    pub schedules: Schedules,
    /// Why the program that had taken over last did not stay.
    pub undone: Option<Arc<str>>,
    /// Ends the supervisor.
    pub shutdown: mpsc::Sender<()>,
    /// When it began.
    pub began: Instant,
}

/// The [`App`] of now, for each request anew.
#[derive(Clone)]
pub struct Current(watch::Receiver<Arc<App>>);

impl Current {
    /// Of what is published there.
    pub fn new(published: watch::Receiver<Arc<App>>) -> Self {
        Self(published)
    }

    /// That of now.
    pub fn app(&self) -> Arc<App> {
        self.0.borrow().clone()
    }
}

impl FromRef<Current> for Arc<App> {
    fn from_ref(current: &Current) -> Self {
        current.app()
    }
}

/// Binds the control socket, readable and writable by this user only. The caller holds the lock
/// that makes it the only one to replace a socket file that a dead supervisor left.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // The umask is 077 already; the mode says it again for who reads it.
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Listens on what the program before has bound.
pub fn take_over(socket: OwnedFd) -> io::Result<UnixListener> {
    let listener = std::os::unix::net::UnixListener::from(socket);
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Serves the Unix socket until the task is aborted, to whom `peers` lets in.
pub async fn serve_unix(listener: UnixListener, current: Current, peers: Peers, gate: Gate) {
    // Who may name a program to be run here is this user, on this socket.
    let routes = routes(current.clone()).merge(upgrade::routes(current));
    serve::serve(serve::Doorkept { listener, peers }, routes, gate).await;
}

/// Serves TCP until the task is aborted, every request checked by `guard`.
pub async fn serve_tcp(listener: TcpListener, guard: Guard, current: Current, gate: Gate) {
    let check = axum::middleware::from_fn_with_state(Arc::new(guard), auth::check);
    serve::serve(listener, routes(current).layer(check), gate).await;
}

fn routes(current: Current) -> Router {
    Router::new()
        .nest(wire::API, api::routes())
        .nest("/v1", openai::routes())
        .merge(metrics::routes())
        .fallback(error::no_route)
        .method_not_allowed_fallback(error::no_method)
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(axum::middleware::from_fn(body::take))
        .with_state(current)
}
