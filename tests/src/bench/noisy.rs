//! The noisy neighbour that people tell of: somebody has a case reviewed, and whoever asks one of the other assistants a
//! question of one line waits.
//!
//! The same review and the same questions meet three configurations. "gateway": one process for all four, four turns at once,
//! whoever comes first; it is as near as Kennel comes to a gateway that runs all assistants in one event loop. "pool": an agent each, but
//! nothing is said of classes, weights and caps. "fair": what one would write for that case. How long the review takes is told
//! too: what others gain, it pays.

mod review;

use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::time::Instant;

use self::review::Review;
use super::{
    Scale,
    fleet::{Fleet, Home},
    lanes::{Asked, Question, Waited, ask},
    report::{Report, Unit},
    stats::Samples,
};

/// Those who are asked questions of one line.
const ASKED: [&str; 3] = ["hexa", "milo", "nora"];

/// Turns at once in the fleet.
const SLOTS: usize = 4;

/// Each is asked so often, in turn, so that the questions are not in each other's way.
const PERIOD: Duration = Duration::from_secs(1);

/// How long the model takes for an answer of one line.
const THINKS: Duration = Duration::from_millis(250);

/// How much the p99 of answers may grow beside the review.
const GOAL: f64 = 1.2;

/// Whoever asks is let in, however many wait.
const ROOM: &str = "[defaults]\nmax_queued = 1000\n";

