//! Puts a supervisor together, runs it, takes it down.
//!
//! ```text
//! Prepared (directories, lock, sockets bound) ── assemble ──► Running ── signal or request ──► drained
//! ```
//!
//! The groups that hold the agents are made first of all, and removed last.
//!
//! Sockets are bound before anything starts and served after everything has: who connects early
//! waits, and a socket that cannot be had ends the start while nothing runs yet.
//!
//! On the way down: no new messages; agents finish their turns and leave; answers go out; then the
//! rest ends. A second signal kills the agents at once.

mod fleet;
mod handover;
mod home;
mod inherit;
mod signals;
mod way_back;

use std::{
    collections::{BTreeMap, HashSet},
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use kennel_shared::ids::{AgentId, Generation};
use thiserror::Error;
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};
use tracing::{debug, error, info, warn};

use self::{
    fleet::{Fleet, Stage},
    inherit::Found,
    signals::Signals,
};
pub use self::{
    handover::{Handover, Listening, Numbers, READY, Upgrade, Upgrades},
    home::{Home, HomeError, SOCKET_PATH_MAX},
    inherit::Inheritance,
    way_back::WayBack,
};
use crate::{
    config::{self, Config, Directories, Loaded},
    containment::{Containment, ContainmentError},
    control::{self, App},
    dispatch::{self, Dispatcher, DispatcherHandle, Outside, Restored},
    fairness,
    gateway::{self, Accounts, Chats},
    journal::{self, Journal, Reader},
    plan,
    reload::{self, Requests, Setting},
    schedule::{self, Keeper},
    supervision::{
        capture::LogWriter, events::Events, lifecycle::Event, links, sampler, spawner::Spawner,
    },
};

/// Messages of all channels that wait for the gateway.
const INBOUND: usize = 64;

/// How long a start may take with all of its agents.
const START: Duration = Duration::from_secs(2);

/// How long callers may take to get their answers before another program takes over.
const CALLERS: Duration = Duration::from_secs(30);

/// How long connections may take to end behind their last answer.
const CONNECTIONS: Duration = Duration::from_secs(1);

/// How many polls of tasks may pass between two looks at the sockets.
const SOCKETS_AFTER_POLLS: u32 = 4;

