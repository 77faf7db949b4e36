//! What happens between tasks, with a real process that is no agent.

use std::{
    path::Path,
    sync::{Arc, mpsc::sync_channel},
};

use kennel_shared::{
    cage::CageSpec,
    ids::{AgentId, TurnId},
    protocol::{ContextSpec, EchoSpec, Endpoint, Hello, ModelSpec, PROTOCOL, Position, Refusal},
    secret::Token,
};
use tokio::sync::oneshot;

use super::*;
use crate::{
    containment::{BackendKind, Containment},
    dispatch,
    supervision::{
        backoff::{BackoffPolicy, IntensityPolicy},
        capture::{AgentLog, LogWriter, Rotation},
        events::Events,
        lifecycle::{Policy, RestartPolicy},
        sampler,
        spawner::Spawner,
    },
};

const PATIENCE: Duration = Duration::from_secs(10);

fn policy() -> Policy {
    Policy {
        restart: RestartPolicy::Never,
        backoff: BackoffPolicy {
            initial: PATIENCE,
            max: PATIENCE,
            factor: 1.0,
            jitter: 0.0,
        },
        intensity: IntensityPolicy {
            max_restarts: 3,
            window: PATIENCE,
        },
        stable_after: PATIENCE,
        start_timeout: PATIENCE,
        watchdog: PATIENCE,
        drain_timeout: PATIENCE,
        stop_grace: PATIENCE,
    }
}

fn spec() -> AgentSpec {
    AgentSpec {
        model: ModelSpec {
            provider: "echo".into(),
            model: "echo".into(),
            temperature_milli: None,
            max_tokens: None,
            endpoint: Endpoint::Echo(EchoSpec::default()),
        },
        system_prompt: None,
        context: ContextSpec {
            max_messages: 1,
            max_bytes: 1,
        },
        max_concurrent: 1,
        turn_timeout_ms: 1000,
        workspace: "/".into(),
        heartbeat_interval_ms: 1000,
    }
}

/// By looking only, so that a test leaves no group.
fn contained() -> Arc<Containment> {
    let mut containment = Containment::with(BackendKind::BestEffort).unwrap();
    containment
        .prepare("driver-test", &Caps::default())
        .unwrap();
    Arc::new(containment)
}

fn setup(
    agent: &AgentId,
    directory: &Path,
    spec: SpecSource,
    dispatcher: &dispatch::DispatcherHandle,
) -> Setup {
    let (writer, _thread) = LogWriter::start(directory.to_owned()).unwrap();
    let rotation = Rotation {
        max_bytes: 1 << 20,
        keep: 0,
    };
    Setup {
        agent: agent.clone(),
        policy: policy(),
        spec,
        containment: contained(),
        caps: Caps::default(),
        requested: vec![],
        program: "/bin/cat".into(),
        directory: directory.to_owned(),
        socket: directory.join("link.sock"),
        log_level: "info".into(),
        orphan_grace: PATIENCE,
        cage: Ok(CageSpec::plain(directory.to_owned())),
        log: AgentLog::new(agent.clone(), rotation, writer),
        spawner: Spawner::start().unwrap(),
        reports: dispatcher.reports(),
        events: Events::default(),
        sampler: sampler::start().unwrap(),
    }
}

/// A child connects as soon as it runs, which may be before its driver has heard of the spawn. It must be
/// checked then, not turned away: an agent that is refused leaves, and its restart waits for the backoff.
#[tokio::test]
async fn a_hello_waits_for_the_start_that_it_belongs_to() {
    let directory = tempfile::tempdir().unwrap();
    let (go_tx, go) = sync_channel::<()>(1);
    let go = std::sync::Mutex::new(go);
    let agent: AgentId = "early".parse().unwrap();
    let (dispatcher, mut dispatching) = dispatch::prepare(1);
    let wait_then_spec: SpecSource = Arc::new(move || {
        go.lock()
            .unwrap()
            .recv()
            .map_err(|error| error.to_string())?;
        Ok(spec())
    });
    let (handle, driver) = prepare(setup(&agent, directory.path(), wait_then_spec, &dispatcher));
    dispatching.add(handle.agent.clone(), handle.commands.clone(), 1, 1);
    let tasks = [tokio::spawn(dispatching.run()), tokio::spawn(driver.run())];

    handle.order(Event::Start).await.unwrap();
    let (reply, mut answer) = oneshot::channel();
    let hello = Hello {
        protocol: PROTOCOL,
        build: String::new(),
        agent,
        generation: Generation(1),
        token: Token::random(),
        resume: Position::default(),
        cage: Vec::new(),
    };
    let command = Command::Hello {
        hello: Box::new(hello),
        peer_pid: Some(1),
        reply,
    };
    handle.commands.send(command).await.unwrap();
    // An order is answered after the hello was taken, so the hello has had its turn.
    handle.order(Event::Start).await.unwrap();
    assert!(
        answer.try_recv().is_err(),
        "it was answered before the start"
    );

    go_tx.send(()).unwrap();
    let answered = tokio::time::timeout(PATIENCE, answer).await;
    let refusal = answered.expect("in time").expect("an answer").unwrap_err();
    assert_eq!(refusal, Refusal::Peer, "it was held against the child");

    assert!(handle.wait(PATIENCE, |seen| seen.pid.is_none()).await);
    for task in tasks {
        task.abort();
    }
}

/// What is sent to an agent that nobody has asked to run would wait for ever, so it is refused.
#[tokio::test]
async fn an_agent_that_waits_for_its_start_takes_no_message() {
    let directory = tempfile::tempdir().unwrap();
    let agent: AgentId = "lazy".parse().unwrap();
    let (dispatcher, mut dispatching) = dispatch::prepare(1);
    let source: SpecSource = Arc::new(|| Ok(spec()));
    let (handle, _driver) = prepare(setup(&agent, directory.path(), source, &dispatcher));
    dispatching.add(handle.agent.clone(), handle.commands.clone(), 1, 1);
    dispatching.rest(&agent);
    let task = tokio::spawn(dispatching.run());

    let sender = kennel_shared::envelope::Sender {
        id: "test".into(),
        name: None,
    };
    let session = "agent:lazy:test".parse().unwrap();
    let refused = dispatcher.ask(session, sender, "hi".into()).await;
    let state = "stopped";
    let agent = agent.to_string();
    assert_eq!(
        refused.err(),
        Some(dispatch::Rejected::Resting { agent, state })
    );
    task.abort();
}

#[test]
fn what_an_agent_says_is_bounded() {
    let delta = |bytes: usize| ToSupervisor::Delta {
        turn: TurnId::new(),
        text: "x".repeat(bytes),
    };
    assert_eq!(excess(&delta(DELTA_MAX_BYTES)), None);
    assert!(excess(&delta(DELTA_MAX_BYTES + 1)).is_some());
    let finished = |outcome| ToSupervisor::Finished {
        delivery: kennel_shared::ids::DeliveryId::new(),
        turn: TurnId::new(),
        outcome,
        spent: kennel_shared::protocol::Spent::default(),
    };
    let reply = |bytes: usize| finished(TurnOutcome::Replied("x".repeat(bytes)));
    assert_eq!(excess(&reply(REPLY_MAX_BYTES)), None);
    assert!(excess(&reply(REPLY_MAX_BYTES + 1)).is_some());
}
