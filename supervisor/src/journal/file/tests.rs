use std::os::unix::fs::PermissionsExt as _;

use rusqlite::Connection;

use super::*;
use crate::journal::{schema, tests::home};

#[test]
fn a_new_journal_is_closed_to_others_and_durable() {
    let (_home, options) = home();
    let mut opened = JournalFile::open(&options.path, &options.fail_points).unwrap();
    assert!(opened.damage.is_none() && !opened.unchecked);
    let pragma = |connection: &Connection, name| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
            .unwrap()
    };
    let connection = opened.file.connection();
    assert_eq!(pragma(connection, "journal_mode"), "wal".to_owned().into());
    assert_eq!(pragma(connection, "synchronous"), 2.into());
    assert_eq!(pragma(connection, "auto_vacuum"), 2.into());
    assert_eq!(pragma(connection, "page_size"), schema::PAGE_BYTES.into());
    assert_eq!(pragma(connection, "user_version"), VERSION.into());
    for path in [options.path.clone(), wal(&options.path)] {
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert!(!beside(&options.path, ".new").exists());
}

#[test]
fn a_newer_journal_is_refused_and_left_alone() {
    let (_home, options) = home();
    drop(JournalFile::open(&options.path, &options.fail_points).unwrap());
    let connection = Connection::open(&options.path).unwrap();
    connection
        .pragma_update(None, "user_version", VERSION + 1)
        .unwrap();
    drop(connection);
    let before = std::fs::read(&options.path).unwrap();
    let refused = JournalFile::open(&options.path, &options.fail_points);
    let Err(error @ OpenError::Newer { .. }) = refused.map(|_| ()) else {
        panic!("it is newer");
    };
    assert_eq!(
        error.to_string(),
        format!(
            "the journal {} was written by a newer kennel: it has version {}, and this one knows versions up to {VERSION}; start the newer kennel again, or set another `state_dir` under [supervisor]",
            options.path.display(),
            VERSION + 1,
        )
    );
    assert_eq!(std::fs::read(&options.path).unwrap(), before);
}

#[test]
fn another_program_s_database_is_refused_and_left_alone() {
    let (_home, options) = home();
    let connection = Connection::open(&options.path).unwrap();
    connection.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(connection);
    let refused = JournalFile::open(&options.path, &options.fail_points);
    assert!(matches!(
        refused.map(|_| ()),
        Err(OpenError::Foreign { .. })
    ));
    let connection = Connection::open(&options.path).unwrap();
    connection.execute_batch("SELECT x FROM theirs").unwrap();
}

#[test]
fn every_step_leads_to_the_same_tables() {
    let tables = |connection: &Connection| {
        let sql = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name";
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map((), |row| row.get::<_, String>(0));
        rows.unwrap().collect::<SqlResult<Vec<_>>>().unwrap()
    };
    let mut at_once = Connection::open_in_memory().unwrap();
    migrate(&mut at_once, 0, VERSION).unwrap();
    let mut by_steps = Connection::open_in_memory().unwrap();
    for version in 0..VERSION {
        migrate(&mut by_steps, version, version + 1).unwrap();
        let found = header(&by_steps, "user_version").unwrap();
        assert_eq!(found, version + 1);
    }
    assert_eq!(tables(&at_once), tables(&by_steps));
    // What is salvaged is all that cannot be had again.
    let named = at_once
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        .unwrap()
        .query_map((), |row| row.get::<_, String>(0))
        .unwrap()
        .collect::<SqlResult<Vec<_>>>()
        .unwrap();
    for name in named.iter().filter(|name| *name != "meta") {
        let salvaged = schema::TABLES.iter().any(|(table, ..)| table == name);
        assert!(salvaged, "{name} is not salvaged");
    }
}

/// What is on another page is lost with it, and all tables with that.
#[test]
fn the_schema_is_on_one_page() {
    let (_home, options) = home();
    drop(JournalFile::open(&options.path, &options.fail_points).unwrap());
    let file = std::fs::read(&options.path).unwrap();
    // Behind the header of 100 bytes a page says what it is: a leaf of a table, or one that leads to others.
    assert_eq!(file[100], 0x0d);
}

#[test]
fn what_was_left_of_a_half_made_journal_is_no_hindrance() {
    let (_home, options) = home();
    for suffix in [".new", ".new-wal", ".moving.new"] {
        std::fs::write(beside(&options.path, suffix), "half").unwrap();
    }
    JournalFile::open(&options.path, &options.fail_points).unwrap();
}

#[test]
fn a_statement_of_ours_uses_an_index() {
    let mut connection = Connection::open_in_memory().unwrap();
    migrate(&mut connection, 0, VERSION).unwrap();
    let plan = |sql: &str| {
        let mut statement = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        let mut rows = statement.raw_query();
        let mut plan = String::new();
        while let Some(row) = rows.next().unwrap() {
            plan += &row.get::<_, String>(3).unwrap();
            plan.push('\n');
        }
        plan
    };
    for (sql, index) in [
        (
            "SELECT delivery FROM inbox WHERE channel = ?1 AND message_id = ?2",
            "inbox_by_message",
        ),
        (
            "SELECT delivery FROM inbox WHERE caller_key = ?1",
            "inbox_by_key",
        ),
        (
            "SELECT seq FROM inbox WHERE agent = ?1 AND seq > ?2 AND state IN (0, 1) ORDER BY seq LIMIT ?3",
            "inbox_open",
        ),
        (
            "SELECT i.seq FROM inbox i WHERE i.state IN (0, 1) AND ?1 = '' AND (i.agent, i.seq) > (?2, ?3) ORDER BY i.agent, i.seq LIMIT ?4",
            "inbox_open",
        ),
        (
            "SELECT seq FROM inbox WHERE ended_ms IS NOT NULL AND state <> 5 AND ended_ms < ?1 ORDER BY ended_ms LIMIT ?2",
            "inbox_ended",
        ),
        (
            "SELECT id FROM outbox WHERE channel = ?1 AND id > ?2 AND state IN (0, 1, 4) ORDER BY id LIMIT ?3",
            "outbox_open",
        ),
        (
            "SELECT record, id FROM turns WHERE agent = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3",
            "turns_by_agent",
        ),
        (
            "SELECT record, id FROM turns WHERE turn >= ?1 AND turn < ?2 LIMIT 2",
            "sqlite_autoindex_turns_1",
        ),
    ] {
        let plan = plan(sql);
        assert!(plan.contains(index), "{sql}: {plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{sql}: {plan}");
    }
}
