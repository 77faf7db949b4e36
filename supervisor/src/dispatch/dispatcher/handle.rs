//! The ways to the dispatcher's task, and what goes along them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use kennel_shared::{
    envelope::Sender,
    ids::{AgentId, DeliveryId, Generation, TurnId},
    protocol::{Spent, Trace, TurnOutcome},
    session_key::SessionKey,
};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{roster::Change, spending::BudgetView};
use crate::dispatch::gather::Queueing;
use crate::{
    dispatch::{
        lanes::{Ticket, Usage, WaitsFor},
        turn::{ReplySink, TurnStream},
    },
    journal::{
        JournalError,
        entry::{CallerKey, Origin, State},
    },
    turns::{Histograms, Machine, Waits},
};

/// Reports of one agent that may wait, so that one with much to say takes no more of the queue than
/// any other: its driver, and so its link, waits instead.
const REPORTS: usize = 16;

/// What an agent's driver reports.
#[derive(Debug)]
pub enum AgentEvent {
    /// A child of it is being started: what comes now may wait.
    Coming,
    /// It takes deliveries.
    Up,
    /// It takes no more; what it has goes on.
    Closed,
    /// Its child is gone, and what it had with it.
    Down {
        /// It was told to leave, so what it had is not to blame.
        asked: bool,
    },
    /// It rests (stopped, quarantined, exited): what waits for it would wait for ever.
    Resting(&'static str),
    /// A turn has begun.
    Started(TurnId),
    /// A turn runs a tool: its model has said so.
    Acting(TurnId),
    /// A turn has more text.
    Delta {
        /// Which.
        turn: TurnId,
        /// What.
        text: String,
    },
    /// A delivery was taken into a turn that runs.
    Steered {
        /// Which.
        delivery: DeliveryId,
        /// Of which delivery that turn is.
        into: DeliveryId,
    },
    /// A delivery has its outcome.
    Finished {
        /// Which. An agent that was handed it twice may answer with the turn of the first time.
        delivery: DeliveryId,
        /// How.
        outcome: TurnOutcome,
        /// What it took.
        spent: Spent,
        /// And more of that.
        told: Box<Told>,
    },
}

/// What is told of a turn beside its end.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    /// Its steps, as the agent says.
    pub trace: Trace,
    /// What the machine had of it, as its driver has read.
    pub machine: Machine,
}

/// A message for an agent.
pub struct Submission {
    /// Stays the same however often it is handed out.
    pub delivery: DeliveryId,
    /// Where it came from, and how a repeat is known.
    pub origin: Origin,
    /// In which conversation, and so for which agent.
    pub session: SessionKey,
    /// Who wrote it.
    pub sender: Sender,
    /// What; at most [`kennel_shared::envelope::TEXT_MAX_BYTES`].
    pub text: String,
    /// Where the answer goes, for whoever makes a sink of it after a restart.
    pub reply_to: Option<String>,
    /// How it waits beside others of its session; one of nobody's chat waits for itself.
    pub queueing: Option<Queueing>,
    /// Who waits for the answer.
    pub sink: Box<dyn ReplySink>,
}

/// A submission was taken: it is on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// As what: as the first of its kind, when it is a repeat.
    pub delivery: DeliveryId,
    /// In which conversation: that of the first.
    pub session: SessionKey,
    /// It was accepted before.
    pub repeat: bool,
}

/// A submission was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Rejected {
    /// No such agent.
    #[error("there is no agent `{0}`")]
    UnknownAgent(String),
    /// Its queue is full.
    #[error("agent `{agent}` has {max} messages waiting already; try again later")]
    QueueFull {
        /// Whose.
        agent: String,
        /// How many it holds.
        max: usize,
    },
    /// It is not running and will not start by itself.
    #[error("agent `{agent}` is {state}; start it with `kennel start {agent}`")]
    Resting {
        /// Whose.
        agent: String,
        /// In which state.
        state: &'static str,
    },
    /// It has spent what it may.
    #[error("agent `{agent}`: {why}")]
    OverBudget {
        /// Whose.
        agent: String,
        /// What it has spent, of how much, and until when.
        why: String,
        /// How long that is.
        wait: Duration,
    },
    /// It could not be written down.
    #[error(transparent)]
    Journal(JournalError),
    /// The supervisor is on its way out.
    #[error("the supervisor is shutting down")]
    Leaving,
}

/// What an operator does with a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Takes out what waits or was set aside.
    Drop,
    /// Has what ended without an answer tried again, as a new delivery.
    Retry,
    /// Puts what was set aside back in the queue.
    Requeue,
}

/// Why an operation was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OperationError {
    /// An agent has it.
    #[error("an agent is at work on it; cancel the turn instead")]
    Running,
    /// It was tried again before, and that has ended too.
    #[error("it was tried again as {0}, which is {1}")]
    TriedAgain(DeliveryId, State),
    /// The journal says no.
    #[error(transparent)]
    Journal(JournalError),
    /// The supervisor is on its way out.
    #[error("the supervisor is shutting down")]
    Leaving,
}

