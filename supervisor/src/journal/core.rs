//! What an operation means for the rows. Pure: [`Rows`] is the SQLite file, or a map in tests.
//!
//! ```text
//! inbox    Accept ─► queued ──Lease──► leased ──Settle──► replied, failed, cancelled ──Retry──► (a new one)
//!                      ▲ │                │ └─Requeue, once too often─► poison ──Revive──► queued
//!                      │ └─Drop─► dropped │                               └─Drop─► dropped
//!                      └─────Requeue──────┘
//!
//! outbox   pending ──Claim──► sending ──Sent──► sent
//!            ▲  maybe ──Claim──►│ │ └──Failed──► failed
//!            └─────Again────────┘ └──the supervisor dies──► maybe (pending, where a repeat does no harm)
//! ```
//!
//! Invariants:
//! - One delivery for one message id of an account, and for one key of a caller.
//! - A delivery ends once: the first end stands, and only it puts something into the outbox, and into what
//!   was spent.
//! - A delivery keeps its place: what is requeued is ahead of all that came after it.
//! - What may have been sent twice stays marked, however it ends.
//! - A due time of a schedule has one run at most, and with its acceptance it is dealt with (`schedules`).

mod beside;
mod schedules;

use kennel_shared::{
    envelope::Sender,
    ids::{AgentId, ChannelId, DeliveryId, Generation},
};

use crate::turns::TurnRecord;

use super::{
    entry::{
        CallerKey, Chat, Child, Digest, End, Lease, NewAudit, NewDelivery, NewSend, Origin,
        ScheduleMark, SendId, SendStanding, SendState, Seq, Standing, State, UnixMs,
    },
    op::{Acceptance, Answer, Blame, KnownBy, Op, Refusal, SendEnd},
};
use crate::schedule::ScheduleId;

/// The rows of a journal.
pub(super) trait Rows {
    type Error;

    fn delivery(&self, delivery: DeliveryId) -> Result<Option<Standing>, Self::Error>;
    fn by_message(
        &self,
        channel: &ChannelId,
        message_id: &str,
    ) -> Result<Option<DeliveryId>, Self::Error>;
    fn by_key(&self, key: &str) -> Result<Option<(DeliveryId, Digest)>, Self::Error>;
    /// Puts a message at the end of the queue.
    fn insert(&mut self, new: &NewDelivery, now: UnixMs) -> Result<Seq, Self::Error>;
    /// Writes state, attempts and lease of a delivery that is open afterwards.
    fn set_open(&mut self, seq: Seq, open: Open) -> Result<(), Self::Error>;
    /// Writes an end. The text of an answer is written where `keep_answer` says so.
    fn set_ended(&mut self, seq: Seq, closed: &Closed<'_>) -> Result<(), Self::Error>;
    /// The text of a message.
    fn text(&self, seq: Seq) -> Result<String, Self::Error>;
    /// Puts another text in the place of that.
    fn set_text(&mut self, seq: Seq, text: &str) -> Result<(), Self::Error>;
    /// The schedule that a message is a run of.
    fn schedule_of(&self, delivery: DeliveryId) -> Result<Option<ScheduleId>, Self::Error>;
    /// Who wrote it.
    fn sender(&self, seq: Seq) -> Result<Sender, Self::Error>;
    /// Writes down as which delivery it goes on.
    fn goes_on_as(&mut self, seq: Seq, delivery: DeliveryId) -> Result<(), Self::Error>;
    /// Copies a message under another name to the end of the queue; a caller's key moves along.
    fn copy(&mut self, from: Seq, anew: DeliveryId, now: UnixMs) -> Result<Seq, Self::Error>;

    fn send(&self, send: SendId) -> Result<Option<SendStanding>, Self::Error>;
    fn insert_send(
        &mut self,
        new: &NewSend,
        delivery: Option<DeliveryId>,
        now: UnixMs,
    ) -> Result<SendId, Self::Error>;
    fn set_send(&mut self, send: &SendStanding) -> Result<(), Self::Error>;

    fn child(&self, agent: &AgentId) -> Result<Option<Child>, Self::Error>;
    fn set_child(&mut self, child: &Child) -> Result<(), Self::Error>;

    /// The run of a due time.
    fn by_due(&self, schedule: &ScheduleId, due: UnixMs)
    -> Result<Option<DeliveryId>, Self::Error>;
    fn schedule(&self, schedule: &ScheduleId) -> Result<Option<ScheduleMark>, Self::Error>;
    fn set_schedule(&mut self, mark: &ScheduleMark) -> Result<(), Self::Error>;
    fn forget_schedule(&mut self, schedule: &ScheduleId) -> Result<(), Self::Error>;
    fn set_chat(&mut self, chat: &Chat) -> Result<(), Self::Error>;

    fn insert_audit(&mut self, audit: &NewAudit, now: UnixMs) -> Result<(), Self::Error>;

    /// Puts down what a turn took, and adds it to what its agent has spent.
    fn insert_turn(&mut self, turn: &TurnRecord) -> Result<(), Self::Error>;
}

/// A delivery that something is still to happen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) state: State,
    pub(super) attempts: u32,
    pub(super) lease: Option<Lease>,
}

