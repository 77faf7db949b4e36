//! The supervisor's only `unsafe` code, with what is below: what the operating system offers and no safe wrapper does.
#![expect(
    unsafe_code,
    reason = "this is the one module for it; every block says why it is sound"
)]

pub(crate) mod exit;
pub(crate) mod program;

use std::{
    fs, io,
    os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use nix::{
    libc,
    sys::resource::{Resource, getrlimit, setrlimit},
};
use rustix::{
    io::{FdFlags, fcntl_getfd, fcntl_setfd},
    process::{DumpableBehavior, set_dumpable_behavior},
};
use tokio::io::{Interest, unix::AsyncFd};

/// Watches `fd` for becoming readable.
pub(crate) fn watch_readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays open and keeps its number until it is dropped, and `AsyncFd`
    // deregisters before it drops it.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    Ok(watched?)
}

/// Watches `fd` for news that have priority, as cgroup files announce a change.
pub(crate) fn watch_priority(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: as for `watch_readable`.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::PRIORITY) };
    Ok(watched?)
}

/// The version of the kernel's Landlock interface; `None` without Landlock.
pub(crate) fn landlock_abi() -> Option<u32> {
    const VERSION: libc::c_uint = 1;
    let nothing = std::ptr::null::<libc::c_void>();
    // SAFETY: with this flag, no attributes and a size of 0 the call reads and writes no memory and opens
    // nothing: it returns a number.
    let abi =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, VERSION) };
    u32::try_from(abi).ok()
}

/// The most descriptors that are asked for: an agent takes five, a connection one.
const DESCRIPTORS: u64 = 65_536;

/// Keeps what this process was started with from its children: a descriptor that a shell or a service
/// left open would else reach every agent. All that is opened later closes on exec by itself. Only
/// before other threads run.
pub(crate) fn keep_inherited_descriptors() -> io::Result<()> {
    // Collected first, so that the descriptor of the folder itself is closed again.
    let open: Vec<RawFd> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        // SAFETY: the number is only used for this call. No thread runs that could close or reuse
        // it meanwhile, and one that is closed by now is refused by the kernel.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let _ = fcntl_setfd(fd, FdFlags::CLOEXEC);
    }
    Ok(())
}

/// Takes over a descriptor that the program before this one in the same process has left open.
pub(crate) fn take_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the number is only used for this call, and one that is not open is refused by the kernel.
    fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) })?;
    // SAFETY: it is open, and nobody else in this program knows of it: it was opened by the program before, and
    // each number is taken once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Takes as many descriptors as this process may have: the usual 1024 are gone with 200 agents.
pub(crate) fn raise_descriptor_limit() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = hard.min(DESCRIPTORS);
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?;
    }
    Ok(())
}

/// Closes this process's memory, which holds every secret, to other processes of its user: they can
/// neither trace it nor read its `/proc/<pid>/{environ,mem,fd}`, and it leaves no core. Its children are
/// not affected.
pub(crate) fn close_memory() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd};

    use rustix::io::fcntl_getfd;

    use super::*;

    #[test]
    fn what_was_inherited_stays_here() {
        let file = File::open("/dev/null").unwrap();
        fcntl_setfd(file.as_fd(), FdFlags::empty()).unwrap();
        keep_inherited_descriptors().unwrap();
        assert_eq!(fcntl_getfd(file.as_fd()).unwrap(), FdFlags::CLOEXEC);
    }

    #[test]
    fn the_soft_limit_reaches_what_is_wanted() {
        raise_descriptor_limit().unwrap();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert!(soft >= hard.min(DESCRIPTORS), "{soft} of {hard}");
    }
}
