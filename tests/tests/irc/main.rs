//! The IRC channel against a real server, with an independent client at the other end.

#![allow(
    clippy::disallowed_methods,
    reason = "a test starts its own children; the supervisor's spawner is for agents"
)]

use std::time::Duration;

use kennel::channel::irc::{Flood, Irc, Sasl, Settings, Tls};
use kennel::channel::{
    Accepted, AccountHandle, AccountOptions, AllowFrom, BackoffSettings, ChannelStatus, Inbound,
    Outbound, OutboundKind, Settlement, spawn_account,
};
use kennel_shared::envelope::{Envelope, Peer, PeerKind};
use kennel_tests::irc::{Person, Server, Terms};
use tokio::sync::mpsc;
use tokio::time::timeout;

const WITHIN: Duration = Duration::from_secs(30);

struct Account {
    handle: AccountHandle,
    inbound_rx: mpsc::Receiver<Inbound>,
}

/// Quick in everything, so that tests need not wait.
fn options() -> AccountOptions {
    AccountOptions {
        backoff: BackoffSettings {
            initial: Duration::from_millis(50),
            max: Duration::from_millis(300),
            stable_after: Duration::from_mins(1),
        },
        refused_retry: Duration::from_mins(5),
    }
}

fn settings(server: &Server, tls: bool) -> Settings {
    let ca = tls.then(|| server.ca());
    Settings {
        tls: if tls { Tls::On { ca } } else { Tls::Off },
        rooms: vec!["#lab".into()],
        allow_from: AllowFrom::listed(["alice"]),
        flood: Flood {
            burst: 5,
            every: Duration::from_millis(20),
        },
        ..Settings::new("127.0.0.1", server.port, "kennel")
    }
}

fn open(settings: Settings) -> Account {
    let (inbound_tx, inbound_rx) = mpsc::channel(8);
    let id = "irc".parse().unwrap();
    let (handle, _) = spawn_account(id, Irc::new(settings), inbound_tx, options());
    Account { handle, inbound_rx }
}

impl Account {
    async fn accept(&mut self) -> Envelope {
        let inbound = timeout(WITHIN, self.inbound_rx.recv()).await;
        let inbound = inbound
            .expect("a message comes in time")
            .expect("the account runs");
        inbound.verdict.send(Ok(Accepted::New)).unwrap();
        inbound.envelope
    }

    async fn reach(&self, state: &str) -> ChannelStatus {
        let mut status = self.handle.status();
        let reached = timeout(
            WITHIN,
            status.wait_for(|status| status.state.name() == state),
        )
        .await;
        let found = reached.map(|status| status.unwrap().clone());
        found.unwrap_or_else(|_| panic!("it is {:?}", self.handle.status().borrow()))
    }

    async fn answer(&self, peer: Peer, text: &str) {
        let outbound = Outbound {
            peer,
            reply_to: None,
            kind: OutboundKind::Text(text.into()),
        };
        let receipt = self.handle.send(outbound).await.unwrap();
        let settled = timeout(WITHIN, receipt.settled()).await;
        assert_eq!(
            settled.expect("it is settled in time"),
            Settlement::Delivered { doubtful: false }
        );
    }
}

fn peer(kind: PeerKind, id: &str) -> Peer {
    Peer {
        kind,
        id: id.into(),
    }
}

/// Person and account meet in `#lab`.
async fn meet(server: &Server, tls: bool, change: impl FnOnce(&mut Settings)) -> (Person, Account) {
    let ca = server.ca();
    let mut alice = Person::connect(server.port, tls.then_some(ca.as_path()), "Alice").await;
    alice.join("#lab").await;
    let mut settings = settings(server, tls);
    change(&mut settings);
    let account = open(settings);
    alice.see_join("kennel").await;
    (alice, account)
}

