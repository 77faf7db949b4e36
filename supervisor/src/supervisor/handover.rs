//! From one program to the next, in the same process: `kennel upgrade`.
//!
//! ```text
//! POST /upgrade ─► preflight: NEW up --preflight  (a process of its own, with a time limit)
//!                      │ no: the old one goes on serving, and says why
//!                      ▼ yes
//!                  connections are left in the sockets' queues; callers get their answers; channels send what they
//!                  owe; the journal is closed
//!                      ▼
//!                  exec NEW up --take-over lock=…,link=…,control=…,back=…  (same pid, same lock, same sockets)
//!                      │ it does not come up: exec of the old one, by the descriptor `back` (see `way_back`)
//!                      ▼
//!                  it adopts the agents, as after a crash
//! ```
//!
//! The process is kept, so a service manager sees none of it, no second supervisor can come between, and the
//! listening sockets are never closed: who connects meanwhile waits. The last step comes behind a preflight that has read
//! the configuration, the journal and the secrets, and looked at what holds agents; and it leads back when the new
//! program does not come up all the same.

use std::{
    ffi::{CString, OsStr},
    fmt,
    io::{self, Read as _},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd, RawFd},
        unix::{ffi::OsStrExt as _, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    str::FromStr,
    time::Duration,
};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use tokio::sync::{mpsc, oneshot};

use super::way_back::own_program;
use crate::program;

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

/// What is handed over.
#[derive(Debug)]
pub struct Handover {
    /// The lock that makes a supervisor the only one: of the pid file.
    pub lock: OwnedFd,
    /// What it listens on.
    pub listening: Listening,
    /// The program before, to be gone back to.
    pub back: Option<OwnedFd>,
}

/// What a supervisor listens on.
#[derive(Debug)]
pub struct Listening {
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
    back: Option<RawFd>,
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            lock,
            link,
            control,
            tcp,
            back,
        } = self;
        write!(f, "lock={lock},link={link},control={control}")?;
        tcp.iter().try_for_each(|tcp| write!(f, ",tcp={tcp}"))?;
        back.iter().try_for_each(|back| write!(f, ",back={back}"))
    }
}

impl FromStr for Numbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not `lock=N,link=N,control=N[,tcp=N][,back=N]`");
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
            back: of("back")?,
        })
    }
}

impl Handover {
    /// Takes what the program before has left open. Only once, before anything else is opened.
    pub fn take(numbers: Numbers) -> io::Result<Self> {
        let take = crate::sys::take_descriptor;
        Ok(Self {
            lock: take(numbers.lock)?,
            listening: Listening {
                link: take(numbers.link)?,
                control: take(numbers.control)?,
                tcp: numbers.tcp.map(take).transpose()?,
            },
            back: numbers.back.map(take).transpose()?,
        })
    }

    /// Copies of all but the program before.
    pub(super) fn copied(&self) -> io::Result<Self> {
        let Listening { link, control, tcp } = &self.listening;
        Ok(Self {
            lock: Self::copy(&self.lock)?,
            listening: Listening {
                link: Self::copy(link)?,
                control: Self::copy(control)?,
                tcp: tcp.as_ref().map(Self::copy).transpose()?,
            },
            back: None,
        })
    }

    /// Copies of what is listened on, which stay open when those who listen have ended.
    pub fn copy(fd: impl AsFd) -> io::Result<OwnedFd> {
        Ok(fcntl_dupfd_cloexec(fd, 3)?)
    }

    fn numbers(&self) -> Numbers {
        Numbers {
            lock: self.lock.as_raw_fd(),
            link: self.listening.link.as_raw_fd(),
            control: self.listening.control.as_raw_fd(),
            tcp: self.listening.tcp.as_ref().map(AsRawFd::as_raw_fd),
            back: self.back.as_ref().map(AsRawFd::as_raw_fd),
        }
    }

    /// Becomes `program`, which can go back to this one. Comes back only with the reason why not.
    pub fn exec(mut self, program: &Path, config: &Path, watch: bool) -> io::Error {
        match own_program() {
            Ok(own) => self.back = Some(own),
            Err(error) => return error,
        }
        self.become_program(
            program,
            config,
            watch,
            ["--return-to".as_ref(), config.as_ref()],
        )
    }

    /// Becomes `program`, with what is handed over and two more words. Comes back only with the reason why not.
    pub(super) fn become_program(
        &self,
        program: &Path,
        config: &Path,
        watch: bool,
        more: [&OsStr; 2],
    ) -> io::Error {
        let numbers = self.numbers().to_string();
        let mut words: Vec<&OsStr> = vec![
            "kennel".as_ref(),
            "--config".as_ref(),
            config.as_ref(),
            "up".as_ref(),
            "--take-over".as_ref(),
            numbers.as_ref(),
        ];
        words.extend(watch.then_some(OsStr::new("--watch")));
        words.extend(more);
        self.leave_open()
            .and_then(|()| execute(program, &words))
            .unwrap_or_else(|error| error)
    }

    /// Has the next program inherit what is handed over.
    fn leave_open(&self) -> io::Result<()> {
        let all = [
            Some(&self.lock),
            Some(&self.listening.link),
            Some(&self.listening.control),
            self.listening.tcp.as_ref(),
            self.back.as_ref(),
        ];
        let mut all = all.into_iter().flatten();
        all.try_for_each(|fd| Ok(fcntl_setfd(fd, FdFlags::empty())?))
    }
}

/// Becomes another program. The standard library's way would first let go of the signals that wait for it.
fn execute(program: &Path, words: &[&OsStr]) -> io::Result<io::Error> {
    let word = |word: &&OsStr| CString::new(word.as_bytes());
    let words: Vec<CString> = words.iter().map(word).collect::<Result<_, _>>()?;
    let program = CString::new(program.as_os_str().as_bytes())?;
    let Err(errno) = nix::unistd::execv(&program, &words);
    Ok(errno.into())
}

/// Has a program say whether it would start here; its version, or why it would not. Blocks.
pub(super) fn preflight(program: &Path, config: &Path) -> Result<String, String> {
    preflight_within(program, config, PREFLIGHT)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a program that is tried, no agent"
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
    let status = match program::wait(&mut child, limit) {
        Ok(Some(status)) => Ok(status),
        Ok(None) => Err(format!(
            "{shown} did not say within {limit:?} that it would start"
        )),
        Err(error) => Err(format!("{shown} cannot be waited for: {error}")),
    };
    if status.is_err() {
        program::end(&mut child);
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
        for (tcp, back) in [
            (None, None),
            (Some(9), None),
            (None, Some(5)),
            (Some(9), Some(5)),
        ] {
            let numbers = Numbers {
                lock: 3,
                link: 4,
                control: 17,
                tcp,
                back,
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
