//! Copies of this process: the test crate's only `unsafe`.

#![expect(unsafe_code, reason = "there is no safe way to fork")]

use std::process;

use nix::unistd::{ForkResult, Pid, fork, pause};

/// Makes a copy of this process that sleeps until it is killed. It has every descriptor that this
/// process has.
pub(super) fn fork_sleeper() -> nix::Result<Pid> {
    // SAFETY: the child calls nothing but `pause`, which is async-signal-safe, so it does not matter
    // what other threads were doing.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => loop {
            pause();
        },
    }
}

/// Makes a copy of this process that does `then` and ends. Only while there is one thread.
pub(super) fn fork_alone(then: impl FnOnce()) -> nix::Result<Pid> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    assert_eq!(threads, 1, "a lock that another thread holds stays locked");
    // SAFETY: this is the only thread, so the child may do whatever its parent may.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            then();
            process::exit(0)
        }
    }
}
