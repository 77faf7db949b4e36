//! The kernel's counter files, parsed into a [`Reading`]. Pure, and without allocation.

use super::reading::{Pressure, Reading};

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// v2 `cpu.stat`: time used, and throttling where the controller is on.
    CpuStat,
    /// v1 `cpu.stat`: throttling, in nanoseconds.
    Throttling,
    /// v1 `cpuacct.usage`: nanoseconds.
    CpuUsage,
    /// Bytes now.
    Memory,
    /// The most bytes ever.
    MemoryPeak,
    /// v2 `memory.stat`.
    MemoryStat,
    /// v1 `memory.stat`.
    MemoryStatV1,
    /// v2 `memory.events` or v1 `memory.oom_control`, which say it alike.
    OomKills,
    /// Processes and threads now.
    Pids,
    /// Denied ones.
    PidsEvents,
    /// v2 `io.stat`: a line for each disk.
    IoStat,
    /// v1 `blkio.throttle.io_service_bytes`: a line for each disk and kind.
    IoServiceBytes,
    /// Waiting for the CPU.
    CpuPressure,
    /// Waiting for memory.
    MemoryPressure,
    /// Waiting for disks.
    IoPressure,
}

/// Puts what `text` says into `reading`. What makes no sense is left out.
pub(super) fn take(what: What, text: &[u8], reading: &mut Reading) {
    match what {
        What::CpuStat => {
            reading.cpu_us = field(text, "usage_usec");
            if let Some(throttled) = field(text, "throttled_usec") {
                reading.throttled_us = Some(throttled);
                reading.throttled_periods = field(text, "nr_throttled");
            }
        }
        What::Throttling => {
            reading.throttled_us = field(text, "throttled_time").map(|ns| ns / 1000);
            reading.throttled_periods = field(text, "nr_throttled");
        }
        What::CpuUsage => reading.cpu_us = number(text).map(|ns| ns / 1000),
        What::Memory => reading.memory = number(text),
        What::MemoryPeak => reading.memory_peak = number(text),
        What::MemoryStat => {
            reading.memory_anon = field(text, "anon");
            reading.memory_reclaimable = reclaimable(text);
        }
        What::MemoryStatV1 => reading.memory_anon = field(text, "total_rss"),
        What::OomKills => {
            reading.oom_kills = field(text, "oom_kill");
            // v1 knows no such mark.
            reading.memory_high_hits = field(text, "high");
        }
        What::Pids => reading.pids = number(text),
        What::PidsEvents => reading.pids_denied = field(text, "max"),
        What::IoStat => {
            reading.io_read = Some(sum_of(text, "rbytes="));
            reading.io_written = Some(sum_of(text, "wbytes="));
        }
        What::IoServiceBytes => {
            reading.io_read = Some(service_bytes(text, "Read"));
            reading.io_written = Some(service_bytes(text, "Write"));
        }
        What::CpuPressure => reading.cpu_pressure = pressure(text),
        What::MemoryPressure => reading.memory_pressure = pressure(text),
        What::IoPressure => reading.io_pressure = pressure(text),
    }
}

/// Of v2's `memory.stat`, what neither swap nor the end of a process is needed for to take it back.
pub(super) fn reclaimable(stat: &[u8]) -> Option<u64> {
    let cache = field(stat, "file")?.saturating_sub(field(stat, "shmem").unwrap_or(0));
    Some(cache + field(stat, "slab_reclaimable").unwrap_or(0))
}

/// The number after `name` at the start of a line.
pub(super) fn field(text: &[u8], name: &str) -> Option<u64> {
    lines(text).find_map(|line| {
        let rest = line.strip_prefix(name.as_bytes())?;
        number(rest.strip_prefix(b" ")?)
    })
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b' ')
}

/// A number alone on its line; `max`, or a number that does not fit, is none.
fn number(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii();
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn sum_of(text: &[u8], key: &str) -> u64 {
    lines(text)
        .flat_map(words)
        .filter_map(|word| number(word.strip_prefix(key.as_bytes())?))
        .fold(0, u64::saturating_add)
}

/// Lines are `8:0 Read 4096`, and one without a disk has the total.
fn service_bytes(text: &[u8], kind: &str) -> u64 {
    lines(text)
        .filter_map(|line| {
            let mut words = words(line).skip(1);
            (words.next()? == kind.as_bytes()).then_some(())?;
            number(words.next()?)
        })
        .fold(0, u64::saturating_add)
}

fn pressure(text: &[u8]) -> Option<Pressure> {
    let mut found = Pressure::default();
    let mut some = false;
    for line in lines(text) {
        let mut words = words(line);
        let (average, total) = match words.next() {
            Some(b"some") => {
                some = true;
                (&mut found.some_avg10, &mut found.some_total_us)
            }
            Some(b"full") => (&mut found.full_avg10, &mut found.full_total_us),
            _ => continue,
        };
        for word in words {
            if let Some(value) = word.strip_prefix(b"avg10=") {
                *average = std::str::from_utf8(value).ok()?.parse().ok()?;
            } else if let Some(value) = word.strip_prefix(b"total=") {
                *total = number(value)?;
            }
        }
    }
    some.then_some(found)
}

#[cfg(test)]
mod tests;
