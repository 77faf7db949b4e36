//! What can go wrong between `kennel` and its supervisor.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use thiserror::Error;

use super::sse;
use crate::control::wire::ApiError;

/// Why a request has no usable answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no supervisor is running here")]
    NotRunning {
        /// Where.
        socket: PathBuf,
    },
    /// Somebody may listen there, but this user or this path cannot reach it.
    #[error("the control socket {} cannot be reached", socket.display())]
    Connect {
        /// Where.
        socket: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The supervisor did not answer in time.
    #[error("no answer within {}", humantime::format_duration(*limit))]
    Timeout {
        /// How long was waited.
        limit: Duration,
    },
    /// The connection broke.
    #[error("the connection to the supervisor broke")]
    Lost(#[source] hyper::Error),
    /// The stream ended before what was asked for was there.
    #[error("the supervisor ended the answer before it was complete")]
    Truncated,
    /// More than this client takes.
    #[error("the answer has more than {limit} bytes")]
    TooLarge {
        /// The most that it takes.
        limit: usize,
    },
    /// A success that is not what the API promises.
    #[error("the answer is not one of this control API ({reason})")]
    Unreadable {
        /// What is wrong with it.
        reason: String,
    },
    /// The supervisor said no.
    #[error("{}", error.message)]
    Api {
        /// The HTTP status.
        status: u16,
        /// What it said.
        error: ApiError,
    },
}

impl ClientError {
    /// The error of a failed `connect`.
    pub(super) fn from_connect(socket: &Path, source: io::Error) -> Self {
        let socket = socket.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Self::NotRunning { socket }
            }
            _ => Self::Connect { socket, source },
        }
    }

    pub(super) fn unreadable(reason: &impl ToString) -> Self {
        Self::Unreadable {
            reason: reason.to_string(),
        }
    }
}

impl From<sse::TooLarge> for ClientError {
    fn from(error: sse::TooLarge) -> Self {
        Self::TooLarge { limit: error.limit }
    }
}
