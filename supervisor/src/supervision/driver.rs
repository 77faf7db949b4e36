//! The task that owns one agent: its [`Lifecycle`], its child, its link.
//!
//! It feeds the machine with what happens and carries out what the machine says. Nothing here waits
//! on one thing only: an agent that is asked something while it is stopping still answers. Starting
//! a child (secrets, spawn) runs beside the loop and reports back into it.

mod slot;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use futures::FutureExt;
use kennel_shared::{
    bootstrap::Bootstrap,
    cage::{CageOutcome, CageSpec, CageStep},
    ids::{AgentId, Generation, TurnId},
    link::{Incoming, LinkError},
    protocol::{
        AgentSpec, DELTA_MAX_BYTES, Delivery, Heartbeat, Hello, Position, REPLY_MAX_BYTES, Refusal,
        ToAgent, ToSupervisor, TurnOutcome, Welcome,
    },
    secret::Token,
};
use nix::sys::signal::Signal;
use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    task::AbortHandle,
};
use tracing::{debug, error, info, warn};

use self::slot::LinkSlot;
use super::{
    ancestry,
    capture::{AgentLog, Source},
    hang::HangReport,
    lifecycle::{Action, Answer, Desired, EndReason, Event, Exit, Lifecycle, Policy, State},
    links::LinkStream,
    spawner::{Child, SpawnRequest, Spawned, Spawner},
};
use crate::dispatch::{AgentEvent, Reports};

/// Commands that may wait for a driver. Full: the dispatcher keeps its delivery, others wait.
const COMMANDS: usize = 256;

/// How long the last words of a dead child are listened to.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How long the output of a dead child is still read: its last lines, but not those of whoever
/// escaped with its pipes.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// Packets that are taken before a missing heartbeat is judged.
const DRAIN_BEFORE_JUDGING: usize = 1024;

/// What a driver can be asked.
#[derive(Debug)]
pub enum Command {
    /// Start, stop, restart or kill; answered at once, carried out afterwards.
    Order {
        /// One of the events that operators cause.
        event: Event,
        /// Whether it changes anything.
        reply: oneshot::Sender<Answer>,
    },
    /// Hand this to the agent.
    Deliver(Box<Delivery>),
    /// Have the agent stop this turn.
    Cancel(TurnId),
    /// Somebody says that it is this agent. The reply carries the number of the attempt.
    Hello {
        /// What it said.
        hello: Box<Hello>,
        /// Which process connected.
        peer_pid: Option<i32>,
        /// Come in, or go away.
        reply: HelloReply,
    },
    /// The welcome was sent: this is the link.
    Attach {
        /// The connection.
        stream: LinkStream,
        /// The attempt that was welcomed; an older one is dropped.
        attempt: u64,
        /// Where the agent's end stands.
        position: Position,
    },
}

/// What others see of an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// Where it is in its life.
    pub state: State,
    /// What is wanted.
    pub desired: Desired,
    /// Which life.
    pub generation: Generation,
    /// The child, if there is one.
    pub pid: Option<i32>,
    /// When the present child was started.
    pub started_at: Option<SystemTime>,
    /// How often it was restarted without being asked.
    pub restarts: u64,
    /// Whether its link is up.
    pub linked: bool,
    /// The lag of its loop at the last heartbeat.
    pub lag: Duration,
    /// The latest trouble, in words.
    pub detail: Option<String>,
    /// How the present child closed its cage: what it said in its first hello, before it did anything
    /// else. Empty until then.
    pub cage: Arc<[CageStep]>,
}

/// Something worth telling operators, as it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleEvent {
    /// When.
    pub at: SystemTime,
    /// Whose.
    pub agent: AgentId,
    /// Which life.
    pub generation: Generation,
    /// What: the name of a state, or `hung`, `link-up`, `link-lost`, `start-failed`.
    pub kind: &'static str,
    /// More, in words.
    pub detail: Option<String>,
}

/// Makes the spec of a new life; asked at every start, so that a changed secret is seen. May block.
pub type SpecSource = Arc<dyn Fn() -> Result<AgentSpec, String> + Send + Sync>;

