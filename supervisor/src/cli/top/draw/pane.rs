//! One agent: limits and usage, processes, events, log.

mod facts;

use ratatui::{buffer::Buffer, layout::Rect};

use self::facts::facts;
use super::{
    super::{
        model::{Detail, Model, Section},
        text::safe,
        theme::Tone,
    },
    pen::Pen,
};
use crate::{
    cli::units::{bytes, duration},
    control::wire::{AgentStatus, LifecycleEvent, ProcessList},
};

/// From this width on, the log stands beside the rest.
const BESIDE: u16 = 120;

/// The room for the names of facts.
const NAME: u16 = 10;

pub(super) fn draw(model: &Model, buffer: &mut Buffer, area: Rect) {
    let Some(detail) = &model.detail else {
        return;
    };
    let agents = model.status.iter().flat_map(|status| &status.agents);
    let agent = agents.into_iter().find(|agent| agent.id == detail.agent);
    let mut pen = Pen::new(buffer, area, 0, model.theme);
    pen.reverse();
    title(agent, detail, &mut pen);
    let area = below(area, 1);
    match detail.section {
        Section::Overview => overview(model, agent, detail, buffer, area),
        Section::Processes => processes(model, detail, detail.scroll, buffer, area),
        Section::Events => events(model, detail, detail.scroll, buffer, area),
        Section::Log => log(model, detail, detail.scroll, buffer, area),
    }
}

fn title(agent: Option<&AgentStatus>, detail: &Detail, pen: &mut Pen<'_>) {
    pen.say(Tone::Title, &format!(" {}", safe(&detail.agent)));
    let Some(agent) = agent else {
        return;
    };
    pen.say(agent.state.into(), &format!("  {}", agent.state));
    if let Some(pid) = agent.pid {
        pen.say(Tone::Plain, &format!("  pid {pid}"));
    }
    pen.say(Tone::Plain, &format!("  generation {}", agent.generation));
    if let Some(uptime) = agent.uptime_ms {
        pen.say(Tone::Plain, &format!("  up {}", duration(uptime)));
    }
    pen.say(Tone::Plain, &format!("  {}", safe(&agent.model)));
}

fn overview(
    model: &Model,
    agent: Option<&AgentStatus>,
    detail: &Detail,
    buffer: &mut Buffer,
    area: Rect,
) {
    let mut y = 0;
    if let Some(agent) = agent {
        let history = model.agents.get(&agent.id);
        for (name, text, tone) in facts(agent, history.and_then(|history| history.throttled)) {
            let mut pen = Pen::new(buffer, area, y, model.theme);
            pen.column(Tone::Title, name, NAME);
            pen.say(tone, &text);
            y += 1;
        }
    }
    let area = below(area, y);
    let own = own_events(model, detail).count();
    let listed = match &detail.processes {
        Some(Ok(list)) => list.processes.len(),
        _ => 1,
    };
    // With its title, and with a line for what is left out.
    let wants = |lines: usize| u16::try_from(lines + 1).unwrap_or(u16::MAX);
    if area.width >= BESIDE {
        let half = area.width / 2;
        let left = Rect {
            width: half.saturating_sub(1),
            ..area
        };
        let right = Rect {
            x: area.x + half,
            width: area.width - half,
            ..area
        };
        let upper = wants(listed).min(left.height / 2 + 1);
        processes(
            model,
            detail,
            0,
            buffer,
            Rect {
                height: upper.min(left.height),
                ..left
            },
        );
        events(model, detail, 0, buffer, below(left, upper));
        log(model, detail, 0, buffer, right);
    } else {
        let third = area.height / 3;
        let first = wants(listed).min(third);
        processes(
            model,
            detail,
            0,
            buffer,
            Rect {
                height: first,
                ..area
            },
        );
        let rest = below(area, first);
        let second = wants(own.max(1)).min(third);
        events(
            model,
            detail,
            0,
            buffer,
            Rect {
                height: second,
                ..rest
            },
        );
        log(model, detail, 0, buffer, below(rest, second));
    }
}

/// `area` without its first lines.
fn below(area: Rect, lines: u16) -> Rect {
    let lines = lines.min(area.height);
    Rect {
        y: area.y + lines,
        height: area.height - lines,
        ..area
    }
}

/// The title of a part, with a rule.
fn part(model: &Model, buffer: &mut Buffer, area: Rect, name: &str) {
    let mut pen = Pen::new(buffer, area, 0, model.theme);
    pen.say(Tone::Title, name);
    pen.say(Tone::Faint, " ");
    let rule = "─".repeat(usize::from(pen.left()));
    pen.say(Tone::Faint, &rule);
}

fn note(model: &Model, buffer: &mut Buffer, area: Rect, tone: Tone, text: &str) {
    Pen::new(buffer, area, 0, model.theme).say(tone, text);
}

