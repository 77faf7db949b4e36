//! One program after another.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of `POST /upgrade`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpgradeRequest {
    /// The program that takes over, by its absolute path.
    pub program: String,
}

/// The answer of `POST /upgrade`, just before the program takes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpgradeReply {
    /// Its version.
    pub version: String,
    /// The supervisor's process, which stays the same.
    pub pid: u32,
}
