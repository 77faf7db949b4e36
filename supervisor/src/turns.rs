//! What turns took: how long each waited and for what, what the model, its tools and the machine had of it, what it
//! cost. Pure; the dispatcher makes the records, the journal keeps them.
//!
//! ```text
//! lanes: how long it waited ──┐
//! agent-host: steps, tokens ──┼──► TurnRecord ──► journal ──► kennel turns, kennel why
//! driver: CPU, lag ───────────┘        │
//!                                      ├──► Histograms ──► /metrics
//!                                      └──► otlp
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`record`] | the values |
//! | [`price`] | what tokens cost |
//! | [`verdict`] | why a turn took as long as it did, in a line |
//! | [`histogram`] | how long turns took, for Prometheus |

pub mod histogram;
pub mod price;
pub mod record;
pub mod verdict;

pub use self::{
    histogram::Histograms,
    price::{Price, Prices},
    record::{Machine, Outcome, RunnableBy, Share, Span, Step, Took, TurnRecord, Waits},
    verdict::{Bound, Verdict},
};
