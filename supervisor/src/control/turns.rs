//! The routes of turns that have ended: what each took, and why.

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use kennel_shared::ids::AgentId;

use super::{
    api::AppState,
    error::Failure,
    queue::unreadable,
    wire::{self, ErrorCode},
};
use crate::turns::{RunnableBy, Span, Step, TurnRecord, Waits, verdict::verdict};

/// Turns in one answer, unless the caller says.
const LIST: u32 = 100;

/// The most turns in one answer.
const LIST_MAX: u32 = 1000;

/// Turns that have ended, the last first.
#[utoipa::path(get, path = "/api/v1/turns", params(wire::TurnsQuery), responses(
    (status = 200, body = wire::TurnList), (status = 400, body = wire::ErrorBody)))]
pub(super) async fn turns(
    State(app): AppState,
    query: Result<Query<wire::TurnsQuery>, QueryRejection>,
) -> Result<Json<wire::TurnList>, Failure> {
    let Query(query) = query?;
    let agent = query.agent.as_deref().map(str::parse::<AgentId>);
    let agent = agent.transpose();
    let agent = agent
        .map_err(|error| Failure::new(ErrorCode::InvalidRequest, format!("`agent`: {error}")))?;
    let limit = match query.limit {
        0 => LIST,
        limit => limit.min(LIST_MAX),
    };
    let read = app
        .journal
        .read(move |reader| reader.turns(agent.as_ref(), query.before, limit));
    let found = read.await.map_err(|error| unreadable(&error))?;
    let full = found.len() == limit as usize;
    Ok(Json(wire::TurnList {
        next: found.last().filter(|_| full).map(|(_, number)| *number),
        turns: found.iter().map(|(turn, _)| summary(turn)).collect(),
    }))
}

/// What one turn took, by its id, its delivery's, or the beginning of either.
#[utoipa::path(get, path = "/api/v1/turns/{turn_id}", params(("turn_id" = String, Path)), responses(
    (status = 200, body = wire::TurnDetail), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn turn(
    State(app): AppState,
    Path(id): Path<String>,
) -> Result<Json<wire::TurnDetail>, Failure> {
    let none = |why: &str| {
        Failure::new(ErrorCode::TurnNotFound, format!("{why} `{id}`"))
            .hint("`kennel turns` lists those that are kept; one that runs is in `kennel queue`")
    };
    // Ids are kept without the dashes that some write.
    let beginning = id.to_ascii_lowercase().replace('-', "");
    if beginning.is_empty() || !beginning.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(none("no turn that has ended has an id that begins with"));
    }
    let read = app
        .journal
        .read(move |reader| reader.find_turns(&beginning));
    let found = read.await.map_err(|error| unreadable(&error))?;
    match &found[..] {
        [] => Err(none("no turn that has ended has an id that begins with")),
        [only] => Ok(Json(detail(only))),
        // Of one message the last.
        [last, other, ..] if last.delivery == other.delivery => Ok(Json(detail(last))),
        _ => Err(none("more than one turn has an id that begins with")),
    }
}

fn summary(turn: &TurnRecord) -> wire::TurnSummary {
    let verdict = verdict(turn);
    wire::TurnSummary {
        id: turn.turn.to_string(),
        delivery: turn.delivery.to_string(),
        agent: turn.session.agent_str().to_owned(),
        session: turn.session.to_string(),
        class: turn.class.clone(),
        model: turn.model.clone(),
        outcome: turn.outcome.as_str().to_owned(),
        ended_ms: turn.ended_ms.unsigned_abs(),
        total_us: turn.total_us(),
        queued_us: turn.queued_us(),
        provider_us: turn.took.provider_us,
        tools_us: turn.took.tools_us,
        cpu_us: turn.machine.cpu_us,
        runnable_us: turn.machine.runnable_us,
        cpu_shared: turn.machine.shared,
        input_tokens: turn.took.input_tokens,
        output_tokens: turn.took.output_tokens,
        cost_micros: turn.cost,
        bound: verdict.bound.as_str().to_owned(),
        verdict: verdict.text,
    }
}

pub(super) fn waits(waits: &Waits) -> wire::TurnWaits {
    wire::TurnWaits {
        session_us: waits.session_us,
        agent_us: waits.agent_us,
        class_us: waits.class_us,
        fleet_us: waits.fleet_us,
        held_us: waits.held_us,
        lost_us: 0,
    }
}

fn detail(turn: &TurnRecord) -> wire::TurnDetail {
    let (waits, took, machine) = (&turn.waits, &turn.took, &turn.machine);
    wire::TurnDetail {
        turn: summary(turn),
        generation: turn.generation.0,
        attempts: turn.attempts,
        waits: wire::TurnWaits {
            lost_us: turn.lost_us,
            ..self::waits(waits)
        },
        dispatch_us: turn.dispatch_us,
        run_us: turn.run_us,
        context_us: took.context_us,
        first_token_us: took.first_token_us,
        commit_us: took.commit_us,
        agent_us: took.total_us,
        event_loop_lag_us: took.lag_us.max(machine.lag_us),
        retries: took.retries,
        runnable_by: machine.runnable_by.map(|by| {
            match by {
                RunnableBy::Pressure => "pressure",
                RunnableBy::Threads => "threads",
            }
            .to_owned()
        }),
        throttled_us: machine.throttled_us,
        share: machine.share.map(|share| wire::TurnShare {
            cores: share.cores,
            cap_milli: share.cap_milli,
            weight: share.weight,
            of_weights: share.of_weights,
        }),
        steps: turn.spans.iter().map(step).collect(),
        steps_left_out: turn.spans_left_out,
    }
}

fn step(span: &Span) -> wire::TurnStep {
    let none = wire::TurnStep {
        tool: None,
        start_us: span.start_us,
        took_us: span.took_us,
        first_token_us: None,
        input_tokens: 0,
        output_tokens: 0,
        retries: 0,
    };
    match &span.step {
        Step::Tool { name } => wire::TurnStep {
            tool: Some(name.clone()),
            ..none
        },
        Step::Model {
            first_token_us,
            input_tokens,
            output_tokens,
            retries,
        } => wire::TurnStep {
            first_token_us: *first_token_us,
            input_tokens: *input_tokens,
            output_tokens: *output_tokens,
            retries: *retries,
            ..none
        },
    }
}
