//! Output of any length: what is short is told whole; of what is long, head and tail are told, and all of
//! it goes to a file in the agent's own folder, where the model can read on.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::RESULT_MAX_BYTES;

/// The most that is kept of one output.
const KEPT_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// How many are kept; the oldest go.
const FILES_MAX: usize = 32;

/// The beginning and the end of a long output that are told.
const HEAD_BYTES: usize = RESULT_MAX_BYTES - TAIL_BYTES;
const TAIL_BYTES: usize = 8 * 1024;

/// Where long output goes.
#[derive(Debug, Clone)]
pub(super) struct Spool {
    folder: Arc<Path>,
    kept_max: u64,
}

impl Spool {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder: folder.into(),
            kept_max: KEPT_MAX_BYTES,
        }
    }

    #[cfg(test)]
    pub(super) fn with_limit(mut self, kept_max: u64) -> Self {
        self.kept_max = kept_max;
        self
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes room, and a file that is nobody else's.
    fn create(&self, name: &str) -> io::Result<(PathBuf, File)> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)?;
        let mut files: Vec<_> = fs::read_dir(&self.folder)?
            .filter_map(|entry| {
                let entry = entry.ok()?;
                Some((entry.metadata().ok()?.modified().ok()?, entry.path()))
            })
            .collect();
        files.sort();
        for (_, path) in files.iter().rev().skip(FILES_MAX - 1) {
            let _ = fs::remove_file(path);
        }
        let path = self.folder.join(format!("{name}.txt"));
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok((path, file))
    }
}

/// An output as it comes. Its methods block: they write files.
#[derive(Debug)]
pub(super) struct Output {
    spool: Spool,
    name: String,
    /// All of it, as long as it is short; then its head.
    head: Vec<u8>,
    /// Its last bytes, once it is long.
    tail: Vec<u8>,
    file: Option<Result<(PathBuf, File), String>>,
    length: u64,
}

impl Output {
    pub(super) fn new(spool: Spool, name: &str) -> Self {
        Self {
            spool,
            name: name.to_owned(),
            head: Vec::new(),
            tail: Vec::new(),
            file: None,
            length: 0,
        }
    }

    /// Whether taking so many bytes more writes to a file.
    pub(super) fn is_long_with(&self, bytes: usize) -> bool {
        self.file.is_some() || self.head.len() + bytes > RESULT_MAX_BYTES
    }