/// Why a supervisor does not start, or ends badly.
#[derive(Debug, Error)]
pub enum RunError {
    /// Its directories or its lock.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A socket cannot be bound.
    #[error("the socket {path} cannot be bound")]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The TCP address of the control API cannot be bound.
    #[error("the address {address} cannot be bound")]
    Address {
        /// Which.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A secret of the supervisor itself cannot be read.
    #[error("the {what} cannot be read")]
    Secret {
        /// Whose.
        what: String,
        /// Why not.
        source: config::SecretError,
    },
    /// A channel cannot be set up.
    #[error("the channel `{channel}` cannot be set up: {detail}")]
    Channel {
        /// Which.
        channel: String,
        /// Why not.
        detail: String,
    },
    /// The configuration names a way to hold agents that cannot be had.
    #[error(
        "agents cannot be held as `containment` under [supervisor] says; \"auto\" takes what this host has"
    )]
    Containment(#[source] ContainmentError),
    /// What was accepted cannot be read or written down.
    #[error("the journal cannot be opened")]
    Journal(#[source] journal::OpenError),
    /// What an earlier supervisor has left cannot be read.
    #[error("what waits in the journal cannot be read")]
    Restore(#[source] journal::ReadError),
    /// Something that the operating system owes every program.
    #[error("{what}")]
    System {
        /// What was to be done.
        what: &'static str,
        /// Why it was not.
        source: io::Error,
    },
}

/// How a supervisor begins.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The configuration.
    pub loaded: Loaded,
    /// Its file.
    pub config_path: &'a Path,
    /// Whether it is read again whenever it has changed.
    pub watch: bool,
    /// What the program before in this process has left, to go on with.
    pub handed: Option<Handover>,
    /// Why the program that was to take over from this one has not.
    pub undone: Option<String>,
}

/// Runs a supervisor until it is told to end. Says `up` once it serves. Blocks; sets up its own runtime.
///
/// Told to hand over, it becomes the next program, and comes back only if that fails.
pub fn run(launch: Launch<'_>, up: impl FnOnce()) -> Result<(), RunError> {
    let Launch {
        loaded,
        config_path,
        watch,
        handed,
        undone,
    } = launch;
    let system = |what| move |source| RunError::System { what, source };
    crate::sys::keep_inherited_descriptors()
        .map_err(system("the inherited descriptors cannot be listed"))?;
    if let Err(error) = crate::sys::raise_descriptor_limit() {
        warn!(%error, "the limit of open files cannot be raised; it may be too low for many agents");
    }
    crate::sys::close_memory().map_err(system("the memory cannot be closed to other processes"))?;
    let took_over = handed.is_some();
    let (held, sockets) = handed.map(|handed| (handed.lock, handed.listening)).unzip();
    let home = Home::prepare(&loaded.config, held)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // By default sockets are looked at once in 61 polls of tasks: beside an agent that keeps two
        // tasks busy, each step of everybody else's messages would wait for so many of its polls.
        .event_interval(SOCKETS_AFTER_POLLS)
        .max_blocking_threads(16)
        .thread_keep_alive(Duration::from_secs(5))
        .build()
        .map_err(|source| RunError::System {
            what: "the runtime cannot be built",
            source,
        })?;
    let (journal, writer) =
        Journal::open(plan::journal(&loaded.config)).map_err(RunError::Journal)?;
    let (containment, inheritance) = contain(&loaded.config, &journal)?;
    let containment = Arc::new(containment);
    let held = Arc::clone(&containment);
    let mut served = false;
    let mut signals = Signals::listen().map_err(system("signals cannot be listened for"))?;
    let ended = runtime.block_on(async {
        let mut running = Running::start(
            Setting::read(loaded.config),
            config_path.to_owned(),
            held,
            journal,
            inheritance,
            sockets,
            undone,
        )
        .await?;
        served = true;
        up();
        if watch {
            running.watch();
        }
        Ok(match running.until_told(&mut signals).await {
            Some(program) if running.answer_callers(&mut signals).await => {
                Some((program, running.step_aside().await))
            }
            _ => {
                running.drain(&mut signals).await;
                None
            }
        })
    });
    // What is still blocking (a secret command, a log line) has nothing to say any more.
    runtime.shutdown_timeout(Duration::from_millis(200));
    // It ends once nobody is left who could hand something in, and has written all of it then.
    if writer.join().is_err() {
        error!("the journal's thread has panicked");
    }
    if let Ok(Some((program, listening))) = ended {
        let lock = home
            .copy_lock()
            .map_err(system("the lock cannot be handed over"))?;
        let handover = Handover {
            lock,
            listening,
            back: None,
        };
        signals
            .pass_on()
            .map_err(system("signals cannot be passed on"))?;
        let source = handover.exec(&program, config_path, watch);
        // Its agents go on, and the next supervisor adopts them.
        return Err(RunError::System {
            what: "the new program cannot be started",
            source,
        });
    }
    // What a program before has left is there for it when this one did not come up.
    if (served || !took_over)
        && let Err(error) = containment.release()
    {
        warn!(
            error = crate::error_chain(&error),
            "the groups cannot be removed"
        );
    }
    drop(home);
    ended.map(|_| ())
}

/// Makes the groups, and takes over those whose agents live on. A host that does not let us have them
/// leaves best effort, which is said in `status`, and which agents refuse that were promised more.
fn contain(config: &Config, journal: &Journal) -> Result<(Containment, Inheritance), RunError> {
    let mut containment = plan::containment(config).map_err(RunError::Containment)?;
    let instance = plan::instance(&config.supervisor.state_dir);
    let found = Found::look(config, &containment, journal).map_err(RunError::Restore)?;
    let fleet = plan::fleet_caps(config);
    match containment.prepare_keeping(&instance, &fleet, &found.keep()) {
        Ok(cleaned) => {
            if cleaned.groups > 0 {
                warn!(
                    groups = cleaned.groups,
                    processes = cleaned.processes,
                    "groups of a supervisor that died were ended and removed"
                );
            }
        }
        Err(error) if config.supervisor.containment != config::Backend::Auto => {
            return Err(RunError::Containment(error));
        }
        Err(error) => {
            let error = crate::error_chain(&error);
            error!(
                backend = containment.backend().as_str(),
                error, "agents cannot be held in groups; caps are best effort"
            );
            containment = Containment::fallback(&error);
        }
    }
    info!(
        backend = containment.backend().as_str(),
        why = containment.why(),
        "containment is ready"
    );
    let inheritance = found.take(config, &containment, journal);
    Ok((containment, inheritance))
}

/// Whether a supervisor of this program would start with this configuration, without changing anything: for the one that
/// runs, before this program takes over.
pub fn preflight(loaded: &Loaded) -> Result<(), String> {
    let config = &loaded.config;
    let chain = |error: &dyn std::error::Error| crate::error_chain(error);
    journal::check(&config.supervisor.state_dir.join(journal::FILE))?;
    plan::containment(config).map_err(|error| chain(&error))?;
    for channel in config.channels.values() {
        plan::account(config, channel)
            .map_err(|why| format!("the channel `{}` cannot be set up: {why}", channel.id))?;
    }
    if let Some(token) = config
        .supervisor
        .http
        .as_ref()
        .and_then(|http| http.token.as_ref())
    {
        token
            .resolve(&config.base_dir)
            .map_err(|error| format!("the token of [supervisor.http]: {}", chain(&error)))?;
    }
    plan::spans(config)
        .map_err(|error| format!("the headers of [supervisor.otlp]: {}", chain(&error)))?;
    let program = plan::agent_host();
    if !program.is_file() {
        return Err(format!(
            "there is no {} to run agents by",
            program.display()
        ));
    }
    Ok(())
}

/// A supervisor at work.
struct Running {
    fleet: Fleet,
    dispatcher: DispatcherHandle,
    shutdown: mpsc::Receiver<()>,
    reloads: Requests,
    to_reload: mpsc::Receiver<reload::Request>,
    to_upgrade: mpsc::Receiver<Upgrade>,
    /// Who accepts connections of agents.
    link_door: JoinHandle<()>,
    /// And of callers.
    doors: Vec<JoinHandle<()>>,
    gate: control::Gate,
    /// Copies of what they listen on.
    listening: Listening,
    config_path: PathBuf,
    current: control::Current,
    /// Kept until all is over: the one who drops it last closes it.
    _journal: Journal,
    tasks: Vec<JoinHandle<()>>,
    sockets: Vec<PathBuf>,
}

impl Running {
    #[expect(
        clippy::too_many_lines,
        reason = "one thing after the other, each once"
    )]
    async fn start(
        setting: Setting,
        config_path: PathBuf,
        containment: Arc<Containment>,
        journal: Journal,
        inheritance: Inheritance,
        handed: Option<Listening>,
        undone: Option<String>,
    ) -> Result<Self, RunError> {
        let began = Instant::now();
        let config = Arc::new(setting.config);
        let settings = &config.supervisor;
        let sockets = match handed {
            None => Sockets::bind(&config).await?,
            Some(handed) => Sockets::take_over(&config, handed).await?,
        };
        let listening = sockets.copy().map_err(|source| RunError::System {
            what: "the sockets cannot be kept for another program",
            source,
        })?;
        let Sockets {
            link: link_listener,
            control: control_listener,
            tcp,
        } = sockets;

        let events = Events::default();
        let accounts = Accounts::default();
        let spans = plan::spans(&config).map_err(|source| RunError::Secret {
            what: "headers of [supervisor.otlp]".into(),
            source,
        })?;
        let outside = Outside {
            prices: settings.prices.clone(),
            spans: spans.as_ref().map(|(sink, _)| sink.clone()),
            ..outside(&accounts, &events)
        };
        let exporter = spans.map(|(sink, exporter)| (sink.counts(), exporter));
        let (dispatcher, mut dispatcher_task) =
            dispatch::prepare(settings.max_concurrent as usize, journal.clone(), outside);
        dispatcher_task.set_classes(&plan::classes(&config));
        dispatcher_task.set_schedules(plan::schedule_classes(&config));
        let sampler = sampler::start().map_err(|source| RunError::System {
            what: "the sampler cannot be started",
            source,
        })?;
        let fleet = containment
            .fleet_reader()
            .map(|reader| Box::new(reader) as _);
        sampler.fleet(plan::fleet_caps(&config), fleet);
        let (inbound_tx, inbound) = mpsc::channel(INBOUND);
        let system = |what| move |source| RunError::System { what, source };
        let logs = LogWriter::start(settings.state_dir.join("logs"));
        let (logs, _) = logs.map_err(system("the log writer cannot be started"))?;
        let stage = Stage {
            config_path: config_path.clone(),
            directories: Directories::from_env(),
            containment: Arc::clone(&containment),
            dispatcher: dispatcher.clone(),
            events: events.clone(),
            sampler: sampler.clone(),
            spawner: Spawner::start().map_err(system("the spawner cannot be started"))?,
            logs,
            accounts: accounts.clone(),
            journal: journal.clone(),
            inbound: inbound_tx,
        };
        let mut fleet = Fleet::new(stage, Arc::clone(&config), setting.prompts);
        let adopted = inheritance.adopted();
        fleet.start_drivers(&mut dispatcher_task, inheritance)?;
        restore(&mut dispatcher_task, &journal, &adopted)?;
        budgets(&mut dispatcher_task, &journal, &config)?;
        fleet.start_channels()?;
        fleet.publish();
        let gateway = gateway::run(
            inbound,
            accounts.clone(),
            fleet.router(),
            dispatcher.clone(),
            journal.clone(),
            Chats::load(journal.clone()).map_err(RunError::Restore)?,
        );
        let keeper = schedule::keeper::Stage {
            dispatcher: dispatcher.clone(),
            journal: journal.clone(),
            events: events.clone(),
            clock: schedule::keeper::wall_clock(),
        };
        let (keeper, schedules) = Keeper::new(keeper, fleet.schedules());
        let mut tasks = vec![
            tokio::spawn(dispatching(dispatcher_task)),
            tokio::spawn(gateway),
            tokio::spawn(keeper.run()),
        ];
        let spans = exporter.map(|(counts, exporter)| {
            tasks.push(tokio::spawn(exporter.run()));
            counts
        });
        let link_door = tokio::spawn(links::accept(link_listener, fleet.doors()));

        let (shutdown_tx, shutdown) = mpsc::channel(1);
        let (reloads, to_reload) = Requests::new();
        let (upgrades, to_upgrade) = Upgrades::new();
        let gate = control::Gate::default();
        let published = fleet.serve(App {
            config: Arc::clone(&config),
            config_path: config_path.clone(),
            agents: BTreeMap::new(),
            leaving: Vec::new(),
            accounts,
            dispatcher: dispatcher.clone(),
            journal: journal.clone(),
            fairness: {
                let (handle, task) = fairness::start(dispatcher.clone(), sampler.clone());
                tasks.push(task);
                handle
            },
            sampler,
            spans,
            limits_changing: Arc::default(),
            events,
            containment: Arc::clone(&containment),
            reloads: reloads.clone(),
            upgrades,
            schedules,
            undone: undone.map(Into::into),
            shutdown: shutdown_tx,
            began,
        });
        let current = control::Current::new(published);
        current.app().tell_undone();
        let doors = serve(&current, control_listener, tcp, containment, &gate);

        fleet.start_agents().await;
        let (agents, channels) = fleet.counts();
        info!(
            agents,
            channels,
            pid = std::process::id(),
            "the supervisor is up"
        );
        tasks.push(tokio::spawn(let_go_of_the_start()));
        Ok(Self {
            fleet,
            dispatcher,
            shutdown,
            reloads,
            to_reload,
            to_upgrade,
            link_door,
            doors,
            gate,
            listening,
            config_path,
            current,
            _journal: journal,
            tasks,
            sockets: vec![settings.link_socket(), settings.control_socket()],
        })
    }

    /// Reads the configuration again whenever its files have changed.
    fn watch(&mut self) {
        let current = self.current.clone();
        let named = move || reload::prompt_files(&current.app().config);
        let (main, reloads) = (self.config_path.clone(), self.reloads.clone());
        let watch = reload::watch::run(main, named, reloads);
        self.tasks.push(tokio::spawn(watch));
    }

    /// Until it is told to end, or by which program to go on.
    async fn until_told(&mut self, signals: &mut Signals) -> Option<PathBuf> {
        let why = tokio::select! {
            signal = signals.shutdown(&self.reloads) => signal,
            _ = self.shutdown.recv() => "a request",
            program = until_replaced(&mut self.to_upgrade, &self.config_path) => {
                return Some(program);
            }
            // What is half done then is taken down as it is.
            never = self.fleet.serve_reloads(&mut self.to_reload) => match never {},
        };
        info!(
            why,
            "the supervisor is shutting down; a second signal ends the agents at once"
        );
        None
    }

    /// Lets callers have their answers, and no more in: who connects from now on waits in the sockets. False when it was
    /// told to end meanwhile.
    async fn answer_callers(&mut self, signals: &mut Signals) -> bool {
        for door in &self.doors {
            door.abort();
        }
        self.gate.close();
        let answered = async {
            while self.dispatcher.holding().await > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // Agents still come in: there are no answers without them.
        tokio::select! {
            answered = tokio::time::timeout(CALLERS, answered) => if answered.is_err() {
                warn!("callers that still wait lose their connections; with a key they may ask again");
            },
            why = signals.shutdown(&self.reloads) => {
                info!(why, "the supervisor is shutting down; no other program takes over");
                return false;
            }
        }
        true
    }

    /// Lets everything come to rest but the agents: channels send what they owe, the journal is closed.
    async fn step_aside(mut self) -> Listening {
        info!("another program takes over; the agents go on");
        self.link_door.abort();
        // Streams of events and logs have no end of their own.
        let _ = tokio::time::timeout(CONNECTIONS, self.gate.empty()).await;
        self.shutdown.close();
        self.to_reload.close();
        while self.to_reload.try_recv().is_ok() {}
        self.dispatcher.close().await;
        self.fleet.end().await;
        for task in self.tasks.drain(..) {
            task.abort();
        }
        self.listening
    }

    async fn drain(mut self, signals: &mut Signals) {
        // By this the routes know that nothing is to be started any more.
        self.shutdown.close();
        // Who waits for a reload is told that there is none any more.
        self.to_reload.close();
        while self.to_reload.try_recv().is_ok() {}
        self.dispatcher.close().await;
        self.fleet.order(Event::Stop).await;
        let now = tokio::select! {
            () = self.fleet.all_stopped() => false,
            _ = signals.shutdown(&self.reloads) => true,
            () = tokio::time::sleep(self.fleet.stop_grace()) => true,
        };
        if now {
            warn!("the agents that are left are being killed");
            self.fleet.order(Event::Kill).await;
            // KILL works unless a process is stuck in the kernel, which no wait of ours mends.
            let _ = tokio::time::timeout(Duration::from_secs(5), self.fleet.all_stopped()).await;
        }
        self.fleet.end().await;
        self.link_door.abort();
        for task in self.tasks.drain(..).chain(self.doors.drain(..)) {
            task.abort();
        }
        for socket in &self.sockets {
            if let Err(error) = std::fs::remove_file(socket) {
                warn!(path = %socket.display(), %error, "a socket cannot be removed");
            }
        }
        info!("the supervisor is down");
    }
}

