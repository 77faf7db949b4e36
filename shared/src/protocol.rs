//! What supervisor and agent-host say to each other.
//!
//! Wire types only: each program converts them to its own types beside the link. Variants and
//! fields are encoded by position, so changing one changes [`PROTOCOL`]; `tests/golden.rs` fails
//! when that is forgotten.
//!
//! ```text
//! agent-host                         supervisor
//!     │ ── Hello ─────────────────────► │  token, peer uid and pid, generation, version
//!     │ ◄───────────── Welcome | Refuse │  what to be, the secrets, the next token
//!     │ ── Ready ─────────────────────► │
//!     │ ◄─────────────────────── Deliver│
//!     │ ── Started, Step…, Delta…, ───► │
//!     │    Finished                     │
//!     │ ── heartbeats all the while ──► │
//!     │ ◄───────────────────────── Drain│
//!     │ ── Drained, then exit ────────► │
//! ```

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    cage::CageStep,
    envelope::Sender,
    ids::{AgentId, DeliveryId, Generation, TurnId},
    secret::{Secret, Token},
    session_key::SessionKey,
};

/// The version of everything in this module. An agent speaks this one only; a supervisor also the one
/// [before](PROTOCOL_BEFORE).
pub const PROTOCOL: u16 = 5;

/// The version that a supervisor still understands: an agent-host of the release before keeps its link.
/// It says everything as this version does, and must not be told [`ToAgent::Steer`], which it does not know.
pub const PROTOCOL_BEFORE: u16 = 4;

/// The longest reply that travels, in bytes. An agent cuts a longer one, says so at its end, and
/// keeps the whole in its own store no longer than this either.
pub const REPLY_MAX_BYTES: usize = 512 * 1024;

/// The longest piece of text in one [`ToSupervisor::Delta`], in bytes, merged ones included.
pub const DELTA_MAX_BYTES: usize = 64 * 1024;

/// The longest name of a tool in [`TurnStep::Tool`], in bytes.
pub const TOOL_NAME_MAX_BYTES: usize = 64;

/// The most spans of one [`Trace`].
pub const SPANS_MAX: usize = 64;

/// The longest name of a model in a [`Trace`], in bytes.
pub const MODEL_NAME_MAX_BYTES: usize = 256;

/// The longest system prompt, in bytes.
pub const SYSTEM_PROMPT_MAX_BYTES: usize = 256 * 1024;

/// The first frame of an agent on a new connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The sender's [`PROTOCOL`]. First, so that every version can read it.
    pub protocol: u16,
    /// The sender's build, for the log.
    pub build: String,
    /// Who it says it is.
    pub agent: AgentId,
    /// Which life of it.
    pub generation: Generation,
    /// Proof: from the bootstrap at first, then from the last [`Welcome`].
    pub token: Token,
    /// The link that it wants to go on with; [`LinkId::NONE`] at first.
    pub link: LinkId,
    /// Where its end of that link stands.
    pub resume: Position,
    /// Whether it was told to [drain](ToAgent::Drain): it takes no more deliveries and leaves soon.
    pub draining: bool,
    /// How its cage was closed; at most [`STEPS_MAX`](crate::cage::STEPS_MAX) steps.
    pub cage: Vec<CageStep>,
}

/// One numbered exchange between a supervisor and a child, over as many connections as it takes. A
/// supervisor that was not there when it began knows nothing of it and begins another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkId(u64);

impl LinkId {
    /// Of a child that has had none.
    pub const NONE: Self = Self(0);

    /// A new one.
    ///
    /// # Panics
    /// As [`Token::random`].
    pub fn random() -> Self {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
        Self(u64::from_le_bytes(bytes) | 1)
    }
}

/// Where one end of a link stands: what the other may forget, and may send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The last message received in sequence; 0 before the first.
    pub received: u64,
    /// How many bytes of message bodies the other end may have sent in all.
    pub granted: u64,
}

