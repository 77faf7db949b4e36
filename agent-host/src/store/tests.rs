mod sessions;

use std::fs;

use kennel_shared::{
    ids::{AgentId, DeliveryId, TurnId},
    protocol::{ContextSpec, FailureKind, TurnFailure, TurnOutcome},
    session_key::SessionKey,
};
use rusqlite::{Connection, StatementStatus};
use tempfile::TempDir;

use super::{
    Asked, Begun, NewStep, OpenError, Record, Step, Store,
    file::{SAID, StoreFile, TAIL, now_ms},
    schema,
};
use crate::{
    provider::Usage,
    window::{Call, Message},
};

const WIDE: ContextSpec = ContextSpec {
    max_messages: 1000,
    max_bytes: 1_000_000,
};

fn session(rest: &str) -> SessionKey {
    SessionKey::new(&AgentId::new("hexa").unwrap(), rest).unwrap()
}

fn record(session: &SessionKey, text: &str, outcome: TurnOutcome) -> Record {
    Record {
        delivery: DeliveryId::new(),
        turn: TurnId::new(),
        session: session.clone(),
        messages: match &outcome {
            TurnOutcome::Replied(reply) => {
                vec![Message::User(text.into()), Message::answer(reply.as_str())]
            }
            _ => Vec::new(),
        },
        last: None,
        outcome,
    }
}

fn replied(text: &str) -> TurnOutcome {
    TurnOutcome::Replied(text.into())
}

fn texts(begun: Begun) -> Vec<String> {
    match begun {
        Begun::New { window, .. } => window.iter().map(|m| m.text().to_owned()).collect(),
        Begun::Before(outcome) => panic!("processed before: {outcome:?}"),
    }
}

fn fresh() -> (TempDir, StoreFile) {
    let dir = tempfile::tempdir().unwrap();
    let file = StoreFile::open(&dir.path().join("store.db")).unwrap();
    (dir, file)
}

#[test]
fn a_turn_is_in_its_session_and_in_no_other() {
    let (_dir, mut file) = fresh();
    let (here, there) = (session("here"), session("there"));
    file.commit(&record(&here, "one", replied("eins"))).unwrap();
    file.commit(&record(&there, "a", replied("b"))).unwrap();
    file.commit(&record(&here, "two", replied("zwei"))).unwrap();
    let begun = file.begin(DeliveryId::new(), &here, WIDE, 1).unwrap();
    let Begun::New { window, .. } = begun else {
        panic!("{begun:?}")
    };
    let expected = [
        Message::User("one".into()),
        Message::answer("eins"),
        Message::User("two".into()),
        Message::answer("zwei"),
    ];
    assert_eq!(window, expected);
    let begun = file.begin(DeliveryId::new(), &session("new"), WIDE, 1);
    assert!(texts(begun.unwrap()).is_empty());
}

#[test]
fn a_processed_delivery_is_known_with_its_outcome_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let session = session("x");
    let failure = |kind| {
        TurnOutcome::Failed(TurnFailure {
            kind,
            message: format!("{kind:?}"),
        })
    };
    let outcomes = [
        replied("yes"),
        TurnOutcome::Cancelled,
        failure(FailureKind::Provider),
        failure(FailureKind::Unavailable),
        failure(FailureKind::Timeout),
        failure(FailureKind::Store),
        failure(FailureKind::Overloaded),
    ];
    let records = outcomes.map(|outcome| record(&session, "q", outcome));
    let mut file = StoreFile::open(&path).unwrap();
    for record in &records {
        file.commit(record).unwrap();
    }
    drop(file);
    let mut file = StoreFile::open(&path).unwrap();
    for record in records {
        let begun = file.begin(record.delivery, &session, WIDE, 1).unwrap();
        assert_eq!(begun, Begun::Before(record.outcome));
    }
    // Only the turn that was answered left messages.
    let begun = file.begin(DeliveryId::new(), &session, WIDE, 1).unwrap();
    assert_eq!(texts(begun), ["q", "yes"]);
}

