//! What a turn that ends has taken: put together from what the lanes, the agent and its driver know, counted, and handed
//! on.

use std::{collections::HashMap, sync::Arc, time::Duration};

use kennel_shared::{
    ids::{AgentId, DeliveryId, TurnId},
    protocol::{Spent, Trace},
};
use tokio::time::Instant;

use super::{
    Dispatcher,
    handle::{Told, Waiting},
    job::Job,
};
use crate::{
    dispatch::{
        lanes::{self, Started, Ticket},
        turn::TurnEnd,
    },
    journal::now_ms,
    turns::{Histograms, Machine, Outcome, Took, TurnRecord, Waits, record},
};

/// What an agent and its driver say of a turn.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) spent: Spent,
    pub(super) told: Told,
}

impl Said {
    /// Whether it speaks of an end that was only said again: nothing was done for it.
    fn is_repeat(&self) -> bool {
        self.spent.provider_us == 0
            && self.spent.tools_us == 0
            && self.told.trace == Trace::default()
    }
}

impl Dispatcher {
    /// Takes what is said of a turn, or what was said of it before its turn in the order of its session came.
    pub(super) fn take_account(&mut self, delivery: DeliveryId, said: Said) -> Spent {
        let Some(job) = self.jobs.get_mut(&delivery) else {
            return said.spent;
        };
        let said = match job.said.take() {
            Some(before) if said.is_repeat() => before,
            _ => Box::new(said),
        };
        let spent = said.spent;
        job.said = Some(said);
        spent
    }

    /// Keeps what is said of a turn that is handed out again before it counts.
    pub(super) fn keep_account(&mut self, delivery: DeliveryId, said: Said) {
        if let Some(job) = self.jobs.get_mut(&delivery) {
            job.said = Some(Box::new(said));
        }
    }

    /// A ticket leaves its lane for the agent.
    pub(super) fn clock_out(&mut self, started: &Started) {
        if let Some(job) = self.jobs.get_mut(&started.ticket.delivery) {
            job.clock.handed(written(&started.waits), Instant::now());
            job.class = Some(Arc::clone(&started.class));
        }
    }

    /// What a delivery waits for; `None` when it does not wait.
    pub(super) fn look_at(&self, ticket: &Ticket) -> Option<Waiting> {
        let Some(job) = self.jobs.get(&ticket.delivery).filter(|job| !job.on_disk) else {
            // It may just be on its way in or out as well; then it is no longer so in a moment.
            let agent = ticket.session.agent();
            return self.has_backlog(&agent).then_some(Waiting::Queue);
        };
        let (lane, waits) = self.lanes.waits_for(ticket)?;
        let mut so_far = job.clock.before;
        so_far += written(&waits);
        Some(if self.quiets.contains_key(&ticket.delivery) {
            Waiting::Quiet(so_far)
        } else {
            Waiting::Lane(lane, so_far)
        })
    }

    /// The account of a job that has ended; `None` of one that no agent had. Counted already.
    pub(super) fn account(&mut self, job: &mut Job, end: &TurnEnd) -> Option<Box<TurnRecord>> {
        job.clock.handed_at?;
        let turn = job.turn?;
        let said = job.said.take().map(|said| *said).unwrap_or_default();
        let record = self.record(job, turn, Outcome::from(end), said);
        let tally = self.tally(&job.ticket.session.agent());
        tally.histograms.get_or_insert_default().count(&record);
        job.note = self.spend(&record);
        self.show(&record);
        Some(Box::new(record))
    }

    /// The account of an attempt that ended with its agent's process, for the journal: nobody knows what its model took, and
    /// what it waited for and how long it ran counts with the attempt that follows.
    pub(super) fn account_of_lost(&self, delivery: DeliveryId) -> Option<Box<TurnRecord>> {
        let job = self.jobs.get(&delivery)?;
        job.clock.handed_at?;
        let record = self.record(job, job.turn?, Outcome::Lost, Said::default());
        self.show(&record);
        Some(Box::new(record))
    }

    /// Has a collector told of it, if there is one.
    fn show(&self, record: &TurnRecord) {
        if let Some(spans) = &self.outside.spans {
            spans.offer(record);
        }
    }

    fn record(&self, job: &Job, turn: TurnId, outcome: Outcome, said: Said) -> TurnRecord {
        let Said { spent, told } = said;
        let Told { trace, machine } = told;
        let (dispatch_us, run_us) = job.clock.run(spent.context_us, Instant::now());
        let model = (!trace.model.is_empty()).then(|| trace.model.clone());
        let cost = model.as_ref().and_then(|model| {
            self.prices
                .cost(model, spent.input_tokens, spent.output_tokens)
        });
        let (spans, spans_left_out) = record::spans(trace);
        TurnRecord {
            turn,
            delivery: job.ticket.delivery,
            session: job.ticket.session.clone(),
            generation: job.lease.map(|lease| lease.generation).unwrap_or_default(),
            outcome,
            class: job.class.as_deref().map(str::to_owned),
            model,
            ended_ms: now_ms(),
            waits: job.clock.waits,
            lost_us: job.clock.lost_us,
            dispatch_us,
            run_us,
            took: Took::from(&spent),
            spans,
            spans_left_out,
            machine,
            cost,
            attempts: job.attempts,
        }
    }

    /// How long the turns of each agent took.
    pub(super) fn histograms(&self) -> HashMap<AgentId, Arc<Histograms>> {
        let tallies = self.tallies.iter();
        let known = tallies.filter_map(|(agent, tally)| {
            let histograms = tally.histograms.as_deref()?;
            Some((agent.clone(), Arc::new(*histograms)))
        });
        known.collect()
    }
}

/// As accounts have it.
fn written(waits: &lanes::Waits) -> Waits {
    Waits {
        session_us: record::micros(waits.session),
        agent_us: record::micros(waits.agent),
        class_us: record::micros(waits.class),
        fleet_us: record::micros(waits.fleet),
        held_us: record::micros(waits.held),
    }
}

/// How long ago a delivery was made, by its id.
pub(super) fn age(delivery: DeliveryId) -> Duration {
    let made = u64::try_from(now_ms()).unwrap_or(0);
    Duration::from_millis(made.saturating_sub(delivery.made_ms()))
}

/// For an agent of which nothing is told.
impl Default for Told {
    fn default() -> Self {
        Self {
            trace: Trace::default(),
            machine: Machine::default(),
        }
    }
}
