//! From a lane to an agent's driver.

use std::time::Duration;

use futures::FutureExt;
use kennel_shared::{
    ids::{DeliveryId, TurnId},
    protocol::Delivery,
};
use tokio::{sync::mpsc, time::Instant};
use tracing::{debug, error, warn};

use super::{Dispatcher, OFFER_AGAIN, READ_AGAIN, job::Text, ledger::Then};
use crate::{
    dispatch::{
        lanes::Ticket,
        turn::{EndKind, TurnEnd},
    },
    journal::{Op, ReadError, entry::Lease, reader::Message},
    supervision::driver::Command,
};

impl Dispatcher {
    pub(super) fn start(&mut self, ticket: &Ticket) {
        self.gather_no_more(ticket);
        self.told.remove(&ticket.session);
        let Some(job) = self.jobs.get_mut(&ticket.delivery) else {
            error!(delivery.id = %ticket.delivery, "a ticket has no job");
            self.lanes.finish(ticket);
            return;
        };
        if job.text.is_some() && job.known {
            self.hand_out(ticket);
        } else {
            job.loading = true;
            self.load(ticket.delivery, Duration::ZERO);
        }
    }

    /// Reads a message, after a pause.
    pub(super) fn load(&mut self, delivery: DeliveryId, pause: Duration) {
        let journal = self.ledger.journal().clone();
        let load = async move {
            tokio::time::sleep(pause).await;
            let message = journal.read(move |reader| reader.message(delivery)).await;
            (delivery, message)
        };
        self.loads.push_back(load.boxed());
    }

    pub(super) fn on_loaded(
        &mut self,
        delivery: DeliveryId,
        message: Result<Option<Message>, ReadError>,
    ) {
        let Some(job) = self.jobs.get_mut(&delivery) else {
            return;
        };
        let (loading, ended) = (std::mem::take(&mut job.loading), job.end.take());
        if !loading && ended.is_none() {
            // Its agent went down meanwhile; it is read again when its turn comes.
            return;
        }
        let ticket = job.ticket.clone();
        match message {
            Ok(Some(message)) => {
                job.of_chat = message.origin.channel().is_some();
                if !std::mem::replace(&mut job.known, true) {
                    job.sinks.push((self.outside.sink_for)(&message));
                }
                if let Some(end) = ended {
                    self.end(delivery, end);
                    return;
                }
                if job.text.is_none() {
                    self.bytes_at_hand += message.text.len();
                    job.text = Some(Text {
                        sender: message.sender,
                        text: message.text,
                    });
                }
                self.hand_out(&ticket);
            }
            Ok(None) => {
                job.known = true;
                error!(delivery.id = %delivery, "the text of a message is lost");
                let message = "the text of this message was lost when the journal was damaged";
                let lost = TurnEnd::Failed {
                    kind: EndKind::Store,
                    message: message.into(),
                };
                self.end(delivery, ended.unwrap_or(lost));
            }
            Err(error) => {
                let error = crate::error_chain(&error);
                warn!(delivery.id = %delivery, error, "a message cannot be read for now");
                if ended.is_some() {
                    job.end = ended;
                    self.load(delivery, READ_AGAIN);
                } else {
                    self.put_off(&ticket, READ_AGAIN);
                }
            }
        }
    }

    /// Puts what could not be handed out back, and its agent aside for a moment.
    pub(super) fn put_off(&mut self, ticket: &Ticket, pause: Duration) {
        let agent = ticket.session.agent();
        if let Some(job) = self.jobs.get_mut(&ticket.delivery) {
            job.clock.returned(Instant::now());
        }
        self.lanes.requeue(ticket);
        if self.lanes.is_open(&agent) {
            self.lanes.close(&agent);
            self.swamped.insert(agent);
        }
        let again = Instant::now() + pause;
        self.offer_again = Some(self.offer_again.map_or(again, |at| at.max(again)));
    }

    pub(super) fn hand_out(&mut self, ticket: &Ticket) {
        let agent = ticket.session.agent();
        // What it has in hand already was begun.
        let is_new = self
            .jobs
            .get(&ticket.delivery)
            .is_some_and(|job| job.lease.is_none());
        if is_new && let Some(refusal) = self.refusal(&agent) {
            self.end(ticket.delivery, refusal);
            return;
        }
        let sparing = self.is_sparing(&agent);
        let generation = self.tally(&agent).generation;
        let Some(job) = self.jobs.get_mut(&ticket.delivery) else {
            return;
        };
        let Some(text) = job.text.take() else {
            return;
        };
        self.bytes_at_hand -= text.text.len();
        // The same life that had it already answers under the name it knows.
        let turn = match job.lease {
            Some(lease) if lease.generation == generation => lease.turn,
            _ => TurnId::new(),
        };
        let delivery = Box::new(Delivery {
            delivery: ticket.delivery,
            turn,
            session: ticket.session.clone(),
            sender: text.sender,
            text: text.text,
        });
        let commands = self.agents.get(&agent).expect("a lane has an agent");
        let command = if sparing {
            Command::DeliverCheaper(delivery)
        } else {
            Command::Deliver(delivery)
        };
        if let Err(error) = commands.try_send(command) {
            let (full, command) = match error {
                mpsc::error::TrySendError::Full(command) => (true, command),
                mpsc::error::TrySendError::Closed(command) => (false, command),
            };
            if let Command::Deliver(delivery) | Command::DeliverCheaper(delivery) = command {
                self.bytes_at_hand += delivery.text.len();
                job.text = Some(Text {
                    sender: delivery.sender,
                    text: delivery.text,
                });
            }
            if full {
                warn!(agent.id = %agent, "an agent's driver is busy; a delivery waits for it");
                self.put_off(ticket, OFFER_AGAIN);
            } else {
                // One that is gone left with the whole supervisor.
                self.lanes.requeue(ticket);
                self.lanes.close(&agent);
            }
            return;
        }
        debug!(agent.id = %agent, delivery.id = %ticket.delivery, turn.id = %turn, "a delivery was handed out");
        job.turn = Some(turn);
        job.lease = Some(Lease { generation, turn });
        self.turns.insert(turn, ticket.delivery);
        self.limit_turn(ticket.delivery, turn);
        let lease = Op::Lease {
            delivery: ticket.delivery,
            generation,
            turn,
        };
        self.ledger.tell(lease, Then::Nothing(ticket.delivery));
        self.steer(&ticket.session);
    }
}
