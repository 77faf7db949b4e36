//! The texts of a configuration: reading them within limits, finding lines in them, masking secrets in them.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, Location};
use super::mask;

/// A configuration file larger than this is refused before it is read.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// More files than this are refused.
pub const MAX_FILES: usize = 1024;

/// The folder beside the main file whose `*.toml` files belong to the configuration.
pub const FRAGMENTS: &str = "agents.d";

struct SourceFile {
    path: PathBuf,
    shown: String,
    text: String,
}

/// The files of a configuration; the first is the main one.
#[derive(Default)]
pub(super) struct Sources {
    files: Vec<SourceFile>,
}

/// A run of whole lines of a file.
pub(super) struct Window<'a> {
    pub(super) text: &'a str,
    pub(super) start: usize,
    /// The number of its first line, from 1.
    pub(super) line: usize,
}

impl Sources {
    pub(super) fn new(files: &[(PathBuf, String)]) -> Self {
        Self {
            files: files
                .iter()
                .map(|(path, text)| SourceFile {
                    path: path.clone(),
                    shown: path.display().to_string(),
                    text: text.clone(),
                })
                .collect(),
        }
    }

    /// Hides the given values, and whatever else looks like one, from everything that is shown later.
    pub(super) fn mask(&mut self, secrets: &[Location]) {
        for (index, file) in self.files.iter_mut().enumerate() {
            let known = secrets.iter().filter(|at| at.file == index);
            mask::mask(&mut file.text, known.map(|at| at.span.clone()));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.files.iter().map(|file| file.path.clone()).collect()
    }

    pub(super) fn shown(&self, file: usize) -> &str {
        self.files.get(file).map_or("", |file| &file.shown)
    }

    fn text(&self, file: usize) -> &str {
        self.files.get(file).map_or("", |file| &file.text)
    }

    /// Line and column (in characters), both from 1.
    pub(super) fn position(&self, at: &Location) -> (usize, usize) {
        let text = self.text(at.file);
        let start = floor(text, at.span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |n| n + 1);
        (
            1 + newlines(&text[..start]),
            1 + text[line_start..start].chars().count(),
        )
    }

    /// The span, cut at the end of its first line: a caret is for one line.
    pub(super) fn first_line(&self, at: &Location) -> Range<usize> {
        let text = self.text(at.file);
        let start = floor(text, at.span.start);
        let line_end = text[start..]
            .find(['\n', '\r'])
            .map_or(text.len(), |n| start + n);
        let end = floor(text, at.span.end).clamp(start, line_end);
        start..end
    }

    /// The whole lines that the spans touch, first to last.
    pub(super) fn window(&self, file: usize, spans: &[Range<usize>]) -> Window<'_> {
        let text = self.text(file);
        let start = spans.iter().map(|s| s.start).min().unwrap_or(0);
        let end = spans.iter().map(|s| s.end).max().unwrap_or(0);
        let start = text[..start].rfind('\n').map_or(0, |n| n + 1);
        let end = text[end..].find('\n').map_or(text.len(), |n| end + n);
        Window {
            text: &text[start..end],
            start,
            line: 1 + newlines(&text[..start]),
        }
    }
}

/// Without the texts: they are long, and the user's.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.paths()).finish()
    }
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// The nearest character boundary at or before `index`.
fn floor(text: &str, index: usize) -> usize {
    text.floor_char_boundary(index)
}

/// Reads the main file and the fragments beside it.
pub(super) fn read(main: &Path) -> Result<Vec<(PathBuf, String)>, Vec<Diagnostic>> {
    let mut files = Vec::new();
    let mut found = Vec::new();
    match read_file(main) {
        Ok(text) => files.push((main.to_owned(), text)),
        Err(ReadError { title, missing }) => {
            let mut diagnostic = Diagnostic::error(title).in_file(main);
            if missing {
                diagnostic = diagnostic
                    .hint("create one with `kennel init`, or name another with `--config <file>`");
            }
            found.push(diagnostic);
        }
    }
    let folder = main.parent().unwrap_or(Path::new("")).join(FRAGMENTS);
    match fragments(&folder) {
        Ok(paths) => {
            for path in paths {
                match read_file(&path) {
                    Ok(text) => files.push((path, text)),
                    Err(error) => found.push(Diagnostic::error(error.title).in_file(path)),
                }
            }
        }
        Err(title) => found.push(Diagnostic::error(title).in_file(folder)),
    }
    if found.is_empty() {
        Ok(files)
    } else {
        Err(found)
    }
}

/// The text of a file, if it can be had.
pub(super) fn text_of(path: &Path) -> Option<String> {
    read_file(path).ok()
}

/// The files that a configuration consists of now, the main one first, whether they can be read or not.
pub fn files(main: &Path) -> Vec<PathBuf> {
    let folder = main.parent().unwrap_or(Path::new("")).join(FRAGMENTS);
    let mut files = vec![main.to_owned()];
    files.extend(fragments(&folder).unwrap_or_default());
    files
}

/// The `*.toml` files of the fragments folder by name; hidden files are not ours.
fn fragments(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: std::io::Error| format!("failed to list this folder: {error}");
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let hidden = path
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden
            && path
                .extension()
                .is_some_and(|extension| extension == "toml")
        {
            paths.push(path);
        }
        if paths.len() >= MAX_FILES {
            return Err(format!(
                "this folder holds more than {} files: put several agents into one",
                MAX_FILES - 1
            ));
        }
    }
    paths.sort();
    Ok(paths)
}

struct ReadError {
    title: String,
    missing: bool,
}

fn read_file(path: &Path) -> Result<String, ReadError> {
    let failed = |error: std::io::Error| ReadError {
        title: format!("failed to read this file: {error}"),
        missing: error.kind() == std::io::ErrorKind::NotFound,
    };
    let refused = |title: String| ReadError {
        title,
        missing: false,
    };
    // Asked before opening: opening a FIFO would wait for a writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(refused("this is not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(failed)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(refused(format!(
            "this file is larger than {} MiB",
            MAX_FILE_BYTES / (1024 * 1024)
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        refused(format!("this file is not UTF-8: byte {at} is not text"))
    })
}
