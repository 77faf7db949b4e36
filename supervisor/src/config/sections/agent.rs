//! `[defaults]` and `[agents.<id>]`: the same keys, the second over the first.

use std::path::PathBuf;
use std::time::Duration;

use kennel_shared::protocol::{SYSTEM_PROMPT_MAX_BYTES, Tool};

use super::super::diagnostic::Location;
use super::super::domain::{
    AgentConfig, AgentId, Backoff, Budget, ContextWindow, Enforcement, LogRotation, ModelRef,
    NetworkAccess, ProviderId, QueuePatch, RestartMode, RestartPolicy, Sampling, SystemPrompt,
    Timeouts, Tools, UserRef, classes,
};
use super::super::reader::{Node, Table, UserSite};
use super::super::value::{self, Placed, placed};
use super::{budget, limits, queue, sandbox};
use crate::dispatch::{
    gather::{DropPolicy, Mode},
    lanes::{INTERACTIVE, USUAL_WEIGHT},
};
use crate::turns::budget::Limits;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const TIB: u64 = 1024 * 1024 * MIB;

const RESTART: &[(&str, RestartMode)] = &[
    ("always", RestartMode::Always),
    ("on-failure", RestartMode::OnFailure),
    ("never", RestartMode::Never),
];

const TOOLS: &[(&str, Tool)] = &[
    ("read", Tool::Read),
    ("write", Tool::Write),
    ("edit", Tool::Edit),
    ("list", Tool::List),
    ("exec", Tool::Exec),
];

/// Declares the patch, and how one lies over another: key by key.
macro_rules! patch {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Default)]
        pub(in super::super) struct $name {
            $(pub(in super::super) $field: Option<$type>,)*
        }

        impl $name {
            pub(in super::super) fn over(self, below: &Self) -> Self {
                Self { $($field: self.$field.or_else(|| below.$field.clone()),)* }
            }
        }
    };
}

patch! {
    /// What one table says about an agent.
    AgentPatch {
        enabled: bool,
        autostart: bool,
        model: Placed<ModelRef>,
        // Whether a model is named, even one that could not be read.
        model_given: (),
        temperature: f64,
        max_tokens: u32,
        workspace: Placed<PathBuf>,
        system_prompt: Placed<SystemPrompt>,
        restart: RestartMode,
        backoff_initial: Placed<Duration>,
        backoff_max: Placed<Duration>,
        backoff_factor: Placed<f64>,
        backoff_jitter: Placed<f64>,
        max_restarts: Placed<u32>,
        window: Placed<Duration>,
        stable_after: Duration,
        start_timeout: Duration,
        heartbeat_interval: Placed<Duration>,
        watchdog: Placed<Duration>,
        stop_grace: Duration,
        drain_timeout: Duration,
        turn_timeout: Duration,
        queue_timeout: Option<Duration>,
        first_token_timeout: Option<Duration>,
        cancel_grace: Duration,
        tools: Vec<Tool>,
        max_steps: u32,
        tool_timeout: Duration,
        limits_at: Location,
        // A cap that is set to nothing lifts that of the defaults.
        memory: Placed<Option<u64>>,
        memory_high: Placed<Option<u64>>,
        cpu: Option<f64>,
        cpu_weight: Option<u32>,
        pids: Option<u32>,
        open_files: Option<u32>,
        io_weight: Option<u32>,
        enforcement: Enforcement,
        user: UserRef,
        sandbox_enabled: bool,
        sandbox_read: Vec<Placed<PathBuf>>,
        sandbox_write: Vec<Placed<PathBuf>>,
        network: NetworkAccess,
        max_concurrent: u32,
        max_queued: u32,
        poison_after: u32,
        class: Placed<String>,
        weight: u32,
        queue_mode: Mode,
        queue_debounce: Duration,
        queue_cap: u32,
        queue_drop: DropPolicy,
        context_messages: u32,
        context_bytes: u64,
        log_max_size: u64,
        log_keep: u32,
        budget_zone: String,
        budget_downgrade: Placed<ModelRef>,
        budget_hour: Limits,
        budget_day: Limits,
        budget_month: Limits,
    }
}