/// What a driver is made of.
pub struct Setup {
    /// Whose it is.
    pub agent: AgentId,
    /// How to keep it.
    pub policy: Policy,
    /// What it is told to be.
    pub spec: SpecSource,
    /// The agent-host binary.
    pub program: PathBuf,
    /// The agent's own directory; exists.
    pub directory: PathBuf,
    /// The link socket.
    pub socket: PathBuf,
    /// The level of its log.
    pub log_level: String,
    /// How long it looks for a lost supervisor.
    pub orphan_grace: Duration,
    /// How it is to close itself in.
    pub cage: CageSpec,
    /// Where its output goes.
    pub log: AgentLog,
    /// Starts its children.
    pub spawner: Spawner,
    /// Hears of its turns.
    pub reports: Reports,
    /// Hears of its life.
    pub events: broadcast::Sender<LifecycleEvent>,
}

/// An agent, to the rest of the supervisor.
#[derive(Debug, Clone)]
pub struct AgentHandle {
    /// Whose.
    pub agent: AgentId,
    /// To its driver.
    pub commands: mpsc::Sender<Command>,
    /// What its driver sees.
    pub observed: watch::Receiver<Observed>,
    /// What it prints.
    pub log: AgentLog,
}

impl AgentHandle {
    /// Gives an order; `None` when the supervisor is leaving.
    pub async fn order(&self, event: Event) -> Option<Answer> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(Command::Order { event, reply })
            .await
            .ok()?;
        answer.await.ok()
    }

    /// Waits until the agent is as `wanted` says; false when `limit` passes first.
    pub async fn wait(&self, limit: Duration, wanted: impl FnMut(&Observed) -> bool) -> bool {
        let mut observed = self.observed.clone();
        tokio::time::timeout(limit, observed.wait_for(wanted))
            .await
            .is_ok_and(|seen| seen.is_ok())
    }
}

/// Prepares a driver. It runs when the returned task is spawned.
pub fn prepare(setup: Setup) -> (AgentHandle, Driver) {
    let (commands, inbox) = mpsc::channel(COMMANDS);
    let (started, starts) = mpsc::channel(1);
    let machine = Lifecycle::new(setup.policy, fastrand::u64(..));
    let (observed, seen) = watch::channel(Observed {
        state: machine.state(),
        desired: machine.desired(),
        generation: machine.generation(),
        pid: None,
        started_at: None,
        restarts: 0,
        linked: false,
        lag: Duration::ZERO,
        detail: None,
        cage: Arc::new([]),
    });
    let handle = AgentHandle {
        agent: setup.agent.clone(),
        commands,
        observed: seen,
        log: setup.log.clone(),
    };
    let driver = Driver {
        machine,
        inbox,
        starts,
        started,
        observed,
        link: LinkSlot::default(),
        child: None,
        speaker: None,
        captures: [None, None],
        spec: None,
        owed: None,
        starting: false,
        early: Vec::new(),
        setup,
    };
    (handle, driver)
}

/// The result of a start, on its way back into the loop.
type Started = (Generation, Result<(AgentSpec, Spawned), String>);

/// See the module.
pub struct Driver {
    setup: Setup,
    machine: Lifecycle,
    inbox: mpsc::Receiver<Command>,
    starts: mpsc::Receiver<Started>,
    started: mpsc::Sender<Started>,
    observed: watch::Sender<Observed>,
    link: LinkSlot,
    child: Option<Child>,
    /// The process that speaks for the child: itself, or one within the PID namespace that it founded.
    speaker: Option<i32>,
    /// The tasks that read the present child's output.
    captures: [Option<AbortHandle>; 2],
    /// The spec of the present life, once its secrets are resolved.
    spec: Option<AgentSpec>,
    /// A signal for a child that is still being started.
    owed: Option<Signal>,
    /// Whether a child is being started.
    starting: bool,
    /// Hellos of a child that connects before its start is reported; no more than there are
    /// handshakes at once.
    early: Vec<EarlyHello>,
}

/// A hello that came before anybody here knew the child's pid.
struct EarlyHello {
    hello: Box<Hello>,
    peer_pid: Option<i32>,
    reply: HelloReply,
}

/// Takes the welcome and the number of the attempt, or why there is none.
pub type HelloReply = oneshot::Sender<Result<(Box<Welcome>, u64), Refusal>>;

enum Happened {
    Command(Option<Command>),
    Started(Started),
    Ended,
    Link(Result<Incoming<ToSupervisor>, LinkError>),
    Deadline,
}

