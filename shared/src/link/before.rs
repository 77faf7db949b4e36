//! What [`PROTOCOL_BEFORE`](crate::protocol::PROTOCOL_BEFORE) says otherwise than today's version does: what an agent
//! is told to be, and the end of a turn. Its hello, and all else that follows, is the same in both.
//!
//! These types never change: an agent-host that was built with them speaks them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::session::Packet;
use crate::{
    codec::{self, DecodeError},
    ids::{DeliveryId, TurnId},
    protocol::{
        self, ContextSpec, Deletion, LinkId, ModelSpec, Position, Refusal, ToolsSpec, Trace,
        TurnOutcome, TurnStep,
    },
    secret::Token,
    session_key::SessionKey,
};

/// The answer to a hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HelloReply {
    /// Come in.
    Welcome(Box<Welcome>),
    /// Go away.
    Refuse(Refusal),
}

/// What an accepted agent is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The token for the next handshake of this generation.
    pub next_token: Token,
    /// The link.
    pub link: LinkId,
    /// Where the supervisor's end of the link stands.
    pub resume: Position,
    /// What to be.
    pub spec: AgentSpec,
}

/// What it is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSpec {
    /// The model and how to reach it.
    pub model: ModelSpec,
    /// The system prompt.
    pub system_prompt: Option<String>,
    /// How much history a turn sees.
    pub context: ContextSpec,
    /// How many turns may run at once.
    pub max_concurrent: u16,
    /// The longest time a turn may take, in milliseconds.
    pub turn_timeout_ms: u64,
    /// The agent's working directory.
    pub workspace: PathBuf,
    /// How often to send a heartbeat, in milliseconds.
    pub heartbeat_interval_ms: u64,
    /// What the model may do in the workspace.
    pub tools: ToolsSpec,
}

impl From<protocol::HelloReply> for HelloReply {
    fn from(reply: protocol::HelloReply) -> Self {
        match reply {
            protocol::HelloReply::Refuse(refusal) => Self::Refuse(refusal),
            protocol::HelloReply::Welcome(welcome) => {
                let protocol::Welcome {
                    next_token,
                    link,
                    resume,
                    spec,
                } = *welcome;
                Self::Welcome(Box::new(Welcome {
                    next_token,
                    link,
                    resume,
                    spec: spec.into(),
                }))
            }
        }
    }
}

impl From<protocol::AgentSpec> for AgentSpec {
    fn from(spec: protocol::AgentSpec) -> Self {
        Self {
            model: spec.model,
            system_prompt: spec.system_prompt,
            context: spec.context,
            max_concurrent: spec.max_concurrent,
            turn_timeout_ms: spec.turn_timeout_ms,
            workspace: spec.workspace,
            heartbeat_interval_ms: spec.heartbeat_interval_ms,
            tools: spec.tools,
        }
    }
}

/// From an agent to its supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToSupervisor {
    /// Deliveries may come.
    Ready,
    /// A turn has begun.
    Started(TurnId),
    /// A piece of the answer's text.
    Delta {
        /// The turn that answers.
        turn: TurnId,
        /// The piece.
        text: String,
    },
    /// A turn has ended.
    Finished {
        /// The message that was answered.
        delivery: DeliveryId,
        /// The turn that answered.
        turn: TurnId,
        /// How it ended.
        outcome: TurnOutcome,
        /// What it took.
        spent: Spent,
    },
    /// No turn is running and none will.
    Drained,
    /// A turn has come to its next step.
    Step {
        /// Which.
        turn: TurnId,
        /// To which.
        step: TurnStep,
    },
    /// What became of a session that was to be deleted.
    SessionDeleted {
        /// Which.
        session: SessionKey,
        /// What.
        deletion: Deletion,
    },
}

/// What a turn took, without a word about its steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Loading the window of the session.
    pub context_us: u64,
    /// Until the first piece of the answer.
    pub first_token_us: u64,
    /// Waiting for the provider in all.
    pub provider_us: u64,
    /// Running tools in all.
    pub tools_us: u64,
    /// Committing the turn.
    pub commit_us: u64,
    /// From delivery to the end.
    pub total_us: u64,
    /// Tokens read by the model.
    pub input_tokens: u32,
    /// Tokens written by the model.
    pub output_tokens: u32,
    /// Attempts at the provider beyond the first.
    pub retries: u32,
}

impl From<Spent> for protocol::Spent {
    fn from(before: Spent) -> Self {
        Self {
            context_us: before.context_us,
            first_token_us: before.first_token_us,
            provider_us: before.provider_us,
            tools_us: before.tools_us,
            commit_us: before.commit_us,
            total_us: before.total_us,
            input_tokens: before.input_tokens,
            output_tokens: before.output_tokens,
            retries: before.retries,
            ..Self::default()
        }
    }
}

impl From<ToSupervisor> for protocol::ToSupervisor {
    fn from(before: ToSupervisor) -> Self {
        match before {
            ToSupervisor::Ready => Self::Ready,
            ToSupervisor::Started(turn) => Self::Started(turn),
            ToSupervisor::Delta { turn, text } => Self::Delta { turn, text },
            ToSupervisor::Finished {
                delivery,
                turn,
                outcome,
                spent,
            } => Self::Finished {
                delivery,
                turn,
                outcome,
                spent: spent.into(),
                trace: Trace::default(),
            },
            ToSupervisor::Drained => Self::Drained,
            ToSupervisor::Step { turn, step } => Self::Step { turn, step },
            ToSupervisor::SessionDeleted { session, deletion } => {
                Self::SessionDeleted { session, deletion }
            }
        }
    }
}

/// Reads what an agent of that version says: for [`Link::reading`](super::Link::reading).
pub fn read(body: &[u8]) -> Result<Packet<protocol::ToSupervisor>, DecodeError> {
    Ok(match codec::decode_body::<Packet<ToSupervisor>>(body)? {
        Packet::Message { seq, message } => Packet::Message {
            seq,
            message: message.into(),
        },
        Packet::Ack(position) => Packet::Ack(position),
        Packet::Heartbeat(heartbeat) => Packet::Heartbeat(heartbeat),
    })
}
