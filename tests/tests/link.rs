//! The link with real processes at both ends: what a wrong peer does costs its own link, one line
//! of the log, and nobody else anything.

use std::time::Duration;

use bytes::BytesMut;
use kennel_shared::{
    codec,
    ids::Generation,
    link::{HandshakeError, say_hello},
    protocol::{Hello, LinkId, PROTOCOL, Position, Refusal},
    secret::Token,
};
use kennel_tests::{
    harness::{AgentView, Kennel, Load, begin_peak_memory, eventually, peak_memory_bytes},
    misbehave::NOW,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::Instant,
};

const MISBEHAVING: &str = env!("CARGO_BIN_EXE_misbehaving-agent");

/// How often the neighbour is asked.
const STEADY: Duration = Duration::from_millis(5);

/// A neighbour under load, to be found untouched.
struct Neighbour {
    before: AgentView,
    load: Load,
}

impl Neighbour {
    async fn watch(kennel: &Kennel) -> Self {
        Self {
            before: kennel.agent("steady").await,
            load: Load::start(kennel.client(), "steady", STEADY),
        }
    }

    async fn assert_untouched(self, kennel: &Kennel) {
        let enough = self.before.turns + 5;
        kennel
            .until("steady", "has answered", |agent| agent.turns >= enough)
            .await;
        let figures = self.load.end().await;
        assert_eq!(figures.failures, Vec::<String>::new());
        let after = kennel.agent("steady").await;
        assert_eq!(
            (after.pid, after.generation, after.link.as_str()),
            (self.before.pid, self.before.generation, "connected")
        );
        let lines = kennel.log_lines(&[" WARN ", "agent.id=steady"]);
        assert_eq!(lines, Vec::<String>::new());
    }
}

/// Has `bad-<fault>` do wrong. It must lose its link with one line of the log that gives `reason`,
/// be brought back, and answer again.
async fn loses_its_own_link(fault: &str, reason: &str) {
    let id = format!("bad-{fault}");
    let kennel = Kennel::builder()
        .agents(&["steady", &id])
        .misbehaving(MISBEHAVING)
        .start()
        .await;
    let before = kennel.until_state(&id, "ready").await;
    let descriptors = kennel.descriptors();
    let neighbour = Neighbour::watch(&kennel).await;

    assert_eq!(kennel.send(&id, NOW).await.reply(), NOW);
    kennel
        .logged(&["an agent lost its link", &id, reason])
        .await;
    kennel.until_reborn(&id, before.generation).await;
    assert_eq!(kennel.send(&id, "again").await.reply(), "again");

    // The process stays without its link, so the watchdog has its own line to say.
    let mut lines = kennel.log_lines(&[" WARN ", &format!("agent.id={id} ")]);
    lines.retain(|line| !line.contains("an agent hangs"));
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!(kennel.log_lines(&["turned away"]), Vec::<String>::new());
    neighbour.assert_untouched(&kennel).await;
    kennel.assert_no_leak(descriptors).await;
    kennel.shut_down().await;
}

#[tokio::test]
async fn four_gigabytes_announced() {
    loses_its_own_link("length", "announces 4294967295 bytes").await;
}

#[tokio::test]
async fn garbage() {
    loses_its_own_link("garbage", "garbage").await;
}

#[tokio::test]
async fn half_a_frame_and_the_end() {
    loses_its_own_link("half-close", "ended within a frame, with 14 bytes of it").await;
}

#[tokio::test]
async fn a_number_left_out() {
    loses_its_own_link("gap", "message 1000 came where").await;
}

#[tokio::test]
async fn an_acknowledgement_of_what_was_never_sent() {
    loses_its_own_link("ack", "it acknowledged message 1000").await;
}

#[tokio::test]
async fn a_flood_of_heartbeats() {
    loses_its_own_link("flood-beats", "it floods heartbeats").await;
}

