//! Secrets by reference: where a secret is, and fetching it when it is needed.
//!
//! The configuration holds references only; [`SecretRef::resolve`] fetches the value within limits. No error and no
//! `Debug` shows a value. A command's own error output goes to the supervisor's, never into an error.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

use crate::program;

/// The largest secret.
pub const MAX_SECRET_BYTES: usize = 64 * 1024;

/// How long a `{ command }` may take.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a secret is.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// `{ env = "NAME" }`: an environment variable of the supervisor.
    Env(String),
    /// `{ file = "path" }`: the content of a file.
    File(PathBuf),
    /// `{ command = ["program", "argument"] }`: what a program prints.
    Command(Vec<String>),
    /// Written in the configuration itself, which has to be allowed.
    Inline(InlineSecret),
}

/// A secret that stands in the configuration.
#[derive(Clone)]
pub struct InlineSecret(SecretString);

impl PartialEq for InlineSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl Eq for InlineSecret {}

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "Env({name:?})"),
            Self::File(path) => write!(f, "File({})", path.display()),
            // Only the program: people do put keys into arguments.
            Self::Command(argv) => write!(f, "Command({:?}, …)", argv.first()),
            Self::Inline(_) => f.write_str("Inline([REDACTED])"),
        }
    }
}

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not there.
    #[error("environment variable {0} is not set")]
    EnvMissing(String),
    /// The variable is not text.
    #[error("environment variable {0} is not UTF-8")]
    EnvNotText(String),
    /// The file cannot be read.
    #[error("failed to read the secret file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A folder, a FIFO or a device.
    #[error("the secret file {} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// The program cannot be started or waited for.
    #[error("failed to run the secret command {program}")]
    Command {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The program failed.
    #[error("the secret command {program} failed: {status}")]
    CommandStatus {
        /// The program.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// The program did not end.
    #[error("the secret command {program} took longer than {} s", COMMAND_TIMEOUT.as_secs())]
    CommandTimeout {
        /// The program.
        program: String,
    },
    /// More than [`MAX_SECRET_BYTES`].
    #[error("the secret is larger than {} KiB", MAX_SECRET_BYTES / 1024)]
    TooLarge,
    /// Nothing but a line end.
    #[error("the secret is empty")]
    Empty,
    /// Not UTF-8.
    #[error("the secret is not UTF-8 text")]
    NotText,
    /// A line break inside, say: it would end a header or a command early.
    #[error("the secret holds a line break or another control character")]
    ControlCharacter,
}

impl SecretRef {
    /// Wraps a secret that was written in the configuration.
    pub fn inline(value: &str) -> Self {
        Self::Inline(InlineSecret(SecretString::from(value)))
    }

    /// Fetches the secret, without its closing line end. Commands run in `base_dir`, from which relative files count.
    ///
    /// Blocks for as long as a command takes, at most [`COMMAND_TIMEOUT`]: not for an event loop.
    pub fn resolve(&self, base_dir: &Path) -> Result<SecretString, SecretError> {
        let bytes = match self {
            Self::Env(name) => Zeroizing::new(env(name)?.into_bytes()),
            Self::File(path) => read_file(&base_dir.join(path))?,
            Self::Command(argv) => run(argv, base_dir, COMMAND_TIMEOUT)?,
            Self::Inline(secret) => return Ok(secret.0.clone()),
        };
        tidy(&bytes)
    }

    /// Whether the secret is there, without running a command.
    pub(super) fn probe(&self, base_dir: &Path) -> Result<(), SecretError> {
        match self {
            Self::Env(_) | Self::File(_) | Self::Inline(_) => self.resolve(base_dir).map(drop),
            Self::Command(_) => Ok(()),
        }
    }

    /// The mode of a secret file that others than its owner can read.
    pub(super) fn exposed_mode(&self, base_dir: &Path) -> Option<u32> {
        let Self::File(path) = self else { return None };
        let mode = base_dir.join(path).metadata().ok()?.permissions().mode() & 0o777;
        (mode & 0o044 != 0).then_some(mode)
    }
}

fn env(name: &str) -> Result<String, SecretError> {
    std::env::var(name).map_err(|error| match error {
        std::env::VarError::NotPresent => SecretError::EnvMissing(name.to_owned()),
        std::env::VarError::NotUnicode(_) => SecretError::EnvNotText(name.to_owned()),
    })
}

fn tidy(bytes: &[u8]) -> Result<SecretString, SecretError> {
    if bytes.len() > MAX_SECRET_BYTES {
        return Err(SecretError::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| SecretError::NotText)?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err(SecretError::Empty);
    }
    if text.chars().any(char::is_control) {
        return Err(SecretError::ControlCharacter);
    }
    Ok(SecretString::from(text))
}

/// Reads one byte more than the limit, so that the caller sees the excess. Never grows: growing leaves copies.
fn read_bounded(from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES + 1));
    from.take(MAX_SECRET_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let failed = |source| SecretError::File {
        path: path.to_owned(),
        source,
    };
    // Asked before opening: opening a FIFO would wait for a writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(SecretError::NotAFile(path.to_owned()));
    }
    read_bounded(File::open(path).map_err(failed)?).map_err(failed)
}

/// Runs a program in its own process group and takes what it prints.
#[expect(
    clippy::disallowed_methods,
    reason = "a short helper before any agent runs, not a supervised child"
)]
fn run(
    argv: &[String],
    base_dir: &Path,
    timeout: Duration,
) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let program = argv.first().cloned().unwrap_or_default();
    let failed = |source| SecretError::Command {
        program: program.clone(),
        source,
    };
    let mut command = Command::new(&program);
    command
        .args(argv.iter().skip(1))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0);
    if !base_dir.as_os_str().is_empty() {
        command.current_dir(base_dir);
    }
    let mut child = command.spawn().map_err(failed)?;
    let stdout = child.stdout.take().expect("stdout is piped");
    let (tx, rx) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        // The receiver is gone when the time is up; then the bytes are wiped here.
        let _ = tx.send(read_bounded(stdout));
    });
    let outcome = match rx.recv_timeout(timeout) {
        Ok(read) => read.map_err(failed),
        Err(_) => Err(SecretError::CommandTimeout {
            program: program.clone(),
        }),
    };
    let too_large = outcome
        .as_ref()
        .is_ok_and(|bytes| bytes.len() > MAX_SECRET_BYTES);
    if outcome.is_err() || too_large {
        program::end(&mut child);
        return outcome.and(Err(SecretError::TooLarge));
    }
    // It has closed its output, and as a rule has ended already.
    match program::wait(&mut child, timeout).map_err(failed)? {
        Some(status) if status.success() => outcome,
        Some(status) => Err(SecretError::CommandStatus { program, status }),
        None => {
            program::end(&mut child);
            Err(SecretError::CommandTimeout { program })
        }
    }
}

#[cfg(test)]
#[path = "secret_tests.rs"]
mod tests;
