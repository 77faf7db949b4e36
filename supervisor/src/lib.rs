//! The Kennel supervisor: one light process that holds the chat connections and runs one child process per agent.

pub mod cli;
pub mod client;
pub mod config;
pub mod control;
