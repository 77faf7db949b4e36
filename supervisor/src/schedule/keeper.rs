//! The task that looks at the wall clock and hands runs over.
//!
//! It owns what is known of each schedule: how far it has come (a copy of what the journal says), whether a run could not
//! be handed over, and since when. Others see what it publishes ([`Observed`]) and ask it by [`Schedules`].
//!
//! What could not be handed over, since a queue is full, the agent rests or the journal cannot write, is tried again every
//! second until the planner says that its time is over.

mod entry;
mod handle;
mod run;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use kennel_shared::ids::{DeliveryId, Generation};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

pub use self::handle::{Held, NotDone, Observed, Schedules};
use self::{
    entry::{Entry, Untold},
    handle::Request,
};
use super::{Schedule, ScheduleId, planner::Missed, timetable::DueTimes as _};
use crate::{
    dispatch::{DispatcherHandle, Rejected},
    journal::{
        self, Answer, Journal, JournalError, Op,
        entry::UnixMs,
        op::{Refusal, ScheduleChange},
    },
    supervision::events::{Events, LifecycleEvent},
};

/// The clock is looked at so often at least, whatever is due: it may be set, and a machine may sleep.
pub const LOOK: Duration = Duration::from_secs(30);

/// When what could not be handed over is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Requests that may wait. Full: who asks waits.
const REQUESTS: usize = 16;

/// What is to be kept.
pub type Configured = Arc<Vec<Schedule>>;

/// The wall clock, in milliseconds since the Unix epoch.
pub type WallClock = Arc<dyn Fn() -> UnixMs + Send + Sync>;

/// The machine's.
pub fn wall_clock() -> WallClock {
    Arc::new(journal::now_ms)
}

/// What the keeper is given.
pub struct Stage {
    /// Takes the runs.
    pub dispatcher: DispatcherHandle,
    /// Knows how far each schedule has come.
    pub journal: Journal,
    /// Where operators look.
    pub events: Events,
    /// What time it is.
    pub clock: WallClock,
}

/// See the module.
pub struct Keeper {
    stage: Stage,
    configured: watch::Receiver<Configured>,
    requests: mpsc::Receiver<Request>,
    observed: watch::Sender<BTreeMap<ScheduleId, Observed>>,
    entries: BTreeMap<ScheduleId, Entry>,
    /// The journal has been asked for schedules that are not configured any more.
    swept: bool,
    /// The supervisor is on its way out: what is due is for the next one.
    leaving: bool,
}

impl Keeper {
    /// A keeper of what is configured, and the way to it.
    pub fn new(stage: Stage, configured: watch::Receiver<Configured>) -> (Self, Schedules) {
        let (requests_tx, requests) = mpsc::channel(REQUESTS);
        let observed = watch::Sender::default();
        let schedules = Schedules {
            requests: requests_tx,
            observed: observed.subscribe(),
        };
        let keeper = Self {
            stage,
            configured,
            requests,
            observed,
            entries: BTreeMap::new(),
            swept: false,
            leaving: false,
        };
        (keeper, schedules)
    }

    /// Runs until aborted.
    pub async fn run(mut self) {
        self.take_over();
        loop {
            let wake = self.turn().await;
            tokio::select! {
                () = sleep_until(wake) => {}
                changed = self.configured.changed() => match changed {
                    Ok(()) => self.take_over(),
                    // Whoever configures is gone, and with it the supervisor.
                    Err(_) => return,
                },
                Some(request) = self.requests.recv() => self.answer(request).await,
            }
        }
    }

    fn now(&self) -> UnixMs {
        (self.stage.clock)()
    }

    /// Makes the entries those that are configured.
    fn take_over(&mut self) {
        let configured = Arc::clone(&self.configured.borrow_and_update());
        let mut before = std::mem::take(&mut self.entries);
        for schedule in configured.iter() {
            let known = before.remove(&schedule.id);
            let known = known.filter(|known| known.schedule.made_of() == schedule.made_of());
            let entry = known.unwrap_or(Entry {
                schedule: schedule.clone(),
                mark: None,
                seen: None,
                held: None,
                untold: Untold::default(),
            });
            let schedule = schedule.clone();
            let entry = Entry { schedule, ..entry };
            self.entries.insert(entry.schedule.id.clone(), entry);
        }
        self.swept = false;
    }

