//! The one thread that starts processes, and what is known of a started one.
//!
//! A thread of its own, because starting takes the caller's time, and because `std`'s path through
//! `posix_spawn` (no `pre_exec`, no uid change) costs 0.45 ms where a real fork of a grown
//! supervisor costs milliseconds. The child gets its [`Bootstrap`] on standard input and nothing else:
//! a clean environment, its own process group, its output on two pipes. It is put into its [`Group`]
//! before the bootstrap is written, for which it waits: nothing of the agent ever runs outside.

use std::{
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use kennel_shared::{bootstrap::Bootstrap, ids::Generation};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill, killpg},
    unistd::{Pid, getpgid},
};
use rustix::process::{PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use thiserror::Error;
use tokio::{
    io::unix::AsyncFd,
    sync::{mpsc, oneshot},
};
use tracing::warn;

use super::lifecycle::Exit;
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

/// A child of ours. Dropping it neither ends nor reaps the child.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    generation: Generation,
    pidfd: AsyncFd<OwnedFd>,
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

fn as_rustix(pid: Pid) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(pid.as_raw()).expect("a child's pid is positive")
}

impl Child {
    /// Begins to watch a started child. One that cannot be watched is ended.
    pub fn watch(pid: i32, pidfd: OwnedFd, generation: Generation) -> io::Result<Self> {
        let pid = Pid::from_raw(pid);
        match crate::sys::watch_readable(pidfd) {
            Ok(pidfd) => Ok(Self {
                pid,
                generation,
                pidfd,
            }),
            Err(error) => {
                let _ = signal_group(pid, Signal::SIGKILL);
                let _ = waitid(WaitId::Pid(as_rustix(pid)), WaitIdOptions::EXITED);
                Err(error)
            }
        }
    }

    /// Its process id, which stays its own until [`reap`](Self::reap).
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Which life of its agent it is.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Waits until it has ended. Cancel-safe.
    pub async fn ended(&self) -> io::Result<()> {
        self.pidfd.readable().await.map(drop)
    }

    /// Signals its whole process group, and the child itself where it has left its group: a process
    /// may join any other group of its session. A group without members is no error.
    pub fn signal_group(&self, signal: Signal) -> io::Result<()> {
        signal_group(self.pid, signal)
    }

    /// Ends what is left of its group, then takes the ended child off the process table. In this
    /// order, because afterwards the pid, and so the group's id, may belong to somebody else.
    pub fn reap(self) -> io::Result<Exit> {
        if let Err(error) = self.signal_group(Signal::SIGKILL) {
            warn!(agent.pid = self.pid(), %error, "what is left of a process group cannot be ended");
        }
        reap(self.pidfd.get_ref().as_fd())
    }
}

/// For a child that is not reaped yet, so that `pid` is its own.
fn signal_group(pid: Pid, signal: Signal) -> io::Result<()> {
    let mut sent = killpg(pid, signal);
    if getpgid(Some(pid)).is_ok_and(|group| group != pid) {
        sent = kill(pid, signal);
    }
    match sent {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Exit> {
    let status = waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED)?
        .ok_or_else(|| io::Error::other("the child has no status"))?;
    Ok(match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => return Err(io::Error::other("the child ended in no known way")),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    /// Else a child could not be ended once it has joined its parent's group, or a neighbour's.
    #[tokio::test]
    async fn a_child_that_left_its_group_is_ended() {
        const LEAVE: &str = "import os, time
os.setpgid(0, os.getpgid(os.getppid()))
print('left', flush=True)
time.sleep(60)";
        #[expect(clippy::disallowed_methods, reason = "a child that is no agent")]
        #[expect(
            clippy::zombie_processes,
            reason = "it is reaped below, by what is tested"
        )]
        let mut started = Command::new("python3")
            .args(["-c", LEAVE])
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(started.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "left\n");

        let pid = i32::try_from(started.id()).unwrap();
        let pidfd = pidfd_open(as_rustix(Pid::from_raw(pid)), PidfdFlags::empty()).unwrap();
        let child = Child::watch(pid, pidfd, Generation(1)).unwrap();
        child.signal_group(Signal::SIGKILL).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(10), child.ended()).await;
        ended.expect("it was signalled").unwrap();
        assert_eq!(child.reap().unwrap(), Exit::Signal(9));
    }
}
