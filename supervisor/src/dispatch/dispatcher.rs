//! The task that owns the lanes and every job: a delivery, where its answer goes, how often it was
//! tried. It only ever waits for its next request.
//!
//! A delivery whose agent dies goes back to the head of its queue; after [`MAX_ATTEMPTS`] deaths it
//! is given up, so that a message that kills agents cannot do so for ever. Jobs live in memory: they
//! survive agents, not the supervisor.

mod roster;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use kennel_shared::{
    envelope::Sender,
    ids::{AgentId, DeliveryId, Generation, TurnId},
    protocol::{Delivery, FailureKind, Spent, TurnOutcome},
    session_key::SessionKey,
};
use thiserror::Error;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, timeout_at},
};
use tracing::{debug, info, warn};

use super::{
    lanes::{Lanes, Refused, Ticket},
    turn::{EndKind, ReplySink, TurnEnd, TurnStream},
};
use crate::supervision::driver::Command;

pub use roster::Change;

/// How many agents a delivery may bring down before it is given up.
pub(super) const MAX_ATTEMPTS: u32 = 3;

/// Requests that may wait. Full: callers and drivers wait, so a flood reaches its author.
const REQUESTS: usize = 1024;

/// When a driver whose queue was full is offered its agent's deliveries again.
const OFFER_AGAIN: Duration = Duration::from_millis(20);

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
    /// A turn has more text.
    Delta {
        /// Which.
        turn: TurnId,
        /// What.
        text: String,
    },
    /// A delivery has its outcome.
    Finished {
        /// Which. An agent that was handed it twice may answer with the turn of the first time.
        delivery: DeliveryId,
        /// How.
        outcome: TurnOutcome,
        /// What it took.
        spent: Spent,
    },
}

/// A message for an agent.
pub struct Submission {
    /// Stays the same however often it is handed out.
    pub delivery: DeliveryId,
    /// In which conversation, and so for which agent.
    pub session: SessionKey,
    /// Who wrote it.
    pub sender: Sender,
    /// What; at most [`kennel_shared::envelope::TEXT_MAX_BYTES`].
    pub text: String,
    /// Who waits for the answer.
    pub sink: Box<dyn ReplySink>,
}

/// A submission was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted;

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
    /// The supervisor is on its way out.
    #[error("the supervisor is shutting down")]
    Leaving,
}

/// What the dispatcher knows of an agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AgentCounts {
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
    /// Tokens read by its models, where they say.
    pub input_tokens: u64,
    /// Tokens written by its models, where they say.
    pub output_tokens: u64,
}

enum Request {
    Submit {
        submission: Submission,
        reply: oneshot::Sender<Result<Accepted, Rejected>>,
    },
    Cancel {
        delivery: DeliveryId,
        reply: Option<oneshot::Sender<bool>>,
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
    Change(Change),
    Close,
}

/// Talks to the dispatcher.
#[derive(Clone)]
pub struct DispatcherHandle {
    requests: mpsc::Sender<Request>,
}

impl DispatcherHandle {
    /// Hands a message in. Once this says accepted, the sink hears of its end whatever happens to
    /// its agent.
    pub async fn submit(&self, submission: Submission) -> Result<Accepted, Rejected> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(Request::Submit { submission, reply })
            .await
            .map_err(|_| Rejected::Leaving)?;
        answer.await.map_err(|_| Rejected::Leaving)?
    }

