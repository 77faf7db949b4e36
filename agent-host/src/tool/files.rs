//! The tools `read`, `write`, `edit` and `list`. Synchronous: they run in the blocking pool.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, Dir, FileType, statat};

use super::{
    RESULT_MAX_BYTES,
    arguments::{Edit, List, Read, Write},
    beneath::{Folder, words},
};

/// Lines of a file, when nobody says how many.
const LINES: u64 = 500;

/// How far into a file lines are looked for.
const SCANNED_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The longest file that is edited.
const EDITED_MAX_BYTES: u64 = 1024 * 1024;

/// The most entries of a folder that are looked at, and told.
const ENTRIES_MAX: usize = 10_000;
const ENTRIES_TOLD: usize = 500;

/// A text for the model, or what was wrong.
pub(super) type Done = Result<String, String>;

/// Where files are.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) workspace: PathBuf,
    /// Where long output is; it may be read too.
    pub(super) output: PathBuf,
}

impl Files {
    fn workspace(&self) -> Result<Folder, String> {
        Folder::open(&self.workspace)
            .map_err(|error| format!("the workspace cannot be opened: {error}"))
    }

    pub(super) fn read(&self, wanted: &Read) -> Done {
        let path = Path::new(&wanted.path);
        let opened = if path.starts_with(&self.output) {
            Folder::open(&self.output).and_then(|output| output.read(path))
        } else {
            self.workspace()?.read(path)
        };
        let lines = opened.and_then(|file| {
            let first = wanted.offset.unwrap_or(1).max(1);
            lines(file, first, wanted.limit.unwrap_or(LINES).max(1))
        });
        lines.map_err(|error| words(&wanted.path, &error))
    }

    pub(super) fn write(&self, wanted: &Write) -> Done {
        let Write { path, content } = wanted;
        self.workspace()?
            .write(Path::new(path), content.as_bytes())
            .map_err(|error| words(path, &error))?;
        Ok(format!("wrote {} bytes", content.len()))
    }

    pub(super) fn edit(&self, wanted: &Edit) -> Done {
        let workspace = self.workspace()?;
        let path = Path::new(&wanted.path);
        let told = |error: io::Error| words(&wanted.path, &error);
        let mut bytes = Vec::new();
        let file = workspace.read(path).map_err(told)?;
        file.take(EDITED_MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(told)?;
        if bytes.len() as u64 > EDITED_MAX_BYTES {
            let limit = EDITED_MAX_BYTES / 1024;
            return Err(format!(
                "the file is longer than {limit} KiB; use other means"
            ));
        }
        let text = String::from_utf8(bytes).map_err(|_| "the file is not text".to_owned())?;
        let (text, count) = replace(&text, wanted)?;
        workspace.write(path, text.as_bytes()).map_err(told)?;
        Ok(match count {
            1 => "replaced it".to_owned(),
            count => format!("replaced it {count} times"),
        })
    }

    pub(super) fn list(&self, wanted: &List) -> Done {
        let told = |error: io::Error| words(&wanted.path, &error);
        let folder = self.workspace()?.list(Path::new(&wanted.path));
        let folder = folder.map_err(told)?;
        let mut entries = Vec::new();
        let mut more = false;
        for entry in Dir::read_from(&folder).map_err(|errno| told(errno.into()))? {
            let entry = entry.map_err(|errno| told(errno.into()))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if entries.len() == ENTRIES_MAX {
                more = true;
                break;
            }
            let line = match statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) => match FileType::from_raw_mode(found.st_mode) {
                    FileType::Directory => format!("{}/", shown(name.to_bytes())),
                    FileType::RegularFile => {
                        format!("{}  {}", shown(name.to_bytes()), found.st_size)
                    }
                    FileType::Symlink => format!("{}  (link)", shown(name.to_bytes())),
                    _ => format!("{}  (special)", shown(name.to_bytes())),
                },
                // It went meanwhile.
                Err(_) => continue,
            };
            entries.push(line);
        }
        entries.sort();
        Ok(told_entries(&entries, more))
    }
}

