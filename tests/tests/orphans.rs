//! Lives by the hundred, ended in every way there is, each of which left processes that do
//! everything to survive it: nothing is left.
//!
//! The order is random. The test prints its seed; `KENNEL_TEST_SEED` replays it, as far as the
//! machine's own timing allows, and `KENNEL_TEST_RUNS` asks for more or fewer runs.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use fastrand::Rng;
use futures::future::join_all;
use kennel_tests::{
    harness::{Kennel, Process, eventually, groups_below, groups_of},
    misbehave::{NOW, ORPHANS},
};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::time::Instant;

const MISBEHAVING: &str = env!("CARGO_BIN_EXE_misbehaving-agent");

/// Each pair is one worker's own; the workers run at the same time.
const PAIRS: [[&str; 2]; 4] = [
    ["bad-orphan-1", "bad-orphan-early-2"],
    ["bad-orphan-3", "bad-doublefork-4"],
    ["bad-orphan-5", "bad-orphan-early-6"],
    ["bad-orphan-7", "bad-orphan-8"],
];

/// How long a process may take to go that was killed.
const PROMPTLY: Duration = Duration::from_secs(1);

/// How often to look whether it has.
const LOOK: Duration = Duration::from_millis(2);

/// What a run does to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Run {
    /// Starts it; it may run already.
    Start,
    Stop,
    Restart,
    /// Asks for a restart and kills the process somewhere in it.
    Overlap,
    Kill,
    Crash,
}

const RUNS: [Run; 6] = [
    Run::Start,
    Run::Stop,
    Run::Restart,
    Run::Overlap,
    Run::Kill,
    Run::Crash,
];

/// One worker: its agents, its dice, and what it did.
struct Worker<'a> {
    kennel: &'a Kennel,
    ids: [&'static str; 2],
    dice: Rng,
    done: BTreeMap<Run, usize>,
}

