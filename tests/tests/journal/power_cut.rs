//! The power fails at any moment while the journal works: what was acknowledged is there afterwards.
//!
//! What SQLite does to the files is written down, call by call, by a file system of its own. The disk
//! after a power cut is then made for many moments: all that was synced until then, and of what was not,
//! any of its sectors of 512 bytes, old or new, in any combination. Each such disk is opened as the next
//! supervisor would.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use kennel::journal::{
    Answer, Journal, Op, Options, Reader,
    entry::{End, NewDelivery, State, Tokens},
};
use kennel_shared::ids::{DeliveryId, Generation, TurnId};

use crate::{
    message,
    sys::{self, Event},
};

const SECTOR: u64 = 512;

/// What was told for a mark.
#[derive(Debug, Clone)]
struct Told {
    delivery: DeliveryId,
    text_bytes: usize,
    state: State,
}

/// A file of the disk.
#[derive(Debug, Clone, Default)]
struct Image {
    /// As it is after a power cut, at least.
    durable: Vec<u8>,
    /// What came after the last sync, in order.
    pending: Vec<Event>,
}

fn put(bytes: &mut Vec<u8>, at: u64, new: &[u8]) {
    let at = usize::try_from(at).unwrap();
    let end = at + new.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at..end].copy_from_slice(new);
}

impl Image {
    /// `keep` decides of each sector of each write whether it has arrived.
    fn after_cut(&self, mut keep: impl FnMut() -> bool) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for event in &self.pending {
            match event {
                Event::Write {
                    offset, bytes: new, ..
                } => {
                    let (mut at, end) = (*offset, offset + new.len() as u64);
                    while at < end {
                        let next = ((at / SECTOR + 1) * SECTOR).min(end);
                        if keep() {
                            let part = usize::try_from(at - offset).unwrap()
                                ..usize::try_from(next - offset).unwrap();
                            put(&mut bytes, at, &new[part]);
                        }
                        at = next;
                    }
                }
                Event::Truncate { size, .. } if keep() => {
                    bytes.resize(usize::try_from(*size).unwrap(), 0);
                }
                _ => {}
            }
        }
        bytes
    }

    fn sync(&mut self) {
        self.durable = self.after_cut(|| true);
        self.pending.clear();
    }
}

/// The disk at one moment.
#[derive(Debug, Clone, Default)]
struct Disk {
    files: HashMap<PathBuf, Image>,
    told: Vec<usize>,
}

impl Disk {
    fn happens(&mut self, event: &Event, honest: bool) {
        match event {
            Event::Write { file, .. } | Event::Truncate { file, .. } => {
                let image = self.files.entry(file.clone()).or_default();
                image.pending.push(event.clone());
            }
            Event::Sync { file } if honest => self.files.entry(file.clone()).or_default().sync(),
            Event::Sync { .. } => {}
            Event::Mark(number) => self.told.push(*number),
        }
    }

    /// Writes the files as they are after a power cut, and opens them.
    fn cut(&self, directory: &Path, keep: &mut impl FnMut() -> bool) -> PathBuf {
        for (path, image) in &self.files {
            let name = path.file_name().unwrap();
            fs::write(directory.join(name), image.after_cut(&mut *keep)).unwrap();
        }
        directory.join("journal.db")
    }
}

/// Works on a journal at `path` for a while; says what was told.
async fn work(journal: &Journal, random: &mut fastrand::Rng) -> Vec<Told> {
    let mut told = Vec::new();
    let mut number = 0;
    for round in 0..40 {
        // Some at once, so that groups have several.
        let new: Vec<NewDelivery> = (0..random.usize(1..6))
            .map(|at| {
                number += 1;
                // In all enough for the log to be copied into the file and begun anew.
                let bytes = if at == 0 && round % 2 == 0 {
                    random.usize(150_000..200_000)
                } else {
                    random.usize(1..3000)
                };
                message(number, bytes)
            })
            .collect();
        let pending: Vec<_> = new
            .iter()
            .map(|new| journal.submit(Op::Accept(Box::new(new.clone()))).unwrap())
            .collect();
        let mut tell = |new: &NewDelivery, state| {
            sys::mark(told.len());
            told.push(Told {
                delivery: new.delivery,
                text_bytes: new.text.len(),
                state,
            });
        };
        for (new, pending) in new.iter().zip(pending) {
            pending.await.unwrap();
            tell(new, State::Queued);
        }
        for new in new.iter().filter(|_| random.bool()) {
            let lease = Op::Lease {
                delivery: new.delivery,
                generation: Generation(1),
                turn: TurnId::new(),
            };
            journal.put(lease).await.unwrap();
            tell(new, State::Leased);
            let settle = Op::Settle {
                delivery: new.delivery,
                end: End::Replied {
                    text: "yes".into(),
                    tokens: Tokens::default(),
                },
                sends: Vec::new(),
                turn: None,
            };
            let settled = journal.put(settle).await.unwrap();
            assert!(matches!(settled, Answer::Settled { before: None, .. }));
            tell(new, State::Replied);
        }
    }
    told
}

