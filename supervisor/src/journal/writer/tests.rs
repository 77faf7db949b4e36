//! The thread in trouble, by errors that a test asks for.

use kennel_shared::ids::DeliveryId;
use tokio::time::timeout;

use super::super::{
    Acceptance, Answer, Journal, JournalError, Options, Reader, Trouble,
    entry::State,
    failpoint::{Action, Point},
    health::Health,
    op::Op,
    reader::View,
    tests::{SOON, home, lease, message, replied},
};

async fn until(journal: &Journal, seen: impl FnMut(&Health) -> bool) -> Health {
    let mut health = journal.health();
    let health = timeout(SOON, health.wait_for(seen)).await.unwrap().unwrap();
    health.clone()
}

/// A journal with one delivery that waits.
async fn with_one(options: &Options) -> (Journal, DeliveryId) {
    let (journal, _) = Journal::open(options.clone()).unwrap();
    let first = message("a", "first");
    journal.accept(first.clone()).await.unwrap();
    (journal, first.delivery)
}

async fn state(journal: &Journal, delivery: DeliveryId) -> State {
    let shown = journal.read(move |reader| reader.show(delivery)).await;
    shown.unwrap().unwrap().listed.state
}

async fn refuses_and_resumes(action: Action, says: fn(&Trouble) -> bool) {
    let (_home, options) = home();
    let points = options.fail_points.clone();
    let (journal, delivery) = with_one(&options).await;
    points.arm(Point::Commit, action, 1, u64::MAX);
    let refused = journal.accept(message("a", "second")).await;
    let Err(JournalError::Unavailable(trouble)) = refused else {
        panic!("{refused:?}");
    };
    assert!(says(&trouble), "{trouble:?}");
    // What happened is kept, in its order; what is new is refused meanwhile, at once.
    let leased = journal.submit(lease(delivery)).unwrap();
    let settled = journal.submit(replied(delivery, "yes")).unwrap();
    let refused = journal.accept(message("a", "third")).await;
    assert!(matches!(refused, Err(JournalError::Unavailable(_))));
    let health = until(&journal, |health| {
        health
            .refusing
            .as_ref()
            .is_some_and(|refusing| refusing.owed == 2)
    })
    .await;
    assert!(says(&health.refusing.unwrap().trouble));
    assert_eq!(state(&journal, delivery).await, State::Queued);
    // There is room again.
    points.disarm();
    assert_eq!(timeout(SOON, leased).await.unwrap(), Ok(Answer::Leased));
    let settled = timeout(SOON, settled).await.unwrap().unwrap();
    assert!(matches!(settled, Answer::Settled { before: None, .. }));
    until(&journal, |health| health.refusing.is_none()).await;
    assert_eq!(state(&journal, delivery).await, State::Replied);
    let accepted = journal.accept(message("a", "second")).await.unwrap();
    assert!(
        matches!(accepted, Acceptance::New(_)),
        "nothing was half written"
    );
    assert_eq!(journal.health().borrow().damage, None);
}

