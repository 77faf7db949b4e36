//! The thread that writes. It owns the only connection that can.
//!
//! ```text
//!            ┌──────────────── what waits, up to a bound ───────────────┐
//! queue ─► group ─► one transaction ─► commit ─► each is told ─► log into file, old rows out, now and then
//!             ▲                          │
//!             │                          └─ full, failed, damaged ─► refusing
//!             └── what is owed, first ◄──── it can be written again ◄───┘
//! ```
//!
//! While it refuses, what would begin something is answered with an error at once; what says what has
//! happened already is owed, and is put down first when it can be. Owed operations hold their places in
//! the queue, so there is no more of them than of places.
//!
//! An operation that SQLite does not take although nothing is wrong with the file is a mistake of this
//! program: its group is put down one by one then, so that it harms no other.

use std::{
    collections::VecDeque,
    sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, oneshot, watch},
    time::Instant,
};
use tracing::{debug, error, info, warn};

use super::{
    JournalError, Options, aside,
    failpoint::Point,
    file::{JournalFile, OpenError},
    health::{Class, Health, Refusing, Trouble, classify},
    now_ms,
    op::{Answer, Op},
    retention,
    sql::SqlResult,
};

/// The most bytes in one group, beside its first operation.
const GROUP_BYTES: usize = 4 * 1024 * 1024;
/// When to try again whether the file can be written.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// When to try again to replace a damaged file.
const REPLACE_EVERY: Duration = Duration::from_secs(5);
/// The log is copied into the file after so many bytes of operations, or groups, or when nothing happens.
const CHECKPOINT_BYTES: usize = 2 * 1024 * 1024;
const CHECKPOINT_GROUPS: u32 = 256;
const CHECKPOINT_IDLE: Duration = Duration::from_secs(1);
/// What is too old is looked for this often.
const PRUNE_EVERY: Duration = Duration::from_secs(30);
/// A step of deleting comes between this many groups while there is work.
const PRUNE_GROUPS: u32 = 16;

/// An operation and who waits for it.
pub(super) struct Job {
    pub(super) op: Op,
    pub(super) reply: oneshot::Sender<Result<Answer, JournalError>>,
    /// Its place in the queue; given back when it is answered.
    pub(super) place: OwnedSemaphorePermit,
}

/// How long a group waits in which nothing is urgent.
const PATIENCE: Duration = Duration::from_millis(5);

/// What the thread is asked for.
pub(super) enum Request {
    Do(Box<Job>),
    /// Whoever read the file beside the work found it damaged.
    Damaged(String),
}

/// See the module.
pub(super) struct Writer {
    pub(super) options: Options,
    pub(super) file: Option<JournalFile>,
    pub(super) health: watch::Sender<Health>,
    owed: VecDeque<Job>,
    /// What a dead supervisor was sending is still to be marked.
    recall: bool,
    try_at: Option<Instant>,
    unsaved_bytes: usize,
    unsaved_groups: u32,
    written_at: Instant,
    prune_at: Instant,
    groups_since_prune: u32,
}

impl Writer {
    pub(super) fn new(options: Options, file: JournalFile, health: watch::Sender<Health>) -> Self {
        let now = Instant::now();
        Self {
            options,
            file: Some(file),
            health,
            owed: VecDeque::new(),
            recall: true,
            try_at: None,
            unsaved_bytes: 0,
            unsaved_groups: 0,
            written_at: now,
            prune_at: now + PRUNE_EVERY,
            groups_since_prune: 0,
        }
    }

    /// What a dead supervisor left is marked before anybody reads it.
    pub(super) fn take_over(&mut self) {
        if self.recall && self.write(JournalFile::recall_sends).is_some() {
            self.recall = false;
        }
        self.measure(false);
    }

