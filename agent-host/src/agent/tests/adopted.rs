//! A supervisor that was not there when the link began.

use super::*;

/// The end of a turn that nobody acknowledged is said again, once, behind the word that we are ready.
#[tokio::test]
async fn a_new_supervisor_hears_what_nobody_acknowledged() {
    let dir = dir();
    let (mut rig, mut link) = Rig::start(&dir, spec()).await;
    let question = delivery("!sleep 30 slept");
    deliver(&mut link, &question);
    assert_eq!(next(&mut link).await, ToSupervisor::Started(question.turn));
    drop(link);
    // Nobody answers until the turn is over.
    drop(rig.hello().await);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (mut link, hello) = rig.accept_anew().await;
    assert!(hello.link != LinkId::NONE && !hello.draining);
    assert_eq!(next(&mut link).await, ToSupervisor::Ready);
    // The rest of what was said is the old supervisor's: pieces of a text whose beginning is lost.
    let ToSupervisor::Finished {
        delivery: of,
        outcome,
        ..
    } = next(&mut link).await
    else {
        panic!("the end comes first");
    };
    assert_eq!((of, outcome), (question.delivery, replied("slept")));
    assert_eq!(answer(&mut link, &delivery("hi")).await, replied("hi"));

    // The link that began then goes on over another connection, and is what the agent names.
    let session = link.into_session();
    let mut link = rig.accept(session).await;
    assert_eq!(answer(&mut link, &delivery("ho")).await, replied("ho"));
}

/// A turn that runs is left alone when it is handed out again, and answered once.
#[tokio::test]
async fn what_runs_is_not_begun_twice() {
    let dir = dir();
    let (mut rig, mut link) = Rig::start(&dir, spec()).await;
    let question = delivery("!sleep 150 slept");
    deliver(&mut link, &question);
    assert_eq!(next(&mut link).await, ToSupervisor::Started(question.turn));
    drop(link);
    let (mut link, _) = rig.accept_anew().await;
    assert_eq!(next(&mut link).await, ToSupervisor::Ready);
    assert_eq!(answer(&mut link, &question).await, replied("slept"));
    let count = answer(&mut link, &delivery("!context")).await;
    let TurnOutcome::Replied(count) = count else {
        panic!("{count:?}");
    };
    assert!(count.starts_with("messages=3 "), "{count}");
}

/// A supervisor that has just come back does not know what was done, and hands out more than there is
/// room for.
#[tokio::test]
async fn what_was_done_is_said_again_whatever_else_runs() {
    let dir = dir();
    let one_at_a_time = AgentSpec {
        max_concurrent: 1,
        ..spec()
    };
    let (_rig, mut link) = Rig::start(&dir, one_at_a_time).await;
    let done = delivery("hi");
    assert_eq!(answer(&mut link, &done).await, replied("hi"));
    let running = delivery("!hang");
    deliver(&mut link, &running);
    assert_eq!(next(&mut link).await, ToSupervisor::Started(running.turn));
    assert_eq!(answer(&mut link, &done).await, replied("hi"));
    let other = answer(&mut link, &delivery_in("b", "new")).await;
    assert_eq!(kind(&other), Some(FailureKind::Overloaded));
    // Also while it leaves.
    link.send(ToAgent::Drain).unwrap();
    assert_eq!(answer(&mut link, &done).await, replied("hi"));
}

#[tokio::test]
async fn a_drain_is_remembered_and_told() {
    let dir = dir();
    let (mut rig, mut link) = Rig::start(&dir, spec()).await;
    let question = delivery("!sleep 200 slept");
    deliver(&mut link, &question);
    assert_eq!(next(&mut link).await, ToSupervisor::Started(question.turn));
    link.send(ToAgent::Drain).unwrap();
    // Answered only after what came before it.
    link.send(ToAgent::Cancel(TurnId::new())).unwrap();
    link.flush().await.unwrap();
    beat(&mut link).await;
    beat(&mut link).await;
    drop(link);
    let (mut link, hello) = rig.accept_anew().await;
    assert!(hello.draining);
    assert_eq!(next(&mut link).await, ToSupervisor::Ready);
    assert_eq!(finished(&mut link, &question).await.1, replied("slept"));
    assert_eq!(next(&mut link).await, ToSupervisor::Drained);
    assert_eq!(rig.exit().await, Exit::Done);
}

/// The grace is for finding a supervisor; a turn that runs has its own time.
#[tokio::test]
async fn the_grace_does_not_cut_a_turn_short() {
    let dir = dir();
    let (rig, mut link) = Rig::start(&dir, spec()).await;
    let question = delivery("!sleep 1200 slept");
    deliver(&mut link, &question);
    assert_eq!(next(&mut link).await, ToSupervisor::Started(question.turn));
    drop(link);
    assert_eq!(rig.exit().await, Exit::Orphaned);
    let (_rig, mut link) = Rig::start(&dir, spec()).await;
    let again = Delivery {
        text: "another question would be answered otherwise".into(),
        ..question
    };
    assert_eq!(answer(&mut link, &again).await, replied("slept"));
}

/// But a turn that does not end does not keep an agent for ever.
#[tokio::test]
async fn a_turn_that_does_not_end_does_not_keep_an_orphan() {
    let dir = dir();
    let short = AgentSpec {
        turn_timeout_ms: 300,
        ..spec()
    };
    let (rig, mut link) = Rig::start(&dir, short).await;
    deliver(&mut link, &delivery("!hang"));
    link.flush().await.unwrap();
    beat(&mut link).await;
    drop(link);
    assert_eq!(rig.exit().await, Exit::Orphaned);
}
