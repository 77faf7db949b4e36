//! What an agent may use, and changing it while it runs. Memory is in bytes, `cpu` in CPUs.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// The caps of an agent; what is absent is not capped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Limits {
    /// Bytes of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Bytes of memory from which on it is slowed down; 90 % of `memory` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_high: Option<u64>,
    /// CPUs at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// The share of the CPU beside others; 100 is usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<u32>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// Open files of each process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u32>,
    /// The share of disks beside others; 100 is usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_weight: Option<u32>,
}

/// The body of `PATCH /agents/{id}/limits`: what is absent stays, `null` lifts a cap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::option_option, reason = "absent and null are two things here")]
pub struct LimitsPatch {
    /// Bytes of memory.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub memory: Option<Option<u64>>,
    /// Bytes of memory from which on it is slowed down.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub memory_high: Option<Option<u64>>,
    /// CPUs at most.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub cpu: Option<Option<f64>>,
    /// The share of the CPU beside others.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub cpu_weight: Option<Option<u32>>,
    /// Processes and threads; lifted, the default of 512 holds.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub pids: Option<Option<u32>>,
    /// Open files of each process.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub open_files: Option<Option<u32>>,
    /// The share of disks beside others.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub io_weight: Option<Option<u32>>,
}

/// `null` is given, and is nothing.
#[expect(clippy::option_option, reason = "absent and null are two things here")]
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A cap that was asked for and that the host cannot enforce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnenforcedCap {
    /// Its name.
    pub cap: String,
    /// Why not.
    pub why: String,
    /// What the operator can do about it.
    pub remedy: String,
}

/// The answer of `GET /agents/{id}/limits`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentLimits {
    /// Whose.
    pub agent: String,
    /// What it is held to.
    pub limits: Limits,
    /// What of it the host cannot enforce.
    #[serde(default)]
    pub unenforced: Vec<UnenforcedCap>,
}

/// The answer of `PATCH /agents/{id}/limits`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LimitsReply {
    /// Whose.
    pub agent: String,
    /// What it was held to before.
    pub before: Limits,
    /// What it is held to now.
    pub limits: Limits,
    /// Whether that holds the process that runs; else it will hold the next one.
    pub live: bool,
    /// What of it the host cannot enforce.
    #[serde(default)]
    pub unenforced: Vec<UnenforcedCap>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_and_null_are_two_things() {
        let patch: LimitsPatch = serde_json::from_str(r#"{"memory":null,"cpu":1.5}"#).unwrap();
        let wanted = LimitsPatch {
            memory: Some(None),
            cpu: Some(Some(1.5)),
            ..LimitsPatch::default()
        };
        assert_eq!(patch, wanted);
        let written = serde_json::to_string(&patch).unwrap();
        assert_eq!(written, r#"{"memory":null,"cpu":1.5}"#);
        serde_json::from_str::<LimitsPatch>(r#"{"cpus":1}"#).unwrap_err();
    }
}
