//! From the configuration to what each part of the supervisor is told.
//!
//! The conversions live here so that neither side knows the other: `config` knows no lifecycle, the
//! lifecycle no TOML.

use std::{
    collections::BTreeMap,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use kennel_shared::{
    cage::{CageSpec, Network},
    envelope::PeerKind,
    ids::{AgentId, ChannelId},
    protocol::{
        AgentSpec, ContextSpec, EchoSpec, Endpoint, HttpSpec, ModelApi, ModelSpec,
        SYSTEM_PROMPT_MAX_BYTES, ToolsSpec,
    },
    secret::Secret,
};

use jiff::tz::TimeZone;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    channel::{
        AccountHandle, AccountOptions, AllowFrom, Inbound, irc, spawn_account_after, telegram,
    },
    config::{self, AgentConfig, Config, Limits, NetworkAccess, ProviderKind},
    containment::{BackendKind, Cap, Caps, Containment, ContainmentError},
    dispatch::{
        self,
        router::{Binding, Router},
    },
    journal,
    otlp::{self, Exporter, SpanSink},
    supervision::{
        backoff::{BackoffPolicy, IntensityPolicy},
        capture::Rotation,
        driver::SpecSource,
        lifecycle::{Policy, RestartPolicy},
    },
    turns::{Books, Budget, Window, budget},
};

/// How to keep an agent.
pub fn policy(agent: &AgentConfig) -> Policy {
    let (restart, timeouts) = (&agent.restart, &agent.timeouts);
    Policy {
        restart: match restart.mode {
            config::RestartMode::Always => RestartPolicy::Always,
            config::RestartMode::OnFailure => RestartPolicy::OnFailure,
            config::RestartMode::Never => RestartPolicy::Never,
        },
        backoff: BackoffPolicy {
            initial: restart.backoff.initial,
            max: restart.backoff.max,
            factor: restart.backoff.factor,
            jitter: restart.backoff.jitter,
        },
        intensity: IntensityPolicy {
            max_restarts: restart.max_restarts,
            window: restart.window,
        },
        stable_after: restart.stable_after,
        start_timeout: timeouts.start,
        watchdog: timeouts.watchdog,
        drain_timeout: timeouts.drain,
        stop_grace: timeouts.stop_grace,
    }
}

/// Where the journal is, and what it keeps.
pub fn journal(config: &Config) -> journal::Options {
    let supervisor = &config.supervisor;
    let keep = supervisor.journal;
    journal::Options {
        retention: journal::Retention {
            ended: keep.ended,
            poison: keep.poison,
            audit: keep.audit,
            turns: keep.turns,
            max_turns: keep.max_turns,
            max_bytes: keep.max_size,
        },
        fail_points: journal::failpoint::FailPoints::from_env(),
        ..journal::Options::new(supervisor.state_dir.join(journal::FILE))
    }
}

/// The way to a collector of OpenTelemetry, if the configuration names one. Reads secrets.
pub fn spans(config: &Config) -> Result<Option<(SpanSink, Exporter)>, config::SecretError> {
    let Some(otlp) = &config.supervisor.otlp else {
        return Ok(None);
    };
    let mut headers = Vec::new();
    for (name, secret) in &otlp.headers {
        headers.push((name.clone(), secret.resolve(&config.base_dir)?));
    }
    Ok(Some(otlp::prepare(&otlp.endpoint, headers)))
}

/// What an agent may spend; `None` where nothing limits it.
pub fn budget(agent: &AgentConfig) -> Option<Budget> {
    let own = &agent.budget;
    let limits = [own.hour, own.day, own.month];
    if limits
        .iter()
        .all(|limits| *limits == budget::Limits::default())
    {
        return None;
    }
    Some(Budget {
        // The configuration checks names; the system may have lost one since.
        zone: TimeZone::get(&own.zone).unwrap_or(TimeZone::UTC),
        limits,
        downgrades: own.downgrade.is_some(),
    })
}

