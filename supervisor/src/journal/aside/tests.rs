//! Files that are damaged in every way that can be thought of.

use std::{collections::HashSet, os::unix::fs::FileExt as _};

use kennel_shared::ids::DeliveryId;

use super::*;
use crate::journal::{
    Options, Reader,
    entry::{Child, Digest, State, TokenDigests},
    failpoint::Action,
    file::JournalFile,
    op::Op,
    reader::View,
    tests::{home, lease, message, replied},
};

const PAGE: u64 = super::super::schema::PAGE_BYTES.cast_unsigned();

/// Damages the file.
type Way = fn(&Path);

fn child() -> Child {
    Child {
        agent: "a".parse().unwrap(),
        generation: kennel_shared::ids::Generation(7),
        pid: 4242,
        start_time: 99,
        tokens: TokenDigests {
            current: Digest::of(&[b"t"]),
            previous: None,
        },
        group: Some("fleet/a.7".into()),
        made_of: None,
        started: 1,
        ended: None,
    }
}

/// A closed journal with `count` messages: a third has ended, a third is leased, a third waits.
fn filled(options: &Options, count: usize) -> Vec<DeliveryId> {
    let mut file = JournalFile::open(&options.path, &options.fail_points)
        .unwrap()
        .file;
    let mut ids = Vec::new();
    let mut ops = vec![Op::ChildStarted(Box::new(child()))];
    for number in 0..count {
        let mut new = message(&format!("a{}", number % 3), &number.to_string());
        new.text = "x".repeat(50 + (number * 97) % 3000);
        let delivery = new.delivery;
        ids.push(delivery);
        ops.push(Op::Accept(Box::new(new)));
        match number % 3 {
            0 => ops.push(replied(delivery, "yes")),
            1 => ops.push(lease(delivery)),
            _ => {}
        }
    }
    file.commit(ops.iter(), now_ms()).unwrap();
    ids
}

fn damaged_files(options: &Options) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(options.path.parent().unwrap()).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().contains("journal.damaged-"));
    files.sort();
    files
}

/// What can be read of `ids`, after opening whatever is there.
fn survivors(options: &Options, ids: &[DeliveryId]) -> (HashSet<DeliveryId>, Option<Damage>) {
    let opened = JournalFile::open(&options.path, &options.fail_points).unwrap();
    let reader = Reader::open(&options.path).unwrap();
    reader.check().unwrap();
    let there = |id: &&DeliveryId| {
        let shown = reader.show(**id).unwrap();
        // A row whose text is gone is told, not kept waiting.
        shown.is_some_and(|shown| shown.text.is_some() || !shown.listed.state.is_open())
    };
    let found = ids.iter().filter(there).copied().collect();
    assert!(!note_path(&options.path).exists());
    (found, opened.damage)
}

#[test]
fn a_broken_page_costs_what_was_on_it_and_no_more() {
    let (mut told, mut kept) = (0, 0);
    for seed in 0..24_u64 {
        let (_home, options) = home();
        let ids = filled(&options, 120);
        let pages = fs::metadata(&options.path).unwrap().len() / PAGE;
        let mut random = fastrand::Rng::with_seed(seed);
        let page = random.u64(1..pages);
        let junk: Vec<u8> = match seed % 3 {
            0 => vec![0; usize::try_from(PAGE).unwrap()],
            1 => (0..PAGE).map(|_| random.u8(..)).collect(),
            // Half of a sector.
            _ => (0..256).map(|_| random.u8(..)).collect(),
        };
        let file = OpenOptions::new().write(true).open(&options.path).unwrap();
        file.write_all_at(&junk, page * PAGE).unwrap();
        drop(file);
        let before = fs::read(&options.path).unwrap();
        let (found, damage) = survivors(&options, &ids);
        let Some(damage) = damage else {
            // A page that holds nothing, or a byte inside of a text, which SQLite cannot know.
            assert_eq!(
                found.len(),
                ids.len(),
                "seed {seed}: nothing is missing in silence"
            );
            continue;
        };
        told += 1;
        assert_eq!(
            fs::read(&damage.moved_to).unwrap(),
            before,
            "seed {seed}: kept as it was"
        );
        if found.len() < ids.len() {
            assert!(!damage.lost.nothing(), "seed {seed}: {damage}");
        }
        kept += found.len();
        assert!(damage.lost.all.is_none(), "seed {seed}: {damage}");
        // The journal works.
        let mut file = JournalFile::open(&options.path, &options.fail_points)
            .unwrap()
            .file;
        let op = Op::Accept(Box::new(message("a", "new")));
        file.commit([&op].into_iter(), 1).unwrap();
    }
    assert!(told > 12, "{told}");
    assert!(kept > told * 60, "{kept} of {}", told * 120);
}

