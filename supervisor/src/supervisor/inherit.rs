//! What a supervisor finds of the one before it, and takes over.
//!
//! Found before the groups are made, so that what is adopted is not cleaned away; taken over once they
//! are; then handed to the drivers, one [`Past`] each.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use kennel_shared::{
    cage::CageSpec,
    ids::{AgentId, Generation},
    protocol::{AgentSpec, ContextSpec, EchoSpec, Endpoint, ModelSpec, ToolsSpec},
};
use rustix::process::{Signal, pidfd_send_signal};
use tracing::{info, warn};

use crate::{
    config::{AgentConfig, Config},
    containment::{BackendKind, Containment},
    dispatch::Limits,
    journal::{Journal, Op, ReadError, Reader, entry::Child},
    plan,
    supervision::{
        adoption::{self, Adoptee, Past, Verdict, Wanted},
        backoff::{BackoffPolicy, IntensityPolicy},
        capture::Rotation,
        child,
        driver::SpecSource,
        ending,
        lifecycle::{Policy, RestartPolicy},
    },
};

/// How long a child that is not adopted may take to end.
const ENDING: Duration = Duration::from_secs(5);

/// A last life, and what becomes of it.
struct Judged {
    child: Child,
    verdict: Verdict,
    uid: u32,
    pidfd: Option<OwnedFd>,
    /// Who is in its group.
    pids: Vec<i32>,
}

/// What was found. See the module.
pub(super) struct Found {
    judged: Vec<Judged>,
    /// The last life of each agent that has a group: it may have been started and not written down.
    started: HashMap<AgentId, Generation>,
}

impl Found {
    /// Holds what is written down against what there is.
    pub(super) fn look(
        config: &Config,
        containment: &Containment,
        journal: &Journal,
    ) -> Result<Self, ReadError> {
        let children = Reader::open(journal.path())?.children()?;
        let mut groups: HashMap<String, Vec<i32>> = containment
            .leftovers(&plan::instance(&config.supervisor.state_dir))
            .into_iter()
            .map(|left| (left.name, left.pids))
            .collect();
        let started = last_lives(groups.keys());
        let judge = |child: Child| {
            let held = containment.backend() != BackendKind::BestEffort;
            let pids = groups.remove(&name(&child)).unwrap_or_default();
            let open = child.ended.is_none().then_some(child.pid);
            let seen = open.and_then(|pid| adoption::look(pid, held.then_some(&pids)));
            let uid = seen.as_ref().map_or(0, |(seen, _)| seen.uid);
            let wanted = wanted(config, containment, &child.agent, uid);
            let verdict = adoption::judge(&child, wanted, seen.as_ref().map(|(seen, _)| seen));
            Judged {
                verdict,
                uid,
                pidfd: seen.map(|(_, pidfd)| pidfd),
                pids: if held { pids } else { vec![child.pid] },
                child,
            }
        };
        Ok(Self {
            judged: children.into_iter().map(judge).collect(),
            started,
        })
    }

    /// The groups that are not to be cleaned away.
    pub(super) fn keep(&self) -> BTreeSet<String> {
        let kept = self
            .judged
            .iter()
            .filter(|one| matches!(one.verdict, Verdict::Adopt { .. } | Verdict::Retire));
        kept.map(|one| name(&one.child)).collect()
    }

    /// Takes over what is to be taken over, and ends the rest.
    pub(super) fn take(
        self,
        config: &Config,
        containment: &Containment,
        journal: &Journal,
    ) -> Inheritance {
        let mut pasts = HashMap::new();
        let mut retired = BTreeMap::new();
        for one in self.judged {
            let (agent, uid) = (one.child.agent.clone(), one.uid);
            let leaves = one.verdict == Verdict::Retire;
            let past = take_one(one, config, containment, journal);
            if leaves && past.adoptee.is_some() {
                retired.insert(agent.clone(), uid);
            }
            pasts.insert(agent, past);
        }
        // No number is given twice, not even that of a life which nobody has written down.
        for (agent, generation) in self.started {
            let past: &mut Past = pasts.entry(agent).or_default();
            if past.adoptee.is_none() {
                past.generation = past.generation.max(generation);
            }
        }
        let adopted = pasts.values().filter(|past| past.adoptee.is_some()).count();
        if adopted > 0 {
            info!(
                agents = adopted,
                "agents of a supervisor that died are adopted"
            );
        }
        Inheritance { pasts, retired }
    }
}

