//! Bytes for the link that no correct agent sends.

use std::{io, io::Write as _, os::unix::net::UnixStream};

use bytes::BytesMut;
use kennel_shared::{
    codec,
    link::{Packet, WINDOW_BYTES},
    protocol::{Heartbeat, PROTOCOL, Position, ToSupervisor},
};

/// A prefix that announces 4 GiB.
pub(super) const FOUR_GIB: [u8; 4] = [0xff; 4];

/// A frame of a hundred bytes, of which ten come.
pub(super) const HALF: [u8; 14] = [100, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

/// A whole frame that begins like a hello: with the version, which is below 251 and so one byte.
pub(super) const HELLO_GARBAGE: [u8; 9] = [
    5,
    0,
    0,
    0,
    PROTOCOL.to_le_bytes()[0],
    0xff,
    0xff,
    0xff,
    0xff,
];

/// A whole frame with a body that is no packet.
pub(super) const GARBAGE: [u8; 12] = [8, 0, 0, 0, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee];

/// Writes all, though the socket does not block: it waits while it is full.
pub(super) fn write(mut stream: &UnixStream, bytes: &[u8]) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let written = stream.write_all(bytes);
    stream.set_nonblocking(true)?;
    written
}

fn frame(packet: &Packet<ToSupervisor>) -> BytesMut {
    let mut bytes = BytesMut::new();
    codec::encode_frame(packet, &mut bytes).expect("it fits a frame");
    bytes
}

/// A message whose number is far ahead.
pub(super) fn gap() -> BytesMut {
    frame(&Packet::Message {
        seq: 1000,
        message: ToSupervisor::Drained,
    })
}

/// An acknowledgement of what was never sent.
pub(super) fn ack() -> BytesMut {
    frame(&Packet::Ack(Position {
        received: 1000,
        granted: WINDOW_BYTES * 2,
    }))
}

/// A heartbeat.
pub(super) fn heartbeat() -> BytesMut {
    frame(&Packet::Heartbeat(Heartbeat::default()))
}
