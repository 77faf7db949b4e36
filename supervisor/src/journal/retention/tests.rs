use kennel_shared::ids::{DeliveryId, Generation, TurnId};

use super::*;
use crate::journal::{
    Options, Reader,
    entry::State,
    op::{Blame, Op, SendEnd},
    reader::View,
    tests::{home, message, replied},
};

const HOUR: UnixMs = 3_600_000;

fn put(file: &mut JournalFile, ops: &[Op], now: UnixMs) {
    for answer in file.commit(ops.iter(), now).unwrap() {
        let refused = matches!(answer, crate::journal::Answer::Refused(_));
        assert!(!refused, "{answer:?}");
    }
}

/// Accepts a message of `bytes` and ends it at `now`; its answer is sent.
fn ended(file: &mut JournalFile, id: &str, bytes: usize, now: UnixMs) -> DeliveryId {
    let mut new = message("a", id);
    new.text = "x".repeat(bytes);
    let delivery = new.delivery;
    let ops = [Op::Accept(Box::new(new)), replied(delivery, "yes")];
    let answers = file.commit(ops.iter(), now).unwrap();
    let crate::journal::Answer::Settled { sends, .. } = &answers[1] else {
        panic!("{answers:?}");
    };
    let claim = Op::Claim {
        send: sends[0],
        repeatable: false,
    };
    let sent = Op::SettleSend {
        send: sends[0],
        how: SendEnd::Sent {
            platform_id: None,
            doubtful: false,
        },
    };
    put(file, &[claim, sent], now);
    delivery
}

fn all(file: &mut JournalFile, keep: &Retention, now: UnixMs) -> (usize, u32, usize, bool) {
    let (mut deleted, mut vacuumed, mut steps) = (0, 0, 0);
    loop {
        let done = step(file, keep, now).unwrap();
        deleted += done.deleted;
        vacuumed += done.vacuumed;
        steps += 1;
        if !done.more {
            return (deleted, vacuumed, steps, done.over_limit);
        }
    }
}

fn open(options: &Options) -> JournalFile {
    JournalFile::open(&options.path, &options.fail_points)
        .unwrap()
        .file
}

#[test]
fn what_has_ended_goes_after_its_time_and_what_is_open_stays() {
    let (_home, options) = home();
    let keep = Retention::default();
    let mut file = open(&options);
    let old: Vec<_> = (0..50)
        .map(|number| ended(&mut file, &format!("old-{number}"), 100, HOUR))
        .collect();
    let young = ended(&mut file, "young", 100, 100 * HOUR);
    let waiting = message("a", "waiting");
    put(&mut file, &[Op::Accept(Box::new(waiting.clone()))], HOUR);
    let poison = message("a", "poison");
    let lease = Op::Lease {
        delivery: poison.delivery,
        generation: Generation(1),
        turn: TurnId::new(),
    };
    let crash = Op::Requeue {
        delivery: poison.delivery,
        generation: Generation(1),
        blame: Some(Blame {
            poison_after: 1,
            notice: None,
        }),
    };
    put(
        &mut file,
        &[Op::Accept(Box::new(poison.clone())), lease, crash],
        HOUR,
    );
    // A week and an hour later.
    let (deleted, _, _, over) = all(&mut file, &keep, 170 * HOUR);
    assert_eq!((deleted, over), (2 * old.len(), false));
    let reader = Reader::open(&options.path).unwrap();
    let left = reader.list(View::All, None, None, 100).unwrap().entries;
    let left: Vec<_> = left.iter().map(|one| (one.delivery, one.state)).collect();
    let expected = [
        (young, State::Replied),
        (waiting.delivery, State::Queued),
        (poison.delivery, State::Poison),
    ];
    assert_eq!(left, expected);
    // What was set aside waits longer, but not for ever; its audit as well.
    let (deleted, ..) = all(&mut file, &keep, 800 * HOUR);
    assert_eq!(deleted, 2 + 1 + 1);
    let texts: i64 = file
        .connection()
        .query_row("SELECT count(*) FROM inbox_texts", (), |row| row.get(0))
        .unwrap();
    assert_eq!(texts, 1, "texts go with their rows");
}

