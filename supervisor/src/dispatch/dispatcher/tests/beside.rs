//! Messages beside others of their session.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::*;
use crate::{
    dispatch::gather::{DropPolicy, Mode, Queueing},
    journal::entry::State,
};

pub(super) const COLLECT: Queueing = Queueing {
    mode: Mode::Collect,
    debounce: Duration::ZERO,
    cap: 3,
    drop: DropPolicy::Summarize,
};

pub(super) const FOLLOWUP: Queueing = Queueing {
    mode: Mode::Followup,
    ..COLLECT
};

impl Bench {
    pub(super) async fn say(&self, text: &str, queueing: Queueing) -> DeliveryId {
        let accepted = self.hear_as(text, text, Some(queueing)).await;
        accepted.expect("it is taken").delivery
    }

    /// The next thing that the driver is told to answer, and its answer.
    async fn answer(&mut self) -> String {
        let delivery = self.delivery("a").await;
        self.reply("a", delivery.delivery, "fine").await;
        delivery.text
    }

    async fn no_more(&mut self) {
        let more = timeout(Duration::from_millis(30), self.command("a")).await;
        assert!(more.is_err(), "{more:?}");
    }
}

#[tokio::test]
async fn what_comes_while_one_runs_is_answered_together() {
    let mut bench = Bench::fresh();
    bench.up(1).await;
    let first = bench.say("one", COLLECT).await;
    let running = bench.delivery("a").await;
    assert_eq!(running.text, "one");
    let second = bench.say("two", COLLECT).await;
    assert_ne!(first, second);
    assert_eq!(bench.say("three", COLLECT).await, second);
    let repeat = bench.hear_as("three", "three", Some(COLLECT)).await;
    assert!(repeat.unwrap().repeat);
    bench.reply("a", first, "1").await;
    assert_eq!(bench.answer().await, "two\n\nthree");
    bench.no_more().await;
    assert_eq!(bench.shown(second).await.listed.state, State::Replied);
    // What runs takes nothing in.
    let fourth = bench.say("four", COLLECT).await;
    assert_ne!(fourth, second);
    assert_eq!(bench.answer().await, "four");
}

#[tokio::test]
async fn what_was_together_stays_so_over_a_crash() {
    let bench = Bench::fresh();
    bench.say("one", COLLECT).await;
    bench.say("two", COLLECT).await;
    let mut next = bench.next(&[]).await;
    next.up(2).await;
    assert_eq!(next.answer().await, "one\n\ntwo");
    // And over one in the middle of the turn.
    next.say("three", COLLECT).await;
    let delivery = next.delivery("a").await;
    next.say("four", COLLECT).await;
    let mut last = next.next(&[]).await;
    last.up(3).await;
    let again = last.delivery("a").await;
    assert_eq!(
        (again.delivery, again.text.as_str()),
        (delivery.delivery, "three")
    );
    last.reply("a", again.delivery, "3").await;
    assert_eq!(last.answer().await, "four");
}

#[tokio::test]
async fn too_many_are_summed_up_and_the_chat_is_told_once() {
    let mut bench = Bench::fresh();
    let head = bench.say("one", COLLECT).await;
    for text in ["two", "three", "four", "five"] {
        assert_eq!(bench.say(text, COLLECT).await, head);
    }
    bench.up(1).await;
    let text = bench.answer().await;
    assert_eq!(
        text,
        "[2 earlier messages dropped, as too many waited: \"one\"; \"two\"]\n\nthree\n\nfour\n\nfive"
    );
    bench.handle.flushed().await;
    let notices = bench.owed().await;
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(notices[0].contains("dropped some"), "{notices:?}");
    assert_eq!(notices[1], "fine");
}

#[tokio::test]
async fn the_newest_is_dropped_where_that_is_wanted() {
    let mut bench = Bench::fresh();
    let newest = Queueing {
        cap: 1,
        drop: DropPolicy::Newest,
        ..COLLECT
    };
    let head = bench.say("one", newest).await;
    let dropped = bench.say("two", newest).await;
    assert_ne!(head, dropped);
    assert_eq!(bench.shown(dropped).await.listed.state, State::Dropped);
    bench.up(1).await;
    assert_eq!(bench.answer().await, "one");
    bench.no_more().await;
}

