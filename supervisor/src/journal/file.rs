//! The open file: how it is made, opened and checked, and how a group of operations is committed to it.
//!
//! A journal is made under another name and moved into place when it is whole, so a file of this name
//! that is empty or has no tables is damaged, never new.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{
    Connection, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior,
    config::DbConfig, params,
};
use thiserror::Error;

use super::{
    aside,
    core::apply,
    entry::UnixMs,
    failpoint::{FailPoints, Point},
    health::{Class, Damage, Size, classify},
    log,
    op::{Answer, Op},
    schema::{APPLICATION_ID, PAGE_BYTES, VERSION, migrate},
    sql::{SqlResult, SqlRows},
};

/// How long to wait for somebody who reads the file from outside, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Up to this size a file is checked before it is used; a larger one is checked beside the work.
const CHECK_AT_OPEN: u64 = 16 * 1024 * 1024;

/// Why the journal cannot be opened. Nothing is ever overwritten.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A later version wrote it.
    #[error(
        "the journal {path} was written by a newer kennel: it has version {found}, and this one knows versions up to {known}; start the newer kennel again, or set another `state_dir` under [supervisor]"
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: i32,
        /// The latest that is known here.
        known: i32,
    },
    /// It is an SQLite file of some other program.
    #[error(
        "{path} is a database, but not a journal of kennel; move it away, or set another `state_dir` under [supervisor]"
    )]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// SQLite cannot use it.
    #[error("the journal {path} cannot be used")]
    Sqlite {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// It cannot be made or moved.
    #[error("the file {path} cannot be {what}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// It is damaged, and so were too many before it.
    #[error(
        "the journal {path} is damaged, and {kept} damaged ones lie beside it: the disk seems to fail; move them to a place where they are kept"
    )]
    DamagedAgain {
        /// Which file.
        path: PathBuf,
        /// How many there are.
        kept: usize,
    },
    /// The thread could not be started.
    #[error("the journal's thread could not be started")]
    Thread(#[source] io::Error),
}

impl OpenError {
    pub(super) fn class(&self) -> Class {
        match self {
            Self::Sqlite { source, .. } => classify(source),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => Class::Full,
            Self::DamagedAgain { .. } => Class::Damaged,
            _ => Class::Io,
        }
    }
}

pub(super) fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> OpenError {
    move |source| OpenError::Sqlite {
        path: path.to_owned(),
        source,
    }
}

pub(super) fn io_error(path: &Path, what: &'static str) -> impl Fn(io::Error) -> OpenError {
    move |source| OpenError::Io {
        path: path.to_owned(),
        what,
        source,
    }
}

