//! What agents may spend. Money in millionths of a unit.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The answer of `GET /budget`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BudgetList {
    /// Of every agent that has a budget, by name.
    pub agents: Vec<AgentBudget>,
}

/// What an agent may spend, and has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentBudget {
    /// Whose.
    pub agent: String,
    /// What is done with its next turn.
    pub state: BudgetState,
    /// The model for when it runs out, as `provider/model`.
    pub downgrade: Option<String>,
    /// Those that have a limit, the shortest first.
    pub windows: Vec<BudgetWindow>,
}

/// What is done with the next turn of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BudgetState {
    /// It runs.
    Free,
    /// It runs, on the cheaper model if there is one.
    RunsOut,
    /// It is refused.
    Spent,
    /// Something that this reader does not know.
    #[serde(other)]
    Unknown,
}

impl BudgetState {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::RunsOut => "runs out",
            Self::Spent => "spent",
            Self::Unknown => "?",
        }
    }
}

/// One window of a budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BudgetWindow {
    /// `hour`, `day` or `month`.
    pub window: String,
    /// When it began, in milliseconds since 1970.
    pub begins_ms: u64,
    /// When the next begins.
    pub resets_ms: u64,
    /// Tokens, read and written.
    pub tokens: u64,
    /// From so many on it is said.
    pub warn_tokens: Option<u64>,
    /// So many may be.
    pub max_tokens: Option<u64>,
    /// Money.
    pub cost_micros: u64,
    /// From so much on it is said.
    pub warn_cost_micros: Option<u64>,
    /// So much may be.
    pub max_cost_micros: Option<u64>,
}
