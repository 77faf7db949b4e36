//! The values that the journal keeps. A number that stands for one of them in the file is never given
//! to another.

use kennel_shared::{
    envelope::{Peer, Sender},
    ids::{AgentId, ChannelId, DeliveryId, Generation, TurnId},
    session_key::SessionKey,
};
use serde::{Deserialize, Serialize};

use crate::{
    dispatch::{EndKind, gather::Mode},
    schedule::ScheduleId,
};

/// Milliseconds since the Unix epoch.
pub type UnixMs = i64;

/// The place of a delivery in the order of acceptance. Grows, and is never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub i64);

/// Names something to be sent, in the order in which it was put down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SendId(pub i64);

/// The SHA-256 of what a caller sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of several parts; where one ends counts.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0[..4]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// An enum that is a number in the file and a word on the screen.
macro_rules! coded {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// In the file.
            pub(super) fn code(self) -> i64 {
                match self { $(Self::$variant => $code,)+ }
            }

            /// From the file.
            pub(super) fn from_code(code: i64) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }

            /// For people.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }
    };
}

coded! {
    /// How a delivery stands.
    State {
        /// It waits for its agent.
        Queued = 0 "queued",
        /// An agent's process has it.
        Leased = 1 "leased",
        /// It was answered.
        Replied = 2 "replied",
        /// It ended without an answer.
        Failed = 3 "failed",
        /// It was cancelled.
        Cancelled = 4 "cancelled",
        /// It was set aside: its agent kept dying of it.
        Poison = 5 "poison",
        /// An operator took it out, or too many waited.
        Dropped = 6 "dropped",
        /// It is answered with another of its session, which it joined while that waited.
        Gathered = 7 "gathered",
    }
}

impl State {
    /// Whether something is still to happen by itself.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Leased)
    }
}

coded! {
    /// How something to be sent stands.
    SendState {
        /// It waits.
        Pending = 0 "pending",
        /// It is with the platform.
        Sending = 1 "sending",
        /// The platform has it.
        Sent = 2 "sent",
        /// It was given up.
        Failed = 3 "failed",
        /// It was with the platform when the supervisor died, and waits to be sent, maybe again.
        Maybe = 4 "maybe",
    }
}

impl SendState {
    /// Whether it is still to be sent.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Sending | Self::Maybe)
    }
}

/// Where a message came from, and how a second one like it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A chat platform.
    Channel {
        /// The account.
        channel: ChannelId,
        /// The platform's id of the message.
        message_id: String,
    },
    /// A caller of the HTTP API.
    Caller {
        /// Its `Idempotency-Key`, if it gave one.
        key: Option<CallerKey>,
    },
    /// The clock.
    Schedule {
        /// By which schedule.
        schedule: ScheduleId,
        /// For which due time; none for a run that an operator asked for.
        due: Option<UnixMs>,
    },
}

impl Origin {
    /// The account that it came through.
    pub fn channel(&self) -> Option<&ChannelId> {
        match self {
            Self::Channel { channel, .. } => Some(channel),
            Self::Caller { .. } | Self::Schedule { .. } => None,
        }
    }

    /// The schedule that it is a run of.
    pub fn schedule(&self) -> Option<&ScheduleId> {
        match self {
            Self::Schedule { schedule, .. } => Some(schedule),
            Self::Channel { .. } | Self::Caller { .. } => None,
        }
    }

    pub(super) fn key(&self) -> Option<&CallerKey> {
        match self {
            Self::Caller { key } => key.as_ref(),
            Self::Channel { .. } | Self::Schedule { .. } => None,
        }
    }
}

/// A caller's name for its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerKey {
    /// As the caller wrote it.
    pub key: String,
    /// Of everything that makes the request this one: agent, session, body.
    pub body: Digest,
}

/// A message to be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// Chosen by whoever hands it in, so that it can be handed in again after a doubt.
    pub delivery: DeliveryId,
    /// Where it came from.
    pub origin: Origin,
    /// In which conversation, and so for which agent.
    pub session: SessionKey,
    /// Who wrote it.
    pub sender: Sender,
    /// What.
    pub text: String,
    /// Where the answer goes, in words that only the one who wrote them reads.
    pub reply_to: Option<String>,
}

/// Who has a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Which life of the agent.
    pub generation: Generation,
    /// The attempt.
    pub turn: TurnId,
}

/// How a turn ends, as it is put down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With an answer.
    Replied {
        /// It is kept for callers who may ask again by their key.
        text: String,
        /// What the model read and wrote.
        tokens: Tokens,
    },
    /// Without one.
    Failed {
        /// For programs.
        kind: EndKind,
        /// For people.
        message: String,
    },
    /// On request.
    Cancelled,
}

/// What a model read and wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Read.
    pub input: u32,
    /// Written.
    pub output: u32,
}

/// How a delivery ended, as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: UnixMs,
    /// The answer where it was kept, or why there is none.
    pub text: Option<String>,
    /// Why there is none, for programs.
    pub kind: Option<EndKind>,
    /// What the model read and wrote.
    pub tokens: Tokens,
}

/// What operations need to know of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub delivery: DeliveryId,
    /// Its place.
    pub seq: Seq,
    /// Its conversation.
    pub session: SessionKey,
    /// How it stands.
    pub state: State,
    /// How many lives of the agent it has cost.
    pub attempts: u32,
    /// Who has it, or had it last.
    pub lease: Option<Lease>,
    /// How it ended.
    pub end: Option<Ended>,
    /// A caller may ask for it again by a key.
    pub keyed: bool,
    /// The delivery as which it goes on: it was tried again, or has joined that.
    pub retried: Option<DeliveryId>,
}

