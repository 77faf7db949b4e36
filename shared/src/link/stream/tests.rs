use std::time::Duration;

use tokio::{io::DuplexStream, time::timeout};

use super::*;
use crate::{
    ids::TurnId,
    link::{QUEUE_MAX, WINDOW_BYTES},
    protocol::{ToAgent, ToSupervisor},
};

fn link<Out: Message, In: Message>(stream: DuplexStream) -> Link<DuplexStream, Out, In> {
    let start = Position {
        received: 0,
        granted: WINDOW_BYTES,
    };
    Link::resume(stream, Session::default(), start).unwrap()
}

/// Whoever waits to send waits for an acknowledgement, which `next` does not tell of.
#[tokio::test(start_paused = true)]
async fn room_in_a_full_queue_ends_the_wait() {
    let (one, other) = tokio::io::duplex(1024 * 1024);
    let mut agent: Link<_, ToSupervisor, ToAgent> = link(one);
    let mut supervisor: Link<_, ToAgent, ToSupervisor> = link(other);
    let turn = TurnId::new();
    while !agent.is_full() {
        agent.send(ToSupervisor::Started(turn)).unwrap();
    }
    assert_eq!(agent.unacknowledged(), QUEUE_MAX);
    agent.flush().await.unwrap();

    let read = tokio::spawn(async move {
        for _ in 0..QUEUE_MAX {
            supervisor.next().await.unwrap();
        }
        supervisor.flush().await.unwrap();
        supervisor
    });
    let woken = timeout(Duration::from_secs(1), agent.next_or_room()).await;
    assert_eq!(woken.expect("there is room").unwrap(), None);
    assert!(!agent.is_full());

    // With room, nothing comes from a peer that says nothing.
    let _supervisor = read.await.unwrap();
    let idle = timeout(Duration::from_secs(1), agent.next_or_room()).await;
    assert!(idle.is_err(), "{idle:?}");
}
