//! What a group has used. Plain data: read by the sampler, shown by status, top and metrics.

/// One look at a group's counters. What the backend cannot tell is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reading {
    /// CPU time since the group was made, in microseconds.
    pub cpu_us: Option<u64>,
    /// How long its tasks were held back by the CPU cap, in microseconds.
    pub throttled_us: Option<u64>,
    /// Periods in which they were.
    pub throttled_periods: Option<u64>,
    /// Bytes that count against the memory cap now.
    pub memory: Option<u64>,
    /// The most there ever was.
    pub memory_peak: Option<u64>,
    /// Bytes of it that are no page cache.
    pub memory_anon: Option<u64>,
    /// Bytes that the kernel can take back when it needs them: page cache and its like.
    pub memory_reclaimable: Option<u64>,
    /// How often the group was above its soft mark; `None` where no such mark is held.
    pub memory_high_hits: Option<u64>,
    /// Processes and threads now.
    pub pids: Option<u64>,
    /// How often one more was denied.
    pub pids_denied: Option<u64>,
    /// How often the kernel ended a process of the group for want of memory.
    pub oom_kills: Option<u64>,
    /// Bytes read from disks.
    pub io_read: Option<u64>,
    /// Bytes written to disks.
    pub io_written: Option<u64>,
    /// Time lost waiting for the CPU.
    pub cpu_pressure: Option<Pressure>,
    /// Time lost waiting for memory.
    pub memory_pressure: Option<Pressure>,
    /// Time lost waiting for disks.
    pub io_pressure: Option<Pressure>,
}

/// One pressure file of the kernel (PSI).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// Percent of the last 10 s in which some task waited.
    pub some_avg10: f32,
    /// Percent of the last 10 s in which all tasks waited.
    pub full_avg10: f32,
    /// The first in all, in microseconds.
    pub some_total_us: u64,
    /// The second in all, in microseconds.
    pub full_total_us: u64,
}