/// The supervisor's answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HelloReply {
    /// Come in.
    Welcome(Box<Welcome>),
    /// Go away.
    Refuse(Refusal),
}

/// What an accepted agent is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The token for the next handshake of this generation.
    pub next_token: Token,
    /// The link. Another than the agent has named begins anew: the agent numbers from 1, says
    /// [`ToSupervisor::Ready`] again, and every [`ToSupervisor::Finished`] that was not acknowledged.
    pub link: LinkId,
    /// Where the supervisor's end of it stands.
    pub resume: Position,
    /// What to be.
    pub spec: AgentSpec,
}

/// Why an agent is refused. An agent that is refused leaves: none of these mends itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Another protocol version.
    Protocol {
        /// What this supervisor speaks.
        supported: u16,
    },
    /// The first frame was not a [`Hello`].
    Malformed,
    /// No such agent, or it has no running generation.
    UnknownAgent,
    /// The generation is over.
    StaleGeneration {
        /// The one that runs.
        current: Generation,
    },
    /// The token is not the expected one.
    Token,
    /// The connecting process has another uid, or is not the child that was started.
    Peer,
    /// The two ends do not agree on what was exchanged before.
    Resume,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol { supported } => write!(
                f,
                "wrong protocol version (this supervisor speaks {supported})"
            ),
            Self::Malformed => f.write_str("the first frame is not a hello"),
            Self::UnknownAgent => f.write_str("no such agent is running"),
            Self::StaleGeneration { current } => {
                write!(f, "stale generation (the current one is {current})")
            }
            Self::Token => f.write_str("wrong token"),
            Self::Peer => f.write_str("the connecting process is not the child that was started"),
            Self::Resume => f.write_str("the link cannot be resumed from there"),
        }
    }
}

/// Everything that an agent-host needs to be its agent. It reads no configuration of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSpec {
    /// The model and how to reach it.
    pub model: ModelSpec,
    /// Another for [`ToAgent::DeliverCheaper`], and how to reach that.
    pub cheaper: Option<ModelSpec>,
    /// The system prompt; at most [`SYSTEM_PROMPT_MAX_BYTES`].
    pub system_prompt: Option<String>,
    /// How much history a turn sees.
    pub context: ContextSpec,
    /// How many turns may run at once, in different sessions.
    pub max_concurrent: u16,
    /// The longest time a turn may take, in milliseconds.
    pub turn_timeout_ms: u64,
    /// The agent's working directory.
    pub workspace: PathBuf,
    /// How often to send a heartbeat, in milliseconds.
    pub heartbeat_interval_ms: u64,
    /// What the model may do in the workspace.
    pub tools: ToolsSpec,
}

/// What the model may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolsSpec {
    /// These; nothing, when there are none.
    pub enabled: Vec<Tool>,
    /// How often the model may be asked within one turn.
    pub max_steps: u32,
    /// The longest time that one tool may take, in milliseconds.
    pub timeout_ms: u64,
}

impl ToolsSpec {
    /// No tools, and the usual bounds.
    pub fn none() -> Self {
        Self {
            enabled: Vec::new(),
            max_steps: 32,
            timeout_ms: 120_000,
        }
    }
}

/// The tools that are built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Tool {
    /// Reads a part of a file.
    Read,
    /// Writes a file anew.
    Write,
    /// Replaces a text in a file.
    Edit,
    /// Lists a folder.
    List,
    /// Runs a shell command.
    Exec,
}

impl Tool {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Read, Self::Write, Self::Edit, Self::List, Self::Exec];

    /// Its name, for models, people and the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Edit => "edit",
            Self::List => "list",
            Self::Exec => "exec",
        }
    }
}

/// The part of a session that goes to the model: a window at its tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextSpec {
    /// At most so many messages.
    pub max_messages: u32,
    /// At most so many bytes of text.
    pub max_bytes: u32,
}

