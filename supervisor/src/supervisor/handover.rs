//! From one program to the next, in the same process: `kennel upgrade`.
//!
//! ```text
//! POST /upgrade ─► preflight: NEW up --preflight  (a process of its own, with a time limit)
//!                      │ no: the old one goes on serving, and says why
//!                      ▼ yes
//!                  connections are left in the sockets' queues; callers get their answers; channels send what they
//!                  owe; the journal is closed
//!                      ▼
//!                  exec NEW up --take-over lock=…,link=…,control=…  (same pid, same lock, same sockets)
//!                      ▼
//!                  it adopts the agents, as after a crash
//! ```
//!
//! The process is kept, so a service manager sees none of it, no second supervisor can come between, and the
//! listening sockets are never closed: who connects meanwhile waits. What cannot be taken back is only the last step,
//! behind a preflight that has read the configuration, the journal and the secrets, and looked at what holds agents.

use std::{
    fmt,
    io::{self, Read as _},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd, RawFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    str::FromStr,
    time::{Duration, Instant},
};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use tokio::sync::{mpsc, oneshot};

/// How long a new program may take to say that it would start.
const PREFLIGHT: Duration = Duration::from_secs(20);

/// What a program says whose preflight went well, before its version.
pub const READY: &str = "kennel is ready to take over: ";

/// The most of its complaints that is passed on, in bytes.
const COMPLAINT_BYTES: u64 = 4096;

/// A request to be replaced.
#[derive(Debug)]
pub struct Upgrade {
    /// By which program.
    pub program: PathBuf,
    /// Whether it will be: its version, or why it will not.
    pub reply: oneshot::Sender<Result<String, String>>,
}

/// Asks for an upgrade.
#[derive(Debug, Clone)]
pub struct Upgrades(mpsc::Sender<Upgrade>);

impl Upgrades {
    /// A way to ask, and its other end.
    pub fn new() -> (Self, mpsc::Receiver<Upgrade>) {
        let (asks, asked) = mpsc::channel(1);
        (Self(asks), asked)
    }

    /// The version of the program that takes over, or why none does; `None` when the supervisor is leaving.
    pub async fn ask(&self, program: PathBuf) -> Option<Result<String, String>> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Upgrade { program, reply }).await.ok()?;
        answer.await.ok()
    }
}

/// What is handed over: the lock that makes a supervisor the only one, and what it listens on.
#[derive(Debug)]
pub struct Handover {
    /// Of the pid file.
    pub lock: OwnedFd,
    /// For agents.
    pub link: OwnedFd,
    /// For the command line.
    pub control: OwnedFd,
    /// For callers on TCP.
    pub tcp: Option<OwnedFd>,
}

/// The numbers of its descriptors, for the command line of the next program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    lock: RawFd,
    link: RawFd,
    control: RawFd,
    tcp: Option<RawFd>,
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            lock,
            link,
            control,
            tcp,
        } = self;
        write!(f, "lock={lock},link={link},control={control}")?;
        tcp.iter().try_for_each(|tcp| write!(f, ",tcp={tcp}"))
    }
}

impl FromStr for Numbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not `lock=N,link=N,control=N[,tcp=N]`");
        let of = |name: &str| -> Result<Option<RawFd>, String> {
            let mut parts = text.split(',').filter_map(|part| part.split_once('='));
            let Some((_, number)) = parts.find(|(key, _)| *key == name) else {
                return Ok(None);
            };
            let number: RawFd = number.parse().map_err(|_| wrong())?;
            // The first three are the standard ones.
            if number > 2 {
                Ok(Some(number))
            } else {
                Err(wrong())
            }
        };
        Ok(Self {
            lock: of("lock")?.ok_or_else(wrong)?,
            link: of("link")?.ok_or_else(wrong)?,
            control: of("control")?.ok_or_else(wrong)?,
            tcp: of("tcp")?,
        })
    }
}

impl Handover {
    /// Takes what the program before has left open. Only once, before anything else is opened.
    pub fn take(numbers: Numbers) -> io::Result<Self> {
        let take = crate::sys::take_descriptor;
        Ok(Self {
            lock: take(numbers.lock)?,
            link: take(numbers.link)?,
            control: take(numbers.control)?,
            tcp: numbers.tcp.map(take).transpose()?,
        })
    }

    /// Copies of what is listened on, which stay open when those who listen have ended.
    pub fn copy(fd: impl AsFd) -> io::Result<OwnedFd> {
        Ok(fcntl_dupfd_cloexec(fd, 3)?)
    }