/// One of the configurations.
struct Setup {
    name: &'static str,
    /// Who reviews.
    reviewer: &'static str,
    /// Who is asked.
    asked: [&'static str; 3],
    agents: Vec<(String, String)>,
    more: &'static str,
    goal: Option<f64>,
}

fn setups() -> [Setup; 3] {
    let all_slots = format!("max_concurrent = {SLOTS}\ntools = [\"exec\"]\n");
    let four = |reviewer: &str, others: &str| {
        let others = ASKED
            .iter()
            .map(|agent| ((*agent).to_owned(), others.to_owned()));
        std::iter::once(("reviewer".to_owned(), reviewer.to_owned()))
            .chain(others)
            .collect()
    };
    let pool = Setup {
        name: "pool",
        reviewer: "reviewer",
        asked: ASKED,
        agents: four(&all_slots, &all_slots),
        more: "",
        goal: None,
    };
    let gateway = Setup {
        name: "gateway",
        reviewer: "gateway",
        asked: ["gateway"; 3],
        agents: vec![("gateway".to_owned(), all_slots.clone())],
        ..pool
    };
    // Half of the turns and half a core are always the others', and of the rest of the CPU they come first.
    let reviewer =
        format!("{all_slots}class = \"batch\"\nlimits = {{ cpu = 1.5, cpu_weight = 20 }}\n");
    let fair = Setup {
        name: "fair",
        agents: four(&reviewer, ""),
        more: "[classes.interactive]\nmin_share = 0.5\n[classes.batch]\nmax_share = 0.5\n",
        goal: Some(GOAL),
        ..pool
    };
    [gateway, pool, fair]
}

/// What questions met.
#[derive(Debug, Default)]
struct Met {
    waits: Samples,
    answers: Samples,
    /// The slowest answer, and its message.
    slowest: Option<(Duration, String)>,
    /// The answer that was slowest once it had a slot.
    longest_run: Option<(Duration, String)>,
}

pub(super) async fn measure(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    for setup in setups() {
        let home = Home::tuned(
            setup.agents.clone(),
            "kennel-agent-host",
            &format!("max_concurrent = {SLOTS}"),
            &format!("{}{ROOM}", setup.more),
        )?;
        let fleet = home.up().await?;
        if !fleet.ahead {
            report.note("other programs of this machine", "compete with the fleet")?;
        }
        let alone = Instant::now() + Duration::from_secs(u64::try_from(scale.pick(20, 3))?);
        let alone = meet(&fleet, &setup, || Instant::now() >= alone).await?;

        let (before, began) = (cpu(&fleet, setup.reviewer).await?, Instant::now());
        let review = Review::begin(&fleet, setup.reviewer, scale).await?;
        let beside = meet(&fleet, &setup, || review.is_done()).await?;
        let reviewed = review.end().await?;
        let took = reviewed.ended.duration_since(began);
        let used = cpu(&fleet, setup.reviewer).await?.saturating_sub(before);

        show(&setup, &alone, &beside, report)?;
        let name = setup.name;
        let figure = format!("{name}: the review is done after");
        report.millis(figure, took, None)?;
        let share = used.as_secs_f64() / took.as_secs_f64() * 100.0;
        let figure = format!("{name}: CPU of the reviewer, of one core");
        report.add(figure, share, Unit::Percent, None)?;
        let slowest = beside.slowest.map(|(_, delivery)| delivery);
        let longest_run = beside.longest_run.map(|(_, delivery)| delivery);
        for (what, delivery) in [
            ("its slowest answer", slowest),
            (
                "the answer that was slowest once it had a slot",
                longest_run,
            ),
            ("the first turn of the review", Some(reviewed.delivery)),
        ] {
            let delivery = delivery.context("something was asked")?;
            let text = home.kennel(&["why", &delivery])?;
            report.text(&format!("{name}: kennel why, {what}"), &text)?;
        }
        fleet.down()?;
    }
    Ok(())
}

/// Asks one after the other until it is enough, and waits for all answers.
async fn meet(fleet: &Fleet<'_>, setup: &Setup, enough: impl Fn() -> bool) -> anyhow::Result<Met> {
    let (began, mut asked) = (Instant::now(), Vec::new());
    let step = PERIOD / u32::try_from(ASKED.len())?;
    for (number, agent) in (0_u32..).zip(setup.asked.iter().cycle()) {
        if enough() {
            break;
        }
        let question = Question {
            agent: (*agent).to_owned(),
            session: format!("question-{number}"),
            due: step * number,
            takes: THINKS,
        };
        tokio::time::sleep_until(began + question.due).await;
        asked.push(tokio::spawn(ask(fleet.control(), question, began)));
    }
    let mut met = Met::default();
    let mut api = fleet.unix().await?;
    for asked in asked {
        let Asked { delivery, took } = asked.await??;
        let queued = Waited::of(&mut api, &delivery).await?.queued;
        met.waits.push(queued);
        met.answers.push(took);
        keep_longer(&mut met.longest_run, took.saturating_sub(queued), &delivery);
        keep_longer(&mut met.slowest, took, &delivery);
    }
    Ok(met)
}

fn keep_longer(kept: &mut Option<(Duration, String)>, time: Duration, delivery: &str) {
    if kept.as_ref().is_none_or(|(longest, _)| time > *longest) {
        *kept = Some((time, delivery.to_owned()));
    }
}

/// What an agent has had of the processors so far.
async fn cpu(fleet: &Fleet<'_>, agent: &str) -> anyhow::Result<Duration> {
    let mut api = fleet.unix().await?;
    let status: Value = api.get(&format!("/api/v1/agents/{agent}")).await?;
    let ms = status["usage"]["cpu_ms"].as_u64().unwrap_or_default();
    Ok(Duration::from_millis(ms))
}

#[expect(clippy::cast_precision_loss, reason = "a count of questions")]
fn show(setup: &Setup, alone: &Met, beside: &Met, report: &mut Report) -> anyhow::Result<()> {
    let name = setup.name;
    let count = beside.answers.len() as f64;
    report.add(format!("{name}: questions"), count, Unit::Count, None)?;
    for (what, met) in [
        ("wait in lanes", &beside.waits),
        ("answer", &beside.answers),
    ] {
        report.millis(format!("{name}: {what}, p50"), met.p50(), None)?;
        report.millis(format!("{name}: {what}, p99"), met.p99(), None)?;
        report.millis(format!("{name}: {what}, longest"), met.max(), None)?;
    }
    let figure = format!("{name}: answer alone, p99");
    report.millis(figure, alone.answers.p99(), None)?;
    let (alone, beside) = (alone.answers.p99(), beside.answers.p99());
    let figure = format!("{name}: answer, p99, beside / alone");
    report.ratio(figure, beside, alone, setup.goal)
}
