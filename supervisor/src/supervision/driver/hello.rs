//! Who says that it is the child, and what it says of its cage.

use kennel_shared::{
    cage::{CageOutcome, CageStep},
    protocol::{Hello, Refusal, Welcome},
};
use tracing::{debug, warn};

use super::{Driver, HelloReply};
use crate::supervision::{ancestry, lifecycle::Event};

/// A hello that came before anybody here knew the child's pid.
pub(super) struct EarlyHello {
    pub(super) hello: Box<Hello>,
    pub(super) peer_pid: Option<i32>,
    pub(super) reply: HelloReply,
}

impl Driver {
    pub(super) fn on_hello(
        &mut self,
        hello: &Hello,
        peer_pid: Option<i32>,
    ) -> Result<(Box<Welcome>, u64), Refusal> {
        let (Some(child), Some(spec)) = (&self.child, &self.spec) else {
            return Err(Refusal::UnknownAgent);
        };
        if hello.generation != child.generation() {
            return Err(Refusal::StaleGeneration {
                current: child.generation(),
            });
        }
        if !peer_pid.is_some_and(|peer| self.is_child(peer, child.pid())) {
            return Err(Refusal::Peer);
        }
        let admission = self.link.welcome(hello)?;
        let spec = spec.clone();
        self.speaker = peer_pid;
        self.note_cage(&hello.cage);
        if hello.draining && self.awaited {
            // Whoever told it to leave is gone. It leaves all the same, and is wanted.
            self.later.get_or_insert(Event::Restart);
        }
        let welcome = Welcome {
            next_token: admission.next_token,
            link: admission.link,
            resume: admission.resume,
            spec,
        };
        Ok((Box::new(welcome), admission.attempt))
    }

    /// Whether a process is the child, or the one that works for it in a PID namespace: below the
    /// namespace's first process, which is below the child.
    fn is_child(&self, peer: i32, child: i32) -> bool {
        let levels = if self
            .setup
            .cage
            .as_ref()
            .is_ok_and(|cage| cage.pid_namespace)
        {
            2
        } else {
            0
        };
        peer == child
            || (levels > 0 && ancestry::any_above(peer, levels, |pid| pid == child) == Some(true))
    }

    /// Keeps the report of the first hello. A later one may come from a process that has gone bad.
    fn note_cage(&self, steps: &[CageStep]) {
        if !self.observed.borrow().cage.is_empty() {
            return;
        }
        for step in steps {
            let (outcome, detail) = (step.outcome.as_str(), &step.detail);
            debug!(agent.id = %self.setup.agent, step = step.name, outcome, detail, "a step of a cage");
            if step.outcome == CageOutcome::Failed {
                warn!(agent.id = %self.setup.agent, step = step.name, detail, "an agent runs without a step of its cage");
            }
        }
        self.observed.send_modify(|seen| seen.cage = steps.into());
    }

    /// Answers those who connected while their start was still on its way back here.
    pub(super) async fn welcome_early(&mut self) {
        for early in std::mem::take(&mut self.early) {
            let answer = self.on_hello(&early.hello, early.peer_pid);
            let refusal = answer.as_ref().err().cloned();
            let _ = early.reply.send(answer);
            if let Some(refusal) = refusal {
                self.on_refused(&refusal).await;
            }
        }
    }
}
