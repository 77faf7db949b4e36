//! [`Rows`] in SQLite: every statement that an operation may need.

pub(super) mod schedules;

use std::{borrow::Cow, str::FromStr};

use kennel_shared::{
    envelope::{PeerKind, Sender},
    ids::{AgentId, ChannelId, DeliveryId, Generation},
};
use rusqlite::{
    Connection, OptionalExtension as _, Row, ToSql, params,
    types::{FromSqlError, Type},
};

use crate::turns::{Outcome, TurnRecord};

use super::{
    core::{Closed, Open, Rows},
    entry::{
        Chat, Child, Digest, End, Ended, Lease, NewAudit, NewDelivery, NewSend, Origin,
        ScheduleMark, SendId, SendStanding, SendState, Seq, Spending, Standing, State,
        TokenDigests, Tokens, UnixMs, end_kind, end_kind_code, mode_code,
    },
    failpoint::{FailPoints, Point},
};
use crate::schedule::ScheduleId;

/// What was spent is added up by this.
pub(super) const QUARTER_MS: UnixMs = 15 * 60 * 1000;

/// The rows of an open file, inside a transaction.
pub(super) struct SqlRows<'a> {
    pub(super) connection: &'a Connection,
    pub(super) points: &'a FailPoints,
}

pub(super) type SqlResult<T> = rusqlite::Result<T>;

/// A value that this program never writes: the file is damaged.
fn nonsense(column: usize, what: impl Into<Cow<'static, str>>) -> rusqlite::Error {
    let what: String = what.into().into_owned();
    let error = FromSqlError::Other(what.into());
    rusqlite::Error::FromSqlConversionFailure(column, Type::Null, Box::new(error))
}

/// A text of ours, read back.
pub(super) fn parsed<T: FromStr>(row: &Row<'_>, column: usize) -> SqlResult<T> {
    let text = row.get_ref(column)?.as_str()?;
    text.parse()
        .map_err(|_| nonsense(column, format!("{text:?} has a form that is never written")))
}

pub(super) fn parsed_or_null<T: FromStr>(row: &Row<'_>, column: usize) -> SqlResult<Option<T>> {
    match row.get_ref(column)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => parsed(row, column).map(Some),
    }
}

pub(super) fn state(row: &Row<'_>, column: usize) -> SqlResult<State> {
    State::from_code(row.get(column)?).ok_or_else(|| nonsense(column, "no state has this number"))
}

pub(super) fn send_state(row: &Row<'_>, column: usize) -> SqlResult<SendState> {
    SendState::from_code(row.get(column)?)
        .ok_or_else(|| nonsense(column, "no state has this number"))
}

pub(super) fn peer_kind(row: &Row<'_>, column: usize) -> SqlResult<PeerKind> {
    match row.get(column)? {
        0 => Ok(PeerKind::Direct),
        1 => Ok(PeerKind::Group),
        _ => Err(nonsense(column, "no kind of peer has this number")),
    }
}

fn digest(bytes: Option<[u8; 32]>) -> Option<Digest> {
    bytes.map(Digest)
}

pub(super) fn lease(row: &Row<'_>, generation: usize, turn: usize) -> SqlResult<Option<Lease>> {
    let generation: Option<i64> = row.get(generation)?;
    let turn = parsed_or_null(row, turn)?;
    Ok(generation.zip(turn).map(|(generation, turn)| Lease {
        generation: Generation(generation.cast_unsigned()),
        turn,
    }))
}

pub(super) fn ids(row: &Row<'_>, column: usize) -> SqlResult<Vec<String>> {
    serde_json::from_str(row.get_ref(column)?.as_str()?)
        .map_err(|_| nonsense(column, "no list of ids"))
}

impl SqlRows<'_> {
    fn write(&self, sql: &str, params: &[&dyn ToSql]) -> SqlResult<usize> {
        self.points.reach(Point::Row)?;
        self.connection.prepare_cached(sql)?.execute(params)
    }

    fn one<T>(
        &self,
        sql: &str,
        params: &[&dyn ToSql],
        read: impl FnOnce(&Row<'_>) -> SqlResult<T>,
    ) -> SqlResult<Option<T>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.query_row(params, read).optional()
    }

    /// What was with a platform when the supervisor died may have arrived.
    pub(super) fn recall_sends(&self) -> SqlResult<usize> {
        self.write(
            "UPDATE outbox
             SET state = CASE repeatable WHEN 0 THEN 4 ELSE 0 END, doubtful = max(doubtful, 1 - repeatable)
             WHERE state = 1",
            &[],
        )
    }
}

