//! The shape of the configuration for editors: one type for each table, from which `kennel.schema.json` is made.
//!
//! These types describe and are not used to read: [`super::Config`] reads the text itself, to report every mistake
//! with its place. A test compares the keys of both, and that whatever the one takes the other takes too.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Deserialize;
use serde_json::{Value, json};

mod scalar;
mod tables;

pub use scalar::{
    AllowedSender, CountCap, CpuCap, Name, PeerName, Secret, SizeCap, SizeText, TimeCap, TimeText,
    UserText, WeightCap,
};
pub use tables::{
    AgentTable, BackoffTable, BindingTable, BudgetTable, BudgetWindowTable, ChannelTable,
    ClassTable, ContextTable, FleetTable, HttpTable, LimitsTable, LogTable, OtlpTable, PriceTable,
    ProviderTable, QueueTable, SandboxTable, SaslTable, ScheduleTable, SupervisorTable, TellTable,
};

/// The configuration of Kennel. The main file may hold all of it; the files of `agents.d` beside it hold providers,
/// agents, channels, bindings and schedules.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Kennel configuration")]
pub struct ConfigFile {
    /// The supervisor's own settings. Only in the main file.
    pub supervisor: Option<SupervisorTable>,
    /// Where models are, by name.
    #[serde(default)]
    pub providers: BTreeMap<Name, ProviderTable>,
    /// Classes of agents, by name: how much of the fleet each has. `interactive` and `batch` are always there. Only in the
    /// main file.
    #[serde(default)]
    pub classes: BTreeMap<Name, ClassTable>,
    /// What holds for every agent that does not say otherwise, key by key. Only in the main file.
    pub defaults: Option<AgentTable>,
    /// The agents, by name. Each runs as a process of its own.
    #[serde(default)]
    pub agents: BTreeMap<Name, AgentTable>,
    /// The chat connections, by name.
    #[serde(default)]
    pub channels: BTreeMap<Name, ChannelTable>,
    /// Who answers where. The most precise binding wins: peer and kind, then peer, then kind, then channel alone.
    #[serde(default)]
    pub bindings: Vec<BindingTable>,
    /// What agents are asked by the clock.
    #[serde(default)]
    pub schedules: Vec<ScheduleTable>,
}

/// The JSON Schema of a configuration file.
pub fn json_schema() -> Value {
    let schema = SchemaSettings::draft07()
        .into_generator()
        .into_root_schema_for::<ConfigFile>();
    let mut schema = Value::from(schema);
    without_null(&mut schema);
    // In one order, whether or not another crate of the build asks serde_json to keep insertion order.
    schema.sort_all_objects();
    schema
}

/// TOML has no null: a key that may be missing is not a key that may be null.
fn without_null(schema: &mut Value) {
    let null = json!({ "type": "null" });
    match schema {
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
                let before = choices.len();
                choices.retain(|choice| *choice != null);
                // Draft 7 ignores what stands beside a bare `$ref`, hence `allOf`.
                if before > 1 && choices.len() == 1 {
                    let choice = choices.clone();
                    object.remove("anyOf");
                    object.insert("allOf".to_owned(), choice.into());
                }
            }
            object.values_mut().for_each(without_null);
        }
        Value::Array(array) => array.iter_mut().for_each(without_null),
        _ => {}
    }
}