/// A delivery that is done with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Closed<'a> {
    pub(super) state: State,
    pub(super) attempts: u32,
    pub(super) at: UnixMs,
    pub(super) end: Option<&'a End>,
    pub(super) keep_answer: bool,
}

type Applied<R> = Result<Answer, <R as Rows>::Error>;

/// Carries out one operation.
pub(super) fn apply<R: Rows>(rows: &mut R, op: &Op, now: UnixMs) -> Applied<R> {
    match op {
        Op::Accept(new) => accept(rows, new, now),
        Op::AcceptBeside {
            new,
            beside,
            notice,
        } => beside::accept(rows, new, *beside, notice.as_deref(), now),
        Op::Steered { delivery, into } => beside::steered(rows, *delivery, *into, now),
        Op::Lease {
            delivery,
            generation,
            turn,
        } => {
            let lease = Lease {
                generation: *generation,
                turn: *turn,
            };
            lease_to(rows, *delivery, lease)
        }
        Op::Requeue {
            delivery,
            generation,
            blame,
        } => requeue(rows, *delivery, *generation, blame.as_ref(), now),
        Op::Settle {
            delivery,
            end,
            sends,
            turn,
        } => settle(rows, *delivery, (end, sends, turn.as_deref()), now),
        Op::Drop { delivery } => discard(rows, *delivery, now),
        Op::Retry { delivery, anew } => retry(rows, *delivery, *anew, now),
        Op::Revive { delivery } => revive(rows, *delivery, now),
        Op::Enqueue(new) => Ok(Answer::Enqueued(rows.insert_send(new, None, now)?)),
        Op::Claim { send, repeatable } => claim(rows, *send, *repeatable),
        Op::Progress {
            send,
            parts_done,
            platform_id,
        } => progress(rows, *send, *parts_done, platform_id.as_deref()),
        Op::SettleSend { send, how } => settle_send(rows, *send, how, now),
        Op::ChildStarted(child) => child_started(rows, child),
        Op::ChildTokens {
            agent,
            generation,
            tokens,
        } => with_child(rows, agent, *generation, |child| child.tokens = *tokens),
        Op::ChildEnded { agent, generation } => with_child(rows, agent, *generation, |child| {
            child.ended.get_or_insert(now);
        }),
        Op::Account(turn) => {
            rows.insert_turn(turn)?;
            Ok(Answer::Noted)
        }
        Op::SetChat(chat) => {
            rows.set_chat(chat)?;
            Ok(Answer::Noted)
        }
        Op::Audit(audit) => {
            rows.insert_audit(audit, now)?;
            Ok(Answer::Noted)
        }
        Op::Schedule { schedule, change } => schedules::change(rows, schedule, *change),
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the last word of functions that may fail"
)]
fn refuse<E>(refusal: Refusal) -> Result<Answer, E> {
    Ok(Answer::Refused(refusal))
}

