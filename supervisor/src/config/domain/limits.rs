//! Caps: what an agent, and all of them together, may use of the machine.

use std::fmt;
use std::ops::RangeInclusive;

use crate::containment::Cap;

const MIB: u64 = 1 << 20;

/// What may be written for `memory` and `memory_high`: an agent-host alone needs some of it.
pub(in crate::config) const MEMORY: RangeInclusive<u64> = 4 * MIB..=64 << 40;
/// What may be written for `cpu`.
pub(in crate::config) const CPU: RangeInclusive<f64> = 0.01..=4096.0;
/// What may be written for `cpu_weight` and `io_weight`, as the kernel has it.
pub(in crate::config) const WEIGHT: RangeInclusive<u32> = 1..=10_000;
/// What may be written for `pids`, up to the most that the kernel has.
pub(in crate::config) const PIDS: RangeInclusive<u32> = 1..=4_194_304;
/// What may be written for `open_files`: below it not even an agent-host starts.
pub(in crate::config) const OPEN_FILES: RangeInclusive<u32> = 16..=1_048_576;

/// What an agent may use of the machine; `None` is no cap of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory from which on it is slowed down; never more than `memory`.
    pub memory_high: Option<u64>,
    /// CPUs at most.
    pub cpu: Option<f64>,
    /// The share of the CPU beside others, from 1 to 10000; 100 is usual.
    pub cpu_weight: Option<u32>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Open files of each process.
    pub open_files: Option<u32>,
    /// The share of disks beside others, from 1 to 10000; 100 is usual.
    pub io_weight: Option<u32>,
}

/// The value of one cap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// Of memory.
    Bytes(u64),
    /// Of CPUs, with a fraction.
    Cpus(f64),
    /// Of whole things, and weights.
    Count(u32),
}

impl fmt::Display for Amount {
    /// As the configuration writes it, without quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => f.write_str(&plain_size(*bytes)),
            Self::Cpus(cpus) => write!(f, "{cpus}"),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

impl Limits {
    /// The value of one cap.
    pub fn get(&self, cap: Cap) -> Option<Amount> {
        match cap {
            Cap::Memory => self.memory.map(Amount::Bytes),
            Cap::MemoryHigh => self.memory_high.map(Amount::Bytes),
            Cap::Cpu => self.cpu.map(Amount::Cpus),
            Cap::CpuWeight => self.cpu_weight.map(Amount::Count),
            Cap::Pids => self.pids.map(Amount::Count),
            Cap::OpenFiles => self.open_files.map(Amount::Count),
            Cap::IoWeight => self.io_weight.map(Amount::Count),
        }
    }

    /// Sets one cap, or lifts it. An amount of another kind lifts it too: [`Amount::read`] makes none.
    pub fn set(&mut self, cap: Cap, amount: Option<Amount>) {
        let bytes = match amount {
            Some(Amount::Bytes(bytes)) => Some(bytes),
            _ => None,
        };
        let count = match amount {
            Some(Amount::Count(count)) => Some(count),
            _ => None,
        };
        match cap {
            Cap::Memory => self.memory = bytes,
            Cap::MemoryHigh => self.memory_high = bytes,
            Cap::Cpu => {
                self.cpu = match amount {
                    Some(Amount::Cpus(cpus)) => Some(cpus),
                    _ => None,
                }
            }
            Cap::CpuWeight => self.cpu_weight = count,
            Cap::Pids => self.pids = count,
            Cap::OpenFiles => self.open_files = count,
            Cap::IoWeight => self.io_weight = count,
        }
    }

    /// What is wrong with them, in words; every way to set caps asks this.
    pub fn fault(&self) -> Option<String> {
        for cap in Cap::ALL {
            if let Some(amount) = self.get(cap)
                && !amount.fits(cap)
            {
                return Some(format!("`{cap}` must be {}", allowed(cap)));
            }
        }
        match (self.memory, self.memory_high) {
            (Some(memory), Some(high)) if high > memory => Some(format!(
                "`memory_high` ({}) must not exceed `memory` ({})",
                plain_size(high),
                plain_size(memory)
            )),
            _ => None,
        }
    }
}

impl Amount {
    /// Reads what is written behind `cap=` on a command line; the error says what to write.
    pub fn read(cap: Cap, text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = || format!("write `{cap}` as {}", allowed(cap));
        let amount = match cap {
            Cap::Memory | Cap::MemoryHigh => {
                let size = crate::config::value::parse_size(text);
                Self::Bytes(size.map_err(|fault| fault.advice(cap.as_str()))?)
            }
            Cap::Cpu => Self::Cpus(text.parse().map_err(|_| wrong())?),
            _ => Self::Count(text.parse().map_err(|_| wrong())?),
        };
        if amount.fits(cap) {
            Ok(amount)
        } else {
            Err(wrong())
        }
    }

