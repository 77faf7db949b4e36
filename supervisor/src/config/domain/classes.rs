//! Classes of agents: how much of the fleet each has.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::dispatch::lanes::{BATCH, INTERACTIVE, Most, Shares, USUAL_WEIGHT};

pub(in super::super) const WEIGHT: RangeInclusive<u32> = 1..=10_000;
pub(in super::super) const MIN_SHARE: RangeInclusive<f64> = 0.0..=1.0;
pub(in super::super) const MAX_SHARE: RangeInclusive<f64> = 0.0001..=1.0;

/// `[classes.<name>]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Class {
    /// Its part where classes compete.
    pub weight: u32,
    /// The share of the fleet's turns below which it is served first, from 0 to 1.
    pub min_share: f64,
    /// The share of the fleet's turns that it may have. Without one: all, but for `batch`, which leaves one turn to others.
    pub max_share: Option<f64>,
}

impl Default for Class {
    fn default() -> Self {
        Self {
            weight: USUAL_WEIGHT,
            min_share: 0.0,
            max_share: None,
        }
    }
}

impl Class {
    /// As the lanes have it.
    pub fn shares(&self, name: &str) -> Shares {
        Shares {
            weight: self.weight,
            min: self.min_share,
            max: match self.max_share {
                Some(share) => Most::Share(share),
                None if name == BATCH => Most::AllButOne,
                None => Most::Share(1.0),
            },
        }
    }
}

/// Those that are there without a table.
pub(in super::super) fn built_in() -> BTreeMap<String, Class> {
    let names = [INTERACTIVE, BATCH];
    names.map(|name| (name.to_owned(), Class::default())).into()
}

/// A share as people write it: `0.25`.
pub(in super::super) fn plain_share(share: f64) -> String {
    let text = format!("{share:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
