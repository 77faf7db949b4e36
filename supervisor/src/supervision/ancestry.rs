//! Whose process a process is: who started it, and whether it has ever been in a cage.
//!
//! Read from `/proc` at the moment of asking; `None` means that it is gone, or cannot be seen.

use std::fs;

use kennel_shared::cage::MARK;

/// The longest way up that is followed; who is further down is known by the mark of its cage.
const GENERATIONS: usize = 1024;

/// The parent of a process; 0 where there is none, or none that can be seen from here.
pub(crate) fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold anything.
    let (_, after) = stat.rsplit_once(") ")?;
    after.split(' ').nth(1)?.parse().ok()
}

/// Whether `found` holds of the process or of one above it, at most `levels` up.
pub(crate) fn any_above(
    pid: i32,
    levels: usize,
    mut found: impl FnMut(i32) -> bool,
) -> Option<bool> {
    let mut pid = pid;
    for _ in 0..=levels {
        if found(pid) {
            return Some(true);
        }
        pid = match parent(pid)? {
            0 => return Some(false),
            parent => parent,
        };
    }
    Some(false)
}

/// Whether a process was started by one of these, at whatever remove.
pub(crate) fn descends_from(pid: i32, ancestors: &[i32]) -> Option<bool> {
    any_above(pid, GENERATIONS, |pid| ancestors.contains(&pid))
}

/// Whether a process has been in a cage, or one that it comes from: see [`MARK`].
pub(crate) fn is_marked(pid: i32) -> Option<bool> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    Some(has_mark(&limits))
}

fn has_mark(limits: &str) -> bool {
    let limit = limits.lines().find_map(|line| line.strip_prefix(MARK));
    // Soft and hard: who has lowered the soft one only may raise it again.
    limit.is_some_and(|limit| limit.split_whitespace().take(2).eq(["0", "0"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn a_process_descends_from_its_ancestors_and_itself() {
        let parent = parent(own()).unwrap();
        assert_eq!(descends_from(own(), &[parent]), Some(true));
        assert_eq!(descends_from(own(), &[own()]), Some(true));
        assert_eq!(descends_from(own(), &[i32::MAX]), Some(false));
        assert_eq!(descends_from(parent, &[own()]), Some(false));
        assert_eq!(descends_from(i32::MAX, &[own()]), None);
    }

    #[test]
    fn a_short_look_stops() {
        let parent = parent(own()).unwrap();
        assert_eq!(any_above(own(), 1, |pid| pid == parent), Some(true));
        assert_eq!(any_above(own(), 0, |pid| pid == parent), Some(false));
    }

    #[test]
    fn the_mark_is_both_limits_at_nothing() {
        let line =
            |limits: &str| format!("Max open files 1 1 files\n{MARK}         {limits} bytes\n");
        assert!(has_mark(&line("0                    0                   ")));
        assert!(!has_mark(&line(
            "0                    819200              "
        )));
        assert!(!has_mark(&line(
            "819200               819200              "
        )));
        assert!(!has_mark(""));
        assert_eq!(is_marked(own()), Some(false));
    }
}