/// A lease alone waits for company, and not for long.
#[tokio::test]
async fn a_lease_goes_to_the_disk_with_what_comes_next_or_by_itself() {
    let (_home, options) = home();
    let points = options.fail_points.clone();
    let (journal, delivery) = with_one(&options).await;
    // The second commit from here on would fail: there is only one.
    points.arm(Point::Commit, Action::Full, 2, u64::MAX);
    let leased = journal.submit(lease(delivery)).unwrap();
    let settled = journal.submit(replied(delivery, "yes")).unwrap();
    assert_eq!(timeout(SOON, leased).await.unwrap(), Ok(Answer::Leased));
    assert!(timeout(SOON, settled).await.unwrap().is_ok());
    points.disarm();
    let Ok(Acceptance::New(_)) = journal.accept(message("a", "another")).await else {
        panic!("it is new");
    };
    let other = journal.submit(lease(delivery)).unwrap();
    let answer = timeout(SOON, other).await.unwrap();
    assert!(
        matches!(answer, Err(JournalError::Refused(_))),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_full_disk_refuses_what_is_new_and_keeps_what_happened() {
    refuses_and_resumes(Action::Full, |trouble| {
        matches!(trouble, Trouble::Full { .. })
    })
    .await;
}

#[tokio::test]
async fn so_does_a_disk_that_fails() {
    refuses_and_resumes(Action::Io, |trouble| matches!(trouble, Trouble::Io { .. })).await;
}

#[tokio::test]
async fn damage_during_work_is_healed_and_told() {
    let (_home, options) = home();
    let points = options.fail_points.clone();
    let (journal, delivery) = with_one(&options).await;
    points.arm(Point::Row, Action::Corrupt, 1, 1);
    // Whoever hands something in at that moment does not notice.
    let answer = journal.put(lease(delivery)).await.unwrap();
    assert_eq!(answer, Answer::Leased);
    let health = until(&journal, |health| health.damage.is_some()).await;
    let damage = health.damage.unwrap();
    assert_eq!((damage.kept.deliveries, damage.kept.open), (1, 1));
    assert!(damage.lost.nothing());
    assert!(damage.moved_to.exists() && health.refusing.is_none());
    assert_eq!(state(&journal, delivery).await, State::Leased);
    let told = journal.read(|reader| reader.audit(None, 10)).await.unwrap();
    assert_eq!(told[0].what, "damage");
    assert!(
        told[0].detail.contains("nothing was missing"),
        "{}",
        told[0].detail
    );
    // It is told for as long as the file is there.
    std::fs::remove_file(&damage.moved_to).unwrap();
    drop(journal);
    let (journal, _) = Journal::open(options).unwrap();
    assert_eq!(journal.health().borrow().damage, None);
}

#[tokio::test]
async fn a_disk_that_damages_again_and_again_does_not_fill_with_copies() {
    let (home, options) = home();
    let points = options.fail_points.clone();
    let (journal, delivery) = with_one(&options).await;
    points.arm(Point::Row, Action::Corrupt, 1, u64::MAX);
    let leased = journal.submit(lease(delivery)).unwrap();
    let refused = journal.accept(message("a", "second")).await;
    let Err(JournalError::Unavailable(trouble)) = refused else {
        panic!("{refused:?}");
    };
    assert!(matches!(trouble, Trouble::Damaged { .. }), "{trouble:?}");
    let copies = || {
        let names = std::fs::read_dir(home.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| name.starts_with("journal.damaged-") && !name.ends_with("-wal"))
            .count()
    };
    assert_eq!(copies(), 8);
    // The operator moves them away.
    points.disarm();
    for entry in std::fs::read_dir(home.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains("damaged-") {
            std::fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(timeout(SOON, leased).await.unwrap(), Ok(Answer::Leased));
    assert_eq!(state(&journal, delivery).await, State::Leased);
}

#[tokio::test]
async fn a_large_file_is_checked_beside_the_work() {
    use std::os::unix::fs::FileExt as _;
    let (_home, options) = home();
    let (journal, thread) = Journal::open(options.clone()).unwrap();
    let mut pending = Vec::new();
    for number in 0..90 {
        let mut new = message("a", &number.to_string());
        new.text = "x".repeat(200_000);
        pending.push(journal.submit(Op::Accept(Box::new(new))).unwrap());
    }
    for one in pending {
        timeout(SOON, one).await.unwrap().unwrap();
    }
    drop(journal);
    thread.join().unwrap();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&options.path)
        .unwrap();
    let bytes = file.metadata().unwrap().len();
    assert!(bytes > 16 * 1024 * 1024, "{bytes}");
    // In the middle of some text's pages.
    file.write_all_at(&[0xA5; 4096], bytes / 2 / 4096 * 4096)
        .unwrap();
    drop(file);
    let (journal, _) = Journal::open(options).unwrap();
    let health = until(&journal, |health| health.damage.is_some()).await;
    let damage = health.damage.unwrap();
    assert!(damage.kept.open < 90 && !damage.lost.nothing(), "{damage}");
    assert!(damage.kept.open > 80, "{damage}");
    journal.accept(message("a", "after")).await.unwrap();
}

#[tokio::test]
async fn what_is_too_old_goes_while_there_is_work() {
    let (_home, mut options) = home();
    options.retention.ended = std::time::Duration::ZERO;
    let (journal, thread) = Journal::open(options.clone()).unwrap();
    for number in 0..40 {
        let new = message("a", &number.to_string());
        journal.accept(new.clone()).await.unwrap();
        journal.put(replied(new.delivery, "yes")).await.unwrap();
    }
    let keep = message("a", "keep");
    journal.accept(keep.clone()).await.unwrap();
    drop(journal);
    thread.join().unwrap();
    let points = options.fail_points.clone();
    let mut file = super::super::file::JournalFile::open(&options.path, &points)
        .unwrap()
        .file;
    let later = super::super::now_ms() + 1000;
    while super::super::retention::step(&mut file, &options.retention, later)
        .unwrap()
        .more
    {}
    drop(file);
    let reader = Reader::open(&options.path).unwrap();
    let left = reader.list(View::All, None, None, 100).unwrap().entries;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].delivery, keep.delivery);
    // The answers are still to be sent.
    let owed = reader.owed(&"irc".parse().unwrap(), None, 100).unwrap();
    assert_eq!(owed.entries.len(), 40);
}

#[tokio::test]
async fn what_a_dead_supervisor_was_sending_is_marked_as_soon_as_it_can_be() {
    let (_home, options) = home();
    let (journal, delivery) = with_one(&options).await;
    let Answer::Settled { sends, .. } = journal.put(replied(delivery, "yes")).await.unwrap() else {
        panic!("it was open");
    };
    let claim = Op::Claim {
        send: sends[0],
        repeatable: true,
    };
    journal.put(claim.clone()).await.unwrap();
    drop(journal);
    options.fail_points.arm(Point::Row, Action::Full, 1, 1);
    let (journal, _) = Journal::open(options).unwrap();
    assert!(
        journal.health().borrow().refusing.is_some(),
        "the disk is full at the start"
    );
    until(&journal, |health| health.refusing.is_none()).await;
    // The platform knows a repeat: nothing is in doubt.
    let claimed = Ok(Answer::Claimed {
        parts_done: 0,
        doubtful: false,
    });
    let mut answer = journal.put(claim.clone()).await;
    while matches!(answer, Err(JournalError::Refused(_))) {
        tokio::task::yield_now().await;
        answer = journal.put(claim.clone()).await;
    }
    assert_eq!(answer, claimed);
}
