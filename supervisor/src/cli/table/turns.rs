//! What turns took.

use comfy_table::Color;

use super::column::{Column, draw};
use crate::{
    cli::{
        turns::Sum,
        units::{duration, percent},
    },
    control::wire::TurnSummary,
    turns::{price::money, verdict::words},
};

/// Turns that have ended. `now` is in milliseconds since 1970.
pub(in crate::cli) fn turns(turns: &[TurnSummary], width: Option<usize>, now: u64) -> String {
    let id = id_length(turns);
    let spent = |us: u64| if us == 0 { "-".to_owned() } else { words(us) };
    let known = move |us: Option<u64>| us.map_or_else(|| "?".to_owned(), spent);
    let columns = vec![
        Column::new("ID", turns, |t| t.id.chars().take(id).collect()),
        Column::new("AGO", turns, |t| duration(now.saturating_sub(t.ended_ms))).right(),
        Column::new("AGENT", turns, |t| t.agent.clone()).shortest(8),
        Column::new("SESSION", turns, |t| {
            let own = format!("agent:{}:", t.agent);
            t.session
                .strip_prefix(&own)
                .unwrap_or(&t.session)
                .to_owned()
        })
        .shortest(8)
        .goes(1),
        Column::new("TOTAL", turns, |t| words(t.total_us)).right(),
        Column::new("QUEUED", turns, |t| spent(t.queued_us))
            .right()
            .goes(6),
        Column::new("MODEL", turns, |t| spent(t.provider_us))
            .right()
            .goes(5),
        Column::new("TOOLS", turns, |t| spent(t.tools_us))
            .right()
            .goes(4),
        Column::new("CPU", turns, |t| {
            let mark = if t.cpu_shared { "*" } else { "" };
            format!("{}{mark}", known(t.cpu_us))
        })
        .right()
        .goes(7),
        Column::new("CPU WAIT", turns, |t| known(t.runnable_us))
            .right()
            .goes(2),
        Column::new("TOKENS", turns, |t| {
            format!("{}/{}", t.input_tokens, t.output_tokens)
        })
        .right()
        .goes(8),
        Column::new("COST", turns, |t| {
            t.cost_micros.map_or_else(|| "-".to_owned(), money)
        })
        .right()
        .goes(3),
        Column::new("HELD UP BY", turns, |t| match t.outcome.as_str() {
            "replied" => t.bound.clone(),
            other => format!("{} ({other})", t.bound),
        })
        .colored(turns, |t| match t.outcome.as_str() {
            "replied" => None,
            "cancelled" => Some(Color::Yellow),
            _ => Some(Color::Red),
        }),
    ];
    draw(columns, width)
}

/// What the turns of each agent took together.
pub(in crate::cli) fn turn_sums(sums: &[Sum], width: Option<usize>) -> String {
    let part = |of: fn(&Sum) -> u64| {
        move |sum: &Sum| match of(sum) {
            0 => "-".to_owned(),
            us => share(us, sum.total_us),
        }
    };
    let columns = vec![
        Column::new("AGENT", sums, |sum| sum.agent.clone()).shortest(8),
        Column::new("TURNS", sums, |sum| sum.turns.to_string()).right(),
        Column::new("P50", sums, |sum| words(sum.p50_us))
            .right()
            .goes(3),
        Column::new("P99", sums, |sum| words(sum.p99_us)).right(),
        Column::new("QUEUED", sums, part(|sum| sum.queued_us)).right(),
        Column::new("MODEL", sums, part(|sum| sum.provider_us)).right(),
        Column::new("TOOLS", sums, part(|sum| sum.tools_us)).right(),
        Column::new("CPU", sums, part(|sum| sum.cpu_us))
            .right()
            .goes(2),
        Column::new("CPU WAIT", sums, part(|sum| sum.runnable_us))
            .right()
            .goes(4),
        Column::new("COST", sums, |sum| {
            sum.cost_micros.map_or_else(|| "-".to_owned(), money)
        })
        .right()
        .goes(1),
        Column::new("MOST TIME HELD UP BY", sums, |sum| {
            let most = share(sum.bound_us, sum.total_us);
            format!("{} ({most})", sum.bound)
        }),
    ];
    draw(columns, width)
}

#[expect(clippy::cast_precision_loss, reason = "a part of a whole, for people")]
fn share(part: u64, whole: u64) -> String {
    format!("{} %", percent(100.0 * part as f64 / whole.max(1) as f64))
}

/// How much of their ids names each of these alone: the time in it at least.
fn id_length(turns: &[TurnSummary]) -> usize {
    let unique = |length: usize| {
        let beginnings: std::collections::HashSet<&str> =
            turns.iter().filter_map(|t| t.id.get(..length)).collect();
        beginnings.len() == turns.len()
    };
    (12..32).find(|length| unique(*length)).unwrap_or(32)
}
