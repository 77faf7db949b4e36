//! What was accepted outlives the supervisor: the real programs, a chat server, callers with keys.

use std::{process::Command, time::Duration};

use kennel_tests::{
    fake_telegram::{FakeTelegram, Fault, FaultRule},
    harness::{Client, Kennel, eventually},
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const TOKEN: &str = "111:one";
const ADA: i64 = 7;
const WITHIN: Duration = Duration::from_secs(20);

async fn chat() -> FakeTelegram {
    let telegram = FakeTelegram::start().await.unwrap();
    telegram.add_bot(TOKEN, "OneBot");
    telegram.user(ADA, "Ada");
    telegram.open_chat(TOKEN, ADA);
    telegram
}

/// One agent, who answers there.
async fn answering(telegram: &FakeTelegram) -> Kennel {
    Kennel::builder()
        .agents(&["one"])
        .telegram("tg", &telegram.url(), TOKEN, "one")
        .start()
        .await
}

fn texts(telegram: &FakeTelegram) -> Vec<String> {
    let sent = telegram.sent(TOKEN).into_iter();
    sent.map(|sent| sent.text).collect()
}

/// The output of `kennel`, which must succeed.
fn run(kennel: &Kennel, words: &[&str]) -> String {
    let mut command: Command = kennel.command();
    let output = command.args(words).output().expect("kennel runs");
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn listed(kennel: &Kennel, words: &[&str]) -> Vec<Value> {
    let words = [&["queue", "list", "--json"], words].concat();
    let queue: Value = serde_json::from_str(&run(kennel, &words)).expect("JSON");
    queue["deliveries"].as_array().expect("a list").clone()
}

async fn ask(client: &Client, key: &str, text: &str) -> (u16, Value) {
    let body = json!({ "text": text, "session": "keyed" });
    let keyed = client.clone().header("idempotency-key", key);
    let answer = keyed.post("/api/v1/agents/one/turns", &body).await;
    let answer = answer.expect("an answer");
    (answer.status, answer.body)
}

#[tokio::test]
async fn a_killed_supervisor_loses_no_message_and_repeats_no_answer() {
    let telegram = chat().await;
    let mut kennel = answering(&telegram).await;
    telegram.say(TOKEN, ADA, "!sleep 300 first");
    let second = telegram.say(TOKEN, ADA, "second");
    assert!(
        telegram
            .wait_until(|chat| chat.confirmed(TOKEN) >= second, WITHIN)
            .await,
        "both are acknowledged while the first runs"
    );
    let states: Vec<_> = listed(&kennel, &["one"])
        .iter()
        .map(|delivery| delivery["state"].clone())
        .collect();
    assert_eq!(states, ["leased", "queued"]);
    kennel.signal(Signal::SIGKILL);
    kennel.until_down().await;
    kennel.start_again().await;
    let answered = |chat: &FakeTelegram| texts(chat).len() >= 2;
    assert!(
        telegram.wait_until(answered, WITHIN).await,
        "{:?}",
        texts(&telegram)
    );
    assert_eq!(texts(&telegram), ["first", "second"]);
    let client = kennel.client();
    let session = Some("agent:one:tg:direct:7");
    let context = client.send("one", "!context", session).await;
    assert!(
        context.reply().starts_with("messages=5 "),
        "two questions, two answers, and this: {}",
        context.reply()
    );
    // A caller has its answer before its end is on the disk.
    eventually("nothing is left to be done", || async {
        listed(&kennel, &[]).is_empty().then_some(())
    })
    .await;
    kennel.shut_down().await;
    assert_eq!(texts(&telegram).len(), 2);
}

#[tokio::test]
async fn a_supervisor_that_is_ended_leaves_what_waits_to_the_next() {
    let telegram = chat().await;
    let mut kennel = answering(&telegram).await;
    telegram.say(TOKEN, ADA, "!sleep 400 first");
    let last = telegram.say(TOKEN, ADA, "second");
    assert!(
        telegram
            .wait_until(|chat| chat.confirmed(TOKEN) >= last, WITHIN)
            .await
    );
    kennel.signal(Signal::SIGTERM);
    assert!(kennel.until_down().await.success());
    // What ran was finished and sent; what waited does so.
    assert_eq!(texts(&telegram), ["first"]);
    kennel.start_again().await;
    assert!(
        telegram
            .wait_until(|chat| texts(chat).len() == 2, WITHIN)
            .await
    );
    assert_eq!(texts(&telegram), ["first", "second"]);
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_key_gets_one_answer_whoever_dies_and_another_request_is_a_conflict() {
    let mut kennel = Kennel::builder().agents(&["one"]).start().await;
    let client = kennel.client();
    let (status, first) = ask(&client, "k-1", "hello").await;
    assert_eq!((status, &first["reply"]), (200, &json!("hello")));
    assert_eq!(
        ask(&client, "k-1", "hello").await.1["turn_id"],
        first["turn_id"]
    );
    let (status, refused) = ask(&client, "k-1", "something else").await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (409, &json!("key_reused"))
    );
    let (status, refused) = ask(&client, "k 2", "hello").await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (400, &json!("invalid_request"))
    );
    // The supervisor dies in the midst of a turn; who asks again gets its answer.
    let asker = client.clone();
    let lost = tokio::spawn(async move {
        let body = json!({ "text": "!sleep 400 slow", "session": "keyed" });
        let keyed = asker.header("idempotency-key", "k-3");
        keyed.post("/api/v1/agents/one/turns", &body).await
    });
    eventually("the turn runs", || async {
        (kennel.agent("one").await.running == 1).then_some(())
    })
    .await;
    kennel.signal(Signal::SIGKILL);
    kennel.until_down().await;
    assert!(lost.await.expect("no panic").is_err());
    kennel.start_again().await;
    let (status, answer) = ask(&client, "k-3", "!sleep 400 slow").await;
    assert_eq!((status, &answer["reply"]), (200, &json!("slow")));
    let context = client.send("one", "!context", Some("keyed")).await;
    assert!(
        context.reply().starts_with("messages=5 "),
        "two questions, two answers, and this: {}",
        context.reply()
    );
    kennel.shut_down().await;
}

/// Each part of a long answer is written down as it goes out: whoever comes next goes on behind it.
#[tokio::test]
async fn a_long_answer_goes_on_behind_its_last_part() {
    let telegram = chat().await;
    let mut kennel = answering(&telegram).await;
    let slow = FaultRule::new(Fault::Slow(Duration::from_millis(100))).on("sendMessage");
    telegram.fault(TOKEN, slow);
    telegram.say(TOKEN, ADA, "!repeat 5000 abcd");
    let three = |chat: &FakeTelegram| texts(chat).len() == 3;
    assert!(telegram.wait_until(three, WITHIN).await);
    kennel.signal(Signal::SIGKILL);
    kennel.until_down().await;
    kennel.start_again().await;
    let last = |chat: &FakeTelegram| texts(chat).last().is_some_and(|text| text.len() < 4000);
    assert!(telegram.wait_until(last, WITHIN).await);
    kennel.shut_down().await;
    let lengths: Vec<usize> = texts(&telegram).iter().map(String::len).collect();
    // The third was with the platform, and nobody knew what became of it.
    let doubled = [4092, 4092, 4092, 4092, 4092, 3632];
    assert!(lengths == doubled || lengths == doubled[1..], "{lengths:?}");
}

#[tokio::test]
async fn operators_settle_poison_from_the_command_line() {
    let telegram = chat().await;
    let kennel = Kennel::builder()
        .agents(&["one"])
        .defaults(&[("poison_after", "2")])
        .telegram("tg", &telegram.url(), TOKEN, "one")
        .start()
        .await;
    telegram.say(TOKEN, ADA, "!abort");
    telegram.say(TOKEN, ADA, "next");
    assert!(
        telegram
            .wait_until(|chat| texts(chat).len() == 2, WITHIN)
            .await,
        "{:?}",
        texts(&telegram)
    );
    let told = texts(&telegram);
    assert!(told[0].contains("stopped working 2 times"), "{told:?}");
    assert_eq!(told[1], "next");
    let poison = listed(&kennel, &["--poison"]);
    assert_eq!(poison.len(), 1);
    let id = poison[0]["id"].as_str().expect("an id").to_owned();
    let shown = run(&kennel, &["queue", "show", &id]);
    assert!(
        shown.contains("poison") && shown.contains("!abort"),
        "{shown}"
    );
    let doctor = kennel.command().arg("doctor").output().expect("it runs");
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.contains("1 message set aside"), "{doctor}");
    run(&kennel, &["queue", "drop", &id]);
    let retried = run(&kennel, &["queue", "retry", &id]);
    assert!(retried.contains("one is to answer it as"), "{retried}");
    // It kills again, and is set aside again.
    eventually("poison again", || async {
        (listed(&kennel, &["--poison"]).len() == 1).then_some(())
    })
    .await;
    let audit = run(&kennel, &["audit"]);
    for what in ["poison:", "drop:", "retry:"] {
        assert!(audit.contains(what), "{what} in {audit}");
    }
    kennel.shut_down().await;
}
