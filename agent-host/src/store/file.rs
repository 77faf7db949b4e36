//! The open file: every statement of the store. Synchronous; only the store thread runs it.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kennel_shared::{
    ids::DeliveryId,
    protocol::{ContextSpec, TurnFailure, TurnOutcome},
    session_key::SessionKey,
};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{
    Begun, NewSteer, NewStep, OpenError, Record, StoreError,
    encoding::{self, failure_kind, failure_number},
    purge,
    schema::{APPLICATION_ID, VERSION, migrate},
    steps,
};
use crate::window::{Message, Part, Room, Window};

/// How long a processed delivery is remembered. A supervisor redelivers within seconds of its return;
/// a week leaves room for one that was switched off meanwhile.
const DELIVERIES_KEPT: Duration = Duration::from_hours(7 * 24);

/// Old deliveries are looked for at the start and after so many commits.
const PRUNE_EVERY: u32 = 256;

/// How long to wait for somebody who reads the file from outside, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// How commits go to the disk: see the invariants of the store.
const USUALLY: &str = "NORMAL";

/// Newest first, by the index: the reader stops where its window is full.
pub(super) const TAIL: &str =
    "SELECT seq, role, octet_length(content), octet_length(tools), content, tools FROM messages
     WHERE session = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3";

/// The same without calls and results, of which no row is looked at.
pub(super) const SAID: &str =
    "SELECT seq, role, octet_length(content), octet_length(tools), content, tools
     FROM messages INDEXED BY messages_said
     WHERE session = ?1 AND seq < ?2 AND tools IS NULL ORDER BY seq DESC LIMIT ?3";

#[derive(Debug)]
pub(super) struct StoreFile {
    connection: Connection,
    commits: u32,
    /// Whether something that was deleted still takes space.
    clearing: bool,
}

