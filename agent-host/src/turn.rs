//! One turn: from a delivery to its committed end.
//!
//! ```text
//! begin (store) ─► work: ask, run tools, ask … ─► commit (store) ─► Finished
//!      │                 │ Cancel, timeout, failure ─► commit without messages ─► Finished
//!      └ known: Finished with the stored outcome, nothing is asked
//! ```
//!
//! What the person says meanwhile may be taken in at a tool boundary: before the next tool is run, or the model is asked
//! again. It is written down as a step of this turn and as the end of its own delivery, in one commit.
//!
//! A turn runs as a task on the event loop's thread and reports through a bounded queue: when the link
//! does not take more, the turn waits, and with it the reading from the model. `Finished` is the last
//! that it says, whatever happens to it, unless it is told to [`Stop::Abandon`].
//!
//! | module | holds |
//! | --- | --- |
//! | [`lag`] | how late the event loop comes while a turn runs |
//! | [`progress`] | how far a turn has come and what is next; pure |
//! | [`spans`] | what its steps took; pure |
//! | [`work`] | the steps: asking the model, running tools, each written down before the next |

mod lag;
mod progress;
mod spans;
mod work;

use std::{panic::AssertUnwindSafe, path::Path, sync::Arc, time::Duration};

use futures::FutureExt;
use kennel_shared::ids::DeliveryId;
use kennel_shared::protocol::{
    AgentSpec, DELTA_MAX_BYTES, Delivery, FailureKind, Spent, ToSupervisor, Trace, TurnFailure,
    TurnOutcome,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};
use tracing::{debug, error, warn};

use crate::{
    provider::{self, Provider, ProviderError},
    store::{Asked, Begun, Record, Step, Store, StoreError},
    window::Message,
};
use progress::Progress;
use spans::Spans;

/// What a turn works with.
#[derive(Clone)]
pub(crate) struct Equipment {
    pub(crate) spec: Arc<AgentSpec>,
    pub(crate) provider: Arc<dyn Provider>,
    /// That of the cheaper model, if there is one.
    pub(crate) cheaper: Option<Arc<dyn Provider>>,
    pub(crate) store: Store,
    /// The agent's own folder.
    pub(crate) home: Arc<Path>,
    pub(crate) events_tx: mpsc::Sender<ToSupervisor>,
}

impl Equipment {
    /// The same with the cheaper model, if there is one.
    pub(crate) fn sparing(mut self) -> Self {
        if let (Some(provider), Some(model)) = (self.cheaper.take(), &self.spec.cheaper) {
            self.provider = provider;
            self.spec = Arc::new(AgentSpec {
                model: model.clone(),
                ..(*self.spec).clone()
            });
        }
        self
    }
}

/// Why a turn should end before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Somebody wants no answer any more. This is committed and reported.
    Cancel,
    /// The process ends. Nothing is written or said, so that the delivery can be tried again; a commit
    /// that has begun is finished. What was done so far stays in the store.
    Abandon,
}

/// What others want of a turn while it runs.
pub(crate) struct Wishes {
    /// That it ends.
    pub(crate) stop: oneshot::Receiver<Stop>,
    /// That it takes these in.
    pub(crate) steers: mpsc::Receiver<Delivery>,
}

/// Runs a turn to its end.
pub(crate) async fn run(equipment: Equipment, delivery: Delivery, mut wishes: Wishes) {
    let mut turn = Turn {
        begun_at: Instant::now(),
        spent: Spent::default(),
        spans: Spans::default(),
        doing: None,
        equipment: &equipment,
        delivery: &delivery,
    };
    let caught = AssertUnwindSafe(turn.outcome(&mut wishes))
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
    let trace = turn.spans.trace(&equipment.spec.model);
    log_end(&delivery, &outcome, &spent);
    let finished = ToSupervisor::Finished {
        delivery: delivery.delivery,
        turn: delivery.turn,
        outcome,
        spent,
        trace,
    };
    // The loop is gone only when the process is about to be.
    let _ = equipment.events_tx.send(finished).await;
}

/// Says the end of a delivery that was processed before. Nothing, where it was not.
pub(crate) async fn repeat(equipment: Equipment, delivery: Delivery) {
    match end_of(&equipment, &delivery).await {
        Some(outcome) => say_end(&equipment, &delivery, outcome).await,
        None => {
            warn!(delivery.id = %delivery.delivery, "a delivery came after the drain; left alone");
        }
    }
}

/// Says the end of a delivery that was processed before, or refuses one that cannot be taken now.
/// Nothing is stored of a refusal, so that the same delivery can be tried again.
pub(crate) async fn repeat_or_refuse(
    equipment: Equipment,
    delivery: Delivery,
    reason: &'static str,
) {
    let outcome = end_of(&equipment, &delivery).await.unwrap_or_else(|| {
        warn!(turn.id = %delivery.turn, session.key = %delivery.session, reason, "delivery refused");
        failed(
            FailureKind::Overloaded,
            "The agent is busy: try again in a moment.",
        )
    });
    say_end(&equipment, &delivery, outcome).await;
}

/// How a delivery ended that was processed before.
async fn end_of(equipment: &Equipment, delivery: &Delivery) -> Option<TurnOutcome> {
    let begun = equipment.store.begin(
        delivery.delivery,
        delivery.session.clone(),
        equipment.spec.context,
        delivery.text.len(),
    );
    match begun.await {
        Ok(Begun::Before(outcome)) => Some(outcome),
        Ok(Begun::New { .. }) | Err(_) => None,
    }
}

