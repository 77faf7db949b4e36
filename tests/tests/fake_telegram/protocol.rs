//! The fake by hand: what no client library lets a test ask for.

use std::time::Duration;

use kennel_tests::fake_telegram::{FakeTelegram, Fault, FaultRule};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::http::{call, request};

const TOKEN: &str = "12345:not-a-secret";
const ADA: i64 = 501;
const SOON: Duration = Duration::from_secs(10);

async fn start() -> FakeTelegram {
    let fake = FakeTelegram::start().await.expect("a free port");
    fake.add_bot(TOKEN, "some_bot");
    fake.user(ADA, "Ada");
    fake
}

/// Calls a method of the bot.
async fn ask(fake: &FakeTelegram, method: &str, body: Value) -> (u16, Value) {
    call(&format!("{}/{method}", fake.bot_url(TOKEN)), body).await
}

async fn result(fake: &FakeTelegram, method: &str, body: Value) -> Value {
    let (status, mut reply) = ask(fake, method, body).await;
    assert_eq!(
        (status, &reply["ok"]),
        (200, &Value::Bool(true)),
        "{method}: {reply}"
    );
    reply["result"].take()
}

async fn refusal(fake: &FakeTelegram, method: &str, body: Value) -> (u16, String) {
    let (status, reply) = ask(fake, method, body).await;
    assert_eq!(
        (&reply["ok"], &reply["error_code"]),
        (&Value::Bool(false), &json!(status)),
        "{reply}"
    );
    (
        status,
        reply["description"]
            .as_str()
            .expect("a description")
            .to_owned(),
    )
}

/// Asserts that each call is refused with this code and text.
async fn assert_refused<const N: usize>(fake: &FakeTelegram, cases: [(&str, Value, u16, &str); N]) {
    for (method, body, code, description) in cases {
        let refused = refusal(fake, method, body.clone()).await;
        assert_eq!(refused, (code, description.to_owned()), "{method} {body}");
    }
}

#[tokio::test]
async fn sending_is_refused_in_the_real_words() {
    let fake = start().await;
    fake.open_chat(TOKEN, ADA);
    let group = fake.supergroup(-1_000_000_000_001, "Group");
    fake.open_chat(TOKEN, group);
    let kicked = fake.group(-7, "Elsewhere");
    fake.open_chat(TOKEN, kicked);
    fake.block(TOKEN, kicked);
    let too_long = "🙂".repeat(2048) + "x";
    let to = |chat: i64| move |text: &str| json!({"chat_id": chat, "text": text});
    let reply = json!({"chat_id": ADA, "text": "x", "reply_parameters": {"message_id": 999}});
    let thread = json!({"chat_id": group, "text": "x", "message_thread_id": 5});
    let cases = [
        (json!({"text": "x"}), 400, "Bad Request: chat_id is empty"),
        (to(9)("x"), 400, "Bad Request: chat not found"),
        (
            json!({"chat_id": "@nobody", "text": "x"}),
            400,
            "Bad Request: chat not found",
        ),
        (
            json!({"chat_id": ADA}),
            400,
            "Bad Request: message text is empty",
        ),
        (to(ADA)(" \n"), 400, "Bad Request: text must be non-empty"),
        (to(ADA)(&too_long), 400, "Bad Request: message is too long"),
        (
            to(kicked)("x"),
            403,
            "Forbidden: bot was kicked from the group chat",
        ),
        (reply, 400, "Bad Request: message to be replied not found"),
        (thread, 400, "Bad Request: message thread not found"),
    ];
    assert_refused(
        &fake,
        cases.map(|(body, code, why)| ("sendMessage", body, code, why)),
    )
    .await;
    assert!(
        fake.sent(TOKEN).is_empty(),
        "nothing that was refused was sent"
    );
}

