//! Runs `kennel` and waits for its end, within bounds.

use std::{
    io::Write as _,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::{io::AsyncReadExt as _, net::unix::pipe};

const LIMIT: Duration = Duration::from_secs(20);

/// The program, where cargo puts it.
pub(super) fn program() -> PathBuf {
    let test = std::env::current_exe().expect("the test knows its own path");
    let target = test.ancestors().nth(2);
    let program = target
        .expect("tests are in target/<profile>/deps")
        .join("kennel");
    assert!(
        program.exists(),
        "run `cargo build --workspace --bins` first"
    );
    program
}

/// What a command said and how it ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// The exit code; `None` after a signal.
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// A command that runs; killed when dropped.
pub(super) struct Running {
    child: Child,
    stdout: Option<pipe::Receiver>,
    stderr: pipe::Receiver,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has usually ended, and then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts `kennel` with nothing of the environment but what it needs.
pub(super) fn start(socket: &Path, args: &[&str]) -> Running {
    let home = socket.parent().expect("a socket is in a folder");
    let mut child = Command::new(program())
        .arg("--socket")
        .arg(socket)
        .args(args)
        .env_clear()
        .env("HOME", home)
        .current_dir(home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kennel starts");
    let receiver = |fd: OwnedFd| pipe::Receiver::from_owned_fd(fd).expect("it is a pipe");
    let stdout = child.stdout.take().expect("stdout is a pipe");
    let stderr = child.stderr.take().expect("stderr is a pipe");
    Running {
        stdout: Some(receiver(stdout.into())),
        stderr: receiver(stderr.into()),
        child,
    }
}

/// Starts, and waits for the end.
pub(super) async fn kennel(socket: &Path, args: &[&str]) -> Ended {
    start(socket, args).finish("").await
}

impl Running {
    /// Types `input`.
    pub(super) fn say(&mut self, input: &str) {
        let stdin = self.child.stdin.as_mut().expect("stdin is open");
        // A command that does not read it may be gone.
        let _ = stdin.write_all(input.as_bytes());
    }

    /// Nobody reads its output any more.
    pub(super) fn close_stdout(&mut self) {
        self.stdout = None;
    }

    /// Reads standard output until it has `text`.
    pub(super) async fn read_until(&mut self, text: &str) -> String {
        let stdout = self.stdout.as_mut().expect("stdout is open");
        let mut found = Vec::new();
        let read = async {
            while !String::from_utf8_lossy(&found).contains(text) {
                let n = stdout
                    .read_buf(&mut found)
                    .await
                    .expect("stdout can be read");
                assert!(n > 0, "kennel ended before it said {text:?}");
            }
        };
        let read = tokio::time::timeout(LIMIT, read).await;
        read.expect("kennel says it in time");
        String::from_utf8(found).expect("kennel prints text")
    }

    /// Ctrl-C.
    pub(super) fn interrupt(&self) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        let pid = nix::unistd::Pid::from_raw(pid);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("it is running");
    }

    /// Types `input`, then waits for the end.
    pub(super) async fn finish(mut self, input: &str) -> Ended {
        self.say(input);
        drop(self.child.stdin.take());
        let (mut stdout, mut stderr) = (String::new(), String::new());
        let mut out = self.stdout.take();
        let read = async {
            let stdout = async {
                if let Some(out) = &mut out {
                    out.read_to_string(&mut stdout)
                        .await
                        .expect("kennel prints text");
                }
            };
            let stderr = self.stderr.read_to_string(&mut stderr);
            let ((), read) = tokio::join!(stdout, stderr);
            read.expect("kennel prints text");
        };
        let read = tokio::time::timeout(LIMIT, read).await;
        read.expect("kennel ends in time");
        // Both pipes are closed: it ends now.
        let status = self.child.wait().expect("kennel can be waited for");
        Ended {
            code: status.code(),
            stdout,
            stderr,
        }
    }
}