/// Tries programs that are to take over, until one would start here.
async fn until_replaced(upgrades: &mut mpsc::Receiver<Upgrade>, config: &Path) -> PathBuf {
    while let Some(Upgrade { program, reply }) = upgrades.recv().await {
        let (tried, config) = (program.clone(), config.to_owned());
        let tried = tokio::task::spawn_blocking(move || handover::preflight(&tried, &config)).await;
        let tried = tried.unwrap_or_else(|error| Err(error.to_string()));
        if let Err(why) = &tried {
            warn!(program = %program.display(), why, "another program was to take over, and would not start");
        }
        let takes_over = tried.is_ok();
        // Whoever asked has the answer before anything is closed.
        let _ = reply.send(tried);
        if takes_over {
            return program;
        }
    }
    std::future::pending().await
}

/// What is listened on.
struct Sockets {
    link: links::Listener,
    control: tokio::net::UnixListener,
    tcp: Option<(tokio::net::TcpListener, control::Guard)>,
}

impl Sockets {
    async fn bind(config: &Config) -> Result<Self, RunError> {
        let settings = &config.supervisor;
        let unbound = |path: PathBuf| move |source| RunError::Socket { path, source };
        let (link, control) = (settings.link_socket(), settings.control_socket());
        Ok(Self {
            link: links::bind(&link, home::is_shared(config)).map_err(unbound(link))?,
            control: control::bind(&control).map_err(unbound(control))?,
            tcp: bind_tcp(config).await?,
        })
    }