async fn talk(tls: bool) {
    let server = Server::start(Terms {
        tls,
        ..Terms::default()
    })
    .await;
    let (mut alice, mut account) = meet(&server, tls, |_| {}).await;
    assert_eq!(
        account.reach("online").await.detail.as_deref(),
        Some("kennel")
    );

    alice.say("kennel", "hello, grüße 😀");
    let envelope = account.accept().await;
    assert_eq!(envelope.text, "hello, grüße 😀");
    assert_eq!(envelope.peer, peer(PeerKind::Direct, "alice"));
    assert_eq!(envelope.sender.id, "alice");
    account
        .answer(envelope.peer, "and hello to you, grüße 😀")
        .await;
    let heard = alice.hear("privmsg", "and hello to you, grüße 😀").await;
    assert!(heard["who"].as_str().unwrap().starts_with("kennel!"));

    alice.say("#lab", "not for you");
    alice.act("kennel", "waves");
    alice.say("#lab", "Kennel: what now?");
    assert_eq!(account.accept().await.text, "* Alice waves");
    let envelope = account.accept().await;
    assert_eq!(envelope.text, "what now?");
    assert_eq!(envelope.peer, peer(PeerKind::Group, "#lab"));
    account.answer(envelope.peer, "now this").await;
    alice.hear("pubmsg", "now this").await;

    let status = account.handle.status().borrow().clone();
    assert_eq!((status.received, status.sent, status.rejected), (3, 2, 0));
}

#[tokio::test]
async fn people_talk_in_private_and_in_rooms() {
    talk(false).await;
}

#[tokio::test]
async fn people_talk_over_tls() {
    talk(true).await;
}

#[tokio::test]
async fn a_server_nobody_vouches_for_is_refused() {
    let server = Server::start(Terms {
        tls: true,
        ..Terms::default()
    })
    .await;
    let account = open(Settings {
        tls: Tls::On { ca: None },
        ..settings(&server, true)
    });
    let detail = account.reach("failed").await.detail.unwrap();
    assert!(
        detail.contains("certificate") && detail.contains("`tls_ca`"),
        "{detail}"
    );

    // Vouched for by the right authority, but under another name.
    let account = open(Settings {
        server: "127.0.0.2".into(),
        ..settings(&server, true)
    });
    let detail = account.reach("failed").await.detail.unwrap();
    assert!(detail.contains("not valid for name"), "{detail}");
}

#[tokio::test]
async fn a_server_that_dies_is_found_again() {
    let mut server = Server::start(Terms::default()).await;
    let (alice, mut account) = meet(&server, false, |_| {}).await;
    drop(alice);
    server.kill();
    account.reach("backing-off").await;
    server.restart().await;

    let mut alice = Person::connect(server.port, None, "Alice").await;
    assert!(account.reach("online").await.reconnects >= 1);
    alice.say("kennel", "still there?");
    let envelope = account.accept().await;
    assert_eq!(envelope.text, "still there?");
    account.answer(envelope.peer, "yes").await;
    alice.hear("privmsg", "yes").await;
}

#[tokio::test]
async fn hostile_texts_stay_texts() {
    let server = Server::start(Terms::default()).await;
    let (mut alice, mut account) = meet(&server, false, |_| {}).await;
    let hostile = "one\r\nQUIT :gone\rPRIVMSG #lab :smuggled\nJOIN #other\0\u{1}DCC SEND x\u{1}";
    account
        .answer(peer(PeerKind::Direct, "alice"), hostile)
        .await;
    let lines = [
        "one",
        "QUIT :gone",
        "PRIVMSG #lab :smuggled",
        "JOIN #otherDCC SEND x",
    ];
    for line in lines {
        alice.hear("privmsg", line).await;
    }

    // What strangers' clients may send: bytes that are no UTF-8, requests, formatting, nothing at all.
    alice.write(b"PRIVMSG kennel :na\xefve \xff\xfe\r\n");
    alice.ask_version("kennel");
    alice.write(b"PRIVMSG kennel :\x0304,01red\x0f\x02bold\r\n");
    alice.write(b"PRIVMSG kennel :\x01ACTION\r\nPRIVMSG kennel : \r\n");
    alice.say("kennel", "done");
    assert_eq!(account.accept().await.text, "na\u{fffd}ve \u{fffd}\u{fffd}");
    assert_eq!(account.accept().await.text, "redbold");
    assert_eq!(account.accept().await.text, "done");
    account.answer(peer(PeerKind::Direct, "alice"), "bye").await;
    alice.hear("privmsg", "bye").await;

    for event in alice.seen() {
        let kind = event["event"].as_str().unwrap();
        assert!(!["quit", "pubmsg", "ctcpreply"].contains(&kind), "{event}");
    }
    assert_eq!(account.handle.status().borrow().reconnects, 0);
}