/// How far a delivery is; it never goes back.
fn rank(state: State) -> u8 {
    match state {
        State::Queued => 0,
        State::Leased => 1,
        _ => 2,
    }
}

/// What was told and is not so.
fn missing(path: &Path, disk: &Disk, told: &[Told]) -> usize {
    let (journal, thread) = Journal::open(Options::new(path)).unwrap();
    let damaged = journal.health().borrow().damage.clone();
    assert!(damaged.is_none(), "a power cut is no damage: {damaged:?}");
    let reader = Reader::open(path).unwrap();
    reader.check().unwrap();
    let wrong = disk.told.iter().filter(|number| {
        let told = &told[**number];
        let shown = reader.show(told.delivery).unwrap();
        !shown.is_some_and(|shown| {
            rank(shown.listed.state) >= rank(told.state)
                && shown.text.is_some_and(|text| text.len() == told.text_bytes)
        })
    });
    let wrong = wrong.count();
    drop((reader, journal));
    thread.join().unwrap();
    wrong
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_power_cut_at_any_moment() {
    let seed = std::env::var("KENNEL_TEST_SEED").map_or_else(
        |_| fastrand::u64(..),
        |seed| seed.parse().expect("KENNEL_TEST_SEED is a number"),
    );
    println!("KENNEL_TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("journal.db");
    // Made first: that its name is there is the matter of the directory, which is synced.
    let (journal, thread) = Journal::open(Options::new(&path)).unwrap();
    drop(journal);
    thread.join().unwrap();
    let mut disk = Disk::default();
    let made = Image {
        durable: fs::read(&path).unwrap(),
        pending: Vec::new(),
    };
    disk.files.insert(path.clone(), made);
    sys::record();
    let (journal, thread) = Journal::open(Options::new(&path)).unwrap();
    let told = work(&journal, &mut random).await;
    let events = sys::recorded();
    drop(journal);
    thread.join().unwrap();

    let is_main = |event: &&Event| matches!(event, Event::Sync { file } if *file == path);
    let syncs = events
        .iter()
        .filter(|e| matches!(e, Event::Sync { .. }))
        .count();
    let copies = events.iter().filter(is_main).count();
    assert!(
        syncs > 80 && copies > 0,
        "{syncs} syncs, {copies} of the file itself"
    );
    assert!(told.len() > 100, "{}", told.len());

    let mut lying = disk.clone();
    let (mut cuts, mut lost_by_liar) = (0, 0);
    for (at, event) in events.iter().enumerate() {
        disk.happens(event, true);
        lying.happens(event, false);
        // Around what makes a difference more often than within a long write.
        let next_is_sync = matches!(events.get(at + 1), Some(Event::Sync { .. }));
        let chance = match event {
            Event::Mark(_) | Event::Sync { .. } => 12,
            _ if next_is_sync => 12,
            _ => 90,
        };
        if random.u32(0..chance) != 0 {
            continue;
        }
        cuts += 1;
        let directory = tempfile::tempdir().unwrap();
        // Everything, nothing, or a part of what was not synced.
        let share = [0, 4, 128, 250, 255][random.usize(0..5)];
        let mut arrives = || random.u8(..) <= share && share > 0;
        let cut = disk.cut(directory.path(), &mut arrives);
        let wrong = missing(&cut, &disk, &told);
        assert_eq!(
            wrong, 0,
            "KENNEL_TEST_SEED={seed}: after event {at}, with {share} of 255"
        );
        // Beside it, a disk that says "synced" and has not: this test would see it.
        if disk.told.len() > 20 && lost_by_liar == 0 {
            let directory = tempfile::tempdir().unwrap();
            let cut = lying.cut(directory.path(), &mut || false);
            lost_by_liar = missing(&cut, &lying, &told);
        }
    }
    println!(
        "{cuts} power cuts among {} events, {syncs} of them syncs",
        events.len()
    );
    assert!(cuts > 30, "{cuts}");
    assert!(lost_by_liar > 0, "this test cannot fail");
}
