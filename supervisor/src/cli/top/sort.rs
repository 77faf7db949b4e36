//! The order of the table.

use std::cmp::Ordering;

use clap::ValueEnum;

use crate::control::wire::AgentStatus;

/// What the table is ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum SortKey {
    /// Processor time over the last interval
    Cpu,
    /// Memory now
    Memory,
    /// The name
    Name,
    /// Messages that wait and turns that run
    Queue,
    /// Turns that have ended
    Turns,
    /// Starts that nobody asked for
    Restarts,
    /// How late the event loop is
    Lag,
}

/// A key and its direction: names go up, figures go down, unless reversed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) key: SortKey,
    pub(super) reversed: bool,
}

impl Order {
    pub(super) fn by(key: SortKey) -> Self {
        Self {
            key,
            reversed: false,
        }
    }

    /// As after a press of the key's letter: the second press turns the order around.
    pub(super) fn pressed(self, key: SortKey) -> Self {
        Self {
            key,
            reversed: self.key == key && !self.reversed,
        }
    }

    /// Whether the smallest stands first.
    pub(super) fn ascending(self) -> bool {
        (self.key == SortKey::Name) != self.reversed
    }

    /// Equals are ordered by name, so that they do not change places.
    pub(super) fn compare(self, a: &AgentStatus, b: &AgentStatus) -> Ordering {
        let up = match self.key {
            SortKey::Cpu => cpu(a).total_cmp(&cpu(b)),
            SortKey::Memory => memory(a).cmp(&memory(b)),
            SortKey::Name => a.id.cmp(&b.id),
            SortKey::Queue => (a.queued + a.running).cmp(&(b.queued + b.running)),
            SortKey::Turns => a.turns.cmp(&b.turns),
            SortKey::Restarts => a.restarts.cmp(&b.restarts),
            SortKey::Lag => a.usage.lag_us.cmp(&b.usage.lag_us),
        };
        let ordered = if self.ascending() { up } else { up.reverse() };
        ordered.then_with(|| a.id.cmp(&b.id))
    }
}

/// Absent is less than nothing.
fn cpu(agent: &AgentStatus) -> f64 {
    agent.cpu_percent.unwrap_or(-1.0)
}

/// What counts against the cap, else what is resident.
pub(super) fn memory(agent: &AgentStatus) -> Option<u64> {
    agent.usage.memory_bytes.or(agent.memory_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::tests::agent;

    #[test]
    fn every_key_orders_by_its_figure() {
        let mut first = agent("a");
        first.turns = 9;
        first.restarts = 1;
        let mut second = agent("b");
        second.cpu_percent = Some(80.0);
        second.usage.lag_us = 5;
        let mut third = agent("c");
        third.cpu_percent = None;
        third.usage.memory_bytes = Some(1 << 40);
        third.queued = 3;
        let all = [first, second, third];
        let cases = [
            (SortKey::Cpu, false, "bac"),
            (SortKey::Cpu, true, "cab"),
            (SortKey::Memory, false, "cab"),
            (SortKey::Name, false, "abc"),
            (SortKey::Name, true, "cba"),
            (SortKey::Queue, false, "cab"),
            (SortKey::Turns, false, "abc"),
            (SortKey::Restarts, false, "abc"),
            (SortKey::Lag, false, "bac"),
            // Equals stay in the order of their names both ways.
            (SortKey::Lag, true, "acb"),
        ];
        for (key, reversed, expected) in cases {
            let mut sorted = all.clone();
            sorted.sort_by(|a, b| Order { key, reversed }.compare(a, b));
            let ids: String = sorted.iter().map(|agent| agent.id.as_str()).collect();
            assert_eq!(ids, expected, "{key:?} {reversed}");
        }
    }

    #[test]
    fn the_second_press_turns_around() {
        let order = Order::by(SortKey::Cpu).pressed(SortKey::Cpu);
        assert!(order.reversed && order.ascending());
        assert!(!order.pressed(SortKey::Cpu).reversed);
        assert!(!order.pressed(SortKey::Memory).reversed);
    }
}