fn take_one(one: Judged, config: &Config, containment: &Containment, journal: &Journal) -> Past {
    let Judged {
        child,
        verdict,
        pidfd,
        pids,
        ..
    } = one;
    let mut past = Past {
        generation: child.generation,
        ..Past::default()
    };
    let why = match (verdict, pidfd) {
        (Verdict::Adopt { .. } | Verdict::Retire, Some(pidfd)) => {
            match containment.adopt(&child.agent, child.generation, &pids) {
                Ok(group) => {
                    past.adoptee = Some(Adoptee {
                        pid: child.pid,
                        pidfd,
                        group,
                        tokens: child.tokens,
                        started: adoption::at(child.started),
                        renew: matches!(verdict, Verdict::Adopt { renew: true }),
                        retire: verdict == Verdict::Retire,
                    });
                    return past;
                }
                Err(error) => {
                    let why = crate::error_chain(&error);
                    end(&child, &pidfd, &pids, containment);
                    format!("ended by its new supervisor: {why}")
                }
            }
        }
        (Verdict::End(why), Some(pidfd)) => {
            end(&child, &pidfd, &pids, containment);
            format!("ended by its new supervisor: {why}")
        }
        _ if child.ended.is_some() => return past,
        _ => {
            let directory = config.supervisor.agent_dir(&child.agent);
            let exit = child::last_word(child.generation, &directory);
            format!(
                "gone while there was no supervisor: {}",
                ending::status(exit)
            )
        }
    };
    warn!(
        agent.id = %child.agent, agent.pid = child.pid, generation = child.generation.0, why,
        "an agent of the supervisor before is not adopted"
    );
    past.lost = Some(format!("generation {} {why}", child.generation));
    let (agent, generation) = (child.agent, child.generation);
    // The journal keeps it until it can be written; after the next death it is found out again.
    drop(journal.submit(Op::ChildEnded { agent, generation }));
    past
}

/// Ends a child with all that it started. Its group, where it has one, was cleaned away already, unless it
/// had left it or could not be adopted.
fn end(child: &Child, pidfd: &OwnedFd, pids: &[i32], containment: &Containment) {
    let _ = pidfd_send_signal(pidfd, Signal::KILL);
    let ended = containment
        .adopt(&child.agent, child.generation, pids)
        .map_err(|error| crate::error_chain(&error))
        .and_then(|group| {
            let removed = group.remove_blocking(ENDING);
            removed.map_err(|error| crate::error_chain(&error))
        });
    if let Err(error) = ended {
        warn!(agent.id = %child.agent, agent.pid = child.pid, error, "an agent of the supervisor before may be left");
    }
}

/// The last life of each agent, by the names of groups.
fn last_lives<'a>(names: impl Iterator<Item = &'a String>) -> HashMap<AgentId, Generation> {
    let mut last: HashMap<AgentId, Generation> = HashMap::new();
    for name in names {
        let Some((agent, generation)) = name.rsplit_once('.') else {
            continue;
        };
        if let (Ok(agent), Ok(generation)) = (agent.parse(), generation.parse()) {
            let known = last.entry(agent).or_default();
            *known = (*known).max(Generation(generation));
        }
    }
    last
}

fn name(child: &Child) -> String {
    format!("{}.{}", child.agent, child.generation)
}

/// What the configuration says of an agent whose process runs as `uid`.
fn wanted(config: &Config, containment: &Containment, agent: &AgentId, uid: u32) -> Option<Wanted> {
    let agent = config.agent(agent.as_str()).filter(|agent| agent.enabled)?;
    let own = nix::unistd::geteuid().as_raw();
    Some(match cage(config, containment, agent) {
        Ok(cage) => Wanted {
            uid: cage.user.map_or(own, |user| user.uid),
            made_of: Some(adoption::made_of(&cage)),
        },
        // It may finish what it has; its next start says what is wrong.
        Err(_) => Wanted { uid, made_of: None },
    })
}

