//! The keys of the configuration, and what it takes for a change of each to take effect.
//!
//! A plan is made and applied by these tables, so a key that is missing here is one that a reload would not carry
//! over: `every_key_of_the_schema_is_known` and the destructuring below keep them whole.

use std::time::Duration;

use crate::{
    config::{AgentConfig, Channel, ChannelKind, Class, Limits, Schedule, Supervisor},
    containment::Cap,
    schedule::Timetable,
};

/// When a change takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// At once; nothing is started anew.
    Live,
    /// When the agent, or the supervisor, is started the next time for whatever reason: it says nothing before.
    NextStart,
    /// With a new process for the agent, after its turns; with a new connection for a channel.
    Restart,
    /// Not before the supervisor is started again.
    Supervisor,
    /// Never in a running supervisor: everything that it keeps would have to move.
    Fixed,
}

impl Effect {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::NextStart => "next-start",
            Self::Restart => "restart",
            Self::Supervisor => "supervisor-restart",
            Self::Fixed => "fixed",
        }
    }
}

/// One key of a table of the configuration.
pub(super) struct Key<T: 'static> {
    /// As the configuration writes it.
    pub(super) name: &'static str,
    /// What a change from the first to the second takes.
    pub(super) effect: fn(&T, &T) -> Effect,
    pub(super) same: fn(&T, &T) -> bool,
    pub(super) copy: fn(&T, &mut T),
    /// Its value in a few characters, where it is one that fits.
    pub(super) show: fn(&T) -> Option<String>,
}

macro_rules! key {
    ($name:literal, $effect:ident, $($field:ident).+) => {
        key!($name, $effect, $($field).+ => |_| None)
    };
    ($name:literal, $effect:ident, $($field:ident).+, $of:ident => $show:expr) => {
        key!($name, $effect, $($field).+ => |$of| Some($show))
    };
    ($name:literal, $effect:ident, $($field:ident).+ => $show:expr) => {
        Key {
            name: $name,
            effect: |_, _| Effect::$effect,
            same: |a, b| a.$($field).+ == b.$($field).+,
            copy: |from, to| to.$($field).+.clone_from(&from.$($field).+),
            show: $show,
        }
    };
}

/// Those of an agent.
#[rustfmt::skip]
pub(super) const AGENT: &[Key<AgentConfig>] = &[
    key!("enabled", Live, enabled, a => a.enabled.to_string()),
    key!("autostart", NextStart, autostart, a => a.autostart.to_string()),
    key!("model", Restart, model, a => a.model.to_string()),
    key!("temperature", Restart, sampling.temperature, a => or_none(a.sampling.temperature)),
    key!("max_tokens", Restart, sampling.max_tokens, a => or_none(a.sampling.max_tokens)),
    key!("workspace", Restart, workspace),
    key!("system_prompt", Restart, system_prompt),
    key!("restart", Live, restart.mode, a => a.restart.mode.as_str().to_owned()),
    key!("backoff", Live, restart.backoff),
    key!("max_restarts", Live, restart.max_restarts, a => a.restart.max_restarts.to_string()),
    key!("window", Live, restart.window, a => time(a.restart.window)),
    key!("stable_after", Live, restart.stable_after, a => time(a.restart.stable_after)),
    key!("start_timeout", Live, timeouts.start, a => time(a.timeouts.start)),
    key!("heartbeat_interval", Restart, timeouts.heartbeat_interval, a => time(a.timeouts.heartbeat_interval)),
    key!("watchdog", Live, timeouts.watchdog, a => time(a.timeouts.watchdog)),
    key!("stop_grace", Live, timeouts.stop_grace, a => time(a.timeouts.stop_grace)),
    key!("drain_timeout", Live, timeouts.drain, a => time(a.timeouts.drain)),
    key!("queue_timeout", Live, timeouts.queue, a => or_none(a.timeouts.queue.map(time))),
    key!("first_token_timeout", Live, timeouts.first_token, a => or_none(a.timeouts.first_token.map(time))),
    key!("cancel_grace", Live, timeouts.cancel_grace, a => time(a.timeouts.cancel_grace)),
    key!("turn_timeout", Restart, timeouts.turn, a => time(a.timeouts.turn)),
    key!("tools", Restart, tools.enabled),
    key!("max_steps", Restart, tools.max_steps, a => a.tools.max_steps.to_string()),
    key!("tool_timeout", Restart, tools.timeout, a => time(a.tools.timeout)),
    key!("limits.memory", Live, limits.memory, a => cap(&a.limits, Cap::Memory)),
    key!("limits.memory_high", Live, limits.memory_high, a => cap(&a.limits, Cap::MemoryHigh)),
    key!("limits.cpu", Live, limits.cpu, a => cap(&a.limits, Cap::Cpu)),
    key!("limits.cpu_weight", Live, limits.cpu_weight, a => cap(&a.limits, Cap::CpuWeight)),
    key!("limits.pids", Live, limits.pids, a => cap(&a.limits, Cap::Pids)),
    key!("limits.open_files", Live, limits.open_files, a => cap(&a.limits, Cap::OpenFiles)),
    key!("limits.io_weight", Live, limits.io_weight, a => cap(&a.limits, Cap::IoWeight)),
    key!("enforcement", Restart, enforcement, a => a.enforcement.as_str().to_owned()),
    key!("user", Restart, user, a => or_none(a.user.as_ref())),
    key!("sandbox", Restart, sandbox),
    // An agent learns how many turns it may run at once when it starts, and takes no more. Fewer are a matter of
    // what is handed to it.
    Key {
        name: "max_concurrent",
        effect: |old, new| {
            if new.max_concurrent > old.max_concurrent {
                Effect::Restart
            } else {
                Effect::Live
            }
        },
        same: |a, b| a.max_concurrent == b.max_concurrent,
        copy: |from, to| to.max_concurrent = from.max_concurrent,
        show: |a| Some(a.max_concurrent.to_string()),
    },
    key!("max_queued", Live, max_queued, a => a.max_queued.to_string()),
    key!("poison_after", Live, poison_after, a => a.poison_after.to_string()),
    key!("class", Live, class, a => a.class.clone()),
    key!("queue.mode", Live, queue.mode, a => a.queue.mode.as_str().to_owned()),
    key!("queue.debounce", Live, queue.debounce, a => time(a.queue.debounce)),
    key!("queue.cap", Live, queue.cap, a => a.queue.cap.to_string()),
    key!("queue.drop", Live, queue.drop, a => a.queue.drop.as_str().to_owned()),
    key!("weight", Live, weight, a => a.weight.to_string()),
    key!("context", Restart, context),
    key!("log", Live, log),
    key!("budget.time_zone", Live, budget.zone, a => a.budget.zone.clone()),
    key!("budget.downgrade", Restart, budget.downgrade, a => or_none(a.budget.downgrade.as_ref())),
    key!("budget.hour", Live, budget.hour),
    key!("budget.day", Live, budget.day),
    key!("budget.month", Live, budget.month),
];

