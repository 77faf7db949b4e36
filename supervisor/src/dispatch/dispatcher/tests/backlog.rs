//! Queues that are longer than what is kept of them in memory.

use super::*;
use crate::{
    dispatch::gather::{DropPolicy, Mode, Queueing},
    journal::entry::State,
};

const FOLLOWUP: Queueing = Queueing {
    mode: Mode::Followup,
    debounce: std::time::Duration::ZERO,
    cap: 1000,
    drop: DropPolicy::Newest,
};

impl Bench {
    async fn hear_many(&self, numbers: std::ops::Range<u32>) -> Vec<DeliveryId> {
        let mut heard = Vec::new();
        for number in numbers {
            let text = format!("n{number}");
            let accepted = self.hear_as(&text, &text, Some(FOLLOWUP)).await;
            heard.push(accepted.expect("it is taken").delivery);
        }
        heard
    }

    async fn answer_all(&mut self, numbers: impl IntoIterator<Item = u32>) {
        for number in numbers {
            let delivery = self.delivery("a").await;
            assert_eq!(delivery.text, format!("n{number}"));
            self.reply("a", delivery.delivery, "fine").await;
        }
    }

    async fn waiting(&self) -> usize {
        self.handle.counts().await[&agent("a")].waiting
    }
}

#[tokio::test]
async fn a_long_queue_is_answered_in_its_order() {
    let mut bench = Bench::with_room(1000);
    bench.hear_many(0..30).await;
    assert_eq!(bench.waiting().await, 30);
    bench.up(1).await;
    bench.answer_all(0..12).await;
    // What comes meanwhile waits behind it, also what somebody holds a line for.
    let stream = bench.ask("a", "n30").await.unwrap();
    bench.hear_many(31..40).await;
    bench.answer_all(12..40).await;
    assert_eq!(replied(&stream.finish().await), "fine");
    assert_eq!(bench.waiting().await, 0);
    // And then the disk is out of the way again.
    bench.hear_many(40..42).await;
    bench.answer_all(40..42).await;
}

#[tokio::test]
async fn it_outlives_supervisors() {
    let mut bench = Bench::with_room(1000);
    bench.hear_many(0..20).await;
    bench.up(1).await;
    bench.answer_all(0..7).await;
    let mut next = bench.next(&[]).await;
    assert_eq!(next.waiting().await, 13);
    next.up(2).await;
    next.answer_all(7..20).await;
    assert_eq!(next.waiting().await, 0);
}

#[tokio::test]
async fn what_an_operator_drops_from_the_disk_is_gone() {
    let mut bench = Bench::with_room(1000);
    let heard = bench.hear_many(0..12).await;
    let session = bench.shown(heard[10]).await.listed.session;
    let dropped = bench.handle.operate(Operation::Drop, heard[10], session);
    assert_eq!(dropped.await, Ok(heard[10]));
    // Heard once more, it is known.
    let again = bench.hear_as("n11", "n11", Some(FOLLOWUP)).await;
    assert!(again.unwrap().repeat);
    bench.up(1).await;
    bench.answer_all((0..10).chain([11])).await;
    assert_eq!(bench.waiting().await, 0);
}

#[tokio::test]
async fn callers_who_leave_or_are_left_have_their_end() {
    let mut bench = Bench::with_room(1000);
    bench.hear_many(0..8).await;
    let gone = bench.ask("a", "gone").await.unwrap();
    let stays = bench.ask("a", "n8").await.unwrap();
    drop(gone);
    while bench.waiting().await == 10 {
        tokio::task::yield_now().await;
    }
    bench.up(1).await;
    bench.answer_all(0..9).await;
    assert_eq!(replied(&stays.finish().await), "fine");

    let bench = Bench::with_room(1000);
    bench.hear_many(0..8).await;
    let left = bench.ask("a", "left").await.unwrap();
    bench.handle.close().await;
    let end = left.finish().await;
    assert!(matches!(end, TurnEnd::Failed { .. }), "{end:?}");
    let mut next = bench.next(&[]).await;
    next.up(1).await;
    next.answer_all(0..8).await;
}

#[tokio::test]
async fn of_an_agent_that_goes_nothing_waits_for_ever() {
    let bench = Bench::with_room(1000);
    let heard = bench.hear_many(0..20).await;
    bench.handle.change(Change::Retire(agent("a"))).await;
    bench.handle.change(Change::Remove(agent("a"))).await;
    while bench.handle.counts().await.contains_key(&agent("a")) {
        tokio::task::yield_now().await;
    }
    for delivery in heard {
        assert_eq!(bench.shown(delivery).await.listed.state, State::Failed);
    }
}

#[tokio::test]
async fn the_bound_of_a_queue_counts_the_disk() {
    let bench = Bench::with_room(10);
    bench.hear_many(0..10).await;
    let refused = bench.hear_as("more", "more", Some(FOLLOWUP)).await;
    let full = Rejected::QueueFull {
        agent: "a".into(),
        max: 10,
    };
    assert_eq!(refused, Err(full));
}

#[tokio::test]
async fn a_session_is_stopped_on_the_disk_too() {
    let mut bench = Bench::with_room(1000);
    let heard = bench.hear_many(0..20).await;
    let session = bench.shown(heard[0]).await.listed.session;
    bench.handle.stop_session(session).await;
    bench.hear_many(20..23).await;
    bench.up(1).await;
    bench.answer_all(20..23).await;
    for delivery in heard {
        assert_eq!(bench.shown(delivery).await.listed.state, State::Cancelled);
    }
    assert_eq!(bench.waiting().await, 0);
}

/// Others than those that were counted are dropped: nothing is left behind for it.
#[tokio::test]
async fn a_count_that_is_wrong_is_put_right() {
    let mut bench = Bench::with_room(1000);
    let heard = bench.hear_many(0..12).await;
    let session = bench.shown(heard[0]).await.listed.session;
    for _ in 0..20 {
        let again = bench
            .handle
            .operate(Operation::Drop, heard[11], session.clone());
        assert_eq!(again.await, Ok(heard[11]));
    }
    bench.up(1).await;
    bench.answer_all(0..11).await;
    bench.hear_many(12..14).await;
    bench.answer_all(12..14).await;
    assert_eq!(bench.waiting().await, 0);
}