/// The cage of an agent, on this host.
pub(super) fn cage(
    config: &Config,
    containment: &Containment,
    agent: &AgentConfig,
) -> Result<CageSpec, String> {
    plan::cage(config, agent).map(|cage| CageSpec {
        // Else nobody finds whom it starts.
        pid_namespace: containment.backend() == BackendKind::BestEffort,
        ..cage
    })
}

/// What a supervisor has from the one before it.
#[derive(Debug, Default)]
pub struct Inheritance {
    pasts: HashMap<AgentId, Past>,
    /// Agents that are not to run any more, and their users.
    retired: BTreeMap<AgentId, u32>,
}

impl Inheritance {
    /// The lives that go on: a delivery that is leased to one of them may still be in its hands. Whatever
    /// is leased to another life is in nobody's.
    pub fn adopted(&self) -> HashSet<(AgentId, Generation)> {
        let lives = self.pasts.iter().filter(|(_, past)| past.adoptee.is_some());
        lives
            .map(|(agent, past)| (agent.clone(), past.generation))
            .collect()
    }

    /// Of one agent; once.
    pub(super) fn past(&mut self, agent: &AgentId) -> Past {
        self.pasts.remove(agent).unwrap_or_default()
    }

    /// Agents that are not to run any more and still do, and the users that they run as.
    pub(super) fn users(&self) -> BTreeMap<AgentId, u32> {
        self.retired.clone()
    }
}

/// How an agent is kept that is not to run any more: until its turns have ended, as long as they take by
/// default, and not a second time.
pub(super) const RETIRING: Policy = Policy {
    restart: RestartPolicy::Never,
    backoff: BackoffPolicy {
        initial: Duration::from_secs(1),
        max: Duration::from_secs(1),
        factor: 1.0,
        jitter: 0.0,
    },
    intensity: IntensityPolicy {
        max_restarts: 1,
        window: Duration::from_secs(1),
    },
    stable_after: Duration::from_secs(1),
    start_timeout: Duration::from_secs(30),
    watchdog: Duration::from_mins(1),
    drain_timeout: Duration::from_mins(10),
    stop_grace: Duration::from_secs(10),
};

/// How its deliveries are handed out: what it has may come to its end.
pub(super) fn retiring_lane() -> Limits {
    Limits {
        max_waiting: 1,
        poison_after: 1,
        ..Limits::default()
    }
}

/// And its log.
pub(super) const RETIRING_LOG: Rotation = Rotation {
    max_bytes: 10 * 1024 * 1024,
    keep: 1,
};

/// What it is told to be. It begins no turn with this; those that run go on as they began.
pub(super) fn retiring_spec() -> SpecSource {
    Arc::new(|| {
        Ok(AgentSpec {
            cheaper: None,
            model: ModelSpec {
                provider: "none".into(),
                model: "none".into(),
                temperature_milli: None,
                max_tokens: None,
                endpoint: Endpoint::Echo(EchoSpec::default()),
            },
            system_prompt: None,
            context: ContextSpec {
                max_messages: 1,
                max_bytes: 1,
            },
            max_concurrent: 1,
            turn_timeout_ms: 600_000,
            workspace: "/".into(),
            heartbeat_interval_ms: 5_000,
            tools: ToolsSpec::none(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_life_is_the_one_with_the_greatest_number() {
        let names = ["one.3", "one.12", "two.1", "one", ".4", "two.x", "TWO.9"].map(String::from);
        let last = last_lives(names.iter());
        let expected: HashMap<AgentId, Generation> = [("one", 12), ("two", 1)]
            .map(|(agent, number)| (agent.parse().unwrap(), Generation(number)))
            .into();
        assert_eq!(last, expected);
    }
}
