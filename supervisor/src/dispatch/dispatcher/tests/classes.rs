//! Classes of agents, live: what may run beside what, and what is told of it.

use super::*;
use crate::{
    dispatch::lanes::{BATCH, Most},
    journal::entry::Origin,
    schedule::ScheduleId,
};

async fn ask_in(bench: &Bench, id: &str, session: &str) -> TurnStream {
    let session = SessionKey::new(&agent(id), session).unwrap();
    let sender = Sender {
        id: "1".into(),
        name: None,
    };
    let asked = bench.handle.ask(session, sender, "x".into(), None).await;
    asked.unwrap()
}

/// Where nothing is on its way to a driver any more.
async fn at_rest(bench: &Bench) -> HashMap<AgentId, AgentCounts> {
    bench.handle.flushed().await;
    bench.handle.counts().await
}

#[tokio::test]
async fn batch_leaves_a_turn_to_others_and_a_reload_changes_that() {
    let mut bench = Bench::new(10).await;
    let shares = |max| {
        let batch = Shares {
            max,
            ..Shares::default()
        };
        Change::Classes(BTreeMap::from([(BATCH.to_owned(), batch)]))
    };
    bench.handle.change(Change::LimitFleet(2)).await;
    bench.handle.change(shares(Most::AllButOne)).await;
    let limits = Limits {
        class: BATCH.into(),
        max_concurrent: 4,
        ..limits(10)
    };
    let change = Change::Limit {
        agent: agent("b"),
        limits,
    };
    bench.handle.change(change).await;
    let _streams = [
        ask_in(&bench, "b", "one").await,
        ask_in(&bench, "b", "two").await,
    ];
    let first = bench.delivery("b").await;
    let counts = at_rest(&bench).await;
    assert_eq!((counts["b"].running, counts["b"].waiting), (1, 1));
    // The turn that is left is there for who is no batch.
    let _asked = ask_in(&bench, "a", "one").await;
    let other = bench.delivery("a").await;
    bench.reply("a", other.delivery, "done").await;
    bench.handle.change(shares(Most::Share(1.0))).await;
    let second = bench.delivery("b").await;
    assert_ne!(first.session, second.session);

    let usage = bench.handle.usage().await.unwrap();
    let batch = usage.classes.iter().find(|class| *class.class == *BATCH);
    let batch = batch.unwrap();
    assert_eq!((usage.slots, batch.running, batch.max_slots), (2, 2, 2));
    let known: HashSet<&str> = usage.agents.iter().map(|a| a.agent.as_str()).collect();
    assert_eq!(known, HashSet::from(["a", "b"]));
}

fn night() -> ScheduleId {
    ScheduleId::new("night").unwrap()
}

/// A run of `night` in a session of `a`.
async fn run(bench: &Bench, session: &str) -> DeliveryId {
    try_run(bench, session).await.unwrap().delivery
}

async fn try_run(bench: &Bench, session: &str) -> Result<Accepted, Rejected> {
    let submission = Submission {
        delivery: DeliveryId::new(),
        origin: Origin::Schedule {
            schedule: night(),
            due: None,
        },
        session: SessionKey::new(&agent("a"), session).unwrap(),
        sender: Sender {
            id: "schedule:night".into(),
            name: None,
        },
        text: "x".into(),
        reply_to: None,
        queueing: None,
        sink: Box::new(Nobody),
    };
    bench.handle.submit(submission).await
}

/// Four turns, of which `batch` has one, which is the class of `night`; `a` may have all four.
async fn one_of_four(bench: &Bench) {
    let one = Shares {
        max: Most::Share(0.25),
        ..Shares::default()
    };
    let limits = Limits {
        max_concurrent: 4,
        ..limits(20)
    };
    let agent = agent("a");
    for change in [
        Change::LimitFleet(4),
        Change::Classes(BTreeMap::from([(BATCH.to_owned(), one)])),
        Change::Schedules([(night(), BATCH.to_owned())].into_iter().collect()),
        Change::Limit { agent, limits },
    ] {
        bench.handle.change(change).await;
    }
}

/// The class in which a turn was, as its account says.
fn class_of(bench: &Bench, delivery: DeliveryId) -> String {
    let turns = bench.read().turns(None, None, 10).unwrap();
    let mut turns = turns.into_iter().map(|(turn, _)| turn);
    let turn = turns.find(|turn| turn.delivery == delivery);
    turn.unwrap().class.unwrap()
}

async fn counted(bench: &Bench) -> (usize, usize) {
    let counts = at_rest(bench).await;
    (counts["a"].running, counts["a"].waiting)
}

