//! The blast radius: quiet agents at a steady load, alone and beside one agent that takes all it can get.
//!
//! Rounds alternate, and so does their order: alone, beside; beside, alone. What the machine does besides
//! meets both sides alike, and what is left of it shows in the first neighbour: nobody. A ratio is the
//! median over the rounds.
//!
//! The clock of an answer starts when it was to be asked, not when it was: an answer that is late makes
//! the next ones late, and they say so.

mod aftermath;
mod load;
mod neighbour;
mod news;

use std::{fmt::Write as _, time::Duration};

use self::{
    load::Load,
    neighbour::{NEIGHBOURS, Neighbour, Provoker},
    news::{Ends, News},
};
use super::{
    Scale,
    api::Api,
    fleet::{Fleet, Home},
    process::Memory,
    report::{Report, Unit},
    stats::{Samples, median},
};

/// The quiet agents.
const QUIET: [&str; 4] = ["quiet-1", "quiet-2", "quiet-3", "quiet-4"];

/// The most that the p99 of quiet agents may grow beside a neighbour.
const GOAL: f64 = 1.2;

/// How soon a neighbour's memory must be back, in milliseconds after its end.
const BACK_MS: f64 = 1000.0;

/// Between the start of a neighbour's deeds and that of the clock, and after its end.
const SETTLE: Duration = Duration::from_millis(300);

/// What a neighbour may use.
///
/// Half a core is what a neighbour on a small machine may get without being missed; it is also the
/// hardest case, since all of it can be spent in one go, on every core at once. 128 MiB are more than
/// any answer needs and far less than what is taken; 64 processes likewise.
const CAPS: &str = "{ memory = '128MiB', cpu = 0.5, pids = 64 }";

/// What is known of one neighbour after all rounds.
#[derive(Debug, Default)]
struct Findings {
    alone: Vec<Samples>,
    beside: Vec<Samples>,
    /// From the end of the neighbour's process until nothing of it was left.
    gone: Samples,
    ends: Ends,
    usage: String,
}

pub(super) async fn measure(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let home = Home::with(
        QUIET.map(ToOwned::to_owned).to_vec(),
        "misbehaving-agent",
        &configuration()?,
    )?;
    let fleet = home.up().await?;
    let before = Memory::of(fleet.pid())?;
    let mut bench = Bench {
        home: &home,
        fleet: &fleet,
        api: fleet.unix().await?,
        news: News::follow(&home.control()).await?,
        lasts: Duration::from_millis(u64::try_from(scale.pick(3000, 400))?),
    };
    // The first answers of an agent are slower: its store is new.
    bench.alone().await?;

    let mut findings: Vec<Findings> = NEIGHBOURS.iter().map(|_| Findings::default()).collect();
    for round in 0..scale.pick(7, 1) {
        for (neighbour, found) in NEIGHBOURS.iter().zip(&mut findings) {
            if round % 2 == 0 {
                found.alone.push(bench.alone().await?);
                bench.beside(neighbour, found).await?;
            } else {
                bench.beside(neighbour, found).await?;
                found.alone.push(bench.alone().await?);
            }
        }
    }
    drop(bench);
    if !fleet.ahead {
        report.note("other programs of this machine", "compete with the fleet")?;
    }
    let after = Memory::of(fleet.pid())?;
    fleet.down()?;

    for (neighbour, found) in NEIGHBOURS.iter().zip(&findings) {
        show(neighbour, found, report)?;
    }
    #[expect(clippy::cast_precision_loss, reason = "below 2^52 KiB")]
    let [before, after] = [before, after].map(|memory| memory.pss as f64 / 1024.0);
    report.add("supervisor PSS before all of it", before, Unit::MiB, None)?;
    report.add("supervisor PSS after all of it", after, Unit::MiB, None)
}

