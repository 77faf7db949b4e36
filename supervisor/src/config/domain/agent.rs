//! What one agent is: the merged view of `[defaults]` and `[agents.<id>]`.

use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use kennel_shared::protocol::{SYSTEM_PROMPT_MAX_BYTES, Tool};

use crate::dispatch::gather::Queueing;
use crate::turns::budget;

use super::{AgentId, Enforcement, Limits, ProviderId, Sandbox, UserRef};

/// One agent.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentConfig {
    /// Its name.
    pub id: AgentId,
    /// Whether it exists at all; a disabled one is only listed.
    pub enabled: bool,
    /// Whether it starts with the supervisor.
    pub autostart: bool,
    /// Which model answers.
    pub model: ModelRef,
    /// How the model answers.
    pub sampling: Sampling,
    /// Where its tools work.
    pub workspace: PathBuf,
    /// What the model is told first.
    pub system_prompt: Option<SystemPrompt>,
    /// When it is started again.
    pub restart: RestartPolicy,
    /// How long each thing may take.
    pub timeouts: Timeouts,
    /// What the model may do.
    pub tools: Tools,
    /// What it may use of the machine.
    pub limits: Limits,
    /// What happens when it cannot be held so.
    pub enforcement: Enforcement,
    /// As whom it runs; as the supervisor without one.
    pub user: Option<UserRef>,
    /// What it reaches beside its own folders.
    pub sandbox: Sandbox,
    /// Turns at once.
    pub max_concurrent: u32,
    /// Messages that wait; more are refused.
    pub max_queued: u32,
    /// How often its process may die of a message before that is set aside.
    pub poison_after: u32,
    /// The class of its turns.
    pub class: String,
    /// How the messages of chats wait for it.
    pub queue: Queueing,
    /// Its part of its class, beside the weights of the others.
    pub weight: u32,
    /// How much history a turn sees.
    pub context: ContextWindow,
    /// Its captured output.
    pub log: LogRotation,
    /// What it may spend.
    pub budget: Budget,
}

/// What an agent may spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The time zone of its calendar.
    pub zone: String,
    /// The model for turns after a warning.
    pub downgrade: Option<ModelRef>,
    /// In an hour.
    pub hour: budget::Limits,
    /// In a day.
    pub day: budget::Limits,
    /// In a month.
    pub month: budget::Limits,
}

/// `"provider/model"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRef {
    /// The provider's name.
    pub provider: ProviderId,
    /// The model's name at the provider; may hold slashes itself.
    pub model: String,
}

impl std::fmt::Display for ModelRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

/// How the model answers; what is not set is left to the provider.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sampling {
    /// From 0 to 2.
    pub temperature: Option<f64>,
    /// The longest answer, in tokens.
    pub max_tokens: Option<u32>,
}

/// What the model may do in the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    /// These, each once.
    pub enabled: Vec<Tool>,
    /// How often the model is asked within one turn, at most.
    pub max_steps: u32,
    /// How long one may take.
    pub timeout: Duration,
}

/// What the model is told first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemPrompt {
    /// In the configuration.
    Text(String),
    /// In a file.
    File(PathBuf),
}

impl SystemPrompt {
    /// The text; reads the file, of at most [`SYSTEM_PROMPT_MAX_BYTES`].
    pub fn load(&self) -> io::Result<String> {
        let path = match self {
            Self::Text(text) => return Ok(text.clone()),
            Self::File(path) => path,
        };
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut text = String::new();
        std::fs::File::open(path)?
            .take(SYSTEM_PROMPT_MAX_BYTES as u64 + 1)
            .read_to_string(&mut text)?;
        if text.len() > SYSTEM_PROMPT_MAX_BYTES {
            let limit = SYSTEM_PROMPT_MAX_BYTES / 1024;
            return Err(io::Error::other(format!("larger than {limit} KiB")));
        }
        Ok(text)
    }
}

/// When an agent that ended is started again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RestartPolicy {
    /// After which ends.
    pub mode: RestartMode,
    /// How long to wait before.
    pub backoff: Backoff,
    /// More restarts than this within `window` put it into quarantine.
    pub max_restarts: u32,
    /// See `max_restarts`.
    pub window: Duration,
    /// A life this long forgets earlier failures: the backoff begins anew.
    pub stable_after: Duration,
}

/// After which ends an agent is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartMode {
    /// After every one.
    Always,
    /// After a crash, not after exit code 0.
    OnFailure,
    /// After none.
    Never,
}

impl RestartMode {
    /// As the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::OnFailure => "on-failure",
            Self::Never => "never",
        }
    }
}

/// The wait before the n-th restart in a row: `initial * factor^(n-1)`, at most `max`, changed by chance by up to
/// `jitter` of itself in either direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// Before the first restart.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
    /// From 1.
    pub factor: f64,
    /// From 0 to 1.
    pub jitter: f64,
}

impl Backoff {
    /// The wait before the `attempt`-th restart in a row (from 1), without jitter.
    pub fn nominal(&self, attempt: u32) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.initial.as_secs_f64() * self.factor.powi(exponent);
        // Infinity is more than any maximum.
        if seconds < self.max.as_secs_f64() {
            Duration::from_secs_f64(seconds)
        } else {
            self.max
        }
    }

    /// The shortest wait that jitter can make of it.
    pub fn shortest(&self, attempt: u32) -> Duration {
        self.nominal(attempt).mul_f64((1.0 - self.jitter).max(0.0))
    }
}

/// How long each thing may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From spawn to handshake.
    pub start: Duration,
    /// Between two signs of life.
    pub heartbeat_interval: Duration,
    /// Without a sign of life for this long, it hangs.
    pub watchdog: Duration,
    /// From TERM to KILL.
    pub stop_grace: Duration,
    /// From the wish to stop to TERM, for turns in flight.
    pub drain: Duration,
    /// One whole turn.
    pub turn: Duration,
    /// A message that waits for its turn, if there is a limit.
    pub queue: Option<Duration>,
    /// From the beginning of a turn to the first word of its model, if there is a limit.
    pub first_token: Option<Duration>,
    /// From telling a turn to end to killing the agent.
    pub cancel_grace: Duration,
}

/// How much of a session's end a turn sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextWindow {
    /// Messages at most.
    pub max_messages: u32,
    /// Bytes of text at most.
    pub max_bytes: u64,
}

/// How an agent's captured output is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRotation {
    /// A file is turned over at this size.
    pub max_size: u64,
    /// Old files that are kept.
    pub keep: u32,
}
