//! One life of one agent, held.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use kennel_shared::ids::{AgentId, Generation};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::{
    caps::{Cap, Caps},
    choose::{BackendKind, Tree},
    dirs::Dirs,
    error::{ContainmentError, LeftBehind},
    files, kill,
    layout::Controller,
    limits::{self, Level},
    notice::OomNotice,
    process_tree::ProcessTree,
    procfs,
    reader::{GroupReader, bytes_of, micros_of},
    reading::Reading,
    scan::Scans,
};

/// How long the leftover of an earlier group of the same name may take to end.
const EARLIER: Duration = Duration::from_secs(2);

/// A group for all processes of one life of one agent. A clone is the same group. Dropping it neither ends
/// nor removes anything.
///
/// It is shared by the thread that starts the child, the driver that ends it and the sampler; what changes
/// in it is behind a lock that nobody holds while waiting.
#[derive(Debug, Clone)]
pub struct Group {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    agent: AgentId,
    generation: Generation,
    kind: BackendKind,
    shown: String,
    /// Its path below the group of the supervisor, which is the same in every hierarchy.
    below: String,
    dirs: Dirs,
    caps: Mutex<Caps>,
    processes: Mutex<ProcessTree>,
    scans: Arc<Scans>,
}

/// Where groups of agents are made.
#[derive(Debug)]
pub(super) struct Place<'a> {
    /// By which means.
    pub kind: BackendKind,
    /// In which hierarchies.
    pub trees: &'a [Tree],
    /// Below which group.
    pub fleet: &'a str,
    /// Where there are no groups.
    pub scans: &'a Arc<Scans>,
}

/// A cap that the backend only looks after, exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over {
    /// Which.
    pub cap: Cap,
    /// What is in use.
    pub used: u64,
    /// What may be.
    pub allowed: u64,
}

impl Group {
    pub(super) fn create(
        place: &Place<'_>,
        agent: &AgentId,
        generation: Generation,
        caps: &Caps,
    ) -> Result<Self, ContainmentError> {
        let this = Self::new(place, agent, generation);
        let Inner { dirs, shown, .. } = &*this.inner;
        if let Err(error) =
            make(dirs, shown).and_then(|()| limits::apply(dirs, caps, Level::Agent, true))
        {
            let _ = dirs.remove();
            return Err(error);
        }
        this.keep(*caps);
        Ok(this)
    }

    /// Names the group; nothing is made.
    pub(super) fn new(place: &Place<'_>, agent: &AgentId, generation: Generation) -> Self {
        let below = format!("{}/{agent}.{generation}", place.fleet);
        let shown = match place.trees.first() {
            Some(tree) => tree.path_of(&below),
            None => format!("{agent}.{generation}"),
        };
        Self {
            inner: Arc::new(Inner {
                agent: agent.clone(),
                generation,
                kind: place.kind,
                shown,
                dirs: Dirs::new(place.trees, &below),
                below,
                caps: Mutex::default(),
                processes: Mutex::default(),
                scans: place.scans.clone(),
            }),
        }
    }

    /// Takes over what another supervisor has made, with these processes.
    pub(super) fn adopt(&self, pids: &[i32]) -> Result<(), ContainmentError> {
        for dir in self.inner.dirs.iter() {
            let failed = |source| ContainmentError::Make {
                path: dir.path.clone(),
                source,
            };
            files::make(&dir.path).map_err(failed)?;
            let here = files::pids_below(&dir.path);
            for pid in pids.iter().filter(|pid| !here.contains(pid)) {
                match files::enter(&dir.path, *pid) {
                    Err(source) if !is_gone(&source) => {
                        return Err(ContainmentError::Adopt {
                            pid: *pid,
                            path: dir.path.clone(),
                            source,
                        });
                    }
                    _ => {}
                }
            }
        }
        if self.inner.kind == BackendKind::BestEffort {
            let mut processes = self.processes();
            for pid in pids {
                processes.plant(*pid);
            }
        }
        Ok(())
    }

    fn keep(&self, caps: Caps) {
        *self.inner.caps.lock().expect("nobody panics with the lock") = caps;
    }

    /// Whose it is.
    pub fn agent(&self) -> &AgentId {
        &self.inner.agent
    }

    /// Which life of the agent's.
    pub fn generation(&self) -> Generation {
        self.inner.generation
    }

    /// Where it is, for people: the path as `/proc/<pid>/cgroup` writes it.
    pub fn path_shown(&self) -> String {
        self.inner.shown.clone()
    }

    /// How the path of each member ends in `/proc/<pid>/cgroup`; none where there are no groups.
    pub fn membership(&self) -> Option<String> {
        (self.inner.kind != BackendKind::BestEffort).then(|| self.inner.below.clone())
    }

    /// Takes a process in, with all its threads, and limits its open files. Before it runs a line of the
    /// agent's code: what it has started before stays outside.
    pub fn enter(&self, pid: i32) -> io::Result<()> {
        self.inner.dirs.enter(pid)?;
        if self.inner.kind == BackendKind::BestEffort {
            self.processes().plant(pid);
        }
        if let Some(allowed) = self.caps().open_files {
            limit_open_files(pid, allowed)?;
        }
        Ok(())
    }

    /// The caps that hold now.
    pub fn caps(&self) -> Caps {
        *self.inner.caps.lock().expect("nobody panics with the lock")
    }

    /// Changes the caps of the running group. Blocks for as long as the kernel takes to reclaim memory.
    /// At an error some may hold already; [`caps`](Self::caps) then still says the earlier ones.
    pub fn set(&self, caps: &Caps) -> Result<(), ContainmentError> {
        limits::apply(&self.inner.dirs, caps, Level::Agent, false)?;
        if let Some(allowed) = caps
            .open_files
            .filter(|_| caps.open_files != self.caps().open_files)
        {
            for pid in self.members() {
                match limit_open_files(pid, allowed) {
                    Err(source) if !is_gone(&source) => {
                        return Err(ContainmentError::OpenFiles {
                            pid,
                            allowed,
                            source,
                        });
                    }
                    _ => {}
                }
            }
        }
        self.keep(*caps);
        Ok(())
    }

