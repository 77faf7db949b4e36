//! Chaos: a fleet under steady load whose supervisor and agents are killed, stopped and restarted at random,
//! round after round, and then asked what became of every message. The program is `kennel-chaos`; `scripts/chaos`
//! builds it and runs it.
//!
//! ```text
//! load: three Telegram bots, each with another queue mode, callers with Idempotency-Key ──► kennel ──► three agents (echo, with a tool)
//! fate: per round one of {supervisor, agent, both} × {KILL, STOP, restart, upgrade, death at a point of the journal}
//! judge: platforms' side × agents' stores × journal, when all has come to rest
//! ```
//!
//! Everything random comes from one seed, which is printed: the same seed makes the same choices (not the same
//! interleaving, which is the machine's). What must hold is in [`judge`].

mod fate;
mod judge;
mod load;
mod mode;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use self::{
    fate::Fate,
    judge::Verdict,
    load::{BOTS, Load},
    mode::Mode,
};
use crate::{
    fake_telegram::FakeTelegram,
    harness::{Builder, Kennel, patience},
};

/// The agents of the fleet.
pub(crate) const AGENTS: [&str; 3] = ["one", "two", "three"];

/// How long everything may take to come to rest when nothing is hurt any more.
const REST: Duration = Duration::from_mins(2);

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How often something is hurt.
    pub rounds: u32,
    /// Of all that is random.
    pub seed: u64,
}

impl Options {
    /// `[--rounds N] [--seed N]`.
    pub fn parse(mut words: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self {
            rounds: 50,
            seed: fastrand::u64(..),
        };
        while let Some(word) = words.next() {
            let value = words
                .next()
                .with_context(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--rounds" => options.rounds = value.parse().context("--rounds takes a number")?,
                "--seed" => options.seed = value.parse().context("--seed takes a number")?,
                _ => bail!("unknown option {word}; there are --rounds and --seed"),
            }
        }
        Ok(options)
    }
}

/// Runs, prints what it did and found, and fails when a promise was broken.
#[expect(clippy::print_stdout, reason = "it is the output of a program")]
pub async fn run(options: Options) -> anyhow::Result<()> {
    let Options { rounds, seed } = options;
    println!("chaos: {rounds} rounds, seed {seed}");
    let began = Instant::now();
    let telegram = Arc::new(FakeTelegram::start().await?);
    for bot in &BOTS {
        bot.join(&telegram);
    }
    let modes = Mode::deal(seed, BOTS.len());
    println!("queues: {modes:?}");
    let mut kennel = fleet(&telegram, &modes).start().await;
    let load = Load::start(&telegram, &kennel.client(), seed, &modes);
    let mut fate = Fate::new(seed);
    for round in 1..=rounds {
        fate.round(&mut kennel, &load).await?;
        if round % 100 == 0 {
            println!("  {round} rounds, {} messages said", load.said());
        }
    }
    fate.heal(&mut kennel).await?;
    let heard = load.rest(REST).await;
    let doomed = kennel.root().to_owned();
    kennel.signal(nix::sys::signal::Signal::SIGTERM);
    let ended = kennel.until_down().await;
    let verdict = Verdict::of(&telegram, &heard, &doomed)?;
    println!("{fate}");
    println!("{verdict}");
    println!("took {:.0?}", began.elapsed());
    let mut broken = verdict.broken();
    if !ended.success() {
        broken.push(format!("the supervisor ended with {ended}"));
    }
    let left = crate::harness::Process::within(&doomed);
    if !left.is_empty() {
        broken.push(format!("processes are left: {left:?}"));
    }
    if broken.is_empty() {
        return Ok(());
    }
    let kept = kennel.keep();
    bail!(
        "seed {seed}: {}\nall files are kept in {}",
        broken.join("\n"),
        kept.display()
    );
}

fn fleet(telegram: &FakeTelegram, modes: &[Mode]) -> Builder {
    let mut builder = Kennel::builder()
        .supervisor(&[("orphan_grace", "'20s'"), ("stop_grace", "'20s'")])
        .defaults(&[
            ("max_concurrent", "2"),
            ("max_queued", "10000"),
            // Whoever is killed at random is not to blame.
            ("poison_after", "100"),
            ("max_restarts", "10000"),
            ("window", "'1h'"),
            (
                "backoff",
                "{ initial = '10ms', max = '20ms', factor = 1.5, jitter = 0.0 }",
            ),
            ("tools", "['exec']"),
        ])
        .agents(&AGENTS);
    for ((bot, agent), mode) in BOTS.iter().zip(AGENTS).zip(modes) {
        builder = builder
            .telegram(bot.channel, &telegram.url(), bot.token, agent)
            .channel(bot.channel, &[("queue", mode.queue())]);
    }
    builder
}

/// Waits for `done`, within what a slow machine may take.
async fn until(what: &str, mut done: impl FnMut() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + patience();
    while !done() {
        if Instant::now() > deadline {
            bail!("{what} took longer than {:?}", patience());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}
