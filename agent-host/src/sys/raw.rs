//! The system calls that no safe wrapper offers. All but [`watch_readable`] are for the time before there is
//! a second thread; [`alone`] checks it.
#![expect(
    unsafe_code,
    reason = "this is the one module for it; every block says why it is sound"
)]

use std::{ffi::OsString, io, os::fd::OwnedFd, path::Path};

use nix::{
    errno::Errno,
    libc,
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
    unistd::{ForkResult, fork},
};
use rustix::thread::UnshareFlags;
use tokio::io::{Interest, unix::AsyncFd};

/// The first descriptor that is not standard input, output or error.
const FIRST: libc::c_uint = 3;

/// Whether this process has one thread, which the others of this module ask for.
pub(crate) fn alone() -> io::Result<bool> {
    Ok(std::fs::read_dir("/proc/self/task")?.count() == 1)
}

fn must_be_alone() -> io::Result<()> {
    if alone()? {
        Ok(())
    } else {
        Err(io::Error::other("there is more than one thread"))
    }
}

/// Closes all descriptors but standard input, output and error.
pub(crate) fn close_inherited() -> io::Result<()> {
    must_be_alone()?;
    // SAFETY: there is one thread and nothing of this process holds a descriptor yet: the caller is
    // its first instruction after reading its bootstrap from standard input.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0) };
    match Errno::result(closed) {
        Ok(_) => Ok(()),
        Err(Errno::ENOSYS) => close_listed(),
        Err(errno) => Err(errno.into()),
    }
}

/// As [`close_inherited`], for kernels before 5.9.
fn close_listed() -> io::Result<()> {
    let open: Vec<libc::c_int> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open.into_iter().filter(|fd| *fd >= 3) {
        // SAFETY: as above. One of the numbers was the folder's own, which is closed already: the
        // kernel says so, and nothing else can have got it.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// Puts these variables in place of the whole environment.
#[expect(
    clippy::disallowed_methods,
    reason = "before there is a second thread, and for all that follows"
)]
pub(crate) fn replace_environment(
    kept: impl IntoIterator<Item = (&'static str, OsString)>,
) -> io::Result<()> {
    must_be_alone()?;
    let old: Vec<OsString> = std::env::vars_os().map(|(name, _)| name).collect();
    for name in old {
        // SAFETY: there is one thread, so nobody reads the environment meanwhile.
        unsafe { std::env::remove_var(name) };
    }
    for (name, value) in kept {
        // SAFETY: as above.
        unsafe { std::env::set_var(name, value) };
    }
    Ok(())
}

/// Founds a PID namespace for the children to come, in a user namespace of its own where that needs one.
pub(crate) fn found_namespace(with_user: bool) -> io::Result<()> {
    let flags = if with_user {
        UnshareFlags::NEWPID | UnshareFlags::NEWUSER
    } else {
        UnshareFlags::NEWPID
    };
    // SAFETY: neither flag touches descriptors, which is what can be unsound.
    unsafe { rustix::thread::unshare_unsafe(flags) }?;
    Ok(())
}

/// Forks.
pub(crate) fn fork_alone() -> io::Result<ForkResult> {
    must_be_alone()?;
    // SAFETY: there is one thread, so that no lock can be held that the child would wait for.
    Ok(unsafe { fork() }?)
}

/// Whether this process may write to a folder: what the kernel says, not the mode bits.
pub(crate) fn is_writable(path: &Path) -> bool {
    nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_ok()
}

/// Lets a signal do to this process what it does by default.
pub(crate) fn default_action(signal: Signal) {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler of ours is installed by this.
    let _ = unsafe { sigaction(signal, &default) };
}

/// Lets the event loop wait until a descriptor can be read.
pub(crate) fn watch_readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, stays the same descriptor, and is closed with what owns it.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    Ok(watched?)
}