async fn say_end(equipment: &Equipment, delivery: &Delivery, outcome: TurnOutcome) {
    let finished = ToSupervisor::Finished {
        delivery: delivery.delivery,
        turn: delivery.turn,
        outcome,
        spent: Spent::default(),
        trace: Trace::default(),
    };
    let _ = equipment.events_tx.send(finished).await;
}

struct Turn<'a> {
    begun_at: Instant,
    spent: Spent,
    /// The steps of it.
    spans: Spans,
    /// What it is at, and since when.
    doing: Option<(Doing, Instant)>,
    equipment: &'a Equipment,
    delivery: &'a Delivery,
}

/// What takes a turn's time.
#[derive(Debug)]
enum Doing {
    Asking,
    /// The tool of this name.
    Tool(String),
}

/// What came of a turn's work.
#[derive(Debug)]
enum Worked {
    Replied(Replied),
    Failed(ProviderError),
    TooManySteps,
    TimedOut,
    Stopped(Stop),
    Unstored(StoreError),
}

/// An answer, and how it came about.
#[derive(Debug)]
struct Replied {
    reply: String,
    messages: Vec<Message>,
    last: (u32, Asked),
}

impl Turn<'_> {
    /// The outcome, committed; `None` when the turn is abandoned.
    async fn outcome(&mut self, wishes: &mut Wishes) -> Option<TurnOutcome> {
        let (window, steps) = match self.begin().await {
            Ok(Begun::New { window, steps }) => (window, steps),
            Ok(Begun::Before(outcome)) => {
                debug!(turn.id = %self.delivery.turn, "this delivery was processed before");
                return Some(outcome);
            }
            Err(error) => return Some(self.store_failed(&error)),
        };
        self.say(ToSupervisor::Started(self.delivery.turn)).await;
        for step in &steps {
            // Whoever did not hear of it the first time.
            if let Step::Steered { delivery, .. } = step {
                self.say_steered(*delivery).await;
            }
        }
        let progress = Progress::new(self.delivery.text.clone(), steps);
        let worked = self.work_in_time(&window, progress, wishes).await;
        let (mut messages, mut last) = (Vec::new(), None);
        let outcome = match worked {
            Worked::Replied(replied) => {
                messages = replied.messages;
                last = Some(replied.last);
                TurnOutcome::Replied(replied.reply)
            }
            Worked::Failed(error) => {
                warn!(turn.id = %self.delivery.turn, error = %error, "the model gave no answer");
                TurnOutcome::Failed(error.for_person(&self.equipment.spec.model))
            }
            Worked::TooManySteps => {
                let most = self.equipment.spec.tools.max_steps;
                let text = format!(
                    "The agent came to no answer within {most} steps: ask for less at a time, or raise its max_steps."
                );
                failed(FailureKind::Timeout, &text)
            }
            Worked::TimedOut => {
                let limit = provider::words(self.turn_timeout());
                let text = format!("The answer took longer than {limit} and was given up.");
                failed(FailureKind::Timeout, &text)
            }
            Worked::Unstored(error) => return Some(self.store_failed(&error)),
            Worked::Stopped(Stop::Cancel) => TurnOutcome::Cancelled,
            Worked::Stopped(Stop::Abandon) => return None,
        };
        let record = Record {
            delivery: self.delivery.delivery,
            turn: self.delivery.turn,
            session: self.delivery.session.clone(),
            messages,
            last,
            outcome: outcome.clone(),
        };
        Some(match self.commit(record).await {
            Ok(()) => outcome,
            Err(error) => self.store_failed(&error),
        })
    }

    /// Works until there is an answer, time is over, or it is told to stop; a tool that runs is ended then.
    async fn work_in_time(
        &mut self,
        window: &[Message],
        progress: Progress,
        wishes: &mut Wishes,
    ) -> Worked {
        let deadline = self.begun_at + self.turn_timeout();
        let Wishes { stop, steers } = wishes;
        let work = async {
            tokio::select! {
                biased;
                Ok(stop) = stop => Worked::Stopped(stop),
                worked = timeout_at(deadline, self.work(window, progress, steers)) => match worked {
                    Ok(worked) => worked,
                    Err(_elapsed) => Worked::TimedOut,
                },
            }
        };
        let (worked, lag) = lag::during(work).await;
        self.spent.lag_us = micros(lag);
        self.settle();
        worked
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

    async fn commit(&mut self, record: Record) -> Result<(), StoreError> {
        let begun = Instant::now();
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

    async fn say_steered(&self, delivery: DeliveryId) {
        let into = self.delivery.delivery;
        self.say(ToSupervisor::Steered { delivery, into }).await;
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

fn log_end(delivery: &Delivery, outcome: &TurnOutcome, spent: &Spent) {
    let how = match outcome {
        TurnOutcome::Replied(_) => "replied",
        TurnOutcome::Failed(_) => "failed",
        TurnOutcome::Cancelled => "cancelled",
        TurnOutcome::Steered(_) => "taken into another turn",
    };
    debug!(
        turn.id = %delivery.turn,
        session.key = %delivery.session,
        how,
        total_us = spent.total_us,
        provider_us = spent.provider_us,
        tools_us = spent.tools_us,
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
