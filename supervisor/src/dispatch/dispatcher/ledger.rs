//! What the dispatcher hands to the journal, and what it hears back: it never waits for either.
//!
//! Operations go in order. Those that tell what has happened are kept here while the journal's queue
//! is full, so none is lost; one that begins something is refused instead.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesOrdered};
use kennel_shared::ids::{ChannelId, DeliveryId};
use tokio::sync::oneshot;

use super::{
    super::{gather::Queueing, lanes::Ticket, turn::ReplySink},
    handle::{Accepted, Operation, OperationReply, Rejected},
};
use crate::journal::{Answer, Journal, JournalError, Op, Pending, entry::NewDelivery, op::Beside};

/// When what found the journal's queue full is offered again, if nothing else happens before.
const KEPT_AGAIN: Duration = Duration::from_millis(50);

/// A message on its way to the disk.
pub(super) struct Accepting {
    pub(super) new: Box<NewDelivery>,
    /// How it waits beside others of its session.
    pub(super) queueing: Option<Queueing>,
    /// What becomes of it beside one of them.
    pub(super) beside: Option<Beside>,
    /// That one: it does not start meanwhile.
    pub(super) held: Option<Ticket>,
    pub(super) sink: Box<dyn ReplySink>,
    pub(super) reply: oneshot::Sender<Result<Accepted, Rejected>>,
}

/// What an operator wants of a delivery.
pub(super) struct Operating {
    pub(super) operation: Operation,
    pub(super) ticket: Ticket,
    /// It is held in its lane for this.
    pub(super) held: bool,
    pub(super) reply: OperationReply,
}

/// What is to be done once something is written down.
pub(super) enum Then {
    /// A message is accepted.
    Accept(Box<Accepting>),
    /// An operator is told.
    Operate(Box<Operating>),
    /// A delivery has ended, and what is now in the outboxes of these accounts is sent.
    End(DeliveryId, Vec<ChannelId>),
    /// Nothing.
    Nothing(DeliveryId),
}

struct Written {
    then: Option<Then>,
    pending: Pending,
}

impl Future for Written {
    type Output = (Then, Result<Answer, JournalError>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.pending).poll(context));
        let then = self.then.take().expect("a future is not polled again");
        Poll::Ready((then, answer))
    }
}

/// See the module.
pub(super) struct Ledger {
    journal: Journal,
    /// What begins something, and what tells what happened, apart: while the disk is full, only the
    /// second kind waits.
    beginning: FuturesOrdered<Written>,
    telling: FuturesOrdered<Written>,
    /// What found the journal's queue full, in order.
    kept: VecDeque<(Op, Then)>,
}

impl Ledger {
    pub(super) fn new(journal: Journal) -> Self {
        Self {
            journal,
            beginning: FuturesOrdered::new(),
            telling: FuturesOrdered::new(),
            kept: VecDeque::new(),
        }
    }

    pub(super) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Whether all that has happened is written down.
    pub(super) fn is_settled(&self) -> bool {
        self.telling.is_empty() && self.kept.is_empty()
    }

    /// Hands in what begins something; gives back what was to be done if there is no room.
    pub(super) fn begin(&mut self, op: Op, then: Then) -> Result<(), (Then, JournalError)> {
        match self.journal.submit(op) {
            Ok(pending) => {
                self.beginning.push_back(Written {
                    then: Some(then),
                    pending,
                });
                Ok(())
            }
            Err(refused) => Err((then, refused.error)),
        }
    }

    /// Hands in what has happened.
    pub(super) fn tell(&mut self, op: Op, then: Then) {
        if self.kept.is_empty() {
            self.try_tell(op, then);
        } else {
            self.kept.push_back((op, then));
        }
    }

    fn try_tell(&mut self, op: Op, then: Then) -> bool {
        match self.journal.submit(op) {
            Ok(pending) => {
                self.telling.push_back(Written {
                    then: Some(then),
                    pending,
                });
                true
            }
            Err(refused) => {
                // A closed journal is the end of the whole supervisor.
                if refused.error == JournalError::Busy {
                    self.kept.push_front((*refused.op, then));
                }
                false
            }
        }
    }

    /// The next thing that was written down, or refused. Cancel-safe; waits for ever when there is none.
    pub(super) async fn next(&mut self) -> (Then, Result<Answer, JournalError>) {
        loop {
            let (beginning, telling) = (&mut self.beginning, &mut self.telling);
            let written = tokio::select! {
                // What was found to be open is heard of before its end is.
                biased;
                Some(written) = beginning.next(), if !beginning.is_empty() => Some(written),
                Some(written) = telling.next(), if !telling.is_empty() => Some(written),
                // Others have taken all places.
                () = tokio::time::sleep(KEPT_AGAIN), if !self.kept.is_empty() => None,
                else => std::future::pending().await,
            };
            while let Some((op, then)) = self.kept.pop_front() {
                if !self.try_tell(op, then) {
                    break;
                }
            }
            if let Some(written) = written {
                return written;
            }
        }
    }
}
