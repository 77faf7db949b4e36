//! The real binary under a scripted supervisor: what only a process can show. Exit codes, the lock, the
//! store across lives, signals, memory. Everything else is tested within the crate.

mod model;
mod rig;
mod sessions;
mod steps;

use std::{os::unix::process::ExitStatusExt, time::Duration};

use interprocess::local_socket::tokio::prelude::*;
use kennel_shared::{
    ids::TurnId,
    link::{accept_hello, reply_hello},
    protocol::{AgentSpec, Delivery, HelloReply, Refusal, ToAgent, ToSupervisor},
};
use rig::{Kennel, PATIENCE, answer, delivery, next, replied, spec, start_with};
use tokio::time::{Instant, timeout};

#[tokio::test]
async fn answers_drains_and_leaves_with_zero() {
    let kennel = Kennel::new();
    let mut agent = kennel.start();
    let mut link = kennel.accept(spec()).await;
    assert_eq!(answer(&mut link, delivery("hello")).await, replied("hello"));
    link.send(ToAgent::Drain).unwrap();
    assert_eq!(next(&mut link).await, ToSupervisor::Drained);
    assert_eq!(agent.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_stop_signal_ends_it_within_a_second_and_its_turn_can_be_delivered_again() {
    let kennel = Kennel::new();
    let mut agent = kennel.start();
    let mut link = kennel.accept(spec()).await;
    let question = delivery("!hang");
    link.send(ToAgent::Deliver(question.clone())).unwrap();
    assert_eq!(next(&mut link).await, ToSupervisor::Started(question.turn));
    let asked = Instant::now();
    agent.signal(nix::sys::signal::Signal::SIGTERM);
    // The link is written to while it leaves, so somebody must read.
    while link.next().await.is_ok() {}
    assert_eq!(agent.exit().await.code(), Some(0));
    assert!(
        asked.elapsed() < Duration::from_secs(1),
        "{:?}",
        asked.elapsed()
    );

    let _next_life = kennel.start();
    let mut link = kennel.accept(spec()).await;
    let again = Delivery {
        turn: TurnId::new(),
        text: "again".into(),
        ..question
    };
    assert_eq!(answer(&mut link, again).await, replied("again"));
}

#[tokio::test]
async fn a_stop_signal_is_heard_while_it_looks_for_its_supervisor() {
    let kennel = Kennel::new();
    let mut agent = kennel.start();
    // It is there, and waits for an answer to its hello.
    let mut stream = timeout(PATIENCE, kennel.listener.accept())
        .await
        .unwrap()
        .unwrap();
    accept_hello(&mut stream).await.unwrap();
    agent.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(agent.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_place_is_free_as_soon_as_its_turn_is_finished() {
    let kennel = Kennel::new();
    let _agent = kennel.start();
    let one_at_a_time = AgentSpec {
        max_concurrent: 1,
        ..spec()
    };
    let mut link = kennel.accept(one_at_a_time).await;
    for _ in 0..300 {
        assert_eq!(answer(&mut link, delivery("next")).await, replied("next"));
    }
}

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let kennel = Kennel::new();
    let agent = kennel.start();
    let mut link = kennel.accept(spec()).await;
    let question = delivery("remember");
    assert_eq!(
        answer(&mut link, question.clone()).await,
        replied("remember")
    );
    drop(agent);
    let _next_life = kennel.start();
    let mut link = kennel.accept(spec()).await;
    let again = Delivery {
        text: "forget".into(),
        ..question
    };
    assert_eq!(answer(&mut link, again).await, replied("remember"));
    let context = answer(&mut link, delivery("!context")).await;
    assert_eq!(context, replied("messages=3 bytes=24"));
}

#[tokio::test]
async fn a_second_instance_of_an_agent_is_impossible() {
    let kennel = Kennel::new();
    let _first = kennel.start();
    let _link = kennel.accept(spec()).await;
    let mut second = kennel.start();
    assert_eq!(second.exit().await.code(), Some(75));
    let log = second.log();
    assert!(
        log.contains("another instance of this agent is running"),
        "{log}"
    );
}

#[tokio::test]
async fn a_bad_bootstrap_is_refused() {
    for bootstrap in [&b""[..], b"{}", b"hello"] {
        let mut agent = start_with(bootstrap);
        assert_eq!(agent.exit().await.code(), Some(78));
        let log = agent.log();
        assert!(log.contains("started by `kennel up`, not by hand"), "{log}");
    }
}

#[tokio::test]
async fn a_refused_agent_leaves() {
    let kennel = Kennel::new();
    let mut agent = kennel.start();
    let mut stream = timeout(PATIENCE, kennel.listener.accept())
        .await
        .unwrap()
        .unwrap();
    accept_hello(&mut stream).await.unwrap();
    let refuse = HelloReply::Refuse(Refusal::Token);
    reply_hello(&mut stream, &refuse).await.unwrap();
    assert_eq!(agent.exit().await.code(), Some(78));
    let log = agent.log();
    assert!(
        log.contains("the supervisor refused this agent: wrong token"),
        "{log}"
    );
}

#[tokio::test]
async fn a_damaged_store_is_named_and_left_as_it_is() {
    let kennel = Kennel::new();
    let damaged = "not a database any more ".repeat(500);
    std::fs::write(kennel.store(), &damaged).unwrap();
    let mut agent = kennel.start();
    assert_eq!(agent.exit().await.code(), Some(70));
    let log = agent.log();
    assert!(log.contains(kennel.store().to_str().unwrap()), "{log}");
    assert!(log.contains("not a database"), "{log}");
    assert_eq!(std::fs::read_to_string(kennel.store()).unwrap(), damaged);
}

#[tokio::test]
async fn it_outlives_whoever_reads_its_log() {
    let kennel = Kennel::new();
    let mut agent = kennel.start();
    let mut link = kennel.accept(spec()).await;
    drop(agent.0.stderr.take());
    // Each of these logs, one of them from a panic.
    for text in ["hello", "!fail 500", "!panic"] {
        answer(&mut link, delivery(text)).await;
    }
    assert_eq!(answer(&mut link, delivery("alive")).await, replied("alive"));
}

#[tokio::test]
async fn nobody_else_can_read_what_it_keeps() {
    use std::os::unix::fs::PermissionsExt;
    let kennel = Kennel::new();
    let _agent = kennel.start();
    let mut link = kennel.accept(spec()).await;
    answer(&mut link, delivery("secret")).await;
    for name in ["store.db", "store.db-wal", "store.db-shm", "lock"] {
        let metadata = std::fs::metadata(kennel.dir.path().join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn sudden_ends_look_as_they_should() {
    let kennel = Kennel::new();
    let mut agent = kennel.start();
    let mut link = kennel.accept(spec()).await;
    link.send(ToAgent::Deliver(delivery("!exit 3"))).unwrap();
    while link.next().await.is_ok() {}
    assert_eq!(agent.exit().await.code(), Some(3));

    let mut agent = kennel.start();
    let mut link = kennel.accept(spec()).await;
    link.send(ToAgent::Deliver(delivery("!abort"))).unwrap();
    while link.next().await.is_ok() {}
    let status = agent.exit().await;
    assert_eq!(status.signal(), Some(nix::libc::SIGABRT));
    assert!(!status.core_dumped());
}
