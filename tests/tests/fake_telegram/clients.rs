//! python-telegram-bot and aiogram take the fake for the real server, in fair weather and in foul.

use std::time::Duration;

use kennel_tests::fake_telegram::{Action, FakeTelegram, Fault, FaultRule, Sent, Speaker};
use serde_json::{Value, json};

use crate::http::call;
use crate::script::{PATIENCE, Script};

const PTB: &str = "telegram_ptb.py";
const AIOGRAM: &str = "telegram_aiogram.py";

const TOKEN: &str = "12345:not-a-secret";
const ADA: i64 = 501;

/// A server with one bot and one person, and a client that polls it.
async fn start(script: &str) -> (FakeTelegram, Script) {
    let fake = FakeTelegram::start().await.expect("a free port");
    fake.add_bot(TOKEN, "echo_bot");
    fake.user(ADA, "Ada");
    let mut client = Script::start(script, &[&fake.url(), TOKEN]);
    let ready = client.event("ready", |_| true).await;
    assert_eq!(
        ready,
        json!({"event": "ready", "username": "echo_bot", "commands": ["edit", "buttons"], "webhook": ""})
    );
    (fake, client)
}

/// The bot's next message of that text.
async fn message(fake: &FakeTelegram, text: &str) -> Sent {
    let found = fake
        .wait_for_message(TOKEN, |sent| sent.text == text, PATIENCE)
        .await;
    found.unwrap_or_else(|why| panic!("waiting for {text:?}: {why}"))
}

async fn confirmed(fake: &FakeTelegram, update: i64) {
    let done = fake
        .wait_until(|fake| fake.confirmed(TOKEN) >= update, PATIENCE)
        .await;
    assert!(
        done,
        "update {update} is not confirmed; pending {:?}",
        fake.pending(TOKEN)
    );
}

/// Says something until the bot's polls work again, then sees the echo and the confirmation.
async fn echoes(fake: &FakeTelegram, text: &str) {
    let update = fake.say(TOKEN, ADA, text);
    message(fake, text).await;
    confirmed(fake, update).await;
}

#[tokio::test]
async fn ptb_talks_and_edits() {
    talks_and_edits(PTB).await;
}

#[tokio::test]
async fn aiogram_talks_and_edits() {
    talks_and_edits(AIOGRAM).await;
}

async fn talks_and_edits(script: &str) {
    let (fake, mut client) = start(script).await;

    let (update, asked) = fake.say_message(TOKEN, ADA, "héllo 🙂");
    let echo = message(&fake, "héllo 🙂").await;
    assert_eq!((echo.chat_id, echo.reply_to), (ADA, Some(asked)));
    let heard = client.event("heard", |_| true).await;
    assert_eq!(
        (&heard["chat"], &heard["user"]),
        (&json!("private"), &json!("Ada"))
    );
    confirmed(&fake, update).await;
    let typing = Action {
        chat_id: ADA,
        thread_id: None,
        action: "typing".to_owned(),
    };
    assert_eq!(fake.actions(TOKEN), [typing]);

    let forum = fake.supergroup(-1_000_000_000_042, "Forum");
    let topic = fake.topic(forum, "Bots");
    let place = Speaker::new(ADA).in_chat(forum).in_topic(topic);
    fake.say(
        TOKEN,
        place.replying_to(echo.message_id),
        "🙂 @echo_bot in a topic",
    );
    let echo = message(&fake, "🙂 @echo_bot in a topic").await;
    assert_eq!((echo.chat_id, echo.thread_id), (forum, Some(topic)));
    let heard = client.event("heard", |_| true).await;
    assert_eq!(heard["mentions"], json!(["@echo_bot"]));
    assert_eq!(heard["chat"], "supergroup");
    assert_eq!(heard["reply_to"], "héllo 🙂");

    fake.amend(TOKEN, asked, "hello again");
    message(&fake, "hello again").await;
    let heard = client.event("heard", |_| true).await;
    assert_eq!(heard["edited"], true);

    let (_, asked) = fake.say_message(TOKEN, ADA, "/edit");
    let edited = client.event("edited", |_| true).await;
    assert_eq!(
        (&edited["text"], &edited["bold"]),
        (&json!("two"), &json!(["two"]))
    );
    let refused = client.event("refused", |_| true).await;
    assert!(says(&refused, "message is not modified"), "{refused}");
    let sent = message(&fake, "two").await;
    assert_eq!(sent.revisions, ["one"]);
    let gone = |fake: &FakeTelegram| fake.calls(TOKEN, "deleteMessage") == 1;
    assert!(
        fake.wait_until(gone, PATIENCE).await,
        "message {asked} is not deleted"
    );

    fake.say(TOKEN, ADA, "/buttons");
    let question = message(&fake, "sure?").await;
    let (_, query) = fake.press(TOKEN, ADA, question.message_id, "yes");
    let answered = message(&fake, "pressed yes").await;
    assert_eq!(answered.message_id, question.message_id);
    let answer = fake.callback_answer(TOKEN, &query).expect("an answer");
    assert_eq!(answer.text.as_deref(), Some("noted"));

    let last = fake.say_file(TOKEN, ADA, "note.txt", b"from a file", "");
    message(&fake, "from a file").await;
    confirmed(&fake, last).await;
    assert!(client.stop().await.success());
    assert!(fake.pending(TOKEN).is_empty());
}

