//! One reader for each table of the configuration.

pub(super) mod agent;
pub(super) mod binding;
pub(super) mod budget;
pub(super) mod channel;
pub(super) mod class;
pub(super) mod limits;
pub(super) mod provider;
pub(super) mod queue;
pub(super) mod sandbox;
pub(super) mod schedule;
pub(super) mod secret;
pub(super) mod supervisor;
pub(super) mod telemetry;
