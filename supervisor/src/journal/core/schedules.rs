//! What schedules mean for the rows: which due times are dealt with, and that none is run twice.

use kennel_shared::ids::DeliveryId;

use super::{
    super::{
        entry::{LastRun, ScheduleMark, UnixMs},
        op::{Answer, Refusal, ScheduleChange},
    },
    Applied, Rows, refuse,
};
use crate::schedule::ScheduleId;

/// Whether a run may be accepted: the delivery that it is already, if it is one.
pub(super) fn admit<R: Rows>(
    rows: &R,
    schedule: &ScheduleId,
    due: Option<UnixMs>,
) -> Result<Result<Option<DeliveryId>, Refusal>, R::Error> {
    // Who asks for a run gets one, whatever the clock says.
    let Some(due) = due else {
        return Ok(Ok(None));
    };
    if let Some(first) = rows.by_due(schedule, due)? {
        return Ok(Ok(Some(first)));
    }
    Ok(match rows.schedule(schedule)? {
        None => Err(Refusal::Unknown),
        Some(mark) if mark.paused => Err(Refusal::Paused),
        Some(mark) if mark.through >= due => Err(Refusal::Passed),
        Some(_) => Ok(None),
    })
}

/// A run is accepted: in the same commit its due time is dealt with.
pub(super) fn begun<R: Rows>(
    rows: &mut R,
    schedule: &ScheduleId,
    due: Option<UnixMs>,
    delivery: DeliveryId,
    now: UnixMs,
) -> Result<(), R::Error> {
    let Some(mut mark) = rows.schedule(schedule)? else {
        return Ok(());
    };
    if let Some(due) = due {
        mark.through = due;
    }
    mark.runs += 1;
    mark.last = Some(LastRun {
        delivery,
        due,
        at: now,
    });
    rows.set_schedule(&mark)
}

pub(super) fn change<R: Rows>(
    rows: &mut R,
    schedule: &ScheduleId,
    change: ScheduleChange,
) -> Applied<R> {
    let found = rows.schedule(schedule)?;
    let new = match (change, found) {
        (ScheduleChange::Forget, _) => {
            rows.forget_schedule(schedule)?;
            return Ok(Answer::Noted);
        }
        (ScheduleChange::Track { made_of, now }, None) => ScheduleMark {
            schedule: schedule.clone(),
            made_of,
            paused: false,
            through: now,
            runs: 0,
            missed: 0,
            last: None,
        },
        (_, None) => return refuse(Refusal::Unknown),
        (ScheduleChange::Track { made_of, now }, Some(mut mark)) => {
            if mark.made_of != made_of {
                (mark.made_of, mark.through) = (made_of, now);
            }
            mark
        }
        (ScheduleChange::Pass { through, missed }, Some(mut mark)) => {
            // Told twice, it has happened once.
            if mark.through < through {
                mark.through = through;
                mark.missed += missed;
            }
            mark
        }
        (ScheduleChange::SetBack { to }, Some(mut mark)) => {
            mark.through = mark.through.min(to);
            mark
        }
        (ScheduleChange::Pause, Some(mut mark)) => {
            mark.paused = true;
            mark
        }
        (ScheduleChange::Resume { now }, Some(mut mark)) => {
            if mark.paused {
                mark.paused = false;
                mark.through = mark.through.max(now);
            }
            mark
        }
    };
    rows.set_schedule(&new)?;
    Ok(Answer::Schedule(Box::new(new)))
}
