//! How a command ends: the exit codes, and what is said about a failure.

use std::{fmt, io, process::ExitCode};

use crate::{
    client::ClientError,
    control::wire::{ApiError, ErrorCode},
};

/// The exit codes, as `kennel --help` and `docs/cli.md` list them. Scripts depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or was so already.
    Ok = 0,
    /// The operation failed.
    Failed = 1,
    /// Wrong usage, or a configuration that is refused.
    Usage = 2,
    /// No supervisor is running here.
    NotRunning = 3,
    /// No such agent.
    NoSuchAgent = 4,
    /// It took longer than it may.
    TimedOut = 5,
    /// The supervisor refused.
    Refused = 6,
    /// The doctor found something that fails.
    Unwell = 7,
    /// Ctrl-C, as shells count it.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// How a command ends.
pub(super) type Outcome = Result<Exit, Failure>;

/// What is said when a command fails, and the code that it ends with.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    /// A lowercase sentence; it follows `error: `.
    pub(super) message: String,
    /// What to do about it.
    pub(super) hint: Option<String>,
    /// Shown with `--verbose`: where, and why underneath.
    pub(super) details: Vec<String>,
    /// Nobody reads the output any more: there is nothing to say, and nobody to say it to.
    pub(super) silent: bool,
}

impl Failure {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Failed,
            message: message.into(),
            hint: None,
            details: Vec::new(),
            silent: false,
        }
    }

    pub(super) fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.details.push(detail.into());
        self
    }

    /// Puts `context` before the message: `hexa: no such agent`.
    pub(super) fn about(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }
}

impl From<io::Error> for Failure {
    /// An error of writing the output. Reading and files are told apart where they happen.
    fn from(error: io::Error) -> Self {
        let broken_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        let mut failure = Self::new(format!("cannot write the output: {error}"));
        if broken_pipe {
            failure.exit = Exit::Ok;
            failure.silent = true;
        }
        failure
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let mut failure = Self::new(error.to_string());
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            failure = failure.detail(format!("because: {cause}"));
            source = cause.source();
        }
        match error {
            ClientError::NotRunning { socket } => {
                failure.message.push_str(": start one with `kennel up`");
                failure
                    .exit(Exit::NotRunning)
                    .detail(format!("looked for: {}", socket.display()))
            }
            ClientError::Connect { source, .. } => {
                failure.details.clear();
                failure.message = format!("{}: {source}", failure.message);
                match source.kind() {
                    io::ErrorKind::PermissionDenied => failure.hint(
                        "the supervisor belongs to another user: run this command as that one",
                    ),
                    _ => failure,
                }
            }
            ClientError::Timeout { .. } => failure
                .exit(Exit::TimedOut)
                .hint("the supervisor may be overloaded: its log says more"),
            ClientError::Lost(_) | ClientError::Truncated => {
                failure.hint("it may have ended: `kennel status` tells")
            }
            ClientError::Unreadable { .. } => {
                failure.hint("is that the socket of another program, or of another version?")
            }
            ClientError::TooLarge { .. } => failure,
            ClientError::Api { error, status } => from_api(failure, error, status),
        }
    }
}

fn from_api(failure: Failure, error: ApiError, status: u16) -> Failure {
    let exit = match error.code {
        ErrorCode::AgentNotFound => Exit::NoSuchAgent,
        ErrorCode::Timeout => Exit::TimedOut,
        ErrorCode::Denied
        | ErrorCode::Unauthorized
        | ErrorCode::Forbidden
        | ErrorCode::BudgetSpent => Exit::Refused,
        ErrorCode::InvalidRequest | ErrorCode::TooLarge => Exit::Usage,
        ErrorCode::NotFound
        | ErrorCode::TurnNotFound
        | ErrorCode::DeliveryNotFound
        | ErrorCode::ScheduleNotFound
        | ErrorCode::KeyReused
        | ErrorCode::Unavailable
        | ErrorCode::MethodNotAllowed
        | ErrorCode::Overloaded
        | ErrorCode::TurnFailed
        | ErrorCode::ShuttingDown
        | ErrorCode::Internal
        | ErrorCode::Unknown => Exit::Failed,
    };
    let failure = failure.exit(exit).detail(format!("HTTP status {status}"));
    match (error.hint, exit) {
        (Some(hint), _) => failure.hint(hint),
        (None, Exit::NoSuchAgent) => failure.hint("`kennel status` lists the agents"),
        (None, _) => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: ErrorCode) -> Failure {
        let error = ApiError {
            code,
            message: "no".into(),
            hint: None,
        };
        let status = code.http_status();
        Failure::from(ClientError::Api { status, error })
    }

    #[test]
    fn every_kind_of_refusal_has_its_code() {
        let cases = [
            (ErrorCode::AgentNotFound, 4),
            (ErrorCode::Timeout, 5),
            (ErrorCode::Denied, 6),
            (ErrorCode::InvalidRequest, 2),
            (ErrorCode::TurnFailed, 1),
            (ErrorCode::Unknown, 1),
        ];
        for (code, exit) in cases {
            assert_eq!(of(code).exit as u8, exit, "{code:?}");
        }
    }

    #[test]
    fn a_missing_supervisor_says_what_to_do() {
        let socket = "/run/kennel/control.sock".into();
        let failure = Failure::from(ClientError::NotRunning { socket });
        assert_eq!(failure.exit, Exit::NotRunning);
        assert_eq!(
            failure.message,
            "no supervisor is running here: start one with `kennel up`"
        );
    }

    #[test]
    fn a_closed_pipe_is_nobodys_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(failure.silent);
        assert_eq!(failure.exit, Exit::Ok);
    }
}
