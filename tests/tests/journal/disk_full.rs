//! A file system that is full. It is a small one in memory, in a mount namespace of its own, so the test
//! runs itself again below `unshare`.

use std::{fs, path::Path, process::Command, time::Duration};

use kennel::journal::{
    Answer, Journal, JournalError, Op, OpenError, Options, Reader, Trouble,
    entry::{End, State, Tokens},
};
use kennel_shared::ids::{Generation, TurnId};
use nix::mount::{MsFlags, mount};
use tokio::time::timeout;

use crate::message;

const SOON: Duration = Duration::from_secs(30);
const INSIDE: &str = "KENNEL_TEST_SMALL_DISK";

#[test]
fn a_full_disk_refuses_what_is_new_and_loses_nothing() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let home = tempfile::tempdir().unwrap();
    let spaces: &[&str] = if nix::unistd::geteuid().is_root() {
        &["--mount"]
    } else {
        &["--mount", "--user", "--map-root-user"]
    };
    let status = Command::new("unshare")
        .args(spaces)
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "disk_full::a_full_disk_refuses_what_is_new_and_loses_nothing",
        ])
        .arg("--nocapture")
        .env(INSIDE, home.path())
        .status()
        .expect("`unshare` of util-linux can be started");
    assert!(status.success(), "see above");
}

fn inside() {
    let disk = std::env::var_os(INSIDE).unwrap();
    let disk = Path::new(&disk);
    let size = Some("size=6m");
    mount(Some("none"), disk, Some("tmpfs"), MsFlags::empty(), size).expect("a small disk");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(fill(disk));
    runtime.block_on(from_the_start(disk));
}

/// Puts something else on the disk until only `left` bytes are free.
fn crowd(disk: &Path, left: u64) {
    let space = nix::sys::statvfs::statvfs(disk).unwrap();
    let free = space.blocks_available() * space.fragment_size();
    let bytes = usize::try_from(free.saturating_sub(left)).unwrap();
    fs::write(disk.join("other"), vec![1; bytes]).unwrap();
}

async fn fill(disk: &Path) {
    let path = disk.join("journal.db");
    let (journal, thread) = Journal::open(Options::new(&path)).unwrap();
    let mut accepted = Vec::new();
    let first = message(0, 100);
    journal.accept(first.clone()).await.unwrap();
    accepted.push(first.clone());
    crowd(disk, 2 * 1024 * 1024);
    let trouble = loop {
        let next = message(accepted.len(), 100_000);
        match journal.accept(next.clone()).await {
            Ok(_) => accepted.push(next),
            Err(JournalError::Unavailable(trouble)) => break trouble,
            Err(error) => panic!("{error}"),
        }
        assert!(accepted.len() < 100, "the disk is small");
    };
    assert_eq!(trouble, Trouble::Full { path: path.clone() });
    assert!(accepted.len() > 5, "{}", accepted.len());
    // An agent finishes its turn: that is kept.
    let lease = Op::Lease {
        delivery: first.delivery,
        generation: Generation(1),
        turn: TurnId::new(),
    };
    let settle = Op::Settle {
        delivery: first.delivery,
        end: End::Replied {
            text: "z".repeat(200_000),
            tokens: Tokens::default(),
        },
        sends: Vec::new(),
        turn: None,
    };
    let leased = journal.submit(lease).unwrap();
    let settled = journal.submit(settle).unwrap();
    let reader = Reader::open(&path).unwrap();
    for new in &accepted {
        let shown = reader.show(new.delivery).unwrap().expect("it was accepted");
        assert_eq!(shown.text.as_ref(), Some(&new.text));
    }
    drop(reader);
    // Room again, and nobody says so to the journal.
    fs::remove_file(disk.join("other")).unwrap();
    assert_eq!(timeout(SOON, leased).await.unwrap(), Ok(Answer::Leased));
    timeout(SOON, settled).await.unwrap().unwrap();
    assert_eq!(journal.health().borrow().refusing, None);
    let late = message(1000, 1000);
    journal.accept(late.clone()).await.unwrap();
    drop(journal);
    thread.join().unwrap();

    let (journal, thread) = Journal::open(Options::new(&path)).unwrap();
    assert_eq!(
        journal.health().borrow().damage,
        None,
        "a full disk damages nothing"
    );
    let reader = Reader::open(&path).unwrap();
    reader.check().unwrap();
    let state = |delivery| reader.show(delivery).unwrap().unwrap().listed.state;
    assert_eq!(state(first.delivery), State::Replied);
    assert_eq!(state(late.delivery), State::Queued);
    drop((reader, journal));
    thread.join().unwrap();
}

/// A damaged journal on a full disk: nothing is moved into nowhere, and it goes on when there is room.
async fn from_the_start(disk: &Path) {
    let path = disk.join("journal.db");
    let before = Reader::open(&path).unwrap();
    let before = before.counts().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    // The last page of texts, somewhere in the middle of the file.
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xA5);
    fs::write(&path, &bytes).unwrap();
    crowd(disk, 16 * 1024);
    let refused = Journal::open(Options::new(&path)).map(|_| ());
    let error = refused.expect_err("there is no room for a new one");
    assert!(matches!(error, OpenError::Sqlite { .. }), "{error}");
    fs::remove_file(disk.join("other")).unwrap();
    let (journal, thread) = Journal::open(Options::new(&path)).unwrap();
    let damage = journal
        .health()
        .borrow()
        .damage
        .clone()
        .expect("it was damaged");
    assert_eq!(fs::read(&damage.moved_to).unwrap(), bytes);
    assert!(damage.kept.open > 0 && damage.kept.open <= before[0].queued);
    journal.accept(message(2000, 10)).await.unwrap();
    drop(journal);
    thread.join().unwrap();
}
