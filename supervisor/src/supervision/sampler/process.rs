//! What `/proc` says of single processes: where there is no group to ask, for this process, and for
//! questions that only a process can answer.

use std::{
    collections::HashMap,
    fs::{self, File},
    os::unix::fs::{FileExt as _, MetadataExt as _},
};

use super::{Detail, ReadUsage};
use crate::containment::Reading;

/// Longer than what is read: `stat` has 52 numbers and a name of at most 16 bytes, each of which may
/// be escaped.
const STAT_MAX: usize = 1536;

/// Reads one process through descriptors that stay open. They name the process, not its pid: one that
/// gets the pid later is never read.
#[derive(Debug)]
pub struct ProcessReader {
    stat: Option<File>,
    statm: Option<File>,
}

impl ProcessReader {
    /// For the process `pid`. One that is gone has nothing to tell.
    pub fn new(pid: i32) -> Self {
        let open = |file: &str| File::open(format!("/proc/{pid}/{file}")).ok();
        Self {
            stat: open("stat"),
            statm: open("statm"),
        }
    }
}

impl ReadUsage for ProcessReader {
    fn read(&mut self, _: Detail) -> Reading {
        let mut buffer = [0; STAT_MAX];
        let stat = text(self.stat.as_ref(), &mut buffer).and_then(stat);
        let memory = text(self.statm.as_ref(), &mut buffer).and_then(resident);
        Reading {
            cpu_us: stat.map(|(cpu_us, _)| cpu_us),
            pids: stat.map(|(_, threads)| threads),
            memory,
            ..Reading::default()
        }
    }
}

fn text<'a>(file: Option<&File>, buffer: &'a mut [u8]) -> Option<&'a str> {
    let length = file?.read_at(buffer, 0).ok()?;
    std::str::from_utf8(&buffer[..length]).ok()
}

/// CPU time in microseconds, and threads.
fn stat(text: &str) -> Option<(u64, u64)> {
    // The name of the program, in brackets, may contain anything.
    let (_, fields) = text.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let threads = fields.nth(4)?.parse().ok()?;
    let ticks = rustix::param::clock_ticks_per_second();
    Some(((user + system) * 1_000_000 / ticks, threads))
}

/// Resident bytes.
fn resident(text: &str) -> Option<u64> {
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Open files of a process. Since Linux 6.2 the directory tells their number as its size, whoever asks;
/// before, they have to be counted, which only the owner may.
pub(super) fn open_files(pid: i32) -> Option<u64> {
    let directory = format!("/proc/{pid}/fd");
    match fs::metadata(&directory).ok()?.size() {
        0 => u64::try_from(fs::read_dir(&directory).ok()?.count()).ok(),
        size => Some(size),
    }
}

/// The memory of processes that share some of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryShare {
    /// Their part of everything that they have in memory: what several processes share is divided
    /// among them.
    pub proportional: u64,
    /// What nobody else has.
    pub private: u64,
    /// What is in swap.
    pub swap: u64,
    /// How many processes could be asked.
    pub processes: u64,
}

/// The memory of `pids` together; `None` when none of them may be asked. Expensive: the kernel walks
/// through all their pages.
pub fn memory_share(pids: &[i32]) -> Option<MemoryShare> {
    let mut sum = MemoryShare::default();
    for text in pids
        .iter()
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok())
    {
        let bytes = |name: &str| -> u64 {
            let field = text.lines().find_map(|line| line.strip_prefix(name));
            let kib = field.and_then(|field| field.trim().split(' ').next()?.parse::<u64>().ok());
            kib.unwrap_or(0) * 1024
        };
        sum.proportional += bytes("Pss:");
        sum.private += bytes("Private_Clean:") + bytes("Private_Dirty:");
        sum.swap += bytes("SwapPss:");
        sum.processes += 1;
    }
    (sum.processes > 0).then_some(sum)
}

/// `root` and all that descend from it, as far as parents are known: who lost theirs is not found.
pub fn tree(root: i32) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat
            .rsplit_once(") ")
            .and_then(|(_, fields)| fields.split(' ').nth(1)?.parse().ok());
        if let (Some(pid), Some(parent)) = (pid, parent) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next) {
        let below = children.remove(parent).unwrap_or_default();
        found.extend(below);
        next += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn a_process_is_read_again_and_again() {
        let mut reader = ProcessReader::new(own());
        let first = reader.read(Detail::Full);
        assert!(first.memory > Some(100 * 1024), "{first:?}");
        assert!(first.pids >= Some(1), "{first:?}");
        // Until a tick of the kernel's clock has passed.
        loop {
            let again = reader.read(Detail::Quick);
            if again.cpu_us > first.cpu_us {
                break;
            }
            std::hint::black_box(vec![1_u8; 1 << 20]);
        }
    }

    #[test]
    fn a_process_that_is_gone_tells_nothing() {
        // Beyond the largest pid that Linux gives (2^22).
        assert_eq!(
            ProcessReader::new(1 << 23).read(Detail::Full),
            Reading::default()
        );
        assert_eq!(open_files(1 << 23), None);
        assert_eq!(memory_share(&[1 << 23]), None);
    }

    #[test]
    fn a_name_may_look_like_numbers() {
        let line =
            "7 (a) 1 2 (b) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 5 0 12 1000 20 1844";
        let ticks = rustix::param::clock_ticks_per_second();
        assert_eq!(stat(line), Some((200 * 1_000_000 / ticks, 5)));
        assert_eq!(stat("7 (cut) S 1 7"), None);
    }

    #[test]
    fn open_files_are_counted() {
        let before = open_files(own()).unwrap();
        let held: Vec<File> = (0..20).map(|_| File::open("/dev/null").unwrap()).collect();
        let after = open_files(own()).unwrap();
        // Other tests of this process open and close files meanwhile.
        assert!(after >= before + 10, "{before} {after}");
        drop(held);
    }

    #[test]
    fn shared_memory_is_divided() {
        let share = memory_share(&[own()]).unwrap();
        assert_eq!(share.processes, 1);
        assert!(share.private > 0 && share.proportional >= share.private / 2);
        assert!(tree(own()).contains(&own()));
        let parent = i32::try_from(std::os::unix::process::parent_id()).unwrap();
        assert!(tree(parent).contains(&own()), "a child is found");
    }
}
