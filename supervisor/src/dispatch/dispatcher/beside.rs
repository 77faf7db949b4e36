//! Messages of chats beside others of their session: joined, put in their place, or held until it is quiet.

use std::time::Duration;

use kennel_shared::{ids::DeliveryId, session_key::SessionKey};
use tokio::time::Instant;

use super::{Dispatcher, handle::Accepted, job::Job, ledger::Accepting};
use crate::{
    dispatch::{
        gather::{DropPolicy, Mode, Queueing},
        lanes::Ticket,
    },
    journal::{
        entry::{NewDelivery, SendId, Seq},
        op::Beside,
    },
};

/// For so many times the debounce a session may go on without a pause before it is answered all the same.
const PATIENCE: u32 = 5;

/// What a chat is told, once until it is answered, when not all of its messages were kept.
pub(super) const DROPPED: &str =
    "You are ahead of me: too many messages wait, so I have dropped some of them.";

/// A session that is waited for to be quiet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quiet {
    pause: Duration,
    due: Instant,
    latest: Instant,
}

impl Dispatcher {
    /// What becomes of a message beside others of its session that wait, and which of them must not start before that
    /// is written down.
    pub(super) fn beside(
        &mut self,
        new: &NewDelivery,
        queueing: Queueing,
    ) -> Option<(Beside, Option<Ticket>)> {
        let Queueing {
            mode, cap, drop, ..
        } = queueing;
        match mode {
            Mode::Collect => {
                let head = *self.heads.get(&new.session)?;
                let ticket = self.jobs.get(&head)?.ticket.clone();
                let join = Beside::Join { head, cap, drop };
                self.hold_back(&ticket).then_some((join, Some(ticket)))
            }
            Mode::Followup | Mode::Steer => {
                let waiting = self.lanes.waiting_in(&new.session);
                if waiting.len() < cap as usize {
                    return None;
                }
                if drop == DropPolicy::Newest {
                    return Some((Beside::Refuse, None));
                }
                let untouched = |job: &Job| job.known && job.lease.is_none() && job.attempts == 0;
                let oldest = waiting.iter().find(|ticket| {
                    let job = self.jobs.get(&ticket.delivery);
                    job.is_some_and(untouched)
                        && !self.holds.contains_key(&ticket.delivery)
                        && !self.is_offered(ticket.delivery)
                });
                let Some(oldest) = oldest.cloned() else {
                    // What the turn that runs may have by now is not dropped.
                    let offered = waiting
                        .iter()
                        .all(|ticket| self.is_offered(ticket.delivery));
                    return offered.then_some((Beside::Refuse, None));
                };
                let replace = Beside::Replace {
                    oldest: oldest.delivery,
                    summarize: drop == DropPolicy::Summarize,
                };
                self.hold_back(&oldest).then_some((replace, Some(oldest)))
            }
            Mode::Interrupt => None,
        }
    }

    /// A message has joined another, or was dropped.
    pub(super) fn on_beside(
        &mut self,
        accepting: Accepting,
        head: Option<DeliveryId>,
        notice: Option<SendId>,
    ) {
        self.on_notice(&accepting, notice);
        let Accepting {
            new, reply, held, ..
        } = accepting;
        if let Some(head) = head {
            // It is read again, with what has joined it.
            self.forget_text(head);
        }
        if let Some(held) = held {
            self.still_talking(held.delivery);
            self.let_go(&held);
        }
        let _ = reply.send(Ok(Accepted {
            delivery: head.unwrap_or(new.delivery),
            session: new.session,
            repeat: false,
        }));
    }

    /// A message has taken the place of another.
    pub(super) fn on_replaced(
        &mut self,
        mut accepting: Accepting,
        seq: Seq,
        notice: Option<SendId>,
    ) {
        self.on_notice(&accepting, notice);
        if let Some(oldest) = accepting.held.take() {
            self.take_out(oldest.delivery);
        }
        let agent = accepting.new.session.agent();
        let delivery = accepting.new.delivery;
        self.take_in(accepting, seq, &agent);
        // What is written tells of the one before, too.
        self.forget_text(delivery);
    }