fn accept<R: Rows>(rows: &mut R, new: &NewDelivery, now: UnixMs) -> Applied<R> {
    if let Some(answer) = known(rows, new)? {
        return Ok(answer);
    }
    if let Origin::Schedule { schedule, due } = &new.origin {
        schedules::begun(rows, schedule, *due, new.delivery, now)?;
    }
    Ok(Answer::Accepted(Acceptance::New(rows.insert(new, now)?)))
}

/// The answer to a message that was accepted before.
fn known<R: Rows>(rows: &R, new: &NewDelivery) -> Result<Option<Answer>, R::Error> {
    let known = match rows.delivery(new.delivery)? {
        Some(first) => Some((KnownBy::Delivery, first)),
        None => match &new.origin {
            Origin::Channel {
                channel,
                message_id,
            } => {
                let first = rows.by_message(channel, message_id)?;
                standing(rows, first)?.map(|first| (KnownBy::MessageId, first))
            }
            Origin::Caller { key: None } => None,
            Origin::Caller {
                key: Some(CallerKey { key, body }),
            } => match rows.by_key(key)? {
                Some((first, other)) if other != *body => {
                    return refuse(Refusal::OtherBody { first }).map(Some);
                }
                first => {
                    let first = first.map(|(first, _)| first);
                    standing(rows, first)?.map(|first| (KnownBy::Key, first))
                }
            },
            Origin::Schedule { schedule, due } => match schedules::admit(rows, schedule, *due)? {
                Ok(first) => standing(rows, first)?.map(|first| (KnownBy::DueTime, first)),
                Err(refusal) => return refuse(refusal).map(Some),
            },
        },
    };
    Ok(known.map(|(by, first)| {
        Answer::Accepted(Acceptance::Known {
            by,
            first: Box::new(first),
        })
    }))
}

fn standing<R: Rows>(rows: &R, delivery: Option<DeliveryId>) -> Result<Option<Standing>, R::Error> {
    match delivery {
        Some(delivery) => rows.delivery(delivery),
        None => Ok(None),
    }
}

fn lease_to<R: Rows>(rows: &mut R, delivery: DeliveryId, lease: Lease) -> Applied<R> {
    let Some(found) = rows.delivery(delivery)? else {
        return refuse(Refusal::Unknown);
    };
    match (found.state, found.lease) {
        (State::Queued, _) => {
            let open = Open {
                state: State::Leased,
                attempts: found.attempts,
                lease: Some(lease),
            };
            rows.set_open(found.seq, open)?;
            Ok(Answer::Leased)
        }
        (State::Leased, Some(held)) if held == lease => Ok(Answer::Leased),
        (State::Leased, Some(held)) => refuse(Refusal::OtherLease(held.generation)),
        (state, _) => refuse(Refusal::State(state)),
    }
}

fn requeue<R: Rows>(
    rows: &mut R,
    delivery: DeliveryId,
    generation: Generation,
    blame: Option<&Blame>,
    now: UnixMs,
) -> Applied<R> {
    let Some(found) = rows.delivery(delivery)? else {
        return refuse(Refusal::Unknown);
    };
    match (found.state, found.lease) {
        (State::Leased, Some(lease)) if lease.generation == generation => {}
        (State::Leased, Some(lease)) => return refuse(Refusal::OtherLease(lease.generation)),
        (state, _) => return refuse(Refusal::State(state)),
    }
    let attempts = found.attempts.saturating_add(u32::from(blame.is_some()));
    let Some(blame) = blame.filter(|blame| attempts >= blame.poison_after) else {
        let open = Open {
            state: State::Queued,
            attempts,
            lease: found.lease,
        };
        rows.set_open(found.seq, open)?;
        return Ok(Answer::Requeued { attempts });
    };
    let closed = Closed {
        state: State::Poison,
        attempts,
        at: now,
        end: None,
        keep_answer: false,
    };
    rows.set_ended(found.seq, &closed)?;
    let notice = match &blame.notice {
        Some(notice) => Some(rows.insert_send(notice, Some(delivery), now)?),
        None => None,
    };
    let detail = format!("{delivery} was set aside: its agent died of it {attempts} times");
    audit(rows, "poison", &found, detail, now)?;
    Ok(Answer::Poisoned { attempts, notice })
}

