//! A whole connection on a paused clock; the test plays the server at the other end of a pipe.

use kennel_shared::envelope::{Peer, PeerKind};
use tokio::io::{
    AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, Lines, ReadHalf,
};

use super::*;
use crate::channel::{
    Accepted, AccountHandle, AccountOptions, ChannelStatus, Inbound, Outbound, Settlement,
    spawn_account,
};

/// Serves one pipe, then nothing.
struct Piped {
    settings: Settings,
    pipe: Option<DuplexStream>,
}

impl Platform for Piped {
    fn kind(&self) -> &'static str {
        "irc"
    }

    async fn serve(&mut self, io: &mut AccountIo) -> Result<Infallible, ChannelError> {
        match self.pipe.take() {
            Some(pipe) => serve_stream(&self.settings, Box::new(pipe), io).await,
            None => std::future::pending().await,
        }
    }
}

struct Server {
    lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
    write: WriteHalf<DuplexStream>,
}

impl Server {
    async fn expect(&mut self, expected: &str) {
        assert_eq!(
            self.lines.next_line().await.unwrap().as_deref(),
            Some(expected)
        );
    }

    async fn say(&mut self, line: &str) {
        self.write.write_all(line.as_bytes()).await.unwrap();
        self.write.write_all(b"\r\n").await.unwrap();
    }
}

struct Rig {
    server: Server,
    handle: AccountHandle,
    inbound_rx: mpsc::Receiver<Inbound>,
}

/// An account that is online in `#lab`, where Alice may write.
async fn rig(change: impl FnOnce(&mut Settings)) -> Rig {
    let (ours, theirs) = tokio::io::duplex(4096);
    let (read, write) = tokio::io::split(theirs);
    let mut settings = Settings::new("irc.test", 6667, "kennel");
    settings.rooms = vec!["#lab".into()];
    settings.allow_from = AllowFrom::listed(["alice"]);
    change(&mut settings);
    let (inbound_tx, inbound_rx) = mpsc::channel(1);
    let platform = Piped {
        settings,
        pipe: Some(ours),
    };
    let id = "irc".parse().unwrap();
    let (handle, _) = spawn_account(id, platform, inbound_tx, AccountOptions::default());
    let mut server = Server {
        lines: BufReader::new(read).lines(),
        write,
    };
    server.expect("NICK kennel").await;
    server.expect("USER kennel 0 * :kennel").await;
    server.say(":srv 001 kennel :Welcome").await;
    server.expect("JOIN #lab").await;
    Rig {
        server,
        handle,
        inbound_rx,
    }
}

fn to(peer: &str, text: &str) -> Outbound {
    Outbound {
        peer: Peer {
            kind: PeerKind::Direct,
            id: peer.into(),
        },
        reply_to: None,
        kind: OutboundKind::Text(text.into()),
    }
}

