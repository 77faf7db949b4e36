//! What has ended is kept for a while, for repeats and for whoever looks it up, and then deleted in
//! steps that are short enough to come between two groups.

use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tokio::time::Instant;

use super::{
    entry::UnixMs,
    failpoint::{FailPoints, Point},
    file::JournalFile,
    sql::{SqlResult, schedules},
};

/// How long a step may go on deleting.
const BUDGET: Duration = Duration::from_millis(2);

/// Rows between two looks at the clock.
const CHUNK: i64 = 8;

/// Pages given back to the disk in one step.
const VACUUM_PAGES: u32 = 32;

/// Pages that stay in the file for what comes next: 1 MiB.
const SLACK_PAGES: i64 = 128;

/// What ended this recently is kept even when the journal is larger than it may be: platforms and
/// callers repeat what was not confirmed within minutes.
const KEPT_ALWAYS: Duration = Duration::from_hours(1);

/// What is kept for how long after its end. What is still to be done is never deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Deliveries and what was sent: for so long a repeat is known as one.
    pub ended: Duration,
    /// Deliveries that were set aside.
    pub poison: Duration,
    /// The audit.
    pub audit: Duration,
    /// What turns took.
    pub turns: Duration,
    /// The last so many of them, at most.
    pub max_turns: u64,
    /// Above this size the oldest go earlier.
    pub max_bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            ended: Duration::from_hours(7 * 24),
            poison: Duration::from_hours(30 * 24),
            audit: Duration::from_hours(30 * 24),
            turns: Duration::from_hours(30 * 24),
            max_turns: 100_000,
            max_bytes: 256 * 1024 * 1024,
        }
    }
}

/// What a step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// Rows that are gone.
    pub(super) deleted: usize,
    /// Pages that the disk has back.
    pub(super) vacuumed: u32,
    /// There is more to do.
    pub(super) more: bool,
    /// It is too large, and nothing may go yet.
    pub(super) over_limit: bool,
}

/// The rows that may go, oldest first, and the tables that go with them.
struct Kind {
    pick: &'static str,
    delete: &'static [&'static str],
}

const ENDED: Kind = Kind {
    pick: "SELECT seq FROM inbox WHERE ended_ms IS NOT NULL AND state <> 5 AND ended_ms < ?1
           ORDER BY ended_ms LIMIT ?2",
    delete: &[
        schedules::KEEP_END,
        "DELETE FROM inbox WHERE seq = ?1",
        "DELETE FROM inbox_texts WHERE seq = ?1",
        "DELETE FROM answers WHERE seq = ?1",
    ],
};
const POISON: Kind = Kind {
    pick: "SELECT seq FROM inbox WHERE state = 5 AND ended_ms < ?1 LIMIT ?2",
    delete: ENDED.delete,
};
const SENT: Kind = Kind {
    pick: "SELECT id FROM outbox WHERE settled_ms IS NOT NULL AND settled_ms < ?1
           ORDER BY settled_ms LIMIT ?2",
    delete: &[
        "DELETE FROM outbox WHERE id = ?1",
        "DELETE FROM outbox_texts WHERE id = ?1",
    ],
};
const AUDIT: Kind = Kind {
    pick: "SELECT id FROM audit WHERE at_ms < ?1 ORDER BY at_ms LIMIT ?2",
    delete: &["DELETE FROM audit WHERE id = ?1"],
};

const TURNS: Kind = Kind {
    // They are put down as they end.
    pick: "SELECT id FROM (SELECT id, ended_ms FROM turns ORDER BY id LIMIT ?2) WHERE ended_ms < ?1",
    delete: &["DELETE FROM turns WHERE id = ?1"],
};
/// Numbers without a gap but for what was deleted or lost: about so many are behind the first of those that stay.
const TURNS_TOO_MANY: Kind = Kind {
    pick: "SELECT id FROM turns WHERE id <= (SELECT max(id) FROM turns) - ?1 ORDER BY id LIMIT ?2",
    delete: TURNS.delete,
};
/// By quarters of an hour.
const SPENDINGS: Kind = Kind {
    pick: "SELECT id FROM spendings WHERE quarter < ?1 / 900000 LIMIT ?2",
    delete: &["DELETE FROM spendings WHERE id = ?1"],
};

