//! Time limits of deliveries: how long one may wait, its model may be silent, its turn may take, and its end may take
//! once it was told to.
//!
//! ```text
//! accepted ──queue_timeout──► ended, the sender is told
//! started ──first_token_timeout, nothing said──► cancelled, the sender is told
//! handed out ──turn_timeout + cancel_grace──► (the agent did not keep to it) its process is killed
//! cancelled ──cancel_grace──► its process is killed: it starts anew, and what else it had is handed out again
//! ```

use std::{collections::BTreeSet, time::Duration};

use kennel_shared::ids::{DeliveryId, TurnId};
use tokio::time::Instant;
use tracing::warn;

use super::{Dispatcher, OFFER_AGAIN, steer::LOOK_AGAIN};
use crate::{
    dispatch::turn::{EndKind, TurnEnd},
    supervision::driver::Command,
};

/// How long deliveries of an agent may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimits {
    /// Waiting for its turn, if there is a limit.
    pub queue: Option<Duration>,
    /// From the beginning of a turn to its first piece of text, if there is a limit.
    pub first_token: Option<Duration>,
    /// A whole turn, by the agent's own clock.
    pub turn: Duration,
    /// From a cancellation to the end of the turn.
    pub cancel_grace: Duration,
}

/// What has taken too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Late {
    /// It waits.
    Queue,
    /// Its agent could not be told to end the turn.
    Cancel(TurnId),
    /// The model is silent.
    FirstToken(TurnId),
    /// The turn.
    Turn(TurnId),
    /// Its end.
    Grace(TurnId),
}

/// All that may become late, by time.
#[derive(Debug, Default)]
pub(super) struct Deadlines(BTreeSet<(Instant, DeliveryId, Late)>);

impl Deadlines {
    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(due, ..)| *due)
    }

    /// Takes out one that is due.
    fn pop(&mut self, now: Instant) -> Option<(DeliveryId, Late)> {
        let (due, delivery, late) = self.0.first().copied()?;
        if due > now {
            return None;
        }
        self.0.pop_first();
        Some((delivery, late))
    }
}

impl Dispatcher {
    /// Something of a delivery is to be done within `limit`.
    pub(super) fn expect(&mut self, delivery: DeliveryId, late: Late, limit: Duration) {
        let Some(job) = self.jobs.get_mut(&delivery) else {
            return;
        };
        let due = Instant::now() + limit;
        job.deadlines.push((due, late));
        self.deadlines.0.insert((due, delivery, late));
    }

    /// Nothing of a delivery is late any more of which `which` says so.
    pub(super) fn expect_no_more(&mut self, delivery: DeliveryId, which: impl Fn(Late) -> bool) {
        let Some(job) = self.jobs.get_mut(&delivery) else {
            return;
        };
        for (due, late) in job.deadlines.extract_if(.., |(_, late)| which(*late)) {
            self.deadlines.0.remove(&(due, delivery, late));
        }
    }

    /// A delivery waits.
    pub(super) fn limit_waiting(&mut self, delivery: DeliveryId) {
        let limit = self.limits_of(delivery).and_then(|limits| limits.queue);
        if let Some(limit) = limit {
            self.expect(delivery, Late::Queue, limit);
        }
    }

    /// A delivery was handed out.
    pub(super) fn limit_turn(&mut self, delivery: DeliveryId, turn: TurnId) {
        self.expect_no_more(delivery, |late| late == Late::Queue);
        if let Some(limits) = self.limits_of(delivery) {
            let limit = limits.turn + limits.cancel_grace;
            self.expect(delivery, Late::Turn(turn), limit);
        }
    }

    /// An agent has begun a turn.
    pub(super) fn limit_silence(&mut self, delivery: DeliveryId, turn: TurnId) {
        let limit = self.limits_of(delivery);
        if let Some(limit) = limit.and_then(|limits| limits.first_token) {
            self.expect(delivery, Late::FirstToken(turn), limit);
        }
    }

    /// Tells an agent to end a turn; from then on it has its grace.
    pub(super) fn send_cancel(&mut self, delivery: DeliveryId, turn: TurnId) {
        let agent = self
            .jobs
            .get(&delivery)
            .map(|job| job.ticket.session.agent());
        let commands = agent.and_then(|agent| self.agents.get(&agent));
        let told =
            commands.is_some_and(|commands| commands.try_send(Command::Cancel(turn)).is_ok());
        if !told {
            self.expect(delivery, Late::Cancel(turn), OFFER_AGAIN);
        } else if let Some(limits) = self.limits_of(delivery) {
            self.expect(delivery, Late::Grace(turn), limits.cancel_grace);
        }
    }

    fn limits_of(&self, delivery: DeliveryId) -> Option<TimeLimits> {
        let job = self.jobs.get(&delivery)?;
        let tally = self.tallies.get(job.ticket.session.agent_str())?;
        tally.time
    }

    /// Ends what is late.
    pub(super) fn on_late(&mut self) {
        let now = Instant::now();
        while let Some((delivery, late)) = self.deadlines.pop(now) {
            let Some(job) = self.jobs.get_mut(&delivery) else {
                continue;
            };
            job.deadlines.retain(|(_, other)| *other != late);
            let agent = job.ticket.session.agent();
            match late {
                Late::Queue => {
                    let waits = job.turn.is_none() && !job.loading;
                    if waits && self.holds.contains_key(&delivery) {
                        // Something is being done with it.
                        self.expect(delivery, Late::Queue, OFFER_AGAIN);
                    } else if waits && self.is_offered(delivery) {
                        // A turn may have it by now.
                        self.expect(delivery, Late::Queue, LOOK_AGAIN);
                    } else if waits && !self.leaving {
                        let limit = self.limits_of(delivery).and_then(|limits| limits.queue);
                        self.end(delivery, waited(limit.unwrap_or_default()));
                    }
                }
                Late::Cancel(turn) => self.send_cancel(delivery, turn),
                Late::FirstToken(turn) => {
                    let limit = self
                        .limits_of(delivery)
                        .and_then(|limits| limits.first_token);
                    warn!(agent.id = %agent, delivery.id = %delivery, turn.id = %turn, "a turn is cancelled: its model says nothing");
                    self.cancel_for(delivery, silent(limit.unwrap_or_default()));
                }
                Late::Turn(turn) | Late::Grace(turn) => {
                    warn!(agent.id = %agent, delivery.id = %delivery, turn.id = %turn, "a turn does not end: its agent is killed");
                    if matches!(late, Late::Turn(_)) && job.because.is_none() {
                        job.because = Some(overdue());
                    }
                    if let Some(lease) = job.lease
                        && let Some(commands) = self.agents.get(&agent)
                        && commands
                            .try_send(Command::Unstick(lease.generation))
                            .is_err()
                    {
                        // A driver with a full queue is asked again in a moment.
                        self.expect(delivery, late, OFFER_AGAIN);
                    }
                }
            }
        }
    }
}

fn late(message: String) -> TurnEnd {
    TurnEnd::Failed {
        kind: EndKind::Timeout,
        message,
    }
}

fn waited(limit: Duration) -> TurnEnd {
    let limit = humantime::format_duration(limit);
    late(format!(
        "This waited for more than {limit} and was not begun. Please try again later."
    ))
}

fn silent(limit: Duration) -> TurnEnd {
    let limit = humantime::format_duration(limit);
    late(format!(
        "The model said nothing for {limit}, so I have given up. Please try again."
    ))
}

/// A turn went on beyond all limits.
fn overdue() -> TurnEnd {
    late("I could not finish this in time. Please try again.".into())
}
