//! The table of agents.

use ratatui::{buffer::Buffer, layout::Rect};

use super::{
    super::{
        model::{History, Model, float},
        sort::{self, SortKey},
        text::{micros, safe, width},
        theme::Tone,
    },
    pen::Pen,
};
use crate::{
    cli::units::{bytes, duration, percent},
    control::wire::{AgentStatus, AgentUsage},
};

/// The widest picture in a row.
const PICTURE_MAX: u16 = 24;

/// How wide names may be.
const NAME: std::ops::RangeInclusive<u16> = 8..=32;

/// A lag that a person would notice.
const LAG_BAD_US: u64 = 100_000;

/// Percent of time lost that slows an agent down.
const PRESSURE_BAD: f64 = 20.0;

/// Text and what it means.
type Cell = (String, Tone);

struct Column {
    head: &'static str,
    width: u16,
    right: bool,
    /// The lowest goes first when there is no room; `None` stays.
    goes: Option<u8>,
    sort: Option<SortKey>,
    cell: fn(&AgentStatus, &History, usize) -> Cell,
}

impl Column {
    const fn new(
        head: &'static str,
        width: u16,
        cell: fn(&AgentStatus, &History, usize) -> Cell,
    ) -> Self {
        Self {
            head,
            width,
            right: true,
            goes: None,
            sort: None,
            cell,
        }
    }

    const fn left(mut self) -> Self {
        self.right = false;
        self
    }

    const fn goes(mut self, rank: u8) -> Self {
        self.goes = Some(rank);
        self
    }

    const fn sorted(mut self, key: SortKey) -> Self {
        self.sort = Some(key);
        self
    }

    /// Grows where there is room.
    fn is_picture(&self) -> bool {
        self.head.is_empty()
    }
}

static COLUMNS: [Column; 15] = [
    Column::new("AGENT", 0, |agent, _, _| plain(safe(&agent.id)))
        .left()
        .sorted(SortKey::Name),
    Column::new("STATE", 11, |agent, _, _| {
        (agent.state.to_string(), agent.state.into())
    })
    .left(),
    Column::new("PID", 7, |agent, _, _| {
        plain(or_dash(agent.pid, |pid| pid.to_string()))
    })
    .goes(5),
    Column::new("CPU%", 5, cpu).sorted(SortKey::Cpu),
    Column::new("", 8, |agent, history, width| {
        let cap = agent.usage.cpu_cap.map_or(100.0, |cpus| cpus * 100.0);
        let ceiling = cap.max(history.cpu.max());
        (history.cpu.bars(width, ceiling), Tone::Chart)
    })
    .left()
    .goes(8),
    Column::new("THROT%", 6, throttled).goes(4),
    Column::new("MEM/CAP", 9, memory).sorted(SortKey::Memory),
    Column::new("", 8, |agent, history, width| {
        let ceiling = memory_ceiling(agent.usage.memory_cap_bytes, history);
        (history.memory.bars(width, ceiling), Tone::Chart)
    })
    .left()
    .goes(2),
    Column::new("PIDS", 4, pids).goes(9),
    Column::new("QUEUE", 6, |agent, _, _| plain(queue(agent))).sorted(SortKey::Queue),
    Column::new("TURNS", 6, |agent, _, _| plain(agent.turns.to_string()))
        .sorted(SortKey::Turns)
        .goes(7),
    Column::new("RST", 4, |agent, _, _| plain(agent.restarts.to_string()))
        .sorted(SortKey::Restarts)
        .goes(10),
    Column::new("LAG", 6, lag).sorted(SortKey::Lag).goes(6),
    Column::new("PRESS", 5, pressure).goes(3),
    Column::new("UP", 6, |agent, _, _| {
        plain(or_dash(agent.uptime_ms, duration))
    })
    .goes(1),
];

/// What a full bar of memory means: the cap, else twice the most that was seen, so that a steady figure
/// does not look like one at its limit.
pub(super) fn memory_ceiling(cap: Option<u64>, history: &History) -> f64 {
    let most = history.memory.max();
    cap.map_or(2.0 * most, |cap| float(cap).max(most))
}

