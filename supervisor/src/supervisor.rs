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

mod home;
mod inherit;
mod signals;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use kennel_shared::ids::{AgentId, Generation};
use thiserror::Error;
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinHandle,
    time::Instant,
};
use tracing::{debug, error, info, warn};

pub use self::{
    home::{Home, HomeError, SOCKET_PATH_MAX},
    inherit::Inheritance,
};
use self::{inherit::Found, signals::Signals};
use crate::{
    channel::AccountOptions,
    config::{self, Config, Loaded},
    containment::{Caps, Containment, ContainmentError},
    control::{self, App},
    dispatch::{self, DispatcherHandle, Outside, Restored},
    gateway::{self, Accounts},
    journal::{self, Journal, Reader},
    plan,
    supervision::{
        capture::{AgentLog, LogWriter},
        driver::{self, AgentHandle, Setup},
        events::Events,
        lifecycle::{Event, State},
        links,
        sampler::{self, SamplerHandle},
        spawner::Spawner,
    },
};

/// Messages of all channels that wait for the gateway.
const INBOUND: usize = 64;

/// How long answers may take to leave through their channels when all else is done.
const CHANNEL_GRACE: Duration = Duration::from_secs(5);

/// How long the journal may take to write what was not sent.
const OUTBOX_GRACE: Duration = Duration::from_secs(2);

/// How long a start may take with all of its agents.
const START: Duration = Duration::from_secs(2);

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

