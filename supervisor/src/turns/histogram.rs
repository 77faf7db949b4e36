//! How long the turns of an agent took, counted into buckets. Pure.

use super::record::TurnRecord;

/// Upper bounds of the buckets, in microseconds: from what an idle machine takes for a small step to the usual limit of a
/// turn.
pub const BOUNDS: [u64; 16] = [
    1_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    180_000_000,
    600_000_000,
];

/// Times, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many were in each bucket alone; the last has those beyond all bounds.
    pub counts: [u64; BOUNDS.len() + 1],
    /// All of them together, in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    /// Counts one.
    pub fn count(&mut self, us: u64) {
        let bucket = BOUNDS.partition_point(|bound| *bound < us);
        self.counts[bucket] += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }
}

/// Those of one agent, since the supervisor started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Histograms {
    /// Waiting, by lane: session, agent, class, fleet, held.
    pub waits: [Histogram; 5],
    /// From the lane to the agent.
    pub dispatch: Histogram,
    /// Waiting for the provider.
    pub provider: Histogram,
    /// Until the first piece of an answer, of those that had one.
    pub first_token: Histogram,
    /// In tools, of those that ran some.
    pub tools: Histogram,
    /// On the CPU, where it is known.
    pub cpu: Histogram,
    /// From acceptance to end.
    pub total: Histogram,
}

impl Histograms {
    /// Counts a turn.
    pub fn count(&mut self, turn: &TurnRecord) {
        for (histogram, (_, us)) in self.waits.iter_mut().zip(turn.waits.lanes()) {
            histogram.count(us);
        }
        self.dispatch.count(turn.dispatch_us);
        let took = &turn.took;
        if took.asked > 0 {
            self.provider.count(took.provider_us);
        }
        if took.first_token_us > 0 {
            self.first_token.count(took.first_token_us);
        }
        if took.tools > 0 {
            self.tools.count(took.tools_us);
        }
        if let Some(cpu_us) = turn.machine.cpu_us {
            self.cpu.count(cpu_us);
        }
        self.total.count(turn.total_us());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_first_bucket_that_holds_it() {
        let mut histogram = Histogram::default();
        for us in [0, 1_000, 1_001, 600_000_000, 600_000_001] {
            histogram.count(us);
        }
        let mut counts = [0; BOUNDS.len() + 1];
        (counts[0], counts[1], counts[15], counts[16]) = (2, 1, 1, 1);
        assert_eq!(histogram.counts, counts);
        assert_eq!(histogram.sum_us, 1_200_002_002);
        assert!(BOUNDS.is_sorted());
    }

    #[test]
    fn what_a_turn_did_not_do_is_not_counted() {
        let mut histograms = Histograms::default();
        let mut turn = super::super::record::tests::record("a");
        histograms.count(&turn);
        let all = |histogram: &Histogram| histogram.counts.iter().sum::<u64>();
        assert_eq!(
            (
                all(&histograms.tools),
                all(&histograms.cpu),
                all(&histograms.provider)
            ),
            (0, 0, 0)
        );
        assert_eq!((all(&histograms.total), all(&histograms.waits[4])), (1, 1));
        (turn.took.tools, turn.machine.cpu_us) = (1, Some(5));
        histograms.count(&turn);
        assert_eq!((all(&histograms.tools), all(&histograms.cpu)), (1, 1));
    }
}