    /// Opens its counters.
    pub fn reader(&self) -> io::Result<GroupReader> {
        if self.inner.kind == BackendKind::BestEffort {
            return Ok(GroupReader::of_processes(self.clone()));
        }
        GroupReader::open(&self.inner.dirs)
    }

    /// One look at its counters.
    pub fn reading(&self) -> Reading {
        self.reader()
            .map_or_else(|_| Reading::default(), |mut reader| reader.read())
    }

    /// Whoever is in it.
    pub fn members(&self) -> Vec<i32> {
        if self.inner.kind == BackendKind::BestEffort {
            let members = self.processes().members();
            return members.iter().map(|stat| stat.pid).collect();
        }
        self.inner.dirs.members()
    }

    /// Ends everybody in it, without waiting for their end.
    pub fn kill(&self) -> io::Result<()> {
        if self.inner.kind == BackendKind::BestEffort {
            self.processes().kill();
            return Ok(());
        }
        kill::end(&self.inner.dirs)
    }

    /// Ends everybody in it and removes it, within `limit`. Blocks the thread.
    pub fn remove_blocking(&self, limit: Duration) -> Result<(), LeftBehind> {
        if self.inner.kind != BackendKind::BestEffort {
            return kill::remove(&self.inner.dirs, &self.inner.shown, limit);
        }
        if files::wait_until(limit, || self.processes().kill()) {
            return Ok(());
        }
        let members = self.members();
        Err(LeftBehind {
            group: self.inner.shown.clone(),
            remaining: procfs::remaining(&members),
            source: None,
        })
    }

    /// Tells when the kernel ends a process of the group for want of memory. `None` where only
    /// [`over`](Self::over) tells. On the runtime's thread.
    pub fn oom_notice(&self) -> io::Result<Option<OomNotice>> {
        let Some((version, dir)) = self.inner.dirs.of(Controller::Memory) else {
            return Ok(None);
        };
        OomNotice::watch(version, dir).map(Some)
    }

    /// Which cap that the backend only looks after is exceeded now. Costs a look at `/proc` where there
    /// is such a cap, and nothing where the kernel holds them all.
    pub fn over(&self) -> Option<Over> {
        let caps = self.caps();
        let held = |controller| self.inner.dirs.of(controller).is_some();
        let memory = caps.memory.filter(|_| !held(Controller::Memory));
        let pids = caps.pids.filter(|_| !held(Controller::Pids));
        if memory.is_none() && pids.is_none() {
            return None;
        }
        let reading = self.reading_of_processes();
        let over = |cap, used: Option<u64>, allowed: Option<u64>| {
            let (used, allowed) = (used?, allowed?);
            (used > allowed).then_some(Over { cap, used, allowed })
        };
        over(Cap::Memory, reading.memory, memory)
            .or_else(|| over(Cap::Pids, reading.pids, pids.map(u64::from)))
    }

    /// What its processes use, as `/proc` tells.
    pub(super) fn reading_of_processes(&self) -> Reading {
        if self.inner.kind != BackendKind::BestEffort {
            let members: Vec<_> = self
                .inner
                .dirs
                .members()
                .into_iter()
                .filter_map(procfs::Stat::of)
                .collect();
            return Reading {
                memory: Some(bytes_of(members.iter().map(|stat| stat.pages).sum())),
                pids: Some(members.iter().map(|stat| stat.threads).sum()),
                ..Reading::default()
            };
        }
        let mut tree = self.processes();
        let members = tree.members_lately(&self.inner.scans);
        Reading {
            cpu_us: Some(micros_of(tree.ticks)),
            memory: Some(bytes_of(members.iter().map(|stat| stat.pages).sum())),
            memory_peak: Some(bytes_of(tree.peak_pages)),
            pids: Some(members.iter().map(|stat| stat.threads).sum()),
            ..Reading::default()
        }
    }

    pub(super) fn dirs(&self) -> &Dirs {
        &self.inner.dirs
    }

    fn processes(&self) -> MutexGuard<'_, ProcessTree> {
        self.inner
            .processes
            .lock()
            .expect("nobody panics with the lock")
    }
}

fn make(dirs: &Dirs, shown: &str) -> Result<(), ContainmentError> {
    match dirs.make() {
        Err((_, error)) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Nobody of that life can be wanted: this one has the same number.
            kill::remove(dirs, shown, EARLIER)?;
            dirs.make()
        }
        made => made,
    }
    .map_err(|(path, source)| ContainmentError::Make { path, source })
}

/// Soft and hard, so that nobody raises it again.
fn limit_open_files(pid: i32, allowed: u32) -> io::Result<()> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    let allowed = u64::from(allowed);
    let limit = |allowed| Rlimit {
        current: Some(allowed),
        maximum: Some(allowed),
    };
    match prlimit(Some(pid), Resource::Nofile, limit(allowed)) {
        Err(rustix::io::Errno::PERM) => {
            // Beyond our own hard limit nobody gets without CAP_SYS_RESOURCE; and at it the cap holds too.
            let most = getrlimit(Resource::Nofile).maximum;
            match most.filter(|most| *most < allowed) {
                Some(most) => prlimit(Some(pid), Resource::Nofile, limit(most)).map(drop)?,
                None => return Err(rustix::io::Errno::PERM.into()),
            }
        }
        done => done.map(drop)?,
    }
    Ok(())
}

fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}