macro_rules! standing_columns {
    ($rest:literal) => {
        concat!(
            "SELECT i.delivery, i.seq, i.session, i.state, i.attempts, i.generation, i.turn, i.ended_ms,
                i.end_kind, coalesce(i.end_text, a.text), i.input_tokens, i.output_tokens,
                i.caller_key IS NOT NULL, i.retried ",
            $rest
        )
    };
}

/// One, by its id, for [`standing`].
const STANDING: &str =
    standing_columns!("FROM inbox i LEFT JOIN answers a ON a.seq = i.seq WHERE i.delivery = ?1");

/// All of them, for [`standing`]; the row's id is the last column.
pub(super) const STANDING_OF_ALL: &str =
    standing_columns!(", i.seq FROM inbox i LEFT JOIN answers a ON a.seq = i.seq");

/// What has a form in the outbox; the row's id is the last column.
pub(super) const SENDS_OF_ALL: &str =
    "SELECT id, state, peer_kind, channel, delivery, platform_ids, id FROM outbox";

/// All children, for [`child`]; the row's id is the last column.
pub(super) const CHILDREN_OF_ALL: &str =
    "SELECT agent, generation, pid, start_time, token, previous_token, group_path, started_ms, ended_ms,
        made_of, id
     FROM children";

/// The columns of [`turn`].
pub(super) const TURN: &str = "SELECT record, id FROM turns";

/// All turns, for [`turn`]; the row's id is the last column.
pub(super) const TURNS_OF_ALL: &str = TURN;

/// What was spent, for [`spending`]; the row's id is the last column.
pub(super) const SPENDINGS_OF_ALL: &str =
    "SELECT agent, turns, input, output, cost, id FROM spendings";

/// A turn, and its number.
pub(super) fn turn(row: &Row<'_>) -> SqlResult<(TurnRecord, i64)> {
    let record = serde_json::from_str(row.get_ref(0)?.as_str()?)
        .map_err(|_| nonsense(0, "no record of a turn"))?;
    Ok((record, row.get(1)?))
}

/// Whose, and how much.
pub(super) fn spending(row: &Row<'_>) -> SqlResult<(AgentId, Spending)> {
    let number = |column| {
        let number: i64 = row.get(column)?;
        u64::try_from(number).map_err(|_| nonsense(column, "less than nothing"))
    };
    let spending = Spending {
        turns: number(1)?,
        input_tokens: number(2)?,
        output_tokens: number(3)?,
        cost: number(4)?,
    };
    Ok((parsed(row, 0)?, spending))
}

pub(super) fn standing(row: &Row<'_>) -> SqlResult<Standing> {
    let ended: Option<UnixMs> = row.get(7)?;
    Ok(Standing {
        delivery: parsed(row, 0)?,
        seq: Seq(row.get(1)?),
        session: parsed(row, 2)?,
        state: state(row, 3)?,
        attempts: row.get(4)?,
        lease: lease(row, 5, 6)?,
        end: match ended {
            Some(at) => Some(self::ended(row, at, 8)?),
            None => None,
        },
        keyed: row.get(12)?,
        retried: parsed_or_null(row, 13)?,
    })
}

/// From the columns kind, text and both counts of tokens, from `first` on.
pub(super) fn ended(row: &Row<'_>, at: UnixMs, first: usize) -> SqlResult<Ended> {
    let kind: Option<i64> = row.get(first)?;
    Ok(Ended {
        at,
        kind: kind.and_then(end_kind),
        text: row.get(first + 1)?,
        tokens: Tokens {
            input: row.get(first + 2)?,
            output: row.get(first + 3)?,
        },
    })
}

/// The columns of [`child`].
pub(super) const CHILD: &str =
    "SELECT agent, generation, pid, start_time, token, previous_token, group_path,
        started_ms, ended_ms, made_of FROM children";

pub(super) fn child(row: &Row<'_>) -> SqlResult<Child> {
    Ok(Child {
        agent: parsed(row, 0)?,
        generation: Generation(row.get::<_, i64>(1)?.cast_unsigned()),
        pid: row.get(2)?,
        start_time: row.get::<_, i64>(3)?.cast_unsigned(),
        tokens: TokenDigests {
            current: Digest(row.get(4)?),
            previous: digest(row.get(5)?),
        },
        group: row.get(6)?,
        started: row.get(7)?,
        ended: row.get(8)?,
        made_of: digest(row.get(9)?),
    })
}

