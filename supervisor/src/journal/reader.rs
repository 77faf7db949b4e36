//! What is read: at the start, to go on where the last supervisor was, and by `kennel queue`.
//!
//! Everything comes in windows: of a hundred thousand messages that wait, no more than a window is ever
//! in memory. A [`Reader`] is a connection of its own that cannot write; it waits for nobody and nobody
//! for it. Its methods read from the disk: call them in the blocking pool, or before the loop begins.

use std::path::{Path, PathBuf};

use kennel_shared::{
    envelope::{Peer, Sender},
    ids::{AgentId, ChannelId, DeliveryId},
    session_key::SessionKey,
};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};
use thiserror::Error;

use crate::{
    dispatch::gather,
    turns::{Outcome, TurnRecord},
};

use super::{
    entry::{
        self, CallerKey, Chat, Child, Digest, Ended, Lease, Origin, ScheduleMark, SendId,
        SendState, Seq, Spending, State, UnixMs,
    },
    file::quick_check,
    sql::{self, SqlResult, parsed, parsed_or_null},
};
use crate::schedule::ScheduleId;

/// The most bytes of text in one window, beside its first entry.
const WINDOW_BYTES: usize = 1024 * 1024;

/// Characters of a text that a list shows.
const PREVIEW: u32 = 80;

/// The journal could not be read.
#[derive(Debug, Error)]
#[error("the journal {path} cannot be read")]
pub struct ReadError {
    /// Which file.
    pub path: PathBuf,
    /// Why.
    pub source: rusqlite::Error,
}

/// Some of many, and where the next window begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window<T, C> {
    /// In order.
    pub entries: Vec<T>,
    /// What to ask for the next window with; nothing when this was the last.
    pub next: Option<C>,
}

/// A delivery without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its place.
    pub seq: Seq,
    /// Which.
    pub delivery: DeliveryId,
    /// Its conversation.
    pub session: SessionKey,
    /// Who wrote it.
    pub sender: Sender,
    /// The account that it came through.
    pub channel: Option<ChannelId>,
    /// How it stands.
    pub state: State,
    /// How many lives of its agent it has cost.
    pub attempts: u32,
    /// Who has it, or had it last.
    pub lease: Option<Lease>,
    /// When it was accepted.
    pub received: UnixMs,
    /// How the text begins.
    pub preview: String,
    /// Its length in bytes.
    pub bytes: u64,
}

/// A delivery to be handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its place.
    pub seq: Seq,
    /// Which.
    pub delivery: DeliveryId,
    /// Its conversation.
    pub session: SessionKey,
    /// How it stands: queued or leased.
    pub state: State,
    /// How many lives of its agent it has cost.
    pub attempts: u32,
    /// Who has it.
    pub lease: Option<Lease>,
    /// The schedule that it is a run of.
    pub schedule: Option<ScheduleId>,
}

/// What is needed to hand a delivery out and its answer back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Which.
    pub delivery: DeliveryId,
    /// Where it came from.
    pub origin: Origin,
    /// Its conversation.
    pub session: SessionKey,
    /// Who wrote it.
    pub sender: Sender,
    /// What.
    pub text: String,
    /// Where the answer goes.
    pub reply_to: Option<String>,
}

/// All that is known of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// In a list.
    pub listed: Listed,
    /// In full; gone where a damaged file has lost it.
    pub text: Option<String>,
    /// How it ended.
    pub end: Option<Ended>,
    /// The delivery as which it was tried again.
    pub retried: Option<DeliveryId>,
    /// What was sent because of it.
    pub sends: Vec<Owed>,
}

/// Something to be sent, or that was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// Which.
    pub id: SendId,
    /// Because of which delivery.
    pub delivery: Option<DeliveryId>,
    /// Through which account.
    pub channel: ChannelId,
    /// To which chat.
    pub peer: Peer,
    /// The message that it answers.
    pub reply_to: Option<String>,
    /// What.
    pub text: String,
    /// When it was put down.
    pub created: UnixMs,
    /// How it stands.
    pub state: SendState,
    /// Parts that the platform has.
    pub parts_done: u32,
    /// Attempts that failed for the time being.
    pub attempts: u32,
    /// Some of it may have been sent twice.
    pub doubtful: bool,
    /// The platform's ids of the parts.
    pub platform_ids: Vec<String>,
    /// Why it was given up.
    pub failure: Option<String>,
}

/// Which deliveries to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Those that wait or run.
    Open,
    /// Those that were set aside.
    Poison,
    /// All that are kept.
    All,
}

