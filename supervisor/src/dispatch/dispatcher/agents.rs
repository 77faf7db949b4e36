//! What drivers report: lives that come and go, pieces and ends of turns.

use std::time::SystemTime;

use kennel_shared::{
    ids::{AgentId, DeliveryId, Generation, TurnId},
    protocol::{FailureKind, TurnOutcome},
};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{
    Dispatcher, Nobody, OFFER_AGAIN, account::Said, deadlines::Late, handle::AgentEvent, job,
    ledger::Then, resting, tell,
};
use crate::{
    dispatch::{
        lanes::Ticket,
        turn::{EndKind, ReplySink, TurnEnd},
    },
    journal::{Op, op::Blame},
    supervision::events::LifecycleEvent,
};

impl Dispatcher {
    pub(super) fn on_agent(&mut self, agent: &AgentId, generation: Generation, event: AgentEvent) {
        if let AgentEvent::Closed | AgentEvent::Down { .. } | AgentEvent::Resting(_) = event {
            // Its lane stays closed until it is up.
            self.swamped.remove(agent);
        }
        match event {
            AgentEvent::Coming => self.tally(agent).resting = None,
            AgentEvent::Up => {
                self.lanes.open(agent);
                let tally = self.tally(agent);
                tally.generation = generation;
                tally.resting = None;
            }
            AgentEvent::Closed => self.lanes.close(agent),
            AgentEvent::Down { asked } => self.on_down(agent, generation, asked),
            AgentEvent::Resting(state) => self.on_resting(agent, state),
            AgentEvent::Started(turn) => {
                if let Some(delivery) = self.delivery_of(agent, turn) {
                    if let Some(job) = self.jobs.get_mut(&delivery) {
                        job.clock.started(Instant::now());
                    }
                    self.limit_silence(delivery, turn);
                }
                self.with_sinks(agent, turn, |sink| sink.started());
            }
            AgentEvent::Acting(turn) => self.on_spoken(agent, turn),
            AgentEvent::Delta { turn, text } => {
                self.on_spoken(agent, turn);
                self.with_sinks(agent, turn, |sink| sink.delta(&text));
            }
            AgentEvent::Steered { delivery, into } => self.on_steered(agent, delivery, into),
            AgentEvent::Finished {
                delivery,
                outcome,
                spent,
                told,
            } => {
                let said = Said { spent, told: *told };
                self.on_finished(agent, delivery, outcome, said);
            }
        }
    }

    /// Whether a delivery is this agent's: an agent has no say in those of others.
    pub(super) fn belongs(&self, delivery: DeliveryId, agent: &AgentId) -> bool {
        let job = self.jobs.get(&delivery);
        job.is_some_and(|job| job.ticket.session.agent_str() == agent.as_str())
    }

    /// What a turn is of. An unknown one was given up before, or is an agent's invention.
    fn delivery_of(&self, agent: &AgentId, turn: TurnId) -> Option<DeliveryId> {
        let delivery = self.turns.get(&turn).copied();
        delivery.filter(|delivery| self.belongs(*delivery, agent))
    }

    /// The model has said something.
    fn on_spoken(&mut self, agent: &AgentId, turn: TurnId) {
        if let Some(delivery) = self.delivery_of(agent, turn) {
            self.expect_no_more(delivery, |late| late == Late::FirstToken(turn));
        }
    }

    fn with_sinks(&mut self, agent: &AgentId, turn: TurnId, tell: impl Fn(&mut dyn ReplySink)) {
        if let Some(delivery) = self.delivery_of(agent, turn)
            && let Some(job) = self.jobs.get_mut(&delivery)
        {
            job.sinks.iter_mut().for_each(|sink| tell(&mut **sink));
        }
    }

