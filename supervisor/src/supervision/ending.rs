//! How a child ended, in terms that an operator can act on. Pure.
//!
//! The exit status alone does not tell: a KILL may be the kernel's for want of memory, the watchdog's,
//! an operator's or a stranger's. What decides is what the supervisor did and what the counters of
//! the child's group say, both read before the group is removed.

use std::{collections::BTreeMap, fmt, time::Duration};

use kennel_shared::ids::TurnId;
use kennel_shared::protocol::TurnStep;
use kennel_shared::session_key::SessionKey;
use nix::sys::signal::Signal;

use super::lifecycle::{EndReason, Exit, State};
use crate::containment::{Cap, Caps, Reading};

/// Why a child ended. The order is that of precedence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The kernel, or we in its place, ended it for want of memory.
    OutOfMemory,
    /// It stood still above the soft mark of its memory, with nothing to give back, and we ended it.
    Stalled {
        /// The cap: that of memory, or the mark itself where there is no other.
        cap: Cap,
        /// The mark.
        high: u64,
        /// For how long it stood still.
        lasted: Duration,
    },
    /// It had more processes than it may, where only we watch over that.
    TooManyProcesses,
    /// Its heartbeat stayed away, and it was killed.
    Hung,
    /// A turn of it did not end when it was told to, and it was killed.
    Stuck,
    /// It was not ready in time.
    StartTimeout,
    /// It was adopted and did not connect in time.
    NotBack,
    /// An operator asked, or the supervisor is leaving.
    Asked,
    /// By itself, with this code.
    Code(i32),
    /// By a signal that was not ours.
    Signal(i32),
    /// Nobody can say: it was the child of a supervisor that died, and left no word.
    Unknown,
}

impl Cause {
    /// One word, for programs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::OutOfMemory | Self::Stalled { .. } => "out-of-memory",
            Self::TooManyProcesses => "too-many-processes",
            Self::Hung => "hung",
            Self::Stuck => "stuck",
            Self::StartTimeout => "start-timeout",
            Self::NotBack => "not-back",
            Self::Asked => "asked",
            Self::Code(_) => "exited",
            Self::Signal(_) => "signal",
            Self::Unknown => "unknown",
        }
    }

    /// The cap that ended it, as the configuration names it.
    pub fn cap(&self) -> Option<&'static str> {
        match self {
            Self::OutOfMemory => Some("memory"),
            Self::Stalled { cap, .. } => Some(cap.as_str()),
            Self::TooManyProcesses => Some("pids"),
            _ => None,
        }
    }
}

/// How far a turn is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Handed to the agent, which loads the session.
    Loading,
    /// The model was asked.
    Asking,
    /// The model answers.
    Answering,
    /// This tool runs.
    Tool(String),
}

impl Step {
    /// The step that an agent says.
    pub fn said(step: TurnStep) -> Self {
        match step {
            TurnStep::Asking => Self::Asking,
            TurnStep::Tool(name) => Self::Tool(name),
        }
    }
}

/// A word or two, for programs and people.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loading => f.write_str("loading"),
            Self::Asking => f.write_str("asking"),
            Self::Answering => f.write_str("answering"),
            // The name comes from an agent: it stays on its line.
            Self::Tool(name) => write!(f, "running {}", name.escape_debug()),
        }
    }
}

/// A turn that ran when its agent ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnThen {
    /// Which.
    pub turn: TurnId,
    /// In which conversation.
    pub session: SessionKey,
    /// How far it was.
    pub step: Step,
    /// For how long it had been running.
    pub running: Duration,
}

impl TurnThen {
    /// In words.
    pub fn sentence(&self) -> String {
        let (turn, step) = (self.turn, &self.step);
        format!("turn {turn} was {step} for {}", seconds(self.running))
    }
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// Why.
    pub cause: Cause,
    /// The status that the kernel gave.
    pub exit: Exit,
    /// The caps that it had.
    pub caps: Caps,
    /// The most memory that it had, in bytes.
    pub peak: Option<u64>,
    /// Where it hung, for [`Cause::Hung`].
    pub hang: Option<String>,
    /// The turns that ran; each is asked again, unless it kills too often.
    pub turns: Vec<TurnThen>,
    /// What is done next, in words.
    pub next: String,
}

/// What is known when a child has ended.
#[derive(Debug)]
pub struct Evidence {
    /// The status that the kernel gave.
    pub exit: Exit,
    /// The machine's state just before.
    pub state: State,
    /// The counters of its group.
    pub reading: Reading,
    /// Whether we ended it, for being over a cap that only we watch.
    pub over: Option<Cause>,
    /// Where it hung.
    pub hang: Option<String>,
    /// Whether it was adopted and has not connected since.
    pub awaited: bool,
}

impl Evidence {
    /// Weighs what is known.
    pub fn cause(&self) -> Cause {
        let killed = matches!(self.exit, Exit::Signal(9) | Exit::Unknown);
        if let Some(over) = &self.over {
            return over.clone();
        }
        // A process of the group that was not the agent may be what the kernel chose; the agent that
        // ended by itself later did not end for want of memory.
        if killed && self.reading.oom_kills.is_some_and(|kills| kills > 0) {
            return Cause::OutOfMemory;
        }
        if let State::Stopping { reason, .. } = self.state {
            match reason {
                EndReason::Watchdog => return Cause::Hung,
                EndReason::Stuck => return Cause::Stuck,
                EndReason::StartTimeout if self.awaited => return Cause::NotBack,
                EndReason::StartTimeout => return Cause::StartTimeout,
                EndReason::Asked => return Cause::Asked,
            }
        }
        match (self.exit, self.state) {
            (Exit::Code(0) | Exit::Unknown, State::Draining { .. }) => Cause::Asked,
            (Exit::Code(code), _) => Cause::Code(code),
            (Exit::Signal(signal), _) => Cause::Signal(signal),
            (Exit::Unknown, _) => Cause::Unknown,
        }
    }
}

