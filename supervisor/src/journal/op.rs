//! Operations as values, and what comes of them.

use kennel_shared::{
    ids::{AgentId, DeliveryId, Generation, TurnId},
    session_key::SessionKey,
};
use thiserror::Error;

use crate::{dispatch::gather::DropPolicy, turns::TurnRecord};

use super::entry::{
    Chat, Child, Digest, End, NewAudit, NewDelivery, NewSend, ScheduleMark, SendId, SendState, Seq,
    Standing, State, TokenDigests, UnixMs,
};
use crate::schedule::ScheduleId;

/// What is written of a turn is about so long.
const TURN_BYTES: usize = 1024;

/// Something to be put down. All but [`Op::Enqueue`] and [`Op::Audit`] are idempotent: put down twice, it has
/// happened once, and the second answer says so.
///
/// That matters after an error, too: where a sync fails, SQLite takes a group back, and yet it may be found
/// on the disk when the file is opened anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// A message arrived.
    Accept(Box<NewDelivery>),
    /// A message arrived for a session in which others wait.
    AcceptBeside {
        /// The message.
        new: Box<NewDelivery>,
        /// What becomes of it.
        beside: Beside,
        /// What its chat is told if something is dropped.
        notice: Option<Box<NewSend>>,
    },
    /// A delivery is about to be handed to an agent's process.
    Lease {
        /// Which.
        delivery: DeliveryId,
        /// To which life.
        generation: Generation,
        /// Under which name.
        turn: TurnId,
    },
    /// The process is gone and the delivery is not done: it takes its old place in the queue.
    Requeue {
        /// Which.
        delivery: DeliveryId,
        /// Who had it; a lease of another life is left alone.
        generation: Generation,
        /// Whether it is to blame, and from how many lives on it is set aside.
        blame: Option<Blame>,
    },
    /// A delivery has its end, with what is to be sent because of it.
    Settle {
        /// Which.
        delivery: DeliveryId,
        /// How.
        end: End,
        /// To the chat it came from.
        sends: Vec<NewSend>,
        /// What its turn took, if it had one.
        turn: Option<Box<TurnRecord>>,
    },
    /// What an attempt took that came to nothing: its delivery goes on, or is set aside.
    Account(Box<TurnRecord>),
    /// An agent has taken a delivery into the turn of another: it has no end of its own.
    Steered {
        /// Which.
        delivery: DeliveryId,
        /// Into the turn of this one, of the same session.
        into: DeliveryId,
    },
    /// An operator takes out what waits or was set aside.
    Drop {
        /// Which.
        delivery: DeliveryId,
    },
    /// An operator wants what ended without an answer to be tried as a new delivery: the agent's store
    /// knows the end of the old one and would repeat it.
    Retry {
        /// Which.
        delivery: DeliveryId,
        /// The new name.
        anew: DeliveryId,
    },
    /// An operator puts what was set aside back in the queue, with a clean record.
    Revive {
        /// Which.
        delivery: DeliveryId,
    },
    /// Something is to be sent that answers no delivery.
    Enqueue(Box<NewSend>),
    /// Something is about to be handed to its platform.
    Claim {
        /// Which.
        send: SendId,
        /// The platform knows a repeat when it sees one.
        repeatable: bool,
    },
    /// The platform has some parts of it.
    Progress {
        /// Which.
        send: SendId,
        /// So many.
        parts_done: u32,
        /// The platform's id of the last one, if it tells.
        platform_id: Option<String>,
    },
    /// An attempt at sending is over.
    SettleSend {
        /// Which.
        send: SendId,
        /// How.
        how: SendEnd,
    },
    /// A child was started.
    ChildStarted(Box<Child>),
    /// A child was given another token.
    ChildTokens {
        /// Whose.
        agent: AgentId,
        /// Which life.
        generation: Generation,
        /// Now good.
        tokens: TokenDigests,
    },
    /// A child is gone, and all that it started.
    ChildEnded {
        /// Whose.
        agent: AgentId,
        /// Which life.
        generation: Generation,
    },
    /// People have chosen something for their chat.
    SetChat(Box<Chat>),
    /// Something to look up later.
    Audit(Box<NewAudit>),
    /// A schedule goes on.
    Schedule {
        /// Which.
        schedule: ScheduleId,
        /// How.
        change: ScheduleChange,
    },
}

/// How a schedule goes on. Its runs are accepted like any message, and mark it themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScheduleChange {
    /// It is in the configuration. One that is new, or has other due times than before, begins at `now`.
    Track {
        /// Of all that says which due times it has.
        made_of: Digest,
        /// When.
        now: UnixMs,
    },
    /// All due times up to this one are over.
    Pass {
        /// Which.
        through: UnixMs,
        /// How many of them were not run.
        missed: u64,
    },
    /// The clock was set back: it begins anew.
    SetBack {
        /// From when on.
        to: UnixMs,
    },
    /// It is not run by itself any more.
    Pause,
    /// It is run again, from `now` on.
    Resume {
        /// When.
        now: UnixMs,
    },
    /// It is not in the configuration any more.
    Forget,
}

impl Op {
    /// Whether it begins something. Such an operation is refused while the journal cannot be written;
    /// every other says what has happened already, and is kept until it can be put down.
    pub fn begins(&self) -> bool {
        matches!(
            self,
            Self::Accept(_)
                | Self::AcceptBeside { .. }
                | Self::Retry { .. }
                | Self::Revive { .. }
                | Self::Drop { .. }
                | Self::Schedule { .. }
        )
    }

    /// Whether nobody waits for it and little is lost with it: without its lease, or if it was steered, a delivery is
    /// handed out again to an agent that knows it.
    pub(super) fn is_patient(&self) -> bool {
        matches!(self, Self::Lease { .. } | Self::Steered { .. })
    }

