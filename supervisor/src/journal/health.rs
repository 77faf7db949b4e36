//! How the journal is, for whoever asks: `doctor`, `status`, and the one who was refused.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use rusqlite::ErrorCode;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::entry::UnixMs;

/// How the journal is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Why nothing new is accepted at the moment.
    pub refusing: Option<Refusing>,
    /// What became of a file that was damaged, for as long as that file lies beside the journal: whoever
    /// has read this moves it away.
    pub damage: Option<Damage>,
    /// How much room it takes.
    pub size: Size,
}

/// Nothing can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusing {
    /// Why.
    pub trouble: Trouble,
    /// Since when.
    pub since: UnixMs,
    /// Operations that say what has happened already, and wait to be put down.
    pub owed: usize,
}

/// The room that the journal takes, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// What is in use.
    pub used: u64,
    /// What is free inside of the file, and will be used first.
    pub free: u64,
    /// More is in use than was set as the limit, and nothing of it may be deleted yet.
    pub over_limit: bool,
}

/// Why nothing can be written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Trouble {
    /// There is no room.
    #[error("the disk of {path} is full")]
    Full {
        /// The journal.
        path: PathBuf,
    },
    /// The disk, or the file system, fails.
    #[error("{path} cannot be written: {detail}")]
    Io {
        /// The journal.
        path: PathBuf,
        /// In SQLite's words.
        detail: String,
    },
    /// The file is damaged, and could not be replaced yet.
    #[error("{path} is damaged ({detail})")]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// What was seen.
        detail: String,
    },
}

impl Trouble {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        let directory = |path: &Path| path.parent().unwrap_or(path).display().to_string();
        match self {
            Self::Full { path } => format!(
                "make room on the disk of {}; messages are accepted again by themselves then",
                directory(path)
            ),
            Self::Io { path, .. } => format!(
                "look at the disk of {} (`dmesg`, `mount`, permissions); messages are accepted again by \
                 themselves once it can be written",
                directory(path)
            ),
            Self::Damaged { path, .. } => format!(
                "make room on the disk of {0}, and move the files named `*.damaged-*` out of {0} to a place \
                 where they are kept; the journal is made anew by itself then",
                directory(path)
            ),
        }
    }
}

/// A file was damaged, and what could be read of it went into a new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// When it was found.
    pub at: UnixMs,
    /// What was found.
    pub why: String,
    /// Where the damaged file is now.
    pub moved_to: PathBuf,
    /// What was read of it.
    pub kept: Kept,
    /// What was not.
    pub lost: Lost,
}

/// What was read of a damaged file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Deliveries.
    pub deliveries: u64,
    /// Of them, those that were still to be answered.
    pub open: u64,
    /// Things sent or to be sent.
    pub sends: u64,
    /// Children.
    pub children: u64,
}

/// What could not be read of a damaged file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Stretches of rows that could not be read; how many rows they had is not known.
    pub stretches: u64,
    /// Rows that made no sense.
    pub rows: u64,
    /// Messages and answers of which everything was found but their text.
    pub texts: u64,
    /// Commits of its log behind a damaged place.
    pub commits: u64,
    /// Nothing could be read, and why.
    pub all: Option<String>,
}

impl Lost {
    /// Everything was read.
    pub fn nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            why,
            moved_to,
            kept,
            lost,
            ..
        } = self;
        let moved_to = moved_to.display();
        write!(
            f,
            "the journal was damaged ({why}); it is kept as {moved_to}, and a new one was begun with "
        )?;
        if let Some(reason) = &lost.all {
            return write!(
                f,
                "nothing, since nothing could be read of it ({reason}): messages that waited are lost"
            );
        }
        write!(
            f,
            "what could be read: {} deliveries, {} of them unanswered, {} answers to chats, {} agents",
            kept.deliveries, kept.open, kept.sends, kept.children
        )?;
        if lost.nothing() {
            return write!(f, "; nothing was missing");
        }
        write!(
            f,
            "; what could not be read (stretches of rows: {}, single rows: {}, texts: {}, last commits: {}) \
             is lost, and messages may be lost with it",
            lost.stretches, lost.rows, lost.texts, lost.commits
        )
    }
}

/// What an error of SQLite says of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Full,
    Io,
    Damaged,
    /// Nothing: the operation is at fault.
    Operation,
}

pub(super) fn classify(error: &rusqlite::Error) -> Class {
    let code = match error {
        // The second is a statement of ours that the tables do not fit.
        rusqlite::Error::SqliteFailure(error, _) | rusqlite::Error::SqlInputError { error, .. } => {
            error.code
        }
        // A value that is never written.
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => return Class::Damaged,
        _ => return Class::Operation,
    };
    match code {
        ErrorCode::DiskFull => Class::Full,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Class::Damaged,
        ErrorCode::SystemIoFailure
        | ErrorCode::CannotOpen
        | ErrorCode::PermissionDenied
        | ErrorCode::ReadOnly
        | ErrorCode::OutOfMemory
        | ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::FileLockingProtocolFailed => Class::Io,
        _ => Class::Operation,
    }
}

impl Trouble {
    /// Of an error that is not the operation's fault.
    pub(super) fn of(class: Class, path: &Path, error: &dyn std::error::Error) -> Self {
        let (path, detail) = (path.to_owned(), crate::error_chain(error));
        match class {
            Class::Damaged => Self::Damaged { path, detail },
            // Some calls say "I/O error" where the disk is full, such as making the shared index larger.
            class if class == Class::Full || no_room(&path) => Self::Full { path },
            _ => Self::Io { path, detail },
        }
    }
}

/// Whether the disk has no room for one more page.
fn no_room(path: &Path) -> bool {
    rustix::fs::statvfs(path.parent().unwrap_or(path))
        .is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < 64 * 1024)
}
