//! A damaged file makes room for a new one: moved to a name that nothing has, read as far as it can be
//! read, and kept.
//!
//! ```text
//! note "moving" ─► file and its log get the new name ─► journal.db.new is filled ─► it becomes journal.db ─► no note
//! ```
//!
//! Each arrow may be the last thing that this process does: the next one finds the note and goes on
//! there. So there is never a journal without what could be read of the one before.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use rusqlite::{Connection, OptionalExtension as _, params};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use tracing::error;

use super::{
    entry::UnixMs,
    failpoint::{FailPoints, Point},
    file::{OpenError, beside, create, io_error, remove_if_there, sqlite, sync_directory, wal},
    health::Damage,
    now_ms,
    salvage::salvage,
    sql::SqlResult,
};

/// So many damaged files may lie beside the journal. One more, and the disk is not to be trusted with
/// another copy.
const KEPT_MAX: usize = 8;

/// What is about to be done.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// The name that the damaged file gets.
    name: String,
    why: String,
    at: UnixMs,
}

fn note_path(path: &Path) -> PathBuf {
    beside(path, ".moving")
}

/// Moves the file at `path` aside and puts a new one in its place, with what could be read.
pub(super) fn replace(path: &Path, why: &str, points: &FailPoints) -> Result<(), OpenError> {
    begin(path, why, points)?;
    resume(path, points)
}

/// Notes that the file at `path` is to be moved: from now on it is, whatever happens to this process.
pub(super) fn begin(path: &Path, why: &str, points: &FailPoints) -> Result<(), OpenError> {
    let kept = kept(path);
    if kept >= KEPT_MAX {
        let path = path.to_owned();
        return Err(OpenError::DamagedAgain { path, kept });
    }
    let at = now_ms();
    let note = Note {
        name: free_name(path, at),
        why: why.to_owned(),
        at,
    };
    points.reach(Point::AsideNote).map_err(sqlite(path))?;
    let (place, draft) = (note_path(path), beside(path, ".moving.new"));
    remove_if_there(&draft)?;
    let text = serde_json::to_vec(&note).expect("a note is JSON");
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&draft, &place))
        .map_err(io_error(&place, "written"))?;
    sync_directory(path)
}

/// Goes on where the note says that something was begun.
pub(super) fn resume(path: &Path, points: &FailPoints) -> Result<(), OpenError> {
    let place = note_path(path);
    let note: Note = match fs::read(&place) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|error| io_error(&place, "understood")(error.into()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error(&place, "read")(error)),
    };
    let aside = path.with_file_name(&note.name);
    let pass = |point| points.reach(point).map_err(sqlite(path));
    if !(aside.exists() && path.exists()) {
        pass(Point::AsideMove)?;
        if !aside.exists() {
            if path.exists() {
                rename_to_nothing(path, &aside)?;
            } else {
                // Its main file is gone; the name is taken all the same, and its log gets it too.
                let file = OpenOptions::new().write(true).create_new(true).open(&aside);
                file.map_err(io_error(&aside, "made"))?;
            }
        }
        pass(Point::AsideMove)?;
        if wal(path).exists() {
            rename_to_nothing(&wal(path), &wal(&aside))?;
        }
        // Only an index of the log, made anew from it.
        remove_if_there(&beside(path, "-shm"))?;
        sync_directory(path)?;
        let mut damage = Damage {
            at: note.at,
            why: note.why,
            moved_to: aside.clone(),
            kept: super::health::Kept::default(),
            lost: super::health::Lost::default(),
        };
        let had_log = fs::metadata(wal(&aside)).is_ok_and(|log| log.len() > 0);
        create(path, |new| {
            salvage(&aside, new, &mut damage).map_err(sqlite(path))?;
            tell(new, &damage).map_err(sqlite(path))?;
            pass(Point::AsidePlace)
        })?;
        // Left by the reading.
        remove_if_there(&beside(&aside, "-shm"))?;
        if !had_log {
            remove_if_there(&wal(&aside))?;
        }
        error!(
            moved_to = %damage.moved_to.display(),
            lost = !damage.lost.nothing(),
            "the journal was damaged and is made anew: {damage}"
        );
    }
    pass(Point::AsideDone)?;
    remove_if_there(&place)?;
    sync_directory(path)
}

/// Like `rename`, but never over something.
fn rename_to_nothing(from: &Path, to: &Path) -> Result<(), OpenError> {
    let moved = match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // This file system has no such call. A second name can only be made where there is none.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => {
            fs::hard_link(from, to).and_then(|()| fs::remove_file(from))
        }
        moved => moved.map_err(io::Error::from),
    };
    moved.map_err(io_error(to, "moved there"))
}

/// `journal.damaged-<time>-<n>`, which no file has.
fn free_name(path: &Path, at: UnixMs) -> String {
    let stem = stem(path);
    let at = UNIX_EPOCH + Duration::from_millis(at.unsigned_abs());
    let time = humantime::format_rfc3339_seconds(at)
        .to_string()
        .replace(['-', ':'], "");
    (1..=u32::MAX)
        .map(|n| format!("{stem}.damaged-{time}-{n}"))
        .find(|name| {
            let free = |path: PathBuf| path.symlink_metadata().is_err();
            let name = path.with_file_name(name);
            free(wal(&name)) && free(name)
        })
        .expect("a directory has an end")
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// How many damaged files lie beside `path`.
pub(super) fn kept(path: &Path) -> usize {
    let prefix = format!("{}.damaged-", stem(path));
    let directory = path.parent().and_then(|parent| fs::read_dir(parent).ok());
    directory
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with(&prefix) && !name.ends_with("-wal") && !name.ends_with("-shm")
        })
        .count()
}

fn tell(connection: &Connection, damage: &Damage) -> SqlResult<()> {
    let text = serde_json::to_string(damage).expect("damage is JSON");
    connection.execute(
        "INSERT OR REPLACE INTO meta (key, value) VALUES ('damage', ?1)",
        params![text],
    )?;
    connection.execute(
        "INSERT INTO audit (at_ms, what, detail) VALUES (?1, 'damage', ?2)",
        params![damage.at, damage.to_string()],
    )?;
    Ok(())
}

/// What was told when this journal was made in place of another.
pub(super) fn told(connection: &Connection) -> SqlResult<Option<Damage>> {
    let text: Option<String> = connection
        .query_row("SELECT value FROM meta WHERE key = 'damage'", (), |row| {
            row.get(0)
        })
        .optional()?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

#[cfg(test)]
mod tests;
