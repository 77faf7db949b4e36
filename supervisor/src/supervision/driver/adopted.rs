//! A child of a supervisor that died, until it is as any other; and what the next supervisor has to know
//! of every child.

use std::{sync::atomic::Ordering, time::SystemTime};

use kennel_shared::{ids::Generation, protocol::Refusal};
use tracing::{info, warn};

use super::{Driver, Newborn, NoStart, now, slot::LinkSlot};
use crate::{
    containment::Stat,
    dispatch::AgentEvent,
    journal::{self, Op, entry},
    supervision::{
        adoption::{self, Adoptee},
        child::Child,
        lifecycle::Event,
    },
};

impl Driver {
    /// Takes over a child. It is ready once it has connected again; until then it may have hellos that
    /// wait for its spec, as one that is started.
    pub(super) async fn adopt(&mut self, adoptee: Adoptee) {
        let generation = self.machine.generation();
        self.machine.adopt(now());
        self.link = LinkSlot::for_adopted(adoptee.tokens);
        self.starting = true;
        self.awaited = true;
        self.later = if adoptee.retire {
            Some(Event::Stop)
        } else {
            adoptee.renew.then_some(Event::Restart)
        };
        info!(agent.id = %self.setup.agent, agent.pid = adoptee.pid, generation = generation.0, "an agent is adopted");
        let detail = format!("pid {}", adoptee.pid);
        self.setup
            .log
            .note(&format!("adopted generation {generation}, {detail}"));
        self.announce("adopted", Some(detail));
        self.observed.send_modify(|seen| seen.adopted = true);
        self.publish();
        self.tell(AgentEvent::Coming).await;
        let (spec, started) = (self.setup.spec.clone(), self.started.clone());
        tokio::spawn(async move {
            let result = match tokio::task::spawn_blocking(move || spec()).await {
                Err(error) => Err(error.to_string()),
                Ok(result) => result,
            };
            let result = match result {
                Ok(spec) => Ok((spec, Newborn::Adopted(adoptee))),
                Err(error) => Err(NoStart::Untold(error, Box::new(adoptee))),
            };
            let _ = started.send((generation, result)).await;
        });
    }

    /// A child that was adopted and cannot go on is replaced.
    pub(super) async fn give_up_adopted(&mut self, why: &str) {
        warn!(agent.id = %self.setup.agent, why, "an adopted agent is replaced");
        self.announce("not-adopted", Some(why.to_owned()));
        self.feed(Event::Restart).await;
    }

    /// One that was adopted and is turned away leaves, and that must not look like its own fault.
    pub(super) async fn on_refused(&mut self, refusal: &Refusal) {
        // Nobody but itself comes as far as these.
        if self.awaited && matches!(refusal, Refusal::Resume | Refusal::Token) {
            self.give_up_adopted(&refusal.to_string()).await;
        }
    }

    pub(super) async fn on_ready(&mut self) {
        self.awaited = false;
        self.feed(Event::Ready).await;
        if let Some(later) = self.later.take() {
            let why = match later {
                Event::Stop => "it is not in the configuration any more",
                _ => "it was started otherwise than the configuration says, or was leaving",
            };
            info!(agent.id = %self.setup.agent, why, "an adopted agent leaves after its turns");
            self.announce("leaving", Some(why.into()));
            self.feed(later).await;
        }
    }

    /// Writes a child down that was started.
    pub(super) fn note_started(&mut self, child: &Child, group: Option<String>, at: SystemTime) {
        let Some(news) = self.link.token_news() else {
            return;
        };
        let Some(stat) = Stat::of(child.pid()) else {
            // It has ended already, and is not reaped.
            return;
        };
        let entry = entry::Child {
            agent: self.setup.agent.clone(),
            generation: child.generation(),
            pid: child.pid(),
            start_time: stat.started,
            tokens: news.tokens,
            group,
            made_of: self.setup.cage.as_ref().ok().map(adoption::made_of),
            started: journal::unix_ms(at),
            ended: None,
        };
        self.note(Op::ChildStarted(Box::new(entry)), move || {
            news.on_disk.store(true, Ordering::Release);
        });
    }

    /// Writes tokens down that are new.
    pub(super) fn note_tokens(&mut self) {
        let Some(child) = &self.child else {
            return;
        };
        let generation = child.generation();
        let Some(news) = self.link.token_news() else {
            return;
        };
        let op = Op::ChildTokens {
            agent: self.setup.agent.clone(),
            generation,
            tokens: news.tokens,
        };
        self.note(op, move || news.on_disk.store(true, Ordering::Release));
    }

    /// Writes down that a child and all that it started are gone.
    pub(super) fn note_ended(&self, generation: Generation) {
        let agent = self.setup.agent.clone();
        self.note(Op::ChildEnded { agent, generation }, || {});
    }

    /// Hands an operation to the journal, which keeps it until it can be written. Nobody waits for it:
    /// what is not written down when this supervisor dies is a child that the next one ends.
    fn note(&self, op: Op, done: impl FnOnce() + Send + 'static) {
        let journal = self.setup.journal.clone();
        let agent = self.setup.agent.clone();
        let pending = journal.submit(op);
        tokio::spawn(async move {
            let noted = match pending {
                Ok(pending) => pending.await,
                // Waits for a place; in order, since nothing more is written down of a child meanwhile than
                // what makes the earlier word idle.
                Err(not_taken) => journal.put(*not_taken.op).await,
            };
            match noted {
                Ok(_) => done(),
                Err(error) => {
                    warn!(agent.id = %agent, %error, "a child is not written down; the next supervisor could not adopt it");
                }
            }
        });
    }
}
