//! From what the supervisor knows to what the API shows. The conversions live beside the boundary.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use kennel_shared::{
    ids::{AgentId, Generation},
    protocol::Spent,
};

use super::{App, usage, wire};
use crate::{
    channel,
    config::AgentConfig,
    dispatch::{AgentCounts, EndKind},
    supervision::{
        driver::Observed,
        ending::{Cause, End, TurnThen},
        events::LifecycleEvent,
        lifecycle::{Desired, Exit, State},
        sampler::{self, MemoryShare, Sample},
    },
};

/// How long a sampler that waits for the kernel is waited for.
const MEMBERS_PATIENCE: Duration = Duration::from_secs(2);

impl App {
    /// Every configured agent.
    pub(super) async fn view_agents(&self) -> Vec<wire::AgentStatus> {
        let counts = self.dispatcher.counts().await;
        let sample = self.sampler.latest();
        self.config
            .agents
            .values()
            .map(|agent| self.view(agent, &counts, &sample))
            .collect()
    }

    /// One agent, if it is configured.
    pub(super) async fn view_agent(&self, id: &str) -> Option<wire::AgentStatus> {
        let agent = self.config.agent(id)?;
        let counts = self.dispatcher.counts().await;
        Some(self.view(agent, &counts, &self.sampler.latest()))
    }

    fn view(
        &self,
        agent: &AgentConfig,
        counts: &HashMap<AgentId, AgentCounts>,
        sample: &Sample,
    ) -> wire::AgentStatus {
        let Some(handle) = self.agents.get(agent.id.as_str()) else {
            return disabled(agent);
        };
        let observed = handle.observed.borrow().clone();
        let counts = counts.get(&handle.agent).copied().unwrap_or_default();
        let sample = sample.agents.get(&handle.agent).copied();
        let sample = sample.unwrap_or_default();
        // The sampler may not have heard yet that another child runs.
        let life = sample.life.filter(|life| observed.pid == Some(life.pid));
        wire::AgentStatus {
            id: agent.id.to_string(),
            state: state(&observed),
            desired: match observed.desired {
                Desired::Running => wire::Desired::Running,
                Desired::Stopped => wire::Desired::Stopped,
            },
            pid: observed.pid.and_then(|pid| u32::try_from(pid).ok()),
            generation: observed.generation.0,
            adopted: observed.adopted,
            uptime_ms: observed
                .started_at
                .and_then(|at| at.elapsed().ok())
                .map(millis),
            restarts: observed.restarts,
            queued: counts.waiting as u64,
            running: counts.running as u64,
            turns: counts.replied + counts.failed,
            cpu_percent: life.and_then(|life| life.cpu_percent),
            memory_bytes: life.and_then(|life| life.reading.memory),
            model: agent.model.to_string(),
            link: if observed.linked {
                wire::LinkState::Connected
            } else {
                wire::LinkState::Disconnected
            },
            usage: usage::agent(&sample, life.as_ref(), observed.lag, &counts),
            last_end: observed
                .last_end
                .as_ref()
                .map(|last| view_end(last.at, last.generation, &last.end)),
            detail: detail(&agent.id, &observed),
        }
    }

    /// The memory of an agent's processes, asked of each of them now.
    pub(super) async fn memory_share(&self, agent: &AgentId) -> Option<MemoryShare> {
        let members = tokio::time::timeout(MEMBERS_PATIENCE, self.sampler.members(agent));
        let members = members.await.ok()??;
        let ask = move || {
            let pids = members.all.unwrap_or_else(|| sampler::tree(members.root));
            sampler::memory_share(&pids)
        };
        tokio::task::spawn_blocking(ask).await.ok()?
    }

    /// Every channel account.
    pub(super) fn view_channels(&self) -> Vec<wire::ChannelStatus> {
        let mut channels: Vec<_> = self
            .accounts
            .all()
            .iter()
            .map(|account| view_channel(&account.status().borrow()))
            .collect();
        channels.sort_by(|a, b| a.id.cmp(&b.id));
        channels
    }
}

