//! Reads what can be read of a damaged journal into a new one.
//!
//! A table is read upwards by row id until a page breaks, then from the first row behind it that can be
//! read downwards to the same page, and so on: all that hangs on pages which can be reached is found.
//! What was read is judged like anything from outside, since a damaged page may still look like one.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, config::DbConfig, params, params_from_iter, types::Value};

use super::{
    entry::{State, UnixMs},
    health::{Class, Damage, classify},
    log,
    schema::{TABLES, VERSION, migrate},
    sql::{self, SqlResult},
};

/// Numbers that the lost rows may have had are not given again.
const SKIPPED: i64 = 1_000_000;

/// The error of a statement that read the damaged file, or of one that wrote the new one.
enum Failed {
    Source(rusqlite::Error),
    Target(rusqlite::Error),
}

/// Fills `target`, an empty file, and says in `damage` what came of it. An error is one of `target`.
pub(super) fn salvage(from: &Path, target: &mut Connection, damage: &mut Damage) -> SqlResult<()> {
    match copy(from, target, damage) {
        Ok(()) => {}
        Err(Failed::Target(error)) => return Err(error),
        Err(Failed::Source(error)) => damage.lost.all = Some(error.to_string()),
    }
    migrate(target, version(target)?, VERSION)?;
    judge(target, damage)?;
    mend(target, damage)?;
    count(target, damage)
}

fn version(connection: &Connection) -> SqlResult<i32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn copy(from: &Path, target: &mut Connection, damage: &mut Damage) -> Result<(), Failed> {
    damage.lost.commits = log::lost_commits(from).unwrap_or_default();
    if std::fs::metadata(from).is_ok_and(|file| file.len() == 0) {
        // SQLite would take it for new, and delete its log.
        damage.lost.all = Some("it is empty".to_owned());
        return Ok(());
    }
    // Its log is read with it, but neither may be changed.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(from, flags).map_err(Failed::Source)?;
    source
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(Failed::Source)?;
    let found = version(&source).map_err(Failed::Source)?;
    migrate(target, 0, found.clamp(1, VERSION)).map_err(Failed::Target)?;
    let transaction = target.transaction().map_err(Failed::Target)?;
    let mut readable = 0;
    let mut first_error = None;
    for (table, id, since) in TABLES {
        if since > found {
            continue;
        }
        let mut table = Table {
            source: &source,
            target: &transaction,
            name: table,
            id,
            damage,
        };
        match table.copy() {
            Ok(()) => readable += 1,
            Err(Failed::Source(error)) => {
                damage.lost.stretches += 1;
                first_error = first_error.or(Some(error));
            }
            Err(failed) => return Err(failed),
        }
    }
    transaction.commit().map_err(Failed::Target)?;
    match first_error {
        Some(error) if readable == 0 => Err(Failed::Source(error)),
        _ => Ok(()),
    }
}

struct Table<'a> {
    source: &'a Connection,
    target: &'a Connection,
    name: &'a str,
    id: &'a str,
    damage: &'a mut Damage,
}

impl Table<'_> {
    /// An error of the source says that nothing of the table could be reached.
    fn copy(&mut self) -> Result<(), Failed> {
        let last = self.last_id().map_err(Failed::Source)?;
        let mut low = -1;
        loop {
            let (reached, broken) = self.read(low, i64::MAX, true)?;
            if !broken {
                return Ok(());
            }
            self.damage.lost.stretches += 1;
            let low_end = reached.unwrap_or(low);
            let Some(next) = self.next_readable(low_end, last) else {
                return Ok(());
            };
            // Between the broken page and the row that can be read again.
            self.read(low_end, next, false)?;
            low = next - 1;
        }
    }

    /// The largest id that a row may have.
    fn last_id(&self) -> SqlResult<i64> {
        let (table, id) = (self.name, self.id);
        let by_rows = self
            .source
            .query_row(&format!("SELECT max({id}) FROM {table}"), (), |row| {
                row.get::<_, Option<i64>>(0)
            });
        by_rows.map(Option::unwrap_or_default).or_else(|error| {
            // The last page is broken. The texts have the numbers of their rows.
            let owner = match table {
                "inbox_texts" | "answers" => "inbox",
                "outbox_texts" => "outbox",
                table => table,
            };
            self.source
                .query_row(
                    "SELECT seq FROM sqlite_sequence WHERE name = ?1",
                    params![owner],
                    |row| row.get(0),
                )
                .map_err(|_| error)
        })
    }

    /// Copies the rows between `low` and `high`, both left out; says which was the last, and whether an
    /// error came before the end.
    fn read(&self, low: i64, high: i64, upwards: bool) -> Result<(Option<i64>, bool), Failed> {
        let (table, id) = (self.name, self.id);
        let order = if upwards { "ASC" } else { "DESC" };
        let sql = format!(
            "SELECT {id}, * FROM {table} WHERE {id} > ?1 AND {id} < ?2 ORDER BY {id} {order}"
        );
        let mut reached = None;
        let Ok(mut statement) = self.source.prepare(&sql) else {
            return Ok((None, true));
        };
        let columns = statement.column_count();
        let places = vec!["?"; columns - 1].join(", ");
        let mut insert = self
            .target
            .prepare_cached(&format!("INSERT OR IGNORE INTO {table} VALUES ({places})"))
            .map_err(Failed::Target)?;
        let Ok(mut rows) = statement.query(params![low, high]) else {
            return Ok((None, true));
        };
        loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => return Ok((reached, false)),
                Err(_) => return Ok((reached, true)),
            };
            let values: SqlResult<Vec<Value>> =
                (0..columns).map(|column| row.get(column)).collect();
            let Ok(mut values) = values else {
                return Ok((reached, true));
            };
            let Value::Integer(at) = values.remove(0) else {
                return Ok((reached, true));
            };
            // A page that points back at itself would never end.
            if reached.is_some_and(|reached| (at > reached) != upwards) {
                return Ok((reached, true));
            }
            match insert.execute(params_from_iter(values)) {
                Ok(_) => {}
                Err(error) if classify(&error) == Class::Operation => {}
                Err(error) => return Err(Failed::Target(error)),
            }
            reached = Some(at);
        }
    }

    /// The first row found behind a broken page, by ever longer steps.
    fn next_readable(&self, broken: i64, last: i64) -> Option<i64> {
        let (table, id) = (self.name, self.id);
        let sql = format!("SELECT {id}, * FROM {table} WHERE {id} >= ?1 ORDER BY {id} LIMIT 1");
        let mut step = 1_i64;
        let mut at = broken.saturating_add(1);
        // The row at `broken + 1` is the one that could not be read.
        loop {
            at = at.saturating_add(step);
            if at > last {
                return None;
            }
            let found = self.source.query_row(&sql, params![at], |row| {
                (1..row.as_ref().column_count())
                    .try_for_each(|column| row.get::<_, Value>(column).map(drop))?;
                row.get::<_, i64>(0)
            });
            match found {
                Ok(found) if found > broken => return Some(found),
                Ok(_) | Err(rusqlite::Error::QueryReturnedNoRows) => return None,
                Err(_) => step = step.saturating_mul(2).min(64),
            }
        }
    }
}

