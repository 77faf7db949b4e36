//! How a process ended that is not our child: `PIDFD_GET_INFO`, since Linux 6.15.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use nix::libc;

/// `_IOWR(0xFF, 11, struct pidfd_info)` of the struct's first version, in the numbering that x86, ARM and RISC-V
/// share.
const PIDFD_GET_INFO: libc::c_ulong = 0xc040_ff0b;

/// Asks for, and says that there is, `exit_code`.
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// `struct pidfd_info` in its first version; a newer kernel fills what it is given room for.
#[repr(C)]
#[derive(Debug, Default)]
struct Info {
    mask: u64,
    cgroupid: u64,
    /// Ids of the process, its group, its parent, and four users and groups each.
    ids: [u32; 11],
    exit_code: i32,
}

const _: () = assert!(size_of::<Info>() == 64, "the size that the number names");

/// The wait status of a process that has been reaped; `None` before that. An older kernel knows no such
/// question.
pub(crate) fn exit_status(pidfd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let mut info = Info {
        mask: PIDFD_INFO_EXIT,
        ..Info::default()
    };
    // SAFETY: the descriptor is open, and the kernel reads and writes at most the 64 bytes that the number
    // names, which is the struct.
    let done = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code))
}

/// Whether this kernel tells.
#[cfg(test)]
pub(crate) fn is_told() -> bool {
    use std::os::fd::AsFd as _;

    use rustix::process::{PidfdFlags, getpid, pidfd_open};

    let own = pidfd_open(getpid(), PidfdFlags::empty()).expect("this process has a descriptor");
    // Known since 6.13, but the exit only since 6.15: a kernel between says that it gave none.
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map(|n| n.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    exit_status(own.as_fd()).is_ok() && version >= (6, 15)
}