impl End {
    /// The whole story as one sentence without its full stop.
    pub fn sentence(&self) -> String {
        let mut text = self.what();
        if let Some(peak) = self.peak {
            text = format!("{text}; peak memory {}", size(peak));
        }
        if let Some((first, rest)) = self.turns.split_first() {
            text = format!("{text}; {}", first.sentence());
            if !rest.is_empty() {
                text = format!("{text}, and {} more ran", rest.len());
            }
        }
        format!("{text}; {}", self.next)
    }

    /// Why, in words.
    pub fn what(&self) -> String {
        match &self.cause {
            Cause::OutOfMemory => match self.caps.memory {
                Some(cap) => format!("killed at its memory cap of {}", size(cap)),
                None => "killed for want of memory".into(),
            },
            Cause::Stalled { high, lasted, .. } => {
                let cap = self.caps.memory.map_or_else(String::new, |cap| {
                    format!(", on its way to its memory cap of {}", size(cap))
                });
                format!(
                    "killed for want of memory: it was stuck for {} above its soft mark of {}{cap}",
                    seconds(*lasted),
                    size(*high)
                )
            }
            Cause::TooManyProcesses => match self.caps.pids {
                Some(cap) => format!("killed for having more than {cap} processes"),
                None => "killed for having too many processes".into(),
            },
            Cause::Hung => match &self.hang {
                Some(report) => format!("hung and was killed: {report}"),
                None => "hung and was killed".into(),
            },
            Cause::Stuck => match &self.hang {
                Some(report) => {
                    format!("killed, as a turn did not end when it was told to: {report}")
                }
                None => "killed, as a turn did not end when it was told to".into(),
            },
            Cause::StartTimeout => "was not ready in time".into(),
            Cause::NotBack => "did not connect to its new supervisor in time".into(),
            Cause::Asked => format!("ended as asked: {}", status(self.exit)),
            Cause::Code(_) | Cause::Signal(_) | Cause::Unknown => status(self.exit),
        }
    }
}

/// How it ended, in words.
pub fn status(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => match code_words(code) {
            Some(words) => format!("exited with {code} ({words})"),
            None => format!("exited with {code}"),
        },
        Exit::Signal(signal) => format!("ended by {}", signal_name(signal)),
        Exit::Unknown => "ended, and left no word of how: another supervisor had started it".into(),
    }
}

/// What an exit code of agent-host means; see its module `start`.
fn code_words(code: i32) -> Option<&'static str> {
    Some(match code {
        69 => "it could not reach its supervisor",
        70 => "a fault of its own; its log says which",
        75 => "another instance of it holds its lock",
        78 => "it was refused, or its cage could not be closed; its log says why",
        101 => "a panic; its log says where",
        127 => "its program could not be started",
        _ => return None,
    })
}

/// A signal as people write it.
pub fn signal_name(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(
        |_| format!("signal {signal}"),
        |signal| signal.as_str().to_owned(),
    )
}

/// A time to the second, in words.
pub(super) fn seconds(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
}

/// Bytes, in words.
pub(super) fn size(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec().to_string()
}

/// What comes after `state`, in words.
pub fn next(state: State, generation: u64, wait: Option<Duration>) -> String {
    match state {
        State::BackingOff { .. } => match wait {
            Some(wait) => format!("starts again in {}", humantime::format_duration(wait)),
            None => "starts again".into(),
        },
        State::Starting { .. } => format!("generation {generation} starts now"),
        State::Quarantined { .. } => "stays down until `kennel restart`".into(),
        State::Exited(_) => "stays down, as its restart policy says".into(),
        _ => "stays down".into(),
    }
}

/// The turns of one child, as the driver hears of them.
#[derive(Debug, Default)]
pub struct Turns(BTreeMap<TurnId, (SessionKey, Step, std::time::Instant)>);

impl Turns {
    /// It was handed to the agent.
    pub fn handed(&mut self, turn: TurnId, session: SessionKey, now: std::time::Instant) {
        self.0.insert(turn, (session, Step::Loading, now));
    }

    /// It has come to `step`.
    pub fn at(&mut self, turn: TurnId, step: Step) {
        if let Some(known) = self.0.get_mut(&turn) {
            known.1 = step;
        }
    }

    /// It has ended.
    pub fn over(&mut self, turn: TurnId) {
        self.0.remove(&turn);
    }

    /// All that run, the oldest first.
    pub fn running(&self, now: std::time::Instant) -> Vec<TurnThen> {
        let mut turns: Vec<_> = self
            .0
            .iter()
            .map(|(turn, (session, step, since))| TurnThen {
                turn: *turn,
                session: session.clone(),
                step: step.clone(),
                running: now.saturating_duration_since(*since),
            })
            .collect();
        turns.sort_by_key(|turn| std::cmp::Reverse(turn.running));
        turns
    }

    /// The same; none runs afterwards.
    pub fn take(&mut self, now: std::time::Instant) -> Vec<TurnThen> {
        let turns = self.running(now);
        self.0.clear();
        turns
    }

    /// The oldest, for a report while it runs.
    pub fn oldest(&self) -> Option<(TurnId, Step)> {
        let oldest = self.0.iter().min_by_key(|(_, (_, _, since))| *since);
        oldest.map(|(turn, (_, step, _))| (*turn, step.clone()))
    }
}

#[cfg(test)]
mod tests;
