//! Messages that are offered to the turn that runs in their session.

use tokio::time::timeout;

use super::{
    beside::{COLLECT, FOLLOWUP},
    durable::{outside, session},
    *,
};
use crate::{
    dispatch::gather::{DropPolicy, Mode, Queueing},
    journal::entry::State,
};

const STEER: Queueing = Queueing {
    mode: Mode::Steer,
    ..COLLECT
};

impl Bench {
    /// The next thing that is offered to a turn.
    async fn offered(&mut self) -> Delivery {
        match self.command("a").await {
            Command::Steer(delivery) => *delivery,
            other => panic!("{other:?} is no offer"),
        }
    }

    async fn takes(&self, delivery: DeliveryId, into: DeliveryId) {
        self.report("a", AgentEvent::Steered { delivery, into })
            .await;
    }

    async fn nothing_more(&mut self) {
        let more = timeout(Duration::from_millis(30), self.command("a")).await;
        assert!(more.is_err(), "{more:?}");
    }
}

#[tokio::test]
async fn what_a_turn_takes_in_is_answered_by_it() {
    let mut bench = Bench::fresh();
    bench.up(1).await;
    let first = bench.say("one", STEER).await;
    let running = bench.delivery("a").await;
    let second = bench.say("two", STEER).await;
    let third = bench.say("three", STEER).await;
    for (delivery, text) in [(second, "two"), (third, "three")] {
        let offer = bench.offered().await;
        assert_eq!((offer.delivery, offer.text.as_str()), (delivery, text));
        assert_eq!(offer.turn, running.turn);
    }
    bench.takes(second, first).await;
    bench.reply("a", first, "1 and 2").await;
    // What was not taken has a turn of its own.
    assert_eq!(bench.delivery("a").await.delivery, third);
    bench.reply("a", third, "3").await;
    bench.nothing_more().await;
    assert_eq!(bench.owed().await, ["1 and 2", "3"]);
    let shown = bench.shown(second).await;
    assert_eq!(shown.listed.state, State::Gathered);
    assert_eq!(shown.retried, Some(first));
    // Its platform sends it again: it is known.
    assert!(
        bench
            .hear_as("two", "two", Some(STEER))
            .await
            .unwrap()
            .repeat
    );
    bench.nothing_more().await;
}

#[tokio::test]
async fn what_was_taken_in_and_not_heard_of_ends_without_an_answer() {
    let mut bench = Bench::fresh();
    bench.up(1).await;
    let first = bench.say("one", STEER).await;
    bench.delivery("a").await;
    let second = bench.say("two", STEER).await;
    bench.offered().await;
    bench.reply("a", first, "both").await;
    assert_eq!(bench.delivery("a").await.delivery, second);
    let known = AgentEvent::Finished {
        delivery: second,
        outcome: TurnOutcome::Steered(first),
        spent: Spent::default(),
        told: Box::default(),
    };
    bench.report("a", known).await;
    assert_eq!(bench.shown(second).await.listed.state, State::Gathered);
    assert_eq!(bench.owed().await, ["both"]);
    // Its place is free.
    bench.say("three", STEER).await;
    assert_eq!(bench.delivery("a").await.text, "three");
}

#[tokio::test]
async fn the_next_attempt_of_a_turn_is_offered_what_waits() {
    let mut bench = Bench::fresh();
    bench.up(1).await;
    let first = bench.say("one", STEER).await;
    let turn = bench.delivery("a").await.turn;
    bench.say("two", STEER).await;
    assert_eq!(bench.offered().await.turn, turn);
    bench.down(1, false).await;
    bench.up(2).await;
    let again = bench.delivery("a").await;
    assert_eq!(again.delivery, first);
    assert_ne!(again.turn, turn);
    let offer = bench.offered().await;
    assert_eq!((offer.turn, offer.text.as_str()), (again.turn, "two"));
    bench.nothing_more().await;
}

#[tokio::test]
async fn only_a_turn_of_the_same_chat_is_steered_and_in_order() {
    let mut bench = Bench::fresh();
    bench.up(1).await;
    // A caller waits for this answer, and the chat would not see it.
    let _stream = bench.ask("a", "by a caller").await.unwrap();
    let called = bench.delivery("a").await;
    bench.say("one", STEER).await;
    bench.nothing_more().await;
    bench.reply("a", called.delivery, "fine").await;
    let one = bench.delivery("a").await;
    assert_eq!(one.text, "one");
    // A caller's question waits as well, and what comes behind it does not overtake it.
    let _stream = bench.ask("a", "again").await.unwrap();
    bench.say("two", STEER).await;
    bench.nothing_more().await;
    bench.reply("a", one.delivery, "fine").await;
    assert_eq!(bench.delivery("a").await.text, "again");
}

