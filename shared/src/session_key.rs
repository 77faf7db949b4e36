//! The session key: `agent:<id>:<rest>`.
//!
//! A key names one conversation of one agent, for every entry point: `agent:hexa:tg-hexa:direct:42`
//! is the private chat of peer 42 on the channel `tg-hexa`, `agent:hexa:api:…` a caller of the HTTP
//! API. The rest is opaque to everybody but the module that made it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    envelope::PeerKind,
    ids::{AgentId, ChannelId, InvalidId},
};

/// The longest key in bytes: it is a database key and a log field.
pub const SESSION_KEY_MAX_BYTES: usize = 512;

/// Why a text is not a session key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidSessionKey {
    /// It does not have the form `agent:<id>:<rest>`.
    #[error("a session key has the form agent:<id>:<rest>")]
    Form,
    /// Its agent part is not an agent id.
    #[error("the agent in the session key is not an agent id")]
    Agent(#[source] InvalidId),
    /// It is longer than [`SESSION_KEY_MAX_BYTES`].
    #[error("a session key has at most {SESSION_KEY_MAX_BYTES} bytes")]
    TooLong,
    /// It has a control character, which would break logs and line protocols.
    #[error("a session key cannot have control characters")]
    ControlCharacter,
}

/// The name of one conversation. Always well-formed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionKey {
    text: Box<str>,
    /// Length of the agent id within `text`, behind `agent:`.
    agent_len: usize,
}

const PREFIX: &str = "agent:";

impl SessionKey {
    /// The key of agent `agent` with the opaque part `rest`.
    pub fn new(agent: &AgentId, rest: &str) -> Result<Self, InvalidSessionKey> {
        format!("{PREFIX}{agent}:{rest}").parse()
    }

    /// The key of a chat: `agent:<id>:<channel>:<kind>:<peer>`.
    pub fn for_peer(
        agent: &AgentId,
        channel: &ChannelId,
        kind: PeerKind,
        peer: &str,
    ) -> Result<Self, InvalidSessionKey> {
        Self::new(agent, &format!("{channel}:{kind}:{peer}"))
    }

    /// The agent whose conversation this is.
    pub fn agent(&self) -> AgentId {
        AgentId::new(self.agent_str()).expect("checked when the key was made")
    }

    /// The agent's id as text.
    pub fn agent_str(&self) -> &str {
        &self.text[PREFIX.len()..PREFIX.len() + self.agent_len]
    }

    /// The part behind the agent.
    pub fn rest(&self) -> &str {
        &self.text[PREFIX.len() + self.agent_len + 1..]
    }

    /// The whole key.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for SessionKey {
    type Err = InvalidSessionKey;

    fn from_str(text: &str) -> Result<Self, InvalidSessionKey> {
        if text.len() > SESSION_KEY_MAX_BYTES {
            return Err(InvalidSessionKey::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidSessionKey::ControlCharacter);
        }
        let tail = text.strip_prefix(PREFIX).ok_or(InvalidSessionKey::Form)?;
        let (agent, rest) = tail.split_once(':').ok_or(InvalidSessionKey::Form)?;
        AgentId::new(agent).map_err(InvalidSessionKey::Agent)?;
        if rest.is_empty() {
            return Err(InvalidSessionKey::Form);
        }
        Ok(Self {
            agent_len: agent.len(),
            text: text.into(),
        })
    }
}

impl TryFrom<String> for SessionKey {
    type Error = InvalidSessionKey;
    fn try_from(text: String) -> Result<Self, InvalidSessionKey> {
        text.parse()
    }
}

impl From<SessionKey> for String {
    fn from(key: SessionKey) -> Self {
        key.text.into()
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_chat_has_a_readable_key() {
        let key = SessionKey::for_peer(
            &"hexa".parse().unwrap(),
            &"tg-hexa".parse().unwrap(),
            PeerKind::Direct,
            "42",
        )
        .unwrap();
        assert_eq!(key.as_str(), "agent:hexa:tg-hexa:direct:42");
        assert_eq!((key.agent_str(), key.rest()), ("hexa", "tg-hexa:direct:42"));
    }

    #[test]
    fn malformed_keys_are_refused() {
        for text in [
            "",
            "agent",
            "agent:",
            "agent:hexa",
            "agent:hexa:",
            "agent::x",
            "x:hexa:y",
        ] {
            assert!(text.parse::<SessionKey>().is_err(), "{text:?}");
        }
        assert_eq!(
            "agent:a:b\n".parse::<SessionKey>(),
            Err(InvalidSessionKey::ControlCharacter)
        );
        let long = format!("agent:a:{}", "x".repeat(SESSION_KEY_MAX_BYTES));
        assert_eq!(long.parse::<SessionKey>(), Err(InvalidSessionKey::TooLong));
    }

    proptest! {
        #[test]
        fn what_parses_prints_the_same(text in "\\PC{0,80}") {
            if let Ok(key) = text.parse::<SessionKey>() {
                prop_assert_eq!(key.as_str(), text.as_str());
                prop_assert_eq!(SessionKey::new(&key.agent(), key.rest()).unwrap(), key);
            }
        }

        #[test]
        fn every_good_pair_has_a_key(agent in "[a-z0-9][a-z0-9_-]{0,63}", rest in "[ -~]{1,200}") {
            let agent: AgentId = agent.parse().unwrap();
            let key = SessionKey::new(&agent, &rest).unwrap();
            prop_assert_eq!(key.agent(), agent);
            prop_assert_eq!(key.rest(), rest.as_str());
        }
    }
}
