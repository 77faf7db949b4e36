use std::fs;

use kennel_shared::{
    ids::{AgentId, DeliveryId, TurnId},
    protocol::{ContextSpec, FailureKind, TurnFailure, TurnOutcome},
    session_key::SessionKey,
};
use rusqlite::{Connection, StatementStatus};
use tempfile::TempDir;

use super::{
    Begun, OpenError, Record, Store,
    file::{StoreFile, TAIL},
};
use crate::window::{Message, Role};

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
        text: text.into(),
        outcome,
    }
}

fn replied(text: &str) -> TurnOutcome {
    TurnOutcome::Replied(text.into())
}

fn texts(begun: Begun) -> Vec<String> {
    match begun {
        Begun::New(messages) => messages.into_iter().map(|message| message.text).collect(),
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
    let Begun::New(messages) = begun else {
        panic!("{begun:?}")
    };
    let message = |role, text: &str| Message {
        role,
        text: text.into(),
    };
    let expected = [
        message(Role::User, "one"),
        message(Role::Assistant, "eins"),
        message(Role::User, "two"),
        message(Role::Assistant, "zwei"),
    ];
    assert_eq!(messages, expected);
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
    let plan: Vec<String> = file
        .connection()
        .prepare(&format!("EXPLAIN QUERY PLAN {TAIL}"))
        .unwrap()
        .query_map([1, 10], |row| row.get("detail"))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        plan,
        ["SEARCH messages USING INDEX messages_by_session (session=?)"]
    );
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
            known: 1,
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
