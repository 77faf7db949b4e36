//! The task that owns the lanes and every job: a delivery, where its answer goes, how often it was
//! tried. It never waits for anything but its next event, not even for the journal.
//!
//! ```text
//! submit ─► room? ─► journal: Accept ─► committed ─► lane ─► Deliver to the driver, journal: Lease
//!                                                      ▲                 │
//!                      journal: Requeue ◄─ agent died ─┴─────────────────┤
//!                                                                        ▼
//!                      outbox (in the same commit) ◄─ journal: Settle ◄─ Finished
//! ```
//!
//! Invariants:
//! - A submission is accepted after the commit, and not before; from then on it ends exactly once.
//! - A delivery whose agent dies goes back to the head of its queue. After `poison_after` deaths it is
//!   set aside, so that a message that kills agents cannot do so for ever.
//! - Leases, returns and ends are handed to the journal in the order in which they happen, and nothing
//!   waits for them: what is handed out again because an end was not written yet is answered by the
//!   agent from its own store.
//!
//! | module | holds |
//! | --- | --- |
//! | [`handle`] | requests and reports, and the handles that make them |
//! | [`job`] | one delivery that is not done with |
//! | [`ledger`] | what goes to the journal, and what is to be done when it is there |
//! | [`restore`] | what an earlier supervisor has left |
//! | [`roster`] | agents that come and go |

mod handle;
mod job;
mod ledger;
mod operate;
mod restore;
mod roster;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use kennel_shared::{
    ids::{AgentId, ChannelId, DeliveryId, Generation, TurnId},
    protocol::{Delivery, Spent, TurnOutcome},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tracing::{debug, error, info, warn};

use self::{
    handle::Request,
    job::{Job, Text},
    ledger::{Accepting, Ledger, Then},
};
pub use self::{
    handle::{
        Accepted, AgentCounts, AgentEvent, DispatcherHandle, Operation, OperationError, Rejected,
        Reports, Submission,
    },
    restore::{Restored, waiting_for},
    roster::Change,
};
use super::{
    lanes::{Lanes, Refused, Ticket},
    turn::{EndKind, ReplySink, TurnEnd},
};
use crate::{
    journal::{
        Acceptance, Answer, Journal, JournalError, Op, ReadError,
        entry::{NewDelivery, Origin, Standing},
        op::{Blame, KnownBy},
        reader::Message,
    },
    supervision::{
        driver::Command,
        events::{Events, LifecycleEvent},
    },
};

/// Requests that may wait. Full: callers and drivers wait, so a flood reaches its author.
const REQUESTS: usize = 1024;

/// When a driver whose queue was full is offered its agent's deliveries again.
const OFFER_AGAIN: Duration = Duration::from_millis(20);

/// When a journal that could not be read is tried again.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// Bytes of text that waiting jobs keep at hand, in all; what is more is read when its turn comes.
const AT_HAND_BYTES: usize = 4 * 1024 * 1024;

/// How an agent's deliveries are handed out.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Turns at once.
    pub max_concurrent: usize,
    /// Deliveries that may wait.
    pub max_waiting: usize,
    /// How many lives of the agent a delivery may cost before it is set aside.
    pub poison_after: u32,
}

type SinkFor = dyn Fn(&Message) -> Box<dyn ReplySink> + Send + Sync;
type Ring = dyn Fn(&ChannelId) + Send + Sync;

/// What the dispatcher knows of the rest.
#[derive(Clone)]
pub struct Outside {
    /// Who is told of the answer to a message that an earlier supervisor took.
    pub sink_for: Arc<SinkFor>,
    /// Says that an account has something new in its outbox.
    pub ring: Arc<Ring>,
    /// Where operators look.
    pub events: Events,
}

/// Nobody waits, nobody sends, nobody looks.
impl Default for Outside {
    fn default() -> Self {
        Self {
            sink_for: Arc::new(|_| Box::new(Nobody)),
            ring: Arc::new(|_| {}),
            events: Events::default(),
        }
    }
}

/// For an answer that is only kept: whoever asked is gone, and may ask again.
#[derive(Debug)]
pub struct Nobody;