impl Driver {
    /// Runs until every handle is gone and no child is left.
    pub async fn run(mut self) {
        loop {
            let deadline = self.machine.deadline();
            let happened = tokio::select! {
                Some(started) = self.starts.recv() => Happened::Started(started),
                incoming = self.link.next() => Happened::Link(incoming),
                () = ended(self.child.as_ref()) => Happened::Ended,
                command = self.inbox.recv() => Happened::Command(command),
                () = until(deadline) => Happened::Deadline,
            };
            match happened {
                Happened::Command(Some(command)) => self.on_command(command).await,
                Happened::Command(None) => return,
                Happened::Started(started) => self.on_started(started).await,
                Happened::Ended => self.on_ended().await,
                Happened::Link(incoming) => self.on_link(incoming).await,
                Happened::Deadline => self.on_deadline().await,
            }
            self.publish();
        }
    }

    async fn on_command(&mut self, command: Command) {
        match command {
            Command::Order { event, reply } => {
                // Who asked may have stopped waiting.
                let _ = reply.send(self.machine.answer(event));
                self.feed(event).await;
            }
            Command::Deliver(delivery) => self.link.send(ToAgent::Deliver(*delivery)),
            Command::Cancel(turn) => self.link.send(ToAgent::Cancel(turn)),
            Command::Hello {
                hello,
                peer_pid,
                reply,
            } if self.starting => self.early.push(EarlyHello {
                hello,
                peer_pid,
                reply,
            }),
            Command::Hello {
                hello,
                peer_pid,
                reply,
            } => {
                let _ = reply.send(self.on_hello(&hello, peer_pid));
            }
            Command::Attach {
                stream,
                attempt,
                position,
            } => {
                if let Err(violation) = self.link.attach(stream, attempt, position) {
                    self.link_lost(&LinkError::Violation(violation));
                }
            }
        }
    }

    fn on_hello(
        &mut self,
        hello: &Hello,
        peer_pid: Option<i32>,
    ) -> Result<(Box<Welcome>, u64), Refusal> {
        let (Some(child), Some(spec)) = (&self.child, &self.spec) else {
            return Err(Refusal::UnknownAgent);
        };
        if hello.generation != child.generation() {
            return Err(Refusal::StaleGeneration {
                current: child.generation(),
            });
        }
        if !peer_pid.is_some_and(|peer| self.is_child(peer, child.pid())) {
            return Err(Refusal::Peer);
        }
        let (next_token, resume, attempt) = self.link.welcome(hello)?;
        let spec = spec.clone();
        self.speaker = peer_pid;
        self.note_cage(&hello.cage);
        Ok((
            Box::new(Welcome {
                next_token,
                resume,
                spec,
            }),
            attempt,
        ))
    }

    /// Whether a process is the child, or the one that works for it in a PID namespace: below the
    /// namespace's first process, which is below the child.
    fn is_child(&self, peer: i32, child: i32) -> bool {
        let levels = if self.setup.cage.pid_namespace { 2 } else { 0 };
        peer == child
            || (levels > 0 && ancestry::any_above(peer, levels, |pid| pid == child) == Some(true))
    }

    /// Keeps the report of the first hello. A later one may come from a process that has gone bad.
    fn note_cage(&self, steps: &[CageStep]) {
        if !self.observed.borrow().cage.is_empty() {
            return;
        }
        for step in steps {
            let (outcome, detail) = (step.outcome.as_str(), &step.detail);
            debug!(agent.id = %self.setup.agent, step = step.name, outcome, detail, "a step of a cage");
            if step.outcome == CageOutcome::Failed {
                warn!(agent.id = %self.setup.agent, step = step.name, detail, "an agent runs without a step of its cage");
            }
        }
        self.observed.send_modify(|seen| seen.cage = steps.into());
    }

    /// Feeds the machine and does what it says.
    async fn feed(&mut self, event: Event) {
        let before = self.machine.state();
        let actions = self.machine.on_event(event, now());
        for action in actions {
            self.act(action);
        }
        let after = self.machine.state();
        if before.name() != after.name() {
            self.on_transition(before, after).await;
        }
    }

