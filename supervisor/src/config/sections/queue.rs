//! `queue` of an agent, of `[defaults]` and of a channel.

use std::time::Duration;

use super::super::domain::QueuePatch;
use super::super::reader::Node;
use super::super::value;
use crate::dispatch::gather::{DropPolicy, Mode};

const MODES: &[(&str, Mode)] = &[
    ("collect", Mode::Collect),
    ("followup", Mode::Followup),
    ("steer", Mode::Steer),
    ("interrupt", Mode::Interrupt),
];

const DROPS: &[(&str, DropPolicy)] = &[
    ("oldest", DropPolicy::Oldest),
    ("newest", DropPolicy::Newest),
    ("summarize", DropPolicy::Summarize),
];

/// The longest wait for quiet.
const DEBOUNCE_MAX: Duration = Duration::from_mins(1);

pub(super) fn read(node: Node<'_>, dotted: String) -> Option<QueuePatch> {
    let mut table = node.table("QueueTable", dotted)?;
    let patch = QueuePatch {
        mode: table.optional("mode", value::choice(MODES)),
        debounce: table.optional("debounce", debounce),
        cap: table.optional("cap", value::integer(1..=1_000)),
        drop: table.optional("drop", value::choice(DROPS)),
    };
    table.finish();
    Some(patch)
}

fn debounce(node: Node<'_>) -> Option<Duration> {
    let wait = value::duration_or_zero(node)?;
    if wait <= DEBOUNCE_MAX {
        return Some(wait);
    }
    node.fail(
        "`debounce` is longer than a minute",
        "nobody waits so long for an answer",
        "write `debounce = \"1s\"`, or 0s to answer at once",
    )
}