/// Something to be sent to a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSend {
    /// Through which account.
    pub channel: ChannelId,
    /// To which chat.
    pub peer: Peer,
    /// The message that it answers, by the platform's id.
    pub reply_to: Option<String>,
    /// What.
    pub text: String,
}

/// How something to be sent stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendStanding {
    /// Which.
    pub id: SendId,
    /// How it stands.
    pub state: SendState,
    /// Parts of a split text that the platform has.
    pub parts_done: u32,
    /// Attempts that failed for the time being.
    pub attempts: u32,
    /// The platform knows a repeat when it sees one, so it may be repeated without harm.
    pub repeatable: bool,
    /// Some of it may have been sent twice.
    pub doubtful: bool,
    /// The platform's ids of the parts.
    pub platform_ids: Vec<String>,
    /// When it was settled.
    pub settled: Option<UnixMs>,
    /// Why it was given up.
    pub failure: Option<String>,
}

/// What people have chosen for a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chat {
    /// The key of its first conversation.
    pub key: SessionKey,
    /// How its messages wait; as the configuration says, without one.
    pub mode: Option<Mode>,
    /// How many conversations were begun anew.
    pub begun: u32,
}

/// Digests of the tokens by which a child proves itself when it connects again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenDigests {
    /// Of the one it was given last.
    pub current: Digest,
    /// Of the one before, for as long as the last may not have arrived.
    pub previous: Option<Digest>,
}

/// One life of an agent, as the next supervisor must know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Whose.
    pub agent: AgentId,
    /// Which life.
    pub generation: Generation,
    /// Its process.
    pub pid: i32,
    /// When the process began, in the kernel's ticks since boot: with the pid it names one process.
    pub start_time: u64,
    /// How it proves itself.
    pub tokens: TokenDigests,
    /// Its group, where it has one.
    pub group: Option<String>,
    /// Of all that it was started with and that cannot be changed while it lives.
    pub made_of: Option<Digest>,
    /// When it was started.
    pub started: UnixMs,
    /// When it had ended.
    pub ended: Option<UnixMs>,
}

/// How far a schedule has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleMark {
    /// Which.
    pub schedule: ScheduleId,
    /// Of all that says which due times it has.
    pub made_of: Digest,
    /// It is not run by itself.
    pub paused: bool,
    /// All due times up to this one are dealt with.
    pub through: UnixMs,
    /// How often it was run.
    pub runs: u64,
    /// Due times that were not.
    pub missed: u64,
    /// The last run.
    pub last: Option<LastRun>,
}

/// The last run of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRun {
    /// As which delivery.
    pub delivery: DeliveryId,
    /// For which due time, if for one.
    pub due: Option<UnixMs>,
    /// When it was accepted.
    pub at: UnixMs,
}

/// What an agent has spent in some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spending {
    /// Turns that have ended.
    pub turns: u64,
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Money, in millionths of a unit.
    pub cost: u64,
}

/// Something that an operator may want to look up later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewAudit {
    /// What happened: one word for each kind.
    pub what: String,
    /// To whom.
    pub agent: Option<AgentId>,
    /// In words.
    pub detail: String,
}

/// The numbers of [`EndKind`] in the file.
pub(super) fn end_kind_code(kind: EndKind) -> i64 {
    match kind {
        EndKind::Provider => 0,
        EndKind::Unavailable => 1,
        EndKind::Timeout => 2,
        EndKind::Store => 3,
        EndKind::Agent => 4,
        EndKind::Stopped => 5,
        EndKind::Budget => 6,
    }
}

pub(super) fn end_kind(code: i64) -> Option<EndKind> {
    Some(match code {
        0 => EndKind::Provider,
        1 => EndKind::Unavailable,
        2 => EndKind::Timeout,
        3 => EndKind::Store,
        4 => EndKind::Agent,
        5 => EndKind::Stopped,
        6 => EndKind::Budget,
        _ => return None,
    })
}

/// The numbers of [`Mode`] in the file.
pub(super) fn mode_code(mode: Mode) -> i64 {
    match mode {
        Mode::Collect => 0,
        Mode::Followup => 1,
        Mode::Interrupt => 2,
        Mode::Steer => 3,
    }
}

pub(super) fn mode(code: i64) -> Option<Mode> {
    Mode::ALL.into_iter().find(|mode| mode_code(*mode) == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back() {
        for state in State::ALL {
            assert_eq!(State::from_code(state.code()), Some(*state));
        }
        for state in SendState::ALL {
            assert_eq!(SendState::from_code(state.code()), Some(*state));
        }
        for code in 0..7 {
            assert_eq!(end_kind(code).map(end_kind_code), Some(code));
        }
        assert_eq!((State::from_code(8), end_kind(7)), (None, None));
    }

    #[test]
    fn a_digest_tells_where_a_part_ends() {
        assert_eq!(Digest::of(&[b"ab", b"c"]), Digest::of(&[b"ab", b"c"]));
        assert_ne!(Digest::of(&[b"ab", b"c"]), Digest::of(&[b"a", b"bc"]));
        assert_ne!(Digest::of(&[b"abc"]), Digest::of(&[b"abc", b""]));
    }
}
