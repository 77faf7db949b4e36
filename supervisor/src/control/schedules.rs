//! The routes of schedules: how they stand, and what operators do with them.

use axum::{Json, extract::Path};

use super::{
    App,
    api::{AppState, leaving},
    error::Failure,
    queue::{delivery_state, unreadable},
    view::millis,
    wire::{self, ErrorCode},
};
use crate::{
    journal::{JournalError, reader::Scheduled},
    schedule::{CatchUp, Observed, Schedule, Timetable, keeper::NotDone},
};

/// Every schedule.
#[utoipa::path(get, path = "/api/v1/schedules", responses((status = 200, body = wire::ScheduleList)))]
pub(super) async fn schedules(state: AppState) -> Result<Json<wire::ScheduleList>, Failure> {
    let kept = state.journal.read(crate::journal::Reader::schedules).await;
    let kept = kept.map_err(|error| unreadable(&error))?;
    let observed = state.schedules.observed();
    let schedules = state.config.schedules.values();
    Ok(Json(wire::ScheduleList {
        schedules: schedules
            .map(|schedule| {
                let kept = kept.iter().find(|kept| kept.mark.schedule == schedule.id);
                view(schedule, kept, observed.get(&schedule.id))
            })
            .collect(),
    }))
}

/// Runs a schedule now, whatever the clock says, also one that is paused or disabled.
#[utoipa::path(post, path = "/api/v1/schedules/{name}/run", params(("name" = String, Path)), responses(
    (status = 200, body = wire::ScheduleReply), (status = 404, body = wire::ErrorBody), (status = 409, body = wire::ErrorBody),
    (status = 429, body = wire::ErrorBody), (status = 503, body = wire::ErrorBody)))]
pub(super) async fn run(
    state: AppState,
    Path(name): Path<String>,
) -> Result<Json<wire::ScheduleReply>, Failure> {
    let schedule = find(&state, &name)?;
    let done = state.schedules.run(&name).await;
    let delivery = done.map_err(|error| failure(&state, &name, error))?;
    let detail = format!("schedule `{name}` was run as {delivery}");
    state.audit("schedule-run", Some(&schedule.agent), detail);
    let observed = state.schedules.observed();
    Ok(Json(wire::ScheduleReply {
        agent: schedule.agent.to_string(),
        paused: observed.get(name.as_str()).is_some_and(|seen| seen.paused),
        name,
        already: false,
        id: Some(delivery.to_string()),
    }))
}

/// Has a schedule run by itself no more, also by later supervisors.
#[utoipa::path(post, path = "/api/v1/schedules/{name}/pause", params(("name" = String, Path)), responses(
    (status = 200, body = wire::ScheduleReply), (status = 404, body = wire::ErrorBody), (status = 503, body = wire::ErrorBody)))]
pub(super) async fn pause(
    state: AppState,
    name: Path<String>,
) -> Result<Json<wire::ScheduleReply>, Failure> {
    set_paused(&state, name, true).await
}

/// Has a schedule run by itself again. What was due while it was paused is not run.
#[utoipa::path(post, path = "/api/v1/schedules/{name}/resume", params(("name" = String, Path)), responses(
    (status = 200, body = wire::ScheduleReply), (status = 404, body = wire::ErrorBody), (status = 503, body = wire::ErrorBody)))]
pub(super) async fn resume(
    state: AppState,
    name: Path<String>,
) -> Result<Json<wire::ScheduleReply>, Failure> {
    set_paused(&state, name, false).await
}

async fn set_paused(
    app: &App,
    Path(name): Path<String>,
    paused: bool,
) -> Result<Json<wire::ScheduleReply>, Failure> {
    let agent = find(app, &name)?.agent.clone();
    let changed = app.schedules.pause(&name, paused).await;
    let changed = changed.map_err(|error| failure(app, &name, error))?;
    let (what, done) = if paused {
        ("schedule-pause", "paused")
    } else {
        ("schedule-resume", "resumed")
    };
    let already = if changed { "" } else { "; it was so already" };
    let detail = format!("schedule `{name}` was {done}{already}");
    app.audit(what, Some(&agent), detail);
    Ok(Json(wire::ScheduleReply {
        name,
        agent: agent.to_string(),
        paused,
        already: !changed,
        id: None,
    }))
}

