//! A supervisor with some agents on the echo provider, in a home of its own.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tempfile::TempDir;

use super::{
    api::Api,
    process::{Owned, binary},
};
use crate::harness::groups_of;

/// How long a whole fleet may take to be ready.
const READY_PATIENCE: Duration = Duration::from_mins(1);

/// How often to look whether it is.
const LOOK: Duration = Duration::from_millis(1);

/// The directories and the configuration of a supervisor; it can be started there more than once.
pub(super) struct Home {
    directory: TempDir,
    agents: Vec<String>,
    port: u16,
    /// The program that runs agents.
    host: &'static str,
}

impl Home {
    pub(super) fn new(agents: Vec<String>) -> anyhow::Result<Self> {
        Self::with(agents, "kennel-agent-host", "")
    }

    /// With agents that are run by `host`, and with more of a configuration.
    pub(super) fn with(
        agents: Vec<String>,
        host: &'static str,
        more: &str,
    ) -> anyhow::Result<Self> {
        let agents = agents.into_iter().map(|agent| (agent, String::new()));
        Self::tuned(agents.collect(), host, "", more)
    }

    /// The same with lines for each agent, and for the supervisor.
    pub(super) fn tuned(
        agents: Vec<(String, String)>,
        host: &'static str,
        supervisor: &str,
        more: &str,
    ) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("kennel-bench-").tempdir()?;
        let port = free_port()?;
        let at = directory.path().display();
        let mut config = format!(
            "[supervisor]\n\
             state_dir = \"{at}/state\"\n\
             runtime_dir = \"{at}/run\"\n\
             orphan_grace = \"1s\"\n\
             {supervisor}\n\
             [supervisor.http]\n\
             listen = \"127.0.0.1:{port}\"\n\
             [providers.echo]\n\
             kind = \"echo\"\n"
        );
        for (agent, lines) in &agents {
            writeln!(config, "[agents.{agent}]\nmodel = \"echo/echo\"\n{lines}")?;
        }
        config.push_str(more);
        fs::write(directory.path().join("kennel.toml"), config)?;
        Ok(Self {
            directory,
            agents: agents.into_iter().map(|(agent, _)| agent).collect(),
            port,
            host,
        })
    }

    /// With `count` agents, `a0` and so on.
    pub(super) fn of(count: usize) -> anyhow::Result<Self> {
        Self::new((0..count).map(|index| format!("a{index}")).collect())
    }

    pub(super) fn agents(&self) -> &[String] {
        &self.agents
    }

    /// The store of an agent.
    pub(super) fn store(&self, agent: &str) -> PathBuf {
        self.state_of(agent).join("store.db")
    }

    /// The directory of an agent.
    pub(super) fn state_of(&self, agent: &str) -> PathBuf {
        self.directory.path().join("state/agents").join(agent)
    }

    pub(super) fn control(&self) -> PathBuf {
        self.directory.path().join("run/control.sock")
    }

    /// What a command of the command line prints.
    pub(super) fn kennel(&self, words: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(binary("kennel")?)
            .arg("--config")
            .arg(self.directory.path().join("kennel.toml"))
            .args(words)
            .stdin(Stdio::null())
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "kennel {words:?}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("up.log")
    }

    /// Runs `kennel up` until all agents are ready.
    pub(super) async fn up(&self) -> anyhow::Result<Fleet<'_>> {
        let log = File::create(self.log())?;
        let mut command = Command::new(binary("kennel")?);
        command
            .arg("--config")
            .arg(self.directory.path().join("kennel.toml"))
            .arg("up")
            .env("KENNEL_AGENT_HOST", binary(self.host)?)
            .env_remove("KENNEL_LOG")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let began = Instant::now();
        let process = Owned(command.spawn()?);
        let mut fleet = Fleet {
            home: self,
            process,
            took: Duration::ZERO,
            ahead: false,
        };
        let ready = tokio::time::timeout(READY_PATIENCE, fleet.all_ready()).await;
        fleet.took = began.elapsed();
        fleet.ahead = ahead_of_others(fleet.pid());
        match ready {
            Ok(Ok(())) => Ok(fleet),
            Ok(Err(error)) => Err(error.context(self.last_words())),
            Err(_) => anyhow::bail!("not all agents became ready: {}", self.last_words()),
        }
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// A running supervisor whose agents were all ready. It ends when this is dropped.
pub(super) struct Fleet<'a> {
    home: &'a Home,
    process: Owned,
    /// From the start of the process until all agents were ready.
    pub(super) took: Duration,
    /// Whether it goes before the other programs of this machine.
    pub(super) ahead: bool,
}

