//! What was seen of an agent, the fleet or the host before now.

use std::collections::VecDeque;

use super::super::{sort, spark::Samples};
use crate::control::wire::{AgentStatus, HostUsage, Status};

/// Throttling is looked at over so many intervals: the supervisor may sample less often than we look.
const THROTTLED_OVER: usize = 5;

/// The last samples, and what follows from them.
#[derive(Debug, Clone, Default)]
pub(in crate::cli::top) struct History {
    pub(in crate::cli::top) cpu: Samples,
    pub(in crate::cli::top) memory: Samples,
    /// Percent of the last intervals in which the CPU cap held it back.
    pub(in crate::cli::top) throttled: Option<f64>,
    past: VecDeque<Throttled>,
}

/// How long a life was held back until when in it.
#[derive(Debug, Clone, Copy)]
struct Throttled {
    generation: u64,
    uptime_ms: u64,
    held_ms: u64,
}

impl History {
    pub(super) fn agent(&mut self, agent: &AgentStatus) {
        self.cpu.push(agent.cpu_percent);
        self.memory.push(sort::memory(agent).map(float));
        let now = agent.usage.throttled_ms.zip(agent.uptime_ms);
        let now = now.map(|(held_ms, uptime_ms)| Throttled {
            generation: agent.generation,
            uptime_ms,
            held_ms,
        });
        self.past
            .retain(|past| now.is_some_and(|now| now.generation == past.generation));
        self.past.extend(now);
        if self.past.len() > THROTTLED_OVER + 1 {
            self.past.pop_front();
        }
        let first = self.past.front();
        self.throttled = first.zip(now).map(|(first, now)| rate(*first, now));
    }

    pub(super) fn fleet(&mut self, status: &Status) {
        self.cpu.push(fleet_cpu(status));
        self.memory.push(fleet_memory(status).map(float));
    }

    pub(super) fn host(&mut self, host: &HostUsage) {
        let known = host.cpus > 0;
        self.cpu.push(known.then_some(host.cpu_percent));
        let used = host
            .memory_total_bytes
            .saturating_sub(host.memory_available_bytes);
        self.memory.push(known.then_some(float(used)));
    }
}

fn rate(before: Throttled, now: Throttled) -> f64 {
    let elapsed = now.uptime_ms.saturating_sub(before.uptime_ms);
    if elapsed == 0 {
        // The first look at this life: nothing to compare with, and nothing wrong either.
        return 0.0;
    }
    let held = now.held_ms.saturating_sub(before.held_ms);
    // Summed up over CPUs, so it may be more than the time that passed.
    (float(held) * 100.0 / float(elapsed)).min(999.0)
}

/// What the supervisor says of the fleet, else the sum of its agents.
pub(in crate::cli::top) fn fleet_cpu(status: &Status) -> Option<f64> {
    let sum = status.agents.iter().filter_map(|agent| agent.cpu_percent);
    let sum = sum.reduce(|sum, one| sum + one);
    status.fleet.cpu_percent.or(sum)
}

/// What the supervisor says of the fleet, else the sum of its agents.
pub(in crate::cli::top) fn fleet_memory(status: &Status) -> Option<u64> {
    let sum = status.agents.iter().filter_map(sort::memory);
    let sum = sum.reduce(u64::saturating_add);
    status.fleet.memory_bytes.or(sum)
}

/// For pictures and shares.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(in crate::cli::top) fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::tests::agent;

    #[test]
    fn throttling_is_a_share_of_the_last_intervals() {
        let mut history = History::default();
        let mut seen = agent("a");
        history.agent(&seen);
        assert_eq!(history.throttled, None);

        seen.usage.throttled_ms = Some(10_000);
        seen.uptime_ms = Some(60_000);
        history.agent(&seen);
        assert_eq!(history.throttled, Some(0.0));
        for _ in 0..10 {
            seen.uptime_ms = seen.uptime_ms.map(|ms| ms + 1_000);
            seen.usage.throttled_ms = seen.usage.throttled_ms.map(|ms| ms + 250);
            history.agent(&seen);
        }
        assert_eq!(history.throttled, Some(25.0));
        // Calm again: the share goes down as the past is left behind.
        for _ in 0..THROTTLED_OVER {
            seen.uptime_ms = seen.uptime_ms.map(|ms| ms + 1_000);
            history.agent(&seen);
        }
        assert_eq!(history.throttled, Some(0.0));
        // A new life begins at nothing.
        seen.generation += 1;
        seen.uptime_ms = Some(10);
        seen.usage.throttled_ms = Some(0);
        history.agent(&seen);
        assert_eq!(history.throttled, Some(0.0));
    }

    #[test]
    fn the_fleet_is_summed_up_where_it_is_not_told() {
        let mut status = crate::cli::top::tests::status(3);
        status.agents.iter_mut().for_each(|agent| {
            agent.cpu_percent = Some(2.0);
            agent.memory_bytes = Some(10);
            agent.usage.memory_bytes = None;
        });
        status.agents[0].cpu_percent = None;
        assert_eq!(
            (fleet_cpu(&status), fleet_memory(&status)),
            (Some(4.0), Some(30))
        );
        status.fleet.cpu_percent = Some(7.0);
        status.fleet.memory_bytes = Some(70);
        assert_eq!(
            (fleet_cpu(&status), fleet_memory(&status)),
            (Some(7.0), Some(70))
        );
        status = crate::cli::top::tests::status(0);
        assert_eq!((fleet_cpu(&status), fleet_memory(&status)), (None, None));
    }
}
