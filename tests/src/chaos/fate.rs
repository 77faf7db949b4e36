//! What is done to whom.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use anyhow::ensure;
use nix::sys::signal::Signal;
use tokio::time::sleep;

use super::{AGENTS, load::Load, until};
use crate::harness::{Kennel, Process, program};

/// The longest that somebody is stopped: less than the watchdog takes for a hang, mostly.
const STOPPED_MS: u64 = 400;

/// The longest quiet between two rounds.
const QUIET_MS: u64 = 250;

/// Where a supervisor may die within its journal.
const POINTS: [&str; 5] = ["begin", "row", "commit", "committed", "told"];

/// Passes of a point before the one that kills.
const PASSES: u64 = 60;

/// How long a supervisor with a point may live: it dies of it, or is killed.
const DOOMED: Duration = Duration::from_secs(1);

/// Everything that was done, and what came of it.
pub(super) struct Fate {
    rng: fastrand::Rng,
    done: BTreeMap<&'static str, u32>,
    /// From the start of a supervisor to the first answer after it.
    next_answer: Vec<Duration>,
}

impl Fate {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            done: BTreeMap::new(),
            next_answer: Vec::new(),
        }
    }

    fn note(&mut self, what: &'static str) {
        *self.done.entry(what).or_default() += 1;
    }

    async fn pause(&mut self, most: u64) {
        sleep(Duration::from_millis(self.rng.u64(..most))).await;
    }

    /// Hurts somebody, and has the supervisor run again.
    pub(super) async fn round(&mut self, kennel: &mut Kennel, load: &Load) -> anyhow::Result<()> {
        self.pause(QUIET_MS).await;
        match self.rng.u8(..11) {
            0 | 1 => {
                self.note("supervisor killed");
                kennel.signal(Signal::SIGKILL);
                self.again(kennel, load).await
            }
            2 | 3 if self.rng.u8(..4) == 0 => self.finds_a_full_disk(kennel, load).await,
            2 | 3 => self.dies_in_its_journal(kennel, load).await,
            4 => {
                self.note("supervisor stopped for a while");
                kennel.signal(Signal::SIGSTOP);
                self.pause(STOPPED_MS).await;
                kennel.signal(Signal::SIGCONT);
                Ok(())
            }
            5 => {
                self.note("supervisor restarted");
                kennel.signal(Signal::SIGTERM);
                self.again(kennel, load).await
            }
            6 => {
                self.note("agent killed");
                self.signal_agent(kennel, Signal::SIGKILL);
                Ok(())
            }
            7 => {
                self.note("agent stopped for a while");
                let agent = self.signal_agent(kennel, Signal::SIGSTOP);
                self.pause(STOPPED_MS).await;
                if let Some(agent) = agent {
                    agent.signal(Signal::SIGCONT);
                }
                Ok(())
            }
            8 => {
                self.note("agent restarted");
                let agent = AGENTS[self.rng.usize(..AGENTS.len())];
                // It answers when the agent is up again, which is not waited for.
                let client = kennel.client();
                tokio::spawn(async move {
                    let path = format!("/api/v1/agents/{agent}/restart");
                    let _ = client.post(&path, &serde_json::json!({})).await;
                });
                Ok(())
            }
            9 => self.upgrade(kennel, load).await,
            _ => {
                self.note("both killed");
                self.signal_agent(kennel, Signal::SIGKILL);
                self.pause(20).await;
                kennel.signal(Signal::SIGKILL);
                self.again(kennel, load).await
            }
        }
    }

    /// The same program takes over, or one that does not come up and goes back.
    async fn upgrade(&mut self, kennel: &Kennel, load: &Load) -> anyhow::Result<()> {
        let good = self.rng.bool();
        let next = if good {
            self.note("supervisor upgraded");
            program("kennel")
        } else {
            self.note("supervisor upgraded to a program that goes back");
            kennel.deceiver("[nonsense]")
        };
        let began = Instant::now();
        let body = serde_json::json!({ "program": next });
        // The one before may still be at it, and let go of whoever asks.
        if let Ok(answer) = kennel.client().post("/api/v1/upgrade", &body).await {
            let fits = matches!(answer.status, 200 | 503);
            ensure!(fits, "an upgrade is refused: {}", answer.body);
        }
        until("an answer after an upgrade", || {
            load.heard().is_some_and(|heard| heard > began)
        })
        .await
    }

    /// The process of any agent, found from outside: the supervisor may not be there to ask.
    fn signal_agent(&mut self, kennel: &Kennel, signal: Signal) -> Option<Process> {
        let mut agents = kennel.processes();
        agents.retain(|process| process.command().contains("kennel-agent"));
        let agent = self.rng.choice(agents)?;
        agent.signal(signal);
        Some(agent)
    }

    async fn dies_in_its_journal(
        &mut self,
        kennel: &mut Kennel,
        load: &Load,
    ) -> anyhow::Result<()> {
        self.note("supervisor killed at a point of its journal");
        kennel.signal(Signal::SIGKILL);
        kennel.until_down().await;
        let point = POINTS[self.rng.usize(..POINTS.len())];
        let pass = self.rng.u64(1..=PASSES);
        let points = format!("{point}=kill@{pass}");
        kennel.launch_with(&[("KENNEL_FAILPOINTS", &points)]);
        let deadline = Instant::now() + DOOMED;
        while kennel.is_running() {
            if Instant::now() > deadline {
                kennel.signal(Signal::SIGKILL);
                break;
            }
            sleep(Duration::from_millis(5)).await;
        }
        self.again(kennel, load).await
    }

    /// For a while nothing can be written down; then it goes on by itself.
    async fn finds_a_full_disk(&mut self, kennel: &mut Kennel, load: &Load) -> anyhow::Result<()> {
        self.note("supervisor killed, the next finds its disk full for a while");
        kennel.signal(Signal::SIGKILL);
        kennel.until_down().await;
        let action = if self.rng.bool() { "full" } else { "io" };
        let (pass, times) = (self.rng.u64(1..=PASSES), self.rng.u64(1..=3));
        let points = format!("commit={action}@{pass}x{times}");
        let began = Instant::now();
        kennel.launch_with(&[("KENNEL_FAILPOINTS", &points)]);
        until("an answer after the disk was full", || {
            load.heard().is_some_and(|heard| heard > began)
        })
        .await?;
        Ok(())
    }

    /// Waits for the end of the supervisor, and starts another.
    async fn again(&mut self, kennel: &mut Kennel, load: &Load) -> anyhow::Result<()> {
        kennel.until_down().await;
        self.pause(50).await;
        let began = Instant::now();
        kennel.start_again().await;
        until("an answer after a start", || {
            load.heard().is_some_and(|heard| heard > began)
        })
        .await?;
        self.next_answer.push(began.elapsed());
        Ok(())
    }

    /// Everybody runs, and nobody is stopped.
    pub(super) async fn heal(&mut self, kennel: &mut Kennel) -> anyhow::Result<()> {
        for process in kennel.processes() {
            process.signal(Signal::SIGCONT);
        }
        if !kennel.is_running() {
            kennel.start_again().await;
        }
        kennel.until_ready().await;
        Ok(())
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.done {
            writeln!(f, "  {count:>5} × {what}")?;
        }
        let mut times = self.next_answer.clone();
        times.sort_unstable();
        let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len() - 1));
        if let (Some(half), Some(most), Some(worst)) = (at(50), at(99), times.last()) {
            write!(
                f,
                "next answer after a start of the supervisor: p50 {half:.0?}, p99 {most:.0?}, longest {worst:.0?}"
            )?;
        }
        Ok(())
    }
}