    fn on_finished(
        &mut self,
        agent: &AgentId,
        delivery: DeliveryId,
        outcome: TurnOutcome,
        said: Said,
    ) {
        if !self.belongs(delivery, agent) {
            debug!(agent.id = %agent, delivery.id = %delivery, "an unknown delivery was finished");
            return;
        }
        if let TurnOutcome::Steered(into) = outcome {
            self.on_steered(agent, delivery, into);
            return;
        }
        if self
            .jobs
            .get(&delivery)
            .is_some_and(|job| job.turn.is_none())
        {
            // An earlier supervisor handed it out. It is handed out again in its turn, and answered
            // again then: so the answers of a session keep their order.
            debug!(agent.id = %agent, delivery.id = %delivery, "a delivery was finished before its turn");
            self.keep_account(delivery, said);
            return;
        }
        // What a model has read and written costs, however the turn ended.
        let spent = self.take_account(delivery, said);
        let tally = self.tally(agent);
        tally.input_tokens += u64::from(spent.input_tokens);
        tally.output_tokens += u64::from(spent.output_tokens);
        if let TurnOutcome::Failed(failure) = &outcome
            && failure.kind == FailureKind::Overloaded
        {
            // It is at work on what an earlier supervisor gave it, and did not begin with this.
            self.hand_out_later(agent, delivery);
            return;
        }
        let because = self.jobs.get_mut(&delivery);
        let because = because.and_then(|job| job.because.take());
        let end = match (outcome, because) {
            (TurnOutcome::Cancelled, Some(because)) => because,
            (outcome, _) => job::end_of(outcome, spent),
        };
        self.end(delivery, end);
    }

    /// A delivery that its agent has no place for goes back, and is offered again in a moment.
    fn hand_out_later(&mut self, agent: &AgentId, delivery: DeliveryId) {
        let Some(job) = self.jobs.get_mut(&delivery) else {
            return;
        };
        let ticket = job.ticket.clone();
        if let Some(turn) = job.turn.take() {
            self.turns.remove(&turn);
        }
        job.clock.returned(Instant::now());
        let lease = job.lease.take();
        if job.cancelled {
            let end = job.cancelled_end();
            self.end(delivery, end);
            return;
        }
        // It was not begun, so it was not too slow.
        job.because = None;
        self.expect_no_more(delivery, |late| late != Late::Queue);
        warn!(agent.id = %agent, delivery.id = %delivery, "an agent has no place for a delivery yet");
        if let Some(lease) = lease {
            let requeue = Op::Requeue {
                delivery,
                generation: lease.generation,
                blame: None,
            };
            self.ledger.tell(requeue, Then::Nothing(delivery));
        }
        self.put_off(&ticket, OFFER_AGAIN);
    }

    /// Everything that this life of the agent had goes back, or is set aside.
    fn on_down(&mut self, agent: &AgentId, generation: Generation, asked: bool) {
        self.lanes.close(agent);
        let held = |ticket: &Ticket| {
            let lease = self.jobs.get(&ticket.delivery).and_then(|job| job.lease);
            lease.is_some_and(|lease| lease.generation == generation)
        };
        // What it was to be handed again, and is waiting for that.
        let mut waiting = self.lanes.waiting(agent);
        waiting.retain(held);
        // The oldest must end up first, so it goes back last.
        for ticket in self.lanes.running(agent).into_iter().rev() {
            self.lanes.requeue(&ticket);
            self.give_back(&ticket, agent, generation, asked);
        }
        for ticket in waiting {
            self.give_back(&ticket, agent, generation, asked);
        }
    }

