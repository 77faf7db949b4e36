//! What the kernel says of a process, and the end of processes that were started here.

use std::{
    fs,
    path::PathBuf,
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, SysconfVar, sysconf},
};

/// How long a process may take to end when it is asked to.
const END_PATIENCE: Duration = Duration::from_secs(20);

/// Memory of one process, in KiB.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Memory {
    /// Its share of everything that it has in memory.
    pub(super) pss: u64,
    /// What would be free without it.
    pub(super) uss: u64,
}

impl Memory {
    pub(super) fn of(pid: u32) -> anyhow::Result<Self> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.split_whitespace().next())
                .and_then(|number| number.parse::<u64>().ok())
                .with_context(|| format!("{path} has no {name}"))
        };
        Ok(Self {
            pss: field("Pss:")?,
            uss: field("Private_Clean:")? + field("Private_Dirty:")?,
        })
    }
}

/// Processor time that a process has used, all threads and modes.
pub(super) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The name of the program, in brackets, may contain anything.
    let (_, fields) = text.rsplit_once(')').context("it has a name")?;
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|number| number.parse::<u64>().ok())
        .sum();
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("the kernel has ticks")?;
    Ok(Duration::from_secs(ticks) / u32::try_from(per_second)?)
}

/// How long the threads of a process were ready to run without a core to run on.
pub(super) fn waited(pid: u32) -> anyhow::Result<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the two reads.
        let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        let delay = text.split_whitespace().nth(1);
        nanos += delay.and_then(|delay| delay.parse().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
}

/// Where a binary of the product is.
pub(super) fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let directory = match std::env::var_os("KENNEL_BIN_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => std::env::current_exe()?
            .parent()
            .context("a program is in a directory")?
            .to_owned(),
    };
    let path = directory.join(name);
    anyhow::ensure!(
        path.is_file(),
        "{} is not there: build it, or set KENNEL_BIN_DIR",
        path.display()
    );
    Ok(path)
}

/// A process that ends with its owner.
#[derive(Debug)]
pub(super) struct Owned(pub(super) Child);

impl Owned {
    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Asks the process to end, insists after a while, and reaps it.
    pub(super) fn end(&mut self) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.0.try_wait()? {
            return Ok(status);
        }
        kill(Pid::from_raw(i32::try_from(self.0.id())?), Signal::SIGTERM)?;
        let deadline = Instant::now() + END_PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            // There is nothing to wait on with a limit but a descriptor of the process; this is off the clock.
            std::thread::park_timeout(Duration::from_millis(5));
        }
        self.0.kill()?;
        Ok(self.0.wait()?)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_uses_time() {
        let own = std::process::id();
        let memory = Memory::of(own).unwrap();
        assert!(memory.uss > 0 && memory.pss >= memory.uss, "{memory:?}");
        let before = cpu_time(own).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(60) {
            std::hint::spin_loop();
        }
        assert!(cpu_time(own).unwrap() > before);
    }
}
