//! The supervisor, the agents together, the fleet, the host and the lanes: a line each.

use ratatui::{buffer::Buffer, layout::Rect};

use super::{
    super::{
        model::{History, Model, fleet_cpu, fleet_memory, float},
        text::safe,
        theme::Tone,
    },
    agents::memory_ceiling,
    pen::Pen,
};
use crate::{
    cli::units::{bytes, duration, percent},
    control::wire::{AgentState, FairnessSummary, Status},
};

/// Room for a name, for `123%/6400%`, for `123M/1.5G`.
const NAME: u16 = 8;
const FIGURE: u16 = 11;

/// An index below this is one to look at.
const UNFAIR: f64 = 0.9;

/// The widest picture.
const PICTURE_MAX: u16 = 30;

pub(super) fn draw(model: &Model, buffer: &mut Buffer, area: Rect) {
    let mut pen = Pen::new(buffer, area, 0, model.theme);
    supervisor(model, &mut pen);
    let Some(status) = &model.status else {
        return;
    };
    let mut pen = Pen::new(buffer, area, 1, model.theme);
    agents(status, &mut pen);

    let mut pen = Pen::new(buffer, area, 2, model.theme);
    let fleet = &status.fleet;
    let cap = fleet.cpu_cap.map(|cpus| cpus * 100.0);
    let cpu = (fleet_cpu(status), cap);
    let memory = (fleet_memory(status), fleet.memory_cap_bytes);
    let pids = pair(
        fleet.pids.map(|pids| pids.to_string()),
        fleet.pids_cap.map(|cap| cap.to_string()),
    );
    line(&mut pen, "fleet", &model.fleet, cpu, memory);
    pen.say(Tone::Title, "PIDS ");
    pen.say(Tone::Plain, &pids);

    let mut pen = Pen::new(buffer, area, 3, model.theme);
    let host = &status.host;
    let known = host.cpus > 0;
    let cpu = (
        known.then_some(host.cpu_percent),
        known.then_some(float(host.cpus) * 100.0),
    );
    let used = host
        .memory_total_bytes
        .saturating_sub(host.memory_available_bytes);
    let memory = (
        known.then_some(used),
        known.then_some(host.memory_total_bytes),
    );
    line(&mut pen, "host", &model.host, cpu, memory);
    pen.say(Tone::Title, "LOAD ");
    let [one, five, fifteen] = host.load;
    let load = if known {
        format!("{one:.2} {five:.2} {fifteen:.2}")
    } else {
        "-".to_owned()
    };
    pen.say(Tone::Plain, &load);

    let mut pen = Pen::new(buffer, area, 4, model.theme);
    if let Some(fairness) = &status.fairness {
        lanes(fairness, &mut pen);
    }
}

/// How the turns of the last minute were shared.
fn lanes(fairness: &FairnessSummary, pen: &mut Pen<'_>) {
    pen.column(Tone::Title, "lanes", NAME);
    pen.say(Tone::Title, "SLOTS ");
    let slots = format!("{}/{}", fairness.running, fairness.slots);
    pen.column(Tone::Plain, &slots, FIGURE);
    for (name, index) in [
        ("FAIR SLOTS ", fairness.slots_index),
        ("CPU ", fairness.cpu_index),
    ] {
        pen.say(Tone::Title, name);
        let tone = match index {
            Some(index) if index < UNFAIR => Tone::Notable,
            _ => Tone::Plain,
        };
        let index = index.map_or_else(|| "-".to_owned(), |index| format!("{index:.2}"));
        pen.say(tone, &format!("{index}  "));
    }
    pen.say(Tone::Title, "LONGEST WAIT ");
    match &fairness.longest_wait {
        Some(longest) => {
            let text = format!("{} {}", duration(longest.wait_ms), safe(&longest.agent));
            pen.say(Tone::Plain, &text);
        }
        None => pen.say(Tone::Plain, "none"),
    }
}