/// Those of the supervisor.
#[rustfmt::skip]
pub(super) const SUPERVISOR: &[Key<Supervisor>] = &[
    key!("state_dir", Fixed, state_dir),
    key!("runtime_dir", Supervisor, runtime_dir),
    key!("max_concurrent", Live, max_concurrent, s => s.max_concurrent.to_string()),
    key!("default_agent", Live, default_agent, s => or_none(s.default_agent.as_ref())),
    key!("orphan_grace", NextStart, orphan_grace, s => time(s.orphan_grace)),
    key!("stop_grace", Live, stop_grace, s => time(s.stop_grace)),
    key!("log_level", Supervisor, log_level, s => s.log_level.as_str().to_owned()),
    key!("log_format", Supervisor, log_format),
    key!("http", Supervisor, http),
    key!("containment", Supervisor, containment),
    key!("journal", Supervisor, journal),
    key!("prices", Live, prices),
    key!("otlp", Supervisor, otlp),
    key!("fleet.memory", Live, fleet.limits.memory, s => cap(&s.fleet.limits, Cap::Memory)),
    key!("fleet.cpu", Live, fleet.limits.cpu, s => cap(&s.fleet.limits, Cap::Cpu)),
    key!("fleet.cpu_weight", Live, fleet.limits.cpu_weight, s => cap(&s.fleet.limits, Cap::CpuWeight)),
    key!("fleet.pids", Live, fleet.limits.pids, s => cap(&s.fleet.limits, Cap::Pids)),
    key!("fleet.overcommit", Live, fleet.overcommit, s => s.fleet.overcommit.to_string()),
];

/// Those of a class.
#[rustfmt::skip]
#[expect(clippy::float_cmp, reason = "whether it is written otherwise, by however little")]
pub(super) const CLASS: &[Key<Class>] = &[
    key!("weight", Live, weight, c => c.weight.to_string()),
    key!("min_share", Live, min_share, c => c.min_share.to_string()),
    key!("max_share", Live, max_share, c => c.max_share.map_or_else(|| "default".to_owned(), |share| share.to_string())),
];

