//! The task that owns one agent: its [`Lifecycle`], its child, its link.
//!
//! It feeds the machine with what happens and carries out what the machine says. Nothing here waits
//! on one thing only: an agent that is asked something while it is stopping still answers. Starting
//! a child (secrets, spawn) runs beside the loop and reports back into it.

mod adopted;
mod allowance;
mod child;
mod deleting;
mod guard;
mod handle;
mod hello;
mod meter;
mod slot;
mod strained;
mod tokens;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use futures::FutureExt;
use kennel_shared::{
    ids::Generation,
    link::{Incoming, LinkError},
    protocol::{
        AgentSpec, DELTA_MAX_BYTES, Delivery, Heartbeat, MODEL_NAME_MAX_BYTES, REPLY_MAX_BYTES,
        SPANS_MAX, SpanKind, TOOL_NAME_MAX_BYTES, ToAgent, ToSupervisor, TurnOutcome, TurnSpan,
        TurnStep,
    },
};
use nix::sys::signal::Signal;
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinHandle},
};
use tracing::{error, info, warn};

pub use self::handle::{
    AgentHandle, Applied, Command, Deleted, HelloReply, LastEnd, Observed, Setup, SpecSource, Terms,
};
use self::{
    deleting::Deleting,
    guard::{Exceeded, Guard},
    hello::EarlyHello,
    meter::Meter,
    slot::LinkSlot,
};
use super::{
    adoption::Adoptee,
    child::Child,
    ending::{Cause, Evidence, Step, Turns, signal_name},
    events::LifecycleEvent,
    hang::HangReport,
    lifecycle::{Action, Event, Exit, HOPELESS, Lifecycle, State},
    spawner::Spawned,
    strain::Noticed,
};
use crate::{
    containment::{Cap, Caps, CpuMeter, CpuTimes, Group, LeftBehind},
    dispatch::{AgentEvent, Told},
    turns::Share,
};

/// Commands that may wait for a driver. Full: the dispatcher keeps its delivery, others wait.
const COMMANDS: usize = 256;

/// Notices of strain that may wait for a driver. Full: the sampler says some again, and the rest is not told.
const NOTICES: usize = 16;

/// How long the last words of a dead child are listened to.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How long the output of a dead child is still read: its last lines, but not those of whoever
/// escaped with its pipes.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// Packets that are taken before a missing heartbeat is judged.
const DRAIN_BEFORE_JUDGING: usize = 1024;

