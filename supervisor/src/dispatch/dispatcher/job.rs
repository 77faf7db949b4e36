//! One delivery that is not done with: who waits for it, how often it was tried, who has it.

use std::sync::Arc;

use kennel_shared::{
    envelope::Sender,
    ids::{DeliveryId, TurnId},
    protocol::{FailureKind, Spent, TurnOutcome},
};

use tokio::time::Instant;

use super::{account::Said, clock::Clock, deadlines::Late};
use crate::{
    dispatch::{
        lanes::Ticket,
        turn::{EndKind, ReplySink, TurnEnd},
    },
    journal::entry::{End, Ended, Lease, NewSend, Standing, State, Tokens},
    schedule::ScheduleId,
};

/// What is needed to hand a delivery out.
pub(super) struct Text {
    pub(super) sender: Sender,
    pub(super) text: String,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Job {
    pub(super) ticket: Ticket,
    /// Read from the journal when it is not here: what waits long is not kept in memory twice.
    pub(super) text: Option<Text>,
    /// Nobody, for one that an earlier supervisor took, until it is read.
    pub(super) sinks: Vec<Box<dyn ReplySink>>,
    /// Its sinks are all here.
    pub(super) known: bool,
    /// How it has ended, while it is still to be read who is to be told.
    pub(super) end: Option<TurnEnd>,
    /// The present attempt, while one runs.
    pub(super) turn: Option<TurnId>,
    /// Who had it last, as the journal says.
    pub(super) lease: Option<Lease>,
    /// Its text is being read, and then it is handed out.
    pub(super) loading: bool,
    pub(super) attempts: u32,
    /// The schedule that it is a run of.
    pub(super) schedule: Option<ScheduleId>,
    /// The class in which its turn was started.
    pub(super) class: Option<Arc<str>>,
    /// A chat is told its end, and only that.
    pub(super) of_chat: bool,
    /// It may be taken into the turn that runs in its session.
    pub(super) steers: bool,
    /// To which turn it was offered, and of which delivery that is.
    pub(super) offered: Option<(TurnId, DeliveryId)>,
    pub(super) cancelled: bool,
    /// It is here only for whoever holds a line: its turn comes when the queue was read so far.
    pub(super) on_disk: bool,
    pub(super) clock: Clock,
    /// What was said of its turn.
    pub(super) said: Option<Box<Said>>,
    /// What its chat is told beside the answer.
    pub(super) note: Option<String>,
    /// How it ends when its turn was cancelled, if not just so.
    pub(super) because: Option<TurnEnd>,
    /// When something of it is late.
    pub(super) deadlines: Vec<(Instant, Late)>,
}

impl Job {
    pub(super) fn new(ticket: Ticket, text: Option<Text>, sink: Box<dyn ReplySink>) -> Self {
        Self {
            text,
            sinks: vec![sink],
            known: true,
            ..Self::found(ticket)
        }
    }

    /// Of which only the journal knows more.
    pub(super) fn found(ticket: Ticket) -> Self {
        Self {
            ticket,
            text: None,
            sinks: Vec::new(),
            known: false,
            end: None,
            turn: None,
            lease: None,
            loading: false,
            attempts: 0,
            schedule: None,
            class: None,
            of_chat: false,
            steers: false,
            offered: None,
            cancelled: false,
            on_disk: false,
            clock: Clock::new(),
            said: None,
            note: None,
            because: None,
            deadlines: Vec::new(),
        }
    }

    /// How it ends without an answer of its agent, since it was cancelled.
    pub(super) fn cancelled_end(&mut self) -> TurnEnd {
        self.because.take().unwrap_or(TurnEnd::Cancelled)
    }

    /// What its end puts into outboxes.
    pub(super) fn sends(&self, end: &TurnEnd) -> Vec<NewSend> {
        self.sinks.iter().flat_map(|sink| sink.sends(end)).collect()
    }

