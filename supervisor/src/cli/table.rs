//! Tables for people.
//!
//! Pure: values and a width in, text with colours in it out; [`super::output`] takes the colours out
//! where they do not belong. A table that is too wide for the screen gets narrower in steps: smaller
//! gaps, then shorter names, then fewer columns.

mod column;
mod turns;

use std::fmt::Write as _;

use comfy_table::Color;

use super::{
    ends,
    output::printable,
    schedules::{last, next, when},
    units::{bytes, duration, of_cap, percent},
};
use crate::control::wire::{
    AgentBudget, AgentShare, AgentState, AgentStatus, BudgetState, BudgetWindow, ChannelList,
    ChannelState, ClassShare, Delivery, DeliveryState, DeliveryWaitsFor, Schedule, Status,
};
use crate::turns::price::money;

use self::column::{Column, draw};
pub(super) use self::turns::{turn_sums, turns};

/// The supervisor, its agents, and what there is to say about them. `now` is in milliseconds since 1970.
pub(super) fn status(status: &Status, width: Option<usize>, now: u64) -> String {
    let supervisor = &status.supervisor;
    let mut out = format!(
        "kennel {}  pid {}  up {}",
        supervisor.version,
        supervisor.pid,
        duration(supervisor.uptime_ms)
    );
    if let Some(memory) = supervisor.memory_bytes {
        write!(out, "  memory {}", bytes(memory)).expect(STRING);
    }
    writeln!(out, "  {}", printable(&supervisor.config)).expect(STRING);
    if let Some(totals) = totals(status) {
        writeln!(out, "{totals}").expect(STRING);
    }
    out.push('\n');
    if status.agents.is_empty() {
        out.push_str("no agents are configured\n");
        return out;
    }
    out.push_str(&draw(agent_columns(&status.agents), width));
    let notes = status.agents.iter().flat_map(|agent| {
        // The trouble of now, and how it came to this; the one is often the other's beginning.
        let end = ends::note(agent, now);
        let detail = agent.detail.clone().filter(|detail| {
            let told = agent.last_end.as_ref().filter(|_| end.is_some());
            !told.is_some_and(|last| last.sentence.starts_with(detail.as_str()))
        });
        let notes = detail.into_iter().chain(end);
        notes.map(|note| format!("{}: {}\n", agent.id, printable(&note)))
    });
    let details: String = notes.collect();
    if !details.is_empty() {
        write!(out, "\n{details}").expect(STRING);
    }
    out
}

const STRING: &str = "a string takes everything";

/// What the fleet and the host use, and how agents are held; nothing of a supervisor that does not say.
fn totals(status: &Status) -> Option<String> {
    let (fleet, host) = (&status.fleet, &status.host);
    let mut parts = Vec::new();
    if host.cpus > 0 {
        let mut text = String::from("fleet");
        if let Some(cpu) = fleet.cpu_percent {
            write!(text, "  cpu {}%", percent(cpu)).expect(STRING);
        }
        if let Some(memory) = fleet.memory_bytes {
            let memory = of_cap(memory, fleet.memory_cap_bytes, bytes);
            write!(text, "  memory {memory}").expect(STRING);
        }
        if let Some(pids) = fleet.pids {
            let pids = of_cap(pids, fleet.pids_cap, |pids| pids.to_string());
            write!(text, "  pids {pids}").expect(STRING);
        }
        parts.push(text);
        let used = host
            .memory_total_bytes
            .saturating_sub(host.memory_available_bytes);
        parts.push(format!(
            "host  cpu {}% of {}00%  memory {}  load {:.1}",
            percent(host.cpu_percent),
            host.cpus,
            of_cap(used, Some(host.memory_total_bytes), bytes),
            host.load[0],
        ));
    }
    let held = &status.containment;
    if !held.backend.is_empty() {
        let mut text = format!("held by {}", printable(&held.backend));
        if !held.cannot.is_empty() {
            write!(
                text,
                " (not enforced: {})",
                printable(&held.cannot.join(", "))
            )
            .expect(STRING);
        }
        parts.push(text);
    }
    (!parts.is_empty()).then(|| parts.join("\n"))
}

fn agent_columns(agents: &[AgentStatus]) -> Vec<Column> {
    let none = || "-".to_owned();
    vec![
        Column::new("AGENT", agents, |a| a.id.clone()).shortest(10),
        Column::new("STATE", agents, |a| a.state.to_string())
            .colored(agents, |a| state_color(a.state)),
        Column::new("PID", agents, |a| {
            a.pid.map_or_else(none, |pid| pid.to_string())
        })
        .right(),
        Column::new("GEN", agents, |a| a.generation.to_string())
            .right()
            .goes(1),
        Column::new("UP", agents, |a| a.uptime_ms.map_or_else(none, duration))
            .right()
            .goes(7),
        Column::new("RST", agents, |a| a.restarts.to_string())
            .right()
            .goes(4),
        Column::new("QUEUE", agents, |a| queue(a.queued, a.running)).right(),
        Column::new("TURNS", agents, |a| a.turns.to_string())
            .right()
            .goes(2),
        Column::new("CPU%", agents, |a| a.cpu_percent.map_or_else(none, percent))
            .right()
            .goes(5),
        Column::new("MEM", agents, |a| {
            let cap = a.usage.memory_cap_bytes;
            a.memory_bytes
                .map_or_else(none, |memory| of_cap(memory, cap, bytes))
        })
        .right()
        .goes(6),
        Column::new("MODEL", agents, |a| a.model.clone())
            .shortest(8)
            .goes(3),
    ]
}