fn settle<R: Rows>(
    rows: &mut R,
    delivery: DeliveryId,
    (end, sends, turn): (&End, &[NewSend], Option<&TurnRecord>),
    now: UnixMs,
) -> Applied<R> {
    let Some(found) = rows.delivery(delivery)? else {
        return refuse(Refusal::Unknown);
    };
    if !found.state.is_open() {
        return Ok(Answer::Settled {
            sends: Vec::new(),
            before: Some(found.state),
        });
    }
    let closed = Closed {
        state: match end {
            End::Replied { .. } => State::Replied,
            End::Failed { .. } => State::Failed,
            End::Cancelled => State::Cancelled,
        },
        attempts: found.attempts,
        at: now,
        end: Some(end),
        keep_answer: found.keyed,
    };
    rows.set_ended(found.seq, &closed)?;
    if let Some(turn) = turn {
        rows.insert_turn(turn)?;
    }
    let mut ids = Vec::with_capacity(sends.len());
    for send in sends {
        ids.push(rows.insert_send(send, Some(delivery), now)?);
    }
    Ok(Answer::Settled {
        sends: ids,
        before: None,
    })
}

fn discard<R: Rows>(rows: &mut R, delivery: DeliveryId, now: UnixMs) -> Applied<R> {
    let Some(found) = rows.delivery(delivery)? else {
        return refuse(Refusal::Unknown);
    };
    match found.state {
        State::Queued | State::Poison => {
            let closed = Closed {
                state: State::Dropped,
                attempts: found.attempts,
                at: now,
                end: None,
                keep_answer: false,
            };
            rows.set_ended(found.seq, &closed)?;
            audit(rows, "drop", &found, format!("{delivery} was dropped"), now)?;
            Ok(Answer::Noted)
        }
        State::Dropped => Ok(Answer::Noted),
        state => refuse(Refusal::State(state)),
    }
}

fn retry<R: Rows>(rows: &mut R, delivery: DeliveryId, anew: DeliveryId, now: UnixMs) -> Applied<R> {
    let Some(found) = rows.delivery(delivery)? else {
        return refuse(Refusal::Unknown);
    };
    if found.state == State::Gathered {
        return refuse(Refusal::State(found.state));
    }
    // Once: whoever asks again is told of the same one.
    if let Some(done) = standing(rows, found.retried)? {
        return Ok(Answer::Retried {
            delivery: done.delivery,
            seq: done.seq,
            session: done.session,
            state: done.state,
            schedule: rows.schedule_of(done.delivery)?,
        });
    }
    match found.state {
        State::Failed | State::Cancelled | State::Dropped => {
            let seq = rows.copy(found.seq, anew, now)?;
            let detail = format!("{delivery} is tried again as {anew}");
            audit(rows, "retry", &found, detail, now)?;
            Ok(Answer::Retried {
                delivery: anew,
                seq,
                session: found.session,
                state: State::Queued,
                schedule: rows.schedule_of(delivery)?,
            })
        }
        state => refuse(Refusal::State(state)),
    }
}

fn revive<R: Rows>(rows: &mut R, delivery: DeliveryId, now: UnixMs) -> Applied<R> {
    let Some(found) = rows.delivery(delivery)? else {
        return refuse(Refusal::Unknown);
    };
    match found.state {
        State::Poison => {
            let open = Open {
                state: State::Queued,
                attempts: 0,
                lease: None,
            };
            rows.set_open(found.seq, open)?;
            let detail = format!("{delivery} was put back in the queue");
            audit(rows, "revive", &found, detail, now)?;
            let schedule = rows.schedule_of(delivery)?;
            Ok(Answer::Revived { schedule })
        }
        State::Queued if found.attempts == 0 => {
            let schedule = rows.schedule_of(delivery)?;
            Ok(Answer::Revived { schedule })
        }
        state => refuse(Refusal::State(state)),
    }
}

