//! Taking all that can be had: of processors, memory, processes, disk.
//!
//! Each works in threads of its own, so that the agent's loop goes on and the watchdog has nothing to
//! say: what holds these back is a cap, or nothing does. Each has a bound all the same.

use std::{
    fs::{self, File},
    hint::{black_box, spin_loop},
    io::{self, Write as _},
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::sys;

const MIB: usize = 1024 * 1024;

/// How many threads [`spin`].
const SPINNERS: usize = 8;

/// Keeps more threads busy than there are processors.
pub(super) fn spin() {
    for _ in 0..SPINNERS {
        thread::spawn(|| {
            loop {
                spin_loop();
            }
        });
    }
}

/// Takes so many MiB, byte by byte, gives them back, and does so again.
pub(super) fn take_memory(mib: usize) {
    thread::spawn(move || {
        loop {
            let blocks: Vec<Vec<u8>> = (0..mib).map(|_| vec![1; MIB]).collect();
            black_box(blocks);
        }
    });
}

/// Takes so many MiB and keeps them.
pub(super) fn hoard(mib: usize) {
    thread::spawn(move || {
        std::mem::forget(vec![1_u8; mib * MIB]);
    });
}

/// Makes so many children that sleep; whenever that is denied, tries again.
pub(super) fn fork(most: usize) {
    thread::spawn(move || {
        let mut children = 0;
        while children < most {
            match sys::fork_sleeper() {
                Ok(_) => children += 1,
                Err(_) => thread::yield_now(),
            }
        }
    });
}

/// Writes a file of so many MiB, waits until the disk has it, and deletes it; one at a time.
pub(super) fn write_disk(directory: PathBuf, mib: usize) {
    static WRITES: AtomicBool = AtomicBool::new(false);
    if WRITES.swap(true, Ordering::AcqRel) {
        return;
    }
    thread::spawn(move || {
        let path = directory.join("ballast");
        let written = write_file(&path, mib);
        let deleted = fs::remove_file(&path);
        // What a full disk says goes to the log; the agent lives on.
        if let Err(error) = written.and(deleted) {
            let _ = writeln!(io::stderr(), "{}: {error}", path.display());
        }
        WRITES.store(false, Ordering::Release);
    });
}

fn write_file(path: &std::path::Path, mib: usize) -> io::Result<()> {
    let mut file = File::create(path)?;
    let block = vec![0x5a; MIB];
    for _ in 0..mib {
        file.write_all(&block)?;
    }
    file.sync_all()
}
