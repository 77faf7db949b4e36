//! The route that has the configuration read again.
//!
//! The supervisor's main task does it; this waits for the agents, beside it, so that one that takes its time over its
//! turns holds up no other request.

use std::time::Duration;

use axum::{Json, body::Bytes, extract::State};
use tokio::time::{Instant, timeout_at};

use super::{
    api::{ACTION_TIMEOUT_MAX, AppState, leaving, settled},
    error::Failure,
    wire::{self, ErrorCode},
};
use crate::{
    config::{Diagnostics, Severity, Style},
    reload::{AgentStep, ChannelChange, Done, Effect, Goal, KeyChange, Outcome, Plan, Underway},
    supervision::lifecycle::{Event, State as Life},
};

/// Reads the configuration again, and changes what differs.
#[utoipa::path(post, path = "/api/v1/reload", request_body = wire::ReloadRequest, responses(
    (status = 200, body = wire::ReloadReply), (status = 400, body = wire::ErrorBody), (status = 503, body = wire::ErrorBody)))]
pub(super) async fn reload(
    State(app): AppState,
    body: Bytes,
) -> Result<Json<wire::ReloadReply>, Failure> {
    let request = if body.is_empty() {
        wire::ReloadRequest::default()
    } else {
        serde_json::from_slice(&body)
            .map_err(|error| Failure::new(ErrorCode::InvalidRequest, error.to_string()))?
    };
    let outcome = app.reloads.ask(request.dry_run).await;
    let outcome = outcome.ok_or_else(leaving)?;
    if !request.dry_run {
        let detail = match &outcome {
            Ok(done) => done.plan.summary(),
            Err(found) => format!("refused: {}", found.summary()),
        };
        app.audit("reload", None, detail);
    }
    // What is waited for may take its time, and what there was need not be kept for it.
    drop(app);
    let mut reply = view(&outcome, request.dry_run);
    if let Ok(done) = outcome
        && request.wait
    {
        let limit = request.timeout_ms.map(Duration::from_millis);
        let limit = limit.unwrap_or(ACTION_TIMEOUT_MAX).min(ACTION_TIMEOUT_MAX);
        let until = Instant::now() + limit;
        let waits = done.underway.into_iter().map(|one| arrive(one, until));
        let late = futures::future::join_all(waits).await;
        reply.troubles.extend(late.into_iter().flatten());
    }
    Ok(Json(reply))
}

/// Waits for one agent; tells what is wrong with where it has come to.
async fn arrive(underway: Underway, until: Instant) -> Option<String> {
    let Underway { handle, goal } = underway;
    let mut observed = handle.observed.clone();
    let arrived = observed.wait_for(|seen| match goal {
        Goal::Gone => seen.state == Life::Stopped && seen.pid.is_none(),
        Goal::Ready(after) => {
            settled(seen, Event::Restart, after)
                // An operator has said otherwise meanwhile.
                || (seen.state == Life::Stopped && seen.generation > after)
        }
    });
    let late = timeout_at(until, arrived).await.is_err();
    let id = &handle.agent;
    let seen = handle.observed.borrow();
    let state = seen.state.name();
    if late {
        return Some(format!(
            "`{id}` is still {state}; `kennel status` shows how it goes on"
        ));
    }
    let well =
        matches!(goal, Goal::Gone) || matches!(seen.state, Life::Ready { .. } | Life::Stopped);
    (!well).then(|| {
        let why = seen.detail.clone().unwrap_or_default();
        format!("`{id}` did not become ready: it is {state}: {why}")
    })
}

fn view(outcome: &Outcome, dry_run: bool) -> wire::ReloadReply {
    let (outcome, changes, found, troubles) = match outcome {
        Err(found) => (wire::ReloadOutcome::Refused, Vec::new(), found, Vec::new()),
        Ok(Done {
            plan,
            warnings,
            troubles,
            ..
        }) => {
            let outcome = match (plan.is_idle(), dry_run) {
                (true, _) => wire::ReloadOutcome::Unchanged,
                (false, true) => wire::ReloadOutcome::Planned,
                (false, false) => wire::ReloadOutcome::Applied,
            };
            (outcome, changes(plan), warnings, troubles.clone())
        }
    };
    wire::ReloadReply {
        outcome,
        changes,
        diagnostics: diagnostics(found),
        report: found.render(Style::Plain),
        troubles,
    }
}

