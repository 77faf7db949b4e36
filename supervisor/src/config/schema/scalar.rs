//! Single values: times, sizes, names, secrets.

use std::borrow::Cow;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident = $schema:tt;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(pub String);

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

texts! {
    /// A time with its unit.
    TimeText = {
        "type": "string",
        "description": "A time with its unit: ms, s, m, h, d.",
        "pattern": "^\\s*(0|([0-9]+(\\.[0-9]+)?\\s*[a-zµ]+\\s*)+)$",
        "examples": ["250ms", "30s", "1h30m"]
    };
    /// A time with its unit, or `"none"`.
    TimeCap = {
        "type": "string",
        "description": "A time with its unit: ms, s, m, h, d; or \"none\".",
        "pattern": "^\\s*(none|([0-9]+(\\.[0-9]+)?\\s*[a-zµ]+\\s*)+)$",
        "examples": ["30s", "1h30m", "none"]
    };
    /// A number of bytes with its unit.
    SizeText = {
        "type": "string",
        "description": "A number of bytes with its unit: B, KiB, MiB, GiB (or KB, MB, GB for powers of 1000).",
        "pattern": "^\\s*[0-9.]+\\s*([kKmMgGtTpPeE]i?[bB]?|[bB])\\s*$",
        "examples": ["64KiB", "512MiB", "2GiB"]
    };
    /// A number of bytes with its unit, or `"none"`.
    SizeCap = {
        "type": "string",
        "description": "A number of bytes with its unit: B, KiB, MiB, GiB (or KB, MB, GB for powers of 1000); or \"none\".",
        "pattern": "^\\s*(none|[0-9.]+\\s*([kKmMgGtTpPeE]i?[bB]?|[bB]))\\s*$",
        "examples": ["512MiB", "2GiB", "none"]
    };
    /// A name of an agent, a provider or a channel.
    Name = {
        "type": "string",
        "description": "A name: 1 to 64 of a-z, 0-9, _ and -, beginning with a letter or a digit.",
        "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$"
    };
}

macro_rules! caps {
    ($($(#[$doc:meta])* $name:ident($number:ty) = $schema:tt;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(untagged)]
        pub enum $name {
            /// So much.
            Number($number),
            /// No cap.
            None(NoneWord),
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

/// `"none"`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoneWord {
    /// The only word.
    None,
}

caps! {
    /// CPUs at most, or `"none"`.
    CpuCap(f64) = {
        "description": "A number of CPUs, or \"none\".",
        "anyOf": [{ "type": "number", "minimum": 0.01, "maximum": 4096 }, { "const": "none" }]
    };
    /// A share, or `"none"`.
    WeightCap(u32) = {
        "description": "A weight from 1 to 10000, or \"none\".",
        "anyOf": [{ "type": "integer", "minimum": 1, "maximum": 10_000 }, { "const": "none" }]
    };
    /// A number of things, or `"none"`.
    CountCap(u32) = {
        "description": "A whole number, or \"none\".",
        "anyOf": [{ "type": "integer", "minimum": 1, "maximum": 4_194_304 }, { "const": "none" }]
    };
}

/// A user: a number, a name, or `"uid:gid"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum UserText {
    /// A number of the system.
    Number(u32),
    /// A name, or `"uid:gid"`.
    Text(String),
}

/// Where a secret is. A plain string is refused unless `allow_inline_secrets` is set.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Secret {
    /// A place.
    Place(SecretTable),
    /// The secret itself.
    Inline(String),
}

/// Exactly one place.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct SecretTable {
    /// An environment variable of the supervisor.
    pub env: Option<String>,
    /// A file that holds the secret alone.
    pub file: Option<PathBuf>,
    /// A program that prints the secret, and its arguments. It may take 10 seconds.
    pub command: Option<Vec<String>>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Place(place) => place.fmt(f),
            Self::Inline(_) => f.write_str("[REDACTED]"),
        }
    }
}

/// Who may write: a number, a name, or `"*"` for everybody.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AllowedSender {
    /// A platform's number of a user.
    Number(i64),
    /// A user name, or `"*"`.
    Name(String),
}

/// A person or a group, as the channel names it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PeerName {
    /// A platform's number.
    Number(i64),
    /// A name.
    Name(String),
}
