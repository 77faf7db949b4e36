//! What a [`Kennel`] is to be, and its configuration file.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{Kennel, program};

type Table = BTreeMap<String, String>;

/// What a [`Kennel`] is to be. Values are written as in TOML.
#[derive(Debug, Clone)]
pub struct Builder {
    supervisor: Table,
    http: Table,
    echo: Table,
    providers: BTreeMap<String, Table>,
    defaults: Table,
    agents: BTreeMap<String, Table>,
    channels: BTreeMap<String, Table>,
    /// Which agent answers on a channel.
    bindings: Vec<(String, String)>,
    schedules: Vec<Table>,
    misbehaving: Option<PathBuf>,
    passable: bool,
    environment: Vec<(String, String)>,
    up: Vec<String>,
}

fn table(pairs: &[(&str, &str)]) -> Table {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

impl Default for Builder {
    /// Quick in everything, so that a test sees in milliseconds what takes minutes in life.
    fn default() -> Self {
        Self {
            supervisor: table(&[
                ("max_concurrent", "256"),
                ("orphan_grace", "'2s'"),
                ("stop_grace", "'5s'"),
            ]),
            http: Table::new(),
            echo: Table::new(),
            providers: BTreeMap::new(),
            defaults: table(&[
                ("model", "'echo/echo'"),
                (
                    "backoff",
                    "{ initial = '50ms', max = '100ms', factor = 2.0, jitter = 0.0 }",
                ),
                ("max_restarts", "20"),
                ("window", "'1m'"),
                ("stable_after", "'30s'"),
                ("start_timeout", "'5s'"),
                ("heartbeat_interval", "'100ms'"),
                ("watchdog", "'1s'"),
                ("drain_timeout", "'3s'"),
                ("stop_grace", "'500ms'"),
            ]),
            agents: BTreeMap::new(),
            channels: BTreeMap::new(),
            bindings: Vec::new(),
            schedules: Vec::new(),
            misbehaving: None,
            passable: false,
            environment: Vec::new(),
            up: Vec::new(),
        }
    }
}

impl Builder {
    /// Adds agents with nothing of their own.
    #[must_use]
    pub fn agents(mut self, ids: &[&str]) -> Self {
        for id in ids {
            self.agents.entry((*id).to_owned()).or_default();
        }
        self
    }

    /// Adds `count` agents, `a000` and so on.
    #[must_use]
    pub fn numbered(mut self, count: usize) -> Self {
        for n in 0..count {
            self.agents.entry(format!("a{n:03}")).or_default();
        }
        self
    }

    /// Adds one agent, with keys of its own.
    #[must_use]
    pub fn agent(mut self, id: &str, keys: &[(&str, &str)]) -> Self {
        self.agents.insert(id.to_owned(), table(keys));
        self
    }

    /// Sets keys of `[supervisor]`.
    #[must_use]
    pub fn supervisor(mut self, keys: &[(&str, &str)]) -> Self {
        self.supervisor.extend(table(keys));
        self
    }

    /// Sets keys of `[defaults]`.
    #[must_use]
    pub fn defaults(mut self, keys: &[(&str, &str)]) -> Self {
        self.defaults.extend(table(keys));
        self
    }

    /// Sets keys of the echo provider.
    #[must_use]
    pub fn echo(mut self, keys: &[(&str, &str)]) -> Self {
        self.echo.extend(table(keys));
        self
    }

    /// Adds a provider.
    #[must_use]
    pub fn provider(mut self, id: &str, keys: &[(&str, &str)]) -> Self {
        self.providers.insert(id.to_owned(), table(keys));
        self
    }

    /// Serves the control API on a free port of loopback too; `token` is asked for there.
    #[must_use]
    pub fn http(mut self, token: &str) -> Self {
        self.http = table(&[
            ("listen", "'127.0.0.1:0'"),
            ("token", "{ env = 'KENNEL_TEST_TOKEN' }"),
        ]);
        self.environment
            .push(("KENNEL_TEST_TOKEN".into(), token.into()));
        self
    }

    /// Gives `kennel up` more to go by.
    #[must_use]
    pub fn up(mut self, argument: &str) -> Self {
        self.up.push(argument.to_owned());
        self
    }

    /// Adds a Telegram bot on a server of one's own, open to everybody, on which an agent answers.
    #[must_use]
    pub fn telegram(mut self, id: &str, api_url: &str, token: &str, agent: &str) -> Self {
        let variable = format!("KENNEL_TEST_{}", id.to_uppercase().replace('-', "_"));
        let keys = table(&[
            ("kind", "'telegram'"),
            ("token", &format!("{{ env = '{variable}' }}")),
            ("api_url", &format!("'{api_url}'")),
            ("allow_from", "['*']"),
            ("poll_timeout", "'5s'"),
        ]);
        self.channels.insert(id.to_owned(), keys);
        self.bindings.push((id.to_owned(), agent.to_owned()));
        self.environment.push((variable, token.to_owned()));
        self
    }

    /// Adds a nick on an IRC server of one's own, on which an agent answers everybody.
    #[must_use]
    pub fn irc(mut self, id: &str, port: u16, nick: &str, agent: &str) -> Self {
        let keys = table(&[
            ("kind", "'irc'"),
            ("server", "'127.0.0.1'"),
            ("port", &port.to_string()),
            ("tls", "false"),
            ("nick", &format!("'{nick}'")),
            ("allow_from", "['*']"),
        ]);
        self.channels.insert(id.to_owned(), keys);
        self.bindings.push((id.to_owned(), agent.to_owned()));
        self
    }

    /// Sets keys of a channel that was added.
    #[must_use]
    pub fn channel(mut self, id: &str, keys: &[(&str, &str)]) -> Self {
        let channel = self.channels.get_mut(id);
        channel.expect("the channel was added").extend(table(keys));
        self
    }

    /// Other users may pass through its directory, as agents with users of their own must.
    #[must_use]
    pub fn passable(mut self) -> Self {
        self.passable = true;
        self
    }

    /// Agents whose id begins with `bad-` are run by this program (see [`crate::misbehave`]).
    #[must_use]
    pub fn misbehaving(mut self, program: impl Into<PathBuf>) -> Self {
        self.misbehaving = Some(program.into());
        self
    }

    fn toml(&self, root: &Path) -> String {
        let mut text = format!(
            "[supervisor]\nstate_dir = '{0}/state'\nruntime_dir = '{0}/run'\n",
            root.display()
        );
        let mut section = |header: &str, keys: &Table| {
            if !header.is_empty() {
                let _ = writeln!(text, "\n[{header}]");
            }
            for (key, value) in keys {
                let _ = writeln!(text, "{key} = {value}");
            }
        };
        section("", &self.supervisor);
        if !self.http.is_empty() {
            section("supervisor.http", &self.http);
        }
        let mut echo = self.echo.clone();
        echo.insert("kind".into(), "'echo'".into());
        section("providers.echo", &echo);
        for (id, keys) in &self.providers {
            section(&format!("providers.{id}"), keys);
        }
        section("defaults", &self.defaults);
        for (id, keys) in &self.agents {
            section(&format!("agents.{id}"), keys);
        }
        for (id, keys) in &self.channels {
            section(&format!("channels.{id}"), keys);
        }
        for (channel, agent) in &self.bindings {
            let _ = writeln!(
                text,
                "\n[[bindings]]\nchannel = '{channel}'\nagent = '{agent}'"
            );
        }
        for keys in &self.schedules {
            let _ = writeln!(text, "\n[[schedules]]");
            for (key, value) in keys {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        text
    }

    /// Adds a schedule.
    #[must_use]
    pub fn schedule(mut self, keys: &[(&str, &str)]) -> Self {
        self.schedules.push(table(keys));
        self
    }

    /// Starts it, and waits until every agent is ready but those that begin with `bad-`.
    pub async fn start(self) -> Kennel {
        let kennel = self.spawn().await;
        kennel.until_ready().await;
        kennel
    }

    /// Starts it, and waits until its control socket answers.
    pub async fn spawn(self) -> Kennel {
        // Short, because a Unix socket's path must fit 107 bytes.
        let directory = tempfile::Builder::new()
            .prefix("k")
            .permissions(fs::Permissions::from_mode(if self.passable {
                0o711
            } else {
                0o700
            }))
            .tempdir()
            .expect("a temporary directory");
        let root = directory.path();
        fs::write(root.join("kennel.toml"), self.toml(root)).expect("the configuration is written");
        let host = program("kennel-agent-host");
        let host = match &self.misbehaving {
            None => host,
            Some(misbehaving) => {
                // Side by side, so that the one finds the other.
                let link = |name: &str, target: &Path| {
                    let path = root.join(name);
                    std::os::unix::fs::symlink(target, &path).expect("a link");
                    path
                };
                link("kennel-agent-host", &host);
                link("misbehaving-agent", misbehaving)
            }
        };
        let mut kennel = Kennel::new(directory, host, self.environment, self.up);
        kennel.start_again().await;
        kennel
    }
}