/// Whether an event's reason has this text, whatever the case: one client capitalizes it.
fn says(event: &Value, text: &str) -> bool {
    let why = event["why"].as_str().unwrap_or_default().to_lowercase();
    why.contains(text)
}

#[tokio::test]
async fn ptb_meets_the_limits() {
    meets_the_limits(PTB).await;
}

#[tokio::test]
async fn aiogram_meets_the_limits() {
    meets_the_limits(AIOGRAM).await;
}

async fn meets_the_limits(script: &str) {
    let (fake, mut client) = start(script).await;
    let gone = fake.user(ADA + 1, "Gone");
    fake.open_chat(TOKEN, gone);
    fake.block(TOKEN, gone);
    fake.say(TOKEN, ADA, &format!("/limits {gone}"));
    for (what, kind, why) in [
        ("long", "BadRequest", "message is too long"),
        ("markup", "BadRequest", "character '.' is reserved"),
        ("nobody", "BadRequest", "chat not found"),
        ("blocked", "Forbidden", "bot was blocked by the user"),
    ] {
        let refused = client.event("refused", |event| event["what"] == what).await;
        assert_eq!(refused["kind"], kind);
        assert!(says(&refused, why), "{refused}");
    }
    let chat = client.event("chat", |_| true).await;
    assert_eq!(chat, json!({"event": "chat", "id": ADA, "kind": "private"}));
    assert!(fake.sent(TOKEN).is_empty());
    assert!(client.stop().await.success());
}

#[tokio::test]
async fn ptb_survives_trouble() {
    survives_trouble(PTB).await;
}

#[tokio::test]
async fn aiogram_survives_trouble() {
    survives_trouble(AIOGRAM).await;
}

async fn survives_trouble(script: &str) {
    let (fake, mut client) = start(script).await;
    let polls = |fake: &FakeTelegram| fake.calls(TOKEN, "getUpdates");
    assert!(
        fake.wait_until(|fake| fake.parked(TOKEN) > 0, PATIENCE)
            .await
    );

    // Another instance polls: the client's poll ends with 409, it says so and goes on.
    let other = format!("{}/getUpdates", fake.bot_url(TOKEN));
    let (other, conflict) = tokio::join!(
        call(&other, json!({"timeout": 20})),
        client.event("trouble", |event| has(event, "Conflict")),
    );
    assert!(
        says(&conflict, "terminated by other getupdates request"),
        "{conflict}"
    );
    // The client has come back meanwhile, which in turn ended the other.
    assert_eq!(other.0, 409, "{other:?}");
    echoes(&fake, "after a conflict").await;

    // Sending too fast: the client is told how long to wait, waits, and is heard.
    let rule = FaultRule::new(Fault::Status {
        code: 429,
        retry_after: Some(1),
    });
    fake.fault(TOKEN, rule.clone().on("sendMessage").times(1));
    let before = tokio::time::Instant::now();
    echoes(&fake, "after a wait").await;
    assert!(before.elapsed() >= Duration::from_secs(1));
    let told = client.event("retry_after", |_| true).await;
    assert_eq!(told["seconds"].as_f64(), Some(1.0));

    // Polls are refused, cut, slow, and answered with rubbish; each time the client comes back.
    let faults = [
        rule,
        Fault::Status {
            code: 502,
            retry_after: None,
        }
        .into(),
        Fault::Disconnect.into(),
        Fault::Garbage.into(),
        Fault::Slow(Duration::from_millis(200)).into(),
    ];
    for (n, rule) in faults.into_iter().enumerate() {
        let seen = polls(&fake);
        fake.fault(TOKEN, rule.on("getUpdates").times(1));
        // The poll that is parked ends with the first word; the next one meets the fault.
        echoes(&fake, &format!("before fault {n}")).await;
        echoes(&fake, &format!("after fault {n}")).await;
        assert!(polls(&fake) >= seen + 2, "fault {n} befell nobody");
    }

    // The server is gone for a while; nothing that was said meanwhile is lost.
    fake.go_down().await;
    let missed = fake.say(TOKEN, ADA, "said while it was down");
    client
        .event("trouble", |event| has(event, "NetworkError"))
        .await;
    fake.come_back().await.expect("the same port");
    message(&fake, "said while it was down").await;
    confirmed(&fake, missed).await;
    assert!(client.stop().await.success());
}

/// Whether an event is an error of this kind; aiogram's names have a prefix and a suffix.
fn has(event: &Value, kind: &str) -> bool {
    event["kind"]
        .as_str()
        .is_some_and(|given| given.contains(kind))
}

#[tokio::test]
async fn ptb_knows_a_rejected_token() {
    knows_a_rejected_token(PTB).await;
}

#[tokio::test]
async fn aiogram_knows_a_rejected_token() {
    knows_a_rejected_token(AIOGRAM).await;
}

async fn knows_a_rejected_token(script: &str) {
    let fake = FakeTelegram::start().await.expect("a free port");
    let mut client = Script::start(script, &[&fake.url(), "77777:nobody"]);
    client.event("rejected", |_| true).await;
    assert_eq!(client.ended().await.code(), Some(3));
}