/// `path` with `suffix` behind its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The write-ahead log of a file.
pub(super) fn wal(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

/// The only writing connection.
#[derive(Debug)]
pub(super) struct JournalFile {
    connection: Connection,
    points: FailPoints,
}

/// What became of opening.
pub(super) struct Opened {
    pub(super) file: JournalFile,
    /// An earlier file was damaged and still lies beside this one.
    pub(super) damage: Option<Damage>,
    /// It is too large to be checked before it is used.
    pub(super) unchecked: bool,
}

/// How a file looks from outside.
enum Look {
    Good {
        connection: Connection,
        unchecked: bool,
    },
    Damaged(String),
}

impl JournalFile {
    /// Opens the journal, or makes one. A damaged one is moved aside and replaced.
    pub(super) fn open(path: &Path, points: &FailPoints) -> Result<Opened, OpenError> {
        Self::open_as(path, points, true)
    }

    /// Opens the journal that this process had open a moment ago. Its log is not looked into: closing a file
    /// gives up all locks that this process has on it, those of a [`Reader`](super::Reader) too.
    pub(super) fn reopen(path: &Path, points: &FailPoints) -> Result<Opened, OpenError> {
        Self::open_as(path, points, false)
    }

    fn open_as(path: &Path, points: &FailPoints, first: bool) -> Result<Opened, OpenError> {
        aside::resume(path, points)?;
        if !path.exists() {
            if wal(path).exists() {
                aside::replace(path, "its main file is missing", points)?;
            } else {
                create(path, |_| Ok(()))?;
            }
        }
        let (connection, unchecked) = match look(path, first)? {
            Look::Good {
                connection,
                unchecked,
            } => (connection, unchecked),
            Look::Damaged(why) => {
                aside::replace(path, &why, points)?;
                match look(path, false)? {
                    Look::Good { connection, .. } => (connection, false),
                    // It was made a moment ago.
                    Look::Damaged(_) => {
                        return Err(OpenError::DamagedAgain {
                            path: path.to_owned(),
                            kept: aside::kept(path),
                        });
                    }
                }
            }
        };
        let damage = aside::told(&connection).map_err(sqlite(path))?;
        let file = Self {
            connection,
            points: points.clone(),
        };
        Ok(Opened {
            file,
            damage: damage.filter(|damage| damage.moved_to.exists()),
            unchecked,
        })
    }

    /// Carries out all operations and commits them together, or none of them.
    pub(super) fn commit<'a>(
        &mut self,
        ops: impl Iterator<Item = &'a Op>,
        now: UnixMs,
    ) -> SqlResult<Vec<Answer>> {
        self.transaction(|rows| {
            ops.map(|op| apply(rows, op, now))
                .collect::<SqlResult<Vec<Answer>>>()
        })
    }

    fn transaction<T>(
        &mut self,
        work: impl FnOnce(&mut SqlRows<'_>) -> SqlResult<T>,
    ) -> SqlResult<T> {
        self.points.reach(Point::Begin)?;
        let transaction = Transaction::new(&mut self.connection, TransactionBehavior::Immediate)?;
        let mut rows = SqlRows {
            connection: &transaction,
            points: &self.points,
        };
        let done = work(&mut rows)?;
        self.points.reach(Point::Commit)?;
        transaction.commit()?;
        Ok(done)
    }

    /// Of what was with a platform when the last supervisor died, it is now said that it may have arrived.
    pub(super) fn recall_sends(&mut self) -> SqlResult<usize> {
        self.transaction(|rows| rows.recall_sends())
    }

    /// Whether there is room for some more: writes what a large message would, and takes it back.
    pub(super) fn probe(&mut self) -> SqlResult<()> {
        self.transaction(|rows| {
            rows.connection.execute(
                "INSERT OR REPLACE INTO meta (key, value) VALUES ('probe', ?1)",
                params!["x".repeat(PROBE_BYTES)],
            )?;
            Ok(())
        })?;
        self.transaction(|rows| {
            rows.connection
                .execute("DELETE FROM meta WHERE key = 'probe'", ())?;
            Ok(())
        })
    }

    /// Copies what the write-ahead log has into the file, as far as no reader needs it.
    pub(super) fn checkpoint(&self) -> SqlResult<()> {
        self.points.reach(Point::Checkpoint)?;
        self.connection
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()))
    }

    pub(super) fn size(&self) -> SqlResult<Size> {
        let pragma = |name| {
            self.connection
                .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
                .map(i64::unsigned_abs)
        };
        let (page, count, free) = (
            pragma("page_size")?,
            pragma("page_count")?,
            pragma("freelist_count")?,
        );
        Ok(Size {
            used: page * count.saturating_sub(free),
            free: page * free,
            over_limit: false,
        })
    }

    /// Closes it as it is, without copying its log into it.
    pub(super) fn leave(self) {
        let no_copy = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        // At worst the log is copied all the same, as it is wherever a journal is closed.
        let _ = self.connection.set_db_config(no_copy, true);
    }

    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    pub(super) fn points(&self) -> &FailPoints {
        &self.points
    }
}

/// What a probe writes.
const PROBE_BYTES: usize = 64 * 1024;

/// Opens a file that exists, and says what it is.
fn look(path: &Path, with_log: bool) -> Result<Look, OpenError> {
    let bytes = fs::metadata(path).map_err(io_error(path, "read"))?.len();
    if bytes == 0 {
        // Not even to be opened: SQLite would take it for new, and delete its log.
        return Ok(Look::Damaged("it is empty".to_owned()));
    }
    let lost = if with_log {
        log::lost_commits(path).map_err(io_error(path, "read"))?
    } else {
        0
    };
    if lost > 0 {
        let why = format!("its log is damaged in front of {lost} commits");
        return Ok(Look::Damaged(why));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let looked = Connection::open_with_flags(path, flags)
        .map_err(sqlite(path))
        .and_then(|connection| {
            check(path, &connection, bytes)?;
            Ok(connection)
        });
    match looked {
        Ok(mut connection) => {
            let configured = configure(&connection).and_then(|()| {
                let version = header(&connection, "user_version")?;
                migrate(&mut connection, version, VERSION)
            });
            match configured {
                Ok(()) => Ok(Look::Good {
                    connection,
                    unchecked: bytes > CHECK_AT_OPEN,
                }),
                Err(source) => damaged_or(sqlite(path)(source)),
            }
        }
        Err(error) => damaged_or(error),
    }
}

fn damaged_or(error: OpenError) -> Result<Look, OpenError> {
    match error {
        OpenError::Sqlite { source, .. } if classify(&source) == Class::Damaged => {
            Ok(Look::Damaged(source.to_string()))
        }
        error => Err(error),
    }
}

fn header(connection: &Connection, name: &str) -> SqlResult<i32> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

fn corrupt(what: impl Into<String>) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, Some(what.into()))
}

