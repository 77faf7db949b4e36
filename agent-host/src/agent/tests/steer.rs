//! Messages that a turn takes in while it runs, under the scripted supervisor.

use std::fs;

use kennel_shared::protocol::TurnStep;
use serde_json::json;

use super::super::STEERS;
use super::{
    tools::{exec, script, spec_with_tools},
    *,
};

/// Offers a message to a turn.
fn steer(link: &mut AgentLink, delivery: &Delivery, turn: &Delivery) {
    let offer = Delivery {
        turn: turn.turn,
        ..delivery.clone()
    };
    link.send(ToAgent::Steer(offer)).unwrap();
}

/// A turn whose first tool lasts until there is a file `go`, and whose second says that it was run.
async fn at_its_first_tool(link: &mut AgentLink) -> Delivery {
    let turn = script(&json!([[
        exec("until [ -e go ]; do sleep 0.02; done; rm go"),
        exec("touch second"),
    ]]));
    deliver(link, &turn);
    while !matches!(
        next(link).await,
        ToSupervisor::Step {
            step: TurnStep::Tool(_),
            ..
        }
    ) {}
    turn
}

/// Has the tool end, once all that was said to the agent is there.
async fn go(link: &mut AgentLink, dir: &TempDir) {
    // The loop has read what came before it sends the heartbeat after the next.
    link.flush().await.unwrap();
    beat(link).await;
    beat(link).await;
    fs::write(dir.path().join("work/go"), "").unwrap();
}

