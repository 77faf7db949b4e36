//! The pure core of a link: sequence numbers, acknowledgement, credit, resumption.
//!
//! Invariants:
//! - Messages leave in the order of [`Session::send`], numbered from 1 without a gap.
//! - A message is kept until the peer acknowledges it, and is never delivered twice.
//! - No more bytes are sent, or accepted, than were granted.

use std::collections::VecDeque;

use bytes::BytesMut;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::{
    codec::{self, EncodeError, FRAME_MAX_BYTES},
    protocol::{DELTA_MAX_BYTES, Heartbeat, Position, ToAgent, ToSupervisor},
};

/// How many bytes of message bodies may be on their way to one receiver. At least two frames, so
/// that the largest message never waits for an acknowledgement of its own kind.
pub const WINDOW_BYTES: u64 = 2 * FRAME_MAX_BYTES as u64;

/// How many messages one end keeps, sent or waiting. [`Session::send`] refuses more.
pub const QUEUE_MAX: usize = 1024;

/// A peer that has not been told of this many messages is told at once.
const ACK_EVERY: u64 = 32;

/// Heartbeats and acknowledgements are left out while this much waits to be written: a peer that
/// does not read gets no further credit, and its backlog does not grow.
pub(super) const BACKLOG_BYTES: usize = 128 * 1024;

/// How many bytes are laid out for one write.
const WRITE_BATCH_BYTES: usize = 64 * 1024;

/// A message that a link can carry.
pub trait Message: Serialize + DeserializeOwned {
    /// Takes `next` into `self` where both say no less as one. Only for messages that still wait.
    fn merge(&mut self, next: Self) -> Result<(), Self> {
        Err(next)
    }
}

impl Message for ToAgent {}

impl Message for ToSupervisor {
    fn merge(&mut self, next: Self) -> Result<(), Self> {
        match (self, next) {
            (
                Self::Delta { turn, text },
                Self::Delta {
                    turn: next_turn,
                    text: next_text,
                },
            ) if *turn == next_turn && text.len() + next_text.len() <= DELTA_MAX_BYTES => {
                text.push_str(&next_text);
                Ok(())
            }
            (_, next) => Err(next),
        }
    }
}

/// The body of a frame after the handshake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Packet<M> {
    /// A numbered message.
    Message {
        /// Its number, from 1.
        seq: u64,
        /// What it says.
        message: M,
    },
    /// What was received, and what may be sent.
    Ack(Position),
    /// A sign of life; neither numbered nor kept.
    Heartbeat(Heartbeat),
}

/// [`Packet::Message`] by reference: the same bytes without a copy of the message.
#[derive(Serialize)]
enum PacketRef<'a, M> {
    Message { seq: u64, message: &'a M },
}

/// What a peer did that a correct one never does.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Violation {
    /// A number was left out.
    #[error("message {got} came where {expected} was due")]
    Gap {
        /// The number due.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// It acknowledged what was never sent, or took an acknowledgement back.
    #[error("it acknowledged message {got} of {first}..={last}")]
    Ack {
        /// What it acknowledged.
        got: u64,
        /// The last that it had acknowledged.
        first: u64,
        /// The last that was sent.
        last: u64,
    },
    /// It took credit back.
    #[error("it lowered its grant from {from} to {to} bytes")]
    Grant {
        /// What it had granted.
        from: u64,
        /// What it grants now.
        to: u64,
    },
    /// It sent beyond its credit.
    #[error("it sent {sent} bytes with {granted} granted")]
    Credit {
        /// What it has sent.
        sent: u64,
        /// What it was granted.
        granted: u64,
    },
}

/// Why a message is not taken for sending.
#[derive(Debug, Error)]
pub enum SendError<M> {
    /// [`QUEUE_MAX`] messages are kept already. The message comes back; try again after the peer
    /// has acknowledged some.
    #[error("the peer has not acknowledged the last {QUEUE_MAX} messages")]
    Full(M),
}

/// What one packet of the peer means for the owner of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received<M> {
    /// A message, in order, for the first time.
    Message(M),
    /// A sign of life.
    Heartbeat(Heartbeat),
    /// Nothing for the owner: an acknowledgement, or a message that was seen before.
    Nothing,
}

#[derive(Debug)]
struct Kept<M> {
    /// Length of its body; `None` until it is first sent.
    length: Option<u64>,
    message: M,
}

/// One end of a link. Survives connections; see the module's invariants.
#[derive(Debug)]
pub struct Session<Out> {
    /// Unacknowledged messages in order; `kept[0]` has number `acked + 1`.
    kept: VecDeque<Kept<Out>>,
    /// How many of `kept` have been sent on the present connection.
    cursor: usize,
    /// How many of `kept` have been sent on any connection; never less than `cursor`.
    ever_sent: usize,
    /// The last message that the peer acknowledged.
    acked: u64,
    /// Bytes of bodies sent, each message once.
    sent_bytes: u64,
    /// Bytes that the peer allows.
    peer_granted: u64,
    /// The last message received.
    received: u64,
    /// Bytes of bodies received, each message once.
    received_bytes: u64,
    /// What the peer was last told.
    told: Position,
}

impl<Out> Default for Session<Out> {
    fn default() -> Self {
        Self {
            kept: VecDeque::new(),
            cursor: 0,
            ever_sent: 0,
            acked: 0,
            sent_bytes: 0,
            peer_granted: WINDOW_BYTES,
            received: 0,
            received_bytes: 0,
            told: Position {
                received: 0,
                granted: WINDOW_BYTES,
            },
        }
    }
}

