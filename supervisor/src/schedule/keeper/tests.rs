//! The keeper over a real journal and a real dispatcher, with a clock of the test's.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicI64, Ordering},
};

use kennel_shared::ids::AgentId;
use tempfile::TempDir;
use tokio::{sync::mpsc as queue, task::JoinHandle};

use super::*;
use crate::{
    dispatch::{self, AgentEvent, Limits, Outside},
    journal::{
        Options, Reader,
        entry::{ScheduleMark, State},
        reader::View,
    },
    schedule::{CatchUp, Timetable, planner},
    supervision::driver::Command,
};

const MINUTE: UnixMs = 60_000;

const NONE: [UnixMs; 0] = [];

/// A supervisor's worth: dispatcher, journal, keeper.
struct Bench {
    keeper: Keeper,
    configured: watch::Sender<Configured>,
    dispatcher: dispatch::DispatcherHandle,
    task: JoinHandle<()>,
    /// The driver of the agent; nobody answers.
    _driver: queue::Receiver<Command>,
    clock: Arc<AtomicI64>,
    events: Events,
    home: TempDir,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn agent() -> AgentId {
    "a".parse().unwrap()
}

fn schedule(catch_up: CatchUp) -> Schedule {
    Schedule {
        id: "s".parse().unwrap(),
        enabled: true,
        timetable: Timetable::Every(Duration::from_mins(10)),
        catch_up,
        jitter: Duration::ZERO,
        agent: agent(),
        session: "agent:a:cron:s".parse().unwrap(),
        class: None,
        prompt: "say something".into(),
        tell: None,
    }
}

impl Bench {
    fn new(home: TempDir, now: UnixMs, max_waiting: usize, schedules: Vec<Schedule>) -> Self {
        let options = Options::new(home.path().join("journal.db"));
        let (journal, _) = Journal::open(options).unwrap();
        let reader = Reader::open(journal.path()).unwrap();
        let (dispatcher, mut task) = dispatch::prepare(8, journal.clone(), Outside::default());
        let (commands, driver) = queue::channel(16);
        let limits = Limits {
            max_waiting,
            ..Limits::default()
        };
        task.add(agent(), commands, &limits);
        task.restore(&reader, &std::collections::HashSet::new())
            .unwrap();
        let clock = Arc::new(AtomicI64::new(now));
        let (events, own) = (Events::default(), Arc::clone(&clock));
        let stage = Stage {
            dispatcher: dispatcher.clone(),
            journal,
            events: events.clone(),
            clock: Arc::new(move || own.load(Ordering::Relaxed)),
        };
        let configured = watch::Sender::new(Arc::new(schedules));
        let (mut keeper, _) = Keeper::new(stage, configured.subscribe());
        keeper.take_over();
        Self {
            keeper,
            configured,
            dispatcher,
            task: tokio::spawn(task.run()),
            _driver: driver,
            clock,
            events,
            home,
        }
    }

    fn fresh(schedules: Vec<Schedule>) -> Self {
        Self::new(tempfile::tempdir().unwrap(), 0, 1000, schedules)
    }

    /// The supervisor dies, and another goes on at `now`.
    fn next(self, now: UnixMs, schedules: Vec<Schedule>) -> Self {
        let mut dead = self;
        let home = std::mem::replace(&mut dead.home, tempfile::tempdir().unwrap());
        drop(dead);
        Self::new(home, now, 1000, schedules)
    }

    /// Looks at the clock, which shows this.
    async fn look(&mut self, now: UnixMs) {
        self.clock.store(now, Ordering::Relaxed);
        self.keeper.turn().await;
    }

    /// The due times that were accepted, in order.
    fn ran(&self) -> Vec<UnixMs> {
        let reader = Reader::open(self.keeper.stage.journal.path()).unwrap();
        let all = reader.list(View::All, None, None, 1000).unwrap().entries;
        let due = |listed: &crate::journal::reader::Listed| match reader
            .message(listed.delivery)
            .unwrap()
            .unwrap()
            .origin
        {
            crate::journal::entry::Origin::Schedule { due, .. } => due,
            other => panic!("{other:?}"),
        };
        all.iter().filter_map(due).collect()
    }

    fn told(&self) -> Vec<(&'static str, String)> {
        let (past, _) = self.events.follow(100, |_| true);
        let told = past.into_iter();
        told.map(|event| (event.kind, event.detail.unwrap_or_default()))
            .collect()
    }

