//! The processor time of a group, read as a turn begins and as it ends.
//!
//! Three files at most, which stay open: the kernel tells what they say from counters, without waiting for anybody, so they
//! are read where the turn is known. Where there is no group, agent-host is looked at, and the tools that it has waited
//! for.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
};

use super::{
    counters::{What, take},
    group::Group,
    procfs::Stat,
    reader::{micros_of, wanted},
    reading::Reading,
};

/// The longest of the files.
const SHORT: usize = 512;

/// So many threads of an agent are asked how long they waited, at most.
const THREADS: usize = 256;

/// What a group had of the processors so far, in microseconds. What cannot be told is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// On a processor.
    pub used: Option<u64>,
    /// Some of it could have run and waited, by the kernel's account of pressure.
    pub pressed: Option<u64>,
    /// Where there is no such account: how long its threads that live have waited, added up.
    pub waited: Option<u64>,
    /// Held back by its cap.
    pub throttled: Option<u64>,
}

/// Reads the processor time of one group.
#[derive(Debug)]
pub struct CpuMeter {
    files: Vec<(What, File)>,
    group: Group,
    /// Agent-host.
    pid: i32,
}

impl CpuMeter {
    /// For a group whose agent-host is `pid`.
    pub fn of(group: &Group, pid: i32) -> Self {
        let mut files = Vec::new();
        for (what, dir, name) in wanted(group.dirs()) {
            let is_time = matches!(
                what,
                What::CpuStat | What::CpuUsage | What::CpuPressure | What::Throttling
            );
            if is_time && let Ok(file) = File::open(dir.join(name)) {
                files.push((what, file));
            }
        }
        Self {
            files,
            group: group.clone(),
            pid,
        }
    }

    /// One look.
    pub fn read(&self) -> CpuTimes {
        let mut reading = Reading::default();
        let mut buffer = [0; SHORT];
        for (what, file) in &self.files {
            if let Ok(length) = file.read_at(&mut buffer, 0) {
                take(*what, &buffer[..length], &mut reading);
            }
        }
        let pressed = reading.cpu_pressure.map(|some| some.some_total_us);
        CpuTimes {
            used: reading
                .cpu_us
                .or_else(|| Some(micros_of(Stat::of(self.pid)?.ticks))),
            pressed,
            waited: match pressed {
                Some(_) => None,
                None => waited(self.members()),
            },
            throttled: reading.throttled_us,
        }
    }

    fn members(&self) -> Vec<i32> {
        if self.files.is_empty() {
            // To find the others is to look at every process of the machine.
            return vec![self.pid];
        }
        self.group.members()
    }
}

/// How long the threads of these processes could have run and did not.
fn waited(pids: Vec<i32>) -> Option<u64> {
    let tasks = pids.into_iter().flat_map(|pid| {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"));
        tasks.into_iter().flatten().flatten()
    });
    let waited = tasks.take(THREADS).filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        run_delay(&text)
    });
    // None of them is no answer.
    waited.fold(None, |sum: Option<u64>, us| Some(sum.unwrap_or(0) + us))
}

/// The second number, in nanoseconds.
fn run_delay(schedstat: &str) -> Option<u64> {
    let nanos: u64 = schedstat.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(nanos / 1000)
}

#[cfg(test)]
mod tests {
    use kennel_shared::ids::{AgentId, Generation};

    use super::*;
    use crate::containment::{BackendKind, Caps, Containment};

    #[test]
    fn lines_of_the_kernel() {
        assert_eq!(run_delay("123456 7890123 42\n"), Some(7890));
        assert_eq!(
            run_delay("0 0 0"),
            Some(0),
            "an account that is switched off"
        );
        assert_eq!(run_delay("12"), None);
        assert_eq!(run_delay("a b c"), None);
    }

    /// On the backend that every host has.
    #[test]
    fn a_process_that_works_is_seen_to() {
        let mut containment = Containment::with(BackendKind::BestEffort).unwrap();
        let instance = format!("test-meter-{}", std::process::id());
        containment.prepare(&instance, &Caps::default()).unwrap();
        let agent = AgentId::new("held").unwrap();
        let group = containment
            .create(&agent, Generation(1), &Caps::default())
            .unwrap();
        let own = std::process::id().cast_signed();
        let meter = CpuMeter::of(&group, own);
        let before = meter.read();
        loop {
            let after = meter.read();
            if after.used > before.used {
                assert!(after.waited >= before.waited && after.waited.is_some());
                assert_eq!(after.pressed, None);
                break;
            }
            std::hint::black_box(vec![1_u8; 1 << 20]);
        }
        containment.release().unwrap();
        let gone = CpuMeter::of(&group, 1 << 23);
        assert_eq!(gone.read(), CpuTimes::default());
    }
}
