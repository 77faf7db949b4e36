//! What operators do with single deliveries: drop, try again, put back.

use kennel_shared::ids::DeliveryId;

use super::{
    Dispatcher,
    handle::{Operation, OperationError, OperationReply},
    job::Job,
    ledger::{Operating, Then},
    tell,
};
use crate::{
    dispatch::{
        lanes::Ticket,
        turn::{EndKind, TurnEnd},
    },
    journal::{Answer, JournalError, Op},
};

impl Dispatcher {
    /// Has the journal decide. What waits is held back meanwhile, so that no agent gets it.
    pub(super) fn operate(&mut self, operation: Operation, ticket: Ticket, reply: OperationReply) {
        if self.leaving {
            let _ = reply.send(Err(OperationError::Leaving));
            return;
        }
        let delivery = ticket.delivery;
        if operation == Operation::Drop && self.is_offered(delivery) {
            // The turn that runs may have it by now.
            let _ = reply.send(Err(OperationError::Running));
            return;
        }
        let held = operation == Operation::Drop && self.hold_back(&ticket);
        if operation == Operation::Drop && !held && self.jobs.contains_key(&delivery) {
            let _ = reply.send(Err(OperationError::Running));
            return;
        }
        let op = match operation {
            Operation::Drop => Op::Drop { delivery },
            Operation::Retry => Op::Retry {
                delivery,
                anew: DeliveryId::new(),
            },
            Operation::Requeue => Op::Revive { delivery },
        };
        let operating = Operating {
            operation,
            ticket,
            held,
            reply,
        };
        let then = Then::Operate(Box::new(operating));
        if let Err((then, error)) = self.ledger.begin(op, then) {
            self.on_written(then, Err(error));
        }
    }

    pub(super) fn on_operated(
        &mut self,
        operating: Operating,
        answer: Result<Answer, JournalError>,
    ) {
        let Operating {
            operation,
            ticket,
            held,
            reply,
        } = operating;
        let done = match (operation, answer) {
            (_, Err(error)) => {
                if held {
                    self.let_go(&ticket);
                }
                Err(OperationError::Journal(error))
            }
            (Operation::Drop, Ok(_)) => {
                self.dropped_from_disk(&ticket.session.agent());
                let job = self.take_out(ticket.delivery);
                let end = TurnEnd::Failed {
                    kind: EndKind::Stopped,
                    message: "an operator took the message out of the queue".into(),
                };
                tell(job.map(|job| job.sinks).unwrap_or_default(), end);
                Ok(ticket.delivery)
            }
            (
                Operation::Retry,
                Ok(Answer::Retried {
                    delivery,
                    session,
                    state,
                    seq,
                    schedule,
                }),
            ) => {
                // Asked for twice, it is here already.
                if state.is_open() && !self.jobs.contains_key(&delivery) {
                    let mut job = Job::found(Ticket { delivery, session });
                    job.schedule = schedule;
                    self.hold(job, seq);
                }
                if state.is_open() {
                    Ok(delivery)
                } else {
                    Err(OperationError::TriedAgain(delivery, state))
                }
            }
            (Operation::Requeue, Ok(Answer::Revived { schedule })) => {
                let delivery = ticket.delivery;
                let class = self.classes.of(schedule.as_ref());
                if !self.jobs.contains_key(&delivery) && self.lanes.admit_in_place(&ticket, class) {
                    let mut job = Job::found(ticket);
                    job.schedule = schedule;
                    self.jobs.insert(delivery, job);
                }
                Ok(delivery)
            }
            (Operation::Retry | Operation::Requeue, Ok(other)) => Err(OperationError::Journal(
                JournalError::Internal(format!("an odd answer: {other:?}")),
            )),
        };
        // An operator who has gone can look.
        let _ = reply.send(done);
    }
}
