//! One look at all processes, shared by everybody who wants one at about the same time.
//!
//! Where there are no groups, to read one agent is to look through `/proc`. A look costs the same whether
//! one tree or a hundred are found in it, so the first who asks makes it and the others use it.

use std::sync::{Arc, Mutex};

use tokio::time::{Duration, Instant};

use super::procfs::{self, Stat};

/// A look is news for so long: those who read all agents in a row make one between them.
const NEWS: Duration = Duration::from_millis(250);

/// All processes at one moment, to be found by their relations.
#[derive(Debug)]
pub(super) struct Scan {
    /// Whoever was started before this is in it.
    pub began: Instant,
    all: Vec<Stat>,
    by_pid: Index,
    by_parent: Index,
    by_group: Index,
    by_session: Index,
}

/// Places in the list, in the order of a key.
#[derive(Debug)]
struct Index(Vec<(i32, usize)>);

impl Index {
    fn new(all: &[Stat], key: impl Fn(&Stat) -> i32) -> Self {
        let mut places: Vec<_> = all
            .iter()
            .enumerate()
            .map(|(place, stat)| (key(stat), place))
            .collect();
        places.sort_unstable();
        Self(places)
    }

    fn find<'a>(&'a self, all: &'a [Stat], key: i32) -> impl Iterator<Item = &'a Stat> {
        let first = self.0.partition_point(|(one, _)| *one < key);
        self.0[first..]
            .iter()
            .take_while(move |(one, _)| *one == key)
            .map(|(_, place)| &all[*place])
    }
}

impl Scan {
    /// Looks.
    pub(super) fn now() -> Self {
        let began = Instant::now();
        Self::of(began, procfs::all())
    }

    /// Of these processes.
    pub(super) fn of(began: Instant, all: Vec<Stat>) -> Self {
        Self {
            began,
            by_pid: Index::new(&all, |stat| stat.pid),
            by_parent: Index::new(&all, |stat| stat.parent),
            by_group: Index::new(&all, |stat| stat.group),
            by_session: Index::new(&all, |stat| stat.session),
            all,
        }
    }

    /// The process with this id.
    pub(super) fn get(&self, pid: i32) -> Option<&Stat> {
        self.by_pid.find(&self.all, pid).next()
    }

    /// Those whom a process has started, as far as it lives.
    pub(super) fn children(&self, pid: i32) -> impl Iterator<Item = &Stat> {
        self.by_parent.find(&self.all, pid)
    }

    /// Those of a process group.
    pub(super) fn group(&self, group: i32) -> impl Iterator<Item = &Stat> {
        self.by_group.find(&self.all, group)
    }

    /// Those of a session.
    pub(super) fn session(&self, session: i32) -> impl Iterator<Item = &Stat> {
        self.by_session.find(&self.all, session)
    }
}

/// The last look. Shared by the groups of one [`Containment`](super::Containment).
#[derive(Debug, Default)]
pub(super) struct Scans {
    last: Mutex<Option<Arc<Scan>>>,
    #[cfg(test)]
    made: std::sync::atomic::AtomicUsize,
}

impl Scans {
    /// A look that is news to somebody whose last one began at `last`: never that one, nor an earlier one.
    /// Others who ask meanwhile wait for it.
    pub(super) fn news(&self, last: Option<Instant>) -> Arc<Scan> {
        let mut held = self.last.lock().expect("nobody panics with the lock");
        if let Some(scan) = &*held
            && last.is_none_or(|last| scan.began > last)
            && scan.began.elapsed() < NEWS
        {
            return scan.clone();
        }
        #[cfg(test)]
        self.made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // First, so that two of them are never in memory.
        *held = None;
        held.insert(Arc::new(Scan::now())).clone()
    }

    /// How many looks were made.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.made.load(std::sync::atomic::Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_serves_many_and_nobody_twice() {
        let scans = Scans::default();
        let before = Instant::now();
        let first = scans.news(Some(before));
        let me = std::process::id().cast_signed();
        let parent = first.get(me).expect("this process runs").parent;
        assert!(first.children(parent).any(|stat| stat.pid == me));
        // On a machine that stood still meanwhile it is no news any more.
        let others: Vec<_> = (0..100).map(|_| scans.news(Some(before))).collect();
        if before.elapsed() < NEWS {
            assert!(others.iter().all(|scan| Arc::ptr_eq(scan, &first)));
        }
        let last = others.last().unwrap();
        let again = scans.news(Some(last.began));
        assert!(again.began > last.began, "who has seen one gets another");
    }
}