impl ReplySink for Nobody {
    fn outlasts(&self) -> bool {
        true
    }
    fn started(&mut self) {}
    fn delta(&mut self, _: &str) {}
    fn end(self: Box<Self>, _: TurnEnd) {}
}

#[derive(Default)]
struct Tally {
    poison_after: u32,
    /// The life that is up, or was last.
    generation: Generation,
    /// On the way to the disk.
    accepting: usize,
    replied: u64,
    failed: u64,
    cancelled: u64,
    poison: u64,
    input_tokens: u64,
    output_tokens: u64,
    resting: Option<&'static str>,
    going: roster::Going,
}

type Loaded = (DeliveryId, Result<Option<Message>, ReadError>);

/// See the module.
pub struct Dispatcher {
    requests: mpsc::Receiver<Request>,
    ledger: Ledger,
    loads: FuturesUnordered<BoxFuture<'static, Loaded>>,
    outside: Outside,
    lanes: Lanes,
    agents: HashMap<AgentId, mpsc::Sender<Command>>,
    tallies: HashMap<AgentId, Tally>,
    jobs: HashMap<DeliveryId, Job>,
    turns: HashMap<TurnId, DeliveryId>,
    /// Of the texts of jobs.
    bytes_at_hand: usize,
    /// Agents to whom something could not be handed out, and when to try again.
    swamped: HashSet<AgentId>,
    offer_again: Option<Instant>,
    leaving: bool,
    /// Who waits until all is written.
    flushing: Vec<oneshot::Sender<()>>,
}

/// A dispatcher for a fleet that runs `max_running` turns at once, and its handle.
pub fn prepare(
    max_running: usize,
    journal: Journal,
    outside: Outside,
) -> (DispatcherHandle, Dispatcher) {
    let (requests, inbox) = mpsc::channel(REQUESTS);
    let dispatcher = Dispatcher {
        requests: inbox,
        ledger: Ledger::new(journal),
        loads: FuturesUnordered::new(),
        outside,
        lanes: Lanes::new(max_running),
        agents: HashMap::new(),
        tallies: HashMap::new(),
        jobs: HashMap::new(),
        turns: HashMap::new(),
        bytes_at_hand: 0,
        swamped: HashSet::new(),
        offer_again: None,
        leaving: false,
        flushing: Vec::new(),
    };
    (DispatcherHandle { requests }, dispatcher)
}

enum Happened {
    Request(Option<Request>),
    Written(Then, Result<Answer, JournalError>),
    Loaded(Loaded),
    Due,
}

impl Dispatcher {
    /// Adds an agent. `commands` leads to its driver.
    pub fn add(&mut self, agent: AgentId, commands: mpsc::Sender<Command>, limits: Limits) {
        // One that was just removed may have something left; it is the new one's.
        if !self
            .lanes
            .limit(&agent, limits.max_concurrent, limits.max_waiting)
        {
            self.lanes
                .add(agent.clone(), limits.max_concurrent, limits.max_waiting);
        }
        let tally = self.tallies.entry(agent.clone()).or_default();
        tally.poison_after = limits.poison_after;
        self.agents.insert(agent, commands);
    }

    /// Says that an agent rests from the beginning: nobody has asked for it to run.
    pub fn rest(&mut self, agent: &AgentId) {
        self.tally(agent).resting = Some("stopped");
    }

