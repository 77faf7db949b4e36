//! Keeping agents alive: one child process each, watched, restarted, stopped.
//!
//! [`lifecycle`] decides and touches nothing; everything else carries out. Per agent there is one
//! [`driver`] task, which owns the child, its link and its state; to the rest of the supervisor an
//! agent is a [`driver::AgentHandle`]. The [`spawner`] is the one thread that starts processes;
//! [`links`] accepts connections and hands them to the driver they belong to; [`capture`] writes
//! what children print; [`adoption`] takes over what a supervisor that died has left; [`strain`] sees what caps do to them before that, [`ending`] explains how they
//! ended, and [`events`] tells of it.

pub mod adoption;
pub(crate) mod ancestry;
pub mod backoff;
pub mod capture;
pub mod child;
pub mod driver;
pub mod ending;
pub mod events;
pub mod hang;
pub mod lifecycle;
pub mod links;
pub mod sampler;
pub mod spawner;
pub mod strain;
