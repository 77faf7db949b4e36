//! The tree of an agent's processes, where there are no groups: whoever descends from its child, or shares
//! a session or a process group with one who does, as far as somebody looked in time.
//!
//! A grandchild that has left its session and whose parent has ended before anybody looked is not found.
//! This is why the backend is called best effort, and why such a child founds a PID namespace where it may.

use std::collections::{HashMap, HashSet};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use tokio::time::Instant;

use super::{
    procfs::Stat,
    scan::{Scan, Scans},
};

/// The most passes over `/proc` before a tree that still grows is left as it is.
const PASSES: usize = 32;

/// Whom the tree has had, and what it has used.
#[derive(Debug, Default)]
pub(super) struct ProcessTree {
    /// Those of the last look. With start times, so that a pid that was given to somebody else is
    /// known for it.
    known: HashMap<i32, Known>,
    /// When the last look began, or the tree.
    looked: Option<Instant>,
    /// The greatest sum of CPU ticks; a process that was never waited for takes its own with it.
    pub ticks: u64,
    /// The greatest sum of resident pages.
    pub peak_pages: u64,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    started: u64,
    group: i32,
    session: i32,
}

/// Gathers a tree: whoever is added brings its children, its process group and its session, but for our own
/// group and session: an agent may not have left those yet.
struct Kin<'a> {
    scan: &'a Scan,
    me: i32,
    mine: (i32, i32),
    found: HashMap<i32, &'a Stat>,
    /// Those of them whose children were not looked at.
    next: Vec<&'a Stat>,
    groups: HashSet<i32>,
    sessions: HashSet<i32>,
}

impl<'a> Kin<'a> {
    fn new(scan: &'a Scan, me: i32) -> Self {
        Self {
            scan,
            me,
            mine: scan.get(me).map_or((0, 0), |me| (me.group, me.session)),
            found: HashMap::new(),
            next: Vec::new(),
            groups: HashSet::new(),
            sessions: HashSet::new(),
        }
    }

    fn add(&mut self, stat: &'a Stat) {
        if stat.pid != self.me && stat.pid > 1 && self.found.insert(stat.pid, stat).is_none() {
            self.next.push(stat);
        }
    }

    fn add_relations(&mut self, group: i32, session: i32) {
        let scan = self.scan;
        if group > 1 && group != self.mine.0 && self.groups.insert(group) {
            scan.group(group).for_each(|stat| self.add(stat));
        }
        if session > 1 && session != self.mine.1 && self.sessions.insert(session) {
            scan.session(session).for_each(|stat| self.add(stat));
        }
    }

    fn all(mut self) -> Vec<&'a Stat> {
        let scan = self.scan;
        while let Some(stat) = self.next.pop() {
            self.add_relations(stat.group, stat.session);
            scan.children(stat.pid).for_each(|stat| self.add(stat));
        }
        self.found.into_values().collect()
    }
}

impl ProcessTree {
    /// Begins with the agent's child. One that is gone already has no tree.
    pub(super) fn plant(&mut self, pid: i32) {
        // A look that began earlier may lack it, and it would be forgotten.
        self.looked = Some(Instant::now());
        if let Some(stat) = Stat::of(pid) {
            self.remember(&stat);
        }
    }

    /// The living of the tree now.
    pub(super) fn members(&mut self) -> Vec<Stat> {
        if self.known.is_empty() {
            return Vec::new();
        }
        self.members_in(&Scan::now())
    }

    /// The same a moment ago, for less: a look that others have made will do, if it is none that this tree
    /// has seen.
    pub(super) fn members_lately(&mut self, scans: &Scans) -> Vec<Stat> {
        if self.known.is_empty() {
            return Vec::new();
        }
        self.members_in(&scans.news(self.looked))
    }

    fn members_in(&mut self, scan: &Scan) -> Vec<Stat> {
        self.looked = Some(scan.began);
        self.members_among(scan, std::process::id().cast_signed())
    }

