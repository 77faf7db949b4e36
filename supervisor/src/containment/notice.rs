//! Word from the kernel that it ended a process of a group for want of memory.
//!
//! v1 signals an eventfd when a group is out of memory, before it ends anybody; v2 makes `memory.events`
//! ready when a count in it has changed. In both cases only a grown count of kills is a notice.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::Path,
    time::Duration,
};

use rustix::event::{EventfdFlags, eventfd};
use tokio::io::unix::AsyncFd;

use super::{counters, files, layout::Version};

/// How often the count is looked at after a group was out of memory, until somebody has ended.
const LOOKS: u32 = 50;
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// Waits for kills in one group.
#[derive(Debug)]
pub struct OomNotice {
    /// Made ready by the kernel.
    signal: Signal,
    /// The file with the count.
    count: File,
    known: u64,
    /// Looks that are left from the last signal.
    looks: u32,
}

#[derive(Debug)]
enum Signal {
    Eventfd(AsyncFd<OwnedFd>),
    Events(AsyncFd<OwnedFd>),
}

impl OomNotice {
    pub(super) fn watch(version: Version, dir: &Path) -> io::Result<Self> {
        let (signal, count) = match version {
            Version::V1 => {
                let count = File::open(dir.join("memory.oom_control"))?;
                let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
                let line = format!("{} {}", fd.as_raw_fd(), count.as_raw_fd());
                files::write(&dir.join("cgroup.event_control"), &line).map_err(io::Error::other)?;
                (Signal::Eventfd(crate::sys::watch_readable(fd)?), count)
            }
            Version::V2 => {
                let count = File::open(dir.join("memory.events"))?;
                let watched = count.try_clone()?.into();
                (Signal::Events(crate::sys::watch_priority(watched)?), count)
            }
        };
        let mut notice = Self {
            signal,
            count,
            known: 0,
            looks: 0,
        };
        // Reading also tells the kernel which changes are news.
        notice.known = notice.kills()?;
        Ok(notice)
    }

    /// Waits until the kernel has ended one more, and says how many more. Cancel-safe. An error means that
    /// the group is gone.
    pub async fn grew(&mut self) -> io::Result<u64> {
        loop {
            let kills = self.kills()?;
            if kills > self.known {
                let more = kills - self.known;
                self.known = kills;
                return Ok(more);
            }
            if self.looks > 0 {
                self.looks -= 1;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            match &self.signal {
                Signal::Eventfd(fd) => {
                    let mut ready = fd.readable().await?;
                    let _ = rustix::io::read(fd.get_ref(), &mut [0; 8]);
                    ready.clear_ready();
                    self.looks = LOOKS;
                }
                Signal::Events(fd) => {
                    fd.ready(tokio::io::Interest::PRIORITY).await?.clear_ready();
                }
            }
        }
    }

    fn kills(&self) -> io::Result<u64> {
        let mut buffer = [0; 512];
        let length = self.count.read_at(&mut buffer, 0)?;
        Ok(counters::field(&buffer[..length], "oom_kill").unwrap_or(0))
    }
}
