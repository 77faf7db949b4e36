//! What each child uses, read from the host by `sysinfo`, for `status`.
//!
//! A task samples on a steady beat, on the blocking pool, since reading `/proc` for a hundred
//! processes takes milliseconds; readers get the last sample. It looks at our children only.

use std::{collections::HashMap, sync::Arc, time::Duration};

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use tokio::sync::watch;
use tracing::warn;

use super::driver::AgentHandle;

/// How often to sample. The CPU share is an average over this.
const BEAT: Duration = Duration::from_secs(2);

/// What one process uses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Percent of one core over the last beat; above 100 with several threads at work.
    pub cpu_percent: f32,
    /// Resident memory in bytes.
    pub memory_bytes: u64,
}

/// The last sample, by pid.
pub type Sample = Arc<HashMap<i32, Usage>>;

/// Starts sampling the children of `agents` and this process.
pub fn start(agents: Vec<AgentHandle>) -> watch::Receiver<Sample> {
    let (sample, reader) = watch::channel(Sample::default());
    tokio::spawn(async move {
        let mut system = match System::new() {
            Ok(system) => system,
            Err(error) => {
                warn!(%error, "the host cannot be sampled; status shows no usage");
                return;
            }
        };
        let own = i32::try_from(std::process::id()).expect("a pid fits");
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !sample.is_closed() {
            beat.tick().await;
            let children = agents
                .iter()
                .filter_map(|agent| agent.observed.borrow().pid);
            let pids: Vec<i32> = children.chain([own]).collect();
            let read = tokio::task::spawn_blocking(move || {
                let sample = read(&mut system, &pids);
                (system, sample)
            });
            match read.await {
                Ok((read_system, next)) => {
                    system = read_system;
                    sample.send_replace(Arc::new(next));
                }
                // Only a panic in `sysinfo` or the end of the runtime comes here.
                Err(_) => return,
            }
        }
    });
    reader
}

/// The resident memory of a process now, in bytes: for one that is too young for a sample. One
/// small file of `/proc`, so a caller may read it in passing.
pub fn memory_now(pid: i32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn read(system: &mut System, pids: &[i32]) -> HashMap<i32, Usage> {
    let wanted: Vec<Pid> = pids
        .iter()
        .filter_map(|pid| usize::try_from(*pid).ok())
        .map(Pid::from)
        .collect();
    let what = ProcessRefreshKind::nothing()
        .with_cpu()
        .with_memory()
        .without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&wanted), true, what);
    pids.iter()
        .zip(&wanted)
        .filter_map(|(pid, wanted)| {
            let process = system.process(*wanted)?;
            Some((
                *pid,
                Usage {
                    cpu_percent: process.cpu_usage(),
                    memory_bytes: process.memory(),
                },
            ))
        })
        .collect()
}
