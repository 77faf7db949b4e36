//! The Kennel supervisor: one light process that holds the chat connections and runs one child
//! process per agent.
//!
//! | module | holds |
//! | --- | --- |
//! | [`cli`], [`client`] | the command line, which talks to a running supervisor |
//! | [`config`] | TOML in, a checked configuration out; read here and nowhere else |
//! | [`supervisor`] | puts a supervisor together, runs it, takes it down |
//! | [`plan`] | from the configuration to what each part is told |
//! | [`supervision`] | one driver per agent: lifecycle, child, link, log |
//! | [`containment`] | caps, groups, and the end of all that an agent started |
//! | [`dispatch`] | lanes, routing, and where answers go |
//! | [`journal`] | what was accepted and what is owed, on disk |
//! | [`turns`], [`otlp`] | what turns took and cost; the same for collectors of OpenTelemetry |
//! | [`channel`], [`gateway`] | chat platforms, and their way to the dispatcher |
//! | [`fairness`] | whether everybody has the share that weights give |
//! | [`schedule`] | turns that the clock asks for |
//! | [`doctor`] | whether all is well, and what to do where it is not |
//! | [`control`] | the HTTP API, for people's programs and for `OpenAI` clients |

pub mod channel;
pub mod cli;
pub mod client;
pub mod config;
pub mod containment;
pub mod control;
pub mod dispatch;
pub mod doctor;
pub mod fairness;
pub mod gateway;
pub mod journal;
pub mod otlp;
pub mod plan;
mod program;
pub mod reload;
pub mod schedule;
pub mod supervision;
pub mod supervisor;
mod sys;
pub mod turns;

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
