//! The caps of an agent: shown, and changed while it runs.
//!
//! A change is refused as a whole: when it makes no sense, when it breaks the fleet's ceiling, when the host cannot
//! enforce it for an agent that runs under nothing less, or when the kernel does not take it. It holds until the
//! supervisor ends or reads its configuration again; the configuration is the business of who asks.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
};

use super::{
    App, Current,
    api::{AppState, find},
    error::Failure,
    wire::{self, ErrorCode},
};
use crate::{
    config::{AgentConfig, Amount, Enforcement, Limits},
    containment::{Cap, Caps, Unenforced},
    plan,
};

/// What an agent may use.
#[utoipa::path(get, path = "/api/v1/agents/{id}/limits", params(("id" = String, Path)), responses(
    (status = 200, body = wire::AgentLimits), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn limits(
    State(app): AppState,
    Path(id): Path<String>,
) -> Result<Json<wire::AgentLimits>, Failure> {
    let handle = find(&app, &id)?;
    let agent = configured(&app, &id);
    let caps = handle.observed.borrow().caps;
    Ok(Json(wire::AgentLimits {
        limits: view(&plan::limits(&caps)),
        unenforced: unenforced(&app, &asked(agent, &caps)),
        agent: id,
    }))
}

/// Changes what an agent may use, until the supervisor ends.
#[utoipa::path(patch, path = "/api/v1/agents/{id}/limits", params(("id" = String, Path)), request_body = wire::LimitsPatch, responses(
    (status = 200, body = wire::LimitsReply), (status = 400, body = wire::ErrorBody),
    (status = 404, body = wire::ErrorBody), (status = 409, body = wire::ErrorBody)))]
pub(super) async fn set_limits(
    State(current): State<Current>,
    Path(id): Path<String>,
    body: Result<Json<wire::LimitsPatch>, JsonRejection>,
) -> Result<Json<wire::LimitsReply>, Failure> {
    let Json(patch) = body?;
    let changes = changes(&patch);
    if changes.is_empty() {
        return Err(
            Failure::new(ErrorCode::InvalidRequest, "no cap is named").hint(format!(
                "the caps are {}",
                Cap::ALL.map(Cap::as_str).join(", ")
            )),
        );
    }
    let lock = Arc::clone(&current.app().limits_changing);
    let _alone = lock.lock().await;
    // Only now: the configuration may have been read again meanwhile.
    let app = current.app();
    let handle = find(&app, &id)?;
    let agent = configured(&app, &id);
    let before = plan::limits(&handle.observed.borrow().caps);
    let mut wanted = before;
    for (cap, amount) in &changes {
        wanted.set(*cap, *amount);
    }
    if let Some(fault) = wanted.fault() {
        return Err(Failure::new(ErrorCode::InvalidRequest, fault)
            .hint(format!("`kennel set {id}` shows the caps that it has")));
    }
    check_fleet(&app, agent, &before, &wanted)?;
    if agent.enforcement == Enforcement::Strict {
        check_host(&app, &changes)?;
    }
    let caps = plan::caps(&wanted).0;
    let applied = handle
        .set_caps(caps)
        .await
        .map_err(|error| Failure::new(ErrorCode::Denied, error))?;
    let named = |(cap, amount): &(Cap, Option<Amount>)| match amount {
        Some(amount) => format!("{cap}={amount}"),
        None => format!("{cap}=none"),
    };
    let detail = changes.iter().map(named).collect::<Vec<_>>().join(" ");
    app.audit("set", Some(&handle.agent), detail);
    Ok(Json(wire::LimitsReply {
        before: view(&before),
        limits: view(&plan::limits(&caps)),
        live: applied.live,
        unenforced: unenforced(&app, &asked(agent, &caps)),
        agent: id,
    }))
}

fn configured<'a>(app: &'a App, id: &str) -> &'a AgentConfig {
    let agent = app.config.agent(id);
    agent.expect("an agent that runs is configured")
}

