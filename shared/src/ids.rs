//! Identities that both programs use. All are validated where they are made, so that a value of
//! one of these types is safe in a path, a log field and a session key.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

/// The longest id, in bytes: it becomes a directory name and part of a socket message.
pub const ID_MAX_BYTES: usize = 64;

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidId {
    /// The text is empty.
    #[error("an id cannot be empty")]
    Empty,
    /// The text is longer than [`ID_MAX_BYTES`].
    #[error("an id has at most {ID_MAX_BYTES} characters")]
    TooLong,
    /// A character is outside `a-z 0-9 - _`, or the first is not a letter or a digit.
    #[error(
        "an id has only a-z, 0-9, '-' and '_', and starts with a letter or a digit; found {0:?}"
    )]
    Character(char),
}

fn validate(text: &str) -> Result<(), InvalidId> {
    if text.len() > ID_MAX_BYTES {
        return Err(InvalidId::TooLong);
    }
    let first = text.chars().next().ok_or(InvalidId::Empty)?;
    if !(first.is_ascii_lowercase() || first.is_ascii_digit()) {
        return Err(InvalidId::Character(first));
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    match text.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(InvalidId::Character(c)),
        None => Ok(()),
    }
}

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks `text` and wraps it.
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                validate(text)?;
                Ok(Self(text.into()))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.into()
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name_id! {
    /// The name of an agent, as in `[agents.<id>]`.
    AgentId
}
name_id! {
    /// The name of a channel account, as in `[channels.<id>]`.
    ChannelId
}

/// One life of an agent's child process. Grows by one with every start, never reused.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! unique_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(Uuid);

        impl $name {
            /// Before all others; nothing has it.
            pub const LOWEST: Self = Self(Uuid::nil());

            /// A new id: time-ordered (UUID version 7, RFC 9562).
            #[expect(clippy::new_without_default, reason = "a default id that differs each time surprises")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// Its bytes.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// When it was made, in milliseconds since 1970, by the clock of whoever made it.
            pub fn made_ms(&self) -> u64 {
                let [a, b, c, d, e, f, ..] = *self.0.as_bytes();
                u64::from_be_bytes([0, 0, a, b, c, d, e, f])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.simple().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.simple().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

unique_id! {
    /// One message accepted from a channel or a caller. Stays the same however often it is handed
    /// to an agent, so that an agent's store can tell a redelivery.
    DeliveryId
}
unique_id! {
    /// One attempt of an agent at answering.
    TurnId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked() {
        let cases = [
            ("hexa", Ok(())),
            ("0-a_b", Ok(())),
            ("", Err(InvalidId::Empty)),
            ("-a", Err(InvalidId::Character('-'))),
            ("a/b", Err(InvalidId::Character('/'))),
            ("Hexa", Err(InvalidId::Character('H'))),
            ("a..", Err(InvalidId::Character('.'))),
        ];
        for (text, expected) in cases {
            assert_eq!(AgentId::new(text).map(|_| ()), expected, "{text:?}");
        }
        assert_eq!(AgentId::new(&"a".repeat(65)), Err(InvalidId::TooLong));
        assert!(AgentId::new(&"a".repeat(64)).is_ok());
    }

    #[test]
    fn a_serialized_id_is_checked_when_read() {
        assert!(serde_json::from_str::<AgentId>("\"../etc\"").is_err());
        assert_eq!(
            serde_json::from_str::<AgentId>("\"hexa\"")
                .unwrap()
                .as_str(),
            "hexa"
        );
    }

    #[test]
    fn turn_ids_read_back() {
        let id = TurnId::new();
        assert_eq!(id.to_string().parse::<TurnId>().unwrap(), id);
    }
}