impl Worker<'_> {
    async fn work(mut self, runs: usize) -> BTreeMap<Run, usize> {
        for _ in 0..runs {
            let id = self.ids[self.dice.usize(..self.ids.len())];
            let run = RUNS[self.dice.usize(..RUNS.len())];
            self.carry_out(id, run).await;
            *self.done.entry(run).or_default() += 1;
        }
        self.done
    }

    async fn carry_out(&mut self, id: &str, run: Run) {
        if run == Run::Start {
            self.order(id, "start").await;
            return;
        }
        let generation = self.ready(id).await;
        for _ in 0..=self.dice.usize(..2) {
            assert_eq!(self.kennel.send(id, NOW).await.reply(), NOW);
        }
        let before = Process::within(&directory(self.kennel, id));
        match run {
            Run::Start => {}
            Run::Stop => {
                self.order(id, "stop").await;
                assert_eq!(self.kennel.agent(id).await.pid, None);
            }
            Run::Restart => self.order(id, "restart").await,
            Run::Overlap => {
                let path = format!("/api/v1/agents/{id}/restart");
                let client = self.kennel.client();
                let asked = client.post(&path, &json!({ "wait": false })).await;
                asked.expect("the supervisor answers");
                tokio::time::sleep(Duration::from_millis(self.dice.u64(..25))).await;
                self.signal(id, Signal::SIGKILL).await;
            }
            Run::Kill => self.signal(id, Signal::SIGKILL).await,
            Run::Crash => self.signal(id, Signal::SIGABRT).await,
        }
        if run != Run::Stop {
            self.kennel.until_reborn(id, generation).await;
        }
        // The next life is ready: the one before has ended, and so has all that it started.
        let deadline = Instant::now() + PROMPTLY;
        for process in &before {
            while !process.has_ended() {
                assert!(Instant::now() < deadline, "{run:?} {id} leaves {process:?}");
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Has the agent run, and gives its generation.
    async fn ready(&self, id: &str) -> u64 {
        if self.kennel.agent(id).await.desired == "stopped" {
            self.order(id, "start").await;
        }
        self.kennel.until_state(id, "ready").await.generation
    }

    async fn order(&self, id: &str, order: &str) {
        let outcome = self.kennel.order(id, order).await.body;
        let outcome = &outcome["outcome"];
        assert!(
            outcome == "done" || outcome == "already",
            "{order} {id}: {outcome}"
        );
    }

    /// Signals the process of the agent, if it has one just now.
    async fn signal(&self, id: &str, signal: Signal) {
        let pid = self.kennel.agent(id).await.pid;
        if let Some(process) = pid.and_then(Process::of) {
            process.signal(signal);
        }
    }
}

fn directory(kennel: &Kennel, id: &str) -> PathBuf {
    kennel.root().join("state/agents").join(id)
}

fn ids() -> Vec<&'static str> {
    PAIRS.concat()
}

/// How many orphans there ever were.
fn orphans(kennel: &Kennel) -> usize {
    let count = |id: &str| {
        let list = fs::read_to_string(directory(kennel, id).join(ORPHANS));
        list.map_or(0, |list| list.lines().count())
    };
    ids().into_iter().map(count).sum()
}

async fn stop_all(kennel: &Kennel) {
    for stopped in join_all(ids().iter().map(|id| kennel.order(id, "stop"))).await {
        let outcome = &stopped.body["outcome"];
        assert!(
            outcome == "done" || outcome == "already",
            "{}",
            stopped.body
        );
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

#[tokio::test]
async fn two_hundred_ends_leave_nothing() {
    let seed = number("KENNEL_TEST_SEED").unwrap_or_else(|| fastrand::u64(..));
    let runs = usize::try_from(number("KENNEL_TEST_RUNS").unwrap_or(200)).expect("a few");
    println!("KENNEL_TEST_SEED={seed}");
    let kennel = Kennel::builder()
        .agents(&ids())
        .defaults(&[
            (
                "backoff",
                "{ initial = '10ms', max = '20ms', factor = 2.0, jitter = 0.0 }",
            ),
            ("max_restarts", "1000"),
            ("restart", "'on-failure'"),
            ("drain_timeout", "'1s'"),
        ])
        .misbehaving(MISBEHAVING)
        .spawn()
        .await;
    for id in ids() {
        kennel.until_state(id, "ready").await;
    }
    let groups = Groups::of(&kennel).await;
    println!("groups: {:?}", groups.0);
    stop_all(&kennel).await;
    let descriptors = kennel.descriptors();
    let began = Instant::now();

    let mut dice = Rng::with_seed(seed);
    let workers = PAIRS.map(|ids| Worker {
        kennel: &kennel,
        ids,
        dice: dice.fork(),
        done: BTreeMap::new(),
    });
    let share = runs.div_ceil(workers.len());
    let done = join_all(workers.map(|worker| worker.work(share))).await;
    let took = began.elapsed();
    let left = kennel.processes().len();
    stop_all(&kennel).await;

    let mut tally = BTreeMap::new();
    for (run, count) in done.into_iter().flatten() {
        *tally.entry(run).or_insert(0) += count;
    }
    let orphans = orphans(&kennel);
    println!("{tally:?} in {took:.1?}; {orphans} orphans; {left} processes before the last stop");
    assert!(2 * orphans >= runs, "most lives leave some: {orphans}");

    let processes = kennel.processes();
    assert!(processes.is_empty(), "{processes:?}");
    groups.assert_empty();
    kennel.assert_no_leak(descriptors).await;
    kennel.shut_down().await;
    groups.assert_gone().await;
    println!(
        "left: 0 processes, 0 descriptors, 0 sockets, 0 groups of {}",
        groups.0.len()
    );
}

/// The directories of the fleet's and the supervisor's groups; none where there are no groups.
struct Groups(Vec<PathBuf>);

impl Groups {
    async fn of(kennel: &Kennel) -> Self {
        let mut found = groups_of(kennel.pid());
        for id in ids() {
            let agent = groups_of(kennel.agent_pid(id).await);
            // What holds the groups of the agents.
            found.extend(
                agent
                    .iter()
                    .filter_map(|group| group.parent())
                    .map(Into::into),
            );
        }
        found.sort();
        found.dedup();
        Self(found)
    }

    /// No agent's group is left.
    fn assert_empty(&self) {
        let left: Vec<PathBuf> = self
            .0
            .iter()
            .flat_map(|group| groups_below(group))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }

    async fn assert_gone(&self) {
        eventually("no group is left", || async {
            self.0.iter().all(|group| !group.exists()).then_some(())
        })
        .await;
    }
}
