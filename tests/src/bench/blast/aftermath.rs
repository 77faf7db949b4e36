//! What is left of a neighbour after its end, and for how long.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::super::{api::Api, fleet::Home};
use crate::harness::{Process, groups_of, memory_of};

/// How long to look.
const PATIENCE: Duration = Duration::from_secs(15);

/// Stops an agent, and gives the time from the end of its process until no process of it was left and
/// its groups were gone. `None` if it had no process just then.
pub(super) async fn of_stop(
    home: &Home,
    api: &mut Api,
    agent: &str,
) -> anyhow::Result<Option<Duration>> {
    let status = api.get(&format!("/api/v1/agents/{agent}")).await?;
    let pid = status["pid"].as_i64().map(i32::try_from).transpose()?;
    let process = pid.and_then(Process::of);
    let groups = pid.map(groups_of).unwrap_or_default();
    let directory = home.state_of(agent);

    // Blocking: nothing is measured meanwhile but this.
    let watcher = tokio::task::spawn_blocking(move || {
        process.map(|process| watch(&process, &groups, &directory))
    });
    api.act(agent, "stop").await?;
    watcher.await?.transpose()
}

fn watch(
    process: &Process,
    groups: &[PathBuf],
    directory: &std::path::Path,
) -> anyhow::Result<Duration> {
    anyhow::ensure!(process.wait(PATIENCE), "{process:?} does not end");
    let ended = Instant::now();
    while ended.elapsed() < PATIENCE {
        let counted: u64 = groups.iter().filter_map(|group| memory_of(group)).sum();
        if counted == 0 && Process::within(directory).is_empty() {
            return Ok(ended.elapsed());
        }
    }
    let left = Process::within(directory);
    Err(anyhow::anyhow!("{left:?} and {groups:?}")).context("it is not gone")
}