fn configuration() -> anyhow::Result<String> {
    let mut text = String::from(
        "[defaults]\n\
         restart = 'on-failure'\n\
         max_restarts = 1000\n\
         backoff = { initial = '100ms', max = '200ms', factor = 2.0, jitter = 0.0 }\n\
         drain_timeout = '200ms'\n\
         stop_grace = '200ms'\n",
    );
    for agent in NEIGHBOURS.iter().filter_map(|neighbour| neighbour.agent) {
        writeln!(
            text,
            "[agents.{agent}]\nmodel = 'echo/echo'\nautostart = false\nlimits = {CAPS}"
        )?;
    }
    Ok(text)
}

struct Bench<'a> {
    home: &'a Home,
    fleet: &'a Fleet<'a>,
    api: Api,
    news: News,
    lasts: Duration,
}

impl Bench<'_> {
    /// The quiet agents' answers with nobody beside them.
    async fn alone(&mut self) -> anyhow::Result<Samples> {
        Load::on(self.fleet, &QUIET).await?.run(self.lasts).await
    }

    /// The quiet agents' answers beside a neighbour, its end, and what is left of it.
    async fn beside(&mut self, neighbour: &Neighbour, found: &mut Findings) -> anyhow::Result<()> {
        let Some(agent) = neighbour.agent else {
            found.beside.push(self.alone().await?);
            return Ok(());
        };
        self.api.act(agent, "start").await?;
        self.news.forget();
        let provoker = Provoker::start(neighbour, self.home.control());
        tokio::time::sleep(SETTLE).await;
        let samples = self.alone().await?;
        found.beside.push(samples);
        found.usage = usage(&mut self.api, agent).await?;
        provoker.stop()?;
        if let Some(gone) = aftermath::of_stop(self.home, &mut self.api, agent).await? {
            found.gone.push(gone);
        }
        found.ends.add(self.news.ends_of(agent));
        tokio::time::sleep(SETTLE).await;
        Ok(())
    }
}

/// What the neighbour was held to, in words.
async fn usage(api: &mut Api, agent: &str) -> anyhow::Result<String> {
    let status = api.get(&format!("/api/v1/agents/{agent}")).await?;
    let figures = [
        "throttled_ms",
        "pids",
        "pids_denied",
        "oom_kills",
        "memory_peak_bytes",
    ];
    let known = figures.iter().filter_map(|name| {
        let value = status["usage"][name].as_u64().filter(|value| *value > 0)?;
        Some(format!("{name} {value}"))
    });
    Ok(known.collect::<Vec<_>>().join(", "))
}

fn show(neighbour: &Neighbour, found: &Findings, report: &mut Report) -> anyhow::Result<()> {
    let name = neighbour.name;
    let all = |rounds: &[Samples]| {
        let mut all = Samples::default();
        for round in rounds {
            all.extend(round.clone());
        }
        all
    };
    let (alone, beside) = (all(&found.alone), all(&found.beside));
    let ratio = |share: f64| {
        let pairs = found.alone.iter().zip(&found.beside);
        let ratios = pairs.map(|(alone, beside)| {
            beside.quantile(share).as_secs_f64() / alone.quantile(share).as_secs_f64()
        });
        median(ratios.collect())
    };
    let goal = neighbour.agent.map(|_| GOAL);
    report.millis(format!("{name}: p50 alone"), alone.p50(), None)?;
    report.millis(format!("{name}: p50 beside it"), beside.p50(), None)?;
    report.add(format!("{name}: p50, ratio"), ratio(0.5), Unit::Ratio, None)?;
    report.millis(format!("{name}: p99 alone"), alone.p99(), None)?;
    report.millis(format!("{name}: p99 beside it"), beside.p99(), None)?;
    report.add(
        format!("{name}: p99, ratio"),
        ratio(0.99),
        Unit::Ratio,
        goal,
    )?;
    if found.gone.len() > 0 {
        report.millis(
            format!("{name}: its memory is back after, slowest"),
            found.gone.max(),
            Some(BACK_MS),
        )?;
    }
    if neighbour.agent.is_some() {
        report.note(&format!("{name}: its ends"), &found.ends.to_string())?;
        report.note(&format!("{name}: held to"), &found.usage)?;
    }
    Ok(())
}
