//! The link: the framed, numbered, flow-controlled connection between the supervisor and an agent.
//!
//! [`Session`] is the pure core: it numbers what is sent, keeps it until it is acknowledged, grants
//! and obeys credit, and refuses a peer that breaks the rules. It outlives connections: after a
//! reconnect both ends exchange [`Position`](crate::protocol::Position)s and resend what the other
//! has not seen. [`Link`] drives one session over one byte stream. [`handshake`] runs before either.
//!
//! On the wire: `u32` little-endian length, then a body of at most
//! [`FRAME_MAX_BYTES`](crate::codec::FRAME_MAX_BYTES). A body is a [`Packet`].
//!
//! Credit is counted in bytes of message bodies over the life of the session. The receiver grants
//! [`WINDOW_BYTES`] beyond what it has taken; a sender that goes beyond loses its link. A receiver
//! that stops taking messages therefore bounds what the sender may have on its way, and the
//! sender's own queue is bounded too ([`QUEUE_MAX`]): a full one is reported to the caller, who
//! waits. Text deltas that wait are merged.

mod handshake;
mod session;
mod stream;

pub use handshake::{HandshakeError, accept_hello, reply_hello, say_hello};
pub use session::{
    Message, Packet, QUEUE_MAX, Received, SendError, Session, Violation, WINDOW_BYTES,
};
pub use stream::{Incoming, Link, LinkError};
