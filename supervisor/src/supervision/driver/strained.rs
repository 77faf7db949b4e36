//! What caps do to a child that lives on, told; and the end of one that they bring to a standstill.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tracing::{info, warn};

use super::{Driver, now};
use crate::{
    containment::{Cap, Caps},
    supervision::{
        child::Child,
        ending::{Cause, TurnThen, seconds, size},
        events::{HeldBack, LifecycleEvent},
        strain::{Notice, Noticed},
    },
};

/// What is done about it.
const DONE: &str = "held back, not ended";

/// A notice as an event: its kind, the cap, and the words for it.
struct Told {
    kind: &'static str,
    cap: Cap,
    allowed: Option<f64>,
    detail: String,
    /// It is over.
    over: bool,
}

impl Driver {
    pub(super) fn on_noticed(&mut self, (generation, notice): Noticed) {
        // Of a life that is over nothing is told any more but its end.
        if self.child.as_ref().map(Child::generation) != Some(generation) {
            return;
        }
        if let Notice::Stalled { used, high, lasted } = notice {
            self.on_stalled(used, high, lasted);
        } else if let Some(told) = tell(notice, &self.caps) {
            self.on_held_back(told);
        }
    }

    fn on_held_back(&self, told: Told) {
        let turn = self.oldest_turn();
        let mut detail = told.detail;
        if !told.over {
            detail = format!("{detail}; {DONE}");
        }
        if let Some(turn) = &turn {
            detail = format!("{detail}; {}", turn.sentence());
        }
        let (agent, generation) = (&self.setup.agent, self.machine.generation());
        let (kind, cap) = (told.kind, told.cap.as_str());
        if told.over {
            info!(agent.id = %agent, generation = generation.0, kind, cap, detail, "a cap no longer holds an agent back");
        } else {
            warn!(agent.id = %agent, generation = generation.0, kind, cap, detail, "a cap holds an agent back");
        }
        self.setup.log.note(&detail);
        self.setup.events.tell(LifecycleEvent {
            at: SystemTime::now(),
            agent: Some(agent.clone()),
            generation,
            kind,
            detail: Some(detail),
            end: None,
            held_back: Some(Arc::new(HeldBack {
                cap: told.cap,
                allowed: told.allowed,
                turn,
            })),
        });
    }

    /// The kernel would end it in some minutes, when it has crept up to its cap; until then it does nothing.
    fn on_stalled(&mut self, used: u64, high: u64, lasted: Duration) {
        // It was said before, or another cap has ended it.
        if self.over.is_some() {
            return;
        }
        let cap = match self.caps.memory {
            Some(_) => Cap::Memory,
            None => Cap::MemoryHigh,
        };
        let detail = format!(
            "is stuck above its soft mark of {}: {} in use, and nothing can be taken back; ended",
            size(high),
            size(used)
        );
        warn!(
            agent.id = %self.setup.agent, generation = self.machine.generation().0,
            memory_cap = self.caps.memory, memory_high = high, detail, "an agent exceeded a cap"
        );
        self.over = Some(Cause::Stalled { cap, high, lasted });
        self.announce("over-cap", Some(detail));
        self.kill_all();
    }

    fn oldest_turn(&self) -> Option<TurnThen> {
        self.turns.running(now()).into_iter().next()
    }
}

#[expect(clippy::cast_precision_loss, reason = "no cap has 53 bits")]
fn tell(notice: Notice, caps: &Caps) -> Option<Told> {
    let memory = caps.high().map(|high| high as f64);
    let (kind, cap, allowed, detail, over) = match notice {
        Notice::PidsDenied { more } => {
            let times = if more == 1 { "time" } else { "times" };
            let cap = caps.pids.map(|cap| format!(" of {cap}"));
            let detail = format!(
                "denied one more process {more} {times} by its cap{}",
                cap.unwrap_or_default()
            );
            let allowed = caps.pids.map(f64::from);
            ("pids-denied", Cap::Pids, allowed, detail, false)
        }
        Notice::Throttled { percent } => {
            let detail = format!(
                "stopped by its cap{} in {percent} % of the kernel's periods",
                cores(caps)
            );
            ("throttled", Cap::Cpu, caps.cpu, detail, false)
        }
        Notice::ThrottledOver { lasted } => {
            let detail = format!(
                "no longer stopped by its cap{}, after {}",
                cores(caps),
                seconds(lasted)
            );
            ("throttled-over", Cap::Cpu, caps.cpu, detail, true)
        }
        Notice::MemoryHigh { used, high } => {
            let detail = format!(
                "at its soft mark of {}: {} in use, and little of it can be taken back",
                size(high),
                size(used)
            );
            ("memory-high", Cap::MemoryHigh, memory, detail, false)
        }
        Notice::MemoryHighOver { lasted } => {
            let detail = format!("below its soft mark again, after {}", seconds(lasted));
            ("memory-high-over", Cap::MemoryHigh, memory, detail, true)
        }
        Notice::Stalled { .. } => return None,
    };
    Some(Told {
        kind,
        cap,
        allowed,
        detail,
        over,
    })
}

fn cores(caps: &Caps) -> String {
    match caps.cpu {
        Some(1.0) => " of 1 CPU".into(),
        Some(cores) => format!(" of {cores} CPUs"),
        None => String::new(),
    }
}