/// What the dispatcher knows of an agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AgentCounts {
    /// The state in which it rests, when it is not to run.
    pub resting: Option<&'static str>,
    /// Deliveries that wait.
    pub waiting: usize,
    /// Turns that run.
    pub running: usize,
    /// Turns that ended with an answer.
    pub replied: u64,
    /// Turns that ended without one.
    pub failed: u64,
    /// Turns that were cancelled.
    pub cancelled: u64,
    /// Deliveries that were set aside as poison.
    pub poison: u64,
    /// Tokens read by its models, where they say.
    pub input_tokens: u64,
    /// Tokens written by its models, where they say.
    pub output_tokens: u64,
}

/// What a delivery waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// This stands in its way, and so long it has waited for what.
    Lane(WaitsFor, Waits),
    /// Its chat is to be quiet first.
    Quiet(Waits),
    /// It is left on the disk until those before it are done.
    Queue,
}

pub(super) type OperationReply = oneshot::Sender<Result<DeliveryId, OperationError>>;

pub(super) enum Request {
    Submit {
        submission: Box<Submission>,
        reply: oneshot::Sender<Result<Accepted, Rejected>>,
    },
    Cancel {
        delivery: DeliveryId,
        reply: Option<oneshot::Sender<bool>>,
    },
    StopSession {
        session: SessionKey,
        reply: oneshot::Sender<usize>,
    },
    SessionCounts {
        session: SessionKey,
        reply: oneshot::Sender<(usize, usize)>,
    },
    Operate {
        operation: Operation,
        delivery: DeliveryId,
        session: SessionKey,
        reply: OperationReply,
    },
    Agent {
        agent: AgentId,
        generation: Generation,
        event: AgentEvent,
        /// Its place among the agent's reports; given back when it is taken.
        place: OwnedSemaphorePermit,
    },
    Counts {
        reply: oneshot::Sender<HashMap<AgentId, AgentCounts>>,
    },
    Budgets {
        reply: oneshot::Sender<HashMap<AgentId, BudgetView>>,
    },
    Histograms {
        reply: oneshot::Sender<HashMap<AgentId, Arc<Histograms>>>,
    },
    Usage {
        reply: oneshot::Sender<Usage>,
    },
    Waiting {
        tickets: Vec<Ticket>,
        reply: oneshot::Sender<HashMap<DeliveryId, Waiting>>,
    },
    Flush {
        reply: oneshot::Sender<()>,
    },
    Holding {
        reply: oneshot::Sender<usize>,
    },
    Change(Box<Change>),
    Close,
}

/// Talks to the dispatcher.
#[derive(Clone)]
pub struct DispatcherHandle {
    pub(super) requests: mpsc::Sender<Request>,
}

impl DispatcherHandle {
    /// Hands a message in. Once this says accepted, it is on the disk: the sink hears of its end
    /// whatever happens to its agent, and if the supervisor dies, the next one goes on with it.
    pub async fn submit(&self, submission: Submission) -> Result<Accepted, Rejected> {
        let (reply, answer) = oneshot::channel();
        let submission = Box::new(submission);
        self.requests
            .send(Request::Submit { submission, reply })
            .await
            .map_err(|_| Rejected::Leaving)?;
        answer.await.map_err(|_| Rejected::Leaving)?
    }

    /// Hands a message in and gives a stream of its answer. With a key, a repeat gets the answer to
    /// the first, and a caller that goes away does not cancel the turn: it may come back.
    pub async fn ask(
        &self,
        session: SessionKey,
        sender: Sender,
        text: String,
        key: Option<CallerKey>,
    ) -> Result<TurnStream, Rejected> {
        let delivery = DeliveryId::new();
        let (mut stream, sink) =
            TurnStream::new(delivery, session.clone(), self.clone(), key.is_some());
        let accepted = self
            .submit(Submission {
                delivery,
                origin: Origin::Caller { key },
                session,
                sender,
                text,
                reply_to: None,
                queueing: None,
                sink,
            })
            .await?;
        stream.is_for(accepted);
        Ok(stream)
    }

    /// Cancels a delivery, waiting or running; false when there is none.
    pub async fn cancel(&self, delivery: DeliveryId) -> bool {
        let (reply, answer) = oneshot::channel();
        let sent = self
            .requests
            .send(Request::Cancel {
                delivery,
                reply: Some(reply),
            })
            .await;
        sent.is_ok() && answer.await.unwrap_or(false)
    }

