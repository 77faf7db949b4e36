//! An agent, to the rest of the supervisor: what its driver is made of, can be asked, and shows.

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use kennel_shared::{
    cage::{CageSpec, CageStep},
    ids::{AgentId, Generation, TurnId},
    protocol::{AgentSpec, Deletion, Delivery, Hello, Refusal, Welcome},
    session_key::SessionKey,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    containment::{Cap, Caps, Containment, Unenforced},
    dispatch::Reports,
    journal::Journal,
    supervision::{
        adoption::Past,
        capture::{AgentLog, Rotation},
        ending::End,
        events::Events,
        lifecycle::{Answer, Desired, Event, Policy, State},
        links::LinkStream,
        sampler::SamplerHandle,
        spawner::Spawner,
    },
};

/// What a driver can be asked.
#[derive(Debug)]
pub enum Command {
    /// Start, stop, restart or kill; answered at once, carried out afterwards.
    Order {
        /// One of the events that operators cause.
        event: Event,
        /// Whether it changes anything.
        reply: oneshot::Sender<Answer>,
    },
    /// Hand this to the agent.
    Deliver(Box<Delivery>),
    /// The same, for the cheaper model where there is one.
    DeliverCheaper(Box<Delivery>),
    /// Offer this to the turn that runs in its session; it may be left out.
    Steer(Box<Delivery>),
    /// Have the agent stop this turn.
    Cancel(TurnId),
    /// A turn of this life does not stop: have another process of the agent.
    Unstick(Generation),
    /// Hold the agent to these caps from now on.
    SetCaps {
        /// All of them: what is not set is lifted.
        caps: Caps,
        /// Whether they hold already, or why they cannot.
        reply: oneshot::Sender<Result<Applied, String>>,
    },
    /// Keep it on these terms from now on; those of a life hold from the next one on.
    Renew(Box<Terms>),
    /// Have the agent delete this session.
    DeleteSession {
        /// Which.
        session: SessionKey,
        /// What became of it; dropped, when the agent ends meanwhile.
        reply: oneshot::Sender<Deleted>,
    },
    /// Somebody says that it is this agent. The reply carries the number of the attempt.
    Hello {
        /// What it said.
        hello: Box<Hello>,
        /// Which process connected.
        peer_pid: Option<i32>,
        /// Come in, or go away.
        reply: HelloReply,
    },
    /// The welcome was sent: this is the link.
    Attach {
        /// The connection.
        stream: LinkStream,
        /// The attempt that was welcomed; an older one is dropped.
        attempt: u64,
    },
}

/// What became of new caps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Whether they hold the life that runs; else they will hold the next one.
    pub live: bool,
}

/// What became of a session that an agent was to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// What the agent says.
    Said(Deletion),
    /// It does not run, or has no link at the moment.
    NotRunning,
    /// It has enough of these to do.
    TooMany,
}

/// What others see of an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// Where it is in its life.
    pub state: State,
    /// What is wanted.
    pub desired: Desired,
    /// Which life.
    pub generation: Generation,
    /// The child, if there is one.
    pub pid: Option<i32>,
    /// Whether the present child was started by a supervisor before this one.
    pub adopted: bool,
    /// When the present child was started.
    pub started_at: Option<SystemTime>,
    /// How often it was restarted without being asked.
    pub restarts: u64,
    /// Whether its link is up.
    pub linked: bool,
    /// The lag of its loop at the last heartbeat.
    pub lag: Duration,
    /// The latest trouble, in words.
    pub detail: Option<String>,
    /// How the last child ended.
    pub last_end: Option<LastEnd>,
    /// What it may use.
    pub caps: Caps,
    /// The caps that were asked for and do not hold.
    pub unenforced: Arc<[Unenforced]>,
    /// How the present child closed its cage: what it said in its first hello, before it did anything
    /// else. Empty until then.
    pub cage: Arc<[CageStep]>,
}

/// How the last child of an agent ended, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct LastEnd {
    /// When.
    pub at: SystemTime,
    /// Which life.
    pub generation: Generation,
    /// How.
    pub end: Arc<End>,
}

/// Makes the spec of a new life; asked at every start, so that a changed secret is seen. May block.
pub type SpecSource = Arc<dyn Fn() -> Result<AgentSpec, String> + Send + Sync>;

