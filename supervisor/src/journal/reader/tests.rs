use kennel_shared::ids::{DeliveryId, Generation};

use super::*;
use crate::journal::{
    file::JournalFile,
    op::Op,
    tests::{asked, home, lease, message, replied},
};

#[test]
fn a_long_queue_is_read_by_windows() {
    let (_home, options) = home();
    let mut file = JournalFile::open(&options.path, &options.fail_points)
        .unwrap()
        .file;
    let mut expected = Vec::new();
    for chunk in 0..20 {
        let ops: Vec<Op> = (0..100)
            .map(|number| {
                let agent = ["a", "b"][number % 2];
                let new = message(agent, &format!("{chunk}-{number}"));
                if agent == "a" {
                    expected.push(new.delivery);
                }
                Op::Accept(Box::new(new))
            })
            .collect();
        file.commit(ops.iter(), 5).unwrap();
    }
    let reader = Reader::open(&options.path).unwrap();
    let (mut found, mut after, mut windows) = (Vec::new(), None, 0);
    loop {
        let window = reader.waiting(&"a".parse().unwrap(), after, 64).unwrap();
        assert!(window.entries.len() <= 64);
        found.extend(window.entries.iter().map(|one| one.delivery));
        windows += 1;
        after = window.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((found, windows), (expected, 1000_usize.div_ceil(64)));
    let (mut seen, mut behind) = (Vec::new(), None);
    loop {
        let window = reader.list(View::Open, None, behind.as_ref(), 300).unwrap();
        seen.extend(window.entries.into_iter().map(|one| (one.session, one.seq)));
        behind = window.next;
        if behind.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 2000);
    assert!(seen.is_sorted(), "agent by agent, in order");
}

#[test]
fn large_answers_make_small_windows() {
    let (_home, options) = home();
    let mut file = JournalFile::open(&options.path, &options.fail_points)
        .unwrap()
        .file;
    for number in 0..6 {
        let new = message("a", &number.to_string());
        let delivery = new.delivery;
        let text = "y".repeat(400_000);
        let ops = [Op::Accept(Box::new(new)), replied(delivery, &text)];
        file.commit(ops.iter(), 5).unwrap();
    }
    let reader = Reader::open(&options.path).unwrap();
    let channel = "irc".parse().unwrap();
    assert_eq!(reader.owing().unwrap(), [channel]);
    let channel = &reader.owing().unwrap()[0];
    let (mut sizes, mut after) = (Vec::new(), None);
    loop {
        let window = reader.owed(channel, after, 100).unwrap();
        sizes.push(window.entries.len());
        after = window.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(sizes, [2, 2, 2]);
}

#[test]
fn a_delivery_is_shown_with_all_that_is_known_of_it() {
    let (_home, options) = home();
    let mut file = JournalFile::open(&options.path, &options.fail_points)
        .unwrap()
        .file;
    let mut new = asked("k", b"body");
    new.text = "ä".repeat(100);
    let id = new.delivery;
    let ops = [
        Op::Accept(Box::new(new.clone())),
        lease(id),
        replied(id, "yes"),
    ];
    file.commit(ops.iter(), 5).unwrap();
    let reader = Reader::open(&options.path).unwrap();
    let shown = reader.show(id).unwrap().unwrap();
    assert_eq!(shown.listed.state, State::Replied);
    assert_eq!(shown.listed.preview, "ä".repeat(80));
    assert_eq!((shown.listed.bytes, shown.listed.received), (200, 5));
    assert_eq!(shown.listed.lease.unwrap().generation, Generation(1));
    assert_eq!(shown.end.unwrap().text.as_deref(), Some("yes"));
    assert_eq!(shown.sends[0].text, "yes");
    assert_eq!(shown.sends[0].delivery, Some(id));
    let message = reader.message(id).unwrap().unwrap();
    assert_eq!(message.text, new.text);
    assert_eq!(
        (message.origin, message.reply_to),
        (new.origin, new.reply_to)
    );
    assert_eq!(reader.show(DeliveryId::new()).unwrap(), None);
    let text = id.to_string();
    assert_eq!(reader.find(&text[..30]).unwrap(), Some(id));
    assert_eq!(reader.find("ffff").unwrap(), None);
    file.commit([Op::Accept(Box::new(asked("k2", b"")))].iter(), 5)
        .unwrap();
    assert_eq!(reader.find("0").unwrap(), None, "two begin so");
}

#[test]
fn counts_are_by_agent() {
    let (_home, options) = home();
    let mut file = JournalFile::open(&options.path, &options.fail_points)
        .unwrap()
        .file;
    let messages: Vec<_> = [("a", "1"), ("a", "2"), ("b", "3")]
        .map(|(agent, id)| message(agent, id))
        .into();
    let mut ops: Vec<Op> = messages
        .iter()
        .map(|new| Op::Accept(Box::new(new.clone())))
        .collect();
    ops.push(lease(messages[1].delivery));
    ops.push(lease(messages[2].delivery));
    ops.push(Op::Requeue {
        delivery: messages[2].delivery,
        generation: Generation(1),
        blame: Some(crate::journal::op::Blame {
            poison_after: 1,
            notice: None,
        }),
    });
    file.commit(ops.iter(), 5).unwrap();
    let counts = Reader::open(&options.path).unwrap().counts().unwrap();
    let counts: Vec<_> = counts
        .iter()
        .map(|count| {
            (
                count.agent.as_str(),
                count.queued,
                count.leased,
                count.poison,
            )
        })
        .collect();
    assert_eq!(counts, [("a", 1, 1, 0), ("b", 0, 0, 1)]);
}

#[test]
fn a_reader_cannot_write_and_a_missing_file_is_said() {
    let (_home, options) = home();
    let error = Reader::open(&options.path).unwrap_err();
    assert!(error.to_string().contains("journal.db cannot be read"));
    drop(JournalFile::open(&options.path, &options.fail_points).unwrap());
    let reader = Reader::open(&options.path).unwrap();
    assert!(reader.connection.execute("DELETE FROM inbox", ()).is_err());
}

/// A turn of `agent` that answered `delivery` at `ended_ms`.
fn record(agent: &str, delivery: DeliveryId, ended_ms: i64) -> TurnRecord {
    let mut record = crate::turns::record::tests::record(agent);
    (record.delivery, record.ended_ms) = (delivery, ended_ms);
    (record.took.input_tokens, record.took.output_tokens) = (100, 20);
    record.cost = Some(7);
    record
}

#[test]
fn turns_are_put_down_with_their_ends_once() {
    let (_home, options) = home();
    let mut file = JournalFile::open(&options.path, &options.fail_points)
        .unwrap()
        .file;
    let mut records = Vec::new();
    for number in 0..6_i64 {
        let agent = if number % 2 == 0 { "a" } else { "b" };
        let new = message(agent, &number.to_string());
        let delivery = new.delivery;
        let record = record(agent, delivery, number * 1000);
        let Op::Settle { end, sends, .. } = replied(delivery, "yes") else {
            unreachable!("it is one")
        };
        let settle = Op::Settle {
            delivery,
            end,
            sends,
            turn: Some(Box::new(record.clone())),
        };
        // After a doubt an operation is handed in again.
        let lease = Op::Lease {
            delivery,
            generation: Generation(1),
            turn: record.turn,
        };
        let ops = [Op::Accept(Box::new(new)), lease, settle.clone(), settle];
        file.commit(ops.iter(), 0).unwrap();
        records.push(record);
    }
    let reader = Reader::open(&options.path).unwrap();
    let turns = |agent: Option<&str>, before, limit| -> Vec<TurnRecord> {
        let agent = agent.map(|agent| agent.parse().unwrap());
        let found = reader.turns(agent.as_ref(), before, limit).unwrap();
        found.into_iter().map(|(turn, _)| turn).collect()
    };
    let newest =
        |of: &[usize]| -> Vec<TurnRecord> { of.iter().map(|at| records[*at].clone()).collect() };
    assert_eq!(turns(None, None, 10), newest(&[5, 4, 3, 2, 1, 0]));
    assert_eq!(turns(Some("b"), None, 2), newest(&[5, 3]));
    let (_, last) = reader.turns(None, None, 2).unwrap().pop().unwrap();
    assert_eq!(turns(None, Some(last), 2), newest(&[3, 2]));
    let find = |id: &str| reader.find_turns(id).unwrap();
    assert_eq!(find(&records[2].turn.to_string()), newest(&[2]));
    assert_eq!(find(&records[2].delivery.to_string()), newest(&[2]));
    assert_eq!(find("0").len(), 2, "as many as tell that it is not enough");
    assert_eq!(find("ffff"), []);
    // Each counts once, however often it was handed in.
    let spent: (i64, i64, i64, i64) = file
        .connection()
        .query_row(
            "SELECT sum(turns), sum(input), sum(output), sum(cost) FROM spendings",
            (),
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )
        .unwrap();
    assert_eq!(spent, (6, 600, 120, 42));
}