/// The names of the keys in which two versions of a channel differ. All of them take a new connection.
pub(super) fn of_channel(old: &Channel, new: &Channel) -> Vec<&'static str> {
    let mut keys = Vec::new();
    let mut compare = |name, same: bool| {
        if !same {
            keys.push(name);
        }
    };
    compare("allow_from", old.allow_from == new.allow_from);
    match (&old.kind, &new.kind) {
        (ChannelKind::Telegram(old), ChannelKind::Telegram(new)) => {
            compare("token", old.token == new.token);
            compare("api_url", old.api_url == new.api_url);
            compare("poll_timeout", old.poll_timeout == new.poll_timeout);
        }
        (ChannelKind::Irc(old), ChannelKind::Irc(new)) => {
            compare("server", old.server == new.server);
            compare("port", old.port == new.port);
            compare("tls", old.tls == new.tls);
            compare("nick", old.nick == new.nick);
            compare("password", old.password == new.password);
            compare("sasl", old.sasl == new.sasl);
            compare("channels", old.channels == new.channels);
        }
        _ => compare("kind", false),
    }
    keys
}

/// The names of the keys in which two versions of a schedule differ. All of them change live.
pub(super) fn of_schedule(old: &Schedule, new: &Schedule) -> Vec<&'static str> {
    // Does not compile when there is a field that is not thought of here.
    let Schedule {
        id: _,
        enabled,
        timetable,
        catch_up,
        jitter,
        agent,
        session,
        class,
        prompt,
        tell,
    } = old;
    let mut keys = match (timetable, &new.timetable) {
        (Timetable::Cron(old), Timetable::Cron(new)) => {
            let same = [
                ("cron", old.expression() == new.expression()),
                ("zone", old.zone() == new.zone()),
            ];
            let differ = same.into_iter().filter(|(_, same)| !same);
            differ.map(|(name, _)| name).collect()
        }
        (Timetable::Every(old), Timetable::Every(new)) if old == new => Vec::new(),
        (_, Timetable::Every(_)) => vec!["every"],
        (_, Timetable::Cron(_)) => vec!["cron"],
    };
    let mut compare = |name, same: bool| {
        if !same {
            keys.push(name);
        }
    };
    compare("enabled", *enabled == new.enabled);
    compare("catch_up", *catch_up == new.catch_up);
    compare("jitter", *jitter == new.jitter);
    compare("agent", *agent == new.agent);
    compare("session", *session == new.session);
    compare("class", *class == new.class);
    compare("prompt", *prompt == new.prompt);
    compare("tell", *tell == new.tell);
    keys
}

fn time(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

fn cap(limits: &Limits, cap: Cap) -> String {
    or_none(limits.get(cap))
}

fn or_none(value: Option<impl std::fmt::Display>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

/// Does not compile when one of the structs has a field that is not thought of here.
#[expect(dead_code, reason = "the compiler is the one that reads it")]
fn nothing_is_missing(agent: &AgentConfig, supervisor: &Supervisor, class: &Class) {
    let Class {
        weight: _,
        min_share: _,
        max_share: _,
    } = class;
    let AgentConfig {
        // What it is known by.
        id: _,
        enabled: _,
        autostart: _,
        model: _,
        sampling:
            crate::config::Sampling {
                temperature: _,
                max_tokens: _,
            },
        workspace: _,
        system_prompt: _,
        restart:
            crate::config::RestartPolicy {
                mode: _,
                backoff: _,
                max_restarts: _,
                window: _,
                stable_after: _,
            },
        timeouts:
            crate::config::Timeouts {
                start: _,
                heartbeat_interval: _,
                watchdog: _,
                stop_grace: _,
                drain: _,
                turn: _,
                queue: _,
                first_token: _,
                cancel_grace: _,
            },
        tools:
            crate::config::Tools {
                enabled: _,
                max_steps: _,
                timeout: _,
            },
        limits:
            Limits {
                memory: _,
                memory_high: _,
                cpu: _,
                cpu_weight: _,
                pids: _,
                open_files: _,
                io_weight: _,
            },
        enforcement: _,
        user: _,
        sandbox: _,
        max_concurrent: _,
        max_queued: _,
        poison_after: _,
        class: _,
        queue:
            crate::dispatch::gather::Queueing {
                mode: _,
                debounce: _,
                cap: _,
                drop: _,
            },
        weight: _,
        context: _,
        log: _,
        budget:
            crate::config::Budget {
                zone: _,
                downgrade: _,
                hour: _,
                day: _,
                month: _,
            },
    } = agent;
    let Supervisor {
        state_dir: _,
        runtime_dir: _,
        max_concurrent: _,
        default_agent: _,
        orphan_grace: _,
        stop_grace: _,
        log_level: _,
        log_format: _,
        http: _,
        containment: _,
        journal: _,
        prices: _,
        otlp: _,
        fleet:
            crate::config::FleetLimits {
                limits: _,
                overcommit: _,
            },
    } = supervisor;
}
