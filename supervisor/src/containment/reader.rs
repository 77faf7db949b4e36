//! Reads a group's counters again and again: the files stay open, and one buffer on the stack serves all of
//! them, so that a reader takes no memory but its descriptors'.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use rustix::{
    io::Errno,
    param::{clock_ticks_per_second, page_size},
};

use super::{
    counters::{What, take},
    dirs::Dirs,
    group::Group,
    layout::{Controller, Version},
    reading::Reading,
};

/// The longest file that is read whole: v2's `memory.stat` has about 2 KiB.
const LONGEST: usize = 8 * 1024;

/// The longest of those that are read quickly: v2's `cpu.stat`, which begins with what is wanted.
const SHORT: usize = 512;

/// Who has used no more CPU time since it was looked at, in microseconds, took little memory and started
/// hardly anybody. An agent that only waits needs some seconds for it.
const STIRRED: u64 = 2_000;

/// The counters of one group.
#[derive(Debug)]
pub struct GroupReader {
    files: Vec<(What, File)>,
    /// The CPU time when memory and processes were read last.
    seen_at: Option<u64>,
    /// For the backend without files.
    processes: Option<Group>,
    last: Reading,
}

impl GroupReader {
    /// Opens what there is of a group's files. A file that this kernel lacks is passed over.
    pub(super) fn open(dirs: &Dirs) -> io::Result<Self> {
        let mut files = Vec::new();
        for (what, dir, name) in wanted(dirs) {
            match File::open(dir.join(name)) {
                Ok(file) => files.push((what, file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // Pressure can be switched off at boot.
                Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            files,
            seen_at: None,
            processes: None,
            last: Reading::default(),
        })
    }

    /// Counts what processes use.
    pub(super) fn of_processes(group: Group) -> Self {
        Self {
            files: Vec::new(),
            seen_at: None,
            processes: Some(group),
            last: Reading::default(),
        }
    }

    /// Reads everything.
    pub fn read(&mut self) -> Reading {
        let reading = self.read_files(&mut [0; LONGEST], |_| true);
        self.seen_at = reading.cpu_us;
        reading
    }

    /// Reads CPU time, and of a group that has used some, memory and processes; the rest is as the last
    /// [`read`](Self::read) found it. At most three files, an eighth of the time that all take.
    pub fn read_quick(&mut self) -> Reading {
        if self.processes.is_some() {
            return self.read();
        }
        let clock = if self.files.iter().any(|(what, _)| *what == What::CpuUsage) {
            What::CpuUsage
        } else {
            What::CpuStat
        };
        let mut buffer = [0; SHORT];
        let reading = self.read_files(&mut buffer, |what| what == clock);
        let used = reading.cpu_us.zip(self.seen_at);
        if used.is_some_and(|(now, then)| (then..then + STIRRED).contains(&now)) {
            return reading;
        }
        let reading = self.read_files(&mut buffer, |what| {
            matches!(what, What::Memory | What::Pids)
        });
        self.seen_at = reading.cpu_us;
        reading
    }

    fn read_files(&mut self, buffer: &mut [u8], wanted: impl Fn(What) -> bool) -> Reading {
        if let Some(group) = &self.processes {
            return group.reading_of_processes();
        }
        for (what, file) in &self.files {
            if !wanted(*what) {
                continue;
            }
            match file.read_at(buffer, 0) {
                Ok(length) => take(*what, &buffer[..length], &mut self.last),
                // Of a group that is gone nothing is known any more.
                Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => {
                    self.last = Reading::default();
                    break;
                }
                Err(_) => {}
            }
        }
        self.last
    }
}

pub(super) fn wanted(dirs: &Dirs) -> Vec<(What, &Path, &'static str)> {
    let mut wanted = Vec::new();
    let clock = dirs.of(Controller::CpuAcct);
    let throttling = dirs.of(Controller::Cpu);
    if let Some(dir) = dirs.v2() {
        // The kernel gathers it anew for each group that is read; where v1 tells the same, it costs less.
        if clock.is_none() || matches!(throttling, Some((Version::V2, _))) {
            wanted.push((What::CpuStat, dir, "cpu.stat"));
        }
        wanted.extend([
            (What::CpuPressure, dir, "cpu.pressure"),
            (What::MemoryPressure, dir, "memory.pressure"),
            (What::IoPressure, dir, "io.pressure"),
        ]);
    }
    // After the other, so that the two never take turns.
    if let Some((_, dir)) = clock {
        wanted.push((What::CpuUsage, dir, "cpuacct.usage"));
    }
    if let Some((Version::V1, dir)) = throttling {
        wanted.push((What::Throttling, dir, "cpu.stat"));
    }
    match dirs.of(Controller::Memory) {
        Some((Version::V2, dir)) => wanted.extend([
            (What::Memory, dir, "memory.current"),
            (What::MemoryPeak, dir, "memory.peak"),
            (What::MemoryStat, dir, "memory.stat"),
            (What::OomKills, dir, "memory.events"),
        ]),
        Some((Version::V1, dir)) => wanted.extend([
            (What::Memory, dir, "memory.usage_in_bytes"),
            (What::MemoryPeak, dir, "memory.max_usage_in_bytes"),
            (What::MemoryStatV1, dir, "memory.stat"),
            (What::OomKills, dir, "memory.oom_control"),
        ]),
        None => {}
    }
    if let Some((_, dir)) = dirs.of(Controller::Pids) {
        wanted.extend([
            (What::Pids, dir, "pids.current"),
            (What::PidsEvents, dir, "pids.events"),
        ]);
    }
    match dirs.of(Controller::Io) {
        Some((Version::V2, dir)) => wanted.push((What::IoStat, dir, "io.stat")),
        Some((Version::V1, dir)) => {
            wanted.push((What::IoServiceBytes, dir, "blkio.throttle.io_service_bytes"));
        }
        None => {}
    }
    wanted
}

/// Bytes of so many pages.
pub(super) fn bytes_of(pages: u64) -> u64 {
    pages * page_size() as u64
}

/// Microseconds of so many clock ticks.
pub(super) fn micros_of(ticks: u64) -> u64 {
    ticks * 1_000_000 / clock_ticks_per_second().max(1)
}