    /// Those of the program before. An address on TCP that the configuration does not name any more is let go.
    async fn take_over(config: &Config, listening: Listening) -> Result<Self, RunError> {
        let settings = &config.supervisor;
        let lost = |path: PathBuf| move |source| RunError::Socket { path, source };
        let (link_path, control_path) = (settings.link_socket(), settings.control_socket());
        Ok(Self {
            link: links::take_over(listening.link).map_err(lost(link_path))?,
            control: control::take_over(listening.control).map_err(lost(control_path))?,
            tcp: listen_tcp(config, listening.tcp).await?,
        })
    }

    /// Copies of the descriptors.
    fn copy(&self) -> io::Result<Listening> {
        let tcp = self.tcp.as_ref();
        Ok(Listening {
            link: links::copy(&self.link)?,
            control: Handover::copy(&self.control)?,
            tcp: tcp
                .map(|(listener, _)| Handover::copy(listener))
                .transpose()?,
        })
    }
}

/// Runs the dispatcher. Without it the supervisor is none: it ends at once, its agents go on, and the next one
/// adopts them.
#[expect(
    clippy::disallowed_methods,
    reason = "agents outlive it, and nothing else can be done in order without a dispatcher"
)]
async fn dispatching(dispatcher: Dispatcher) {
    let died = tokio::spawn(dispatcher.run()).await;
    if died.is_err_and(|died| died.is_panic()) {
        error!(
            "the dispatcher has panicked: the supervisor ends, and agents wait for the next one"
        );
        std::process::abort();
    }
}

