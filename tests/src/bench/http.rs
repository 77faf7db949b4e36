//! `/v1/chat/completions` with a model that answers at once: what Kennel itself takes.

use std::time::{Duration, Instant};

use super::{
    Scale,
    api::Api,
    fleet::{Fleet, Home},
    process::{cpu_time, waited},
    report::{Report, Unit},
    stats::Samples,
};

/// What is asked, and so answered.
const TEXT: &str =
    "What is the answer to the ultimate question of life, the universe and everything?";

/// Answers before the clock starts.
const WARM_UP: usize = 100;

pub(super) async fn measure(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let home = Home::of(4)?;
    let fleet = home.up().await?;
    let count = scale.pick(3000, 100);
    for (road, session) in [
        ("unix", None),
        ("unix", Some("bench")),
        ("tcp", None),
        ("tcp", Some("bench")),
    ] {
        let api = match road {
            "tcp" => fleet.tcp().await?,
            _ => fleet.unix().await?,
        };
        sequential(&fleet, api, (road, session), count, report).await?;
    }
    bare(&fleet, count, report).await?;
    concurrent(&fleet, scale, report).await?;
    fleet.down()
}

async fn sequential(
    fleet: &Fleet<'_>,
    mut api: Api,
    (road, session): (&str, Option<&str>),
    count: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    for _ in 0..WARM_UP {
        api.chat("a0", session, TEXT).await?;
    }
    let agent = fleet.pids().await?["a0"];
    let used = || anyhow::Ok(cpu_time(fleet.pid())? + cpu_time(agent)?);
    let kept_waiting = || anyhow::Ok(waited(fleet.pid())? + waited(agent)?);
    let (before, waited_before) = (used()?, kept_waiting()?);
    let mut samples = Samples::default();
    for _ in 0..count {
        let began = Instant::now();
        api.chat("a0", session, TEXT).await?;
        samples.push(began.elapsed());
    }
    let answers = u32::try_from(count)?;
    let cpu = used()?.saturating_sub(before) / answers;
    let no_core = kept_waiting()?.saturating_sub(waited_before) / answers;
    let what = match session {
        None => "fresh sessions",
        Some(_) => "one session",
    };
    report.millis(format!("{road}, {what}, p50"), samples.p50(), Some(1.5))?;
    report.millis(format!("{road}, {what}, p99"), samples.p99(), Some(5.0))?;
    report.millis(format!("{road}, {what}, CPU per answer"), cpu, Some(1.0))?;
    report.millis(
        format!("{road}, {what}, mean wait for a core"),
        no_core,
        None,
    )
}

/// The least that a request can take: one that asks nobody.
async fn bare(fleet: &Fleet<'_>, count: usize, report: &mut Report) -> anyhow::Result<()> {
    let mut api = fleet.unix().await?;
    let mut samples = Samples::default();
    for _ in 0..count {
        let began = Instant::now();
        api.get("/api/v1/health").await?;
        samples.push(began.elapsed());
    }
    report.millis("unix, GET /api/v1/health, p50", samples.p50(), None)?;
    report.millis("unix, GET /api/v1/health, p99", samples.p99(), None)
}

/// Four callers, each with an agent of its own.
async fn concurrent(fleet: &Fleet<'_>, scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let lasts = Duration::from_millis(u64::try_from(scale.pick(4000, 300))?);
    let mut callers = Vec::new();
    for index in 0..4 {
        let api = fleet.unix().await?;
        callers.push(tokio::spawn(keep_asking(api, format!("a{index}"), lasts)));
    }
    let mut samples = Samples::default();
    for caller in callers {
        samples.extend(caller.await??);
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of answers")]
    let rate = samples.len() as f64 / lasts.as_secs_f64();
    report.add("4 agents at once: answers", rate, Unit::PerSecond, None)?;
    report.millis("4 agents at once: p50", samples.p50(), None)?;
    report.millis("4 agents at once: p99", samples.p99(), None)
}

async fn keep_asking(mut api: Api, agent: String, lasts: Duration) -> anyhow::Result<Samples> {
    let end = Instant::now() + lasts;
    let mut samples = Samples::default();
    while Instant::now() < end {
        let began = Instant::now();
        api.chat(&agent, None, TEXT).await?;
        samples.push(began.elapsed());
    }
    Ok(samples)
}
