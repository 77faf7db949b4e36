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
//! | [`budget`] | what an agent may spend, and what follows when it has |
//! | [`verdict`] | why a turn took as long as it did, in a line |
//! | [`histogram`] | how long turns took, for Prometheus |

pub mod budget;
pub mod histogram;
pub mod price;
pub mod record;
pub mod verdict;

pub use self::{
    budget::{Books, Budget, Decision, Exhausted, Window},
    histogram::Histograms,
    price::{Price, Prices},
    record::{Machine, Outcome, RunnableBy, Share, Span, Step, Took, TurnRecord, Waits},
    verdict::{Bound, Verdict},
};
