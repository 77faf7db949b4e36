//! Writes the caps of a group to the kernel's files, in an order that the kernel takes, and looks
//! whether it took them. A cap whose controller is not there is passed over: `cannot` tells of it.

use std::{io, path::Path};

use rustix::param::page_size;

use super::{
    caps::{Cap, Caps},
    counters,
    dirs::Dirs,
    error::ContainmentError,
    files::{self, FileError},
    layout::{Controller, Version},
};

/// The period of CPU caps, in microseconds: the kernel's default.
const PERIOD: u64 = 100_000;
/// The least quota that the kernel takes.
const LEAST_QUOTA: u64 = 1_000;
/// v1's mark for no limit.
const UNLIMITED: &str = "-1";

/// Whose caps they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// One agent's: out of memory, all of it ends, and its memory is slowed down before.
    Agent,
    /// The fleet's: out of memory, one agent ends.
    Fleet,
}

/// Sets them. In a `fresh` group what is not capped is left as the kernel made it.
pub(super) fn apply(
    dirs: &Dirs,
    caps: &Caps,
    level: Level,
    fresh: bool,
) -> Result<(), ContainmentError> {
    if let Some((version, dir)) = dirs.of(Controller::Memory) {
        if level == Level::Agent && version == Version::V2 && fresh {
            optional(write(Cap::Memory, &dir.join("memory.oom.group"), "1"))?;
        }
        if !(fresh && caps.memory.is_none() && caps.memory_high.is_none()) {
            match version {
                Version::V2 => memory_v2(dir, caps, level, fresh)?,
                Version::V1 => memory_v1(dir, caps.memory)?,
            }
        }
    }
    if let Some((version, dir)) = dirs.of(Controller::Cpu) {
        if !(fresh && caps.cpu.is_none()) {
            match version {
                Version::V2 => {
                    let value = match caps.cpu {
                        Some(cpus) => format!("{} {PERIOD}", quota(cpus)),
                        None => format!("max {PERIOD}"),
                    };
                    checked(Cap::Cpu, &dir.join("cpu.max"), &value, |shown| {
                        shown == value
                    })?;
                }
                Version::V1 => cpu_v1(dir, caps.cpu, level)?,
            }
        }
        if !(fresh && caps.cpu_weight.is_none()) {
            weight(version, dir, caps.cpu_weight.unwrap_or(100))?;
        }
    }
    if let Some((_, dir)) = dirs.of(Controller::Pids)
        && !(fresh && caps.pids.is_none())
    {
        let value = number(caps.pids.map(u64::from));
        checked(Cap::Pids, &dir.join("pids.max"), &value, |shown| {
            shown == value
        })?;
    }
    if let Some((version, dir)) = dirs.of(Controller::Io)
        && !(fresh && caps.io_weight.is_none())
    {
        io_weight(version, dir, caps.io_weight.unwrap_or(100))?;
    }
    Ok(())
}

/// The share of the CPU beside others.
pub(super) fn weight(version: Version, dir: &Path, weight: u32) -> Result<(), ContainmentError> {
    let (file, value) = match version {
        Version::V2 => ("cpu.weight", u64::from(weight)),
        Version::V1 => ("cpu.shares", shares(weight)),
    };
    let value = value.to_string();
    checked(Cap::CpuWeight, &dir.join(file), &value, |shown| {
        shown == value
    })
}

fn memory_v2(dir: &Path, caps: &Caps, level: Level, fresh: bool) -> Result<(), ContainmentError> {
    let max = dir.join("memory.max");
    let high = dir.join("memory.high");
    let before = parse(&files::read(&max).map_err(in_cap(Cap::Memory))?);
    let wanted = caps.memory.unwrap_or(u64::MAX);
    let high_wanted = match level {
        Level::Agent => caps.high(),
        Level::Fleet => caps.memory_high,
    };
    let swap = number(caps.memory.map(|_| 0));
    optional(write(Cap::Memory, &dir.join("memory.swap.max"), &swap))?;
    if wanted >= before {
        bytes(Cap::Memory, &max, caps.memory)?;
        return bytes(Cap::MemoryHigh, &high, high_wanted);
    }
    // What cannot be reclaimed would be answered with the end of the group.
    if !fresh && let Some(used) = unreclaimable(dir).filter(|used| *used > wanted) {
        return Err(ContainmentError::InUse {
            cap: Cap::Memory,
            used,
            allowed: wanted,
        });
    }
    // The lower mark first: writing it reclaims, and the cap then finds nobody above it.
    bytes(Cap::MemoryHigh, &high, high_wanted)?;
    bytes(Cap::Memory, &max, caps.memory)
}

