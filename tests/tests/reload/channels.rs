//! Chat connections: those that differ are made anew, the others are not touched.

use std::time::Duration;

use kennel_tests::{
    fake_telegram::FakeTelegram,
    harness::{Kennel, eventually},
};
use serde_json::{Value, json};

use crate::{applied, steps};

const FIRST: &str = "111:first";
const SECOND: &str = "222:second";
const ALICE: i64 = 7;
const WITHIN: Duration = Duration::from_secs(10);

/// How a channel stands.
async fn channel(kennel: &Kennel, id: &str) -> Option<Value> {
    let answer = kennel.client().get("/api/v1/channels").await;
    let channels = answer.expect("an answer").body["channels"].clone();
    let channels = channels.as_array().cloned().unwrap_or_default();
    channels.into_iter().find(|channel| channel["id"] == id)
}

async fn answered(telegram: &FakeTelegram, bot: &str, text: &str) {
    let answer = telegram.wait_for_message(bot, |sent| sent.text == text, WITHIN);
    answer
        .await
        .unwrap_or_else(|error| panic!("{text}: {error}"));
}

#[tokio::test]
async fn a_channel_that_differs_connects_anew_and_another_keeps_its_connection() {
    let telegram = FakeTelegram::start().await.expect("a server");
    telegram.user(ALICE, "Alice");
    for (bot, name) in [(FIRST, "FirstBot"), (SECOND, "SecondBot")] {
        telegram.add_bot(bot, name);
        telegram.open_chat(bot, ALICE);
    }
    let kennel = Kennel::builder()
        .agent("one", &[("system_prompt", "'One.'")])
        .agent("two", &[("system_prompt", "'Two.'")])
        .telegram("tg-first", &telegram.url(), FIRST, "one")
        .telegram("tg-second", &telegram.url(), SECOND, "two")
        .start()
        .await;
    for bot in [FIRST, SECOND] {
        telegram.say(bot, ALICE, "!system");
    }
    answered(&telegram, FIRST, "One.").await;
    answered(&telegram, SECOND, "Two.").await;
    let second = |text: String, change: &dyn Fn(&str) -> String| {
        let (before, own) = text.split_once("[channels.tg-second]").expect("there");
        format!("{before}[channels.tg-second]{}", change(own))
    };

    // Who answers changes for one, the connection of the other; with a turn of each that runs.
    for bot in [FIRST, SECOND] {
        telegram.say(bot, ALICE, "!sleep 600 late");
    }
    kennel
        .until("one", "works", |agent| agent.running == 1)
        .await;
    kennel
        .until("two", "works", |agent| agent.running == 1)
        .await;
    let polls = telegram.calls(SECOND, "getUpdates");
    kennel.edit(|text| {
        let text = text.replacen(
            "channel = 'tg-first'\nagent = 'one'",
            "channel = 'tg-first'\nagent = 'two'",
            1,
        );
        second(text, &|own| own.replacen("'5s'", "'4s'", 1))
    });
    let reply = applied(&kennel).await;
    let wanted = ["bindings  changed", "channel tg-second restarted"];
    assert_eq!(steps(&reply), wanted.map(str::to_owned).into());
    answered(&telegram, FIRST, "late").await;
    answered(&telegram, SECOND, "late").await;
    let connected = || async {
        let state = channel(&kennel, "tg-second").await?["state"].clone();
        (state == "connected").then_some(())
    };
    eventually("the channel is back", connected).await;
    assert!(telegram.calls(SECOND, "getUpdates") > polls);
    let first = channel(&kennel, "tg-first").await.expect("there");
    assert_eq!(
        (&first["received"], &first["reconnects"]),
        (&json!(2), &json!(0)),
        "{first}"
    );
    for bot in [FIRST, SECOND] {
        telegram.say(bot, ALICE, "!context");
    }
    // A conversation of its own with the agent that answers there now.
    answered(&telegram, FIRST, "messages=1 bytes=8").await;
    telegram.say(FIRST, ALICE, "!repeat 3 two");
    answered(&telegram, FIRST, "twotwotwo").await;
    assert_eq!(kennel.agent("one").await.turns, 2);
    let late = telegram.sent(SECOND);
    assert_eq!(
        late.iter().filter(|sent| sent.text == "late").count(),
        1,
        "{late:?}"
    );

    // A channel that goes takes nothing more; what is said there stays with the platform.
    kennel.edit(|text| {
        let (before, _) = text.split_once("[channels.tg-second]").expect("there");
        format!("{before}[[bindings]]\nchannel = 'tg-first'\nagent = 'two'\n")
    });
    let reply = applied(&kennel).await;
    assert!(
        steps(&reply).contains("channel tg-second removed"),
        "{reply}"
    );
    assert_eq!(channel(&kennel, "tg-second").await, None);
    // Once for the connection before, and once for good.
    let ended = || async {
        let ends = kennel.log_lines(&["channel stopped", "tg-second"]).len();
        (ends == 2).then_some(())
    };
    eventually("the end of the channel", ended).await;
    let update = telegram.say(SECOND, ALICE, "anybody?");
    telegram.say(FIRST, ALICE, "!repeat 2 still");
    answered(&telegram, FIRST, "stillstill").await;
    assert!(telegram.pending(SECOND).contains(&update));
    kennel.shut_down().await;
}
