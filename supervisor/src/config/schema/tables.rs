//! The tables.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;

use super::scalar::{
    AllowedSender, CountCap, CpuCap, Name, PeerName, Secret, SizeCap, SizeText, TimeCap, TimeText,
    UserText, WeightCap,
};

/// The supervisor's own settings.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SupervisorTable {
    /// What must survive a reboot: sessions, logs, agents' workspaces. Default: `$XDG_STATE_HOME/kennel`, that is
    /// `~/.local/state/kennel`.
    pub state_dir: Option<String>,
    /// Sockets and the pid file; a short path. Default: `$XDG_RUNTIME_DIR/kennel`, or `run` in the state folder,
    /// also when `state_dir` is set.
    pub runtime_dir: Option<String>,
    /// Turns at once over all agents. Default: 8.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_concurrent: Option<u32>,
    /// The agent that answers where no binding says who.
    pub default_agent: Option<Name>,
    /// How long agents live on without a supervisor. Default: 1m.
    pub orphan_grace: Option<TimeText>,
    /// How long the whole fleet may take to stop before it is killed. Default: 30s.
    pub stop_grace: Option<TimeText>,
    /// What the supervisor logs. Default: info.
    pub log_level: Option<LogLevel>,
    /// How the supervisor logs. Default: text.
    pub log_format: Option<LogFormat>,
    /// By which means agents are held: the best that the host has, or the one that is named here, without which the
    /// supervisor does not start. Default: auto.
    pub containment: Option<BackendWord>,
    /// Takes secrets that stand in the file itself, with a warning for each. Default: false.
    pub allow_inline_secrets: Option<bool>,
    /// The control API on TCP. Without this table it is only on a Unix socket.
    pub http: Option<HttpTable>,
    /// What all agents together may use; the supervisor is not counted.
    pub fleet: Option<FleetTable>,
    /// What is kept of messages that are done with.
    pub journal: Option<JournalTable>,
    /// What models cost, by `provider/model`, in units of whatever money is meant. What has no price has no cost.
    pub prices: Option<BTreeMap<String, PriceTable>>,
    /// A collector of OpenTelemetry that is told of every turn. Without this table nobody is.
    pub otlp: Option<OtlpTable>,
}

/// What a million tokens of a model cost.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceTable {
    /// That it reads; at most six decimal places.
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub input: f64,
    /// That it writes.
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub output: f64,
}

/// A collector of OpenTelemetry.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OtlpTable {
    /// Where it takes OTLP over HTTP, as in `http://127.0.0.1:4318`; `/v1/traces` is added.
    pub endpoint: String,
    /// Headers to send along, at most 16. Their values are secrets.
    pub headers: Option<BTreeMap<String, Secret>>,
}

/// By which means agents are held.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BackendWord {
    Auto,
    #[serde(rename = "cgroup-v2")]
    CgroupV2,
    Hybrid,
    #[serde(rename = "cgroup-v1")]
    CgroupV1,
    BestEffort,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How the log looks.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// The control API on TCP.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpTable {
    /// Address and port. One that other machines reach needs a token.
    pub listen: SocketAddr,
    /// What callers must show as a bearer token.
    pub token: Option<Secret>,
    /// Web pages that may call, as in `https://example.org`. Default: none.
    pub allowed_origins: Option<Vec<String>>,
}

/// What the journal keeps of what has ended. What is still to be done is never deleted.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JournalTable {
    /// Messages and what was sent: for so long a repeat is known as one. Default: 7d.
    pub keep: Option<TimeText>,
    /// Messages that were set aside. Default: 30d.
    pub keep_poison: Option<TimeText>,
    /// What operators did. Default: 30d.
    pub keep_audit: Option<TimeText>,
    /// What turns took. Default: 30d.
    pub keep_turns: Option<TimeText>,
    /// The last so many turns, at most. Default: 100000.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub max_turns: Option<u64>,
    /// Above this size the oldest go earlier. Default: 256MiB.
    pub max_size: Option<SizeText>,
}

