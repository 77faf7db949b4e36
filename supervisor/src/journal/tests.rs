//! The journal as its users see it, and processes that die at any point of its work.

use std::{
    collections::HashSet,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use kennel_shared::{
    envelope::{Peer, PeerKind, Sender},
    ids::{DeliveryId, Generation, TurnId},
};
use tempfile::TempDir;
use tokio::time::timeout;

use super::{
    entry::*,
    failpoint::{Action, Point},
    health::Class,
    op::*,
    reader::View,
    *,
};

/// Longer than anything takes here.
pub(super) const SOON: Duration = Duration::from_secs(30);

pub(super) fn home() -> (TempDir, Options) {
    let home = tempfile::tempdir().unwrap();
    let options = Options::new(home.path().join("journal.db"));
    (home, options)
}

/// A message of chat `id` to agent `agent`.
pub(super) fn message(agent: &str, id: &str) -> NewDelivery {
    NewDelivery {
        delivery: DeliveryId::new(),
        origin: Origin::Channel {
            channel: "irc".parse().unwrap(),
            message_id: id.to_owned(),
        },
        session: format!("agent:{agent}:irc:group:#room").parse().unwrap(),
        sender: Sender {
            id: "ann".into(),
            name: Some("Ann".into()),
        },
        text: format!("what about {id}?"),
        reply_to: Some(format!("{{\"peer\":\"#room\",\"message\":\"{id}\"}}")),
    }
}

pub(super) fn asked(key: &str, body: &[u8]) -> NewDelivery {
    NewDelivery {
        origin: Origin::Caller {
            key: Some(CallerKey {
                key: key.to_owned(),
                body: Digest::of(&[body]),
            }),
        },
        ..message("a", "-")
    }
}

pub(super) fn answer(text: &str) -> NewSend {
    NewSend {
        channel: "irc".parse().unwrap(),
        peer: Peer {
            kind: PeerKind::Group,
            id: "#room".into(),
        },
        reply_to: None,
        text: text.to_owned(),
    }
}

pub(super) fn replied(delivery: DeliveryId, text: &str) -> Op {
    Op::Settle {
        delivery,
        end: End::Replied {
            text: text.to_owned(),
            tokens: Tokens {
                input: 2,
                output: 3,
            },
        },
        sends: vec![answer(text)],
        turn: None,
    }
}

pub(super) fn lease(delivery: DeliveryId) -> Op {
    Op::Lease {
        delivery,
        generation: Generation(1),
        turn: TurnId::new(),
    }
}

#[tokio::test]
async fn a_message_is_accepted_once() {
    let (_home, options) = home();
    let (journal, _) = Journal::open(options).unwrap();
    let first = message("a", "1");
    let Acceptance::New(seq) = journal.accept(first.clone()).await.unwrap() else {
        panic!("it is new");
    };
    let again = journal.accept(message("a", "1")).await.unwrap();
    let Acceptance::Known { by, first: known } = again else {
        panic!("{again:?}");
    };
    assert_eq!((by, known.seq), (KnownBy::MessageId, seq));
    assert_eq!(known.delivery, first.delivery);
    let again = journal.accept(first).await.unwrap();
    assert!(matches!(
        again,
        Acceptance::Known {
            by: KnownBy::Delivery,
            ..
        }
    ));
}

#[tokio::test]
async fn a_key_gets_its_answer_again_and_another_body_is_refused() {
    let (_home, options) = home();
    let (journal, _) = Journal::open(options).unwrap();
    let first = asked("k", b"one");
    journal.accept(first.clone()).await.unwrap();
    journal
        .put(replied(first.delivery, "because"))
        .await
        .unwrap();
    let again = journal.accept(asked("k", b"one")).await.unwrap();
    let Acceptance::Known { by, first: known } = again else {
        panic!("{again:?}");
    };
    assert_eq!((by, known.state), (KnownBy::Key, State::Replied));
    let end = known.end.unwrap();
    assert_eq!(end.text.as_deref(), Some("because"));
    assert_eq!(
        end.tokens,
        Tokens {
            input: 2,
            output: 3
        }
    );
    let other = journal.accept(asked("k", b"two")).await;
    let refusal = Refusal::OtherBody {
        first: first.delivery,
    };
    assert_eq!(other, Err(JournalError::Refused(refusal)));
    assert!(other.unwrap_err().to_string().contains("use a new key"));
}

#[tokio::test]
async fn the_next_supervisor_finds_everything() {
    let (_home, options) = home();
    let (journal, thread) = Journal::open(options.clone()).unwrap();
    let messages: Vec<_> = (0..4).map(|id| message("a", &id.to_string())).collect();
    for message in &messages {
        journal.accept(message.clone()).await.unwrap();
    }
    let [answered, sending, leased, queued] = [0, 1, 2, 3].map(|at| messages[at].delivery);
    for delivery in [answered, sending, leased] {
        journal.put(lease(delivery)).await.unwrap();
    }
    let mut ids = Vec::new();
    for delivery in [answered, sending] {
        let Answer::Settled { sends, .. } = journal.put(replied(delivery, "yes")).await.unwrap()
        else {
            panic!("it is settled");
        };
        ids.extend(sends);
    }
    for send in &ids {
        let claim = Op::Claim {
            send: *send,
            repeatable: false,
        };
        journal.put(claim).await.unwrap();
    }
    let sent = Op::SettleSend {
        send: ids[0],
        how: SendEnd::Sent {
            platform_id: Some("77".into()),
            doubtful: false,
        },
    };
    journal.put(sent).await.unwrap();
    drop(journal);
    thread.join().unwrap();

    let (journal, thread) = Journal::open(options).unwrap();
    let (waiting, owed) = journal
        .read(|reader| {
            let waiting = reader.waiting(&"a".parse().unwrap(), None, 10)?;
            let owed = reader.owed(&"irc".parse().unwrap(), None, 10)?;
            Ok((waiting.entries, owed.entries))
        })
        .await
        .unwrap();
    let states: Vec<_> = waiting
        .iter()
        .map(|one| (one.delivery, one.state))
        .collect();
    assert_eq!(states, [(leased, State::Leased), (queued, State::Queued)]);
    assert_eq!(waiting[0].lease.unwrap().generation, Generation(1));
    // It was with the platform: it may arrive twice, and says so for ever.
    let [again] = &owed[..] else {
        panic!("{owed:?}");
    };
    assert_eq!(
        (again.id, again.state, again.doubtful),
        (ids[1], SendState::Maybe, true)
    );
    assert_eq!(again.delivery, Some(sending));
    drop(journal);
    thread.join().unwrap();
}

#[tokio::test]
async fn many_writers_are_all_answered_and_all_are_there() {
    let (_home, options) = home();
    let (journal, _) = Journal::open(options).unwrap();
    let writers = (0..64).map(|writer| {
        let journal = journal.clone();
        tokio::spawn(async move {
            for number in 0..20 {
                let id = format!("{writer}-{number}");
                journal.accept(message("a", &id)).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        timeout(SOON, writer).await.unwrap().unwrap();
    }
    let counts = journal.read(Reader::counts).await.unwrap();
    assert_eq!(counts[0].queued, 64 * 20);
}

#[tokio::test]
async fn a_full_queue_says_so_and_the_other_kind_still_has_places() {
    let (_home, options) = home();
    // The thread stands still in front of its first write.
    let (release, held) = std::sync::mpsc::sync_channel::<()>(0);
    let path = options.path.clone();
    let (journal, _) = Journal::open(options).unwrap();
    let blocker = thread::spawn(move || {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        release.send(()).unwrap();
        release.send(()).unwrap();
    });
    held.recv().unwrap();
    let mut pending = Vec::new();
    let busy = loop {
        match journal.submit(Op::Accept(Box::new(message("a", "x")))) {
            Ok(one) => pending.push(one),
            Err(refused) => break refused.error,
        }
        assert!(pending.len() <= QUEUE);
    };
    assert_eq!((busy, pending.len()), (JournalError::Busy, QUEUE));
    let other = journal.submit(lease(DeliveryId::new())).unwrap();
    held.recv().unwrap();
    blocker.join().unwrap();
    let mut new = 0;
    for one in pending {
        let answer = timeout(SOON, one).await.unwrap().unwrap();
        new += usize::from(matches!(answer, Answer::Accepted(Acceptance::New(_))));
    }
    assert_eq!(new, 1);
    let unknown = Err(JournalError::Refused(Refusal::Unknown));
    assert_eq!(timeout(SOON, other).await.unwrap(), unknown);
}

/// What the child below does: accepts, leases, settles and sends, forever, and says what it was told.
/// Not a test: started by the one behind it.
#[tokio::test]
#[ignore = "started by another test"]
async fn child() {
    let Ok(path) = std::env::var("KENNEL_TEST_JOURNAL") else {
        return;
    };
    let mut options = Options::new(path);
    options.fail_points = FailPoints::from_env();
    let (journal, _) = Journal::open(options).unwrap();
    for number in 0.. {
        // Not by the process's id: that comes round again, and the message would be known.
        let new = message("a", &DeliveryId::new().to_string());
        let delivery = new.delivery;
        let accepted = journal.accept(new).await.unwrap();
        assert!(matches!(accepted, Acceptance::New(_)), "{accepted:?}");
        println!("accepted {delivery}");
        if number % 2 == 0 {
            continue;
        }
        journal.put(lease(delivery)).await.unwrap();
        let Answer::Settled { sends, .. } = journal.put(replied(delivery, "yes")).await.unwrap()
        else {
            panic!("it was open");
        };
        println!("settled {delivery} {}", sends[0].0);
        if number > 400 {
            return;
        }
    }
}

/// Starts [`child`] and reads what it says until it dies of `points`.
fn run_child(path: &Path, points: &str) -> Vec<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this test again, as a process to be killed"
    )]
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "journal::tests::child",
            "--ignored",
            "--nocapture",
            "-q",
        ])
        .env("KENNEL_TEST_JOURNAL", path)
        .env("KENNEL_FAILPOINTS", points)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .filter(|line| line.starts_with("accepted ") || line.starts_with("settled "))
        .collect();
    let status = child.wait().unwrap();
    assert!(!status.success(), "{points}: it was to die");
    lines
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_every_point() {
    let (_home, options) = home();
    let (mut accepted, mut settled) = (HashSet::new(), HashSet::new());
    let mut sends: std::collections::HashMap<i64, DeliveryId> = std::collections::HashMap::new();
    let often = ["begin", "row", "commit", "committed", "told"];
    let often = often.iter().cycle().take(30).enumerate();
    let often = often.map(|(round, point)| format!("{point}=kill@{}", 1 + (round * 7) % 60));
    for points in often.chain(["checkpoint=kill@1".into(), "checkpoint=kill@2".into()]) {
        for line in run_child(&options.path, &points) {
            let words: Vec<&str> = line.split(' ').collect();
            let delivery: DeliveryId = words[1].parse().unwrap();
            match words[..] {
                ["accepted", _] => accepted.insert(delivery),
                [_, _, send] => {
                    let before = sends.insert(send.parse().unwrap(), delivery);
                    assert_eq!(before, None, "a number is given once");
                    settled.insert(delivery)
                }
                _ => panic!("{line}"),
            };
        }
    }
    let (journal, thread) = Journal::open(options.clone()).unwrap();
    assert_eq!(journal.health().borrow().damage, None);
    let reader = Reader::open(&options.path).unwrap();
    reader.check().unwrap();
    for delivery in &accepted {
        let shown = reader.show(*delivery).unwrap();
        let shown = shown.unwrap_or_else(|| panic!("{delivery} was acknowledged and is gone"));
        if settled.contains(delivery) {
            assert_eq!(shown.listed.state, State::Replied);
            assert_eq!(shown.sends.len(), 1, "one answer goes out");
        } else {
            // It may have got further than it was told.
            assert!(shown.sends.len() <= 1);
        }
    }
    assert!(
        accepted.len() > 60 && settled.len() > 30,
        "{} {}",
        accepted.len(),
        settled.len()
    );
    // Whatever has no end, waits or is leased: nothing is between.
    let open = reader.list(View::Open, None, None, 10_000).unwrap().entries;
    let all = reader.list(View::All, None, None, 10_000).unwrap().entries;
    let ended = all.iter().filter(|one| one.state == State::Replied).count();
    assert_eq!(open.len() + ended, all.len());
    drop((journal, reader));
    thread.join().unwrap();
}

#[test]
fn errors_say_what_to_do() {
    let path: PathBuf = "/state/journal.db".into();
    let full = Trouble::Full { path: path.clone() };
    let text = JournalError::Unavailable(full).to_string();
    assert_eq!(
        text,
        "the disk of /state/journal.db is full; make room on the disk of /state; messages are accepted again by themselves then"
    );
    let error = rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB),
        None,
    );
    assert_eq!(classify(&error), Class::Damaged);
    let damaged = Trouble::of(Class::Damaged, &path, &error);
    assert!(
        damaged
            .remedy()
            .contains("move the files named `*.damaged-*` out of /state")
    );
}

#[tokio::test]
async fn an_operation_that_sqlite_does_not_take_harms_no_other() {
    let (_home, options) = home();
    let points = options.fail_points.clone();
    let (journal, _) = Journal::open(options).unwrap();
    // The third write of the first group, and then that of the operation by itself.
    points.arm(Point::Row, Action::Constraint, 3, 1);
    let mut group = Vec::new();
    for number in 0..10 {
        let op = Op::Accept(Box::new(message("a", &number.to_string())));
        group.push(journal.submit(op).unwrap());
    }
    let mut accepted = 0;
    for pending in group {
        accepted += usize::from(timeout(SOON, pending).await.unwrap().is_ok());
    }
    // Alone in its group it is refused, in a larger one it is tried again.
    assert!(accepted >= 9, "{accepted}");
    assert_eq!(journal.health().borrow().refusing, None);
}