    /// Of all processes those that belong to the tree, without `me` and those who have ended.
    fn members_among(&mut self, scan: &Scan, me: i32) -> Vec<Stat> {
        let mut kin = Kin::new(scan, me);
        for (pid, known) in &self.known {
            kin.add_relations(known.group, known.session);
            if let Some(stat) = scan.get(*pid)
                && stat.started == known.started
            {
                kin.add(stat);
            }
        }
        let found = kin.all();
        // Whoever is gone is forgotten: the kernel gives ids of groups and sessions away again.
        self.known.clear();
        for stat in &found {
            self.remember(stat);
        }
        let mut members: Vec<Stat> = found
            .into_iter()
            .filter(|stat| !stat.is_dead())
            .cloned()
            .collect();
        members.sort_unstable_by_key(|stat| stat.pid);
        let pages = members.iter().map(|stat| stat.pages).sum();
        let ticks = members.iter().map(|stat| stat.ticks).sum();
        self.peak_pages = self.peak_pages.max(pages);
        self.ticks = self.ticks.max(ticks);
        members
    }

    /// Ends the whole tree: stops it, so that it does not grow meanwhile, looks again until nobody new is
    /// found, then kills. Returns whether nobody was left to be found.
    pub(super) fn kill(&mut self) -> bool {
        let mut stopped = 0;
        for _ in 0..PASSES {
            let members = self.members();
            for stat in &members {
                signal(stat, Signal::STOP);
            }
            if members.len() <= stopped {
                break;
            }
            stopped = members.len();
        }
        let members = self.members();
        for stat in &members {
            signal(stat, Signal::KILL);
        }
        members.is_empty()
    }

    fn remember(&mut self, stat: &Stat) {
        let known = Known {
            started: stat.started,
            group: stat.group,
            session: stat.session,
        };
        self.known.insert(stat.pid, known);
    }
}

/// Signals the very process that was looked at, and nobody who has its pid by now.
pub(super) fn signal(stat: &Stat, signal: Signal) {
    let Some(pid) = Pid::from_raw(stat.pid) else {
        return;
    };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    if Stat::of(stat.pid).is_none_or(|now| now.started != stat.started) {
        return;
    }
    match pidfd_send_signal(&pidfd, signal) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(errno) => {
            tracing::warn!(agent.pid = stat.pid, error = %errno, "a process cannot be signalled");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(pid: i32, parent: i32, group: i32, session: i32) -> Stat {
        Stat {
            pid,
            command: "x".to_owned(),
            state: 'S',
            parent,
            group,
            session,
            ticks: 1,
            threads: 1,
            started: u64::from(pid.cast_unsigned()) * 10,
            pages: 2,
        }
    }

    fn pids(tree: &mut ProcessTree, all: &[Stat]) -> Vec<i32> {
        let scan = Scan::of(Instant::now(), all.to_vec());
        let members = tree.members_among(&scan, 100);
        members.iter().map(|stat| stat.pid).collect()
    }

    #[test]
    fn kin_is_by_parent_session_and_group() {
        let me = stat(100, 1, 100, 50);
        let root = stat(200, 100, 200, 50);
        let mut tree = ProcessTree::default();
        tree.remember(&root);
        let all = [
            // Listed before its parent.
            stat(150, 300, 150, 150),
            me,
            root,
            stat(300, 200, 200, 50),
            // A neighbour: the supervisor's child and session, and nothing else in common.
            stat(400, 100, 400, 50),
            // Reparented to init, but still in the group of the first.
            stat(500, 1, 200, 50),
            stat(1, 0, 1, 1),
        ];
        assert_eq!(pids(&mut tree, &all), [150, 200, 300, 500]);
        assert_eq!(tree.peak_pages, 8);
        // Its parents have ended, and it is alone in a session of its own: remembered.
        assert_eq!(pids(&mut tree, &[stat(150, 1, 150, 150)]), [150]);
        // The pid belongs to somebody else now.
        let mut other = stat(150, 1, 999, 999);
        other.started += 1;
        assert_eq!(pids(&mut tree, &[other.clone()]), [] as [i32; 0]);
        // And nobody remembers who has long been gone, or whose group 200 was.
        assert_eq!(
            pids(&mut tree, &[other, stat(700, 1, 200, 150)]),
            [] as [i32; 0]
        );
    }

    #[test]
    fn the_dead_count_as_kin_but_are_no_members() {
        let mut root = stat(200, 100, 200, 200);
        let mut tree = ProcessTree::default();
        tree.remember(&root);
        root.state = 'Z';
        let all = [root, stat(300, 200, 300, 300)];
        assert_eq!(pids(&mut tree, &all), [300]);
    }
}
