//! Seeing that the files of the configuration have changed, for `kennel up --watch`.
//!
//! The files are looked at twice a second instead of awaited: editors replace files under the same name, folders are
//! exchanged as a whole behind a link, and network disks tell nobody; a look sees all of it. Files that change are read
//! once they are the same in two looks, so that an editor, or a copy of many files, is done by then.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Asker, Requests};
use crate::config;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// What there was to see of the files, those that are missing included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look(Vec<(PathBuf, Option<Stamp>)>);

/// What a file is known by. A new one under the same name has another inode; one that was written to, other times.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Look {
    /// Looks at the configuration `main`, and at the files that it names. Blocks.
    pub fn at(main: &Path, named: Vec<PathBuf>) -> Self {
        let mut files = config::files(main);
        files.extend(named);
        let stamp = |path: &Path| {
            let seen = fs::metadata(path).ok()?;
            Some(Stamp {
                device: seen.dev(),
                inode: seen.ino(),
                size: seen.size(),
                modified: (seen.mtime(), seen.mtime_nsec()),
                changed: (seen.ctime(), seen.ctime_nsec()),
            })
        };
        let stamped = files.into_iter().map(|path| {
            let stamp = stamp(&path);
            (path, stamp)
        });
        Self(stamped.collect())
    }
}

/// Decides when to read. Pure.
#[derive(Debug)]
pub struct Watch<L> {
    /// What was read last.
    read: L,
    /// What was seen last, when that is something else.
    seen: Option<L>,
}

impl<L: PartialEq> Watch<L> {
    /// `read` has been read already.
    pub fn new(read: L) -> Self {
        Self { read, seen: None }
    }

    /// Whether to read now: what is seen is not what was read, and has come to rest.
    pub fn look(&mut self, now: L) -> bool {
        if now == self.read {
            self.seen = None;
            return false;
        }
        let rests = self.seen.as_ref() == Some(&now);
        if rests {
            self.read = now;
            self.seen = None;
        } else {
            self.seen = Some(now);
        }
        rests
    }
}

/// Watches until aborted. `named` are the files that the configuration of the moment names.
pub async fn run(
    main: PathBuf,
    named: impl Fn() -> Vec<PathBuf> + Send + 'static,
    requests: Requests,
) {
    let mut watch: Option<Watch<Look>> = None;
    let mut beat = tokio::time::interval(LOOK);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let (main, named) = (main.clone(), named());
        // A look at a disk that hangs must not hold up anybody.
        let look = tokio::task::spawn_blocking(move || Look::at(&main, named)).await;
        let Ok(look) = look else {
            return;
        };
        let read = if let Some(watch) = &mut watch {
            watch.look(look)
        } else {
            watch = Some(Watch::new(look));
            // Whatever was changed between the start and this first look.
            true
        };
        if read {
            requests.hint(Asker::Watch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_read_once_when_it_has_come_to_rest() {
        let mut watch = Watch::new(1);
        let steps = [
            (1, false),
            (2, false),
            (3, false),
            (3, true),
            (3, false),
            (4, false),
            (3, false),
            (4, false),
            (4, true),
        ];
        for (n, (look, read)) in steps.into_iter().enumerate() {
            assert_eq!(watch.look(look), read, "step {n}");
        }
    }

    #[test]
    fn every_way_to_change_a_file_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("kennel.toml");
        let prompt = folder.path().join("prompt.md");
        let fragments = folder.path().join(config::FRAGMENTS);
        let mut last = None;
        let mut differs = |what: &str| {
            let look = Look::at(&main, vec![prompt.clone()]);
            assert_ne!(last.as_ref(), Some(&look), "{what}");
            assert_eq!(
                Look::at(&main, vec![prompt.clone()]),
                look,
                "{what}: and stays"
            );
            last = Some(look);
        };
        differs("nothing is there");
        fs::write(&main, "one").unwrap();
        differs("a file comes");
        fs::write(&main, "longer").unwrap();
        differs("it is written to");
        let other = folder.path().join("other");
        fs::write(&other, "longer").unwrap();
        fs::rename(&other, &main).unwrap();
        differs("another takes its name");
        fs::create_dir(&fragments).unwrap();
        fs::write(fragments.join("a.toml"), "").unwrap();
        differs("a fragment comes");
        fs::write(&prompt, "p").unwrap();
        differs("a prompt comes");
        fs::rename(fragments.join("a.toml"), fragments.join("b.toml")).unwrap();
        differs("a fragment gets another name");
        fs::remove_file(fragments.join("b.toml")).unwrap();
        differs("a fragment goes");
        fs::remove_file(&main).unwrap();
        differs("the file goes");
    }
}
