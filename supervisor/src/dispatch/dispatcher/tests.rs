//! The dispatcher's task with scripted drivers at one end and callers at the other.

use kennel_shared::{
    envelope::Sender,
    protocol::{Delivery, Spent, TurnOutcome},
    session_key::SessionKey,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::{
    dispatch::turn::{TurnEvent, TurnStream},
    journal::{Options, Reader, entry::CallerKey},
};

mod accounts;
mod backlog;
mod beside;
mod budgets;
mod classes;
mod durable;
mod steer;
mod waits;

const POISON_AFTER: u32 = 3;

/// A dispatcher with the agents `a` and `b`, whose drivers are the test.
/// Of each agent, so many deliveries are kept in memory.
const WINDOW: usize = 4;

struct Bench {
    handle: DispatcherHandle,
    drivers: HashMap<&'static str, mpsc::Receiver<Command>>,
    task: JoinHandle<()>,
    home: TempDir,
}

fn journal(home: &TempDir) -> Journal {
    Journal::open(Options::new(home.path().join("journal.db")))
        .unwrap()
        .0
}

fn limits(max_waiting: usize) -> Limits {
    Limits {
        max_waiting,
        poison_after: POISON_AFTER,
        ..Limits::default()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Bench {
    async fn new(max_waiting: usize) -> Self {
        let home = tempfile::tempdir().unwrap();
        let bench = Self::over(home, max_waiting, Outside::default(), &HashSet::new());
        bench.report("a", AgentEvent::Up).await;
        bench.report("b", AgentEvent::Up).await;
        bench
    }

    /// Takes over what is in the journal. No agent is up.
    fn over(
        home: TempDir,
        max_waiting: usize,
        outside: Outside,
        adopted: &HashSet<(AgentId, Generation)>,
    ) -> Self {
        let journal = journal(&home);
        let reader = Reader::open(journal.path()).unwrap();
        let (handle, mut dispatcher) = prepare(8, journal, outside);
        // So that queues are longer.
        dispatcher.window = WINDOW;
        let mut drivers = HashMap::new();
        for id in ["a", "b"] {
            let (commands, inbox) = mpsc::channel(16);
            dispatcher.add(agent(id), commands, &limits(max_waiting));
            drivers.insert(id, inbox);
        }
        dispatcher.restore(&reader, adopted).unwrap();
        Self {
            handle,
            drivers,
            task: tokio::spawn(dispatcher.run()),
            home,
        }
    }

    async fn report(&self, id: &str, event: AgentEvent) {
        self.handle
            .reports()
            .tell(&agent(id), Generation(1), event)
            .await;
    }

    async fn ask(&self, id: &str, text: &str) -> Result<TurnStream, Rejected> {
        let session = SessionKey::new(&agent(id), "test").unwrap();
        let sender = Sender {
            id: "1".into(),
            name: None,
        };
        self.handle.ask(session, sender, text.into(), None).await
    }

    /// The next command for an agent's driver.
    async fn command(&mut self, id: &str) -> Command {
        self.drivers.get_mut(id).unwrap().recv().await.unwrap()
    }

    async fn delivery(&mut self, id: &str) -> Delivery {
        match self.command(id).await {
            Command::Deliver(delivery) => *delivery,
            other => panic!("{other:?} is no delivery"),
        }
    }

    async fn reply(&self, id: &str, delivery: DeliveryId, text: &str) {
        let outcome = TurnOutcome::Replied(text.into());
        self.report(
            id,
            AgentEvent::Finished {
                delivery,
                outcome,
                spent: Spent::default(),
                told: Box::default(),
            },
        )
        .await;
    }
}

fn agent(id: &str) -> AgentId {
    id.parse().unwrap()
}

fn replied(end: &TurnEnd) -> &str {
    match end {
        TurnEnd::Replied { text, .. } => text,
        other => panic!("{other:?} is no reply"),
    }
}

#[tokio::test]
async fn pieces_come_in_order_and_then_the_end() {
    let mut bench = Bench::new(10).await;
    let mut stream = bench.ask("a", "hi").await.unwrap();
    let Delivery {
        delivery,
        turn,
        text,
        ..
    } = bench.delivery("a").await;
    assert_eq!(text, "hi");
    bench.report("a", AgentEvent::Started(turn)).await;
    for piece in ["h", "i"] {
        bench
            .report(
                "a",
                AgentEvent::Delta {
                    turn,
                    text: piece.into(),
                },
            )
            .await;
    }
    bench.reply("a", delivery, "hi!").await;
    assert_eq!(stream.next().await, Some(TurnEvent::Started));
    let rest: Vec<_> = ["h", "i", "!"]
        .map(|piece| Some(TurnEvent::Delta(piece.into())))
        .into();
    for expected in rest {
        assert_eq!(stream.next().await, expected);
    }
    assert!(matches!(
        stream.next().await,
        Some(TurnEvent::End(TurnEnd::Replied { .. }))
    ));
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn who_reads_slowly_still_reads_everything() {
    let mut bench = Bench::new(10).await;
    let mut stream = bench.ask("a", "count").await.unwrap();
    let Delivery { delivery, turn, .. } = bench.delivery("a").await;
    bench.report("a", AgentEvent::Started(turn)).await;
    let pieces: Vec<String> = (0..1000).map(|n| format!("{n} ")).collect();
    for text in &pieces {
        bench
            .report(
                "a",
                AgentEvent::Delta {
                    turn,
                    text: text.clone(),
                },
            )
            .await;
    }
    bench.reply("a", delivery, &pieces.concat()).await;
    let mut read = String::new();
    while let Some(event) = stream.next().await {
        match event {
            TurnEvent::Delta(text) => read.push_str(&text),
            TurnEvent::End(end) => assert_eq!(replied(&end), read),
            TurnEvent::Started => {}
            TurnEvent::Restarted => panic!("nothing was restarted"),
        }
    }
    assert_eq!(read, pieces.concat());
}

#[tokio::test]
async fn a_delivery_outlives_its_agent_and_the_reader_is_told() {
    let mut bench = Bench::new(10).await;
    let mut stream = bench.ask("a", "hi").await.unwrap();
    let first = bench.delivery("a").await;
    bench.report("a", AgentEvent::Started(first.turn)).await;
    bench
        .report(
            "a",
            AgentEvent::Delta {
                turn: first.turn,
                text: "one".into(),
            },
        )
        .await;
    bench.report("a", AgentEvent::Down { asked: false }).await;
    bench.report("a", AgentEvent::Up).await;
    let second = bench.delivery("a").await;
    assert_eq!((second.delivery, second.text), (first.delivery, first.text));
    assert_ne!(second.turn, first.turn);
    bench.report("a", AgentEvent::Started(second.turn)).await;
    bench.reply("a", second.delivery, "two").await;
    let mut seen = Vec::new();
    while let Some(event) = stream.next().await {
        seen.push(event);
    }
    assert_eq!(
        seen[..2],
        [TurnEvent::Started, TurnEvent::Delta("one".into())]
    );
    assert_eq!(
        seen[2..4],
        [TurnEvent::Restarted, TurnEvent::Delta("two".into())]
    );
    assert!(matches!(&seen[4..], [TurnEvent::End(TurnEnd::Replied { text, .. })] if text == "two"));
}

#[tokio::test]
async fn a_delivery_that_kills_its_agent_is_given_up_and_the_next_goes_on() {
    let mut bench = Bench::new(10).await;
    let deadly = bench.ask("a", "deadly").await.unwrap();
    let next = bench.ask("a", "next").await.unwrap();
    for _ in 0..POISON_AFTER {
        assert_eq!(bench.delivery("a").await.text, "deadly");
        bench.report("a", AgentEvent::Down { asked: false }).await;
        bench.report("a", AgentEvent::Up).await;
    }
    assert!(matches!(
        deadly.finish().await,
        TurnEnd::Failed {
            kind: EndKind::Agent,
            ..
        }
    ));
    let delivery = bench.delivery("a").await;
    assert_eq!(delivery.text, "next");
    bench.reply("a", delivery.delivery, "done").await;
    assert_eq!(replied(&next.finish().await), "done");
}

#[tokio::test]
async fn an_agent_cannot_answer_for_another() {
    let mut bench = Bench::new(10).await;
    let stream = bench.ask("a", "secret question").await.unwrap();
    let delivery = bench.delivery("a").await;
    let forged = AgentEvent::Delta {
        turn: delivery.turn,
        text: "forged".into(),
    };
    bench.report("b", forged).await;
    bench.reply("b", delivery.delivery, "forged").await;
    bench.reply("a", delivery.delivery, "true").await;
    assert_eq!(replied(&stream.finish().await), "true");
}

#[tokio::test]
async fn a_resting_agent_refuses_and_fails_what_waits() {
    let mut bench = Bench::new(10).await;
    let running = bench.ask("a", "one").await.unwrap();
    let waiting = bench.ask("a", "two").await.unwrap();
    let delivery = bench.delivery("a").await;
    bench.report("a", AgentEvent::Closed).await;
    bench.reply("a", delivery.delivery, "done").await;
    bench.report("a", AgentEvent::Down { asked: false }).await;
    bench.report("a", AgentEvent::Resting("stopped")).await;
    assert_eq!(replied(&running.finish().await), "done");
    assert!(matches!(
        waiting.finish().await,
        TurnEnd::Failed {
            kind: EndKind::Stopped,
            ..
        }
    ));
    let refused = bench.ask("a", "three").await.err();
    assert_eq!(
        refused,
        Some(Rejected::Resting {
            agent: "a".into(),
            state: "stopped"
        })
    );
    bench.report("a", AgentEvent::Up).await;
    assert!(bench.ask("a", "four").await.is_ok());
}

#[tokio::test]
async fn what_is_sent_to_an_agent_that_is_being_started_waits() {
    let mut bench = Bench::new(10).await;
    bench.report("a", AgentEvent::Resting("stopped")).await;
    bench.report("a", AgentEvent::Coming).await;
    let stream = bench.ask("a", "early").await.unwrap();
    bench.report("a", AgentEvent::Up).await;
    let delivery = bench.delivery("a").await;
    bench.reply("a", delivery.delivery, "done").await;
    assert_eq!(replied(&stream.finish().await), "done");
}

#[tokio::test]
async fn cancelling_takes_out_what_waits_and_tells_the_agent_of_what_runs() {
    let mut bench = Bench::new(10).await;
    let running = bench.ask("a", "one").await.unwrap();
    let waiting = bench.ask("a", "two").await.unwrap();
    let delivery = bench.delivery("a").await;
    assert!(bench.handle.cancel(waiting.delivery()).await);
    assert_eq!(waiting.finish().await, TurnEnd::Cancelled);
    // A caller that goes away cancels as well.
    drop(running);
    assert!(matches!(bench.command("a").await, Command::Cancel(turn) if turn == delivery.turn));
    assert!(!bench.handle.cancel(DeliveryId::new()).await);
}

#[tokio::test]
async fn a_full_queue_and_a_closed_dispatcher_refuse() {
    let mut bench = Bench::new(1).await;
    let _running = bench.ask("a", "one").await.unwrap();
    bench.delivery("a").await;
    let _waiting = bench.ask("a", "two").await.unwrap();
    let full = Rejected::QueueFull {
        agent: "a".into(),
        max: 1,
    };
    assert_eq!(bench.ask("a", "three").await.err(), Some(full));
    assert_eq!(
        bench.ask("z", "?").await.err(),
        Some(Rejected::UnknownAgent("z".into()))
    );
    bench.handle.close().await;
    assert_eq!(bench.ask("b", "late").await.err(), Some(Rejected::Leaving));
}

/// A driver that is busy for a moment must not cost its agent all later messages.
#[tokio::test]
async fn a_delivery_that_a_busy_driver_did_not_take_is_offered_again() {
    let home = tempfile::tempdir().unwrap();
    let (handle, mut dispatcher) = prepare(8, journal(&home), Outside::default());
    let (commands, mut inbox) = mpsc::channel(1);
    commands.try_send(Command::Cancel(TurnId::new())).unwrap();
    dispatcher.add(agent("a"), commands, &limits(10));
    let bench = Bench {
        handle,
        drivers: HashMap::new(),
        task: tokio::spawn(dispatcher.run()),
        home,
    };
    bench.report("a", AgentEvent::Up).await;
    let _turn = bench.ask("a", "hi").await.unwrap();
    // Answered behind the attempt that found the queue full.
    assert_eq!(bench.handle.counts().await[&agent("a")].waiting, 1);
    assert!(matches!(inbox.recv().await, Some(Command::Cancel(_))));
    assert!(matches!(inbox.recv().await, Some(Command::Deliver(_))));
}

/// A long turn under which operators restart the agent is no poison; one that its agent dies of is.
#[tokio::test]
async fn only_deaths_count_against_a_delivery() {
    let mut bench = Bench::new(10).await;
    let turn = bench.ask("a", "long").await.unwrap();
    for asked in [true, true, true, true, false, false, false] {
        assert_eq!(bench.delivery("a").await.text, "long");
        bench.report("a", AgentEvent::Down { asked }).await;
        bench.report("a", AgentEvent::Up).await;
    }
    assert!(matches!(turn.finish().await, TurnEnd::Failed { .. }));
}

#[tokio::test]
async fn an_agent_that_is_removed_ends_what_waits_and_finishes_what_runs() {
    let mut bench = Bench::new(10).await;
    let mut running = bench.ask("a", "one").await.unwrap();
    let delivery = bench.delivery("a").await;
    let mut waiting = bench.ask("a", "two").await.unwrap();
    bench.handle.change(Change::Retire(agent("a"))).await;
    let refused = bench.ask("a", "three").await.err();
    assert_eq!(refused, Some(Rejected::UnknownAgent("a".into())));
    let gone = TurnEvent::End(TurnEnd::Failed {
        kind: EndKind::Stopped,
        message: "agent `a` was removed from the configuration".into(),
    });
    assert_eq!(waiting.next().await, Some(gone.clone()));
    bench.reply("a", delivery.delivery, "done").await;
    let end = loop {
        if let TurnEvent::End(end) = running.next().await.expect("the end comes first") {
            break end;
        }
    };
    assert!(matches!(end, TurnEnd::Replied { text, .. } if text == "done"));

    bench.handle.change(Change::Remove(agent("a"))).await;
    assert!(!bench.handle.counts().await.contains_key(&agent("a")));
    let refused = bench.ask("a", "four").await.err();
    assert_eq!(refused, Some(Rejected::UnknownAgent("a".into())));
    bench.ask("b", "other").await.unwrap();
    assert_eq!(bench.delivery("b").await.text, "other");
}

#[tokio::test]
async fn what_a_retired_agent_did_not_finish_is_ended_too() {
    let mut bench = Bench::new(10).await;
    let mut running = bench.ask("a", "one").await.unwrap();
    bench.delivery("a").await;
    bench.handle.change(Change::Retire(agent("a"))).await;
    bench.report("a", AgentEvent::Down { asked: true }).await;
    bench.report("a", AgentEvent::Resting("stopped")).await;
    loop {
        match running.next().await {
            Some(TurnEvent::End(TurnEnd::Failed { message, .. })) => {
                assert_eq!(message, "agent `a` was removed from the configuration");
                break;
            }
            Some(TurnEvent::End(end)) => panic!("{end:?}"),
            Some(_) => {}
            None => panic!("the end comes first"),
        }
    }
}

#[tokio::test]
async fn an_agent_that_is_added_gets_its_messages_once_it_is_up() {
    let mut bench = Bench::new(10).await;
    let add = |rests, commands| Change::Add {
        agent: agent("c"),
        commands,
        limits: limits(1),
        rests,
        found: Found::default(),
    };
    let (commands, _inbox) = mpsc::channel(16);
    bench.handle.change(add(true, commands)).await;
    let refused = bench.ask("c", "no").await.err();
    assert!(matches!(refused, Some(Rejected::Resting { .. })));
    bench.handle.change(Change::Remove(agent("c"))).await;
    let (commands, inbox) = mpsc::channel(16);
    bench.handle.change(add(false, commands)).await;
    bench.drivers.insert("c", inbox);
    let _first = bench.ask("c", "first").await.unwrap();
    assert!(matches!(
        bench.ask("c", "second").await,
        Err(Rejected::QueueFull { .. })
    ));
    let limit = Change::Limit {
        agent: agent("c"),
        limits: limits(2),
    };
    bench.handle.change(limit).await;
    let _second = bench.ask("c", "second").await.unwrap();
    bench.report("c", AgentEvent::Up).await;
    assert_eq!(bench.delivery("c").await.text, "first");
}
