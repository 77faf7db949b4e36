//! The life of one agent as a state machine. Pure: it knows no process, no socket and no clock but
//! the `now` it is given. The driver feeds it events and carries out its actions.
//!
//! ```text
//!          start, adopted                ready
//!   Stopped ─────────► Starting ─────────────────► Ready ──┐
//!      ▲                  │ │                      │  │    │ stop, restart
//!      │      start_timeout │ exit        watchdog │  │    ▼
//!      │                  ▼ │                      │  │  Draining ──┐ drained: the child leaves
//!      │               Stopping ◄──────────────────┘  │    │ drain_timeout
//!      │   (TERM, then KILL after stop_grace) ◄───────┼────┘
//!      │                  │ exit                 exit │
//!      │                  ▼                           ▼
//!      ├── wanted stopped ── what now? ── restart policy says no ──► Exited
//!      │                     │        └── too many restarts ───────► Quarantined
//!      │              BackingOff ── time is up ──► Starting
//!      └────────── stop ─────┘
//! ```
//!
//! A child of a supervisor that died is adopted: it is `Starting` until it has connected again.
//!
//! Invariants, held by the property test below: at most one child at a time; a spawn only ever
//! follows the exit of the one before; generations grow by one; every state but `Stopped`, `Exited`,
//! `Quarantined`, and the wait for a killed child, has a deadline or a healthy child.

use std::time::{Duration, Instant};

use kennel_shared::ids::Generation;

use super::backoff::{BackoffPolicy, Intensity, IntensityPolicy};

/// When to start a child again that ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// However it ended.
    Always,
    /// Unless it exited with 0.
    OnFailure,
    /// Never.
    Never,
}

/// Everything the machine is told about how to keep one agent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// When to start it again.
    pub restart: RestartPolicy,
    /// How long to wait before that.
    pub backoff: BackoffPolicy,
    /// How often within how long.
    pub intensity: IntensityPolicy,
    /// How long it must run before its backoff starts over.
    pub stable_after: Duration,
    /// From spawn to ready.
    pub start_timeout: Duration,
    /// The longest time between two heartbeats.
    pub watchdog: Duration,
    /// How long the turns that run may take to end on a stop.
    pub drain_timeout: Duration,
    /// From TERM to KILL.
    pub stop_grace: Duration,
}

/// What the operator wants. Kept apart from what is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Desired {
    /// A child should run.
    Running,
    /// None should.
    Stopped,
}

/// The exit code of an agent-host that was refused or whose cage could not be closed: the same again
/// will not help (`EX_CONFIG` of `sysexits.h`).
pub const HOPELESS: Exit = Exit::Code(78);

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody can say: it was the child of a supervisor that died.
    Unknown,
}

/// Why the supervisor ended a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// An operator asked, or the supervisor is leaving.
    Asked,
    /// It was not ready in time.
    StartTimeout,
    /// Its heartbeat stayed away.
    Watchdog,
    /// A turn went on although it was told to end.
    Stuck,
}

/// How hard a stop is pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// TERM was sent; KILL follows at the deadline.
    Term,
    /// KILL was sent; only the exit is awaited.
    Kill,
}

/// Where an agent is in its life. What belongs to a state lives in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No child, none wanted.
    Stopped,
    /// A child was asked for and is not ready yet.
    Starting {
        /// Until when it has time.
        deadline: Instant,
    },
    /// The child takes deliveries.
    Ready {
        /// Since when.
        since: Instant,
        /// When it counts as hung, unless a heartbeat comes.
        watchdog: Instant,
    },
    /// The child finishes its turns and takes no more.
    Draining {
        /// Until when it has time.
        deadline: Instant,
        /// When it counts as hung.
        watchdog: Instant,
    },
    /// The child is being ended.
    Stopping {
        /// How.
        phase: Phase,
        /// When the next step is due.
        deadline: Instant,
        /// Why.
        reason: EndReason,
    },
    /// No child until then.
    BackingOff {
        /// When the next one starts.
        until: Instant,
        /// Which restart in a row, from 0.
        attempt: u32,
    },
    /// It ended by itself and its restart policy says to leave it.
    Exited(Exit),
    /// It ended too often, or in a way that another start does not mend; an operator must say restart.
    Quarantined {
        /// How it ended last.
        last: Exit,
    },
}

impl State {
    /// The state's name, as shown to people and programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting { .. } => "starting",
            Self::Ready { .. } => "ready",
            Self::Draining { .. } => "draining",
            Self::Stopping { .. } => "stopping",
            Self::BackingOff { .. } => "backing-off",
            Self::Exited(_) => "exited",
            Self::Quarantined { .. } => "quarantined",
        }
    }

    /// Whether a child exists in this state.
    pub fn has_child(&self) -> bool {
        matches!(
            self,
            Self::Starting { .. }
                | Self::Ready { .. }
                | Self::Draining { .. }
                | Self::Stopping { .. }
        )
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// An operator wants it to run.
    Start,
    /// An operator wants it stopped, after its turns.
    Stop,
    /// An operator wants a new child, after the turns of the old one.
    Restart,
    /// Whatever is being waited for: end it now.
    Kill,
    /// A turn of the child does not end: it must go, and another takes its place.
    Stuck,
    /// The child said that it is ready.
    Ready,
    /// A heartbeat came.
    Heartbeat,
    /// The child ended. Also reported, as [`Exit::Code`] 127, for one that could not be started.
    Exited(Exit),
    /// A deadline passed.
    Deadline,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start a child of this generation.
    Spawn(Generation),
    /// Ask the child to finish and leave.
    Drain,
    /// Write down where the child hangs, before it is gone.
    RecordHang,
    /// TERM to its process group.
    Term,
    /// KILL to its process group.
    Kill,
}