    /// About how much it will write, in bytes.
    pub(super) fn weight(&self) -> usize {
        let text = match self {
            Self::Accept(new) | Self::AcceptBeside { new, .. } => new.text.len(),
            Self::Settle {
                end, sends, turn, ..
            } => {
                let answer = match end {
                    End::Replied { text, .. } => text.len(),
                    End::Failed { message, .. } => message.len(),
                    End::Cancelled => 0,
                };
                let sends: usize = sends.iter().map(|send| send.text.len()).sum();
                answer + sends + if turn.is_some() { TURN_BYTES } else { 0 }
            }
            Self::Enqueue(send) => send.text.len(),
            _ => 0,
        };
        text + 1024
    }
}

/// What becomes of a message beside others of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// It joins one that waits and was never handed out.
    Join {
        /// Which.
        head: DeliveryId,
        /// How many may be together.
        cap: u32,
        /// What is dropped beyond that.
        drop: DropPolicy,
    },
    /// It is taken, and one that waits and was never handed out is dropped for it.
    Replace {
        /// Which.
        oldest: DeliveryId,
        /// Whether the first words of that are kept.
        summarize: bool,
    },
    /// It is dropped.
    Refuse,
}

/// A delivery was in hand when its agent died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blame {
    /// After so many it is set aside.
    pub poison_after: u32,
    /// What its chat is told then.
    pub notice: Option<NewSend>,
}

/// How an attempt at sending ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendEnd {
    /// The platform has all of it.
    Sent {
        /// The platform's id of the last part, if it tells.
        platform_id: Option<String>,
        /// The platform may have it twice.
        doubtful: bool,
    },
    /// It is given up.
    Failed {
        /// Why.
        why: String,
    },
    /// It is to be tried again.
    Again {
        /// The platform may have it all the same.
        doubtful: bool,
    },
}

/// What came of an operation that was put down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Op::Accept`].
    Accepted(Acceptance),
    /// To [`Op::AcceptBeside`], when it is not a delivery of its own.
    Beside {
        /// The one that it has joined; it was dropped when there is none.
        head: Option<DeliveryId>,
        /// The notice that something was dropped.
        notice: Option<SendId>,
    },
    /// To [`Op::AcceptBeside`], when it has taken the place of another.
    Replaced {
        /// Its place.
        seq: Seq,
        /// The notice.
        notice: Option<SendId>,
    },
    /// To [`Op::Lease`].
    Leased,
    /// To [`Op::Requeue`]: it waits again.
    Requeued {
        /// How many lives it has cost.
        attempts: u32,
    },
    /// To [`Op::Requeue`]: it was set aside.
    Poisoned {
        /// How many lives it has cost.
        attempts: u32,
        /// The notice.
        notice: Option<SendId>,
    },
    /// To [`Op::Settle`].
    Settled {
        /// What is now to be sent; nothing the second time, since it is in the outbox already.
        sends: Vec<SendId>,
        /// It had ended before: that end stands.
        before: Option<State>,
    },
    /// To [`Op::Retry`].
    Retried {
        /// The new one: another than was asked for, if it was tried again before.
        delivery: DeliveryId,
        /// Its place.
        seq: Seq,
        /// Its conversation.
        session: SessionKey,
        /// How it stands.
        state: State,
        /// The schedule that it is a run of.
        schedule: Option<ScheduleId>,
    },
    /// To [`Op::Revive`].
    Revived {
        /// The schedule that it is a run of.
        schedule: Option<ScheduleId>,
    },
    /// To [`Op::Enqueue`].
    Enqueued(SendId),
    /// To [`Op::Claim`]: go on behind so many parts.
    Claimed {
        /// Parts that the platform has.
        parts_done: u32,
        /// It may have more.
        doubtful: bool,
    },
    /// To [`Op::Schedule`]: how far it is now.
    Schedule(Box<ScheduleMark>),
    /// To all others.
    Noted,
    /// It does not fit what is written; nothing was changed.
    Refused(Refusal),
}

/// To [`Op::Accept`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acceptance {
    /// It is new.
    New(Seq),
    /// It was accepted before. One that is queued, and that whoever asks does not hold, is to be held from
    /// now on: an error may have hidden that it was accepted.
    Known {
        /// By what it was known.
        by: KnownBy,
        /// The first of its kind, and how it stands.
        first: Box<Standing>,
    },
}

/// By what a repeat was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownBy {
    /// The delivery's own id.
    Delivery,
    /// The platform's id of the message.
    MessageId,
    /// The caller's key.
    Key,
    /// The due time of its schedule.
    DueTime,
}

/// Why an operation does not fit what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The key was used with another body.
    #[error(
        "the idempotency key was used before for another request ({first}); use a new key for a new request"
    )]
    OtherBody {
        /// What the first became.
        first: DeliveryId,
    },
    /// There is no such thing, or no longer.
    #[error("the journal has no such entry, or no longer")]
    Unknown,
    /// The delivery does not stand so that this could be done.
    #[error("it is {0}")]
    State(State),
    /// The delivery is leased to another life.
    #[error("it is leased to generation {0}")]
    OtherLease(Generation),
    /// What is to be sent does not stand so that this could be done.
    #[error("it is {0}")]
    SendState(SendState),
    /// The schedule is paused.
    #[error("the schedule is paused")]
    Paused,
    /// The due time was dealt with before.
    #[error("the due time was dealt with before")]
    Passed,
    /// A later life of the agent is written down.
    #[error("generation {0} of the agent is written down already")]
    OtherChild(Generation),
}