#[test]
fn a_delivery_is_never_committed_twice() {
    let (_dir, mut file) = fresh();
    let session = session("x");
    let first = record(&session, "q", replied("one"));
    let again = Record {
        delivery: first.delivery,
        ..record(&session, "q", replied("two"))
    };
    file.commit(&first).unwrap();
    assert!(file.commit(&again).is_err());
    let begun = file.begin(DeliveryId::new(), &session, WIDE, 1).unwrap();
    assert_eq!(texts(begun), ["q", "one"], "nothing of the second is left");
}

#[test]
fn the_window_ends_where_it_is_full() {
    let (_dir, mut file) = fresh();
    let session = session("x");
    for index in 0..10 {
        let turn = record(
            &session,
            &format!("q{index}"),
            replied(&format!("a{index}")),
        );
        file.commit(&turn).unwrap();
    }
    let cases = [
        ((5, 1000), 2, vec!["q8", "a8", "q9", "a9"]),
        ((4, 1000), 2, vec!["q9", "a9"]),
        ((100, 10), 2, vec!["q8", "a8", "q9", "a9"]),
        ((100, 9), 2, vec!["q9", "a9"]),
        ((1, 1000), 2, vec![]),
        ((0, 0), 2, vec![]),
    ];
    for ((max_messages, max_bytes), new_bytes, expected) in cases {
        let spec = ContextSpec {
            max_messages,
            max_bytes,
        };
        let begun = file.begin(DeliveryId::new(), &session, spec, new_bytes);
        assert_eq!(texts(begun.unwrap()), expected, "{spec:?}");
    }
}

#[test]
fn text_of_any_kind_comes_back() {
    let (_dir, mut file) = fresh();
    let session = session("x");
    let text = "line\nnul\0quote'\"; 猫 \u{1F408}";
    file.commit(&record(&session, text, replied(text))).unwrap();
    let begun = file.begin(DeliveryId::new(), &session, WIDE, 1).unwrap();
    assert_eq!(texts(begun), [text, text]);
}

/// Fills a session with so many messages, quickly.
fn fill(file: &mut StoreFile, session: &SessionKey, messages: u32) {
    file.commit(&record(session, "first", replied("first")))
        .unwrap();
    file.connection()
        .execute(
            "WITH RECURSIVE n(i) AS (SELECT 3 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
             INSERT INTO messages (session, seq, role, content, turn, created_ms)
             SELECT 1, i, (i + 1) % 2, 'message ' || i, 't', 0 FROM n",
            [messages],
        )
        .unwrap();
}

#[test]
fn the_cost_of_a_window_does_not_depend_on_the_length_of_the_session() {
    let steps = |messages| {
        let (_dir, mut file) = fresh();
        let session = session("long");
        fill(&mut file, &session, messages);
        let spec = ContextSpec {
            max_messages: 41,
            max_bytes: 1_000_000,
        };
        let window = texts(file.begin(DeliveryId::new(), &session, spec, 1).unwrap());
        assert_eq!(window.len(), 40);
        assert_eq!(window[39], format!("message {messages}"));
        let statement = file.connection().prepare_cached(TAIL).unwrap();
        assert_eq!(statement.get_status(StatementStatus::Sort), 0);
        assert_eq!(statement.get_status(StatementStatus::FullscanStep), 0);
        statement.get_status(StatementStatus::VmStep)
    };
    let short = steps(100);
    assert!(short > 40, "the counter counts: {short}");
    assert_eq!(steps(100_000), short);
}

#[test]
fn the_window_is_read_by_the_index() {
    let (_dir, mut file) = fresh();
    for (statement, index) in [(TAIL, "messages_by_session"), (SAID, "messages_said")] {
        let plan: Vec<String> = file
            .connection()
            .prepare(&format!("EXPLAIN QUERY PLAN {statement}"))
            .unwrap()
            .query_map([1, i64::MAX, 10], |row| row.get("detail"))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let expected = format!("SEARCH messages USING INDEX {index} (session=? AND seq<?)");
        assert_eq!(plan, [expected]);
    }
}

