//! The tables, and how older files become current ones.
//!
//! `user_version` counts the steps of [`STEPS`] that a file has had. A step is never changed once it
//! was released; a new one is appended.

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// Marks the file as ours in SQLite's header: "KNLS".
pub(super) const APPLICATION_ID: i32 = 0x4b4e_4c53;

/// `role`: 0 said to the model, 1 said by it. `outcome`: 0 replied (`reply` is the message), 1 failed
/// (`failure_kind`, `failure_text`), 2 cancelled.
///
/// Since version 2: `messages.tools` is JSON, and NULL in what is said between person and model: with
/// role 1 the calls of an answer, with role 0 what call a result is of. `reply_text` is the reply where
/// it is more than its last message. `steps.kind`: 0 an answer of the model, 1 a call of a tool, whose
/// result (`content`) is NULL until it has ended; once the turn has ended, only names and times are left.
///
/// Since version 3: a session whose key begins with [`DELETED`] is deleted, and its messages are on their
/// way out. A delivery of it is cancelled (`outcome` 2), so that it is not worked on again.
///
/// Since version 4: `steered` holds the deliveries that were taken into the turn of another (`target`), as which step of it
/// (`seq`) and with what text; once that turn has ended, without it.
pub(super) const STEPS: [&str; 4] = [
    "
    CREATE TABLE sessions (
        id         INTEGER PRIMARY KEY,
        key        TEXT    NOT NULL UNIQUE,
        created_ms INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE messages (
        id         INTEGER PRIMARY KEY,
        session    INTEGER NOT NULL REFERENCES sessions (id),
        seq        INTEGER NOT NULL,
        role       INTEGER NOT NULL CHECK (role IN (0, 1)),
        content    TEXT    NOT NULL,
        turn       TEXT    NOT NULL,
        created_ms INTEGER NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX messages_by_session ON messages (session, seq);

    CREATE TABLE deliveries (
        delivery     TEXT    NOT NULL PRIMARY KEY,
        turn         TEXT    NOT NULL,
        outcome      INTEGER NOT NULL CHECK (outcome IN (0, 1, 2)),
        reply        INTEGER REFERENCES messages (id),
        failure_kind INTEGER,
        failure_text TEXT,
        finished_ms  INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX deliveries_by_time ON deliveries (finished_ms);
",
    "
    ALTER TABLE messages ADD COLUMN tools TEXT;
    CREATE UNIQUE INDEX messages_said ON messages (session, seq) WHERE tools IS NULL;

    ALTER TABLE deliveries ADD COLUMN reply_text TEXT;

    CREATE TABLE steps (
        delivery      TEXT    NOT NULL,
        seq           INTEGER NOT NULL,
        kind          INTEGER NOT NULL CHECK (kind IN (0, 1)),
        name          TEXT,
        content       TEXT,
        tools         TEXT,
        input_tokens  INTEGER,
        output_tokens INTEGER,
        began_ms      INTEGER NOT NULL,
        ended_ms      INTEGER,
        PRIMARY KEY (delivery, seq)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX steps_by_time ON steps (began_ms);
",
    "
    CREATE INDEX deliveries_by_reply ON deliveries (reply);
",
    "
    CREATE TABLE steered (
        delivery TEXT    NOT NULL PRIMARY KEY,
        target   TEXT    NOT NULL,
        seq      INTEGER NOT NULL,
        content  TEXT,
        taken_ms INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX steered_by_target ON steered (target);
    CREATE INDEX steered_by_time ON steered (taken_ms);
",
];

/// No session key begins like this.
pub(super) const DELETED: &str = "deleted:";

/// The version that this program writes.
pub(super) const VERSION: i32 = 4;

const _: () = assert!(
    VERSION.unsigned_abs() as usize == STEPS.len(),
    "one version per step"
);

/// Applies the steps from `version` on, all or none.
pub(super) fn migrate(connection: &mut Connection, version: i32) -> rusqlite::Result<()> {
    if version == VERSION {
        return Ok(());
    }
    let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
    for step in STEPS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.commit()
}
