//! A real supervisor with real agents, in a directory of its own, for one test.
//!
//! [`Kennel::builder`] writes a configuration and starts `kennel up`; [`Builder::start`] returns when
//! every agent that can be ready is. Whatever a test does and however it ends, dropping the
//! [`Kennel`] ends all that ever ran in its directory, each process by its id. A test waits for
//! conditions through [`eventually`], never for time to pass.
//!
//! The programs come from `KENNEL_BIN_DIR`, else from the directory that the test binary was built
//! in; building them is the business of `scripts/test`.

mod builder;
mod client;
mod deceiver;
mod groups;
mod load;
mod processes;

use std::{
    fs::{self, File},
    future::Future,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use kennel::containment::Containment;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

pub use self::{
    builder::Builder,
    client::{AgentView, Answer, Client, Events, Response},
    groups::{groups_below, groups_of, memory_of},
    load::{Figures, Load},
    processes::{
        Process, begin_peak_memory, descriptors, peak_memory_bytes, start_time_of, state_of,
    },
};

/// The longest that any single condition is waited for, on a real machine.
const PATIENCE: Duration = Duration::from_secs(15);

/// The longest that any single condition is waited for: so many times longer as `KENNEL_TEST_SLOW` says,
/// for an emulated machine.
pub fn patience() -> Duration {
    slowed(PATIENCE)
}

/// A time limit, as long as this machine needs it.
fn slowed(limit: Duration) -> Duration {
    let factor = std::env::var("KENNEL_TEST_SLOW").map(|factor| factor.parse());
    limit
        * factor.map_or(1, |factor| {
            factor.expect("KENNEL_TEST_SLOW is a whole number")
        })
}

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// How long a supervisor may take to go when a test is over, before it is killed.
const GRACE: Duration = Duration::from_millis(1500);

/// Waits until `condition` gives something, and gives that. Panics, saying `what`, when it takes
/// longer than [`patience`].
pub async fn eventually<T, F>(what: &str, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + patience();
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// The directory of the programs under test.
pub fn program(name: &str) -> PathBuf {
    let directory = std::env::var_os("KENNEL_BIN_DIR").map_or_else(
        || {
            let test = std::env::current_exe().expect("a test knows its own path");
            let built = test.parent().and_then(Path::parent);
            built.expect("tests are built two levels down").to_owned()
        },
        PathBuf::from,
    );
    let path = directory.join(name);
    assert!(
        path.is_file(),
        "{} is not built: run scripts/test, or `cargo build --workspace --bins`",
        path.display()
    );
    path
}

/// A program that others wrote, which judges ours: at the path in the environment's `variable`, else at `default` in
/// the cache of the checkout; `below` is the way on from there, if any. A missing one is a failure: nothing is passed
/// over in silence.
pub fn counterpart(variable: &str, default: &str, below: &str) -> PathBuf {
    let default = || {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../.cache")
            .join(default)
    };
    let path = std::env::var_os(variable).map_or_else(default, PathBuf::from);
    let path = if below.is_empty() {
        path
    } else {
        path.join(below)
    };
    assert!(
        path.is_file(),
        "{} is not installed: run scripts/test (or set {variable})",
        path.display()
    );
    path
}

/// A running supervisor and its agents. See the module.
#[derive(Debug)]
pub struct Kennel {
    directory: TempDir,
    /// What agents are run by.
    host: PathBuf,
    /// What the programs find in their environment.
    environment: Vec<(String, String)>,
    /// Behind `kennel up`.
    up: Vec<String>,
    supervisor: Option<Child>,
    pid: i32,
    starts: usize,
}

impl Kennel {
    /// A supervisor with quick settings and no agents yet.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn new(
        directory: TempDir,
        host: PathBuf,
        environment: Vec<(String, String)>,
        up: Vec<String>,
    ) -> Self {
        Self {
            directory,
            host,
            environment,
            up,
            supervisor: None,
            pid: 0,
            starts: 0,
        }
    }

    /// The directory of everything.
    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// The control socket.
    pub fn control_socket(&self) -> PathBuf {
        self.root().join("run/control.sock")
    }

    /// The link socket.
    pub fn link_socket(&self) -> PathBuf {
        self.root().join("run/link.sock")
    }

    /// The supervisor's process.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// A client of the control socket.
    pub fn client(&self) -> Client {
        Client::unix(self.control_socket())
    }

    /// Starts a supervisor in these directories; the one before must be gone. Waits for its answer.
    pub async fn start_again(&mut self) {
        self.launch_with(&[]);
        let deadline = Instant::now() + patience();
        loop {
            let health = self.client().get("/api/v1/health").await;
            // It answers a little before every agent was told to start.
            if health.is_ok_and(|health| health.body["pid"] == self.pid)
                && !self.log_lines(&["the supervisor is up"]).is_empty()
            {
                return;
            }
            let ended = self.supervisor.as_mut().and_then(ended);
            assert!(
                ended.is_none(),
                "the supervisor ended with {ended:?}:\n{}",
                self.log()
            );
            assert!(
                Instant::now() < deadline,
                "the supervisor does not answer:\n{}",
                self.log()
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Starts a supervisor with this in its environment, and waits for nothing; the one before must be gone.
    pub fn launch_with(&mut self, environment: &[(&str, &str)]) {
        self.starts += 1;
        let child = self.launch(&self.log_path(self.starts), environment);
        self.pid = i32::try_from(child.id()).expect("a pid");
        self.supervisor = Some(child);
    }

    /// Whether the supervisor has not ended.
    pub fn is_running(&mut self) -> bool {
        self.supervisor
            .as_mut()
            .is_some_and(|child| ended(child).is_none())
    }

    /// Keeps all files, for whoever wants to see what happened; where they are.
    pub fn keep(&mut self) -> PathBuf {
        self.directory.disable_cleanup(true);
        self.root().to_owned()
    }

    /// Runs `kennel up` on this directory, its log going to `log`.
    fn launch(&self, log: &Path, environment: &[(&str, &str)]) -> Child {
        let log = File::create(log).expect("a file for the log");
        let mut command = self.command();
        command
            .arg("up")
            .args(&self.up)
            .env("KENNEL_AGENT_HOST", &self.host)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        command.spawn().expect("kennel can be started")
    }

    /// The command line program, told which configuration to use.
    pub fn command(&self) -> Command {
        let mut command = Command::new(program("kennel"));
        command
            .arg("--config")
            .arg(self.root().join("kennel.toml"))
            .current_dir(self.root())
            .env_remove("KENNEL_LOG")
            .envs(self.environment.iter().cloned());
        command
    }

    /// The configuration.
    pub fn config_path(&self) -> PathBuf {
        self.root().join("kennel.toml")
    }

    /// The text of the configuration.
    pub fn config(&self) -> String {
        fs::read_to_string(self.config_path()).expect("the configuration is readable")
    }

    /// Changes the configuration as editors do: another file takes its name.
    pub fn edit(&self, change: impl FnOnce(String) -> String) {
        let before = self.config();
        let after = change(before.clone());
        assert_ne!(after, before, "the edit changes nothing");
        let new = self.root().join("kennel.toml.new");
        fs::write(&new, after).expect("a file is written");
        fs::rename(new, self.config_path()).expect("it takes the name");
    }

    /// Runs `kennel` with these arguments; gives its code and what it said.
    pub async fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let mut command = self.command();
        command.args(args);
        let ended = tokio::task::spawn_blocking(move || command.output());
        let ended = ended.await.expect("it ends").expect("kennel starts");
        let text = |bytes| String::from_utf8(bytes).expect("kennel prints text");
        (ended.status.code(), text(ended.stdout), text(ended.stderr))
    }

    /// Tries to start a second supervisor here; gives its exit code and what it said.
    pub async fn second_supervisor(&self) -> (Option<i32>, String) {
        let log = self.root().join("second.log");
        let mut child = self.launch(&log, &[]);
        let status = until_ended(&mut child).await;
        (
            status.code(),
            fs::read_to_string(log).expect("its log is readable"),
        )
    }

    fn log_path(&self, start: usize) -> PathBuf {
        self.root().join(format!("supervisor.{start}.log"))
    }

    /// What the present supervisor has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path(self.starts)).unwrap_or_default()
    }

    /// The lines of the log that contain all of `parts`.
    pub fn log_lines(&self, parts: &[&str]) -> Vec<String> {
        let log = self.log();
        let matching = log
            .lines()
            .filter(|line| parts.iter().all(|part| line.contains(part)));
        matching.map(ToOwned::to_owned).collect()
    }

    /// Waits until the log has a line with all of `parts`, and gives the first.
    pub async fn logged(&self, parts: &[&str]) -> String {
        eventually(&format!("a line of the log with {parts:?}"), || async {
            self.log_lines(parts).into_iter().next()
        })
        .await
    }

    /// Every agent, as the supervisor sees it.
    pub async fn agents(&self) -> Vec<AgentView> {
        let list = self.client().get("/api/v1/agents").await;
        let list = list.expect("the supervisor answers").body;
        serde_json::from_value(list["agents"].clone()).expect("agents in the documented form")
    }

    /// One agent, as the supervisor sees it.
    pub async fn agent(&self, id: &str) -> AgentView {
        self.client().agent(id).await
    }

    /// The process of an agent that has one.
    pub async fn agent_pid(&self, id: &str) -> i32 {
        let agent = self.agent(id).await;
        agent
            .pid
            .unwrap_or_else(|| panic!("{id} has no process: {agent:?}"))
    }

    /// The processes of these agents.
    pub async fn pids(&self, ids: &[&str]) -> Vec<i32> {
        let mut pids = Vec::new();
        for id in ids {
            pids.push(self.agent_pid(id).await);
        }
        pids
    }

    /// Waits until an agent is as `wanted` says.
    pub async fn until(
        &self,
        id: &str,
        what: &str,
        mut wanted: impl FnMut(&AgentView) -> bool,
    ) -> AgentView {
        let (client, mut last) = (self.client(), None);
        let deadline = Instant::now() + patience();
        loop {
            let agent = client.agent(id).await;
            if wanted(&agent) {
                return agent;
            }
            assert!(
                Instant::now() < deadline,
                "waited in vain until {id} {what}: {last:?}"
            );
            last = Some(agent);
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until an agent is in a state.
    pub async fn until_state(&self, id: &str, state: &str) -> AgentView {
        self.until(id, &format!("is {state}"), |agent| agent.state == state)
            .await
    }

    /// Waits until an agent is ready in a later life than `generation`.
    pub async fn until_reborn(&self, id: &str, generation: u64) -> AgentView {
        self.until(id, "is ready again", |agent| {
            agent.state == "ready" && agent.generation > generation
        })
        .await
    }

    /// Waits until every agent is ready that is started by itself and does not begin with `bad-`.
    pub async fn until_ready(&self) {
        let deadline = Instant::now() + patience();
        loop {
            let late: Vec<AgentView> = self
                .agents()
                .await
                .into_iter()
                .filter(|agent| !agent.id.starts_with("bad-"))
                .filter(|agent| agent.desired == "running" && agent.state != "ready")
                .collect();
            if late.is_empty() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "not ready: {late:?}\n{}",
                self.log()
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Asks for `start`, `stop` or `restart` and waits for it.
    pub async fn order(&self, id: &str, order: &str) -> Response {
        let path = format!("/api/v1/agents/{id}/{order}");
        self.client()
            .post(&path, &json!({}))
            .await
            .expect("the supervisor answers")
    }

    /// Sends a text to an agent and waits for the end of the turn.
    pub async fn send(&self, id: &str, text: &str) -> Answer {
        self.client().send(id, text, None).await
    }

    /// The lines of an agent's log.
    pub async fn agent_log(&self, id: &str) -> Vec<String> {
        let path = format!("/api/v1/agents/{id}/logs?tail=10000");
        let response = self.client().get(&path).await;
        let body = response.expect("the supervisor answers").body;
        let lines = body["lines"].as_array().cloned().unwrap_or_default();
        lines
            .iter()
            .filter_map(|line| line["text"].as_str().map(ToOwned::to_owned))
            .collect()
    }

    /// Sends a signal to the supervisor.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid), signal).expect("the supervisor can be signalled");
    }

    /// Sends a signal to the process of an agent.
    pub async fn kill(&self, id: &str, signal: Signal) {
        let process = Process::of(self.agent_pid(id).await).expect("an agent's process");
        process.signal(signal);
    }

    /// Kills the supervisor once it has written down which processes are its agents, and waits until it is gone.
    /// What it has started lives on. A life of which nothing is written down yet would be ended by the next.
    pub async fn crash(&mut self) {
        let journal = self.root().join("state").join(kennel::journal::FILE);
        eventually("every agent's process is in the journal", || async {
            // Each time anew: an agent may just be on its way into its next life.
            let agents = self.agents().await;
            let written = kennel::journal::Reader::open(&journal).and_then(|read| read.children());
            let written = written.ok()?;
            let is_written = |pid: &i32| written.iter().any(|child| child.pid == *pid);
            let mut pids = agents.iter().filter_map(|agent| agent.pid);
            pids.all(|pid| is_written(&pid)).then_some(())
        })
        .await;
        self.signal(Signal::SIGKILL);
        self.until_down().await;
    }

    /// Starts a supervisor that is killed after a while, wherever it is then. The one before must be gone.
    pub async fn start_and_kill_after(&mut self, after: Duration) {
        self.starts += 1;
        let mut child = self.launch(&self.log_path(self.starts), &[]);
        tokio::time::sleep(after).await;
        child.kill().expect("our own child");
        until_ended(&mut child).await;
    }

    /// Changes the configuration file; for the next start.
    pub fn rewrite(&self, change: impl FnOnce(String) -> String) {
        let path = self.root().join("kennel.toml");
        let text = fs::read_to_string(&path).expect("the configuration is there");
        fs::write(&path, change(text)).expect("the configuration is written");
    }

    /// What the supervisor has told of an agent, or of a kind of event.
    pub async fn events(&self, id: &str, kind: &str) -> Vec<Value> {
        let path = format!("/api/v1/events?tail=1000&agent={id}");
        let events = self.client().get(&path).await.expect("events").body["events"].clone();
        let mut events = events.as_array().expect("a list").clone();
        events.retain(|event| event["kind"] == kind);
        events
    }

    /// Waits until the supervisor has told this of an agent, and gives it.
    pub async fn told(&self, id: &str, kind: &str) -> Value {
        eventually(&format!("{kind} of {id}"), || async {
            self.events(id, kind).await.into_iter().next()
        })
        .await
    }

    /// Waits until the supervisor has ended.
    pub async fn until_down(&mut self) -> ExitStatus {
        let mut child = self.supervisor.take().expect("a supervisor");
        until_ended(&mut child).await
    }

    /// Ends the supervisor as an operator does, and checks that nothing is left.
    pub async fn shut_down(mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.until_down().await;
        assert!(status.success(), "{status:?}\n{}", self.log());
        self.assert_clean();
    }

    /// Nothing of this run is left: no process, no socket. For after a clean end.
    pub fn assert_clean(&self) {
        let left = Process::within(self.root());
        assert!(left.is_empty(), "processes are left: {left:?}");
        for socket in [self.control_socket(), self.link_socket()] {
            assert!(!socket.exists(), "{} is left", socket.display());
        }
    }

    /// The processes of this run, but for the supervisor.
    pub fn processes(&self) -> Vec<Process> {
        let mut found = Process::within(self.root());
        found.retain(|process| process.pid() != self.pid);
        found
    }

    /// Descriptors that the supervisor has open.
    pub fn descriptors(&self) -> usize {
        descriptors(self.pid)
    }

    /// Waits until the supervisor has no more descriptors open than `before`, and no dead child.
    pub async fn assert_no_leak(&self, before: usize) {
        eventually(
            &format!("no more than {before} descriptors and no zombie"),
            || async {
                let zombies = Process::zombies_of(self.pid);
                (self.descriptors() <= before && zombies.is_empty()).then_some(())
            },
        )
        .await;
    }

    /// The port of the control API on loopback.
    pub async fn http_port(&self) -> u16 {
        eventually("the control API on TCP", || async {
            processes::listening_port(self.pid)
        })
        .await
    }

    /// The whole status, for figures.
    pub async fn status(&self) -> Value {
        let status = self.client().get("/api/v1/status").await;
        status.expect("the supervisor answers").body
    }
}

#[expect(
    clippy::print_stderr,
    reason = "a test that fails shows what the supervisor said"
)]
impl Drop for Kennel {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the supervisor\n{}---", self.log());
        }
        if let Some(mut child) = self.supervisor.take() {
            let own = Process::of(self.pid);
            if let Some(own) = &own {
                own.signal(Signal::SIGTERM);
                if !own.wait(GRACE) {
                    own.signal(Signal::SIGKILL);
                }
            }
            // It was killed at the latest now, so this is short.
            let _ = child.wait();
        }
        // A child that is being started is in nobody's list yet, so more than one look is needed.
        for _ in 0..10 {
            let left = Process::within(self.root());
            if left.is_empty() {
                break;
            }
            for process in &left {
                process.signal(Signal::SIGKILL);
            }
            for process in &left {
                process.wait(GRACE);
            }
        }
        // One that was killed has left its groups, which the next would clean.
        let instance = kennel::plan::instance(&self.root().join("state"));
        if let Err(error) = Containment::probe().clean(&instance) {
            eprintln!("a group is left behind: {error}");
        }
    }
}

fn ended(child: &mut Child) -> Option<ExitStatus> {
    child.try_wait().expect("our own child")
}

/// Waits for a child of the test; one that takes longer than [`patience`] is killed.
pub async fn until_ended(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + patience();
    loop {
        if let Some(status) = ended(child) {
            return status;
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("process {} took longer than {:?}", child.id(), patience());
        }
        tokio::time::sleep(LOOK).await;
    }
}