    async fn on_transition(&mut self, before: State, after: State) {
        let detail = describe(after, now());
        if let State::Quarantined { .. } = after {
            error!(
                agent.id = %self.setup.agent, detail,
                "an agent is quarantined; `kennel restart` starts it again"
            );
        } else {
            info!(
                agent.id = %self.setup.agent, generation = self.machine.generation().0,
                from = before.name(), state = after.name(), "an agent changed state"
            );
        }
        self.setup.log.note(&match &detail {
            Some(detail) => format!("{} ({detail})", after.name()),
            None => after.name().to_owned(),
        });
        self.announce(after.name(), detail.clone());
        match after {
            State::Quarantined { .. } => {
                // What operators see from here on; the last end alone does not say why it rests.
                self.observed.send_modify(|seen| seen.detail = detail);
                self.tell(AgentEvent::Resting(after.name())).await;
            }
            State::Starting { .. } => self.tell(AgentEvent::Coming).await,
            State::Ready { .. } => {
                self.observed.send_modify(|seen| seen.detail = None);
                self.tell(AgentEvent::Up).await;
            }
            State::Stopped | State::Exited(_) => {
                self.tell(AgentEvent::Resting(after.name())).await;
            }
            _ if matches!(before, State::Ready { .. }) => self.tell(AgentEvent::Closed).await,
            _ => {}
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Spawn(generation) => self.start(generation),
            Action::Drain => self.link.send(ToAgent::Drain),
            Action::RecordHang => self.record_hang(),
            Action::Term => self.signal(Signal::SIGTERM),
            Action::Kill => self.signal(Signal::SIGKILL),
        }
    }

    fn signal(&mut self, signal: Signal) {
        let Some(child) = &self.child else {
            self.owed = Some(signal);
            return;
        };
        if let Err(error) = child.signal_group(signal) {
            error!(agent.id = %self.setup.agent, agent.pid = child.pid(), %signal, %error, "an agent cannot be signalled");
        }
    }

    fn record_hang(&mut self) {
        let Some(child) = &self.child else {
            return;
        };
        let report = HangReport::of(self.speaker.unwrap_or(child.pid()));
        warn!(agent.id = %self.setup.agent, agent.pid = child.pid(), report = %report, "an agent hangs");
        let detail = format!("hung: {report}");
        self.setup.log.note(&detail);
        self.announce("hung", Some(detail.clone()));
        self.trouble(detail);
    }

    fn start(&mut self, generation: Generation) {
        let token = Token::random();
        self.link = LinkSlot::for_child(token);
        self.owed = None;
        self.spec = None;
        self.speaker = None;
        self.observed.send_modify(|seen| seen.cage = Arc::new([]));
        self.starting = true;
        let request = SpawnRequest {
            program: self.setup.program.clone(),
            directory: self.setup.directory.clone(),
            log_level: self.setup.log_level.clone(),
            bootstrap: Bootstrap {
                agent: self.setup.agent.clone(),
                generation,
                token,
                socket: self.setup.socket.clone(),
                state_dir: self.setup.directory.clone(),
                orphan_grace_ms: u64::try_from(self.setup.orphan_grace.as_millis())
                    .unwrap_or(u64::MAX),
                cage: self.setup.cage.clone(),
            },
        };
        let (spec, spawner, started) = (
            Arc::clone(&self.setup.spec),
            self.setup.spawner.clone(),
            self.started.clone(),
        );
        tokio::spawn(async move {
            let result = match tokio::task::spawn_blocking(move || spec()).await {
                Err(error) => Err(error.to_string()),
                Ok(Err(error)) => Err(error),
                Ok(Ok(spec)) => match spawner.spawn(request).await {
                    Ok(child) => Ok((spec, child)),
                    Err(error) => Err(crate::error_chain(&error)),
                },
            };
            // One start at a time, so the queue of one is free; a driver that is gone left with
            // the supervisor.
            let _ = started.send((generation, result)).await;
        });
    }

    async fn on_started(&mut self, (generation, result): Started) {
        self.starting = false;
        let watched = result.and_then(|(spec, spawned)| {
            let Spawned {
                pid,
                pidfd,
                stdout,
                stderr,
            } = spawned;
            let child = Child::watch(pid, pidfd, generation)
                .map_err(|error| format!("its end cannot be watched: {error}"))?;
            Ok((spec, child, stdout, stderr))
        });
        match watched {
            Ok((spec, child, stdout, stderr)) => {
                self.setup.log.note(&format!(
                    "started generation {generation}, pid {}",
                    child.pid()
                ));
                self.captures = [(stdout, Source::Out), (stderr, Source::Err)]
                    .map(|(pipe, source)| self.setup.log.capture(pipe, source));
                self.child = Some(child);
                self.spec = Some(spec);
                self.welcome_early();
                self.observed
                    .send_modify(|seen| seen.started_at = Some(SystemTime::now()));
                if let Some(signal) = self.owed.take() {
                    self.signal(signal);
                }
            }
            Err(error) => {
                error!(agent.id = %self.setup.agent, error, "an agent cannot be started");
                let detail = format!("cannot be started: {error}");
                self.setup.log.note(&detail);
                self.announce("start-failed", Some(detail.clone()));
                self.trouble(detail);
                self.welcome_early();
                self.feed(Event::Exited(Exit::Code(127))).await;
            }
        }
    }

