//! The table of schedules.

use rusqlite::Row;

use super::{
    super::{
        entry::{Digest, LastRun, ScheduleMark, UnixMs},
        reader::Scheduled,
    },
    SqlResult, parsed, parsed_or_null, state,
};

macro_rules! mark_columns {
    ($rest:literal) => {
        concat!(
            "SELECT s.name, s.made_of, s.paused, s.through_ms, s.runs, s.missed, s.last_delivery, s.last_due_ms, s.last_ms",
            $rest
        )
    };
}

/// One, by its name, for [`mark`].
pub(super) const MARK: &str = mark_columns!(" FROM schedules s WHERE s.name = ?1");

/// All of them, for [`mark`]; the row's id is the last column.
pub(in crate::journal) const MARKS_OF_ALL: &str = mark_columns!(", s.id FROM schedules s");

/// All of them, with the end of their last runs, for [`scheduled`].
pub(in crate::journal) const MARKS_WITH_ENDS: &str = mark_columns!(
    ", coalesce(i.state, s.last_state), coalesce(i.ended_ms, s.last_ended_ms), i.end_text
     FROM schedules s LEFT JOIN inbox i ON i.delivery = s.last_delivery ORDER BY s.name"
);

/// What is known of the end of a last run stays when the run itself is deleted.
pub(in crate::journal) const KEEP_END: &str =
    "UPDATE schedules SET last_state = i.state, last_ended_ms = i.ended_ms
     FROM inbox i WHERE i.seq = ?1 AND schedules.name = i.schedule AND schedules.last_delivery = i.delivery";

pub(super) const SET: &str =
    "INSERT INTO schedules (name, made_of, paused, through_ms, runs, missed, last_delivery, last_due_ms, last_ms)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
     ON CONFLICT (name) DO UPDATE SET made_of = ?2, paused = ?3, through_ms = ?4, runs = ?5, missed = ?6,
        last_delivery = ?7, last_due_ms = ?8, last_ms = ?9,
        last_state = CASE WHEN last_delivery IS ?7 THEN last_state END,
        last_ended_ms = CASE WHEN last_delivery IS ?7 THEN last_ended_ms END";

pub(in crate::journal) fn mark(row: &Row<'_>) -> SqlResult<ScheduleMark> {
    let delivery = parsed_or_null(row, 6)?;
    let at: Option<UnixMs> = row.get(8)?;
    let due = row.get(7)?;
    Ok(ScheduleMark {
        schedule: parsed(row, 0)?,
        made_of: Digest(row.get(1)?),
        paused: row.get(2)?,
        through: row.get(3)?,
        runs: row.get::<_, i64>(4)?.cast_unsigned(),
        missed: row.get::<_, i64>(5)?.cast_unsigned(),
        last: delivery
            .zip(at)
            .map(|(delivery, at)| LastRun { delivery, due, at }),
    })
}

/// A row of [`MARKS_WITH_ENDS`].
pub(in crate::journal) fn scheduled(row: &Row<'_>) -> SqlResult<Scheduled> {
    let known: Option<i64> = row.get(9)?;
    Ok(Scheduled {
        mark: mark(row)?,
        state: known.is_some().then(|| state(row, 9)).transpose()?,
        ended: row.get(10)?,
        why: row.get(11)?,
    })
}
