//! Classes of agents, live: what may run beside what, and what is told of it.

use crate::dispatch::lanes::{BATCH, Most};

use super::*;

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