/// Where a list goes on: behind this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// Whose.
    pub agent: String,
    /// Its place.
    pub seq: Seq,
}

/// How many deliveries of an agent there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// Whose.
    pub agent: AgentId,
    /// That wait.
    pub queued: u64,
    /// That run.
    pub leased: u64,
    /// That were set aside.
    pub poison: u64,
}

/// Something that was put down to be looked up later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// Its number.
    pub id: i64,
    /// When.
    pub at: UnixMs,
    /// What happened.
    pub what: String,
    /// To whom.
    pub agent: Option<AgentId>,
    /// In words.
    pub detail: String,
}

/// A schedule, and what became of its last run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// How far it has come.
    pub mark: ScheduleMark,
    /// How its last run stands; nothing where it has none, or where that is not known any more.
    pub state: Option<State>,
    /// When that ended.
    pub ended: Option<UnixMs>,
    /// Why it has no answer.
    pub why: Option<String>,
}

/// See the module.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: PathBuf,
}

impl Reader {
    /// Opens the journal for reading. It must exist.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let opened = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(std::time::Duration::from_secs(2))?;
            connection.pragma_update(None, "query_only", true)?;
            connection.pragma_update(None, "cache_size", -256)?;
            Ok(connection)
        };
        let path = path.to_owned();
        match opened() {
            Ok(connection) => Ok(Self { connection, path }),
            Err(source) => Err(ReadError { path, source }),
        }
    }

    fn said<T>(&self, read: SqlResult<T>) -> Result<T, ReadError> {
        read.map_err(|source| ReadError {
            path: self.path.clone(),
            source,
        })
    }

    /// What waits for an agent or is with it, in order, behind `after`: what its lane is rebuilt of.
    pub fn waiting(
        &self,
        agent: &AgentId,
        after: Option<Seq>,
        limit: u32,
    ) -> Result<Window<Waiting, Seq>, ReadError> {
        let after = after.map_or(0, |seq| seq.0);
        let entries = self.rows(
            "SELECT seq, delivery, session, state, attempts, generation, turn, schedule FROM inbox
             WHERE agent = ?1 AND seq > ?2 AND state IN (0, 1) ORDER BY seq LIMIT ?3",
            params![agent.as_str(), after, limit],
            |row| {
                Ok(Waiting {
                    seq: Seq(row.get(0)?),
                    delivery: parsed(row, 1)?,
                    session: parsed(row, 2)?,
                    state: sql::state(row, 3)?,
                    attempts: row.get(4)?,
                    lease: sql::lease(row, 5, 6)?,
                    schedule: parsed_or_null(row, 7)?,
                })
            },
        )?;
        Ok(window(entries, limit, |last| last.seq))
    }

    /// A delivery with all that is needed to hand it out.
    pub fn message(&self, delivery: DeliveryId) -> Result<Option<Message>, ReadError> {
        self.one(
            "SELECT i.delivery, i.channel, i.message_id, i.caller_key, i.body_digest, i.session,
                i.sender_id, i.sender_name, i.reply_to, t.text, i.schedule, i.due_ms
             FROM inbox i JOIN inbox_texts t ON t.seq = i.seq WHERE i.delivery = ?1",
            params![delivery.to_string()],
            |row| {
                let sender = Sender {
                    id: row.get(6)?,
                    name: row.get(7)?,
                };
                Ok(Message {
                    delivery: parsed(row, 0)?,
                    origin: match parsed_or_null(row, 10)? {
                        Some(schedule) => Origin::Schedule {
                            schedule,
                            due: row.get(11)?,
                        },
                        None => origin(row, 1)?,
                    },
                    session: parsed(row, 5)?,
                    reply_to: row.get(8)?,
                    text: gather::readable(row.get(9)?, &sender),
                    sender,
                })
            },
        )
    }

    /// What is still to be sent through `channel`, in order, behind `after`. A window ends early at a
    /// megabyte of text.
    pub fn owed(
        &self,
        channel: &ChannelId,
        after: Option<SendId>,
        limit: u32,
    ) -> Result<Window<Owed, SendId>, ReadError> {
        let read = || {
            let mut statement = self.connection.prepare_cached(OWED_BY_CHANNEL)?;
            let after = after.map_or(0, |id| id.0);
            let mut rows = statement.query(params![channel.as_str(), after, limit])?;
            let (mut entries, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                let next = owed(row)?;
                bytes += next.text.len();
                if bytes > WINDOW_BYTES && !entries.is_empty() {
                    return Ok((entries, true));
                }
                entries.push(next);
            }
            let full = entries.len() == limit as usize;
            Ok((entries, full))
        };
        let (entries, more) = self.said(read())?;
        let next = entries.last().map(|last: &Owed| last.id);
        Ok(Window {
            next: next.filter(|_| more),
            entries,
        })
    }

    /// How much is still to be sent through `channel`.
    pub fn owed_count(&self, channel: &ChannelId) -> Result<usize, ReadError> {
        let counted = self.one(
            "SELECT count(*) FROM outbox WHERE channel = ?1 AND state IN (0, 1, 4)",
            params![channel.as_str()],
            |row| row.get::<_, i64>(0),
        )?;
        Ok(usize::try_from(counted.unwrap_or(0)).unwrap_or(0))
    }

    /// The accounts that something is still to be sent through.
    pub fn owing(&self) -> Result<Vec<ChannelId>, ReadError> {
        self.rows(
            "SELECT DISTINCT channel FROM outbox WHERE state IN (0, 1, 4)",
            (),
            |row| parsed(row, 0),
        )
    }

    /// The last life of each agent, whether it has ended or not: a generation is never used again.
    pub fn children(&self) -> Result<Vec<Child>, ReadError> {
        self.rows(sql::CHILD, (), sql::child)
    }

    /// All schedules that were tracked, by name.
    pub fn schedules(&self) -> Result<Vec<Scheduled>, ReadError> {
        self.rows(
            sql::schedules::MARKS_WITH_ENDS,
            (),
            sql::schedules::scheduled,
        )
    }

    /// How much there is, for each agent that has some.
    pub fn counts(&self) -> Result<Vec<Count>, ReadError> {
        let one = |sql| -> Result<Vec<(AgentId, u64, u64)>, ReadError> {
            self.rows(sql, (), |row| {
                let number = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
                Ok((parsed(row, 0)?, number(1)?, number(2)?))
            })
        };
        let open = one(
            "SELECT agent, sum(state = 0), sum(state = 1) FROM inbox WHERE state IN (0, 1) GROUP BY agent",
        )?;
        let poison = one("SELECT agent, count(*), 0 FROM inbox WHERE state = 5 GROUP BY agent")?;
        let mut counts: Vec<Count> = open
            .into_iter()
            .map(|(agent, queued, leased)| Count {
                agent,
                queued,
                leased,
                poison: 0,
            })
            .collect();
        for (agent, poison, _) in poison {
            match counts.iter_mut().find(|count| count.agent == agent) {
                Some(count) => count.poison = poison,
                None => counts.push(Count {
                    agent,
                    queued: 0,
                    leased: 0,
                    poison,
                }),
            }
        }
        Ok(counts)
    }

    /// Deliveries, of one agent or of all in turn, in order of acceptance.
    pub fn list(
        &self,
        view: View,
        agent: Option<&AgentId>,
        behind: Option<&Behind>,
        limit: u32,
    ) -> Result<Window<Listed, Behind>, ReadError> {
        let states = match view {
            View::Open => "i.state IN (0, 1)",
            View::Poison => "i.state = 5",
            View::All => "1",
        };
        let (agent_is, first) = match agent {
            Some(agent) => ("i.agent = ?1", agent.as_str()),
            None => ("?1 = ''", ""),
        };
        let sql = format!(
            "{LISTED} WHERE {states} AND {agent_is} AND (i.agent, i.seq) > (?2, ?3)
             ORDER BY i.agent, i.seq LIMIT ?4"
        );
        let (after, seq) = behind.map_or((first, 0), |at| (at.agent.as_str(), at.seq.0));
        let entries = self.rows(&sql, params![first, after, seq, limit], listed)?;
        Ok(window(entries, limit, |last| Behind {
            agent: last.session.agent_str().to_owned(),
            seq: last.seq,
        }))
    }

    /// All that is known of a delivery.
    pub fn show(&self, delivery: DeliveryId) -> Result<Option<Shown>, ReadError> {
        let id = delivery.to_string();
        let sql = format!("{LISTED} WHERE i.delivery = ?1");
        let Some(listed) = self.one(&sql, params![id], listed)? else {
            return Ok(None);
        };
        let sends = self.rows(OWED_BY_DELIVERY, params![id], owed)?;
        self.one(
            "SELECT t.text, i.ended_ms, i.end_kind, coalesce(i.end_text, a.text), i.input_tokens,
                i.output_tokens, i.retried
             FROM inbox i LEFT JOIN inbox_texts t ON t.seq = i.seq LEFT JOIN answers a ON a.seq = i.seq
             WHERE i.delivery = ?1",
            params![id],
            |row| {
                let ended: Option<UnixMs> = row.get(1)?;
                let text: Option<String> = row.get(0)?;
                Ok(Shown {
                    text: text.map(|text| gather::readable(text, &listed.sender)),
                    listed,
                    end: match ended {
                        Some(at) => Some(sql::ended(row, at, 2)?),
                        None => None,
                    },
                    retried: parsed_or_null(row, 6)?,
                    sends,
                })
            },
        )
    }

    /// What people have chosen for their chats.
    pub fn chats(&self) -> Result<Vec<Chat>, ReadError> {
        self.rows(
            "SELECT session, mode, begun FROM chats ORDER BY session",
            params![],
            |row| {
                let mode: Option<i64> = row.get(1)?;
                Ok(Chat {
                    key: parsed(row, 0)?,
                    mode: mode.and_then(entry::mode),
                    begun: row.get(2)?,
                })
            },
        )
    }

    /// The delivery whose id begins so, if there is just one: nobody types all of it.
    pub fn find(&self, beginning: &str) -> Result<Option<DeliveryId>, ReadError> {
        let end = format!("{beginning}g");
        let found = self.rows(
            "SELECT delivery FROM inbox WHERE delivery >= ?1 AND delivery < ?2 LIMIT 2",
            params![beginning, end],
            |row| parsed(row, 0),
        )?;
        Ok(match found[..] {
            [one] => Some(one),
            _ => None,
        })
    }

    /// What was put down to be looked up, newest first, before number `before`.
    pub fn audit(&self, before: Option<i64>, limit: u32) -> Result<Vec<Audited>, ReadError> {
        self.rows(
            "SELECT id, at_ms, what, agent, detail FROM audit WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
            params![before.unwrap_or(i64::MAX), limit],
            |row| {
                Ok(Audited {
                    id: row.get(0)?,
                    at: row.get(1)?,
                    what: row.get(2)?,
                    agent: parsed_or_null(row, 3)?,
                    detail: row.get(4)?,
                })
            },
        )
    }

    /// Turns that have ended, of one agent or of all, newest first, before number `before`; each with its number.
    pub fn turns(
        &self,
        agent: Option<&AgentId>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<(TurnRecord, i64)>, ReadError> {
        let (agent_is, named) = match agent {
            Some(agent) => ("agent = ?1", agent.as_str()),
            None => ("?1 = ''", ""),
        };
        let sql = format!(
            "{} WHERE {agent_is} AND id < ?2 ORDER BY id DESC LIMIT ?3",
            sql::TURN
        );
        let before = before.unwrap_or(i64::MAX);
        self.rows(&sql, params![named, before, limit], sql::turn)
    }

    /// The turns whose id begins so, or who answered the message whose id does, the last first; two at most. A message is
    /// known for as long as it is kept.
    pub fn find_turns(&self, beginning: &str) -> Result<Vec<TurnRecord>, ReadError> {
        let end = format!("{beginning}g");
        let find = |which: &str| {
            let sql = format!("{} WHERE {which} ORDER BY id DESC LIMIT 2", sql::TURN);
            self.rows(&sql, params![beginning, end], sql::turn)
        };
        let mut found = find("turn >= ?1 AND turn < ?2")?;
        if found.is_empty() {
            found = find(
                "turn IN (SELECT turn FROM inbox WHERE delivery >= ?1 AND delivery < ?2 LIMIT 3)",
            )?;
            // It was handed out again since, and has not ended yet.
            found.retain(|(turn, _)| turn.outcome != Outcome::Lost);
        }
        Ok(found.into_iter().map(|(turn, _)| turn).collect())
    }

    /// What an agent has spent since then, to the quarter of an hour.
    pub fn spent_since(&self, agent: &AgentId, since: UnixMs) -> Result<Spending, ReadError> {
        let spent = self.one(
            "SELECT sum(turns), sum(input), sum(output), sum(cost) FROM spendings
             WHERE agent = ?1 AND quarter >= ?2",
            params![agent.as_str(), since.div_euclid(sql::QUARTER_MS)],
            |row| {
                // Nothing was spent where there is nothing to add up.
                let number = |column| -> SqlResult<u64> {
                    let sum: Option<i64> = row.get(column)?;
                    Ok(sum.unwrap_or(0).unsigned_abs())
                };
                Ok(Spending {
                    turns: number(0)?,
                    input_tokens: number(1)?,
                    output_tokens: number(2)?,
                    cost: number(3)?,
                })
            },
        )?;
        Ok(spent.unwrap_or_default())
    }

    /// How many steps of the schema the file has had.
    pub(super) fn version(&self) -> Result<i64, ReadError> {
        self.said(
            self.connection
                .pragma_query_value(None, "user_version", |row| row.get(0)),
        )
    }

    /// Reads the whole file; the error says what is wrong with it.
    pub fn check(&self) -> Result<(), ReadError> {
        self.said(quick_check(&self.connection))
    }

    fn rows<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> SqlResult<T>,
    ) -> Result<Vec<T>, ReadError> {
        let all = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.query_map(params, read)?.collect()
        };
        self.said(all())
    }

    fn one<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> SqlResult<T>,
    ) -> Result<Option<T>, ReadError> {
        let one = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.query_row(params, read).optional()
        };
        self.said(one())
    }
}

