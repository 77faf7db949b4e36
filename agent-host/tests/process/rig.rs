//! A supervisor by hand, and the processes that it starts.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use interprocess::local_socket::{
    GenericFilePath, ListenerOptions, ToFsName,
    tokio::{Listener, Stream, prelude::*},
};
use kennel_shared::{
    bootstrap::Bootstrap,
    cage::CageSpec,
    envelope::Sender,
    ids::{DeliveryId, Generation, TurnId},
    link::{Incoming, Link, Session, accept_hello, reply_hello},
    protocol::{
        AgentSpec, ContextSpec, Delivery, EchoSpec, Endpoint, HelloReply, LinkId, ModelSpec,
        ToAgent, ToSupervisor, ToolsSpec, TurnOutcome, Welcome,
    },
    secret::Token,
};
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A started agent-host; killed, by its pid, when it is dropped before it was waited for.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the agent does not leave");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// What it wrote to its standard error. To be asked for when it has left.
    pub(crate) fn log(&mut self) -> String {
        std::io::read_to_string(self.0.stderr.take().unwrap()).unwrap()
    }
}

/// A supervisor by hand: a state directory, a socket, a listener.
pub(crate) struct Kennel {
    pub(crate) dir: TempDir,
    pub(crate) listener: Listener,
}

pub(crate) type AgentLink = Link<Stream, ToAgent, ToSupervisor>;

impl Kennel {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("link.sock");
        let name = socket.as_path().to_fs_name::<GenericFilePath>().unwrap();
        let listener = ListenerOptions::new().name(name).create_tokio().unwrap();
        Self { dir, listener }
    }

    pub(crate) fn bootstrap(&self) -> Bootstrap {
        Bootstrap {
            agent: "hexa".parse().unwrap(),
            generation: Generation(1),
            token: Token::random(),
            socket: self.dir.path().join("link.sock"),
            state_dir: self.dir.path().to_owned(),
            orphan_grace_ms: 10_000,
            cage: CageSpec::plain(self.dir.path().to_owned()),
        }
    }

    pub(crate) fn start(&self) -> Process {
        start_with(&self.bootstrap().to_line())
    }

    pub(crate) async fn accept(&self, spec: AgentSpec) -> AgentLink {
        let mut stream = timeout(PATIENCE, self.listener.accept())
            .await
            .unwrap()
            .unwrap();
        let hello = accept_hello(&mut stream).await.unwrap();
        assert_eq!(hello.agent.as_str(), "hexa");
        let welcome = Welcome {
            next_token: Token::random(),
            link: LinkId::random(),
            resume: Session::<ToAgent>::default().position(),
            spec,
        };
        let reply = HelloReply::Welcome(Box::new(welcome));
        reply_hello(&mut stream, &reply).await.unwrap();
        let mut link = Link::resume(stream, Session::default(), hello.resume).unwrap();
        assert_eq!(next(&mut link).await, ToSupervisor::Ready);
        link
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("store.db")
    }
}

#[expect(clippy::disallowed_methods, reason = "this test is the spawner")]
pub(crate) fn start_with(bootstrap: &[u8]) -> Process {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kennel-agent-host"))
        .args(["--agent", "hexa"])
        .env_clear()
        .env("KENNEL_LOG", "debug")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bootstrap).unwrap();
    Process(child)
}

pub(crate) fn spec() -> AgentSpec {
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
            max_messages: 20,
            max_bytes: 100_000,
        },
        max_concurrent: 4,
        turn_timeout_ms: 60_000,
        workspace: "/".into(),
        heartbeat_interval_ms: 1000,
        tools: ToolsSpec::none(),
    }
}

pub(crate) fn delivery(text: &str) -> Delivery {
    Delivery {
        delivery: DeliveryId::new(),
        turn: TurnId::new(),
        session: "agent:hexa:test".parse().unwrap(),
        sender: Sender {
            id: "tester".into(),
            name: None,
        },
        text: text.into(),
    }
}

/// The next message, past heartbeats.
pub(crate) async fn next(link: &mut AgentLink) -> ToSupervisor {
    loop {
        let incoming = timeout(PATIENCE, link.next())
            .await
            .expect("the agent says something");
        if let Incoming::Message(message) = incoming.unwrap() {
            return message;
        }
    }
}

pub(crate) async fn finished(link: &mut AgentLink) -> TurnOutcome {
    loop {
        if let ToSupervisor::Finished { outcome, .. } = next(link).await {
            return outcome;
        }
    }
}

pub(crate) async fn answer(link: &mut AgentLink, delivery: Delivery) -> TurnOutcome {
    link.send(ToAgent::Deliver(delivery)).unwrap();
    finished(link).await
}

pub(crate) fn replied(text: &str) -> TurnOutcome {
    TurnOutcome::Replied(text.into())
}