impl Fleet<'_> {
    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The socket of its control API.
    pub(super) fn control(&self) -> PathBuf {
        self.home.control()
    }

    pub(super) async fn unix(&self) -> anyhow::Result<Api> {
        Api::unix(&self.home.control()).await
    }

    pub(super) async fn tcp(&self) -> anyhow::Result<Api> {
        Api::tcp(self.home.port).await
    }

    /// The processes of the agents.
    pub(super) async fn pids(&self) -> anyhow::Result<BTreeMap<String, u32>> {
        pids(&mut self.unix().await?).await
    }

    /// Ends the supervisor, and with it the agents.
    pub(super) fn down(mut self) -> anyhow::Result<()> {
        let status = self.process.end()?;
        anyhow::ensure!(status.success(), "the supervisor ended with {status}");
        Ok(())
    }

    async fn all_ready(&mut self) -> anyhow::Result<()> {
        let mut api = self.answering().await?;
        loop {
            let list = api.get("/api/v1/agents").await?;
            let agents = list["agents"].as_array().context("a list of agents")?;
            let wanted: Vec<_> = agents
                .iter()
                .filter(|agent| agent["desired"] == "running")
                .collect();
            if wanted.len() == self.home.agents.len()
                && wanted.iter().all(|agent| agent["state"] == "ready")
            {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn answering(&mut self) -> anyhow::Result<Api> {
        loop {
            // A connection that the socket takes may still be dropped by a supervisor on its way up.
            if let Ok(mut api) = Api::unix(&self.home.control()).await
                && api.get("/api/v1/health").await.is_ok()
            {
                return Ok(api);
            }
            if let Some(status) = self.process.0.try_wait()? {
                anyhow::bail!("the supervisor ended with {status}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Puts all of the fleet, as one, ahead of the other programs of a machine that is not ours alone: what its members do
/// to each other stays as it is. (A real-time class would not do: caps on the CPU do not hold there.) Says
/// whether that was possible.
fn ahead_of_others(supervisor: u32) -> bool {
    let groups = i32::try_from(supervisor).map(groups_of).unwrap_or_default();
    let mut raised = false;
    for top in groups.iter().filter_map(|group| group.parent()) {
        for (file, most) in [("cpu.shares", "262144"), ("cpu.weight", "10000")] {
            let file = top.join(file);
            raised |= file.exists() && fs::write(file, most).is_ok();
        }
    }
    raised
}

async fn pids(api: &mut Api) -> anyhow::Result<BTreeMap<String, u32>> {
    let list = api.get("/api/v1/agents").await?;
    let agents = list["agents"].as_array().context("a list of agents")?;
    agents
        .iter()
        .map(|agent| {
            let id = agent["id"].as_str().context("an agent has an id")?;
            let pid = agent["pid"].as_u64().context("a ready agent has a pid")?;
            Ok((id.to_owned(), u32::try_from(pid)?))
        })
        .collect()
}

/// A port that was free just now. Another program may take it before the supervisor does: that run then fails.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// The size of a file, with what waits in its write-ahead log.
pub(super) fn size_of(store: &Path) -> u64 {
    let wal = store.with_extension("db-wal");
    let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    size(store) + size(&wal)
}
