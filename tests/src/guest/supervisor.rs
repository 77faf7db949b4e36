//! The supervisor under test, started as an operator of this guest starts it.

use std::{
    cell::Cell,
    fs::{self, File},
    process::{Command, Stdio},
};

use serde_json::Value;

use super::{Guest, group::Group};
use crate::harness::{AgentView, Client, Process, eventually};

/// Where it listens: the service's runtime directory.
const SOCKET: &str = "/run/kennel/control.sock";
const AGENT_LOGS: &str = "/var/lib/kennel/logs";
const LOG: &str = "/run/kennel.log";
const HOST: &str = "/usr/local/lib/kennel-test/misbehaving-agent";

/// The one supervisor of the guest, up or not.
pub(super) struct Supervisor {
    guest: Guest,
    /// The pid of an agent to which nothing happens.
    witness: Cell<i32>,
}

impl Supervisor {
    pub(super) fn new(guest: Guest) -> Self {
        Self {
            guest,
            witness: Cell::new(0),
        }
    }

    pub(super) fn guest(&self) -> Guest {
        self.guest
    }

    pub(super) fn remember(&self, witness: i32) {
        self.witness.set(witness);
    }

    pub(super) fn remembered(&self) -> i32 {
        self.witness.get()
    }

    /// Starts it: by systemd and its unit, or as a program with the same environment.
    pub(super) async fn start(&self) -> Process {
        match self.guest {
            Guest::Delegated => drop(done(Command::new("systemctl").args(["start", "kennel"]))),
            Guest::Root => {
                let mut command = command();
                command
                    .arg("up")
                    .env("KENNEL_AGENT_HOST", HOST)
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(
                        File::options()
                            .create(true)
                            .append(true)
                            .open(LOG)
                            .expect("a log"),
                    );
                let mut child = command.spawn().expect("kennel can be started");
                // Whoever starts it reaps it.
                std::thread::spawn(move || child.wait());
            }
        }
        self.process().await
    }

    /// Ends it as it was started, and waits for that.
    pub(super) async fn stop(&self) {
        let process = self.process().await;
        match self.guest {
            Guest::Delegated => drop(done(Command::new("systemctl").args(["stop", "kennel"]))),
            Guest::Root => process.signal(nix::sys::signal::Signal::SIGTERM),
        }
        eventually("the supervisor has ended", || async {
            process.has_ended().then_some(())
        })
        .await;
    }

    /// The process that answers, once one does.
    pub(super) async fn process(&self) -> Process {
        eventually("a supervisor that answers", || async {
            let health = client().get("/api/v1/health").await.ok()?;
            let pid = i32::try_from(health.body["pid"].as_i64()?).expect("a pid");
            Process::of(pid)
        })
        .await
    }

    /// Waits until an agent is as `wanted` says.
    pub(super) async fn until(
        &self,
        id: &str,
        what: &str,
        wanted: impl Fn(&AgentView) -> bool,
    ) -> AgentView {
        let client = client();
        eventually(&format!("{id} {what}"), || async {
            Some(client.agent(id).await).filter(|agent| wanted(agent))
        })
        .await
    }

    /// Waits until every agent is ready, and gives them.
    pub(super) async fn all_ready(&self) -> Vec<AgentView> {
        eventually("every agent is ready", || async {
            let list = client().get("/api/v1/agents").await.ok()?.body;
            let agents: Vec<AgentView> = serde_json::from_value(list["agents"].clone()).ok()?;
            let ready = agents.iter().all(|agent| agent.state == "ready");
            (ready && !agents.is_empty()).then_some(agents)
        })
        .await
    }

    /// Waits until an agent is ready in a later life than `generation`.
    pub(super) async fn reborn(&self, id: &str, generation: u64) -> AgentView {
        self.until(id, "is ready in its next life", |agent| {
            agent.state == "ready" && agent.generation > generation
        })
        .await
    }

