//! The agents and the channel accounts of a supervisor: started, published to whoever needs to find them, and brought
//! from one configuration to another (`reload`).
//!
//! Owned by the supervisor's main task; everybody else sees what it publishes, each time whole: [`App`] for the control
//! API, a [`Router`] for the gateway, [`Doors`] for links. Its maps are changed in the same breath as what they hold is
//! started, so that whoever takes the supervisor down finds everything that runs, whenever that is.

mod reload;
mod stage;
mod tell;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use kennel_shared::ids::{AgentId, ChannelId};
use tokio::{sync::watch, task::JoinHandle};

pub(super) use self::stage::Stage;
use super::{HomeError, Inheritance, RunError, inherit};
use crate::{
    channel::{AccountHandle, AccountOptions},
    config::{AgentConfig, Config},
    control::App,
    dispatch::{Dispatcher, router::Router},
    gateway, plan,
    supervision::{
        adoption::Past,
        driver::AgentHandle,
        lifecycle::{Event, State},
        links::{Door, Doors},
    },
};

/// How long answers may take to leave through a channel that ends.
const CHANNEL_GRACE: Duration = Duration::from_secs(5);

/// How long the journal may take to write what was not sent.
const OUTBOX_GRACE: Duration = Duration::from_secs(2);

/// A running account.
struct Connected {
    handle: AccountHandle,
    task: JoinHandle<()>,
    /// Sends what it owes; ends after it.
    outbox: JoinHandle<()>,
}

/// The end of an account.
type Closing = Shared<BoxFuture<'static, ()>>;

/// An agent that was removed: its driver sees to its end.
struct Leaving {
    handle: AgentHandle,
    /// The user that it runs as.
    uid: u32,
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
    closing: HashMap<ChannelId, Closing>,
    /// What is published, once the control API is there.
    app: Option<watch::Sender<Arc<App>>>,
    router: watch::Sender<Arc<Router>>,
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
            router: watch::Sender::default(),
            doors: watch::Sender::default(),
        }
    }

    /// Starts a driver for every enabled agent, and for those that an earlier supervisor has left and that are not to
    /// run any more. No agent runs yet that is not adopted.
    pub(super) fn start_drivers(
        &mut self,
        lanes: &mut Dispatcher,
        mut inheritance: Inheritance,
    ) -> Result<(), HomeError> {
        let config = Arc::clone(&self.config);
        for agent in config.agents.values().filter(|agent| agent.enabled) {
            Stage::make_room(&config, agent)?;
            let past = inheritance.past(&agent.id);
            let handle = self.start_driver(agent, past);
            lanes.add(
                handle.agent.clone(),
                handle.commands.clone(),
                &plan::lane_limits(agent),
            );
            if !agent.autostart {
                lanes.rest(&handle.agent);
            }
        }
        for (id, uid) in inheritance.users() {
            let past = inheritance.past(&id);
            let (handle, driver) = self.stage.retiring(&self.config, &id, past);
            // What is in its hands may come to its end; nothing new comes in.
            lanes.add(
                id.clone(),
                handle.commands.clone(),
                &inherit::retiring_lane(),
            );
            lanes.rest(&id);
            let driver = tokio::spawn(driver.run());
            let own = handle.clone();
            let farewell = tokio::spawn(async move {
                let mut observed = own.observed.clone();
                let _ = observed.wait_for(|seen| seen.adopted).await;
                until_gone(&own).await;
                driver.abort();
            });
            let leaving = Leaving {
                handle,
                uid,
                farewell,
            };
            self.leaving.insert(id, leaving);
        }
        Ok(())
    }

    fn start_driver(&mut self, agent: &AgentConfig, past: Past) -> AgentHandle {
        let (handle, driver) = self.stage.driver(&self.config, agent, past);
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
        let before = before.unwrap_or_else(|| async {}.boxed().shared());
        let options = AccountOptions::default();
        let (handle, task) = account.start(&self.stage.inbound, options, before.clone());
        let (accounts, journal) = (&self.stage.accounts, self.stage.journal.clone());
        let outbox = gateway::open(accounts, id.clone(), handle.clone(), journal, before);
        let connected = Connected {
            handle,
            task,
            outbox,
        };
        self.accounts.insert(id, connected);
    }

    /// Lets an account send what it owes, and ends it. What it takes in from now on is not taken.
    fn disconnect(&mut self, id: &ChannelId) {
        let Some(Connected {
            handle,
            task,
            outbox,
        }) = self.accounts.remove(id)
        else {
            return;
        };
        let drained = self.stage.accounts.drained_of(id);
        self.stage.accounts.remove(id);
        let closing = tokio::spawn(async move {
            let _ = tokio::time::timeout(CHANNEL_GRACE, drained).await;
            handle.stop();
            // They end as they end.
            let _ = task.await;
            let _ = outbox.await;
        });
        let closing = closing.map(|_| ()).boxed().shared();
        self.closing.insert(id.clone(), closing);
    }

    /// Where the gateway finds the bindings.
    pub(super) fn router(&self) -> watch::Receiver<Arc<Router>> {
        self.router.subscribe()
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
        self.closing
            .retain(|_, closing| closing.clone().now_or_never().is_none());
        self.router
            .send_replace(Arc::new(plan::router(&self.config)));
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
                ..(*before).clone()
            }));
        }
    }

    /// The ways from the link socket to the drivers.
    fn all_doors(&self) -> HashMap<AgentId, Door> {
        let door = |handle: &AgentHandle, uid| {
            let commands = handle.commands.clone();
            (handle.agent.clone(), Door { commands, uid })
        };
        // Those that leave finish their turns, and may lose their link meanwhile.
        let leaving = self.leaving.values();
        let leaving = leaving.map(|leaving| door(&leaving.handle, leaving.uid));
        let agents = self.agents.values();
        let agents = agents.map(|handle| door(handle, uid_of(&self.config, &handle.agent)));
        leaving.chain(agents).collect()
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

    /// Ends the accounts, once what they owe is sent or has had its time, and then the drivers.
    pub(super) async fn end(self) {
        let out = async {
            self.stage.dispatcher.flushed().await;
            self.stage.accounts.drained().await;
        };
        let _ = tokio::time::timeout(CHANNEL_GRACE, out).await;
        let mut ends = Vec::new();
        for connected in self.accounts.into_values() {
            connected.handle.stop();
            ends.push(connected.outbox.map(|_| ()).boxed());
        }
        ends.extend(self.closing.into_values().map(FutureExt::boxed));
        // What they could not send is put back, for the next supervisor.
        let _ = tokio::time::timeout(OUTBOX_GRACE, futures::future::join_all(ends)).await;
        let leaving = self.leaving.into_values().map(|leaving| leaving.farewell);
        for task in self.drivers.into_values().chain(leaving) {
            task.abort();
        }
    }
}

/// As whom an agent runs.
fn uid_of(config: &Config, id: &AgentId) -> u32 {
    let agent = config.agents.get(id);
    let user = agent.and_then(|agent| plan::cage(config, agent).ok()?.user);
    user.map_or_else(|| nix::unistd::geteuid().as_raw(), |user| user.uid)
}

/// Waits until an agent has ended; for ever, if it is told to go on.
async fn until_gone(agent: &AgentHandle) {
    let mut observed = agent.observed.clone();
    let _ = observed
        .wait_for(|seen| seen.state == State::Stopped && seen.pid.is_none())
        .await;
}