    fn fits(self, cap: Cap) -> bool {
        match (cap, self) {
            (Cap::Memory | Cap::MemoryHigh, Self::Bytes(bytes)) => MEMORY.contains(&bytes),
            (Cap::Cpu, Self::Cpus(cpus)) => CPU.contains(&cpus),
            (Cap::CpuWeight | Cap::IoWeight, Self::Count(count)) => WEIGHT.contains(&count),
            (Cap::Pids, Self::Count(count)) => PIDS.contains(&count),
            (Cap::OpenFiles, Self::Count(count)) => OPEN_FILES.contains(&count),
            _ => false,
        }
    }
}

/// What may be written for a cap.
fn allowed(cap: Cap) -> String {
    let whole = |range: RangeInclusive<u32>| {
        format!("a whole number from {} to {}", range.start(), range.end())
    };
    match cap {
        Cap::Memory | Cap::MemoryHigh => format!(
            "a size from {} to {}, as in \"512MiB\"",
            plain_size(*MEMORY.start()),
            plain_size(*MEMORY.end())
        ),
        Cap::Cpu => format!("a number of CPUs from {} to {}", CPU.start(), CPU.end()),
        Cap::CpuWeight | Cap::IoWeight => whole(WEIGHT),
        Cap::Pids => whole(PIDS),
        Cap::OpenFiles => whole(OPEN_FILES),
    }
}

/// `[supervisor.fleet]`: what all agents together may use.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FleetLimits {
    /// The ceiling. Only `memory`, `cpu`, `cpu_weight` and `pids` can be set.
    pub limits: Limits,
    /// Whether the agents' caps may add up to more than the ceiling.
    pub overcommit: bool,
}

/// Caps that add up to more than there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// Which cap.
    pub cap: Cap,
    /// What the agents' caps add up to.
    pub sum: u64,
    /// What there is for all.
    pub ceiling: u64,
    /// The agents with the largest caps, the largest first.
    pub largest: Vec<(String, u64)>,
}

impl FleetLimits {
    /// Which caps of the agents add up to more than the ceiling; nothing where that is allowed. An agent without a cap
    /// of its own is held by the ceiling alone, and adds nothing.
    pub fn excess<'a>(
        &self,
        agents: impl Iterator<Item = (&'a str, Limits)> + Clone,
    ) -> Vec<Excess> {
        if self.overcommit {
            return Vec::new();
        }
        let memory = agents.clone().map(|(id, limits)| (id, limits.memory));
        let pids = agents.map(|(id, limits)| (id, limits.pids.map(u64::from)));
        [
            Excess::of(Cap::Memory, self.limits.memory, memory),
            Excess::of(Cap::Pids, self.limits.pids.map(u64::from), pids),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Excess {
    /// Compares the sum of `caps` with `ceiling`.
    pub fn of<'a>(
        cap: Cap,
        ceiling: Option<u64>,
        caps: impl Iterator<Item = (&'a str, Option<u64>)>,
    ) -> Option<Self> {
        const SHOWN: usize = 3;
        let ceiling = ceiling?;
        let mut largest: Vec<(String, u64)> = caps
            .filter_map(|(id, amount)| Some((id.to_owned(), amount?)))
            .collect();
        let sum = largest
            .iter()
            .fold(0_u64, |sum, (_, amount)| sum.saturating_add(*amount));
        if sum <= ceiling {
            return None;
        }
        largest.sort_by_key(|(_, amount)| std::cmp::Reverse(*amount));
        largest.truncate(SHOWN);
        Some(Self {
            cap,
            sum,
            ceiling,
            largest,
        })
    }

    /// The amount as the configuration writes it.
    pub fn shown(&self, amount: u64) -> String {
        match self.cap {
            Cap::Memory => plain_size(amount),
            _ => amount.to_string(),
        }
    }

    /// "the largest are `a` (1GiB) and `b` (512MiB)".
    pub fn who(&self) -> String {
        let each: Vec<_> = self
            .largest
            .iter()
            .map(|(id, amount)| format!("`{id}` ({})", self.shown(*amount)))
            .collect();
        match each.as_slice() {
            [only] => format!("it is that of {only}"),
            [first @ .., last] => format!("the largest are {} and {last}", first.join(", ")),
            [] => String::new(),
        }
    }

    /// What to do about it.
    pub fn advice(&self) -> String {
        format!(
            "{}: lower some, raise `{}` in [supervisor.fleet], or set `overcommit = true` there: then the ceiling \
             alone holds them",
            self.who(),
            self.cap
        )
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the agents' `{}` adds up to {}, more than the fleet's {}",
            self.cap,
            self.shown(self.sum),
            self.shown(self.ceiling)
        )
    }
}

/// A number of bytes as the configuration writes it, exactly: "1536MiB".
pub fn plain_size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes;
    let mut unit = 0;
    while value != 0 && value.is_multiple_of(1024) && unit + 1 < UNITS.len() {
        value /= 1024;
        unit += 1;
    }
    format!("{value}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_exactly() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1 << 30, "1GiB"),
            (3 << 29, "1536MiB"),
            (1 << 50, "1024TiB"),
        ] {
            assert_eq!(plain_size(bytes), text);
        }
    }

