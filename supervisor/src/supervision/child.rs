//! A running agent-host: how it is signalled, and how its end is seen.
//!
//! One that this supervisor has started is its child, which keeps its pid until it is reaped. One that an
//! earlier supervisor has started is init's: its pid may be another's at any time, so that it is only
//! signalled through its descriptor, and how it ended is told by the kernel if that is new enough, else
//! by what it left in writing.

use std::{
    fs::{self, OpenOptions},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::Path,
};

use kennel_shared::{
    exit::{EXIT_FILE, ExitRecord},
    ids::Generation,
};
use nix::{
    errno::Errno,
    libc,
    sys::signal::{Signal, kill, killpg},
    unistd::{Pid, getpgid},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{WaitId, WaitIdOptions, pidfd_send_signal, waitid},
};
use tokio::io::unix::AsyncFd;
use tracing::warn;

use super::lifecycle::Exit;
use crate::sys::{self, exit::exit_status};

/// A child. Dropping it neither ends nor reaps it.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    generation: Generation,
    pidfd: AsyncFd<OwnedFd>,
    adopted: bool,
}

impl Child {
    /// Begins to watch a started child. One that cannot be watched is ended.
    pub fn watch(pid: i32, pidfd: OwnedFd, generation: Generation) -> io::Result<Self> {
        let pid = Pid::from_raw(pid);
        match sys::watch_readable(pidfd) {
            Ok(pidfd) => Ok(Self {
                pid,
                generation,
                pidfd,
                adopted: false,
            }),
            Err(error) => {
                let _ = signal_group(pid, Signal::SIGKILL);
                let _ = waitid(WaitId::Pid(as_rustix(pid)), WaitIdOptions::EXITED);
                Err(error)
            }
        }
    }

    /// Begins to watch one that an earlier supervisor has started. `pidfd` is known to be its own.
    pub fn adopt(pid: i32, pidfd: OwnedFd, generation: Generation) -> io::Result<Self> {
        Ok(Self {
            pid: Pid::from_raw(pid),
            generation,
            pidfd: sys::watch_readable(pidfd)?,
            adopted: true,
        })
    }

    /// Its process id, which stays its own until [`reap`](Self::reap).
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Which life of its agent it is.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Whether an earlier supervisor has started it.
    pub fn is_adopted(&self) -> bool {
        self.adopted
    }

    /// Waits until it has ended. Cancel-safe.
    pub async fn ended(&self) -> io::Result<()> {
        self.pidfd.readable().await.map(drop)
    }

    /// Signals its whole process group, and the child itself where it has left its group: a process
    /// may join any other group of its session. A group without members is no error. Of one that was
    /// adopted only itself: by the number of its group a stranger might be hit.
    pub fn signal_group(&self, signal: Signal) -> io::Result<()> {
        if !self.adopted {
            return signal_group(self.pid, signal);
        }
        let signal = rustix::process::Signal::from_named_raw(signal as i32)
            .ok_or(io::ErrorKind::InvalidInput)?;
        match pidfd_send_signal(self.pidfd.get_ref(), signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Ends what is left of its group, then takes the ended child off the process table. In this
    /// order, because afterwards the pid, and so the group's id, may belong to somebody else.
    ///
    /// Of one that was adopted it finds out how it ended, from what it wrote into `directory` if need be.
    pub fn reap(self, directory: &Path) -> io::Result<Exit> {
        if self.adopted {
            // It is our own child where a program before this one, in the same process, has started it.
            if let Ok(exit) = reap(self.pidfd.get_ref().as_fd()) {
                return Ok(exit);
            }
            return Ok(exit_of_adopted(
                self.pid,
                self.pidfd.get_ref().as_fd(),
                self.generation,
                directory,
            ));
        }
        if let Err(error) = self.signal_group(Signal::SIGKILL) {
            warn!(agent.pid = self.pid(), %error, "what is left of a process group cannot be ended");
        }
        reap(self.pidfd.get_ref().as_fd())
    }
}

pub(super) fn as_rustix(pid: Pid) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(pid.as_raw()).expect("a child's pid is positive")
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

/// How one ended that init has to reap, or has reaped already. While it has not, the pid is still the
/// child's own, and `/proc` tells; afterwards newer kernels tell by the descriptor.
fn exit_of_adopted(
    pid: Pid,
    pidfd: BorrowedFd<'_>,
    generation: Generation,
    directory: &Path,
) -> Exit {
    let unreaped = zombie_status(pid).filter(|_| !is_reaped(pidfd));
    let status = unreaped.or_else(|| exit_status(pidfd).ok().flatten());
    match status {
        Some(status) if libc::WIFEXITED(status) => Exit::Code(libc::WEXITSTATUS(status)),
        Some(status) => Exit::Signal(libc::WTERMSIG(status)),
        None => last_word(generation, directory),
    }
}

/// The wait status of a process that has ended and was not reaped.
fn zombie_status(pid: Pid) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything; what follows it begins with the third field. The status is the 52nd.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    (fields.next()? == "Z").then(|| fields.nth(48)?.parse().ok())?
}

/// Whether the kernel has hung up on a descriptor. Kernels before 6.9 never do.
fn is_reaped(pidfd: BorrowedFd<'_>) -> bool {
    let mut watched = [PollFd::new(&pidfd, PollFlags::empty())];
    poll(&mut watched, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// How a life ended that nobody has watched, if it left word of it in its agent's `directory`.
pub fn last_word(generation: Generation, directory: &Path) -> Exit {
    written(generation, directory).unwrap_or(Exit::Unknown)
}

/// What it left in writing. It is an agent's folder: anything may be there under that name.
fn written(generation: Generation, directory: &Path) -> Option<Exit> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(directory.join(EXIT_FILE))
        .ok()?;
    let record = ExitRecord::read(file)?;
    (record.generation == generation).then(|| Exit::Code(record.code.into()))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        os::unix::process::CommandExt as _,
        process::{Command, Stdio},
        time::Duration,
    };

    use rustix::process::{PidfdFlags, pidfd_open};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn pidfd(pid: i32) -> OwnedFd {
        pidfd_open(as_rustix(Pid::from_raw(pid)), PidfdFlags::empty()).unwrap()
    }

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
        let child = Child::watch(pid, pidfd(pid), Generation(1)).unwrap();
        child.signal_group(Signal::SIGKILL).unwrap();
        let ended = tokio::time::timeout(PATIENCE, child.ended()).await;
        ended.expect("it was signalled").unwrap();
        assert_eq!(child.reap(Path::new("/")).unwrap(), Exit::Signal(9));
    }

