//! What agents may spend: counted as turns end, asked as messages come in and as they leave their lanes.

use std::{collections::HashMap, time::SystemTime};

use kennel_shared::ids::AgentId;
use tracing::{info, warn};

use super::{Dispatcher, handle::Rejected};
use crate::{
    dispatch::turn::{EndKind, TurnEnd},
    journal::{Op, entry::NewAudit, now_ms},
    supervision::events::LifecycleEvent,
    turns::{
        Books, Budget, Decision, Exhausted, TurnRecord, Window,
        budget::{Bounds, Limits, Spent},
    },
};

/// A budget, and what was spent of it.
#[derive(Debug, Clone)]
pub struct BudgetView {
    /// Each window, the shortest first.
    pub windows: [(Window, Limits, Spent, Bounds); 3],
    /// What is done with the next turn.
    pub decision: Decision,
    /// Whether there is a cheaper model.
    pub downgrades: bool,
}

impl Dispatcher {
    /// Says what an agent may spend, and what it has.
    pub fn budget(&mut self, agent: &AgentId, budget: Option<(Budget, Books)>) {
        let tally = self.tally(agent);
        let before = tally.budget.take();
        tally.budget = budget.map(|(budget, mut books)| {
            // What has ended since the journal was read is known here alone.
            if let Some((own, known)) = before.as_deref()
                && own.zone == budget.zone
            {
                books.join(known);
            }
            Box::new((budget, books))
        });
    }

    /// What is to be done with the next turn of an agent.
    fn decide(&mut self, agent: &str) -> Decision {
        let tally = self.tallies.get_mut(agent);
        let Some((budget, books)) = tally.and_then(|tally| tally.budget.as_deref_mut()) else {
            return Decision::Free;
        };
        let now_ms = now_ms();
        books.roll(budget, now_ms);
        books.decide(budget, now_ms)
    }

    /// Why a caller's message is not taken.
    pub(super) fn over_budget(&mut self, agent: &str) -> Option<Rejected> {
        match self.decide(agent) {
            Decision::Refused(exhausted) => Some(Rejected::OverBudget {
                agent: agent.to_owned(),
                wait: exhausted.wait(now_ms()),
                why: words(&exhausted),
            }),
            Decision::Free | Decision::Sparing(_) => None,
        }
    }

    /// The end of a message that was taken and cannot be answered for want of money.
    pub(super) fn refusal(&mut self, agent: &AgentId) -> Option<TurnEnd> {
        match self.decide(agent.as_str()) {
            Decision::Refused(exhausted) => Some(TurnEnd::Failed {
                kind: EndKind::Budget,
                message: words(&exhausted),
            }),
            Decision::Free | Decision::Sparing(_) => None,
        }
    }

    /// Whether the next turn is for the cheaper model, if there is one.
    pub(super) fn is_sparing(&mut self, agent: &AgentId) -> bool {
        matches!(self.decide(agent.as_str()), Decision::Sparing(_))
    }

    /// Counts a turn; what its chat is told if a budget begins to run out with it.
    pub(super) fn spend(&mut self, turn: &TurnRecord) -> Option<String> {
        let agent = turn.session.agent();
        let spent = Spent {
            tokens: u64::from(turn.took.input_tokens) + u64::from(turn.took.output_tokens),
            cost: turn.cost.unwrap_or(0),
        };
        let tally = self.tally(&agent);
        let generation = tally.generation;
        let (budget, books) = tally.budget.as_deref_mut()?;
        // Of several the longest: it holds until the others have begun anew.
        let window = books.add(budget, turn.ended_ms, spent).pop()?;
        let ends_ms = window.around(turn.ended_ms, &budget.zone).ends_ms;
        let until = crate::turns::budget::words_of(ends_ms, &budget.zone);
        let all = books.spent();
        let spent = all[Window::ALL.iter().position(|one| *one == window)?];
        let cheaper = if budget.downgrades {
            ", and answers come from a cheaper model until then"
        } else {
            ""
        };
        let detail = format!(
            "the budget of the {} runs out: {} tokens and {} spent; it begins anew at {until}{cheaper}",
            window.as_str(),
            spent.tokens,
            crate::turns::price::money(spent.cost),
        );
        warn!(agent.id = %agent, window = window.as_str(), detail, "a budget runs out");
        self.outside.events.tell(LifecycleEvent {
            at: SystemTime::now(),
            agent: Some(agent.clone()),
            generation,
            kind: "budget",
            detail: Some(detail.clone()),
            end: None,
            held_back: None,
        });
        let audit = NewAudit {
            what: "budget".into(),
            agent: Some(agent.clone()),
            detail: detail.clone(),
        };
        if let Err(error) = self.ledger.journal().submit(Op::Audit(Box::new(audit))) {
            info!(agent.id = %agent, %error, "that a budget runs out is not written down");
        }
        Some(format!("[Note: {detail}.]"))
    }

    /// Every budget that there is.
    pub(super) fn budgets(&mut self) -> HashMap<AgentId, BudgetView> {
        let now_ms = now_ms();
        let tallies = self.tallies.iter_mut();
        let known = tallies.filter_map(|(agent, tally)| {
            let (budget, books) = tally.budget.as_deref_mut()?;
            books.roll(budget, now_ms);
            let spent = books.spent();
            let windows = [0, 1, 2].map(|at| {
                let window = Window::ALL[at];
                let bounds = window.around(now_ms, &budget.zone);
                (window, budget.limits[at], spent[at], bounds)
            });
            let view = BudgetView {
                windows,
                decision: books.decide(budget, now_ms),
                downgrades: budget.downgrades,
            };
            Some((agent.clone(), view))
        });
        known.collect()
    }
}

fn words(exhausted: &Exhausted) -> String {
    format!(
        "the budget of the {} is spent ({}); it begins anew at {}",
        exhausted.window.as_str(),
        exhausted.what,
        exhausted.resets
    )
}
