//! Sessions read from outside, and deleted.

use kennel_shared::sessions::{Line, Role};

use super::*;
use crate::store::{ReadError, Reader};

fn path(dir: &TempDir) -> std::path::PathBuf {
    dir.path().join("store.db")
}

fn reader(dir: &TempDir) -> Reader {
    Reader::open("hexa".parse().unwrap(), &path(dir)).unwrap()
}

/// What the reader prints.
fn lines(
    read: impl FnOnce(&mut dyn FnMut(&Line) -> std::io::Result<()>) -> Result<(), ReadError>,
) -> Vec<Line> {
    let mut lines = Vec::new();
    read(&mut |line| {
        lines.push(line.clone());
        Ok(())
    })
    .unwrap();
    lines
}

fn spoken(lines: &[Line]) -> Vec<&str> {
    lines
        .iter()
        .filter_map(|line| match line {
            Line::Message(message) => Some(message.text.as_str()),
            _ => None,
        })
        .collect()
}

/// Puts so many messages behind those of a session, which are few; `bytes` each.
fn lengthen(file: &mut StoreFile, session: &SessionKey, messages: u32, bytes: u32) {
    file.commit(&record(session, "first", replied("first")))
        .unwrap();
    file.connection()
        .execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
             INSERT INTO messages (session, seq, role, content, turn, created_ms)
             SELECT s.id, 1000 + i, (i + 1) % 2, hex(zeroblob(?2 / 2)), 't', 0
             FROM n, sessions s WHERE s.key = ?3",
            rusqlite::params![messages, bytes, session.as_str()],
        )
        .unwrap();
}

fn count(file: &mut StoreFile, table: &str) -> i64 {
    file.connection()
        .query_row(&format!("SELECT count(*) FROM {table}"), (), |row| {
            row.get(0)
        })
        .unwrap()
}

/// A session with a turn that used a tool, between two that did not.
fn told() -> (TempDir, StoreFile, SessionKey) {
    let (dir, mut file) = fresh();
    let session = session("x");
    file.commit(&record(&session, "one", replied("eins")))
        .unwrap();
    let made = call("c1", "{}");
    let mut turn = record(&session, "two", replied("zwei"));
    turn.messages = vec![
        Message::User("two".into()),
        Message::Model {
            text: "Let me see.".into(),
            calls: vec![made.clone()],
        },
        Message::Result {
            call: made.id.clone(),
            name: made.name.clone(),
            text: "seen".into(),
        },
        Message::answer("zwei"),
    ];
    file.step(
        turn.delivery,
        0,
        answer("Let me see.", std::slice::from_ref(&made)),
    )
    .unwrap();
    file.step(turn.delivery, 1, begin(&made)).unwrap();
    file.step(turn.delivery, 1, end("seen")).unwrap();
    turn.last = Some((
        2,
        Asked {
            at_ms: now_ms(),
            usage: Usage::default(),
        },
    ));
    file.commit(&turn).unwrap();
    file.commit(&record(&session, "three", replied("drei")))
        .unwrap();
    (dir, file, session)
}

#[test]
fn sessions_are_listed_by_their_last_use() {
    let (dir, mut file) = fresh();
    for name in ["a", "b", "c", "a"] {
        file.commit(&record(&session(name), "q", replied("r")))
            .unwrap();
        // Two within a millisecond are in the order of their making.
        file.connection()
            .execute("UPDATE messages SET created_ms = created_ms - 1000", ())
            .unwrap();
    }
    let listed = lines(|sink| reader(&dir).list(2, sink));
    let [Line::Session(first), Line::Session(second), more] = &listed[..] else {
        panic!("{listed:?}")
    };
    assert_eq!((first.session.rest(), first.messages), ("a", 4));
    assert_eq!((second.session.rest(), second.messages), ("c", 2));
    assert!(first.updated_ms > second.updated_ms);
    let expected = Line::More {
        before: None,
        omitted: Some(1),
    };
    assert_eq!(more, &expected);
}

