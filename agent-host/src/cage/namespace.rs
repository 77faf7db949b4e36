//! The step `pid-namespace`: where no group holds all that an agent starts, a PID namespace does.
//!
//! ```text
//! outer (the supervisor's child: waits) ── first (pid 1: reaps whom others leave) ── the agent
//! ```
//!
//! When the agent ends, `first` ends, and with it the kernel ends everything in the namespace, whatever
//! session or parent it has. When the supervisor kills `outer`, `first` is killed too. TERM goes the
//! whole way to the agent, and its exit status the whole way back.
//!
//! Only the agent returns from [`enter`]. The other two have no memory of their own beyond what they
//! write: a few pages each.

use std::{
    fs,
    io::{Read, Write},
    os::fd::OwnedFd,
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::{
        signal::{SigSet, SigmaskHow, Signal, kill, raise},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, getegid, geteuid, pipe2},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{DumpableBehavior, set_dumpable_behavior, set_parent_process_death_signal},
};

use super::report::Trouble;
use crate::sys::raw;

/// What an exit status is between `first` and `outer`: whether a signal, and its number or the code.
type Status = [u8; 2];

/// What a process says that cannot go on here: the code for software errors.
const BROKEN: i32 = 70;

/// Enters a new namespace as a child of its first process. Only while there is one thread.
pub(super) fn enter() -> Result<String, Trouble> {
    let (user, group) = (geteuid(), getegid());
    let with_user = !user.is_root();
    raw::found_namespace(with_user)?;
    if with_user {
        // As itself, and nobody else.
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
        fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
    }
    let signals = passed_on();
    let before = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    // Closed at the end of `outer`, however it ends; its other end tells `first` so.
    let (status_end, status) = pipe2(OFlag::O_CLOEXEC)?;
    match raw::fork_alone()? {
        ForkResult::Parent { child } => {
            drop(status);
            quit(outer(child, status_end, &signals))
        }
        ForkResult::Child => {
            drop(status_end);
            die_with_parent(&status);
            match raw::fork_alone()? {
                ForkResult::Parent { child } => quit(first(child, status, &signals)),
                ForkResult::Child => {
                    drop(status);
                    // Killed with `first` by the kernel: that is what the namespace is for.
                    before.thread_set_mask()?;
                    let way = if with_user {
                        ", in a user namespace"
                    } else {
                        ""
                    };
                    Ok(format!("all in it end with the agent{way}"))
                }
            }
        }
    }
}

/// The signals that are taken from a queue: those to pass on, and the end of a child.
fn passed_on() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD]
        .into_iter()
        .collect()
}

/// In `first`: is killed when `outer` ends, also when it has ended already.
fn die_with_parent(status: &OwnedFd) {
    let asked = set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    if asked.is_err() || reader_is_gone(status) {
        quit(BROKEN);
    }
}

fn reader_is_gone(pipe: &OwnedFd) -> bool {
    let mut watched = [PollFd::new(pipe, PollFlags::empty())];
    let now = Timespec::default();
    let polled = poll(&mut watched, Some(&now));
    polled.is_err() || watched[0].revents().intersects(PollFlags::ERR)
}

/// The supervisor's child: waits for `first` and ends as the agent did.
fn outer(first: Pid, status: OwnedFd, signals: &SigSet) -> i32 {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let ended = serve(first, signals, |child| child == first);
    let mut said = Status::default();
    if ended.is_ok() && fs::File::from(status).read_exact(&mut said).is_ok() {
        end_as(said)
    } else {
        // It was killed itself: nobody asked the agent.
        end_as([1, Signal::SIGKILL as u8])
    }
}

/// The first process of the namespace: takes the agent's end, and everybody's whose parents are gone.
fn first(agent: Pid, status: OwnedFd, signals: &SigSet) -> i32 {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let Ok(ended) = serve(agent, signals, |child| child == agent) else {
        return BROKEN;
    };
    let said = match ended {
        WaitStatus::Exited(_, code) => [0, code.to_le_bytes()[0]],
        WaitStatus::Signaled(_, signal, _) => [1, signal as u8],
        _ => [0, BROKEN.to_le_bytes()[0]],
    };
    // Nobody reads it any more when `outer` was killed, and then this process is too.
    let _ = fs::File::from(status).write_all(&said);
    0
}

/// Passes signals on to `child` and reaps until `is_last` has ended.
fn serve(child: Pid, signals: &SigSet, is_last: impl Fn(Pid) -> bool) -> Result<WaitStatus, Errno> {
    loop {
        match signals.wait()? {
            Signal::SIGCHLD => {}
            signal => {
                let _ = kill(child, signal);
                continue;
            }
        }
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
                Ok(ended) if ended.pid().is_some_and(&is_last) => return Ok(ended),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// Ends this process in the way that another has ended.
fn end_as([by_signal, number]: Status) -> i32 {
    if by_signal == 0 {
        return number.into();
    }
    if let Ok(signal) = Signal::try_from(i32::from(number)) {
        // A core was the agent's to write, and it may not.
        let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
        raw::default_action(signal);
        let mut unblocked = SigSet::empty();
        unblocked.add(signal);
        let _ = unblocked.thread_unblock();
        let _ = raise(signal);
    }
    128 + i32::from(number)
}

#[expect(
    clippy::disallowed_methods,
    reason = "nothing of an agent is in this process: no lock, no socket, no store"
)]
fn quit(code: i32) -> ! {
    std::process::exit(code)
}
