//! Where a process hangs, read just before it is killed: afterwards nobody can tell.

use std::{fmt, fs};

/// What the kernel says of a process that does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HangReport {
    /// The state letter and word of `/proc/<pid>/status`: `T (stopped)`, `R (running)`, `D (disk sleep)`.
    pub state: String,
    /// The kernel function it waits in, where the kernel tells.
    pub wchan: Option<String>,
    /// The kernel stack, innermost first, where it is readable (root only).
    pub stack: Vec<String>,
}

/// The most stack entries that are kept.
const STACK_MAX: usize = 8;

impl HangReport {
    /// Reads what can be read; a process that is gone has the state `gone`.
    pub fn of(pid: i32) -> Self {
        let read =
            |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let status = read("status");
        let state = status.lines().find_map(|line| line.strip_prefix("State:"));
        let wchan = read("wchan");
        Self {
            state: state.map_or_else(|| "gone".into(), |state| state.trim().to_owned()),
            wchan: (!matches!(wchan.as_str(), "" | "0")).then_some(wchan),
            stack: read("stack")
                .lines()
                .filter_map(function)
                .take(STACK_MAX)
                .collect(),
        }
    }
}

/// `[<0>] do_signal_stop+0x16f/0x210` is in `do_signal_stop`.
fn function(line: &str) -> Option<String> {
    let (_, place) = line.split_once("] ")?;
    Some(place.split('+').next().unwrap_or(place).to_owned())
}

impl fmt::Display for HangReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.state)?;
        if let Some(wchan) = &self.wchan {
            write!(f, ", waiting in {wchan}")?;
        }
        if !self.stack.is_empty() {
            write!(f, ", kernel stack {}", self.stack.join(" < "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_state() {
        let report = HangReport::of(i32::try_from(std::process::id()).unwrap());
        assert!(report.state.starts_with(['R', 'S']), "{report}");
    }

    #[test]
    fn a_stack_line_has_a_function() {
        assert_eq!(
            function("[<0>] do_signal_stop+0x16f/0x210").as_deref(),
            Some("do_signal_stop")
        );
        assert_eq!(function(""), None);
    }

    #[test]
    fn a_process_that_is_gone_says_so() {
        // Beyond the largest pid that Linux gives (2^22).
        assert_eq!(HangReport::of(1 << 23).to_string(), "gone");
    }
}