#[test]
fn the_disk_gets_its_room_back_in_small_steps() {
    let (_home, options) = home();
    let mut file = open(&options);
    for number in 0..200 {
        ended(&mut file, &number.to_string(), 40_000, 0);
    }
    let bytes = |file: &JournalFile| {
        let size = file.size().unwrap();
        size.used + size.free
    };
    let before = bytes(&file);
    assert!(before > 8_000_000, "{before}");
    let (deleted, vacuumed, steps, _) = all(&mut file, &Retention::default(), 1000 * HOUR);
    assert_eq!(deleted, 400);
    assert!(vacuumed > 500, "{vacuumed}");
    assert!(
        steps > vacuumed as usize / VACUUM_PAGES as usize,
        "{steps} steps"
    );
    let after = bytes(&file);
    assert!(after < 2_000_000, "{after} of {before}");
    file.checkpoint().unwrap();
    assert!(std::fs::metadata(&options.path).unwrap().len() < 2_000_000);
    Reader::open(&options.path).unwrap().check().unwrap();
}

#[test]
fn too_large_a_journal_lets_the_oldest_go_earlier() {
    let (_home, options) = home();
    let mut file = open(&options);
    for number in 0..60 {
        ended(
            &mut file,
            &number.to_string(),
            20_000,
            i64::from(number) * HOUR,
        );
    }
    let keep = Retention {
        max_bytes: 600_000,
        ..Retention::default()
    };
    let (deleted, .., over) = all(&mut file, &keep, 60 * HOUR);
    assert!(deleted > 20 && !over, "{deleted}");
    let used = file.size().unwrap().used;
    assert!(used <= keep.max_bytes, "{used}");
    let reader = Reader::open(&options.path).unwrap();
    let left = reader.list(View::All, None, None, 100).unwrap().entries;
    assert!(left.len() > 10, "{}", left.len());
    assert_eq!(
        left.last().unwrap().received,
        59 * HOUR,
        "the youngest stay"
    );
    // What has just ended stays however large it is, and that is said.
    let keep = Retention {
        max_bytes: 0,
        ..keep
    };
    let (_, _, _, over) = all(&mut file, &keep, 59 * HOUR + 1);
    assert!(over);
    assert!(
        !reader
            .list(View::All, None, None, 1)
            .unwrap()
            .entries
            .is_empty()
    );
}

#[test]
fn turns_go_by_age_and_by_number_and_what_was_spent_stays() {
    let (_home, options) = home();
    let mut file = open(&options);
    for number in 0..40_i64 {
        let new = message("a", &number.to_string());
        let mut turn = crate::turns::record::tests::record("a");
        turn.delivery = new.delivery;
        turn.ended_ms = number * HOUR;
        turn.cost = Some(1);
        let settle = Op::Settle {
            delivery: new.delivery,
            end: crate::journal::entry::End::Cancelled,
            sends: Vec::new(),
            turn: Some(Box::new(turn)),
        };
        put(
            &mut file,
            &[Op::Accept(Box::new(new)), settle],
            number * HOUR,
        );
    }
    let left = |options: &Options| {
        let reader = Reader::open(&options.path).unwrap();
        let turns = reader.turns(None, None, 100).unwrap();
        let ended: Vec<_> = turns.iter().map(|(turn, _)| turn.ended_ms / HOUR).collect();
        (ended.len(), ended.last().copied())
    };
    let keep = Retention {
        turns: std::time::Duration::from_hours(30),
        ..Retention::default()
    };
    all(&mut file, &keep, 40 * HOUR);
    assert_eq!(left(&options), (30, Some(10)));
    let keep = Retention {
        max_turns: 8,
        ..keep
    };
    all(&mut file, &keep, 40 * HOUR);
    assert_eq!(left(&options), (8, Some(32)));
    let spent: i64 = file
        .connection()
        .query_row("SELECT sum(cost) FROM spendings", (), |row| row.get(0))
        .unwrap();
    assert_eq!(spent, 40);
    all(&mut file, &keep, 1000 * 24 * HOUR);
    let spent: i64 = file
        .connection()
        .query_row("SELECT count(*) FROM spendings", (), |row| row.get(0))
        .unwrap();
    assert_eq!(spent, 0, "longer than any budget looks back");
}
