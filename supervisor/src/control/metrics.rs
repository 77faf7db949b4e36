//! `GET /metrics`, for Prometheus and whatever else reads its formats.
//!
//! Names and units follow the conventions: base units in the name, `_total` behind what only grows, no
//! metric for what is not known. What grows counts over all lives of an agent since the supervisor
//! started; the supervisor's own process has the names that every program uses (`process_…`).
//! `docs/metrics.md` lists them; a test keeps it true.

mod families;
mod text;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::get,
};
use nix::sys::resource::{Resource, getrlimit};

use self::text::{Format, Page};
use super::{App, Current, view, wire};
use crate::{
    dispatch::{AgentCounts, BudgetView},
    fairness::Report,
    journal::Health,
    schedule::{Observed, ScheduleId},
    supervision::sampler::{AgentSample, Sample},
    turns::Histograms,
};

/// Everything that is told.
struct Scene {
    /// When the supervisor started.
    started: SystemTime,
    /// How old the sample is.
    age: Duration,
    sample: Arc<Sample>,
    /// Files that the supervisor may have open.
    max_files: Option<u64>,
    journal: Health,
    /// Turns that a collector has, and those that it will not get; where there is a collector.
    spans: Option<(u64, u64)>,
    agents: Vec<Agent>,
    channels: Vec<wire::ChannelStatus>,
    fairness: Option<Report>,
    schedules: BTreeMap<ScheduleId, Observed>,
}

/// What is told of one agent.
struct Agent {
    id: String,
    model: String,
    state: wire::AgentState,
    linked: bool,
    lag: Duration,
    restarts: u64,
    /// When its present child was started.
    started: Option<SystemTime>,
    counts: AgentCounts,
    sample: AgentSample,
    /// What it may spend and has, where that is limited.
    budget: Option<BudgetView>,
    /// How long its turns took, once it has had some.
    turns: Option<Arc<Histograms>>,
}

pub(super) fn routes() -> Router<Current> {
    Router::new().route("/metrics", get(metrics))
}

/// What agents, fleet, host and supervisor use and do, for Prometheus.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String, content_type = "text/plain",
    description = "the text format of Prometheus, or OpenMetrics where the request accepts it")))]
pub(super) async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let format = Format::accepted_by(accept);
    let mut page = Page::new(format);
    families::write(&mut page, &app.scene().await);
    let content_type = (header::CONTENT_TYPE, format.content_type());
    ([content_type], page.end()).into_response()
}

impl App {
    async fn scene(&self) -> Scene {
        let counts = self.dispatcher.counts().await;
        let turns = self.dispatcher.histograms().await;
        let budgets = self.dispatcher.budgets().await;
        let fairness = self.fairness.report().await;
        let sample = self.sampler.latest();
        let agents = self.agents.values().map(|handle| {
            let observed = handle.observed.borrow();
            let config = self.config.agent(handle.agent.as_str());
            let known = sample.agents.get(&handle.agent).copied();
            let mut known = known.unwrap_or_default();
            known.life = known.life.filter(|life| observed.pid == Some(life.pid));
            Agent {
                id: handle.agent.to_string(),
                model: config.map_or_else(String::new, |config| config.model.to_string()),
                state: view::state(&observed),
                linked: observed.linked,
                lag: observed.lag,
                restarts: observed.restarts,
                started: observed.started_at,
                counts: counts.get(&handle.agent).copied().unwrap_or_default(),
                sample: known,
                turns: turns.get(&handle.agent).cloned(),
                budget: budgets.get(&handle.agent).cloned(),
            }
        });
        let now = tokio::time::Instant::now().into_std();
        Scene {
            started: SystemTime::now() - self.began.elapsed(),
            age: now.saturating_duration_since(sample.at),
            max_files: getrlimit(Resource::RLIMIT_NOFILE)
                .ok()
                .map(|(soft, _)| soft),
            journal: self.journal.health().borrow().clone(),
            spans: self
                .spans
                .as_ref()
                .map(|counts| (counts.sent(), counts.dropped())),
            agents: agents.collect(),
            channels: self.view_channels(),
            fairness,
            schedules: self.schedules.observed(),
            sample,
        }
    }
}

#[cfg(test)]
mod tests;
