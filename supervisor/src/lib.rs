//! The Kennel supervisor: one light process that holds the chat connections and runs one child process per agent.

pub mod channel;
