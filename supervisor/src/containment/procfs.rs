//! What `/proc` tells of a process.

use std::fs;

use super::error::Remaining;

/// One process, from `/proc/<pid>/stat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Its id.
    pub pid: i32,
    /// Its short name.
    pub command: String,
    /// The kernel's letter for what it does.
    pub state: char,
    /// Who waits for it.
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// Its session.
    pub session: i32,
    /// CPU time of it and of those it has waited for, in clock ticks.
    pub ticks: u64,
    /// Its threads.
    pub threads: u64,
    /// When it was started, in clock ticks: with the pid, who it is.
    pub started: u64,
    /// Its resident pages.
    pub pages: u64,
}

impl Stat {
    /// Looks at a process; `None` when it is gone.
    pub fn of(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name may hold anything, spaces and parentheses too, so that the fields begin after the last one.
    fn parse(text: &str) -> Option<Self> {
        let (before, after) = text.rsplit_once(')')?;
        let (pid, command) = before.split_once(" (")?;
        let fields: Vec<&str> = after.split_ascii_whitespace().collect();
        // The manual counts from 1, and the first of these is its third.
        let field = |number: usize| fields.get(number - 3).copied();
        let count = |number| field(number)?.parse::<u64>().ok();
        let id = |number| field(number)?.parse::<i32>().ok();
        Some(Self {
            pid: pid.parse().ok()?,
            command: command.to_owned(),
            state: field(3)?.chars().next()?,
            parent: id(4)?,
            group: id(5)?,
            session: id(6)?,
            ticks: (14..=17).filter_map(count).sum(),
            threads: count(20)?,
            started: count(22)?,
            pages: count(24)?,
        })
    }

    /// Whether it has ended and only waits to be reaped.
    pub fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// Every process that can be seen.
pub(super) fn all() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| Stat::of(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// For a message: those of `pids` that are still there.
pub(super) fn remaining(pids: &[i32]) -> Vec<Remaining> {
    pids.iter()
        .map(|pid| match Stat::of(*pid) {
            Some(stat) => Remaining {
                pid: *pid,
                state: stat.state,
                command: stat.command,
            },
            None => Remaining {
                pid: *pid,
                state: '?',
                command: "gone".to_owned(),
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let line = "4242 (a) b (c) S 17 4242 4241 0 -1 4194560 100 0 0 0 5 6 7 8 20 0 3 0 123456 9000 321 18446744073709551615";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(
            stat,
            Stat {
                pid: 4242,
                command: "a) b (c".to_owned(),
                state: 'S',
                parent: 17,
                group: 4242,
                session: 4241,
                ticks: 26,
                threads: 3,
                started: 123_456,
                pages: 321,
            }
        );
        for strange in [
            "",
            "1",
            "1 (a",
            "1 (a) S",
            "x (a) S 1 1 1",
            "1 (a) S 1 2 3 4",
        ] {
            assert_eq!(Stat::parse(strange), None, "{strange:?}");
        }
    }

    #[test]
    fn this_process() {
        let me = Stat::of(std::process::id().cast_signed()).unwrap();
        assert!(me.threads >= 1 && me.pages > 0 && !me.is_dead());
        assert!(
            all().contains(&Stat {
                pages: me.pages,
                ..me.clone()
            }) || !all().is_empty()
        );
        assert!(
            all()
                .iter()
                .any(|one| one.pid == me.pid && one.started == me.started)
        );
    }
}