    /// Answers those who connected while their start was still on its way back here.
    fn welcome_early(&mut self) {
        for early in std::mem::take(&mut self.early) {
            let _ = early
                .reply
                .send(self.on_hello(&early.hello, early.peer_pid));
        }
    }

    async fn on_ended(&mut self) {
        // What it said before it died is still in the socket: a reply there must not be lost.
        if self.link.is_up() {
            let listen = async {
                while let Ok(incoming) = self.link.next().await {
                    self.on_incoming(incoming).await;
                }
            };
            let _ = tokio::time::timeout(LAST_WORDS, listen).await;
        }
        let child = self.child.take().expect("only a child ends");
        let pid = child.pid();
        let exit = child.reap().unwrap_or_else(|error| {
            error!(agent.id = %self.setup.agent, agent.pid = pid, %error, "an agent's end cannot be read");
            Exit::Code(-1)
        });
        self.link = LinkSlot::default();
        let captures = std::mem::take(&mut self.captures);
        tokio::spawn(async move {
            tokio::time::sleep(LAST_OUTPUT).await;
            captures.iter().flatten().for_each(AbortHandle::abort);
        });
        let detail = match exit {
            Exit::Code(code) => format!("exited with {code}"),
            Exit::Signal(signal) => format!("ended by {}", signal_name(signal)),
        };
        info!(agent.id = %self.setup.agent, agent.pid = pid, detail, "an agent's process ended");
        self.setup.log.note(&format!("pid {pid} {detail}"));
        if exit != Exit::Code(0) {
            // A hang that was just recorded says more than the KILL that followed it.
            let hung = self
                .observed
                .borrow()
                .detail
                .as_ref()
                .is_some_and(|text| text.starts_with("hung"));
            if !(hung && exit == Exit::Signal(9)) {
                self.trouble(detail);
            }
        }
        self.observed.send_modify(|seen| seen.started_at = None);
        let asked = matches!(
            self.machine.state(),
            State::Draining { .. }
                | State::Stopping {
                    reason: EndReason::Asked,
                    ..
                }
        );
        self.tell(AgentEvent::Down { asked }).await;
        self.feed(Event::Exited(exit)).await;
    }

    async fn on_link(&mut self, incoming: Result<Incoming<ToSupervisor>, LinkError>) {
        match incoming {
            Ok(incoming) => self.on_incoming(incoming).await,
            Err(error) => self.link_lost(&error),
        }
    }

    fn link_lost(&mut self, error: &LinkError) {
        self.link.lose();
        let text = crate::error_chain(error);
        // An agent that is leaving closes its link, and one that is killed may do so within a frame;
        // that is no news.
        let state = self.machine.state();
        let leaving = matches!(state, State::Stopping { .. });
        if matches!(state, State::Ready { .. }) || (error.is_misbehaviour() && !leaving) {
            warn!(agent.id = %self.setup.agent, generation = self.machine.generation().0, error = text, "an agent lost its link");
            self.announce("link-lost", Some(text.clone()));
            self.trouble(format!("lost its link: {text}"));
        }
    }

    async fn on_incoming(&mut self, incoming: Incoming<ToSupervisor>) {
        if let Incoming::Message(message) = &incoming
            && let Some(error) = excess(message)
        {
            self.break_link(error);
            return;
        }
        match incoming {
            Incoming::Heartbeat(heartbeat) => self.on_heartbeat(heartbeat).await,
            Incoming::Message(ToSupervisor::Ready) => self.feed(Event::Ready).await,
            Incoming::Message(ToSupervisor::Drained) => {}
            Incoming::Message(ToSupervisor::Started(turn)) => {
                self.tell(AgentEvent::Started(turn)).await;
            }
            Incoming::Message(ToSupervisor::Delta { turn, text }) => {
                self.tell(AgentEvent::Delta { turn, text }).await;
            }
            Incoming::Message(ToSupervisor::Finished {
                delivery,
                outcome,
                spent,
                ..
            }) => {
                self.tell(AgentEvent::Finished {
                    delivery,
                    outcome,
                    spent,
                })
                .await;
            }
        }
    }

