//! The loop under a scripted supervisor at the other end of a duplex pipe; the store is real.

use std::{io, time::Duration};

use kennel_shared::{
    envelope::Sender,
    ids::{AgentId, DeliveryId, Generation, TurnId},
    link::{Incoming, Link, Session, accept_hello, reply_hello},
    protocol::{
        AgentSpec, ContextSpec, DELTA_MAX_BYTES, Delivery, EchoSpec, Endpoint, FailureKind,
        Heartbeat, Hello, HelloReply, LinkId, ModelSpec, REPLY_MAX_BYTES, Refusal, Spent, ToAgent,
        ToSupervisor, ToolsSpec, TurnOutcome, Welcome,
    },
    secret::Token,
};
use tempfile::TempDir;
use tokio::{
    io::DuplexStream,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use super::{Agent, Connector, Exit, StopRequests, Wire};
use crate::{store::Store, wire::Identity};

mod adopted;
mod steer;
mod tools;

const PATIENCE: Duration = Duration::from_secs(10);

/// Connects to a supervisor that takes what comes out of a queue; nobody, when it is closed.
#[derive(Clone)]
struct Pipe(mpsc::Sender<DuplexStream>);

impl Connector for Pipe {
    type Stream = DuplexStream;

    async fn connect(&mut self) -> io::Result<DuplexStream> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let sent = self.0.send(far).await;
        sent.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(near)
    }
}

struct StopWhen(oneshot::Receiver<()>);

