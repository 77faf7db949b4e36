//! Looks once a second, and tells who asks.

use std::{collections::HashMap, time::Duration};

use kennel_shared::ids::AgentId;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::MissedTickBehavior,
};

use super::{Accumulator, CpuUsage, Report};
use crate::{
    dispatch::{DispatcherHandle, lanes::USUAL_WEIGHT},
    supervision::sampler::{AgentSample, SamplerHandle},
};

/// Between two looks.
const BEAT: Duration = Duration::from_secs(1);

/// Questions that may wait; who asks beyond that waits himself.
const REQUESTS: usize = 16;

/// Asks how it was.
#[derive(Debug, Clone)]
pub struct FairnessHandle {
    requests: mpsc::Sender<oneshot::Sender<Report>>,
}

impl FairnessHandle {
    /// By now; `None` when the supervisor is about to end.
    pub async fn report(&self) -> Option<Report> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(reply).await.ok()?;
        answer.await.ok()
    }
}

/// Begins to look. The task ends by being aborted, or with its last handle.
pub fn start(
    dispatcher: DispatcherHandle,
    sampler: SamplerHandle,
) -> (FairnessHandle, JoinHandle<()>) {
    let (requests, mut inbox) = mpsc::channel::<oneshot::Sender<Report>>(REQUESTS);
    let task = tokio::spawn(async move {
        let mut accumulator = Accumulator::default();
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beat.tick() => {
                    let Some(usage) = dispatcher.usage().await else { return };
                    let sample = sampler.latest();
                    let cpu = sample.agents.iter();
                    let cpu = cpu.map(|(agent, sample)| (agent.clone(), cpu_usage(sample)));
                    accumulator.look(usage, &cpu.collect::<HashMap<AgentId, CpuUsage>>());
                }
                request = inbox.recv() => {
                    let Some(reply) = request else { return };
                    // Who asked may have gone.
                    let _ = reply.send(accumulator.report());
                }
            }
        }
    });
    (FairnessHandle { requests }, task)
}

fn cpu_usage(sample: &AgentSample) -> CpuUsage {
    let total = &sample.total;
    let micros = Duration::from_micros;
    let pressure = sample.life.and_then(|life| life.reading.cpu_pressure);
    let waited = total.waits[0].some_us.saturating_sub(total.throttled_us);
    CpuUsage {
        used: micros(total.cpu_us),
        waited: pressure.map(|_| micros(waited)),
        weight: sample
            .life
            .and_then(|life| life.caps.cpu_weight)
            .unwrap_or(USUAL_WEIGHT),
    }
}
