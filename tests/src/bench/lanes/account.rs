//! What Kennel says of turns and of shares, read from its answers.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use serde_json::Value;
use tokio::time::sleep;

use crate::bench::api::Api;

/// How often, and how long apart, an account is asked for: it is written after the answer has gone out.
const LOOKS: u32 = 200;
const LOOK: Duration = Duration::from_millis(10);

/// What a turn has waited for, by its account.
#[derive(Debug, Clone, Copy)]
pub(in crate::bench) struct Waited {
    /// In all lanes.
    pub(in crate::bench) queued: Duration,
    /// In those of its class and the fleet.
    pub(in crate::bench) others: Duration,
}

impl Waited {
    /// By the id of its message.
    pub(in crate::bench) async fn of(api: &mut Api, delivery: &str) -> anyhow::Result<Self> {
        let path = format!("/api/v1/turns/{delivery}");
        let mut last = None;
        for _ in 0..LOOKS {
            match api.get(&path).await {
                Ok(turn) => return Self::read(&turn),
                Err(error) => last = Some(error),
            }
            sleep(LOOK).await;
        }
        Err(last.context("it was looked for")?)
    }

    fn read(turn: &Value) -> anyhow::Result<Self> {
        let micros = |value: &Value| {
            let us = value.as_u64().with_context(|| format!("times in {turn}"))?;
            anyhow::Ok(Duration::from_micros(us))
        };
        let waits = &turn["waits"];
        Ok(Self {
            queued: micros(&turn["queued_us"])?,
            others: micros(&waits["class_us"])? + micros(&waits["fleet_us"])?,
        })
    }
}

/// Of an agent.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) class: String,
    pub(super) weight: f64,
    /// Slots that it had, on average.
    pub(super) used: f64,
}

/// Of the fleet.
#[derive(Debug)]
pub(super) struct Shares {
    /// Jain's index over all agents.
    pub(super) index: f64,
    /// Slots of each class, on average.
    pub(super) slots: BTreeMap<String, f64>,
    pub(super) agents: Vec<Share>,
    pub(super) longest: Duration,
}

/// A window of `GET /api/v1/fairness`.
pub(super) fn shares(window: &Value) -> anyhow::Result<Shares> {
    let list = |name: &str| {
        window[name]
            .as_array()
            .with_context(|| format!("{name} in {window}"))
    };
    let number = |value: &Value, name: &str| {
        value[name]
            .as_f64()
            .with_context(|| format!("{name} in {value}"))
    };
    let word = |value: &Value, name: &str| {
        let word = value[name]
            .as_str()
            .with_context(|| format!("{name} in {value}"))?;
        anyhow::Ok(word.to_owned())
    };
    let classes = list("classes")?.iter();
    let slots = classes.map(|class| Ok((word(class, "class")?, number(class, "slots_used")?)));
    let agents = list("agents")?.iter().map(|agent| {
        Ok(Share {
            class: word(agent, "class")?,
            weight: number(agent, "weight")?,
            used: number(agent, "slots_used")?,
        })
    });
    let longest = window["longest_wait"]["wait_ms"].as_u64();
    Ok(Shares {
        index: number(window, "slots_index")?,
        slots: slots.collect::<anyhow::Result<_>>()?,
        agents: agents.collect::<anyhow::Result<_>>()?,
        longest: Duration::from_millis(longest.unwrap_or_default()),
    })
}
