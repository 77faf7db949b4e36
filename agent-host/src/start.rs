//! From the bootstrap to the running loop, and the exit codes.
//!
//! Each step consumes what the one before it made: bootstrap, cage, runtime, lock, store, wire, agent.
//! Whatever fails is logged once, here, with its causes, and becomes an exit code.

use std::{fmt, fs::File, io, path::Path, process::ExitCode, time::Duration};

use kennel_shared::{
    bootstrap::{Bootstrap, BootstrapError},
    cage::CageStep,
    exit::ExitRecord,
};
use thiserror::Error;
use tracing::{Level, error, info, level_filters::LevelFilter, warn};
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    agent::Agent,
    cage::{self, CageError},
    sessions,
    store::{OpenError, Store},
    sys::{self, StopSignal},
    wire::{Identity, Socket, Wire, WireError},
};

/// The file in the state directory that is locked.
pub(crate) const LOCK_FILE: &str = "lock";

/// The file in the state directory that is the store.
pub(crate) const STORE_FILE: &str = "store.db";

/// How this process ends. The numbers are those of `sysexits.h` where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: drained, or asked to stop.
    Done,
    /// 69: no supervisor could be reached for longer than the grace. A failure to one that is there.
    Orphaned,
    /// 70: something of our own is broken, such as the store.
    Internal,
    /// 75: another instance of this agent holds its lock; try again later.
    Locked,
    /// 78: the bootstrap is no good, the cage cannot be closed, or the supervisor refused this agent; the
    /// same again will not help.
    Refused,
}

impl Exit {
    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Orphaned => 69,
            Self::Internal => 70,
            Self::Locked => 75,
            Self::Refused => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why the agent could not start.
#[derive(Debug, Error)]
enum StartError {
    #[error("failed to start: no bootstrap")]
    Bootstrap(#[from] BootstrapError),
    #[error("failed to start: {0}")]
    Cage(CageError),
    #[error("failed to start: {what}")]
    System {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("failed to start: another instance of this agent is running (it holds {0})")]
    Locked(String),
    #[error("failed to start: no store")]
    Store(#[from] OpenError),
    #[error("failed to start: no link")]
    Link(#[from] WireError),
}

impl StartError {
    fn exit(&self) -> Exit {
        match self {
            Self::Bootstrap(_)
            | Self::Cage(_)
            | Self::Link(WireError::Refused(_) | WireError::Resume(_)) => Exit::Refused,
            Self::Link(WireError::Orphaned(_)) => Exit::Orphaned,
            Self::Locked(_) => Exit::Locked,
            Self::System { .. } | Self::Store(_) | Self::Link(WireError::Unsendable(_)) => {
                Exit::Internal
            }
        }
    }
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::System { what, source }
}

/// Runs one agent: reads the bootstrap from standard input, and returns when the agent is done. With
/// `sessions` as its first argument it reads an agent's sessions instead.
pub fn run() -> Exit {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == "sessions")
    {
        return sessions::run();
    }
    log_to_stderr();
    let said = |error: StartError| {
        error!(cause = %Causes(&error), "{error}");
        error.exit()
    };
    let bootstrap = match Bootstrap::read(io::stdin().lock()) {
        Ok(bootstrap) => bootstrap,
        Err(error) => return said(error.into()),
    };
    let (generation, directory) = (bootstrap.generation, bootstrap.state_dir.clone());
    let exit = live(bootstrap).unwrap_or_else(said);
    let code = exit.code();
    // A supervisor that did not start us hears of it in no other way, on older kernels.
    if let Err(error) = (ExitRecord { generation, code }).write(&directory) {
        warn!(%error, "how this process ends cannot be written down");
    }
    exit
}

fn live(bootstrap: Bootstrap) -> Result<Exit, StartError> {
    // Before there is a second thread: what it sets is set for the thread that calls it.
    let steps = cage::close(&bootstrap).map_err(StartError::Cage)?;
    // One thread; the blocking pool is for name lookups, TLS roots and tools, and starts when one is needed.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .thread_keep_alive(Duration::from_secs(2))
        .thread_stack_size(512 * 1024)
        .build()
        .map_err(system("no event loop"))?;
    runtime.block_on(live_as(bootstrap, steps))
}

/// From here on a stop signal is heard, also while the agent waits for its lock or its supervisor.
async fn live_as(bootstrap: Bootstrap, cage: Vec<CageStep>) -> Result<Exit, StartError> {
    let mut stop = StopSignal::catch().map_err(system("signals cannot be caught"))?;
    let lock = tokio::select! {
        lock = lock(&bootstrap.state_dir) => lock?,
        () = stop.caught() => return Ok(Exit::Done),
    };
    let (store, store_thread) = Store::open(&bootstrap.state_dir.join(STORE_FILE))?;
    let identity = Identity {
        agent: bootstrap.agent.clone(),
        generation: bootstrap.generation,
        cage,
    };
    let grace = Duration::from_millis(bootstrap.orphan_grace_ms);
    let socket = Socket(bootstrap.socket);
    let (wire, spec) = tokio::select! {
        opened = Wire::open(socket, identity, bootstrap.token, grace) => opened?,
        () = stop.caught() => return Ok(Exit::Done),
    };
    info!(agent.id = %bootstrap.agent, generation = %bootstrap.generation, "ready");
    let exit = Agent::new(bootstrap.agent, wire, spec, store, &bootstrap.state_dir)
        .run(stop)
        .await;
    // The loop has dropped the last handle of the store, so its thread closes the file and ends. A
    // panic in it has been logged, and answered to those who asked.
    let _ = store_thread.join();
    drop(lock);
    Ok(exit)
}

async fn lock(state_dir: &Path) -> Result<File, StartError> {
    let path = state_dir.join(LOCK_FILE);
    sys::lock(&path).await.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => StartError::Locked(path.display().to_string()),
        _ => StartError::System {
            what: "the lock in the state directory cannot be taken",
            source: error,
        },
    })
}

/// One line per event, level first and without a time: the supervisor adds it. `KENNEL_LOG` is a level:
/// off, error, warn, info, debug or trace.
fn log_to_stderr() {
    let wanted = std::env::var("KENNEL_LOG").ok();
    let level = wanted
        .and_then(|level| level.trim().parse().ok())
        .unwrap_or(LevelFilter::INFO);
    // The libraries' own words come too where they are asked for; what genai calls an error is one
    // that a turn handles.
    let others = level.min(LevelFilter::from(Level::WARN));
    let targets = Targets::new()
        .with_default(others)
        .with_target("kennel", level)
        .with_target("genai", LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        // It would report to stderr, and panic when that is closed: agents outlive who reads it.
        .log_internal_errors(false);
    tracing_subscriber::registry()
        .with(targets)
        .with(lines)
        .init();
}

/// An error, and what is behind it.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    match Causes(error).to_string() {
        causes if causes.is_empty() => error.to_string(),
        causes => format!("{error}: {causes}"),
    }
}

/// The causes of an error, one behind the other.
struct Causes<'a>(&'a dyn std::error::Error);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut next = self.0.source();
        let mut separator = "";
        while let Some(cause) = next {
            write!(f, "{separator}{cause}")?;
            separator = ": ";
            next = cause.source();
        }
        Ok(())
    }
}
