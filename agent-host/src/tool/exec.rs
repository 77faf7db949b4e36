//! The tool `exec`: a shell command, from its start to the end of all that it has started.
//!
//! ```text
//! spawn (blocking pool) ─► output (bounded) ─► the shell ends, or its time is over
//!        └──────────── dropped at any point ─────────┴──► its process group is killed, then it is reaped
//! ```
//!
//! The shell leads a process group of its own, and is reaped only after that group was killed, so the
//! number of the group cannot be somebody else's. A process that has left the group (`setsid`) lives on
//! until its agent ends: then its control group or PID namespace ends it.

use std::{
    io,
    os::{
        fd::OwnedFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use rustix::{
    pipe::{PipeFlags, pipe_with},
    process::{PidfdFlags, pidfd_open},
};
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    runtime::Handle,
    time::{Instant, sleep_until},
};

use super::{
    arguments::Exec,
    output::{Output, Spool},
};
use crate::{provider, sys::raw};

/// What is read at once.
const CHUNK: usize = 16 * 1024;

/// What may still be in the pipe when the shell has ended; whoever writes more than that has left the group.
const REST: usize = 1024 * 1024;

/// How commands are run.
#[derive(Debug)]
pub(super) struct Shell<'a> {
    pub(super) workspace: &'a Path,
    pub(super) spool: &'a Spool,
    pub(super) limit: Duration,
}

/// A shell that was started. Dropping it ends it and its group.
#[derive(Debug)]
struct Running(Option<Child>);

impl Running {
    fn start(mut command: Command) -> io::Result<Self> {
        Ok(Self(Some(command.spawn()?)))
    }

    fn pid(&self) -> u32 {
        self.0.as_ref().map_or(0, Child::id)
    }

    /// Kills the group, while its leader holds the number.
    fn kill(child: &Child) {
        let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
    }

    /// Ends what is left of its group; the shell itself has ended.
    fn reap(mut self) -> io::Result<ExitStatus> {
        let mut child = self.0.take().expect("it is reaped once");
        Self::kill(&child);
        child.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.0.take() else {
            return;
        };
        Self::kill(&child);
        if let Ok(Some(_)) = child.try_wait() {
            return;
        }
        let mut reap = move || {
            let _ = child.wait();
        };
        // It has been killed: this takes no longer than the kernel needs.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(reap)),
            Err(_) => reap(),
        }
    }
}

/// How a command ended.
enum Ended {
    ByItself,
    TimeOver,
}

impl Shell<'_> {
    /// Runs a command. What the model is told begins with how it ended.
    pub(super) async fn run(&self, wanted: Exec, name: &str) -> Result<String, String> {
        let asked = wanted.timeout.map(Duration::from_secs);
        let limit = asked.map_or(self.limit, |asked| asked.min(self.limit));
        let broken = |error: io::Error| format!("the command could not be run: {error}");
        let (reader, writer) =
            pipe_with(PipeFlags::CLOEXEC).map_err(|errno| broken(errno.into()))?;
        let command = self.command(&wanted.command, writer).map_err(broken)?;
        let deadline = Instant::now() + limit;
        let running = tokio::task::spawn_blocking(move || Running::start(command))
            .await
            .map_err(|error| broken(error.into()))?
            .map_err(broken)?;
        let mut output = Output::new(self.spool.clone(), name);
        let ended = follow(&running, reader, deadline, &mut output)
            .await
            .map_err(broken)?;
        let status = running.reap().map_err(broken)?;
        let how = match ended {
            Ended::ByItself => words(status),
            Ended::TimeOver => format!("ended: it took longer than {}", provider::words(limit)),
        };
        let text = output.tell();
        Ok(match text.as_str() {
            "" => format!("[{how}; it wrote nothing]"),
            text => format!("[{how}]\n{text}"),
        })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the agent starts its own tools; the supervisor's spawner is in another process"
    )]
    fn command(&self, text: &str, writer: OwnedFd) -> io::Result<Command> {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(text)
            .current_dir(self.workspace)
            .env_remove("KENNEL_LOG")
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0);
        Ok(command)
    }
}

/// Reads what a command writes until it has ended or its time is over.
async fn follow(
    running: &Running,
    reader: OwnedFd,
    deadline: Instant,
    output: &mut Output,
) -> io::Result<Ended> {
    let pid = rustix::process::Pid::from_raw(running.pid().cast_signed());
    let pid = pid.ok_or_else(|| io::Error::other("no process"))?;
    let ended = pidfd_open(pid, PidfdFlags::empty())?;
    let ended = raw::watch_readable(ended)?;
    let mut reader = pipe::Receiver::from_owned_fd(reader)?;
    let mut chunk = vec![0; CHUNK];
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            () = sleep_until(deadline) => return Ok(Ended::TimeOver),
            readable = ended.readable() => {
                readable?.retain_ready();
                break;
            }
            read = reader.read(&mut chunk), if open => match read? {
                0 => open = false,
                length => take(output, &chunk[..length]).await,
            },
        }
    }
    let mut rest = REST;
    while let Ok(length @ 1..) = reader.try_read(&mut chunk)
        && rest > 0
    {
        rest = rest.saturating_sub(length);
        take(output, &chunk[..length]).await;
    }
    Ok(Ended::ByItself)
}

/// Files are written in the blocking pool.
async fn take(output: &mut Output, bytes: &[u8]) {
    if !output.is_long_with(bytes.len()) {
        output.take(bytes);
        return;
    }
    let bytes = bytes.to_owned();
    let mut taken = std::mem::replace(output, Output::new(Spool::new("".into()), ""));
    let work = tokio::task::spawn_blocking(move || {
        taken.take(&bytes);
        taken
    });
    if let Ok(taken) = work.await {
        *output = taken;
    }
}

/// How a shell ended, in words.
fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => {
            let name = Signal::try_from(signal).map_or("a signal", Signal::as_str);
            format!("ended by {name}")
        }
        (None, None) => "ended".to_owned(),
    }
}
