//! The Telegram channel against a Bot API server, over real connections.

use std::time::{Duration, Instant};

use kennel::channel::telegram::{Settings, Telegram};
use kennel::channel::{
    Accepted, AccountHandle, AccountOptions, AllowFrom, BackoffSettings, ChannelStatus, Inbound,
    Outbound, OutboundKind, Rejected, Settlement, spawn_account,
};
use kennel_shared::envelope::{Envelope, Peer, PeerKind};
use kennel_tests::fake_telegram::{FakeTelegram, Fault, FaultRule, Speaker};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const TOKEN: &str = "111:hexa";
const OTHER: &str = "222:rex";
const ALICE: i64 = 7;
const MALLORY: i64 = 66;
const WITHIN: Duration = Duration::from_secs(10);

struct Account {
    handle: AccountHandle,
    inbound_rx: mpsc::Receiver<Inbound>,
    _task: JoinHandle<()>,
}

/// Quick in everything, so that tests need not wait.
fn options() -> AccountOptions {
    AccountOptions {
        backoff: BackoffSettings {
            initial: Duration::from_millis(50),
            max: Duration::from_millis(200),
            stable_after: Duration::from_mins(1),
        },
        refused_retry: Duration::from_millis(500),
    }
}

fn settings(fake: &FakeTelegram, token: &str) -> Settings {
    Settings {
        api_url: Some(fake.url()),
        poll_timeout: Duration::from_secs(5),
        poll_patience: Duration::from_secs(5),
        allow_from: AllowFrom::listed([ALICE.to_string()]),
        ..Settings::new(token.to_owned().into())
    }
}

fn open(settings: Settings) -> Account {
    let (inbound_tx, inbound_rx) = mpsc::channel(8);
    let id = "tg".parse().unwrap();
    let (handle, task) = spawn_account(id, Telegram::new(settings), inbound_tx, options());
    Account {
        handle,
        inbound_rx,
        _task: task,
    }
}

impl Account {
    async fn receive(&mut self) -> Inbound {
        timeout(WITHIN, self.inbound_rx.recv())
            .await
            .expect("a message comes in time")
            .expect("the account runs")
    }

    /// Receives a message and accepts it.
    async fn accept(&mut self) -> Envelope {
        let inbound = self.receive().await;
        inbound.verdict.send(Ok(Accepted::New)).unwrap();
        inbound.envelope
    }

    async fn reach(&self, wanted: impl FnMut(&ChannelStatus) -> bool) -> ChannelStatus {
        let mut status = self.handle.status();
        let reached = timeout(WITHIN, status.wait_for(wanted)).await;
        let found = reached.map(|status| status.unwrap().clone());
        found.unwrap_or_else(|_| panic!("it is {:?}", self.handle.status().borrow()))
    }

    async fn send(&self, peer: Peer, text: &str) -> Settlement {
        let receipt = self.handle.send(outbound(peer, text)).await.unwrap();
        timeout(WITHIN, receipt.settled())
            .await
            .expect("it is settled in time")
    }
}

fn outbound(peer: Peer, text: &str) -> Outbound {
    Outbound {
        peer,
        reply_to: None,
        kind: OutboundKind::Text(text.into()),
    }
}

fn direct(id: i64) -> Peer {
    Peer {
        kind: PeerKind::Direct,
        id: id.to_string(),
    }
}

async fn fake() -> FakeTelegram {
    let fake = FakeTelegram::start().await.unwrap();
    fake.add_bot(TOKEN, "HexaBot");
    fake.user_with_username(ALICE, "Alice", Some("alice"));
    fake.user(MALLORY, "Mallory");
    fake.open_chat(TOKEN, ALICE);
    fake
}

async fn confirmed(fake: &FakeTelegram, update: i64) {
    let done = fake.wait_until(|fake| fake.confirmed(TOKEN) >= update, WITHIN);
    assert!(done.await, "update {update} is confirmed");
}

