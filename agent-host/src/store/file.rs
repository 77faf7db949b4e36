//! The open file: every statement of the store. Synchronous; only the store thread runs it.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kennel_shared::{
    ids::DeliveryId,
    protocol::{ContextSpec, FailureKind, TurnFailure, TurnOutcome},
    session_key::SessionKey,
};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{
    Begun, OpenError, Record, StoreError,
    schema::{APPLICATION_ID, VERSION, migrate},
};
use crate::window::{Message, Role, Window};

/// How long a processed delivery is remembered. A supervisor redelivers within seconds of its return;
/// a week leaves room for one that was switched off meanwhile.
const DELIVERIES_KEPT: Duration = Duration::from_hours(7 * 24);

/// Old deliveries are looked for at the start and after so many commits.
const PRUNE_EVERY: u32 = 256;

/// How long to wait for somebody who reads the file from outside, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Newest first, by the index: the reader stops where its window is full.
pub(super) const TAIL: &str = "SELECT role, octet_length(content), content FROM messages
     WHERE session = ?1 ORDER BY seq DESC LIMIT ?2";

#[derive(Debug)]
pub(super) struct StoreFile {
    connection: Connection,
    commits: u32,
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
        configure(&connection).map_err(sqlite)?;
        migrate(&mut connection, version).map_err(sqlite)?;
        let file = Self {
            connection,
            commits: 0,
        };
        file.prune().map_err(sqlite)?;
        Ok(file)
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
        Ok(Begun::New(self.tail(session, context, new_bytes)?))
    }

    fn outcome(&self, delivery: DeliveryId) -> rusqlite::Result<Option<TurnOutcome>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT d.outcome, m.content, d.failure_kind, d.failure_text
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

    fn tail(
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
        let Some(session) = session else {
            return Ok(Vec::new());
        };
        let mut statement = self.connection.prepare_cached(TAIL)?;
        let mut rows = statement.query(params![session, context.max_messages])?;
        while let Some(row) = rows.next()? {
            let bytes = usize::try_from(row.get::<_, i64>(1)?).unwrap_or(usize::MAX);
            if !window.has_room(bytes) {
                break;
            }
            window.take(Message {
                role: role(row.get(0)?),
                text: row.get(2)?,
            });
        }
        Ok(window.into_messages())
    }

    pub(super) fn commit(&mut self, record: &Record) -> Result<(), StoreError> {
        let now = now_ms();
        let transaction = self.connection.transaction()?;
        let (outcome, reply, failure) = match &record.outcome {
            TurnOutcome::Replied(reply) => (
                0,
                Some(append_turn(&transaction, record, reply, now)?),
                None,
            ),
            TurnOutcome::Failed(failure) => (1, None, Some(failure)),
            TurnOutcome::Cancelled => (2, None, None),
        };
        transaction
            .prepare_cached(
                "INSERT INTO deliveries
                     (delivery, turn, outcome, reply, failure_kind, failure_text, finished_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                record.delivery.to_string(),
                record.turn.to_string(),
                outcome,
                reply,
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
        self.connection
            .prepare_cached("DELETE FROM deliveries WHERE finished_ms < ?1")?
            .execute([now_ms() - kept])
            .map(drop)
    }

    #[cfg(test)]
    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

/// Small caches: there is one of these per agent, and a turn touches few pages.
fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -256)?;
    connection.pragma_update(None, "journal_size_limit", 4 * 1024 * 1024)?;
    connection.pragma_update(None, "temp_store", "MEMORY")
}

/// Appends the question and the answer; returns the row of the answer.
fn append_turn(
    transaction: &Transaction<'_>,
    record: &Record,
    reply: &str,
    now: i64,
) -> rusqlite::Result<i64> {
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
        "INSERT INTO messages (session, seq, role, content, turn, created_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let turn = record.turn.to_string();
    for (seq, role, text) in [
        (last + 1, Role::User, record.text.as_str()),
        (last + 2, Role::Assistant, reply),
    ] {
        append.execute(params![session, seq, role_number(role), text, turn, now])?;
    }
    Ok(transaction.last_insert_rowid())
}

fn role_number(role: Role) -> i64 {
    match role {
        Role::User => 0,
        Role::Assistant => 1,
    }
}

fn role(number: i64) -> Role {
    if number == 0 {
        Role::User
    } else {
        Role::Assistant
    }
}

/// The kinds by number, for the file: a number is never given to another kind.
fn failure_number(kind: FailureKind) -> i64 {
    match kind {
        FailureKind::Provider => 0,
        FailureKind::Unavailable => 1,
        FailureKind::Timeout => 2,
        FailureKind::Store => 3,
        FailureKind::Overloaded => 4,
    }
}

fn failure_kind(number: i64) -> FailureKind {
    match number {
        0 => FailureKind::Provider,
        2 => FailureKind::Timeout,
        3 => FailureKind::Store,
        4 => FailureKind::Overloaded,
        _ => FailureKind::Unavailable,
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
