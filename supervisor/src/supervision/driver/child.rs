//! From the start of a child to the end of all that it started.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use kennel_shared::{bootstrap::Bootstrap, ids::Generation, secret::Token};
use tokio::task::AbortHandle;
use tracing::{error, info, warn};

use super::{
    Applied, Cleared, Driver, LAST_OUTPUT, LAST_WORDS, LastEnd, Newborn, NoStart, Started,
    guard::Guard, now, slot::LinkSlot, wait,
};
use crate::{
    containment::{Caps, CpuMeter, Group, Unenforced},
    dispatch::AgentEvent,
    supervision::{
        capture::Source,
        child::Child,
        ending::{self, Cause, End, Evidence},
        events::LifecycleEvent,
        lifecycle::{EndReason, Event, Exit, HOPELESS, State},
        sampler::{GroupUsage, Life, ProcessReader, ReadUsage},
        spawner::{SpawnRequest, Spawned},
    },
};

/// How long all that a child started may take to end once it is killed: it is over in milliseconds,
/// unless somebody is stuck in the kernel.
const CLEARING: Duration = Duration::from_secs(10);

/// How long new caps are waited for.
const SETTING: Duration = Duration::from_secs(5);

/// Why an agent is not started whose caps do not hold.
fn refusal(unenforced: &[Unenforced]) -> Option<String> {
    let caps: Vec<String> = unenforced.iter().map(ToString::to_string).collect();
    (!caps.is_empty()).then(|| {
        format!(
            "this host does not hold {}; or set `enforcement = \"best-effort\"` for it",
            caps.join(", nor ")
        )
    })
}

impl Driver {
    pub(super) fn start(&mut self, generation: Generation) {
        let token = Token::random();
        self.link = LinkSlot::for_child(token);
        self.owed = None;
        self.spec = None;
        self.starting = true;
        self.speaker = None;
        self.later = None;
        self.observed.send_modify(|seen| {
            seen.cage = Arc::default();
            seen.adopted = false;
        });
        self.hang = None;
        if let Some(caps) = self.next_caps.take() {
            self.caps = caps;
            self.setup.sampler.caps(&self.setup.agent, caps);
            let unenforced = self.unenforced().into();
            self.observed.send_modify(|seen| {
                seen.caps = caps;
                seen.unenforced = unenforced;
            });
        }
        let cage = match &self.setup.cage {
            Ok(cage) => cage.clone(),
            Err(why) => {
                self.refuse(generation, why.clone());
                return;
            }
        };
        if cage.strict
            && let Some(refusal) = refusal(&self.unenforced())
        {
            self.refuse(generation, refusal);
            return;
        }
        let request = SpawnRequest {
            program: self.setup.program.clone(),
            directory: self.setup.directory.clone(),
            log_level: self.setup.log_level.clone(),
            bootstrap: Bootstrap {
                agent: self.setup.agent.clone(),
                generation,
                token,
                socket: self.setup.socket.clone(),
                state_dir: self.setup.directory.clone(),
                orphan_grace_ms: u64::try_from(self.setup.orphan_grace.as_millis())
                    .unwrap_or(u64::MAX),
                cage,
            },
            containment: Arc::clone(&self.setup.containment),
            caps: self.caps,
        };
        let (spec, spawner, started) = (
            Arc::clone(&self.setup.spec),
            self.setup.spawner.clone(),
            self.started.clone(),
        );
        tokio::spawn(async move {
            let result = match tokio::task::spawn_blocking(move || spec()).await {
                Err(error) => Err(NoStart::Failed(error.to_string())),
                Ok(Err(error)) => Err(NoStart::Failed(error)),
                Ok(Ok(spec)) => match spawner.spawn(request).await {
                    Ok(child) => Ok((spec, Newborn::Spawned(child))),
                    Err(error) => Err(NoStart::Failed(crate::error_chain(&error))),
                },
            };
            // One start at a time, so the queue of one is free; a driver that is gone left with
            // the supervisor.
            let _ = started.send((generation, result)).await;
        });
    }

    /// A start that does not even come to a child.
    fn refuse(&self, generation: Generation, refusal: String) {
        let started = self.started.clone();
        tokio::spawn(async move {
            let _ = started
                .send((generation, Err(NoStart::Refused(refusal))))
                .await;
        });
    }

