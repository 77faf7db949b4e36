//! The way in: from a submission to a job in a lane.

use kennel_shared::ids::{AgentId, DeliveryId};
use tokio::sync::oneshot;

use super::{
    AT_HAND_BYTES, Dispatcher,
    beside::DROPPED,
    handle::{Accepted, Rejected, Submission},
    job::{self, Job, Text},
    leaving,
    ledger::{Accepting, Then},
    resting,
    roster::removed,
};
use crate::{
    dispatch::{
        gather::{self, Mode, Queueing},
        lanes::{Refused, Ticket},
        turn::TurnEnd,
    },
    journal::{
        Acceptance, Answer, JournalError, Op,
        entry::{NewDelivery, Origin, Seq, Standing},
        op::KnownBy,
    },
};

impl Dispatcher {
    /// Whether a message may be handed in now.
    fn admissible(&mut self, agent: &str, origin: &Origin) -> Result<(), Rejected> {
        if self.leaving {
            return Err(Rejected::Leaving);
        }
        if self.is_going(agent) {
            let agent = agent.to_owned();
            return Err(match origin {
                Origin::Caller { .. } | Origin::Schedule { .. } => Rejected::UnknownAgent(agent),
                // Handed in again, it goes to whom the bindings name by then.
                Origin::Channel { .. } => Rejected::QueueFull { agent, max: 0 },
            });
        }
        let tally = self.tallies.get(agent);
        // A chat is answered that its agent rests, so its message is taken like any other. A schedule tries again.
        if let (Some(state), Origin::Caller { .. } | Origin::Schedule { .. }) =
            (tally.and_then(|tally| tally.resting), origin)
        {
            let agent = agent.to_owned();
            return Err(Rejected::Resting { agent, state });
        }
        // As well.
        if let Origin::Caller { .. } = origin
            && let Some(rejected) = self.over_budget(agent)
        {
            return Err(rejected);
        }
        Ok(())
    }

    /// Whether an agent's queue has room for another message. Runs of a schedule that has a class of its own take half of it at
    /// most, and half of what is kept in memory: while that class is full, the agent's others are not to stand behind them.
    fn room(&self, agent: &str, origin: &Origin) -> Result<(), Rejected> {
        let tally = self.tallies.get(agent);
        let coming = tally.map_or(0, |tally| tally.accepting + tally.backlog.len);
        if self.classes.of(origin.schedule()).is_some()
            && let Some(max) = self.lanes.max_waiting(agent)
        {
            let most = (max.min(self.window) / 2).max(1);
            let id: Option<AgentId> = agent.parse().ok();
            let waiting = id.map_or(0, |id| self.lanes.counts(&id).0);
            if waiting + coming >= most {
                let agent = agent.to_owned();
                return Err(Rejected::QueueFull { agent, max: most });
            }
        }
        self.lanes
            .room(agent, coming)
            .map_err(|refused| match refused {
                Refused::UnknownAgent => Rejected::UnknownAgent(agent.to_owned()),
                Refused::QueueFull(max) => Rejected::QueueFull {
                    agent: agent.to_owned(),
                    max,
                },
            })
    }

    /// Hands a message to the journal, if it may come in.
    pub(super) fn submit(
        &mut self,
        submission: Submission,
        reply: oneshot::Sender<Result<Accepted, Rejected>>,
    ) {
        let Submission {
            delivery,
            origin,
            session,
            sender,
            text,
            reply_to,
            queueing,
            sink,
        } = submission;
        // A caller that is gone is told through its sink, or not at all.
        if let Err(rejected) = self.admissible(session.agent_str(), &origin) {
            let _ = reply.send(Err(rejected));
            return;
        }
        let new = Box::new(NewDelivery {
            delivery,
            origin,
            session,
            sender,
            text: gather::plain(text),
            reply_to,
        });
        let beside = queueing.and_then(|queueing| self.beside(&new, queueing));
        let (beside, held) = match beside {
            Some((beside, held)) => (Some(beside), held),
            // Only what waits for itself needs a place.
            None => match self.room(new.session.agent_str(), &new.origin) {
                Ok(()) => (None, None),
                // It makes room for itself.
                Err(_) if interrupts(queueing) => (None, None),
                Err(rejected) => {
                    let _ = reply.send(Err(rejected));
                    return;
                }
            },
        };
        self.put_down(Accepting {
            new,
            queueing,
            beside,
            held,
            sink,
            reply,
        });
    }

