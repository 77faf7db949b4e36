//! What happens between tasks, with a real process that is no agent.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Arc, mpsc::sync_channel},
};

use kennel_shared::{
    cage::CageSpec,
    ids::{AgentId, TurnId},
    protocol::{
        ContextSpec, EchoSpec, Endpoint, Hello, LinkId, ModelSpec, PROTOCOL, Position, Refusal,
        ToolsSpec,
    },
    secret::Token,
};
use tokio::sync::oneshot;

use super::*;
use crate::{
    containment::{BackendKind, Containment},
    dispatch,
    journal::{self, Journal},
    supervision::{
        adoption::Past,
        backoff::{BackoffPolicy, IntensityPolicy},
        capture::{AgentLog, LogWriter, Rotation},
        events::Events,
        lifecycle::{Policy, RestartPolicy},
        sampler,
        spawner::Spawner,
        strain::Notice,
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
        cheaper: None,
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
        tools: ToolsSpec::none(),
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

fn journal(directory: &Path) -> Journal {
    let path = directory.join(journal::FILE);
    Journal::open(journal::Options::new(path)).unwrap().0
}

/// The dispatcher has one beside it.
fn own_directory(directory: &Path) -> std::path::PathBuf {
    let own = directory.join("driver");
    std::fs::create_dir(&own).unwrap();
    own
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
        journal: journal(&own_directory(directory)),
        past: Past::default(),
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
    let (dispatcher, mut dispatching) =
        dispatch::prepare(1, journal(directory.path()), dispatch::Outside::default());
    let wait_then_spec: SpecSource = Arc::new(move || {
        go.lock()
            .unwrap()
            .recv()
            .map_err(|error| error.to_string())?;
        Ok(spec())
    });
    let (handle, driver) = prepare(setup(&agent, directory.path(), wait_then_spec, &dispatcher));
    let limits = dispatch::Limits {
        max_waiting: 1,
        ..dispatch::Limits::default()
    };
    dispatching.add(handle.agent.clone(), handle.commands.clone(), &limits);
    let tasks = [tokio::spawn(dispatching.run()), tokio::spawn(driver.run())];

    handle.order(Event::Start).await.unwrap();
    let (reply, mut answer) = oneshot::channel();
    let hello = Hello {
        protocol: PROTOCOL,
        build: String::new(),
        agent,
        generation: Generation(1),
        token: Token::random(),
        link: LinkId::NONE,
        draining: false,
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

/// What the sampler sees is told of the life that it is about; a standstill is that life's end.
#[tokio::test]
async fn strain_is_told_and_a_standstill_is_an_end() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("stands-still");
    std::fs::write(&program, "#!/bin/sh\nexec sleep 60\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    let agent: AgentId = "strained".parse().unwrap();
    let (dispatcher, mut dispatching) =
        dispatch::prepare(1, journal(directory.path()), dispatch::Outside::default());
    let mut setup = setup(
        &agent,
        directory.path(),
        Arc::new(|| Ok(spec())),
        &dispatcher,
    );
    setup.program = program;
    setup.caps = Caps {
        memory: Some(1 << 30),
        pids: Some(30),
        ..Caps::default()
    };
    let events = setup.events.clone();
    let (handle, driver) = prepare(setup);
    let notices = driver.notices.clone();
    let limits = dispatch::Limits {
        max_waiting: 1,
        ..dispatch::Limits::default()
    };
    dispatching.add(handle.agent.clone(), handle.commands.clone(), &limits);
    let tasks = [tokio::spawn(dispatching.run()), tokio::spawn(driver.run())];
    handle.order(Event::Start).await.unwrap();
    assert!(handle.wait(PATIENCE, |seen| seen.pid.is_some()).await);

    let denied = |more| Notice::PidsDenied { more };
    let stalled = Notice::Stalled {
        used: 1000 << 20,
        high: 921 << 20,
        lasted: Duration::from_millis(2100),
    };
    for (generation, notice) in [
        (0, denied(1)),
        (0, stalled),
        (1, denied(2)),
        // Said again before the end is there.
        (1, stalled),
        (1, stalled),
    ] {
        notices
            .send((Generation(generation), notice))
            .await
            .unwrap();
    }
    assert!(handle.wait(PATIENCE, |seen| seen.last_end.is_some()).await);

    let (told, _) = events.follow(usize::MAX, |event| event.detail.is_some());
    let told: Vec<(&str, u64, &str)> = told
        .iter()
        .map(|event| {
            let detail = event.detail.as_deref().unwrap_or_default();
            (event.kind, event.generation.0, detail)
        })
        .collect();
    let sentence = "killed for want of memory: it was stuck for 2s above its soft mark of 921.0 MiB, on \
                    its way to its memory cap of 1.0 GiB; stays down, as its restart policy says";
    let Some((last, before)) = told.split_last() else {
        panic!("nothing was told");
    };
    assert_eq!(
        before,
        [
            (
                "pids-denied",
                1,
                "denied one more process 2 times by its cap of 30; held back, not ended"
            ),
            (
                "over-cap",
                1,
                "is stuck above its soft mark of 921.0 MiB: 1000.0 MiB in use, and nothing can be \
                 taken back; ended"
            ),
        ]
    );
    let (beginning, end) = sentence.split_once("; ").unwrap();
    assert_eq!((last.0, last.1), ("ended", 1));
    assert!(
        last.2.starts_with(beginning) && last.2.ends_with(end),
        "{last:?}"
    );
    let end = handle.observed.borrow().last_end.clone().unwrap().end;
    assert_eq!(end.cause.as_str(), "out-of-memory");
    assert_eq!(end.cause.cap(), Some("memory"));
    for task in tasks {
        task.abort();
    }
}

/// What is sent to an agent that nobody has asked to run would wait for ever, so it is refused.
#[tokio::test]
async fn an_agent_that_waits_for_its_start_takes_no_message() {
    let directory = tempfile::tempdir().unwrap();
    let agent: AgentId = "lazy".parse().unwrap();
    let (dispatcher, mut dispatching) =
        dispatch::prepare(1, journal(directory.path()), dispatch::Outside::default());
    let source: SpecSource = Arc::new(|| Ok(spec()));
    let (handle, _driver) = prepare(setup(&agent, directory.path(), source, &dispatcher));
    let limits = dispatch::Limits {
        max_waiting: 1,
        ..dispatch::Limits::default()
    };
    dispatching.add(handle.agent.clone(), handle.commands.clone(), &limits);
    dispatching.rest(&agent);
    let task = tokio::spawn(dispatching.run());

    let sender = kennel_shared::envelope::Sender {
        id: "test".into(),
        name: None,
    };
    let session = "agent:lazy:test".parse().unwrap();
    let refused = dispatcher.ask(session, sender, "hi".into(), None).await;
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
        trace: kennel_shared::protocol::Trace::default(),
    };
    let reply = |bytes: usize| finished(TurnOutcome::Replied("x".repeat(bytes)));
    assert_eq!(excess(&reply(REPLY_MAX_BYTES)), None);
    assert!(excess(&reply(REPLY_MAX_BYTES + 1)).is_some());
    let step = |bytes: usize| ToSupervisor::Step {
        turn: TurnId::new(),
        step: TurnStep::Tool("x".repeat(bytes)),
    };
    assert_eq!(excess(&step(TOOL_NAME_MAX_BYTES)), None);
    assert!(excess(&step(TOOL_NAME_MAX_BYTES + 1)).is_some());
}