pub(in super::super) fn read(node: Node<'_>, dotted: String) -> Option<AgentPatch> {
    let mut table = node.table("AgentTable", dotted)?;
    let mut patch = AgentPatch {
        enabled: table.optional("enabled", value::boolean),
        autostart: table.optional("autostart", value::boolean),
        model_given: table.place("model").map(drop),
        model: table.optional("model", placed(model)),
        temperature: table.optional("temperature", value::number(0.0..=2.0)),
        max_tokens: table.optional("max_tokens", value::integer(1..=10_000_000)),
        workspace: table.optional("workspace", placed(value::path)),
        system_prompt: system_prompt(&mut table),
        restart: table.optional("restart", value::choice(RESTART)),
        max_restarts: table.optional("max_restarts", placed(value::integer(0..=10_000))),
        window: table.optional("window", placed(value::duration)),
        stable_after: table.optional("stable_after", value::duration),
        start_timeout: table.optional("start_timeout", value::duration),
        heartbeat_interval: table.optional("heartbeat_interval", placed(value::duration)),
        watchdog: table.optional("watchdog", placed(value::duration)),
        stop_grace: table.optional("stop_grace", value::duration),
        drain_timeout: table.optional("drain_timeout", value::duration_or_zero),
        turn_timeout: table.optional("turn_timeout", value::duration),
        queue_timeout: table.optional("queue_timeout", limits::or_none(value::duration)),
        first_token_timeout: table
            .optional("first_token_timeout", limits::or_none(value::duration)),
        cancel_grace: table.optional("cancel_grace", value::duration),
        tools: table.optional("tools", tools),
        max_steps: table.optional("max_steps", value::integer(1..=1_000)),
        tool_timeout: table.optional("tool_timeout", value::duration),
        max_concurrent: table.optional("max_concurrent", value::integer(1..=1_000)),
        max_queued: table.optional("max_queued", value::integer(1..=100_000)),
        poison_after: table.optional("poison_after", value::integer(1..=100)),
        class: table.optional("class", placed(value::name)),
        weight: table.optional("weight", value::integer(classes::WEIGHT)),
        enforcement: table.optional("enforcement", value::choice(sandbox::ENFORCEMENT)),
        user: user(&mut table),
        ..AgentPatch::default()
    };
    let below = |key| table.path_of(key);
    let (queue, backoff, limits, sandbox, context, log) = (
        below("queue"),
        below("backoff"),
        below("limits"),
        below("sandbox"),
        below("context"),
        below("log"),
    );
    if let Some(read) = table.optional("queue", |node| queue::read(node, queue)) {
        patch.queue_mode = read.mode;
        patch.queue_debounce = read.debounce;
        patch.queue_cap = read.cap;
        patch.queue_drop = read.drop;
    }
    table.optional("backoff", |node| read_backoff(node, backoff, &mut patch));
    table.optional("limits", |node| limits::read(node, limits, &mut patch));
    table.optional("sandbox", |node| sandbox::read(node, sandbox, &mut patch));
    table.optional("context", |node| read_context(node, context, &mut patch));
    table.optional("log", |node| read_log(node, log, &mut patch));
    let budget = table.path_of("budget");
    table.optional("budget", |node| budget::read(node, budget, &mut patch));
    table.finish();
    Some(patch)
}

pub(super) fn model(node: Node<'_>) -> Option<ModelRef> {
    let written = value::line(node)?;
    let parts = written
        .split_once('/')
        .map(|(provider, model)| (ProviderId::new(provider), model));
    match parts {
        Some((Some(provider), model)) if !model.trim().is_empty() => Some(ModelRef {
            provider,
            model: model.to_owned(),
        }),
        _ => node.fail(
            format!("`{}` must name a provider and its model", node.key),
            "not \"provider/model\"",
            format!(
                "write `{} = \"provider/model\"`, the provider being one of [providers.*]",
                node.key
            ),
        ),
    }
}

/// Each once, however often it is written.
fn tools(node: Node<'_>) -> Option<Vec<Tool>> {
    let read = value::list("[\"read\", \"list\"]", |node| value::choice(TOOLS)(node));
    let mut tools: Vec<Tool> = Vec::new();
    for tool in read(node)? {
        if !tools.contains(&tool) {
            tools.push(tool);
        }
    }
    Some(tools)
}

fn system_prompt(table: &mut Table<'_>) -> Option<Placed<SystemPrompt>> {
    let text = table.optional("system_prompt", placed(prompt_text));
    let file = table.get("system_prompt_file");
    if let (Some(_), Some(file)) = (table.place("system_prompt"), file) {
        return file.fail(
            "`system_prompt` and `system_prompt_file` exclude each other",
            "the prompt is given already",
            "keep one of the two",
        );
    }
    let file = file.and_then(placed(value::path)).map(|file| Placed {
        value: SystemPrompt::File(file.value),
        at: file.at,
    });
    file.or(text.map(|text| Placed {
        value: SystemPrompt::Text(text.value),
        at: text.at,
    }))
}

fn prompt_text(node: Node<'_>) -> Option<String> {
    let text = value::text(node)?;
    if text.len() > SYSTEM_PROMPT_MAX_BYTES {
        return node.fail(
            "`system_prompt` is too long",
            format!("{} KiB", text.len() / 1024),
            format!("write at most {} KiB", SYSTEM_PROMPT_MAX_BYTES / 1024),
        );
    }
    Some(text.to_owned())
}

/// Kept with its place too: who that is, only the system knows.
fn user(table: &mut Table<'_>) -> Option<UserRef> {
    let name = table.path_of("user");
    let found = table.optional("user", placed(sandbox::user))?;
    let user = found.value.clone();
    table.context.users.borrow_mut().push(UserSite {
        name,
        user: found.value,
        at: found.at,
    });
    Some(user)
}

fn read_backoff(node: Node<'_>, dotted: String, patch: &mut AgentPatch) -> Option<()> {
    let mut table = node.table("BackoffTable", dotted)?;
    patch.backoff_initial = table.optional("initial", placed(value::duration));
    patch.backoff_max = table.optional("max", placed(value::duration));
    patch.backoff_factor = table.optional("factor", placed(value::number(1.0..=100.0)));
    patch.backoff_jitter = table.optional("jitter", placed(value::number(0.0..=1.0)));
    table.finish();
    Some(())
}