/// The latest trouble, and the caps that were asked for and do not hold.
fn detail(id: &AgentId, observed: &Observed) -> Option<String> {
    let unenforced = observed.unenforced.iter();
    let caps: Vec<&str> = unenforced.map(|one| one.cap.as_str()).collect();
    let caps = (!caps.is_empty()).then(|| {
        let caps = caps.join(", ");
        format!("not held: {caps} (`kennel doctor {id}` says why)")
    });
    let notes: Vec<String> = [observed.detail.clone(), caps]
        .into_iter()
        .flatten()
        .collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

fn disabled(agent: &AgentConfig) -> wire::AgentStatus {
    wire::AgentStatus {
        id: agent.id.to_string(),
        state: wire::AgentState::Stopped,
        desired: wire::Desired::Stopped,
        pid: None,
        generation: 0,
        adopted: false,
        uptime_ms: None,
        restarts: 0,
        queued: 0,
        running: 0,
        turns: 0,
        cpu_percent: None,
        memory_bytes: None,
        model: agent.model.to_string(),
        link: wire::LinkState::Disconnected,
        usage: wire::AgentUsage::default(),
        last_end: None,
        detail: Some("disabled in the configuration".into()),
    }
}

pub(super) fn state(observed: &Observed) -> wire::AgentState {
    match observed.state {
        State::Stopped => wire::AgentState::Stopped,
        State::Starting { .. } => wire::AgentState::Starting,
        State::Ready { .. } => wire::AgentState::Ready,
        State::Draining { .. } => wire::AgentState::Draining,
        State::Stopping { .. } => wire::AgentState::Stopping,
        State::BackingOff { .. } => wire::AgentState::BackingOff,
        State::Exited(_) => wire::AgentState::Exited,
        State::Quarantined { .. } => wire::AgentState::Quarantined,
    }
}

fn view_channel(status: &channel::ChannelStatus) -> wire::ChannelStatus {
    wire::ChannelStatus {
        id: status.id.to_string(),
        kind: status.kind.to_owned(),
        state: match status.state {
            channel::ChannelState::Connecting => wire::ChannelState::Connecting,
            channel::ChannelState::Online => wire::ChannelState::Connected,
            channel::ChannelState::BackingOff { .. } => wire::ChannelState::BackingOff,
            channel::ChannelState::Failed { .. } => wire::ChannelState::Failed,
            channel::ChannelState::Stopped => wire::ChannelState::Stopped,
        },
        since_ms: millis(status.since.elapsed()),
        detail: status.detail.clone(),
        received: status.received,
        sent: status.sent,
        reconnects: status.reconnects,
    }
}

/// A lifecycle event for its stream.
pub(super) fn view_event(event: &LifecycleEvent) -> wire::LifecycleEvent {
    wire::LifecycleEvent {
        at_ms: unix_millis(event.at),
        agent: event.agent.as_ref().map(ToString::to_string),
        generation: event.generation.0,
        kind: event.kind.to_owned(),
        detail: event.detail.clone(),
        end: event
            .end
            .as_ref()
            .map(|end| view_end(event.at, event.generation, end)),
        held_back: event.held_back.as_ref().map(|held| wire::HeldBack {
            cap: held.cap.as_str().to_owned(),
            cap_value: held.allowed,
            turn: held.turn.as_ref().map(view_turn),
        }),
    }
}

fn view_turn(then: &TurnThen) -> wire::InterruptedTurn {
    wire::InterruptedTurn {
        turn: then.turn.to_string(),
        session: then.session.to_string(),
        step: then.step.to_string(),
        running_ms: millis(then.running),
    }
}

pub(super) fn view_end(at: SystemTime, generation: Generation, end: &End) -> wire::AgentEnd {
    let (code, signal) = match end.exit {
        Exit::Code(code) => (Some(code), None),
        Exit::Signal(signal) => (None, Some(signal)),
        Exit::Unknown => (None, None),
    };
    wire::AgentEnd {
        at_ms: unix_millis(at),
        generation: generation.0,
        cause: end.cause.as_str().to_owned(),
        code,
        signal,
        cap: end.cause.cap().map(str::to_owned),
        cap_value: match end.cause {
            Cause::OutOfMemory => end.caps.memory,
            Cause::Stalled { high, .. } => end.caps.memory.or(Some(high)),
            Cause::TooManyProcesses => end.caps.pids.map(u64::from),
            _ => None,
        },
        memory_high_bytes: match end.cause {
            Cause::Stalled { high, .. } => Some(high),
            _ => None,
        },
        memory_peak_bytes: end.peak,
        turns: end.turns.iter().map(view_turn).collect(),
        next: end.next.clone(),
        sentence: end.sentence(),
    }
}

fn unix_millis(at: SystemTime) -> u64 {
    millis(
        at.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

/// Tokens and attempts of a turn.
pub(super) fn usage(spent: &Spent) -> wire::Usage {
    wire::Usage {
        input_tokens: spent.input_tokens,
        output_tokens: spent.output_tokens,
        retries: spent.retries,
    }
}

/// Where the time of a turn went. `whole` is from the request to the end.
pub(super) fn timing(spent: &Spent, whole: Duration) -> wire::Timing {
    let whole_us = u64::try_from(whole.as_micros()).unwrap_or(u64::MAX);
    wire::Timing {
        queued_us: whole_us.saturating_sub(spent.total_us),
        context_us: spent.context_us,
        first_token_us: spent.first_token_us,
        provider_us: spent.provider_us,
        tools_us: spent.tools_us,
        commit_us: spent.commit_us,
        total_us: spent.total_us,
    }
}

/// The kind of a failure, for programs.
pub(super) fn failure_kind(kind: EndKind) -> wire::TurnFailureKind {
    match kind {
        EndKind::Provider => wire::TurnFailureKind::Provider,
        EndKind::Unavailable => wire::TurnFailureKind::Unavailable,
        EndKind::Timeout => wire::TurnFailureKind::Timeout,
        EndKind::Store => wire::TurnFailureKind::Store,
        EndKind::Agent | EndKind::Stopped => wire::TurnFailureKind::AgentGone,
        EndKind::Budget => wire::TurnFailureKind::Budget,
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
