//! Against the kernel of this host, for each backend: the same checks, with groups of their own.
//!
//! `best_effort` runs anywhere. `hybrid` and `v1` run where the host can do it, and say so where it
//! cannot; name a backend in `KENNEL_TEST_BACKENDS` (such as `hybrid,cgroup-v1`) and it has to. `v2` is
//! ignored, so that it is never taken for passed: run it with `--ignored` where there is v2.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use super::*;

mod backends;
mod best_effort;
mod checks;

const MIB: u64 = 1024 * 1024;
/// An emulated machine takes its time.
const LONG: Duration = Duration::from_mins(1);

/// Tests of one process take turns, since each moves the process.
static TURN: Mutex<()> = Mutex::new(());

/// A prepared instance that is taken down again whatever happens.
struct Host {
    containment: Option<Containment>,
    instance: String,
    turn: Option<MutexGuard<'static, ()>>,
}

impl Host {
    fn new(
        probe: impl FnOnce() -> Result<Containment, ContainmentError>,
    ) -> Result<Self, ContainmentError> {
        // First, since a look at the host also says where this process is.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut host = Self::beside(probe()?);
        host.turn = Some(turn);
        Ok(host)
    }

    /// A second one in the same test.
    fn beside(mut containment: Containment) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let instance = format!("test-{}-{count}", std::process::id());
        let cleaned = containment.prepare(&instance, &Caps::default()).unwrap();
        assert_eq!(cleaned, Cleaned::default());
        Self {
            containment: Some(containment),
            instance,
            turn: None,
        }
    }

    fn get(&self) -> &Containment {
        self.containment.as_ref().unwrap()
    }

    fn group(&self, caps: &Caps) -> Group {
        let agent = AgentId::new("held").unwrap();
        self.get().create(&agent, Generation(3), caps).unwrap()
    }

    /// As a supervisor that was killed leaves it.
    fn abandon(mut self) {
        self.containment = None;
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(containment) = self.containment.take() {
            let released = containment.release();
            if !std::thread::panicking() {
                released.unwrap();
                assert_eq!(folders_of(&self.instance), [] as [PathBuf; 0]);
            }
        }
    }
}

/// The folders of an instance, in any hierarchy.
fn folders_of(instance: &str) -> Vec<PathBuf> {
    let name = format!("{INSTANCE_PREFIX}{instance}");
    let mut found = Vec::new();
    for seen in probe::facts().seen {
        let all = files::subtree(&seen.hierarchy.mount);
        found.extend(all.into_iter().filter(|path| path.ends_with(&name)));
    }
    found
}

/// A shell that waits for a line before it runs its script: it is held before it does anything.
struct Script {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Script {
    fn new(script: &str) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a process that is no agent")]
        let mut child = Command::new("sh")
            .args(["-c", &format!("read _\n{script}")])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// Started, held and let go.
    fn held(group: &Group, script: &str) -> Self {
        let mut started = Self::new(script);
        group.enter(started.pid()).unwrap();
        started.go();
        started
    }

    fn go(&mut self) {
        self.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// The next line that it prints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        wait("the script ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn wait(what: &str, done: impl FnMut() -> bool) {
    assert!(files::wait_until(LONG, done), "not in {LONG:?}: {what}");
}

fn is_running(pid: i32) -> bool {
    procfs::Stat::of(pid).is_some_and(|stat| !stat.is_dead())
}

/// The host with this backend, or `None` where it has another and nobody insists.
fn host(wanted: BackendKind) -> Option<Host> {
    match Host::new(|| Containment::with(wanted)) {
        Ok(host) => Some(host),
        Err(error) => {
            let insisted = env::var("KENNEL_TEST_BACKENDS").unwrap_or_default();
            let insists = insisted.split(',').any(|one| one == wanted.as_str());
            assert!(!insists, "{error}");
            eprintln!("skipped: {error}");
            None
        }
    }
}

/// With the v2 hierarchy, delegated or by the rights of root.
fn v2_host() -> Host {
    let probe = || {
        Containment::with(BackendKind::V2Delegated)
            .or_else(|_| Containment::with(BackendKind::V2Root))
    };
    Host::new(probe).unwrap()
}