    /// Does what is to be done now; when to look again.
    async fn turn(&mut self) -> Instant {
        if self.leaving {
            return Instant::now() + LOOK;
        }
        let mut again = !self.track().await;
        let now = self.now();
        let ids: Vec<ScheduleId> = self.entries.keys().cloned().collect();
        let mut wake = now.saturating_add(ms(LOOK));
        for id in ids {
            let next = self.serve(&id).await;
            wake = wake.min(next.unwrap_or(wake));
            let entry = self.entries.get(&id);
            again |= entry.is_some_and(|entry| entry.held.is_some() || entry.mark.is_none());
        }
        self.publish();
        if again {
            wake = wake.min(now.saturating_add(ms(AGAIN)));
        }
        let wait = u64::try_from(wake.saturating_sub(self.now())).unwrap_or(0);
        Instant::now() + Duration::from_millis(wait)
    }

    /// Has the journal know each schedule, and forget those that are gone; whether it does now.
    async fn track(&mut self) -> bool {
        let mut known = true;
        let unknown: Vec<ScheduleId> = self
            .entries
            .values()
            .filter(|entry| entry.mark.is_none())
            .map(|entry| entry.schedule.id.clone())
            .collect();
        for id in unknown {
            let made_of = self.entries[&id].schedule.made_of();
            let now = self.now();
            known &= self
                .change(&id, ScheduleChange::Track { made_of, now })
                .await;
        }
        if !self.swept {
            self.swept = self.sweep().await;
        }
        known && self.swept
    }

    async fn sweep(&self) -> bool {
        let Ok(found) = self
            .stage
            .journal
            .read(crate::journal::Reader::schedules)
            .await
        else {
            return false;
        };
        let mut gone = true;
        for found in found {
            let schedule = found.mark.schedule;
            if !self.entries.contains_key(&schedule) {
                let change = ScheduleChange::Forget;
                gone &= self
                    .stage
                    .journal
                    .put(Op::Schedule { schedule, change })
                    .await
                    .is_ok();
            }
        }
        gone
    }

    /// Writes a change of a schedule down; whether that was done.
    async fn change(&mut self, id: &ScheduleId, change: ScheduleChange) -> bool {
        self.try_change(id, change).await.is_ok()
    }

    async fn try_change(
        &mut self,
        id: &ScheduleId,
        change: ScheduleChange,
    ) -> Result<(), JournalError> {
        let schedule = id.clone();
        let answer = self
            .stage
            .journal
            .put(Op::Schedule { schedule, change })
            .await;
        let Some(entry) = self.entries.get_mut(id) else {
            return answer.map(drop);
        };
        match answer {
            Ok(Answer::Schedule(mark)) => {
                entry.mark = Some(*mark);
                Ok(())
            }
            // A journal that was begun anew does not know it.
            Err(JournalError::Refused(Refusal::Unknown)) => {
                entry.mark = None;
                Err(JournalError::Refused(Refusal::Unknown))
            }
            Ok(other) => Err(JournalError::Internal(format!("an odd answer: {other:?}"))),
            Err(error) => Err(error),
        }
    }

    /// Does what is to be done for one schedule; when there is more.
    async fn serve(&mut self, id: &ScheduleId) -> Option<UnixMs> {
        let now = self.now();
        let Some(plan) = self.entries.get(id)?.plan(now) else {
            self.entries.get_mut(id)?.held = None;
            return None;
        };
        if plan.set_back {
            self.set_back(id, now).await;
        }
        if let Some(missed) = plan.missed
            && !self.miss(id, missed).await
        {
            return Some(now.saturating_add(ms(AGAIN)));
        }
        let entry = self.entries.get_mut(id)?;
        if let Some(newest) = plan.waits.or(plan.run.last().copied()) {
            entry.seen = Some(newest);
        }
        entry.held = None;
        for due in plan.run {
            if !self.fire(id, due).await {
                break;
            }
        }
        plan.wake
    }

    async fn set_back(&mut self, id: &ScheduleId, now: UnixMs) {
        let through = self
            .entries
            .get(id)
            .and_then(|entry| Some(entry.mark.as_ref()?.through));
        if self.change(id, ScheduleChange::SetBack { to: now }).await
            && let (Some(through), Some(entry)) = (through, self.entries.get(id))
        {
            let table = &entry.schedule.timetable;
            let detail = format!(
                "the clock was set back from {} to {}: schedule `{id}` begins anew",
                table.local(through),
                table.local(now),
            );
            warn!(schedule.id = %id, detail, "the clock was set back");
            tell(&self.stage.events, entry, "schedule-set-back", detail);
        }
    }

    /// Writes down that due times are over, and says so; whether that was done.
    async fn miss(&mut self, id: &ScheduleId, missed: Missed) -> bool {
        let why = self.entries.get(id).and_then(|entry| {
            let held = entry.held.as_ref()?;
            (missed.first..=missed.last)
                .contains(&held.due)
                .then(|| held.why.clone())
        });
        let change = ScheduleChange::Pass {
            through: missed.last,
            missed: missed.count as u64,
        };
        if !self.change(id, change).await {
            return false;
        }
        let Some(entry) = self.entries.get_mut(id) else {
            return false;
        };
        let Some(missed) = entry.untold.add(missed) else {
            return true;
        };
        let detail = run::missed_in_words(&entry.schedule, &missed, why.as_deref());
        warn!(schedule.id = %id, missed = missed.count, detail, "due times of a schedule were missed");
        tell(&self.stage.events, entry, "schedule-missed", detail);
        true
    }