#[tokio::test]
async fn an_update_is_confirmed_only_after_it_was_accepted() {
    let fake = fake().await;
    let mut account = open(settings(&fake, TOKEN));
    let first = fake.say(TOKEN, ALICE, "one");
    let second = fake.say(TOKEN, ALICE, "two");

    let one = account.receive().await;
    assert_eq!(one.envelope.text, "one");
    let retry_after = Duration::from_millis(50);
    one.verdict
        .send(Err(Rejected::Full { retry_after }))
        .unwrap();
    assert_eq!(account.receive().await.envelope.text, "one", "asked again");
    // That verdict was dropped unanswered: nobody took it, and the account ends.
    account
        .reach(|status| status.state.name() == "stopped")
        .await;
    assert_eq!(
        fake.pending(TOKEN),
        [first, second],
        "nothing was confirmed"
    );

    // The next life of the account gets both again.
    let mut account = open(settings(&fake, TOKEN));
    assert_eq!(account.accept().await.text, "one");
    assert_eq!(account.accept().await.text, "two");
    confirmed(&fake, second).await;
    assert_eq!(
        account.reach(|status| status.received == 2).await.rejected,
        0
    );
}

#[tokio::test]
async fn a_conversation_in_a_topic_goes_both_ways() {
    let fake = fake().await;
    let group = fake.supergroup(-1_001_234_567_890, "Lab");
    let topic = fake.topic(group, "plans");
    fake.open_chat(TOKEN, group);
    let mut account = open(settings(&fake, TOKEN));
    let speaker = Speaker::new(ALICE).in_chat(group).in_topic(topic);
    fake.say(TOKEN, speaker, "just chatter");
    let (_, asked) = fake.say_message(TOKEN, speaker, "@HexaBot how are you?");

    let envelope = account.accept().await;
    assert_eq!(envelope.text, "how are you?");
    assert_eq!(envelope.peer.id, format!("{group}/{topic}"));

    let typing = Outbound {
        peer: envelope.peer.clone(),
        reply_to: None,
        kind: OutboundKind::Typing,
    };
    let receipt = account.handle.send(typing).await.unwrap();
    assert_eq!(
        timeout(WITHIN, receipt.settled()).await.unwrap(),
        Settlement::Delivered { doubtful: false }
    );
    assert_eq!(fake.actions(TOKEN).len(), 1);

    let answer = Outbound {
        reply_to: Some(envelope.message_id),
        ..outbound(envelope.peer, "fine")
    };
    let receipt = account.handle.send(answer).await.unwrap();
    assert_eq!(
        timeout(WITHIN, receipt.settled()).await.unwrap(),
        Settlement::Delivered { doubtful: false }
    );
    let sent = fake.sent(TOKEN);
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (
            sent[0].chat_id,
            sent[0].thread_id,
            sent[0].reply_to,
            sent[0].text.as_str()
        ),
        (group, Some(topic), Some(asked), "fine")
    );
}

#[tokio::test]
async fn strangers_are_confirmed_and_dropped() {
    let fake = fake().await;
    let mut account = open(settings(&fake, TOKEN));
    fake.say(TOKEN, MALLORY, "let me in");
    let last = fake.say(TOKEN, ALICE, "hello");
    assert_eq!(account.accept().await.text, "hello");
    confirmed(&fake, last).await;
    let status = account.reach(|status| status.received == 1).await;
    assert_eq!(status.rejected, 1);
    assert!(account.inbound_rx.try_recv().is_err());
}

#[tokio::test]
async fn a_hung_poll_is_renewed_and_delays_no_message() {
    let fake = fake().await;
    fake.fault(TOKEN, FaultRule::new(Fault::Hang).on("getUpdates").times(1));
    let mut account = open(Settings {
        poll_timeout: Duration::from_secs(1),
        poll_patience: Duration::from_secs(1),
        ..settings(&fake, TOKEN)
    });
    assert!(fake.wait_until(|fake| fake.hung(TOKEN) == 1, WITHIN).await);
    let asked = Instant::now();
    assert_eq!(
        account.send(direct(ALICE), "on time").await,
        Settlement::Delivered { doubtful: false }
    );
    assert!(
        asked.elapsed() < Duration::from_secs(1),
        "{:?}",
        asked.elapsed()
    );

    fake.say(TOKEN, ALICE, "hello");
    assert_eq!(account.accept().await.text, "hello");
    let status = account.reach(|status| status.received == 1).await;
    assert_eq!(
        status.detail.as_deref(),
        Some("@HexaBot; renewed hung polls: 1")
    );
    assert_eq!(status.reconnects, 0);
}

