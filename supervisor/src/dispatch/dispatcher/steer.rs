//! Messages that are handed to the turn that runs in their session, for its next tool boundary.
//!
//! Such a message waits in its lane like any other, and is offered beside that. If the turn takes it, the agent says so, and
//! it leaves its lane: the answer of that turn is its answer. If not, its own turn comes. Whatever is lost between the
//! two, nothing is answered twice: the agent knows what it has taken, and says so when it is handed it again.

use std::time::Duration;

use kennel_shared::{
    ids::{AgentId, DeliveryId},
    protocol::Delivery,
    session_key::SessionKey,
};
use tracing::debug;

use super::Dispatcher;
use crate::{
    dispatch::turn::{EndKind, TurnEnd},
    journal::Op,
    supervision::driver::Command,
};

/// When a message that a turn may have taken is looked at again.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Dispatcher {
    /// Offers what waits in a session to the turn that runs in it: in order, up to the first that is not to be offered.
    pub(super) fn steer(&mut self, session: &SessionKey) {
        let agent = session.agent();
        let running = self.lanes.running(&agent);
        let running = running.iter().find(|one| one.session == *session);
        let running = running.and_then(|one| self.jobs.get(&one.delivery));
        // The answer goes to whoever asked: to the same chat, or these must wait.
        let into = running.filter(|job| job.of_chat && !job.cancelled);
        let into = into.and_then(|job| Some((job.turn?, job.ticket.delivery)));
        let (Some((turn, into)), Some(commands)) = (into, self.agents.get(&agent)) else {
            return;
        };
        for ticket in self.lanes.waiting_in(session) {
            let Some(job) = self.jobs.get_mut(&ticket.delivery) else {
                return;
            };
            if job.offered == Some((turn, into)) {
                continue;
            }
            let Some(text) = job.text.as_ref().filter(|_| job.steers && job.known) else {
                return;
            };
            if self.holds.contains_key(&ticket.delivery) {
                return;
            }
            let steer = Box::new(Delivery {
                delivery: ticket.delivery,
                turn,
                session: session.clone(),
                sender: text.sender.clone(),
                text: text.text.clone(),
            });
            if commands.try_send(Command::Steer(steer)).is_err() {
                return;
            }
            job.offered = Some((turn, into));
        }
    }

    /// Whether a turn may have taken a delivery that waits: it was offered to one whose delivery is not done with, be it
    /// that its agent has died meanwhile.
    pub(super) fn is_offered(&self, delivery: DeliveryId) -> bool {
        let offered = self.jobs.get(&delivery).and_then(|job| job.offered);
        offered.is_some_and(|(_, into)| self.jobs.contains_key(&into))
    }

    /// A turn has taken a delivery in: it is done with when that is.
    pub(super) fn on_steered(&mut self, agent: &AgentId, delivery: DeliveryId, into: DeliveryId) {
        if !self.belongs(delivery, agent) || delivery == into {
            debug!(agent.id = %agent, delivery.id = %delivery, "an unknown delivery was taken into a turn");
            return;
        }
        let Some(job) = self.take_out(delivery) else {
            return;
        };
        debug!(agent.id = %agent, delivery.id = %delivery, into = %into, "a delivery was taken into a turn");
        self.tell_end(delivery, Op::Steered { delivery, into }, Vec::new());
        for sink in job.sinks.into_iter().filter(|sink| sink.holds()) {
            sink.end(TurnEnd::Failed {
                kind: EndKind::Agent,
                message: "this was answered together with another message".into(),
            });
        }
        self.forget_if_done(agent);
    }
}