fn processes(model: &Model, detail: &Detail, scroll: usize, buffer: &mut Buffer, area: Rect) {
    let list = match &detail.processes {
        Some(Ok(list)) => list,
        other => {
            part(model, buffer, area, "PROCESSES");
            let (tone, text) = match other {
                Some(Err(why)) => (Tone::Bad, why.as_str()),
                _ => (Tone::Faint, "…"),
            };
            return note(model, buffer, below(area, 1), tone, text);
        }
    };
    let all = list.processes.len() as u64 + list.omitted;
    part(model, buffer, area, &format!("PROCESSES {all}"));
    let rows = below(area, 1);
    if list.processes.is_empty() {
        return note(model, buffer, rows, Tone::Faint, "none");
    }
    let depths = depths(list);
    let room = usize::from(rows.height);
    let lines = list.processes.iter().zip(depths).skip(scroll).take(room);
    for (y, (process, depth)) in (0..).zip(lines) {
        let mut pen = Pen::new(buffer, rows, y, model.theme);
        pen.column_right(Tone::Plain, &process.pid.to_string(), 7);
        pen.skip(1);
        pen.column_right(Tone::Plain, &bytes(process.memory_bytes), 5);
        pen.skip(1);
        pen.column_right(Tone::Plain, &duration(process.cpu_ms), 6);
        pen.skip(1);
        pen.column_right(Tone::Plain, &format!("{}t", process.threads), 4);
        // Deeper ones than the screen has room for stand in one column.
        pen.skip(1 + 2 * depth.min(12));
        pen.say(Tone::Title, &safe(&process.name));
    }
    let end = list.processes.len();
    let shown = (scroll + room).min(end);
    let more = (end - shown) as u64 + list.omitted;
    if more > 0 && room > 0 {
        let bottom = below(rows, rows.height - 1);
        Pen::new(buffer, bottom, 0, model.theme).say_right(Tone::Faint, &format!("  {more} more"));
    }
}

/// How deep in the tree each stands: as deep as its parent and one.
fn depths(list: &ProcessList) -> Vec<u16> {
    let mut found = std::collections::HashMap::new();
    list.processes
        .iter()
        .map(|process| {
            let depth = found.get(&process.ppid).map_or(0, |depth: &u16| depth + 1);
            found.insert(process.pid, depth);
            depth
        })
        .collect()
}

fn own_events<'a>(
    model: &'a Model,
    detail: &'a Detail,
) -> impl DoubleEndedIterator<Item = &'a LifecycleEvent> {
    model
        .events
        .iter()
        .filter(|event| event.agent.as_ref() == Some(&detail.agent))
}

fn events(model: &Model, detail: &Detail, scroll: usize, buffer: &mut Buffer, area: Rect) {
    part(model, buffer, area, "EVENTS");
    let rows = below(area, 1);
    let room = usize::from(rows.height);
    let mut shown: Vec<_> = own_events(model, detail)
        .rev()
        .skip(scroll)
        .take(room)
        .collect();
    if shown.is_empty() {
        return note(
            model,
            buffer,
            rows,
            Tone::Faint,
            "none since this screen was opened",
        );
    }
    shown.reverse();
    for (y, event) in (0..).zip(shown) {
        let mut pen = Pen::new(buffer, rows, y, model.theme);
        pen.say(Tone::Faint, &clock(event.at_ms));
        pen.say(Tone::Plain, &format!(" #{} ", event.generation));
        pen.say(Tone::Title, &event.kind);
        if let Some(detail) = &event.detail {
            pen.say(Tone::Plain, &format!(": {detail}"));
        }
    }
}

/// The time of day, in UTC as in the log.
fn clock(at_ms: u64) -> String {
    let s = at_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}Z", s / 3600, s / 60 % 60, s % 60)
}

fn log(model: &Model, detail: &Detail, scroll: usize, buffer: &mut Buffer, area: Rect) {
    part(model, buffer, area, "LOG");
    let rows = below(area, 1);
    let room = usize::from(rows.height);
    let end = detail.log.len().saturating_sub(scroll);
    if end == 0 {
        return note(model, buffer, rows, Tone::Faint, "empty");
    }
    let lines = detail.log.range(end.saturating_sub(room)..end);
    for (y, line) in (0..).zip(lines) {
        Pen::new(buffer, rows, y, model.theme).say(Tone::Plain, line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::AgentProcess;

    #[test]
    fn the_clock_shows_the_time_of_day() {
        assert_eq!(clock(0), "00:00:00Z");
        assert_eq!(clock(1_700_000_000_123), "22:13:20Z");
        assert_eq!(clock(u64::MAX).len(), 9);
    }

    #[test]
    fn a_process_stands_one_deeper_than_its_parent() {
        let process = |pid, ppid| AgentProcess {
            pid,
            ppid,
            name: String::new(),
            threads: 1,
            memory_bytes: 0,
            cpu_ms: 0,
        };
        let list = ProcessList {
            processes: vec![
                process(10, 1),
                process(20, 10),
                process(30, 20),
                process(21, 10),
                process(40, 1),
            ],
            omitted: 0,
        };
        assert_eq!(depths(&list), [0, 1, 2, 1, 0]);
    }
}
