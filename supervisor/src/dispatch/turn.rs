//! How an answer reaches whoever waits for it.
//!
//! A [`ReplySink`] is told everything and never makes the dispatcher wait. The one for callers that
//! read a stream has a bounded queue of text: when the caller is slower than the model, no more
//! pieces are queued, and the rest comes from the whole reply at the end. So what the caller reads
//! is complete and in order, and a slow one costs no memory.

use kennel_shared::{ids::DeliveryId, protocol::Spent, session_key::SessionKey};
use tokio::sync::{mpsc, oneshot};

use super::dispatcher::{Accepted, DispatcherHandle};
use crate::journal::entry::NewSend;

/// Pieces of text that wait for one caller.
const PIECES: usize = 64;

/// Why a turn has no answer, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndKind {
    /// The model's server refused: the key, the model, the request.
    Provider,
    /// The model's server was busy, broken or out of reach.
    Unavailable,
    /// It took too long.
    Timeout,
    /// The agent's own store failed.
    Store,
    /// The agent kept dying of it.
    Agent,
    /// The agent was stopped while the message waited.
    Stopped,
    /// The agent has spent what it may.
    Budget,
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnEnd {
    /// With this text.
    Replied {
        /// All of it.
        text: String,
        /// What it took.
        spent: Spent,
    },
    /// Without an answer.
    Failed {
        /// For programs.
        kind: EndKind,
        /// For people.
        message: String,
    },
    /// On request.
    Cancelled,
}

/// Somebody who waits for an answer. Its methods must not block.
pub trait ReplySink: Send {
    /// What is to be sent to the chat because of this end; it is put down together with the end, and
    /// sent whatever becomes of this supervisor.
    fn sends(&self, _end: &TurnEnd) -> Vec<NewSend> {
        Vec::new()
    }
    /// What the chat is told of something else than an end.
    fn notice(&self, _words: &str) -> Option<NewSend> {
        None
    }
    /// Whether the turn is still wanted when this one is gone: somebody will read the answer later.
    fn outlasts(&self) -> bool;
    /// Whether somebody holds a line for it, who is cut off when this process ends.
    fn holds(&self) -> bool {
        false
    }
    /// It joins a turn that may have said something already: only the end will be whole.
    fn late(&mut self) {}
    /// An agent has begun; more than once if one crashed and the message was handed out again.
    fn started(&mut self);
    /// The next piece of text.
    fn delta(&mut self, text: &str);
    /// The end; nothing comes after it.
    fn end(self: Box<Self>, end: TurnEnd);
}

/// What a caller reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnEvent {
    /// An agent has begun.
    Started,
    /// The next piece of text.
    Delta(String),
    /// What was read so far is void: the agent crashed and answers anew.
    Restarted,
    /// The end.
    End(TurnEnd),
}

enum Piece {
    Started,
    Text(String),
}

/// The dispatcher's end of a [`TurnStream`].
struct StreamSink {
    pieces: Option<mpsc::Sender<Piece>>,
    attempts: u32,
    end: oneshot::Sender<TurnEnd>,
    outlasts: bool,
}

impl ReplySink for StreamSink {
    fn holds(&self) -> bool {
        true
    }

    fn outlasts(&self) -> bool {
        self.outlasts
    }

    fn late(&mut self) {
        self.pieces = None;
    }

    fn started(&mut self) {
        self.attempts += 1;
        if self.attempts > 1 {
            // Pieces of another attempt do not continue those that were read.
            self.pieces = None;
        } else if let Some(pieces) = &self.pieces {
            let _ = pieces.try_send(Piece::Started);
        }
    }

    fn delta(&mut self, text: &str) {
        if let Some(pieces) = &self.pieces
            && pieces.try_send(Piece::Text(text.to_owned())).is_err()
        {
            self.pieces = None;
        }
    }

    fn end(self: Box<Self>, end: TurnEnd) {
        // A caller that is gone does not mind.
        let _ = self.end.send(end);
    }
}

/// A caller's end of one turn. Dropping it before the end cancels the turn, unless the caller has a
/// key by which to ask again.
pub struct TurnStream {
    delivery: DeliveryId,
    pieces: mpsc::Receiver<Piece>,
    end: Option<oneshot::Receiver<TurnEnd>>,
    /// What was read so far; only its length counts unless the attempt changes.
    read: String,
    queued: Vec<TurnEvent>,
    dispatcher: DispatcherHandle,
    session: SessionKey,
    keyed: bool,
}

