//! An agent's limits and usage in words: a line for each resource.

use super::super::{
    super::{
        model::float,
        sort,
        text::{micros, safe},
        theme::Tone,
    },
    agents::or_dash,
};
use crate::{
    cli::units::{bytes, duration, percent},
    control::wire::{AgentStatus, Desired, LinkState},
};

/// A name, what there is to say, and what it means.
pub(super) type Fact = (&'static str, String, Tone);

/// What is known of an agent. What the host cannot tell is `-`.
pub(super) fn facts(agent: &AgentStatus, throttled: Option<f64>) -> Vec<Fact> {
    let usage = &agent.usage;
    let number = |value: Option<u64>| or_dash(value, |value| value.to_string());
    let size = |value: Option<u64>| or_dash(value, bytes);
    let share = |value: Option<f64>| or_dash(value, |value| format!("{}%", percent(value)));

    let cap = usage.cpu_cap.map(|cpus| cpus * 100.0);
    let cpu = format!(
        "{} of {}  total {}  throttled {} ({})  pressure {}",
        share(agent.cpu_percent),
        share(cap),
        or_dash(usage.cpu_ms, duration),
        or_dash(usage.throttled_ms, duration),
        share(throttled),
        share(usage.cpu_pressure),
    );
    let now = sort::memory(agent);
    let memory = format!(
        "{} of {}  peak {}  pressure {}  OOM kills {}",
        size(now),
        size(usage.memory_cap_bytes),
        size(usage.memory_peak_bytes),
        share(usage.memory_pressure),
        usage.oom_kills,
    );
    let full = now
        .zip(usage.memory_cap_bytes)
        .is_some_and(|(now, cap)| float(now) >= 0.9 * float(cap));
    let pids = format!(
        "{} of {}  denied {}  open files {} of {}",
        number(usage.pids),
        number(usage.pids_cap),
        number(usage.pids_denied),
        number(usage.open_files),
        number(usage.open_files_cap),
    );
    let disk = format!(
        "read {}  written {}  pressure {}",
        size(usage.io_read_bytes),
        size(usage.io_written_bytes),
        share(usage.io_pressure),
    );
    let turns = format!(
        "{}  running {}  waiting {}  tokens in {} out {}",
        agent.turns, agent.running, agent.queued, usage.input_tokens, usage.output_tokens,
    );
    let wanted = match agent.desired {
        Desired::Running => "running",
        Desired::Stopped => "stopped",
    };
    let link = match agent.link {
        LinkState::Connected => "connected",
        LinkState::Disconnected => "not connected",
    };
    let life = format!(
        "wanted {wanted}  link {link}  restarts {}  lag {}",
        agent.restarts,
        or_dash(agent.pid, |_| micros(usage.lag_us)),
    );
    let alarm = |bad: bool| if bad { Tone::Bad } else { Tone::Plain };
    let mut facts = vec![
        ("cpu", cpu, Tone::Plain),
        ("memory", memory, alarm(full || usage.oom_kills > 0)),
        ("processes", pids, alarm(usage.pids_denied.unwrap_or(0) > 0)),
        ("disk", disk, Tone::Plain),
        ("turns", turns, Tone::Plain),
        ("life", life, Tone::Plain),
    ];
    if let Some(detail) = &agent.detail {
        facts.push(("why", safe(detail), Tone::Notable));
    }
    facts
}
