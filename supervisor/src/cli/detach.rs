//! `up --detach`: starts the supervisor in the background and waits until it answers.
//!
//! This program is started once more as `up --detached`, with its output in the supervisor's log; the
//! child leaves the terminal's session by itself. Nothing forks.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    block_on,
    exit::{Exit, Failure, Outcome},
    output::Output,
};
use crate::{client::Client, config};

/// How long the supervisor may take to answer.
const START: Duration = Duration::from_secs(10);

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// So much of the log is shown when the supervisor did not start.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 16 * 1024;

pub(super) fn run(
    file: &Path,
    supervisor: &config::Supervisor,
    client: &Client,
    watch: bool,
    out: &Output,
) -> Outcome {
    let log = Log::open(&supervisor.state_dir).map_err(|error| {
        let dir = supervisor.state_dir.display();
        Failure::new(format!(
            "cannot open the supervisor's log in {dir}: {error}"
        ))
    })?;
    let child = spawn(file, watch, &log)
        .map_err(|error| Failure::new(format!("cannot start the supervisor: {error}")))?;
    let pid = child.id();
    let spinner = out.spinner("waiting for the supervisor");
    let waited = block_on(wait(child, client, &log, START));
    drop(spinner);
    waited?;
    out.line(format_args!(
        "pid {pid}\nsocket {}",
        client.socket().display()
    ))?;
    out.note(format_args!("log {}", log.path.display()));
    Ok(Exit::Ok)
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is not a child of a supervisor but the supervisor itself, started from the command line"
)]
fn spawn(file: &Path, watch: bool, log: &Log) -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg("--config")
        .arg(std::path::absolute(file)?)
        .args(["up", "--detached"])
        .args(watch.then_some("--watch"))
        .stdin(Stdio::null())
        .stdout(log.file.try_clone()?)
        .stderr(log.file.try_clone()?)
        .spawn()
}

/// Waits until the child answers, or is gone, or has had its time.
async fn wait(mut child: Child, client: &Client, log: &Log, limit: Duration) -> Outcome {
    let pid = child.id();
    let deadline = Instant::now() + limit;
    loop {
        let exited = child
            .try_wait()
            .map_err(|error| Failure::new(format!("cannot wait for pid {pid}: {error}")))?;
        if let Some(status) = exited {
            return Err(ended(status, log));
        }
        // Another supervisor may answer there, until this one sees it and ends.
        if client.health().await.is_ok_and(|health| health.pid == pid) {
            return Ok(Exit::Ok);
        }
        if Instant::now() >= deadline {
            let limit = humantime::format_duration(limit);
            let message = format!("the supervisor (pid {pid}) does not answer after {limit}");
            let log = log.path.display();
            return Err(Failure::new(message)
                .exit(Exit::TimedOut)
                .hint(format!("it is left running; its log is {log}")));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn ended(status: ExitStatus, log: &Log) -> Failure {
    let refused = status.code() == Some(Exit::Refused as i32);
    let exit = if refused { Exit::Refused } else { Exit::Failed };
    let mut message = format!("the supervisor did not start ({status})");
    let tail = log.tail();
    if !tail.is_empty() {
        message = format!("{message}; the end of its log:\n{tail}");
    }
    Failure::new(message)
        .exit(exit)
        .hint(format!("its log is {}", log.path.display()))
}

/// The supervisor's log, and where it ended before this start.
struct Log {
    path: PathBuf,
    file: File,
    start: u64,
}

impl Log {
    fn open(state_dir: &Path) -> io::Result<Self> {
        let dir = state_dir.join("logs");
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let path = dir.join("supervisor.log");
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)?;
        let start = file.metadata()?.len();
        Ok(Self { path, file, start })
    }

    /// The last lines since this start.
    fn tail(&self) -> String {
        let read = || -> io::Result<String> {
            let mut file = File::open(&self.path)?;
            let from = file.metadata()?.len().saturating_sub(TAIL_BYTES);
            file.seek(SeekFrom::Start(from.max(self.start)))?;
            let mut bytes = Vec::new();
            file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = match read() {
            Ok(text) => text,
            Err(error) => return format!("  (unreadable: {error})"),
        };
        let lines: Vec<_> = text.lines().map(|line| format!("  {line}")).collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use axum::{Json, Router, routing::get};
    use tokio::net::UnixListener;

    use super::*;
    use crate::control::wire::Health;

    struct Start {
        dir: tempfile::TempDir,
        log: Log,
        client: Client,
    }

    fn start() -> Start {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        let client = Client::new(dir.path().join("control.sock"));
        Start { dir, log, client }
    }

    #[expect(clippy::disallowed_methods, reason = "a stand-in for the supervisor")]
    fn shell(start: &Start, script: &str) -> Child {
        Command::new("/bin/sh")
            .args(["-c", script])
            .stdin(Stdio::null())
            .stdout(start.log.file.try_clone().unwrap())
            .stderr(start.log.file.try_clone().unwrap())
            .spawn()
            .unwrap()
    }

    /// A supervisor that answers as `pid`.
    fn serve(start: &Start, pid: u32) {
        let listener = UnixListener::bind(start.client.socket()).unwrap();
        let health = Health {
            status: "ok".into(),
            version: "0".into(),
            pid,
            uptime_ms: 1,
            undone: None,
        };
        let answer = move || async move { Json(health) };
        let router = Router::new().route("/api/v1/health", get(answer));
        tokio::spawn(axum::serve(listener, router).into_future());
    }

    /// Ends what `wait` left running.
    fn end(pid: u32) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        nix::sys::wait::waitpid(pid, None).unwrap();
    }

    #[tokio::test]
    async fn it_is_up_when_the_child_itself_answers() {
        let start = start();
        let child = shell(&start, "exec sleep 60");
        let pid = child.id();
        serve(&start, pid);
        let outcome = wait(child, &start.client, &start.log, START).await;
        end(pid);
        assert_eq!(outcome.unwrap(), Exit::Ok);
    }

    #[tokio::test]
    async fn the_answer_of_another_does_not_count() {
        let start = start();
        serve(&start, 1);
        let child = shell(&start, "exec sleep 60");
        let pid = child.id();
        let limit = Duration::from_millis(100);
        let failure = wait(child, &start.client, &start.log, limit)
            .await
            .unwrap_err();
        end(pid);
        assert_eq!(failure.exit, Exit::TimedOut);
    }

    #[tokio::test]
    async fn a_child_that_ends_shows_the_end_of_its_log() {
        let start = start();
        std::fs::write(&start.log.path, "of the start before\n").unwrap();
        let log = Log::open(start.dir.path()).unwrap();
        let child = shell(&start, "echo cannot bind; exit 6");
        let failure = wait(child, &start.client, &log, START).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Refused);
        assert_eq!(
            failure.message,
            "the supervisor did not start (exit status: 6); the end of its log:\n  cannot bind"
        );
    }

    #[test]
    fn the_log_is_private() {
        let start = start();
        let mode = start.log.file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_tail_is_short() {
        let start = start();
        let lines: Vec<_> = (0..100_000).map(|n| format!("line {n}")).collect();
        let text = lines.join("\n");
        std::fs::write(&start.log.path, text).unwrap();
        let tail = start.log.tail();
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("  line 99999"));
    }
}
