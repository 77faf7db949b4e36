//! Ends all of a group, and removes it.
//!
//! v2 has a file for it. In v1 a group is frozen, so that nobody forks meanwhile, everyone in it is
//! signalled, and then it is thawed: a frozen process does not act on a signal, not even on this one.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::{
    dirs::Dirs,
    error::LeftBehind,
    files::{self, FileError},
    layout::{Controller, Version},
    procfs,
};

/// How long a group may take to stand still. One that does not is killed all the same, again and again.
const FREEZING: Duration = Duration::from_millis(200);

/// Signals everybody in the group once, without waiting for their end. Who is being started just then
/// may get away from a group that can neither be killed as one nor frozen; [`remove`] comes again.
pub(super) fn end(dirs: &Dirs) -> io::Result<()> {
    let mut freezers = Vec::new();
    let mut by_one = Vec::new();
    for dir in dirs.iter() {
        let frozen = match dir.version {
            Version::V2 => match files::write(&dir.path.join("cgroup.kill"), "1") {
                Ok(()) => continue,
                Err(error) if error.is_missing() => Some(Freezer::v2(&dir.path)),
                Err(error) => return Err(io::Error::other(error)),
            },
            Version::V1 => dir
                .controllers
                .contains(&Controller::Freezer)
                .then(|| Freezer::v1(&dir.path)),
        };
        freezers.extend(frozen);
        by_one.push(&dir.path);
    }
    for freezer in &freezers {
        freezer.freeze();
    }
    // Whoever left the group in one hierarchy is in it in the others still.
    let signalled = by_one
        .iter()
        .try_for_each(|dir| signal(&files::pids_below(dir)));
    // Also after a failure, and whoever froze it before: else nobody in it ever ends.
    for freezer in &freezers {
        freezer.thaw().map_err(io::Error::other)?;
    }
    signalled
}

/// The file that stops a group, and the one that tells whether it stands still.
struct Freezer {
    file: PathBuf,
    on: &'static str,
    off: &'static str,
    shows: PathBuf,
    mark: &'static str,
}

impl Freezer {
    fn v1(dir: &Path) -> Self {
        Self {
            file: dir.join("freezer.state"),
            on: "FROZEN",
            off: "THAWED",
            shows: dir.join("freezer.state"),
            mark: "FROZEN",
        }
    }

    fn v2(dir: &Path) -> Self {
        Self {
            file: dir.join("cgroup.freeze"),
            on: "1",
            off: "0",
            shows: dir.join("cgroup.events"),
            mark: "frozen 1",
        }
    }

    /// Without success they are signalled as they run.
    fn freeze(&self) {
        let is_still = || files::read(&self.shows).map_or(true, |text| text.contains(self.mark));
        if files::write(&self.file, self.on).is_ok() {
            files::wait_until(FREEZING, is_still);
        }
    }

    fn thaw(&self) -> Result<(), FileError> {
        match files::write(&self.file, self.off) {
            Err(error) if error.is_missing() => Ok(()),
            thawed => thawed,
        }
    }
}

fn signal(pids: &[i32]) -> io::Result<()> {
    for pid in pids {
        let Some(pid) = Pid::from_raw(*pid) else {
            continue;
        };
        match kill_process(pid, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Ends everybody and removes the group, within `limit`. Blocks the thread.
pub(super) fn remove(dirs: &Dirs, shown: &str, limit: Duration) -> Result<(), LeftBehind> {
    let mut last = None;
    let gone = files::wait_until(limit, || {
        // Only what still has somebody in it, else an empty group would be looked through again.
        if !dirs.members().is_empty()
            && let Err(error) = end(dirs)
        {
            last = Some(error);
            return false;
        }
        match dirs.remove() {
            Ok(()) => true,
            Err(error) => {
                last = Some(error);
                false
            }
        }
    });
    if gone {
        return Ok(());
    }
    Err(LeftBehind {
        group: shown.to_owned(),
        remaining: procfs::remaining(&dirs.members()),
        source: last,
    })
}