    /// Whether anybody will read its answer who is not here now.
    pub(super) fn outlasts(&self) -> bool {
        !self.known || self.sinks.iter().any(|sink| sink.outlasts())
    }
}

/// What an agent says of an end, as callers are told of it.
pub(super) fn end_of(outcome: TurnOutcome, spent: Spent) -> TurnEnd {
    match outcome {
        TurnOutcome::Replied(text) => TurnEnd::Replied { text, spent },
        // One that was steered has no end of its own, and does not come here.
        TurnOutcome::Cancelled | TurnOutcome::Steered(_) => TurnEnd::Cancelled,
        TurnOutcome::Failed(failure) => TurnEnd::Failed {
            kind: match failure.kind {
                FailureKind::Provider => EndKind::Provider,
                FailureKind::Unavailable | FailureKind::Overloaded => EndKind::Unavailable,
                FailureKind::Timeout => EndKind::Timeout,
                FailureKind::Store => EndKind::Store,
            },
            message: failure.message,
        },
    }
}

/// As it is written down.
pub(super) fn written(end: &TurnEnd) -> End {
    match end {
        TurnEnd::Replied { text, spent } => End::Replied {
            text: text.clone(),
            tokens: Tokens {
                input: spent.input_tokens,
                output: spent.output_tokens,
            },
        },
        TurnEnd::Failed { kind, message } => End::Failed {
            kind: *kind,
            message: message.clone(),
        },
        TurnEnd::Cancelled => End::Cancelled,
    }
}

/// The way back: how a delivery ended that somebody asks for again. `None` while it is open.
pub(super) fn read_back(standing: &Standing) -> Option<TurnEnd> {
    let failed = |kind, message: &str| TurnEnd::Failed {
        kind,
        message: message.to_owned(),
    };
    let ended = |kind, otherwise: &str| match &standing.end {
        Some(Ended {
            kind: said, text, ..
        }) => failed(said.unwrap_or(kind), text.as_deref().unwrap_or(otherwise)),
        None => failed(kind, otherwise),
    };
    Some(match standing.state {
        State::Queued | State::Leased => return None,
        State::Replied => match &standing.end {
            Some(Ended {
                text: Some(text),
                tokens,
                ..
            }) => TurnEnd::Replied {
                text: text.clone(),
                spent: Spent {
                    input_tokens: tokens.input,
                    output_tokens: tokens.output,
                    ..Spent::default()
                },
            },
            _ => failed(
                EndKind::Store,
                "this was answered before, and the answer is kept no longer",
            ),
        },
        State::Failed => ended(EndKind::Agent, "this ended without an answer"),
        State::Cancelled => TurnEnd::Cancelled,
        State::Poison => failed(
            EndKind::Agent,
            "the message was set aside: its agent stopped working each time it answered this",
        ),
        State::Gathered => failed(
            EndKind::Agent,
            "this was answered together with another message",
        ),
        State::Dropped => failed(
            EndKind::Stopped,
            "an operator took the message out of the queue",
        ),
    })
}

#[cfg(test)]
mod tests {
    use kennel_shared::ids::DeliveryId;

    use super::*;
    use crate::journal::entry::Seq;

    fn standing(state: State, end: Option<Ended>) -> Standing {
        Standing {
            delivery: DeliveryId::new(),
            seq: Seq(1),
            session: "agent:a:x".parse().unwrap(),
            state,
            attempts: 0,
            lease: None,
            end,
            keyed: true,
            retried: None,
        }
    }

    #[test]
    fn an_end_reads_back_as_it_was() {
        let spent = Spent {
            input_tokens: 3,
            output_tokens: 4,
            ..Spent::default()
        };
        let replied = TurnEnd::Replied {
            text: "yes".into(),
            spent,
        };
        let failed = TurnEnd::Failed {
            kind: EndKind::Timeout,
            message: "too slow".into(),
        };
        for (end, state) in [
            (replied, State::Replied),
            (failed, State::Failed),
            (TurnEnd::Cancelled, State::Cancelled),
        ] {
            let (text, kind, tokens) = match written(&end) {
                End::Replied { text, tokens } => (Some(text), None, tokens),
                End::Failed { kind, message } => (Some(message), Some(kind), Tokens::default()),
                End::Cancelled => (None, None, Tokens::default()),
            };
            let ended = Ended {
                at: 0,
                text,
                kind,
                tokens,
            };
            assert_eq!(read_back(&standing(state, Some(ended))), Some(end));
        }
        assert_eq!(read_back(&standing(State::Leased, None)), None);
        for state in [
            State::Poison,
            State::Dropped,
            State::Gathered,
            State::Replied,
            State::Failed,
        ] {
            let end = read_back(&standing(state, None));
            assert!(matches!(end, Some(TurnEnd::Failed { .. })), "{state}");
        }
    }
}
