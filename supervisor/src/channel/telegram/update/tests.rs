use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn read_as(update: Value, allow_from: &AllowFrom, mention_only: bool) -> Reading {
    let channel = "tg".parse().unwrap();
    let me = Me {
        id: 999,
        username: Some("KennelBot".into()),
    };
    Reader {
        channel: &channel,
        me: &me,
        allow_from,
        mention_only,
    }
    .read(serde_json::from_value(update).unwrap())
}

fn read(update: Value) -> Reading {
    read_as(update, &AllowFrom::Anyone, true)
}

fn alice() -> Value {
    json!({"id": 7, "is_bot": false, "first_name": "Alice", "last_name": "A.", "username": "alice"})
}

fn in_private(text: &str) -> Value {
    json!({"update_id": 1, "message": {
        "message_id": 5, "date": 1_700_000_000, "from": alice(),
        "chat": {"id": 7, "type": "private", "first_name": "Alice"}, "text": text}})
}

fn in_group(text: &str, extra: Value) -> Value {
    let mut update = json!({"update_id": 1, "message": {
        "message_id": 5, "date": 1_700_000_000, "from": alice(),
        "chat": {"id": -100, "type": "supergroup", "title": "g"}, "text": text}});
    let Value::Object(extra) = extra else {
        panic!("fields of a message");
    };
    for (key, value) in extra {
        update["message"][key] = value;
    }
    update
}

fn entity(kind: &str, offset: usize, length: usize) -> Value {
    json!({"entities": [{"type": kind, "offset": offset, "length": length}]})
}

fn text(reading: Reading) -> Option<String> {
    match reading {
        Reading::Message(envelope) => Some(envelope.text),
        _ => None,
    }
}

#[test]
fn a_private_message_is_read_whole() {
    let expected = Envelope {
        channel: "tg".parse().unwrap(),
        peer: Peer {
            kind: PeerKind::Direct,
            id: "7".into(),
        },
        sender: Sender {
            id: "7".into(),
            name: Some("Alice A.".into()),
        },
        message_id: "7:5".into(),
        text: "hello".into(),
        sent_at_ms: 1_700_000_000_000,
    };
    assert_eq!(read(in_private("hello")), Reading::Message(expected.into()));
}

#[test]
fn groups_and_topics_are_peers_of_their_own() {
    let peer = |extra| match read_as(in_group("x", extra), &AllowFrom::Anyone, false) {
        Reading::Message(envelope) => envelope.peer.id,
        other => panic!("{other:?}"),
    };
    assert_eq!(peer(json!({})), "-100");
    assert_eq!(peer(json!({"message_thread_id": 3})), "-100", "a reply");
    assert_eq!(
        peer(json!({"message_thread_id": 3, "is_topic_message": true})),
        "-100/3"
    );
}

#[test]
fn in_a_group_the_bot_reads_what_is_addressed_to_it() {
    let me = json!({"reply_to_message": {"message_id": 1, "from": {"id": 999, "is_bot": true}}});
    let other = json!({"reply_to_message": {"message_id": 1, "from": {"id": 8}}});
    let by_id = json!({"entities": [
        {"type": "text_mention", "offset": 0, "length": 2, "user": {"id": 999, "is_bot": true}}]});
    let cases = [
        ("nothing to us", json!({}), None),
        ("@kennelbot: hi", entity("mention", 0, 10), Some("hi")),
        (
            "😀 @kennelbot",
            entity("mention", 3, 10),
            Some("😀 @kennelbot"),
        ),
        ("@somebody hi", entity("mention", 0, 9), None),
        ("@kennelbot2 hi", entity("mention", 0, 11), None),
        ("/start", entity("bot_command", 0, 6), Some("/start")),
        (
            "/go@KennelBot x",
            entity("bot_command", 0, 13),
            Some("/go@KennelBot x"),
        ),
        ("/go@other x", entity("bot_command", 0, 9), None),
        ("see /start", entity("bot_command", 4, 6), None),
        ("yes", me, Some("yes")),
        ("yes", other, None),
        ("hey you", by_id, Some("hey you")),
        ("out of range", entity("mention", 5, 500), None),
        ("😀 half", entity("mention", 1, 3), None),
        ("@kennelbot", entity("mention", 0, 10), None),
    ];
    for (words, extra, expected) in cases {
        let found = text(read(in_group(words, extra)));
        assert_eq!(found.as_deref(), expected, "{words}");
    }
}

#[test]
fn senders_are_allowed_by_id_or_user_name() {
    let cases: [(&[&str], bool); 6] = [
        (&[], false),
        (&["7"], true),
        (&["77", "8"], false),
        (&["@ALICE"], true),
        (&["alice"], false),
        (&["@7"], false),
    ];
    for (list, expected) in cases {
        let allow_from = AllowFrom::listed(list.iter().copied());
        let reading = read_as(in_private("hello"), &allow_from, true);
        assert_eq!(matches!(reading, Reading::Message(_)), expected, "{list:?}");
        if !expected {
            let sender = "7 (@alice)".to_owned();
            assert_eq!(reading, Reading::NotAllowed { sender });
        }
    }
}

#[test]
fn a_stranger_who_does_not_speak_to_us_is_not_counted() {
    let nobody = AllowFrom::default();
    assert_eq!(
        read_as(in_group("chatter", json!({})), &nobody, true),
        Reading::Ignored
    );
}

#[test]
fn a_caption_is_a_text() {
    let mut update = in_group(
        "",
        json!({"caption": "@KennelBot look",
        "caption_entities": [{"type": "mention", "offset": 0, "length": 10}]}),
    );
    update["message"].as_object_mut().unwrap().remove("text");
    assert_eq!(text(read(update)).as_deref(), Some("look"));
}

#[test]
fn everything_else_is_ignored() {
    let mut bot = in_private("hi");
    bot["message"]["from"]["is_bot"] = json!(true);
    let mut sticker = in_private("hi");
    sticker["message"].as_object_mut().unwrap().remove("text");
    let mut post = in_private("hi");
    post["message"]["chat"]["type"] = json!("channel");
    let mut anonymous = in_private("hi");
    anonymous["message"].as_object_mut().unwrap().remove("from");
    let edited = json!({"update_id": 1, "edited_message": in_private("hi")["message"]});
    for update in [bot, sticker, post, anonymous, edited, in_private("  ")] {
        assert_eq!(read(update), Reading::Ignored);
    }
}

proptest! {
    #[test]
    fn hostile_entities_do_no_harm(
        words in "\\PC{0,20}",
        kind in "mention|bot_command|text_mention",
        offset in prop_oneof![0_usize..30, Just(usize::MAX)],
        length in prop_oneof![0_usize..30, Just(usize::MAX)],
    ) {
        read(in_group(&words, entity(&kind, offset, length)));
    }
}