/// What was taken in, until the turn ends, and how that is.
async fn taken(link: &mut AgentLink, of: &Delivery) -> (Vec<DeliveryId>, TurnOutcome) {
    let mut taken = Vec::new();
    loop {
        match next(link).await {
            ToSupervisor::Steered { delivery, into } => {
                assert_eq!(into, of.delivery);
                taken.push(delivery);
            }
            ToSupervisor::Finished {
                delivery, outcome, ..
            } => {
                assert_eq!(delivery, of.delivery);
                return (taken, outcome);
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_message_is_taken_in_between_two_tools() {
    let dir = dir();
    let (_rig, mut link) = Rig::start(&dir, spec_with_tools(&dir)).await;
    let turn = at_its_first_tool(&mut link).await;
    let mut steers = ["not that", "this!", "and this"].map(delivery);
    steers[1].sender = Sender {
        id: "other".into(),
        name: Some("Bob".into()),
    };
    for one in &steers {
        steer(&mut link, one, &turn);
    }
    // Offered twice, it is there once.
    steer(&mut link, &steers[0], &turn);
    go(&mut link, &dir).await;
    let (taken, outcome) = taken(&mut link, &turn).await;
    assert_eq!(taken, steers.each_ref().map(|one| one.delivery));
    assert_eq!(outcome, replied("not that\n\nBob: this!\n\nand this"));
    assert!(
        !dir.path().join("work/second").exists(),
        "the second tool was put off"
    );

    // Each is known by its id, and is no turn of its own.
    for one in &steers {
        let outcome = answer(&mut link, one).await;
        assert_eq!(outcome, TurnOutcome::Steered(turn.delivery));
    }
    // Question, call and result, call and note, three messages that are one, answer; then what asks.
    let TurnOutcome::Replied(context) = answer(&mut link, &delivery("!context")).await else {
        panic!("no answer");
    };
    assert!(context.starts_with("messages=7 "), "{context}");
}

#[tokio::test]
async fn what_was_taken_in_stays_so_over_the_end_of_the_process() {
    let dir = dir();
    let (mut rig, mut link) = Rig::start(&dir, spec_with_tools(&dir)).await;
    let turn = script(&json!([
        [exec("until [ -e go ]; do sleep 0.02; done; rm go")],
        [exec("true")],
    ]));
    deliver(&mut link, &turn);
    while !matches!(
        next(&mut link).await,
        ToSupervisor::Step {
            step: TurnStep::Tool(_),
            ..
        }
    ) {}
    // The model is asked about it, and does not come to an end.
    let late = delivery("!hang");
    steer(&mut link, &late, &turn);
    go(&mut link, &dir).await;
    let said = ToSupervisor::Steered {
        delivery: late.delivery,
        into: turn.delivery,
    };
    while next(&mut link).await != said {}
    rig.stop();
    assert_eq!(rig.exit().await, Exit::Done);
    drop(link);

    let (_rig, mut link) = Rig::start(&dir, spec_with_tools(&dir)).await;
    deliver(&mut link, &turn);
    // Whoever did not hear of it hears now.
    while next(&mut link).await != said {}
    let known = TurnOutcome::Steered(turn.delivery);
    assert_eq!(answer(&mut link, &late).await, known);
    link.send(ToAgent::Cancel(turn.turn)).unwrap();
    assert_eq!(finished(&mut link, &turn).await.1, TurnOutcome::Cancelled);
    // Nor does it become a turn when the one that took it was cancelled.
    assert_eq!(answer(&mut link, &late).await, known);
}

#[tokio::test]
async fn a_turn_without_tools_takes_nothing_in() {
    let dir = dir();
    let (_rig, mut link) = Rig::start(&dir, spec_with_tools(&dir)).await;
    let turn = delivery("!sleep 200 slept");
    deliver(&mut link, &turn);
    assert_eq!(next(&mut link).await, ToSupervisor::Started(turn.turn));
    let late = delivery("now what");
    let elsewhere = delivery_in("elsewhere", "hello");
    steer(&mut link, &late, &turn);
    steer(&mut link, &elsewhere, &turn);
    let (taken, outcome) = taken(&mut link, &turn).await;
    assert_eq!((taken.len(), outcome), (0, replied("slept")));
    for one in [&late, &elsewhere] {
        assert_eq!(answer(&mut link, one).await, replied(&one.text));
    }
}

#[tokio::test]
async fn what_has_its_end_already_is_not_taken_in() {
    let dir = dir();
    let (_rig, mut link) = Rig::start(&dir, spec_with_tools(&dir)).await;
    let before = delivery("before");
    assert_eq!(answer(&mut link, &before).await, replied("before"));
    let turn = at_its_first_tool(&mut link).await;
    steer(&mut link, &before, &turn);
    go(&mut link, &dir).await;
    let (taken, outcome) = taken(&mut link, &turn).await;
    assert_eq!(taken, []);
    assert!(matches!(outcome, TurnOutcome::Replied(text) if text.contains("exec: ")));
    assert!(dir.path().join("work/second").exists());
    assert_eq!(answer(&mut link, &before).await, replied("before"));
}

#[tokio::test]
async fn what_is_meant_for_another_turn_of_the_session_is_left_alone() {
    let dir = dir();
    let (_rig, mut link) = Rig::start(&dir, spec_with_tools(&dir)).await;
    let turn = at_its_first_tool(&mut link).await;
    let late = delivery("for another");
    steer(&mut link, &late, &late);
    go(&mut link, &dir).await;
    assert_eq!(taken(&mut link, &turn).await.0, []);
}

#[tokio::test]
async fn no_more_is_taken_in_than_fits_beside_the_rest_and_none_out_of_order() {
    let dir = dir();
    let (_rig, mut link) = Rig::start(&dir, spec_with_tools(&dir)).await;
    // Of 100,000 bytes of context, half is for what is said.
    let turn = at_its_first_tool(&mut link).await;
    let large = "x".repeat(30_000);
    let steers = [large.as_str(), &large, "a word"].map(delivery);
    for one in &steers {
        steer(&mut link, one, &turn);
    }
    go(&mut link, &dir).await;
    assert_eq!(taken(&mut link, &turn).await.0, [steers[0].delivery]);

    // Nor more than wait for it.
    let turn = at_its_first_tool(&mut link).await;
    let many: Vec<_> = (0..STEERS + 5).map(|n| delivery(&n.to_string())).collect();
    for one in &many {
        steer(&mut link, one, &turn);
    }
    go(&mut link, &dir).await;
    let expected: Vec<_> = many[..STEERS].iter().map(|one| one.delivery).collect();
    assert_eq!(taken(&mut link, &turn).await.0, expected);
}

#[tokio::test]
async fn a_turn_that_may_use_no_more_tools_takes_nothing_in() {
    let dir = dir();
    let mut spec = spec_with_tools(&dir);
    spec.tools.max_steps = 2;
    let (_rig, mut link) = Rig::start(&dir, spec).await;
    let turn = at_its_first_tool(&mut link).await;
    steer(&mut link, &delivery("do more"), &turn);
    go(&mut link, &dir).await;
    let (taken, outcome) = taken(&mut link, &turn).await;
    assert_eq!(taken, []);
    assert!(matches!(outcome, TurnOutcome::Replied(text) if text.starts_with("exec: ")));
}
