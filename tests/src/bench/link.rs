//! A round trip through a router: client ↔ router ↔ echo, three processes with a single-threaded runtime each.
//!
//! Two such chains run side by side and are measured in turns. The bare one is the least that tokio can do: frames
//! with a length before them, copied from socket to socket in whatever batches they come. The other one is our link:
//! typed messages, checked, numbered, acknowledged, kept until then, within credit.

mod bare;
mod ours;

use std::{
    future::Future,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    Scale,
    process::Owned,
    report::{Report, Unit},
    stats::{Samples, median},
};

/// Bodies of frames, in bytes.
const SIZES: [usize; 2] = [128, 1024];

/// Round trips of one chain before it is the other's turn.
const ROUND: usize = 200;

/// One way, the echo answers only every so many messages …
const ANSWER_EVERY: usize = 256;

/// … and the client sends no more than so many ahead.
const AHEAD: usize = 768;

/// The client's end of a chain.
trait Chain {
    /// Sends one message and waits for its echo.
    fn round_trip(&mut self) -> impl Future<Output = anyhow::Result<()>>;
    /// Sends `count` messages, a multiple of [`ANSWER_EVERY`], and waits until all have come.
    fn one_way(&mut self, count: usize) -> impl Future<Output = anyhow::Result<()>>;
}

/// What a child of this benchmark does.
pub(super) async fn child(role: &str, directory: &Path) -> anyhow::Result<()> {
    match role {
        "bare-router" => bare::router(directory).await,
        "bare-echo" => bare::echo(directory).await,
        "our-router" => ours::router(directory).await,
        "our-echo" => ours::echo(directory).await,
        _ => anyhow::bail!("there is no role `{role}`"),
    }
}

pub(super) async fn measure(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    for size in SIZES {
        let directory = tempfile::Builder::new().prefix("kennel-bench-").tempdir()?;
        let directory = directory.path();
        let _children = ["bare-router", "bare-echo", "our-router", "our-echo"]
            .map(|role| spawn(role, directory))
            .into_iter()
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut bare = bare::Client::connect(directory, size).await?;
        let mut ours = ours::Client::connect(directory, size).await?;
        round_trips(scale, report, size, &mut bare, &mut ours).await?;
        one_way(scale, report, size, &mut bare, &mut ours).await?;
    }
    Ok(())
}

fn spawn(role: &str, directory: &Path) -> anyhow::Result<Owned> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--child", role])
        .arg(directory)
        .stdin(Stdio::null());
    Ok(Owned(command.spawn()?))
}

async fn round_trips(
    scale: Scale,
    report: &mut Report,
    size: usize,
    bare: &mut impl Chain,
    ours: &mut impl Chain,
) -> anyhow::Result<()> {
    let (mut bare_times, mut our_times) = (Samples::default(), Samples::default());
    let mut ratios = Vec::new();
    let warm_up = scale.pick(10, 2);
    for round in 0..warm_up + scale.pick(100, 5) {
        let (one, other) = (timed(bare).await?, timed(ours).await?);
        if round >= warm_up {
            ratios.push(other.p50().as_secs_f64() / one.p50().as_secs_f64());
            bare_times.extend(one);
            our_times.extend(other);
        }
    }
    report.micros(format!("{size} B, bare tokio, p50"), bare_times.p50())?;
    report.micros(format!("{size} B, bare tokio, p99"), bare_times.p99())?;
    report.micros(format!("{size} B, our link, p50"), our_times.p50())?;
    report.micros(format!("{size} B, our link, p99"), our_times.p99())?;
    // Of two rounds that follow each other, since what else the machine does comes and goes.
    let goal = (size == SIZES[0]).then_some(1.5);
    report.add(
        format!("{size} B, our link / bare tokio, p50"),
        median(ratios),
        Unit::Ratio,
        goal,
    )
}

async fn timed(chain: &mut impl Chain) -> anyhow::Result<Samples> {
    let mut samples = Samples::default();
    for _ in 0..ROUND {
        let began = Instant::now();
        chain.round_trip().await?;
        samples.push(began.elapsed());
    }
    Ok(samples)
}

async fn one_way(
    scale: Scale,
    report: &mut Report,
    size: usize,
    bare: &mut impl Chain,
    ours: &mut impl Chain,
) -> anyhow::Result<()> {
    let count = ANSWER_EVERY * scale.pick(100, 4);
    let (mut bare_times, mut our_times) = (Samples::default(), Samples::default());
    for round in 0..=scale.pick(7, 1) {
        let began = Instant::now();
        bare.one_way(count).await?;
        let bare_took = began.elapsed();
        let began = Instant::now();
        ours.one_way(count).await?;
        let our_took = began.elapsed();
        if round > 0 {
            bare_times.push(bare_took);
            our_times.push(our_took);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of messages")]
    let rate = |took: Duration| count as f64 / took.as_secs_f64();
    let (bare_rate, our_rate) = (rate(bare_times.p50()), rate(our_times.p50()));
    report.add(
        format!("{size} B one way, bare tokio"),
        bare_rate,
        Unit::PerSecond,
        None,
    )?;
    report.add(
        format!("{size} B one way, our link"),
        our_rate,
        Unit::PerSecond,
        None,
    )
}

/// Tries to connect until the other process listens.
async fn patiently<T, F>(mut connect: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = std::io::Result<T>>,
{
    let mut last = None;
    for _ in 0..1000 {
        match connect().await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err(last.expect("it was tried").into())
}
