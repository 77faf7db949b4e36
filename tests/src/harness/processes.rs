//! Other processes: which there are, and how to end them without ever hitting a stranger.

use std::{
    fs,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::Path,
    time::Duration,
};

use nix::sys::signal::Signal;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal},
};

/// A process, held by a descriptor: a signal cannot reach another that got its id.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    command: String,
    pidfd: OwnedFd,
}

impl Process {
    /// The process with this id, if there is one.
    pub fn of(pid: i32) -> Option<Self> {
        let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        Some(Self {
            pid,
            command,
            pidfd,
        })
    }

    /// Every living process that works in `directory`, or was told of it, or inherited it.
    pub fn within(directory: &Path) -> Vec<Self> {
        let own = i32::try_from(std::process::id()).expect("a pid");
        pids()
            .into_iter()
            .filter(|pid| *pid != own && belongs(*pid, directory))
            // Opened, and then looked at again: now it is this process that belongs.
            .filter_map(Self::of)
            .filter(|process| belongs(process.pid, directory))
            .collect()
    }

    /// The dead children of `parent` that it has not taken note of.
    pub fn zombies_of(parent: i32) -> Vec<i32> {
        let dead = |pid: &i32| {
            stat(*pid).is_some_and(|(state, its_parent)| state == 'Z' && its_parent == parent)
        };
        pids().into_iter().filter(dead).collect()
    }

    /// Its id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its command line.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.wait(Duration::ZERO)
    }

    /// Signals it; one that has ended does not mind.
    pub fn signal(&self, signal: Signal) {
        let signal = rustix::process::Signal::from_named_raw(signal as i32);
        let _ = pidfd_send_signal(&self.pidfd, signal.expect("a signal with a name"));
    }

    /// Waits so long until it has ended. Blocks.
    pub fn wait(&self, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).expect("a short time");
        let mut watched = [PollFd::new(&self.pidfd, PollFlags::IN)];
        poll(&mut watched, Some(&limit)).is_ok_and(|ready| ready > 0)
    }
}

fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc is there");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    entries
        .filter_map(name)
        .filter_map(|name| name.parse().ok())
        .collect()
}

fn belongs(pid: i32, directory: &Path) -> bool {
    let needle = directory.as_os_str().as_encoded_bytes();
    let mentions = |file: &str| {
        fs::read(format!("/proc/{pid}/{file}"))
            .is_ok_and(|bytes| bytes.windows(needle.len()).any(|part| part == needle))
    };
    let works_in = fs::read_link(format!("/proc/{pid}/cwd"))
        .is_ok_and(|path| path.as_os_str().as_encoded_bytes().starts_with(needle));
    works_in || mentions("cmdline") || mentions("environ")
}

/// The state letter of a process, and its parent.
fn stat(pid: i32) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold anything.
    let mut words = stat.rsplit_once(") ")?.1.split(' ');
    let state = words.next()?.chars().next()?;
    Some((state, words.next()?.parse().ok()?))
}

/// When a process began, in the kernel's ticks since boot: with its id, who it is.
pub fn start_time_of(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after) = stat.rsplit_once(") ")?;
    after.split(' ').nth(19)?.parse().ok()
}

/// The state letter of a process: `R`, `S`, `T`, `Z`, …
pub fn state_of(pid: i32) -> Option<char> {
    stat(pid).map(|(state, _)| state)
}

/// How many descriptors a process has open.
pub fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Has the kernel count a process's peak of memory anew, and gives what is resident now. Else what it gave
/// back since its start would hide what it takes from now on.
pub fn begin_peak_memory(pid: i32) -> u64 {
    let begun = fs::write(format!("/proc/{pid}/clear_refs"), "5");
    begun.expect("the process is ours");
    peak_memory_bytes(pid)
}

/// The most memory that a process had resident at any time.
pub fn peak_memory_bytes(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.expect("the kernel tells the peak of a living process") * 1024
}

/// The loopback port on which a process listens.
pub(super) fn listening_port(pid: i32) -> Option<u16> {
    let sockets: Vec<u64> = fs::read_dir(format!("/proc/{pid}/fd"))
        .ok()?
        .filter_map(|entry| Some(fs::metadata(entry.ok()?.path()).ok()?.ino()))
        .collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?;
    table.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // 0A is LISTEN; the tenth column is the inode.
        let ours = words.get(3) == Some(&"0A") && sockets.contains(&words.get(9)?.parse().ok()?);
        let port = words.get(1)?.rsplit_once(':')?.1;
        ours.then(|| u16::from_str_radix(port, 16).ok())?
    })
}