impl<Out: Message> Session<Out> {
    /// Queues a message. It may merge into one that still waits.
    pub fn send(&mut self, message: Out) -> Result<(), SendError<Out>> {
        let message = match self.kept.back_mut() {
            Some(last) if last.length.is_none() => match last.message.merge(message) {
                Ok(()) => return Ok(()),
                Err(message) => message,
            },
            _ => message,
        };
        if self.is_full() {
            return Err(SendError::Full(message));
        }
        self.kept.push_back(Kept {
            length: None,
            message,
        });
        Ok(())
    }

    /// Whether [`send`](Self::send) would refuse a message that cannot merge.
    pub fn is_full(&self) -> bool {
        self.kept.len() >= QUEUE_MAX
    }

    /// How many messages are neither acknowledged nor forgotten.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// What the peer has not acknowledged, in order; for another session.
    pub fn into_kept(self) -> impl Iterator<Item = Out> {
        self.kept.into_iter().map(|kept| kept.message)
    }

    /// The number of the last message that the peer has acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acked
    }

    /// How many messages have not been sent once: they wait for credit, or for
    /// [`fill`](Self::fill).
    pub fn unsent(&self) -> usize {
        self.kept.len() - self.ever_sent
    }

    /// Lays out for writing what may be sent now: messages within the peer's credit, and an
    /// acknowledgement when one is due or rides along for free. A message that no frame can hold is
    /// an error of this end's program.
    pub fn fill(&mut self, buffer: &mut BytesMut) -> Result<(), EncodeError> {
        let mut filled = false;
        while buffer.len() < WRITE_BATCH_BYTES
            && let Some(kept) = self.kept.get_mut(self.cursor)
        {
            let seq = self.acked + 1 + self.cursor as u64;
            let before = buffer.len();
            let packet = PacketRef::Message {
                seq,
                message: &kept.message,
            };
            let length = codec::encode_frame(&packet, buffer)? as u64;
            if kept.length.is_none() {
                if self.sent_bytes + length > self.peer_granted {
                    buffer.truncate(before);
                    break;
                }
                self.sent_bytes += length;
                kept.length = Some(length);
                self.ever_sent += 1;
            }
            self.cursor += 1;
            filled = true;
        }
        let worth_it = self.ack_is_due() || (filled && self.told != self.position());
        if worth_it && buffer.len() < BACKLOG_BYTES {
            self.fill_ack(buffer);
        }
        Ok(())
    }

    /// Whether the peer should hear what was received even if there is nothing to say.
    pub fn ack_is_due(&self) -> bool {
        self.received - self.told.received >= ACK_EVERY
            || self.position().granted - self.told.granted >= WINDOW_BYTES / 4
    }

    /// Lays out an acknowledgement of everything received.
    pub fn fill_ack(&mut self, buffer: &mut BytesMut) {
        self.told = self.position();
        codec::encode_frame(&Packet::<Out>::Ack(self.told), buffer)
            .expect("an acknowledgement fits a frame");
    }

    /// Where this end stands.
    pub fn position(&self) -> Position {
        Position {
            received: self.received,
            granted: self.received_bytes + WINDOW_BYTES,
        }
    }

    /// Takes a packet whose body has `length` bytes.
    pub fn on_packet<In>(
        &mut self,
        packet: Packet<In>,
        length: usize,
    ) -> Result<Received<In>, Violation> {
        match packet {
            Packet::Message { seq, .. } if seq <= self.received => Ok(Received::Nothing),
            Packet::Message { seq, .. } if seq > self.received + 1 => Err(Violation::Gap {
                expected: self.received + 1,
                got: seq,
            }),
            Packet::Message { message, .. } => {
                // What was granted and told: a grant still unsaid cannot have been obeyed.
                let sent = self.received_bytes + length as u64;
                if sent > self.told.granted {
                    return Err(Violation::Credit {
                        sent,
                        granted: self.told.granted,
                    });
                }
                self.received += 1;
                self.received_bytes = sent;
                Ok(Received::Message(message))
            }
            Packet::Ack(position) => self.on_position(position).map(|()| Received::Nothing),
            Packet::Heartbeat(heartbeat) => Ok(Received::Heartbeat(heartbeat)),
        }
    }

    /// Starts over on a new connection: the peer stands at `peer`, and what it has not received is
    /// sent again.
    pub fn resume(&mut self, peer: Position) -> Result<(), Violation> {
        // What went to the old connection may not have arrived, so the peer may stand anywhere up
        // to it; what follows is sent anew, in the same order and with the same numbers.
        self.on_position(peer)?;
        self.cursor = 0;
        self.told = self.position();
        Ok(())
    }

    fn on_position(&mut self, position: Position) -> Result<(), Violation> {
        let last = self.acked + self.ever_sent as u64;
        if position.received < self.acked || position.received > last {
            return Err(Violation::Ack {
                got: position.received,
                first: self.acked,
                last,
            });
        }
        if position.granted < self.peer_granted {
            return Err(Violation::Grant {
                from: self.peer_granted,
                to: position.granted,
            });
        }
        let newly = usize::try_from(position.received - self.acked).expect("at most QUEUE_MAX");
        self.kept.drain(..newly);
        self.cursor = self.cursor.saturating_sub(newly);
        self.ever_sent -= newly;
        self.acked = position.received;
        self.peer_granted = position.granted;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
