//! The quiet agents' load: each is asked at a steady rate, whatever happens.

use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::{Instant, sleep_until};

use super::super::{api::Api, fleet::Fleet, stats::Samples};

/// Each agent is asked so often.
const PERIOD: Duration = Duration::from_millis(20);

/// Callers, each with a connection of its own over TCP.
pub(super) struct Load {
    callers: Vec<(&'static str, Api)>,
}

impl Load {
    pub(super) async fn on(fleet: &Fleet<'_>, agents: &[&'static str]) -> anyhow::Result<Self> {
        let mut callers = Vec::new();
        for agent in agents {
            callers.push((*agent, fleet.tcp().await?));
        }
        Ok(Self { callers })
    }

    /// Asks for so long. The callers are spread over the period.
    pub(super) async fn run(self, lasts: Duration) -> anyhow::Result<Samples> {
        let begin = Instant::now();
        let step = PERIOD / u32::try_from(self.callers.len())?;
        let asked = (0..).zip(self.callers).map(|(index, (agent, api))| {
            let first = begin + step * index;
            ask(api, agent, first, begin + lasts)
        });
        let mut all = Samples::default();
        for samples in try_join_all(asked).await? {
            all.extend(samples);
        }
        Ok(all)
    }
}

async fn ask(mut api: Api, agent: &str, first: Instant, end: Instant) -> anyhow::Result<Samples> {
    let mut samples = Samples::default();
    let mut due = first;
    while due < end {
        // In the past when the last answer came late: then it is asked at once.
        sleep_until(due).await;
        api.chat(agent, None, "Are you there?").await?;
        samples.push(due.elapsed());
        due += PERIOD;
    }
    Ok(samples)
}