/// Runs a supervisor until it is told to end. Blocks; sets up its own runtime.
pub fn run(loaded: Loaded, config_path: PathBuf) -> Result<(), RunError> {
    let system = |what| move |source| RunError::System { what, source };
    crate::sys::keep_inherited_descriptors()
        .map_err(system("the inherited descriptors cannot be listed"))?;
    if let Err(error) = crate::sys::raise_descriptor_limit() {
        warn!(%error, "the limit of open files cannot be raised; it may be too low for many agents");
    }
    crate::sys::close_memory().map_err(system("the memory cannot be closed to other processes"))?;
    let home = Home::prepare(&loaded.config)?;
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
    let ended = runtime.block_on(async {
        let mut signals = Signals::listen().map_err(|source| RunError::System {
            what: "signals cannot be listened for",
            source,
        })?;
        let mut running = Running::start(
            Arc::new(loaded.config),
            config_path,
            held,
            journal,
            inheritance,
        )
        .await?;
        running.until_told(&mut signals).await;
        running.drain(&mut signals).await;
        Ok(())
    });
    // What is still blocking (a secret command, a log line) has nothing to say any more.
    runtime.shutdown_timeout(Duration::from_millis(200));
    // It ends once nobody is left who could hand something in, and has written all of it then.
    if writer.join().is_err() {
        error!("the journal's thread has panicked");
    }
    if let Err(error) = containment.release() {
        warn!(
            error = crate::error_chain(&error),
            "the groups cannot be removed"
        );
    }
    drop(home);
    ended
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

/// A supervisor at work.
struct Running {
    agents: Vec<AgentHandle>,
    accounts: Accounts,
    dispatcher: DispatcherHandle,
    stop_grace: Duration,
    shutdown: mpsc::Receiver<()>,
    /// Kept until all is over: the one who drops it last closes it.
    _journal: Journal,
    tasks: Vec<JoinHandle<()>>,
    drivers: Vec<JoinHandle<()>>,
    /// They end with their accounts.
    outboxes: Vec<JoinHandle<()>>,
    sockets: Vec<PathBuf>,
}

impl Running {
    async fn start(
        config: Arc<Config>,
        config_path: PathBuf,
        containment: Arc<Containment>,
        journal: Journal,
        inheritance: Inheritance,
    ) -> Result<Self, RunError> {
        let began = Instant::now();
        let settings = &config.supervisor;
        let (link_path, control_path) = (settings.link_socket(), settings.control_socket());
        let unbound = |path: &Path| {
            let path = path.to_owned();
            move |source| RunError::Socket { path, source }
        };
        let link_listener =
            links::bind(&link_path, home::is_shared(&config)).map_err(unbound(&link_path))?;
        let control_listener = control::bind(&control_path).map_err(unbound(&control_path))?;
        let tcp = bind_tcp(&config).await?;

        let events = Events::default();
        let accounts = Accounts::default();
        let (dispatcher, mut dispatcher_task) = dispatch::prepare(
            settings.max_concurrent as usize,
            journal.clone(),
            outside(&accounts, &events),
        );
        let sampler = sampler::start().map_err(|source| RunError::System {
            what: "the sampler cannot be started",
            source,
        })?;
        let fleet = containment
            .fleet_reader()
            .map(|reader| Box::new(reader) as _);
        sampler.fleet(plan::fleet_caps(&config), fleet);
        let (leaving, adopted) = (inheritance.users(), inheritance.adopted());
        let (agents, drivers) = start_drivers(
            &config,
            &containment,
            &dispatcher,
            &mut dispatcher_task,
            &events,
            &sampler,
            (&journal, inheritance),
        )?;
        restore(&journal, &mut dispatcher_task, &adopted).map_err(RunError::Restore)?;
        let mut tasks = vec![tokio::spawn(dispatching(dispatcher_task))];
        tasks.push(tokio::spawn(links::accept(
            link_listener,
            Arc::new(doors(&config, &agents, &leaving)),
        )));
        let outboxes = start_channels(&config, &accounts, &dispatcher, &journal, &mut tasks)?;

        let (shutdown_tx, shutdown) = mpsc::channel(1);
        let app = Arc::new(App {
            config: Arc::clone(&config),
            config_path,
            agents: agents
                .iter()
                .filter(|agent| !leaving.contains_key(&agent.agent))
                .map(|agent| (agent.agent.to_string(), agent.clone()))
                .collect::<BTreeMap<_, _>>(),
            accounts: accounts.clone(),
            dispatcher: dispatcher.clone(),
            journal: journal.clone(),
            sampler,
            limits_changing: Mutex::default(),
            events,
            containment: Arc::clone(&containment),
            shutdown: shutdown_tx,
            began,
        });
        let peers = control::Peers {
            in_fleet: Arc::new(move |pid| containment.is_member(pid)),
            agents: agents.clone().into(),
        };
        tasks.push(tokio::spawn(control::serve_unix(
            control_listener,
            Arc::clone(&app),
            peers,
        )));
        if let Some((listener, guard)) = tcp {
            tasks.push(tokio::spawn(control::serve_tcp(listener, guard, app)));
        }

        start_agents(&config, &agents).await;
        info!(
            agents = agents.len(),
            channels = accounts.len(),
            pid = std::process::id(),
            "the supervisor is up"
        );
        tasks.push(tokio::spawn(let_go_of_the_start()));
        Ok(Self {
            agents,
            accounts,
            dispatcher,
            stop_grace: config.supervisor.stop_grace,
            shutdown,
            _journal: journal,
            tasks,
            drivers,
            outboxes,
            sockets: vec![link_path, control_path],
        })
    }

    async fn until_told(&mut self, signals: &mut Signals) {
        let why = tokio::select! {
            signal = signals.shutdown() => signal,
            _ = self.shutdown.recv() => "a request",
        };
        info!(
            why,
            "the supervisor is shutting down; a second signal ends the agents at once"
        );
    }

    async fn drain(mut self, signals: &mut Signals) {
        self.dispatcher.close().await;
        for agent in &self.agents {
            agent.order(Event::Stop).await;
        }
        let stopped = all_stopped(&self.agents);
        let now = tokio::select! {
            () = stopped => false,
            _ = signals.shutdown() => true,
            () = tokio::time::sleep(self.stop_grace) => true,
        };
        if now {
            warn!("the agents that are left are being killed");
            for agent in &self.agents {
                agent.order(Event::Kill).await;
            }
            // KILL works unless a process is stuck in the kernel, which no wait of ours mends.
            let _ = tokio::time::timeout(Duration::from_secs(5), all_stopped(&self.agents)).await;
        }
        let out = async {
            self.dispatcher.flushed().await;
            self.accounts.drained().await;
        };
        let _ = tokio::time::timeout(CHANNEL_GRACE, out).await;
        for account in self.accounts.all() {
            account.stop();
        }
        // What they could not send is put back, for the next supervisor.
        let settled = futures::future::join_all(self.outboxes.drain(..));
        let _ = tokio::time::timeout(OUTBOX_GRACE, settled).await;
        for task in self.tasks.drain(..).chain(self.drivers.drain(..)) {
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

/// Runs the dispatcher. Without it the supervisor is none: it ends at once, its agents go on, and the next one
/// adopts them.
#[expect(
    clippy::disallowed_methods,
    reason = "agents outlive it, and nothing else can be done in order without a dispatcher"
)]
async fn dispatching(dispatcher: dispatch::Dispatcher) {
    let died = tokio::spawn(dispatcher.run()).await;
    if died.is_err_and(|died| died.is_panic()) {
        error!(
            "the dispatcher has panicked: the supervisor ends, and agents wait for the next one"
        );
        std::process::abort();
    }
}

/// What the dispatcher knows of chats and operators.
fn outside(accounts: &Accounts, events: &Events) -> Outside {
    let (answered, rung) = (accounts.clone(), accounts.clone());
    Outside {
        sink_for: Arc::new(move |message| gateway::sink_for(&answered, message)),
        ring: Arc::new(move |channel| rung.ring(channel)),
        events: events.clone(),
    }
}

/// Has the dispatcher take over what an earlier supervisor has left.
fn restore(
    journal: &Journal,
    dispatcher: &mut dispatch::Dispatcher,
    adopted: &HashSet<(AgentId, Generation)>,
) -> Result<(), journal::ReadError> {
    let reader = Reader::open(journal.path())?;
    let Restored { queued, leased } = dispatcher.restore(&reader, adopted)?;
    if queued + leased > 0 {
        info!(
            queued,
            leased, "messages that an earlier supervisor took go on"
        );
    }
    Ok(())
}

async fn start_agents(config: &Config, agents: &[AgentHandle]) {
    for agent in agents {
        let config = config.agent(agent.agent.as_str());
        if config.is_some_and(|config| config.enabled && config.autostart) {
            agent.order(Event::Start).await;
        }
    }
}

async fn all_stopped(agents: &[AgentHandle]) {
    for agent in agents {
        let mut observed = agent.observed.clone();
        let _ = observed
            .wait_for(|seen| seen.state == State::Stopped && seen.pid.is_none())
            .await;
    }
}

/// Gives the memory of what only a start needs back, once it is over.
async fn let_go_of_the_start() {
    tokio::time::sleep(START).await;
    if let Err(error) = crate::sys::program::let_go() {
        debug!(%error, "the pages of the start stay");
    }
}

/// The ways from the link socket to the drivers.
fn doors(
    config: &Config,
    agents: &[AgentHandle],
    leaving: &BTreeMap<AgentId, u32>,
) -> HashMap<AgentId, links::Door> {
    let own = nix::unistd::geteuid().as_raw();
    let door = |agent: &AgentHandle| {
        let settings = config.agent(agent.agent.as_str());
        let user = settings.and_then(|settings| plan::cage(config, settings).ok()?.user);
        let leaving = leaving.get(&agent.agent).copied();
        links::Door {
            commands: agent.commands.clone(),
            uid: leaving.unwrap_or(user.map_or(own, |user| user.uid)),
        }
    };
    agents
        .iter()
        .map(|agent| (agent.agent.clone(), door(agent)))
        .collect()
}

async fn bind_tcp(
    config: &Config,
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
    let listener = tokio::net::TcpListener::bind(http.listen)
        .await
        .map_err(|source| RunError::Address {
            address: http.listen,
            source,
        })?;
    Ok(Some((listener, guard)))
}

/// Starts the accounts and the gateway; the tasks that send what the accounts owe.
fn start_channels(
    config: &Config,
    accounts: &Accounts,
    dispatcher: &DispatcherHandle,
    journal: &Journal,
    tasks: &mut Vec<JoinHandle<()>>,
) -> Result<Vec<JoinHandle<()>>, RunError> {
    let (inbound_tx, inbound) = mpsc::channel(INBOUND);
    let mut outboxes = Vec::new();
    for channel in config.channels.values() {
        let id = channel.id.clone();
        let handle = plan::start_account(config, channel, &inbound_tx, AccountOptions::default())
            .map_err(|detail| RunError::Channel {
            channel: channel.id.to_string(),
            detail,
        })?;
        outboxes.push(gateway::open(accounts, id, handle, journal.clone()));
    }
    let gateway = gateway::run(
        inbound,
        accounts.clone(),
        plan::router(config),
        dispatcher.clone(),
        journal.clone(),
    );
    tasks.push(tokio::spawn(gateway));
    Ok(outboxes)
}

/// Starts a driver for every enabled agent. No agent runs yet.
fn start_drivers(
    config: &Arc<Config>,
    containment: &Arc<Containment>,
    dispatcher: &DispatcherHandle,
    lanes: &mut dispatch::Dispatcher,
    events: &Events,
    sampler: &SamplerHandle,
    (journal, mut inheritance): (&Journal, Inheritance),
) -> Result<(Vec<AgentHandle>, Vec<JoinHandle<()>>), RunError> {
    let settings = &config.supervisor;
    let system = |what| move |source| RunError::System { what, source };
    let spawner = Spawner::start().map_err(system("the spawner cannot be started"))?;
    let logs = settings.state_dir.join("logs");
    let (writer, _) = LogWriter::start(logs).map_err(system("the log writer cannot be started"))?;
    let mut agents = Vec::new();
    let mut drivers = Vec::new();
    for agent in config.agents.values().filter(|agent| agent.enabled) {
        let id = agent.id.clone();
        let (caps, requested) = plan::caps(&agent.limits);
        let cage = inherit::cage(config, containment, agent);
        let user = cage.as_ref().ok().and_then(|cage| cage.user);
        let setup = Setup {
            agent: id.clone(),
            policy: plan::policy(agent),
            spec: plan::spec_source(config, agent),
            containment: Arc::clone(containment),
            caps,
            requested,
            program: plan::agent_host(),
            directory: settings.agent_dir(&agent.id),
            socket: settings.link_socket(),
            log_level: settings.log_level.as_str().to_owned(),
            orphan_grace: settings.orphan_grace,
            cage,
            log: AgentLog::new(id.clone(), plan::rotation(agent), writer.clone()),
            spawner: spawner.clone(),
            reports: dispatcher.reports(),
            events: events.clone(),
            sampler: sampler.clone(),
            journal: journal.clone(),
            past: inheritance.past(&id),
        };
        home::prepare_agent(&setup.directory, &agent.workspace, user)?;
        let (handle, driver) = driver::prepare(setup);
        lanes.add(
            handle.agent.clone(),
            handle.commands.clone(),
            plan::lane_limits(agent),
        );
        if !agent.autostart {
            lanes.rest(&handle.agent);
        }
        agents.push(handle);
        drivers.push(tokio::spawn(driver.run()));
    }
    for id in inheritance.retiring() {
        let setup = Setup {
            agent: id.clone(),
            policy: inherit::RETIRING,
            spec: inherit::retiring_spec(),
            containment: Arc::clone(containment),
            caps: Caps::default(),
            requested: Vec::new(),
            program: plan::agent_host(),
            directory: settings.agent_dir(&id),
            socket: settings.link_socket(),
            log_level: settings.log_level.as_str().to_owned(),
            orphan_grace: settings.orphan_grace,
            cage: Err("it is not in the configuration any more".into()),
            log: AgentLog::new(id.clone(), inherit::RETIRING_LOG, writer.clone()),
            spawner: spawner.clone(),
            reports: dispatcher.reports(),
            events: events.clone(),
            sampler: sampler.clone(),
            journal: journal.clone(),
            past: inheritance.past(&id),
        };
        let (handle, driver) = driver::prepare(setup);
        // What is in its hands may come to its end; nothing new comes in.
        lanes.add(id, handle.commands.clone(), inherit::RETIRING_LANE);
        lanes.rest(&handle.agent);
        agents.push(handle);
        drivers.push(tokio::spawn(driver.run()));
    }
    Ok((agents, drivers))
}
