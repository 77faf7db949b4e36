//! Whether everybody has the share that weights give: from the accumulator to the API.

use std::sync::Arc;

use axum::{Json, extract::State};

use super::{App, view::millis, wire};
use crate::fairness::{AgentShare, ClassShare, Fairness, Report};

/// Slots and CPU of agents and classes over the last minute, five minutes and hour, beside what they were entitled to.
#[utoipa::path(get, path = "/api/v1/fairness", responses((status = 200, body = wire::Fairness)))]
pub(super) async fn fairness(State(app): State<Arc<App>>) -> Json<wire::Fairness> {
    // One that is about to end has nothing to tell any more.
    let report = app.fairness.report().await;
    Json(report.as_ref().map(told).unwrap_or_default())
}

/// The last minute in short.
pub(super) fn summary(report: &Report) -> Option<wire::FairnessSummary> {
    let minute = window(report.windows.first()?);
    Some(wire::FairnessSummary {
        slots: report.slots as u64,
        running: minute.classes.iter().map(|class| class.running).sum(),
        slots_index: minute.slots_index,
        cpu_index: minute.cpu_index,
        longest_wait: minute.longest_wait,
    })
}

fn told(report: &Report) -> wire::Fairness {
    wire::Fairness {
        slots: report.slots as u64,
        windows: report.windows.iter().map(window).collect(),
    }
}

fn window(fairness: &Fairness) -> wire::FairnessWindow {
    let longest = fairness.longest_wait.as_ref();
    wire::FairnessWindow {
        window_ms: millis(fairness.window),
        covered_ms: millis(fairness.covered),
        slots_index: fairness.slots_index.map(rounded),
        cpu_index: fairness.cpu_index.map(rounded),
        longest_wait: longest.map(|(agent, wait)| wire::LongestWait {
            agent: agent.to_string(),
            wait_ms: millis(*wait),
        }),
        classes: fairness.classes.iter().map(class).collect(),
        agents: fairness.agents.iter().map(agent).collect(),
    }
}

fn class(share: &ClassShare) -> wire::ClassShare {
    let class = &share.class;
    wire::ClassShare {
        class: class.class.to_string(),
        weight: class.weight,
        min_slots: class.min_slots as u64,
        max_slots: class.max_slots as u64,
        running: class.running as u64,
        slots_used: rounded(share.slots_used),
        slots_entitled: rounded(share.slots_entitled),
    }
}

fn agent(share: &AgentShare) -> wire::AgentShare {
    wire::AgentShare {
        agent: share.agent.to_string(),
        class: share.class.to_string(),
        weight: share.weight,
        slots_used: rounded(share.slots_used),
        slots_entitled: rounded(share.slots_entitled),
        slots_wanted: rounded(share.slots_wanted),
        cpu_used: rounded(share.cpu_used),
        cpu_entitled: share.cpu_entitled.map(rounded),
        longest_wait_ms: millis(share.longest_wait),
    }
}

/// To the fourth digit behind the point.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
