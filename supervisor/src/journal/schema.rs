//! The tables, and how older files become current ones.
//!
//! `user_version` counts the steps of [`STEPS`] that a file has had. A step is never changed once it
//! was released; a new one is appended.
//!
//! Texts have tables of their own: a row is written again each time its state changes, and a text of
//! 256 KiB should not be written with it. An index over what is open stays small however much is kept.
//!
//! All of the schema is on the file's first page (`the_schema_is_on_one_page`): on further ones, damage to any of them would
//! cost everything. So a page is of [`PAGE_BYTES`].

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// Marks the file as ours in SQLite's header: "KNLJ".
pub(super) const APPLICATION_ID: i32 = 0x4b4e_4c4a;

/// The size of a page of a new file. Half of it is what SQLite would choose, and too small for the schema.
pub(super) const PAGE_BYTES: i64 = 8192;

/// States are numbers: see [`entry`](super::entry).
const STEPS: [&str; 5] = [
    "
    CREATE TABLE meta (
        key   TEXT NOT NULL PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE inbox (
        seq           INTEGER PRIMARY KEY AUTOINCREMENT,
        delivery      TEXT    NOT NULL UNIQUE,
        channel       TEXT,
        message_id    TEXT,
        caller_key    TEXT,
        body_digest   BLOB,
        agent         TEXT    NOT NULL,
        session       TEXT    NOT NULL,
        sender_id     TEXT    NOT NULL,
        sender_name   TEXT,
        reply_to      TEXT,
        received_ms   INTEGER NOT NULL,
        state         INTEGER NOT NULL,
        attempts      INTEGER NOT NULL DEFAULT 0,
        generation    INTEGER,
        turn          TEXT,
        ended_ms      INTEGER,
        end_kind      INTEGER,
        end_text      TEXT,
        input_tokens  INTEGER NOT NULL DEFAULT 0,
        output_tokens INTEGER NOT NULL DEFAULT 0,
        retried       TEXT
    ) STRICT;
    CREATE UNIQUE INDEX inbox_by_message ON inbox (channel, message_id) WHERE message_id IS NOT NULL;
    CREATE UNIQUE INDEX inbox_by_key ON inbox (caller_key) WHERE caller_key IS NOT NULL;
    CREATE INDEX inbox_open ON inbox (agent, seq) WHERE state IN (0, 1);
    CREATE INDEX inbox_poison ON inbox (agent, seq) WHERE state = 5;
    CREATE INDEX inbox_ended ON inbox (ended_ms) WHERE ended_ms IS NOT NULL AND state <> 5;

    CREATE TABLE inbox_texts (
        seq  INTEGER PRIMARY KEY,
        text TEXT NOT NULL
    ) STRICT;

    CREATE TABLE answers (
        seq  INTEGER PRIMARY KEY,
        text TEXT NOT NULL
    ) STRICT;

    CREATE TABLE outbox (
        id           INTEGER PRIMARY KEY AUTOINCREMENT,
        delivery     TEXT,
        channel      TEXT    NOT NULL,
        peer_kind    INTEGER NOT NULL,
        peer         TEXT    NOT NULL,
        reply_to     TEXT,
        created_ms   INTEGER NOT NULL,
        state        INTEGER NOT NULL DEFAULT 0,
        parts_done   INTEGER NOT NULL DEFAULT 0,
        attempts     INTEGER NOT NULL DEFAULT 0,
        repeatable   INTEGER NOT NULL DEFAULT 0,
        doubtful     INTEGER NOT NULL DEFAULT 0,
        platform_ids TEXT    NOT NULL DEFAULT '[]',
        settled_ms   INTEGER,
        failure      TEXT
    ) STRICT;
    CREATE INDEX outbox_open ON outbox (channel, id) WHERE state IN (0, 1, 4);
    CREATE INDEX outbox_settled ON outbox (settled_ms) WHERE settled_ms IS NOT NULL;
    CREATE INDEX outbox_by_delivery ON outbox (delivery) WHERE delivery IS NOT NULL;

    CREATE TABLE outbox_texts (
        id   INTEGER PRIMARY KEY,
        text TEXT NOT NULL
    ) STRICT;

    CREATE TABLE children (
        id             INTEGER PRIMARY KEY,
        agent          TEXT    NOT NULL UNIQUE,
        generation     INTEGER NOT NULL,
        pid            INTEGER NOT NULL,
        start_time     INTEGER NOT NULL,
        token          BLOB    NOT NULL,
        previous_token BLOB,
        group_path     TEXT,
        started_ms     INTEGER NOT NULL,
        ended_ms       INTEGER
    ) STRICT;

    CREATE TABLE audit (
        id     INTEGER PRIMARY KEY AUTOINCREMENT,
        at_ms  INTEGER NOT NULL,
        what   TEXT    NOT NULL,
        agent  TEXT,
        detail TEXT    NOT NULL
    ) STRICT;
    CREATE INDEX audit_by_time ON audit (at_ms);
",
    "ALTER TABLE children ADD COLUMN made_of BLOB",
    "
    CREATE TABLE chats(id INTEGER PRIMARY KEY,session TEXT NOT NULL UNIQUE,mode INTEGER,begun INTEGER NOT NULL)STRICT;
    ",
    "
    CREATE TABLE turns(id INTEGER PRIMARY KEY AUTOINCREMENT,turn TEXT UNIQUE,agent TEXT,ended_ms INTEGER,record TEXT)STRICT;
    CREATE INDEX turns_by_agent ON turns(agent,id);
    CREATE TABLE spendings(id INTEGER PRIMARY KEY,agent TEXT,quarter INTEGER,turns INTEGER,input INTEGER,output INTEGER,cost INTEGER,UNIQUE(agent,quarter))STRICT;
    ",
    "
    CREATE TABLE schedules (
        id            INTEGER PRIMARY KEY,
        name          TEXT    NOT NULL UNIQUE,
        made_of       BLOB    NOT NULL,
        paused        INTEGER NOT NULL,
        through_ms    INTEGER NOT NULL,
        runs          INTEGER NOT NULL,
        missed        INTEGER NOT NULL,
        last_delivery TEXT,
        last_due_ms   INTEGER,
        last_ms       INTEGER,
        last_state    INTEGER,
        last_ended_ms INTEGER
    ) STRICT;
    ALTER TABLE inbox ADD COLUMN schedule TEXT;
    ALTER TABLE inbox ADD COLUMN due_ms INTEGER;
    CREATE UNIQUE INDEX inbox_by_due ON inbox (schedule, due_ms) WHERE due_ms IS NOT NULL;
",
];

/// The tables that hold what cannot be had again, each with its row id and the version that it came with.
pub(super) const TABLES: [(&str, &str, i32); 11] = [
    ("children", "id", 1),
    ("inbox", "seq", 1),
    ("inbox_texts", "seq", 1),
    ("answers", "seq", 1),
    ("outbox", "id", 1),
    ("outbox_texts", "id", 1),
    ("audit", "id", 1),
    ("chats", "id", 3),
    ("turns", "id", 4),
    ("spendings", "id", 4),
    ("schedules", "id", 5),
];

/// The version that this program writes.
pub(super) const VERSION: i32 = 5;

const _: () = assert!(
    VERSION.unsigned_abs() as usize == STEPS.len(),
    "one version per step"
);

/// Takes a file from version `from` to version `to`, wholly or not at all.
pub(super) fn migrate(connection: &mut Connection, from: i32, to: i32) -> rusqlite::Result<()> {
    if from >= to {
        return Ok(());
    }
    let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
    let count = |version: i32| usize::try_from(version).unwrap_or(0);
    for step in STEPS.iter().take(count(to)).skip(count(from)) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", to)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.commit()
}