    /// Runs until every handle is gone, and puts down what is owed if it can.
    pub(super) fn run(mut self, queue: &Receiver<Request>) {
        loop {
            let mut idle = false;
            match queue.recv_timeout(self.rest()) {
                Ok(Request::Do(first)) => {
                    let (group, damaged) = collect(*first, queue, self.options.group);
                    self.put_down(group);
                    if let Some(why) = damaged {
                        self.replace(&why);
                        self.pay();
                    }
                }
                Ok(Request::Damaged(why)) => {
                    self.replace(&why);
                    self.pay();
                }
                Err(RecvTimeoutError::Timeout) => idle = true,
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.housekeeping(idle);
        }
        self.heal_if(true);
        for job in std::mem::take(&mut self.owed) {
            warn!("something that happened could not be put down before the end");
            let _ = job.reply.send(Err(JournalError::Closed));
        }
        self.checkpoint();
    }

    /// How long there is nothing to do but to wait for a request.
    fn rest(&self) -> Duration {
        let mut due = self.prune_at;
        if let Some(at) = self.try_at {
            due = at;
        } else if self.unsaved_groups > 0 {
            due = due.min(self.written_at + CHECKPOINT_IDLE);
        }
        due.saturating_duration_since(Instant::now())
    }

    fn put_down(&mut self, group: Vec<Job>) {
        self.heal_if(false);
        let (None, Some(file)) = (self.try_at, &mut self.file) else {
            self.refuse(group, false);
            return;
        };
        let ops = || group.iter().map(|job| &job.op);
        let bytes: usize = ops().map(Op::weight).sum();
        match file.commit(ops(), now_ms()) {
            Ok(answers) => {
                self.unsaved_bytes += bytes;
                self.unsaved_groups += 1;
                self.groups_since_prune += 1;
                self.written_at = Instant::now();
                self.tell(group, answers);
            }
            Err(error) => match classify(&error) {
                Class::Operation if group.len() == 1 => {
                    error!(%error, "the journal does not take an operation");
                    let detail = error.to_string();
                    for job in group {
                        let detail = detail.clone();
                        let _ = job.reply.send(Err(JournalError::Internal(detail)));
                    }
                }
                Class::Operation => {
                    debug!(%error, "a group is put down one by one");
                    for job in group {
                        self.put_down(vec![job]);
                    }
                }
                class => {
                    self.trouble(class, &error);
                    if self.try_at.is_some() {
                        self.refuse(group, true);
                    } else {
                        // A damaged file was replaced: once more, into the new one.
                        group
                            .into_iter()
                            .rev()
                            .for_each(|job| self.owed.push_front(job));
                        self.pay();
                    }
                }
            },
        }
    }

    fn tell(&self, group: Vec<Job>, answers: Vec<Answer>) {
        let points = &self.options.fail_points;
        // What is committed is committed: nothing may fail any more.
        let _ = points.reach(Point::Committed);
        for (Job { reply, place, .. }, answer) in group.into_iter().zip(answers) {
            drop(place);
            let answer = match answer {
                Answer::Refused(refusal) => Err(JournalError::Refused(refusal)),
                answer => Ok(answer),
            };
            // Whoever is gone does not mind.
            let _ = reply.send(answer);
            let _ = points.reach(Point::Told);
        }
    }

    /// Answers what would begin something, and keeps the rest: in front of what is owed already, if it
    /// happened `before` that.
    fn refuse(&mut self, group: Vec<Job>, before: bool) {
        let refusing = self.health.borrow().refusing.clone();
        let trouble = refusing.map(|refusing| refusing.trouble);
        let (begin, owed): (Vec<_>, Vec<_>) = group.into_iter().partition(|job| job.op.begins());
        for Job { reply, place, .. } in begin {
            drop(place);
            let error = trouble
                .clone()
                .map_or(JournalError::Closed, JournalError::Unavailable);
            let _ = reply.send(Err(error));
        }
        if before {
            owed.into_iter()
                .rev()
                .for_each(|job| self.owed.push_front(job));
        } else {
            self.owed.extend(owed);
        }
        let owed = self.owed.len();
        self.health.send_if_modified(|health| {
            let refusing = health.refusing.as_mut();
            refusing.is_some_and(|refusing| std::mem::replace(&mut refusing.owed, owed) != owed)
        });
    }

    /// Something is wrong with the file or its disk.
    fn trouble(&mut self, class: Class, error: &dyn std::error::Error) {
        if class == Class::Damaged {
            self.replace(&crate::error_chain(error));
            return;
        }
        let trouble = Trouble::of(class, &self.options.path, error);
        self.stop(&trouble, PROBE_EVERY);
        if class == Class::Io {
            // What SQLite believes to know of the file may be wrong now.
            self.file.take().into_iter().for_each(JournalFile::leave);
        }
    }

    fn stop(&mut self, trouble: &Trouble, again: Duration) {
        self.try_at = Some(Instant::now() + again);
        let owed = self.owed.len();
        let began = self
            .health
            .send_if_modified(|health| match &mut health.refusing {
                Some(refusing) if refusing.trouble == *trouble => false,
                refusing => {
                    let since = refusing.as_ref().map_or_else(now_ms, |before| before.since);
                    *refusing = Some(Refusing {
                        trouble: trouble.clone(),
                        since,
                        owed,
                    });
                    true
                }
            });
        if began {
            error!(error = %trouble, remedy = trouble.remedy(), "the journal takes nothing in");
        }
    }

    /// A damaged file makes room for a new one.
    fn replace(&mut self, why: &str) {
        warn!(error = why, "the journal is damaged");
        self.file.take().into_iter().for_each(JournalFile::leave);
        let (path, points) = (&self.options.path, &self.options.fail_points);
        if let Err(error) = aside::begin(path, why, points) {
            return self.stop_for(&error);
        }
        self.reopen();
    }

    fn stop_for(&mut self, error: &OpenError) {
        let class = error.class();
        let again = match class {
            Class::Damaged => REPLACE_EVERY,
            _ => PROBE_EVERY,
        };
        self.stop(&Trouble::of(class, &self.options.path, error), again);
    }

    /// Opens the file anew, which finishes what was begun with a damaged one.
    fn reopen(&mut self) -> bool {
        match JournalFile::reopen(&self.options.path, &self.options.fail_points) {
            Ok(opened) => {
                self.file = Some(opened.file);
                self.health
                    .send_modify(|health| health.damage = opened.damage);
                self.resume();
                true
            }
            Err(error) => {
                self.stop_for(&error);
                false
            }
        }
    }

    fn resume(&mut self) {
        self.try_at = None;
        let resumed = self
            .health
            .send_if_modified(|health| health.refusing.take().is_some());
        if resumed {
            info!("the journal takes messages in again");
        }
    }

    /// Tries again, if it is time, whether the file can be written, and puts down what is owed.
    fn heal_if(&mut self, at_once: bool) {
        let due = |at: Instant| at_once || at <= Instant::now();
        if !self.try_at.is_some_and(due) {
            return;
        }
        if self.file.is_none() && !self.reopen() {
            return;
        }
        let Some(file) = &mut self.file else { return };
        match file.probe() {
            Ok(()) => {
                self.resume();
                self.pay();
            }
            Err(error) => self.trouble(classify(&error), &error),
        }
    }

    /// Puts down what is owed, in its order.
    fn pay(&mut self) {
        // What a dead supervisor was sending is told from what this one sends before anything else is.
        if self.recall {
            self.take_over();
        }
        while self.try_at.is_none() && !self.owed.is_empty() {
            let group: Vec<Job> = self
                .owed
                .drain(..self.owed.len().min(self.options.group.max(1)))
                .collect();
            self.put_down(group);
        }
    }

    fn write<T>(&mut self, work: impl FnOnce(&mut JournalFile) -> SqlResult<T>) -> Option<T> {
        match work(self.file.as_mut()?) {
            Ok(done) => Some(done),
            Err(error) => {
                match classify(&error) {
                    Class::Operation => error!(%error, "the journal could not be kept in order"),
                    class => self.trouble(class, &error),
                }
                None
            }
        }
    }

    fn housekeeping(&mut self, idle: bool) {
        self.heal_if(false);
        if self.try_at.is_some() {
            return;
        }
        let now = Instant::now();
        let still = self.unsaved_groups > 0 && now >= self.written_at + CHECKPOINT_IDLE;
        if still
            || self.unsaved_bytes > CHECKPOINT_BYTES
            || self.unsaved_groups >= CHECKPOINT_GROUPS
        {
            self.checkpoint();
        }
        if now >= self.prune_at && (idle || self.groups_since_prune >= PRUNE_GROUPS) {
            self.prune();
        }
    }

    fn checkpoint(&mut self) {
        if self.unsaved_groups > 0 && self.write(|file| file.checkpoint()).is_some() {
            (self.unsaved_bytes, self.unsaved_groups) = (0, 0);
        }
    }

    fn prune(&mut self) {
        let keep = self.options.retention;
        self.groups_since_prune = 0;
        let step = self.write(|file| retention::step(file, &keep, now_ms()));
        let Some(step) = step else {
            self.prune_at = Instant::now() + PRUNE_EVERY;
            return;
        };
        if step.deleted > 0 || step.vacuumed > 0 {
            self.unsaved_groups += 1;
            self.written_at = Instant::now();
            debug!(
                deleted = step.deleted,
                pages = step.vacuumed,
                "old entries of the journal were deleted"
            );
        }
        self.prune_at = Instant::now();
        // If there is more to do: at once when nothing waits, else after some groups.
        if !step.more {
            self.prune_at += PRUNE_EVERY;
            self.measure(step.over_limit);
        }
    }

    fn measure(&mut self, over_limit: bool) {
        if let Some(mut size) = self.write(|file| file.size()) {
            size.over_limit = over_limit;
            self.health
                .send_if_modified(|health| std::mem::replace(&mut health.size, size) != size);
        }
    }
}

/// `first` and what waits behind it, up to a bound. While all of it can wait, so does the group, for
/// whatever is next: a lease goes to the disk with the message after it, or with its own end.
fn collect(first: Job, queue: &Receiver<Request>, most: usize) -> (Vec<Job>, Option<String>) {
    let until = Instant::now() + PATIENCE;
    let mut bytes = first.op.weight();
    let mut patient = first.op.is_patient();
    let mut group = vec![first];
    while group.len() < most && bytes < GROUP_BYTES {
        let next = match queue.try_recv() {
            Err(TryRecvError::Empty) if patient => {
                queue.recv_timeout(until.saturating_duration_since(Instant::now()))
            }
            next => next.map_err(|_| RecvTimeoutError::Timeout),
        };
        match next {
            Ok(Request::Do(job)) => {
                bytes += job.op.weight();
                patient &= job.op.is_patient();
                group.push(*job);
            }
            Ok(Request::Damaged(why)) => return (group, Some(why)),
            Err(_) => break,
        }
    }
    (group, None)
}

#[cfg(test)]
mod tests;
