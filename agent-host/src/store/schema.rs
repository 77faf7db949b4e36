//! The tables, and how older files become current ones.
//!
//! `user_version` counts the steps of [`STEPS`] that a file has had. A step is never changed once it
//! was released; a new one is appended.

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// Marks the file as ours in SQLite's header: "KNLS".
pub(super) const APPLICATION_ID: i32 = 0x4b4e_4c53;

/// `outcome`: 0 replied (`reply` is the message), 1 failed (`failure_kind`, `failure_text`), 2 cancelled.
const STEPS: [&str; 1] = ["
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
"];

/// The version that this program writes.
pub(super) const VERSION: i32 = 1;

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
