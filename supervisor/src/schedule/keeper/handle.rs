//! The ways to the keeper, and what is seen of it.

use std::collections::BTreeMap;

use kennel_shared::ids::DeliveryId;
use tokio::sync::{mpsc, oneshot, watch};

use super::super::ScheduleId;
use crate::{
    dispatch::Rejected,
    journal::{JournalError, entry::UnixMs},
};

/// What others see of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// When it is due next; not while it is paused or disabled.
    pub next: Option<UnixMs>,
    /// A run that could not be handed over yet.
    pub held: Option<Held>,
    /// An operator has paused it.
    pub paused: bool,
    /// How often it was run.
    pub runs: u64,
    /// Due times that were not.
    pub missed: u64,
}

/// A run that could not be handed over yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// For which due time.
    pub due: UnixMs,
    /// Why not.
    pub why: String,
}

/// Why a request was not carried out.
#[derive(Debug)]
pub enum NotDone {
    /// There is no such schedule.
    Unknown,
    /// The dispatcher did not take it.
    Rejected(Rejected),
    /// It could not be written down.
    Journal(JournalError),
    /// The supervisor is on its way out.
    Leaving,
}

pub(super) enum Request {
    Run {
        schedule: String,
        reply: oneshot::Sender<Result<DeliveryId, NotDone>>,
    },
    Pause {
        schedule: String,
        pause: bool,
        reply: oneshot::Sender<Result<bool, NotDone>>,
    },
}

/// Talks to the keeper.
#[derive(Clone)]
pub struct Schedules {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) observed: watch::Receiver<BTreeMap<ScheduleId, Observed>>,
}

impl Schedules {
    /// What is seen of all schedules.
    pub fn observed(&self) -> BTreeMap<ScheduleId, Observed> {
        self.observed.borrow().clone()
    }

    /// Runs a schedule now, whatever the clock says: the delivery that it is.
    pub async fn run(&self, schedule: &str) -> Result<DeliveryId, NotDone> {
        let (reply, answer) = oneshot::channel();
        let schedule = schedule.to_owned();
        self.ask(Request::Run { schedule, reply }).await?;
        answer.await.map_err(|_| NotDone::Leaving)?
    }

    /// Has a schedule paused, or run again from now on; false when it was so already.
    pub async fn pause(&self, schedule: &str, pause: bool) -> Result<bool, NotDone> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Pause {
            schedule: schedule.to_owned(),
            pause,
            reply,
        };
        self.ask(request).await?;
        answer.await.map_err(|_| NotDone::Leaving)?
    }

    async fn ask(&self, request: Request) -> Result<(), NotDone> {
        let sent = self.requests.send(request).await;
        sent.map_err(|_| NotDone::Leaving)
    }
}
