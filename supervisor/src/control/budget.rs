//! The route of budgets: what agents may spend, and have.

use axum::{Json, extract::State};

use super::{api::AppState, wire};
use crate::{
    dispatch::BudgetView,
    turns::{Decision, budget::Limits},
};

/// What agents may spend, and have.
#[utoipa::path(get, path = "/api/v1/budget", responses((status = 200, body = wire::BudgetList)))]
pub(super) async fn budget(State(app): AppState) -> Json<wire::BudgetList> {
    let budgets = app.dispatcher.budgets().await;
    let mut agents: Vec<_> = budgets
        .iter()
        .map(|(agent, budget)| {
            let config = app.config.agent(agent.as_str());
            let downgrade = config.and_then(|config| config.budget.downgrade.as_ref());
            view(agent.as_str(), budget, downgrade.map(ToString::to_string))
        })
        .collect();
    agents.sort_by(|one, other| one.agent.cmp(&other.agent));
    Json(wire::BudgetList { agents })
}

fn view(agent: &str, budget: &BudgetView, downgrade: Option<String>) -> wire::AgentBudget {
    let limited = budget
        .windows
        .iter()
        .filter(|(_, limits, ..)| *limits != Limits::default());
    let windows = limited.map(|(window, limits, spent, bounds)| wire::BudgetWindow {
        window: window.as_str().to_owned(),
        begins_ms: bounds.begins_ms.unsigned_abs(),
        resets_ms: bounds.ends_ms.unsigned_abs(),
        tokens: spent.tokens,
        warn_tokens: limits.warn_tokens,
        max_tokens: limits.max_tokens,
        cost_micros: spent.cost,
        warn_cost_micros: limits.warn_cost,
        max_cost_micros: limits.max_cost,
    });
    wire::AgentBudget {
        agent: agent.to_owned(),
        state: match budget.decision {
            Decision::Free => wire::BudgetState::Free,
            Decision::Sparing(_) => wire::BudgetState::RunsOut,
            Decision::Refused(_) => wire::BudgetState::Spent,
        },
        downgrade,
        windows: windows.collect(),
    }
}
