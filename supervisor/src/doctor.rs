//! Whether Kennel is well, and what to do where it is not.
//!
//! ```text
//! look ─┐
//!       ├─► facts ──► fleet, agent ──► checks
//! App ──┘   (plain values)  (pure)
//! ```
//!
//! [`look`] asks the machine; what only a running supervisor knows, its control API adds. Judging is pure: facts in,
//! a [`Check`] for each thing out, each with a sentence, and with a remedy where it is not well. The same
//! judging serves `kennel doctor` beside a supervisor and without one. Deliberately absent: anything that changes
//! something, and secrets, of which only the absence is told.

pub mod agent;
mod caps;
mod ends;
pub mod facts;
pub mod fleet;
mod host;
mod journal;
pub mod look;
mod places;
#[cfg(test)]
mod samples;

/// How one thing is. Ordered: the later is the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nothing has to be done.
    Ok,
    /// It works, less well than it could, or not for long.
    Warn,
    /// Something does not work.
    Fail,
}

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// Whether a supervisor runs.
    Supervisor,
    /// What was accepted, on the disk.
    Journal,
    /// What holds the agents.
    Containment,
    /// The machine.
    Host,
    /// The supervisor's folders and programs.
    Files,
    /// The configuration.
    Configuration,
    /// What is fetched when it is needed.
    Secrets,
    /// Processes.
    Agents,
    /// Chat connections.
    Channels,
    /// The present life of one agent.
    Life,
    /// What one agent may use.
    Caps,
    /// How one agent is closed in.
    Cage,
}

impl Area {
    /// One word, for programs and people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Supervisor => "supervisor",
            Self::Journal => "journal",
            Self::Containment => "containment",
            Self::Host => "host",
            Self::Files => "files",
            Self::Configuration => "configuration",
            Self::Secrets => "secrets",
            Self::Agents => "agents",
            Self::Channels => "channels",
            Self::Life => "life",
            Self::Caps => "caps",
            Self::Cage => "cage",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What it is about.
    pub area: Area,
    /// Which thing: a word for programs, such as `backend`, the name of a cap, or the id of an agent.
    pub name: String,
    /// How it is.
    pub state: State,
    /// The same in words; no full stop.
    pub says: String,
    /// What to type or to do; always there unless it is well.
    pub remedy: Option<String>,
}

impl Check {
    /// It is well.
    pub(crate) fn ok(area: Area, name: impl Into<String>, says: impl Into<String>) -> Self {
        Self {
            area,
            name: name.into(),
            state: State::Ok,
            says: says.into(),
            remedy: None,
        }
    }

    /// It could be better.
    pub(crate) fn warn(
        area: Area,
        name: impl Into<String>,
        says: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            state: State::Warn,
            remedy: Some(remedy.into()),
            ..Self::ok(area, name, says)
        }
    }

    /// It does not work.
    pub(crate) fn fail(
        area: Area,
        name: impl Into<String>,
        says: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            state: State::Fail,
            ..Self::warn(area, name, says, remedy)
        }
    }
}

/// The worst of them; well, if there are none.
pub fn worst<'a>(checks: impl IntoIterator<Item = &'a Check>) -> State {
    let states = checks.into_iter().map(|check| check.state);
    states.max().unwrap_or(State::Ok)
}

/// "`a`", "`a` and `b`", "`a`, `b`, `c` and 4 more".
fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 3;
    let names: Vec<&str> = names.into_iter().collect();
    let mut parts: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{name}`"))
        .collect();
    if names.len() > SHOWN {
        parts.push(format!("{} more", names.len() - SHOWN));
    }
    match parts.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        _ => parts.concat(),
    }
}

/// "1 agent", "2 agents".
fn count(n: usize, what: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {what}{s}")
}

/// A time that has passed, in at most two units: "3m 5s", "2h 10m", "5days 3h".
fn ago(time: std::time::Duration) -> String {
    let seconds = time.as_secs();
    let coarse = match seconds {
        0..3_600 => seconds,
        3_600..86_400 => seconds / 60 * 60,
        _ => seconds / 3_600 * 3_600,
    };
    humantime::format_duration(std::time::Duration::from_secs(coarse)).to_string()
}

/// "512.0 MiB".
fn size(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec().to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_worst_decides() {
        let ok = Check::ok(Area::Host, "kernel", "fine");
        let warn = Check::warn(Area::Host, "landlock", "old", "renew it");
        let fail = Check::fail(Area::Host, "seccomp", "none", "get it");
        assert_eq!(worst([]), State::Ok);
        assert_eq!(worst([&ok]), State::Ok);
        assert_eq!(worst([&warn, &ok]), State::Warn);
        assert_eq!(worst([&ok, &fail, &warn]), State::Fail);
    }

    #[test]
    fn names_are_few() {
        assert_eq!(names(["a"]), "`a`");
        assert_eq!(names(["a", "b"]), "`a` and `b`");
        assert_eq!(names(["a", "b", "c"]), "`a`, `b` and `c`");
        assert_eq!(names(["a", "b", "c", "d", "e"]), "`a`, `b`, `c` and 2 more");
        assert_eq!(names([]), "");
    }

    #[test]
    fn times_have_two_units() {
        let of = |seconds| ago(Duration::from_secs(seconds));
        assert_eq!(of(7), "7s");
        assert_eq!(of(185), "3m 5s");
        assert_eq!(of(7_265), "2h 1m");
        assert_eq!(of(90_061), "1day 1h");
    }
}