/// Whether a command changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is being carried out.
    Accepted,
    /// It was so already.
    Already,
}

/// The machine of one agent.
#[derive(Debug)]
pub struct Lifecycle {
    policy: Policy,
    desired: Desired,
    state: State,
    generation: Generation,
    /// Restarts by itself in a row, without a stable time between.
    attempt: u32,
    /// All restarts by itself.
    restarts: u64,
    intensity: Intensity,
    /// Start again as soon as the present child has ended, without a wait.
    again_at_once: bool,
    rng: fastrand::Rng,
}

impl Lifecycle {
    /// A stopped agent whose last life was `generation`, 0 for none. `seed` feeds the jitter.
    pub fn new(policy: Policy, generation: Generation, seed: u64) -> Self {
        Self {
            policy,
            desired: Desired::Stopped,
            state: State::Stopped,
            generation,
            attempt: 0,
            restarts: 0,
            intensity: Intensity::default(),
            again_at_once: false,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Keeps it by another policy from now on. Deadlines that run already stay as they were set.
    pub fn keep_by(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Where it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// What is wanted.
    pub fn desired(&self) -> Desired {
        self.desired
    }

    /// The present or last child's generation; 0 before the first.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// How often it was restarted without being asked.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// When [`Event::Deadline`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Starting { deadline }
            | State::Stopping {
                phase: Phase::Term,
                deadline,
                ..
            } => Some(deadline),
            State::Ready { watchdog, .. } => Some(watchdog),
            State::Draining { deadline, watchdog } => Some(deadline.min(watchdog)),
            State::BackingOff { until, .. } => Some(until),
            State::Stopping {
                phase: Phase::Kill, ..
            }
            | State::Stopped
            | State::Exited(_)
            | State::Quarantined { .. } => None,
        }
    }

    /// Whether a command would change anything now.
    pub fn answer(&self, event: Event) -> Answer {
        let running = matches!(self.state, State::Starting { .. } | State::Ready { .. });
        let already = match event {
            Event::Start => running || self.again_at_once,
            Event::Stop => self.desired == Desired::Stopped,
            _ => false,
        };
        if already {
            Answer::Already
        } else {
            Answer::Accepted
        }
    }

    /// Takes over the child of the last generation, which lives: it has as long to connect as one that
    /// is started. Only for an agent that has just been made.
    pub fn adopt(&mut self, now: Instant) {
        self.desired = Desired::Running;
        self.state = State::Starting {
            deadline: now + self.policy.start_timeout,
        };
    }

    /// Takes an event and says what to do, in order.
    pub fn on_event(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            Event::Start => self.on_start(now),
            Event::Stop => self.on_stop(now),
            Event::Restart => self.on_restart(now),
            Event::Kill => self.on_kill(now),
            Event::Stuck => self.on_stuck(now),
            Event::Ready => self.on_ready(now),
            Event::Heartbeat => self.on_heartbeat(now),
            Event::Exited(exit) => self.on_exited(exit, now),
            Event::Deadline => self.on_deadline(now),
        }
    }

    fn on_start(&mut self, now: Instant) -> Vec<Action> {
        self.desired = Desired::Running;
        match self.state {
            State::Starting { .. } | State::Ready { .. } => vec![],
            State::Draining { .. } | State::Stopping { .. } => {
                self.again_at_once = true;
                vec![]
            }
            _ => self.start_afresh(now),
        }
    }

    fn on_stop(&mut self, now: Instant) -> Vec<Action> {
        self.desired = Desired::Stopped;
        self.again_at_once = false;
        self.wind_down(now)
    }

    fn on_restart(&mut self, now: Instant) -> Vec<Action> {
        self.desired = Desired::Running;
        if self.state.has_child() {
            self.again_at_once = true;
            return self.wind_down(now);
        }
        self.start_afresh(now)
    }

    /// An operator's start: what went before is forgiven.
    fn start_afresh(&mut self, now: Instant) -> Vec<Action> {
        self.attempt = 0;
        self.intensity.reset();
        self.spawn(now)
    }

    fn spawn(&mut self, now: Instant) -> Vec<Action> {
        self.again_at_once = false;
        self.generation = self.generation.next();
        self.state = State::Starting {
            deadline: now + self.policy.start_timeout,
        };
        vec![Action::Spawn(self.generation)]
    }

