//! From the configuration that runs to another one: first everything that can fail, then everything that is done.
//!
//! Whoever serves requests may be dropped at any time, since the supervisor may be told to end at any time: what has
//! been done by then is in the fleet's maps, and what has not is not begun.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use kennel_shared::ids::{AgentId, ChannelId, Generation};
use tokio::{sync::mpsc, task::spawn_blocking};
use tracing::warn;

use super::{Fleet, Leaving, Stage, uid_of, until_gone};
use crate::{
    config::{AgentConfig, Config, Diagnostics, Fault},
    containment::Caps,
    dispatch::{Change, Found, waiting_for},
    plan::{self, PreparedAccount},
    reload::{
        AgentStep, ChannelChange, Done, Goal, Outcome, Plan, Proposal, Request, Setting, Underway,
        propose,
    },
    supervision::{
        adoption::Past,
        driver::AgentHandle,
        lifecycle::{Desired, Event, State},
        links,
    },
    supervisor::home,
};

/// A proposal, and all of it that had to be made first.
struct Ready {
    proposal: Proposal,
    accounts: BTreeMap<ChannelId, PreparedAccount>,
}

impl Fleet {
    /// Carries out requests, one after the other.
    pub(in crate::supervisor) async fn serve_reloads(
        &mut self,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Infallible {
        loop {
            let Some(request) = requests.recv().await else {
                // The control API holds the other end for as long as there is one.
                return std::future::pending().await;
            };
            let outcome = self.reload(&request).await;
            self.tell(&request, &outcome);
            if let Some(reply) = request.reply {
                // Who asked may have stopped waiting.
                let _ = reply.send(outcome);
            }
        }
    }

    async fn reload(&mut self, request: &Request) -> Outcome {
        let current = self.setting();
        let mut proposal = self.propose(current, request.dry_run).await?;
        let plan = &proposal.proposal.plan;
        if request.dry_run || plan.is_idle() {
            let Proposal { plan, loaded, .. } = proposal.proposal;
            return Ok(Done {
                plan,
                warnings: loaded.warnings,
                underway: Vec::new(),
                troubles: Vec::new(),
            });
        }
        if self.wait_for_namesakes(&proposal.proposal.plan).await {
            // That took its time: the file may say something else by now.
            let current = self.setting();
            proposal = self.propose(current, false).await?;
        }
        Ok(self.carry_out(proposal).await)
    }

    /// What runs now, caps as they are in force.
    fn setting(&self) -> Setting {
        let mut config = (*self.config).clone();
        for (id, handle) in &self.agents {
            if let Some(agent) = config.agents.get_mut(id) {
                agent.limits = plan::limits_in_force(&agent.limits, &handle.observed.borrow().caps);
            }
        }
        Setting {
            config,
            prompts: self.prompts.clone(),
        }
    }

    /// Reads, compares and makes ready; changes nothing that runs.
    async fn propose(&self, current: Setting, dry_run: bool) -> Result<Ready, Diagnostics> {
        let (path, directories) = (
            self.stage.config_path.clone(),
            self.stage.directories.clone(),
        );
        let containment = Arc::clone(&self.stage.containment);
        let ready = spawn_blocking(move || {
            let unenforced = |caps: &Caps| containment.unenforced(caps);
            let proposal = propose(&path, &directories, &current, &unenforced)?;
            if dry_run {
                return Ok(Ready {
                    proposal,
                    accounts: BTreeMap::new(),
                });
            }
            make_ready(proposal)
        });
        ready
            .await
            .expect("reading a configuration panics as little as the runtime ends before its tasks")
    }

    /// Waits for agents that were removed and are to be there again; tells whether there were any.
    async fn wait_for_namesakes(&mut self, plan: &Plan) -> bool {
        let mut waited = false;
        for id in plan.agents_to(AgentStep::Add) {
            if let Some(leaving) = self.leaving.get_mut(id) {
                // Left in its place, where whoever takes the supervisor down finds it.
                let _ = (&mut leaving.farewell).await;
                self.leaving.remove(id);
                waited = true;
            }
        }
        waited
    }

    async fn carry_out(&mut self, ready: Ready) -> Done {
        let Ready { proposal, accounts } = ready;
        let Proposal { plan, next, loaded } = proposal;
        let lock = self
            .app
            .as_ref()
            .map(|app| Arc::clone(&app.borrow().limits_changing));
        let _alone = match &lock {
            Some(lock) => Some(lock.lock().await),
            None => None,
        };
        let before = std::mem::replace(&mut self.config, Arc::new(next.config));
        self.prompts = next.prompts;
        let mut done = Done {
            plan,
            warnings: loaded.warnings,
            underway: Vec::new(),
            troubles: Vec::new(),
        };
        self.channels(&done.plan, accounts);
        // Before anybody leaves, so that no message is on its way to whom it is no longer for.
        self.publish();
        for id in done.plan.agents_to(AgentStep::Remove) {
            done.underway.extend(self.remove(id, &before).await);
        }
        self.supervisor(&before, &mut done).await;
        let mut added = Vec::new();
        for id in done.plan.agents_to(AgentStep::Add) {
            added.extend(self.add(id).await);
        }
        self.publish();
        for id in done
            .plan
            .agents_to(AgentStep::Restart)
            .chain(done.plan.agents_to(AgentStep::Live))
        {
            self.limit(id).await;
        }
        self.renew(&before, &mut done.troubles).await;
        for (handle, autostart) in added {
            if autostart {
                let after = handle.observed.borrow().generation;
                handle.order(Event::Start).await;
                let goal = Goal::Ready(after);
                done.underway.push(Underway { handle, goal });
            }
        }
        for id in done.plan.agents_to(AgentStep::Restart) {
            if let Some(handle) = self.agents.get(id) {
                done.underway.extend(restart(handle).await);
            }
        }
        done
    }

    /// Ends accounts and starts others. Nobody finds them before they are published.
    fn channels(&mut self, plan: &Plan, mut accounts: BTreeMap<ChannelId, PreparedAccount>) {
        for (id, change) in &plan.channels {
            if !matches!(change, ChannelChange::Add(_)) {
                self.disconnect(id);
            }
            if let Some(account) = accounts.remove(id) {
                self.connect(id.clone(), account);
            }
        }
    }

    /// Has an agent finish its turns and leave.
    async fn remove(&mut self, id: &AgentId, before: &Config) -> Option<Underway> {
        let uid = uid_of(before, id);
        let (handle, driver) = (self.agents.get(id)?.clone(), self.drivers.remove(id));
        let (own, dispatcher) = (handle.clone(), self.stage.dispatcher.clone());
        let farewell = tokio::spawn(async move {
            until_gone(&own).await;
            dispatcher.change(Change::Remove(own.agent)).await;
            if let Some(driver) = driver {
                driver.abort();
            }
        });
        self.agents.remove(id);
        let leaving = Leaving {
            handle: handle.clone(),
            uid,
            farewell,
        };
        self.leaving.insert(id.clone(), leaving);
        let retire = Change::Retire(id.clone());
        self.stage.dispatcher.change(retire).await;
        handle.order(Event::Stop).await;
        let goal = Goal::Gone;
        Some(Underway { handle, goal })
    }

    /// A driver for another agent; gives whether the agent starts by itself.
    async fn add(&mut self, id: &AgentId) -> Option<(AgentHandle, bool)> {
        let config = Arc::clone(&self.config);
        let agent = config.agents.get(id)?;
        let (found, generation) = self.left_by(id).await;
        let past = Past {
            generation,
            ..Past::default()
        };
        let handle = self.start_driver(agent, past);
        let change = Change::Add {
            agent: id.clone(),
            commands: handle.commands.clone(),
            limits: plan::lane_limits(agent),
            rests: !agent.autostart,
            found,
        };
        self.stage.dispatcher.change(change).await;
        self.budget(id).await;
        Some((handle, agent.autostart))
    }

    /// What the journal has of an agent that was not there: what waits for it, and its last life.
    async fn left_by(&self, id: &AgentId) -> (Found, Generation) {
        let own = id.clone();
        let read = self.stage.journal.read(move |reader| {
            let mut lives = reader.children()?.into_iter();
            let last = lives.find(|child| child.agent == own);
            let last = last.map_or(Generation(0), |child| child.generation);
            Ok((waiting_for(reader, &own)?, last))
        });
        read.await.unwrap_or_else(|error| {
            let error = crate::error_chain(&error);
            warn!(agent.id = %id, error, "it is not known what an agent has left");
            (Found::default(), Generation(0))
        })
    }

    async fn limit(&self, id: &AgentId) {
        let Some(agent) = self.config.agents.get(id) else {
            return;
        };
        let change = Change::Limit {
            agent: id.clone(),
            limits: plan::lane_limits(agent),
        };
        self.stage.dispatcher.change(change).await;
        self.budget(id).await;
    }

    /// What it may spend from now on. A journal that cannot be read leaves what was.
    async fn budget(&self, id: &AgentId) {
        let Some(agent) = self.config.agents.get(id) else {
            return;
        };
        let own = id.clone();
        let budget = match plan::budget(agent) {
            None => None,
            Some(budget) => {
                let read = self.stage.journal.read(move |reader| {
                    let books = plan::books(reader, &own, &budget, crate::journal::now_ms())?;
                    Ok(Box::new((budget, books)))
                });
                match read.await {
                    Ok(both) => Some(both),
                    Err(error) => {
                        let error = crate::error_chain(&error);
                        warn!(agent.id = %id, error, "it is not known what an agent has spent; its budget stays as it was");
                        return;
                    }
                }
            }
        };
        let change = Change::Budget {
            agent: id.clone(),
            budget,
        };
        self.stage.dispatcher.change(change).await;
    }

    /// What of the supervisor itself changes while it runs.
    async fn supervisor(&mut self, before: &Config, done: &mut Done) {
        let (old, new) = (&before.supervisor, &self.config.supervisor);
        if old.max_concurrent != new.max_concurrent {
            let change = Change::LimitFleet(new.max_concurrent as usize);
            self.stage.dispatcher.change(change).await;
        }
        if old.prices != new.prices {
            let change = Change::Prices(new.prices.clone());
            self.stage.dispatcher.change(change).await;
        }
        if before.classes != self.config.classes {
            let change = Change::Classes(plan::classes(&self.config));
            self.stage.dispatcher.change(change).await;
        }
        let schedules = plan::schedule_classes(&self.config);
        if plan::schedule_classes(before) != schedules {
            let change = Change::Schedules(schedules);
            self.stage.dispatcher.change(change).await;
        }
        if home::is_shared(&self.config)
            && !home::is_shared(before)
            && let Err(error) = links::open_to_all(&new.link_socket())
        {
            done.troubles.push(format!(
                "the link socket cannot be opened to agents of other users: {error}"
            ));
        }
        let caps = plan::fleet_caps(&self.config);
        if plan::fleet_caps(before) == caps {
            return;
        }
        let containment = Arc::clone(&self.stage.containment);
        let set = spawn_blocking(move || containment.set_fleet(&caps)).await;
        let error = match set {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(crate::error_chain(&error)),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = error {
            done.troubles
                .push(format!("the fleet's ceiling could not be changed: {error}"));
        }
        let reader = self.stage.containment.fleet_reader();
        let reader = reader.map(|reader| Box::new(reader) as _);
        self.stage.sampler.fleet(caps, reader);
    }

    /// Tells every driver its terms, also those whose agents stay as they are: what they had comes from a configuration
    /// that is gone. Then caps, where others hold than should.
    async fn renew(&self, before: &Config, troubles: &mut Vec<String>) {
        // With the fleet's share of the CPU the kernel may have lowered the agents'.
        let all = plan::fleet_caps(before).cpu != plan::fleet_caps(&self.config).cpu;
        for (id, handle) in &self.agents {
            let Some(agent) = self.config.agents.get(id) else {
                continue;
            };
            handle.renew(self.stage.terms(&self.config, agent)).await;
            let caps = plan::caps(&agent.limits).0;
            let differ = handle.observed.borrow().caps != caps;
            if (differ || (all && caps.cpu.is_some()))
                && let Err(error) = handle.set_caps(caps).await
            {
                troubles.push(format!(
                    "the caps of `{id}` could not be changed while it runs, and hold from its next start on: {error}"
                ));
            }
        }
    }
}

/// A new life for an agent that has one, or waits for one. One that rests is what it shall be when it is started.
async fn restart(handle: &AgentHandle) -> Option<Underway> {
    let (generation, rests) = {
        let seen = handle.observed.borrow();
        let rests = seen.desired == Desired::Stopped || matches!(seen.state, State::Exited(_));
        (seen.generation, rests)
    };
    if rests {
        return None;
    }
    handle.order(Event::Restart).await;
    let goal = Goal::Ready(generation);
    let handle = handle.clone();
    Some(Underway { handle, goal })
}

/// Folders and secrets, which may fail. Blocks.
fn make_ready(proposal: Proposal) -> Result<Ready, Diagnostics> {
    let config = &proposal.next.config;
    let mut faults = Vec::new();
    if let Err(error) = home::let_users_pass(config) {
        faults.push(Fault {
            agent: None,
            says: crate::error_chain(&error),
            remedy: "nothing was changed".to_owned(),
        });
    }
    // The folders of one that gets another user are given away between its lives.
    let new_lives = proposal.plan.agents.iter().filter(|(_, change)| {
        let same_user = !change.keys.iter().any(|key| key.name == "user");
        change.step == AgentStep::Add || (change.step == AgentStep::Restart && same_user)
    });
    let agents = new_lives.filter_map(|(id, _)| config.agents.get(id));
    faults.extend(agents.filter_map(|agent| no_room(config, agent)));
    let mut accounts = BTreeMap::new();
    for (id, change) in &proposal.plan.channels {
        let Some(channel) = change.to() else {
            continue;
        };
        match plan::account(config, channel) {
            Ok(account) => {
                accounts.insert(id.clone(), account);
            }
            Err(error) => faults.push(Fault {
                agent: None,
                says: format!("the channel `{id}` cannot be set up: {error}"),
                remedy: "`kennel check` looks for its secrets".to_owned(),
            }),
        }
    }
    if faults.is_empty() {
        Ok(Ready { proposal, accounts })
    } else {
        let found = proposal.loaded.faults(faults);
        Err(proposal.loaded.warnings.merge(found))
    }
}

fn no_room(config: &Config, agent: &AgentConfig) -> Option<Fault> {
    let error = Stage::make_room(config, agent).err()?;
    Some(Fault {
        agent: Some(agent.id.clone()),
        says: format!(
            "`{}` has no place: {}",
            agent.id,
            crate::error_chain(&error)
        ),
        remedy: "see to its folders; nothing was changed".to_owned(),
    })
}