/// Nothing tells half a frame from a slow one but that no heartbeat can follow it.
#[tokio::test]
async fn half_a_frame_and_silence() {
    let kennel = Kennel::builder()
        .agents(&["steady", "bad-half-stall"])
        .misbehaving(MISBEHAVING)
        .start()
        .await;
    let before = kennel.until_state("bad-half-stall", "ready").await;
    let neighbour = Neighbour::watch(&kennel).await;

    assert_eq!(kennel.send("bad-half-stall", NOW).await.reply(), NOW);
    kennel
        .until_reborn("bad-half-stall", before.generation)
        .await;

    let lines = kennel.log_lines(&[" WARN ", "agent.id=bad-half-stall"]);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("an agent hangs"), "{lines:#?}");
    neighbour.assert_untouched(&kennel).await;
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_peer_that_stops_reading() {
    let kennel = Kennel::builder()
        .agents(&["steady"])
        .agent("bad-noread", &[("max_concurrent", "4")])
        .misbehaving(MISBEHAVING)
        .start()
        .await;
    let before = kennel.until_state("bad-noread", "ready").await;
    let neighbour = Neighbour::watch(&kennel).await;

    assert_eq!(kennel.send("bad-noread", NOW).await.reply(), NOW);
    // Lies unread in the socket until the next life answers it.
    assert_eq!(kennel.send("bad-noread", "unread").await.reply(), "unread");
    let after = kennel.agent("bad-noread").await;
    assert_eq!(after.generation, before.generation + 1);

    let lines = kennel.log_lines(&[" WARN ", "agent.id=bad-noread", "lost its link"]);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("it stopped reading"), "{lines:#?}");
    neighbour.assert_untouched(&kennel).await;
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_resumption_from_where_it_never_was() {
    let kennel = Kennel::builder()
        .agents(&["steady", "bad-resume"])
        .misbehaving(MISBEHAVING)
        .start()
        .await;
    let before = kennel.until_state("bad-resume", "ready").await;
    let neighbour = Neighbour::watch(&kennel).await;

    assert_eq!(kennel.send("bad-resume", NOW).await.reply(), NOW);
    kennel.until_reborn("bad-resume", before.generation).await;

    let lines = kennel.log_lines(&["turned away"]);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(
        lines[0].contains("cannot be resumed from there"),
        "{lines:#?}"
    );
    neighbour.assert_untouched(&kennel).await;
    kennel.shut_down().await;
}

/// Every message is numbered, so whatever was under way when the connection broke arrives once.
#[tokio::test]
async fn lost_connections_lose_and_double_nothing() {
    let kennel = Kennel::builder()
        .agents(&["steady"])
        .agent("bad-reconnect", &[("max_concurrent", "4")])
        .misbehaving(MISBEHAVING)
        .start()
        .await;
    let before = kennel.until_state("bad-reconnect", "ready").await;
    let descriptors = kennel.descriptors();
    let neighbour = Neighbour::watch(&kennel).await;

    let pieces = (0..19).map(|n| n.to_string()).chain(["seen 1".to_owned()]);
    let expected = pieces.collect::<Vec<_>>().join(" ");
    let client = kennel.client();
    // Handed out together, so the second to fourth are delivered while connections come and go.
    let turns = ["a", "b", "c", "d"].map(|session| {
        let client = client.clone();
        async move {
            let mut events = client.stream("bad-reconnect", "go", Some(session)).await;
            let (mut text, mut starts) = (String::new(), 0);
            loop {
                let (name, data) = events.next().await.expect("an end of the turn");
                match name.as_str() {
                    "started" => starts += 1,
                    "delta" => text.push_str(data["text"].as_str().expect("text")),
                    "finished" => return (text, starts, data["reply"].clone()),
                    "accepted" => {}
                    _ => panic!("{name}: {data}"),
                }
            }
        }
    });
    for (text, starts, reply) in futures::future::join_all(turns).await {
        assert_eq!((text.as_str(), starts), (expected.as_str(), 1));
        assert_eq!(reply, expected.as_str());
    }

    let after = kennel.agent("bad-reconnect").await;
    assert_eq!(
        (after.pid, after.generation),
        (before.pid, before.generation)
    );
    assert_eq!(kennel.log_lines(&["turned away"]), Vec::<String>::new());
    neighbour.assert_untouched(&kennel).await;
    kennel.assert_no_leak(descriptors).await;
    kennel.shut_down().await;
}

