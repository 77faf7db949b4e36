//! From samples to what the API shows of usage.

use std::time::Duration;

use super::wire;
use crate::{
    containment::Pressure,
    dispatch::AgentCounts,
    supervision::sampler::{AgentSample, FleetSample, HostSample, LifeSample, MemoryShare},
};

/// One agent. `life` is its present one.
pub(super) fn agent(
    sample: &AgentSample,
    life: Option<&LifeSample>,
    lag: Duration,
    counts: &AgentCounts,
) -> wire::AgentUsage {
    let mut usage = life.map(of_life).unwrap_or_default();
    usage.oom_kills = sample.total.oom_kills;
    usage.lag_us = u64::try_from(lag.as_micros()).unwrap_or(u64::MAX);
    usage.input_tokens = counts.input_tokens;
    usage.output_tokens = counts.output_tokens;
    usage
}

fn of_life(life: &LifeSample) -> wire::AgentUsage {
    let LifeSample { caps, reading, .. } = life;
    wire::AgentUsage {
        cpu_ms: reading.cpu_us.map(|us| us / 1000),
        cpu_cap: caps.cpu,
        throttled_ms: reading.throttled_us.map(|us| us / 1000),
        memory_bytes: reading.memory,
        memory_peak_bytes: reading.memory_peak,
        memory_anon_bytes: reading.memory_anon,
        memory_cap_bytes: caps.memory,
        pids: reading.pids,
        pids_cap: caps.pids.map(u64::from),
        pids_denied: reading.pids_denied,
        io_read_bytes: reading.io_read,
        io_written_bytes: reading.io_written,
        cpu_pressure: reading.cpu_pressure.map(some_percent),
        memory_pressure: reading.memory_pressure.map(some_percent),
        io_pressure: reading.io_pressure.map(some_percent),
        open_files: life.open_files,
        open_files_cap: caps.open_files.map(u64::from),
        ..wire::AgentUsage::default()
    }
}

/// As the kernel writes it: two digits behind the point, and no more of them by widening.
fn some_percent(pressure: Pressure) -> f64 {
    (f64::from(pressure.some_avg10) * 100.0).round() / 100.0
}

/// Adds what was asked for in particular.
pub(super) fn add_share(usage: &mut wire::AgentUsage, share: MemoryShare) {
    usage.memory_pss_bytes = Some(share.proportional);
    usage.memory_private_bytes = Some(share.private);
    usage.memory_swap_bytes = Some(share.swap);
    usage.processes = Some(share.processes);
}

/// The agents together.
pub(super) fn fleet(fleet: &FleetSample) -> wire::FleetUsage {
    wire::FleetUsage {
        cpu_percent: fleet.cpu_percent,
        cpu_cap: fleet.caps.cpu,
        memory_bytes: fleet.reading.memory,
        memory_cap_bytes: fleet.caps.memory,
        pids: fleet.reading.pids,
        pids_cap: fleet.caps.pids.map(u64::from),
    }
}

/// The machine.
pub(super) fn host(host: &HostSample) -> wire::HostUsage {
    wire::HostUsage {
        cpus: host.cpus,
        cpu_percent: host.cpu_percent,
        memory_total_bytes: host.memory_total,
        memory_available_bytes: host.memory_available,
        load: host.load,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containment::{Caps, Reading};

    #[test]
    fn what_is_not_known_is_absent_and_what_counts_over_lives_stays() {
        let mut sample = AgentSample::default();
        sample.total.oom_kills = 3;
        let counts = AgentCounts {
            input_tokens: 7,
            ..AgentCounts::default()
        };
        let usage = agent(&sample, None, Duration::from_micros(1500), &counts);
        let expected = wire::AgentUsage {
            oom_kills: 3,
            lag_us: 1500,
            input_tokens: 7,
            ..wire::AgentUsage::default()
        };
        assert_eq!(usage, expected);
    }

    #[test]
    fn units_are_those_of_the_api() {
        let life = LifeSample {
            caps: Caps {
                cpu: Some(0.5),
                pids: Some(64),
                ..Caps::default()
            },
            reading: Reading {
                cpu_us: Some(1_234_567),
                throttled_us: Some(9_999),
                io_pressure: Some(Pressure {
                    some_avg10: 12.34,
                    ..Pressure::default()
                }),
                ..Reading::default()
            },
            ..LifeSample::default()
        };
        let usage = of_life(&life);
        assert_eq!((usage.cpu_ms, usage.throttled_ms), (Some(1234), Some(9)));
        assert_eq!((usage.cpu_cap, usage.pids_cap), (Some(0.5), Some(64)));
        assert_eq!(usage.io_pressure, Some(12.34));
        assert_eq!(usage.memory_pressure, None);
    }
}