#[tokio::test]
async fn followups_have_turns_of_their_own_within_the_cap() {
    let mut bench = Bench::fresh();
    let first = bench.say("one", FOLLOWUP).await;
    for text in ["two", "three", "four"] {
        bench.say(text, FOLLOWUP).await;
    }
    assert_eq!(bench.shown(first).await.listed.state, State::Dropped);
    bench.up(1).await;
    assert_eq!(bench.answer().await, "two");
    assert_eq!(bench.answer().await, "three");
    assert_eq!(
        bench.answer().await,
        "[1 earlier message dropped, as too many waited: \"one\"]\n\nfour"
    );
    bench.no_more().await;
}

#[tokio::test]
async fn an_interruption_ends_what_runs_and_what_waits() {
    let mut bench = Bench::fresh();
    bench.up(1).await;
    let interrupt = Queueing {
        mode: Mode::Interrupt,
        ..COLLECT
    };
    bench.say("one", interrupt).await;
    let running = bench.delivery("a").await;
    bench.say("two", FOLLOWUP).await;
    bench.say("three", interrupt).await;
    let command = bench.command("a").await;
    assert!(
        matches!(command, Command::Cancel(turn) if turn == running.turn),
        "{command:?}"
    );
    let ended = AgentEvent::Finished {
        delivery: running.delivery,
        outcome: TurnOutcome::Cancelled,
        spent: Spent::default(),
        told: Box::default(),
    };
    bench.report("a", ended).await;
    assert_eq!(bench.answer().await, "three");
    bench.no_more().await;
}

#[tokio::test]
async fn quiet_is_waited_for_and_not_for_ever() {
    let mut bench = Bench::with_room(100);
    bench.up(1).await;
    let pause = Duration::from_millis(60);
    let queueing = Queueing {
        debounce: pause,
        cap: 1000,
        ..COLLECT
    };
    let began = Instant::now();
    bench.say("one", queueing).await;
    bench.say("two", queueing).await;
    assert_eq!(bench.answer().await, "one\n\ntwo");
    assert!(began.elapsed() >= pause);
    // Somebody who never pauses is answered all the same.
    let began = Instant::now();
    let (mut said, mut last, mut longest) = (0, began, Duration::ZERO);
    let delivery = loop {
        said += 1;
        bench.say(&format!("word {said}"), queueing).await;
        longest = longest.max(last.elapsed());
        last = Instant::now();
        match timeout(pause / 6, bench.delivery("a")).await {
            Ok(delivery) => break delivery,
            Err(_) => assert!(began.elapsed() < pause * 40, "no answer"),
        }
    };
    // A machine that is slow may have paused for them.
    assert!(
        began.elapsed() >= pause * 5 || longest >= pause,
        "{longest:?}"
    );
    assert!(
        delivery.text.starts_with("word 1\n\nword 2"),
        "{}",
        delivery.text
    );
}

#[tokio::test]
async fn a_session_is_stopped_as_a_whole() {
    let mut bench = Bench::fresh();
    bench.up(1).await;
    bench.say("one", FOLLOWUP).await;
    let running = bench.delivery("a").await;
    let waits = bench.say("two", FOLLOWUP).await;
    let session = running.session.clone();
    assert_eq!(bench.handle.session_counts(session.clone()).await, (1, 1));
    assert_eq!(bench.handle.stop_session(session.clone()).await, 2);
    assert_eq!(bench.shown(waits).await.listed.state, State::Cancelled);
    let command = bench.command("a").await;
    assert!(
        matches!(command, Command::Cancel(turn) if turn == running.turn),
        "{command:?}"
    );
    assert_eq!(bench.handle.session_counts(session).await, (0, 1));
}

#[tokio::test]
async fn an_operator_drops_what_is_being_joined_only_behind_it() {
    let mut bench = Bench::fresh();
    let head = bench.say("one", COLLECT).await;
    let session = bench.shown(head).await.listed.session;
    let dropped = bench.handle.operate(Operation::Drop, head, session);
    let (dropped, joined) = tokio::join!(dropped, bench.say("two", COLLECT));
    assert_eq!(dropped, Ok(head));
    bench.up(1).await;
    if joined == head {
        bench.no_more().await;
    } else {
        assert_eq!(bench.answer().await, "two");
    }
}

/// Whoever changes the mode in between does not have a message overtake another.
#[tokio::test]
async fn what_follows_on_its_own_is_not_overtaken() {
    let mut bench = Bench::fresh();
    bench.say("one", COLLECT).await;
    bench.say("two", FOLLOWUP).await;
    bench.say("three", COLLECT).await;
    bench.up(1).await;
    assert_eq!(bench.answer().await, "one");
    assert_eq!(bench.answer().await, "two");
    assert_eq!(bench.answer().await, "three");
}