async fn reach(
    handle: &AccountHandle,
    wanted: impl FnMut(&ChannelStatus) -> bool,
) -> ChannelStatus {
    handle.status().wait_for(wanted).await.unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn a_question_and_its_answer() {
    let mut rig = rig(|_| {}).await;
    rig.server.say(":Alice!a@h PRIVMSG #Lab :kennel: one").await;
    rig.server.say(":Alice!a@h PRIVMSG kennel :two").await;
    let mut ids = Vec::new();
    for (peer, text) in [("#lab", "one"), ("alice", "two")] {
        let inbound = rig.inbound_rx.recv().await.unwrap();
        inbound.verdict.send(Ok(Accepted::New)).unwrap();
        let envelope = inbound.envelope;
        assert_eq!(
            (envelope.peer.id.as_str(), envelope.text.as_str()),
            (peer, text)
        );
        assert_eq!(envelope.sender.id, "alice");
        assert_eq!(envelope.sender.name.as_deref(), Some("Alice"));
        ids.push(envelope.message_id);
    }
    assert_ne!(ids[0], ids[1]);
    let receipt = rig.handle.send(to("#lab", "fine\r\nQUIT")).await.unwrap();
    rig.server.expect("PRIVMSG #lab :fine").await;
    rig.server.expect("PRIVMSG #lab :QUIT").await;
    assert_eq!(
        receipt.settled().await,
        Settlement::Delivered { doubtful: false }
    );
}

#[tokio::test(start_paused = true)]
async fn replies_keep_to_the_pace_and_take_turns_but_a_ping_does_not_wait() {
    let mut rig = rig(|_| {}).await;
    let long = (1..=9)
        .map(|n| format!("a{n}"))
        .collect::<Vec<_>>()
        .join("\n");
    let start = Instant::now();
    rig.handle.send(to("a", &long)).await.unwrap();
    for line in 1..=5 {
        rig.server.expect(&format!("PRIVMSG a :a{line}")).await;
    }
    assert_eq!(start.elapsed().as_millis(), 0, "a burst");
    rig.handle.send(to("b", "b1")).await.unwrap();
    rig.server.say("PING :now").await;
    rig.server.expect("PONG :now").await;
    assert!(start.elapsed().as_millis() < 500);
    for line in ["a :a6", "b :b1", "a :a7", "a :a8", "a :a9"] {
        rig.server.expect(&format!("PRIVMSG {line}")).await;
    }
    assert_eq!(start.elapsed().as_millis(), 2500, "five at half a second");
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_asked_and_then_left() {
    let mut rig = rig(|_| {}).await;
    let start = Instant::now();
    rig.server.expect("PING :kennel").await;
    assert_eq!(start.elapsed().as_secs(), 60);
    rig.server.say(":srv PONG srv :kennel").await;
    rig.server.expect("PING :kennel").await;
    assert_eq!(start.elapsed().as_secs(), 120);
    let status = reach(&rig.handle, |status| status.state.name() == "backing-off").await;
    assert_eq!(start.elapsed().as_secs(), 150);
    assert_eq!(
        status.detail.as_deref(),
        Some("no sign of life from the server for 90s")
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_let_us_in_is_left() {
    let (ours, _theirs) = tokio::io::duplex(4096);
    let platform = Piped {
        settings: Settings::new("irc.test", 6667, "kennel"),
        pipe: Some(ours),
    };
    let (inbound_tx, _inbound_rx) = mpsc::channel(1);
    let id = "irc".parse().unwrap();
    let (handle, _) = spawn_account(id, platform, inbound_tx, AccountOptions::default());
    let status = reach(&handle, |status| status.state.name() == "backing-off").await;
    assert_eq!(
        status.detail.as_deref(),
        Some("the server did not let us in in time")
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_nothing_is_left() {
    let mut rig = rig(|_| {}).await;
    // More than the pipe holds; the server reads none of it.
    for peer in 0..8 {
        rig.handle
            .send(to(&format!("p{peer}"), &"x".repeat(16_000)))
            .await
            .unwrap();
    }
    rig.server.say("PING :1").await;
    let status = reach(&rig.handle, |status| status.state.name() == "backing-off").await;
    assert_eq!(
        status.detail.as_deref(),
        Some("no sign of life from the server for 90s")
    );
}

#[tokio::test(start_paused = true)]
async fn what_nobody_takes_in_time_is_dropped_and_counted() {
    let mut rig = rig(|_| {}).await;
    // One is at the verdict and one in the inbound queue's place; the rest of 80 overflows.
    for n in 0..80 {
        rig.server
            .say(&format!(":alice!a@h PRIVMSG kennel :{n}"))
            .await;
    }
    let status = reach(&rig.handle, |status| status.dropped >= 15).await;
    assert_eq!(status.state.name(), "online");
    rig.server.say("PING :still").await;
    rig.server.expect("PONG :still").await;
    for n in 0..HEARD_QUEUE {
        let inbound = rig.inbound_rx.recv().await.unwrap();
        assert_eq!(inbound.envelope.text, n.to_string());
        inbound.verdict.send(Ok(Accepted::New)).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn strangers_are_turned_away() {
    let mut rig = rig(|_| {}).await;
    rig.server
        .say(":mallory!m@h PRIVMSG kennel :let me in")
        .await;
    rig.server.say(":mallory!m@h PRIVMSG #lab :chatter").await;
    rig.server.say(":alice!a@h PRIVMSG kennel :hello").await;
    let inbound = rig.inbound_rx.recv().await.unwrap();
    assert_eq!(inbound.envelope.text, "hello");
    assert_eq!(rig.handle.status().borrow().rejected, 1);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_no_name_fails_for_good() {
    let rig = rig(|_| {}).await;
    for peer in ["a b", "a,b", "a\r\nQUIT"] {
        let receipt = rig.handle.send(to(peer, "x")).await.unwrap();
        assert!(
            matches!(receipt.settled().await, Settlement::Failed(_)),
            "{peer:?}"
        );
    }
}
