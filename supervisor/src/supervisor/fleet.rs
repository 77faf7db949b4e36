//! The agents and the channel accounts of a supervisor: started, published to whoever needs to find them, and brought
//! from one configuration to another (`reload`).
//!
//! Owned by the supervisor's main task; everybody else sees what it publishes, each time whole: [`App`] for the control
//! API, [`Routes`] for the gateway, [`Doors`] for links. Its maps are changed in the same breath as what they hold is
//! started, so that whoever takes the supervisor down finds everything that runs, whenever that is.

mod reload;
mod stage;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use kennel_shared::ids::{AgentId, ChannelId};
use tokio::{sync::watch, task::JoinHandle};

pub(super) use self::stage::Stage;
use super::{HomeError, RunError};
use crate::{
    channel::{AccountHandle, AccountOptions},
    config::{AgentConfig, Config},
    control::App,
    dispatch::Dispatcher,
    gateway::{Accounts, Routes},
    plan,
    supervision::{
        driver::AgentHandle,
        lifecycle::{Event, State},
        links::{Door, Doors},
    },
};

/// How long answers may take to leave through a channel that ends.
pub(super) const CHANNEL_GRACE: Duration = Duration::from_secs(5);

/// A running account.
struct Connected {
    handle: AccountHandle,
    task: JoinHandle<()>,
}

/// An agent that was removed: its driver sees to its end.
struct Leaving {
    handle: AgentHandle,
    /// Ends when the agent has.
    farewell: JoinHandle<()>,
}

/// See the module.
pub(super) struct Fleet {
    stage: Stage,
    config: Arc<Config>,
    prompts: BTreeMap<AgentId, u64>,
    agents: BTreeMap<AgentId, AgentHandle>,
    drivers: HashMap<AgentId, JoinHandle<()>>,
    leaving: BTreeMap<AgentId, Leaving>,
    accounts: HashMap<ChannelId, Connected>,
    /// Accounts that are on their way out; one of the same name connects after them.
    closing: HashMap<ChannelId, JoinHandle<()>>,
    /// What is published, once the control API is there.
    app: Option<watch::Sender<Arc<App>>>,
    routes: watch::Sender<Arc<Routes>>,
    doors: watch::Sender<Doors>,
}

impl Fleet {
    /// No agents and no channels yet.
    pub(super) fn new(stage: Stage, config: Arc<Config>, prompts: BTreeMap<AgentId, u64>) -> Self {
        Self {
            stage,
            config,
            prompts,
            agents: BTreeMap::new(),
            drivers: HashMap::new(),
            leaving: BTreeMap::new(),
            accounts: HashMap::new(),
            closing: HashMap::new(),
            app: None,
            routes: watch::Sender::default(),
            doors: watch::Sender::default(),
        }
    }

    /// Starts a driver for every enabled agent. No agent runs yet.
    pub(super) fn start_drivers(&mut self, lanes: &mut Dispatcher) -> Result<(), HomeError> {
        let config = Arc::clone(&self.config);
        for agent in config.agents.values().filter(|agent| agent.enabled) {
            Stage::make_room(&config, agent)?;
            let handle = self.start_driver(agent);
            lanes.add(
                handle.agent.clone(),
                handle.commands.clone(),
                agent.max_concurrent as usize,
                agent.max_queued as usize,
            );
            if !agent.autostart {
                lanes.rest(&handle.agent);
            }
        }
        Ok(())
    }

    fn start_driver(&mut self, agent: &AgentConfig) -> AgentHandle {
        let (handle, driver) = self.stage.driver(&self.config, agent);
        self.agents.insert(agent.id.clone(), handle.clone());
        self.drivers
            .insert(agent.id.clone(), tokio::spawn(driver.run()));
        handle
    }

    /// Connects every channel.
    pub(super) fn start_channels(&mut self) -> Result<(), RunError> {
        let config = Arc::clone(&self.config);
        for channel in config.channels.values() {
            let account = plan::account(&config, channel).map_err(|detail| RunError::Channel {
                channel: channel.id.to_string(),
                detail,
            })?;
            self.connect(channel.id.clone(), account);
        }
        Ok(())
    }

    fn connect(&mut self, id: ChannelId, account: plan::PreparedAccount) {
        let before = self.closing.remove(&id);
        let before = async move {
            if let Some(before) = before {
                // It ends as it ends.
                let _ = before.await;
            }
        };
        let (handle, task) = account.start(&self.stage.inbound, AccountOptions::default(), before);
        self.accounts.insert(id, Connected { handle, task });
    }