fn audit<R: Rows>(
    rows: &mut R,
    what: &str,
    about: &Standing,
    detail: String,
    now: UnixMs,
) -> Result<(), R::Error> {
    let audit = NewAudit {
        what: what.to_owned(),
        agent: Some(about.session.agent()),
        detail,
    };
    rows.insert_audit(&audit, now)
}

fn claim<R: Rows>(rows: &mut R, send: SendId, repeatable: bool) -> Applied<R> {
    let Some(found) = rows.send(send)? else {
        return refuse(Refusal::Unknown);
    };
    match found.state {
        // One that is being sent was claimed by the same supervisor: a dead one's are marked before.
        SendState::Pending | SendState::Maybe | SendState::Sending => {
            let (parts_done, doubtful) = (found.parts_done, found.doubtful);
            rows.set_send(&SendStanding {
                state: SendState::Sending,
                repeatable,
                ..found
            })?;
            Ok(Answer::Claimed {
                parts_done,
                doubtful,
            })
        }
        state => refuse(Refusal::SendState(state)),
    }
}

fn progress<R: Rows>(
    rows: &mut R,
    send: SendId,
    parts_done: u32,
    platform_id: Option<&str>,
) -> Applied<R> {
    let Some(mut found) = rows.send(send)? else {
        return refuse(Refusal::Unknown);
    };
    if found.state != SendState::Sending {
        return refuse(Refusal::SendState(found.state));
    }
    if parts_done > found.parts_done {
        found.parts_done = parts_done;
        found.platform_ids.extend(platform_id.map(str::to_owned));
        rows.set_send(&found)?;
    }
    Ok(Answer::Noted)
}

fn settle_send<R: Rows>(rows: &mut R, send: SendId, how: &SendEnd, now: UnixMs) -> Applied<R> {
    let Some(mut found) = rows.send(send)? else {
        return refuse(Refusal::Unknown);
    };
    match (how, found.state) {
        (SendEnd::Sent { .. }, SendState::Sent) | (SendEnd::Failed { .. }, SendState::Failed) => {
            return Ok(Answer::Noted);
        }
        (
            SendEnd::Sent {
                platform_id,
                doubtful,
            },
            SendState::Sending,
        ) => {
            found.doubtful |= doubtful;
            found.state = SendState::Sent;
            found.platform_ids.extend(platform_id.clone());
            found.settled = Some(now);
        }
        // What was never tried can be given up too: too old, or its account is gone.
        (SendEnd::Failed { why }, state) if state.is_open() => {
            found.state = SendState::Failed;
            found.failure = Some(why.clone());
            found.settled = Some(now);
        }
        (SendEnd::Again { doubtful }, SendState::Sending) => {
            found.state = SendState::Pending;
            found.attempts = found.attempts.saturating_add(1);
            found.doubtful |= doubtful;
        }
        (_, state) => return refuse(Refusal::SendState(state)),
    }
    rows.set_send(&found)?;
    Ok(Answer::Noted)
}

fn child_started<R: Rows>(rows: &mut R, child: &Child) -> Applied<R> {
    match rows.child(&child.agent)? {
        Some(found) if found.generation > child.generation => {
            refuse(Refusal::OtherChild(found.generation))
        }
        Some(found) if found.generation == child.generation && found.pid != child.pid => {
            refuse(Refusal::OtherChild(found.generation))
        }
        _ => {
            rows.set_child(child)?;
            Ok(Answer::Noted)
        }
    }
}

fn with_child<R: Rows>(
    rows: &mut R,
    agent: &AgentId,
    generation: Generation,
    change: impl FnOnce(&mut Child),
) -> Applied<R> {
    match rows.child(agent)? {
        None => refuse(Refusal::Unknown),
        Some(found) if found.generation != generation => {
            refuse(Refusal::OtherChild(found.generation))
        }
        Some(mut found) => {
            change(&mut found);
            rows.set_child(&found)?;
            Ok(Answer::Noted)
        }
    }
}

#[cfg(test)]
pub(super) mod memory;
#[cfg(test)]
mod tests;
