//! Agents that always have more to do: callers who ask for the next turn as soon as one has ended.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use kennel::dispatch::lanes::INTERACTIVE;
use tokio::task::JoinHandle;

use super::{LONGEST, Member, TURNS, account::Waited};
use crate::{
    bench::{api::Api, fleet::Fleet},
    lanes_sim::heavy_tailed,
};

/// Callers of each agent, with a session each: twice as many as it may run turns, so that there are always some that wait.
const CALLERS: usize = 2 * TURNS;

/// A turn that has ended, as its caller saw it.
#[derive(Debug)]
struct Turn {
    agent: String,
    delivery: String,
    /// How long the model was to take.
    takes: Duration,
    ended: Instant,
}

/// What was done in a round.
#[derive(Debug)]
pub(super) struct Work {
    turns: Vec<Turn>,
    begins: Instant,
    ends: Instant,
    longest: Duration,
}

/// All callers, until they are told to stop.
pub(super) struct Worker {
    stop: Arc<AtomicBool>,
    callers: Vec<JoinHandle<anyhow::Result<Vec<Turn>>>>,
}

impl Worker {
    /// Those of all agents but people's.
    pub(super) async fn start_all(
        fleet: &Fleet<'_>,
        members: &[Member],
        seed: u64,
    ) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut callers = Vec::new();
        for member in members.iter().filter(|member| member.class != INTERACTIVE) {
            for _ in 0..CALLERS {
                let number = callers.len() as u64;
                let api = fleet.unix().await?;
                let chance = fastrand::Rng::with_seed((seed << 40) + number);
                let caller = keep_asking(api, member.clone(), number, chance, Arc::clone(&stop));
                callers.push(tokio::spawn(caller));
            }
        }
        Ok(Self { stop, callers })
    }

    /// Waits for the last answers. What counts is a round that began then and lasted so long.
    pub(super) async fn end(self, begins: Instant, lasts: Duration) -> anyhow::Result<Work> {
        self.stop.store(true, Ordering::Relaxed);
        let mut turns = Vec::new();
        for caller in self.callers {
            turns.extend(caller.await??);
        }
        Ok(Work {
            turns,
            begins,
            ends: begins + lasts,
            longest: Duration::ZERO,
        })
    }
}

async fn keep_asking(
    mut api: Api,
    member: Member,
    caller: u64,
    mut chance: fastrand::Rng,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<Vec<Turn>> {
    let mut turns = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let takes = heavy_tailed(&mut chance, member.shortest, LONGEST);
        let text = format!("!sleep {} Done.", takes.as_millis());
        let session = format!("work-{caller}");
        let reply = api.tell_in(&member.id, &session, &text).await?;
        let delivery = reply["turn_id"].as_str().context("a turn has an id")?;
        turns.push(Turn {
            agent: member.id.clone(),
            delivery: delivery.to_owned(),
            takes,
            ended: Instant::now(),
        });
    }
    Ok(turns)
}

impl Work {
    /// Those of the round.
    fn within(&self) -> impl Iterator<Item = &Turn> {
        let turns = self.turns.iter();
        turns.filter(|turn| turn.ended >= self.begins && turn.ended < self.ends)
    }

    #[expect(clippy::cast_precision_loss, reason = "a count of turns")]
    pub(super) fn turns(&self) -> f64 {
        self.within().count() as f64
    }

    /// For how long this agent had slots in the round, in seconds, as far as its callers can know: for as long as the
    /// model took, up to the answer.
    pub(super) fn slot_time(&self, agent: &str) -> f64 {
        let own = self.turns.iter().filter(|turn| turn.agent == agent);
        let held = own.map(|turn| {
            let began = turn.ended.checked_sub(turn.takes).unwrap_or(turn.ended);
            let (from, to) = (began.max(self.begins), turn.ended.min(self.ends));
            to.saturating_duration_since(from).as_secs_f64()
        });
        held.sum()
    }

    /// Reads the accounts of the turns.
    pub(super) async fn look_up(&mut self, fleet: &Fleet<'_>) -> anyhow::Result<()> {
        let mut api = fleet.unix().await?;
        let mut longest = Duration::ZERO;
        for turn in self.within() {
            let waited = Waited::of(&mut api, &turn.delivery).await?;
            longest = longest.max(waited.others);
        }
        self.longest = longest;
        Ok(())
    }

    /// The longest that a turn waited for its class or the fleet, and so for others.
    pub(super) fn longest(&self) -> Duration {
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_time_is_what_lies_in_the_round() {
        let begins = Instant::now();
        let at = |ms| begins + Duration::from_millis(ms);
        let turn = |agent: &str, takes, ended| Turn {
            agent: agent.into(),
            delivery: String::new(),
            takes: Duration::from_millis(takes),
            ended: at(ended),
        };
        let work = Work {
            turns: vec![
                turn("a", 1000, 400),
                turn("a", 100, 600),
                turn("b", 100, 700),
                turn("a", 500, 1200),
                turn("a", 100, 1300),
            ],
            begins,
            ends: at(1000),
            longest: Duration::ZERO,
        };
        assert!((work.slot_time("a") - 0.8).abs() < 1e-9);
        assert!((work.slot_time("b") - 0.1).abs() < 1e-9);
        assert!((work.turns() - 3.0).abs() < 1e-9);
    }
}