fn check(path: &Path, connection: &Connection, bytes: u64) -> Result<(), OpenError> {
    let sqlite = sqlite(path);
    connection.busy_timeout(BUSY_TIMEOUT).map_err(&sqlite)?;
    // The first read: what is no database is found here, before anything is written.
    let version = header(connection, "user_version").map_err(&sqlite)?;
    let id = header(connection, "application_id").map_err(&sqlite)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))
        .map_err(&sqlite)?;
    if tables == 0 {
        return Err(sqlite(corrupt("it is empty")));
    }
    if id != APPLICATION_ID {
        let path = path.to_owned();
        return Err(OpenError::Foreign { path });
    }
    if version > VERSION {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found: version,
            known: VERSION,
        });
    }
    if bytes <= CHECK_AT_OPEN {
        quick_check(connection).map_err(&sqlite)?;
    }
    Ok(())
}

/// Reads the whole file and says what is wrong with it first.
pub(super) fn quick_check(connection: &Connection) -> SqlResult<()> {
    let said: Option<String> = connection
        .query_row("PRAGMA quick_check(1)", (), |row| row.get(0))
        .optional()?;
    match said.as_deref() {
        None | Some("ok") => Ok(()),
        // It may have several lines, the first of which names a table.
        Some(said) => Err(corrupt(said.lines().next_back().unwrap_or(said))),
    }
}

/// A small cache: what is open is a few pages, and a supervisor is small.
fn configure(connection: &Connection) -> SqlResult<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A commit is on the disk when it returns, through a power cut too.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Copying the log into the file is done between groups, when everybody has been told.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
    connection.pragma_update(None, "cache_size", -512)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(48);
    Ok(())
}

/// Makes a journal under another name, lets `fill` write into it, and moves it into place.
pub(super) fn create(
    path: &Path,
    fill: impl FnOnce(&mut Connection) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    let new = beside(path, ".new");
    for leftover in [
        new.clone(),
        wal(&new),
        beside(&new, "-shm"),
        beside(&new, "-journal"),
    ] {
        remove_if_there(&leftover)?;
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(io_error(&new, "made"))?;
    let sqlite = sqlite(&new);
    let mut connection = Connection::open(&new).map_err(&sqlite)?;
    // Only possible before the first table.
    connection
        .pragma_update(None, "page_size", PAGE_BYTES)
        .and_then(|()| connection.pragma_update(None, "auto_vacuum", "INCREMENTAL"))
        .map_err(&sqlite)?;
    configure(&connection).map_err(&sqlite)?;
    fill(&mut connection)?;
    let version = header(&connection, "user_version").map_err(&sqlite)?;
    migrate(&mut connection, version, VERSION).map_err(&sqlite)?;
    connection.close().map_err(|(_, source)| sqlite(source))?;
    if wal(&new).exists() {
        return Err(sqlite(corrupt("its log could not be copied into it")));
    }
    sync(&new)?;
    fs::rename(&new, path).map_err(io_error(path, "put in its place"))?;
    sync_directory(path)
}

pub(super) fn remove_if_there(path: &Path) -> Result<(), OpenError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(io_error(path, "removed")(source))
        }
        _ => Ok(()),
    }
}

pub(super) fn sync(path: &Path) -> Result<(), OpenError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(io_error(path, "written to the disk"))
}

/// Puts the names in the directory of `path` on the disk.
pub(super) fn sync_directory(path: &Path) -> Result<(), OpenError> {
    match path.parent() {
        Some(directory) => sync(directory),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