fn told_entries(entries: &[String], more: bool) -> String {
    let mut text = String::new();
    let mut told = 0;
    for line in entries.iter().take(ENTRIES_TOLD) {
        if text.len() + line.len() >= RESULT_MAX_BYTES {
            break;
        }
        let _ = writeln!(text, "{line}");
        told += 1;
    }
    let left = entries.len() - told;
    if more {
        let _ = write!(text, "[and more than {left} others]");
    } else if left > 0 {
        let _ = write!(text, "[and {left} others]");
    } else if entries.is_empty() {
        text.push_str("[the folder is empty]");
    }
    text
}

/// A name in one line.
fn shown(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    name.chars().map(plain).collect()
}

fn replace(text: &str, wanted: &Edit) -> Result<(String, usize), String> {
    if wanted.old.is_empty() {
        return Err("`old` is empty".into());
    }
    let count = text.matches(&wanted.old).count();
    let replaced = match (count, wanted.all) {
        (0, _) => return Err("`old` is not in the file".into()),
        (1, _) | (_, true) => count.saturating_mul(wanted.new.len()) + text.len(),
        (count, false) => {
            return Err(format!(
                "`old` is in the file {count} times: give more of what is around it, or set `all`"
            ));
        }
    };
    if replaced as u64 > 2 * EDITED_MAX_BYTES {
        return Err("the file would become too long".into());
    }
    Ok((text.replace(&wanted.old, &wanted.new), count))
}

/// At most `limit` lines from `first` on, and where to go on.
fn lines(file: File, first: u64, limit: u64) -> io::Result<String> {
    let mut reader = BufReader::with_capacity(64 * 1024, file.take(SCANNED_MAX_BYTES));
    let mut part = Part {
        first,
        end: first.saturating_add(limit),
        line: 1,
        begin: 0,
        text: Vec::new(),
        cut: false,
        full: false,
    };
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            let beyond = reader.into_inner().limit() == 0;
            return Ok(part.finish(beyond));
        }
        let length = bytes.len();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if part.is_over() {
                return Ok(part.finish(false));
            }
            part.take(piece);
        }
        reader.consume(length);
    }
}

/// The lines that are wanted, as they are collected.
struct Part {
    first: u64,
    /// The line behind the last that is wanted.
    end: u64,
    /// The line that is being read.
    line: u64,
    /// Where it begins in the text.
    begin: usize,
    text: Vec<u8>,
    /// Whether the first line that is wanted had no room for all of it.
    cut: bool,
    /// Whether a later one had none; it is told the next time, whole.
    full: bool,
}

impl Part {
    /// Whether what follows is not wanted, or has no room.
    fn is_over(&self) -> bool {
        self.full || self.line >= self.end || (self.cut && self.line > self.first)
    }

    fn take(&mut self, piece: &[u8]) {
        if self.line >= self.first {
            let room = RESULT_MAX_BYTES - self.text.len();
            if piece.len() > room && self.begin > 0 {
                self.full = true;
                return;
            }
            self.cut |= piece.len() > room;
            self.text.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        if piece.ends_with(b"\n") {
            self.line += 1;
            self.begin = self.text.len();
        }
    }

    /// The text, and in brackets what there is to know; `beyond` says that the file was not read to its end.
    fn finish(mut self, beyond: bool) -> String {
        if self.full {
            self.text.truncate(self.begin);
        }
        let mut notes = Vec::new();
        if self.cut {
            notes.push(format!("[line {} was cut: it is too long]", self.first));
        }
        if self.full || (self.cut && self.line > self.first) {
            notes.push(format!(
                "[there may be more: go on with offset {}]",
                self.line
            ));
        } else if self.line >= self.end {
            notes.push(format!(
                "[there may be more: go on with offset {}]",
                self.end
            ));
        } else if beyond {
            let limit = SCANNED_MAX_BYTES / 1024 / 1024;
            notes.push(format!("[only the first {limit} MiB can be read]"));
        } else if self.text.is_empty() {
            notes.push(match self.first {
                1 => "[the file is empty]".to_owned(),
                first => format!("[there is no line {first}: the file ends before]"),
            });
        }
        let mut text = String::from_utf8_lossy(&self.text).into_owned();
        for note in notes {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&note);
        }
        text
    }
}