/// Deletes rows whose values are never written.
fn judge(target: &Connection, damage: &mut Damage) -> SqlResult<()> {
    type Judge = fn(&rusqlite::Row<'_>) -> SqlResult<()>;
    let judges: [(&str, &str, &str, Judge); 6] = [
        ("inbox", "seq", sql::STANDING_OF_ALL, |row| {
            sql::standing(row).map(drop)
        }),
        ("outbox", "id", sql::SENDS_OF_ALL, |row| {
            sql::send_state(row, 1)?;
            sql::peer_kind(row, 2)?;
            sql::parsed::<kennel_shared::ids::ChannelId>(row, 3)?;
            sql::parsed_or_null::<kennel_shared::ids::DeliveryId>(row, 4)?;
            sql::ids(row, 5).map(drop)
        }),
        ("children", "id", sql::CHILDREN_OF_ALL, |row| {
            sql::child(row).map(drop)
        }),
        ("schedules", "id", sql::schedules::MARKS_OF_ALL, |row| {
            sql::schedules::mark(row).map(drop)
        }),
        ("turns", "id", sql::TURNS_OF_ALL, |row| {
            sql::turn(row).map(drop)
        }),
        ("spendings", "id", sql::SPENDINGS_OF_ALL, |row| {
            sql::spending(row).map(drop)
        }),
    ];
    for (table, id, query, judge) in judges {
        let bad: Vec<i64> = {
            let mut statement = target.prepare(query)?;
            let id_at = statement.column_count() - 1;
            let mut rows = statement.query(())?;
            let mut bad = Vec::new();
            while let Some(row) = rows.next()? {
                if judge(row).is_err() {
                    bad.push(row.get(id_at)?);
                }
            }
            bad
        };
        for row in bad {
            damage.lost.rows += 1;
            target.execute(&format!("DELETE FROM {table} WHERE {id} = ?1"), [row])?;
        }
    }
    Ok(())
}

/// Makes the rows fit together again.
fn mend(target: &Connection, damage: &mut Damage) -> SqlResult<()> {
    let lost = "its text was lost when the journal was damaged";
    let now: UnixMs = damage.at;
    let inbox = target.execute(
        "UPDATE inbox SET state = ?1, ended_ms = ?2, end_kind = 3, end_text = ?3
         WHERE state IN (0, 1, 5) AND NOT EXISTS (SELECT 1 FROM inbox_texts t WHERE t.seq = inbox.seq)",
        params![State::Failed.code(), now, lost],
    )?;
    let outbox = target.execute(
        "UPDATE outbox SET state = 3, settled_ms = ?1, failure = ?2
         WHERE state IN (0, 1, 4) AND NOT EXISTS (SELECT 1 FROM outbox_texts t WHERE t.id = outbox.id)",
        params![now, lost],
    )?;
    damage.lost.texts += (inbox + outbox) as u64;
    target.execute_batch(
        "DELETE FROM inbox_texts WHERE seq NOT IN (SELECT seq FROM inbox);
         DELETE FROM answers WHERE seq NOT IN (SELECT seq FROM inbox);
         DELETE FROM outbox_texts WHERE id NOT IN (SELECT id FROM outbox);",
    )?;
    for table in ["inbox", "outbox", "audit"] {
        // The table has a row here only once it had one itself.
        let known = target.execute(
            "UPDATE sqlite_sequence SET seq = seq + ?2 WHERE name = ?1",
            params![table, SKIPPED],
        )?;
        if known == 0 {
            target.execute(
                "INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)",
                params![table, SKIPPED],
            )?;
        }
    }
    Ok(())
}

fn count(target: &Connection, damage: &mut Damage) -> SqlResult<()> {
    let number =
        |sql: &str| target.query_row(sql, (), |row| row.get::<_, i64>(0).map(i64::unsigned_abs));
    damage.kept.deliveries = number("SELECT count(*) FROM inbox")?;
    damage.kept.open = number("SELECT count(*) FROM inbox WHERE state IN (0, 1)")?;
    damage.kept.sends = number("SELECT count(*) FROM outbox")?;
    damage.kept.children = number("SELECT count(*) FROM children WHERE ended_ms IS NULL")?;
    Ok(())
}