#[test]
fn a_session_is_shown_by_a_window() {
    let (dir, _file, session) = told();
    let reader = reader(&dir);
    let whole = lines(|sink| reader.show(&session, 100, None, sink));
    let all = [
        "one",
        "eins",
        "two",
        "Let me see.",
        "seen",
        "zwei",
        "three",
        "drei",
    ];
    assert_eq!(spoken(&whole), all);
    let Line::Message(result) = &whole[4] else {
        panic!("{whole:?}")
    };
    assert_eq!(result.role, Role::Tool);
    assert_eq!(result.result_of.as_ref().unwrap().call, "c1");

    let last = lines(|sink| reader.show(&session, 3, None, sink));
    assert_eq!(spoken(&last), ["zwei", "three", "drei"]);
    let Line::More {
        before: Some(before),
        omitted,
    } = last[0]
    else {
        panic!("{last:?}")
    };
    assert_eq!(omitted, Some(5));
    let earlier = lines(|sink| reader.show(&session, 3, Some(before), sink));
    assert_eq!(spoken(&earlier), ["two", "Let me see.", "seen"]);
    // A number that is of no message of the session is a place all the same.
    let beyond = lines(|sink| reader.show(&session, 2, Some(1000), sink));
    assert_eq!(spoken(&beyond), ["three", "drei"]);
    let before_all = lines(|sink| reader.show(&session, 2, Some(0), sink));
    assert_eq!(before_all, []);
    let error = reader.show(&super::session("none"), 1, None, &mut |_| Ok(()));
    assert!(matches!(error, Err(ReadError::NoSession)), "{error:?}");
}

#[test]
fn an_export_has_everything_and_says_so() {
    let (dir, _file, session) = told();
    let exported = lines(|sink| reader(&dir).export(&session, sink));
    let Some(Line::Export(head)) = exported.first() else {
        panic!("{exported:?}")
    };
    assert_eq!((head.format, head.messages), (1, 8));
    assert_eq!(exported.last(), Some(&Line::End { messages: 8 }));
    assert_eq!(spoken(&exported).len(), 8);
    // Behind the last message of each turn.
    let turns: Vec<_> = exported
        .iter()
        .enumerate()
        .filter_map(|(at, line)| match line {
            Line::Turn(turn) => Some((at, turn)),
            _ => None,
        })
        .collect();
    assert_eq!(
        turns.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
        [3, 8, 11]
    );
    let steps: Vec<_> = turns[1]
        .1
        .steps
        .iter()
        .map(|step| step.tool.as_deref())
        .collect();
    assert_eq!(steps, [None, Some("exec"), None]);
    assert!(turns[1].1.steps.iter().all(|step| step.ended_ms.is_some()));
}

#[test]
fn a_text_is_found_in_one_session_or_in_all() {
    let (dir, mut file, here) = told();
    let there = session("there");
    file.commit(&record(&there, "Where is EINS?", replied("here")))
        .unwrap();
    let reader = reader(&dir);
    let all = lines(|sink| reader.search(None, "eins", (10, None), sink));
    assert_eq!(spoken(&all), ["Where is EINS?", "eins"], "newest first");
    let Line::Message(first) = &all[0] else {
        panic!("{all:?}")
    };
    assert_eq!(first.session.as_ref(), Some(&there));
    let one = lines(|sink| reader.search(Some(&here), "eins", (10, None), sink));
    assert_eq!(spoken(&one), ["eins"]);

    let page = lines(|sink| reader.search(None, "eins", (1, None), sink));
    let [Line::Message(_), Line::More { before, .. }] = page[..] else {
        panic!("{page:?}")
    };
    let rest = lines(|sink| reader.search(None, "eins", (1, before), sink));
    assert_eq!(spoken(&rest), ["eins"]);
    assert_eq!(
        lines(|sink| reader.search(None, "nowhere", (9, None), sink)),
        []
    );
}