/// What all agents together may use. Without a cap here, theirs alone hold them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FleetTable {
    /// Memory, from 4MiB.
    pub memory: Option<SizeText>,
    /// CPUs at most, as in 1.5.
    #[schemars(range(min = 0.01, max = 4096.0))]
    pub cpu: Option<f64>,
    /// The share of the CPU beside the rest of the machine; 100 is usual.
    #[schemars(range(min = 1, max = 10_000))]
    pub cpu_weight: Option<u32>,
    /// Processes and threads.
    #[schemars(range(min = 1, max = 4_194_304))]
    pub pids: Option<u32>,
    /// Whether the agents' caps of memory and pids may add up to more than the fleet's. Default: false.
    pub overcommit: Option<bool>,
}

/// How much of the fleet's turns a class of agents has.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassTable {
    /// Its part where classes compete, beside the weights of the others. Default: 100.
    #[schemars(range(min = 1, max = 10_000))]
    pub weight: Option<u32>,
    /// The share of the fleet's turns that is guaranteed to it, from 0 to 1, in whole turns: while it has less, it is served
    /// first. What it does not use, others may. Default: 0.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_share: Option<f64>,
    /// The share of the fleet's turns that it has at most, in whole turns, but one at least. Default: 1; of `batch`, all turns
    /// but one.
    #[schemars(range(min = 0.0001, max = 1.0))]
    pub max_share: Option<f64>,
}

/// Where a model is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum ProviderTable {
    /// Any server that speaks `OpenAI`'s protocol. Without `base_url`: `OpenAI` itself.
    Openai(RemoteTable),
    /// `Anthropic`.
    Anthropic(RemoteTable),
    /// `Google`'s `Gemini`.
    Gemini(RemoteTable),
    /// `Ollama`. Without `base_url`: on this machine.
    Ollama(RemoteTable),
    /// Answers with what was asked; for tests and benchmarks. Any model name works.
    Echo(EchoTable),
}

/// A model behind HTTP.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoteTable {
    /// Where the server is. Default: the vendor's own address.
    pub base_url: Option<String>,
    /// The credential. Needed at the vendor's own address.
    pub api_key: Option<Secret>,
    /// One whole answer at most. Default: 5m.
    pub request_timeout: Option<TimeText>,
    /// Until the first byte of an answer. Default: 1m.
    pub first_byte_timeout: Option<TimeText>,
    /// Between two pieces of a streamed answer. Default: 30s.
    pub idle_timeout: Option<TimeText>,
    /// Tries after the first one, on 429, 5xx and lost connections. Default: 2.
    #[schemars(range(min = 0, max = 20))]
    pub max_retries: Option<u32>,
}

/// The built-in stand-in for a model.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EchoTable {
    /// Before the first piece. Default: 0.
    pub delay: Option<TimeText>,
    /// In how many pieces the answer comes. Default: 1.
    #[schemars(range(min = 1, max = 10_000))]
    pub chunks: Option<u32>,
    /// Between two pieces. Default: 0.
    pub chunk_delay: Option<TimeText>,
}

