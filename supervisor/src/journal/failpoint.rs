//! Points at which a test ends, halts or fails the journal's work; nothing at all in a release.
//!
//! With the feature `failpoints`, `KENNEL_FAILPOINTS="row=kill@17,commit=full@3x5"` says: kill this
//! process the 17th time that it is about to write a row, and let the third to seventh commit find a
//! full disk. Between any two writes lies one of these points.

#[cfg(any(test, feature = "failpoints"))]
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where in its work the journal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// Before the first of a group of operations.
    Begin,
    /// Before a row is written.
    Row,
    /// Before a group is committed.
    Commit,
    /// After the commit, before anybody is told.
    Committed,
    /// After one has been told, before the next is.
    Told,
    /// Before the write-ahead log is copied into the file.
    Checkpoint,
    /// Before what is too old is deleted.
    Prune,
    /// Before room is given back to the disk.
    Vacuum,
    /// Before it is noted that a damaged file is to be moved.
    AsideNote,
    /// Before the damaged file is moved, and between it and its log.
    AsideMove,
    /// Before what could be read of it is put in its place.
    AsidePlace,
    /// Before the note is taken away.
    AsideDone,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Begin,
        Self::Row,
        Self::Commit,
        Self::Committed,
        Self::Told,
        Self::Checkpoint,
        Self::Prune,
        Self::Vacuum,
        Self::AsideNote,
        Self::AsideMove,
        Self::AsidePlace,
        Self::AsideDone,
    ];

    /// As `KENNEL_FAILPOINTS` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Row => "row",
            Self::Commit => "commit",
            Self::Committed => "committed",
            Self::Told => "told",
            Self::Checkpoint => "checkpoint",
            Self::Prune => "prune",
            Self::Vacuum => "vacuum",
            Self::AsideNote => "aside-note",
            Self::AsideMove => "aside-move",
            Self::AsidePlace => "aside-place",
            Self::AsideDone => "aside-done",
        }
    }
}

/// What happens at a point.
#[cfg(any(test, feature = "failpoints"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// SIGKILL to this process.
    Kill,
    /// SIGSTOP to this process: whoever set this wakes it.
    Stop,
    /// SQLite says that the disk is full.
    Full,
    /// SQLite says that the disk failed.
    Io,
    /// SQLite says that the file is damaged.
    Corrupt,
    /// SQLite says that a rule of the schema was broken.
    Constraint,
}

#[cfg(any(test, feature = "failpoints"))]
#[derive(Debug)]
struct Armed {
    point: Point,
    action: Action,
    /// Passes until it happens, and then how often it does.
    skip: u64,
    times: u64,
}

/// The points that are armed. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct FailPoints {
    #[cfg(any(test, feature = "failpoints"))]
    armed: Arc<Mutex<Vec<Armed>>>,
}

#[cfg(not(any(test, feature = "failpoints")))]
impl FailPoints {
    /// Nothing is ever armed.
    pub fn from_env() -> Self {
        Self::default()
    }

    #[inline]
    #[expect(
        clippy::unnecessary_wraps,
        clippy::unused_self,
        reason = "in a test it fails"
    )]
    pub(super) fn reach(&self, _: Point) -> rusqlite::Result<()> {
        Ok(())
    }
}

#[cfg(any(test, feature = "failpoints"))]
impl FailPoints {
    /// As `KENNEL_FAILPOINTS` says; a word that is not understood is a panic, since a test would else
    /// pass for nothing.
    pub fn from_env() -> Self {
        let points = Self::default();
        if let Ok(text) = std::env::var("KENNEL_FAILPOINTS") {
            points.parse(&text).expect("KENNEL_FAILPOINTS");
        }
        points
    }

    /// Arms what `text` says: `point=action[@nth][xtimes]`, separated by commas.
    pub fn parse(&self, text: &str) -> Result<(), String> {
        for word in text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            let unknown = || format!("`{word}` is not `point=action[@nth][xtimes]`");
            let (name, rest) = word.split_once('=').ok_or_else(unknown)?;
            let (rest, times) = rest.split_once('x').unwrap_or((rest, "1"));
            let (action, nth) = rest.split_once('@').unwrap_or((rest, "1"));
            let point = Point::ALL.into_iter().find(|point| point.name() == name);
            let action = match action {
                "kill" => Action::Kill,
                "stop" => Action::Stop,
                "full" => Action::Full,
                "io" => Action::Io,
                "corrupt" => Action::Corrupt,
                "constraint" => Action::Constraint,
                _ => return Err(unknown()),
            };
            let number = |text: &str| text.parse::<u64>().map_err(|_| unknown());
            self.arm(
                point.ok_or_else(unknown)?,
                action,
                number(nth)?,
                number(times)?,
            );
        }
        Ok(())
    }

    /// From the `nth` pass of `point` on, `times` passes do `action`.
    pub fn arm(&self, point: Point, action: Action, nth: u64, times: u64) {
        self.lock().push(Armed {
            point,
            action,
            skip: nth.saturating_sub(1),
            times,
        });
    }

    /// Nothing is armed any more.
    pub fn disarm(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Armed>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn reach(&self, point: Point) -> rusqlite::Result<()> {
        let mut due = None;
        for armed in self.lock().iter_mut().filter(|armed| armed.point == point) {
            if armed.skip > 0 {
                armed.skip -= 1;
            } else if armed.times > 0 {
                armed.times -= 1;
                due = due.or(Some(armed.action));
            }
        }
        match due {
            None => Ok(()),
            Some(action) => action.happen(),
        }
    }
}

#[cfg(any(test, feature = "failpoints"))]
impl Action {
    fn happen(self) -> rusqlite::Result<()> {
        use rusqlite::ffi;
        let signal = |signal| {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, signal).expect("a process may signal itself");
        };
        let code = match self {
            Self::Kill => {
                signal(rustix::process::Signal::KILL);
                unreachable!("killed");
            }
            Self::Stop => {
                signal(rustix::process::Signal::STOP);
                return Ok(());
            }
            Self::Full => ffi::SQLITE_FULL,
            Self::Io => ffi::SQLITE_IOERR_FSYNC,
            Self::Corrupt => ffi::SQLITE_CORRUPT,
            Self::Constraint => ffi::SQLITE_CONSTRAINT,
        };
        let text = Some("asked for by a test".to_owned());
        Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_does_what_it_is_armed_for_when_it_is_due() {
        let points = FailPoints::default();
        points.parse("row=full@2x2, commit=io").unwrap();
        let row: Vec<bool> = (0..5).map(|_| points.reach(Point::Row).is_err()).collect();
        assert_eq!(row, [false, true, true, false, false]);
        let commit: Vec<bool> = (0..2)
            .map(|_| points.reach(Point::Commit).is_err())
            .collect();
        assert_eq!(commit, [true, false]);
        assert!(points.reach(Point::Prune).is_ok());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in ["row", "row=melt", "roe=kill", "row=kill@x"] {
            assert!(FailPoints::default().parse(text).is_err(), "{text}");
        }
    }
}
