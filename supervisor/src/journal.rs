//! The journal: what was accepted, who has it, what is still to be sent, and which children live. One
//! SQLite file, `journal.db` in the state directory.
//!
//! ```text
//! gateway, dispatcher, outlet ── Op ──► Journal ──queue──► writer thread ──► journal.db
//!                             ◄─ Answer, after the commit ─┘                    │
//! start, `kennel queue`       ◄───────────── Reader, by windows ◄───────────────┘
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`entry`], [`op`] | the values: what is kept, what can be put down, what comes of it |
//! | `core` | what an operation means for the rows; pure |
//! | `schema`, `sql`, `file`, `log` | the tables, the statements, the open file, a look into its log |
//! | `writer` | the thread: groups, commits, trouble |
//! | [`reader`] | what is read back |
//! | `aside`, `salvage` | what becomes of a damaged file |
//! | [`retention`] | what is deleted, and when |
//! | [`health`], [`failpoint`] | how the journal is; what a test does to it |
//!
//! Invariants:
//! - An [`Answer`] is given after the commit that it speaks of: it survives the death of every process,
//!   and a power cut.
//! - Operations are put down in the order in which they were handed in, and each is idempotent: after a
//!   doubt, hand it in again.
//! - While the file cannot be written, nothing new is accepted and nothing that happened is forgotten:
//!   see [`Op::begins`]. Work goes on by itself when it can be written again.
//! - A file that is damaged is kept under another name, and [`Health::damage`] says what of it was lost.
//! - Nobody waits for the disk but the thread. The queue has [`QUEUE`] places for what begins something
//!   and as many for the rest; [`Journal::submit`] finds a full one [`JournalError::Busy`], and
//!   [`Journal::put`] waits for a place.

mod aside;
mod core;
pub mod entry;
pub mod failpoint;
mod file;
pub mod health;
mod log;
pub mod op;
pub mod reader;
pub mod retention;
mod salvage;
mod schema;
mod sql;
mod writer;

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    task::{Context, Poll},
    thread::{self, JoinHandle},
    time::{SystemTime, UNIX_EPOCH},
};

use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tracing::warn;

use self::{
    entry::{NewDelivery, UnixMs},
    failpoint::FailPoints,
    file::JournalFile,
    health::{Class, classify},
    writer::{Job, Request, Writer},
};
pub use self::{
    file::OpenError,
    health::{Damage, Health, Trouble},
    op::{Acceptance, Answer, Op, Refusal},
    reader::{ReadError, Reader},
    retention::Retention,
};

/// The file's name within the state directory.
pub const FILE: &str = "journal.db";

/// Operations of one kind, those that begin something or the others, that may wait.
pub const QUEUE: usize = 1024;

/// The most operations that are committed together, unless told otherwise.
pub const GROUP: usize = 512;

/// SQLite needs little stack; what is not touched is not resident.
const STACK_BYTES: usize = 512 * 1024;

/// Where the journal is, and how it is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// The file. Others with the same beginning are made beside it.
    pub path: PathBuf,
    /// What is kept for how long.
    pub retention: Retention,
    /// The most operations that are committed together.
    pub group: usize,
    /// What a test does to it.
    pub fail_points: FailPoints,
}

impl Options {
    /// A journal at `path`, kept as usual.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            retention: Retention::default(),
            group: GROUP,
            fail_points: FailPoints::default(),
        }
    }
}

/// Why an operation was not put down.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JournalError {
    /// The file cannot be written, so nothing is accepted.
    #[error("{0}; {remedy}", remedy = .0.remedy())]
    Unavailable(Trouble),
    /// Too many operations wait.
    #[error("too much waits to be written down; try again in a moment")]
    Busy,
    /// It does not fit what is written.
    #[error(transparent)]
    Refused(Refusal),
    /// SQLite did not take it, and nothing is wrong with the file: a mistake of this program.
    #[error("the journal failed: {0}")]
    Internal(String),
    /// The journal was closed.
    #[error("the supervisor is shutting down")]
    Closed,
}

/// An operation that was not taken, back in the hands of who wanted it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{error}")]
pub struct NotTaken {
    /// What was to be put down.
    pub op: Box<Op>,
    /// Why it was not taken.
    pub error: JournalError,
}

/// A handle of the journal; cheap to clone. When the last one is dropped, the thread writes what waits and
/// ends.
#[derive(Debug, Clone)]
pub struct Journal {
    queue: SyncSender<Request>,
    beginning: Arc<Semaphore>,
    others: Arc<Semaphore>,
    health: watch::Receiver<Health>,
    path: Arc<Path>,
}

/// An operation on its way.
#[derive(Debug)]
#[must_use = "whether it was put down is only known when this says so"]
pub struct Pending(oneshot::Receiver<Result<Answer, JournalError>>);

impl Future for Pending {
    type Output = Result<Answer, JournalError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|answer| answer.unwrap_or(Err(JournalError::Closed)))
    }
}

