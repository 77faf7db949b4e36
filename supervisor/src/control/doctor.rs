//! The routes of `kennel doctor`: what a running supervisor knows, put together with what the machine says.
//!
//! Nothing is judged here; see [`crate::doctor`].

pub(crate) mod report;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json,
    extract::{Path, State},
};

use super::{
    App,
    api::{AppState, leaving, no_agent},
    error::Failure,
    limits, wire,
};
use crate::{
    channel::{ChannelState, ChannelStatus},
    config::{AgentConfig, Config, Directories, Enforcement},
    containment::Caps,
    doctor::{
        facts::{
            Agent, Ask, Channel, Connection, Fleet, Group, Journal, LastEnd, Life, OneAgent, Stage,
            Supervisor, Usage,
        },
        look,
    },
    plan,
    supervision::{
        driver::Observed,
        lifecycle::{Desired, Exit, State as Lives},
    },
};

/// Whether all is well, and what to do where it is not.
#[utoipa::path(get, path = "/api/v1/doctor", responses((status = 200, body = wire::Doctor)))]
pub(super) async fn doctor(State(app): AppState) -> Result<Json<wire::Doctor>, Failure> {
    let journal = journal(&app).await;
    let facts = tokio::task::spawn_blocking(move || fleet(&app, journal)).await;
    let facts = facts.map_err(|_| leaving())?;
    Ok(Json(report::fleet(&facts)))
}

/// Whether one agent is well, and what to do where it is not.
#[utoipa::path(get, path = "/api/v1/agents/{id}/doctor", params(("id" = String, Path)), responses(
    (status = 200, body = wire::AgentDoctor), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn agent_doctor(
    State(app): AppState,
    Path(id): Path<String>,
) -> Result<Json<wire::AgentDoctor>, Failure> {
    let config = app.config.agent(&id).ok_or_else(|| no_agent(&app, &id))?;
    let facts = one(&app, config);
    let status = app.view_agent(&id).await;
    let status = status.ok_or_else(|| no_agent(&app, &id))?;
    let life = wire::AgentLife {
        state: status.state,
        desired: status.desired,
        pid: status.pid,
        generation: status.generation,
        uptime_ms: status.uptime_ms,
        restarts: status.restarts,
        last_end: status.last_end,
    };
    Ok(Json(report::agent(&facts, Some(life))))
}

async fn journal(app: &App) -> Journal {
    let health = app.journal.health().borrow().clone();
    // One that cannot be read says so itself.
    let counts = app.journal.read(crate::journal::Reader::counts).await;
    let counts = counts.unwrap_or_default();
    let refusing_for = health.refusing.as_ref().map(|refusing| {
        let since = UNIX_EPOCH + Duration::from_millis(refusing.since.unsigned_abs());
        since.elapsed().unwrap_or_default()
    });
    Journal {
        health,
        refusing_for,
        waiting: counts.iter().map(|count| count.queued).sum(),
        poison: counts.iter().map(|count| count.poison).sum(),
    }
}

/// Blocks.
fn fleet(app: &Arc<App>, journal: Journal) -> Fleet {
    let same = |loaded: &Config| means_the_same(app, loaded);
    let read = look::configuration(&app.config_path, &Directories::from_env(), Some(&same));
    let config = &app.config;
    let enabled = config.agents.values().filter(|agent| agent.enabled);
    Fleet {
        supervisor: supervisor(app),
        journal: Some(journal),
        backend: look::backend(&app.containment, Some(&app.config)),
        asks: asks(app),
        host: look::host(),
        places: look::places(&config.supervisor),
        program: look::program(&plan::agent_host()),
        config: read.file,
        secrets: read.secrets,
        agents: enabled.map(|agent| agent_of(app, agent)).collect(),
        disabled: config.agents.len() - app.agents.len(),
        channels: channels(app),
    }
}

fn supervisor(app: &App) -> Supervisor {
    Supervisor::Running {
        pid: std::process::id(),
        up: app.began.elapsed(),
    }
}

/// Whether a configuration is the one that runs. Caps that were changed live and saved since make no difference.
fn means_the_same(app: &App, loaded: &Config) -> bool {
    let mut loaded = loaded.clone();
    for agent in loaded.agents.values_mut() {
        let (running, handle) = (
            app.config.agent(agent.id.as_str()),
            app.agents.get(agent.id.as_str()),
        );
        if let (Some(running), Some(handle)) = (running, handle)
            && plan::caps(&agent.limits).0 == handle.observed.borrow().caps
        {
            agent.limits = running.limits;
        }
    }
    loaded == *app.config
}

/// What is asked of the host now: caps as they were changed since the start.
fn asks(app: &App) -> Vec<Ask> {
    let mut asks = look::asks(&app.config);
    for ask in &mut asks {
        let Some(id) = &ask.agent else { continue };
        if let (Some(agent), Some(handle)) = (app.config.agent(id), app.agents.get(id)) {
            ask.caps = limits::asked(agent, &handle.observed.borrow().caps).requested();
        }
    }
    asks
}