/// Waiting messages, and running turns behind a plus.
fn queue(queued: u64, running: u64) -> String {
    match running {
        0 => queued.to_string(),
        _ => format!("{queued}+{running}"),
    }
}

fn state_color(state: AgentState) -> Option<Color> {
    match state {
        AgentState::Ready => Some(Color::Green),
        AgentState::Starting | AgentState::Draining | AgentState::Stopping => Some(Color::Yellow),
        AgentState::BackingOff | AgentState::Quarantined | AgentState::Exited => Some(Color::Red),
        AgentState::Stopped | AgentState::Hibernated | AgentState::Unknown => None,
    }
}

/// The chat connections.
pub(super) fn channels(list: &ChannelList, width: Option<usize>) -> String {
    let channels = &list.channels;
    let columns = vec![
        Column::new("CHANNEL", channels, |c| c.id.clone()).shortest(10),
        Column::new("KIND", channels, |c| c.kind.clone()),
        Column::new("STATE", channels, |c| c.state.as_str().to_owned()).colored(channels, |c| {
            match c.state {
                ChannelState::Connected => Some(Color::Green),
                ChannelState::Connecting => Some(Color::Yellow),
                ChannelState::BackingOff | ChannelState::Failed => Some(Color::Red),
                ChannelState::Stopped | ChannelState::Unknown => None,
            }
        }),
        Column::new("SINCE", channels, |c| duration(c.since_ms)).right(),
        Column::new("IN", channels, |c| c.received.to_string()).right(),
        Column::new("OUT", channels, |c| c.sent.to_string()).right(),
        Column::new("RECONNECTS", channels, |c| c.reconnects.to_string())
            .right()
            .goes(1),
        Column::new("DETAIL", channels, |c| c.detail.clone().unwrap_or_default())
            .shortest(12)
            .goes(2),
    ];
    draw(columns, width)
}

/// What classes had of the slots.
pub(super) fn class_shares(shares: &[ClassShare], width: Option<usize>) -> String {
    let columns = vec![
        Column::new("CLASS", shares, |c| c.class.clone()).shortest(10),
        Column::new("WEIGHT", shares, |c| c.weight.to_string()).right(),
        Column::new("MIN", shares, |c| c.min_slots.to_string()).right(),
        Column::new("MAX", shares, |c| c.max_slots.to_string()).right(),
        Column::new("NOW", shares, |c| c.running.to_string()).right(),
        Column::new("SLOTS", shares, |c| share(c.slots_used)).right(),
        Column::new("ENTITLED", shares, |c| share(c.slots_entitled)).right(),
    ];
    draw(columns, width)
}

/// What agents had of the slots and of the CPU.
pub(super) fn agent_shares(shares: &[AgentShare], width: Option<usize>) -> String {
    let columns = vec![
        Column::new("AGENT", shares, |a| a.agent.clone()).shortest(10),
        Column::new("CLASS", shares, |a| a.class.clone())
            .shortest(6)
            .goes(1),
        Column::new("WEIGHT", shares, |a| a.weight.to_string()).right(),
        Column::new("SLOTS", shares, |a| share(a.slots_used)).right(),
        Column::new("ENTITLED", shares, |a| share(a.slots_entitled)).right(),
        Column::new("WANTED", shares, |a| share(a.slots_wanted))
            .right()
            .goes(2),
        Column::new("CPU", shares, |a| share(a.cpu_used)).right(),
        Column::new("ENTITLED", shares, |a| {
            a.cpu_entitled.map_or_else(|| "-".to_owned(), share)
        })
        .right()
        .goes(3),
        Column::new("LONGEST WAIT", shares, |a| duration(a.longest_wait_ms)).right(),
    ];
    draw(columns, width)
}

fn share(value: f64) -> String {
    format!("{value:.2}")
}

