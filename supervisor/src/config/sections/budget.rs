//! `[agents.<id>.budget]`: what an agent may spend.

use jiff::tz::TimeZone;

use super::super::diagnostic::{Diagnostic, quoted};
use super::super::reader::{Node, Table};
use super::super::value::{self, placed};
use super::agent::{AgentPatch, model};
use super::telemetry::money;
use crate::turns::budget::Limits;

/// More tokens than anybody reads in a month.
const MOST_TOKENS: u64 = 1_000_000_000_000_000;

pub(super) fn read(node: Node<'_>, dotted: String, patch: &mut AgentPatch) -> Option<()> {
    let mut table = node.table("BudgetTable", dotted)?;
    patch.budget_zone = table.optional("time_zone", zone);
    patch.budget_downgrade = table.optional("downgrade", placed(model));
    patch.budget_hour = window(&mut table, "hour");
    patch.budget_day = window(&mut table, "day");
    patch.budget_month = window(&mut table, "month");
    table.finish();
    Some(())
}

fn window(table: &mut Table<'_>, key: &'static str) -> Option<Limits> {
    let dotted = table.path_of(key);
    table.optional(key, |node| limits(node, dotted))
}

/// A window as a whole: one without limits lifts those of the defaults.
fn limits(node: Node<'_>, dotted: String) -> Option<Limits> {
    let at = node.at();
    let mut table = node.table("BudgetWindowTable", dotted)?;
    let limits = Limits {
        warn_tokens: table.optional("warn_tokens", value::integer(1..=MOST_TOKENS)),
        max_tokens: table.optional("max_tokens", value::integer(1..=MOST_TOKENS)),
        warn_cost: table.optional("warn_cost", money),
        max_cost: table.optional("max_cost", money),
    };
    let context = table.context;
    table.finish();
    let above = |warn: Option<u64>, max: Option<u64>| warn.zip(max).is_some_and(|(w, m)| w > m);
    if above(limits.warn_tokens, limits.max_tokens) || above(limits.warn_cost, limits.max_cost) {
        context.report(
            Diagnostic::error("a budget would be spent before it is said to run out")
                .at(at, "the mark is above the limit")
                .hint("`warn_tokens` and `warn_cost` must not exceed `max_tokens` and `max_cost`"),
        );
    }
    Some(limits)
}

/// Kept by its name, which must be one.
fn zone(node: Node<'_>) -> Option<String> {
    let name = value::line(node)?;
    if TimeZone::get(&name).is_err() {
        return node.fail(
            format!("there is no time zone \"{}\"", quoted(&name)),
            "not a name of the time zone database",
            "write it as in \"UTC\" or \"Europe/Vienna\"",
        );
    }
    Some(name)
}