    /// Lets an account send what it has, and ends it.
    fn disconnect(&mut self, id: &ChannelId) {
        let Some(Connected { handle, task }) = self.accounts.remove(id) else {
            return;
        };
        let closing = tokio::spawn(async move {
            let _ = tokio::time::timeout(CHANNEL_GRACE, handle.drained()).await;
            handle.stop();
            let _ = task.await;
        });
        self.closing.insert(id.clone(), closing);
    }

    /// Where the gateway finds the routes.
    pub(super) fn routes(&self) -> watch::Receiver<Arc<Routes>> {
        self.routes.subscribe()
    }

    /// Where links find the drivers.
    pub(super) fn doors(&self) -> watch::Receiver<Doors> {
        self.doors.subscribe()
    }

    /// Where the control API finds everything. `app` is what stays the same.
    pub(super) fn serve(&mut self, app: App) -> watch::Receiver<Arc<App>> {
        let published = watch::Sender::new(Arc::new(app));
        let seen = published.subscribe();
        self.app = Some(published);
        self.publish();
        seen
    }

    /// Shows everybody what there is now.
    pub(super) fn publish(&mut self) {
        self.leaving
            .retain(|_, leaving| !leaving.farewell.is_finished());
        self.closing.retain(|_, closing| !closing.is_finished());
        let accounts: Accounts = Arc::new(
            self.accounts
                .iter()
                .map(|(id, connected)| (id.clone(), connected.handle.clone()))
                .collect(),
        );
        self.routes.send_replace(Arc::new(Routes {
            accounts: Arc::clone(&accounts),
            router: plan::router(&self.config),
        }));
        self.doors.send_replace(Arc::new(self.all_doors()));
        if let Some(app) = &self.app {
            let before = app.borrow().clone();
            app.send_replace(Arc::new(App {
                config: Arc::clone(&self.config),
                agents: self
                    .agents
                    .iter()
                    .map(|(id, handle)| (id.to_string(), handle.clone()))
                    .collect(),
                leaving: self
                    .leaving
                    .values()
                    .map(|leaving| leaving.handle.clone())
                    .collect(),
                accounts,
                ..(*before).clone()
            }));
        }
    }

    /// The ways from the link socket to the drivers.
    fn all_doors(&self) -> HashMap<AgentId, Door> {
        let own = nix::unistd::geteuid().as_raw();
        let door = |agent: &AgentHandle| {
            let settings = self.config.agent(agent.agent.as_str());
            let user = settings.and_then(|settings| plan::cage(&self.config, settings).ok()?.user);
            Door {
                commands: agent.commands.clone(),
                uid: user.map_or(own, |user| user.uid),
            }
        };
        // Those that leave finish their turns, and may lose their link meanwhile.
        self.handles()
            .map(|agent| (agent.agent.clone(), door(agent)))
            .collect()
    }

    /// Starts every agent that starts by itself.
    pub(super) async fn start_agents(&self) {
        for (id, agent) in &self.agents {
            if self.config.agents.get(id).is_some_and(|own| own.autostart) {
                agent.order(Event::Start).await;
            }
        }
    }

    /// How many agents and channels there are.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.agents.len(), self.accounts.len())
    }

    /// How long all agents may take to stop.
    pub(super) fn stop_grace(&self) -> Duration {
        self.config.supervisor.stop_grace
    }

    /// Everybody who may have a process, those that were removed too.
    fn handles(&self) -> impl Iterator<Item = &AgentHandle> {
        let leaving = self.leaving.values().map(|leaving| &leaving.handle);
        leaving.chain(self.agents.values())
    }

    /// Gives all agents an order.
    pub(super) async fn order(&self, event: Event) {
        for agent in self.handles() {
            agent.order(event).await;
        }
    }

    /// Waits until no agent has a process.
    pub(super) async fn all_stopped(&self) {
        for agent in self.handles() {
            until_gone(agent).await;
        }
    }

    /// Ends the accounts, once what they have has been sent or has had its time, and then the drivers.
    pub(super) async fn end(self) {
        let accounts = || self.accounts.values().map(|connected| &connected.handle);
        let drained = futures::future::join_all(accounts().map(AccountHandle::drained));
        let _ = tokio::time::timeout(CHANNEL_GRACE, drained).await;
        for account in accounts() {
            account.stop();
        }
        let leaving = self.leaving.into_values().map(|leaving| leaving.farewell);
        for task in self.drivers.into_values().chain(leaving) {
            task.abort();
        }
    }
}

/// Waits until an agent has ended; for ever, if it is told to go on.
async fn until_gone(agent: &AgentHandle) {
    let mut observed = agent.observed.clone();
    let _ = observed
        .wait_for(|seen| seen.state == State::Stopped && seen.pid.is_none())
        .await;
}