impl StopRequests for StopWhen {
    async fn requested(&mut self) {
        if (&mut self.0).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// An agent, and the supervisor's side of it.
struct Rig {
    connections: mpsc::Receiver<DuplexStream>,
    spec: AgentSpec,
    token: Token,
    stop: Option<oneshot::Sender<()>>,
    agent: JoinHandle<Exit>,
}

type AgentLink = Link<DuplexStream, ToAgent, ToSupervisor>;

impl Rig {
    /// Starts an agent in `dir` and does the first handshake.
    async fn start(dir: &TempDir, spec: AgentSpec) -> (Self, AgentLink) {
        let (connections_tx, connections) = mpsc::channel(1);
        let (stop, stop_rx) = oneshot::channel();
        let token = Token::random();
        let path = dir.path().join("store.db");
        let home = dir.path().to_owned();
        let agent = tokio::spawn(async move {
            let id: AgentId = "hexa".parse().unwrap();
            let (store, thread) = Store::open(&path).unwrap();
            let identity = Identity {
                agent: id.clone(),
                generation: Generation(7),
                cage: Vec::new(),
            };
            let grace = Duration::from_millis(500);
            let opened = Wire::open(Pipe(connections_tx), identity, token, grace).await;
            let (wire, spec) = opened.unwrap();
            let exit = Agent::new(id, wire, spec, store, &home)
                .run(StopWhen(stop_rx))
                .await;
            thread.join().unwrap();
            exit
        });
        let mut rig = Self {
            connections,
            spec,
            token,
            stop: Some(stop),
            agent,
        };
        let mut link = rig.accept(Session::default()).await;
        assert_eq!(next(&mut link).await, ToSupervisor::Ready);
        (rig, link)
    }

    async fn hello(&mut self) -> (DuplexStream, Hello) {
        let connection = timeout(PATIENCE, self.connections.recv()).await.unwrap();
        let mut stream = connection.unwrap();
        let hello = accept_hello(&mut stream).await.unwrap();
        assert_eq!(hello.token, self.token, "the token of the last welcome");
        assert_eq!(hello.generation, Generation(7));
        (stream, hello)
    }

    /// Does a handshake and goes on with `session`.
    async fn accept(&mut self, session: Session<ToAgent>) -> AgentLink {
        let (mut stream, hello) = self.hello().await;
        self.token = Token::random();
        let link = match hello.link {
            LinkId::NONE => LinkId::random(),
            link => link,
        };
        let welcome = Welcome {
            next_token: self.token,
            link,
            resume: session.position(),
            spec: self.spec.clone(),
        };
        let reply = HelloReply::Welcome(Box::new(welcome));
        reply_hello(&mut stream, &reply).await.unwrap();
        Link::resume(stream, session, hello.resume).unwrap()
    }

    /// Answers as a supervisor does that knows nothing of the link.
    async fn accept_anew(&mut self) -> (AgentLink, Hello) {
        let (mut stream, hello) = self.hello().await;
        self.token = Token::random();
        let session = Session::default();
        let welcome = Welcome {
            next_token: self.token,
            link: LinkId::random(),
            resume: session.position(),
            spec: self.spec.clone(),
        };
        let reply = HelloReply::Welcome(Box::new(welcome));
        reply_hello(&mut stream, &reply).await.unwrap();
        let peer = Session::<ToSupervisor>::default().position();
        (Link::resume(stream, session, peer).unwrap(), hello)
    }

    async fn refuse(&mut self, refusal: Refusal) {
        let (mut stream, _) = self.hello().await;
        let reply = HelloReply::Refuse(refusal);
        reply_hello(&mut stream, &reply).await.unwrap();
    }

    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits for the agent to leave. Until then nobody answers at the socket.
    async fn exit(self) -> Exit {
        drop(self.connections);
        timeout(PATIENCE, self.agent).await.unwrap().unwrap()
    }
}

fn spec() -> AgentSpec {
    AgentSpec {
        cheaper: None,
        model: ModelSpec {
            provider: "echo".into(),
            model: "echo".into(),
            temperature_milli: None,
            max_tokens: None,
            endpoint: Endpoint::Echo(EchoSpec {
                delay_ms: 0,
                chunks: 3,
                chunk_delay_ms: 0,
            }),
        },
        system_prompt: Some("Be kind.".into()),
        context: ContextSpec {
            max_messages: 20,
            max_bytes: 100_000,
        },
        max_concurrent: 2,
        turn_timeout_ms: 30_000,
        workspace: "/".into(),
        heartbeat_interval_ms: 20,
        tools: ToolsSpec::none(),
    }
}

fn delivery_in(session: &str, text: &str) -> Delivery {
    Delivery {
        delivery: DeliveryId::new(),
        turn: TurnId::new(),
        session: format!("agent:hexa:{session}").parse().unwrap(),
        sender: Sender {
            id: "tester".into(),
            name: None,
        },
        text: text.into(),
    }
}

fn delivery(text: &str) -> Delivery {
    delivery_in("test", text)
}

async fn incoming(link: &mut AgentLink) -> Incoming<ToSupervisor> {
    let incoming = timeout(PATIENCE, link.next()).await;
    incoming.expect("the agent says something").unwrap()
}

/// The next message, past heartbeats.
async fn next(link: &mut AgentLink) -> ToSupervisor {
    loop {
        if let Incoming::Message(message) = incoming(link).await {
            return message;
        }
    }
}

async fn beat(link: &mut AgentLink) -> Heartbeat {
    loop {
        if let Incoming::Heartbeat(heartbeat) = incoming(link).await {
            return heartbeat;
        }
    }
}

/// What a turn says until it has finished: the deltas as one text, the outcome, the cost.
async fn finished(link: &mut AgentLink, of: &Delivery) -> (String, TurnOutcome, Spent) {
    let mut text = String::new();
    loop {
        match next(link).await {
            ToSupervisor::Delta { turn, text: piece } if turn == of.turn => {
                assert!(piece.len() <= DELTA_MAX_BYTES);
                text.push_str(&piece);
            }
            ToSupervisor::Finished {
                delivery,
                outcome,
                spent,
                ..
            } if delivery == of.delivery => return (text, outcome, spent),
            ToSupervisor::Started(_) | ToSupervisor::Step { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

fn deliver(link: &mut AgentLink, delivery: &Delivery) {
    link.send(ToAgent::Deliver(delivery.clone())).unwrap();
}

async fn answer(link: &mut AgentLink, delivery: &Delivery) -> TurnOutcome {
    deliver(link, delivery);
    finished(link, delivery).await.1
}

fn replied(text: &str) -> TurnOutcome {
    TurnOutcome::Replied(text.into())
}

fn kind(outcome: &TurnOutcome) -> Option<FailureKind> {
    match outcome {
        TurnOutcome::Failed(failure) => Some(failure.kind),
        _ => None,
    }
}

fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn a_turn_starts_streams_and_finishes() {
    let dir = dir();
    let (_rig, mut link) = Rig::start(&dir, spec()).await;
    let question = delivery("abcdef");
    deliver(&mut link, &question);
    assert_eq!(next(&mut link).await, ToSupervisor::Started(question.turn));
    let (streamed, outcome, spent) = finished(&mut link, &question).await;
    assert_eq!((streamed.as_str(), outcome), ("abcdef", replied("abcdef")));
    assert!(spent.total_us >= spent.context_us + spent.provider_us + spent.commit_us);
    assert!(spent.commit_us > 0 && spent.first_token_us > 0);
}

#[tokio::test]
async fn a_session_remembers_and_knows_its_prompt() {
    let dir = dir();
    let (_rig, mut link) = Rig::start(&dir, spec()).await;
    answer(&mut link, &delivery("one")).await;
    let failed = answer(&mut link, &delivery("!fail 401")).await;
    assert_eq!(kind(&failed), Some(FailureKind::Provider));
    // The failed turn left nothing: question, answer, and this one.
    let context = answer(&mut link, &delivery("!context")).await;
    assert_eq!(context, replied("messages=3 bytes=14"));
    let other = answer(&mut link, &delivery_in("other", "!context")).await;
    assert_eq!(other, replied("messages=1 bytes=8"));
    let system = answer(&mut link, &delivery("!system")).await;
    assert_eq!(system, replied("Be kind."));
}

#[tokio::test]
async fn a_redelivery_gets_the_stored_answer_also_from_the_next_life() {
    let dir = dir();
    let (mut rig, mut link) = Rig::start(&dir, spec()).await;
    let question = delivery("once");
    assert_eq!(answer(&mut link, &question).await, replied("once"));
    let again = Delivery {
        turn: TurnId::new(),
        text: "were it asked again, this would be the answer".into(),
        ..question
    };
    assert_eq!(answer(&mut link, &again).await, replied("once"));
    rig.stop();
    assert_eq!(rig.exit().await, Exit::Done);

    let (_rig, mut link) = Rig::start(&dir, spec()).await;
    assert_eq!(answer(&mut link, &again).await, replied("once"));
    let context = answer(&mut link, &delivery("!context")).await;
    assert_eq!(context, replied("messages=3 bytes=16"));
}

#[tokio::test]
async fn a_redelivery_of_what_runs_is_not_run_twice() {
    let dir = dir();
    let (_rig, mut link) = Rig::start(&dir, spec()).await;
    let question = delivery("!sleep 50 slept");
    deliver(&mut link, &question);
    let again = Delivery {
        turn: TurnId::new(),
        ..question.clone()
    };
    deliver(&mut link, &again);
    assert_eq!(finished(&mut link, &question).await.1, replied("slept"));
    // Nothing of the second comes: the next that is said is about the next question.
    let after = delivery("after");
    deliver(&mut link, &after);
    assert_eq!(next(&mut link).await, ToSupervisor::Started(after.turn));
}

#[tokio::test]
async fn cancel_ends_a_turn_and_its_delivery() {
    let dir = dir();
    let (_rig, mut link) = Rig::start(&dir, spec()).await;
    let question = delivery("!hang");
    deliver(&mut link, &question);
    assert_eq!(next(&mut link).await, ToSupervisor::Started(question.turn));
    link.send(ToAgent::Cancel(TurnId::new())).unwrap();
    link.send(ToAgent::Cancel(question.turn)).unwrap();
    link.send(ToAgent::Cancel(question.turn)).unwrap();
    let outcome = finished(&mut link, &question).await.1;
    assert_eq!(outcome, TurnOutcome::Cancelled);
    assert_eq!(answer(&mut link, &question).await, TurnOutcome::Cancelled);
}

#[tokio::test]
async fn a_turn_that_takes_too_long_fails() {
    let dir = dir();
    let impatient = AgentSpec {
        turn_timeout_ms: 50,
        ..spec()
    };
    let (_rig, mut link) = Rig::start(&dir, impatient).await;
    let TurnOutcome::Failed(failure) = answer(&mut link, &delivery("!hang")).await else {
        panic!("it did not fail");
    };
    assert_eq!(failure.kind, FailureKind::Timeout);
    assert_eq!(
        failure.message,
        "The answer took longer than 50 ms and was given up."
    );
}

#[tokio::test]
async fn a_panic_ends_its_turn_and_nothing_else() {
    let dir = dir();
    let (_rig, mut link) = Rig::start(&dir, spec()).await;
    let quiet = delivery_in("quiet", "!sleep 100 still here");
    deliver(&mut link, &quiet);
    assert_eq!(next(&mut link).await, ToSupervisor::Started(quiet.turn));
    let outcome = answer(&mut link, &delivery("!panic")).await;
    assert_eq!(kind(&outcome), Some(FailureKind::Unavailable));
    assert_eq!(finished(&mut link, &quiet).await.1, replied("still here"));
}

#[tokio::test]
async fn more_than_allowed_is_refused_and_may_come_again() {
    let dir = dir();
    let (_rig, mut link) = Rig::start(&dir, spec()).await;
    let first = delivery_in("a", "!hang");
    deliver(&mut link, &first);
    let same_session = delivery_in("a", "hi");
    let outcome = {
        deliver(&mut link, &same_session);
        finished(&mut link, &same_session).await.1
    };
    assert_eq!(kind(&outcome), Some(FailureKind::Overloaded));
    let second = delivery_in("b", "!hang");
    deliver(&mut link, &second);
    let third = delivery_in("c", "hi");
    let outcome = answer(&mut link, &third).await;
    assert_eq!(kind(&outcome), Some(FailureKind::Overloaded));
    link.send(ToAgent::Cancel(first.turn)).unwrap();
    finished(&mut link, &first).await;
    assert_eq!(answer(&mut link, &third).await, replied("hi"));

    let foreign = Delivery {
        session: "agent:other:x".parse().unwrap(),
        ..delivery("hi")
    };
    let outcome = answer(&mut link, &foreign).await;
    assert_eq!(kind(&outcome), Some(FailureKind::Overloaded));
}

#[tokio::test]
async fn a_drain_finishes_what_runs_and_takes_no_more() {
    let dir = dir();
    let (rig, mut link) = Rig::start(&dir, spec()).await;
    let running = delivery_in("a", "!sleep 50 done");
    deliver(&mut link, &running);
    link.send(ToAgent::Drain).unwrap();
    let late = delivery_in("b", "too late");
    deliver(&mut link, &late);
    assert_eq!(finished(&mut link, &running).await.1, replied("done"));
    assert_eq!(next(&mut link).await, ToSupervisor::Drained);
    assert_eq!(rig.exit().await, Exit::Done);
    drop(link);
    // The late one was left alone, so it can be delivered to the next life.
    let (_rig, mut link) = Rig::start(&dir, spec()).await;
    assert_eq!(answer(&mut link, &late).await, replied("too late"));
}

#[tokio::test]
async fn a_stop_abandons_what_runs_so_that_it_can_be_delivered_again() {
    let dir = dir();
    let (mut rig, mut link) = Rig::start(&dir, spec()).await;
    let question = delivery("!sleep 3000 slept");
    deliver(&mut link, &question);
    assert_eq!(next(&mut link).await, ToSupervisor::Started(question.turn));
    rig.stop();
    let asked = tokio::time::Instant::now();
    assert_eq!(rig.exit().await, Exit::Done);
    assert!(asked.elapsed() < Duration::from_secs(1));
    drop(link);
    let (_rig, mut link) = Rig::start(&dir, spec()).await;
    let again = Delivery {
        turn: TurnId::new(),
        text: "now".into(),
        ..question
    };
    assert_eq!(answer(&mut link, &again).await, replied("now"));
}

#[tokio::test]
async fn turns_go_on_while_the_link_is_away_and_nothing_is_lost_or_said_twice() {
    let dir = dir();
    let (mut rig, mut link) = Rig::start(&dir, spec()).await;
    let question = delivery("!sleep 30 slept");
    deliver(&mut link, &question);
    assert_eq!(next(&mut link).await, ToSupervisor::Started(question.turn));
    let session = link.into_session();
    let mut link = rig.accept(session).await;
    let (streamed, outcome, _) = finished(&mut link, &question).await;
    assert_eq!((streamed.as_str(), outcome), ("slept", replied("slept")));
    // Once more, with a connection that breaks in the handshake before the one that holds.
    let session = link.into_session();
    drop(rig.hello().await);
    let mut link = rig.accept(session).await;
    assert_eq!(answer(&mut link, &delivery("hi")).await, replied("hi"));
}

#[tokio::test]
async fn a_supervisor_that_sends_garbage_costs_only_the_connection() {
    let dir = dir();
    let (mut rig, mut link) = Rig::start(&dir, spec()).await;
    let question = delivery("hi");
    assert_eq!(answer(&mut link, &question).await, replied("hi"));
    let session = link.into_session();
    let (mut stream, _) = rig.hello().await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, &[0xff; 64])
        .await
        .unwrap();
    let mut link = rig.accept(session).await;
    assert_eq!(answer(&mut link, &delivery("ho")).await, replied("ho"));
}

#[tokio::test]
async fn changed_settings_come_with_the_next_welcome() {
    let dir = dir();
    let (mut rig, link) = Rig::start(&dir, spec()).await;
    rig.spec.system_prompt = Some("Be brief.".into());
    let mut link = rig.accept(link.into_session()).await;
    let system = answer(&mut link, &delivery("!system")).await;
    assert_eq!(system, replied("Be brief."));
}

#[tokio::test]
async fn a_refused_agent_leaves() {
    let dir = dir();
    let (mut rig, link) = Rig::start(&dir, spec()).await;
    drop(link);
    rig.refuse(Refusal::StaleGeneration {
        current: Generation(8),
    })
    .await;
    assert_eq!(rig.exit().await, Exit::Refused);
}

#[tokio::test]
async fn an_agent_without_a_supervisor_leaves_when_the_grace_is_over() {
    let dir = dir();
    let (rig, link) = Rig::start(&dir, spec()).await;
    let lost = tokio::time::Instant::now();
    drop(link);
    assert_eq!(rig.exit().await, Exit::Orphaned);
    let took = lost.elapsed();
    assert!(
        took > Duration::from_millis(200),
        "it looked for one: {took:?}"
    );
}

#[tokio::test]
async fn heartbeats_tell_how_late_the_loop_is() {
    let dir = dir();
    let (_rig, mut link) = Rig::start(&dir, spec()).await;
    assert_eq!(beat(&mut link).await.running, 0);
    deliver(&mut link, &delivery_in("a", "!hang"));
    deliver(&mut link, &delivery_in("b", "!busy 300"));
    let mut worst = Heartbeat::default();
    while worst.lag_us < 250_000 {
        let heartbeat = beat(&mut link).await;
        if heartbeat.lag_us > worst.lag_us {
            worst = heartbeat;
        }
    }
    assert!(worst.running >= 1);
}

#[tokio::test]
async fn a_reply_is_cut_at_its_limit_and_says_so() {
    let dir = dir();
    let (_rig, mut link) = Rig::start(&dir, spec()).await;
    let question = delivery("!repeat 300000 äö");
    deliver(&mut link, &question);
    let (streamed, outcome, _) = finished(&mut link, &question).await;
    let TurnOutcome::Replied(reply) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(streamed, reply);
    assert!(reply.len() <= REPLY_MAX_BYTES && reply.len() > REPLY_MAX_BYTES - 4);
    assert!(
        reply.ends_with("was cut here.]"),
        "{}",
        &reply[reply.len() - 80..]
    );
}

#[tokio::test]
async fn a_supervisor_that_does_not_read_makes_turns_wait_and_loses_nothing() {
    let dir = dir();
    let chatty = AgentSpec {
        model: ModelSpec {
            endpoint: Endpoint::Echo(EchoSpec {
                delay_ms: 0,
                chunks: 5000,
                chunk_delay_ms: 0,
            }),
            ..spec().model
        },
        ..spec()
    };
    let (_rig, mut link) = Rig::start(&dir, chatty).await;
    let questions = ["a", "b"].map(|session| delivery_in(session, "!repeat 400000 x"));
    for question in &questions {
        deliver(&mut link, question);
    }
    link.flush().await.unwrap();
    // Nobody reads: what the pipe does not hold waits in the link, merged, and then in the turns.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut lengths = [0, 0];
    let mut ends = 0;
    while ends < 2 {
        match next(&mut link).await {
            ToSupervisor::Delta { turn, text } => {
                let of = questions.iter().position(|question| question.turn == turn);
                lengths[of.unwrap()] += text.len();
            }
            ToSupervisor::Finished { outcome, .. } => {
                assert!(matches!(outcome, TurnOutcome::Replied(_)), "{outcome:?}");
                ends += 1;
            }
            _ => {}
        }
    }
    assert_eq!(lengths, [400_000, 400_000]);
}