fn agent_of(app: &App, agent: &AgentConfig) -> Agent {
    let handle = app.agents.get(agent.id.as_str());
    Agent {
        id: agent.id.to_string(),
        strict: agent.enforcement == Enforcement::Strict,
        sandbox: agent.sandbox.enabled,
        life: handle.map(|handle| life(&handle.observed.borrow())),
    }
}

fn life(observed: &Observed) -> Life {
    Life {
        stage: stage(&observed.state),
        wanted: observed.desired == Desired::Running,
        generation: observed.generation.0,
        pid: observed.pid,
        up: observed.started_at.and_then(|at| at.elapsed().ok()),
        restarts: observed.restarts,
        linked: observed.linked,
        lag: observed.lag,
        detail: observed.detail.clone(),
        last_end: observed.last_end.as_ref().map(|last| LastEnd {
            ago: since(last.at),
            generation: last.generation.0,
            end: Arc::clone(&last.end),
        }),
        cage: observed.cage.to_vec(),
    }
}

/// A clock that was set back makes it now.
fn since(at: SystemTime) -> Duration {
    at.elapsed().unwrap_or_default()
}

fn stage(state: &Lives) -> Stage {
    match state {
        Lives::Stopped => Stage::Stopped,
        Lives::Starting { .. } => Stage::Starting,
        Lives::Ready { .. } => Stage::Ready,
        Lives::Draining { .. } | Lives::Stopping { .. } => Stage::Leaving,
        Lives::BackingOff { .. } => Stage::BackingOff,
        Lives::Exited(exit) => Stage::Exited {
            failed: *exit != Exit::Code(0),
        },
        Lives::Quarantined { .. } => Stage::Quarantined,
    }
}

fn channels(app: &App) -> Vec<Channel> {
    let accounts = app.accounts.all();
    let mut channels: Vec<_> = accounts
        .iter()
        .map(|account| channel(&account.status().borrow()))
        .collect();
    channels.sort_by(|a, b| a.id.cmp(&b.id));
    channels
}

fn channel(status: &ChannelStatus) -> Channel {
    Channel {
        id: status.id.to_string(),
        kind: status.kind.to_owned(),
        state: match status.state {
            ChannelState::Connecting => Connection::Connecting,
            ChannelState::Online => Connection::Online,
            ChannelState::BackingOff { .. } => Connection::BackingOff,
            ChannelState::Failed { .. } => Connection::Failed,
            ChannelState::Stopped => Connection::Stopped,
        },
        since: status.since.elapsed(),
        detail: status.detail.clone(),
    }
}

fn one(app: &App, config: &AgentConfig) -> OneAgent {
    let configured = plan::caps(&config.limits).0;
    let Some(handle) = app.agents.get(config.id.as_str()) else {
        return disabled(app, config, configured);
    };
    let observed = handle.observed.borrow().clone();
    let asked = limits::asked(config, &observed.caps);
    let placement = observed.pid.and_then(|pid| {
        app.containment
            .placement(&handle.agent, observed.generation, pid)
    });
    OneAgent {
        supervisor: supervisor(app),
        agent: agent_of(app, config),
        disabled: !config.enabled,
        backend: look::backend(&app.containment, Some(&app.config)),
        group: placement.map(|placement| Group {
            path: placement.path,
            strays: placement.strays,
        }),
        unenforced: app.containment.unenforced(&asked),
        asked,
        changed: observed.caps != configured,
        caps: observed.caps,
        usage: usage(app, handle, observed.pid),
    }
}

fn disabled(app: &App, config: &AgentConfig, caps: Caps) -> OneAgent {
    let asked = limits::asked(config, &caps);
    OneAgent {
        supervisor: supervisor(app),
        agent: agent_of(app, config),
        disabled: !config.enabled,
        backend: look::backend(&app.containment, Some(&app.config)),
        group: None,
        unenforced: app.containment.unenforced(&asked),
        asked,
        changed: false,
        caps,
        usage: Usage::default(),
    }
}

fn usage(app: &App, handle: &crate::supervision::driver::AgentHandle, pid: Option<i32>) -> Usage {
    let sample = app.sampler.latest();
    let life = sample
        .agents
        .get(&handle.agent)
        .and_then(|agent| agent.life);
    // The sampler may not have heard yet that another child runs.
    let Some(life) = life.filter(|life| pid == Some(life.pid)) else {
        return Usage::default();
    };
    Usage {
        memory: life.reading.memory,
        pids: life.reading.pids,
        pids_denied: life.reading.pids_denied,
        throttled: life.reading.throttled_us.map(Duration::from_micros),
    }
}
