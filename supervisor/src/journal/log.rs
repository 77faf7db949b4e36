//! A look into a write-ahead log before SQLite does: whether a part of it that was acknowledged cannot be
//! reached any more.
//!
//! SQLite reads a log up to the first frame that is not as it was written, and takes that for its end, since
//! a power cut leaves it so. A damaged frame in the middle would end it just as well, in silence, and with it
//! go all commits behind it. They can be told apart: a commit is synced before the next one begins, so
//! behind the end that a power cut leaves there is at most one more commit. Where there are two, and the file
//! does not have their pages either, something was lost.
//!
//! A frame behind the damage is believed when its checksum follows from that of the frame before it, which
//! it names. Of the last commit alone nobody can tell.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    path::Path,
};

use super::file::wal;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// Behind its last bit, which says how the words of a checksum are read.
const MAGIC: u32 = 0x377f_0682;

/// Salts, which all frames of one log share.
type Salts = [u8; 8];
type Checksum = (u32, u32);

struct Log {
    file: File,
    page_size: usize,
    big_endian: bool,
    /// Of the header; nothing where it is damaged itself.
    start: Option<(Salts, Checksum)>,
}

struct Frame {
    page: u32,
    commits: bool,
    salts: Salts,
    named: Checksum,
    /// What makes the checksum: a part of its header, and the page.
    summed: Vec<u8>,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(word)
}

fn sum(big_endian: bool, seed: Checksum, bytes: &[u8]) -> Checksum {
    let (mut first, mut second) = seed;
    for pair in bytes.chunks_exact(8) {
        let (mut a, mut b) = (word(pair, 0), word(pair, 4));
        if !big_endian {
            (a, b) = (a.swap_bytes(), b.swap_bytes());
        }
        first = first.wrapping_add(a).wrapping_add(second);
        second = second.wrapping_add(b).wrapping_add(first);
    }
    (first, second)
}

