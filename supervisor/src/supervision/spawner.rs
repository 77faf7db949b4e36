//! The one thread that starts processes.
//!
//! A thread of its own, because starting takes the caller's time, and because `std`'s path through
//! `posix_spawn` (no `pre_exec`, no uid change) costs 0.45 ms where a real fork of a grown
//! supervisor costs milliseconds. The child gets its [`Bootstrap`] on standard input and nothing else:
//! a clean environment, its own process group, its output on two pipes. It is put into its [`Group`]
//! before the bootstrap is written, for which it waits: nothing of the agent ever runs outside.

use std::{
    io::{self, Write},
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use kennel_shared::bootstrap::Bootstrap;
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::child::as_rustix;
use crate::containment::{Caps, Containment, ContainmentError, Group};

/// Spawns that wait for the thread. A full queue makes drivers wait, in turn.
const QUEUE: usize = 256;

/// How long the group of a child that could not be set up may take to end.
const REMOVAL: Duration = Duration::from_secs(2);

/// Environment variables that a child keeps: where programs are, and what language people speak.
const KEPT_VARIABLES: [&str; 7] = [
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Why no child was started.
#[derive(Debug, Error)]
pub enum SpawnError {
    /// The program could not be executed.
    #[error("the program {program} cannot be started")]
    Start {
        /// What was to run.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no group for it.
    #[error("its group cannot be made")]
    Group(#[from] ContainmentError),
    /// The child is there, but cannot be watched, held or told who it is; it was ended.
    #[error("the child cannot be set up")]
    SetUp(#[source] io::Error),
    /// The spawner is gone: the supervisor is leaving.
    #[error("the supervisor is leaving")]
    Closed,
}

/// What to start.
#[derive(Debug)]
pub struct SpawnRequest {
    /// The agent-host binary.
    pub program: PathBuf,
    /// Where it starts; the agent's own directory.
    pub directory: PathBuf,
    /// The level of its log, for `KENNEL_LOG`.
    pub log_level: String,
    /// Who it is. Its group is named here.
    pub bootstrap: Bootstrap,
    /// What makes its group.
    pub containment: Arc<Containment>,
    /// What it may use.
    pub caps: Caps,
}

/// A started child and its output.
#[derive(Debug)]
pub struct Spawned {
    /// The child, not yet watched.
    pub pid: i32,
    /// What it is in.
    pub group: Group,
    /// The descriptor that tells of its end.
    pub pidfd: OwnedFd,
    /// What it prints.
    pub stdout: OwnedFd,
    /// What it complains.
    pub stderr: OwnedFd,
}

/// Sends requests to the thread.
#[derive(Debug, Clone)]
pub struct Spawner {
    requests: mpsc::Sender<(SpawnRequest, oneshot::Sender<Result<Spawned, SpawnError>>)>,
}

impl Spawner {
    /// Starts the thread. It ends when the last handle is dropped.
    pub fn start() -> io::Result<Self> {
        let (requests, mut inbox) = mpsc::channel::<(SpawnRequest, oneshot::Sender<_>)>(QUEUE);
        thread::Builder::new()
            .name("spawner".into())
            .stack_size(256 * 1024)
            .spawn(move || {
                while let Some((request, reply)) = inbox.blocking_recv() {
                    // A driver that no longer waits left with the whole supervisor.
                    let _ = reply.send(spawn(request));
                }
            })?;
        Ok(Self { requests })
    }

    /// Starts a child.
    pub async fn spawn(&self, request: SpawnRequest) -> Result<Spawned, SpawnError> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send((request, reply))
            .await
            .map_err(|_| SpawnError::Closed)?;
        answer.await.map_err(|_| SpawnError::Closed)?
    }
}

fn spawn(mut request: SpawnRequest) -> Result<Spawned, SpawnError> {
    let Bootstrap {
        agent,
        generation,
        cage,
        ..
    } = &mut request.bootstrap;
    let group = request
        .containment
        .create(agent, *generation, &request.caps)?;
    cage.group = group.membership();
    let agent = agent.clone();
    spawn_into(&request, &group).inspect_err(|_| {
        // Whoever is in it has no name yet, so nobody else would end it.
        if let Err(error) = group.remove_blocking(REMOVAL) {
            warn!(agent.id = %agent, error = crate::error_chain(&error), "a group is left behind");
        }
    })
}

fn spawn_into(request: &SpawnRequest, group: &Group) -> Result<Spawned, SpawnError> {
    #[expect(clippy::disallowed_methods, reason = "this is the spawner")]
    let mut command = Command::new(&request.program);
    command
        .arg("--agent")
        .arg(request.bootstrap.agent.as_str())
        .current_dir(&request.directory)
        .env_clear()
        .env("KENNEL_LOG", &request.log_level)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for name in KEPT_VARIABLES {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    let mut child = command.spawn().map_err(|source| SpawnError::Start {
        program: request.program.clone(),
        source,
    })?;
    let mut set_up = || -> io::Result<Spawned> {
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid is positive"));
        let pidfd = pidfd_open(as_rustix(pid), PidfdFlags::empty())?;
        group.enter(pid.as_raw())?;
        let mut stdin = child.stdin.take().expect("it is piped");
        match stdin.write_all(&request.bootstrap.to_line()) {
            // It has ended already, or will have no bootstrap: how it ends tells more.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
        let stdout = child.stdout.take().expect("it is piped").into();
        let stderr = child.stderr.take().expect("it is piped").into();
        Ok(Spawned {
            pid: pid.as_raw(),
            group: group.clone(),
            pidfd,
            stdout,
            stderr,
        })
    };
    set_up().map_err(|error| {
        let _ = child.kill();
        let _ = child.wait();
        SpawnError::SetUp(error)
    })
}