/// What an agent has spent of it, as the journal says. Reads from the disk.
pub fn books(
    reader: &journal::Reader,
    agent: &AgentId,
    budget: &Budget,
    now_ms: i64,
) -> Result<Books, journal::ReadError> {
    let mut spent = [budget::Spent::default(); 3];
    for (spent, window) in spent.iter_mut().zip(Window::ALL) {
        let found = reader.spent_since(agent, window.around(now_ms, &budget.zone).begins_ms)?;
        *spent = budget::Spent {
            tokens: found.input_tokens.saturating_add(found.output_tokens),
            cost: found.cost,
        };
    }
    Ok(Books::of(budget, now_ms, spent))
}

/// How an agent's messages are handed out.
pub fn lane_limits(agent: &AgentConfig) -> dispatch::Limits {
    dispatch::Limits {
        max_concurrent: agent.max_concurrent as usize,
        max_waiting: agent.max_queued as usize,
        poison_after: agent.poison_after,
        class: agent.class.clone(),
        weight: agent.weight,
        time: Some(dispatch::TimeLimits {
            queue: agent.timeouts.queue,
            first_token: agent.timeouts.first_token,
            turn: agent.timeouts.turn,
            cancel_grace: agent.timeouts.cancel_grace,
        }),
    }
}

/// How much of the fleet each class has.
pub fn classes(config: &Config) -> BTreeMap<String, dispatch::lanes::Shares> {
    let classes = config.classes.iter();
    classes
        .map(|(name, class)| (name.clone(), class.shares(name)))
        .collect()
}

/// The class of each schedule that names one.
pub fn schedule_classes(config: &Config) -> dispatch::ScheduleClasses {
    let schedules = config.schedules.iter();
    schedules
        .filter_map(|(id, schedule)| Some((id.clone(), schedule.class.clone()?)))
        .collect()
}

/// How an agent's log is kept.
pub fn rotation(agent: &AgentConfig) -> Rotation {
    Rotation {
        max_bytes: agent.log.max_size,
        keep: agent.log.keep,
    }
}

/// Processes and threads of an agent whose configuration names no number: no agent may take those of the host.
pub const DEFAULT_PIDS: u32 = 512;

/// What an agent is held to, and which of it was asked for: only a cap that was asked for is a reason to refuse an
/// agent where it cannot be enforced.
pub fn caps(limits: &Limits) -> (Caps, Vec<Cap>) {
    let asked = Caps {
        memory: limits.memory,
        memory_high: limits.memory_high,
        cpu: limits.cpu,
        cpu_weight: limits.cpu_weight,
        pids: limits.pids,
        open_files: limits.open_files,
        io_weight: limits.io_weight,
    };
    let requested = asked.requested();
    let caps = Caps {
        pids: asked.pids.or(Some(DEFAULT_PIDS)),
        ..asked
    };
    (caps, requested)
}

/// The way back: caps that are in force, as limits. The default of `pids` is among them.
pub fn limits(caps: &Caps) -> Limits {
    Limits {
        memory: caps.memory,
        memory_high: caps.memory_high,
        cpu: caps.cpu,
        cpu_weight: caps.cpu_weight,
        pids: caps.pids,
        open_files: caps.open_files,
        io_weight: caps.io_weight,
    }
}

/// The caps that are in force for an agent that is configured with `configured`, as a configuration would have them:
/// what nobody asked for is not among them.
pub fn limits_in_force(configured: &Limits, caps: &Caps) -> Limits {
    let in_force = limits(caps);
    let is_default = configured.pids.is_none() && in_force.pids == Some(DEFAULT_PIDS);
    Limits {
        pids: in_force.pids.filter(|_| !is_default),
        ..in_force
    }
}

/// The means to hold agents, as the configuration names them; nothing is made yet.
pub fn containment(config: &Config) -> Result<Containment, ContainmentError> {
    match config.supervisor.containment {
        config::Backend::Auto => Ok(Containment::probe()),
        config::Backend::CgroupV2 => Containment::with(BackendKind::V2Delegated)
            .or_else(|_| Containment::with(BackendKind::V2Root)),
        config::Backend::Hybrid => Containment::with(BackendKind::Hybrid),
        config::Backend::CgroupV1 => Containment::with(BackendKind::V1),
        config::Backend::BestEffort => Containment::with(BackendKind::BestEffort),
    }
}