    /// The text of a delivery is read when its turn comes.
    pub(super) fn forget_text(&mut self, delivery: DeliveryId) {
        if let Some(job) = self.jobs.get_mut(&delivery)
            && let Some(text) = job.text.take()
        {
            self.bytes_at_hand -= text.text.len();
        }
    }

    fn on_notice(&mut self, accepting: &Accepting, notice: Option<SendId>) {
        if notice.is_some() {
            self.told.insert(accepting.new.session.clone());
            if let Some(channel) = accepting.new.origin.channel() {
                (self.outside.ring)(channel);
            }
        }
    }

    /// A new message waits: others may join it, for a while at least if it is to be quiet first.
    pub(super) fn begin_to_gather(&mut self, ticket: &Ticket, queueing: Queueing) {
        // What is left on the disk is not added to.
        if queueing.mode != Mode::Collect || !self.jobs.contains_key(&ticket.delivery) {
            return;
        }
        self.heads.insert(ticket.session.clone(), ticket.delivery);
        if queueing.debounce > Duration::ZERO && self.hold_back(ticket) {
            let now = Instant::now();
            let quiet = Quiet {
                pause: queueing.debounce,
                due: now + queueing.debounce,
                latest: now + queueing.debounce * PATIENCE,
            };
            self.debounces.insert((quiet.due, ticket.delivery));
            self.quiets.insert(ticket.delivery, quiet);
        }
    }

    /// Somebody has said more: it is waited anew.
    fn still_talking(&mut self, delivery: DeliveryId) {
        if let Some(quiet) = self.quiets.get_mut(&delivery) {
            self.debounces.remove(&(quiet.due, delivery));
            quiet.due = (Instant::now() + quiet.pause).min(quiet.latest);
            self.debounces.insert((quiet.due, delivery));
        }
    }

    /// When the next session has been quiet for long enough.
    pub(super) fn quiet_at(&self) -> Option<Instant> {
        self.debounces.first().map(|(due, _)| *due)
    }

    /// Lets those start that were quiet for long enough.
    pub(super) fn on_quiet(&mut self) {
        let now = Instant::now();
        while let Some((due, delivery)) = self.debounces.first().copied()
            && due <= now
        {
            self.debounces.pop_first();
            self.quiets.remove(&delivery);
            if let Some(ticket) = self.jobs.get(&delivery).map(|job| job.ticket.clone()) {
                self.let_go(&ticket);
            }
        }
    }

    /// Nothing joins a delivery any more: it starts, or is gone.
    pub(super) fn gather_no_more(&mut self, ticket: &Ticket) {
        if self.heads.get(&ticket.session) == Some(&ticket.delivery) {
            self.heads.remove(&ticket.session);
        }
        if let Some(quiet) = self.quiets.remove(&ticket.delivery) {
            self.debounces.remove(&(quiet.due, ticket.delivery));
        }
        self.holds.remove(&ticket.delivery);
    }

    /// Has a delivery that waits not start until [`Dispatcher::let_go`] was called as often; false when it does not
    /// wait.
    pub(super) fn hold_back(&mut self, ticket: &Ticket) -> bool {
        if let Some(holds) = self.holds.get_mut(&ticket.delivery) {
            *holds += 1;
            return true;
        }
        let held = self.lanes.hold(ticket);
        if held {
            self.holds.insert(ticket.delivery, 1);
        }
        held
    }

    /// See [`Dispatcher::hold_back`].
    pub(super) fn let_go(&mut self, ticket: &Ticket) {
        if let Some(holds) = self.holds.get_mut(&ticket.delivery) {
            *holds -= 1;
            if *holds == 0 {
                self.holds.remove(&ticket.delivery);
                self.lanes.release(ticket);
            }
        }
    }

    /// Cancels all that waits and runs in a session; how many that were.
    /// What of it is on the disk, and not counted, is ended when it is read.
    pub(super) fn stop_session(&mut self, session: &SessionKey) -> usize {
        self.stop_on_disk(session);
        let mut all = self.lanes.waiting_in(session);
        let running = self.lanes.running(&session.agent());
        all.extend(running.into_iter().filter(|one| one.session == *session));
        let stopped = all
            .into_iter()
            .filter(|ticket| self.cancel(ticket.delivery));
        stopped.count()
    }
}
