//! The supervisor's only `unsafe` code: what the operating system offers and no safe wrapper does.
#![expect(
    unsafe_code,
    reason = "this is the one module for it; every block says why it is sound"
)]

use std::{io, os::fd::OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

/// Watches `fd` for becoming readable.
pub(crate) fn watch_readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays open and keeps its number until it is dropped, and `AsyncFd`
    // deregisters before it drops it.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    Ok(watched?)
}
