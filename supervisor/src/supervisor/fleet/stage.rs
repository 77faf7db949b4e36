//! What every agent and every account is started with.

use std::{path::PathBuf, sync::Arc};

use kennel_shared::ids::AgentId;
use tokio::sync::mpsc;

use crate::{
    channel::Inbound,
    config::{AgentConfig, Config, Directories},
    containment::{Caps, Containment},
    dispatch::DispatcherHandle,
    gateway::Accounts,
    journal::Journal,
    plan,
    supervision::{
        adoption::Past,
        capture::{AgentLog, LogWriter},
        driver::{self, AgentHandle, Driver, Setup, SpecSource, Terms},
        events::Events,
        sampler::SamplerHandle,
        spawner::Spawner,
    },
    supervisor::{
        home::{self, HomeError},
        inherit,
    },
};

/// See the module. All of it is handles.
pub(in crate::supervisor) struct Stage {
    /// The main file of the configuration.
    pub(in crate::supervisor) config_path: PathBuf,
    /// Where things go when it does not say.
    pub(in crate::supervisor) directories: Directories,
    pub(in crate::supervisor) containment: Arc<Containment>,
    pub(in crate::supervisor) dispatcher: DispatcherHandle,
    pub(in crate::supervisor) events: Events,
    pub(in crate::supervisor) sampler: SamplerHandle,
    pub(in crate::supervisor) spawner: Spawner,
    pub(in crate::supervisor) logs: LogWriter,
    /// Where accounts are found, and what they owe.
    pub(in crate::supervisor) accounts: Accounts,
    pub(in crate::supervisor) journal: Journal,
    /// Where accounts hand in what they receive.
    pub(in crate::supervisor) inbound: mpsc::Sender<Inbound>,
}

/// What an agent is told to be, once it has its folders: at each start they are given to the user that it runs as,
/// and no process of another user is left in them then.
fn with_room(config: &Arc<Config>, agent: &AgentConfig) -> SpecSource {
    let spec = plan::spec_source(config, agent);
    let (config, agent) = (Arc::clone(config), agent.clone());
    Arc::new(move || {
        Stage::make_room(&config, &agent).map_err(|error| crate::error_chain(&error))?;
        spec()
    })
}

impl Stage {
    /// Makes the folders of an agent. Blocks.
    pub(super) fn make_room(config: &Config, agent: &AgentConfig) -> Result<(), HomeError> {
        let user = plan::cage(config, agent).ok().and_then(|cage| cage.user);
        home::prepare_agent(
            &config.supervisor.agent_dir(&agent.id),
            &agent.workspace,
            user,
        )
    }

    /// The driver of an agent, which does not run yet.
    pub(super) fn driver(
        &self,
        config: &Arc<Config>,
        agent: &AgentConfig,
        past: Past,
    ) -> (AgentHandle, Driver) {
        let terms = self.terms(config, agent);
        let directory = config.supervisor.agent_dir(&agent.id);
        self.driver_on(config, agent.id.clone(), terms, directory, past)
    }

    /// The driver of an agent that an earlier supervisor has left and that is not to run any more.
    pub(super) fn retiring(
        &self,
        config: &Config,
        id: &AgentId,
        past: Past,
    ) -> (AgentHandle, Driver) {
        let terms = Terms {
            policy: inherit::RETIRING,
            spec: inherit::retiring_spec(),
            caps: Caps::default(),
            requested: Vec::new(),
            cage: Err("it is not in the configuration any more".into()),
            log_level: config.supervisor.log_level.as_str().to_owned(),
            orphan_grace: config.supervisor.orphan_grace,
            rotation: inherit::RETIRING_LOG,
        };
        let directory = config.supervisor.agent_dir(id);
        self.driver_on(config, id.clone(), terms, directory, past)
    }

    fn driver_on(
        &self,
        config: &Config,
        id: AgentId,
        terms: Terms,
        directory: PathBuf,
        past: Past,
    ) -> (AgentHandle, Driver) {
        let Terms {
            policy,
            spec,
            caps,
            requested,
            cage,
            log_level,
            orphan_grace,
            rotation,
        } = terms;
        driver::prepare(Setup {
            agent: id.clone(),
            policy,
            spec,
            containment: Arc::clone(&self.containment),
            caps,
            requested,
            program: plan::agent_host(),
            directory,
            socket: config.supervisor.link_socket(),
            log_level,
            orphan_grace,
            cage,
            log: AgentLog::new(id, rotation, self.logs.clone()),
            spawner: self.spawner.clone(),
            reports: self.dispatcher.reports(),
            events: self.events.clone(),
            sampler: self.sampler.clone(),
            journal: self.journal.clone(),
            past,
        })
    }

    /// What of an agent may change while its driver runs.
    pub(super) fn terms(&self, config: &Arc<Config>, agent: &AgentConfig) -> Terms {
        let cage = inherit::cage(config, &self.containment, agent);
        let (caps, requested) = plan::caps(&agent.limits);
        Terms {
            policy: plan::policy(agent),
            spec: with_room(config, agent),
            caps,
            requested,
            cage,
            log_level: config.supervisor.log_level.as_str().to_owned(),
            orphan_grace: config.supervisor.orphan_grace,
            rotation: plan::rotation(agent),
        }
    }
}