/// Prepares a driver. It runs when the returned task is spawned.
pub fn prepare(setup: Setup) -> (AgentHandle, Driver) {
    let (commands, inbox) = mpsc::channel(COMMANDS);
    let (started, starts) = mpsc::channel(1);
    let (notices_tx, notices_rx) = mpsc::channel(NOTICES);
    let machine = Lifecycle::new(setup.policy, setup.past.generation, fastrand::u64(..));
    let (observed, seen) = watch::channel(Observed {
        state: machine.state(),
        desired: machine.desired(),
        generation: machine.generation(),
        pid: None,
        adopted: false,
        started_at: None,
        restarts: 0,
        linked: false,
        lag: Duration::ZERO,
        detail: None,
        last_end: None,
        caps: setup.caps,
        unenforced: Arc::default(),
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
        noticed: notices_rx,
        notices: notices_tx,
        observed,
        link: LinkSlot::default(),
        child: None,
        group: None,
        caps: setup.caps,
        next_caps: None,
        guard: Guard::default(),
        over: None,
        clearing: None,
        turns: Turns::default(),
        clock: None,
        meter: Meter::default(),
        deleting: Deleting::default(),
        hang: None,
        speaker: None,
        captures: [None, None],
        spec: None,
        owed: None,
        starting: false,
        early: Vec::new(),
        awaited: false,
        later: None,
        setup,
    };
    (handle, driver)
}

/// The result of a start, on its way back into the loop.
type Started = (Generation, Result<(AgentSpec, Newborn), NoStart>);

/// A child, new to this supervisor.
enum Newborn {
    Spawned(Spawned),
    Adopted(Adoptee),
}

/// Why there is no child.
#[derive(Debug)]
enum NoStart {
    /// Something went wrong, which may mend itself.
    Failed(String),
    /// It is not to run like this.
    Refused(String),
    /// One that was adopted cannot be told what to be.
    Untold(String, Box<Adoptee>),
}

/// A child that ended, how, and who of its group did not.
type Cleared = (i32, Evidence, Option<LeftBehind>);

/// See the module.
pub struct Driver {
    setup: Setup,
    machine: Lifecycle,
    inbox: mpsc::Receiver<Command>,
    starts: mpsc::Receiver<Started>,
    started: mpsc::Sender<Started>,
    /// What the sampler sees caps do to the child.
    noticed: mpsc::Receiver<Noticed>,
    notices: mpsc::Sender<Noticed>,
    observed: watch::Sender<Observed>,
    link: LinkSlot,
    child: Option<Child>,
    /// What the present child is in.
    group: Option<Group>,
    /// The caps of the present child, and of the next.
    caps: Caps,
    /// Those of the next, where they are others.
    next_caps: Option<Caps>,
    /// Watches them.
    guard: Guard,
    /// Why we ended it, where no other cap did.
    over: Option<Cause>,
    /// The end of all that the last child started, on its way back into the loop.
    clearing: Option<JoinHandle<Cleared>>,
    /// The turns that it runs.
    turns: Turns,
    /// Reads what the present child has of the processors.
    clock: Option<CpuMeter>,
    /// And how much of that each turn had.
    meter: Meter,
    /// Who waits for it to delete a session.
    deleting: Deleting,
    /// Where it hangs, once that was seen.
    hang: Option<String>,
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
    /// Whether the child was adopted and has not been ready since.
    awaited: bool,
    /// What is done with an adopted child once it is ready.
    later: Option<Event>,
}

enum Happened {
    Command(Option<Command>),
    Started(Box<Started>),
    Ended,
    Cleared(Box<Cleared>),
    Exceeded(Exceeded),
    Noticed(Noticed),
    Link(Result<Incoming<ToSupervisor>, LinkError>),
    Deadline,
}

impl Driver {
    /// Runs until every handle is gone and no child is left.
    pub async fn run(mut self) {
        if let Some(adoptee) = self.setup.past.adoptee.take() {
            self.adopt(adoptee).await;
        }
        if let Some(lost) = self.setup.past.lost.take() {
            self.setup.log.note(&lost);
            self.announce("not-adopted", Some(lost));
        }
        loop {
            let deadline = self.machine.deadline();
            let happened = tokio::select! {
                Some(started) = self.starts.recv() => Happened::Started(Box::new(started)),
                incoming = self.link.next() => Happened::Link(incoming),
                () = ended(self.child.as_ref()) => Happened::Ended,
                cleared = cleared(self.clearing.as_mut()) => Happened::Cleared(Box::new(cleared)),
                exceeded = self.guard.exceeded() => Happened::Exceeded(exceeded),
                Some(noticed) = self.noticed.recv() => Happened::Noticed(noticed),
                command = self.inbox.recv() => Happened::Command(command),
                () = until(deadline) => Happened::Deadline,
            };
            match happened {
                Happened::Command(Some(command)) => self.on_command(command).await,
                Happened::Command(None) => return,
                Happened::Started(started) => self.on_started(*started).await,
                Happened::Ended => self.on_ended().await,
                Happened::Cleared(cleared) => self.on_cleared(*cleared).await,
                Happened::Exceeded(exceeded) => self.on_exceeded(exceeded),
                Happened::Noticed(noticed) => self.on_noticed(noticed),
                Happened::Link(incoming) => self.on_link(incoming).await,
                Happened::Deadline => self.on_deadline().await,
            }
            self.note_tokens();
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
            Command::Deliver(delivery) => {
                self.note_turn(&delivery);
                self.link.send(ToAgent::Deliver(*delivery));
            }
            Command::DeliverCheaper(delivery) => {
                self.note_turn(&delivery);
                self.link.send(ToAgent::DeliverCheaper(*delivery));
            }
            Command::Steer(delivery) => self.link.offer(*delivery),
            Command::Cancel(turn) => self.link.send(ToAgent::Cancel(turn)),
            Command::Unstick(generation) => {
                // Another life has nothing of it.
                if generation == self.machine.generation() {
                    self.feed(Event::Stuck).await;
                }
            }
            Command::Renew(terms) => self.renew(*terms),
            Command::DeleteSession { session, reply } => {
                self.deleting.ask(session, reply, &mut self.link);
            }
            Command::SetCaps { caps, reply } => {
                // Who asked may have stopped waiting.
                let _ = reply.send(self.set_caps(caps).await);
            }
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
                let answer = self.on_hello(&hello, peer_pid);
                let refusal = answer.as_ref().err().cloned();
                let _ = reply.send(answer);
                if let Some(refusal) = refusal {
                    self.on_refused(&refusal).await;
                }
            }
            Command::Attach { stream, attempt } => {
                if let Err(violation) = self.link.attach(stream, attempt) {
                    self.link_lost(&LinkError::Violation(violation));
                }
            }
        }
    }

    /// Takes other terms. Nothing of the present life changes by it but when it is judged.
    fn renew(&mut self, terms: Terms) {
        self.machine.keep_by(terms.policy);
        self.setup.policy = terms.policy;
        self.setup.spec = terms.spec;
        self.setup.requested = terms.requested;
        self.next_caps = Some(terms.caps);
        self.setup.cage = terms.cage;
        self.setup.log_level = terms.log_level;
        self.setup.orphan_grace = terms.orphan_grace;
        self.setup.log.rotate_by(terms.rotation);
        let unenforced = self.unenforced().into();
        self.observed
            .send_modify(|seen| seen.unenforced = unenforced);
    }

    /// Feeds the machine and does what it says.
    async fn feed(&mut self, event: Event) {
        let before = self.machine.state();
        let at = now();
        let actions = self.machine.on_event(event, at);
        self.carry_out(actions, (before, self.machine.state()), at)
            .await;
    }

    /// Does what the machine decided `at` that time, between two states.
    async fn carry_out(
        &mut self,
        actions: Vec<Action>,
        (before, after): (State, State),
        at: Instant,
    ) {
        for action in actions {
            self.act(action);
        }
        if before.name() != after.name() {
            self.on_transition(before, after, at).await;
        }
    }

    async fn on_transition(&mut self, before: State, after: State, at: Instant) {
        let detail = describe(after, at);
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
            State::Quarantined { last } => {
                // What operators see from here on; the last end alone does not say why it rests, unless
                // it is one that another start does not mend.
                if last != HOPELESS {
                    self.observed.send_modify(|seen| seen.detail = detail);
                }
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
        if self.clearing.is_some() {
            // It has ended, and whoever is left of it is being ended.
            return;
        }
        let Some(child) = &self.child else {
            self.owed = Some(signal);
            return;
        };
        if let Err(error) = child.signal_group(signal) {
            error!(agent.id = %self.setup.agent, agent.pid = child.pid(), %signal, %error, "an agent cannot be signalled");
        }
        if signal == Signal::SIGKILL {
            self.kill_all();
        }
    }

    /// Ends everybody in the present group.
    fn kill_all(&self) {
        if let Some(group) = &self.group
            && let Err(error) = group.kill()
        {
            error!(agent.id = %self.setup.agent, %error, "an agent's group cannot be ended");
        }
    }

    /// One process of the group over its cap ends them all: half an agent is none.
    fn on_exceeded(&mut self, exceeded: Exceeded) {
        let caps = self.caps;
        let detail = match exceeded {
            Exceeded::OomKilled(1) => {
                "the kernel ended one of its processes for want of memory".into()
            }
            Exceeded::OomKilled(n) => {
                format!("the kernel ended {n} of its processes for want of memory")
            }
            Exceeded::Over(over) => {
                self.over = Some(match over.cap {
                    Cap::Pids => Cause::TooManyProcesses,
                    _ => Cause::OutOfMemory,
                });
                format!(
                    "over its cap of {}: {} in use, {} allowed",
                    over.cap, over.used, over.allowed
                )
            }
        };
        warn!(
            agent.id = %self.setup.agent, generation = self.machine.generation().0,
            memory_cap = caps.memory, pids_cap = caps.pids, detail, "an agent exceeded a cap"
        );
        let kind = match exceeded {
            Exceeded::OomKilled(_) => "oom-kill",
            Exceeded::Over(_) => "over-cap",
        };
        self.announce(kind, Some(detail));
        self.kill_all();
    }

    fn record_hang(&mut self) {
        let Some(child) = &self.child else {
            return;
        };
        let mut report = HangReport::of(self.speaker.unwrap_or(child.pid())).to_string();
        if let Some((turn, step)) = self.turns.oldest() {
            report = format!("{report}; turn {turn} was {step}");
        }
        warn!(agent.id = %self.setup.agent, agent.pid = child.pid(), report, "an agent hangs");
        let detail = format!("hung: {report}");
        self.hang = Some(report);
        self.setup.log.note(&detail);
        self.announce("hung", Some(detail.clone()));
        self.trouble(detail);
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
            Incoming::Message(ToSupervisor::Ready) => self.on_ready().await,
            Incoming::Message(ToSupervisor::Drained) => {}
            Incoming::Message(ToSupervisor::SessionDeleted { session, deletion }) => {
                self.deleting.answered(&session, deletion);
            }
            Incoming::Message(ToSupervisor::Started(turn)) => {
                self.turns.at(turn, Step::Asking);
                self.tell(AgentEvent::Started(turn)).await;
            }
            Incoming::Message(ToSupervisor::Delta { turn, text }) => {
                self.turns.at(turn, Step::Answering);
                self.tell(AgentEvent::Delta { turn, text }).await;
            }
            Incoming::Message(ToSupervisor::Step { turn, step }) => {
                let acts = matches!(step, TurnStep::Tool(_));
                self.turns.at(turn, Step::said(step));
                if acts {
                    self.tell(AgentEvent::Acting(turn)).await;
                }
            }
            Incoming::Message(ToSupervisor::Steered { delivery, into }) => {
                self.tell(AgentEvent::Steered { delivery, into }).await;
            }
            Incoming::Message(ToSupervisor::Finished {
                delivery,
                turn,
                outcome,
                spent,
                trace,
            }) => {
                self.turns.over(turn);
                self.link.turn_over(turn);
                let times = self.cpu_times();
                let mut machine = self.meter.end(turn, times);
                if machine.cpu_us.is_some() {
                    machine.share = Some(self.share());
                }
                self.tell(AgentEvent::Finished {
                    delivery,
                    outcome,
                    spent,
                    told: Box::new(Told { trace, machine }),
                })
                .await;
            }
        }
    }

    async fn on_heartbeat(&mut self, heartbeat: Heartbeat) {
        self.meter.late(heartbeat.lag_us);
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

    /// A turn is about to be handed over.
    fn note_turn(&mut self, delivery: &Delivery) {
        let session = delivery.session.clone();
        self.turns.handed(delivery.turn, session, now());
        let times = self.cpu_times();
        self.meter.begin(delivery.turn, times);
    }

    /// What the present child had of the processors so far. Asked for as a turn begins and as it ends, and answered from
    /// counters: a few microseconds.
    fn cpu_times(&self) -> CpuTimes {
        self.clock.as_ref().map(CpuMeter::read).unwrap_or_default()
    }

    fn share(&self) -> Share {
        let own = self.child.as_ref().map(Child::pid);
        meter::share(&self.caps, own, &self.setup.sampler.latest())
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
            match tokio::task::coop::unconstrained(self.link.next_at_once()).now_or_never() {
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
        self.setup.events.tell(LifecycleEvent {
            at: SystemTime::now(),
            agent: Some(self.setup.agent.clone()),
            generation: self.machine.generation(),
            kind,
            detail,
            end: None,
            held_back: None,
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
        ToSupervisor::Step {
            step: TurnStep::Tool(name),
            ..
        } if name.len() > TOOL_NAME_MAX_BYTES => {
            Some("it sent the name of a tool that is longer than it may be")
        }
        ToSupervisor::Finished { trace, .. } => {
            let too_long = |span: &TurnSpan| match &span.what {
                SpanKind::Tool(name) => name.len() > TOOL_NAME_MAX_BYTES,
                SpanKind::Asked(_) => false,
            };
            (trace.spans.len() > SPANS_MAX
                || trace.model.len() > MODEL_NAME_MAX_BYTES
                || trace.spans.iter().any(too_long))
            .then_some("it sent an account of a turn that is longer than it may be")
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

async fn cleared(clearing: Option<&mut JoinHandle<Cleared>>) -> Cleared {
    match clearing {
        Some(clearing) => clearing
            .await
            .expect("removing a group panics as little as the runtime ends before its drivers"),
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

/// The wait before the next start, if the agent waits for one. To the millisecond, and up: the clock
/// has moved since it was decided.
fn wait(state: State, now: Instant) -> Option<Duration> {
    let State::BackingOff { until, .. } = state else {
        return None;
    };
    let millis = until.duration_since(now).as_micros().div_ceil(1000);
    Some(Duration::from_millis(
        u64::try_from(millis).unwrap_or(u64::MAX),
    ))
}

fn describe(state: State, now: Instant) -> Option<String> {
    match state {
        State::BackingOff { .. } => wait(state, now)
            .map(|wait| format!("next start in {}", humantime::format_duration(wait))),
        State::Quarantined { last: HOPELESS } => {
            Some("another start would not help; its log and its last end say why".into())
        }
        State::Quarantined { last } => Some(match last {
            Exit::Code(code) => format!("restarted too often; the last child exited with {code}"),
            Exit::Unknown => "restarted too often".into(),
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

#[cfg(test)]
mod tests;