    /// Hands a run over; whether it is dealt with.
    async fn fire(&mut self, id: &ScheduleId, due: UnixMs) -> bool {
        let Some(entry) = self.entries.get_mut(id) else {
            return false;
        };
        let submission = run::submission(&entry.schedule, Some(due));
        let why = match self.stage.dispatcher.submit(submission).await {
            Ok(accepted) => {
                info!(schedule.id = %id, delivery.id = %accepted.delivery, repeat = accepted.repeat, "a schedule runs");
                if let Some(mark) = &mut entry.mark {
                    mark.through = mark.through.max(due);
                    mark.runs += u64::from(!accepted.repeat);
                }
                return true;
            }
            // It was dealt with, or will not be, and the journal knows more than we do.
            Err(Rejected::Journal(JournalError::Refused(_))) => {
                entry.mark = None;
                return false;
            }
            Err(Rejected::Leaving) => {
                self.leaving = true;
                return false;
            }
            Err(error) => error.to_string(),
        };
        entry.held = Some(Held { due, why });
        false
    }

    fn publish(&self) {
        let now = self.now();
        let observed = |(id, entry): (&ScheduleId, &Entry)| {
            let through = entry.mark.as_ref().map_or(now, |mark| mark.through);
            let next = entry.is_on().then(|| {
                let held = entry.held.as_ref().map(|held| held.due);
                held.or_else(|| entry.schedule.timetable.after(through.max(now)))
            });
            let observed = Observed {
                next: next.flatten(),
                held: entry.held.clone(),
                paused: entry.mark.as_ref().is_some_and(|mark| mark.paused),
                runs: entry.mark.as_ref().map_or(0, |mark| mark.runs),
                missed: entry.mark.as_ref().map_or(0, |mark| mark.missed),
            };
            (id.clone(), observed)
        };
        let all: BTreeMap<_, _> = self.entries.iter().map(observed).collect();
        self.observed.send_if_modified(|before| {
            let differs = *before != all;
            *before = all;
            differs
        });
    }

    async fn answer(&mut self, request: Request) {
        // Whoever has stopped waiting can look.
        match request {
            Request::Run { schedule, reply } => {
                let _ = reply.send(self.run_now(&schedule).await);
            }
            Request::Pause {
                schedule,
                pause,
                reply,
            } => {
                let _ = reply.send(self.pause(&schedule, pause).await);
            }
        }
    }

    async fn run_now(&self, schedule: &str) -> Result<DeliveryId, NotDone> {
        let entry = self.entries.get(schedule).ok_or(NotDone::Unknown)?;
        let submission = run::submission(&entry.schedule, None);
        let accepted = self.stage.dispatcher.submit(submission).await;
        let accepted = accepted.map_err(NotDone::Rejected)?;
        info!(schedule.id = schedule, delivery.id = %accepted.delivery, "a schedule is run on request");
        Ok(accepted.delivery)
    }

    async fn pause(&mut self, schedule: &str, pause: bool) -> Result<bool, NotDone> {
        let Some((id, entry)) = self.entries.get_key_value(schedule) else {
            return Err(NotDone::Unknown);
        };
        let before = entry.mark.as_ref().is_some_and(|mark| mark.paused);
        let id = id.clone();
        let now = self.now();
        let change = if pause {
            ScheduleChange::Pause
        } else {
            ScheduleChange::Resume { now }
        };
        if self.entries[&id].mark.is_none() {
            let made_of = self.entries[&id].schedule.made_of();
            let track = ScheduleChange::Track { made_of, now };
            self.try_change(&id, track)
                .await
                .map_err(NotDone::Journal)?;
        }
        self.try_change(&id, change)
            .await
            .map_err(NotDone::Journal)?;
        Ok(before != pause)
    }
}

fn tell(events: &Events, entry: &Entry, kind: &'static str, detail: String) {
    events.tell(LifecycleEvent {
        at: SystemTime::now(),
        agent: Some(entry.schedule.agent.clone()),
        generation: Generation(0),
        kind,
        detail: Some(detail),
        end: None,
        held_back: None,
    });
}

fn ms(duration: Duration) -> UnixMs {
    UnixMs::try_from(duration.as_millis()).unwrap_or(UnixMs::MAX)
}

#[cfg(test)]
mod tests;