#[tokio::test]
async fn other_methods_refuse_in_the_real_words() {
    let fake = start().await;
    fake.open_chat(TOKEN, ADA);
    let longest = "🙂".repeat(2048);
    let message = json!({"chat_id": ADA, "text": longest});
    let sent = result(&fake, "SENDMESSAGE", message).await;
    let edit = |id: &Value, text: &str| json!({"chat_id": ADA, "message_id": id, "text": text});
    let same = edit(&sent["message_id"], &format!("{longest}\n"));
    let not_modified = "Bad Request: message is not modified: specified new message content and reply markup are \
        exactly the same as a current content and reply markup of the message";
    let too_old =
        "Bad Request: query is too old and response timeout expired or query ID is invalid";
    let lost = json!({"chat_id": ADA, "message_id": 999});
    let dancing = json!({"chat_id": ADA, "action": "dancing"});
    let command = json!({"commands": [{"command": "Big", "description": "x"}]});
    let cases = [
        (
            "noSuchMethod",
            json!({}),
            404,
            "Not Found: method not found",
        ),
        (
            "editMessageText",
            edit(&json!(999), "x"),
            400,
            "Bad Request: message to edit not found",
        ),
        ("editMessageText", same, 400, not_modified),
        (
            "deleteMessage",
            lost,
            400,
            "Bad Request: message to delete not found",
        ),
        (
            "sendChatAction",
            dancing,
            400,
            "Bad Request: wrong parameter action in request",
        ),
        (
            "answerCallbackQuery",
            json!({"callback_query_id": "1"}),
            400,
            too_old,
        ),
        (
            "setMyCommands",
            command,
            400,
            "Bad Request: BOT_COMMAND_INVALID",
        ),
    ];
    assert_refused(&fake, cases).await;
    for (token, description) in [
        ("777:other", "Unauthorized"),
        ("nonsense", "Unauthorized: invalid token specified"),
    ] {
        let (status, reply) = call(&format!("{}/getMe", fake.bot_url(token)), Value::Null).await;
        assert_eq!((status, &reply["description"]), (401, &json!(description)));
    }
}

#[tokio::test]
async fn an_offset_confirms_and_a_limit_holds_back() {
    let fake = start().await;
    let ids: Vec<i64> = (0..3)
        .map(|n| fake.say(TOKEN, ADA, &format!("word {n}")))
        .collect();
    let first = result(&fake, "getUpdates", json!({"limit": 2})).await;
    let again = result(&fake, "getUpdates", json!({"limit": "2"})).await;
    assert_eq!(first, again, "without an offset nothing is confirmed");
    assert_eq!(first.as_array().map(Vec::len), Some(2));
    assert_eq!(first[1]["message"]["text"], "word 1");
    assert_eq!(fake.confirmed(TOKEN), 0);

    let rest = result(&fake, "getUpdates", json!({"offset": ids[2]})).await;
    assert_eq!(rest[0]["update_id"], ids[2]);
    assert_eq!(fake.confirmed(TOKEN), ids[1]);
    assert_eq!(fake.pending(TOKEN), [ids[2]]);

    let limited = json!({"offset": ids[2] + 1, "allowed_updates": ["edited_message"]});
    assert_eq!(result(&fake, "getUpdates", limited).await, json!([]));
    assert!(fake.pending(TOKEN).is_empty());
}

#[tokio::test]
async fn a_poll_parks_until_something_is_said() {
    let fake = start().await;
    let begun = Instant::now();
    assert_eq!(
        result(&fake, "getUpdates", json!({"timeout": 1})).await,
        json!([])
    );
    assert!(begun.elapsed() >= Duration::from_secs(1));

    let poll = result(&fake, "getUpdates", json!({"timeout": 50}));
    let speak = async {
        assert!(fake.wait_until(|fake| fake.parked(TOKEN) == 2, SOON).await);
        fake.say(TOKEN, ADA, "now")
    };
    let (updates, said) = tokio::time::timeout(SOON, async { tokio::join!(poll, speak) })
        .await
        .expect("the poll wakes");
    assert_eq!(updates[0]["update_id"], said);
}

