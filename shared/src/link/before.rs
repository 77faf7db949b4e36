//! The handshake of [`PROTOCOL_BEFORE`](crate::protocol::PROTOCOL_BEFORE), as far as it differs from today's. What
//! follows it is the same in both.
//!
//! An agent of that version cannot begin a link anew: it goes on where it was, or not at all.

use serde::{Deserialize, Serialize};

use crate::{
    cage::CageStep,
    ids::{AgentId, Generation},
    protocol::{self, AgentSpec, LinkId, Position, Refusal},
    secret::Token,
};

/// Without the link's name, and without a word about a drain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL_BEFORE`](crate::protocol::PROTOCOL_BEFORE).
    pub protocol: u16,
    /// The sender's build, for the log.
    pub build: String,
    /// Who it says it is.
    pub agent: AgentId,
    /// Which life of it.
    pub generation: Generation,
    /// Proof.
    pub token: Token,
    /// Where its end of the link stands.
    pub resume: Position,
    /// How its cage was closed.
    pub cage: Vec<CageStep>,
}

impl From<Hello> for protocol::Hello {
    fn from(before: Hello) -> Self {
        Self {
            protocol: before.protocol,
            build: before.build,
            agent: before.agent,
            generation: before.generation,
            token: before.token,
            link: LinkId::NONE,
            resume: before.resume,
            draining: false,
            cage: before.cage,
        }
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HelloReply {
    /// Come in.
    Welcome(Box<Welcome>),
    /// Go away.
    Refuse(Refusal),
}

/// Without the link's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The token for the next handshake of this generation.
    pub next_token: Token,
    /// Where the supervisor's end of the link stands.
    pub resume: Position,
    /// What to be.
    pub spec: AgentSpec,
}

impl From<protocol::HelloReply> for HelloReply {
    fn from(reply: protocol::HelloReply) -> Self {
        match reply {
            protocol::HelloReply::Refuse(refusal) => Self::Refuse(refusal),
            protocol::HelloReply::Welcome(welcome) => {
                let protocol::Welcome {
                    next_token,
                    link: _,
                    resume,
                    spec,
                } = *welcome;
                Self::Welcome(Box::new(Welcome {
                    next_token,
                    resume,
                    spec,
                }))
            }
        }
    }
}
