//! The lanes with real processes: what people wait beside agents that always have more to do, and how evenly those share the
//! slots.
//!
//! The smaller sibling of `lanes-sim`, with the same classes, weights and distributions. A turn is a wait of the echo provider, as it would be
//! for a model, so what is contended for are slots and not processors; "CPU" shows that. The same questions, at the
//! same moments and with turns as long, are asked alone and beside the others, in alternating order. Waits are those of the accounts of
//! the turns; the other clock is the caller's, and starts when a question was due.

mod account;
mod people;
mod work;

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use futures::future::try_join_all;
use kennel::dispatch::lanes::{BATCH, INTERACTIVE};
use serde_json::Value;

use self::work::{Work, Worker};
pub(super) use self::{
    account::Waited,
    people::{Asked, Question, ask},
};
use super::{
    Scale,
    fleet::{Fleet, Home},
    process::cpu_time,
    report::{Report, Unit},
    stats::Samples,
};
use crate::lanes_sim::{RESEARCH, WEIGHTS, jain};

/// Turns at once in the fleet.
const SLOTS: usize = 32;

/// Of these `research` may have a quarter.
const RESEARCH_SLOTS: f64 = 8.0;

/// `batch` leaves one to others.
const BATCH_SLOTS: f64 = 31.0;

/// How many agents are of which class.
const AGENTS: [(&str, usize); 3] = [(INTERACTIVE, 40), (BATCH, 8), (RESEARCH, 4)];

/// As in the simulation: a quarter is guaranteed to people, research has a quarter at most.
const CLASSES: &str = "\
    [classes.interactive]\n\
    min_share = 0.25\n\
    [classes.research]\n\
    weight = 50\n\
    max_share = 0.25\n";

/// The shortest turns, in seconds; agents differ by that. They are long beside a millisecond, which is what the machine adds to
/// a wait.
const SHORTEST: [f64; 3] = [0.04, 0.08, 0.16];

/// No turn is longer.
const LONGEST: Duration = Duration::from_secs(4);

/// Turns that an agent with more to do may run at once: room for the largest weight.
const TURNS: usize = 8;

/// Before the clock starts, the others have filled the fleet, and those with room in it have been weighed.
const SETTLE: Duration = Duration::from_secs(5);

/// The most that the p99 of people's waits may grow beside work that fills the fleet.
const GOAL: f64 = 1.1;

/// Of Jain's index, what may be missing to 1, in thousandths.
const UNFAIR: f64 = 10.0;

/// An agent of the fleet.
#[derive(Debug, Clone)]
struct Member {
    id: String,
    class: &'static str,
    weight: u32,
    shortest: f64,
}

fn members() -> Vec<Member> {
    let of = |(class, count): (&'static str, usize)| {
        (0..count).map(move |number| Member {
            id: format!("{class}-{number}"),
            class,
            weight: WEIGHTS[number % WEIGHTS.len()],
            shortest: SHORTEST[number % SHORTEST.len()],
        })
    };
    AGENTS.into_iter().flat_map(of).collect()
}

/// All rounds of one side.
#[derive(Debug, Default)]
struct Side {
    /// What questions have waited in lanes, in all.
    queued: Samples,
    /// Of it, for their class or the fleet, and so for others.
    others: Samples,
    /// From when a question was due to its answer.
    answers: Samples,
    /// Of the supervisor and all agents, in cores.
    cpu: Vec<f64>,
}

/// What came of one round beside the others.
struct Beside {
    work: Work,
    /// How it was by `GET /api/v1/fairness`, in the last minute.
    fairness: Value,
}

pub(super) async fn measure(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let members = members();
    let lines = |member: &Member| {
        let Member { class, weight, .. } = member;
        let mut lines = format!("class = \"{class}\"\nweight = {weight}\n");
        if member.class != INTERACTIVE {
            writeln!(lines, "max_concurrent = {TURNS}").expect("a string takes everything");
        }
        (member.id.clone(), lines)
    };
    let home = Home::tuned(
        members.iter().map(lines).collect(),
        "kennel-agent-host",
        &format!("max_concurrent = {SLOTS}"),
        CLASSES,
    )?;
    let fleet = home.up().await?;
    warm_up(&fleet, &members).await?;

    let lasts = Duration::from_secs(u64::try_from(scale.pick(60, 3))?);
    let (mut alone, mut beside) = (Side::default(), Side::default());
    let mut rounds = Vec::new();
    for seed in 1..=u64::try_from(scale.pick(3, 1))? {
        let questions = people::questions(&members, seed, lasts);
        // What the machine does besides meets both sides alike.
        if seed % 2 == 1 {
            alone.take(&fleet, &questions, lasts).await?;
        }
        let others = Worker::start_all(&fleet, &members, seed).await?;
        tokio::time::sleep(SETTLE).await;
        let begins = std::time::Instant::now();
        beside.take(&fleet, &questions, lasts).await?;
        let fairness = fleet.unix().await?.get("/api/v1/fairness").await?;
        let work = others.end(begins, lasts).await?;
        rounds.push(Beside {
            work,
            fairness: fairness["windows"][0].clone(),
        });
        if seed % 2 == 0 {
            alone.take(&fleet, &questions, lasts).await?;
        }
    }
    for round in &mut rounds {
        round.work.look_up(&fleet).await?;
    }
    fleet.down()?;
    people_wait(&alone, &beside, report)?;
    for (number, round) in (1..).zip(&rounds) {
        shares(&members, round, number, report)?;
    }
    Ok(())
}