fn plain(text: String) -> Cell {
    (text, Tone::Plain)
}

pub(super) fn or_dash<T>(value: Option<T>, shown: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), shown)
}

/// At 90 % of a cap, somebody should look.
fn near(now: f64, cap: f64) -> Tone {
    if cap > 0.0 && now >= 0.9 * cap {
        Tone::Bad
    } else {
        Tone::Plain
    }
}

fn cpu(agent: &AgentStatus, _: &History, _: usize) -> Cell {
    let text = or_dash(agent.cpu_percent, percent);
    let cap = agent.usage.cpu_cap.map_or(0.0, |cpus| cpus * 100.0);
    (text, near(agent.cpu_percent.unwrap_or(0.0), cap))
}

fn throttled(_: &AgentStatus, history: &History, _: usize) -> Cell {
    let tone = match history.throttled {
        Some(share) if share >= 1.0 => Tone::Notable,
        _ => Tone::Plain,
    };
    (or_dash(history.throttled, percent), tone)
}

fn memory(agent: &AgentStatus, _: &History, _: usize) -> Cell {
    let (now, cap) = (sort::memory(agent), agent.usage.memory_cap_bytes);
    let tone = near(now.map_or(0.0, float), cap.map_or(0.0, float));
    (
        format!("{}/{}", or_dash(now, bytes), or_dash(cap, bytes)),
        tone,
    )
}

fn pids(agent: &AgentStatus, _: &History, _: usize) -> Cell {
    let (now, cap) = (agent.usage.pids, agent.usage.pids_cap);
    let tone = near(now.map_or(0.0, float), cap.map_or(0.0, float));
    (or_dash(now, |pids| pids.to_string()), tone)
}

/// Waiting messages, and running turns behind a plus.
fn queue(agent: &AgentStatus) -> String {
    match agent.running {
        0 => agent.queued.to_string(),
        running => format!("{}+{running}", agent.queued),
    }
}

fn lag(agent: &AgentStatus, _: &History, _: usize) -> Cell {
    let tone = match agent.usage.lag_us {
        LAG_BAD_US.. => Tone::Bad,
        _ => Tone::Plain,
    };
    let lag = agent.pid.map(|_| agent.usage.lag_us);
    (or_dash(lag, micros), tone)
}

/// The worst of the three, with the letter of what is waited for.
fn pressure(agent: &AgentStatus, _: &History, _: usize) -> Cell {
    let AgentUsage {
        cpu_pressure,
        memory_pressure,
        io_pressure,
        ..
    } = agent.usage;
    let all = [
        ('c', cpu_pressure),
        ('m', memory_pressure),
        ('i', io_pressure),
    ];
    let known = all.iter().filter_map(|(of, share)| Some((*of, (*share)?)));
    let worst = known.reduce(|worst, next| if next.1 > worst.1 { next } else { worst });
    let tone = match worst {
        Some((_, share)) if share >= PRESSURE_BAD => Tone::Notable,
        _ => Tone::Plain,
    };
    (
        or_dash(worst, |(of, share)| format!("{of}{}", percent(share))),
        tone,
    )
}

