//! A restart of one agent while the others answer a light load.

use std::{
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use super::{
    Scale,
    api::Api,
    fleet::Home,
    report::{Report, Unit},
    stats::Samples,
};

/// The agent that is restarted.
const SUBJECT: &str = "a0";

/// Between two messages of the load.
const PAUSE: Duration = Duration::from_millis(10);

pub(super) async fn measure(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let home = Home::of(10)?;
    let fleet = home.up().await?;
    let others: Vec<String> = home.agents()[1..].to_vec();
    let mut pids = fleet.pids().await?;
    let stop = Arc::new(AtomicBool::new(false));

    let quiet_load = tokio::spawn(load(fleet.unix().await?, others.clone(), Arc::clone(&stop)));
    tokio::time::sleep(PAUSE * u32::try_from(scale.pick(200, 20))?).await;
    stop.store(true, Ordering::Relaxed);
    let quiet = quiet_load.await??;

    stop.store(false, Ordering::Relaxed);
    let noisy_load = tokio::spawn(load(fleet.unix().await?, others, Arc::clone(&stop)));
    let mut api = fleet.unix().await?;
    let mut restarts = Samples::default();
    for _ in 0..scale.pick(30, 3) {
        let began = Instant::now();
        api.act(SUBJECT, "restart").await?;
        restarts.push(began.elapsed());
        tokio::time::sleep(PAUSE * 5).await;
    }
    stop.store(true, Ordering::Relaxed);
    // An answer that was lost is an error of the load, and so of this benchmark.
    let noisy = noisy_load.await??;

    let mut after = fleet.pids().await?;
    let (old, new) = (pids.remove(SUBJECT), after.remove(SUBJECT));
    anyhow::ensure!(old != new, "the agent was not restarted");
    anyhow::ensure!(
        pids == after,
        "another agent has a new process: {pids:?}, {after:?}"
    );
    fleet.down()?;

    report.millis("restart to ready, p50", restarts.p50(), Some(200.0))?;
    report.millis("restart to ready, slowest", restarts.max(), Some(200.0))?;
    report.millis("the others answer meanwhile, p50", noisy.p50(), None)?;
    report.millis("the others answer meanwhile, p99", noisy.p99(), None)?;
    report.ratio(
        "their p99, with restarts / without",
        noisy.p99(),
        quiet.p99(),
        None,
    )?;
    report.add("others with a new process", 0.0, Unit::Count, Some(0.0))
}

/// Asks one agent after the other until it is told to stop.
async fn load(mut api: Api, agents: Vec<String>, stop: Arc<AtomicBool>) -> anyhow::Result<Samples> {
    let mut samples = Samples::default();
    for agent in agents.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let began = Instant::now();
        api.chat(agent, None, "Are you there?").await?;
        samples.push(began.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    Ok(samples)
}
