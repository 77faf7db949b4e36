//! The configuration as the rest of the supervisor sees it: checked, merged, with every path resolved.
//!
//! These types know nothing of TOML, of files or of places in them. Two of them are equal exactly when they mean the
//! same, which is what a reload compares.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use crate::schedule::{Schedule, ScheduleId};
pub use kennel_shared::ids::{AgentId, ChannelId};

use super::secret::SecretRef;
use crate::turns::Prices;

mod agent;
mod channel;
pub(super) mod classes;
pub(super) mod limits;
mod queue;
mod sandbox;

pub use agent::{
    AgentConfig, Backoff, Budget, ContextWindow, LogRotation, ModelRef, RestartMode, RestartPolicy,
    Sampling, SystemPrompt, Timeouts, Tools,
};
pub use channel::{AllowFrom, Channel, ChannelKind, Irc, Sasl, Telegram, Tls};
pub use classes::Class;
pub(super) use classes::plain_share;
pub use limits::{Amount, Excess, FleetLimits, Limits, plain_size};
pub use queue::QueuePatch;
pub use sandbox::{Enforcement, NetworkAccess, Sandbox, UserError, UserRef};

/// `[a-z0-9][a-z0-9_-]{0,63}`: names of agents, providers, channels and classes, by the rule of the shared ids.
pub fn is_name(text: &str) -> bool {
    AgentId::new(text).is_ok()
}

/// A duration as people write it: "1m 30s".
pub(super) fn plain_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// The name of a provider, as in `[providers.<id>]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderId(String);

impl ProviderId {
    /// Takes a text that follows [`is_name`].
    pub fn new(text: &str) -> Option<Self> {
        is_name(text).then(|| Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProviderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for ProviderId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The folder of the main file, from which relative paths count.
    pub base_dir: PathBuf,
    /// The supervisor's own settings.
    pub supervisor: Supervisor,
    /// Where models are.
    pub providers: BTreeMap<ProviderId, Provider>,
    /// The classes of agents; `interactive` and `batch` are always among them.
    pub classes: BTreeMap<String, Class>,
    /// Every agent, with `[defaults]` merged in.
    pub agents: BTreeMap<AgentId, AgentConfig>,
    /// The chat connections.
    pub channels: BTreeMap<ChannelId, Channel>,
    /// Who answers where, in the order of the files.
    pub bindings: Vec<Binding>,
    /// What the clock asks for.
    pub schedules: BTreeMap<ScheduleId, Schedule>,
}

impl Config {
    /// The agent called `id`, with `[defaults]` merged in.
    pub fn agent(&self, id: &str) -> Option<&AgentConfig> {
        self.agents.get(id)
    }

    /// The provider of the model that an agent has for when its budget runs out.
    pub fn cheaper_provider_of(&self, agent: &AgentConfig) -> Option<&Provider> {
        self.providers
            .get(&agent.budget.downgrade.as_ref()?.provider)
    }

    /// The provider of an agent's model.
    pub fn provider_of(&self, agent: &AgentConfig) -> Option<&Provider> {
        self.providers.get(&agent.model.provider)
    }
}

/// `[supervisor]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Supervisor {
    /// What must survive a reboot.
    pub state_dir: PathBuf,
    /// Sockets and the pid file.
    pub runtime_dir: PathBuf,
    /// Turns at once over all agents.
    pub max_concurrent: u32,
    /// Who answers where no binding says so.
    pub default_agent: Option<AgentId>,
    /// How long agents live on without a supervisor.
    pub orphan_grace: Duration,
    /// How long the whole fleet may take to stop before it is killed.
    pub stop_grace: Duration,
    /// What the supervisor logs.
    pub log_level: LogLevel,
    /// How the supervisor logs.
    pub log_format: LogFormat,
    /// The control API on TCP.
    pub http: Option<Http>,
    /// By which means agents are held.
    pub containment: Backend,
    /// What all agents together may use.
    pub fleet: FleetLimits,
    /// What is kept of messages that are done with.
    pub journal: JournalKeep,
    /// What tokens cost.
    pub prices: Prices,
    /// Who else is told of turns.
    pub otlp: Option<Otlp>,
}

/// `[supervisor.otlp]`: a collector of OpenTelemetry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Otlp {
    /// Where it is, without the path.
    pub endpoint: String,
    /// What is sent along, by lower-case names.
    pub headers: BTreeMap<String, SecretRef>,
}