#[tokio::test]
async fn a_run_of_a_schedule_has_the_class_of_that_and_its_agent_s_without_it() {
    let mut bench = Bench::new(20).await;
    one_of_four(&bench).await;
    let first = run(&bench, "one").await;
    run(&bench, "two").await;
    assert_eq!(bench.delivery("a").await.delivery, first);
    assert_eq!(counted(&bench).await, (1, 1));
    // The class of its agent has slots.
    let _asked = ask_in(&bench, "a", "chat").await;
    let asked = bench.delivery("a").await;
    assert_eq!(asked.session.rest(), "chat");
    assert_eq!(counted(&bench).await, (2, 1));
    bench.reply("a", asked.delivery, "done").await;
    bench.handle.flushed().await;
    let usage = bench.handle.usage().await.unwrap();
    let of_a = usage.agents.iter().filter(|one| one.agent.as_str() == "a");
    let classes: BTreeMap<&str, bool> = of_a.map(|one| (&*one.class, one.is_own)).collect();
    assert_eq!(
        classes,
        BTreeMap::from([(BATCH, false), (INTERACTIVE, true)])
    );
    assert_eq!(class_of(&bench, asked.delivery), INTERACTIVE);

    // What waits is of another class as soon as the configuration says so, what runs takes its slot along.
    let none = || Change::Schedules(std::iter::empty().collect());
    bench.handle.change(none()).await;
    let second = bench.delivery("a").await;
    assert_eq!(second.session.rest(), "two");
    bench.reply("a", first, "done").await;
    bench.reply("a", second.delivery, "done").await;
    bench.handle.flushed().await;
    assert_eq!(class_of(&bench, first), BATCH);
    assert_eq!(class_of(&bench, second.delivery), INTERACTIVE);
}

#[tokio::test]
async fn a_run_keeps_its_class_over_deaths_of_its_agent_and_of_the_supervisor() {
    let mut bench = Bench::new(20).await;
    bench.report("a", AgentEvent::Closed).await;
    // More than are in memory, which no schedule with a class of its own may leave there: they had none when they came.
    let mut runs = Vec::new();
    for session in 0..2 * WINDOW {
        runs.push(run(&bench, &session.to_string()).await);
    }
    one_of_four(&bench).await;
    bench.up(1).await;
    assert_eq!(bench.delivery("a").await.delivery, runs[0]);
    bench.down(1, false).await;
    bench.up(2).await;
    assert_eq!(bench.delivery("a").await.delivery, runs[0]);
    assert_eq!(counted(&bench).await, (1, runs.len() - 1));
    let mut bench = bench.next(&[]).await;
    one_of_four(&bench).await;
    bench.up(3).await;
    for (index, run) in runs.iter().enumerate() {
        assert_eq!(bench.delivery("a").await.delivery, *run);
        assert_eq!(counted(&bench).await, (1, runs.len() - 1 - index));
        bench.reply("a", *run, "done").await;
    }
    // One that is tried again is a run of the same schedule.
    let failed = run(&bench, "failed").await;
    bench.delivery("a").await;
    bench.handle.cancel(failed).await;
    bench.command("a").await;
    let outcome = TurnOutcome::Cancelled;
    let finished = AgentEvent::Finished {
        delivery: failed,
        outcome,
        spent: Spent::default(),
        told: Box::default(),
    };
    bench.report("a", finished).await;
    bench.handle.flushed().await;
    let other = run(&bench, "other").await;
    assert_eq!(bench.delivery("a").await.delivery, other);
    let session = SessionKey::new(&agent("a"), "failed").unwrap();
    let again = bench.handle.operate(Operation::Retry, failed, session);
    let again = again.await.unwrap();
    assert_eq!(counted(&bench).await, (1, 1));
    bench.reply("a", other, "done").await;
    assert_eq!(bench.delivery("a").await.delivery, again);
}

#[tokio::test]
async fn runs_that_wait_for_their_class_leave_room_for_people() {
    let mut bench = Bench::new(20).await;
    one_of_four(&bench).await;
    run(&bench, "runs").await;
    bench.delivery("a").await;
    // Half of what is kept in memory.
    for n in 0..WINDOW / 2 {
        run(&bench, &n.to_string()).await;
    }
    let refused = try_run(&bench, "more").await;
    assert_eq!(
        refused,
        Err(Rejected::QueueFull {
            agent: "a".into(),
            max: WINDOW / 2
        })
    );
    let _asked = ask_in(&bench, "a", "chat").await;
    assert_eq!(bench.delivery("a").await.session.rest(), "chat");
}