fn window<T, C>(entries: Vec<T>, limit: u32, cursor: impl FnOnce(&T) -> C) -> Window<T, C> {
    let full = entries.len() == limit as usize;
    Window {
        next: entries.last().filter(|_| full).map(cursor),
        entries,
    }
}

/// The columns of [`listed`].
const LISTED: &str =
    "SELECT i.seq, i.delivery, i.session, i.sender_id, i.sender_name, i.channel, i.state,
        i.attempts, i.generation, i.turn, i.received_ms, coalesce(substr(t.text, 1, 80), ''),
        coalesce(octet_length(t.text), 0)
    FROM inbox i LEFT JOIN inbox_texts t ON t.seq = i.seq";

const _: () = assert!(PREVIEW == 80, "LISTED says so too");

fn listed(row: &Row<'_>) -> SqlResult<Listed> {
    Ok(Listed {
        seq: Seq(row.get(0)?),
        delivery: parsed(row, 1)?,
        session: parsed(row, 2)?,
        sender: Sender {
            id: row.get(3)?,
            name: row.get(4)?,
        },
        channel: parsed_or_null(row, 5)?,
        state: sql::state(row, 6)?,
        attempts: row.get(7)?,
        lease: sql::lease(row, 8, 9)?,
        received: row.get(10)?,
        preview: gather::preview(row.get(11)?),
        bytes: row.get::<_, i64>(12)?.unsigned_abs(),
    })
}