#[tokio::test]
async fn one_accounts_trouble_delays_no_other() {
    let fake = fake().await;
    fake.add_bot(OTHER, "RexBot");
    fake.open_chat(OTHER, ALICE);
    fake.fault(TOKEN, FaultRule::new(Fault::Hang));
    let hanging = open(settings(&fake, TOKEN));
    let mut other = open(settings(&fake, OTHER));
    other.reach(|status| status.state.name() == "online").await;
    assert!(fake.wait_until(|fake| fake.hung(TOKEN) == 1, WITHIN).await);
    for _ in 0..5 {
        let asked = Instant::now();
        fake.say(OTHER, ALICE, "ping");
        other.accept().await;
        assert_eq!(
            other.send(direct(ALICE), "pong").await,
            Settlement::Delivered { doubtful: false }
        );
        assert!(
            asked.elapsed() < Duration::from_secs(1),
            "{:?}",
            asked.elapsed()
        );
    }
    assert_eq!(hanging.handle.status().borrow().state.name(), "connecting");
}

#[tokio::test]
async fn limits_are_waited_out_and_order_is_kept() {
    let fake = fake().await;
    let limited = Fault::Status {
        code: 429,
        retry_after: Some(1),
    };
    fake.fault(TOKEN, FaultRule::new(limited).on("sendMessage").times(1));
    let account = open(settings(&fake, TOKEN));
    let begun = Instant::now();
    for text in ["first", "second"] {
        account
            .handle
            .send(outbound(direct(ALICE), text))
            .await
            .unwrap();
    }
    timeout(WITHIN, account.handle.drained()).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let sent: Vec<_> = fake.sent(TOKEN).into_iter().map(|sent| sent.text).collect();
    assert_eq!(sent, ["first", "second"]);
    assert_eq!(fake.calls(TOKEN, "sendMessage"), 3);
}

