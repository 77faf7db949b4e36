use kennel_shared::ids::Generation;

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
