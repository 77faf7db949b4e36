//! A person on IRC: an independent client, driven over pipes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Python takes its time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// A connected person. Dropping it ends the client.
pub struct Person {
    child: Child,
    orders: ChildStdin,
    events_rx: mpsc::Receiver<Value>,
    seen: Vec<Value>,
}

impl Person {
    /// Connects, and waits for the server's welcome.
    pub async fn connect(port: u16, ca: Option<&Path>, nick: &str) -> Self {
        let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        let venv = std::env::var_os("KENNEL_TEST_VENV")
            .map_or_else(|| crate_dir.join("../.cache/venv"), PathBuf::from);
        let python = venv.join("bin/python");
        assert!(
            python.exists(),
            "{} is missing: run scripts/test, which installs what the tests need (or point KENNEL_TEST_VENV at a \
             virtual environment with the package irc)",
            python.display()
        );
        let mut command = Command::new(python);
        command.arg(crate_dir.join("py/irc_client.py"));
        if let Some(ca) = ca {
            command.arg("--ca").arg(ca);
        }
        let mut child = command
            .args([&port.to_string(), nick])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the interpreter starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let orders = child.stdin.take().expect("stdin is piped");
        let (events_tx, events_rx) = mpsc::channel(1024);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if events_tx.blocking_send(event).is_err() {
                    break;
                }
            }
        });
        let mut person = Self {
            child,
            orders,
            events_rx,
            seen: Vec::new(),
        };
        person.event("welcome", |_| true).await;
        person
    }

    fn order(&mut self, order: &Value) {
        writeln!(self.orders, "{order}").expect("the client reads");
    }

    /// Comes into a room.
    pub async fn join(&mut self, room: &str) {
        self.order(&json!({"join": room}));
        self.event("join", |event| event["target"] == room).await;
    }

    /// Says something to somebody, or in a room.
    pub fn say(&mut self, target: &str, text: &str) {
        self.order(&json!({"say": [target, text]}));
    }

    /// Does something there, as `/me` tells it.
    pub fn act(&mut self, target: &str, text: &str) {
        self.order(&json!({"action": [target, text]}));
    }

    /// Asks the target's client for its version.
    pub fn ask_version(&mut self, target: &str) {
        self.order(&json!({"ctcp": [target, ""]}));
    }

    /// Writes these bytes to the connection as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        self.order(&json!({"bytes": bytes}));
    }

    /// Waits for a message, of `privmsg` in private or `pubmsg` in a room.
    pub async fn hear(&mut self, kind: &str, text: &str) -> Value {
        self.event(kind, |event| event["text"] == text).await
    }

    /// Waits until a nick comes into a room where this person is.
    pub async fn see_join(&mut self, nick: &str) {
        let from = format!("{nick}!");
        let joins = |event: &Value| {
            event["who"]
                .as_str()
                .is_some_and(|who| who.starts_with(&from))
        };
        self.event("join", joins).await;
    }

    /// Waits for the next event of that name that `wanted` accepts.
    pub async fn event(&mut self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let find = async {
            while let Some(event) = self.events_rx.recv().await {
                self.seen.push(event.clone());
                if event["event"] == name && wanted(&event) {
                    return Some(event);
                }
            }
            None
        };
        match tokio::time::timeout(PATIENCE, find).await {
            Ok(Some(event)) => event,
            Ok(None) => panic!(
                "the client ended before the event {name}; it saw {:#?}",
                self.seen
            ),
            Err(elapsed) => panic!("no event {name}: {elapsed}; it saw {:#?}", self.seen),
        }
    }

    /// What was seen so far.
    pub fn seen(&self) -> &[Value] {
        &self.seen
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
