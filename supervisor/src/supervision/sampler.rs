//! What agents, the fleet, this process and the host use, for `status`, `top` and the metrics.
//!
//! ```text
//! driver ── watch, caps, ended ──► thread: every second ──► Sample (watch channel) ──► routes
//! ```
//!
//! One thread of its own reads counters through descriptors that stay open; everybody else sees the
//! last [`Sample`]. It is a thread and no task, because a read of a group's file can wait for the
//! kernel while memory is short, and the loop that moves messages must not wait with it. A sample that
//! is late is an old sample, nothing more.
//!
//! What a reading means over time is pure: `rate` makes a share of the CPU of two readings, `account`
//! adds up over the lives of an agent, [`strain`](super::strain) sees what caps do to it, which its driver
//! is told. The counters of a group are expensive enough to matter with many agents, so each beat reads the
//! [`Detail::Full`] ones of only so many agents, in turn, and of those that are close to a cap.

mod account;
mod group;
mod host;
mod process;
mod rate;
mod task;

use std::{
    collections::HashMap,
    fmt, io,
    sync::{
        Arc,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use kennel_shared::ids::{AgentId, Generation};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;

pub use self::{
    account::{AgentSample, Counters, LifeSample, Waits},
    group::GroupUsage,
    host::HostSample,
    process::{MemoryShare, ProcessReader, memory_share, tree},
};
use super::strain::Noticed;
use crate::containment::{Caps, Reading};

/// How often everything is read.
pub const BEAT: Duration = Duration::from_secs(1);

/// Requests that may wait while a read does: some for each life of each agent. Full: what a life
/// uses is not shown.
const REQUESTS: usize = 4096;

/// How much of a reading is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// What changes from second to second: CPU, memory, pids. The rest may be absent.
    Quick,
    /// Everything.
    Full,
}

/// Reads what one life of an agent, or the fleet, has used. Called on the sampler's thread only.
pub trait ReadUsage: Send {
    /// One look. What cannot be told is absent.
    fn read(&mut self, detail: Detail) -> Reading;

    /// Every process that belongs to it, where that is known.
    fn members(&mut self) -> Option<Vec<i32>> {
        None
    }
}

/// A life that begins.
pub struct Life {
    /// Which.
    pub generation: Generation,
    /// Its agent-host.
    pub pid: i32,
    /// What it may use.
    pub caps: Caps,
    /// What it uses.
    pub reader: Box<dyn ReadUsage>,
    /// Hears what its caps do to it. Full: it does not hear that.
    pub notices: mpsc::Sender<Noticed>,
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Life")
            .field("generation", &self.generation)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

/// Everything as it was at one moment.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When.
    pub at: Instant,
    /// How long the last beat took to read.
    pub took: Duration,
    /// Every agent that ever lived.
    pub agents: HashMap<AgentId, AgentSample>,
    /// The fleet's group, or the sum of all agents where there is none.
    pub fleet: FleetSample,
    /// This process.
    pub supervisor: LifeSample,
    /// The machine.
    pub host: HostSample,
}

/// The agents together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FleetSample {
    /// What they may use.
    pub caps: Caps,
    /// Percent of one core over the last beat.
    pub cpu_percent: Option<f64>,
    /// What they use.
    pub reading: Reading,
}

enum Request {
    Watch(AgentId, Life),
    Caps(AgentId, Caps),
    Ended {
        agent: AgentId,
        generation: Generation,
        last: Option<Reading>,
    },
    Fleet(Caps, Option<Box<dyn ReadUsage>>),
    Members {
        agent: AgentId,
        reply: oneshot::Sender<Option<Members>>,
    },
}

/// The processes of one life, to look into one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// The agent-host.
    pub root: i32,
    /// All of the group; `None` where there is no group to ask.
    pub all: Option<Vec<i32>>,
}

/// Talks to the sampler.
#[derive(Clone)]
pub struct SamplerHandle {
    requests: SyncSender<Request>,
    sample: watch::Receiver<Arc<Sample>>,
}

impl SamplerHandle {
    /// From now on this life of `agent` is read; one before it has ended.
    pub fn watch(&self, agent: &AgentId, life: Life) {
        self.send(Request::Watch(agent.clone(), life));
    }

    /// The caps of `agent` have changed.
    pub fn caps(&self, agent: &AgentId, caps: Caps) {
        self.send(Request::Caps(agent.clone(), caps));
    }

    /// This life has ended. Whoever is about to remove its group hands in what was read `last`, since
    /// nothing can be read afterwards.
    pub fn ended(&self, agent: &AgentId, generation: Generation, last: Option<&Reading>) {
        self.send(Request::Ended {
            agent: agent.clone(),
            generation,
            last: last.copied(),
        });
    }

    /// The fleet's ceiling, and its group where there is one.
    pub fn fleet(&self, caps: Caps, reader: Option<Box<dyn ReadUsage>>) {
        self.send(Request::Fleet(caps, reader));
    }

    /// The processes of the present life of `agent`.
    pub async fn members(&self, agent: &AgentId) -> Option<Members> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Members {
            agent: agent.clone(),
            reply,
        });
        answer.await.ok()?
    }

    /// The last sample.
    pub fn latest(&self) -> Arc<Sample> {
        self.sample.borrow().clone()
    }

    /// Never waits: drivers must not.
    fn send(&self, request: Request) {
        if let Err(TrySendError::Full(_)) = self.requests.try_send(request) {
            warn!("the sampler is stuck; what an agent uses is not shown");
        }
    }
}

impl fmt::Debug for SamplerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SamplerHandle").finish_non_exhaustive()
    }
}

/// Starts the thread. It ends when the last handle is dropped.
pub fn start() -> io::Result<SamplerHandle> {
    let (requests, inbox) = sync_channel(REQUESTS);
    // Read once before anybody asks, so that there is no sample without a host.
    let sampler = task::Sampler::new();
    let (published, sample) = watch::channel(Arc::new(sampler.sample()));
    thread::Builder::new()
        .name("sampler".into())
        .stack_size(256 * 1024)
        .spawn(move || sampler.run(&inbox, &published))?;
    Ok(SamplerHandle { requests, sample })
}

#[cfg(test)]
mod tests;