/// Agents whose first words are wrong: each is turned away with one line in each of its lives.
#[tokio::test]
async fn wrong_hellos() {
    let version = format!("wrong protocol version (this supervisor speaks {PROTOCOL})");
    let wrong = [
        ("bad-version", version.as_str()),
        ("bad-token", "wrong token"),
        ("bad-generation", "stale generation"),
        ("bad-hello-garbage", "the body is not a message"),
        ("bad-hello-length", "announces 4294967295 bytes"),
        ("bad-hello-half", "failed during the handshake"),
    ];
    let ids = wrong.map(|(id, _)| id);
    let kennel = Kennel::builder()
        .agents(&ids)
        .agents(&["steady"])
        .defaults(&[("start_timeout", "'1s'")])
        .misbehaving(MISBEHAVING)
        .start()
        .await;
    let neighbour = Neighbour::watch(&kennel).await;
    for (id, reason) in wrong {
        let line = kennel.logged(&[" WARN ", "turned away", reason]).await;
        let pid = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("peer.pid="))
            .unwrap_or_else(|| panic!("whose connection? {line}"));
        let agent = kennel
            .until(id, "is given up", |agent| agent.restarts >= 1)
            .await;
        assert!(agent.generation >= 1, "{agent:?}");
        let lines = kennel.log_lines(&[&format!("peer.pid={pid} ")]);
        assert_eq!(lines.len(), 1, "{lines:#?}");
        let told = format!("started generation 1, pid {pid}");
        let log = kennel.agent_log(id).await;
        assert!(
            log.iter().any(|line| line.contains(&told)),
            "{told}: {log:#?}"
        );
    }
    neighbour.assert_untouched(&kennel).await;
    kennel.shut_down().await;
}

fn hello_of(agent: &AgentView) -> Hello {
    Hello {
        protocol: PROTOCOL,
        build: "stranger".into(),
        agent: agent.id.parse().expect("an id"),
        generation: Generation(agent.generation),
        token: Token::random(),
        link: LinkId::NONE,
        draining: false,
        resume: Position::default(),
        cage: Vec::new(),
    }
}

/// Reads to the end; the supervisor closes.
async fn until_closed(stream: &mut UnixStream) -> Duration {
    let began = Instant::now();
    let mut sink = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(15), stream.read_to_end(&mut sink));
    let _ = read.await.expect("the supervisor closes it");
    began.elapsed()
}

/// Whoever else runs as this user: this test itself. It is no child of the supervisor.
#[tokio::test]
async fn a_stranger_on_the_socket() {
    let kennel = Kennel::builder().agents(&["steady"]).start().await;
    let descriptors = kennel.descriptors();
    let neighbour = Neighbour::watch(&kennel).await;
    let own = format!("peer.pid={} ", std::process::id());
    let mut count = 0;
    let mut expect_line = async |reason: &str| {
        count += 1;
        kennel.logged(&["turned away", &own, reason]).await;
        let lines = kennel.log_lines(&[&own]);
        assert_eq!(lines.len(), count, "{lines:#?}");
    };
    let connect = async || {
        let stream = UnixStream::connect(kennel.link_socket()).await;
        stream.expect("the socket is there")
    };

    let steady = kennel.agent("steady").await;
    let refused = say_hello(&mut connect().await, &hello_of(&steady)).await;
    assert!(
        matches!(refused, Err(HandshakeError::Refused(Refusal::Peer))),
        "{refused:?}"
    );
    expect_line("not the child that was started").await;

    let mut unknown = hello_of(&steady);
    unknown.agent = "nobody".parse().expect("an id");
    let refused = say_hello(&mut connect().await, &unknown).await;
    assert!(
        matches!(refused, Err(HandshakeError::Refused(Refusal::UnknownAgent))),
        "{refused:?}"
    );
    expect_line("no such agent is running").await;

    // A later version may have other fields, so only the number is read.
    let mut stream = connect().await;
    let mut newer = BytesMut::new();
    codec::encode_frame(&(PROTOCOL + 1, "something new"), &mut newer).expect("a small frame");
    stream.write_all(&newer).await.expect("a few bytes");
    until_closed(&mut stream).await;
    expect_line("wrong protocol version").await;

    for (bytes, reason) in [
        (&[0xff_u8; 4][..], "announces 4294967295 bytes"),
        (
            &[0, 0x11, 0, 0, 1, 1, 1, 1][..],
            "more than the 4096 allowed",
        ),
        (&[5, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff][..], "garbage"),
    ] {
        let mut stream = connect().await;
        stream.write_all(bytes).await.expect("a few bytes");
        until_closed(&mut stream).await;
        expect_line(reason).await;
    }

    let mut stream = connect().await;
    stream
        .write_all(&[100, 0, 0, 0, 1])
        .await
        .expect("a few bytes");
    drop(stream);
    expect_line("failed during the handshake").await;

    let waited = until_closed(&mut connect().await).await;
    assert!(waited > Duration::from_secs(3), "{waited:?}");
    expect_line("longer than 5s over its handshake").await;

    neighbour.assert_untouched(&kennel).await;
    kennel.assert_no_leak(descriptors).await;
    kennel.shut_down().await;
}

