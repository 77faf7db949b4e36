//! Reads an agent's sessions from outside, while the agent may be at work.
//!
//! A connection of its own that cannot write. No read is held open for longer than a batch takes: the writer
//! never waits for a reader, but its log cannot be emptied while one is at work. Memory is that of a batch,
//! whatever the length of a session.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    path::{Path, PathBuf},
    time::Duration,
};

use kennel_shared::{
    ids::AgentId,
    session_key::SessionKey,
    sessions::{self, Call, Export, FORMAT, Line, ResultOf, Role},
};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use thiserror::Error;

use super::{
    encoding,
    file::now_ms,
    schema::{APPLICATION_ID, DELETED, VERSION},
    search::Needle,
};

/// A batch of an export: so many messages, and not many more bytes of text.
const BATCH: u32 = 64;
const BATCH_BYTES: usize = 256 * 1024;

/// So much text is looked through at a time, in bytes: a fraction of a second.
const LOOKED_THROUGH: usize = 256 * 1024 * 1024;

/// How long to wait while the log is being recovered after a crash.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a message is made of.
const COLUMNS: &str = "m.id, m.role, m.content, m.tools, m.turn, m.created_ms";

/// Why the store cannot be read.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    /// The agent has never answered.
    #[error("the agent has no store yet")]
    NoStore,
    /// It may not be opened.
    #[error("{path} may not be read: {source}")]
    Denied {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// It is no store of ours, or of a later version.
    #[error("{path} is no store that this program knows")]
    Foreign { path: PathBuf },
    /// An earlier version of the program wrote it, and still uses it or has not been started since.
    #[error("the store has version {found}, and this program reads {VERSION}")]
    Older { found: i32 },
    /// There is no such session.
    #[error("there is no such session")]
    NoSession,
    /// It was deleted while it was read.
    #[error("the session was deleted meanwhile")]
    DeletedMeanwhile,
    /// SQLite failed.
    #[error("the store cannot be read: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// Whoever reads the lines has gone, or cannot take them.
    #[error("the output cannot be written: {0}")]
    Output(#[from] std::io::Error),
}

/// Where lines go.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(&Line) -> std::io::Result<()>;

/// An agent's store, read-only.
#[derive(Debug)]
pub(crate) struct Reader {
    agent: AgentId,
    connection: Connection,
}

/// Where a session is.
struct Found {
    id: i64,
    created_ms: i64,
    messages: u64,
}

impl Reader {
    /// Opens the store of `agent`.
    pub(crate) fn open(agent: AgentId, path: &Path) -> Result<Self, ReadError> {
        match std::fs::File::open(path) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ReadError::NoStore);
            }
            Err(source) => {
                return Err(ReadError::Denied {
                    path: path.to_owned(),
                    source,
                });
            }
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // The file is the agent's, and so may be what some program has made of it.
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "cache_size", -1024)?;
        let header = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let (id, version) = (header("application_id")?, header("user_version")?);
        if id != APPLICATION_ID || version > VERSION {
            return Err(ReadError::Foreign {
                path: path.to_owned(),
            });
        }
        if version < VERSION {
            return Err(ReadError::Older { found: version });
        }
        Ok(Self { agent, connection })
    }

    /// The sessions, the one that was used last first.
    pub(crate) fn list(&self, limit: usize, sink: Sink<'_>) -> Result<(), ReadError> {
        // The greatest is the one to leave out next. Keys are read of those only that are shown.
        let mut newest: BinaryHeap<Reverse<(i64, i64)>> = BinaryHeap::new();
        let mut all = 0;
        let mut sessions = self
            .connection
            .prepare("SELECT id FROM sessions WHERE key < ?1 OR key >= 'deleted;'")?;
        let mut last = self.connection.prepare(
            "SELECT created_ms FROM messages WHERE session = ?1 ORDER BY seq DESC LIMIT 1",
        )?;
        let mut rows = sessions.query([DELETED])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let updated = last.query_row([id], |row| row.get(0)).optional()?;
            newest.push(Reverse((updated.unwrap_or(0), id)));
            if newest.len() > limit {
                newest.pop();
            }
            all += 1_u64;
        }
        let shown = newest.into_sorted_vec();
        let omitted = all - shown.len() as u64;
        for Reverse((updated_ms, id)) in shown {
            // One that was deleted meanwhile is left out.
            if let Some(session) = self.session(id, updated_ms)? {
                sink(&Line::Session(session))?;
            }
        }
        if omitted > 0 {
            sink(&Line::More {
                before: None,
                omitted: Some(omitted),
            })?;
        }
        Ok(())
    }

    fn session(&self, id: i64, updated_ms: i64) -> Result<Option<sessions::Session>, ReadError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT key, created_ms, (SELECT max(seq) FROM messages WHERE session = ?1)
             FROM sessions WHERE id = ?1",
        )?;
        let row = statement
            .query_row([id], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get(1)?,
                    row.get::<_, Option<i64>>(2)?,
                ))
            })
            .optional()?;
        let Some((key, created_ms, messages)) = row else {
            return Ok(None);
        };
        let Ok(session) = key.parse() else {
            return Ok(None);
        };
        Ok(Some(sessions::Session {
            session,
            agent: self.agent.clone(),
            created_ms,
            updated_ms,
            messages: count(messages),
        }))
    }

    fn find(&self, session: &SessionKey) -> Result<Found, ReadError> {
        let found = self
            .connection
            .query_row(
                "SELECT id, created_ms, (SELECT max(seq) FROM messages WHERE session = s.id)
                 FROM sessions s WHERE key = ?1",
                [session.as_str()],
                |row| {
                    Ok(Found {
                        id: row.get(0)?,
                        created_ms: row.get(1)?,
                        messages: count(row.get(2)?),
                    })
                },
            )
            .optional()?;
        found.ok_or(ReadError::NoSession)
    }

    /// Where in its session a window ends that comes before the message `id`.
    fn seq_before(&self, session: i64, id: Option<i64>) -> Result<i64, ReadError> {
        let Some(id) = id else {
            return Ok(i64::MAX);
        };
        let exact = self
            .connection
            .query_row(
                "SELECT seq FROM messages WHERE id = ?1 AND session = ?2",
                params![id, session],
                |row| row.get(0),
            )
            .optional()?;
        if let Some(seq) = exact {
            return Ok(seq);
        }
        // The message is of another session, or was never there. The index has the numbers.
        let last: Option<i64> = self.connection.query_row(
            "SELECT max(seq) FROM messages WHERE session = ?1 AND id < ?2",
            params![session, id],
            |row| row.get(0),
        )?;
        Ok(last.map_or(0, |last| last + 1))
    }

    /// The last messages of a session, oldest first.
    pub(crate) fn show(
        &self,
        session: &SessionKey,
        limit: u32,
        before: Option<i64>,
        sink: Sink<'_>,
    ) -> Result<(), ReadError> {
        let found = self.find(session)?;
        let before = self.seq_before(found.id, before)?;
        let first: Option<(i64, i64)> = self
            .connection
            .query_row(
                "SELECT seq, id FROM (SELECT seq, id FROM messages WHERE session = ?1 AND seq < ?2
                     ORDER BY seq DESC LIMIT ?3) ORDER BY seq LIMIT 1",
                params![found.id, before, limit],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let Some((first, id)) = first else {
            return Ok(());
        };
        if first > 1 {
            sink(&Line::More {
                before: Some(id),
                omitted: Some(count(Some(first - 1))),
            })?;
        }
        let mut after = first - 1;
        loop {
            let (lines, last) = self.batch(found.id, after, before, false)?;
            lines.iter().try_for_each(&mut *sink)?;
            match last {
                Some(last) => after = last,
                None => return Ok(()),
            }
        }
    }

    /// All of a session.
    pub(crate) fn export(&self, session: &SessionKey, sink: Sink<'_>) -> Result<(), ReadError> {
        let found = self.find(session)?;
        sink(&Line::Export(Export {
            format: FORMAT,
            session: session.clone(),
            agent: self.agent.clone(),
            created_ms: found.created_ms,
            exported_ms: now_ms(),
            messages: found.messages,
        }))?;
        let (mut after, mut messages) = (0, 0);
        loop {
            let (lines, last) = self.batch(found.id, after, i64::MAX, true)?;
            // It may be going away meanwhile, from its beginning on.
            match self.find(session) {
                Ok(now) if now.id == found.id => {}
                Ok(_) | Err(ReadError::NoSession) => return Err(ReadError::DeletedMeanwhile),
                Err(error) => return Err(error),
            }
            let Some(last) = last else {
                break;
            };
            for line in &lines {
                messages += u64::from(matches!(line, Line::Message(_)));
                sink(line)?;
            }
            after = last;
        }
        sink(&Line::End { messages })?;
        Ok(())
    }

    /// Some messages after `after` and before `before`, and where they end.
    fn batch(
        &self,
        session: i64,
        after: i64,
        before: i64,
        with_turns: bool,
    ) -> Result<(Vec<Line>, Option<i64>), ReadError> {
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT {COLUMNS}, m.seq FROM messages m
             WHERE m.session = ?1 AND m.seq > ?2 AND m.seq < ?3 ORDER BY m.seq LIMIT ?4"
        ))?;
        let mut rows = statement.query(params![session, after, before, BATCH])?;
        let (mut lines, mut last, mut bytes) = (Vec::new(), None, 0);
        while let Some(row) = rows.next()? {
            let message = message(row, None)?;
            last = Some(row.get(6)?);
            bytes += message.text.len();
            let id = message.id;
            lines.push(Line::Message(message));
            if with_turns && let Some(turn) = self.turn(id)? {
                lines.push(Line::Turn(turn));
            }
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        Ok((lines, last))
    }

    /// The turn whose reply this message is, as long as it is known.
    fn turn(&self, message: i64) -> Result<Option<sessions::Turn>, ReadError> {
        let turn = self
            .connection
            .prepare_cached(
                "SELECT delivery, turn, finished_ms FROM deliveries WHERE reply = ?1 LIMIT 1",
            )?
            .query_row([message], |row| {
                Ok(sessions::Turn {
                    delivery: row.get(0)?,
                    turn: row.get(1)?,
                    finished_ms: row.get(2)?,
                    steps: Vec::new(),
                })
            })
            .optional()?;
        let Some(mut turn) = turn else {
            return Ok(None);
        };
        let mut steps = self.connection.prepare_cached(
            "SELECT name, began_ms, ended_ms, input_tokens, output_tokens FROM steps
             WHERE delivery = ?1 ORDER BY seq",
        )?;
        let rows = steps.query_map([&turn.delivery], |row| {
            Ok(sessions::Step {
                tool: row.get(0)?,
                began_ms: row.get(1)?,
                ended_ms: row.get(2)?,
                input_tokens: row.get(3)?,
                output_tokens: row.get(4)?,
            })
        })?;
        turn.steps = rows.collect::<Result<_, _>>()?;
        Ok(Some(turn))
    }

    /// Messages that have a text, newest first.
    pub(crate) fn search(
        &self,
        session: Option<&SessionKey>,
        text: &str,
        (limit, before): (usize, Option<i64>),
        sink: Sink<'_>,
    ) -> Result<(), ReadError> {
        let needle = Needle::new(text);
        let (mut found, mut bytes, mut more) = (Vec::new(), 0, None);
        {
            let mut statement;
            let mut rows = if let Some(session) = session {
                let session = self.find(session)?.id;
                statement = self.connection.prepare(&format!(
                    "SELECT {COLUMNS}, m.session FROM messages m
                     WHERE m.session = ?1 AND m.seq < ?2 ORDER BY m.seq DESC"
                ))?;
                statement.query(params![session, self.seq_before(session, before)?])?
            } else {
                statement = self.connection.prepare(&format!(
                    "SELECT {COLUMNS}, m.session FROM messages m WHERE m.id < ?1 ORDER BY m.id DESC"
                ))?;
                statement.query([before.unwrap_or(i64::MAX)])?
            };
            while let Some(row) = rows.next()? {
                // Not copied: most of them are not it.
                let content = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
                bytes += content.len();
                if let Some(excerpt) = needle.find(content)
                    && let Some(key) = self.key(row.get(6)?)?
                {
                    let mut message = message(row, Some(excerpt))?;
                    message.session = Some(key);
                    found.push(message);
                }
                if found.len() >= limit || bytes >= LOOKED_THROUGH {
                    more = Some(row.get(0)?);
                    break;
                }
            }
        }
        for message in found {
            sink(&Line::Message(message))?;
        }
        if more.is_some() {
            sink(&Line::More {
                before: more,
                omitted: None,
            })?;
        }
        Ok(())
    }

    /// The key of a session that is not deleted.
    fn key(&self, session: i64) -> Result<Option<SessionKey>, ReadError> {
        let key: Option<String> = self
            .connection
            .prepare_cached("SELECT key FROM sessions WHERE id = ?1")?
            .query_row([session], |row| row.get(0))
            .optional()?;
        Ok(key.and_then(|key| key.parse().ok()))
    }
}

fn count(last: Option<i64>) -> u64 {
    last.and_then(|last| u64::try_from(last).ok()).unwrap_or(0)
}

/// From [`COLUMNS`]; with another text, where that is given.
fn message(row: &Row<'_>, text: Option<String>) -> Result<sessions::Message, ReadError> {
    use crate::window::Message;

    let content = match text {
        Some(text) => text,
        None => row.get(2)?,
    };
    let (mut calls, mut result_of) = (Vec::new(), None);
    let (role, text) = match encoding::message(row.get(1)?, content, row.get(3)?)? {
        Message::User(text) => (Role::User, text),
        Message::Model { text, calls: made } => {
            let call = |call: crate::window::Call| Call {
                id: call.id,
                name: call.name,
                arguments: call.arguments,
            };
            calls = made.into_iter().map(call).collect();
            (Role::Assistant, text)
        }
        Message::Result { call, name, text } => {
            result_of = Some(ResultOf { call, name });
            (Role::Tool, text)
        }
    };
    Ok(sessions::Message {
        id: row.get(0)?,
        session: None,
        role,
        text,
        calls,
        result_of,
        turn: row.get(4)?,
        created_ms: row.get(5)?,
    })
}