    fn numbers(&self) -> Numbers {
        Numbers {
            lock: self.lock.as_raw_fd(),
            link: self.link.as_raw_fd(),
            control: self.control.as_raw_fd(),
            tcp: self.tcp.as_ref().map(AsRawFd::as_raw_fd),
        }
    }

    /// Becomes `program`. Comes back only with the reason why not.
    pub fn exec(&self, program: &Path, config: &Path, watch: bool) -> io::Error {
        let all = [
            Some(&self.lock),
            Some(&self.link),
            Some(&self.control),
            self.tcp.as_ref(),
        ];
        for fd in all.into_iter().flatten() {
            if let Err(error) = fcntl_setfd(fd, FdFlags::empty()) {
                return error.into();
            }
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "it becomes this process, no agent"
        )]
        let mut command = Command::new(program);
        command.arg("--config").arg(config).arg("up");
        if watch {
            command.arg("--watch");
        }
        command.arg("--take-over").arg(self.numbers().to_string());
        command.exec()
    }
}

/// Has a program say whether it would start here; its version, or why it would not. Blocks.
pub(super) fn preflight(program: &Path, config: &Path) -> Result<String, String> {
    preflight_within(program, config, PREFLIGHT)
}

#[expect(
    clippy::disallowed_methods,
    reason = "it is called where it may block, and waits for a process, not for a clock that a test could pause"
)]
fn preflight_within(program: &Path, config: &Path, limit: Duration) -> Result<String, String> {
    let shown = program.display();
    let child = Command::new(program)
        .arg("--config")
        .arg(config)
        .args(["up", "--preflight"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut child = child.map_err(|error| format!("{shown} cannot be started: {error}"))?;
    // Read beside it, so that one that says much does not wait for us for ever.
    let read = |pipe: Option<Box<dyn io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(mut pipe) = pipe {
                let _ = pipe.by_ref().take(COMPLAINT_BYTES).read_to_end(&mut text);
                let _ = io::copy(&mut pipe, &mut io::sink());
            }
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let out = read(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let complaint = read(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let deadline = Instant::now() + limit;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Ok(status),
            Ok(None) if Instant::now() >= deadline => {
                break Err(format!(
                    "{shown} did not say within {limit:?} that it would start"
                ));
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => break Err(format!("{shown} cannot be waited for: {error}")),
        }
    };
    // Also what it may have started; one that has ended has no group any more.
    let group = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    if status.is_err() {
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        let _ = child.wait();
    }
    let status = status?;
    let (out, complaint) = (
        out.join().unwrap_or_default(),
        complaint.join().unwrap_or_default(),
    );
    if !status.success() {
        return Err(format!(
            "{shown} would not start ({status}): {}",
            complaint.trim()
        ));
    }
    let version = out.lines().find_map(|line| line.strip_prefix(READY));
    version
        .map(|version| version.trim().to_owned())
        .ok_or_else(|| format!("{shown} ended without a word of being ready: is it `kennel`?"))
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn numbers_read_back() {
        for tcp in [None, Some(9)] {
            let numbers = Numbers {
                lock: 3,
                link: 4,
                control: 17,
                tcp,
            };
            assert_eq!(numbers.to_string().parse(), Ok(numbers));
        }
        for bad in [
            "",
            "lock=3",
            "lock=3,link=4,control=x",
            "lock=1,link=4,control=5",
        ] {
            assert!(bad.parse::<Numbers>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_program_that_would_not_start_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("kennel");
        let tried = |script: &str| {
            // Written aside: a file that is being written cannot be run.
            let aside = directory.path().join("aside");
            std::fs::write(&aside, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&aside, Permissions::from_mode(0o700)).unwrap();
            std::fs::rename(&aside, &program).unwrap();
            preflight_within(&program, Path::new("/c.toml"), Duration::from_millis(500))
        };
        let ready = format!("echo '{READY}9.9.9'");
        assert_eq!(tried(&ready), Ok("9.9.9".to_owned()));
        let refused = tried("echo 'the journal is newer' >&2; exit 3").unwrap_err();
        assert!(
            refused.contains("exit status: 3") && refused.contains("the journal is newer"),
            "{refused}"
        );
        let silent = tried("exit 0").unwrap_err();
        assert!(silent.contains("without a word"), "{silent}");
        let hung = tried("sleep 60 & sleep 60").unwrap_err();
        assert!(hung.contains("did not say within"), "{hung}");
        assert!(preflight(&directory.path().join("none"), Path::new("/c")).is_err());
    }
}