/// What the dispatcher knows of the rest.
fn outside(accounts: &Accounts, events: &Events) -> Outside {
    let (senders, bells) = (accounts.clone(), accounts.clone());
    Outside {
        sink_for: Arc::new(move |message| gateway::sink_for(&senders, message)),
        ring: Arc::new(move |channel| bells.ring(channel)),
        events: events.clone(),
        ..Outside::default()
    }
}

/// Serves the control API.
fn serve(
    current: &control::Current,
    control: tokio::net::UnixListener,
    tcp: Option<(tokio::net::TcpListener, control::Guard)>,
    containment: Arc<Containment>,
    gate: &control::Gate,
) -> Vec<JoinHandle<()>> {
    let in_fleet = Arc::new(move |pid| containment.is_member(pid));
    let peers = control::Peers::of(current.clone(), in_fleet);
    let unix = control::serve_unix(control, current.clone(), peers, gate.clone());
    let unix = tokio::spawn(unix);
    let serve_tcp = |(listener, guard)| {
        let served = control::serve_tcp(listener, guard, current.clone(), gate.clone());
        tokio::spawn(served)
    };
    [Some(unix), tcp.map(serve_tcp)]
        .into_iter()
        .flatten()
        .collect()
}

/// Takes over what an earlier supervisor has left.
fn restore(
    dispatcher: &mut Dispatcher,
    journal: &Journal,
    adopted: &HashSet<(AgentId, Generation)>,
) -> Result<(), RunError> {
    let restored = Reader::open(journal.path())
        .and_then(|reader| dispatcher.restore(&reader, adopted))
        .map_err(RunError::Restore)?;
    if restored != Restored::default() {
        info!(
            queued = restored.queued,
            leased = restored.leased,
            "messages that an earlier supervisor took go on"
        );
    }
    Ok(())
}