#[tokio::test]
async fn a_limited_poll_is_waited_out() {
    let fake = fake().await;
    let limited = Fault::Status {
        code: 429,
        retry_after: Some(1),
    };
    fake.fault(TOKEN, FaultRule::new(limited).on("getUpdates").times(1));
    let mut account = open(settings(&fake, TOKEN));
    let begun = Instant::now();
    fake.say(TOKEN, ALICE, "hello");
    assert_eq!(account.accept().await.text, "hello");
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn messages_that_cannot_arrive_are_settled() {
    let fake = fake().await;
    let account = open(settings(&fake, TOKEN));
    fake.block(TOKEN, ALICE);
    let Settlement::Failed(why) = account.send(direct(ALICE), "hello").await else {
        panic!("the user has blocked the bot");
    };
    assert!(why.contains("blocked"), "{why}");
    let Settlement::Failed(why) = account.send(direct(424_242), "hello").await else {
        panic!("there is no such chat");
    };
    assert!(why.contains("chat not found"), "{why}");
    assert_eq!(account.reach(|status| status.failed == 2).await.sent, 0);
}

#[tokio::test]
async fn a_wrong_token_asks_for_a_person_and_recovers() {
    let fake = fake().await;
    let account = open(settings(&fake, "333:wrong"));
    let failed = account
        .reach(|status| status.state.name() == "failed")
        .await;
    let detail = failed.detail.unwrap();
    assert!(
        detail.contains("401") && detail.contains("@BotFather"),
        "{detail}"
    );
    assert!(!detail.contains("wrong"), "{detail}");
    fake.add_bot("333:wrong", "LateBot");
    let online = account
        .reach(|status| status.state.name() == "online")
        .await;
    assert_eq!(online.detail.as_deref(), Some("@LateBot"));
}

#[tokio::test]
async fn two_programs_on_one_bot_are_told_apart() {
    let fake = fake().await;
    let conflict = Fault::Status {
        code: 409,
        retry_after: None,
    };
    fake.fault(TOKEN, FaultRule::new(conflict).on("getUpdates").times(1));
    let account = open(settings(&fake, TOKEN));
    let status = account
        .reach(|status| status.state.name() == "backing-off")
        .await;
    let detail = status.detail.unwrap();
    assert!(
        detail.contains("another program polls this bot"),
        "{detail}"
    );
    account
        .reach(|status| status.state.name() == "online")
        .await;
}

#[tokio::test]
async fn a_server_that_goes_away_is_found_again() {
    let fake = fake().await;
    let mut account = open(settings(&fake, TOKEN));
    account
        .reach(|status| status.state.name() == "online")
        .await;
    fake.go_down().await;
    account.reach(|status| status.reconnects >= 1).await;
    let receipt = account
        .handle
        .send(outbound(direct(ALICE), "later"))
        .await
        .unwrap();
    fake.come_back().await.unwrap();
    assert_eq!(
        timeout(WITHIN, receipt.settled()).await.unwrap(),
        Settlement::Delivered { doubtful: false }
    );
    fake.say(TOKEN, ALICE, "welcome back");
    assert_eq!(account.accept().await.text, "welcome back");
    assert_eq!(fake.sent(TOKEN).len(), 1);
}

#[tokio::test]
async fn nonsense_is_survived() {
    let fake = fake().await;
    fake.fault(TOKEN, FaultRule::new(Fault::Garbage).on("getMe").times(1));
    fake.fault(
        TOKEN,
        FaultRule::new(Fault::Garbage).on("getUpdates").times(1),
    );
    let mut account = open(settings(&fake, TOKEN));
    fake.say(TOKEN, ALICE, "hello");
    assert_eq!(account.accept().await.text, "hello");
    assert_eq!(
        account
            .reach(|status| status.received == 1)
            .await
            .reconnects,
        2
    );
}

#[tokio::test]
async fn long_texts_arrive_in_parts() {
    let fake = fake().await;
    let account = open(settings(&fake, TOKEN));
    let text = "😀 words and more words\n".repeat(400);
    assert_eq!(
        account.send(direct(ALICE), &text).await,
        Settlement::Delivered { doubtful: false }
    );
    let sent = fake.sent(TOKEN);
    assert_eq!(sent.len(), 3);
    assert!(
        sent.iter()
            .all(|sent| sent.text.encode_utf16().count() <= 4096)
    );
    let lines: usize = sent.iter().map(|sent| sent.text.lines().count()).sum();
    assert_eq!(lines, 400);
    assert_eq!(account.reach(|status| status.sent > 0).await.sent, 1);
}

#[tokio::test]
async fn a_split_text_goes_on_where_it_was_interrupted() {
    let fake = fake().await;
    let account = open(settings(&fake, TOKEN));
    account
        .reach(|status| status.state.name() == "online")
        .await;
    // The first two parts pass, and the third meets trouble once.
    let slow = Fault::Slow(Duration::ZERO);
    fake.fault(TOKEN, FaultRule::new(slow).on("sendMessage").times(2));
    let broken = Fault::Status {
        code: 500,
        retry_after: None,
    };
    fake.fault(TOKEN, FaultRule::new(broken).on("sendMessage").times(1));
    let text = "x".repeat(3 * 4000);
    assert_eq!(
        account.send(direct(ALICE), &text).await,
        Settlement::Delivered { doubtful: true }
    );
    let sent: Vec<_> = fake.sent(TOKEN).into_iter().map(|sent| sent.text).collect();
    assert_eq!(sent.concat(), text, "each part once, in order");
}
