//! The pages of this program itself that are in memory.

use std::{ffi::c_void, io, ops::Range};

use nix::libc;
use rustix::{
    mm::{Advice, madvise},
    param::page_size,
};

/// Gives back what is mapped of the program's code and constants; what is needed again comes back from the
/// page cache, a few pages at a time. More than half of a supervisor's code is for its start: command
/// line, configuration, relocations.
pub(crate) fn let_go() -> io::Result<()> {
    let page = page_size();
    for range in read_only() {
        // Pages at its edges may be shared with data, which must stay.
        let (begin, end) = (range.start.next_multiple_of(page), range.end / page * page);
        if begin >= end {
            continue;
        }
        let begin = std::ptr::with_exposed_provenance_mut::<c_void>(begin);
        // SAFETY: these pages are mapped privately from the program's file by segments without the right
        // to write, so their content is that of the file, where the next access finds it again. The
        // file cannot be written to while it runs.
        unsafe { madvise(begin, end - begin.addr(), Advice::LinuxDontNeed) }?;
    }
    Ok(())
}

/// The program's own segments that were never writable: not the constants that the loader relocates.
fn read_only() -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    // SAFETY: the callback gets the pointer that is passed here, which outlives the call, and makes of
    // it the type that it was.
    unsafe { libc::dl_iterate_phdr(Some(collect), (&raw mut found).cast()) };
    found
}

/// For the first object only, which is the program.
unsafe extern "C" fn collect(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    found: *mut c_void,
) -> libc::c_int {
    // SAFETY: `read_only` passes a vector that nobody else uses meanwhile.
    let found = unsafe { &mut *found.cast::<Vec<Range<usize>>>() };
    // SAFETY: the loader passes a record that is valid during this call.
    let info = unsafe { &*info };
    // SAFETY: and in it so many headers.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let address = |number: u64| usize::try_from(number).ok();
    for header in headers {
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        let begin = address(info.dlpi_addr).zip(address(header.p_vaddr));
        if let (Some((base, offset)), Some(length)) = (begin, address(header.p_memsz)) {
            let begin = base.wrapping_add(offset);
            found.push(begin..begin.saturating_add(length));
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of this program that are in memory: not of libraries, heap, or stacks.
    fn resident() -> u64 {
        let exe = std::env::current_exe().unwrap();
        let exe = exe.to_str().unwrap();
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let (mut own, mut sum) = (false, 0);
        for line in maps.lines() {
            if let Some(text) = line.strip_prefix("Rss:") {
                let kib: u64 = text.trim().trim_end_matches(" kB").parse().unwrap();
                sum += if own { kib * 1024 } else { 0 };
            } else if line
                .split(' ')
                .next()
                .is_some_and(|word| word.contains('-'))
            {
                own = line.ends_with(exe);
            }
        }
        sum
    }

    #[test]
    fn the_program_s_pages_go_and_come_back() {
        static CONSTANT: &str = "what is constant stays what it is";
        let before = resident();
        let ranges = read_only();
        assert!(ranges.len() >= 2, "code and constants: {ranges:?}");
        let_go().unwrap();
        let after = resident();
        assert!(after < before, "{after} of {before}");
        assert_eq!(CONSTANT.len(), 33);
        assert_eq!(format!("{:?}", Some(1.5_f64)), "Some(1.5)");
    }
}