    /// Ends whatever runs in the gentlest way that its state allows.
    fn wind_down(&mut self, now: Instant) -> Vec<Action> {
        match self.state {
            State::Ready { watchdog, .. } => {
                self.state = State::Draining {
                    deadline: now + self.policy.drain_timeout,
                    watchdog,
                };
                vec![Action::Drain]
            }
            State::Starting { .. } => self.terminate(EndReason::Asked, now),
            State::Draining { .. } | State::Stopping { .. } => vec![],
            State::Stopped
            | State::BackingOff { .. }
            | State::Exited(_)
            | State::Quarantined { .. } => {
                self.state = State::Stopped;
                vec![]
            }
        }
    }

    fn terminate(&mut self, reason: EndReason, now: Instant) -> Vec<Action> {
        self.state = State::Stopping {
            phase: Phase::Term,
            deadline: now + self.policy.stop_grace,
            reason,
        };
        vec![Action::Term]
    }

    fn on_kill(&mut self, now: Instant) -> Vec<Action> {
        if !self.state.has_child() {
            return self.wind_down(now);
        }
        let reason = match self.state {
            State::Stopping { reason, .. } => reason,
            _ => EndReason::Asked,
        };
        self.state = State::Stopping {
            phase: Phase::Kill,
            deadline: now,
            reason,
        };
        vec![Action::Kill]
    }

    fn on_ready(&mut self, now: Instant) -> Vec<Action> {
        if matches!(self.state, State::Starting { .. }) {
            self.state = State::Ready {
                since: now,
                watchdog: now + self.policy.watchdog,
            };
        }
        vec![]
    }

    fn on_heartbeat(&mut self, now: Instant) -> Vec<Action> {
        let due = now + self.policy.watchdog;
        match &mut self.state {
            State::Ready { watchdog, since } => {
                *watchdog = due;
                if now.duration_since(*since) >= self.policy.stable_after {
                    self.attempt = 0;
                }
            }
            State::Draining { watchdog, .. } => *watchdog = due,
            _ => {}
        }
        vec![]
    }

    fn on_deadline(&mut self, now: Instant) -> Vec<Action> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return vec![];
        }
        match self.state {
            State::Starting { .. } => {
                // It may hang as well as a ready one may, so where it does is worth knowing.
                let mut actions = vec![Action::RecordHang];
                actions.extend(self.terminate(EndReason::StartTimeout, now));
                actions
            }
            State::Ready { .. } => self.kill_hung(EndReason::Watchdog, now),
            State::Draining { watchdog, .. } if now >= watchdog => {
                self.kill_hung(EndReason::Watchdog, now)
            }
            State::Draining { .. } => self.terminate(EndReason::Asked, now),
            State::Stopping { reason, .. } => {
                self.state = State::Stopping {
                    phase: Phase::Kill,
                    deadline: now,
                    reason,
                };
                vec![Action::Kill]
            }
            State::BackingOff { .. } => self.spawn(now),
            State::Stopped | State::Exited(_) | State::Quarantined { .. } => vec![],
        }
    }

    /// A loop that does not beat does not handle TERM either: no grace.
    fn kill_hung(&mut self, reason: EndReason, now: Instant) -> Vec<Action> {
        self.state = State::Stopping {
            phase: Phase::Kill,
            deadline: now,
            reason,
        };
        vec![Action::RecordHang, Action::Kill]
    }

    /// The agent itself is well, as far as is known, so the next one starts without a wait, and is not counted.
    fn on_stuck(&mut self, now: Instant) -> Vec<Action> {
        match self.state {
            State::Ready { .. } | State::Draining { .. } => {
                self.again_at_once |= self.desired == Desired::Running;
                self.kill_hung(EndReason::Stuck, now)
            }
            // It goes already, or has gone.
            _ => vec![],
        }
    }

    fn on_exited(&mut self, exit: Exit, now: Instant) -> Vec<Action> {
        let before = self.state;
        if !before.has_child() {
            return vec![];
        }
        if self.desired == Desired::Stopped {
            self.state = State::Stopped;
            return vec![];
        }
        if self.again_at_once {
            return self.spawn(now);
        }
        if let State::Ready { since, .. } = before
            && now.duration_since(since) >= self.policy.stable_after
        {
            self.attempt = 0;
        }
        let by_us = matches!(
            before,
            State::Stopping {
                reason: EndReason::Watchdog | EndReason::StartTimeout | EndReason::Stuck,
                ..
            }
        );
        let wanted = match self.policy.restart {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => by_us || exit != Exit::Code(0),
            RestartPolicy::Never => false,
        };
        if !wanted {
            self.state = State::Exited(exit);
            return vec![];
        }
        if exit == HOPELESS || !self.intensity.allows(self.policy.intensity, now) {
            self.state = State::Quarantined { last: exit };
            return vec![];
        }
        let delay = self.policy.backoff.delay(self.attempt, self.rng.f64());
        self.state = State::BackingOff {
            until: now + delay,
            attempt: self.attempt,
        };
        self.attempt = self.attempt.saturating_add(1);
        self.restarts += 1;
        vec![]
    }
}

#[cfg(test)]
mod tests;