#[tokio::test]
async fn a_second_poll_or_a_webhook_ends_the_first() {
    let fake = start().await;
    let first = refusal(&fake, "getUpdates", json!({"timeout": 50}));
    let second = async {
        assert!(fake.wait_until(|fake| fake.parked(TOKEN) == 1, SOON).await);
        refusal(&fake, "getUpdates", json!({"timeout": 50})).await
    };
    let hook = async {
        assert!(fake.wait_until(|fake| fake.parked(TOKEN) == 2, SOON).await);
        result(
            &fake,
            "setWebhook",
            json!({"url": "https://example.org/hook"}),
        )
        .await
    };
    let ended = async { tokio::join!(first, second, hook) };
    let (first, second, _) = tokio::time::timeout(SOON, ended)
        .await
        .expect("both polls end");
    let other = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
    assert_eq!(first, (409, other.to_owned()));
    assert_eq!(
        second,
        (409, "Conflict: terminated by setWebhook request".to_owned())
    );

    let third = refusal(&fake, "getUpdates", json!({})).await;
    assert_eq!(third.0, 409);
    assert!(
        third
            .1
            .starts_with("Conflict: can't use getUpdates method while webhook is active")
    );
    let info = result(&fake, "getWebhookInfo", Value::Null).await;
    assert_eq!(info["url"], "https://example.org/hook");

    fake.say(TOKEN, ADA, "to be dropped");
    result(
        &fake,
        "deleteWebhook",
        json!({"drop_pending_updates": true}),
    )
    .await;
    assert_eq!(result(&fake, "getUpdates", json!({})).await, json!([]));
}

#[tokio::test]
async fn faults_befall_what_they_are_meant_for() {
    let fake = start().await;
    fake.open_chat(TOKEN, ADA);
    let url = |method: &str| format!("{}/{method}", fake.bot_url(TOKEN));
    let text = json!({"chat_id": ADA, "text": "x"});

    let status = Fault::Status {
        code: 429,
        retry_after: Some(7),
    };
    fake.fault(TOKEN, FaultRule::new(status).on("sendMessage").times(1));
    let reply = request(&url("sendMessage"), text.clone())
        .await
        .expect("an answer");
    assert_eq!(
        (reply.status, reply.retry_after.as_deref()),
        (429, Some("7"))
    );
    assert_eq!(
        reply.json(),
        json!({
            "ok": false,
            "error_code": 429,
            "description": "Too Many Requests: retry after 7",
            "parameters": {"retry_after": 7},
        })
    );

    fake.fault(TOKEN, FaultRule::new(Fault::Garbage).times(1));
    let reply = request(&url("sendMessage"), text.clone())
        .await
        .expect("an answer");
    assert!(serde_json::from_slice::<Value>(&reply.body).is_err());
    assert!(
        fake.sent(TOKEN).is_empty(),
        "a refused call is not carried out"
    );

    fake.fault(TOKEN, FaultRule::new(Fault::Disconnect).times(1));
    assert!(request(&url("sendMessage"), text.clone()).await.is_err());
    assert_eq!(
        fake.sent(TOKEN).len(),
        1,
        "a cut reply is that of a call that was carried out"
    );

    fake.fault(TOKEN, Fault::Hang);
    {
        let poll = url("getUpdates");
        let mut hung = std::pin::pin!(request(&poll, json!({})));
        tokio::select! {
            reply = &mut hung => panic!("a hung poll was answered: {reply:?}"),
            held = fake.wait_until(|fake| fake.hung(TOKEN) == 1, SOON) => assert!(held),
        }
    }
    let noticed = fake.wait_until(|fake| fake.hung(TOKEN) == 0, SOON).await;
    assert!(noticed, "a client that hangs up is noticed");
    fake.clear_faults(TOKEN);
    assert_eq!(result(&fake, "getUpdates", json!({})).await, json!([]));

    fake.fault(
        TOKEN,
        FaultRule::new(Fault::Slow(Duration::from_millis(300))).times(1),
    );
    let begun = Instant::now();
    result(&fake, "getMe", Value::Null).await;
    assert!(begun.elapsed() >= Duration::from_millis(300));

    fake.go_down().await;
    assert!(request(&url("getMe"), Value::Null).await.is_err());
    fake.come_back().await.expect("the same port");
    result(&fake, "getMe", Value::Null).await;
    result(&fake, "logOut", Value::Null).await;
    assert_eq!(
        refusal(&fake, "getMe", Value::Null).await,
        (400, "Logged out".to_owned())
    );
}
