//! Runs the script of acts inside a cage and outside of it.

use std::{
    fs,
    io::Write as _,
    os::unix::{fs::PermissionsExt as _, net::UnixListener, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use kennel_shared::{
    bootstrap::Bootstrap,
    cage::{CageOutcome, CageSpec, CageStep},
    ids::Generation,
    secret::Token,
};
use kennel_tests::{
    harness::{Process, eventually, patience},
    misbehave::hostile::{PLAN, RESULTS, SCRIPT, STEPS, script},
};
use serde_json::{Map, Value};
use tempfile::TempDir;

pub(crate) const MISBEHAVING: &str = env!("CARGO_BIN_EXE_misbehaving-agent");

/// The system's own, which needs nothing but the system's folders.
const PYTHON: &str = "/usr/bin/python3";

/// What came of each act.
pub(crate) type Results = Map<String, Value>;

/// Puts the script and its plan where the agent in `home` runs them.
pub(crate) fn prepare(home: &Path, plan: &Value) {
    fs::write(home.join(SCRIPT), include_str!("acts.py")).unwrap();
    fs::write(home.join(PLAN), plan.to_string()).unwrap();
}

/// Waits until the acts are over.
pub(crate) async fn results(home: &Path) -> Results {
    let path = home.join(RESULTS);
    eventually(&format!("{}", path.display()), || async { read(&path) }).await
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    let text = fs::read(path).ok()?;
    Some(serde_json::from_slice(&text).expect("JSON"))
}

/// The same acts, from outside.
pub(crate) fn outside(home: &Path) -> Results {
    let name = "outside.json";
    let status = script(PYTHON, home, name).status().unwrap();
    assert!(status.success());
    read(&home.join(name)).expect("it has ended")
}

/// A caged process whose supervisor never answers.
pub(crate) struct Caged {
    pub(crate) directory: TempDir,
    pub(crate) child: Child,
    /// Where it connects to when its acts are over; nobody answers.
    _listener: UnixListener,
}

impl Caged {
    /// A folder for an agent, and what it would be told.
    pub(crate) fn bootstrap(directory: &TempDir, cage: CageSpec) -> Bootstrap {
        Bootstrap {
            agent: "bad-hostile".parse().unwrap(),
            generation: Generation(1),
            token: Token::random(),
            socket: directory.path().join("run/link.sock"),
            state_dir: home(directory),
            orphan_grace_ms: 1000,
            cage,
        }
    }

    /// Starts it; `change` has the last word on its cage.
    pub(crate) fn start(plan: &Value, change: impl FnOnce(&mut CageSpec)) -> Self {
        Self::start_by(plan, change, |program| Command::new(program))
    }

    /// As [`start`](Self::start), by a command that is made for the program and its folder.
    pub(crate) fn start_by(
        plan: &Value,
        change: impl FnOnce(&mut CageSpec),
        command: impl FnOnce(&Path) -> Command,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let home = home(&directory);
        let mut cage = CageSpec::plain(home.join("workspace"));
        cage.strict = true;
        change(&mut cage);
        for path in [&home, &cage.workspace, &directory.path().join("run")] {
            fs::create_dir_all(path).unwrap();
        }
        prepare(&home, plan);
        let socket = directory.path().join("run/link.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        open(&socket, 0o666);
        // Where other users can run it, too.
        let program = directory.path().join("misbehaving-agent");
        fs::copy(MISBEHAVING, &program).unwrap();
        open(directory.path(), 0o755);
        let mut child = command(&program)
            .args(["--agent", "bad-hostile"])
            .current_dir(&home)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("SECRET_OF_THE_PARENT", "1")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let line = Self::bootstrap(&directory, cage).to_line();
        child.stdin.take().unwrap().write_all(&line).unwrap();
        Self {
            directory,
            child,
            _listener: listener,
        }
    }

    pub(crate) fn home(&self) -> PathBuf {
        home(&self.directory)
    }

    pub(crate) async fn results(&self) -> Results {
        results(&self.home()).await
    }

    /// How a step went, as the process itself says.
    pub(crate) fn step(&self, name: &str) -> (CageOutcome, String) {
        let steps: Vec<CageStep> = read(&self.home().join(STEPS)).expect("its steps");
        let step = steps.into_iter().find(|step| step.name == name);
        let step = step.unwrap_or_else(|| panic!("no step {name}"));
        (step.outcome, step.detail)
    }

    /// Waits for its end; its code, and what it complained of.
    pub(crate) async fn end(mut self) -> (Option<i32>, String) {
        let status = eventually("its end", || {
            let ended = self.child.try_wait().unwrap();
            async move { ended }
        })
        .await;
        let said = std::io::read_to_string(self.child.stderr.take().unwrap()).unwrap();
        (status.code(), said)
    }
}

impl Drop for Caged {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for process in Process::within(self.directory.path()) {
            process.signal(nix::sys::signal::Signal::SIGKILL);
            process.wait(patience().min(Duration::from_secs(5)));
        }
    }
}

fn home(directory: &TempDir) -> PathBuf {
    directory.path().join("home")
}

pub(crate) fn open(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