    /// A process whose parent is gone; it does what `script` says once it is let go.
    #[expect(clippy::disallowed_methods, reason = "a process that is no agent")]
    fn orphan(script: &str) -> (i32, std::process::ChildStdin) {
        let mut parent = Command::new("/bin/sh")
            .args([
                "-c",
                &format!("exec 3<&0; (read line <&3; {script}) >/dev/null & echo $!"),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(parent.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let go = parent.stdin.take().unwrap();
        parent.wait().unwrap();
        (line.trim().parse().unwrap(), go)
    }

    async fn exit_of(script: &str, record: Option<ExitRecord>) -> Exit {
        let directory = tempfile::tempdir().unwrap();
        let (pid, go) = orphan(script);
        let child = Child::adopt(pid, pidfd(pid), Generation(3)).unwrap();
        if let Some(record) = record {
            record.write(directory.path()).unwrap();
        }
        drop(go);
        let ended = tokio::time::timeout(PATIENCE, child.ended()).await;
        ended.expect("it was let go").unwrap();
        child.reap(directory.path()).unwrap()
    }

    /// Before init has reaped it, and after.
    #[tokio::test]
    async fn the_kernel_tells_how_a_stranger_s_child_ended() {
        assert_eq!(exit_of("exit 7", None).await, Exit::Code(7));
        let (pid, go) = orphan("exit 7");
        let pidfd = pidfd(pid);
        drop(go);
        let reaped = tokio::task::spawn_blocking(move || {
            let limit = Timespec::try_from(PATIENCE).unwrap();
            poll(&mut [PollFd::new(&pidfd, PollFlags::empty())], Some(&limit)).unwrap();
            (
                zombie_status(Pid::from_raw(pid)),
                exit_status(pidfd.as_fd()),
            )
        });
        let (zombie, told) = reaped.await.unwrap();
        assert_eq!(zombie, None);
        if sys::exit::is_told() {
            assert_eq!(told.unwrap(), Some(7 << 8));
        }
        let itself = "exec python3 -c 'import os; os.kill(os.getpid(), 9)'";
        assert_eq!(exit_of(itself, None).await, Exit::Signal(9));
    }

    #[test]
    fn what_it_wrote_is_believed_of_its_own_life_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert_eq!(written(Generation(3), path), None);
        let record = ExitRecord {
            generation: Generation(3),
            code: 69,
        };
        record.write(path).unwrap();
        assert_eq!(written(Generation(3), path), Some(Exit::Code(69)));
        assert_eq!(written(Generation(4), path), None);
        std::fs::remove_file(path.join(EXIT_FILE)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path.join(EXIT_FILE)).unwrap();
        assert_eq!(written(Generation(3), path), None);
        std::fs::remove_file(path.join(EXIT_FILE)).unwrap();
        nix::unistd::mkfifo(&path.join(EXIT_FILE), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(written(Generation(3), path), None, "and nobody waits");
    }
}