/// What all agents together are held to. Nothing is capped that the configuration does not name.
pub fn fleet_caps(config: &Config) -> Caps {
    let limits = &config.supervisor.fleet.limits;
    Caps {
        memory: limits.memory,
        cpu: limits.cpu,
        cpu_weight: limits.cpu_weight,
        pids: limits.pids,
        ..Caps::default()
    }
}

/// How an agent is closed in. The system is asked for its user, every time: so a user that is gone is seen.
pub fn cage(config: &Config, agent: &AgentConfig) -> Result<CageSpec, String> {
    let user = agent.user.as_ref().map(config::UserRef::resolve);
    let user = user.transpose().map_err(|error| error.to_string())?;
    // Also under best effort: an agent that is to be somebody else never runs as its supervisor.
    if let Some(ids) = &user {
        let own = nix::unistd::geteuid();
        if !own.is_root() && own.as_raw() != ids.uid {
            return Err(format!(
                "it shall run as user {}, which only a supervisor of root can do: run the supervisor as root, or \
                 remove `user`",
                ids.uid
            ));
        }
    }
    let provider = config
        .provider_of(agent)
        .expect("the configuration checks references");
    let sandbox = &agent.sandbox;
    Ok(CageSpec {
        strict: agent.enforcement == config::Enforcement::Strict,
        // The spawner knows which.
        group: None,
        user,
        sandbox: sandbox.enabled,
        read: sandbox.read.clone(),
        write: sandbox.write.clone(),
        network: network(
            &sandbox.network,
            [Some(provider), config.cheaper_provider_of(agent)]
                .into_iter()
                .flatten()
                .filter_map(|provider| provider_port(&provider.kind)),
        ),
        hidden: vec![
            config.base_dir.clone(),
            config.supervisor.state_dir.clone(),
            config.supervisor.runtime_dir.clone(),
        ],
        workspace: agent.workspace.clone(),
        // Only what holds it knows whether it needs one.
        pid_namespace: false,
    })
}

/// An agent that cannot reach its model is of no use, so its provider's port is always open.
fn network(access: &NetworkAccess, providers: impl Iterator<Item = u16>) -> Network {
    let mut ports = match access {
        NetworkAccess::Open => return Network::Open,
        NetworkAccess::Closed => Vec::new(),
        NetworkAccess::Ports(ports) => ports.clone(),
    };
    ports.extend(providers);
    ports.sort_unstable();
    ports.dedup();
    if ports.is_empty() {
        Network::Closed
    } else {
        Network::Ports(ports)
    }
}

/// The TCP port of a provider, if it is behind one.
fn provider_port(provider: &ProviderKind) -> Option<u16> {
    let ProviderKind::Remote(remote) = provider else {
        return None;
    };
    // As the agent-host has it, which names these vendors by https, and this one on this machine.
    let vendor = match remote.api {
        config::ModelApi::Ollama => 11434,
        config::ModelApi::OpenAi | config::ModelApi::Anthropic | config::ModelApi::Gemini => 443,
    };
    let Some(url) = &remote.base_url else {
        return Some(vendor);
    };
    let uri: hyper::Uri = url.parse().expect("the configuration checks addresses");
    let plain = uri.scheme_str() == Some("http");
    Some(uri.port_u16().unwrap_or(if plain { 80 } else { 443 }))
}

/// What an agent is told to be, made anew at every start: secrets and prompt files are read then.
pub fn spec_source(config: &Arc<Config>, agent: &AgentConfig) -> SpecSource {
    let (config, agent) = (Arc::clone(config), agent.clone());
    Arc::new(move || spec(&config, &agent))
}

