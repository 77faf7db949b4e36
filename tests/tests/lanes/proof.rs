//! What was at once, by the model's view and by the accounts of turns.

use std::collections::{BTreeMap, BTreeSet};

use kennel_tests::{
    harness::Client,
    held_model::{Visit, most_at_once},
};
use serde_json::Value;

/// There were so many at the model at once and never more, and never more of one agent.
pub(crate) fn at_once(visits: &[Visit], fleet: usize, per_agent: usize) {
    assert_eq!(most_at_once(visits), fleet, "{visits:#?}");
    let agents: BTreeSet<&str> = visits.iter().map(|visit| visit.model.as_str()).collect();
    for agent in agents {
        let own = visits.iter().filter(|visit| visit.model == agent);
        let most = most_at_once(own);
        assert!(most <= per_agent, "{most} of {agent}: {visits:#?}");
    }
}

/// When a turn had its place, by its account.
#[derive(Debug)]
pub(crate) struct Account {
    agent: String,
    pub(crate) session: String,
    pub(crate) outcome: String,
    waits: Value,
    /// Surely not before, and surely still: in microseconds.
    span: (u64, u64),
}

impl Account {
    pub(crate) async fn all(client: &Client) -> Vec<Self> {
        let list = client.get("/api/v1/turns?limit=1000").await;
        let list = list.expect("an answer").body["turns"].clone();
        let mut accounts = Vec::new();
        for turn in list.as_array().expect("a list") {
            accounts.push(Self::of(client, turn).await);
        }
        accounts
    }

    async fn of(client: &Client, turn: &Value) -> Self {
        let text = |key: &str| turn[key].as_str().expect("a text").to_owned();
        let detail = client.get(&format!("/api/v1/turns/{}", text("id"))).await;
        let detail = detail.expect("an answer").body;
        let run_us = detail["run_us"].as_u64().expect("a time");
        // Ends are told in whole milliseconds, rounded down.
        let ended_us = turn["ended_ms"].as_u64().expect("a time") * 1000;
        Self {
            agent: text("agent"),
            session: text("session"),
            outcome: text("outcome"),
            waits: detail["waits"].clone(),
            span: (ended_us + 1000 - run_us.min(ended_us), ended_us),
        }
    }

    /// Microseconds that it waited in a lane.
    pub(crate) fn waited(&self, lane: &str) -> u64 {
        self.waits[lane].as_u64().expect("a time")
    }

    /// Never were more in their turns at once, never more of one agent, never two of one session.
    pub(crate) fn at_once(accounts: &[Self], fleet: usize, per_agent: usize) {
        let most = most(accounts.iter());
        assert!(most <= fleet, "{most} turns at once: {accounts:#?}");
        for (key, limit) in [
            (Self::agent as fn(&Self) -> &str, per_agent),
            (Self::session, 1),
        ] {
            let mut groups: BTreeMap<&str, Vec<&Self>> = BTreeMap::new();
            for account in accounts {
                groups.entry(key(account)).or_default().push(account);
            }
            for (name, group) in groups {
                let most = self::most(group.iter().copied());
                assert!(most <= limit, "{most} of {name} at once: {group:#?}");
            }
        }
    }

    fn agent(&self) -> &str {
        &self.agent
    }

    fn session(&self) -> &str {
        &self.session
    }
}

fn most<'a>(accounts: impl Iterator<Item = &'a Account>) -> usize {
    let spans: Vec<(u64, u64)> = accounts.map(|account| account.span).collect();
    // Of so short a turn it is not sure that it was there at any moment.
    let sure = spans.iter().filter(|(from, to)| from < to);
    let at = |moment: u64| {
        spans
            .iter()
            .filter(move |(from, to)| (*from..*to).contains(&moment))
    };
    sure.map(|(from, _)| at(*from).count()).max().unwrap_or(0)
}