/// What is in use and is neither page cache nor another cache of the kernel.
fn unreclaimable(dir: &Path) -> Option<u64> {
    let current: u64 = files::read(&dir.join("memory.current"))
        .ok()?
        .parse()
        .ok()?;
    let stat = files::read(&dir.join("memory.stat")).ok()?;
    Some(current.saturating_sub(counters::reclaimable(stat.as_bytes())?))
}

fn memory_v1(dir: &Path, memory: Option<u64>) -> Result<(), ContainmentError> {
    let limit = dir.join("memory.limit_in_bytes");
    let with_swap = dir.join("memory.memsw.limit_in_bytes");
    let counts_swap = with_swap.exists();
    if !counts_swap {
        let _ = files::write(&dir.join("memory.swappiness"), "0");
    }
    let before = parse(&files::read(&limit).map_err(in_cap(Cap::Memory))?);
    let value = memory.map_or_else(|| UNLIMITED.to_owned(), |bytes| bytes.to_string());
    let set = |path: &Path| {
        files::write_checked(path, &value, |shown| {
            memory.is_none_or(|bytes| shown == whole_pages(bytes).to_string())
        })
    };
    let both: [&Path; 2] = if memory.unwrap_or(u64::MAX) > before {
        [&with_swap, &limit]
    } else {
        [&limit, &with_swap]
    };
    for path in both {
        if path == with_swap && !counts_swap {
            continue;
        }
        set(path).map_err(|error| match (error.io(), memory) {
            (Some(refused), Some(allowed)) if refused.kind() == io::ErrorKind::ResourceBusy => {
                let used = files::read(&dir.join("memory.usage_in_bytes"));
                ContainmentError::InUse {
                    cap: Cap::Memory,
                    used: used.ok().and_then(|used| used.parse().ok()).unwrap_or(0),
                    allowed,
                }
            }
            _ => in_cap(Cap::Memory)(error),
        })?;
    }
    Ok(())
}

fn cpu_v1(dir: &Path, cpus: Option<f64>, level: Level) -> Result<(), ContainmentError> {
    let path = dir.join("cpu.cfs_quota_us");
    let period = PERIOD.to_string();
    checked(Cap::Cpu, &dir.join("cpu.cfs_period_us"), &period, |shown| {
        shown == period
    })?;
    let Some(cpus) = cpus else {
        return checked(Cap::Cpu, &path, UNLIMITED, |shown| shown == UNLIMITED);
    };
    let mut quota = quota(cpus);
    // v1 refuses a group more than one above it has, and less than one below it.
    if let Some(ceiling) = ceiling_v1(dir) {
        quota = quota.min(ceiling);
    }
    if level == Level::Fleet {
        for group in files::subtree(dir).iter().filter(|group| *group != dir) {
            let below = group.join("cpu.cfs_quota_us");
            if quota_v1(group).is_some_and(|theirs| theirs > quota) {
                checked(Cap::Cpu, &below, &quota.to_string(), |_| true)?;
            }
        }
    }
    let value = quota.to_string();
    checked(Cap::Cpu, &path, &value, |shown| shown == value)
}

/// The quota of a v1 group, by our period.
fn quota_v1(group: &Path) -> Option<u64> {
    let read = |name| -> Option<i64> { files::read(&group.join(name)).ok()?.parse().ok() };
    let quota = u64::try_from(read("cpu.cfs_quota_us")?).ok()?;
    let period = u64::try_from(read("cpu.cfs_period_us")?).ok()?;
    (quota * PERIOD).checked_div(period)
}