#[test]
fn without_its_first_page_nothing_is_found_and_that_is_said() {
    let ways: [(&str, Way); 3] = [
        ("zeros", |path| {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(&[0; 4096], 0).unwrap();
        }),
        ("empty", |path| {
            fs::write(path, "").unwrap();
        }),
        ("text", |path| {
            fs::write(
                path,
                "this is no database, and it is long enough ".repeat(99),
            )
            .unwrap();
        }),
    ];
    for (name, damage) in ways {
        let (_home, options) = home();
        let ids = filled(&options, 10);
        damage(&options.path);
        let before = fs::read(&options.path).unwrap();
        let (found, told) = survivors(&options, &ids);
        let told = told.unwrap_or_else(|| panic!("{name}: it was damaged"));
        assert!(found.is_empty());
        assert!(
            told.to_string().contains("messages that waited are lost"),
            "{told}"
        );
        assert_eq!(fs::read(&told.moved_to).unwrap(), before, "{name}");
    }
}

#[test]
fn what_is_only_in_the_log_is_salvaged_with_it() {
    let (_home, options) = home();
    drop(filled(&options, 3));
    // Left as by a process that was killed: the last commits are in the log alone.
    let mut file = JournalFile::open(&options.path, &options.fail_points)
        .unwrap()
        .file;
    let late = message("a", "late");
    let op = Op::Accept(Box::new(late.clone()));
    file.commit([&op].into_iter(), 1).unwrap();
    file.leave();
    assert!(fs::metadata(wal(&options.path)).unwrap().len() > 0);
    replace(&options.path, "a test says so", &options.fail_points).unwrap();
    let (found, damage) = survivors(&options, &[late.delivery]);
    assert!(found.contains(&late.delivery));
    let damage = damage.unwrap();
    assert!(damage.lost.nothing(), "{damage}");
    assert_eq!((damage.kept.deliveries, damage.kept.children), (4, 1));
    assert!(
        wal(&damage.moved_to).exists(),
        "the log is kept with its file"
    );
    let reader = Reader::open(&options.path).unwrap();
    assert_eq!(reader.children().unwrap(), [child()]);
    let all = reader.list(View::All, None, None, 10).unwrap().entries;
    let mut states: Vec<State> = all.iter().map(|one| one.state).collect();
    states.sort_by_key(|state| state.code());
    let expected = [State::Queued, State::Queued, State::Leased, State::Replied];
    assert_eq!(states, expected);
    // Numbers are not given again.
    let op = Op::Accept(Box::new(message("a", "after")));
    let mut file = JournalFile::open(&options.path, &options.fail_points)
        .unwrap()
        .file;
    file.commit([&op].into_iter(), 1).unwrap();
    let last = Reader::open(&options.path).unwrap();
    let last = last
        .list(View::Open, Some(&"a".parse().unwrap()), None, 10)
        .unwrap();
    assert!(last.entries.last().unwrap().seq.0 > 1_000_000);
}

#[test]
fn a_log_without_its_file_is_kept() {
    let (_home, options) = home();
    drop(filled(&options, 3));
    let mut file = JournalFile::open(&options.path, &options.fail_points)
        .unwrap()
        .file;
    let op = Op::Accept(Box::new(message("a", "late")));
    file.commit([&op].into_iter(), 1).unwrap();
    file.leave();
    fs::remove_file(&options.path).unwrap();
    let log = fs::read(wal(&options.path)).unwrap();
    let (_, damage) = survivors(&options, &[]);
    let damage = damage.unwrap();
    assert_eq!(fs::read(wal(&damage.moved_to)).unwrap(), log);
    assert!(damage.lost.all.is_some());
}

#[test]
fn it_goes_on_where_it_was_interrupted() {
    let steps = [
        (Point::AsideNote, 1),
        (Point::AsideMove, 1),
        (Point::AsideMove, 2),
        (Point::AsidePlace, 1),
        (Point::AsideDone, 1),
    ];
    for (point, nth) in steps {
        let (_home, options) = home();
        let ids = filled(&options, 30);
        let points = &options.fail_points;
        points.arm(point, Action::Io, nth, 1);
        let stopped = replace(&options.path, "a test says so", points);
        assert!(stopped.is_err(), "{point:?} {nth}");
        points.disarm();
        let (found, damage) = survivors(&options, &ids);
        assert_eq!(found.len(), ids.len(), "{point:?} {nth}");
        // Before the note nothing has happened; after it, it is done to its end.
        assert_eq!(
            damage.is_some(),
            point != Point::AsideNote,
            "{point:?} {nth}"
        );
        let files = damaged_files(&options).len();
        assert_eq!(
            files,
            usize::from(point != Point::AsideNote),
            "{point:?} {nth}"
        );
    }
}

#[test]
fn no_name_is_taken_twice() {
    let (_home, options) = home();
    let at = 1_700_000_000_000;
    let first = free_name(&options.path, at);
    assert_eq!(first, "journal.damaged-20231114T221320Z-1");
    let taken = options.path.with_file_name(&first);
    fs::write(&taken, "precious").unwrap();
    let second = free_name(&options.path, at);
    assert_eq!(second, "journal.damaged-20231114T221320Z-2");
    // A log alone has a name too.
    fs::write(wal(&options.path.with_file_name(&second)), "precious").unwrap();
    assert!(free_name(&options.path, at).ends_with("-3"));
    fs::write(&options.path, "other").unwrap();
    assert!(rename_to_nothing(&options.path, &taken).is_err());
    assert_eq!(fs::read_to_string(&taken).unwrap(), "precious");
    assert_eq!(kept(&options.path), 1);
}
