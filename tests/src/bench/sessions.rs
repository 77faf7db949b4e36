//! Reading and deleting a session of a gigabyte, by the program that `kennel sessions` runs.

use std::{
    fs,
    io::Read as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{
    Scale,
    fleet::Home,
    history::{MB, SESSION, fill, turn},
    process::binary,
    report::{Report, Unit},
    stats::Samples,
};
use crate::harness::peak_memory_bytes;

const AGENT: &str = "long";

/// The most memory that an export may take, in MiB, whatever it exports.
const EXPORT_MIB: f64 = 32.0;

/// How long the space of a deleted session is waited for.
const PATIENCE: Duration = Duration::from_mins(3);

pub(super) async fn measure(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let megabytes = scale.pick(1024, 4);
    let home = Home::new(vec![AGENT.to_owned()])?;
    let fleet = home.up().await?;
    let mut api = fleet.unix().await?;
    turn(&mut api, AGENT).await?;
    let mut empty = Samples::default();
    for _ in 0..scale.pick(200, 5) {
        empty.push(turn(&mut api, AGENT).await?.1);
    }
    api.act(AGENT, "stop").await?;
    let store = home.store(AGENT);
    fill(&store, megabytes * MB)?;
    api.act(AGENT, "start").await?;

    let folder = home.state_of(AGENT);
    let session = format!("agent:{AGENT}:api:{SESSION}");
    let size = format!("{megabytes} MB");
    let show = json!({"show": {"session": session, "limit": 20, "before": null}});
    let older = json!({"show": {"session": session, "limit": 20, "before": 1000}});
    for (name, ask) in [
        ("list", json!({"list": {"limit": 50}})),
        ("show, the last 20", show),
        ("show, 20 of the first", older),
    ] {
        let mut samples = Samples::default();
        for _ in 0..scale.pick(20, 2) {
            let began = Instant::now();
            let mut child = start(&folder, &ask)?;
            read_all(&mut child)?;
            samples.push(began.elapsed());
        }
        report.millis(format!("{size}: {name}, p50"), samples.p50(), None)?;
    }
    export(&folder, &session, &size, report)?;
    search(&folder, &size, report)?;

    // Turns while its space is freed. The connection has been idle for longer than it may be.
    let mut api = fleet.unix().await?;
    let before = fs::metadata(&store)?.len();
    let began = Instant::now();
    let path = format!("/api/v1/agents/{AGENT}/sessions?session={session}");
    api.delete(&path).await?;
    report.millis(
        format!("{size}: delete, answered after"),
        began.elapsed(),
        None,
    )?;
    let mut meanwhile = Samples::default();
    while fs::metadata(&store)?.len() > before / 10 {
        anyhow::ensure!(began.elapsed() < PATIENCE, "its space is not freed");
        meanwhile.push(turn(&mut api, AGENT).await?.1);
    }
    report.millis(
        format!("{size}: space is free after"),
        began.elapsed(),
        None,
    )?;
    fleet.down()?;
    report.millis("a turn before all that, p50", empty.p50(), None)?;
    report.millis("a turn while space is freed, p50", meanwhile.p50(), None)?;
    report.millis("a turn while space is freed, p99", meanwhile.p99(), None)
}

fn export(folder: &Path, session: &str, size: &str, report: &mut Report) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut child = start(folder, &json!({"export": {"session": session}}))?;
    let mut output = child.stdout.take().context("it is piped")?;
    let (mut bytes, mut buffer, mut peak) = (0_usize, vec![0; 1 << 16], 0);
    let mut looked = 0;
    loop {
        let read = output.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        bytes += read;
        // While it is sure to live: more is still to come than a pipe holds.
        if bytes - looked >= 16 * MB {
            looked = bytes;
            peak = peak_memory_bytes(i32::try_from(child.id())?);
        }
    }
    anyhow::ensure!(child.wait()?.success(), "the export failed");
    let took = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let (bytes, peak) = (bytes as f64 / 1e6, peak as f64 / f64::from(1 << 20));
    report.add(
        format!("{size}: export, MB a second"),
        bytes / took,
        Unit::PerSecond,
        None,
    )?;
    if peak > 0.0 {
        let figure = format!("{size}: export, most memory");
        report.add(figure, peak, Unit::MiB, Some(EXPORT_MIB))?;
    }
    Ok(())
}

/// Looks for what is nowhere, page by page.
fn search(folder: &Path, size: &str, report: &mut Report) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut before = Value::Null;
    loop {
        let ask = json!({"search": {"session": null, "text": "nowhere to be found", "limit": 20, "before": before}});
        let said = read_all(&mut start(folder, &ask)?)?;
        let last = said.lines().last().map(serde_json::from_str::<Value>);
        match last.transpose()? {
            Some(more) => before = more["before"].clone(),
            None => break,
        }
    }
    let figure = format!("{size}: search to the end");
    report.millis(figure, began.elapsed(), None)
}

fn start(folder: &Path, ask: &Value) -> anyhow::Result<Child> {
    let request = json!({"agent": AGENT, "state_dir": folder, "user": null, "ask": ask});
    let mut child = Command::new(binary("kennel-agent-host")?)
        .arg("sessions")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdin = child.stdin.take().context("it is piped")?;
    serde_json::to_writer(stdin, &request)?;
    Ok(child)
}

fn read_all(child: &mut Child) -> anyhow::Result<String> {
    let mut said = String::new();
    let stdout = child.stdout.take().context("it is piped")?;
    std::io::BufReader::new(stdout).read_to_string(&mut said)?;
    anyhow::ensure!(child.wait()?.success(), "the sessions cannot be read");
    Ok(said)
}