    async fn on_heartbeat(&mut self, heartbeat: Heartbeat) {
        let lag = Duration::from_micros(heartbeat.lag_us);
        self.observed.send_if_modified(|seen| {
            seen.lag = lag;
            // Not worth waking anybody.
            false
        });
        if let Err(error) = self.link.on_heartbeat(now(), self.setup.policy.watchdog) {
            self.break_link(error);
        }
        self.feed(Event::Heartbeat).await;
    }

    /// Ends a link on which the agent does what it must not.
    fn break_link(&mut self, error: &str) {
        self.link.lose();
        warn!(agent.id = %self.setup.agent, error, "an agent lost its link");
        self.announce("link-lost", Some(error.to_owned()));
        self.trouble(format!("lost its link: {error}"));
    }

    /// Takes what already waits before it judges: it may be this supervisor that was late.
    async fn on_deadline(&mut self) {
        let mut quiet = false;
        for _ in 0..DRAIN_BEFORE_JUDGING {
            // A link gives way after some packets although more wait, and so does tokio: it is empty
            // when it says so twice, without tokio's budget.
            match tokio::task::coop::unconstrained(self.link.next()).now_or_never() {
                Some(incoming) => {
                    quiet = false;
                    self.on_link(incoming).await;
                }
                None if quiet => break,
                None => quiet = true,
            }
        }
        self.feed(Event::Deadline).await;
    }

    async fn tell(&self, event: AgentEvent) {
        self.setup
            .reports
            .tell(&self.setup.agent, self.machine.generation(), event)
            .await;
    }

    fn announce(&self, kind: &'static str, detail: Option<String>) {
        // Nobody listening is the usual case.
        let _ = self.setup.events.send(LifecycleEvent {
            at: SystemTime::now(),
            agent: self.setup.agent.clone(),
            generation: self.machine.generation(),
            kind,
            detail,
        });
    }

    fn trouble(&self, detail: String) {
        self.observed.send_modify(|seen| seen.detail = Some(detail));
    }

    fn publish(&self) {
        self.observed.send_if_modified(|seen| {
            let next = Observed {
                state: self.machine.state(),
                desired: self.machine.desired(),
                generation: self.machine.generation(),
                pid: self.child.as_ref().map(Child::pid),
                restarts: self.machine.restarts(),
                linked: self.link.is_up(),
                ..seen.clone()
            };
            // A watchdog that moved is no news.
            let news = next.state.name() != seen.state.name()
                || (next.pid, next.generation, next.linked, next.desired)
                    != (seen.pid, seen.generation, seen.linked, seen.desired);
            *seen = next;
            news
        });
    }
}

/// What is too long in a message. Everything behind this point counts messages, so that their size
/// must be bounded here.
fn excess(message: &ToSupervisor) -> Option<&'static str> {
    match message {
        ToSupervisor::Delta { text, .. } if text.len() > DELTA_MAX_BYTES => {
            Some("it sent a piece of text that is longer than it may be")
        }
        ToSupervisor::Finished {
            outcome: TurnOutcome::Replied(text),
            ..
        } if text.len() > REPLY_MAX_BYTES => Some("it sent a reply that is longer than it may be"),
        ToSupervisor::Finished {
            outcome: TurnOutcome::Failed(failure),
            ..
        } if failure.message.len() > DELTA_MAX_BYTES => {
            Some("it sent an error that is longer than it may be")
        }
        _ => None,
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

async fn ended(child: Option<&Child>) {
    match child {
        // A descriptor that cannot be polled any more is looked at by reaping.
        Some(child) => drop(child.ended().await),
        None => std::future::pending().await,
    }
}

fn describe(state: State, now: Instant) -> Option<String> {
    match state {
        State::BackingOff { until, .. } => {
            // To the millisecond, and up: the clock has moved since the wait was decided.
            let millis = until.duration_since(now).as_micros().div_ceil(1000);
            let wait = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
            Some(format!(
                "next start in {}",
                humantime::format_duration(wait)
            ))
        }
        State::Quarantined { last } => Some(match last {
            Exit::Code(code) => format!("restarted too often; the last child exited with {code}"),
            Exit::Signal(signal) => {
                format!(
                    "restarted too often; the last child was ended by {}",
                    signal_name(signal)
                )
            }
        }),
        _ => None,
    }
}

fn signal_name(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(
        |_| format!("signal {signal}"),
        |signal| signal.as_str().to_owned(),
    )
}

#[cfg(test)]
mod tests;
