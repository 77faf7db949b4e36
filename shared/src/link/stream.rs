//! One [`Session`] over one byte stream. Owned by the task that uses it: no task of its own, no
//! queue between, so a message costs one wake-up.

use std::{
    future::poll_fn,
    io,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use super::session::{BACKLOG_BYTES, Message, Packet, Received, SendError, Session, Violation};
use crate::{
    codec::{self, DecodeError, EncodeError, FRAME_MAX_BYTES, Front, PREFIX_BYTES},
    protocol::{Heartbeat, Position},
};

/// What is read at once when nothing is known of what comes. Small, since every agent has one.
const READ_BYTES: usize = 8 * 1024;

/// What a busy read buffer may keep; a larger one, from a large frame, is given back.
const READ_KEEP_BYTES: usize = 64 * 1024;

/// How many frames one poll takes before it gives way to the other tasks of the thread.
const FRAMES_PER_POLL: u32 = 64;

/// And how many bytes of them: long frames take their time in copying.
const BYTES_PER_POLL: usize = 128 * 1024;

/// Something from the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming<M> {
    /// A message.
    Message(M),
    /// A sign of life.
    Heartbeat(Heartbeat),
}

/// Why a link ended.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The peer closed it between frames.
    #[error("the peer closed the link")]
    Closed,
    /// The peer closed it within a frame.
    #[error("the link ended within a frame, with {0} bytes of it")]
    Truncated(usize),
    /// The socket failed.
    #[error("the link's socket failed")]
    Io(#[from] io::Error),
    /// The peer sent what is no message.
    #[error("the peer sent garbage")]
    Decode(#[from] DecodeError),
    /// The peer broke the rules.
    #[error("the peer broke the protocol")]
    Violation(#[from] Violation),
    /// This end queued what no frame can hold.
    #[error("a message does not fit a frame")]
    Encode(#[from] EncodeError),
}

impl LinkError {
    /// Whether the peer is to blame, and not chance: what it sent is wrong.
    pub fn is_misbehaviour(&self) -> bool {
        matches!(
            self,
            Self::Decode(_) | Self::Violation(_) | Self::Truncated(_)
        )
    }
}

/// One end of a connected link: sends `Out`, receives `In`.
#[derive(Debug)]
pub struct Link<S, Out, In> {
    stream: S,
    session: Session<Out>,
    inbox: BytesMut,
    outbox: BytesMut,
    /// Frames, and bytes of them, that the poll has taken so far.
    taken_in_poll: (u32, usize),
    /// Why nothing can be written any more. What the peer said before it left is read first.
    unwritable: Option<io::Error>,
    incoming: PhantomData<fn() -> In>,
}

impl<S, Out, In> Link<S, Out, In>
where
    S: AsyncRead + AsyncWrite + Unpin,
    Out: Message,
    In: Message,
{
    /// Goes on with `session` over `stream`, whose handshake is done and said that the peer stands
    /// at `peer`.
    pub fn resume(stream: S, mut session: Session<Out>, peer: Position) -> Result<Self, Violation> {
        session.resume(peer)?;
        Ok(Self {
            stream,
            session,
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
            taken_in_poll: (0, 0),
            unwritable: None,
            incoming: PhantomData,
        })
    }

    /// Queues a message; [`next`](Self::next) writes it. `Full` hands it back: call `next` and try
    /// again.
    pub fn send(&mut self, message: Out) -> Result<(), SendError<Out>> {
        self.session.send(message)
    }

    /// Whether the next message would be refused.
    pub fn is_full(&self) -> bool {
        self.session.is_full()
    }

    /// Queues a sign of life, unless the peer has stopped reading.
    pub fn send_heartbeat(&mut self, heartbeat: Heartbeat) {
        if self.outbox.len() < BACKLOG_BYTES {
            codec::encode_frame(&Packet::<Out>::Heartbeat(heartbeat), &mut self.outbox)
                .expect("a heartbeat fits a frame");
        }
    }

    /// Queues an acknowledgement of all that was received.
    pub fn acknowledge(&mut self) {
        if self.outbox.len() < BACKLOG_BYTES {
            self.session.fill_ack(&mut self.outbox);
        }
    }

    /// Bytes that the peer has not read yet, as far as this end knows.
    pub fn backlog_bytes(&self) -> usize {
        self.outbox.len()
    }

    /// Messages that the peer has not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.session.kept()
    }

    /// Messages that have not been written once, such as those that wait for credit.
    pub fn unsent(&self) -> usize {
        self.session.unsent()
    }

    /// The next thing from the peer; writes what is queued meanwhile. Cancel-safe: nothing is lost
    /// when the future is dropped, and queued messages go on being written by the next call.
    pub async fn next(&mut self) -> Result<Incoming<In>, LinkError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`next`](Self::next), but a full queue that has room again ends the wait with `None`:
    /// acknowledgements are nothing to the owner otherwise. Cancel-safe.
    pub async fn next_or_room(&mut self) -> Result<Option<Incoming<In>>, LinkError> {
        let full = self.is_full();
        poll_fn(|cx| match self.poll_next(cx) {
            Poll::Ready(next) => Poll::Ready(next.map(Some)),
            Poll::Pending if full && !self.is_full() => Poll::Ready(Ok(None)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Writes until everything queued has been handed to the kernel. For the end of a life.
    pub async fn flush(&mut self) -> Result<(), LinkError> {
        match self.unwritable.take() {
            Some(error) => Err(error.into()),
            None => poll_fn(|cx| self.poll_write_out(cx)).await,
        }
    }

    /// The number of the last message that the peer has acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.session.acknowledged()
    }

    /// Ends this connection and gives the session back, to resume on another.
    pub fn into_session(self) -> Session<Out> {
        self.session
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming<In>, LinkError>> {
        loop {
            // Writing comes first: a peer that waits for us must not wait for our reading.
            if self.unwritable.is_none() {
                match self.poll_write_out(cx) {
                    Poll::Ready(Err(LinkError::Io(error))) => self.unwritable = Some(error),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                }
            }
            if let Some(incoming) = self.take_frame()? {
                return Poll::Ready(Ok(incoming));
            }
            if self.unwritable.is_none()
                && self.session.ack_is_due()
                && self.outbox.len() < BACKLOG_BYTES
            {
                continue;
            }
            if self.has_had_its_share() {
                self.taken_in_poll = (0, 0);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.poll_read_in(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(match (self.unwritable.take(), error) {
                        (Some(first), LinkError::Closed | LinkError::Io(_)) => first.into(),
                        (_, error) => error,
                    }));
                }
                Poll::Pending => {
                    self.taken_in_poll = (0, 0);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Takes packets off the read buffer until one is for the owner, or this poll has had its share:
    /// those that are for nobody take time too.
    fn take_frame(&mut self) -> Result<Option<Incoming<In>>, LinkError> {
        while !self.has_had_its_share()
            && let Front::Frame(length) = codec::front(&self.inbox, FRAME_MAX_BYTES)?
        {
            self.taken_in_poll.0 += 1;
            self.taken_in_poll.1 += length;
            let packet = codec::decode_body(&self.inbox[PREFIX_BYTES..PREFIX_BYTES + length])?;
            self.inbox.advance(PREFIX_BYTES + length);
            match self.session.on_packet(packet, length)? {
                Received::Message(message) => return Ok(Some(Incoming::Message(message))),
                Received::Heartbeat(heartbeat) => return Ok(Some(Incoming::Heartbeat(heartbeat))),
                Received::Nothing => {}
            }
        }
        Ok(None)
    }

    fn has_had_its_share(&self) -> bool {
        let (frames, bytes) = self.taken_in_poll;
        frames >= FRAMES_PER_POLL || bytes >= BYTES_PER_POLL
    }

    fn poll_read_in(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        if self.inbox.is_empty() && self.inbox.capacity() > READ_KEEP_BYTES {
            self.inbox = BytesMut::new();
        }
        // A full buffer with an incomplete frame doubles: memory follows what came, never what a
        // prefix promises.
        let room = if self.inbox.is_empty() {
            READ_BYTES
        } else {
            READ_BYTES.max(self.inbox.len())
        };
        self.inbox.reserve(room);
        let before = self.inbox.len();
        let filled = ready!(poll_read_buf(
            Pin::new(&mut self.stream),
            cx,
            &mut self.inbox
        ))?;
        if filled == 0 {
            return Poll::Ready(Err(match before {
                0 => LinkError::Closed,
                partial => LinkError::Truncated(partial),
            }));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        loop {
            self.session.fill(&mut self.outbox)?;
            if self.outbox.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.outbox))?;
            if written == 0 {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into()));
            }
            self.outbox.advance(written);
            if self.outbox.is_empty() && self.outbox.capacity() > READ_KEEP_BYTES * 2 {
                self.outbox = BytesMut::new();
            }
        }
    }
}

#[cfg(test)]
mod tests;