fn spec(config: &Config, agent: &AgentConfig) -> Result<AgentSpec, String> {
    let system_prompt = agent
        .system_prompt
        .as_ref()
        .map(config::SystemPrompt::load)
        .transpose();
    let system_prompt =
        system_prompt.map_err(|error| format!("the system prompt cannot be read: {error}"))?;
    if system_prompt
        .as_ref()
        .is_some_and(|prompt| prompt.len() > SYSTEM_PROMPT_MAX_BYTES)
    {
        return Err(format!(
            "the system prompt is longer than {SYSTEM_PROMPT_MAX_BYTES} bytes"
        ));
    }
    let provider = config
        .provider_of(agent)
        .expect("the configuration checks references");
    let cheaper = config.cheaper_provider_of(agent);
    let cheaper = cheaper.zip(agent.budget.downgrade.as_ref());
    let cheaper = cheaper
        .map(|(provider, named)| model(config, agent, provider, &named.model))
        .transpose()?;
    Ok(AgentSpec {
        model: model(config, agent, provider, &agent.model.model)?,
        cheaper,
        system_prompt,
        context: ContextSpec {
            max_messages: agent.context.max_messages,
            max_bytes: u32::try_from(agent.context.max_bytes).unwrap_or(u32::MAX),
        },
        max_concurrent: u16::try_from(agent.max_concurrent).unwrap_or(u16::MAX),
        turn_timeout_ms: millis(agent.timeouts.turn),
        workspace: agent.workspace.clone(),
        heartbeat_interval_ms: millis(agent.timeouts.heartbeat_interval),
        tools: ToolsSpec {
            enabled: agent.tools.enabled.clone(),
            max_steps: agent.tools.max_steps,
            timeout_ms: millis(agent.tools.timeout),
        },
    })
}

