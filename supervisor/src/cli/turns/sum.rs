//! Turns added up by agent. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{control::wire::TurnSummary, turns::Outcome};

/// What the turns of one agent took together. Times in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct Sum {
    pub(in crate::cli) agent: String,
    pub(in crate::cli) turns: u64,
    /// Half of them took no longer than this.
    pub(in crate::cli) p50_us: u64,
    /// All but one of a hundred.
    pub(in crate::cli) p99_us: u64,
    pub(in crate::cli) total_us: u64,
    pub(in crate::cli) queued_us: u64,
    pub(in crate::cli) provider_us: u64,
    pub(in crate::cli) tools_us: u64,
    /// As far as it is known. Of turns that ran beside others of their agent it is in each.
    pub(in crate::cli) cpu_us: u64,
    /// Likewise.
    pub(in crate::cli) runnable_us: u64,
    /// Of those whose model has a price.
    pub(in crate::cli) cost_micros: Option<u64>,
    /// What held up those turns that took most of the time.
    pub(in crate::cli) bound: String,
    /// How long those took.
    pub(in crate::cli) bound_us: u64,
}

/// Adds turns up, by agent. An attempt that was lost is in the waits of the turn that answered in the end.
pub(in crate::cli) fn sums(turns: &[TurnSummary]) -> Vec<Sum> {
    let mut agents: BTreeMap<&str, Vec<&TurnSummary>> = BTreeMap::new();
    let lost = Outcome::Lost.as_str();
    for turn in turns.iter().filter(|turn| turn.outcome != lost) {
        agents.entry(&turn.agent).or_default().push(turn);
    }
    agents.into_values().map(|turns| sum(&turns)).collect()
}

fn sum(turns: &[&TurnSummary]) -> Sum {
    let mut lengths: Vec<u64> = turns.iter().map(|turn| turn.total_us).collect();
    lengths.sort_unstable();
    let all = |of: fn(&TurnSummary) -> u64| {
        turns
            .iter()
            .fold(0_u64, |sum, turn| sum.saturating_add(of(turn)))
    };
    let costs = turns.iter().filter_map(|turn| turn.cost_micros);
    let mut bounds: BTreeMap<&str, u64> = BTreeMap::new();
    for turn in turns {
        let time = bounds.entry(&turn.bound).or_default();
        *time = time.saturating_add(turn.total_us);
    }
    let most = bounds.into_iter().max_by_key(|(_, time)| *time);
    let (bound, bound_us) = most.unwrap_or_default();
    Sum {
        agent: turns
            .first()
            .map(|turn| turn.agent.clone())
            .unwrap_or_default(),
        turns: turns.len() as u64,
        p50_us: percentile(&lengths, 50),
        p99_us: percentile(&lengths, 99),
        total_us: all(|turn| turn.total_us),
        queued_us: all(|turn| turn.queued_us),
        provider_us: all(|turn| turn.provider_us),
        tools_us: all(|turn| turn.tools_us),
        cpu_us: all(|turn| turn.cpu_us.unwrap_or(0)),
        runnable_us: all(|turn| turn.runnable_us.unwrap_or(0)),
        cost_micros: costs.reduce(u64::saturating_add),
        bound: bound.to_owned(),
        bound_us,
    }
}

/// The smallest that so many of a hundred do not exceed.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table;

    fn turn(agent: &str, total_ms: u64, provider_ms: u64, bound: &str) -> TurnSummary {
        TurnSummary {
            id: "0194f2a000007000800000000001".into(),
            delivery: "0194f2a0-0000-7000-8000-000000000001".into(),
            agent: agent.into(),
            session: format!("agent:{agent}:x"),
            class: None,
            model: None,
            outcome: "replied".into(),
            ended_ms: 0,
            total_us: total_ms * 1000,
            queued_us: (total_ms - provider_ms) * 1000,
            provider_us: provider_ms * 1000,
            tools_us: 0,
            cpu_us: (bound != "held").then_some(10_000),
            runnable_us: None,
            cpu_shared: false,
            input_tokens: 1,
            output_tokens: 2,
            cost_micros: (bound == "provider").then_some(1_500_000),
            bound: bound.into(),
            verdict: String::new(),
        }
    }

    #[test]
    fn turns_are_added_up_by_agent() {
        let mut turns: Vec<_> = (1..=200)
            .map(|n| turn("two", n * 10, n * 9, "provider"))
            .collect();
        turns.push(turn("one", 5_000, 0, "session lane"));
        turns.push(turn("one", 100, 100, "held"));
        turns.push(TurnSummary {
            outcome: "lost".into(),
            ..turn("one", 9_000, 0, "lost attempts")
        });
        let sums = sums(&turns);
        assert_eq!(sums.len(), 2);
        let [one, two] = &sums[..] else {
            unreachable!()
        };
        assert_eq!(
            (one.agent.as_str(), one.turns, one.p50_us),
            ("one", 2, 100_000)
        );
        assert_eq!(
            (one.bound.as_str(), one.bound_us),
            ("session lane", 5_000_000)
        );
        assert_eq!((one.cost_micros, one.cpu_us), (None, 10_000));
        assert_eq!((two.p50_us, two.p99_us), (1_000_000, 1_980_000));
        assert_eq!(two.cost_micros, Some(300_000_000));
        assert_eq!(two.total_us, two.queued_us + two.provider_us);
        let table = table::turn_sums(&sums, Some(100));
        insta::assert_snapshot!(anstream::adapter::strip_str(&table).to_string());
    }

    #[test]
    fn percentiles_are_values_that_there_are() {
        assert_eq!(percentile(&[], 50), 0);
        for percent in [1, 50, 99, 100] {
            assert_eq!(percentile(&[7], percent), 7);
        }
        assert_eq!(
            (percentile(&[1, 2, 3, 4], 50), percentile(&[1, 2, 3, 4], 99)),
            (2, 4)
        );
    }
}
