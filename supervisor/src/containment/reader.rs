//! Reads a group's counters again and again: the files stay open, and one buffer serves all of them.

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
const BUFFER: usize = 8 * 1024;

/// The counters of one group.
#[derive(Debug)]
pub struct GroupReader {
    files: Vec<(What, File)>,
    /// For the backend without files.
    processes: Option<Group>,
    buffer: Box<[u8]>,
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
            processes: None,
            buffer: vec![0; BUFFER].into(),
            last: Reading::default(),
        })
    }

    /// Counts what processes use.
    pub(super) fn of_processes(group: Group) -> Self {
        Self {
            files: Vec::new(),
            processes: Some(group),
            buffer: Box::default(),
            last: Reading::default(),
        }
    }

    /// Reads everything.
    pub fn read(&mut self) -> Reading {
        self.read_files(|_| true)
    }

    /// Reads CPU time, memory and processes; the rest is as the last [`read`](Self::read) found it. At
    /// most three files, an eighth of the time that all take.
    pub fn read_quick(&mut self) -> Reading {
        // Where v1 tells the CPU time too, it tells it for less.
        let cpu = if self.files.iter().any(|(what, _)| *what == What::CpuUsage) {
            What::CpuUsage
        } else {
            What::CpuStat
        };
        self.read_files(|what| what == cpu || matches!(what, What::Memory | What::Pids))
    }

    fn read_files(&mut self, wanted: impl Fn(What) -> bool) -> Reading {
        if let Some(group) = &self.processes {
            return group.reading_of_processes();
        }
        for (what, file) in &self.files {
            if !wanted(*what) {
                continue;
            }
            match file.read_at(&mut self.buffer, 0) {
                Ok(length) => take(*what, &self.buffer[..length], &mut self.last),
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

fn wanted(dirs: &Dirs) -> Vec<(What, &Path, &'static str)> {
    let mut wanted = Vec::new();
    let v2 = dirs.v2();
    if let Some(dir) = v2 {
        wanted.extend([
            (What::CpuStat, dir, "cpu.stat"),
            (What::CpuPressure, dir, "cpu.pressure"),
            (What::MemoryPressure, dir, "memory.pressure"),
            (What::IoPressure, dir, "io.pressure"),
        ]);
    }
    if let Some((_, dir)) = dirs.of(Controller::CpuAcct) {
        wanted.push((What::CpuUsage, dir, "cpuacct.usage"));
    }
    if let Some((Version::V1, dir)) = dirs.of(Controller::Cpu) {
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