/// The columns that fit, with their widths.
fn fit(names: u16, room: u16) -> Vec<(&'static Column, u16)> {
    let names = names.clamp(*NAME.start(), *NAME.end());
    let mut shown: Vec<(&'static Column, u16)> = COLUMNS
        .iter()
        .map(|column| (column, column.width))
        .collect();
    shown[0].1 = names;
    let needs = |shown: &[(&Column, u16)]| {
        let gaps = u16::try_from(shown.len()).unwrap_or(0).saturating_sub(1);
        shown.iter().map(|(_, width)| width).sum::<u16>() + gaps
    };
    while needs(&shown) > room {
        // A long name gives way before a column does, but not beyond what tells names apart.
        let long = shown[0].1.saturating_sub(12);
        let excess = needs(&shown) - room;
        if long > 0 {
            shown[0].1 -= long.min(excess);
            continue;
        }
        let first = shown.iter().filter_map(|(column, _)| column.goes).min();
        let Some(first) = first else {
            // What is left is cut where the screen ends.
            break;
        };
        shown.retain(|(column, _)| column.goes != Some(first));
    }
    let pictures = shown
        .iter()
        .filter(|(column, _)| column.is_picture())
        .count();
    let pictures = u16::try_from(pictures).unwrap_or(0);
    if let Some(more) = room.saturating_sub(needs(&shown)).checked_div(pictures) {
        for (column, width) in &mut shown {
            if column.is_picture() {
                *width = (*width + more).min(PICTURE_MAX);
            }
        }
    }
    shown
}

pub(super) fn draw(model: &Model, buffer: &mut Buffer, area: Rect) {
    let Some(status) = &model.status else {
        return;
    };
    let agents = &status.agents;
    // Of all agents, not only those in sight, so that scrolling does not move the columns.
    let names = agents.iter().map(|agent| width(&agent.id)).max();
    let columns = fit(names.unwrap_or(0), area.width);
    let mut pen = Pen::new(buffer, area, 0, model.theme);
    pen.reverse();
    for (column, width) in &columns {
        let arrow = match column.sort {
            Some(key) if key == model.order.key && model.order.ascending() => "▲",
            Some(key) if key == model.order.key => "▼",
            _ => "",
        };
        let head = format!("{}{arrow}", column.head);
        if column.right {
            pen.column_right(Tone::Title, &head, *width);
        } else {
            pen.column(Tone::Title, &head, *width);
        }
        pen.skip(1);
    }
    if model.rows.is_empty() {
        let mut pen = Pen::new(buffer, area, 1, model.theme);
        pen.say(
            Tone::Plain,
            if agents.is_empty() {
                "no agents are configured"
            } else {
                "no agent has a name like that"
            },
        );
        return;
    }
    let room = usize::from(area.height.saturating_sub(1));
    let selected = model.selected_row().unwrap_or(0);
    // The selection stays in the middle, but for both ends.
    let top = selected
        .saturating_sub(room / 2)
        .min(model.rows.len().saturating_sub(room));
    let visible = model.rows.iter().enumerate().skip(top).take(room);
    for (y, (index, row)) in (1..).zip(visible) {
        let agent = &agents[*row];
        let mut pen = Pen::new(buffer, area, y, model.theme);
        if index == selected {
            pen.reverse();
        }
        let Some(history) = model.agents.get(&agent.id) else {
            continue;
        };
        for (column, width) in &columns {
            let (text, tone) = (column.cell)(agent, history, usize::from(*width));
            if column.right {
                pen.column_right(tone, &text, *width);
            } else {
                pen.column(tone, &text, *width);
            }
            pen.skip(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(names: u16, room: u16) -> Vec<&'static str> {
        let shown = fit(names, room);
        let used: u16 = shown.iter().map(|(_, width)| width + 1).sum();
        assert!(used - 1 <= room.max(used - 1));
        shown.iter().map(|(column, _)| column.head).collect()
    }

    #[test]
    fn columns_go_in_the_order_of_their_worth() {
        assert_eq!(heads(12, 160).len(), COLUMNS.len());
        assert_eq!(
            heads(8, 80),
            [
                "AGENT", "STATE", "CPU%", "", "MEM/CAP", "PIDS", "QUEUE", "TURNS", "RST", "LAG"
            ]
        );
        assert_eq!(
            heads(8, 50),
            ["AGENT", "STATE", "CPU%", "MEM/CAP", "QUEUE", "RST"]
        );
        // These stay, cut.
        assert_eq!(heads(8, 0), ["AGENT", "STATE", "CPU%", "MEM/CAP", "QUEUE"]);
    }

    #[test]
    fn what_fits_is_never_wider_than_the_screen() {
        for names in 0..40 {
            for room in 47..220 {
                let shown = fit(names, room);
                let used: u16 = shown.iter().map(|(_, width)| width + 1).sum();
                assert!(used - 1 <= room, "{names} {room}: {used}");
            }
        }
    }

    #[test]
    fn a_head_has_room_for_its_arrow() {
        for column in &COLUMNS {
            let arrow = u16::from(column.sort.is_some());
            assert!(column.width == 0 || width(column.head) + arrow <= column.width);
        }
    }
}
