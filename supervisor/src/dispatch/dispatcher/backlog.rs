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
//! The window is of an agent, not of a session: where one session has more than a window of messages that wait, others of
//! the agent wait for it. What `cap` bounds does not come so far.
//!
//! Invariant: what waits in memory was accepted before all that is left on the disk, so every session keeps its order. A
//! caller who holds a line has its job in memory all the same, since nobody else knows whom to tell; its ticket comes into
//! the lane when the queue has come so far.

use futures::FutureExt;
use kennel_shared::{ids::AgentId, session_key::SessionKey};

use tracing::warn;

use super::{Dispatcher, READ_AGAIN, job::Job, roster::removed};
use crate::{
    dispatch::{lanes::Ticket, turn::TurnEnd},
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
    fn backlog_of(&self, agent: &AgentId) -> Option<&Backlog> {
        self.tallies.get(agent).map(|tally| &tally.backlog)
    }

    /// Whether what comes now for an agent stays on the disk.
    pub(super) fn is_behind(&self, agent: &AgentId) -> bool {
        let backlog = self.backlog_of(agent);
        backlog.is_some_and(|backlog| backlog.len > 0) || self.lanes.counts(agent).0 >= self.window
    }

    /// Whether a delivery is among those that are left on the disk.
    pub(super) fn is_on_disk(&self, agent: &AgentId, seq: Seq) -> bool {
        let backlog = self.backlog_of(agent);
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
        let backlog = self.backlog_of(agent);
        backlog.is_some_and(|backlog| backlog.len > 0 || backlog.reading)
    }

    /// Leaves on the disk what was found there: so many, from `first` on. `last` is the last of all that was found.
    pub(super) fn find_on_disk(
        &mut self,
        agent: &AgentId,
        len: usize,
        first: Option<Seq>,
        last: Option<Seq>,
    ) {
        // All of it was accepted before.
        self.heard = self.heard.max(last.unwrap_or(Seq(0)));
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
                self.stopped
                    .retain(|session, _| session.agent_str() != agent.as_str());
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
        // Of what is newer, it will be heard that it was accepted.
        let (heard, read) = (self.heard, entries.len());
        let ours: Vec<Waiting> = entries
            .into_iter()
            .take_while(|entry| entry.seq <= heard)
            .collect();
        let more = next.is_some() && ours.len() == read;
        if let Some(last) = ours.last() {
            backlog.after = Some(last.seq);
        }
        for entry in ours {
            self.take_from_disk(&agent, entry);
        }
        let backlog = &mut self.tally(&agent).backlog;
        // Whatever was counted: the disk knows.
        if more {
            backlog.len = backlog.len.max(1);
        } else if !backlog.grown {
            backlog.len = 0;
        }
        self.forget_if_done(&agent);
    }

    fn take_from_disk(&mut self, agent: &AgentId, entry: Waiting) {
        let Waiting {
            seq,
            delivery,
            session,
            attempts,
            schedule,
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
            job.schedule.clone_from(&schedule);
            self.jobs.insert(delivery, job);
        }
        let class = self.classes.of(schedule.as_ref());
        if self.lanes.admit(&ticket, class) {
            self.limit_waiting(delivery);
        }
        let stopped = self.stopped.get(&ticket.session);
        if self.is_going(agent.as_str()) {
            self.end(delivery, removed(agent));
        } else if stopped.is_some_and(|upto| seq <= *upto) {
            self.end(delivery, TurnEnd::Cancelled);
        }
    }

    /// A delivery may have been taken out that only the disk had. It may not have been counted either, so the count stays:
    /// one that is too large is put right at the end of the queue.
    pub(super) fn dropped_from_disk(&mut self, agent: &AgentId) {
        let backlog = &mut self.tally(agent).backlog;
        backlog.stale = backlog.reading;
    }

    /// What is on the disk of a session is not wanted any more.
    pub(super) fn stop_on_disk(&mut self, session: &SessionKey) {
        if self.has_backlog(&session.agent()) {
            self.stopped.insert(session.clone(), self.heard);
        }
    }
}