fn supervisor(model: &Model, pen: &mut Pen<'_>) {
    if let Some(why) = &model.lost {
        pen.reverse();
        pen.say(Tone::Bad, " no supervisor; retrying");
        pen.say(Tone::Plain, &format!(" ({why})"));
        return;
    }
    pen.say(Tone::Title, "kennel");
    let Some(status) = &model.status else {
        pen.say(Tone::Plain, "  connecting…");
        return;
    };
    let supervisor = &status.supervisor;
    pen.say(Tone::Plain, &format!(" {}", safe(&supervisor.version)));
    let mut said = vec![
        format!("pid {}", supervisor.pid),
        format!("up {}", duration(supervisor.uptime_ms)),
    ];
    said.extend(
        supervisor
            .memory_bytes
            .map(|size| format!("memory {}", bytes(size))),
    );
    let backend = safe(&status.containment.backend);
    said.push(if backend.is_empty() {
        "-".to_owned()
    } else {
        backend
    });
    for part in said {
        pen.say(Tone::Plain, &format!("  {part}"));
    }
    pen.say(Tone::Faint, &format!("  {}", safe(&supervisor.config)));
}

fn agents(status: &Status, pen: &mut Pen<'_>) {
    const ORDER: [AgentState; 10] = [
        AgentState::Ready,
        AgentState::Quarantined,
        AgentState::BackingOff,
        AgentState::Exited,
        AgentState::Starting,
        AgentState::Draining,
        AgentState::Stopping,
        AgentState::Stopped,
        AgentState::Hibernated,
        AgentState::Unknown,
    ];
    pen.column(Tone::Title, "agents", NAME);
    pen.say(Tone::Plain, &status.agents.len().to_string());
    for state in ORDER {
        let count = status
            .agents
            .iter()
            .filter(|agent| agent.state == state)
            .count();
        if count > 0 {
            pen.say(Tone::Plain, "  ");
            pen.say(Tone::from(state), &format!("{count} {state}"));
        }
    }
    let sum = |of: fn(&_) -> u64| status.agents.iter().map(of).sum::<u64>();
    let (queued, running) = (sum(|agent| agent.queued), sum(|agent| agent.running));
    pen.say(
        Tone::Plain,
        &format!("  turns: {running} running, {queued} waiting"),
    );
}

/// A line of figures: now, and at most.
fn line(
    pen: &mut Pen<'_>,
    name: &str,
    history: &History,
    (cpu, cpu_cap): (Option<f64>, Option<f64>),
    (memory, memory_cap): (Option<u64>, Option<u64>),
) {
    // Two pictures, where the line has room beside the figures and what is said behind them.
    let picture = (pen.left().saturating_sub(NAME + 2 * FIGURE + 32) / 2).min(PICTURE_MAX);
    pen.column(Tone::Title, name, NAME);
    pen.say(Tone::Title, "CPU ");
    let shown = |value: f64| format!("{}%", percent(value));
    pen.column(
        Tone::Plain,
        &pair(cpu.map(shown), cpu_cap.map(shown)),
        FIGURE,
    );
    let ceiling = cpu_cap.unwrap_or(100.0).max(history.cpu.max());
    picture_of(pen, &history.cpu.bars(usize::from(picture), ceiling));
    pen.say(Tone::Title, "MEM ");
    pen.column(
        Tone::Plain,
        &pair(memory.map(bytes), memory_cap.map(bytes)),
        FIGURE,
    );
    let ceiling = memory_ceiling(memory_cap, history);
    picture_of(pen, &history.memory.bars(usize::from(picture), ceiling));
}

fn picture_of(pen: &mut Pen<'_>, bars: &str) {
    pen.say(Tone::Chart, bars);
    pen.skip(2);
}

fn pair(now: Option<String>, cap: Option<String>) -> String {
    let now = now.unwrap_or_else(|| "-".to_owned());
    match cap {
        Some(cap) => format!("{now}/{cap}"),
        None => now,
    }
}