    /// Holds the child to other caps, and those after it.
    pub(super) async fn set_caps(&mut self, caps: Caps) -> Result<Applied, String> {
        let live = self.group.is_some();
        if let Some(group) = self.group.clone() {
            // The kernel may have to find memory elsewhere first.
            let set = tokio::task::spawn_blocking(move || group.set(&caps));
            match tokio::time::timeout(SETTING, set).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => return Err(crate::error_chain(&error)),
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => return Err("the kernel takes its time; look again in a moment".into()),
            }
        }
        let changed = caps.requested().into_iter().filter(|cap| {
            let alone = |caps: &Caps| caps.only(*cap);
            alone(&caps) != alone(&self.caps)
        });
        self.setup.requested.extend(changed);
        info!(agent.id = %self.setup.agent, live, "the caps of an agent were changed");
        self.caps = caps;
        self.next_caps = None;
        self.setup.sampler.caps(&self.setup.agent, caps);
        let unenforced = self.unenforced().into();
        self.observed.send_modify(|seen| {
            seen.caps = caps;
            seen.unenforced = unenforced;
        });
        if let Some(group) = &self.group {
            self.guard = Guard::of(&self.setup.agent, group, &self.setup.containment);
        }
        Ok(Applied { live })
    }

    /// The caps that were asked for and that this host does not hold.
    pub(super) fn unenforced(&self) -> Vec<Unenforced> {
        let mut unenforced = self.setup.containment.unenforced(&self.caps);
        unenforced.retain(|one| self.setup.requested.contains(&one.cap));
        unenforced
    }

    pub(super) async fn on_started(&mut self, (generation, result): Started) {
        self.starting = false;
        let (newborn, spec) = match result {
            Ok((spec, newborn)) => (Ok(newborn), Ok(spec)),
            Err(NoStart::Untold(why, adoptee)) => (Ok(Newborn::Adopted(*adoptee)), Err(why)),
            Err(why) => (Err(why), Err(String::new())),
        };
        match newborn.and_then(|newborn| self.take_in(newborn, generation)) {
            Ok(()) => {
                let untold = match spec {
                    Ok(spec) => {
                        self.spec = Some(spec);
                        None
                    }
                    Err(why) => Some(why),
                };
                self.hold_to_caps().await;
                self.welcome_early().await;
                if let Some(signal) = self.owed.take() {
                    self.signal(signal);
                }
                if let Some(why) = untold {
                    self.give_up_adopted(&why).await;
                }
            }
            Err(why) => {
                let (error, exit) = match why {
                    NoStart::Failed(error) | NoStart::Untold(error, _) => (error, Exit::Code(127)),
                    NoStart::Refused(error) => (error, HOPELESS),
                };
                error!(agent.id = %self.setup.agent, error, "an agent cannot be started");
                let detail = format!("cannot be started: {error}");
                self.setup.log.note(&detail);
                self.announce("start-failed", Some(detail.clone()));
                self.trouble(detail.clone());
                self.welcome_early().await;
                self.feed(Event::Exited(exit)).await;
                if exit != HOPELESS && matches!(self.machine.state(), State::Quarantined { .. }) {
                    // There was no child whose end would say why.
                    self.trouble(format!("restarted too often; {detail}"));
                }
            }
        }
    }

    /// Begins to watch a child, and to hold it.
    fn take_in(&mut self, newborn: Newborn, generation: Generation) -> Result<(), NoStart> {
        let unwatched = |error| NoStart::Failed(format!("its end cannot be watched: {error}"));
        let (child, group, started_at) = match newborn {
            Newborn::Spawned(Spawned {
                pid,
                group,
                pidfd,
                stdout,
                stderr,
            }) => {
                let child = Child::watch(pid, pidfd, generation).map_err(|error| {
                    let _ = group.kill();
                    unwatched(error)
                })?;
                self.setup
                    .log
                    .note(&format!("started generation {generation}, pid {pid}"));
                self.captures = [(stdout, Source::Out), (stderr, Source::Err)]
                    .map(|(pipe, source)| self.setup.log.capture(pipe, source));
                let now = SystemTime::now();
                let path = group.membership().map(|_| group.path_shown());
                self.note_started(&child, path, now);
                (child, group, now)
            }
            Newborn::Adopted(adoptee) => {
                let child =
                    Child::adopt(adoptee.pid, adoptee.pidfd, generation).map_err(|error| {
                        let _ = adoptee.group.kill();
                        unwatched(error)
                    })?;
                (child, adoptee.group, adoptee.started)
            }
        };
        let unenforced = self.unenforced().into();
        self.observed.send_modify(|seen| {
            seen.unenforced = unenforced;
            seen.started_at = Some(started_at);
        });
        self.sample(&group, generation, child.pid());
        self.clock = Some(CpuMeter::of(&group, child.pid()));
        self.group = Some(group);
        self.child = Some(child);
        Ok(())
    }

    /// Sets the caps of a group that has others: they were changed while the child was being started, or
    /// before it was adopted.
    async fn hold_to_caps(&mut self) {
        let Some(group) = &self.group else {
            return;
        };
        self.guard = Guard::of(&self.setup.agent, group, &self.setup.containment);
        // Nobody knows what holds one that was adopted; one that only finishes its turns keeps it.
        let unknown = self.awaited && self.later != Some(Event::Stop);
        if (unknown || group.caps() != self.caps)
            && let Err(error) = self.set_caps(self.caps).await
        {
            warn!(agent.id = %self.setup.agent, error, "caps hold from the next life on");
        }
    }

    /// Has the sampler read what this life uses.
    fn sample(&self, group: &Group, generation: Generation, pid: i32) {
        let reader: Box<dyn ReadUsage> = match GroupUsage::new(group.clone()) {
            Ok(reader) => Box::new(reader),
            Err(error) => {
                warn!(agent.id = %self.setup.agent, %error, "the counters of a group cannot be read; only its agent-host is");
                Box::new(ProcessReader::new(pid))
            }
        };
        let life = Life {
            generation,
            pid,
            caps: self.caps,
            reader,
            notices: self.notices.clone(),
        };
        self.setup.sampler.watch(&self.setup.agent, life);
    }

    pub(super) async fn on_ended(&mut self) {
        // What it said before it died is still in the socket: a reply there must not be lost.
        if self.link.is_up() {
            let listen = async {
                while let Ok(incoming) = self.link.next().await {
                    self.on_incoming(incoming).await;
                }
            };
            let _ = tokio::time::timeout(LAST_WORDS, listen).await;
        }
        let child = self.child.take().expect("only a child ends");
        let pid = child.pid();
        let group = self.group.take().expect("every child has one");
        self.guard = Guard::default();
        // Before the group is emptied: what was in it counts no more then.
        let reading = group.reading();
        self.setup
            .sampler
            .ended(&self.setup.agent, child.generation(), Some(&reading));
        let exit = child.reap(&self.setup.directory).unwrap_or_else(|error| {
            error!(agent.id = %self.setup.agent, agent.pid = pid, %error, "an agent's end cannot be read");
            Exit::Unknown
        });
        self.link = LinkSlot::default();
        self.clock = None;
        self.meter.clear();
        self.deleting.end();
        let captures = std::mem::take(&mut self.captures);
        tokio::spawn(async move {
            tokio::time::sleep(LAST_OUTPUT).await;
            captures.iter().flatten().for_each(AbortHandle::abort);
        });
        self.observed.send_modify(|seen| seen.started_at = None);
        let state = self.machine.state();
        let asked = matches!(
            state,
            State::Draining { .. }
                | State::Stopping {
                    // Of what a stuck one had, the turn that is to blame has its end.
                    reason: EndReason::Asked | EndReason::Stuck,
                    ..
                }
        );
        let awaited = std::mem::take(&mut self.awaited);
        // What it had from a supervisor before this one did not end it while it was waited for.
        let asked = asked || awaited;
        self.tell(AgentEvent::Down { asked }).await;
        let evidence = Evidence {
            exit,
            state,
            reading,
            over: self.over.take(),
            hang: self.hang.take(),
            awaited,
        };
        // Beside the loop, which still answers; the next child waits until nobody of this one is left.
        let clearing = tokio::task::spawn_blocking(move || {
            let left = group.remove_blocking(CLEARING).err();
            (pid, evidence, left)
        });
        self.clearing = Some(clearing);
    }

    /// The child and all that it started are gone: what now?
    pub(super) async fn on_cleared(&mut self, cleared: Cleared) {
        self.clearing = None;
        let (pid, evidence, left) = cleared;
        if let Some(left) = left {
            let left = crate::error_chain(&left);
            error!(agent.id = %self.setup.agent, error = left, "an agent left processes behind that cannot be ended");
            self.announce("left-behind", Some(left));
        }
        let now = now();
        let (before, generation) = (self.machine.state(), self.machine.generation());
        self.note_ended(generation);
        let actions = self.machine.on_event(Event::Exited(evidence.exit), now);
        let after = self.machine.state();
        let end = End {
            cause: evidence.cause(),
            exit: evidence.exit,
            caps: self.caps,
            peak: evidence.reading.memory_peak,
            hang: evidence.hang.clone(),
            turns: self.turns.take(now),
            next: ending::next(after, self.machine.generation().0, wait(after, now)),
        };
        self.explain(pid, generation, end);
        self.carry_out(actions, (before, after), now).await;
    }

    /// Tells everybody how a child ended.
    fn explain(&mut self, pid: i32, generation: Generation, end: End) {
        let sentence = end.sentence();
        info!(
            agent.id = %self.setup.agent, agent.pid = pid, generation = generation.0,
            cause = end.cause.as_str(), peak_bytes = end.peak, end = sentence, "an agent's process ended"
        );
        self.setup.log.note(&format!("pid {pid} {sentence}"));
        if !matches!(end.cause, Cause::Asked | Cause::Code(0)) {
            self.trouble(end.what());
        }
        let at = SystemTime::now();
        let end = Arc::new(end);
        self.setup.events.tell(LifecycleEvent {
            at,
            agent: Some(self.setup.agent.clone()),
            generation,
            kind: "ended",
            detail: Some(sentence),
            end: Some(Arc::clone(&end)),
            held_back: None,
        });
        self.observed.send_modify(|seen| {
            seen.last_end = Some(LastEnd {
                at,
                generation,
                end,
            });
        });
    }
}
