//! A Python client as a child process that reports events on its standard output.

#![allow(
    clippy::disallowed_methods,
    reason = "a test starts its own child; the supervisor's spawner is for agents"
)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::sync::mpsc;

/// Python takes its time on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// A running script. Dropping it kills it.
pub(crate) struct Script {
    child: Child,
    events_rx: mpsc::Receiver<Value>,
    seen: Vec<Value>,
}

impl Script {
    /// Starts `tests/py/<name>` with the interpreter that has the clients installed.
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Self {
        let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        let venv = std::env::var_os("KENNEL_TEST_VENV")
            .map_or_else(|| crate_dir.join("../.cache/venv"), PathBuf::from);
        let python = venv.join("bin/python");
        assert!(
            python.exists(),
            "{} is missing: run scripts/test, which installs what the tests need (or point KENNEL_TEST_VENV at a \
             virtual environment with python-telegram-bot and aiogram)",
            python.display()
        );
        let mut child = Command::new(python)
            .arg(crate_dir.join("py").join(name))
            .args(arguments)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            // Proxies of the environment are not for loopback.
            .env("NO_PROXY", "127.0.0.1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the interpreter starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let (events_tx, events_rx) = mpsc::channel(1024);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if events_tx.blocking_send(event).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            events_rx,
            seen: Vec::new(),
        }
    }

    /// Waits for the next event of that name that `wanted` accepts; others before it are kept aside for the error.
    pub(crate) async fn event(&mut self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
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
                "the script ended before the event {name}; it reported {:#?}",
                self.seen
            ),
            Err(elapsed) => panic!("no event {name}: {elapsed}; it reported {:#?}", self.seen),
        }
    }

    /// Asks it to end, as an operator would, and waits until it did.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        let pid = Pid::from_raw(self.child.id().try_into().expect("a pid"));
        kill(pid, Signal::SIGTERM).expect("it is still there");
        self.ended().await
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let end = async { while self.events_rx.recv().await.is_some() {} };
        let ended = tokio::time::timeout(PATIENCE, end).await;
        assert!(ended.is_ok(), "the script does not end");
        self.child.wait().expect("it is our child")
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
