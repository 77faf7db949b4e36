//! One agent in full, for people: a line for each thing that is known, in groups.
//!
//! Pure: a value in, text out.

use std::fmt::Write as _;

use super::{
    ends,
    output::printable,
    units::{bytes, duration, of_cap, percent},
};
use crate::control::wire::{AgentStatus, AgentUsage, Desired, LinkState};

/// How wide names are.
const NAME: usize = 14;

/// Lines of one group; one without lines is not shown.
#[derive(Default)]
struct Group(String);

impl Group {
    /// A line, if the value is known.
    fn line(&mut self, name: &str, value: impl Into<Option<String>>) -> &mut Self {
        if let Some(value) = value.into() {
            writeln!(self.0, "  {:<NAME$} {value}", format!("{name}:"))
                .expect("a string takes everything");
        }
        self
    }
}

/// The agent; `now` is in milliseconds since 1970.
pub(super) fn agent(agent: &AgentStatus, now: u64) -> String {
    let groups = [
        ("life", life(agent, now)),
        ("work", work(agent)),
        ("cpu", cpu(agent)),
        ("memory", memory(agent)),
        ("processes", processes(&agent.usage)),
        ("disk", disk(&agent.usage)),
    ];
    let mut text = format!("{}\n", agent.id);
    for (name, Group(lines)) in groups {
        if !lines.is_empty() {
            write!(text, "\n{name}\n{lines}").expect("a string takes everything");
        }
    }
    text
}

fn life(agent: &AgentStatus, now: u64) -> Group {
    let mut group = Group::default();
    let desired = match agent.desired {
        Desired::Running => "running",
        Desired::Stopped => "stopped",
    };
    let link = match agent.link {
        LinkState::Connected => "connected",
        LinkState::Disconnected => "disconnected",
    };
    group
        .line("state", format!("{} (wanted: {desired})", agent.state))
        .line("detail", agent.detail.as_deref().map(printable))
        .line("pid", agent.pid.map(|pid| pid.to_string()))
        .line(
            "generation",
            if agent.adopted {
                format!("{} (adopted)", agent.generation)
            } else {
                agent.generation.to_string()
            },
        )
        .line("up", agent.uptime_ms.map(duration))
        .line("restarts", agent.restarts.to_string())
        .line(
            "last end",
            agent
                .last_end
                .as_ref()
                .map(|end| printable(&ends::story(end, now))),
        )
        .line("link", link.to_owned());
    if agent.link == LinkState::Connected {
        group.line("loop lag", millis(agent.usage.lag_us));
    }
    group
}

fn work(agent: &AgentStatus) -> Group {
    let mut group = Group::default();
    let usage = &agent.usage;
    group
        .line("model", printable(&agent.model))
        .line("queued", agent.queued.to_string())
        .line("running", agent.running.to_string())
        .line("turns", agent.turns.to_string())
        .line(
            "tokens",
            format!("{} in, {} out", usage.input_tokens, usage.output_tokens),
        );
    group
}

fn cpu(agent: &AgentStatus) -> Group {
    let usage = &agent.usage;
    let mut group = Group::default();
    group
        .line(
            "now",
            agent.cpu_percent.map(|cpu| format!("{}%", percent(cpu))),
        )
        .line("total", usage.cpu_ms.map(seconds))
        .line(
            "cap",
            usage
                .cpu_cap
                .map(|cap| format!("{}%", percent(cap * 100.0))),
        )
        .line("throttled", usage.throttled_ms.map(seconds))
        .line("pressure", usage.cpu_pressure.map(pressure));
    group
}

fn memory(agent: &AgentStatus) -> Group {
    let usage = &agent.usage;
    let mut group = Group::default();
    let of_processes = usage.memory_pss_bytes.map(|pss| {
        let count = usage.processes.unwrap_or(0);
        let noun = if count == 1 { "process" } else { "processes" };
        format!("{} (PSS of {count} {noun})", bytes(pss))
    });
    group
        .line(
            "now",
            agent
                .memory_bytes
                .map(|now| of_cap(now, usage.memory_cap_bytes, bytes)),
        )
        .line("peak", usage.memory_peak_bytes.map(bytes))
        .line("without cache", usage.memory_anon_bytes.map(bytes))
        .line("share", of_processes)
        .line("private", usage.memory_private_bytes.map(bytes))
        .line("swap", usage.memory_swap_bytes.map(bytes))
        .line("pressure", usage.memory_pressure.map(pressure))
        .line("oom kills", usage.oom_kills.to_string());
    group
}

