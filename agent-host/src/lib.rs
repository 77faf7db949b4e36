//! One Kennel agent: its event loop, its sessions, its model.
//!
//! The supervisor starts one `kennel-agent-host` per agent and writes a
//! [bootstrap](kennel_shared::bootstrap) to its standard input. The process takes the agent's lock,
//! opens its store, connects to the link socket and does as it is told. It reads no configuration,
//! no environment but `KENNEL_LOG`, and no argument but `sessions` (the supervisor passes `--agent <id>` so
//! that `ps` is readable).
//!
//! ```text
//!             ┌────────────── one thread ───────────────┐
//!  supervisor │ wire ◄──► agent (the loop) ──► turns    │      ┌─ store thread ─┐
//!   ◄─ link ─►│            ▲  heartbeat,      │ │ ask ──┼─────►│ SQLite         │
//!             │            │  signals         │ └───────┼──┐   └────────────────┘
//!             │            └── events ◄───────┘         │  └─► model server, or echo
//!             └─────────────────────────────────────────┘
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | `sessions` | another program in the same binary: reads a store for `kennel sessions` |
//! | `start` | from the bootstrap to the running loop; the exit codes |
//! | `cage` | what the process closes itself in with, before anything else |
//! | `sys` | the process itself: the lock, signals, raw system calls |
//! | `wire` | the link, and the way back to it when it is lost |
//! | `agent` | the loop |
//! | `turn` | one turn, from delivery to commit, step by step |
//! | `tool` | what a model may do in the workspace |
//! | `window` | which part of a session a turn sees |
//! | `store` | sessions, steps and deliveries, on disk |
//! | `provider` | the model: `echo` and `http` |
//!
//! Other crates start the binary and speak the protocol; only tests also close a cage of their own.

mod agent;
pub mod cage;
mod provider;
mod sessions;
mod start;
mod store;
mod sys;
mod tool;
mod turn;
mod window;
mod wire;

pub use start::{Exit, run};