fn read_context(node: Node<'_>, dotted: String, patch: &mut AgentPatch) -> Option<()> {
    let mut table = node.table("ContextTable", dotted)?;
    patch.context_messages = table.optional("max_messages", value::integer(1..=100_000));
    patch.context_bytes = table.optional("max_bytes", value::size(KIB..=256 * MIB));
    table.finish();
    Some(())
}

fn read_log(node: Node<'_>, dotted: String, patch: &mut AgentPatch) -> Option<()> {
    let mut table = node.table("LogTable", dotted)?;
    patch.log_max_size = table.optional("max_size", value::size(4 * KIB..=TIB));
    patch.log_keep = table.optional("keep", value::integer(0..=1_000));
    table.finish();
    Some(())
}

impl AgentPatch {
    /// How an agent of this patch is restarted.
    pub(in super::super) fn restart_policy(&self) -> RestartPolicy {
        RestartPolicy {
            mode: self.restart.unwrap_or(RestartMode::OnFailure),
            backoff: Backoff {
                initial: given(self.backoff_initial.as_ref(), Duration::from_millis(200)),
                max: given(self.backoff_max.as_ref(), Duration::from_secs(30)),
                factor: given(self.backoff_factor.as_ref(), 2.0),
                jitter: given(self.backoff_jitter.as_ref(), 0.2),
            },
            max_restarts: given(self.max_restarts.as_ref(), 10),
            window: given(self.window.as_ref(), Duration::from_mins(10)),
            stable_after: self.stable_after.unwrap_or(Duration::from_mins(1)),
        }
    }

    pub(in super::super) fn timeouts(&self) -> Timeouts {
        let seconds = Duration::from_secs;
        Timeouts {
            start: self.start_timeout.unwrap_or(seconds(10)),
            heartbeat_interval: given(self.heartbeat_interval.as_ref(), seconds(1)),
            watchdog: given(self.watchdog.as_ref(), seconds(15)),
            stop_grace: self.stop_grace.unwrap_or(seconds(5)),
            drain: self.drain_timeout.unwrap_or(seconds(30)),
            turn: self.turn_timeout.unwrap_or(seconds(600)),
            queue: self.queue_timeout.flatten(),
            first_token: self.first_token_timeout.flatten(),
            cancel_grace: self.cancel_grace.unwrap_or(seconds(10)),
        }
    }

    /// The whole agent; `workspace` is where it works when nothing says so.
    pub(in super::super) fn settle(
        self,
        id: AgentId,
        model: ModelRef,
        workspace: PathBuf,
    ) -> AgentConfig {
        AgentConfig {
            id,
            enabled: self.enabled.unwrap_or(true),
            autostart: self.autostart.unwrap_or(true),
            model,
            sampling: Sampling {
                temperature: self.temperature,
                max_tokens: self.max_tokens,
            },
            restart: self.restart_policy(),
            timeouts: self.timeouts(),
            tools: Tools {
                enabled: self.tools.clone().unwrap_or_default(),
                max_steps: self.max_steps.unwrap_or(32),
                timeout: self.tool_timeout.unwrap_or(Duration::from_mins(2)),
            },
            limits: self.limits(),
            enforcement: self.enforcement.unwrap_or_default(),
            sandbox: self.sandbox(),
            user: self.user,
            workspace: self.workspace.map_or(workspace, |placed| placed.value),
            system_prompt: self.system_prompt.map(|prompt| prompt.value),
            max_concurrent: self.max_concurrent.unwrap_or(1),
            max_queued: self.max_queued.unwrap_or(100),
            poison_after: self.poison_after.unwrap_or(3),
            queue: QueuePatch {
                mode: self.queue_mode,
                debounce: self.queue_debounce,
                cap: self.queue_cap,
                drop: self.queue_drop,
            }
            .over(QueuePatch::DEFAULT),
            class: self
                .class
                .map_or_else(|| INTERACTIVE.to_owned(), |class| class.value),
            weight: self.weight.unwrap_or(USUAL_WEIGHT),
            context: ContextWindow {
                max_messages: self.context_messages.unwrap_or(100),
                max_bytes: self.context_bytes.unwrap_or(128 * KIB),
            },
            log: LogRotation {
                max_size: self.log_max_size.unwrap_or(10 * MIB),
                keep: self.log_keep.unwrap_or(5),
            },
            budget: Budget {
                zone: self.budget_zone.unwrap_or_else(|| "UTC".to_owned()),
                downgrade: self.budget_downgrade.map(|placed| placed.value),
                hour: self.budget_hour.unwrap_or_default(),
                day: self.budget_day.unwrap_or_default(),
                month: self.budget_month.unwrap_or_default(),
            },
        }
    }
}

fn given<T: Copy>(value: Option<&Placed<T>>, otherwise: T) -> T {
    value.map_or(otherwise, |placed| placed.value)
}