/// The first answer of an agent is slower: its store is new.
async fn warm_up(fleet: &Fleet<'_>, members: &[Member]) -> anyhow::Result<()> {
    let mut api = fleet.unix().await?;
    for member in members {
        api.tell(&member.id, "Are you there?").await?;
    }
    Ok(())
}

impl Side {
    /// One round.
    async fn take(
        &mut self,
        fleet: &Fleet<'_>,
        questions: &[Question],
        lasts: Duration,
    ) -> anyhow::Result<()> {
        let pids = fleet.pids().await?;
        let all = || {
            let own = std::iter::once(fleet.pid()).chain(pids.values().copied());
            own.map(cpu_time).sum::<anyhow::Result<Duration>>()
        };
        let before = all()?;
        let began = tokio::time::Instant::now();
        let control = fleet.control();
        let asked = questions
            .iter()
            .map(|question| tokio::spawn(ask(control.clone(), question.clone(), began)));
        let mut asked = try_join_all(asked).await?.into_iter();
        let asked: Vec<Asked> = asked.by_ref().collect::<anyhow::Result<_>>()?;
        let used = all()?.saturating_sub(before);
        self.cpu
            .push(used.as_secs_f64() / began.elapsed().max(lasts).as_secs_f64());
        let mut api = fleet.unix().await?;
        for asked in asked {
            let waited = Waited::of(&mut api, &asked.delivery).await?;
            self.queued.push(waited.queued);
            self.others.push(waited.others);
            self.answers.push(asked.took);
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of questions")]
fn people_wait(alone: &Side, beside: &Side, report: &mut Report) -> anyhow::Result<()> {
    let count = alone.answers.len() as f64;
    report.add("people's questions, each side", count, Unit::Count, None)?;
    for (what, alone, beside, goal) in [
        (
            "people's wait in lanes",
            &alone.queued,
            &beside.queued,
            Some(GOAL),
        ),
        (
            "of it for class and fleet",
            &alone.others,
            &beside.others,
            None,
        ),
        (
            "until they are answered",
            &alone.answers,
            &beside.answers,
            Some(GOAL),
        ),
    ] {
        for (side, samples) in [("alone", alone), ("beside", beside)] {
            report.millis(format!("{what}, {side}, p50"), samples.p50(), None)?;
            report.millis(format!("{what}, {side}, p99"), samples.p99(), None)?;
            report.millis(format!("{what}, {side}, longest"), samples.max(), None)?;
        }
        if goal.is_some() {
            let figure = format!("{what}, p99, beside / alone");
            report.ratio(figure, beside.p99(), alone.p99(), goal)?;
        }
    }
    for (side, cpu) in [("alone", &alone.cpu), ("beside", &beside.cpu)] {
        let mean = cpu.iter().sum::<f64>() / cpu.len() as f64;
        let figure = format!("CPU, all of Kennel, {side}, of one core");
        report.add(figure, mean * 100.0, Unit::Percent, None)?;
    }
    Ok(())
}

fn shares(
    members: &[Member],
    round: &Beside,
    number: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let Beside { work, fairness } = round;
    let said = account::shares(fairness)?;
    let missing = |index: f64| (1.0 - index) * 1000.0;
    report.add(
        format!("round {number}: turns of batch and research"),
        work.turns(),
        Unit::Count,
        None,
    )?;
    for class in [BATCH, RESEARCH] {
        let own = |member: &&Member| member.class == class;
        let figure = format!("round {number}: {class}: 1000 × (1 − Jain's index)");
        let measured = members.iter().filter(own);
        let measured = measured.map(|member| work.slot_time(&member.id) / f64::from(member.weight));
        let index = jain(&measured.collect::<Vec<f64>>());
        report.add(figure, missing(index), Unit::Number, Some(UNFAIR))?;
        let told = said.agents.iter().filter(|agent| agent.class == class);
        let told: Vec<f64> = told.map(|agent| agent.used / agent.weight).collect();
        let figure = format!("round {number}: the same, by /fairness");
        report.add(figure, missing(jain(&told)), Unit::Number, Some(UNFAIR))?;
    }
    let figure = format!("round {number}: all agents: the same, by /fairness");
    report.add(figure, missing(said.index), Unit::Number, Some(UNFAIR))?;
    let goals = BTreeMap::from([(BATCH, BATCH_SLOTS), (RESEARCH, RESEARCH_SLOTS)]);
    for (class, _) in AGENTS {
        let figure = format!("round {number}: {class}: slots, on average");
        let slots = said.slots.get(class).copied().unwrap_or_default();
        let goal = goals.get(class).copied();
        report.add(figure, slots, Unit::Number, goal)?;
    }
    let figure = format!("round {number}: batch and research: longest wait for class and fleet");
    report.millis(figure, work.longest(), None)?;
    let figure = format!("round {number}: longest wait of anybody, by /fairness");
    report.millis(figure, said.longest, None)
}