/// What the journal keeps of what has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalKeep {
    /// Messages and what was sent.
    pub ended: Duration,
    /// Messages that were set aside.
    pub poison: Duration,
    /// What operators did.
    pub audit: Duration,
    /// What turns took.
    pub turns: Duration,
    /// The last so many of them, at most.
    pub max_turns: u64,
    /// Above this size the oldest go earlier, in bytes.
    pub max_size: u64,
}

impl Default for JournalKeep {
    fn default() -> Self {
        const DAY: Duration = Duration::from_hours(24);
        Self {
            ended: 7 * DAY,
            poison: 30 * DAY,
            audit: 30 * DAY,
            turns: 30 * DAY,
            max_turns: 100_000,
            max_size: 256 * 1024 * 1024,
        }
    }
}

impl Supervisor {
    /// The socket that agents connect to.
    pub fn link_socket(&self) -> PathBuf {
        self.runtime_dir.join("link.sock")
    }

    /// The socket of the control API.
    pub fn control_socket(&self) -> PathBuf {
        self.runtime_dir.join("control.sock")
    }

    /// The locked pid file.
    pub fn pid_file(&self) -> PathBuf {
        self.runtime_dir.join("kennel.pid")
    }

    /// The folder of one agent: its store, its lock, its workspace.
    pub fn agent_dir(&self, id: &AgentId) -> PathBuf {
        self.state_dir.join("agents").join(id.as_str())
    }

    /// Where an agent's output goes; rotated ones add `.1` and so on.
    pub fn agent_log(&self, id: &AgentId) -> PathBuf {
        self.state_dir.join("logs").join(format!("{id}.log"))
    }
}

/// `[supervisor.http]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// Loopback, or there is a token.
    pub listen: SocketAddr,
    /// What callers must show.
    pub token: Option<SecretRef>,
    /// Web pages that may call, beside those of the same origin.
    pub allowed_origins: Vec<String>,
}

/// By which means agents are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// The best that the host has.
    #[default]
    Auto,
    /// The v2 hierarchy of control groups, delegated or as root.
    CgroupV2,
    /// v1 controllers for the caps, the v2 hierarchy to end what was started.
    Hybrid,
    /// v1 controllers alone.
    CgroupV1,
    /// No control groups.
    BestEffort,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Only what needs an operator.
    Error,
    /// And what heals itself.
    Warn,
    /// And state transitions.
    Info,
    /// And steps.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// As filters of `tracing` write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object for each line.
    Json,
}

/// `[providers.<id>]`: where a model is.
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    /// Its name.
    pub id: ProviderId,
    /// What it is.
    pub kind: ProviderKind,
}

/// A model server, or the built-in stand-in for one.
#[derive(Clone, Debug, PartialEq)]
pub enum ProviderKind {
    /// A model behind HTTP.
    Remote(RemoteProvider),
    /// Answers with what was asked; for tests and benchmarks.
    Echo(EchoProvider),
}

/// A model behind HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteProvider {
    /// Which protocol it speaks.
    pub api: ModelApi,
    /// Without one, the vendor's own address.
    pub base_url: Option<String>,
    /// The credential.
    pub api_key: Option<SecretRef>,
    /// One whole answer at most.
    pub request_timeout: Duration,
    /// Until the first byte of an answer.
    pub first_byte_timeout: Duration,
    /// Between two pieces of a streamed answer.
    pub idle_timeout: Duration,
    /// Tries after the first one, on 429, 5xx and lost connections.
    pub max_retries: u32,
}

/// The protocols of model servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelApi {
    /// `OpenAI`'s, which most servers speak.
    OpenAi,
    /// `Anthropic`'s.
    Anthropic,
    /// `Google`'s.
    Gemini,
    /// `Ollama`'s.
    Ollama,
}

/// `kind = "echo"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoProvider {
    /// Before the first piece.
    pub delay: Duration,
    /// In how many pieces the answer comes.
    pub chunks: u32,
    /// Between two pieces.
    pub chunk_delay: Duration,
}

/// `[[bindings]]`: who answers on a channel. The most precise one wins: peer and kind, then peer, then kind, then
/// channel alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Where.
    pub channel: ChannelId,
    /// Who answers.
    pub agent: AgentId,
    /// Only for this peer: the person or the group, as the channel names it.
    pub peer: Option<String>,
    /// Only for this kind of conversation.
    pub kind: Option<PeerKind>,
}

/// A kind of conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerKind {
    /// With one person.
    Direct,
    /// With several.
    Group,
}
