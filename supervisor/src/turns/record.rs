//! What is known of a turn that has ended. Times in microseconds; of money, millionths of a unit.
//!
//! These are kept as JSON in the journal: fields are only ever added, each with a default.

use std::time::Duration;

use kennel_shared::{
    ids::{DeliveryId, Generation, TurnId},
    protocol::{SpanKind, Spent, Trace, TurnSpan},
    session_key::SessionKey,
};
use serde::{Deserialize, Serialize};

use crate::dispatch::{EndKind, TurnEnd};

/// A turn that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnRecord {
    /// Which.
    pub turn: TurnId,
    /// The message that it answered.
    pub delivery: DeliveryId,
    /// In which conversation, and so of which agent.
    pub session: SessionKey,
    /// Which life of the agent.
    pub generation: Generation,
    /// How it ended.
    pub outcome: Outcome,
    /// Which model was asked, as `provider/model`.
    pub model: Option<String>,
    /// The class in which it was started; absent from what was written before that was told.
    #[serde(default)]
    pub class: Option<String>,
    /// When it ended, in milliseconds since 1970.
    pub ended_ms: i64,
    /// What it waited for before it was handed out.
    pub waits: Waits,
    /// In attempts that were lost with their process.
    pub lost_us: u64,
    /// From the lane until the agent had it.
    pub dispatch_us: u64,
    /// From the lane to its end.
    pub run_us: u64,
    /// What the agent says that it took.
    pub took: Took,
    /// Its steps, in the order in which they began.
    pub spans: Vec<Span>,
    /// Steps that are not among them.
    pub spans_left_out: u32,
    /// What the machine had of it.
    pub machine: Machine,
    /// What it cost, where the model has a price.
    pub cost: Option<u64>,
    /// Lives of its agent that it has cost.
    pub attempts: u32,
}

impl TurnRecord {
    /// How long it waited, in all.
    pub fn queued_us(&self) -> u64 {
        self.waits.total_us().saturating_add(self.lost_us)
    }

    /// From its acceptance to its end.
    pub fn total_us(&self) -> u64 {
        self.queued_us().saturating_add(self.run_us)
    }
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// With an answer.
    Replied,
    /// On request.
    Cancelled,
    /// The model's server refused.
    Provider,
    /// The model's server was out of reach.
    Unavailable,
    /// It took too long.
    Timeout,
    /// The agent's store failed.
    Store,
    /// The agent kept dying of it.
    Agent,
    /// Its agent's process ended with it, and the message was handed out again: an attempt, and no end.
    Lost,
    /// The agent was stopped.
    Stopped,
    /// In a way that this version does not know.
    #[serde(other)]
    Unknown,
}

impl Outcome {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replied => "replied",
            Self::Cancelled => "cancelled",
            Self::Provider => "provider",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Store => "store",
            Self::Agent => "agent",
            Self::Lost => "lost",
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
        }
    }
}

impl From<&TurnEnd> for Outcome {
    fn from(end: &TurnEnd) -> Self {
        match end {
            TurnEnd::Replied { .. } => Self::Replied,
            TurnEnd::Cancelled => Self::Cancelled,
            TurnEnd::Failed { kind, .. } => match kind {
                EndKind::Provider => Self::Provider,
                EndKind::Unavailable => Self::Unavailable,
                EndKind::Timeout => Self::Timeout,
                EndKind::Store => Self::Store,
                EndKind::Agent => Self::Agent,
                // No turn comes of either.
                EndKind::Stopped | EndKind::Budget => Self::Stopped,
            },
        }
    }
}

/// What a turn waited for before it was handed out: each moment counts for the first lane that held it.
#[expect(clippy::struct_field_names, reason = "numbers carry their unit")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// For the turn before it in its session.
    pub session_us: u64,
    /// For a place of its agent.
    pub agent_us: u64,
    /// For a place of its class.
    pub class_us: u64,
    /// For a place of the fleet.
    pub fleet_us: u64,
    /// For its agent to be up, or on purpose.
    pub held_us: u64,
}

impl Waits {
    /// All of it.
    pub fn total_us(&self) -> u64 {
        let all = self.lanes().into_iter();
        all.fold(0, |sum, (_, us)| sum.saturating_add(us))
    }

    /// Each, by its name.
    pub fn lanes(&self) -> [(&'static str, u64); 5] {
        [
            ("session", self.session_us),
            ("agent", self.agent_us),
            ("class", self.class_us),
            ("fleet", self.fleet_us),
            ("held", self.held_us),
        ]
    }
}

impl std::ops::AddAssign for Waits {
    fn add_assign(&mut self, other: Self) {
        self.session_us += other.session_us;
        self.agent_us += other.agent_us;
        self.class_us += other.class_us;
        self.fleet_us += other.fleet_us;
        self.held_us += other.held_us;
    }
}

/// What the agent says that a turn took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Took {
    /// Loading the window of the session.
    pub context_us: u64,
    /// From the delivery to the first piece of the answer.
    pub first_token_us: u64,
    /// Waiting for the provider.
    pub provider_us: u64,
    /// Running tools.
    pub tools_us: u64,
    /// Committing.
    pub commit_us: u64,
    /// From the delivery to the end.
    pub total_us: u64,
    /// How late its event loop was, at most.
    pub lag_us: u64,
    /// Tokens read.
    pub input_tokens: u32,
    /// Tokens written.
    pub output_tokens: u32,
    /// Attempts at the provider beyond the first.
    pub retries: u32,
    /// How often the model was asked.
    pub asked: u32,
    /// How many tools were run.
    pub tools: u32,
}