/// Tells the dispatcher what agents may spend, and have.
fn budgets(
    dispatcher: &mut Dispatcher,
    journal: &Journal,
    config: &Config,
) -> Result<(), RunError> {
    let limited = config.agents.values();
    let limited: Vec<_> = limited
        .filter_map(|agent| Some((&agent.id, plan::budget(agent)?)))
        .collect();
    if limited.is_empty() {
        return Ok(());
    }
    let reader = Reader::open(journal.path()).map_err(RunError::Restore)?;
    for (agent, budget) in limited {
        let books = plan::books(&reader, agent, &budget, journal::now_ms());
        let books = books.map_err(RunError::Restore)?;
        dispatcher.budget(agent, Some((budget, books)));
    }
    Ok(())
}

/// Gives the memory of what only a start needs back, once it is over.
async fn let_go_of_the_start() {
    tokio::time::sleep(START).await;
    if let Err(error) = crate::sys::program::let_go() {
        debug!(%error, "the pages of the start stay");
    }
}

async fn bind_tcp(
    config: &Config,
) -> Result<Option<(tokio::net::TcpListener, control::Guard)>, RunError> {
    listen_tcp(config, None).await
}

/// Listens where the configuration says, on what the program before has bound if that is there.
async fn listen_tcp(
    config: &Config,
    handed: Option<OwnedFd>,
) -> Result<Option<(tokio::net::TcpListener, control::Guard)>, RunError> {
    let Some(http) = &config.supervisor.http else {
        return Ok(None);
    };
    let token = http
        .token
        .as_ref()
        .map(|token| token.resolve(&config.base_dir))
        .transpose();
    let token = token.map_err(|source| RunError::Secret {
        what: "token of [supervisor.http]".into(),
        source,
    })?;
    let guard = control::Guard::new(http.listen, token, http.allowed_origins.clone()).map_err(
        |source| RunError::Address {
            address: http.listen,
            source,
        },
    )?;
    let unbound = |source| RunError::Address {
        address: http.listen,
        source,
    };
    let handed = handed.map(std::net::TcpListener::from).filter(|handed| {
        let same = |address: SocketAddr| {
            address.ip() == http.listen.ip()
                && (http.listen.port() == 0 || address.port() == http.listen.port())
        };
        handed.local_addr().is_ok_and(same)
    });
    let listener = match handed {
        Some(handed) => tokio::net::TcpListener::from_std(handed).map_err(unbound)?,
        None => tokio::net::TcpListener::bind(http.listen)
            .await
            .map_err(unbound)?,
    };
    Ok(Some((listener, guard)))
}