/// A model of an agent, and how to reach it. Reads a secret.
fn model(
    config: &Config,
    agent: &AgentConfig,
    provider: &config::Provider,
    name: &str,
) -> Result<ModelSpec, String> {
    let endpoint = match &provider.kind {
        ProviderKind::Echo(echo) => Endpoint::Echo(EchoSpec {
            delay_ms: millis(echo.delay),
            chunks: echo.chunks,
            chunk_delay_ms: millis(echo.chunk_delay),
        }),
        ProviderKind::Remote(remote) => {
            let key = remote
                .api_key
                .as_ref()
                .map(|key| key.resolve(&config.base_dir))
                .transpose();
            let key = key.map_err(|error| {
                format!(
                    "the api_key of provider `{}` cannot be read: {}",
                    provider.id,
                    crate::error_chain(&error)
                )
            })?;
            Endpoint::Http(HttpSpec {
                api: match remote.api {
                    config::ModelApi::OpenAi => ModelApi::OpenAi,
                    config::ModelApi::Anthropic => ModelApi::Anthropic,
                    config::ModelApi::Gemini => ModelApi::Gemini,
                    config::ModelApi::Ollama => ModelApi::Ollama,
                },
                base_url: remote.base_url.clone(),
                api_key: key.map(Secret::from),
                request_timeout_ms: millis(remote.request_timeout),
                first_byte_timeout_ms: millis(remote.first_byte_timeout),
                idle_timeout_ms: millis(remote.idle_timeout),
                max_retries: remote.max_retries,
            })
        }
    };
    Ok(ModelSpec {
        provider: provider.id.to_string(),
        model: name.to_owned(),
        temperature_milli: agent.sampling.temperature.map(milli),
        max_tokens: agent.sampling.max_tokens,
        endpoint,
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be 0 to 2"
)]
fn milli(number: f64) -> u32 {
    (number * 1000.0).round() as u32
}

/// Who answers where.
pub fn router(config: &Config) -> Router {
    let bindings = config.bindings.iter().map(|binding| Binding {
        channel: binding.channel.clone(),
        peer: binding.peer.clone(),
        kind: binding.kind.map(|kind| match kind {
            config::PeerKind::Direct => PeerKind::Direct,
            config::PeerKind::Group => PeerKind::Group,
        }),
        agent: binding.agent.clone(),
    });
    let agents = config.agents.values();
    let channels = config.channels.values();
    Router::new(bindings, config.supervisor.default_agent.clone()).with_queueing(
        agents.map(|agent| (agent.id.clone(), agent.queue)),
        channels.map(|channel| (channel.id.clone(), channel.queue)),
    )
}

/// Where the agent-host binary is: `KENNEL_AGENT_HOST`, else beside this one, else on the path.
pub fn agent_host() -> PathBuf {
    const NAME: &str = "kennel-agent-host";
    if let Some(path) = std::env::var_os("KENNEL_AGENT_HOST") {
        return path.into();
    }
    let beside = std::env::current_exe()
        .ok()
        .map(|exe| exe.with_file_name(NAME));
    beside
        .filter(|path| path.is_file())
        .unwrap_or_else(|| NAME.into())
}

/// An account that is ready to be started: its secrets are read.
pub struct PreparedAccount {
    id: ChannelId,
    settings: AccountSettings,
}

enum AccountSettings {
    Telegram(telegram::Settings),
    Irc(irc::Settings),
}

impl PreparedAccount {
    /// Starts it; it connects once `before` is over.
    pub fn start(
        self,
        inbound: &mpsc::Sender<Inbound>,
        options: AccountOptions,
        before: impl Future<Output = ()> + Send + 'static,
    ) -> (AccountHandle, JoinHandle<()>) {
        let (id, inbound) = (self.id, inbound.clone());
        match self.settings {
            AccountSettings::Telegram(settings) => {
                let platform = telegram::Telegram::new(settings);
                spawn_account_after(id, platform, inbound, options, before)
            }
            AccountSettings::Irc(settings) => {
                let platform = irc::Irc::new(settings);
                spawn_account_after(id, platform, inbound, options, before)
            }
        }
    }
}

/// Makes the account of a channel ready; its secrets are read now, which may block.
pub fn account(config: &Config, channel: &config::Channel) -> Result<PreparedAccount, String> {
    let secret = |secret: &config::SecretRef| {
        let resolved = secret.resolve(&config.base_dir);
        resolved.map_err(|error| crate::error_chain(&error))
    };
    let allow_from = match &channel.allow_from {
        config::AllowFrom::Anyone => AllowFrom::Anyone,
        config::AllowFrom::Listed(senders) => AllowFrom::listed(senders.iter().cloned()),
    };
    let settings = match &channel.kind {
        config::ChannelKind::Telegram(settings) => AccountSettings::Telegram(telegram::Settings {
            api_url: settings.api_url.clone(),
            poll_timeout: settings.poll_timeout,
            allow_from,
            ..telegram::Settings::new(secret(&settings.token)?)
        }),
        config::ChannelKind::Irc(settings) => {
            let sasl = settings.sasl.as_ref().map(|sasl| {
                let password = secret(&sasl.password)?;
                let account = sasl.account.clone();
                Ok::<_, String>(irc::Sasl { account, password })
            });
            AccountSettings::Irc(irc::Settings {
                tls: match &settings.tls {
                    config::Tls::Off => irc::Tls::Off,
                    config::Tls::On { ca } => irc::Tls::On { ca: ca.clone() },
                },
                password: settings.password.as_ref().map(secret).transpose()?,
                sasl: sasl.transpose()?,
                rooms: settings.channels.clone(),
                allow_from,
                ..irc::Settings::new(&settings.server, settings.port, &settings.nick)
            })
        }
    };
    Ok(PreparedAccount {
        id: channel.id.clone(),
        settings,
    })
}

/// The name under which a supervisor's groups are found again: that of its state directory.
pub fn instance(state_dir: &Path) -> String {
    let path = state_dir
        .canonicalize()
        .unwrap_or_else(|_| state_dir.to_owned());
    // FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/): it must not change between versions, and
    // need not withstand anybody.
    let hash = path
        .as_os_str()
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{:08x}", hash >> 32)
}

#[cfg(test)]
mod tests;