/// Refuses what raises a sum above the fleet's ceiling. What lowers it is welcome, however high it still is.
fn check_fleet(
    app: &App,
    agent: &AgentConfig,
    before: &Limits,
    wanted: &Limits,
) -> Result<(), Failure> {
    let all: Vec<(&str, Limits)> = app
        .agents
        .iter()
        .map(|(id, handle)| {
            let caps = handle.observed.borrow().caps;
            let limits = if id.as_str() == agent.id.as_str() {
                *wanted
            } else {
                plan::limits(&caps)
            };
            let config = configured(app, id);
            (id.as_str(), without_default_pids(limits, config))
        })
        .collect();
    let counted = |limits: &Limits| without_default_pids(*limits, agent);
    let (before, wanted) = (counted(before), counted(wanted));
    for excess in app.config.supervisor.fleet.excess(all.into_iter()) {
        let raised = match excess.cap {
            Cap::Memory => wanted.memory > before.memory,
            _ => wanted.pids > before.pids,
        };
        if raised {
            return Err(Failure::new(ErrorCode::Denied, excess.to_string()).hint(excess.advice()));
        }
    }
    Ok(())
}

/// The default of `pids` counts against no ceiling, as at load.
fn without_default_pids(mut limits: Limits, agent: &AgentConfig) -> Limits {
    if agent.limits.pids.is_none() && limits.pids == Some(plan::DEFAULT_PIDS) {
        limits.pids = None;
    }
    limits
}

/// Refuses caps that this host cannot enforce.
fn check_host(app: &App, changes: &[(Cap, Option<Amount>)]) -> Result<(), Failure> {
    let mut new = Limits::default();
    for (cap, amount) in changes {
        new.set(*cap, *amount);
    }
    let (caps, requested) = plan::caps(&new);
    let cannot = app.containment.unenforced(&caps);
    match cannot.iter().find(|one| requested.contains(&one.cap)) {
        None => Ok(()),
        Some(Unenforced { cap, why, remedy }) => Err(Failure::new(
            ErrorCode::Denied,
            format!("`{cap}` cannot be enforced here: {why}"),
        )
        .hint(format!(
            "{remedy}; or set `enforcement = \"best-effort\"` for the agent, to run without it"
        ))),
    }
}

/// The caps without the defaults, which nobody asked for.
pub(super) fn asked(agent: &AgentConfig, caps: &Caps) -> Caps {
    let limits = without_default_pids(plan::limits(caps), agent);
    Caps {
        pids: limits.pids,
        ..*caps
    }
}

fn unenforced(app: &App, caps: &Caps) -> Vec<wire::UnenforcedCap> {
    let cannot = app.containment.unenforced(caps);
    cannot.iter().map(view_unenforced).collect()
}

pub(super) fn view_unenforced(one: &Unenforced) -> wire::UnenforcedCap {
    wire::UnenforcedCap {
        cap: one.cap.as_str().to_owned(),
        why: one.why.clone(),
        remedy: one.remedy.clone(),
    }
}

fn changes(patch: &wire::LimitsPatch) -> Vec<(Cap, Option<Amount>)> {
    let bytes = |bytes: Option<u64>| bytes.map(Amount::Bytes);
    let count = |count: Option<u32>| count.map(Amount::Count);
    [
        (Cap::Memory, patch.memory.map(bytes)),
        (Cap::MemoryHigh, patch.memory_high.map(bytes)),
        (Cap::Cpu, patch.cpu.map(|cpu| cpu.map(Amount::Cpus))),
        (Cap::CpuWeight, patch.cpu_weight.map(count)),
        (Cap::Pids, patch.pids.map(count)),
        (Cap::OpenFiles, patch.open_files.map(count)),
        (Cap::IoWeight, patch.io_weight.map(count)),
    ]
    .into_iter()
    .filter_map(|(cap, change)| Some((cap, change?)))
    .collect()
}

pub(super) fn view(limits: &Limits) -> wire::Limits {
    wire::Limits {
        memory: limits.memory,
        memory_high: limits.memory_high,
        cpu: limits.cpu,
        cpu_weight: limits.cpu_weight,
        pids: limits.pids,
        open_files: limits.open_files,
        io_weight: limits.io_weight,
    }
}