impl StoreFile {
    /// Opens or creates `path`.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let sqlite = |source| OpenError::Sqlite {
            path: path.to_owned(),
            source,
        };
        let mut connection = Connection::open(path).map_err(sqlite)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(sqlite)?;
        // The first read of the file: what is no database is found here, before anything is written.
        let header = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let (id, version) = (
            header("application_id").map_err(sqlite)?,
            header("user_version").map_err(sqlite)?,
        );
        if version > VERSION {
            return Err(OpenError::Newer {
                path: path.to_owned(),
                found: version,
                known: VERSION,
            });
        }
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))
            .map_err(sqlite)?;
        if id != APPLICATION_ID && (id != 0 || version != 0 || tables != 0) {
            return Err(OpenError::Foreign {
                path: path.to_owned(),
            });
        }
        if tables == 0 {
            // Only a file without tables takes it: what is deleted later makes the file smaller.
            connection
                .pragma_update(None, "auto_vacuum", "INCREMENTAL")
                .map_err(sqlite)?;
        }
        configure(&connection).map_err(sqlite)?;
        migrate(&mut connection, version).map_err(sqlite)?;
        let mut file = Self {
            connection,
            commits: 0,
            clearing: false,
        };
        file.prune().map_err(sqlite)?;
        file.clearing = purge::is_left(&file.connection).map_err(sqlite)?;
        Ok(file)
    }

    /// Deletes a session at once, as far as anybody can see; its messages go with [`clear`](Self::clear).
    /// How many those are; `None` when there is no such session.
    pub(super) fn delete(&mut self, session: &SessionKey) -> Result<Option<u64>, StoreError> {
        let deleted = purge::forget(&mut self.connection, session)?;
        self.clearing |= deleted.is_some();
        Ok(deleted)
    }

    /// Whether [`clear`](Self::clear) has something to do.
    pub(super) fn is_clearing(&self) -> bool {
        self.clearing
    }

    /// Removes a little of what was deleted: about a millisecond's work.
    pub(super) fn clear(&mut self) -> Result<(), StoreError> {
        // At an error too: what is left is looked for at the next start.
        self.clearing = false;
        self.clearing = purge::some(&mut self.connection)?;
        Ok(())
    }

    pub(super) fn begin(
        &mut self,
        delivery: DeliveryId,
        session: &SessionKey,
        context: ContextSpec,
        new_bytes: usize,
    ) -> Result<Begun, StoreError> {
        if let Some(outcome) = self.outcome(delivery)? {
            return Ok(Begun::Before(outcome));
        }
        if let Some(into) = steps::steered_into(&self.connection, delivery)? {
            return Ok(Begun::Before(TurnOutcome::Steered(into)));
        }
        Ok(Begun::New {
            window: self.window(session, context, new_bytes)?,
            steps: steps::of(&self.connection, delivery)?,
        })
    }

    fn outcome(&self, delivery: DeliveryId) -> rusqlite::Result<Option<TurnOutcome>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT d.outcome, coalesce(d.reply_text, m.content), d.failure_kind, d.failure_text
             FROM deliveries d LEFT JOIN messages m ON m.id = d.reply
             WHERE d.delivery = ?1",
        )?;
        statement
            .query_row([delivery.to_string()], |row| {
                Ok(match row.get::<_, i64>(0)? {
                    0 => TurnOutcome::Replied(row.get(1)?),
                    1 => TurnOutcome::Failed(TurnFailure {
                        kind: failure_kind(row.get(2)?),
                        message: row.get(3)?,
                    }),
                    _ => TurnOutcome::Cancelled,
                })
            })
            .optional()
    }

    pub(super) fn steer(&mut self, steer: &NewSteer) -> Result<bool, StoreError> {
        // Nobody else keeps it from now on, so not even a power cut may take it back.
        self.connection.pragma_update(None, "synchronous", "FULL")?;
        let taken = steps::steer(&self.connection, steer);
        self.connection
            .pragma_update(None, "synchronous", USUALLY)?;
        Ok(taken?)
    }

    fn window(
        &self,
        session: &SessionKey,
        context: ContextSpec,
        new_bytes: usize,
    ) -> rusqlite::Result<Vec<Message>> {
        let mut window = Window::behind(context, new_bytes);
        let session = self
            .connection
            .prepare_cached("SELECT id FROM sessions WHERE key = ?1")?
            .query_row([session.as_str()], |row| row.get::<_, i64>(0))
            .optional()?;
        if let Some(session) = session {
            let most = context.max_messages;
            if let Some(before) = self.fill(TAIL, &mut window, (session, i64::MAX, most))? {
                self.fill(SAID, &mut window, (session, before, most))?;
            }
        }
        Ok(window.into_messages())
    }

    /// Reads into the window; returns where it did when there is no more room for tools.
    fn fill(
        &self,
        statement: &str,
        window: &mut Window,
        (session, before, most): (i64, i64, u32),
    ) -> rusqlite::Result<Option<i64>> {
        let mut statement = self.connection.prepare_cached(statement)?;
        let mut rows = statement.query(params![session, before, most])?;
        while let Some(row) = rows.next()? {
            let length = |column| -> rusqlite::Result<Option<usize>> {
                let bytes = row.get::<_, Option<i64>>(column)?;
                Ok(bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)))
            };
            let (text, tools) = (length(2)?.unwrap_or(0), length(3)?);
            let part = match (tools, row.get(1)?) {
                (Some(_), _) => Part::Tools,
                (None, encoding::TO_MODEL) => Part::Question,
                (None, _) => Part::Answer,
            };
            match window.room(part, text.saturating_add(tools.unwrap_or(0))) {
                Room::Yes => window.push(encoding::message(row.get(1)?, row.get(4)?, row.get(5)?)?),
                Room::NotForTools => return row.get(0).map(Some),
                Room::Full => break,
            }
        }
        Ok(None)
    }

    pub(super) fn step(
        &mut self,
        delivery: DeliveryId,
        number: u32,
        step: NewStep,
    ) -> Result<(), StoreError> {
        Ok(steps::write(&self.connection, delivery, number, step)?)
    }

    pub(super) fn commit(&mut self, record: &Record) -> Result<(), StoreError> {
        let now = now_ms();
        let transaction = self.connection.transaction()?;
        let (outcome, reply, failure) = match &record.outcome {
            TurnOutcome::Replied(reply) => {
                let last = append_turn(&transaction, record, now)?;
                (0, Some((last, reply)), None)
            }
            TurnOutcome::Failed(failure) => (1, None, Some(failure)),
            // The second has its end already, and no turn comes to it.
            TurnOutcome::Cancelled | TurnOutcome::Steered(_) => (2, None, None),
        };
        // Most replies are their last message.
        let more = reply.filter(|(_, reply)| {
            let last = record.messages.last();
            last.is_none_or(|last| last.text() != reply.as_str())
        });
        steps::finish(&transaction, record, now)?;
        transaction
            .prepare_cached(
                "INSERT INTO deliveries
                     (delivery, turn, outcome, reply, reply_text, failure_kind, failure_text,
                      finished_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                record.delivery.to_string(),
                record.turn.to_string(),
                outcome,
                reply.map(|(last, _)| last),
                more.map(|(_, reply)| reply),
                failure.map(|failure| failure_number(failure.kind)),
                failure.map(|failure| &failure.message),
                now,
            ])?;
        transaction.commit()?;
        self.commits = (self.commits + 1) % PRUNE_EVERY;
        if self.commits == 0 {
            self.prune()?;
        }
        Ok(())
    }

    fn prune(&self) -> rusqlite::Result<()> {
        let kept = i64::try_from(DELIVERIES_KEPT.as_millis()).expect("a week fits");
        let before = now_ms() - kept;
        self.connection
            .prepare_cached("DELETE FROM deliveries WHERE finished_ms < ?1")?
            .execute([before])?;
        steps::prune(&self.connection, before)
    }

    #[cfg(test)]
    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

/// Small caches: there is one of these per agent, and a turn touches few pages.
fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", USUALLY)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -256)?;
    connection.pragma_update(None, "journal_size_limit", 4 * 1024 * 1024)?;
    connection.pragma_update(None, "temp_store", "MEMORY")
}

/// Appends the messages; returns the row of the last one.
fn append_turn(transaction: &Transaction<'_>, record: &Record, now: i64) -> rusqlite::Result<i64> {
    let session: i64 = transaction
        .prepare_cached(
            "INSERT INTO sessions (key, created_ms) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET key = key RETURNING id",
        )?
        .query_row(params![record.session.as_str(), now], |row| row.get(0))?;
    let last: i64 = transaction
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM messages WHERE session = ?1")?
        .query_row([session], |row| row.get(0))?;
    let mut append = transaction.prepare_cached(
        "INSERT INTO messages (session, seq, role, content, tools, turn, created_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let turn = record.turn.to_string();
    for (seq, message) in (last + 1..).zip(&record.messages) {
        let role = encoding::role(message);
        let tools = encoding::tools(message);
        append.execute(params![
            session,
            seq,
            role,
            message.text(),
            tools,
            turn,
            now
        ])?;
    }
    Ok(transaction.last_insert_rowid())
}

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
