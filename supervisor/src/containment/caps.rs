//! What an agent may use of the machine, as containment sees it.

use std::fmt;

/// The caps of one agent, or of the fleet. `None` is no cap of one's own.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Caps {
    /// Bytes of memory; beyond it the kernel ends the whole group.
    pub memory: Option<u64>,
    /// Bytes of memory from which on the group is slowed down and reclaimed from. Where `memory` is
    /// set and this is not, 90 % of it.
    pub memory_high: Option<u64>,
    /// CPUs at most, as a hard cap.
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

/// The name of a cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cap {
    /// See [`Caps::memory`].
    Memory,
    /// See [`Caps::memory_high`].
    MemoryHigh,
    /// See [`Caps::cpu`].
    Cpu,
    /// See [`Caps::cpu_weight`].
    CpuWeight,
    /// See [`Caps::pids`].
    Pids,
    /// See [`Caps::open_files`].
    OpenFiles,
    /// See [`Caps::io_weight`].
    IoWeight,
}

impl Cap {
    /// Every cap there is.
    pub const ALL: [Self; 7] = [
        Self::Memory,
        Self::MemoryHigh,
        Self::Cpu,
        Self::CpuWeight,
        Self::Pids,
        Self::OpenFiles,
        Self::IoWeight,
    ];

    /// As the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::MemoryHigh => "memory_high",
            Self::Cpu => "cpu",
            Self::CpuWeight => "cpu_weight",
            Self::Pids => "pids",
            Self::OpenFiles => "open_files",
            Self::IoWeight => "io_weight",
        }
    }
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Caps {
    /// Where an agent's memory begins to be reclaimed from: 90 % of its cap, unless said otherwise.
    ///
    /// Who cannot be reclaimed from is slowed down, by the square of the excess: a thread that only
    /// allocates takes minutes from 90 % to its end. It is not waited for, see `supervision::strain`.
    pub fn high(&self) -> Option<u64> {
        self.memory_high
            .or_else(|| self.memory.map(|memory| memory / 10 * 9))
    }

    /// These caps but for all others than `cap`.
    #[must_use]
    pub fn only(&self, cap: Cap) -> Self {
        let none = Self::default();
        match cap {
            Cap::Memory => Self {
                memory: self.memory,
                ..none
            },
            Cap::MemoryHigh => Self {
                memory_high: self.memory_high,
                ..none
            },
            Cap::Cpu => Self {
                cpu: self.cpu,
                ..none
            },
            Cap::CpuWeight => Self {
                cpu_weight: self.cpu_weight,
                ..none
            },
            Cap::Pids => Self {
                pids: self.pids,
                ..none
            },
            Cap::OpenFiles => Self {
                open_files: self.open_files,
                ..none
            },
            Cap::IoWeight => Self {
                io_weight: self.io_weight,
                ..none
            },
        }
    }

    /// The caps that are set.
    pub fn requested(&self) -> Vec<Cap> {
        Cap::ALL
            .into_iter()
            .filter(|cap| match cap {
                Cap::Memory => self.memory.is_some(),
                Cap::MemoryHigh => self.memory_high.is_some(),
                Cap::Cpu => self.cpu.is_some(),
                Cap::CpuWeight => self.cpu_weight.is_some(),
                Cap::Pids => self.pids.is_some(),
                Cap::OpenFiles => self.open_files.is_some(),
                Cap::IoWeight => self.io_weight.is_some(),
            })
            .collect()
    }
}

/// A cap that was asked for and that this host cannot enforce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unenforced {
    /// Which.
    pub cap: Cap,
    /// Why not, naming the backend.
    pub why: String,
    /// What the operator can do about it.
    pub remedy: String,
}

impl fmt::Display for Unenforced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.cap, self.why, self.remedy)
    }
}