fn find<'a>(app: &'a App, name: &str) -> Result<&'a Schedule, Failure> {
    let found = app.config.schedules.get(name);
    found.ok_or_else(|| unknown(app, name))
}

fn unknown(app: &App, name: &str) -> Failure {
    let known: Vec<String> = app
        .config
        .schedules
        .keys()
        .map(ToString::to_string)
        .collect();
    let nearest = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .min()
        .filter(|(distance, _)| *distance <= 2);
    let failure = Failure::new(
        ErrorCode::ScheduleNotFound,
        format!("there is no schedule `{name}`"),
    );
    match nearest {
        Some((_, nearest)) => failure.hint(format!("did you mean `{nearest}`?")),
        None => failure.hint("`kennel schedules` lists them"),
    }
}

fn failure(app: &App, name: &str, error: NotDone) -> Failure {
    match error {
        NotDone::Unknown => unknown(app, name),
        NotDone::Rejected(rejected) => rejected.into(),
        NotDone::Journal(error @ JournalError::Internal(_)) => {
            Failure::new(ErrorCode::Internal, error.to_string())
        }
        NotDone::Journal(JournalError::Closed) | NotDone::Leaving => leaving(),
        NotDone::Journal(error) => Failure::new(ErrorCode::Unavailable, error.to_string()),
    }
}

fn view(
    schedule: &Schedule,
    kept: Option<&Scheduled>,
    observed: Option<&Observed>,
) -> wire::Schedule {
    let (cron, zone, every) = match &schedule.timetable {
        Timetable::Cron(cron) => (
            Some(cron.expression().to_owned()),
            Some(cron.zone().to_owned()),
            None,
        ),
        Timetable::Every(every) => (None, None, Some(millis(*every))),
    };
    let mark = kept.map(|kept| &kept.mark);
    let next = observed.and_then(|seen| seen.next);
    let held = observed.and_then(|seen| seen.held.as_ref());
    let last = kept.and_then(|kept| Some((kept, kept.mark.last?)));
    wire::Schedule {
        name: schedule.id.to_string(),
        agent: schedule.agent.to_string(),
        session: schedule.session.to_string(),
        class: schedule.class.clone(),
        cron,
        zone,
        every_ms: every,
        catch_up: match schedule.catch_up {
            CatchUp::Skip => wire::CatchUp::Skip,
            CatchUp::Once => wire::CatchUp::Once,
            CatchUp::All => wire::CatchUp::All,
        },
        jitter_ms: millis(schedule.jitter),
        enabled: schedule.enabled,
        paused: mark.is_some_and(|mark| mark.paused),
        tell: schedule.tell.as_ref().map(|tell| wire::ScheduleTell {
            channel: tell.channel.to_string(),
            peer: tell.peer.id.clone(),
        }),
        next_ms: next.map(i64::unsigned_abs),
        next: next.map(|next| schedule.timetable.local(next)),
        held: held.map(|held| wire::ScheduleHeld {
            due_ms: held.due.unsigned_abs(),
            why: held.why.clone(),
        }),
        last: last.map(|(kept, last)| wire::ScheduleRun {
            id: last.delivery.to_string(),
            due_ms: last.due.map(i64::unsigned_abs),
            at_ms: last.at.unsigned_abs(),
            state: kept.state.map(delivery_state),
            ended_ms: kept.ended.map(i64::unsigned_abs),
            why: kept.why.clone(),
        }),
        runs: mark.map_or(0, |mark| mark.runs),
        missed: mark.map_or(0, |mark| mark.missed),
    }
}
