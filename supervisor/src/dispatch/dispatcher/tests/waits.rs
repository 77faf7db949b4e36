//! What deliveries that wait are said to wait for.

use std::time::Duration;

use super::{beside::COLLECT, *};
use crate::dispatch::{
    gather::{Mode, Queueing},
    lanes::WaitsFor,
};

const ONE_BY_ONE: Queueing = Queueing {
    mode: Mode::Followup,
    cap: 100,
    ..COLLECT
};

impl Bench {
    async fn waits_for(&self, deliveries: &[DeliveryId]) -> Vec<Option<Waiting>> {
        let session = SessionKey::new(&agent("a"), "test").unwrap();
        let asked = deliveries.iter().map(|one| (*one, session.clone()));
        let waiting = self.handle.waiting(asked.collect()).await;
        deliveries
            .iter()
            .map(|one| waiting.get(one).copied())
            .collect()
    }
}

#[tokio::test]
async fn each_says_what_stands_in_its_way() {
    let mut bench = Bench::with_room(100);
    let mut all = Vec::new();
    // More than are kept in memory.
    for n in 0..WINDOW + 2 {
        all.push(bench.say(&n.to_string(), ONE_BY_ONE).await);
    }
    let waiting = bench.waits_for(&all).await;
    assert!(
        matches!(waiting[0], Some(Waiting::Lane(WaitsFor::Held, _))),
        "{waiting:?}"
    );
    assert!(
        matches!(waiting[1], Some(Waiting::Lane(WaitsFor::Session, _))),
        "{waiting:?}"
    );
    assert_eq!(waiting[WINDOW + 1], Some(Waiting::Queue));
    bench.up(1).await;
    bench.delivery("a").await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    let waiting = bench.waits_for(&all).await;
    assert_eq!(waiting[0], None, "it runs");
    let Some(Waiting::Lane(WaitsFor::Session, waits)) = waiting[1] else {
        panic!("{waiting:?}");
    };
    assert!(waits.session_us >= 2_000, "{waits:?}");
}

#[tokio::test]
async fn a_chat_that_is_to_be_quiet_is_named() {
    let bench = Bench::fresh();
    bench.up(1).await;
    let queueing = Queueing {
        debounce: Duration::from_secs(5),
        ..COLLECT
    };
    let first = bench.say("one", queueing).await;
    let waiting = bench.waits_for(&[first]).await;
    assert!(matches!(waiting[0], Some(Waiting::Quiet(_))), "{waiting:?}");
}