    /// Hands a message to the journal.
    fn put_down(&mut self, accepting: Accepting) {
        let agent = accepting.new.session.agent();
        let new = accepting.new.clone();
        let accept = match accepting.beside {
            None => Op::Accept(new),
            Some(beside) => {
                let untold = !self.told.contains(&new.session);
                let notice = untold.then(|| accepting.sink.notice(DROPPED)).flatten();
                Op::AcceptBeside {
                    new,
                    beside,
                    notice: notice.map(Box::new),
                }
            }
        };
        match self.ledger.begin(accept, Then::Accept(Box::new(accepting))) {
            Ok(()) => self.tally(&agent).accepting += 1,
            Err((Then::Accept(accepting), error)) => {
                if let Some(held) = &accepting.held {
                    self.let_go(held);
                }
                let _ = accepting.reply.send(Err(Rejected::Journal(error)));
            }
            Err(_) => {}
        }
    }

    pub(super) fn on_accepted(
        &mut self,
        mut accepting: Accepting,
        answer: Result<Answer, JournalError>,
    ) {
        let agent = accepting.new.session.agent();
        let tally = self.tally(&agent);
        tally.accepting = tally.accepting.saturating_sub(1);
        match answer {
            Ok(Answer::Beside { head, notice }) => {
                self.on_beside(accepting, head, notice);
                return;
            }
            Ok(Answer::Replaced { seq, notice }) => {
                self.on_replaced(accepting, seq, notice);
                return;
            }
            _ => {}
        }
        if let Some(held) = accepting.held.take() {
            if answer.is_err() {
                // It may be on the disk all the same: then it is in the text of the other.
                self.forget_text(held.delivery);
            }
            self.let_go(&held);
        }
        let error = match answer {
            Ok(Answer::Accepted(Acceptance::New(seq))) => {
                let session = accepting.new.session.clone();
                self.take_in(accepting, seq, &agent);
                self.steer(&session);
                return;
            }
            Ok(Answer::Accepted(Acceptance::Known { by, first })) => {
                self.join(by, *first, accepting);
                return;
            }
            Ok(other) => JournalError::Internal(format!("an odd answer: {other:?}")),
            Err(error) => error,
        };
        let _ = accepting.reply.send(Err(Rejected::Journal(error)));
    }

    /// A new message. It may have nobody left to answer it, or to answer to.
    pub(super) fn take_in(&mut self, accepting: Accepting, seq: Seq, agent: &AgentId) {
        let Accepting {
            new,
            queueing,
            sink,
            reply,
            ..
        } = accepting;
        let NewDelivery {
            delivery,
            origin,
            session,
            sender,
            text,
            ..
        } = *new;
        self.heard = self.heard.max(seq);
        let outlasts = sink.outlasts();
        let ticket = Ticket {
            delivery,
            session: session.clone(),
        };
        if interrupts(queueing) {
            self.stop_session(&session);
        }
        let accepted = Accepted {
            delivery,
            session,
            repeat: false,
        };
        let heard = reply.send(Ok(accepted)).is_ok();
        let end = if self.leaving {
            // What can be answered later is for the next supervisor.
            (!outlasts).then(leaving)
        } else if !heard && !outlasts {
            Some(TurnEnd::Cancelled)
        } else if self.is_going(agent.as_str()) {
            Some(removed(agent))
        } else if let Some(state) = self.tally(agent).resting {
            Some(resting(agent, state))
        } else {
            self.refusal(agent)
        };
        let mut job = Job::new(ticket.clone(), Some(Text { sender, text }), sink);
        job.schedule = origin.schedule().cloned();
        job.of_chat = queueing.is_some();
        job.steers = queueing.is_some_and(|queueing| queueing.mode == Mode::Steer);
        if let Some(end) = end {
            self.keep(job);
            self.end(delivery, end);
            return;
        }
        self.hold(job, seq);
        if let Some(queueing) = queueing {
            self.begin_to_gather(&ticket, queueing);
        }
    }

