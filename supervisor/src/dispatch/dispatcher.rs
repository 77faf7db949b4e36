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
//! | `accept` | the way in |
//! | `account`, `clock` | what a turn took, and when |
//! | `backlog` | what of a long queue stays on the disk |
//! | [`classes`] | the class of a message |
//! | `beside` | messages that join others, or wait for quiet |
//! | `deadlines` | what may take no longer |
//! | `hand_out` | from a lane to a driver |
//! | `agents` | what drivers report |
//! | [`handle`] | requests and reports, and the handles that make them |
//! | [`job`] | one delivery that is not done with |
//! | [`ledger`] | what goes to the journal, and what is to be done when it is there |
//! | [`restore`] | what an earlier supervisor has left |
//! | [`roster`] | agents that come and go |
//! | `steer` | messages that a turn which runs may take in |
//! | `spending` | what agents may spend |

mod accept;
mod account;
mod agents;
mod backlog;
mod beside;
mod classes;
mod clock;
mod deadlines;
mod hand_out;
mod handle;
mod job;
mod ledger;
mod operate;
mod restore;
mod roster;
mod spending;
mod steer;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{
    StreamExt,
    future::BoxFuture,
    stream::{FuturesOrdered, FuturesUnordered},
};
use kennel_shared::{
    ids::{AgentId, ChannelId, DeliveryId, Generation, TurnId},
    protocol::Spent,
    session_key::SessionKey,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tracing::{debug, error};

use self::{
    backlog::{Backlog, Refill, WINDOW},
    beside::Quiet,
    deadlines::Deadlines,
    handle::Request,
    job::Job,
    ledger::{Accepting, Ledger, Then},
};
pub use self::{classes::ScheduleClasses, deadlines::TimeLimits};
pub use self::{
    handle::{
        Accepted, AgentCounts, AgentEvent, DispatcherHandle, Operation, OperationError, Rejected,
        Reports, Submission, Told, Waiting,
    },
    restore::{Found, Restored, waiting_for},
    roster::Change,
    spending::BudgetView,
};
use super::{
    lanes::{INTERACTIVE, Lanes, Shares, Terms, Ticket, USUAL_WEIGHT},
    turn::{EndKind, ReplySink, TurnEnd},
};
use crate::{
    journal::{Answer, Journal, JournalError, Op, ReadError, entry::Seq, reader::Message},
    otlp::SpanSink,
    supervision::{driver::Command, events::Events},
    turns::{Books, Budget, Histograms, Prices},
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
#[derive(Debug, Clone)]
pub struct Limits {
    /// Turns at once.
    pub max_concurrent: usize,
    /// Deliveries that may wait.
    pub max_waiting: usize,
    /// How many lives of the agent a delivery may cost before it is set aside.
    pub poison_after: u32,
    /// The class of its turns.
    pub class: String,
    /// Its part of the class, beside the weights of the others.
    pub weight: u32,
    /// How long each may take; without limits for what finishes and takes no more.
    pub time: Option<TimeLimits>,
}

/// One turn at a time, as for an agent of which the configuration says nothing.
impl Default for Limits {
    fn default() -> Self {
        Self {
            max_concurrent: 1,
            max_waiting: 100,
            poison_after: 3,
            class: INTERACTIVE.to_owned(),
            weight: USUAL_WEIGHT,
            time: None,
        }
    }
}

impl Limits {
    fn terms(&self) -> Terms {
        Terms {
            max_concurrent: self.max_concurrent,
            max_waiting: self.max_waiting,
            weight: self.weight,
            class: self.class.as_str().into(),
        }
    }
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
    /// What models cost.
    pub prices: Prices,
    /// Where the accounts of turns go beside the journal.
    pub spans: Option<SpanSink>,
}

/// Nobody waits, nobody sends, nobody looks.
impl Default for Outside {
    fn default() -> Self {
        Self {
            sink_for: Arc::new(|_| Box::new(Nobody)),
            ring: Arc::new(|_| {}),
            events: Events::default(),
            prices: Prices::default(),
            spans: None,
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
    time: Option<TimeLimits>,
    /// The life that is up, or was last.
    generation: Generation,
    /// On the way to the disk.
    accepting: usize,
    backlog: Backlog,
    replied: u64,
    failed: u64,
    cancelled: u64,
    poison: u64,
    input_tokens: u64,
    output_tokens: u64,
    /// None before its first turn.
    histograms: Option<Box<Histograms>>,
    /// What it may spend, and what it has; nothing limits it without.
    budget: Option<Box<(Budget, Books)>>,
    resting: Option<&'static str>,
    going: roster::Going,
}

type Loaded = (DeliveryId, Result<Option<Message>, ReadError>);

/// See the module.
pub struct Dispatcher {
    requests: mpsc::Receiver<Request>,
    ledger: Ledger,
    /// In the order in which they were wanted: ends of one session are told in theirs.
    loads: FuturesOrdered<BoxFuture<'static, Loaded>>,
    outside: Outside,
    prices: Prices,
    lanes: Lanes,
    classes: ScheduleClasses,
    agents: HashMap<AgentId, mpsc::Sender<Command>>,
    tallies: HashMap<AgentId, Tally>,
    jobs: HashMap<DeliveryId, Job>,
    turns: HashMap<TurnId, DeliveryId>,
    /// Deliveries whose end is on its way to the disk, and who asked for them meanwhile.
    ending: HashMap<DeliveryId, Vec<Accepting>>,
    /// Of the texts of jobs.
    bytes_at_hand: usize,
    /// Agents to whom something could not be handed out, and when to try again.
    swamped: HashSet<AgentId>,
    offer_again: Option<Instant>,
    /// The delivery of each session that what comes next may join.
    heads: HashMap<SessionKey, DeliveryId>,
    /// How often a delivery is held back that waits.
    holds: HashMap<DeliveryId, u32>,
    /// Deliveries that wait for their sessions to be quiet, and when they are: the same, by time.
    quiets: HashMap<DeliveryId, Quiet>,
    debounces: BTreeSet<(Instant, DeliveryId)>,
    deadlines: Deadlines,
    /// Deliveries of one agent that wait in memory.
    window: usize,
    /// Agents of whose queue a part is on the disk.
    behind: HashSet<AgentId>,
    refills: FuturesUnordered<BoxFuture<'static, Refill>>,
    /// The last delivery of whose acceptance it was heard: what is read of a queue beyond it is not ours yet.
    heard: Seq,
    /// Sessions that were stopped while something of them was on the disk, and up to where.
    stopped: HashMap<SessionKey, Seq>,
    /// Sessions whose people were told that something was dropped, and were not answered since.
    told: HashSet<SessionKey>,
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
        loads: FuturesOrdered::new(),
        prices: outside.prices.clone(),
        outside,
        lanes: Lanes::new(max_running, Instant::now().into_std()),
        classes: ScheduleClasses::default(),
        agents: HashMap::new(),
        tallies: HashMap::new(),
        jobs: HashMap::new(),
        turns: HashMap::new(),
        ending: HashMap::new(),
        bytes_at_hand: 0,
        swamped: HashSet::new(),
        offer_again: None,
        heads: HashMap::new(),
        holds: HashMap::new(),
        quiets: HashMap::new(),
        debounces: BTreeSet::new(),
        deadlines: Deadlines::default(),
        window: WINDOW,
        behind: HashSet::new(),
        refills: FuturesUnordered::new(),
        heard: Seq(0),
        stopped: HashMap::new(),
        told: HashSet::new(),
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
    Quiet,
    Late,
    Refilled(Box<Refill>),
}

impl Dispatcher {
    /// Adds an agent. `commands` leads to its driver.
    pub fn add(&mut self, agent: AgentId, commands: mpsc::Sender<Command>, limits: &Limits) {
        // One that was just removed may have something left; it is the new one's.
        if !self.lanes.limit(&agent, limits.terms()) {
            self.lanes.add(agent.clone(), limits.terms());
        }
        let tally = self.tallies.entry(agent.clone()).or_default();
        tally.poison_after = limits.poison_after;
        tally.time = limits.time;
        self.agents.insert(agent, commands);
    }

    /// Says how much of the fleet classes have.
    pub fn set_classes(&mut self, classes: &BTreeMap<String, Shares>) {
        self.lanes.set_classes(classes);
    }

    /// Says that an agent rests from the beginning: nobody has asked for it to run.
    pub fn rest(&mut self, agent: &AgentId) {
        self.tally(agent).resting = Some("stopped");
    }

    /// Runs until aborted, or every handle is gone.
    pub async fn run(mut self) {
        loop {
            let (quiet_at, late_at) = (self.quiet_at(), self.deadlines.next());
            let happened = tokio::select! {
                request = self.requests.recv() => Happened::Request(request),
                (then, answer) = self.ledger.next() => Happened::Written(then, answer),
                Some(loaded) = self.loads.next(), if !self.loads.is_empty() => {
                    Happened::Loaded(loaded)
                }
                () = until(self.offer_again) => Happened::Due,
                () = until(quiet_at) => Happened::Quiet,
                () = until(late_at) => Happened::Late,
                Some(refill) = self.refills.next(), if !self.refills.is_empty() => {
                    Happened::Refilled(Box::new(refill))
                }
            };
            self.lanes.advance(Instant::now().into_std());
            match happened {
                Happened::Request(Some(request)) => self.on_request(request),
                Happened::Request(None) => return,
                Happened::Written(then, answer) => self.on_written(then, answer),
                Happened::Loaded((delivery, message)) => {
                    self.on_loaded(delivery, message);
                    self.on_flushed();
                }
                Happened::Quiet => self.on_quiet(),
                Happened::Late => self.on_late(),
                Happened::Refilled(refill) => self.on_refill(*refill),
                Happened::Due => {
                    self.offer_again = None;
                    for agent in std::mem::take(&mut self.swamped) {
                        self.lanes.open(&agent);
                    }
                }
            }
            self.refill();
            while !self.leaving
                && let Some(started) = self.lanes.start_next()
            {
                self.clock_out(&started);
                self.start(&started.ticket);
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
            Request::StopSession { session, reply } => {
                let _ = reply.send(self.stop_session(&session));
            }
            Request::SessionCounts { session, reply } => {
                let running = self.lanes.running(&session.agent());
                let running = running.iter().filter(|one| one.session == session).count();
                let _ = reply.send((self.lanes.waiting_in(&session).len(), running));
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
            Request::Budgets { reply } => {
                let _ = reply.send(self.budgets());
            }
            Request::Histograms { reply } => {
                let _ = reply.send(self.histograms());
            }
            Request::Usage { reply } => {
                let _ = reply.send(self.lanes.take_usage());
            }
            Request::Waiting { tickets, reply } => {
                let tickets = tickets.into_iter();
                let waiting = tickets.filter_map(|one| Some((one.delivery, self.look_at(&one)?)));
                let _ = reply.send(waiting.collect());
            }
            Request::Flush { reply } => {
                self.flushing.push(reply);
                self.on_flushed();
            }
            Request::Change(change) => self.on_change(*change),
            Request::Holding { reply } => {
                let holds = |job: &&Job| job.sinks.iter().any(|sink| sink.holds());
                let accepting: usize = self.tallies.values().map(|tally| tally.accepting).sum();
                let _ = reply.send(self.jobs.values().filter(holds).count() + accepting);
            }
            Request::Close => self.leave(),
        }
    }

    fn on_written(&mut self, then: Then, answer: Result<Answer, JournalError>) {
        match then {
            Then::Accept(accepting) => {
                let agent = accepting.new.session.agent();
                self.on_accepted(*accepting, answer);
                self.forget_if_done(&agent);
            }
            Then::Operate(operating) => self.on_operated(*operating, answer),
            Then::End(delivery, channels) => {
                note(delivery, answer);
                for channel in &channels {
                    (self.outside.ring)(channel);
                }
                self.on_ended(delivery);
            }
            Then::Nothing(delivery) => note(delivery, answer),
        }
        self.on_flushed();
    }

    /// Tells those who wait for it that nothing is left to be written.
    fn on_flushed(&mut self) {
        if self.ledger.is_settled() && self.loads.is_empty() {
            for reply in self.flushing.drain(..) {
                let _ = reply.send(());
            }
        }
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
        self.send_cancel(delivery, turn);
        true
    }

    /// Cancels a delivery, which ends with this then.
    fn cancel_for(&mut self, delivery: DeliveryId, because: TurnEnd) {
        if let Some(job) = self.jobs.get_mut(&delivery)
            && !job.cancelled
        {
            job.because = Some(because);
            self.cancel(delivery);
        }
    }

    /// No more is taken. Those who cannot come back are told, the rest is for the next supervisor.
    fn leave(&mut self) {
        self.leaving = true;
        let agents: Vec<AgentId> = self.agents.keys().cloned().collect();
        for agent in agents {
            for ticket in self.all_waiting(&agent) {
                let stays = self.jobs.get(&ticket.delivery).is_none_or(Job::outlasts);
                if !stays {
                    self.end(ticket.delivery, leaving());
                }
            }
        }
    }

    /// Takes a job out of everything.
    fn take_out(&mut self, delivery: DeliveryId) -> Option<Job> {
        self.expect_no_more(delivery, |_| true);
        let job = self.jobs.remove(&delivery)?;
        if job.on_disk {
            self.no_more_on_disk(&job.ticket.session.agent());
        }
        self.gather_no_more(&job.ticket);
        if let Some(turn) = job.turn {
            self.turns.remove(&turn);
        }
        if !self.lanes.finish(&job.ticket) {
            self.lanes.withdraw(&job.ticket);
        }
        if let Some(text) = &job.text {
            self.bytes_at_hand -= text.text.len();
        }
        let session = &job.ticket.session;
        if self.told.contains(session) && self.lanes.waiting_in(session).is_empty() {
            self.told.remove(session);
        }
        Some(job)
    }

    /// Ends a job: writes it down, with what is to be sent, and tells its sinks.
    fn end(&mut self, delivery: DeliveryId, end: TurnEnd) {
        if let Some(job) = self.jobs.get_mut(&delivery)
            && !job.known
        {
            // An earlier supervisor took it: first it is read who is to be told.
            if job.end.replace(end).is_none() && !job.loading {
                self.load(delivery, Duration::ZERO);
            }
            return;
        }
        let Some(mut job) = self.take_out(delivery) else {
            return;
        };
        let turn = self.account(&mut job, &end);
        let agent = job.ticket.session.agent();
        let tally = self.tally(&agent);
        match &end {
            TurnEnd::Replied { .. } => tally.replied += 1,
            TurnEnd::Failed { .. } => tally.failed += 1,
            TurnEnd::Cancelled => tally.cancelled += 1,
        }
        let mut sends = job.sends(&end);
        if let Some(text) = job.note.take() {
            let spent = Spent::default();
            sends.extend(job.sends(&TurnEnd::Replied { text, spent }));
        }
        let channels = sends.iter().map(|send| send.channel.clone()).collect();
        let settle = Op::Settle {
            delivery,
            end: job::written(&end),
            sends,
            turn,
        };
        self.tell_end(delivery, settle, channels);
        tell(job.sinks, end);
        self.forget_if_done(&agent);
    }

    /// Writes the end of a delivery down; whoever asks for the same until it is there waits for it.
    fn tell_end(&mut self, delivery: DeliveryId, op: Op, channels: Vec<ChannelId>) {
        self.ledger.tell(op, Then::End(delivery, channels));
        self.ending.entry(delivery).or_default();
    }

    fn tally(&mut self, agent: &AgentId) -> &mut Tally {
        self.tallies.entry(agent.clone()).or_default()
    }

    fn counts(&self) -> HashMap<AgentId, AgentCounts> {
        let count = |(agent, tally): (&AgentId, &Tally)| {
            let (waiting, running) = self.lanes.counts(agent);
            let waiting = waiting + tally.backlog.len;
            let counts = AgentCounts {
                resting: tally.resting,
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

/// Something about a delivery that nobody waits for.
fn note(delivery: DeliveryId, answer: Result<Answer, JournalError>) {
    match answer {
        Ok(_) | Err(JournalError::Closed) => {}
        // An operator was faster, or a damaged journal has lost it.
        Err(JournalError::Refused(refusal)) => {
            debug!(delivery.id = %delivery, %refusal, "the journal knows better");
        }
        Err(error) => error!(delivery.id = %delivery, %error, "something was not written down"),
    }
}

/// Tells all who wait; the last gets what the others get copies of.
fn tell(mut sinks: Vec<Box<dyn ReplySink>>, end: TurnEnd) {
    let last = sinks.pop();
    for sink in sinks {
        sink.end(end.clone());
    }
    if let Some(last) = last {
        last.end(end);
    }
}

fn leaving() -> TurnEnd {
    TurnEnd::Failed {
        kind: EndKind::Stopped,
        message: Rejected::Leaving.to_string(),
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