    fn mark(&self) -> ScheduleMark {
        let reader = Reader::open(self.keeper.stage.journal.path()).unwrap();
        reader.schedules().unwrap().remove(0).mark
    }
}

#[tokio::test]
async fn each_due_time_is_one_message() {
    let mut bench = Bench::fresh(vec![schedule(CatchUp::Skip)]);
    bench.look(MINUTE).await;
    assert_eq!(bench.ran(), NONE);
    for now in [10 * MINUTE, 10 * MINUTE + 1, 15 * MINUTE, 20 * MINUTE] {
        bench.look(now).await;
    }
    assert_eq!(bench.ran(), [10 * MINUTE, 20 * MINUTE]);
    let mark = bench.mark();
    assert_eq!((mark.runs, mark.missed, mark.through), (2, 0, 20 * MINUTE));
    let reader = Reader::open(bench.keeper.stage.journal.path()).unwrap();
    let last = reader.schedules().unwrap().remove(0);
    assert_eq!(last.state, Some(State::Queued));
    assert_eq!(last.mark.last.unwrap().due, Some(20 * MINUTE));
}

#[tokio::test]
async fn the_next_supervisor_goes_on_by_the_policy() {
    for (catch_up, expected, missed) in [
        (CatchUp::Skip, vec![10], 3),
        (CatchUp::Once, vec![10, 40], 2),
        (CatchUp::All, vec![10, 20, 30, 40], 0),
    ] {
        let mut bench = Bench::fresh(vec![schedule(catch_up)]);
        bench.look(0).await;
        bench.look(10 * MINUTE).await;
        let mut bench = bench.next(45 * MINUTE, vec![schedule(catch_up)]);
        bench.look(45 * MINUTE).await;
        bench.look(46 * MINUTE).await;
        let expected: Vec<UnixMs> = expected.into_iter().map(|due| due * MINUTE).collect();
        assert_eq!(bench.ran(), expected, "{catch_up:?}");
        assert_eq!(bench.mark().missed, missed, "{catch_up:?}");
        let told = bench
            .told()
            .iter()
            .any(|(kind, _)| *kind == "schedule-missed");
        assert_eq!(told, missed > 0);
    }
}

/// Whoever looks first runs it, and a second keeper over the same journal does not.
#[tokio::test]
async fn a_run_that_was_accepted_and_not_noted_is_not_run_again() {
    let mut bench = Bench::fresh(vec![schedule(CatchUp::All)]);
    bench.look(0).await;
    bench.look(10 * MINUTE).await;
    let entry = bench.keeper.entries.values_mut().next().unwrap();
    // As if the supervisor had died before it heard.
    entry.mark.as_mut().unwrap().through = 0;
    bench.look(11 * MINUTE).await;
    assert_eq!(bench.ran(), [10 * MINUTE]);
    assert_eq!(bench.mark().runs, 1);
}

#[tokio::test]
async fn what_is_refused_is_tried_again_until_the_next_due_time() {
    let home = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(home, 0, 1, vec![schedule(CatchUp::Skip)]);
    bench.look(0).await;
    // One runs into the only place.
    bench.look(10 * MINUTE).await;
    bench.look(20 * MINUTE).await;
    let held = bench.keeper.entries.values().next().unwrap().held.clone();
    assert_eq!(held.map(|held| held.due), Some(20 * MINUTE));
    bench.look(29 * MINUTE).await;
    assert_eq!(bench.mark().missed, 0, "it still has its time");
    bench.look(30 * MINUTE).await;
    assert_eq!(bench.mark().missed, 1);
    let (kind, detail) = bench.told().pop().unwrap();
    assert_eq!(kind, "schedule-missed");
    assert!(
        detail.contains("1970-01-01 00:20 UTC") && detail.contains("messages waiting already"),
        "{detail}"
    );
    // Whoever empties the queue has the one that is due run.
    let first = Reader::open(bench.keeper.stage.journal.path()).unwrap();
    let first = first
        .list(View::Open, None, None, 1)
        .unwrap()
        .entries
        .remove(0);
    assert!(bench.dispatcher.cancel(first.delivery).await);
    bench.dispatcher.flushed().await;
    bench.look(31 * MINUTE).await;
    assert_eq!(bench.ran(), [10 * MINUTE, 30 * MINUTE]);
}

#[tokio::test]
async fn an_agent_that_rests_is_waited_for() {
    let mut bench = Bench::fresh(vec![schedule(CatchUp::Skip)]);
    let reports = bench.dispatcher.reports();
    let rests = AgentEvent::Resting("stopped");
    reports.tell(&agent(), Generation(1), rests).await;
    bench.look(0).await;
    bench.look(10 * MINUTE).await;
    assert_eq!(bench.ran(), NONE);
    reports
        .tell(&agent(), Generation(2), AgentEvent::Coming)
        .await;
    bench.look(15 * MINUTE).await;
    assert_eq!(bench.ran(), [10 * MINUTE]);
}

#[tokio::test]
async fn a_pause_outlives_the_supervisor() {
    let mut bench = Bench::fresh(vec![schedule(CatchUp::All)]);
    bench.look(0).await;
    assert!(bench.keeper.pause("s", true).await.unwrap());
    assert!(
        !bench.keeper.pause("s", true).await.unwrap(),
        "it was already"
    );
    bench.look(10 * MINUTE).await;
    let mut bench = bench.next(25 * MINUTE, vec![schedule(CatchUp::All)]);
    bench.look(25 * MINUTE).await;
    assert_eq!(bench.ran(), NONE);
    assert_eq!(bench.keeper.observed.borrow()["s"].next, None);
    // Asked for, it runs all the same.
    bench.keeper.run_now("s").await.unwrap();
    assert_eq!(bench.mark().runs, 1);
    assert!(bench.keeper.pause("s", false).await.unwrap());
    bench.look(29 * MINUTE).await;
    assert_eq!(
        bench.ran(),
        NONE,
        "what was due in the pause is not caught up with"
    );
    bench.look(30 * MINUTE).await;
    assert_eq!(bench.ran(), [30 * MINUTE]);
    assert_eq!(bench.mark().missed, 0);
    assert!(matches!(
        bench.keeper.pause("nobody", true).await,
        Err(NotDone::Unknown)
    ));
}

#[tokio::test]
async fn another_timetable_begins_anew() {
    let mut bench = Bench::fresh(vec![schedule(CatchUp::All)]);
    bench.look(0).await;
    bench.look(10 * MINUTE).await;
    let off = Schedule {
        enabled: false,
        ..schedule(CatchUp::All)
    };
    let mut bench = bench.next(15 * MINUTE, vec![off]);
    bench.look(25 * MINUTE).await;
    // Enabled live, with other times.
    let other = Schedule {
        timetable: Timetable::Every(Duration::from_mins(4)),
        ..schedule(CatchUp::All)
    };
    bench.clock.store(41 * MINUTE, Ordering::Relaxed);
    bench.configured.send_replace(Arc::new(vec![other]));
    bench.keeper.take_over();
    bench.look(41 * MINUTE).await;
    bench.look(44 * MINUTE).await;
    assert_eq!(bench.ran(), [10 * MINUTE, 44 * MINUTE]);
    // One that is gone is forgotten.
    bench.configured.send_replace(Arc::default());
    bench.keeper.take_over();
    bench.look(45 * MINUTE).await;
    let reader = Reader::open(bench.keeper.stage.journal.path()).unwrap();
    assert!(reader.schedules().unwrap().is_empty());
}

#[tokio::test]
async fn a_clock_that_was_set_back_far_is_believed_and_runs_nothing_twice() {
    let mut bench = Bench::fresh(vec![schedule(CatchUp::All)]);
    let far = 10_000 * MINUTE;
    bench.look(far - MINUTE).await;
    bench.look(far).await;
    bench.look(5 * MINUTE).await;
    assert_eq!(bench.told().pop().unwrap().0, "schedule-set-back");
    bench.look(10 * MINUTE).await;
    assert_eq!(bench.ran(), [far, 10 * MINUTE]);
    // The time that was shown before comes again.
    bench.look(far).await;
    let ran: HashMap<UnixMs, usize> =
        bench
            .ran()
            .into_iter()
            .fold(HashMap::new(), |mut ran, due| {
                *ran.entry(due).or_default() += 1;
                ran
            });
    assert!(ran.values().all(|times| *times == 1));
    assert_eq!(ran.len(), 2 + planner::MOST - 1);
}
