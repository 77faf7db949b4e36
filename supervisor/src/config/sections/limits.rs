//! `limits` of an agent, and `[supervisor.fleet]`.

use toml::de::DeValue;

use super::super::domain::{FleetLimits, Limits, limits};
use super::super::reader::{Node, Table};
use super::super::value::{self, Placed, placed};
use super::agent::AgentPatch;

/// What lifts a cap that `[defaults]` sets.
pub(in super::super) const NONE: &str = "none";

pub(super) fn read(node: Node<'_>, dotted: String, patch: &mut AgentPatch) -> Option<()> {
    let mut table = node.table("LimitsTable", dotted)?;
    patch.memory = table.optional("memory", placed(or_none(value::size(limits::MEMORY))));
    patch.memory_high = table.optional("memory_high", placed(or_none(value::size(limits::MEMORY))));
    patch.cpu = table.optional("cpu", or_none(value::number(limits::CPU)));
    patch.cpu_weight = table.optional("cpu_weight", or_none(value::integer(limits::WEIGHT)));
    patch.pids = table.optional("pids", or_none(value::integer(limits::PIDS)));
    patch.open_files = table.optional("open_files", or_none(value::integer(limits::OPEN_FILES)));
    patch.io_weight = table.optional("io_weight", or_none(value::integer(limits::WEIGHT)));
    table.finish();
    patch.limits_at = Some(node.at());
    Some(())
}

/// A value, or `"none"`.
pub(super) fn or_none<'a, T>(
    parse: impl FnOnce(Node<'a>) -> Option<T>,
) -> impl FnOnce(Node<'a>) -> Option<Option<T>> {
    move |node| match node.value.get_ref() {
        DeValue::String(word) if word.trim() == NONE => Some(None),
        _ => parse(node).map(Some),
    }
}

impl AgentPatch {
    /// The caps of an agent of this patch.
    pub(in super::super) fn limits(&self) -> Limits {
        let bytes = |placed: &Option<Placed<Option<u64>>>| placed.as_ref().and_then(|p| p.value);
        Limits {
            memory: bytes(&self.memory),
            memory_high: bytes(&self.memory_high),
            cpu: self.cpu.flatten(),
            cpu_weight: self.cpu_weight.flatten(),
            pids: self.pids.flatten(),
            open_files: self.open_files.flatten(),
            io_weight: self.io_weight.flatten(),
        }
    }
}

/// `[supervisor.fleet]` with the places of what the agents' caps are held against.
#[derive(Default)]
pub(in super::super) struct FleetDraft {
    pub(in super::super) memory: Option<Placed<u64>>,
    pub(in super::super) pids: Option<Placed<u32>>,
    cpu: Option<f64>,
    cpu_weight: Option<u32>,
    overcommit: bool,
}

impl FleetDraft {
    pub(super) fn read(node: Node<'_>) -> Option<Self> {
        let mut table: Table<'_> = node.table("FleetTable", "supervisor.fleet".to_owned())?;
        let draft = Self {
            memory: table.optional("memory", placed(value::size(limits::MEMORY))),
            pids: table.optional("pids", placed(value::integer(limits::PIDS))),
            cpu: table.optional("cpu", value::number(limits::CPU)),
            cpu_weight: table.optional("cpu_weight", value::integer(limits::WEIGHT)),
            overcommit: table
                .optional("overcommit", value::boolean)
                .unwrap_or(false),
        };
        table.finish();
        Some(draft)
    }

    pub(super) fn settle(&self) -> FleetLimits {
        FleetLimits {
            limits: Limits {
                memory: self.memory.as_ref().map(|memory| memory.value),
                pids: self.pids.as_ref().map(|pids| pids.value),
                cpu: self.cpu,
                cpu_weight: self.cpu_weight,
                ..Limits::default()
            },
            overcommit: self.overcommit,
        }
    }
}
