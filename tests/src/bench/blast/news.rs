//! What the supervisor says of its agents: `GET /api/v1/events`.

use std::path::Path;

use serde_json::Value;
use tokio::sync::mpsc;

use super::super::api::Events;

/// Events between two looks; more are left out.
const KEPT: usize = 1024;

/// What is ordinary and explains nothing.
const ORDINARY: [&str; 5] = ["starting", "ready", "draining", "stopping", "stopped"];

/// Events as they come, until they are asked for.
pub(super) struct News(mpsc::Receiver<Value>);

impl News {
    pub(super) async fn follow(control: &Path) -> anyhow::Result<Self> {
        let mut events = Events::unix(control, "/api/v1/events").await?;
        let (kept, news) = mpsc::channel(KEPT);
        // Ends with the supervisor, or with the receiver.
        tokio::spawn(async move {
            while let Ok(Some(event)) = events.next().await {
                if let Err(mpsc::error::TrySendError::Closed(_)) = kept.try_send(event) {
                    break;
                }
            }
        });
        Ok(Self(news))
    }

    /// Leaves out what came so far.
    pub(super) fn forget(&mut self) {
        while self.0.try_recv().is_ok() {}
    }

    /// What was said of an agent since the last look, each thing once.
    pub(super) fn of(&mut self, agent: &str) -> Vec<String> {
        let mut said = Vec::new();
        while let Ok(event) = self.0.try_recv() {
            let word = event["kind"].as_str().unwrap_or_default();
            if event["agent"] != agent || ORDINARY.contains(&word) {
                continue;
            }
            let text = match event["detail"].as_str() {
                Some(detail) => format!("{word}: {detail}"),
                None => word.to_owned(),
            };
            if !said.contains(&text) {
                said.push(text);
            }
        }
        said
    }
}
