//! The agent's store: sessions, messages, steps, processed deliveries. One SQLite file, `store.db`.
//!
//! One thread owns the connection ([`mod@file`] is what it runs); tasks hold a [`Store`], which is a
//! sender to it. Its queue has [`QUEUE`] places; a task that finds it full waits.
//!
//! Invariants:
//! - A turn's messages, its reply and its delivery are committed in one transaction.
//! - While a turn runs, each answer of the model that has calls, each call and each result is a step of
//!   its own, committed before the next begins. A delivery that is handed out again finds them.
//! - A delivery that is taken into a turn that runs is a step of that and known from then on, in one
//!   transaction: it is never a turn of its own after it.
//! - Of a turn that failed or was cancelled only the delivery is kept, with how it ended: when the
//!   person asks again, the model sees the question once.
//! - A turn that was abandoned because the process ends leaves its steps, so it goes on where it was when
//!   it is delivered again.
//! - Of the steps of an ended turn, names and times are kept, as long as its delivery.
//! - A deleted session is gone at once, and its space bit by bit ([`purge`]); its deliveries stay known.
//!
//! Others may read the file meanwhile ([`Reader`]); nobody else writes.
//!
//! `synchronous` is NORMAL: a commit survives the death of this process, and of the supervisor. Only a
//! power cut may take back the last commits, and then whole: what they answered is handed out again. A delivery that is
//! taken into a turn is not, so that commit is FULL.

mod encoding;
mod file;
mod purge;
mod reader;
mod schema;
mod search;
mod steps;

use std::{
    io,
    path::{Path, PathBuf},
    thread,
};

use kennel_shared::{
    ids::{DeliveryId, TurnId},
    protocol::{ContextSpec, TurnOutcome},
    session_key::SessionKey,
};
use thiserror::Error;
use tokio::sync::{
    mpsc::{self, error::TryRecvError},
    oneshot,
};
use tracing::warn;

use crate::{
    provider::Usage,
    window::{Call, Message},
};
use file::StoreFile;

pub(crate) use file::now_ms;
pub(crate) use reader::{ReadError, Reader};

/// Requests that wait for the store thread; whoever comes to a full queue waits.
const QUEUE: usize = 16;

/// SQLite needs little stack; what is not touched is not resident.
const STACK_BYTES: usize = 512 * 1024;

/// Why the store cannot be opened. Nothing is ever overwritten.
#[derive(Debug, Error)]
pub(crate) enum OpenError {
    /// The file is damaged, or SQLite cannot use it.
    #[error("the store {path} cannot be used")]
    Sqlite {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    /// It is an SQLite file of some other program.
    #[error("{path} is a database, but not an agent's store")]
    Foreign { path: PathBuf },
    /// A later version wrote it.
    #[error("the store {path} has version {found}; this program knows up to {known}")]
    Newer {
        path: PathBuf,
        found: i32,
        known: i32,
    },
    /// The thread could not be started.
    #[error("the store's thread could not be started")]
    Thread(#[source] io::Error),
}

/// Why a request failed.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    /// SQLite failed.
    #[error("the store failed")]
    Sqlite(#[from] rusqlite::Error),
    /// The thread is gone, after a panic.
    #[error("the store's thread is gone")]
    Gone,
}

/// What a delivery finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It was processed before: this was the end of it.
    Before(TurnOutcome),
    /// It is new, or was not finished.
    New {
        /// The window of its session, oldest first.
        window: Vec<Message>,
        /// How far an earlier attempt came.
        steps: Vec<Step>,
    },
}

/// A step of a turn that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The model answered, and wants these calls done.
    Answer { text: String, calls: Vec<Call> },
    /// A tool was begun; without a result it has not ended.
    Tool {
        /// The [`Call::id`].
        call: String,
        result: Option<String>,
    },
    /// The person has said more.
    Steered { delivery: DeliveryId, text: String },
}

/// A delivery that a turn takes in.
#[derive(Debug)]
pub(crate) struct NewSteer {
    pub(crate) delivery: DeliveryId,
    /// The delivery of the turn.
    pub(crate) into: DeliveryId,
    /// Of the step that it is there.
    pub(crate) number: u32,
    /// As the model reads it.
    pub(crate) text: String,
}

/// A step to be written down.
#[derive(Debug)]
pub(crate) enum NewStep {
    /// The model has answered.
    Answer {
        text: String,
        calls: Vec<Call>,
        asked: Asked,
    },
    /// A tool is about to be run.
    Begin { call: String, name: String },
    /// The tool that was begun with this number has ended.
    End { result: String },
}

/// What asking the model took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// When, in milliseconds since the Unix epoch.
    pub(crate) at_ms: i64,
    pub(crate) usage: Usage,
}

/// A turn to be written down.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) delivery: DeliveryId,
    pub(crate) turn: TurnId,
    pub(crate) session: SessionKey,
    /// All of the turn, from the question to the answer. Kept when it was replied to.
    pub(crate) messages: Vec<Message>,
    /// The step that the answer was, and what it took; for a turn that was replied to.
    pub(crate) last: Option<(u32, Asked)>,
    pub(crate) outcome: TurnOutcome,
}