    /// Takes what follows.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        if !self.is_long_with(bytes.len()) {
            self.head.extend_from_slice(bytes);
            self.length += bytes.len() as u64;
            return;
        }
        if self.file.is_none() {
            let made = self.spool.create(&self.name);
            self.file = Some(made.map_err(|error| error.to_string()));
            self.length = 0;
            let before = std::mem::take(&mut self.head);
            self.keep(&before);
        }
        self.keep(bytes);
    }

    fn keep(&mut self, bytes: &[u8]) {
        if let Some(Ok((_, file))) = &mut self.file {
            let room = self.spool.kept_max.saturating_sub(self.length);
            let kept = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            if let Err(error) = file.write_all(&bytes[..kept]) {
                self.file = Some(Err(error.to_string()));
            }
        }
        self.length += bytes.len() as u64;
        let (head, rest) = bytes.split_at(bytes.len().min(HEAD_BYTES - self.head.len()));
        self.head.extend_from_slice(head);
        let new = &rest[rest.len().saturating_sub(TAIL_BYTES)..];
        let old = (self.tail.len() + new.len()).saturating_sub(TAIL_BYTES);
        self.tail.drain(..old);
        self.tail.extend_from_slice(new);
    }

    /// What the model is told.
    pub(super) fn tell(self) -> String {
        let head = String::from_utf8_lossy(&self.head);
        let Some(file) = self.file else {
            return head.into_owned();
        };
        let told = (self.head.len() + self.tail.len()) as u64;
        let length = self.length;
        let left_out = length - told;
        let whole = match file {
            Ok((path, _)) if length > self.spool.kept_max => format!(
                "the first {} of all {length} are in {}",
                self.spool.kept_max,
                path.display()
            ),
            Ok((path, _)) => format!("all {length} are in {}: read it there", path.display()),
            Err(error) => format!("they could not be kept: {error}"),
        };
        let tail = String::from_utf8_lossy(&self.tail);
        format!("{head}\n[{left_out} bytes are left out here; {whole}]\n{tail}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(limit: u64) -> (tempfile::TempDir, Output) {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::new(dir.path().join("output")).with_limit(limit);
        (dir, Output::new(spool, "abc"))
    }

    #[test]
    fn short_output_is_told_whole_and_leaves_no_file() {
        let (dir, mut output) = output(1 << 20);
        output.take(&vec![b'x'; RESULT_MAX_BYTES - 1]);
        output.take(b"y");
        assert_eq!(
            output.tell(),
            format!("{}y", "x".repeat(RESULT_MAX_BYTES - 1))
        );
        assert!(!dir.path().join("output").exists());
    }

    #[test]
    fn long_output_is_told_by_its_ends_and_kept_whole() {
        let (dir, mut output) = output(1 << 20);
        let mut all = Vec::new();
        for number in 0..20_000 {
            let line = format!("line {number}\n");
            all.extend_from_slice(line.as_bytes());
            output.take(line.as_bytes());
        }
        let told = output.tell();
        let path = dir.path().join("output/abc.txt");
        assert_eq!(fs::read(&path).unwrap(), all);
        assert!(told.starts_with("line 0\nline 1\n") && told.ends_with("line 19999\n"));
        assert!(told.contains(path.to_str().unwrap()), "{told}");
        assert!(told.len() < RESULT_MAX_BYTES + 300, "{}", told.len());
        let left_out = all.len() - RESULT_MAX_BYTES;
        assert!(told.contains(&format!("[{left_out} bytes are left out")));
    }

    #[test]
    fn long_output_may_come_at_once_or_in_pieces_of_any_length() {
        let all: Vec<u8> = (0..60_000u32)
            .map(|n| b'a' + n.to_le_bytes()[0] % 26)
            .collect();
        let told = [all.len(), 1, 7, 9_000, 17_000].map(|length| {
            let (dir, mut output) = output(1 << 20);
            for piece in all.chunks(length) {
                output.take(piece);
            }
            let told = output.tell();
            assert_eq!(fs::read(dir.path().join("output/abc.txt")).unwrap(), all);
            told.replace(dir.path().to_str().unwrap(), "")
        });
        assert!(told.iter().all(|other| *other == told[0]));
    }

    #[test]
    fn output_beyond_all_bounds_is_counted_only() {
        let (dir, mut output) = output(100_000);
        for _ in 0..100 {
            output.take(&[0xff; 10_000]);
        }
        let told = output.tell();
        assert!(
            told.contains("the first 100000 of all 1000000 are in"),
            "{told}"
        );
        let kept = fs::metadata(dir.path().join("output/abc.txt")).unwrap();
        assert_eq!(kept.len(), 100_000);
    }

    #[test]
    fn a_full_disk_is_told() {
        let (dir, mut output) = output(1 << 20);
        fs::write(dir.path().join("output"), "not a folder").unwrap();
        output.take(&vec![b'x'; 100_000]);
        assert!(output.tell().contains("could not be kept"));
    }

    #[test]
    fn old_files_go() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::new(dir.path().join("output"));
        for number in 0..FILES_MAX + 5 {
            let mut output = Output::new(spool.clone(), &format!("n{number}"));
            output.take(&vec![b'x'; RESULT_MAX_BYTES + 1]);
            output.tell();
        }
        let left = fs::read_dir(spool.folder()).unwrap().count();
        assert_eq!(left, FILES_MAX);
        let last = format!("n{}.txt", FILES_MAX + 4);
        assert!(spool.folder().join(last).exists());
    }
}
