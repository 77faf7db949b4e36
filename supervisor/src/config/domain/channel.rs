//! What one chat connection is.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::super::secret::SecretRef;
use super::{ChannelId, QueuePatch};

/// `[channels.<id>]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// Its name.
    pub id: ChannelId,
    /// Who is answered.
    pub allow_from: AllowFrom,
    /// How its messages wait; what it does not say, the agent says.
    pub queue: QueuePatch,
    /// What it connects to.
    pub kind: ChannelKind,
}

impl Channel {
    /// As the configuration writes the kind.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            ChannelKind::Telegram(_) => "telegram",
            ChannelKind::Irc(_) => "irc",
        }
    }
}

/// Who is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowFrom {
    /// Everybody: `["*"]`.
    Anyone,
    /// These senders only, and none when there are none.
    Listed(BTreeSet<String>),
}

impl AllowFrom {
    /// Whether a sender is answered that goes by any of these names (an id and a user name, say). Case is ignored.
    pub fn allows(&self, names: &[&str]) -> bool {
        match self {
            Self::Anyone => true,
            Self::Listed(listed) => names
                .iter()
                .any(|name| listed.contains(&name.to_lowercase())),
        }
    }
}

/// A chat platform and the account on it.
#[derive(Clone, Debug, PartialEq)]
pub enum ChannelKind {
    /// A Telegram bot, by long poll.
    Telegram(Telegram),
    /// A user of an IRC network.
    Irc(Irc),
}

/// A Telegram bot.
#[derive(Clone, Debug, PartialEq)]
pub struct Telegram {
    /// The bot's token.
    pub token: SecretRef,
    /// A Bot API server of one's own.
    pub api_url: Option<String>,
    /// How long one poll waits at the server.
    pub poll_timeout: Duration,
}

/// A user of an IRC network.
#[derive(Clone, Debug, PartialEq)]
pub struct Irc {
    /// Host name or address.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// Whether the connection is encrypted.
    pub tls: Tls,
    /// The nick.
    pub nick: String,
    /// The server's password.
    pub password: Option<SecretRef>,
    /// The account to log in with.
    pub sasl: Option<Sasl>,
    /// Channels to join.
    pub channels: Vec<String>,
}

/// Whether a connection is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// In the clear.
    Off,
    /// Encrypted, the server checked against the system's authorities, or those of the file alone.
    On {
        /// A PEM file of authorities.
        ca: Option<PathBuf>,
    },
}

/// An account at the network's services.
#[derive(Clone, Debug, PartialEq)]
pub struct Sasl {
    /// Its name.
    pub account: String,
    /// Its password.
    pub password: SecretRef,
}