/// Messages that wait, run or were set aside. `now` is in milliseconds since 1970.
pub(super) fn deliveries(deliveries: &[Delivery], width: Option<usize>, now: u64) -> String {
    let columns = vec![
        // As much as names just one.
        Column::new("ID", deliveries, |d| d.id.clone()).shortest(24),
        Column::new("AGENT", deliveries, |d| d.agent.clone()).shortest(8),
        Column::new("STATE", deliveries, |d| d.state.as_str().to_owned()).colored(
            deliveries,
            |d| match d.state {
                DeliveryState::Leased => Some(Color::Green),
                DeliveryState::Poison | DeliveryState::Failed => Some(Color::Red),
                _ => None,
            },
        ),
        Column::new("AGE", deliveries, |d| {
            duration(now.saturating_sub(d.received_ms))
        })
        .right(),
        Column::new("WAITS FOR", deliveries, |d| {
            d.waits_for.map_or("", DeliveryWaitsFor::as_str).to_owned()
        })
        .goes(2),
        Column::new("DEATHS", deliveries, |d| d.attempts.to_string())
            .right()
            .goes(2),
        Column::new("SESSION", deliveries, |d| d.session.clone())
            .shortest(12)
            .goes(1),
        Column::new("FROM", deliveries, |d| d.sender.clone())
            .shortest(6)
            .goes(3),
        Column::new("TEXT", deliveries, |d| d.preview.clone()).shortest(12),
    ];
    draw(columns, width)
}

/// What the clock asks for. `now` is in milliseconds since 1970.
pub(super) fn schedules(schedules: &[Schedule], width: Option<usize>, now: u64) -> String {
    let state = |schedule: &Schedule| schedule.last.as_ref().and_then(|last| last.state);
    let columns = vec![
        Column::new("SCHEDULE", schedules, |s| s.name.clone()).shortest(10),
        Column::new("AGENT", schedules, |s| s.agent.clone())
            .shortest(8)
            .goes(5),
        Column::new("WHEN", schedules, when).shortest(9).goes(4),
        Column::new("NEXT", schedules, |s| next(s, now))
            .shortest(22)
            .colored(schedules, |s| {
                (s.paused || !s.enabled).then_some(Color::Yellow)
            }),
        Column::new("LAST", schedules, |s| last(s, now)).colored(schedules, |s| match state(s) {
            Some(DeliveryState::Leased) => Some(Color::Green),
            Some(DeliveryState::Poison | DeliveryState::Failed) => Some(Color::Red),
            _ => None,
        }),
        Column::new("RUNS", schedules, |s| s.runs.to_string())
            .right()
            .goes(3),
        Column::new("MISSED", schedules, |s| s.missed.to_string())
            .right()
            .goes(2),
        Column::new("DELIVERY", schedules, |s| {
            s.last
                .as_ref()
                .map(|last| last.id.clone())
                .unwrap_or_default()
        })
        .shortest(24)
        .goes(1),
    ];
    draw(columns, width)
}

/// What agents may spend, by window. `now` is in milliseconds since 1970.
pub(super) fn budgets(budgets: &[AgentBudget], width: Option<usize>, now: u64) -> String {
    let rows: Vec<(&AgentBudget, &BudgetWindow)> = budgets
        .iter()
        .flat_map(|budget| budget.windows.iter().map(move |window| (budget, window)))
        .collect();
    let columns = vec![
        Column::new("AGENT", &rows, |(budget, _)| budget.agent.clone()).shortest(8),
        Column::new("WINDOW", &rows, |(_, window)| window.window.clone()),
        Column::new("TOKENS", &rows, |(_, window)| {
            of_cap(window.tokens, window.max_tokens, |tokens| {
                tokens.to_string()
            })
        })
        .right(),
        Column::new("COST", &rows, |(_, window)| {
            of_cap(window.cost_micros, window.max_cost_micros, money)
        })
        .right(),
        Column::new("ANEW IN", &rows, |(_, window)| {
            duration(window.resets_ms.saturating_sub(now))
        })
        .right(),
        Column::new("BUDGET", &rows, |(budget, _)| {
            budget.state.as_str().to_owned()
        })
        .colored(&rows, |(budget, _)| match budget.state {
            BudgetState::Spent => Some(Color::Red),
            BudgetState::RunsOut => Some(Color::Yellow),
            BudgetState::Free | BudgetState::Unknown => None,
        }),
        Column::new("CHEAPER MODEL", &rows, |(budget, _)| {
            budget.downgrade.clone().unwrap_or_else(|| "-".to_owned())
        })
        .shortest(12)
        .goes(1),
    ];
    draw(columns, width)
}

/// Caps before and after, or as they are.
pub(super) struct CapRow {
    pub(super) cap: &'static str,
    pub(super) before: Option<String>,
    pub(super) now: String,
    pub(super) note: String,
}

/// The caps of an agent.
pub(super) fn caps(rows: &[CapRow], width: Option<usize>) -> String {
    let mut columns = vec![Column::new("CAP", rows, |row| row.cap.to_owned())];
    if rows.iter().any(|row| row.before.is_some()) {
        let before = |row: &CapRow| row.before.clone().unwrap_or_default();
        columns.push(Column::new("BEFORE", rows, before).right());
    }
    columns.push(Column::new("NOW", rows, |row| row.now.clone()).right());
    if rows.iter().any(|row| !row.note.is_empty()) {
        columns.push(Column::new("NOTE", rows, |row| row.note.clone()).shortest(12));
    }
    draw(columns, width)
}

#[cfg(test)]
mod tests;
