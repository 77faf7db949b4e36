//! What it costs to know what agents use: a sample of all of them, and a page of metrics.
//!
//! The supervisor says itself how long its samples take; the kernel says how much of the CPU its thread for
//! them used. The first is longer where others want the CPU too.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::{
    Scale,
    fleet::Home,
    report::{Report, Unit},
    stats::Samples,
};

/// How often the supervisor samples.
const BEAT: Duration = Duration::from_secs(1);

/// Milliseconds of a sample of 100 agents.
const GOAL: f64 = 0.5;

pub(super) async fn measure(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let sizes: &[usize] = if scale.quick { &[5] } else { &[10, 100] };
    for &agents in sizes {
        let home = Home::of(agents)?;
        let fleet = home.up().await?;
        let mut api = fleet.unix().await?;
        let (mut samples, mut pages) = (Samples::default(), Samples::default());
        let thread = Thread::named(fleet.pid(), "sampler")?;
        let began = (Instant::now(), thread.cpu()?);
        for _ in 0..scale.pick(30, 2) {
            tokio::time::sleep(BEAT).await;
            let asked = Instant::now();
            let page = api.text("/metrics").await?;
            pages.push(asked.elapsed());
            let took = page
                .lines()
                .find_map(|line| line.strip_prefix("kennel_sample_duration_seconds "))
                .context("the page tells how long a sample took")?;
            samples.push(Duration::from_secs_f64(took.parse()?));
        }
        let beats = began.0.elapsed().as_secs_f64() / BEAT.as_secs_f64();
        let cpu = thread.cpu()?.saturating_sub(began.1).div_f64(beats);
        drop(api);
        fleet.down()?;
        let goal = (agents == 100).then_some(GOAL);
        let noun = if agents == 1 { "agent" } else { "agents" };
        report.millis(
            format!("sampler, {agents} {noun}: CPU per sample"),
            cpu,
            goal,
        )?;
        report.millis(
            format!("sampler, {agents} {noun}: a sample, p50"),
            samples.p50(),
            None,
        )?;
        report.millis(
            format!("sampler, {agents} {noun}: a sample, slowest"),
            samples.max(),
            None,
        )?;
        report.millis(
            format!("GET /metrics, {agents} {noun}, p50"),
            pages.p50(),
            None,
        )?;
        let share = cpu.as_secs_f64() / BEAT.as_secs_f64() * 100.0;
        report.add(
            format!("sampler, {agents} {noun}: percent of a core"),
            share,
            Unit::Percent,
            None,
        )?;
    }
    Ok(())
}

/// A thread of another process.
struct Thread {
    schedstat: String,
}

impl Thread {
    fn named(pid: u32, name: &str) -> anyhow::Result<Self> {
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?.path();
            // A thread may end between the two reads.
            if fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name) {
                let schedstat = task.join("schedstat").display().to_string();
                return Ok(Self { schedstat });
            }
        }
        anyhow::bail!("the process {pid} has no thread `{name}`")
    }

    /// Time that it has run for.
    fn cpu(&self) -> anyhow::Result<Duration> {
        let text = fs::read_to_string(&self.schedstat)?;
        let nanos = text.split(' ').next().context("schedstat has numbers")?;
        Ok(Duration::from_nanos(nanos.parse()?))
    }
}
