//! The way in: from a submission to a job in a lane.

use kennel_shared::ids::{AgentId, DeliveryId};
use tokio::sync::oneshot;

use super::{
    AT_HAND_BYTES, Dispatcher,
    handle::{Accepted, Rejected, Submission},
    job::{self, Job, Text},
    ledger::{Accepting, Then},
    resting,
    roster::removed,
};
use crate::{
    dispatch::{
        lanes::{Refused, Ticket},
        turn::{ReplySink, TurnEnd},
    },
    journal::{
        Acceptance, Answer, JournalError, Op,
        entry::{NewDelivery, Origin, Standing},
        op::KnownBy,
    },
};

impl Dispatcher {
    /// Whether a message may be handed in now.
    pub(super) fn admissible(&self, agent: &str, origin: &Origin) -> Result<(), Rejected> {
        if self.leaving {
            return Err(Rejected::Leaving);
        }
        if self.is_going(agent) {
            let agent = agent.to_owned();
            return Err(match origin {
                Origin::Caller { .. } => Rejected::UnknownAgent(agent),
                // Handed in again, it goes to whom the bindings name by then.
                Origin::Channel { .. } => Rejected::QueueFull { agent, max: 0 },
            });
        }
        let tally = self.tallies.get(agent);
        // A chat is answered that its agent rests, so its message is taken like any other.
        if let (Some(state), Origin::Caller { .. }) =
            (tally.and_then(|tally| tally.resting), origin)
        {
            let agent = agent.to_owned();
            return Err(Rejected::Resting { agent, state });
        }
        let coming = tally.map_or(0, |tally| tally.accepting);
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
            sink,
        } = submission;
        // A caller that is gone is told through its sink, or not at all.
        if let Err(rejected) = self.admissible(session.agent_str(), &origin) {
            let _ = reply.send(Err(rejected));
            return;
        }
        let ticket = Ticket {
            delivery,
            session: session.clone(),
        };
        let accepting = Accepting {
            ticket,
            sender: sender.clone(),
            text: text.clone(),
            sink,
            reply,
        };
        let agent = session.agent();
        let new = NewDelivery {
            delivery,
            origin,
            session,
            sender,
            text,
            reply_to,
        };
        let then = Then::Accept(Box::new(accepting));
        match self.ledger.begin(Op::Accept(Box::new(new)), then) {
            Ok(()) => self.tally(&agent).accepting += 1,
            Err((Then::Accept(accepting), error)) => {
                let _ = accepting.reply.send(Err(Rejected::Journal(error)));
            }
            Err(_) => {}
        }
    }

    pub(super) fn on_accepted(
        &mut self,
        accepting: Accepting,
        answer: Result<Answer, JournalError>,
    ) {
        let Accepting {
            ticket,
            sender,
            text,
            sink,
            reply,
        } = accepting;
        let agent = ticket.session.agent();
        let tally = self.tally(&agent);
        tally.accepting = tally.accepting.saturating_sub(1);
        let acceptance = match answer {
            Ok(Answer::Accepted(acceptance)) => acceptance,
            Ok(other) => {
                let error = JournalError::Internal(format!("an odd answer: {other:?}"));
                let _ = reply.send(Err(Rejected::Journal(error)));
                return;
            }
            Err(error) => {
                let _ = reply.send(Err(Rejected::Journal(error)));
                return;
            }
        };
        let delivery = ticket.delivery;
        let text = Text { sender, text };
        match acceptance {
            Acceptance::New(_) => {
                let session = ticket.session.clone();
                self.hold(Job::new(ticket, Some(text), sink));
                let heard = reply.send(Ok(Accepted {
                    delivery,
                    session,
                    repeat: false,
                }));
                self.after_acceptance(delivery, &agent, heard.is_ok());
            }
            Acceptance::Known { by, first } => {
                let _ = reply.send(Ok(Accepted {
                    delivery: first.delivery,
                    session: first.session.clone(),
                    repeat: true,
                }));
                self.join(by, *first, text, sink);
            }
        }
    }

    /// A new message may have nobody left to answer it, or to answer to.
    pub(super) fn after_acceptance(&mut self, delivery: DeliveryId, agent: &AgentId, heard: bool) {
        let outlasts = self.jobs.get(&delivery).is_some_and(Job::outlasts);
        if !heard && !outlasts {
            self.end(delivery, TurnEnd::Cancelled);
        } else if self.is_going(agent.as_str()) {
            self.end(delivery, removed(agent));
        } else if let Some(state) = self.tally(agent).resting {
            self.end(delivery, resting(agent, state));
        }
    }

    /// Somebody asks for what was accepted before.
    pub(super) fn join(
        &mut self,
        by: KnownBy,
        first: Standing,
        text: Text,
        mut sink: Box<dyn ReplySink>,
    ) {
        if let Some(end) = job::read_back(&first) {
            sink.end(end);
            return;
        }
        if let Some(job) = self.jobs.get_mut(&first.delivery) {
            // A chat is answered once.
            if by != KnownBy::MessageId {
                sink.late();
                job.sinks.push(sink);
            }
            return;
        }
        // An error had hidden that it was accepted.
        let ticket = Ticket {
            delivery: first.delivery,
            session: first.session,
        };
        let mut job = Job::new(ticket, Some(text), sink);
        (job.lease, job.attempts) = (first.lease, first.attempts);
        self.hold(job);
    }

    /// Takes a job in, at the end of its queue.
    pub(super) fn hold(&mut self, mut job: Job) {
        let bytes = job.text.as_ref().map_or(0, |text| text.text.len());
        if self.bytes_at_hand + bytes > AT_HAND_BYTES {
            job.text = None;
        } else {
            self.bytes_at_hand += bytes;
        }
        // One whose agent is gone stays on the disk.
        if self.lanes.admit(job.ticket.clone()) {
            self.jobs.insert(job.ticket.delivery, job);
        }
    }
}