/// A model, and the provider that serves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// The provider's name in the configuration, for messages.
    pub provider: String,
    /// The model's name, as the provider knows it.
    pub model: String,
    /// Sampling temperature in thousandths; the provider's default when absent.
    pub temperature_milli: Option<u32>,
    /// The most tokens to generate.
    pub max_tokens: Option<u32>,
    /// How to reach the provider.
    pub endpoint: Endpoint,
}

/// How a provider is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Endpoint {
    /// The built-in provider for tests and benchmarks: it repeats the message.
    Echo(EchoSpec),
    /// A model server.
    Http(HttpSpec),
}

/// How the echo provider answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EchoSpec {
    /// How long to wait before the first piece, in milliseconds.
    pub delay_ms: u64,
    /// In how many pieces to answer; 0 counts as 1.
    pub chunks: u32,
    /// How long to wait between pieces, in milliseconds.
    pub chunk_delay_ms: u64,
}

/// A model server behind HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpSpec {
    /// Which API it speaks.
    pub api: ModelApi,
    /// Where it is, up to and including the version: `http://127.0.0.1:8080/v1`. The API's public
    /// address when absent.
    pub base_url: Option<String>,
    /// The key, if it wants one.
    pub api_key: Option<Secret>,
    /// The longest time for one whole answer, in milliseconds.
    pub request_timeout_ms: u64,
    /// The longest silence before the first piece of an answer, in milliseconds.
    pub first_byte_timeout_ms: u64,
    /// The longest silence between pieces of an answer, in milliseconds.
    pub idle_timeout_ms: u64,
    /// How often to try again after 429, 5xx or a lost connection.
    pub max_retries: u32,
}

/// The APIs that model servers speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModelApi {
    /// `OpenAI`'s chat completions, and everything compatible with it.
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
    /// Google's Gemini.
    Gemini,
    /// Ollama.
    Ollama,
}

/// From the supervisor to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToAgent {
    /// Answer this.
    Deliver(Delivery),
    /// Stop answering; the turn ends as [`TurnOutcome::Cancelled`], unless it has ended already.
    Cancel(TurnId),
    /// Finish the turns that run, take no more, say [`ToSupervisor::Drained`], exit.
    Drain,
    /// Delete this session, unless a turn of it runs; the answer is [`ToSupervisor::SessionDeleted`].
    DeleteSession(SessionKey),
    /// Answer this, by the cheaper model if there is one.
    DeliverCheaper(Delivery),
    /// Take this into the turn that runs in its session, if that comes to a tool boundary. What is not taken is
    /// forgotten: it is delivered by itself when the turn has ended.
    Steer(Delivery),
}

/// A message to answer.
#[expect(
    clippy::struct_field_names,
    reason = "the id of a delivery is called `delivery` in every message"
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Stays the same over redeliveries.
    pub delivery: DeliveryId,
    /// This attempt; the turn that is to take it, where it is to [steer](ToAgent::Steer) one.
    pub turn: TurnId,
    /// The conversation.
    pub session: SessionKey,
    /// Who writes.
    pub sender: Sender,
    /// What; at most [`crate::envelope::TEXT_MAX_BYTES`].
    pub text: String,
}

/// From an agent to its supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToSupervisor {
    /// The store is open and the loop runs: deliveries may come.
    Ready,
    /// A turn has begun.
    Started(TurnId),
    /// A piece of the answer's text, in order. Pieces that wait may be merged.
    Delta {
        /// The turn that answers.
        turn: TurnId,
        /// At most [`DELTA_MAX_BYTES`].
        text: String,
    },
    /// A turn has ended, and its session is committed.
    Finished {
        /// The message that was answered.
        delivery: DeliveryId,
        /// The turn that answered.
        turn: TurnId,
        /// How it ended.
        outcome: TurnOutcome,
        /// What it took.
        spent: Spent,
        /// Where that went.
        trace: Trace,
    },
    /// No turn is running and none will.
    Drained,
    /// A turn has come to its next step.
    Step {
        /// Which.
        turn: TurnId,
        /// To which.
        step: TurnStep,
    },
    /// What became of [`ToAgent::DeleteSession`].
    SessionDeleted {
        /// Which.
        session: SessionKey,
        /// What.
        deletion: Deletion,
    },
    /// A delivery was taken into a turn that runs, and is answered by that.
    Steered {
        /// The one that was taken.
        delivery: DeliveryId,
        /// The one whose turn has taken it.
        into: DeliveryId,
    },
}