impl From<&Spent> for Took {
    fn from(spent: &Spent) -> Self {
        Self {
            context_us: spent.context_us,
            first_token_us: spent.first_token_us,
            provider_us: spent.provider_us,
            tools_us: spent.tools_us,
            commit_us: spent.commit_us,
            total_us: spent.total_us,
            lag_us: spent.lag_us,
            input_tokens: spent.input_tokens,
            output_tokens: spent.output_tokens,
            retries: spent.retries,
            asked: spent.asked,
            tools: spent.tools,
        }
    }
}

/// One step of a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// What was done.
    #[serde(flatten)]
    pub step: Step,
    /// When it began, from the delivery on.
    pub start_us: u64,
    /// How long it took.
    pub took_us: u64,
}

/// What a step was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// The model was asked.
    Model {
        /// Until the first piece of its text, where there was one.
        first_token_us: Option<u64>,
        /// Tokens read.
        input_tokens: u32,
        /// Tokens written.
        output_tokens: u32,
        /// Attempts beyond the first.
        retries: u32,
    },
    /// A tool was run.
    Tool {
        /// Which.
        name: String,
    },
}

/// What an agent says of the steps: the spans, and how many more there were.
pub fn spans(trace: Trace) -> (Vec<Span>, u32) {
    let span = |span: TurnSpan| Span {
        step: match span.what {
            SpanKind::Asked(asked) => Step::Model {
                first_token_us: asked.first_token_us,
                input_tokens: asked.input_tokens,
                output_tokens: asked.output_tokens,
                retries: asked.retries,
            },
            SpanKind::Tool(name) => Step::Tool { name },
        },
        start_us: span.start_us,
        took_us: span.took_us,
    };
    (trace.spans.into_iter().map(span).collect(), trace.left_out)
}

/// What the machine had of a turn: read from the agent's group as it began and as it ended. What cannot be told is
/// absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// CPU time of the agent and all that it started, user and system.
    pub cpu_us: Option<u64>,
    /// Some of it could have run, and waited for a CPU.
    pub runnable_us: Option<u64>,
    /// How that is known.
    pub runnable_by: Option<RunnableBy>,
    /// Its CPU cap held it back.
    pub throttled_us: Option<u64>,
    /// Other turns of the agent ran meanwhile: the figures above are theirs too.
    pub shared: bool,
    /// How late its event loop was at a heartbeat, at most.
    pub lag_us: u64,
    /// Of what it could have had.
    pub share: Option<Share>,
}

/// Who says that something waited for a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunnableBy {
    /// The kernel's account of pressure: no moment counts twice.
    Pressure,
    /// The scheduler's account of threads, added up over those that still live.
    Threads,
}

/// How much of the CPU an agent could have had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Cores of the machine.
    pub cores: u64,
    /// Its own cap, in thousandths of a core.
    pub cap_milli: Option<u64>,
    /// Its weight.
    pub weight: u64,
    /// The weights of all agents that were at work, its own among them.
    pub of_weights: u64,
}

/// Microseconds.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use kennel_shared::protocol::Asked;

    use super::*;

    /// A turn of `agent` that replied at once.
    pub(crate) fn record(agent: &str) -> TurnRecord {
        TurnRecord {
            turn: TurnId::new(),
            delivery: DeliveryId::new(),
            session: format!("agent:{agent}:x").parse().unwrap(),
            generation: Generation(1),
            outcome: Outcome::Replied,
            model: Some("p/m".into()),
            class: Some("interactive".into()),
            ended_ms: 1_000,
            waits: Waits::default(),
            lost_us: 0,
            dispatch_us: 0,
            run_us: 0,
            took: Took::default(),
            spans: Vec::new(),
            spans_left_out: 0,
            machine: Machine::default(),
            cost: None,
            attempts: 0,
        }
    }

    #[test]
    fn a_record_reads_back() {
        let mut record = record("a");
        record.spans = spans(Trace {
            model: "p/m".into(),
            spans: vec![
                TurnSpan {
                    what: SpanKind::Asked(Asked::default()),
                    start_us: 1,
                    took_us: 2,
                },
                TurnSpan {
                    what: SpanKind::Tool("exec".into()),
                    start_us: 3,
                    took_us: 4,
                },
            ],
            left_out: 0,
        })
        .0;
        record.machine.runnable_by = Some(RunnableBy::Pressure);
        record.machine.share = Some(Share::default());
        let text = serde_json::to_string(&record).unwrap();
        assert!(text.contains(r#""step":"tool","name":"exec""#), "{text}");
        assert_eq!(
            serde_json::from_str::<TurnRecord>(&text).unwrap(),
            record,
            "{text}"
        );
        let later = text.replace("\"replied\"", "\"eaten\"");
        let later: TurnRecord = serde_json::from_str(&later).unwrap();
        assert_eq!(later.outcome, Outcome::Unknown);
    }

    #[test]
    fn waits_add_up() {
        let mut waits = Waits {
            session_us: 1,
            agent_us: 2,
            class_us: 3,
            fleet_us: 4,
            held_us: 5,
        };
        waits += waits;
        assert_eq!(waits.total_us(), 30);
        let mut record = record("a");
        (record.waits, record.lost_us, record.run_us) = (waits, 7, 100);
        assert_eq!((record.queued_us(), record.total_us()), (37, 137));
    }
}