    /// The group of an agent's process.
    pub(super) async fn group(&self, id: &str) -> Group {
        Group::of(self.ready(id).await.pid.expect("a process"))
    }

    pub(super) async fn status(&self) -> Value {
        let status = client().get("/api/v1/status").await;
        status.expect("the supervisor answers").body
    }

    /// What the supervisor says that an agent uses.
    pub(super) async fn usage(&self, id: &str) -> Value {
        let agent = client().get(&format!("/api/v1/agents/{id}")).await;
        agent.expect("the supervisor answers").body["usage"].clone()
    }

    /// What the supervisor says about the end of one life of an agent.
    pub(super) async fn end_of(&self, id: &str, generation: u64) -> Value {
        let path = format!("/api/v1/events?tail=500&agent={id}");
        eventually("the end is told", || async {
            let list = client().get(&path).await.ok()?.body;
            let mut events = list["events"].as_array()?.iter();
            let end =
                events.find(|event| event["kind"] == "ended" && event["generation"] == generation);
            Some(end?["end"].clone())
        })
        .await
    }

    /// The last event of a kind that an agent had, once there is one.
    pub(super) async fn event(&self, id: &str, kind: &str) -> Value {
        let path = format!("/api/v1/events?tail=500&agent={id}");
        eventually(&format!("an event {kind} of {id}"), || async {
            let list = client().get(&path).await.ok()?.body;
            let mut events = list["events"].as_array()?.iter().rev();
            events.find(|event| event["kind"] == kind).cloned()
        })
        .await
    }

    /// Waits until an agent is ready, and gives it.
    pub(super) async fn ready(&self, id: &str) -> AgentView {
        self.until(id, "is ready", |agent| agent.state == "ready")
            .await
    }

    /// Sends a text to an agent and gives the reply.
    pub(super) async fn ask(&self, id: &str, text: &str) -> String {
        let answer = client().send(id, text, None).await;
        answer.reply().to_owned()
    }

    /// The end of what it and its agents have said.
    pub(super) fn last_words(&self) -> String {
        let tail = |text: String| {
            let lines: Vec<&str> = text.lines().collect();
            let last = &lines[lines.len().saturating_sub(12)..];
            last.iter()
                .fold(String::new(), |text, line| text + "  | " + line + "\n")
        };
        let agents = fs::read_dir(AGENT_LOGS).into_iter().flatten().flatten();
        let agents = agents.map(|agent| fs::read_to_string(agent.path()));
        let all = [self.log()].into_iter().chain(agents.flatten());
        all.map(tail).collect::<Vec<String>>().join("  |\n")
    }

    /// Everything that it has said.
    pub(super) fn log(&self) -> String {
        match self.guest {
            Guest::Root => fs::read_to_string(LOG).unwrap_or_default(),
            Guest::Delegated => {
                output(Command::new("journalctl").args([
                    "--unit=kennel",
                    "--no-pager",
                    "--output=cat",
                ]))
                .1
            }
        }
    }
}

/// A client of the supervisor's socket.
pub(super) fn client() -> Client {
    Client::unix(SOCKET.into())
}

/// The command line program.
pub(super) fn command() -> Command {
    let mut command = Command::new("/usr/local/bin/kennel");
    command
        .args(["--config", "/etc/kennel/kennel.toml"])
        .env("XDG_STATE_HOME", "/var/lib")
        .env("XDG_RUNTIME_DIR", "/run");
    command
}

/// What the command line program prints; it must succeed.
pub(super) fn kennel(arguments: &[&str]) -> String {
    done(command().args(arguments))
}

/// Whether it succeeded, and what it printed.
pub(super) fn output(command: &mut Command) -> (bool, String) {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// What it printed; it must succeed.
pub(super) fn done(command: &mut Command) -> String {
    let (success, text) = output(command);
    assert!(success, "{command:?} failed:\n{text}");
    text
}