/// Reading holds nobody up, and what is written meanwhile is no part of a batch that was read.
#[test]
fn it_is_read_while_it_is_written() {
    let (dir, mut file, session) = told();
    lengthen(&mut file, &session, 500, 20);
    let mut turns = 0;
    let mut messages = 0;
    reader(&dir)
        .export(&session, &mut |line| {
            if matches!(line, Line::Message(_)) && messages < 400 {
                messages += 1;
                file.commit(&record(&session, "meanwhile", replied("done")))
                    .unwrap();
                turns += 1;
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(turns, 400);
}

#[test]
fn an_export_of_what_is_deleted_meanwhile_is_not_taken_for_whole() {
    let (dir, mut file, session) = told();
    lengthen(&mut file, &session, 500, 20);
    let mut ends = 0;
    let error = reader(&dir).export(&session, &mut |line| {
        ends += usize::from(matches!(line, Line::End { .. }));
        file.delete(&session).unwrap();
        Ok(())
    });
    assert!(
        matches!(error, Err(ReadError::DeletedMeanwhile)),
        "{error:?}"
    );
    assert_eq!(ends, 0);
}

#[test]
fn a_deleted_session_is_gone_at_once_and_its_deliveries_stay_known() {
    let (dir, mut file) = fresh();
    let (here, there) = (session("here"), session("there"));
    let (mine, other) = (
        record(&here, "q", replied("secret")),
        record(&there, "q", replied("kept")),
    );
    file.commit(&mine).unwrap();
    file.commit(&other).unwrap();
    assert_eq!(file.delete(&here).unwrap(), Some(2));
    assert_eq!(file.delete(&here).unwrap(), None, "twice is once");
    let begun = file.begin(DeliveryId::new(), &here, WIDE, 1).unwrap();
    assert_eq!(texts(begun), [""; 0]);
    let listed = lines(|sink| reader(&dir).list(10, sink));
    assert_eq!(listed.len(), 1);
    assert_eq!(
        lines(|sink| reader(&dir).search(None, "secret", (9, None), sink)),
        []
    );

    // A session of the same name may begin before all of the old one is away.
    file.commit(&record(&here, "anew", replied("hello")))
        .unwrap();
    while file.is_clearing() {
        file.clear().unwrap();
    }
    let begun = file.begin(mine.delivery, &here, WIDE, 1).unwrap();
    assert_eq!(
        begun,
        Begun::Before(TurnOutcome::Cancelled),
        "not thought again"
    );
    let begun = file.begin(other.delivery, &there, WIDE, 1).unwrap();
    assert_eq!(begun, Begun::Before(replied("kept")));
    let begun = file.begin(DeliveryId::new(), &here, WIDE, 1).unwrap();
    assert_eq!(texts(begun), ["anew", "hello"]);
    assert_eq!(
        (count(&mut file, "messages"), count(&mut file, "sessions")),
        (4, 2)
    );
}

/// Bit by bit, over the life of several processes, until the file is small again.
#[test]
fn the_space_of_a_deleted_session_is_freed() {
    const MESSAGES: u32 = 6_000;
    let (dir, mut file) = fresh();
    let (long, short) = (session("long"), session("short"));
    file.commit(&record(&short, "q", replied("a"))).unwrap();
    lengthen(&mut file, &long, MESSAGES, 2000);
    let size = |file: &mut StoreFile| -> u64 {
        let mut checkpoint = file
            .connection()
            .prepare("PRAGMA wal_checkpoint(TRUNCATE)")
            .unwrap();
        let mut rows = checkpoint.query(()).unwrap();
        while rows.next().unwrap().is_some() {}
        fs::metadata(path(&dir)).unwrap().len()
    };
    let before = size(&mut file);
    assert!(before > 10_000_000, "{before}");

    assert!(file.delete(&long).unwrap() >= Some(u64::from(MESSAGES)));
    let mut steps = 0;
    while file.is_clearing() {
        let then = count(&mut file, "messages");
        file.clear().unwrap();
        assert!(
            then - count(&mut file, "messages") <= 100,
            "a little at a time"
        );
        steps += 1;
        if [10, 40, 70].contains(&steps) {
            // As if the process had been killed: among messages, and among free pages.
            file = StoreFile::open(&path(&dir)).unwrap();
            assert!(file.is_clearing(), "the next one goes on");
        }
    }
    assert!(steps > 60, "{steps}");
    assert_eq!(count(&mut file, "messages"), 2);
    let after = size(&mut file);
    assert!(after < before / 10, "{before} {after}");
    let begun = file.begin(DeliveryId::new(), &short, WIDE, 1).unwrap();
    assert_eq!(texts(begun), ["q", "a"]);
}

#[tokio::test]
async fn the_thread_deletes_and_answers_others_meanwhile() {
    let (dir, mut file) = fresh();
    let (long, short) = (session("long"), session("short"));
    lengthen(&mut file, &long, 3_000, 20);
    drop(file);
    let (store, thread) = Store::open(&path(&dir)).unwrap();
    assert!(store.delete(long.clone()).await.unwrap() >= Some(3_000));
    assert_eq!(store.delete(long).await.unwrap(), None);
    let turn = record(&short, "q", replied("a"));
    store.commit(turn).await.unwrap();
    // With time to spare it goes on, without being asked; with none it leaves the rest to the next.
    drop(store);
    thread.join().unwrap();
    let mut file = StoreFile::open(&path(&dir)).unwrap();
    while file.is_clearing() {
        file.clear().unwrap();
    }
    assert_eq!(count(&mut file, "messages"), 2);
}

#[test]
fn what_is_no_store_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Reader::open("hexa".parse().unwrap(), &path(&dir));
    assert!(matches!(open(), Err(ReadError::NoStore)));
    let connection = Connection::open(path(&dir)).unwrap();
    connection.execute_batch("CREATE TABLE a (b)").unwrap();
    assert!(matches!(open(), Err(ReadError::Foreign { .. })));
    drop(connection);
    fs::remove_file(path(&dir)).unwrap();

    drop(StoreFile::open(&path(&dir)).unwrap());
    let connection = Connection::open(path(&dir)).unwrap();
    connection.pragma_update(None, "user_version", 2).unwrap();
    assert!(matches!(open(), Err(ReadError::Older { found: 2 })));
    connection.pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(open(), Err(ReadError::Foreign { .. })));
}