    #[test]
    fn what_is_written_for_a_cap() {
        for (cap, text, amount) in [
            (Cap::Memory, "1GiB", Ok(Amount::Bytes(1 << 30))),
            (Cap::Memory, "512 MiB", Ok(Amount::Bytes(512 << 20))),
            (Cap::Cpu, "0.5", Ok(Amount::Cpus(0.5))),
            (Cap::Cpu, "2", Ok(Amount::Cpus(2.0))),
            (Cap::Pids, "64", Ok(Amount::Count(64))),
            (Cap::Memory, "512", Err("512MiB")),
            (Cap::Memory, "512M", Err("\"512MiB\" (powers of 1024)")),
            (Cap::Memory, "1KiB", Err("a size from 4MiB to 64TiB")),
            (Cap::MemoryHigh, "much", Err("\"512MiB\"")),
            (Cap::Cpu, "nan", Err("from 0.01 to 4096")),
            (Cap::Cpu, "0", Err("from 0.01 to 4096")),
            (Cap::CpuWeight, "0", Err("from 1 to 10000")),
            (Cap::Pids, "-1", Err("from 1 to 4194304")),
            (Cap::OpenFiles, "8", Err("from 16 to 1048576")),
            (Cap::IoWeight, "1.5", Err("from 1 to 10000")),
        ] {
            match (Amount::read(cap, text), amount) {
                (Ok(found), Ok(wanted)) => assert_eq!(found, wanted, "{cap}={text}"),
                (Err(found), Err(wanted)) => assert!(found.contains(wanted), "{found}"),
                (found, _) => panic!("{cap}={text}: {found:?}"),
            }
        }
    }

    #[test]
    fn every_cap_is_set_and_read_back_and_lifted() {
        for (cap, text) in [
            (Cap::Memory, "1GiB"),
            (Cap::MemoryHigh, "900MiB"),
            (Cap::Cpu, "1.5"),
            (Cap::CpuWeight, "50"),
            (Cap::Pids, "64"),
            (Cap::OpenFiles, "1024"),
            (Cap::IoWeight, "10"),
        ] {
            let amount = Amount::read(cap, text).unwrap();
            let mut limits = Limits::default();
            limits.set(cap, Some(amount));
            assert_eq!(limits.get(cap), Some(amount));
            assert_eq!(amount.to_string(), text);
            let set = Cap::ALL.iter().filter(|cap| limits.get(**cap).is_some());
            assert_eq!(set.count(), 1, "{cap} sets itself alone");
            assert_eq!(limits.fault(), None);
            limits.set(cap, None);
            assert_eq!(limits, Limits::default());
        }
    }

    #[test]
    fn faults_are_found_whoever_made_them() {
        let fault = |limits: Limits| limits.fault().unwrap_or_default();
        let bytes = |memory, high| Limits {
            memory: Some(memory),
            memory_high: Some(high),
            ..Limits::default()
        };
        assert_eq!(fault(bytes(8 << 20, 8 << 20)), "");
        assert!(fault(bytes(8 << 20, 9 << 20)).contains("must not exceed `memory` (8MiB)"));
        assert!(fault(bytes(1, 1)).contains("`memory` must be a size from 4MiB"));
        let cpu = Limits {
            cpu: Some(f64::NAN),
            ..Limits::default()
        };
        assert!(fault(cpu).contains("`cpu`"));
    }

    #[test]
    fn the_sum_is_held_against_the_ceiling() {
        let capped = |memory: Option<u64>, pids| Limits {
            memory: memory.map(|gib| gib << 30),
            pids,
            ..Limits::default()
        };
        let agents = [
            ("a", capped(Some(1), Some(10))),
            ("b", capped(Some(3), None)),
            ("c", capped(None, Some(20))),
            ("d", capped(Some(2), Some(5))),
            ("e", capped(Some(1), None)),
        ];
        let fleet = |memory, pids, overcommit| FleetLimits {
            limits: capped(memory, pids),
            overcommit,
        };
        let excess = |fleet: FleetLimits| fleet.excess(agents.iter().copied());
        assert_eq!(excess(fleet(None, None, false)), []);
        assert_eq!(excess(fleet(Some(7), Some(35), false)), []);
        assert_eq!(excess(fleet(Some(1), Some(1), true)), []);
        let found = excess(fleet(Some(6), Some(34), false));
        let [memory, pids] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(
            memory.to_string(),
            "the agents' `memory` adds up to 7GiB, more than the fleet's 6GiB"
        );
        assert_eq!(
            memory.who(),
            "the largest are `b` (3GiB), `d` (2GiB) and `a` (1GiB)"
        );
        assert!(memory.advice().contains("`overcommit = true`"));
        assert_eq!((pids.sum, pids.ceiling), (35, 34));
    }
}
