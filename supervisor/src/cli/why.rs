//! One turn on a screen: the verdict, the figures, and a waterfall. Pure.
//!
//! ```text
//! provider-bound: 93 % of 4.1 s waiting for the model
//!
//! session lane    1.0 s  ████████
//! model           3.8 s          ██████████████████████████████
//! exec           500 ms                              ████
//! ```

use std::{
    fmt::Write as _,
    time::{Duration, UNIX_EPOCH},
};

use super::output::printable;
use crate::{
    control::wire::TurnDetail,
    turns::{price::money, verdict::words},
};

/// The longest name of a row, and of a time.
const NAME: usize = 14;
const TIME: usize = 10;

/// A bar has at least so many columns, however narrow the screen.
const BAR_MIN: usize = 10;

const STRING: &str = "a string takes everything";

/// A row of the waterfall: from when on, and for how long.
struct Row {
    name: String,
    start_us: u64,
    took_us: u64,
    note: String,
}

/// The whole of it, no line longer than `width`, or than 40 where that is less.
pub(super) fn draw(turn: &TurnDetail, width: usize) -> String {
    let width = width.clamp(40, 120);
    let summary = &turn.turn;
    // Times that no calendar holds come from a broken clock: they are shown as its last.
    let ended = UNIX_EPOCH + Duration::from_millis(summary.ended_ms.min(253_402_300_799_000));
    let mut out = format!("{}\n\n", summary.verdict);
    let mut fact = |name: &str, value: &str| {
        let line = format!("{name:<9} {}", printable(value).replace('\n', " "));
        let cut = line.chars().count() > width;
        let line: String = line
            .chars()
            .take(if cut { width - 1 } else { width })
            .collect();
        writeln!(out, "{line}{}", if cut { "…" } else { "" }).expect(STRING);
    };
    fact("turn", &summary.id);
    fact("message", &summary.delivery);
    fact("session", &summary.session);
    fact(
        "ended",
        &format!(
            "{}, {}",
            humantime::format_rfc3339_seconds(ended),
            summary.outcome
        ),
    );
    if let Some(class) = &summary.class {
        fact("class", class);
    }
    if let Some(model) = &summary.model {
        fact("model", model);
    }
    if summary.input_tokens > 0 || summary.output_tokens > 0 {
        let cost = summary
            .cost_micros
            .map_or_else(String::new, |cost| format!(", cost {}", money(cost)));
        let tokens = format!(
            "{} in, {} out{cost}",
            summary.input_tokens, summary.output_tokens
        );
        fact("tokens", &tokens);
    }
    if let Some(text) = cpu(turn) {
        fact("CPU", &text);
    }
    if turn.event_loop_lag_us > 0 {
        fact(
            "late",
            &format!("its event loop, by {}", words(turn.event_loop_lag_us)),
        );
    }
    out.push('\n');
    waterfall(&mut out, turn, width);
    out
}

fn cpu(turn: &TurnDetail) -> Option<String> {
    let summary = &turn.turn;
    let mut text = format!("{} used", words(summary.cpu_us?));
    if let Some(us) = summary.runnable_us {
        write!(text, ", {} waited for", words(us)).expect(STRING);
    }
    if let Some(us) = turn.throttled_us.filter(|us| *us > 0) {
        write!(text, ", {} held back by its cap", words(us)).expect(STRING);
    }
    if summary.cpu_shared {
        text.push_str("; shared with other turns");
    }
    Some(text)
}

fn waterfall(out: &mut String, turn: &TurnDetail, width: usize) {
    let rows = rows(turn);
    let bar = width.saturating_sub(NAME + TIME + 3).max(BAR_MIN);
    let total = turn.turn.total_us.max(1);
    let place = |us: u64| {
        let place = u128::from(us.min(total)) * bar as u128 / u128::from(total);
        usize::try_from(place).unwrap_or(bar)
    };
    let scale = words(turn.turn.total_us);
    writeln!(
        out,
        "{:NAME$} {:>TIME$}  0{scale:>rest$}",
        "",
        "",
        rest = bar - 1
    )
    .expect(STRING);
    for row in rows {
        let from = place(row.start_us).min(bar - 1);
        let to = place(row.start_us.saturating_add(row.took_us)).max(from);
        // What is there is seen, however short.
        let shape = match to - from {
            0 => "▏".to_owned(),
            length => "█".repeat(length),
        };
        let name: String = row.name.chars().take(NAME).collect();
        let time = words(row.took_us);
        let mut line = format!("{name:NAME$} {time:>TIME$}  {:from$}{shape}", "");
        let left = width.saturating_sub(line.chars().count() + 1);
        if !row.note.is_empty() && row.note.chars().count() <= left {
            write!(line, " {}", row.note).expect(STRING);
        }
        writeln!(out, "{}", line.trim_end()).expect(STRING);
    }
    if turn.steps_left_out > 0 {
        writeln!(out, "and {} steps more", turn.steps_left_out).expect(STRING);
    }
}

fn rows(turn: &TurnDetail) -> Vec<Row> {
    let mut rows = Vec::new();
    let row = |name: &str, start_us, took_us| Row {
        name: name.to_owned(),
        start_us,
        took_us,
        note: String::new(),
    };
    let waits = &turn.waits;
    let mut at = 0;
    for (name, us) in [
        ("held", waits.held_us),
        ("lost attempts", waits.lost_us),
        ("session lane", waits.session_us),
        ("agent lane", waits.agent_us),
        ("class lane", waits.class_us),
        ("fleet lane", waits.fleet_us),
        ("dispatch", turn.dispatch_us),
    ] {
        if us > 0 {
            rows.push(row(name, at, us));
        }
        at += us;
    }
    if turn.context_us > 0 {
        rows.push(row("load context", at, turn.context_us));
    }
    for step in &turn.steps {
        let mut row = row(
            step.tool.as_deref().map_or("model", |tool| tool),
            at + step.start_us,
            step.took_us,
        );
        row.name = printable(&row.name).replace(['\n', '\t'], " ");
        if let Some(us) = step.first_token_us {
            row.note = format!("first token {}", words(us));
        }
        if step.retries > 0 {
            row.note = format!("asked again, {}×", step.retries);
        }
        rows.push(row);
    }
    if turn.commit_us > 0 {
        let start_us = at + turn.agent_us.saturating_sub(turn.commit_us);
        rows.push(row("commit", start_us, turn.commit_us));
    }
    rows
}

#[cfg(test)]
mod tests;
