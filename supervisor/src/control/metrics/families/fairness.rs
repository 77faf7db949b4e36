//! Whether everybody has the share that weights give.

use super::super::text::{Kind::Gauge, Page, Sample};
use crate::fairness::{AgentShare, Fairness, Report};

/// As labels; in the order of the report.
const WINDOWS: [&str; 3] = ["1m", "5m", "1h"];

pub(super) fn write(page: &mut Page, report: Option<&Report>) {
    let windows = || {
        report
            .into_iter()
            .flat_map(|report| WINDOWS.into_iter().zip(&report.windows))
    };
    let index = |name, window: &'static str, of: Option<f64>| -> Option<Sample<'static>> {
        Some((vec![("resource", name), ("window", window)], of?))
    };
    page.family(
        Gauge,
        "kennel_fairness_index",
        "Jain's index of what agents had over what they were entitled to: 1 when that is the same for all.",
        windows().flat_map(|(window, of)| {
            [index("slots", window, of.slots_index), index("cpu", window, of.cpu_index)]
                .into_iter()
                .flatten()
        }),
    );
    let minute = report.and_then(|report| report.windows.first());
    let classes = || minute.into_iter().flat_map(|minute| &minute.classes);
    page.family(
        Gauge,
        "kennel_class_slots_used",
        "Turns at once that the class had in the last minute, on average.",
        classes().map(|share| (vec![("class", &*share.class.class)], share.slots_used)),
    );
    page.family(
        Gauge,
        "kennel_class_slots_entitled",
        "Turns at once that it was entitled to.",
        classes().map(|share| (vec![("class", &*share.class.class)], share.slots_entitled)),
    );
    agents(
        page,
        minute,
        "kennel_agent_slots_used",
        "Turns at once that the agent had in the last minute, on average.",
        |all| all.iter().map(|share| share.slots_used).sum(),
    );
    agents(
        page,
        minute,
        "kennel_agent_slots_entitled",
        "Turns at once that it was entitled to.",
        |all| all.iter().map(|share| share.slots_entitled).sum(),
    );
    agents(
        page,
        minute,
        "kennel_agent_longest_wait_seconds",
        "The longest wait of a message that began in the last minute, or is next.",
        |all| {
            let waits = all.iter().map(|share| share.longest_wait);
            waits.max().unwrap_or_default().as_secs_f64()
        },
    );
}

/// An agent that has used several classes is one, of which all that it has there counts.
fn agents(
    page: &mut Page,
    minute: Option<&Fairness>,
    name: &'static str,
    help: &'static str,
    of: fn(&[AgentShare]) -> f64,
) {
    let agents = minute.map_or(&[][..], |minute| &minute.agents);
    let agents = agents.chunk_by(|a, b| a.agent == b.agent);
    let samples = agents.map(|all| (vec![("agent", all[0].agent.as_str())], of(all)));
    page.family(Gauge, name, help, samples);
}
