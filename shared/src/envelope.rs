//! The envelope: a message on its way from a channel to an agent.
//!
//! Channels and agents never know of each other; they meet at the dispatcher, through this type.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::ChannelId;

/// The longest text of one inbound message, in bytes. Anything longer is refused where it arrives.
pub const TEXT_MAX_BYTES: usize = 256 * 1024;

/// Whether a peer is one person or a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerKind {
    /// One person.
    Direct,
    /// A room with any number of people: group, channel, IRC channel.
    Group,
}

impl fmt::Display for PeerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Group => "group",
        })
    }
}

/// Where a conversation takes place: what an answer is addressed to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Peer {
    /// Person or room.
    pub kind: PeerKind,
    /// The platform's own id: a chat id, a nick, `#room`; threads as `<chat>/<thread>`.
    pub id: String,
}

/// Who wrote a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// The platform's stable id of the person; what an allow list names.
    pub id: String,
    /// The name to show, where the platform tells one.
    pub name: Option<String>,
}

/// One message, as a channel hands it in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The account that it came through.
    pub channel: ChannelId,
    /// Where it was written, and where the answer goes.
    pub peer: Peer,
    /// Who wrote it.
    pub sender: Sender,
    /// The platform's id of the message, unique within the channel: what duplicates are told by.
    pub message_id: String,
    /// The text; never longer than [`TEXT_MAX_BYTES`].
    pub text: String,
    /// When the platform says it was sent, in milliseconds since the Unix epoch.
    pub sent_at_ms: u64,
}