impl Rows for SqlRows<'_> {
    type Error = rusqlite::Error;

    fn delivery(&self, delivery: DeliveryId) -> SqlResult<Option<Standing>> {
        self.one(STANDING, params![delivery.to_string()], standing)
    }

    fn schedule_of(&self, delivery: DeliveryId) -> SqlResult<Option<ScheduleId>> {
        let found = self.one(
            "SELECT schedule FROM inbox WHERE delivery = ?1",
            params![delivery.to_string()],
            |row| parsed_or_null(row, 0),
        )?;
        Ok(found.flatten())
    }

    fn by_message(&self, channel: &ChannelId, message_id: &str) -> SqlResult<Option<DeliveryId>> {
        self.one(
            "SELECT delivery FROM inbox WHERE channel = ?1 AND message_id = ?2",
            params![channel.as_str(), message_id],
            |row| parsed(row, 0),
        )
    }

    fn by_key(&self, key: &str) -> SqlResult<Option<(DeliveryId, Digest)>> {
        self.one(
            "SELECT delivery, body_digest FROM inbox WHERE caller_key = ?1",
            params![key],
            |row| Ok((parsed(row, 0)?, Digest(row.get(1)?))),
        )
    }

    fn insert(&mut self, new: &NewDelivery, now: UnixMs) -> SqlResult<Seq> {
        let (channel, message_id) = match &new.origin {
            Origin::Channel {
                channel,
                message_id,
            } => (Some(channel.as_str()), Some(message_id.as_str())),
            Origin::Caller { .. } | Origin::Schedule { .. } => (None, None),
        };
        let (schedule, due) = match &new.origin {
            Origin::Schedule { schedule, due } => (Some(schedule.as_str()), *due),
            Origin::Caller { .. } | Origin::Channel { .. } => (None, None),
        };
        let key = new.origin.key();
        self.write(
            "INSERT INTO inbox (delivery, channel, message_id, caller_key, body_digest, agent, session,
                sender_id, sender_name, reply_to, received_ms, schedule, due_ms, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 0)",
            params![
                new.delivery.to_string(),
                channel,
                message_id,
                key.map(|key| key.key.as_str()),
                key.map(|key| key.body.0),
                new.session.agent_str(),
                new.session.as_str(),
                new.sender.id,
                new.sender.name,
                new.reply_to,
                now,
                schedule,
                due,
            ],
        )?;
        let seq = self.connection.last_insert_rowid();
        self.write(
            "INSERT INTO inbox_texts (seq, text) VALUES (?1, ?2)",
            params![seq, new.text],
        )?;
        Ok(Seq(seq))
    }

    fn set_open(&mut self, seq: Seq, open: Open) -> SqlResult<()> {
        self.write(
            "UPDATE inbox SET state = ?2, attempts = ?3, generation = ?4, turn = ?5,
                ended_ms = NULL, end_kind = NULL, end_text = NULL
             WHERE seq = ?1",
            params![
                seq.0,
                open.state.code(),
                open.attempts,
                open.lease.map(|lease| lease.generation.0.cast_signed()),
                open.lease.map(|lease| lease.turn.to_string()),
            ],
        )
        .map(drop)
    }

    fn set_ended(&mut self, seq: Seq, closed: &Closed<'_>) -> SqlResult<()> {
        let (kind, text, tokens) = match closed.end {
            Some(End::Failed { kind, message }) => {
                (Some(*kind), Some(message.as_str()), Tokens::default())
            }
            Some(End::Replied { tokens, .. }) => (None, None, *tokens),
            Some(End::Cancelled) | None => (None, None, Tokens::default()),
        };
        self.write(
            "UPDATE inbox SET state = ?2, attempts = ?3, ended_ms = ?4, end_kind = ?5, end_text = ?6,
                input_tokens = ?7, output_tokens = ?8
             WHERE seq = ?1",
            params![
                seq.0,
                closed.state.code(),
                closed.attempts,
                closed.at,
                kind.map(end_kind_code),
                text,
                tokens.input,
                tokens.output,
            ],
        )?;
        if let (true, Some(End::Replied { text, .. })) = (closed.keep_answer, closed.end) {
            self.write(
                "INSERT OR REPLACE INTO answers (seq, text) VALUES (?1, ?2)",
                params![seq.0, text],
            )?;
        }
        Ok(())
    }

    fn text(&self, seq: Seq) -> SqlResult<String> {
        let text = self.one(
            "SELECT text FROM inbox_texts WHERE seq = ?1",
            params![seq.0],
            |row| row.get(0),
        )?;
        Ok(text.unwrap_or_default())
    }

    fn set_text(&mut self, seq: Seq, text: &str) -> SqlResult<()> {
        self.write(
            "INSERT OR REPLACE INTO inbox_texts (seq, text) VALUES (?1, ?2)",
            params![seq.0, text],
        )
        .map(drop)
    }

    fn sender(&self, seq: Seq) -> SqlResult<Sender> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT sender_id, sender_name FROM inbox WHERE seq = ?1")?;
        statement.query_row(params![seq.0], |row| {
            Ok(Sender {
                id: row.get(0)?,
                name: row.get(1)?,
            })
        })
    }

    fn goes_on_as(&mut self, seq: Seq, delivery: DeliveryId) -> SqlResult<()> {
        self.write(
            "UPDATE inbox SET retried = ?2 WHERE seq = ?1",
            params![seq.0, delivery.to_string()],
        )
        .map(drop)
    }

    fn copy(&mut self, from: Seq, anew: DeliveryId, now: UnixMs) -> SqlResult<Seq> {
        let anew = anew.to_string();
        let key: Option<(Option<String>, Option<Vec<u8>>)> = self.one(
            "SELECT caller_key, body_digest FROM inbox WHERE seq = ?1",
            params![from.0],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let (key, body) = key.unwrap_or_default();
        self.write(
            "UPDATE inbox SET caller_key = NULL, body_digest = NULL, retried = ?2 WHERE seq = ?1",
            params![from.0, anew],
        )?;
        self.write(
            "INSERT INTO inbox (delivery, channel, caller_key, body_digest, agent, session, sender_id,
                sender_name, reply_to, received_ms, schedule, state)
             SELECT ?2, channel, ?3, ?4, agent, session, sender_id, sender_name, reply_to, ?5, schedule, 0
             FROM inbox WHERE seq = ?1",
            params![from.0, anew, key, body, now],
        )?;
        let seq = self.connection.last_insert_rowid();
        self.write(
            "INSERT INTO inbox_texts (seq, text)
             VALUES (?2, coalesce((SELECT text FROM inbox_texts WHERE seq = ?1), ''))",
            params![from.0, seq],
        )?;
        Ok(Seq(seq))
    }

    fn send(&self, send: SendId) -> SqlResult<Option<SendStanding>> {
        self.one(
            "SELECT id, state, parts_done, attempts, repeatable, doubtful, platform_ids, settled_ms, failure
             FROM outbox WHERE id = ?1",
            params![send.0],
            |row| {
                Ok(SendStanding {
                    id: SendId(row.get(0)?),
                    state: send_state(row, 1)?,
                    parts_done: row.get(2)?,
                    attempts: row.get(3)?,
                    repeatable: row.get(4)?,
                    doubtful: row.get(5)?,
                    platform_ids: ids(row, 6)?,
                    settled: row.get(7)?,
                    failure: row.get(8)?,
                })
            },
        )
    }

    fn insert_send(
        &mut self,
        new: &NewSend,
        delivery: Option<DeliveryId>,
        now: UnixMs,
    ) -> SqlResult<SendId> {
        self.write(
            "INSERT INTO outbox (delivery, channel, peer_kind, peer, reply_to, created_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                delivery.map(|delivery| delivery.to_string()),
                new.channel.as_str(),
                match new.peer.kind {
                    PeerKind::Direct => 0,
                    PeerKind::Group => 1,
                },
                new.peer.id,
                new.reply_to,
                now,
            ],
        )?;
        let id = self.connection.last_insert_rowid();
        self.write(
            "INSERT INTO outbox_texts (id, text) VALUES (?1, ?2)",
            params![id, new.text],
        )?;
        Ok(SendId(id))
    }

    fn set_send(&mut self, send: &SendStanding) -> SqlResult<()> {
        let ids = serde_json::to_string(&send.platform_ids).expect("texts are JSON");
        self.write(
            "UPDATE outbox SET state = ?2, parts_done = ?3, attempts = ?4, repeatable = ?5, doubtful = ?6,
                platform_ids = ?7, settled_ms = ?8, failure = ?9
             WHERE id = ?1",
            params![
                send.id.0,
                send.state.code(),
                send.parts_done,
                send.attempts,
                send.repeatable,
                send.doubtful,
                ids,
                send.settled,
                send.failure,
            ],
        )
        .map(drop)
    }

    fn child(&self, agent: &AgentId) -> SqlResult<Option<Child>> {
        let sql = format!("{CHILD} WHERE agent = ?1");
        self.one(&sql, params![agent.as_str()], child)
    }

    fn set_child(&mut self, child: &Child) -> SqlResult<()> {
        self.write(
            "INSERT INTO children (agent, generation, pid, start_time, token, previous_token, group_path,
                started_ms, ended_ms, made_of)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
             ON CONFLICT (agent) DO UPDATE SET generation = ?2, pid = ?3, start_time = ?4, token = ?5,
                previous_token = ?6, group_path = ?7, started_ms = ?8, ended_ms = ?9, made_of = ?10",
            params![
                child.agent.as_str(),
                child.generation.0.cast_signed(),
                child.pid,
                child.start_time.cast_signed(),
                child.tokens.current.0,
                child.tokens.previous.map(|token| token.0),
                child.group,
                child.started,
                child.ended,
                child.made_of.map(|digest| digest.0),
            ],
        )
        .map(drop)
    }

    fn by_due(&self, schedule: &ScheduleId, due: UnixMs) -> SqlResult<Option<DeliveryId>> {
        self.one(
            "SELECT delivery FROM inbox WHERE schedule = ?1 AND due_ms = ?2",
            params![schedule.as_str(), due],
            |row| parsed(row, 0),
        )
    }

    fn schedule(&self, schedule: &ScheduleId) -> SqlResult<Option<ScheduleMark>> {
        self.one(schedules::MARK, params![schedule.as_str()], schedules::mark)
    }

    fn set_schedule(&mut self, mark: &ScheduleMark) -> SqlResult<()> {
        let last = mark.last.as_ref();
        self.write(
            schedules::SET,
            params![
                mark.schedule.as_str(),
                mark.made_of.0,
                mark.paused,
                mark.through,
                mark.runs.cast_signed(),
                mark.missed.cast_signed(),
                last.map(|last| last.delivery.to_string()),
                last.and_then(|last| last.due),
                last.map(|last| last.at),
            ],
        )
        .map(drop)
    }

    fn forget_schedule(&mut self, schedule: &ScheduleId) -> SqlResult<()> {
        self.write(
            "DELETE FROM schedules WHERE name = ?1",
            params![schedule.as_str()],
        )
        .map(drop)
    }

    fn set_chat(&mut self, chat: &Chat) -> SqlResult<()> {
        self.write(
            "INSERT INTO chats (session, mode, begun) VALUES (?1, ?2, ?3)
             ON CONFLICT (session) DO UPDATE SET mode = ?2, begun = ?3",
            params![chat.key.as_str(), chat.mode.map(mode_code), chat.begun],
        )
        .map(drop)
    }

    fn insert_audit(&mut self, audit: &NewAudit, now: UnixMs) -> SqlResult<()> {
        self.write(
            "INSERT INTO audit (at_ms, what, agent, detail) VALUES (?1, ?2, ?3, ?4)",
            params![
                now,
                audit.what,
                audit.agent.as_ref().map(AgentId::as_str),
                audit.detail
            ],
        )
        .map(drop)
    }

    fn insert_turn(&mut self, turn: &TurnRecord) -> SqlResult<()> {
        let record = serde_json::to_string(turn).expect("a record is JSON");
        let added = self.write(
            "INSERT OR IGNORE INTO turns (turn, agent, ended_ms, record) VALUES (?1, ?2, ?3, ?4)",
            params![
                turn.turn.to_string(),
                turn.session.agent_str(),
                turn.ended_ms,
                record,
            ],
        )?;
        // What nobody knows of a lost attempt is not added up.
        if added == 0 || turn.outcome == Outcome::Lost {
            return Ok(());
        }
        self.write(
            "INSERT INTO spendings (agent, quarter, turns, input, output, cost)
             VALUES (?1, ?2, 1, ?3, ?4, ?5)
             ON CONFLICT (agent, quarter) DO UPDATE SET turns = turns + 1, input = input + ?3,
                output = output + ?4, cost = cost + ?5",
            params![
                turn.session.agent_str(),
                turn.ended_ms.div_euclid(QUARTER_MS),
                turn.took.input_tokens,
                turn.took.output_tokens,
                turn.cost.unwrap_or(0).cast_signed().max(0),
            ],
        )
        .map(drop)
    }
}