#[tokio::test]
async fn long_answers_arrive_line_by_line_and_end() {
    let server = Server::start(Terms::default()).await;
    let (mut alice, account) = meet(&server, false, |_| {}).await;
    let words = "grüße 😀 ".repeat(400);
    account
        .answer(peer(PeerKind::Direct, "alice"), &words)
        .await;
    account.answer(peer(PeerKind::Direct, "alice"), "end").await;
    alice.hear("privmsg", "end").await;
    let heard = alice
        .seen()
        .iter()
        .filter(|event| event["event"] == "privmsg");
    let heard: Vec<&str> = heard.map(|event| event["text"].as_str().unwrap()).collect();
    let together = heard[..heard.len() - 1].join(" ");
    assert_eq!(
        together,
        words.trim_end(),
        "whole, in order, no half character"
    );

    account
        .answer(peer(PeerKind::Direct, "alice"), &"x\n".repeat(100))
        .await;
    alice.hear("privmsg", "[…]").await;
    let lines = alice.seen().iter().filter(|event| event["text"] == "x");
    assert_eq!(lines.count(), 39);
}

#[tokio::test]
async fn a_taken_nick_gets_a_tail() {
    let server = Server::start(Terms::default()).await;
    let mut squatter = Person::connect(server.port, None, "kennel").await;
    let mut account = open(Settings {
        allow_from: AllowFrom::listed(["*!*@127.0.0.1"]),
        ..settings(&server, false)
    });
    let status = account.reach("online").await;
    assert_eq!(status.detail.as_deref(), Some("kennel_ (kennel was taken)"));
    squatter.say("kennel_", "hello, twin");
    assert_eq!(account.accept().await.sender.id, "kennel");
}

#[tokio::test]
async fn only_the_allowed_are_answered() {
    let server = Server::start(Terms::default()).await;
    let (mut alice, mut account) = meet(&server, false, |settings| {
        settings.allow_from = AllowFrom::listed(["alice", "*!*@elsewhere.example"]);
    })
    .await;
    let mut mallory = Person::connect(server.port, None, "mallory").await;
    mallory.say("kennel", "let me in");
    let mut status = account.handle.status();
    timeout(WITHIN, status.wait_for(|status| status.rejected == 1))
        .await
        .unwrap()
        .unwrap();
    alice.say("kennel", "hello");
    assert_eq!(account.accept().await.text, "hello");
    assert!(account.inbound_rx.try_recv().is_err(), "and nothing else");
}

#[tokio::test]
async fn passwords_are_checked() {
    let terms = Terms {
        password: Some("sesame"),
        ..Terms::default()
    };
    let server = Server::start(terms).await;
    let with = |password: &str| Settings {
        password: Some(password.to_owned().into()),
        ..settings(&server, false)
    };
    let account = open(with("sesame"));
    account.reach("online").await;
    let account = open(with("guess"));
    let mut status = account.handle.status();
    let troubled =
        status.wait_for(|status| ["failed", "backing-off"].contains(&status.state.name()));
    let troubled = timeout(WITHIN, troubled).await.unwrap().unwrap().clone();
    let detail = troubled.detail.unwrap();
    assert!(detail.to_lowercase().contains("password"), "{detail}");
    assert!(!detail.contains("guess"), "{detail}");
}

#[tokio::test]
async fn a_login_that_the_server_does_not_know_is_refused() {
    let server = Server::start(Terms::default()).await;
    let account = open(Settings {
        sasl: Some(Sasl {
            account: "kennel".into(),
            password: "secret".to_owned().into(),
        }),
        ..settings(&server, false)
    });
    let detail = account.reach("failed").await.detail.unwrap();
    assert!(detail.contains("no SASL login"), "{detail}");
}