    /// Hands a message in and gives a stream of its answer.
    pub async fn ask(
        &self,
        session: SessionKey,
        sender: Sender,
        text: String,
    ) -> Result<TurnStream, Rejected> {
        let delivery = DeliveryId::new();
        let (stream, sink) = TurnStream::new(delivery, self.clone());
        self.submit(Submission {
            delivery,
            session,
            sender,
            text,
            sink,
        })
        .await?;
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
    pub(super) fn cancel_in_passing(&self, delivery: DeliveryId) {
        let _ = self.requests.try_send(Request::Cancel {
            delivery,
            reply: None,
        });
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

    /// Changes who there is, or how much may run at once.
    pub async fn change(&self, change: Change) {
        // The dispatcher outlives whoever changes it, so a failure means that all is over.
        let _ = self.requests.send(Request::Change(change)).await;
    }

    /// Takes no more submissions.
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

struct Job {
    ticket: Ticket,
    sender: Sender,
    text: String,
    sink: Box<dyn ReplySink>,
    /// The present attempt, while one runs.
    turn: Option<TurnId>,
    attempts: u32,
    cancelled: bool,
}

#[derive(Default)]
struct Tally {
    replied: u64,
    failed: u64,
    cancelled: u64,
    input_tokens: u64,
    output_tokens: u64,
    resting: Option<&'static str>,
    /// It is on its way out of the configuration.
    retired: bool,
}

/// See the module.
pub struct Dispatcher {
    requests: mpsc::Receiver<Request>,
    lanes: Lanes,
    agents: HashMap<AgentId, mpsc::Sender<Command>>,
    tallies: HashMap<AgentId, Tally>,
    jobs: HashMap<DeliveryId, Job>,
    turns: HashMap<TurnId, DeliveryId>,
    /// Agents whose driver's queue was full, and when to offer again.
    swamped: HashSet<AgentId>,
    offer_again: Option<Instant>,
    leaving: bool,
}

/// A dispatcher for a fleet that runs `max_running` turns at once, and its handle.
pub fn prepare(max_running: usize) -> (DispatcherHandle, Dispatcher) {
    let (requests, inbox) = mpsc::channel(REQUESTS);
    let dispatcher = Dispatcher {
        requests: inbox,
        lanes: Lanes::new(max_running),
        agents: HashMap::new(),
        tallies: HashMap::new(),
        jobs: HashMap::new(),
        turns: HashMap::new(),
        swamped: HashSet::new(),
        offer_again: None,
        leaving: false,
    };
    (DispatcherHandle { requests }, dispatcher)
}

impl Dispatcher {
    /// Adds an agent that runs `max_concurrent` turns at once and lets `max_waiting` wait.
    /// `commands` leads to its driver.
    pub fn add(
        &mut self,
        agent: AgentId,
        commands: mpsc::Sender<Command>,
        max_concurrent: usize,
        max_waiting: usize,
    ) {
        self.lanes.add(agent.clone(), max_concurrent, max_waiting);
        self.tallies.insert(agent.clone(), Tally::default());
        self.agents.insert(agent, commands);
    }

    /// Says that an agent rests from the beginning: nobody has asked for it to run.
    pub fn rest(&mut self, agent: &AgentId) {
        self.tally(agent).resting = Some("stopped");
    }

    /// Runs until aborted, or every handle is gone.
    pub async fn run(mut self) {
        loop {
            let next = match self.offer_again {
                None => Ok(self.requests.recv().await),
                Some(at) => timeout_at(at, self.requests.recv()).await,
            };
            match next {
                Ok(Some(request)) => self.on_request(request),
                Ok(None) => return,
                Err(_elapsed) => {}
            }
            if self.offer_again.is_some_and(|at| Instant::now() >= at) {
                self.offer_again = None;
                for agent in std::mem::take(&mut self.swamped) {
                    self.lanes.open(&agent);
                }
            }
            while let Some(ticket) = self.lanes.start_next() {
                self.start(&ticket);
            }
        }
    }

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Submit { submission, reply } => {
                // A caller that is gone is told through its sink, or not at all.
                let _ = reply.send(self.submit(submission));
            }
            Request::Cancel { delivery, reply } => {
                let cancelled = self.cancel(delivery);
                if let Some(reply) = reply {
                    let _ = reply.send(cancelled);
                }
            }
            Request::Agent {
                agent,
                generation,
                event,
                place,
            } => {
                drop(place);
                self.on_agent(&agent, generation, event);
            }
            Request::Counts { reply } => {
                let _ = reply.send(self.counts());
            }
            Request::Change(change) => self.on_change(change),
            Request::Close => self.leaving = true,
        }
    }

    fn submit(&mut self, submission: Submission) -> Result<Accepted, Rejected> {
        let Submission {
            delivery,
            session,
            sender,
            text,
            sink,
        } = submission;
        let agent = session.agent_str().to_owned();
        if self.leaving {
            return Err(Rejected::Leaving);
        }
        if let Some(tally) = self.tallies.get(agent.as_str()) {
            if tally.retired {
                return Err(Rejected::UnknownAgent(agent));
            }
            if let Some(state) = tally.resting {
                return Err(Rejected::Resting { agent, state });
            }
        }
        let ticket = Ticket { delivery, session };
        self.lanes
            .admit(ticket.clone())
            .map_err(|refused| match refused {
                Refused::UnknownAgent => Rejected::UnknownAgent(agent),
                Refused::QueueFull(max) => Rejected::QueueFull { agent, max },
            })?;
        let job = Job {
            ticket,
            sender,
            text,
            sink,
            turn: None,
            attempts: 0,
            cancelled: false,
        };
        self.jobs.insert(delivery, job);
        Ok(Accepted)
    }

    fn start(&mut self, ticket: &Ticket) {
        let job = self
            .jobs
            .get_mut(&ticket.delivery)
            .expect("a ticket has a job");
        let turn = TurnId::new();
        let delivery = Box::new(Delivery {
            delivery: ticket.delivery,
            turn,
            session: ticket.session.clone(),
            sender: job.sender.clone(),
            text: job.text.clone(),
        });
        let agent = ticket.session.agent();
        let commands = self.agents.get(&agent).expect("a lane has an agent");
        if let Err(error) = commands.try_send(Command::Deliver(delivery)) {
            self.lanes.requeue(ticket);
            self.lanes.close(&agent);
            // One that is gone left with the whole supervisor.
            if let mpsc::error::TrySendError::Full(_) = error {
                warn!(agent.id = %agent, "an agent's driver is busy; a delivery waits for it");
                self.swamped.insert(agent);
                self.offer_again = Some(Instant::now() + OFFER_AGAIN);
            }
            return;
        }
        debug!(agent.id = %agent, delivery.id = %ticket.delivery, turn.id = %turn, "a delivery was handed out");
        job.turn = Some(turn);
        self.turns.insert(turn, ticket.delivery);
    }

    fn cancel(&mut self, delivery: DeliveryId) -> bool {
        let Some(job) = self.jobs.get_mut(&delivery) else {
            return false;
        };
        if job.cancelled {
            // Told already; whoever asks again and again must not fill the driver's queue.
            return true;
        }
        job.cancelled = true;
        let Some(turn) = job.turn else {
            self.end(delivery, TurnEnd::Cancelled);
            return true;
        };
        let agent = job.ticket.session.agent();
        if let Some(commands) = self.agents.get(&agent) {
            let _ = commands.try_send(Command::Cancel(turn));
        }
        true
    }

    fn on_agent(&mut self, agent: &AgentId, generation: Generation, event: AgentEvent) {
        if let AgentEvent::Closed | AgentEvent::Down { .. } | AgentEvent::Resting(_) = event {
            // Its lane stays closed until it is up.
            self.swamped.remove(agent);
        }
        match event {
            AgentEvent::Coming => self.tally(agent).resting = None,
            AgentEvent::Up => {
                self.lanes.open(agent);
                self.tally(agent).resting = None;
            }
            AgentEvent::Closed => self.lanes.close(agent),
            AgentEvent::Down { asked } => self.on_down(agent, generation, asked),
            AgentEvent::Resting(state) => self.on_resting(agent, state),
            AgentEvent::Started(turn) => self.with_sink(agent, turn, |sink| sink.started()),
            AgentEvent::Delta { turn, text } => {
                self.with_sink(agent, turn, |sink| sink.delta(&text));
            }
            AgentEvent::Finished {
                delivery,
                outcome,
                spent,
            } => {
                self.on_finished(agent, delivery, outcome, spent);
            }
        }
    }

    /// Whether a delivery is this agent's: an agent has no say in those of others.
    fn belongs(&self, delivery: DeliveryId, agent: &AgentId) -> bool {
        let job = self.jobs.get(&delivery);
        job.is_some_and(|job| job.ticket.session.agent_str() == agent.as_str())
    }

    fn with_sink(&mut self, agent: &AgentId, turn: TurnId, tell: impl FnOnce(&mut dyn ReplySink)) {
        // An unknown turn was given up before, or is an agent's invention.
        if let Some(delivery) = self.turns.get(&turn).copied()
            && self.belongs(delivery, agent)
            && let Some(job) = self.jobs.get_mut(&delivery)
        {
            tell(&mut *job.sink);
        }
    }

    fn on_finished(
        &mut self,
        agent: &AgentId,
        delivery: DeliveryId,
        outcome: TurnOutcome,
        spent: Spent,
    ) {
        if !self.belongs(delivery, agent) {
            debug!(agent.id = %agent, delivery.id = %delivery, "an unknown delivery was finished");
            return;
        }
        // What a model has read and written costs, however the turn ended.
        let tally = self.tally(agent);
        tally.input_tokens += u64::from(spent.input_tokens);
        tally.output_tokens += u64::from(spent.output_tokens);
        let end = match outcome {
            TurnOutcome::Replied(text) => TurnEnd::Replied { text, spent },
            TurnOutcome::Cancelled => TurnEnd::Cancelled,
            TurnOutcome::Failed(failure) => TurnEnd::Failed {
                kind: match failure.kind {
                    FailureKind::Provider => EndKind::Provider,
                    FailureKind::Unavailable | FailureKind::Overloaded => EndKind::Unavailable,
                    FailureKind::Timeout => EndKind::Timeout,
                    FailureKind::Store => EndKind::Store,
                },
                message: failure.message,
            },
        };
        self.end(delivery, end);
    }

    /// Everything that the agent had in hand goes back, or is given up.
    fn on_down(&mut self, agent: &AgentId, generation: Generation, asked: bool) {
        self.lanes.close(agent);
        // The oldest must end up first, so it goes back last.
        for ticket in self.lanes.running(agent).into_iter().rev() {
            let job = self
                .jobs
                .get_mut(&ticket.delivery)
                .expect("a ticket has a job");
            if let Some(turn) = job.turn.take() {
                self.turns.remove(&turn);
            }
            job.attempts += u32::from(!asked);
            let (attempts, cancelled) = (job.attempts, job.cancelled);
            if cancelled {
                self.end(ticket.delivery, TurnEnd::Cancelled);
            } else if attempts >= MAX_ATTEMPTS {
                warn!(agent.id = %agent, delivery.id = %ticket.delivery, attempts, "a delivery is given up: its agent dies of it");
                let message = format!(
                    "agent `{agent}` stopped working {attempts} times while it answered this; the message was set aside"
                );
                self.end(
                    ticket.delivery,
                    TurnEnd::Failed {
                        kind: EndKind::Agent,
                        message,
                    },
                );
            } else {
                info!(agent.id = %agent, generation = generation.0, delivery.id = %ticket.delivery, attempts, "a delivery was requeued");
                self.lanes.requeue(&ticket);
            }
        }
    }

    fn on_resting(&mut self, agent: &AgentId, state: &'static str) {
        self.lanes.close(agent);
        self.tally(agent).resting = Some(state);
        let retired = self.tally(agent).retired;
        for ticket in self.lanes.waiting(agent) {
            if retired {
                self.end(ticket.delivery, roster::removed(agent));
                continue;
            }
            let message = Rejected::Resting {
                agent: agent.to_string(),
                state,
            }
            .to_string();
            self.end(
                ticket.delivery,
                TurnEnd::Failed {
                    kind: EndKind::Stopped,
                    message,
                },
            );
        }
    }

    /// Takes a job out of everything and tells its sink.
    fn end(&mut self, delivery: DeliveryId, end: TurnEnd) {
        let Some(job) = self.jobs.remove(&delivery) else {
            return;
        };
        if let Some(turn) = job.turn {
            self.turns.remove(&turn);
        }
        if !self.lanes.finish(&job.ticket) {
            self.lanes.withdraw(&job.ticket);
        }
        let tally = self.tally(&job.ticket.session.agent());
        match &end {
            TurnEnd::Replied { .. } => tally.replied += 1,
            TurnEnd::Failed { .. } => tally.failed += 1,
            TurnEnd::Cancelled => tally.cancelled += 1,
        }
        job.sink.end(end);
    }

    fn tally(&mut self, agent: &AgentId) -> &mut Tally {
        self.tallies.entry(agent.clone()).or_default()
    }

    fn counts(&self) -> HashMap<AgentId, AgentCounts> {
        let count = |(agent, tally): (&AgentId, &Tally)| {
            let (waiting, running) = self.lanes.counts(agent);
            let counts = AgentCounts {
                waiting,
                running,
                replied: tally.replied,
                failed: tally.failed,
                cancelled: tally.cancelled,
                input_tokens: tally.input_tokens,
                output_tokens: tally.output_tokens,
            };
            (agent.clone(), counts)
        };
        self.tallies.iter().map(count).collect()
    }
}

#[cfg(test)]
mod tests;