/// An agent, or what holds for all of them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentTable {
    /// Whether the agent exists at all; a disabled one is only listed. Default: true.
    pub enabled: Option<bool>,
    /// Whether it starts with the supervisor. Default: true.
    pub autostart: Option<bool>,
    /// Which model answers, as in `provider/model`. Needed here or in `[defaults]`.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9_-]{0,63}/.+$"))]
    pub model: Option<String>,
    /// How freely the model answers, from 0 to 2. Default: the provider's.
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: Option<f64>,
    /// The longest answer, in tokens. Default: the provider's.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_tokens: Option<u32>,
    /// Where its tools work. Default: a folder of its own in the state folder.
    pub workspace: Option<String>,
    /// What the model is told first.
    pub system_prompt: Option<String>,
    /// A file with what the model is told first, instead of `system_prompt`.
    pub system_prompt_file: Option<String>,
    /// After which ends it is started again. Default: on-failure.
    pub restart: Option<RestartWord>,
    /// How long to wait before a restart.
    pub backoff: Option<BackoffTable>,
    /// More restarts than this within `window` put it into quarantine. Default: 10.
    #[schemars(range(min = 0, max = 10_000))]
    pub max_restarts: Option<u32>,
    /// See `max_restarts`. Default: 10m.
    pub window: Option<TimeText>,
    /// A life this long forgets earlier failures. Default: 1m.
    pub stable_after: Option<TimeText>,
    /// From its start to its first sign of life. Default: 10s.
    pub start_timeout: Option<TimeText>,
    /// Between two signs of life. Default: 1s.
    pub heartbeat_interval: Option<TimeText>,
    /// Without a sign of life for this long it counts as hung, and is started anew. Default: 15s.
    pub watchdog: Option<TimeText>,
    /// From being told to end to being killed. Default: 5s.
    pub stop_grace: Option<TimeText>,
    /// For turns in flight, before it is told to end. Default: 30s.
    pub drain_timeout: Option<TimeText>,
    /// One whole turn. Default: 10m.
    pub turn_timeout: Option<TimeText>,
    /// A message that waits longer is not begun any more, and its sender is told. Default: none.
    pub queue_timeout: Option<TimeCap>,
    /// From the beginning of a turn to the first word of its model; then the turn is ended, and the sender is told.
    /// Default: none.
    pub first_token_timeout: Option<TimeCap>,
    /// From telling a turn to end to killing the agent, which is then started anew. Default: 10s.
    pub cancel_grace: Option<TimeText>,
    /// What the model may do in the workspace. Default: nothing.
    pub tools: Option<Vec<ToolWord>>,
    /// How often the model is asked within one turn, at most. Default: 32.
    #[schemars(range(min = 1, max = 1_000))]
    pub max_steps: Option<u32>,
    /// One tool at most. Default: 2m.
    pub tool_timeout: Option<TimeText>,
    /// What it may use of the machine.
    pub limits: Option<LimitsTable>,
    /// Whether it runs where its caps or its sandbox cannot be had. Default: strict, that is no.
    pub enforcement: Option<EnforcementWord>,
    /// As whom it runs: a name, a number, or `uid:gid`. Needs a supervisor that runs as root. Default: as the
    /// supervisor.
    pub user: Option<UserText>,
    /// What it reaches beside its own folders.
    pub sandbox: Option<SandboxTable>,
    /// Turns at once. Default: 1.
    #[schemars(range(min = 1, max = 1_000))]
    pub max_concurrent: Option<u32>,
    /// Messages that wait; more are refused. Default: 100.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_queued: Option<u32>,
    /// How often its process may die of a message before that is set aside. Default: 3.
    #[schemars(range(min = 1, max = 100))]
    pub poison_after: Option<u32>,
    /// The class of its turns: `interactive`, `batch`, or one of `classes`. Default: interactive.
    pub class: Option<Name>,
    /// How the messages of chats wait for it.
    pub queue: Option<QueueTable>,
    /// Its part of its class, beside the weights of the others: of the time for which turns run, not of their number.
    /// Default: 100.
    #[schemars(range(min = 1, max = 10_000))]
    pub weight: Option<u32>,
    /// How much of a session's end a turn sees.
    pub context: Option<ContextTable>,
    /// How its captured output is kept.
    pub log: Option<LogTable>,
    /// What it may spend in an hour, a day and a month.
    pub budget: Option<BudgetTable>,
}

/// What an agent may spend. Windows are those of the calendar.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetTable {
    /// Where the calendar is, as in `Europe/Vienna`. Default: UTC.
    pub time_zone: Option<String>,
    /// The model for turns after a warning, until the window ends, as in `provider/model`. Default: the agent's own.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9_-]{0,63}/.+$"))]
    pub downgrade: Option<String>,
    /// From the hour to the next.
    pub hour: Option<BudgetWindowTable>,
    /// From midnight to midnight.
    pub day: Option<BudgetWindowTable>,
    /// From the first of the month to the next.
    pub month: Option<BudgetWindowTable>,
}

/// How much may be spent in one window. Without a limit, nothing limits it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetWindowTable {
    /// From so many tokens on, read and written, it is said that the budget runs out.
    #[schemars(range(min = 1))]
    pub warn_tokens: Option<u64>,
    /// From so many tokens on messages are refused until the window ends.
    #[schemars(range(min = 1))]
    pub max_tokens: Option<u64>,
    /// From so much money on it is said that the budget runs out, by the prices of `[supervisor.prices]`.
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub warn_cost: Option<f64>,
    /// From so much money on messages are refused until the window ends.
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub max_cost: Option<f64>,
}

