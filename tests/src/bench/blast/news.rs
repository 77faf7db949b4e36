//! What the supervisor says of its agents: `GET /api/v1/events`.

use std::{collections::BTreeMap, fmt, path::Path};

use serde_json::Value;
use tokio::sync::mpsc;

use super::super::api::Events;

/// Events between two looks; more are left out.
const KEPT: usize = 1024;

/// Events as they come, until they are asked for.
pub(super) struct News(mpsc::Receiver<Value>);

impl News {
    pub(super) async fn follow(control: &Path) -> anyhow::Result<Self> {
        let mut events = Events::unix(control, "/api/v1/events?follow=true").await?;
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

    /// How often a life of this agent ended since the last look, and what was said of the last: its
    /// cause and a sentence.
    pub(super) fn ends_of(&mut self, agent: &str) -> Ends {
        let mut ends = Ends::default();
        while let Ok(event) = self.0.try_recv() {
            let end = &event["end"];
            if event["agent"] != agent || end.is_null() {
                continue;
            }
            let field = |name: &str| end[name].as_str().unwrap_or_default().to_owned();
            *ends.causes.entry(field("cause")).or_default() += 1;
            ends.last = field("sentence");
        }
        ends
    }
}

/// Ends of lives, as the supervisor explains them.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// How many by each cause.
    causes: BTreeMap<String, usize>,
    last: String,
}

impl Ends {
    /// Adds later ones.
    pub(super) fn add(&mut self, later: Self) {
        for (cause, count) in later.causes {
            *self.causes.entry(cause).or_default() += count;
        }
        if !later.last.is_empty() {
            self.last = later.last;
        }
    }
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (cause, count) in &self.causes {
            write!(f, "{cause} {count} ×, ")?;
        }
        write!(f, "the last: {}", self.last)
    }
}
