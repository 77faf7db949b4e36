//! A long queue stays on the disk: of each agent, so many deliveries that wait are in memory, and the rest is read when
//! their turn comes near.
//!
//! ```text
//! accepted ─► room in the window? ──yes──► lane
//!                 │ no                      ▲
//!                 ▼                         │ half of the window is free
//!              counted, left in the journal ┘
//! ```
//!
//! Invariant: what waits in memory was accepted before all that is left on the disk, so every session keeps its order. A
//! caller who holds a line has its job in memory all the same, since nobody else knows whom to tell; its ticket comes into
//! the lane when the queue has come so far.

use futures::FutureExt;
use kennel_shared::ids::{AgentId, DeliveryId};

use tracing::warn;

use super::{Dispatcher, READ_AGAIN, job::Job, roster::removed};
use crate::{
    dispatch::lanes::Ticket,
    journal::{
        ReadError,
        entry::Seq,
        reader::{Waiting, Window},
    },
};

/// Deliveries of one agent that wait in memory.
pub(super) const WINDOW: usize = 256;

/// What of an agent's queue is on the disk.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// So much.
    pub(super) len: usize,
    /// All behind this.
    pub(super) after: Option<Seq>,
    reading: bool,
    /// What is being read may have changed meanwhile.
    stale: bool,
    /// More was added while it was read.
    grown: bool,
}

pub(super) type Refill = (AgentId, Result<Window<Waiting, Seq>, ReadError>);

impl Dispatcher {
    /// Whether what comes now for an agent stays on the disk.
    pub(super) fn is_behind(&self, agent: &AgentId) -> bool {
        let backlog = self.tallies.get(agent).map(|tally| &tally.backlog);
        backlog.is_some_and(|backlog| backlog.len > 0) || self.lanes.counts(agent).0 >= self.window
    }

    /// Whether a delivery is among those that are left on the disk.
    pub(super) fn is_on_disk(&self, agent: &AgentId, seq: Seq) -> bool {
        let backlog = self.tallies.get(agent).map(|tally| &tally.backlog);
        backlog
            .is_some_and(|backlog| backlog.len > 0 && backlog.after.is_none_or(|after| seq > after))
    }

    /// Leaves a job on the disk. `seq` is its place.
    pub(super) fn leave_on_disk(&mut self, mut job: Job, seq: Seq) {
        let agent = job.ticket.session.agent();
        let backlog = &mut self.tally(&agent).backlog;
        if backlog.len == 0 {
            // The first of them: all that came before is in memory, or done with.
            backlog.after = Some(Seq(seq.0 - 1));
        }
        backlog.len += 1;
        backlog.grown = true;
        if job.sinks.iter().any(|sink| sink.holds()) {
            job.text = None;
            job.on_disk = true;
            self.jobs.insert(job.ticket.delivery, job);
        }
        self.behind.insert(agent);
    }

    /// Whether something of an agent's queue is on the disk, or on its way from there.
    pub(super) fn has_backlog(&self, agent: &AgentId) -> bool {
        let backlog = self.tallies.get(agent).map(|tally| &tally.backlog);
        backlog.is_some_and(|backlog| backlog.len > 0 || backlog.reading)
    }

    /// Leaves on the disk what was found there: so many, from this one on.
    pub(super) fn find_on_disk(&mut self, agent: &AgentId, len: usize, first: Option<Seq>) {
        let backlog = &mut self.tally(agent).backlog;
        if backlog.len == 0 {
            backlog.after = first.map(|first| Seq(first.0 - 1));
        }
        backlog.len += len;
        if len > 0 {
            self.behind.insert(agent.clone());
        }
    }

    /// One that was left on the disk is done with, or is to be handed out.
    pub(super) fn no_more_on_disk(&mut self, agent: &AgentId) {
        let backlog = &mut self.tally(agent).backlog;
        backlog.len = backlog.len.saturating_sub(1);
        backlog.stale = backlog.reading;
    }

