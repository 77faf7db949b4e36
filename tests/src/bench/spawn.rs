//! From `start` to ready: process, store, link, handshake.

use std::{
    io::{Read as _, Write as _},
    process::{Command, Stdio},
    time::Instant,
};

use super::{Scale, fleet::Home, process::Owned, report::Report, stats::Samples};

/// The role of a child that writes one byte and leaves: the least that a start can be.
pub(super) const FIRST_BYTE: &str = "first-byte";

/// What that child does.
pub(super) fn first_byte() -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(b"!")?)
}

pub(super) async fn measure(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let home = Home::of(1)?;
    let fleet = home.up().await?;
    let mut api = fleet.unix().await?;
    let (mut ready, mut bare) = (Samples::default(), Samples::default());
    for _ in 0..scale.pick(30, 3) {
        api.act("a0", "stop").await?;
        let began = Instant::now();
        api.act("a0", "start").await?;
        ready.push(began.elapsed());
        bare.push(spawn_bare()?);
    }
    fleet.down()?;
    report.millis("start to ready, p50", ready.p50(), Some(10.0))?;
    report.millis("start to ready, p99", ready.p99(), None)?;
    report.millis("a small program's first byte, p50", bare.p50(), None)?;
    report.ratio("start to ready / first byte", ready.p50(), bare.p50(), None)
}

fn spawn_bare() -> anyhow::Result<std::time::Duration> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--child", FIRST_BYTE, "."])
        .stdout(Stdio::piped());
    let began = Instant::now();
    let mut child = Owned(command.spawn()?);
    let mut byte = [0];
    let mut stdout = child.0.stdout.take().expect("it is piped");
    stdout.read_exact(&mut byte)?;
    Ok(began.elapsed())
}