impl Journal {
    /// Opens the journal, or makes one, and starts its thread. A damaged one is replaced:
    /// [`Journal::health`] says so.
    pub fn open(options: Options) -> Result<(Self, JoinHandle<()>), OpenError> {
        let path: Arc<Path> = options.path.as_path().into();
        let opened = JournalFile::open(&path, &options.fail_points)?;
        let (health_tx, health) = watch::channel(Health {
            damage: opened.damage,
            ..Health::default()
        });
        let mut writer = Writer::new(options, opened.file, health_tx);
        writer.take_over();
        let (queue, requests) = sync_channel(2 * QUEUE + 1);
        if opened.unchecked {
            check_beside(Arc::clone(&path), queue.clone());
        }
        let thread = start("journal", move || writer.run(&requests)).map_err(OpenError::Thread)?;
        let journal = Self {
            queue,
            beginning: Arc::new(Semaphore::new(QUEUE)),
            others: Arc::new(Semaphore::new(QUEUE)),
            health,
            path,
        };
        Ok((journal, thread))
    }

    fn places(&self, op: &Op) -> &Arc<Semaphore> {
        if op.begins() {
            &self.beginning
        } else {
            &self.others
        }
    }

    fn send(&self, op: Op, place: OwnedSemaphorePermit) -> Result<Pending, NotTaken> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Job { op, reply, place });
        let (request, error) = match self.queue.try_send(Request::Do(job)) {
            Ok(()) => return Ok(Pending(answer)),
            // There are as many places as the queue is long.
            Err(TrySendError::Full(request)) => (request, JournalError::Busy),
            Err(TrySendError::Disconnected(request)) => (request, JournalError::Closed),
        };
        let Request::Do(job) = request else {
            unreachable!("it is the one that was sent")
        };
        let op = Box::new(job.op);
        Err(NotTaken { op, error })
    }

    /// Hands an operation in without waiting; for tasks that never wait. They are put down in this order.
    pub fn submit(&self, op: Op) -> Result<Pending, NotTaken> {
        match Arc::clone(self.places(&op)).try_acquire_owned() {
            Ok(place) => self.send(op, place),
            Err(_) => Err(NotTaken {
                op: Box::new(op),
                error: JournalError::Busy,
            }),
        }
    }

    /// Hands an operation in, once there is a place for it, and waits until it is put down.
    pub async fn put(&self, op: Op) -> Result<Answer, JournalError> {
        let place = Arc::clone(self.places(&op)).acquire_owned().await;
        self.send(op, place.map_err(|_| JournalError::Closed)?)
            .map_err(|not_taken| not_taken.error)?
            .await
    }

    /// Puts a message down. After this says so, it is not lost.
    pub async fn accept(&self, new: NewDelivery) -> Result<Acceptance, JournalError> {
        match self.put(Op::Accept(Box::new(new))).await? {
            Answer::Accepted(acceptance) => Ok(acceptance),
            other => Err(JournalError::Internal(format!("an odd answer: {other:?}"))),
        }
    }

    /// How it is, and a way to wait for changes.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// Reads in the blocking pool.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let path = Arc::clone(&self.path);
        tokio::task::spawn_blocking(move || read(&Reader::open(&path)?))
            .await
            .expect("reading does not panic")
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether this program can go on with a journal, without changing anything: it can be read, and no newer version
/// wrote it. One that is not there yet can be made.
pub fn check(path: &Path) -> Result<(), String> {
    if !path.exists() {
        return Ok(());
    }
    let readable = Reader::open(path).and_then(|reader| {
        let version = reader.version()?;
        reader.children()?;
        Ok(version)
    });
    match readable {
        Ok(version) if version > i64::from(schema::VERSION) => Err(format!(
            "{} was written by a newer version (schema {version}, this one knows {})",
            path.display(),
            schema::VERSION
        )),
        Ok(_) => Ok(()),
        Err(error) => Err(crate::error_chain(&error)),
    }
}

/// Reads a large file whole beside the work, and has it replaced if it is damaged.
fn check_beside(path: Arc<Path>, queue: SyncSender<Request>) {
    let checked = start("journal-check", move || {
        let checked = Reader::open(&path).and_then(|reader| reader.check());
        if let Err(error) = checked
            && classify(&error.source) == Class::Damaged
        {
            let _ = queue.send(Request::Damaged(error.source.to_string()));
        }
    });
    if let Err(error) = checked {
        warn!(%error, "the journal is used without a check");
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK_BYTES)
        .spawn(work)
}

/// A time as the journal writes it.
pub(crate) fn unix_ms(at: SystemTime) -> UnixMs {
    let since = at.duration_since(UNIX_EPOCH);
    UnixMs::try_from(since.unwrap_or_default().as_millis()).unwrap_or(UnixMs::MAX)
}

/// Now, as the journal writes it.
pub(crate) fn now_ms() -> UnixMs {
    unix_ms(SystemTime::now())
}

#[cfg(test)]
mod tests;
