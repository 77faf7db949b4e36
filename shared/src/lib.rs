//! The contract between the Kennel supervisor and its agent-hosts.
//!
//! Everything here is seen by both programs: the ids, the session key, the envelope, the messages
//! of the protocol, the codec and the link that carries them. It is not a drawer for code that two
//! crates happen to need.
//!
//! | module | holds |
//! | --- | --- |
//! | [`ids`] | agent ids, generations, delivery and turn ids |
//! | [`session_key`] | `agent:<id>:<rest>`, the name of one conversation |
//! | [`envelope`] | a message on its way from a channel to an agent |
//! | [`bootstrap`] | what a child reads on its standard input before it connects |
//! | [`exit`] | what a child leaves behind about its own end |
//! | [`sessions`] | what may be asked about an agent's sessions, and what an export looks like |
//! | [`protocol`] | the messages, and the handshake |
//! | [`codec`] | messages to bytes and back, bounded |
//! | [`link`] | the framed, numbered, flow-controlled connection |
//! | [`secret`] | secrets that must cross the link and nothing else |

pub mod bootstrap;
pub mod cage;
pub mod codec;
pub mod envelope;
pub mod exit;
pub mod ids;
pub mod link;
pub mod protocol;
pub mod secret;
pub mod session_key;
pub mod sessions;