/// One process that takes every place must not keep an agent from coming back.
#[tokio::test]
async fn two_hundred_silent_connections_at_once() {
    let kennel = Kennel::builder().agents(&["steady", "one"]).start().await;
    let descriptors = kennel.descriptors();
    let neighbour = Neighbour::watch(&kennel).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        let stream = UnixStream::connect(kennel.link_socket()).await;
        silent.push(stream.expect("the socket takes connections"));
    }

    let began = Instant::now();
    let restarted = kennel.order("one", "restart").await;
    assert_eq!(restarted.body["outcome"], "done", "{}", restarted.body);
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );

    let lines = kennel.log_lines(&[
        "opens too many connections",
        &format!("peer.pid={} ", std::process::id()),
    ]);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    for stream in &mut silent {
        until_closed(stream).await;
    }
    neighbour.assert_untouched(&kennel).await;
    drop(silent);
    kennel.assert_no_leak(descriptors).await;
    kennel.shut_down().await;
}

/// Text for turns that do not exist, as fast as a process can send it.
#[tokio::test]
async fn alone_a_flood_on_the_link_is_its_authors() {
    let kennel = Kennel::builder()
        .agents(&["steady", "bad-flood-link"])
        .misbehaving(MISBEHAVING)
        .start()
        .await;
    let before = kennel.until_state("bad-flood-link", "ready").await;
    let quiet = Load::start(kennel.client(), "steady", STEADY);
    eventually("two hundred quiet answers", || async {
        (kennel.agent("steady").await.turns >= 200).then_some(())
    })
    .await;
    let quiet = quiet.end().await;
    let memory = begin_peak_memory(kennel.pid());

    assert_eq!(kennel.send("bad-flood-link", NOW).await.reply(), NOW);
    let neighbour = Neighbour::watch(&kennel).await;
    eventually("two hundred answers beside the flood", || async {
        (kennel.agent("steady").await.turns >= 400).then_some(())
    })
    .await;
    let noisy = neighbour.load.end().await;

    let grown = peak_memory_bytes(kennel.pid()).saturating_sub(memory);
    println!(
        "quiet p50 {:?} p99 {:?}; beside a flood p50 {:?} p99 {:?}; memory grew by {} KiB",
        quiet.percentile(50),
        quiet.percentile(99),
        noisy.percentile(50),
        noisy.percentile(99),
        grown / 1024,
    );
    assert_eq!(noisy.failures, Vec::<String>::new());
    assert!(grown < 16 * 1024 * 1024, "{grown}");
    noisy.assert_beside(&quiet);
    assert_eq!(kennel.agent("bad-flood-link").await.pid, before.pid);
    kennel.shut_down().await;
}