impl TurnStream {
    /// A stream for `delivery`, and the sink to submit with it. Whoever is `keyed` may ask again.
    pub(super) fn new(
        delivery: DeliveryId,
        session: SessionKey,
        dispatcher: DispatcherHandle,
        keyed: bool,
    ) -> (Self, Box<dyn ReplySink>) {
        let (pieces, read_pieces) = mpsc::channel(PIECES);
        let (end, read_end) = oneshot::channel();
        let sink = StreamSink {
            pieces: Some(pieces),
            attempts: 0,
            end,
            outlasts: keyed,
        };
        let stream = Self {
            delivery,
            pieces: read_pieces,
            end: Some(read_end),
            read: String::new(),
            queued: Vec::new(),
            dispatcher,
            session,
            keyed,
        };
        (stream, Box::new(sink))
    }

    /// The delivery that it turned out to be.
    pub(super) fn is_for(&mut self, accepted: Accepted) {
        self.delivery = accepted.delivery;
        self.session = accepted.session;
    }

    /// The conversation that it is in.
    pub fn session(&self) -> &SessionKey {
        &self.session
    }

    /// Names the turn, for a cancellation.
    pub fn delivery(&self) -> DeliveryId {
        self.delivery
    }

    /// The next thing; `None` after the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<TurnEvent> {
        if let Some(event) = self.queued.pop() {
            return Some(event);
        }
        match self.pieces.recv().await {
            Some(Piece::Started) => return Some(TurnEvent::Started),
            Some(Piece::Text(text)) => {
                self.read.push_str(&text);
                return Some(TurnEvent::Delta(text));
            }
            None => {}
        }
        let ended = self.end.as_mut()?.await;
        self.end = None;
        let end = ended.unwrap_or_else(|_| TurnEnd::Failed {
            kind: EndKind::Stopped,
            message: "the supervisor is shutting down".to_owned(),
        });
        // In reverse: the last is taken first.
        self.queued.push(TurnEvent::End(end.clone()));
        if let TurnEnd::Replied { text, .. } = &end {
            match text.strip_prefix(self.read.as_str()) {
                Some("") => {}
                Some(rest) => self.queued.push(TurnEvent::Delta(rest.to_owned())),
                // Another attempt, or an agent whose pieces are not its reply.
                None => {
                    self.queued.push(TurnEvent::Delta(text.clone()));
                    self.queued.push(TurnEvent::Restarted);
                }
            }
        }
        self.queued.pop()
    }

    /// Reads to the end and keeps only that.
    pub async fn finish(mut self) -> TurnEnd {
        loop {
            match self.next().await {
                Some(TurnEvent::End(end)) => return end,
                Some(_) => {}
                None => unreachable!("the end comes before None, and this is the only reader"),
            }
        }
    }
}

impl Drop for TurnStream {
    fn drop(&mut self) {
        if self.end.is_some() && !self.keyed {
            self.dispatcher.cancel_in_passing(self.delivery);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dispatch::{Outside, prepare},
        journal::{Journal, Options},
    };

    #[tokio::test]
    async fn pieces_that_are_not_the_reply_are_void() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("journal.db");
        let (journal, _writer) = Journal::open(Options::new(path)).unwrap();
        let (dispatcher, _task) = prepare(1, journal, Outside::default());
        let (mut stream, mut sink) = TurnStream::new(
            DeliveryId::new(),
            "agent:a:x".parse().unwrap(),
            dispatcher,
            false,
        );
        sink.started();
        sink.delta("lies");
        let end = TurnEnd::Replied {
            text: "truth".into(),
            spent: Spent::default(),
        };
        sink.end(end.clone());
        let mut events = Vec::new();
        while let Some(event) = stream.next().await {
            events.push(event);
        }
        assert_eq!(
            events,
            [
                TurnEvent::Started,
                TurnEvent::Delta("lies".into()),
                TurnEvent::Restarted,
                TurnEvent::Delta("truth".into()),
                TurnEvent::End(end),
            ]
        );
    }
}