    /// All that waits for an agent and that somebody here is to be told of.
    pub(super) fn all_waiting(&self, agent: &AgentId) -> Vec<Ticket> {
        let mut waiting = self.lanes.waiting(agent);
        if self.behind.contains(agent) {
            let own = |job: &&Job| job.on_disk && job.ticket.session.agent_str() == agent.as_str();
            let jobs = self.jobs.values().filter(own);
            waiting.extend(jobs.map(|job| job.ticket.clone()));
        }
        waiting
    }

    /// Reads on where there is room again.
    pub(super) fn refill(&mut self) {
        for agent in self.behind.clone() {
            let room = self.window.saturating_sub(self.lanes.counts(&agent).0);
            let going = self.is_going(agent.as_str());
            let Some(tally) = self.tallies.get_mut(&agent) else {
                self.behind.remove(&agent);
                continue;
            };
            let backlog = &mut tally.backlog;
            if backlog.len == 0 && !backlog.reading {
                self.behind.remove(&agent);
                continue;
            }
            if backlog.reading || self.leaving || (room * 2 < self.window && !going) {
                continue;
            }
            (backlog.reading, backlog.stale, backlog.grown) = (true, false, false);
            let (after, limit) = (backlog.after, u32::try_from(room.max(1)).unwrap_or(1));
            let journal = self.ledger.journal().clone();
            let read = async move {
                let own = agent.clone();
                let read = journal.read(move |reader| reader.waiting(&own, after, limit));
                let read = read.await;
                if read.is_err() {
                    tokio::time::sleep(READ_AGAIN).await;
                }
                (agent, read)
            };
            self.refills.push(read.boxed());
        }
    }

    /// The next of a queue were read.
    pub(super) fn on_refill(&mut self, (agent, read): Refill) {
        let Some(tally) = self.tallies.get_mut(&agent) else {
            return;
        };
        let backlog = &mut tally.backlog;
        backlog.reading = false;
        let Window { entries, next } = match read {
            Ok(window) if !backlog.stale => window,
            Ok(_) => return,
            Err(error) => {
                let error = crate::error_chain(&error);
                warn!(agent.id = %agent, error, "what waits cannot be read for now");
                return;
            }
        };
        if let Some(last) = entries.last() {
            backlog.after = Some(last.seq);
        }
        for entry in entries {
            self.take_from_disk(&agent, entry);
        }
        let backlog = &mut self.tally(&agent).backlog;
        if next.is_none() && !backlog.grown {
            // Whatever was counted: this was all.
            backlog.len = 0;
        }
        self.forget_if_done(&agent);
    }

    fn take_from_disk(&mut self, agent: &AgentId, entry: Waiting) {
        let Waiting {
            delivery,
            session,
            attempts,
            ..
        } = entry;
        let known = self.jobs.get_mut(&delivery);
        if known.as_ref().is_some_and(|job| !job.on_disk) || self.ending.contains_key(&delivery) {
            return;
        }
        let backlog_len = &mut self
            .tallies
            .get_mut(agent)
            .expect("it was found before")
            .backlog
            .len;
        *backlog_len = backlog_len.saturating_sub(1);
        let ticket = Ticket { delivery, session };
        if let Some(job) = self.jobs.get_mut(&delivery) {
            job.on_disk = false;
        } else {
            let mut job = Job::found(ticket.clone());
            job.attempts = attempts;
            self.jobs.insert(delivery, job);
        }
        if self.lanes.admit(&ticket) {
            self.limit_waiting(delivery);
        }
        if self.is_going(agent.as_str()) {
            self.end(delivery, removed(agent));
        }
    }

    /// A delivery that only the disk had was taken out of it.
    pub(super) fn dropped_from_disk(&mut self, agent: &AgentId, delivery: DeliveryId) {
        if !self.jobs.contains_key(&delivery) && self.tally(agent).backlog.len > 0 {
            self.no_more_on_disk(agent);
        }
    }
}