/// How the messages of a chat wait that come while others of their session wait or run.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueTable {
    /// Whether such a message joins what waits, waits for a turn of its own, is handed to the turn that runs at its next
    /// tool boundary, or ends what runs and what waits. Default: collect.
    pub mode: Option<ModeWord>,
    /// How long it must be quiet before what was collected is answered, at most 1m. Default: 0s, that is at once.
    pub debounce: Option<TimeText>,
    /// How many messages may wait in a session. Default: 20.
    #[schemars(range(min = 1, max = 1_000))]
    pub cap: Option<u32>,
    /// What is dropped beyond that: the oldest, the one that comes, or the oldest but for its first words. Default:
    /// summarize.
    pub drop: Option<DropWord>,
}

/// What becomes of a message that comes while others of its session wait or run.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModeWord {
    Collect,
    Followup,
    Steer,
    Interrupt,
}

/// What is dropped when too many messages wait.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DropWord {
    Oldest,
    Newest,
    Summarize,
}

/// What a model may do: read, write, edit and list files of the workspace, run commands in it.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ToolWord {
    Read,
    Write,
    Edit,
    List,
    Exec,
}

/// After which ends an agent is started again.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RestartWord {
    Always,
    OnFailure,
    Never,
}

/// The wait before the n-th restart in a row: `initial * factor^(n-1)`, at most `max`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackoffTable {
    /// Before the first restart. Default: 200ms.
    pub initial: Option<TimeText>,
    /// The longest wait. Default: 30s.
    pub max: Option<TimeText>,
    /// From 1. Default: 2.
    #[schemars(range(min = 1.0, max = 100.0))]
    pub factor: Option<f64>,
    /// By which share of itself chance changes a wait, either way, from 0 to 1. Default: 0.2.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub jitter: Option<f64>,
}

/// Whether an agent runs where its caps or its sandbox cannot be had.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EnforcementWord {
    Strict,
    BestEffort,
}

/// What an agent reaches beside its own folders, the system's programs and libraries.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SandboxTable {
    /// Whether files, connections and system calls are restricted at all. Default: true.
    pub enabled: Option<bool>,
    /// Folders and files that it may read, and run programs from. Default: none.
    pub read: Option<Vec<String>>,
    /// Folders and files that it may change. Default: none.
    pub write: Option<Vec<String>>,
    /// What it may connect to: `open`, `closed`, or TCP ports. Its provider's port is always open, to every host: the
    /// kernel goes by the port. Default: open.
    pub network: Option<NetworkValue>,
}

/// What an agent may connect to.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum NetworkValue {
    /// All or nothing.
    Word(NetworkWord),
    /// These TCP ports.
    Ports(#[schemars(length(min = 1), inner(range(min = 1)))] Vec<u16>),
}

/// All or nothing.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NetworkWord {
    Open,
    Closed,
}

/// What an agent may use of the machine; `"none"` lifts what `[defaults]` says.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsTable {
    /// Memory, from 4MiB; beyond it the kernel ends the agent and all that it started.
    pub memory: Option<SizeCap>,
    /// Memory from which on it is slowed down; never more than `memory`. Default: 90 % of `memory`.
    pub memory_high: Option<SizeCap>,
    /// CPUs at most, as in 0.5.
    pub cpu: Option<CpuCap>,
    /// The share of the CPU beside others, from 1 to 10000; 100 is usual.
    pub cpu_weight: Option<WeightCap>,
    /// Processes and threads. Default: 512.
    pub pids: Option<CountCap>,
    /// Open files of each process, from 16.
    pub open_files: Option<CountCap>,
    /// The share of disks beside others, from 1 to 10000; 100 is usual.
    pub io_weight: Option<WeightCap>,
}

/// How much of a session's end a turn sees.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContextTable {
    /// Messages at most. Default: 100.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_messages: Option<u32>,
    /// Text at most. Default: 128KiB.
    pub max_bytes: Option<SizeText>,
}

