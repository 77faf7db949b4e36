//! The end of an agent's log, read backwards so that its length does not matter.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

/// The most lines that are given.
pub(super) const TAIL_MAX_LINES: usize = 10_000;

/// The most that is read for them, in bytes.
const TAIL_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// What is read at once.
const BLOCK_BYTES: u64 = 64 * 1024;

/// The last `lines` lines of a log and, when it was just turned over, of the one before. Blocks. A
/// log that does not exist is empty.
pub(super) fn tail(path: &Path, lines: usize) -> io::Result<Vec<String>> {
    let lines = lines.min(TAIL_MAX_LINES);
    let mut found = tail_of(path, lines)?;
    if found.len() < lines {
        let mut before = tail_of(&path.with_extension("log.1"), lines - found.len())?;
        before.append(&mut found);
        found = before;
    }
    Ok(found)
}

fn tail_of(path: &Path, lines: usize) -> io::Result<Vec<String>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        opened => opened?,
    };
    let end = file.seek(SeekFrom::End(0))?;
    let (mut start, mut bytes) = (end, Vec::new());
    while start > 0 && end - start < TAIL_MAX_BYTES && newlines(&bytes) <= lines {
        let block = BLOCK_BYTES.min(start);
        start -= block;
        file.seek(SeekFrom::Start(start))?;
        let mut read = Vec::new();
        file.by_ref().take(block).read_to_end(&mut read)?;
        read.append(&mut bytes);
        bytes = read;
    }
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    Ok(all[all.len().saturating_sub(lines)..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect())
}

#[expect(
    clippy::naive_bytecount,
    reason = "a few blocks for a person; not worth a dependency"
)]
fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_tail_crosses_blocks_and_a_rotation() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        assert_eq!(tail(&path, 5).unwrap(), Vec::<String>::new());
        let numbered = |range: std::ops::Range<u32>| {
            let lines: Vec<String> = range.map(|n| format!("{n} {}", "x".repeat(100))).collect();
            lines.join("\n") + "\n"
        };
        fs::write(directory.path().join("a.log.1"), numbered(0..2_000)).unwrap();
        fs::write(&path, numbered(2_000..4_000)).unwrap();
        for wanted in [1, 700, 1_999, 2_001] {
            let found = tail(&path, wanted).unwrap();
            let numbers: Vec<usize> = found
                .iter()
                .map(|line| line.split(' ').next().unwrap().parse().unwrap())
                .collect();
            assert_eq!(numbers, (4_000 - wanted..4_000).collect::<Vec<_>>());
        }
    }
}
