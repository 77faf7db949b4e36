//! One turn: from a delivery to its committed end.
//!
//! ```text
//! begin (store) ─► ask (provider) ─► commit (store) ─► Finished
//!      │                 │ Cancel, timeout, failure ─► commit without messages ─► Finished
//!      └ known: Finished with the stored outcome, nothing is asked
//! ```
//!
//! A turn runs as a task on the event loop's thread and reports through a bounded queue: when the link
//! does not take more, the turn waits, and with it the reading from the model. `Finished` is the last
//! that it says, whatever happens to it, unless it is told to [`Stop::Abandon`].

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use kennel_shared::protocol::{
    AgentSpec, DELTA_MAX_BYTES, Delivery, FailureKind, REPLY_MAX_BYTES, Spent, ToSupervisor,
    TurnFailure, TurnOutcome,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};
use tracing::{debug, error, warn};

use crate::{
    provider::{self, Answer, Fault, Provider, ProviderError, Request},
    store::{Begun, Record, Store, StoreError},
    window::{Message, Role},
};

/// What ends a reply that was cut.
const CUT_NOTE: &str = "\n\n[The answer was longer than 512 KiB and was cut here.]";

/// What a turn works with.
#[derive(Clone)]
pub(crate) struct Equipment {
    pub(crate) spec: Arc<AgentSpec>,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) store: Store,
    pub(crate) events_tx: mpsc::Sender<ToSupervisor>,
}

/// Why a turn should end before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Somebody wants no answer any more. This is committed and reported.
    Cancel,
    /// The process ends. Nothing is written or said, so that the delivery can be tried again; a commit
    /// that has begun is finished.
    Abandon,
}

/// Runs a turn to its end.
pub(crate) async fn run(
    equipment: Equipment,
    delivery: Delivery,
    mut stop: oneshot::Receiver<Stop>,
) {
    let mut turn = Turn {
        begun_at: Instant::now(),
        spent: Spent::default(),
        equipment: &equipment,
        delivery: &delivery,
    };
    let caught = AssertUnwindSafe(turn.outcome(&mut stop))
        .catch_unwind()
        .await;
    let outcome = match caught {
        Ok(Some(outcome)) => outcome,
        Ok(None) => return,
        Err(_panic) => {
            // The panic hook has logged where; the other turns go on.
            error!(turn.id = %delivery.turn, session.key = %delivery.session, "a turn panicked");
            failed(
                FailureKind::Unavailable,
                "The agent made a mistake of its own: its log has the details.",
            )
        }
    };
    turn.spent.total_us = micros(turn.begun_at.elapsed());
    let spent = turn.spent;
    log_end(&delivery, &outcome, &spent);
    let finished = ToSupervisor::Finished {
        delivery: delivery.delivery,
        turn: delivery.turn,
        outcome,
        spent,
    };
    // The loop is gone only when the process is about to be.
    let _ = equipment.events_tx.send(finished).await;
}

struct Turn<'a> {
    begun_at: Instant,
    spent: Spent,
    equipment: &'a Equipment,
    delivery: &'a Delivery,
}

/// What came of asking the model.
enum Answered {
    Reply(String),
    Failed(ProviderError),
    TimedOut,
    Stopped(Stop),
}