    /// Runs until aborted, or every handle is gone.
    pub async fn run(mut self) {
        loop {
            let happened = tokio::select! {
                request = self.requests.recv() => Happened::Request(request),
                (then, answer) = self.ledger.next() => Happened::Written(then, answer),
                Some(loaded) = self.loads.next(), if !self.loads.is_empty() => {
                    Happened::Loaded(loaded)
                }
                () = until(self.offer_again) => Happened::Due,
            };
            match happened {
                Happened::Request(Some(request)) => self.on_request(request),
                Happened::Request(None) => return,
                Happened::Written(then, answer) => self.on_written(then, answer),
                Happened::Loaded((delivery, message)) => self.on_loaded(delivery, message),
                Happened::Due => {
                    self.offer_again = None;
                    for agent in std::mem::take(&mut self.swamped) {
                        self.lanes.open(&agent);
                    }
                }
            }
            while !self.leaving
                && let Some(ticket) = self.lanes.start_next()
            {
                self.start(&ticket);
            }
        }
    }

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Submit { submission, reply } => self.submit(*submission, reply),
            Request::Cancel { delivery, reply } => {
                let cancelled = self.cancel(delivery);
                if let Some(reply) = reply {
                    let _ = reply.send(cancelled);
                }
            }
            Request::Operate {
                operation,
                delivery,
                session,
                reply,
            } => self.operate(operation, Ticket { delivery, session }, reply),
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
            Request::Flush { reply } => {
                self.flushing.push(reply);
                self.on_flushed();
            }
            Request::Change(change) => self.on_change(*change),
            Request::Close => self.leave(),
        }
    }

    /// Whether a message may be handed in now.
    fn admissible(&self, agent: &str, origin: &Origin) -> Result<(), Rejected> {
        if self.leaving {
            return Err(Rejected::Leaving);
        }
        if self.is_going(agent) {
            let agent = agent.to_owned();
            return Err(match origin {
                Origin::Caller { .. } => Rejected::UnknownAgent(agent),
                // Handed in again, it goes to whom the bindings name by then.
                Origin::Channel { .. } => Rejected::QueueFull { agent, max: 0 },
            });
        }
        let tally = self.tallies.get(agent);
        // A chat is answered that its agent rests, so its message is taken like any other.
        if let (Some(state), Origin::Caller { .. }) =
            (tally.and_then(|tally| tally.resting), origin)
        {
            let agent = agent.to_owned();
            return Err(Rejected::Resting { agent, state });
        }
        let coming = tally.map_or(0, |tally| tally.accepting);
        self.lanes
            .room(agent, coming)
            .map_err(|refused| match refused {
                Refused::UnknownAgent => Rejected::UnknownAgent(agent.to_owned()),
                Refused::QueueFull(max) => Rejected::QueueFull {
                    agent: agent.to_owned(),
                    max,
                },
            })
    }

    /// Hands a message to the journal, if it may come in.
    fn submit(
        &mut self,
        submission: Submission,
        reply: oneshot::Sender<Result<Accepted, Rejected>>,
    ) {
        let Submission {
            delivery,
            origin,
            session,
            sender,
            text,
            reply_to,
            sink,
        } = submission;
        // A caller that is gone is told through its sink, or not at all.
        if let Err(rejected) = self.admissible(session.agent_str(), &origin) {
            let _ = reply.send(Err(rejected));
            return;
        }
        let ticket = Ticket {
            delivery,
            session: session.clone(),
        };
        let accepting = Accepting {
            ticket,
            sender: sender.clone(),
            text: text.clone(),
            sink,
            reply,
        };
        let agent = session.agent();
        let new = NewDelivery {
            delivery,
            origin,
            session,
            sender,
            text,
            reply_to,
        };
        let then = Then::Accept(Box::new(accepting));
        match self.ledger.begin(Op::Accept(Box::new(new)), then) {
            Ok(()) => self.tally(&agent).accepting += 1,
            Err((Then::Accept(accepting), error)) => {
                let _ = accepting.reply.send(Err(Rejected::Journal(error)));
            }
            Err(_) => {}
        }
    }

    fn on_written(&mut self, then: Then, answer: Result<Answer, JournalError>) {
        match then {
            Then::Accept(accepting) => self.on_accepted(*accepting, answer),
            Then::Operate(operating) => self.on_operated(*operating, answer),
            Then::Send(delivery, channels) => {
                self.note(delivery, answer);
                for channel in &channels {
                    (self.outside.ring)(channel);
                }
            }
            Then::Nothing(delivery) => self.note(delivery, answer),
        }
        self.on_flushed();
    }

    /// Tells those who wait for it that nothing is left to be written.
    fn on_flushed(&mut self) {
        if self.ledger.is_settled() {
            for reply in self.flushing.drain(..) {
                let _ = reply.send(());
            }
        }
    }

    /// Something about a delivery that nobody waits for.
    fn note(&self, delivery: DeliveryId, answer: Result<Answer, JournalError>) {
        match answer {
            Ok(_) | Err(JournalError::Closed) => {}
            // An operator was faster, or a damaged journal has lost it.
            Err(JournalError::Refused(refusal)) => {
                debug!(delivery.id = %delivery, %refusal, "the journal knows better");
            }
            Err(error) => error!(delivery.id = %delivery, %error, "something was not written down"),
        }
    }

    fn on_accepted(&mut self, accepting: Accepting, answer: Result<Answer, JournalError>) {
        let Accepting {
            ticket,
            sender,
            text,
            sink,
            reply,
        } = accepting;
        let agent = ticket.session.agent();
        let tally = self.tally(&agent);
        tally.accepting = tally.accepting.saturating_sub(1);
        let acceptance = match answer {
            Ok(Answer::Accepted(acceptance)) => acceptance,
            Ok(other) => {
                let error = JournalError::Internal(format!("an odd answer: {other:?}"));
                let _ = reply.send(Err(Rejected::Journal(error)));
                return;
            }
            Err(error) => {
                let _ = reply.send(Err(Rejected::Journal(error)));
                return;
            }
        };
        let delivery = ticket.delivery;
        let text = Text { sender, text };
        match acceptance {
            Acceptance::New(_) => {
                let session = ticket.session.clone();
                self.hold(Job::new(ticket, Some(text), sink));
                let heard = reply.send(Ok(Accepted {
                    delivery,
                    session,
                    repeat: false,
                }));
                self.after_acceptance(delivery, &agent, heard.is_ok());
                self.forget_if_done(&agent);
            }
            Acceptance::Known { by, first } => {
                let _ = reply.send(Ok(Accepted {
                    delivery: first.delivery,
                    session: first.session.clone(),
                    repeat: true,
                }));
                self.join(by, *first, text, sink);
                self.forget_if_done(&agent);
            }
        }
    }

    /// A new message may have nobody left to answer it, or to answer to.
    fn after_acceptance(&mut self, delivery: DeliveryId, agent: &AgentId, heard: bool) {
        let outlasts = self.jobs.get(&delivery).is_some_and(Job::outlasts);
        if !heard && !outlasts {
            self.end(delivery, TurnEnd::Cancelled);
        } else if self.is_going(agent.as_str()) {
            self.end(delivery, roster::removed(agent));
        } else if let Some(state) = self.tally(agent).resting {
            self.end(delivery, resting(agent, state));
        }
    }

    /// Somebody asks for what was accepted before.
    fn join(&mut self, by: KnownBy, first: Standing, text: Text, mut sink: Box<dyn ReplySink>) {
        if let Some(end) = job::read_back(&first) {
            sink.end(end);
            return;
        }
        if let Some(job) = self.jobs.get_mut(&first.delivery) {
            // A chat is answered once.
            if by != KnownBy::MessageId {
                sink.late();
                job.sinks.push(sink);
            }
            return;
        }
        // An error had hidden that it was accepted.
        let ticket = Ticket {
            delivery: first.delivery,
            session: first.session,
        };
        let mut job = Job::new(ticket, Some(text), sink);
        (job.lease, job.attempts) = (first.lease, first.attempts);
        self.hold(job);
    }

    /// Takes a job in, at the end of its queue.
    fn hold(&mut self, mut job: Job) {
        let bytes = job.text.as_ref().map_or(0, |text| text.text.len());
        if self.bytes_at_hand + bytes > AT_HAND_BYTES {
            job.text = None;
        } else {
            self.bytes_at_hand += bytes;
        }
        // One whose agent is gone stays on the disk.
        if self.lanes.admit(job.ticket.clone()) {
            self.jobs.insert(job.ticket.delivery, job);
        }
    }

    fn start(&mut self, ticket: &Ticket) {
        let agent = ticket.session.agent();
        let going = self.is_going(agent.as_str());
        let job = self
            .jobs
            .get_mut(&ticket.delivery)
            .expect("a ticket has a job");
        if job.known && going {
            self.end(ticket.delivery, roster::removed(&agent));
            return;
        }
        if job.text.is_some() && job.known {
            self.hand_out(ticket);
            return;
        }
        self.load(ticket.delivery);
    }

    /// Has a delivery read, with all that is needed to hand it out.
    fn load(&mut self, delivery: DeliveryId) {
        let Some(job) = self.jobs.get_mut(&delivery) else {
            return;
        };
        job.loading = true;
        let journal = self.ledger.journal().clone();
        let load = async move {
            let message = journal.read(move |reader| reader.message(delivery)).await;
            (delivery, message)
        };
        self.loads.push(load.boxed());
    }

    fn on_loaded(&mut self, delivery: DeliveryId, message: Result<Option<Message>, ReadError>) {
        let Some(job) = self.jobs.get_mut(&delivery) else {
            return;
        };
        if !std::mem::take(&mut job.loading) {
            // Its agent went down meanwhile; it is read again when its turn comes.
            return;
        }
        let ticket = job.ticket.clone();
        match message {
            Ok(Some(message)) => {
                if !std::mem::replace(&mut job.known, true) {
                    job.sinks.push((self.outside.sink_for)(&message));
                }
                self.bytes_at_hand += message.text.len();
                job.text = Some(Text {
                    sender: message.sender,
                    text: message.text,
                });
                let agent = ticket.session.agent();
                if self.is_going(agent.as_str()) {
                    self.end(delivery, roster::removed(&agent));
                } else {
                    self.hand_out(&ticket);
                }
            }
            Ok(None) => {
                error!(delivery.id = %delivery, "the text of a message is lost");
                let message = "the text of this message was lost when the journal was damaged";
                self.end(
                    delivery,
                    TurnEnd::Failed {
                        kind: EndKind::Store,
                        message: message.into(),
                    },
                );
            }
            Err(error) => {
                let error = crate::error_chain(&error);
                warn!(delivery.id = %delivery, error, "a message cannot be read for now");
                self.put_off(&ticket, READ_AGAIN);
            }
        }
    }

    /// Puts what could not be handed out back, and its agent aside for a moment.
    fn put_off(&mut self, ticket: &Ticket, pause: Duration) {
        let agent = ticket.session.agent();
        self.lanes.requeue(ticket);
        self.lanes.close(&agent);
        self.swamped.insert(agent);
        let again = Instant::now() + pause;
        self.offer_again = Some(self.offer_again.map_or(again, |at| at.max(again)));
    }

    fn hand_out(&mut self, ticket: &Ticket) {
        let agent = ticket.session.agent();
        let generation = self.tally(&agent).generation;
        let job = self
            .jobs
            .get_mut(&ticket.delivery)
            .expect("a ticket has a job");
        let Some(text) = job.text.take() else {
            return;
        };
        self.bytes_at_hand -= text.text.len();
        // The same life that had it already answers under the name it knows.
        let turn = match job.lease {
            Some(lease) if lease.generation == generation => lease.turn,
            _ => TurnId::new(),
        };
        let delivery = Box::new(Delivery {
            delivery: ticket.delivery,
            turn,
            session: ticket.session.clone(),
            sender: text.sender,
            text: text.text,
        });
        let commands = self.agents.get(&agent).expect("a lane has an agent");
        if let Err(error) = commands.try_send(Command::Deliver(delivery)) {
            let (full, command) = match error {
                mpsc::error::TrySendError::Full(command) => (true, command),
                mpsc::error::TrySendError::Closed(command) => (false, command),
            };
            if let Command::Deliver(delivery) = command {
                self.bytes_at_hand += delivery.text.len();
                job.text = Some(Text {
                    sender: delivery.sender,
                    text: delivery.text,
                });
            }
            if full {
                warn!(agent.id = %agent, "an agent's driver is busy; a delivery waits for it");
                self.put_off(ticket, OFFER_AGAIN);
            } else {
                // One that is gone left with the whole supervisor.
                self.lanes.requeue(ticket);
                self.lanes.close(&agent);
            }
            return;
        }
        debug!(agent.id = %agent, delivery.id = %ticket.delivery, turn.id = %turn, "a delivery was handed out");
        job.turn = Some(turn);
        job.lease = Some(crate::journal::entry::Lease { generation, turn });
        self.turns.insert(turn, ticket.delivery);
        let lease = Op::Lease {
            delivery: ticket.delivery,
            generation,
            turn,
        };
        self.ledger.tell(lease, Then::Nothing(ticket.delivery));
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
                let tally = self.tally(agent);
                tally.generation = generation;
                tally.resting = None;
            }
            AgentEvent::Closed => self.lanes.close(agent),
            AgentEvent::Down { asked } => self.on_down(agent, generation, asked),
            AgentEvent::Resting(state) => self.on_resting(agent, state),
            AgentEvent::Started(turn) => self.with_sinks(agent, turn, |sink| sink.started()),
            AgentEvent::Delta { turn, text } => {
                self.with_sinks(agent, turn, |sink| sink.delta(&text));
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

    fn with_sinks(&mut self, agent: &AgentId, turn: TurnId, tell: impl Fn(&mut dyn ReplySink)) {
        // An unknown turn was given up before, or is an agent's invention.
        if let Some(delivery) = self.turns.get(&turn).copied()
            && self.belongs(delivery, agent)
            && let Some(job) = self.jobs.get_mut(&delivery)
        {
            job.sinks.iter_mut().for_each(|sink| tell(&mut **sink));
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
        self.end(delivery, job::end_of(outcome, spent));
    }

    /// Everything that this life of the agent had goes back, or is set aside.
    fn on_down(&mut self, agent: &AgentId, generation: Generation, asked: bool) {
        self.lanes.close(agent);
        let held = |ticket: &Ticket| {
            let lease = self.jobs.get(&ticket.delivery).and_then(|job| job.lease);
            lease.is_some_and(|lease| lease.generation == generation)
        };
        // What it was to be handed again, and is waiting for that.
        let mut waiting = self.lanes.waiting(agent);
        waiting.retain(held);
        // The oldest must end up first, so it goes back last.
        for ticket in self.lanes.running(agent).into_iter().rev() {
            self.lanes.requeue(&ticket);
            self.give_back(&ticket, agent, generation, asked);
        }
        for ticket in waiting {
            self.give_back(&ticket, agent, generation, asked);
        }
    }

    fn give_back(&mut self, ticket: &Ticket, agent: &AgentId, generation: Generation, asked: bool) {
        let poison_after = self.tally(agent).poison_after;
        let job = self
            .jobs
            .get_mut(&ticket.delivery)
            .expect("a ticket has a job");
        if let Some(turn) = job.turn.take() {
            self.turns.remove(&turn);
        }
        job.loading = false;
        let leased = job
            .lease
            .is_some_and(|lease| lease.generation == generation);
        if job.cancelled {
            self.end(ticket.delivery, TurnEnd::Cancelled);
            return;
        }
        if !leased {
            // It was being read, and not handed out yet.
            return;
        }
        job.lease = None;
        let attempts = job.attempts + u32::from(!asked);
        job.attempts = attempts;
        // One that is not known was handed out by an earlier supervisor: it gets one more life.
        if !asked && attempts >= poison_after && job.known {
            self.poison(ticket, agent, generation);
            return;
        }
        info!(agent.id = %agent, generation = generation.0, delivery.id = %ticket.delivery, attempts, "a delivery was requeued");
        let requeue = Op::Requeue {
            delivery: ticket.delivery,
            generation,
            // When it is enough is decided here, where it is known whom to tell.
            blame: (!asked).then_some(Blame {
                poison_after: u32::MAX,
                notice: None,
            }),
        };
        self.ledger.tell(requeue, Then::Nothing(ticket.delivery));
    }

    /// Sets a delivery aside that its agent dies of, and tells everybody.
    fn poison(&mut self, ticket: &Ticket, agent: &AgentId, generation: Generation) {
        let Some(job) = self.take_out(ticket.delivery) else {
            return;
        };
        let attempts = job.attempts;
        warn!(agent.id = %agent, delivery.id = %ticket.delivery, attempts, "a delivery is set aside: its agent dies of it");
        let end = TurnEnd::Failed {
            kind: EndKind::Agent,
            message: format!(
                "agent `{agent}` stopped working {attempts} times while it answered this; the message was set aside"
            ),
        };
        let notice = job.sends(&end).into_iter().next();
        let channels = notice.iter().map(|send| send.channel.clone()).collect();
        let requeue = Op::Requeue {
            delivery: ticket.delivery,
            generation,
            blame: Some(Blame {
                // Decided already: what the journal counted counts no less.
                poison_after: 0,
                notice,
            }),
        };
        self.ledger
            .tell(requeue, Then::Send(ticket.delivery, channels));
        self.outside.events.tell(LifecycleEvent {
            at: SystemTime::now(),
            agent: Some(agent.clone()),
            generation,
            kind: "poison",
            detail: Some(format!(
                "delivery {} was set aside after {attempts} deaths of the agent; `kennel queue requeue {}` tries it again",
                ticket.delivery, ticket.delivery
            )),
            end: None,
            held_back: None,
        });
        let tally = self.tally(agent);
        tally.failed += 1;
        tally.poison += 1;
        for sink in job.sinks {
            sink.end(end.clone());
        }
    }

    fn on_resting(&mut self, agent: &AgentId, state: &'static str) {
        self.lanes.close(agent);
        self.tally(agent).resting = Some(state);
        if self.leaving {
            // It rests because we leave. What waits does so for the next supervisor.
            return;
        }
        if self.is_going(agent.as_str()) {
            // Told when it was retired, but for what has come back since.
            let waiting = self.lanes.waiting(agent);
            self.end_removed(agent, waiting);
            return;
        }
        for ticket in self.lanes.waiting(agent) {
            // What an earlier supervisor took waits until the agent is started: nobody was told
            // anything yet, and nobody holds a line.
            if self.jobs.get(&ticket.delivery).is_some_and(|job| job.known) {
                self.end(ticket.delivery, resting(agent, state));
            }
        }
    }

    /// No more is taken. Those who cannot come back are told, the rest is for the next supervisor.
    fn leave(&mut self) {
        self.leaving = true;
        let agents: Vec<AgentId> = self.agents.keys().cloned().collect();
        for agent in agents {
            for ticket in self.lanes.waiting(&agent) {
                let stays = self.jobs.get(&ticket.delivery).is_none_or(Job::outlasts);
                if !stays {
                    self.end(
                        ticket.delivery,
                        TurnEnd::Failed {
                            kind: EndKind::Stopped,
                            message: Rejected::Leaving.to_string(),
                        },
                    );
                }
            }
        }
    }

    /// Takes a job out of everything.
    fn take_out(&mut self, delivery: DeliveryId) -> Option<Job> {
        let job = self.jobs.remove(&delivery)?;
        if let Some(turn) = job.turn {
            self.turns.remove(&turn);
        }
        if !self.lanes.finish(&job.ticket) {
            self.lanes.withdraw(&job.ticket);
        }
        if let Some(text) = &job.text {
            self.bytes_at_hand -= text.text.len();
        }
        Some(job)
    }

    /// Ends a job: writes it down, with what is to be sent, and tells its sinks.
    fn end(&mut self, delivery: DeliveryId, end: TurnEnd) {
        let Some(job) = self.take_out(delivery) else {
            return;
        };
        let agent = job.ticket.session.agent();
        let tally = self.tally(&agent);
        match &end {
            TurnEnd::Replied { .. } => tally.replied += 1,
            TurnEnd::Failed { .. } => tally.failed += 1,
            TurnEnd::Cancelled => tally.cancelled += 1,
        }
        let sends = job.sends(&end);
        let channels = sends.iter().map(|send| send.channel.clone()).collect();
        let settle = Op::Settle {
            delivery,
            end: job::written(&end),
            sends,
        };
        self.ledger.tell(settle, Then::Send(delivery, channels));
        for sink in job.sinks {
            sink.end(end.clone());
        }
        self.forget_if_done(&agent);
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
                poison: tally.poison,
                input_tokens: tally.input_tokens,
                output_tokens: tally.output_tokens,
            };
            (agent.clone(), counts)
        };
        self.tallies.iter().map(count).collect()
    }
}

fn resting(agent: &AgentId, state: &'static str) -> TurnEnd {
    let agent = agent.to_string();
    TurnEnd::Failed {
        kind: EndKind::Stopped,
        message: Rejected::Resting { agent, state }.to_string(),
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