/// What became of a session that was to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deletion {
    /// It is gone. It had so many messages.
    Done(u64),
    /// There is none with this key.
    Absent,
    /// A turn of it runs.
    Busy,
    /// The store failed.
    Failed,
}

/// What a turn does, after it has started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TurnStep {
    /// It asks the model.
    Asking,
    /// It runs the tool of this name, of at most [`TOOL_NAME_MAX_BYTES`].
    Tool(String),
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TurnOutcome {
    /// With an answer; at most [`REPLY_MAX_BYTES`].
    Replied(String),
    /// Without one.
    Failed(TurnFailure),
    /// On request.
    Cancelled,
    /// It was taken into the turn of this delivery before, and has no end of its own.
    Steered(DeliveryId),
}

/// Why a turn has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnFailure {
    /// What kind of trouble.
    pub kind: FailureKind,
    /// Plain words for the person in the chat; no secret, no internals.
    pub message: String,
}

/// Kinds of trouble, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The provider refused the key, the model or the request: trying again does not help.
    Provider,
    /// The provider was busy, broken or out of reach, also after retries.
    Unavailable,
    /// The turn took longer, or more steps, than it may.
    Timeout,
    /// The agent's own store failed.
    Store,
    /// The agent was asked for more than it takes: a bug in the supervisor, or a full queue.
    Overloaded,
}

/// What a turn took. Times in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Loading the window of the session.
    pub context_us: u64,
    /// Until the first piece of the answer.
    pub first_token_us: u64,
    /// Waiting for the provider in all.
    pub provider_us: u64,
    /// Running tools in all.
    pub tools_us: u64,
    /// Committing the turn.
    pub commit_us: u64,
    /// From delivery to the end.
    pub total_us: u64,
    /// Tokens read by the model, where the provider says.
    pub input_tokens: u32,
    /// Tokens written by the model, where the provider says.
    pub output_tokens: u32,
    /// Attempts at the provider beyond the first.
    pub retries: u32,
    /// How late the event loop came to what was due, at most.
    pub lag_us: u64,
    /// How often the model was asked.
    pub asked: u32,
    /// How many tools were run.
    pub tools: u32,
}

/// Where the time of a turn went, step by step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The model that was asked, as `provider/model`; at most [`MODEL_NAME_MAX_BYTES`]. Empty where none was.
    pub model: String,
    /// In the order in which they began; at most [`SPANS_MAX`].
    pub spans: Vec<TurnSpan>,
    /// Steps beyond them.
    pub left_out: u32,
}

/// One step of a turn. Times in microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnSpan {
    /// What was done.
    pub what: SpanKind,
    /// When it began, from the delivery on.
    pub start_us: u64,
    /// How long it took.
    pub took_us: u64,
}

/// What a step of a turn was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpanKind {
    /// The model was asked.
    Asked(Asked),
    /// A tool was run; its name has at most [`TOOL_NAME_MAX_BYTES`].
    Tool(String),
}

/// What asking a model took, beside time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Until the first piece of its text, where there was one, in microseconds.
    pub first_token_us: Option<u64>,
    /// Tokens that it read, where the provider says.
    pub input_tokens: u32,
    /// Tokens that it wrote, where the provider says.
    pub output_tokens: u32,
    /// Attempts beyond the first.
    pub retries: u32,
}

/// A sign of life, from the very loop that does the work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// How late the loop came to send this, in microseconds.
    pub lag_us: u64,
    /// How many turns are running.
    pub running: u32,
}