/// The least quota of the groups above.
fn ceiling_v1(group: &Path) -> Option<u64> {
    let above = group.ancestors().skip(1);
    above
        .take_while(|group| group.join("cpu.cfs_quota_us").exists())
        .filter_map(quota_v1)
        .min()
}

fn io_weight(version: Version, dir: &Path, weight: u32) -> Result<(), ContainmentError> {
    let (plain, bfq) = match version {
        Version::V2 => ("io.weight", "io.bfq.weight"),
        Version::V1 => ("blkio.weight", "blkio.bfq.weight"),
    };
    let narrow = bfq_weight(weight).to_string();
    let wide = if version == Version::V2 {
        weight.to_string()
    } else {
        narrow.clone()
    };
    optional(write(Cap::IoWeight, &dir.join(plain), &wide))?;
    optional(write(Cap::IoWeight, &dir.join(bfq), &narrow))
}

/// Microseconds of CPU time in each period.
fn quota(cpus: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the cast saturates, and the configuration keeps CPUs to thousands"
    )]
    let quota = (cpus * PERIOD as f64).round() as u64;
    quota.max(LEAST_QUOTA)
}

/// v1's shares for a weight; 100 is 1024, and the kernel takes up to 262144.
fn shares(weight: u32) -> u64 {
    ((u64::from(weight) * 1024 + 50) / 100).clamp(2, 262_144)
}

/// The weight for a scheduler that goes from 1 to 1000; 100 is usual there too.
fn bfq_weight(weight: u32) -> u64 {
    let weight = u64::from(weight.clamp(1, 10_000));
    if weight <= 100 {
        weight
    } else {
        100 + (weight - 100) * 900 / 9_900
    }
}

fn whole_pages(bytes: u64) -> u64 {
    let page = page_size() as u64;
    bytes / page * page
}

/// A number of the kernel's, where `max` is none.
fn parse(text: &str) -> u64 {
    text.parse().unwrap_or(u64::MAX)
}

fn number(value: Option<u64>) -> String {
    value.map_or_else(|| "max".to_owned(), |value| value.to_string())
}

fn bytes(cap: Cap, path: &Path, value: Option<u64>) -> Result<(), ContainmentError> {
    let taken = number(value.map(whole_pages));
    checked(cap, path, &number(value), |shown| shown == taken)
}

fn checked(
    cap: Cap,
    path: &Path,
    value: &str,
    taken: impl Fn(&str) -> bool,
) -> Result<(), ContainmentError> {
    files::write_checked(path, value, taken).map_err(in_cap(cap))
}

fn write(cap: Cap, path: &Path, value: &str) -> Result<(), ContainmentError> {
    files::write(path, value).map_err(in_cap(cap))
}

fn in_cap(cap: Cap) -> impl Fn(FileError) -> ContainmentError {
    move |source| ContainmentError::Cap { cap, source }
}

/// For a file that not every kernel has.
fn optional(done: Result<(), ContainmentError>) -> Result<(), ContainmentError> {
    match done {
        Err(ContainmentError::Cap { source, .. }) if source.is_missing() => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_and_quotas() {
        let cases = [
            (1, 10, 1),
            (100, 1024, 100),
            (10_000, 102_400, 1000),
            (50, 512, 50),
        ];
        for (weight, expected, bfq) in cases {
            assert_eq!(shares(weight), expected);
            assert_eq!(bfq_weight(weight), bfq);
        }
        assert_eq!(quota(0.2), 20_000);
        assert_eq!(quota(2.5), 250_000);
        assert_eq!(quota(0.000_1), LEAST_QUOTA);
    }

    #[test]
    fn numbers_of_the_kernel() {
        assert_eq!(parse("max"), u64::MAX);
        assert_eq!(parse("4096"), 4096);
        assert_eq!(number(None), "max");
        assert_eq!(
            whole_pages(page_size() as u64 * 3 + 1),
            page_size() as u64 * 3
        );
    }
}