    /// Cancels without waiting, where nobody can wait. A full queue leaves the turn running, for
    /// nobody, until its own end.
    pub(in crate::dispatch) fn cancel_in_passing(&self, delivery: DeliveryId) {
        let _ = self.requests.try_send(Request::Cancel {
            delivery,
            reply: None,
        });
    }

    /// Cancels all that waits and runs in a session; how many deliveries that were.
    pub async fn stop_session(&self, session: SessionKey) -> usize {
        let (reply, answer) = oneshot::channel();
        let request = Request::StopSession { session, reply };
        match self.requests.send(request).await {
            Ok(()) => answer.await.unwrap_or(0),
            Err(_) => 0,
        }
    }

    /// How many deliveries of a session wait, and how many run.
    pub async fn session_counts(&self, session: SessionKey) -> (usize, usize) {
        let (reply, answer) = oneshot::channel();
        let request = Request::SessionCounts { session, reply };
        match self.requests.send(request).await {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => (0, 0),
        }
    }

    /// Does with a delivery of `session` what an operator wants; the delivery that it is now.
    pub async fn operate(
        &self,
        operation: Operation,
        delivery: DeliveryId,
        session: SessionKey,
    ) -> Result<DeliveryId, OperationError> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Operate {
            operation,
            delivery,
            session,
            reply,
        };
        self.requests
            .send(request)
            .await
            .map_err(|_| OperationError::Leaving)?;
        answer.await.map_err(|_| OperationError::Leaving)?
    }

    /// For the reports of one agent.
    pub fn reports(&self) -> Reports {
        Reports {
            requests: self.requests.clone(),
            places: Arc::new(Semaphore::new(REPORTS)),
        }
    }

    /// Counts of all agents.
    pub async fn counts(&self) -> HashMap<AgentId, AgentCounts> {
        let (reply, answer) = oneshot::channel();
        match self.requests.send(Request::Counts { reply }).await {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => HashMap::new(),
        }
    }

    /// What agents may spend and have spent, of those that have a budget.
    pub async fn budgets(&self) -> HashMap<AgentId, BudgetView> {
        let (reply, answer) = oneshot::channel();
        match self.requests.send(Request::Budgets { reply }).await {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => HashMap::new(),
        }
    }

    /// How long the turns of each agent took that has had some.
    pub async fn histograms(&self) -> HashMap<AgentId, Arc<Histograms>> {
        let (reply, answer) = oneshot::channel();
        match self.requests.send(Request::Histograms { reply }).await {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => HashMap::new(),
        }
    }

    /// What agents have used of the slots; `None` when the dispatcher has ended. For one who asks again and again: the longest
    /// wait is that since it was asked last.
    pub async fn usage(&self) -> Option<Usage> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Usage { reply }).await.ok()?;
        answer.await.ok()
    }

    /// What those of these deliveries wait for that wait.
    pub async fn waiting(
        &self,
        deliveries: Vec<(DeliveryId, SessionKey)>,
    ) -> HashMap<DeliveryId, Waiting> {
        let (reply, answer) = oneshot::channel();
        let deliveries = deliveries.into_iter();
        let tickets = deliveries.map(|(delivery, session)| Ticket { delivery, session });
        let tickets = tickets.collect();
        match self
            .requests
            .send(Request::Waiting { tickets, reply })
            .await
        {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => HashMap::new(),
        }
    }

    /// How many deliveries somebody holds a line for.
    pub async fn holding(&self) -> usize {
        let (reply, answer) = oneshot::channel();
        match self.requests.send(Request::Holding { reply }).await {
            Ok(()) => answer.await.unwrap_or(0),
            Err(_) => 0,
        }
    }

    /// Waits until all that has happened by now is written down. Bound it: a full disk writes nothing.
    pub async fn flushed(&self) {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request::Flush { reply }).await.is_ok() {
            let _ = answer.await;
        }
    }

    /// Changes who there is, or how much may run at once.
    pub async fn change(&self, change: Change) {
        // The dispatcher outlives whoever changes it, so a failure means that all is over.
        let _ = self.requests.send(Request::Change(Box::new(change))).await;
    }

    /// Takes no more submissions, and starts nothing more: what waits is for the next supervisor.
    pub async fn close(&self) {
        let _ = self.requests.send(Request::Close).await;
    }
}

/// Where the driver of one agent reports to.
pub struct Reports {
    requests: mpsc::Sender<Request>,
    places: Arc<Semaphore>,
}

impl Reports {
    /// Reports; waits while too much of this agent's is waiting already.
    pub async fn tell(&self, agent: &AgentId, generation: Generation, event: AgentEvent) {
        let places = Arc::clone(&self.places);
        let place = places.acquire_owned().await.expect("never closed");
        let request = Request::Agent {
            agent: agent.clone(),
            generation,
            event,
            place,
        };
        // The dispatcher outlives the drivers, so a failure means that all is over.
        let _ = self.requests.send(request).await;
    }
}