#[test]
fn old_deliveries_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let session = session("x");
    let (old, new) = (
        record(&session, "old", replied("o")),
        record(&session, "new", replied("n")),
    );
    let mut file = StoreFile::open(&path).unwrap();
    file.commit(&old).unwrap();
    file.connection()
        .execute(
            "UPDATE deliveries SET finished_ms = finished_ms - 8 * 86400000",
            (),
        )
        .unwrap();
    file.commit(&new).unwrap();
    drop(file);
    let mut file = StoreFile::open(&path).unwrap();
    let mut known = |delivery| {
        let begun = file.begin(delivery, &session, WIDE, 1).unwrap();
        matches!(begun, Begun::Before(_))
    };
    assert!(!known(old.delivery));
    assert!(known(new.delivery));
}

#[test]
fn what_is_no_store_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let garbage = dir.path().join("garbage.db");
    fs::write(
        &garbage,
        "this is no database, but somebody's only copy".repeat(100),
    )
    .unwrap();
    let foreign = dir.path().join("foreign.db");
    Connection::open(&foreign)
        .unwrap()
        .execute_batch("CREATE TABLE precious (x)")
        .unwrap();
    let newer = dir.path().join("newer.db");
    drop(StoreFile::open(&newer).unwrap());
    Connection::open(&newer)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();

    let refused = |path| {
        let before = fs::read(path).unwrap();
        let error = StoreFile::open(path).unwrap_err();
        assert_eq!(fs::read(path).unwrap(), before, "{path:?} was changed");
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
        error
    };
    assert!(matches!(refused(&garbage), OpenError::Sqlite { .. }));
    assert!(matches!(refused(&foreign), OpenError::Foreign { .. }));
    assert!(matches!(
        refused(&newer),
        OpenError::Newer {
            found: 99,
            known: 4,
            ..
        }
    ));
}

#[tokio::test]
async fn the_thread_ends_with_the_last_handle_and_asked_commits_happen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let (store, thread) = Store::open(&path).unwrap();
    let session = session("x");
    let turn = record(&session, "q", replied("a"));
    let delivery = turn.delivery;
    // Polled once, which hands the request over; then nobody waits for it.
    assert!(futures::FutureExt::now_or_never(store.commit(turn)).is_none());
    drop(store);
    thread.join().unwrap();
    let begun = StoreFile::open(&path)
        .unwrap()
        .begin(delivery, &session, WIDE, 1);
    assert_eq!(begun.unwrap(), Begun::Before(replied("a")));
}

fn call(id: &str, arguments: &str) -> Call {
    Call {
        id: id.into(),
        name: "exec".into(),
        arguments: arguments.into(),
        signature: Some("signed".into()),
    }
}

fn answer(text: &str, calls: &[Call]) -> NewStep {
    NewStep::Answer {
        text: text.into(),
        calls: calls.to_vec(),
        asked: Asked {
            at_ms: now_ms(),
            usage: Usage {
                input_tokens: 7,
                output_tokens: 3,
            },
        },
    }
}

fn begin(call: &Call) -> NewStep {
    NewStep::Begin {
        call: call.id.clone(),
        name: call.name.clone(),
    }
}

fn end(result: &str) -> NewStep {
    NewStep::End {
        result: result.into(),
    }
}

fn steps(begun: Begun) -> Vec<Step> {
    match begun {
        Begun::New { steps, .. } => steps,
        Begun::Before(outcome) => panic!("processed before: {outcome:?}"),
    }
}