enum Request {
    Begin {
        delivery: DeliveryId,
        session: SessionKey,
        context: ContextSpec,
        new_bytes: usize,
        reply: oneshot::Sender<Result<Begun, StoreError>>,
    },
    Step {
        delivery: DeliveryId,
        number: u32,
        step: NewStep,
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
    Steer {
        steer: NewSteer,
        reply: oneshot::Sender<Result<bool, StoreError>>,
    },
    Commit {
        record: Box<Record>,
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
    Delete {
        session: SessionKey,
        reply: oneshot::Sender<Result<Option<u64>, StoreError>>,
    },
}

/// A handle of the store; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    requests: mpsc::Sender<Request>,
}

impl Store {
    /// Opens or creates `path` and starts its thread. The thread ends, and closes the file, when the
    /// last handle is dropped.
    pub(crate) fn open(path: &Path) -> Result<(Self, thread::JoinHandle<()>), OpenError> {
        let mut file = StoreFile::open(path)?;
        let (requests, mut queue) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new()
            .name("store".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                while let Some(request) = next(&mut file, &mut queue) {
                    serve(&mut file, request);
                }
            })
            .map_err(OpenError::Thread)?;
        Ok((Self { requests }, thread))
    }

    /// Looks a delivery up, and reads the window of its session when it is new.
    pub(crate) async fn begin(
        &self,
        delivery: DeliveryId,
        session: SessionKey,
        context: ContextSpec,
        new_bytes: usize,
    ) -> Result<Begun, StoreError> {
        self.ask(|reply| Request::Begin {
            delivery,
            session,
            context,
            new_bytes,
            reply,
        })
        .await
    }

    /// Writes a step of a turn down: a new one, or the end of the tool that was begun with this number.
    /// It is committed when this returns; once asked for, it happens even when nobody waits.
    pub(crate) async fn step(
        &self,
        delivery: DeliveryId,
        number: u32,
        step: NewStep,
    ) -> Result<(), StoreError> {
        self.ask(|reply| Request::Step {
            delivery,
            number,
            step,
            reply,
        })
        .await
    }

    /// Writes down that a turn takes a delivery in; false, and nothing is written, when that has its end already.
    pub(crate) async fn steer(&self, steer: NewSteer) -> Result<bool, StoreError> {
        self.ask(|reply| Request::Steer { steer, reply }).await
    }

    /// Writes a turn down. It is committed when this returns; once asked for, it happens even when
    /// nobody waits.
    pub(crate) async fn commit(&self, record: Record) -> Result<(), StoreError> {
        let record = Box::new(record);
        self.ask(|reply| Request::Commit { record, reply }).await
    }

    /// Deletes a session: how many messages it had, `None` when there is none. The space that they take is
    /// freed when there is nothing else to do.
    pub(crate) async fn delete(&self, session: SessionKey) -> Result<Option<u64>, StoreError> {
        self.ask(|reply| Request::Delete { session, reply }).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Request,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(request(reply))
            .await
            .map_err(|_| StoreError::Gone)?;
        answer.await.map_err(|_| StoreError::Gone)?
    }
}

/// The next request. While there is none, what was deleted is removed, bit by bit.
fn next(file: &mut StoreFile, queue: &mut mpsc::Receiver<Request>) -> Option<Request> {
    while file.is_clearing() {
        match queue.try_recv() {
            Ok(request) => return Some(request),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => {
                if let Err(error) = file.clear() {
                    warn!(error = ?error, "the space of deleted sessions is not freed before the next start");
                }
            }
        }
    }
    queue.blocking_recv()
}

/// Deletes a session in the store of an agent that does not run; whoever calls it holds the agent's lock.
pub(crate) fn delete_at_rest(
    path: &Path,
    session: &SessionKey,
) -> Result<(Option<u64>, Clearing), DeleteError> {
    let mut file = StoreFile::open(path)?;
    let deleted = file.delete(session)?;
    Ok((deleted, Clearing(file)))
}

/// Goes on with what [`delete_at_rest`] has begun; whoever calls it holds the agent's lock.
pub(crate) fn clear_at_rest(path: &Path) -> Result<Clearing, OpenError> {
    StoreFile::open(path).map(Clearing)
}

/// Makes a store of an earlier version one of this; whoever calls it holds the agent's lock.
pub(crate) fn bring_up_to_date(path: &Path) -> Result<(), OpenError> {
    StoreFile::open(path).map(drop)
}

/// A store from which something is being removed.
pub(crate) struct Clearing(StoreFile);

impl Clearing {
    /// Removes a little; whether there is more to do.
    pub(crate) fn clear(&mut self) -> Result<bool, StoreError> {
        if self.0.is_clearing() {
            self.0.clear()?;
        }
        Ok(self.0.is_clearing())
    }
}

/// Why a session was not deleted.
#[derive(Debug, Error)]
pub(crate) enum DeleteError {
    /// There is no store.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Answers one request. Whoever asked may have left meanwhile.
fn serve(file: &mut StoreFile, request: Request) {
    match request {
        Request::Begin {
            delivery,
            session,
            context,
            new_bytes,
            reply,
        } => {
            let _ = reply.send(file.begin(delivery, &session, context, new_bytes));
        }
        Request::Step {
            delivery,
            number,
            step,
            reply,
        } => {
            let _ = reply.send(file.step(delivery, number, step));
        }
        Request::Steer { steer, reply } => {
            let _ = reply.send(file.steer(&steer));
        }
        Request::Commit { record, reply } => {
            let _ = reply.send(file.commit(&record));
        }
        Request::Delete { session, reply } => {
            let _ = reply.send(file.delete(&session));
        }
    }
}

#[cfg(test)]
mod tests;