fn processes(usage: &AgentUsage) -> Group {
    let count = |now, cap| of_cap(now, cap, |count| count.to_string());
    let mut group = Group::default();
    group
        .line("pids", usage.pids.map(|now| count(now, usage.pids_cap)))
        .line("denied", usage.pids_denied.map(|denied| denied.to_string()))
        .line(
            "open files",
            usage.open_files.map(|now| count(now, usage.open_files_cap)),
        );
    group
}

fn disk(usage: &AgentUsage) -> Group {
    let mut group = Group::default();
    group
        .line("read", usage.io_read_bytes.map(bytes))
        .line("written", usage.io_written_bytes.map(bytes))
        .line("pressure", usage.io_pressure.map(pressure));
    group
}

/// What is often short: with its milliseconds below a minute.
fn seconds(ms: u64) -> String {
    if ms < 60_000 {
        format!("{}.{:03}s", ms / 1000, ms % 1000)
    } else {
        duration(ms)
    }
}

fn millis(us: u64) -> String {
    format!("{}.{:01}ms", us / 1000, us % 1000 / 100)
}

fn pressure(share: f64) -> String {
    format!("{}% of the last 10s", percent(share))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::{AgentEnd, AgentState};

    fn known() -> AgentStatus {
        AgentStatus {
            id: "hexa".into(),
            state: AgentState::Ready,
            desired: Desired::Running,
            pid: Some(4711),
            generation: 2,
            adopted: false,
            uptime_ms: Some(65_000),
            restarts: 1,
            queued: 4,
            running: 1,
            turns: 12,
            cpu_percent: Some(12.34),
            memory_bytes: Some(12 << 20),
            model: "local/smollm2".into(),
            link: LinkState::Connected,
            last_end: Some(AgentEnd {
                at_ms: 0,
                generation: 1,
                cause: "out-of-memory".into(),
                code: None,
                signal: Some(9),
                cap: Some("memory".into()),
                cap_value: Some(256 << 20),
                memory_high_bytes: None,
                memory_peak_bytes: Some(256 << 20),
                turns: Vec::new(),
                next: "generation 2 starts now".into(),
                sentence: "killed at its memory cap of 256.0 MiB; generation 2 starts now".into(),
            }),
            usage: AgentUsage {
                cpu_ms: Some(1234),
                cpu_cap: Some(0.5),
                throttled_ms: Some(90_500),
                memory_bytes: Some(12 << 20),
                memory_peak_bytes: Some(20 << 20),
                memory_anon_bytes: Some(5 << 20),
                memory_cap_bytes: Some(256 << 20),
                memory_pss_bytes: Some(4 << 20),
                memory_private_bytes: Some(3 << 20),
                memory_swap_bytes: Some(0),
                processes: Some(2),
                pids: Some(7),
                pids_cap: Some(64),
                pids_denied: Some(3),
                io_read_bytes: Some(4096),
                io_written_bytes: Some(1 << 30),
                cpu_pressure: Some(1.5),
                memory_pressure: Some(0.0),
                io_pressure: Some(12.0),
                oom_kills: 1,
                lag_us: 1550,
                open_files: Some(15),
                open_files_cap: Some(1024),
                input_tokens: 1000,
                output_tokens: 50,
            },
            detail: Some("a\x1b[2Jb".into()),
        }
    }

    #[test]
    fn everything_that_is_known_is_shown() {
        insta::assert_snapshot!(agent(&known(), 185_000));
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let unknown = AgentStatus {
            pid: None,
            uptime_ms: None,
            cpu_percent: None,
            memory_bytes: None,
            link: LinkState::Disconnected,
            usage: AgentUsage::default(),
            last_end: None,
            detail: None,
            state: AgentState::Stopped,
            desired: Desired::Stopped,
            ..known()
        };
        insta::assert_snapshot!(agent(&unknown, 0));
    }
}
