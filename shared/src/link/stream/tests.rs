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

/// A peer that has left can be read and not written to. What it said last comes out before the error.
#[tokio::test]
async fn the_last_words_of_a_peer_are_read_although_nothing_can_be_written() {
    let (one, other) = tokio::io::duplex(1024 * 1024);
    let mut agent: Link<_, ToSupervisor, ToAgent> = link(one);
    let mut supervisor: Link<_, ToAgent, ToSupervisor> = link(other);
    let turn = TurnId::new();
    // More than are acknowledged together, so that the supervisor wants to write in the middle.
    for _ in 0..100 {
        agent.send(ToSupervisor::Started(turn)).unwrap();
    }
    agent.flush().await.unwrap();
    drop(agent);

    supervisor.send(ToAgent::Drain).unwrap();
    let mut heard = 0;
    let end = loop {
        match supervisor.next().await {
            Ok(_) => heard += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(heard, 100);
    assert!(matches!(end, LinkError::Io(_)), "{end:?}");
}

/// Packets that are for nobody, such as repeats, must not keep the thread.
#[tokio::test]
async fn a_flood_of_repeats_gives_way() {
    let (mut one, other) = tokio::io::duplex(1024 * 1024);
    let mut supervisor: Link<_, ToAgent, ToSupervisor> = link(other);
    let mut wire = BytesMut::new();
    let packet = Packet::Message {
        seq: 1,
        message: ToSupervisor::Ready,
    };
    for _ in 0..FRAMES_PER_POLL * 2 {
        codec::encode_frame(&packet, &mut wire).unwrap();
    }
    tokio::io::AsyncWriteExt::write_all(&mut one, &wire)
        .await
        .unwrap();
    supervisor.next().await.unwrap();
    assert!(
        poll_once(supervisor.next()).is_none(),
        "all that waits is a repeat"
    );
    assert!(
        !supervisor.inbox.is_empty(),
        "it took everything in one poll"
    );
}

fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut context = Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