/// Longer than the longest window of a budget.
const SPENDINGS_KEPT: Duration = Duration::from_hours(400 * 24);

/// One step: deletes for [`BUDGET`] at most, or else gives some room back to the disk.
pub(super) fn step(file: &mut JournalFile, keep: &Retention, now: UnixMs) -> SqlResult<Step> {
    let mut step = prune(file, keep, now)?;
    if step.deleted > 0 {
        // Whether there is more to do, room to give back among it, the next step finds out.
        step.more = true;
    } else if !step.more {
        step.vacuumed = vacuum(file)?;
        step.more = step.vacuumed > 0;
    }
    Ok(step)
}

fn before(now: UnixMs, kept: Duration) -> UnixMs {
    now.saturating_sub(UnixMs::try_from(kept.as_millis()).unwrap_or(UnixMs::MAX))
}

fn prune(file: &mut JournalFile, keep: &Retention, now: UnixMs) -> SqlResult<Step> {
    file.points().reach(Point::Prune)?;
    let too_large = file.size()?.used > keep.max_bytes;
    let points = file.points().clone();
    let until = Instant::now() + BUDGET;
    let mut step = Step::default();
    let transaction = Transaction::new(file.connection(), TransactionBehavior::Immediate)?;
    for (kind, limit) in [
        (ENDED, before(now, keep.ended)),
        (SENT, before(now, keep.ended)),
        (POISON, before(now, keep.poison)),
        (AUDIT, before(now, keep.audit)),
        (TURNS, before(now, keep.turns)),
        (
            TURNS_TOO_MANY,
            i64::try_from(keep.max_turns).unwrap_or(i64::MAX),
        ),
        (SPENDINGS, before(now, SPENDINGS_KEPT)),
    ] {
        step.more |= delete(
            &transaction,
            &points,
            &kind,
            limit,
            until,
            &mut step.deleted,
        )?;
    }
    if too_large && step.deleted == 0 {
        // A chunk, and then another look at the size.
        let (limit, until) = (before(now, KEPT_ALWAYS), Instant::now());
        for kind in [TURNS, ENDED, SENT] {
            step.more |= delete(
                &transaction,
                &points,
                &kind,
                limit,
                until,
                &mut step.deleted,
            )?;
        }
        step.over_limit = step.deleted == 0;
    }
    if step.deleted == 0 {
        // Nothing to write, so nothing to wait for.
        return transaction.rollback().map(|()| step);
    }
    transaction.commit()?;
    Ok(step)
}

/// Deletes until nothing is left, or it is `until`; says whether something may be left.
fn delete(
    connection: &Connection,
    points: &FailPoints,
    kind: &Kind,
    before: UnixMs,
    until: Instant,
    deleted: &mut usize,
) -> SqlResult<bool> {
    loop {
        let rows: Vec<i64> = connection
            .prepare_cached(kind.pick)?
            .query_map(params![before, CHUNK], |row| row.get(0))?
            .collect::<SqlResult<_>>()?;
        for row in &rows {
            for sql in kind.delete {
                points.reach(Point::Row)?;
                connection.prepare_cached(sql)?.execute([row])?;
            }
        }
        *deleted += rows.len();
        if rows.is_empty() {
            return Ok(false);
        }
        if Instant::now() >= until {
            return Ok(true);
        }
    }
}

/// Moves some pages from the end of the file to free places, and cuts it; says how many.
fn vacuum(file: &mut JournalFile) -> SqlResult<u32> {
    let free: i64 = file
        .connection()
        .pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    let pages = u32::try_from(free.saturating_sub(SLACK_PAGES).max(0)).unwrap_or(u32::MAX);
    let pages = pages.min(VACUUM_PAGES);
    if pages == 0 {
        return Ok(0);
    }
    file.points().reach(Point::Vacuum)?;
    // Each step of the statement moves one page.
    let sql = format!("PRAGMA incremental_vacuum({pages})");
    let mut statement = file.connection().prepare(&sql)?;
    let mut rows = statement.query(())?;
    while rows.next()?.is_some() {}
    Ok(pages)
}

#[cfg(test)]
mod tests;