impl Log {
    /// Nothing where there is no log, or one without a frame.
    fn open(path: &Path, page_size: usize) -> io::Result<Option<Self>> {
        let mut file = match File::open(wal(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut header = [0; HEADER];
        if file.metadata()?.len() < (HEADER + FRAME_HEADER + page_size) as u64 {
            return Ok(None);
        }
        file.read_exact(&mut header)?;
        let magic = word(&header, 0);
        let big_endian = magic & 1 == 1;
        let named = (word(&header, 24), word(&header, 28));
        let good = magic & !1 == MAGIC
            && word(&header, 8) as usize == page_size
            && sum(big_endian, (0, 0), &header[..24]) == named;
        let mut salts = [0; 8];
        salts.copy_from_slice(&header[16..24]);
        Ok(Some(Self {
            file,
            page_size,
            // Without a header it is the machine's own order.
            big_endian: if good {
                big_endian
            } else {
                cfg!(target_endian = "big")
            },
            start: good.then_some((salts, named)),
        }))
    }

    fn offset(&self, index: u64) -> u64 {
        HEADER as u64 + index * (FRAME_HEADER + self.page_size) as u64
    }

    fn frame(&self, index: u64) -> io::Result<Option<Frame>> {
        let mut bytes = vec![0; FRAME_HEADER + self.page_size];
        match self.file.read_exact_at(&mut bytes, self.offset(index)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let mut salts = [0; 8];
        salts.copy_from_slice(&bytes[8..16]);
        let frame = Frame {
            page: word(&bytes, 0),
            commits: word(&bytes, 4) != 0,
            salts,
            named: (word(&bytes, 16), word(&bytes, 20)),
            summed: [&bytes[..8], &bytes[FRAME_HEADER..]].concat(),
        };
        Ok(Some(frame))
    }
}

/// How many commits of the log of the database at `path` were acknowledged, or all but the last of them,
/// and cannot be reached.
pub(super) fn lost_commits(path: &Path) -> io::Result<u64> {
    let database = File::open(path)?;
    let mut header = [0; 18];
    if database.read_exact_at(&mut header, 0).is_err() {
        return Ok(0);
    }
    let page_size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        size if size >= 512 && size.is_power_of_two() => usize::from(size),
        _ => return Ok(0),
    };
    let Some(log) = Log::open(path, page_size)? else {
        return Ok(0);
    };
    let mut reachable = log.start.is_some();
    let (mut salts, mut before) = match log.start {
        Some((salts, seed)) => (Some(salts), Some(seed)),
        None => (None, None),
    };
    // Behind the end that SQLite sees: commits, and where the pages of them are.
    let (mut commits, mut pages, mut open) = (0, HashMap::new(), HashMap::new());
    let mut index = 0;
    while let Some(frame) = log.frame(index)? {
        let follows =
            before.is_some_and(|before| sum(log.big_endian, before, &frame.summed) == frame.named);
        before = Some(frame.named);
        if follows {
            // Of a log without its header, by the first frame that is whole.
            salts.get_or_insert(frame.salts);
        }
        let believed = follows && salts == Some(frame.salts) && frame.page != 0;
        reachable &= believed;
        if believed && !reachable {
            open.insert(frame.page, index);
            if frame.commits {
                commits += 1;
                pages.extend(open.drain());
            }
        }
        index += 1;
    }
    if commits < 2 {
        return Ok(0);
    }
    let mut there = vec![0; page_size];
    for (page, index) in pages {
        let Some(frame) = log.frame(index)? else {
            continue;
        };
        let at = u64::from(page - 1) * page_size as u64;
        // A log that was copied into the file and then begun anew may end anywhere.
        if database.read_exact_at(&mut there, at).is_err() || there != frame.summed[8..] {
            return Ok(commits);
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::{
        super::{
            Reader,
            entry::State,
            file::JournalFile,
            op::Op,
            reader::View,
            tests::{home, message},
        },
        *,
    };

    #[test]
    fn a_damaged_log_loses_nothing_in_silence() {
        for seed in 0..24_u64 {
            let (_home, options) = home();
            let mut file = JournalFile::open(&options.path, &options.fail_points)
                .unwrap()
                .file;
            for number in 0..30 {
                let op = Op::Accept(Box::new(message("a", &number.to_string())));
                file.commit([&op].into_iter(), 1).unwrap();
            }
            file.leave();
            assert_eq!(lost_commits(&options.path).unwrap(), 0);
            let log = wal(&options.path);
            let bytes = std::fs::metadata(&log).unwrap().len();
            let mut random = fastrand::Rng::with_seed(seed);
            // Its header, too.
            let at = if seed == 0 {
                0
            } else {
                random.u64(..bytes - 64)
            };
            let writer = OpenOptions::new().write(true).open(&log).unwrap();
            writer.write_all_at(&[0x5A; 64], at).unwrap();
            drop(writer);
            let frame = (at.saturating_sub(32)) / 4120;
            let told = lost_commits(&options.path).unwrap();
            let opened = JournalFile::open(&options.path, &options.fail_points).unwrap();
            let reader = Reader::open(&options.path).unwrap();
            let left = reader.list(View::Open, None, None, 100).unwrap().entries;
            assert!(left.iter().all(|one| one.state == State::Queued));
            // The last two commits are beyond telling: a power cut may leave them so.
            if left.len() < 28 {
                assert!(
                    told > 0,
                    "seed {seed}: {} of 30 at frame {frame}",
                    left.len()
                );
                let damage = opened.damage.unwrap_or_else(|| panic!("seed {seed}"));
                assert!(damage.lost.commits > 0, "{damage}");
                assert!(damage.to_string().contains("messages may be lost"));
                assert!(wal(&damage.moved_to).exists(), "the log is kept");
            }
            if seed == 0 {
                assert!(left.is_empty() && told > 0);
            }
        }
    }

    #[test]
    fn a_log_that_was_begun_anew_is_whole() {
        let (_home, options) = home();
        let mut file = JournalFile::open(&options.path, &options.fail_points)
            .unwrap()
            .file;
        for number in 0..40 {
            let op = Op::Accept(Box::new(message("a", &number.to_string())));
            file.commit([&op].into_iter(), 1).unwrap();
            if number == 30 {
                file.checkpoint().unwrap();
            }
        }
        file.leave();
        assert_eq!(lost_commits(&options.path).unwrap(), 0);
        // The first frames of the new round did not arrive, the old ones behind them are copied already.
        let writer = OpenOptions::new()
            .write(true)
            .open(wal(&options.path))
            .unwrap();
        writer.write_all_at(&[7; 600], 600).unwrap();
        assert!(
            lost_commits(&options.path).unwrap() > 0,
            "ten were not copied yet"
        );
    }
}
