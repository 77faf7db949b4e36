//! The way back from an upgrade: a program that has taken over and does not come up becomes the one before it again.
//!
//! The program before leaves its own executable open for the next one, which keeps copies of all that it was handed
//! until it serves. When its start fails, panics or takes longer than [`LIMIT`], it executes the program before in the
//! same process, which goes on as if nothing had happened and says why it is back.
//!
//! Not covered, and so left to the preflight and to whoever restarts supervisors: a program that is no `kennel` at all
//! or dies of a signal, and a journal that was carried to a schema that the program before does not know.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError, SyncSender},
    },
    thread,
    time::Duration,
};

use rustix::fs::{Mode, OFlags};
use tracing::error;

use super::handover::Handover;

/// How long a program that has taken over may take to serve.
const LIMIT: Duration = Duration::from_secs(30);

/// The most of a reason that is passed on, in bytes.
const WHY_BYTES: usize = 1024;

/// The executable of this process, kept open for the program that takes over from it.
pub(super) fn own_program() -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/proc/self/exe", flags, Mode::empty())?)
}

/// What it takes to be the program before again.
#[derive(Debug)]
struct Way {
    program: OwnedFd,
    handover: Handover,
    config: PathBuf,
    watch: bool,
}

impl Way {
    fn go(&self, why: &str) -> io::Error {
        error!(
            why,
            "this program does not come up; the one before it goes on"
        );
        let program = PathBuf::from(format!("/proc/self/fd/{}", self.program.as_raw_fd()));
        let end = why.floor_char_boundary(WHY_BYTES);
        // A word of a command line may hold anything but zeros.
        let why = why[..end].replace('\0', " ");
        let more = ["--undone".as_ref(), why.as_ref()];
        self.handover
            .become_program(&program, &self.config, self.watch, more)
    }
}

/// Goes back unless told that all is well; see the module.
#[derive(Debug)]
pub struct WayBack {
    way: Arc<Mutex<Option<Way>>>,
    arrived: SyncSender<()>,
}

impl WayBack {
    /// From now on this process becomes the program before again, unless it says in time that it has
    /// [arrived](Self::arrived). `config` is that of the program before.
    pub fn keep(
        handover: &Handover,
        program: OwnedFd,
        config: PathBuf,
        watch: bool,
    ) -> io::Result<Self> {
        let way = Arc::new(Mutex::new(Some(Way {
            program,
            handover: handover.copied()?,
            config,
            watch,
        })));
        let (arrived, late) = mpsc::sync_channel(1);
        let shared = Arc::clone(&way);
        thread::Builder::new()
            .name("way-back".into())
            .stack_size(64 * 1024)
            .spawn(move || {
                if late.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                    let way = take(&shared);
                    if let Some(way) = way {
                        let error = way.go(&format!("it did not serve within {LIMIT:?}"));
                        error!(%error, "the program before cannot be started again");
                    }
                }
            })?;
        Ok(Self { way, arrived })
    }

    /// All is well: what was kept for the way back is let go.
    pub fn arrived(&self) {
        drop(take(&self.way));
        let _ = self.arrived.try_send(());
    }

    /// Becomes the program before. Comes back only with the reason why not; `None` after [`WayBack::arrived`].
    pub fn go(&self, why: &str) -> Option<io::Error> {
        take(&self.way).map(|way| way.go(why))
    }
}

/// Only a panic comes here with the way still open.
impl Drop for WayBack {
    fn drop(&mut self) {
        if thread::panicking() {
            self.go("it has panicked; its log says where");
        }
    }
}

fn take(way: &Mutex<Option<Way>>) -> Option<Way> {
    way.lock().unwrap_or_else(PoisonError::into_inner).take()
}
