//! The Kennel supervisor: one light process that holds the chat connections and runs one child
//! process per agent.

pub mod channel;
pub mod config;

pub mod dispatch;
pub mod supervision;
mod sys;

/// An error and all its causes on one line.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
