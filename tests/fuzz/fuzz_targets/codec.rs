//! Whatever a peer sends before or after the handshake is refused or understood, never a panic, a hang or a large
//! allocation; and what is understood survives being written and read again.
//!
//! The first byte of the input chooses the message type, the rest is what the peer sent.
#![no_main]

use std::fmt::Debug;

use bytes::BytesMut;
use kennel_shared::{
    bootstrap::Bootstrap,
    codec::{self, FRAME_MAX_BYTES, Front, HELLO_MAX_BYTES, PREFIX_BYTES},
    link::{Packet, Session},
    protocol::{Hello, HelloReply, ToAgent, ToSupervisor},
    session_key::SessionKey,
};
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};

fuzz_target!(|input: &[u8]| {
    let Some((choice, sent)) = input.split_first() else {
        return;
    };
    match choice % 7 {
        0 => stream::<ToSupervisor, ToAgent>(sent),
        1 => stream::<ToAgent, ToSupervisor>(sent),
        2 => {
            let _ = codec::front(sent, HELLO_MAX_BYTES);
            let _ = codec::decode_leading::<u16>(sent);
            round_trip::<Hello>(sent);
        }
        3 => round_trip::<HelloReply>(sent),
        4 => round_trip::<Packet<ToSupervisor>>(sent),
        5 => round_trip::<Packet<ToAgent>>(sent),
        _ => text(sent),
    }
});

/// Reads `body` as a message; one that is accepted must be written again and read back as itself.
fn round_trip<T: Serialize + DeserializeOwned>(body: &[u8]) {
    let Ok(message) = codec::decode_body::<T>(body) else {
        return;
    };
    let once = encode(&message);
    let again = codec::decode_body::<T>(&once[PREFIX_BYTES..]).expect("our own bytes are readable");
    assert_eq!(once, encode(&again), "one message, two encodings");
}

fn encode<T: Serialize>(message: &T) -> BytesMut {
    let mut frame = BytesMut::new();
    let length = codec::encode_frame(message, &mut frame).expect("what fitted once fits again");
    assert_eq!(
        codec::front(&frame, FRAME_MAX_BYTES),
        Ok(Front::Frame(length))
    );
    frame
}

/// Reads `sent` as a stream of frames and lets a session take each packet, until one of them refuses.
fn stream<In, Out>(mut sent: &[u8])
where
    In: DeserializeOwned + Debug,
    Out: kennel_shared::link::Message,
{
    let mut session = Session::<Out>::default();
    let mut reply = BytesMut::new();
    while let Ok(Front::Frame(length)) = codec::front(sent, FRAME_MAX_BYTES) {
        let (frame, rest) = sent.split_at(PREFIX_BYTES + length);
        let Ok(packet) = codec::decode_body::<Packet<In>>(&frame[PREFIX_BYTES..]) else {
            return;
        };
        let before = session.position();
        if session.on_packet(packet, length).is_err() {
            assert_eq!(
                before,
                session.position(),
                "a refused packet changed the session"
            );
            return;
        }
        let after = session.position();
        assert!(after.received >= before.received && after.granted >= before.granted);
        session
            .fill(&mut reply)
            .expect("nothing of ours is too large");
        reply.clear();
        sent = rest;
    }
}

/// The texts that come from outside the link: the bootstrap line and session keys.
fn text(sent: &[u8]) {
    let Ok(sent) = std::str::from_utf8(sent) else {
        return;
    };
    if let Ok(key) = sent.parse::<SessionKey>() {
        assert_eq!(key.to_string(), sent, "a session key is its own text");
    }
    let _ = Bootstrap::read(&mut sent.as_bytes());
}