impl Turn<'_> {
    /// The outcome, committed; `None` when the turn is abandoned.
    async fn outcome(&mut self, stop: &mut oneshot::Receiver<Stop>) -> Option<TurnOutcome> {
        let context = match self.begin().await {
            Ok(Begun::New(context)) => context,
            Ok(Begun::Before(outcome)) => {
                debug!(turn.id = %self.delivery.turn, "this delivery was processed before");
                return Some(outcome);
            }
            Err(error) => return Some(self.store_failed(&error)),
        };
        self.say(ToSupervisor::Started(self.delivery.turn)).await;
        let outcome = match self.ask(context, stop).await {
            Answered::Reply(reply) => TurnOutcome::Replied(reply),
            Answered::Failed(error) => {
                warn!(turn.id = %self.delivery.turn, error = %error, "the model gave no answer");
                TurnOutcome::Failed(error.for_person(&self.equipment.spec.model))
            }
            Answered::TimedOut => {
                let limit = provider::words(self.turn_timeout());
                let text = format!("The answer took longer than {limit} and was given up.");
                failed(FailureKind::Timeout, &text)
            }
            Answered::Stopped(Stop::Cancel) => TurnOutcome::Cancelled,
            Answered::Stopped(Stop::Abandon) => return None,
        };
        Some(match self.commit(&outcome).await {
            Ok(()) => outcome,
            Err(error) => self.store_failed(&error),
        })
    }

    async fn begin(&mut self) -> Result<Begun, StoreError> {
        let Delivery {
            delivery,
            session,
            text,
            ..
        } = self.delivery;
        let context = self.equipment.spec.context;
        let begun = self
            .equipment
            .store
            .begin(*delivery, session.clone(), context, text.len())
            .await;
        self.spent.context_us = micros(self.begun_at.elapsed());
        begun
    }

    async fn ask(
        &mut self,
        mut messages: Vec<Message>,
        stop: &mut oneshot::Receiver<Stop>,
    ) -> Answered {
        messages.push(Message {
            role: Role::User,
            text: self.delivery.text.clone(),
        });
        let request = Request {
            system: self.equipment.spec.system_prompt.clone(),
            messages,
        };
        let asked_at = Instant::now();
        let deadline = self.begun_at + self.turn_timeout();
        let provider = Arc::clone(&self.equipment.provider);
        let mut answer = Answer::to(&request, &*provider);
        let answered = tokio::select! {
            biased;
            Ok(stop) = stop => Answered::Stopped(stop),
            read = timeout_at(deadline, self.read(&mut answer)) => match read {
                Ok(Ok(reply)) if reply.trim().is_empty() => {
                    Answered::Failed(ProviderError::new(Fault::Empty, ""))
                }
                Ok(Ok(reply)) => Answered::Reply(reply),
                Ok(Err(error)) => Answered::Failed(error),
                Err(_elapsed) => Answered::TimedOut,
            },
        };
        self.spent.provider_us = micros(asked_at.elapsed());
        self.spent.retries = answer.retries;
        self.spent.input_tokens = answer.usage.input_tokens;
        self.spent.output_tokens = answer.usage.output_tokens;
        self.spent.first_token_us = answer
            .first_text_at
            .map_or(0, |first| micros(first.duration_since(self.begun_at)));
        answered
    }

    /// Reads an answer to its end, showing it as it comes.
    async fn read(&self, answer: &mut Answer<'_>) -> Result<String, ProviderError> {
        let mut reply = String::new();
        while let Some(text) = answer.next().await? {
            let (text, whole) = fit(text, reply.len());
            self.show(&text).await;
            reply.push_str(&text);
            if !whole {
                break;
            }
        }
        Ok(reply)
    }

    async fn commit(&mut self, outcome: &TurnOutcome) -> Result<(), StoreError> {
        let begun = Instant::now();
        let record = Record {
            delivery: self.delivery.delivery,
            turn: self.delivery.turn,
            session: self.delivery.session.clone(),
            text: self.delivery.text.clone(),
            outcome: outcome.clone(),
        };
        let committed = self.equipment.store.commit(record).await;
        self.spent.commit_us = micros(begun.elapsed());
        committed
    }

    /// Shows text as it comes, in messages of at most [`DELTA_MAX_BYTES`].
    async fn show(&self, text: &str) {
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.floor_char_boundary(DELTA_MAX_BYTES));
            rest = behind;
            self.say(ToSupervisor::Delta {
                turn: self.delivery.turn,
                text: piece.to_owned(),
            })
            .await;
        }
    }

    async fn say(&self, event: ToSupervisor) {
        let _ = self.equipment.events_tx.send(event).await;
    }

    fn turn_timeout(&self) -> Duration {
        Duration::from_millis(self.equipment.spec.turn_timeout_ms)
    }

    fn store_failed(&self, store: &StoreError) -> TurnOutcome {
        let Delivery { turn, session, .. } = self.delivery;
        let cause = match store {
            StoreError::Sqlite(cause) => cause.to_string(),
            StoreError::Gone => String::new(),
        };
        error!(turn.id = %turn, session.key = %session, error = %store, cause, "a turn could not be stored");
        failed(
            FailureKind::Store,
            "The agent cannot use its store: its log has the details.",
        )
    }
}

/// What of `text` fits a reply that has `length` bytes already, within [`REPLY_MAX_BYTES`]; when not all
/// of it does, a note takes the place of the rest, and `false` says so.
fn fit(text: String, length: usize) -> (String, bool) {
    let room = (REPLY_MAX_BYTES - CUT_NOTE.len()).saturating_sub(length);
    if text.len() <= room {
        return (text, true);
    }
    let kept = &text[..text.floor_char_boundary(room)];
    (format!("{kept}{CUT_NOTE}"), false)
}

fn log_end(delivery: &Delivery, outcome: &TurnOutcome, spent: &Spent) {
    let how = match outcome {
        TurnOutcome::Replied(_) => "replied",
        TurnOutcome::Failed(_) => "failed",
        TurnOutcome::Cancelled => "cancelled",
    };
    debug!(
        turn.id = %delivery.turn,
        session.key = %delivery.session,
        how,
        total_us = spent.total_us,
        provider_us = spent.provider_us,
        "turn ended"
    );
}

pub(crate) fn failed(kind: FailureKind, message: &str) -> TurnOutcome {
    TurnOutcome::Failed(TurnFailure {
        kind,
        message: message.to_owned(),
    })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