#[tokio::test]
async fn an_agent_has_no_say_in_what_is_not_its_own() {
    let mut bench = Bench::fresh();
    bench.up(1).await;
    let first = bench.say("one", STEER).await;
    bench.delivery("a").await;
    bench.takes(first, first).await;
    bench
        .report(
            "b",
            AgentEvent::Steered {
                delivery: first,
                into: DeliveryId::new(),
            },
        )
        .await;
    bench.takes(DeliveryId::new(), first).await;
    bench.reply("a", first, "fine").await;
    assert_eq!(bench.owed().await, ["fine"]);
}

#[tokio::test]
async fn what_a_turn_may_have_is_not_dropped_for_others() {
    let mut bench = Bench::fresh();
    bench.up(1).await;
    let steer = Queueing {
        cap: 1,
        drop: DropPolicy::Oldest,
        ..STEER
    };
    let first = bench.say("one", steer).await;
    bench.delivery("a").await;
    let second = bench.say("two", steer).await;
    bench.offered().await;
    let third = bench.say("three", steer).await;
    assert_eq!(bench.shown(third).await.listed.state, State::Dropped);
    let dropped = bench
        .handle
        .operate(Operation::Drop, second, session())
        .await;
    assert_eq!(dropped, Err(OperationError::Running));
    bench.takes(second, first).await;
    bench.say("four", steer).await;
    assert_eq!(bench.offered().await.text, "four");
    // The turn has left it, so it is like any other.
    bench.reply("a", first, "fine").await;
    let fourth = bench.delivery("a").await;
    bench.say("five", FOLLOWUP).await;
    bench
        .say(
            "six",
            Queueing {
                mode: Mode::Followup,
                ..steer
            },
        )
        .await;
    bench.reply("a", fourth.delivery, "fine").await;
    assert_eq!(bench.delivery("a").await.text, "six");
}

#[tokio::test]
async fn one_that_takes_the_place_of_another_tells_of_it_first() {
    let mut bench = Bench::fresh();
    bench.up(1).await;
    let followup = Queueing { cap: 1, ..FOLLOWUP };
    let first = bench.say("one", followup).await;
    bench.delivery("a").await;
    bench.say("two", followup).await;
    bench
        .say(
            "three",
            Queueing {
                mode: Mode::Steer,
                ..followup
            },
        )
        .await;
    // Its text is read again, with the line about the one before it; so it is not offered.
    bench.nothing_more().await;
    bench.reply("a", first, "fine").await;
    let text = bench.delivery("a").await.text;
    assert!(
        text.starts_with("[1 earlier message dropped") && text.ends_with("three"),
        "{text}"
    );
}

#[tokio::test]
async fn the_limit_of_the_wait_holds_only_what_no_turn_may_have() {
    let home = tempfile::tempdir().unwrap();
    let mut bench = Bench::over(home, 10, outside().0, &HashSet::new());
    let time = TimeLimits {
        queue: Some(Duration::from_millis(50)),
        first_token: None,
        turn: Duration::from_mins(1),
        cancel_grace: Duration::from_mins(1),
    };
    let limits = Limits {
        time: Some(time),
        ..limits(10)
    };
    bench
        .handle
        .change(Change::Limit {
            agent: agent("a"),
            limits,
        })
        .await;
    bench.up(1).await;
    let first = bench.say("one", STEER).await;
    bench.delivery("a").await;
    let second = bench.say("two", STEER).await;
    bench.offered().await;
    let third = bench.say("three", FOLLOWUP).await;
    eventually_in(&bench, third, State::Failed).await;
    assert_eq!(bench.shown(second).await.listed.state, State::Queued);
    bench.takes(second, first).await;
    assert_eq!(bench.shown(second).await.listed.state, State::Gathered);
}

async fn eventually_in(bench: &Bench, delivery: DeliveryId, state: State) {
    for _ in 0..1000 {
        if bench.shown(delivery).await.listed.state == state {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{delivery} does not become {state}");
}
