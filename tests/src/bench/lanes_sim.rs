//! The lanes alone, on a virtual clock: how evenly slot time is shared, what people wait beside work that fills the fleet, and
//! what a turn costs the dispatcher in time and a waiting message in memory.

use std::{
    io::Write as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use kennel::dispatch::lanes::{INTERACTIVE, Lanes, Terms, Ticket, USUAL_WEIGHT};
use kennel_shared::ids::{AgentId, DeliveryId};

use super::{
    Scale,
    process::Memory,
    report::{Report, Unit},
};
use crate::lanes_sim::{RESEARCH, Setup, simulate};

/// Of Jain's index, what may be missing to 1.
const UNFAIR: f64 = 0.01;

/// The most that the p99 of people's waits may grow beside work that fills the fleet.
const GOAL: f64 = 1.1;

/// About a sixth of all messages is from people.
const QUESTIONS: (usize, usize) = (155_000, 3_000);

const QUEUED: usize = 100_000;

/// The role of a child that measures memory: one that has done nothing else has nothing free to put messages into.
pub(super) const TICKETS: &str = "tickets";

#[expect(
    clippy::cast_precision_loss,
    reason = "figures are shown with few digits"
)]
pub(super) fn measure(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    for seed in 1..=scale.pick(3, 1) {
        let setup = |saturated| Setup {
            saturated,
            questions: scale.pick(QUESTIONS.0, QUESTIONS.1),
            longest_turn: Duration::from_mins(if scale.quick { 1 } else { 10 }),
            seed: seed as u64,
        };
        let alone = simulate(setup(false));
        let began = Instant::now();
        let beside = simulate(setup(true));
        let took = began.elapsed();
        let turns = beside.turns as f64;
        report.add(format!("seed {seed}: turns"), turns, Unit::Count, None)?;
        for class in ["batch", RESEARCH] {
            let figure = format!("seed {seed}: {class}: 1000 × (1 − Jain's index)");
            let missing = (1.0 - beside.jain(class)) * 1000.0;
            report.add(figure, missing, Unit::Number, Some(UNFAIR * 1000.0))?;
        }
        report.millis(format!("seed {seed}: wait alone, p99"), alone.p99(), None)?;
        report.millis(format!("seed {seed}: wait beside, p99"), beside.p99(), None)?;
        let figure = format!("seed {seed}: wait, p99, beside / alone");
        report.ratio(figure, beside.p99(), alone.p99(), Some(GOAL))?;
        let each = Duration::from_secs_f64(took.as_secs_f64() / turns);
        report.micros(format!("seed {seed}: a turn, in at one end and out"), each)?;
    }
    for sessions in [1, 1000, QUEUED] {
        let figure = format!("{QUEUED} messages in {sessions} sessions: bytes each");
        report.add(figure, asked_of_a_child(sessions)?, Unit::Count, None)?;
    }
    Ok(())
}

fn asked_of_a_child(sessions: usize) -> anyhow::Result<f64> {
    let child = Command::new(std::env::current_exe()?)
        .args(["--child", TICKETS, &sessions.to_string()])
        .output()?;
    let said = String::from_utf8_lossy(&child.stdout);
    said.trim()
        .parse()
        .with_context(|| String::from_utf8_lossy(&child.stderr).into_owned())
}

/// What that child does; its directory is a number of sessions.
pub(super) fn tickets(sessions: &Path) -> anyhow::Result<()> {
    let sessions = sessions.to_str().context("a number")?.parse()?;
    let bytes = bytes_of_a_ticket(sessions)?;
    Ok(write!(std::io::stdout(), "{bytes}")?)
}

/// What this process has more in memory with many of them in a queue.
#[expect(
    clippy::cast_precision_loss,
    reason = "figures are shown with few digits"
)]
fn bytes_of_a_ticket(sessions: usize) -> anyhow::Result<f64> {
    let agent: AgentId = "a".parse()?;
    let mut lanes = Lanes::new(1, Instant::now());
    let terms = Terms {
        max_concurrent: 1,
        max_waiting: QUEUED,
        weight: USUAL_WEIGHT,
        class: INTERACTIVE.into(),
    };
    lanes.add(agent, terms);
    let before = Memory::of(std::process::id())?;
    for n in 0..QUEUED {
        let session = format!("agent:a:tg-hexa:direct:{:010}", n % sessions).parse()?;
        let delivery = DeliveryId::new();
        lanes.admit(&Ticket { delivery, session }, None);
    }
    let after = Memory::of(std::process::id())?;
    let bytes = after.uss.saturating_sub(before.uss) * 1024;
    drop(lanes);
    Ok(bytes as f64 / QUEUED as f64)
}