/// How an agent's captured output is kept.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogTable {
    /// A file is turned over at this size. Default: 10MiB.
    pub max_size: Option<SizeText>,
    /// Old files that are kept. Default: 5.
    #[schemars(range(min = 0, max = 1_000))]
    pub keep: Option<u32>,
}

/// A chat connection.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum ChannelTable {
    /// A Telegram bot, by long poll.
    Telegram(TelegramTable),
    /// A user of an IRC network.
    Irc(IrcTable),
}

/// A Telegram bot.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TelegramTable {
    /// Who is answered: numbers, `"@name"`, or `"*"` alone for everybody. Default: nobody.
    pub allow_from: Option<Vec<AllowedSender>>,
    /// How its messages wait. Default: as the agent says.
    pub queue: Option<QueueTable>,
    /// The bot's token.
    pub token: Secret,
    /// A Bot API server of one's own.
    pub api_url: Option<String>,
    /// How long one poll waits at the server, in whole seconds. Default: 30s.
    pub poll_timeout: Option<TimeText>,
}

/// A user of an IRC network.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IrcTable {
    /// Whose messages are answered: nicks, or `"*"` alone for everybody. Default: nobody.
    pub allow_from: Option<Vec<String>>,
    /// How its messages wait. Default: as the agent says.
    pub queue: Option<QueueTable>,
    /// Host name or address.
    pub server: String,
    /// Default: 6697, or 6667 without TLS.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// Encrypts the connection. Default: true.
    pub tls: Option<bool>,
    /// A PEM file of the authorities to trust, instead of the system's.
    pub tls_ca: Option<String>,
    /// The nick.
    pub nick: String,
    /// The server's password.
    pub password: Option<Secret>,
    /// The account to log in with.
    pub sasl: Option<SaslTable>,
    /// Channels to join, as in `#kennel`.
    pub channels: Option<Vec<String>>,
}

/// An account at the network's services.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaslTable {
    /// Its name.
    pub account: String,
    /// Its password.
    pub password: Secret,
}

/// Who answers where.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BindingTable {
    /// The channel.
    pub channel: Name,
    /// The agent that answers.
    pub agent: Name,
    /// Only for this person or group, as the channel names it.
    pub peer: Option<PeerName>,
    /// Only for this kind of conversation.
    pub kind: Option<PeerKind>,
}

/// A prompt that an agent gets by the clock. Needs `cron` or `every`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleTable {
    /// Its name.
    pub name: Name,
    /// When it is due: minute, hour, day of the month, month, day of the week; six fields begin with seconds. Also
    /// `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
    #[schemars(example = "30 9 * * MON-FRI")]
    pub cron: Option<String>,
    /// The time zone of `cron`, as the tz database names it. Default: UTC.
    #[schemars(example = "Europe/Berlin")]
    pub zone: Option<String>,
    /// Instead of `cron`: due every so often, from 1s, counted from 1970 in UTC.
    pub every: Option<TimeText>,
    /// The agent that gets the prompt.
    pub agent: Name,
    /// What it gets.
    pub prompt: String,
    /// The conversation that runs are part of, of the same agent. Default: one of its own, `agent:<agent>:cron:<name>`.
    pub session: Option<String>,
    /// The class of its turns: `interactive`, `batch`, or one of `classes`, also where that is not the agent's. Default: the agent's.
    pub class: Option<Name>,
    /// What becomes of due times at which it could not be run. Default: skip.
    pub catch_up: Option<CatchUpWord>,
    /// A run comes up to so much later than it is due, by chance that is the same each time. Default: 0.
    pub jitter: Option<TimeText>,
    /// Whether it runs by itself. Default: true.
    pub enabled: Option<bool>,
    /// Who is told the answer. Default: nobody; it is in the session.
    pub tell: Option<TellTable>,
}

/// What becomes of due times at which a schedule could not be run: they are left out, one run stands for all of them, or
/// each is run, the last 100 at most.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CatchUpWord {
    Skip,
    Once,
    All,
}

/// Who is told the answer of a schedule.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TellTable {
    /// The channel.
    pub channel: Name,
    /// The person or the group, as the channel names it.
    pub peer: PeerName,
    /// The kind of conversation. Default: direct.
    pub kind: Option<PeerKind>,
}

/// A kind of conversation.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PeerKind {
    Direct,
    Group,
}