#[test]
fn steps_are_found_again_until_the_turn_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let session = session("x");
    let (delivery, other) = (DeliveryId::new(), DeliveryId::new());
    let calls = [call("a", "{\"command\": \"\0\"}"), call("b", "{")];
    let mut file = StoreFile::open(&path).unwrap();
    file.step(delivery, 0, answer("Let me look.", &calls))
        .unwrap();
    file.step(other, 0, answer("", &calls[1..])).unwrap();
    file.step(delivery, 1, begin(&calls[0])).unwrap();
    file.step(delivery, 1, end("one")).unwrap();
    file.step(delivery, 2, begin(&calls[1])).unwrap();
    drop(file);

    let mut file = StoreFile::open(&path).unwrap();
    let found = steps(file.begin(delivery, &session, WIDE, 1).unwrap());
    let tool = |call: &str, result: Option<&str>| Step::Tool {
        call: call.into(),
        result: result.map(str::to_owned),
    };
    let expected = [
        Step::Answer {
            text: "Let me look.".into(),
            calls: calls.to_vec(),
        },
        tool("a", Some("one")),
        tool("b", None),
    ];
    assert_eq!(found, expected);
    assert!(
        file.step(delivery, 2, begin(&calls[1])).is_err(),
        "a step is begun once"
    );

    let result = |call: &Call, text: &str| Message::Result {
        call: call.id.clone(),
        name: call.name.clone(),
        text: text.into(),
    };
    let messages = vec![
        Message::User("q".into()),
        Message::Model {
            text: "Let me look.".into(),
            calls: calls.to_vec(),
        },
        result(&calls[0], "one"),
        result(&calls[1], "two"),
        Message::answer("There."),
    ];
    let asked = Asked {
        at_ms: now_ms(),
        usage: Usage::default(),
    };
    let whole = Record {
        delivery,
        messages: messages.clone(),
        last: Some((3, asked)),
        ..record(&session, "q", replied("Let me look.\n\nThere."))
    };
    file.commit(&whole).unwrap();
    let Begun::New { window, .. } = file.begin(DeliveryId::new(), &session, WIDE, 1).unwrap()
    else {
        panic!("it is new");
    };
    assert_eq!(window, messages);
    let again = file.begin(delivery, &session, WIDE, 1).unwrap();
    assert_eq!(again, Begun::Before(replied("Let me look.\n\nThere.")));

    // Names and times are kept, and nothing of what was said; the other's are left alone.
    let kept: Vec<(i64, Option<String>, bool, bool)> = file
        .connection()
        .prepare(
            "SELECT kind, name, content IS NULL AND tools IS NULL, ended_ms >= began_ms
             FROM steps WHERE delivery = ?1 ORDER BY seq",
        )
        .unwrap()
        .query_map([delivery.to_string()], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get::<_, Option<bool>>(3)?.unwrap_or(false),
            ))
        })
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let exec = || Some("exec".to_owned());
    // The second tool never ended; its end was not written in this test.
    let expected = [
        (0, None, true, true),
        (1, exec(), true, true),
        (1, exec(), true, false),
        (0, None, true, true),
    ];
    assert_eq!(kept, expected);
    assert_eq!(
        steps(file.begin(other, &session, WIDE, 1).unwrap()).len(),
        1
    );
}