    /// Somebody asks for what was accepted before.
    fn join(&mut self, by: KnownBy, first: Standing, accepting: Accepting) {
        let delivery = first.delivery;
        if first.state.is_open() && self.ending.contains_key(&delivery) {
            // Its end is on the way to the disk: asked again behind that, the answer is final.
            let waiting = self.ending.entry(delivery).or_default();
            waiting.push(accepting);
            return;
        }
        let Accepting {
            new,
            mut sink,
            reply,
            ..
        } = accepting;
        let _ = reply.send(Ok(Accepted {
            delivery,
            session: first.session.clone(),
            repeat: true,
        }));
        if let Some(end) = job::read_back(&first) {
            sink.end(end);
            return;
        }
        let agent = first.session.agent();
        let resting_in = self.tally(&agent).resting;
        if let Some(job) = self.jobs.get_mut(&delivery) {
            // A chat is answered once.
            if matches!(by, KnownBy::MessageId | KnownBy::DueTime) {
                return;
            }
            if let Some(state) = resting_in {
                // It is kept, and answered when its agent is started.
                sink.end(resting(&agent, state));
            } else {
                sink.late();
                job.sinks.push(sink);
            }
            return;
        }
        // Nobody here knows of it: it is left on the disk, or an error had hidden that it was accepted.
        let on_disk = self.is_on_disk(&agent, first.seq);
        if on_disk && !sink.holds() {
            return;
        }
        let ticket = Ticket {
            delivery,
            session: first.session,
        };
        let NewDelivery {
            origin,
            sender,
            text,
            ..
        } = *new;
        let mut job = Job::new(ticket, Some(Text { sender, text }), sink);
        // A run is known again by its due time: it is one of the same schedule.
        job.schedule = origin.schedule().cloned();
        (job.lease, job.attempts) = (first.lease, first.attempts);
        job.text = None;
        job.on_disk = on_disk;
        let class = self.classes.of(job.schedule.as_ref());
        if on_disk || self.lanes.admit_in_place(&job.ticket, class) {
            self.jobs.insert(delivery, job);
        }
    }

    /// An end is on the disk: those who asked for it meanwhile ask again.
    pub(super) fn on_ended(&mut self, delivery: DeliveryId) {
        for accepting in self.ending.remove(&delivery).unwrap_or_default() {
            self.put_down(accepting);
        }
    }

    /// Takes a job in, at the end of its queue. `seq` is its place in the journal.
    pub(super) fn hold(&mut self, job: Job, seq: Seq) {
        self.heard = self.heard.max(seq);
        // Behind it, nothing joins what was there before.
        self.heads.remove(&job.ticket.session);
        if self.is_behind(&job.ticket.session.agent()) {
            self.leave_on_disk(job, seq);
        } else {
            self.keep(job);
        }
    }

    fn keep(&mut self, mut job: Job) {
        // One whose agent is gone stays on the disk.
        let class = self.classes.of(job.schedule.as_ref());
        if !self.lanes.admit(&job.ticket, class) {
            return;
        }
        let bytes = job.text.as_ref().map_or(0, |text| text.text.len());
        if self.bytes_at_hand + bytes > AT_HAND_BYTES {
            job.text = None;
        } else {
            self.bytes_at_hand += bytes;
        }
        let delivery = job.ticket.delivery;
        self.jobs.insert(delivery, job);
        self.limit_waiting(delivery);
    }
}

fn interrupts(queueing: Option<Queueing>) -> bool {
    queueing.is_some_and(|queueing| queueing.mode == Mode::Interrupt)
}