/// What may change about an agent while its driver runs.
pub struct Terms {
    /// How to keep it.
    pub policy: Policy,
    /// What its next life is told to be.
    pub spec: SpecSource,
    /// What its next life may use; [`Command::SetCaps`] is for the present one.
    pub caps: Caps,
    /// Which of that the operator asked for.
    pub requested: Vec<Cap>,
    /// How its next life is to close itself in.
    pub cage: Result<CageSpec, String>,
    /// The level of the log of its next life.
    pub log_level: String,
    /// How long its next life looks for a lost supervisor.
    pub orphan_grace: Duration,
    /// How its output is kept.
    pub rotation: Rotation,
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terms")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// What a driver is made of.
pub struct Setup {
    /// Whose it is.
    pub agent: AgentId,
    /// How to keep it.
    pub policy: Policy,
    /// What it is told to be.
    pub spec: SpecSource,
    /// What makes its groups.
    pub containment: Arc<Containment>,
    /// What it may use.
    pub caps: Caps,
    /// Which of that the operator asked for; the rest are defaults, which hold where they can.
    pub requested: Vec<Cap>,
    /// The agent-host binary.
    pub program: PathBuf,
    /// The agent's own directory; exists.
    pub directory: PathBuf,
    /// The link socket.
    pub socket: PathBuf,
    /// The level of its log.
    pub log_level: String,
    /// How long it looks for a lost supervisor.
    pub orphan_grace: Duration,
    /// How it is to close itself in, but for its group; or why it may not run at all. A strict one does
    /// not run without a cap that was asked for either.
    pub cage: Result<CageSpec, String>,
    /// Where its output goes.
    pub log: AgentLog,
    /// Starts its children.
    pub spawner: Spawner,
    /// Hears of its turns.
    pub reports: Reports,
    /// Hears of its life.
    pub events: Events,
    /// Reads what its children use.
    pub sampler: SamplerHandle,
    /// Where its children are written down, for the next supervisor.
    pub journal: Journal,
    /// What a supervisor before this one has left of it.
    pub past: Past,
}

/// An agent, to the rest of the supervisor.
#[derive(Debug, Clone)]
pub struct AgentHandle {
    /// Whose.
    pub agent: AgentId,
    /// To its driver.
    pub commands: mpsc::Sender<Command>,
    /// What its driver sees.
    pub observed: watch::Receiver<Observed>,
    /// What it prints.
    pub log: AgentLog,
}

impl AgentHandle {
    /// Gives an order; `None` when the supervisor is leaving.
    pub async fn order(&self, event: Event) -> Option<Answer> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(Command::Order { event, reply })
            .await
            .ok()?;
        answer.await.ok()
    }

    /// Holds the agent to other caps, its present life too if it has one. The error says why not; then
    /// nothing has changed.
    pub async fn set_caps(&self, caps: Caps) -> Result<Applied, String> {
        let leaving = || "the supervisor is shutting down".to_owned();
        let (reply, answer) = oneshot::channel();
        let command = Command::SetCaps { caps, reply };
        let sent = self.commands.send(command).await;
        sent.map_err(|_| leaving())?;
        answer.await.map_err(|_| leaving())?
    }

    /// Keeps the agent on other terms; what is ordered after this is done on them.
    pub async fn renew(&self, terms: Terms) {
        // A driver that is gone left with the supervisor.
        let _ = self.commands.send(Command::Renew(Box::new(terms))).await;
    }

    /// Has the agent delete a session; `None` when it ends meanwhile, or the supervisor is leaving.
    pub async fn delete_session(&self, session: SessionKey) -> Option<Deleted> {
        let (reply, answer) = oneshot::channel();
        let command = Command::DeleteSession { session, reply };
        self.commands.send(command).await.ok()?;
        answer.await.ok()
    }

    /// Waits until the agent is as `wanted` says; false when `limit` passes first.
    pub async fn wait(&self, limit: Duration, wanted: impl FnMut(&Observed) -> bool) -> bool {
        let mut observed = self.observed.clone();
        tokio::time::timeout(limit, observed.wait_for(wanted))
            .await
            .is_ok_and(|seen| seen.is_ok())
    }
}

/// Takes the welcome and the number of the attempt, or why there is none.
pub type HelloReply = oneshot::Sender<Result<(Box<Welcome>, u64), Refusal>>;