#[test]
fn a_turn_that_fails_leaves_its_delivery_only() {
    let (_dir, mut file) = fresh();
    let session = session("x");
    let turn = record(&session, "q", TurnOutcome::Cancelled);
    file.step(turn.delivery, 0, answer("hm", &[call("a", "{}")]))
        .unwrap();
    file.commit(&turn).unwrap();
    let begun = file.begin(turn.delivery, &session, WIDE, 1).unwrap();
    assert_eq!(begun, Begun::Before(TurnOutcome::Cancelled));
    assert!(texts(file.begin(DeliveryId::new(), &session, WIDE, 1).unwrap()).is_empty());
    let said: i64 = file
        .connection()
        .query_row(
            "SELECT count(*) FROM steps WHERE content IS NOT NULL",
            (),
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(said, 0);
}

#[test]
fn a_window_that_has_no_room_for_tools_reads_past_them() {
    let (_dir, mut file) = fresh();
    let session = session("x");
    for turn in 0..3 {
        let calls = [call("a", "{}")];
        let mut messages = vec![Message::User(format!("q{turn}"))];
        for _ in 0..50 {
            messages.push(Message::Model {
                text: String::new(),
                calls: calls.to_vec(),
            });
            messages.push(Message::Result {
                call: "a".into(),
                name: "exec".into(),
                text: "x".repeat(100),
            });
        }
        messages.push(Message::answer(format!("a{turn}")));
        let outcome = replied(&format!("a{turn}"));
        let whole = Record {
            messages,
            ..record(&session, "", outcome)
        };
        file.commit(&whole).unwrap();
    }
    let spec = ContextSpec {
        max_messages: 20,
        max_bytes: 1_000_000,
    };
    let window = texts(file.begin(DeliveryId::new(), &session, spec, 1).unwrap());
    assert_eq!(window, ["q0", "a0", "q1", "a1", "q2", "a2"]);
    let statement = file.connection().prepare_cached(SAID).unwrap();
    assert_eq!(statement.get_status(StatementStatus::FullscanStep), 0);
    assert!(
        statement.get_status(StatementStatus::VmStep) < 200,
        "no tool's row is looked at"
    );
}

#[test]
fn old_steps_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let (old, new) = (DeliveryId::new(), DeliveryId::new());
    let mut file = StoreFile::open(&path).unwrap();
    for delivery in [old, new] {
        file.step(delivery, 0, answer("", &[call("a", "{}")]))
            .unwrap();
    }
    file.connection()
        .execute(
            "UPDATE steps SET began_ms = began_ms - 8 * 86400000 WHERE delivery = ?1",
            [old.to_string()],
        )
        .unwrap();
    drop(file);
    let mut file = StoreFile::open(&path).unwrap();
    let session = session("x");
    assert!(steps(file.begin(old, &session, WIDE, 1).unwrap()).is_empty());
    assert_eq!(steps(file.begin(new, &session, WIDE, 1).unwrap()).len(), 1);
    file.connection()
        .execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50100)
             INSERT INTO steps (delivery, seq, kind, began_ms)
             SELECT 'd' || i, 0, 0, ?1 - i FROM n",
            [now_ms()],
        )
        .unwrap();
    drop(file);
    let mut file = StoreFile::open(&path).unwrap();
    let kept: i64 = file
        .connection()
        .query_row("SELECT count(*) FROM steps", (), |row| row.get(0))
        .unwrap();
    assert!((50_000..50_010).contains(&kept), "{kept}");
}

/// A file as the first version wrote it.
#[test]
fn an_older_file_is_carried_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let delivery = DeliveryId::new();
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(schema::STEPS[0]).unwrap();
    connection
        .pragma_update(None, "application_id", schema::APPLICATION_ID)
        .unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    connection
        .execute_batch(&format!(
            "INSERT INTO sessions VALUES (1, 'agent:hexa:x', 0);
             INSERT INTO messages VALUES (1, 1, 1, 0, 'q', 't', 0), (2, 1, 2, 1, 'a', 't', 0);
             INSERT INTO deliveries VALUES ('{delivery}', 't', 0, 2, NULL, NULL, {});",
            now_ms()
        ))
        .unwrap();
    drop(connection);
    let mut file = StoreFile::open(&path).unwrap();
    let session = session("x");
    let begun = file.begin(delivery, &session, WIDE, 1).unwrap();
    assert_eq!(begun, Begun::Before(replied("a")));
    let begun = file.begin(DeliveryId::new(), &session, WIDE, 1).unwrap();
    assert_eq!(texts(begun), ["q", "a"]);
    file.step(DeliveryId::new(), 0, answer("", &[call("a", "{}")]))
        .unwrap();
}
