//! What a child reads on its standard input before it connects.
//!
//! A pipe, not an argument or an environment variable: both of those are readable by others through
//! `/proc`. The supervisor writes one JSON line, which fits a pipe's buffer, and closes its end.

use std::{io, io::Read, path::PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    cage::CageSpec,
    ids::{AgentId, Generation},
    secret::Token,
};

/// The most that is read: far below a pipe's 64 KiB, so writing it never blocks.
pub const BOOTSTRAP_MAX_BYTES: u64 = 32 * 1024;

/// Who the child is, and how it reaches its supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// The agent that this child is.
    pub agent: AgentId,
    /// Its generation.
    pub generation: Generation,
    /// Proof for the first handshake; that handshake issues the next.
    pub token: Token,
    /// The supervisor's link socket.
    pub socket: PathBuf,
    /// The agent's own directory: store, lock, workspace.
    pub state_dir: PathBuf,
    /// How long to look for a supervisor after the link is lost before leaving, in milliseconds.
    pub orphan_grace_ms: u64,
    /// How it is to close itself in before it does anything else.
    pub cage: CageSpec,
}

/// Why the bootstrap could not be read.
#[derive(Debug, Error)]
pub enum BootstrapError {
    /// Standard input could not be read.
    #[error("the bootstrap could not be read from standard input")]
    Read(#[source] io::Error),
    /// More than [`BOOTSTRAP_MAX_BYTES`].
    #[error("the bootstrap is larger than {BOOTSTRAP_MAX_BYTES} bytes")]
    TooLarge,
    /// It is not the JSON that a supervisor writes.
    #[error(
        "the bootstrap is not what a supervisor writes; agent-host is started by `kennel up`, not by hand"
    )]
    Malformed(#[source] serde_json::Error),
}

impl Bootstrap {
    /// Reads all of `input`, bounded.
    pub fn read(input: impl Read) -> Result<Self, BootstrapError> {
        let mut bytes = Vec::new();
        input
            .take(BOOTSTRAP_MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(BootstrapError::Read)?;
        if bytes.len() as u64 > BOOTSTRAP_MAX_BYTES {
            return Err(BootstrapError::TooLarge);
        }
        serde_json::from_slice(&bytes).map_err(BootstrapError::Malformed)
    }

    /// The line to write to the child.
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("ids, numbers and paths serialize");
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cage::{Network, UserIds};

    fn example() -> Bootstrap {
        Bootstrap {
            agent: "hexa".parse().unwrap(),
            generation: Generation(3),
            token: Token::random(),
            socket: "/run/kennel/link.sock".into(),
            state_dir: "/var/lib/kennel/agents/hexa".into(),
            orphan_grace_ms: 30_000,
            cage: CageSpec {
                strict: true,
                group: Some("fleet/hexa.3".into()),
                user: Some(UserIds {
                    uid: 1000,
                    gid: 1000,
                }),
                sandbox: true,
                read: vec!["/opt/tools".into()],
                write: Vec::new(),
                network: Network::Ports(vec![443]),
                hidden: vec!["/var/lib/kennel".into()],
                workspace: "/srv/hexa".into(),
                pid_namespace: false,
            },
        }
    }

    #[test]
    fn reads_what_is_written() {
        let written = example();
        assert_eq!(Bootstrap::read(&written.to_line()[..]).unwrap(), written);
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(matches!(
            Bootstrap::read(&b""[..]),
            Err(BootstrapError::Malformed(_))
        ));
        assert!(matches!(
            Bootstrap::read(&b"{}"[..]),
            Err(BootstrapError::Malformed(_))
        ));
        assert!(matches!(
            Bootstrap::read(io::repeat(b' ')),
            Err(BootstrapError::TooLarge)
        ));
    }
}
