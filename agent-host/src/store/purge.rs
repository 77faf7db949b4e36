//! Deletes sessions of any length without keeping turns waiting.
//!
//! A session is deleted by giving it another key, in one small transaction: from then on nobody finds it.
//! Its messages, and then the free pages of the file, are removed bit by bit when there is nothing else to
//! do. What a process leaves of that is gone on with by the next.
//!
//! The deliveries of a deleted session stay, as cancelled: if one comes again, the model is not asked again,
//! and nothing is said.

use kennel_shared::session_key::SessionKey;
use rusqlite::{Connection, OptionalExtension, params};

use super::schema::DELETED;

/// What is removed at a time: at most so many messages, and not many more bytes.
const MESSAGES: u32 = 100;
const BYTES: i64 = 256 * 1024;

/// How many pages are given back to the file system at a time.
const PAGES: u32 = 64;

/// Free pages that are kept, for the next messages.
const SPARE: i64 = 64;

/// What `auto_vacuum` says of a file that can be made smaller bit by bit.
const INCREMENTAL: i64 = 2;

/// Gives the session another key; how many messages it had, if there is one.
pub(super) fn forget(
    connection: &mut Connection,
    session: &SessionKey,
) -> rusqlite::Result<Option<u64>> {
    let transaction = connection.transaction()?;
    let found: Option<(i64, i64)> = transaction
        .query_row(
            "SELECT s.id, (SELECT coalesce(max(seq), 0) FROM messages WHERE session = s.id)
             FROM sessions s WHERE s.key = ?1",
            [session.as_str()],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let Some((id, messages)) = found else {
        return Ok(None);
    };
    transaction.execute(
        "UPDATE sessions SET key = ?1 WHERE id = ?2",
        params![format!("{DELETED}{id}"), id],
    )?;
    transaction.commit()?;
    Ok(Some(u64::try_from(messages).unwrap_or(0)))
}

/// Whether an earlier process has left something to do.
pub(super) fn is_left(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(deleted(connection)?.is_some() || spare_pages(connection)? > SPARE * 16)
}

/// Does a little; whether there is more to do.
pub(super) fn some(connection: &mut Connection) -> rusqlite::Result<bool> {
    if let Some(session) = deleted(connection)? {
        remove_messages(connection, session)?;
        return Ok(true);
    }
    if spare_pages(connection)? <= SPARE {
        return Ok(false);
    }
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
    let mut rows = statement.query(())?;
    while rows.next()?.is_some() {}
    Ok(true)
}

/// A session that is deleted.
fn deleted(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    // By the index: keys that begin with it are greater, and none is in between.
    connection
        .prepare_cached(
            "SELECT id FROM sessions WHERE key >= ?1 AND key < 'deleted;' ORDER BY key LIMIT 1",
        )?
        .query_row([DELETED], |row| row.get(0))
        .optional()
}

/// Free pages that can be given back; none in a file that was made before version 3.
fn spare_pages(connection: &Connection) -> rusqlite::Result<i64> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if number("auto_vacuum")? == INCREMENTAL {
        number("freelist_count")
    } else {
        Ok(0)
    }
}

/// Removes the first messages of a deleted session; the session too, when none are left.
fn remove_messages(connection: &mut Connection, session: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    let mut last = None;
    {
        let mut statement = transaction.prepare_cached(
            "SELECT seq, octet_length(content) + coalesce(octet_length(tools), 0)
             FROM messages WHERE session = ?1 ORDER BY seq LIMIT ?2",
        )?;
        let mut rows = statement.query(params![session, MESSAGES])?;
        let mut bytes = 0;
        while let Some(row) = rows.next()? {
            last = Some(row.get::<_, i64>(0)?);
            bytes += row.get::<_, i64>(1)?;
            if bytes >= BYTES {
                break;
            }
        }
    }
    if let Some(last) = last {
        transaction
            .prepare_cached(
                "UPDATE deliveries SET outcome = 2, reply = NULL, reply_text = NULL
                 WHERE reply IN (SELECT id FROM messages WHERE session = ?1 AND seq <= ?2)",
            )?
            .execute(params![session, last])?;
        transaction
            .prepare_cached("DELETE FROM messages WHERE session = ?1 AND seq <= ?2")?
            .execute(params![session, last])?;
    } else {
        transaction.execute("DELETE FROM sessions WHERE id = ?1", [session])?;
    }
    transaction.commit()
}