fn diagnostics(found: &Diagnostics) -> Vec<wire::ReloadDiagnostic> {
    let reports = found.reports().into_iter();
    reports
        .map(|report| wire::ReloadDiagnostic {
            severity: match report.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            }
            .to_owned(),
            message: report.message,
            file: report.file,
            line: report.line,
            column: report.column,
            hint: report.hint,
        })
        .collect()
}

fn changes(plan: &Plan) -> Vec<wire::ReloadChange> {
    let agents = plan.agents.iter().map(|(id, change)| wire::ReloadChange {
        what: wire::ReloadSubject::Agent,
        id: Some(id.to_string()),
        step: match change.step {
            AgentStep::Add => wire::ReloadStep::Added,
            AgentStep::Remove => wire::ReloadStep::Removed,
            AgentStep::Restart => wire::ReloadStep::Restarted,
            AgentStep::Live => wire::ReloadStep::Changed,
            AgentStep::Note => wire::ReloadStep::Noted,
        },
        keys: change.keys.iter().map(key).collect(),
    });
    let channels = plan.channels.iter().map(|(id, change)| {
        let (step, keys) = match change {
            ChannelChange::Add(_) => (wire::ReloadStep::Added, &[][..]),
            ChannelChange::Remove => (wire::ReloadStep::Removed, &[][..]),
            ChannelChange::Restart { keys, .. } => (wire::ReloadStep::Restarted, &keys[..]),
        };
        let key = |name: &&str| wire::ReloadKey {
            name: (*name).to_owned(),
            effect: Effect::Restart.as_str().to_owned(),
            from: None,
            to: None,
        };
        wire::ReloadChange {
            what: wire::ReloadSubject::Channel,
            id: Some(id.to_string()),
            step,
            keys: keys.iter().map(key).collect(),
        }
    });
    let providers = plan
        .providers
        .iter()
        .map(|(id, provider)| wire::ReloadChange {
            what: wire::ReloadSubject::Provider,
            id: Some(id.to_string()),
            step: match provider {
                None => wire::ReloadStep::Removed,
                Some(_) => wire::ReloadStep::Changed,
            },
            keys: Vec::new(),
        });
    let classes = plan
        .classes
        .iter()
        .map(|(name, change)| wire::ReloadChange {
            what: wire::ReloadSubject::Class,
            id: Some(name.clone()),
            step: match (&change.to, change.keys.is_empty()) {
                (None, _) => wire::ReloadStep::Removed,
                (Some(_), true) => wire::ReloadStep::Added,
                (Some(_), false) => wire::ReloadStep::Changed,
            },
            keys: change.keys.iter().map(key).collect(),
        });
    let changed = |what, keys| wire::ReloadChange {
        what,
        id: None,
        step: wire::ReloadStep::Changed,
        keys,
    };
    let bindings = plan.bindings.iter();
    let bindings = bindings.map(|_| changed(wire::ReloadSubject::Bindings, Vec::new()));
    let supervisor = (!plan.supervisor.is_empty()).then(|| {
        let keys = plan.supervisor.iter().map(key).collect();
        changed(wire::ReloadSubject::Supervisor, keys)
    });
    agents
        .chain(channels)
        .chain(providers)
        .chain(classes)
        .chain(bindings)
        .chain(supervisor)
        .collect()
}

fn key(key: &KeyChange) -> wire::ReloadKey {
    wire::ReloadKey {
        name: key.name.clone(),
        effect: key.effect.as_str().to_owned(),
        from: key.from.clone(),
        to: key.to.clone(),
    }
}
