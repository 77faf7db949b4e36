//! Schedules with the real programs: each due time is one turn, whoever dies; pauses stay; answers are told.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kennel::journal::{
    FILE, Reader,
    entry::{Origin, State},
    reader::{Listed, View},
};
use kennel_tests::{
    fake_telegram::FakeTelegram,
    harness::{Builder, Kennel, eventually},
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const SECOND: i64 = 1000;
const TOKEN: &str = "111:one";
const ADA: i64 = 7;

fn every_second(catch_up: &str) -> Builder {
    Kennel::builder().agents(&["one"]).schedule(&[
        ("name", "'tick'"),
        ("every", "'1s'"),
        ("agent", "'one'"),
        ("prompt", "'what is the time?'"),
        ("catch_up", catch_up),
    ])
}

/// The runs that are in the journal, with their due times, in the order of acceptance.
fn runs(kennel: &Kennel) -> Vec<(Option<i64>, Listed)> {
    let reader = Reader::open(&kennel.root().join("state").join(FILE)).expect("a journal");
    let all = reader.list(View::All, None, None, 1000).expect("a list");
    let due = |listed: Listed| match reader.message(listed.delivery).expect("it reads")?.origin {
        Origin::Schedule { due, .. } => Some((due, listed)),
        _ => None,
    };
    all.entries.into_iter().filter_map(due).collect()
}

async fn schedule(kennel: &Kennel, name: &str) -> Value {
    let answer = kennel.client().get("/api/v1/schedules").await;
    let list = answer.expect("an answer").body["schedules"].clone();
    let mut list = list.as_array().expect("a list").clone().into_iter();
    list.find(|schedule| schedule["name"] == name)
        .expect("it is there")
}

/// The output of `kennel`, which must succeed.
async fn said(kennel: &Kennel, words: &[&str]) -> String {
    let (code, out, error) = kennel.run(words).await;
    assert_eq!(code, Some(0), "{words:?}: {error}");
    out
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time");
    i64::try_from(since.as_millis()).expect("a time")
}

#[tokio::test]
async fn a_schedule_is_answered_every_second() {
    let kennel = every_second("'skip'").start().await;
    let seen = eventually("three runs are answered", || async {
        let seen = schedule(&kennel, "tick").await;
        let answered = seen["last"]["state"] == "replied";
        (seen["runs"].as_u64() >= Some(3) && answered).then_some(seen)
    })
    .await;
    assert_eq!(seen["session"], "agent:one:cron:tick");
    assert_eq!(seen["missed"], 0);
    let next = seen["next_ms"].as_i64().expect("a time");
    assert!(next % SECOND == 0 && (next - now_ms()).abs() < 5 * SECOND);
    let (due, last) = runs(&kennel).pop().expect("a run");
    assert_eq!(due.expect("of the clock") % SECOND, 0);
    assert_eq!(last.session.as_str(), "agent:one:cron:tick");
    // All of one conversation, which a person sees.
    let table = said(&kennel, &["schedules"]).await;
    assert!(
        table.contains("every 1s") && table.contains("ago"),
        "{table}"
    );
    let shown = said(&kennel, &["sessions", "show", "one:cron:tick", "-n", "2"]).await;
    assert!(shown.contains("what is the time?"), "{shown}");
    kennel.shut_down().await;
}

#[tokio::test]
async fn no_due_time_is_lost_or_doubled_however_often_the_supervisor_is_killed() {
    let mut kennel = every_second("'all'").start().await;
    let first = eventually("the first run", || async { runs(&kennel).first()?.0 }).await;
    for round in 0..6 {
        // Around the moment at which a run is handed over, a little before it and a little behind.
        let offset = [985, 995, 1000, 1002, 1005, 1400][round];
        let wait = SECOND - now_ms() % SECOND - SECOND + offset;
        tokio::time::sleep(Duration::from_millis(wait.max(0).unsigned_abs())).await;
        kennel.signal(Signal::SIGKILL);
        kennel.until_down().await;
        if round % 2 == 1 {
            // Longer than between two due times.
            tokio::time::sleep(Duration::from_millis(1500)).await;
        }
        kennel.start_again().await;
    }
    let last_start = now_ms();
    eventually("it has caught up", || async {
        let (due, last) = runs(&kennel).pop()?;
        (due? > last_start && last.state == State::Replied).then_some(())
    })
    .await;
    said(&kennel, &["schedules", "pause", "tick"]).await;
    eventually("all are answered", || async {
        runs(&kennel)
            .iter()
            .all(|(_, run)| run.state == State::Replied)
            .then_some(())
    })
    .await;
    let due: Vec<i64> = runs(&kennel).iter().filter_map(|(due, _)| *due).collect();
    let count = i64::try_from(due.len()).expect("a few");
    let expected: Vec<i64> = (0..count).map(|n| first + n * SECOND).collect();
    assert_eq!(due, expected, "each second once, in order");
    assert!(count > 6);
    let context = kennel.client();
    let context = context
        .send("one", "!context", Some("agent:one:cron:tick"))
        .await;
    let turns = 2 * count + 1;
    assert!(
        context.reply().starts_with(&format!("messages={turns} ")),
        "{count} turns of two messages, and this: {}",
        context.reply()
    );
    assert_eq!(schedule(&kennel, "tick").await["missed"], 0);
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_pause_outlives_the_supervisor_and_is_audited() {
    let mut kennel = every_second("'all'").start().await;
    eventually("a run", || async {
        (!runs(&kennel).is_empty()).then_some(())
    })
    .await;
    let paused = said(&kennel, &["schedules", "pause", "tick"]).await;
    assert_eq!(paused, "tick is paused\n");
    let again = said(&kennel, &["schedules", "pause", "tick"]).await;
    assert_eq!(again, "tick was paused already\n");
    let before = runs(&kennel).len();
    kennel.crash().await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    kennel.start_again().await;
    let seen = schedule(&kennel, "tick").await;
    assert_eq!(
        (&seen["paused"], &seen["next_ms"]),
        (&json!(true), &Value::Null)
    );
    // One that is asked for runs all the same, and has no due time.
    let reply = said(&kennel, &["schedules", "run", "tick", "--json"]).await;
    let reply: Value = serde_json::from_str(&reply).expect("JSON");
    let id = reply["id"].as_str().expect("an id").to_owned();
    eventually("it is answered", || async {
        let seen = schedule(&kennel, "tick").await;
        (seen["last"]["id"] == id.as_str() && seen["last"]["state"] == "replied").then_some(())
    })
    .await;
    let all = runs(&kennel);
    assert_eq!((all.len(), all[before].0), (before + 1, None));
    said(&kennel, &["schedules", "resume", "tick"]).await;
    let resumed = now_ms();
    let due = eventually("it runs by itself again", || async {
        runs(&kennel).get(before + 1)?.0
    })
    .await;
    assert!(
        due > resumed - SECOND,
        "what was due in the pause is not caught up with"
    );
    let audit = said(&kennel, &["audit", "--json"]).await;
    for what in ["schedule-pause", "schedule-run", "schedule-resume"] {
        assert!(audit.contains(what), "{what}: {audit}");
    }
    let (code, _, error) = kennel.run(&["schedules", "run", "tok"]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("did you mean `tick`?"), "{error}");
    kennel.shut_down().await;
}

#[tokio::test]
async fn schedules_change_live_and_answers_are_told() {
    let telegram = FakeTelegram::start().await.expect("a server");
    telegram.add_bot(TOKEN, "OneBot");
    telegram.user(ADA, "Ada");
    telegram.open_chat(TOKEN, ADA);
    let kennel = Kennel::builder()
        .agents(&["one"])
        .telegram("tg", &telegram.url(), TOKEN, "one")
        .start()
        .await;
    kennel.edit(|text| {
        text + "\n[[schedules]]\nname = 'hello'\ncron = '0 0 1 1 *'\nzone = 'Asia/Tokyo'\nagent = 'one'\n\
            prompt = 'good morning'\ntell = { channel = 'tg', peer = 7 }\n"
    });
    let told = said(&kennel, &["reload"]).await;
    assert!(told.contains("+ schedule hello"), "{told}");
    // Once it is written down.
    let next = eventually("when it is due", || async {
        let seen = schedule(&kennel, "hello").await;
        seen["next"].as_str().map(str::to_owned)
    })
    .await;
    assert!(next.ends_with("-01-01 00:00 JST"), "{next}");
    said(&kennel, &["schedules", "run", "hello"]).await;
    let within = Duration::from_secs(20);
    telegram
        .wait_for_message(TOKEN, |sent| sent.text == "good morning", within)
        .await
        .expect("it is told");
    // Then every second, until it is gone.
    kennel.edit(|text| {
        text.replace("cron = '0 0 1 1 *'\nzone = 'Asia/Tokyo'", "every = '1s'")
            .replace("'good morning'", "'tick'")
    });
    let told = said(&kennel, &["reload"]).await;
    assert!(told.contains("~ schedule hello: every, prompt"), "{told}");
    telegram
        .wait_for_message(TOKEN, |sent| sent.text == "tick", within)
        .await
        .expect("it is told");
    kennel.edit(|text| {
        text.split("\n[[schedules]]")
            .next()
            .unwrap_or_default()
            .to_owned()
    });
    let told = said(&kennel, &["reload"]).await;
    assert!(told.contains("- schedule hello"), "{told}");
    assert_eq!(
        said(&kennel, &["schedules", "--json"]).await.trim(),
        r#"{"schedules":[]}"#
    );
    kennel.shut_down().await;
}

/// The class of a schedule is that of its turns: one that waits for its class keeps nobody waiting who asks its agent something.
#[tokio::test]
async fn a_run_waits_for_its_class_while_its_agent_answers_others() {
    let kennel = Kennel::builder()
        .supervisor(&[("max_concurrent", "4")])
        .agent("one", &[("max_concurrent", "2")])
        .agent("busy", &[("class", "'batch'"), ("max_concurrent", "2")])
        .schedule(&[
            ("name", "'night'"),
            ("cron", "'0 0 1 1 *'"),
            ("agent", "'one'"),
            ("prompt", "'tidy up'"),
            ("class", "'batch'"),
        ])
        .start()
        .await;
    kennel.edit(|text| text + "\n[classes.batch]\nmax_share = 0.25\n");
    said(&kennel, &["reload"]).await;
    // The only slot of the class.
    let client = kennel.client();
    let mut work = client.stream("busy", "!hang", None).await;
    let busy = work.until("accepted").await;
    work.until("started").await;
    let reply = said(&kennel, &["schedules", "run", "night", "--json"]).await;
    let reply: Value = serde_json::from_str(&reply).expect("JSON");
    let id = reply["id"].as_str().expect("an id").to_owned();
    // Handed in later, it is answered before.
    assert_eq!(
        client
            .send("one", "hello", Some("agent:one:chat"))
            .await
            .reply(),
        "hello"
    );
    let state = |kennel: &Kennel| {
        let (_, run) = runs(kennel).pop().expect("the run");
        run.state
    };
    assert_eq!(state(&kennel), State::Queued);
    let queue = client.get("/api/v1/queue").await.expect("an answer").body;
    let mut queue = queue["deliveries"].as_array().expect("a list").iter();
    let run = queue.find(|one| one["agent"] == "one").expect("the run");
    assert_eq!(run["waits_for"], "class", "{run}");
    let turn = busy["turn_id"].as_str().expect("an id");
    let cancelled = client.delete(&format!("/api/v1/turns/{turn}")).await;
    assert_eq!(cancelled.expect("an answer").status, 200);
    eventually("the run is answered", || async {
        (state(&kennel) == State::Replied).then_some(())
    })
    .await;
    let turns = said(&kennel, &["turns", "one", "--json"]).await;
    let turns: Value = serde_json::from_str(&turns).expect("JSON");
    let turns = turns["turns"].as_array().expect("a list");
    let class = |session: &str| {
        let mut turns = turns.iter();
        turns
            .find(|turn| turn["session"] == session)
            .expect("it is there")["class"]
            .clone()
    };
    assert_eq!(class("agent:one:cron:night"), "batch");
    assert_eq!(class("agent:one:chat"), "interactive");
    let why = said(&kennel, &["why", &id, "--json"]).await;
    let why: Value = serde_json::from_str(&why).expect("JSON");
    assert!(why["waits"]["class_us"].as_u64() > Some(0), "{why}");
    assert_eq!(
        (&why["waits"]["agent_us"], &why["waits"]["session_us"]),
        (&json!(0), &json!(0))
    );
    let shown = said(&kennel, &["why", &id]).await;
    assert!(shown.contains("class     batch"), "{shown}");
    kennel.shut_down().await;
}
