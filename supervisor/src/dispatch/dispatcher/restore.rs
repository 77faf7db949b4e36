//! What an earlier supervisor has left: everything that waits or was in hand when it ended.

use std::collections::HashSet;

use kennel_shared::ids::{AgentId, Generation};

use super::{Dispatcher, account, backlog, job::Job, ledger::Then};
use crate::{
    dispatch::lanes::Ticket,
    journal::{
        Op, ReadError, Reader,
        entry::{Seq, State},
        reader::Waiting,
    },
};

/// Deliveries that are read at once.
const WINDOW: u32 = 1000;

/// What was taken over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Deliveries that waited.
    pub queued: usize,
    /// Deliveries that an agent had.
    pub leased: usize,
}

impl Dispatcher {
    /// Takes over what the journal has for the agents that were added. What a life in `adopted` has
    /// stays its own, and is handed to it again, since its end may have been lost on the way; what another
    /// life had goes back to the queue. Nobody is to blame: the supervisor ended, not the agent.
    ///
    /// Reads from the disk; for before the task runs.
    pub fn restore(
        &mut self,
        reader: &Reader,
        adopted: &HashSet<(AgentId, Generation)>,
    ) -> Result<Restored, ReadError> {
        let mut restored = Restored::default();
        let agents: Vec<AgentId> = self.agents.keys().cloned().collect();
        for agent in agents {
            let found = waiting_for(reader, &agent)?;
            let taken = self.take_over(&agent, found, adopted);
            restored.queued += taken.queued;
            restored.leased += taken.leased;
        }
        Ok(restored)
    }

    /// Takes over what was found for one agent.
    pub(super) fn take_over(
        &mut self,
        agent: &AgentId,
        found: Found,
        adopted: &HashSet<(AgentId, Generation)>,
    ) -> Restored {
        let mut restored = Restored::default();
        let mut leased = Vec::new();
        for entry in found.entries {
            if self.jobs.contains_key(&entry.delivery) || self.ending.contains_key(&entry.delivery)
            {
                continue;
            }
            let ticket = Ticket {
                delivery: entry.delivery,
                session: entry.session,
            };
            let mut job = Job::found(ticket.clone());
            job.clock.waited_before(account::age(entry.delivery));
            job.attempts = entry.attempts;
            job.schedule = entry.schedule;
            if entry.state == State::Leased {
                restored.leased += 1;
                job.lease = entry.lease;
                leased.push(job);
            } else {
                restored.queued += 1;
                self.hold(job, entry.seq);
            }
        }
        restored.queued += found.more;
        self.find_on_disk(agent, found.more, found.first_left, found.last);
        // They were first, and are again: an adopted agent is at work on them.
        for mut job in leased.into_iter().rev() {
            let lease = job
                .lease
                .take_if(|lease| !adopted.contains(&(agent.clone(), lease.generation)));
            if let Some(lease) = lease {
                let requeue = Op::Requeue {
                    delivery: job.ticket.delivery,
                    generation: lease.generation,
                    blame: None,
                };
                self.ledger
                    .tell(requeue, Then::Nothing(job.ticket.delivery));
            }
            let class = self.classes.of(job.schedule.as_ref());
            self.lanes.admit_first(&job.ticket, class);
            self.jobs.insert(job.ticket.delivery, job);
        }
        restored
    }
}

/// What the journal has for an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// In order: all that an agent had, and the beginning of what waits.
    entries: Vec<Waiting>,
    /// How many more wait.
    more: usize,
    /// The first of those.
    first_left: Option<Seq>,
    /// The last of all.
    last: Option<Seq>,
}

/// What the journal has for an agent. Reads from the disk.
pub fn waiting_for(reader: &Reader, agent: &AgentId) -> Result<Found, ReadError> {
    let (mut found, mut after, mut queued) = (Found::default(), None, 0);
    loop {
        let window = reader.waiting(agent, after, WINDOW)?;
        for entry in window.entries {
            found.last = Some(entry.seq);
            if entry.state == State::Queued {
                if queued == backlog::WINDOW {
                    found.more += 1;
                    found.first_left.get_or_insert(entry.seq);
                    continue;
                }
                queued += 1;
            }
            found.entries.push(entry);
        }
        match window.next {
            Some(next) => after = Some(next),
            None => return Ok(found),
        }
    }
}
