//! The last samples of a figure, and their picture in one line.

use std::collections::VecDeque;

/// More samples than any screen is wide enough for are forgotten, the oldest first.
const KEPT: usize = 240;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The last samples of one figure. What could not be told is `None`.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples(VecDeque<Option<f64>>);

impl Samples {
    pub(super) fn push(&mut self, sample: Option<f64>) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(sample.filter(|value| value.is_finite()));
    }

    /// The largest that is kept; 0 when there is none.
    pub(super) fn max(&self) -> f64 {
        self.0.iter().flatten().copied().fold(0.0, f64::max)
    }

    /// The last `width` samples, the newest at the right: `ceiling` is a full bar, what was not told
    /// is a gap.
    pub(super) fn bars(&self, width: usize, ceiling: f64) -> String {
        let shown = self.0.len().min(width);
        let blank = std::iter::repeat_n(' ', width - shown);
        let bars = self.0.range(self.0.len() - shown..).map(|sample| {
            let Some(value) = sample else { return ' ' };
            BARS[level(*value, ceiling)]
        });
        blank.chain(bars).collect()
    }
}

fn level(value: f64, ceiling: f64) -> usize {
    if value <= 0.0 || ceiling <= 0.0 {
        return 0;
    }
    let share = value / ceiling;
    // How many of the seven steps between the eight bars it is above.
    (1..BARS.len())
        .zip([0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875])
        .rev()
        .find(|(_, step)| share > *step)
        .map_or(0, |(level, _)| level)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        let mut samples = Samples::default();
        for value in values {
            samples.push(Some(*value));
        }
        samples
    }

    #[test]
    fn a_full_bar_is_the_ceiling() {
        let all = samples(&[0.0, 1.0, 12.5, 12.6, 50.0, 99.0, 100.0, 250.0]);
        assert_eq!(all.bars(8, 100.0), "▁▁▁▂▄███");
        // Nothing to measure against.
        assert_eq!(all.bars(8, 0.0), "▁▁▁▁▁▁▁▁");
    }

    #[test]
    fn the_newest_stands_right() {
        let few = samples(&[0.0, 100.0]);
        assert_eq!(few.bars(4, 100.0), "  ▁█");
        assert_eq!(few.bars(1, 100.0), "█");
        assert_eq!(few.bars(0, 100.0), "");
    }

    #[test]
    fn what_was_not_told_is_a_gap() {
        let mut gap = samples(&[100.0]);
        for sample in [None, Some(f64::NAN), Some(f64::INFINITY), Some(-1.0)] {
            gap.push(sample);
        }
        assert_eq!(gap.bars(5, 100.0), "█   ▁");
        assert!(gap.max() >= 100.0);
    }

    #[test]
    fn old_samples_are_forgotten() {
        let many = samples(&vec![1.0; 10 * KEPT]);
        assert_eq!(many.0.len(), KEPT);
    }
}