    fn give_back(&mut self, ticket: &Ticket, agent: &AgentId, generation: Generation, asked: bool) {
        let poison_after = self.tally(agent).poison_after;
        let Some(job) = self.jobs.get_mut(&ticket.delivery) else {
            return;
        };
        job.loading = false;
        if job.cancelled || job.because.is_some() {
            // The end of the turn that it had, if it had one: it kept to it, or was made to.
            let end = job.cancelled_end();
            self.end(ticket.delivery, end);
            return;
        }
        let leased = job
            .lease
            .is_some_and(|lease| lease.generation == generation);
        let attempts = job.attempts + u32::from(leased && !asked);
        job.attempts = attempts;
        // One that is not known was handed out by an earlier supervisor: it gets one more life.
        if leased && !asked && attempts >= poison_after && job.known {
            self.poison(ticket, agent, generation);
            return;
        }
        let lost = leased.then(|| self.account_of_lost(ticket.delivery));
        let lost = lost.flatten();
        self.expect_no_more(ticket.delivery, |late| late != Late::Queue);
        let Some(job) = self.jobs.get_mut(&ticket.delivery) else {
            return;
        };
        if let Some(turn) = job.turn.take() {
            self.turns.remove(&turn);
        }
        job.clock.returned(Instant::now());
        if !leased {
            // It was being read, and not handed out yet.
            return;
        }
        job.lease = None;
        if let Some(lost) = lost {
            self.ledger
                .tell(Op::Account(lost), Then::Nothing(ticket.delivery));
        }
        info!(agent.id = %agent, generation = generation.0, delivery.id = %ticket.delivery, attempts, "a delivery was requeued");
        let requeue = Op::Requeue {
            delivery: ticket.delivery,
            generation,
            // When it is enough is decided here, where it is known whom to tell.
            blame: (!asked).then_some(Blame {
                poison_after: u32::MAX,
                notice: None,
            }),
        };
        self.ledger.tell(requeue, Then::Nothing(ticket.delivery));
    }

    /// Sets a delivery aside that its agent dies of, and tells everybody.
    fn poison(&mut self, ticket: &Ticket, agent: &AgentId, generation: Generation) {
        let Some(mut job) = self.take_out(ticket.delivery) else {
            return;
        };
        let attempts = job.attempts;
        warn!(agent.id = %agent, delivery.id = %ticket.delivery, attempts, "a delivery is set aside: its agent dies of it");
        let end = TurnEnd::Failed {
            kind: EndKind::Agent,
            message: format!(
                "agent `{agent}` stopped working {attempts} times while it answered this; the message was set aside"
            ),
        };
        if let Some(turn) = self.account(&mut job, &end) {
            self.ledger
                .tell(Op::Account(turn), Then::Nothing(ticket.delivery));
        }
        let notice = job.sends(&end).into_iter().next();
        let channels = notice.iter().map(|send| send.channel.clone()).collect();
        let requeue = Op::Requeue {
            delivery: ticket.delivery,
            generation,
            blame: Some(Blame {
                // Decided already: what the journal counted counts no less.
                poison_after: 0,
                notice,
            }),
        };
        self.tell_end(ticket.delivery, requeue, channels);
        self.outside.events.tell(LifecycleEvent {
            at: SystemTime::now(),
            agent: Some(agent.clone()),
            generation,
            kind: "poison",
            detail: Some(format!(
                "delivery {} was set aside after {attempts} deaths of the agent; `kennel queue requeue {}` tries it again",
                ticket.delivery, ticket.delivery
            )),
            end: None,
            held_back: None,
        });
        let tally = self.tally(agent);
        tally.failed += 1;
        tally.poison += 1;
        tell(job.sinks, end);
    }

    fn on_resting(&mut self, agent: &AgentId, state: &'static str) {
        self.lanes.close(agent);
        self.tally(agent).resting = Some(state);
        if self.leaving {
            // It rests because we leave. What waits does so for the next supervisor.
            return;
        }
        if self.is_going(agent.as_str()) {
            // Told when it was retired, but for what has come back since.
            let waiting = self.lanes.waiting(agent);
            self.end_removed(agent, waiting);
            return;
        }
        for ticket in self.all_waiting(agent) {
            // What an earlier supervisor took waits until the agent is started: nobody was told
            // anything yet, and nobody holds a line.
            let Some(job) = self.jobs.get_mut(&ticket.delivery).filter(|job| job.known) else {
                continue;
            };
            let end = resting(agent, state);
            if job.outlasts() && job.sends(&end).is_empty() {
                // Whoever asks again by its key will have the answer when the agent was started.
                tell(std::mem::take(&mut job.sinks), end);
                job.sinks.push(Box::new(Nobody));
            } else {
                self.end(ticket.delivery, end);
            }
        }
    }
}