macro_rules! owed_columns {
    ($rest:literal) => {
        concat!(
            "SELECT o.id, o.delivery, o.channel, o.peer_kind, o.peer, o.reply_to, coalesce(t.text, ''),
                o.created_ms, o.state, o.parts_done, o.attempts, o.doubtful, o.platform_ids, o.failure
             FROM outbox o LEFT JOIN outbox_texts t ON t.id = o.id ",
            $rest
        )
    };
}

const OWED_BY_CHANNEL: &str = owed_columns!(
    "WHERE o.channel = ?1 AND o.id > ?2 AND o.state IN (0, 1, 4) ORDER BY o.id LIMIT ?3"
);
const OWED_BY_DELIVERY: &str = owed_columns!("WHERE o.delivery = ?1 ORDER BY o.id");

fn owed(row: &Row<'_>) -> SqlResult<Owed> {
    Ok(Owed {
        id: SendId(row.get(0)?),
        delivery: parsed_or_null(row, 1)?,
        channel: parsed(row, 2)?,
        peer: Peer {
            kind: sql::peer_kind(row, 3)?,
            id: row.get(4)?,
        },
        reply_to: row.get(5)?,
        text: row.get(6)?,
        created: row.get(7)?,
        state: sql::send_state(row, 8)?,
        parts_done: row.get(9)?,
        attempts: row.get(10)?,
        doubtful: row.get(11)?,
        platform_ids: sql::ids(row, 12)?,
        failure: row.get(13)?,
    })
}

/// From the columns channel, message id, key and digest, from `first` on.
fn origin(row: &Row<'_>, first: usize) -> SqlResult<Origin> {
    let message_id: Option<String> = row.get(first + 1)?;
    let key: Option<String> = row.get(first + 2)?;
    Ok(match (parsed_or_null(row, first)?, message_id) {
        (Some(channel), message_id) => Origin::Channel {
            channel,
            // One that was tried again has none of its own.
            message_id: message_id.unwrap_or_default(),
        },
        (None, _) => Origin::Caller {
            key: match key {
                Some(key) => Some(CallerKey {
                    key,
                    body: Digest(row.get(first + 3)?),
                }),
                None => None,
            },
        },
    })
}

#[cfg(test)]
mod tests;
