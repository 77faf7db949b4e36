//! Operations in any order: by rules that are written here a second time, and in SQLite as in memory.

use std::collections::{HashMap, HashSet};

use kennel_shared::{
    envelope::{Peer, PeerKind, Sender},
    ids::TurnId,
};
use proptest::prelude::*;

use super::{
    super::{
        entry::{TokenDigests, Tokens},
        failpoint::{Action, FailPoints, Point},
        file::JournalFile,
        op::ScheduleChange,
        reader::{Reader, View},
    },
    memory::Memory,
    *,
};
use crate::{
    dispatch::{
        EndKind,
        gather::{DropPolicy, Mode},
    },
    journal::op::Beside,
};

/// Ids by small numbers, so that operations meet.
struct Names {
    deliveries: Vec<DeliveryId>,
    turns: Vec<TurnId>,
}

impl Names {
    fn new() -> Self {
        Self {
            deliveries: (0..64).map(|_| DeliveryId::new()).collect(),
            turns: (0..3).map(|_| TurnId::new()).collect(),
        }
    }
}

/// An operation by numbers.
#[derive(Debug, Clone)]
enum Step {
    Accept {
        delivery: usize,
        origin: Option<(bool, u8, u8)>,
    },
    Beside {
        delivery: usize,
        id: u8,
        how: u8,
        other: usize,
    },
    Lease(usize, u64, usize),
    Requeue(usize, u64, Option<u32>),
    Settle(usize, u8, u8),
    Steered(usize, usize),
    Drop(usize),
    Retry(usize, usize),
    Revive(usize),
    Enqueue,
    Claim(i64, bool),
    Progress(i64, u32),
    SettleSend(i64, u8),
    Child(u8, u64, u8),
    /// A run of a schedule, for a due time or because somebody asked.
    Due(usize, u8, Option<i64>),
    Schedule(u8, u8, i64),
    Chat(u8, Option<usize>),
    /// The supervisor dies and the next one takes over.
    Recall,
}

fn step() -> impl Strategy<Value = Step> {
    let delivery = || 0usize..6;
    let send = || 1i64..6;
    prop_oneof![
        6 => (delivery(), proptest::option::of((any::<bool>(), 0u8..3, 0u8..2)))
            .prop_map(|(delivery, origin)| Step::Accept { delivery, origin }),
        6 => (delivery(), 0u8..6, 0u8..5, delivery())
            .prop_map(|(delivery, id, how, other)| Step::Beside { delivery, id, how, other }),
        5 => (delivery(), 1u64..3, 0usize..3).prop_map(|(d, g, t)| Step::Lease(d, g, t)),
        4 => (delivery(), 1u64..3, proptest::option::of(1u32..3)).prop_map(|(d, g, b)| Step::Requeue(d, g, b)),
        3 => (delivery(), 0u8..3, 0u8..3).prop_map(|(d, end, sends)| Step::Settle(d, end, sends)),
        3 => (delivery(), delivery()).prop_map(|(d, into)| Step::Steered(d, into)),
        1 => delivery().prop_map(Step::Drop),
        2 => (delivery(), 6usize..10).prop_map(|(d, anew)| Step::Retry(d, anew)),
        1 => delivery().prop_map(Step::Revive),
        1 => Just(Step::Enqueue),
        4 => (send(), any::<bool>()).prop_map(|(id, repeatable)| Step::Claim(id, repeatable)),
        2 => (send(), 0u32..4).prop_map(|(id, parts)| Step::Progress(id, parts)),
        4 => (send(), 0u8..4).prop_map(|(id, how)| Step::SettleSend(id, how)),
        2 => (0u8..2, 1u64..4, 0u8..3).prop_map(|(agent, generation, what)| Step::Child(agent, generation, what)),
        5 => (delivery(), 0u8..2, proptest::option::weighted(0.9, 1i64..9))
            .prop_map(|(delivery, schedule, due)| Step::Due(delivery, schedule, due)),
        4 => (0u8..2, 0u8..7, 0i64..9).prop_map(|(schedule, what, at)| Step::Schedule(schedule, what, at)),
        1 => (0u8..3, proptest::option::of(0usize..Mode::ALL.len())).prop_map(|(chat, mode)| Step::Chat(chat, mode)),
        1 => Just(Step::Recall),
    ]
}

fn agent(number: u8) -> AgentId {
    format!("a{number}").parse().unwrap()
}

fn some_send() -> NewSend {
    NewSend {
        channel: "irc".parse().unwrap(),
        peer: Peer {
            kind: PeerKind::Group,
            id: "#room".into(),
        },
        reply_to: Some("7".into()),
        text: "an answer".into(),
    }
}

fn tokens(number: u64) -> TokenDigests {
    TokenDigests {
        current: Digest::of(&[&number.to_le_bytes()]),
        previous: (number > 1).then(|| Digest::of(&[b"before"])),
    }
}

/// How many may be together.
const CAP: u32 = 2;

fn message(names: &Names, number: usize, origin: Origin) -> Box<NewDelivery> {
    Box::new(NewDelivery {
        delivery: names.deliveries[number],
        origin,
        session: format!("agent:a{}:s", number % 2).parse().unwrap(),
        sender: Sender {
            id: "u".into(),
            name: None,
        },
        text: format!("message {number}"),
        reply_to: None,
    })
}

fn platform(id: u8) -> Origin {
    Origin::Channel {
        channel: "irc".parse().unwrap(),
        message_id: id.to_string(),
    }
}

impl Step {
    #[expect(clippy::too_many_lines, reason = "an arm for each operation")]
    fn op(&self, names: &Names) -> Option<Op> {
        let delivery = |number: usize| names.deliveries[number];
        Some(match *self {
            Self::Accept {
                delivery: number,
                origin,
            } => {
                let origin = match origin {
                    None => Origin::Caller { key: None },
                    Some((true, id, _)) => platform(id),
                    Some((false, key, body)) => Origin::Caller {
                        key: Some(CallerKey {
                            key: format!("key-{key}"),
                            body: Digest::of(&[&[body]]),
                        }),
                    },
                };
                Op::Accept(message(names, number, origin))
            }
            Self::Beside {
                delivery: number,
                id,
                how,
                other,
            } => Op::AcceptBeside {
                new: message(names, number, platform(id)),
                beside: match how {
                    3 => Beside::Replace {
                        oldest: delivery(other),
                        summarize: true,
                    },
                    4 => Beside::Refuse,
                    how => Beside::Join {
                        head: delivery(other),
                        cap: CAP,
                        drop: [
                            DropPolicy::Oldest,
                            DropPolicy::Newest,
                            DropPolicy::Summarize,
                        ][usize::from(how)],
                    },
                },
                notice: Some(Box::new(some_send())),
            },
            Self::Lease(number, generation, turn) => Op::Lease {
                delivery: delivery(number),
                generation: Generation(generation),
                turn: names.turns[turn],
            },
            Self::Requeue(number, generation, blame) => Op::Requeue {
                delivery: delivery(number),
                generation: Generation(generation),
                blame: blame.map(|poison_after| Blame {
                    poison_after,
                    notice: Some(some_send()),
                }),
            },
            Self::Settle(number, end, sends) => Op::Settle {
                delivery: delivery(number),
                end: match end {
                    0 => End::Replied {
                        text: "because".into(),
                        tokens: Tokens {
                            input: 3,
                            output: 4,
                        },
                    },
                    1 => End::Failed {
                        kind: EndKind::Timeout,
                        message: "too slow".into(),
                    },
                    _ => End::Cancelled,
                },
                sends: vec![some_send(); sends.into()],
                turn: None,
            },
            Self::Steered(number, into) => Op::Steered {
                delivery: delivery(number),
                into: delivery(into),
            },
            Self::Drop(number) => Op::Drop {
                delivery: delivery(number),
            },
            Self::Retry(number, anew) => Op::Retry {
                delivery: delivery(number),
                anew: delivery(anew),
            },
            Self::Revive(number) => Op::Revive {
                delivery: delivery(number),
            },
            Self::Enqueue => Op::Enqueue(Box::new(some_send())),
            Self::Claim(id, repeatable) => Op::Claim {
                send: SendId(id),
                repeatable,
            },
            Self::Progress(id, parts_done) => Op::Progress {
                send: SendId(id),
                parts_done,
                platform_id: Some(parts_done.to_string()),
            },
            Self::SettleSend(id, how) => Op::SettleSend {
                send: SendId(id),
                how: match how {
                    0 => SendEnd::Sent {
                        platform_id: Some("last".into()),
                        doubtful: false,
                    },
                    1 => SendEnd::Failed {
                        why: "no such chat".into(),
                    },
                    how => SendEnd::Again { doubtful: how == 3 },
                },
            },
            Self::Child(number, generation, 0) => Op::ChildStarted(Box::new(Child {
                agent: agent(number),
                generation: Generation(generation),
                pid: 100 + i32::try_from(generation).unwrap(),
                start_time: 5,
                tokens: tokens(1),
                group: None,
                made_of: None,
                started: 1,
                ended: None,
            })),
            Self::Child(number, generation, 1) => Op::ChildTokens {
                agent: agent(number),
                generation: Generation(generation),
                tokens: tokens(2),
            },
            Self::Child(number, generation, _) => Op::ChildEnded {
                agent: agent(number),
                generation: Generation(generation),
            },
            Self::Due(number, schedule, due) => Op::Accept(Box::new(NewDelivery {
                delivery: delivery(number),
                origin: Origin::Schedule {
                    schedule: format!("s{schedule}").parse().unwrap(),
                    due,
                },
                session: format!("agent:a{}:s", number % 2).parse().unwrap(),
                sender: Sender {
                    id: "u".into(),
                    name: None,
                },
                text: format!("message {number}"),
                reply_to: None,
            })),
            Self::Schedule(schedule, what, at) => Op::Schedule {
                schedule: format!("s{schedule}").parse().unwrap(),
                change: match what {
                    0 | 1 => ScheduleChange::Track {
                        made_of: Digest::of(&[&[what]]),
                        now: at,
                    },
                    2 => ScheduleChange::Pass {
                        through: at,
                        missed: 2,
                    },
                    3 => ScheduleChange::SetBack { to: at },
                    4 => ScheduleChange::Pause,
                    5 => ScheduleChange::Resume { now: at },
                    _ => ScheduleChange::Forget,
                },
            },
            Self::Chat(chat, mode) => Op::SetChat(Box::new(Chat {
                key: format!("agent:a:c{chat}").parse().unwrap(),
                mode: mode.map(|mode| Mode::ALL[mode]),
                begun: chat.into(),
            })),
            Self::Recall => return None,
        })
    }
}

/// The rules of the inbox once more, as plainly as they can be said.
#[derive(Default)]
struct Rules {
    state: HashMap<usize, State>,
    lease: HashMap<usize, (u64, usize)>,
    attempts: HashMap<usize, u32>,
    messages: HashMap<u8, usize>,
    keys: HashMap<u8, (usize, u8)>,
    retried: HashMap<usize, usize>,
    dues: HashMap<(u8, i64), usize>,
    /// Of each schedule: what it is made of, whether it is paused, and how far it has come.
    schedules: HashMap<u8, (u8, bool, i64)>,
    /// How many messages a delivery holds, where it is not one.
    parts: HashMap<usize, u32>,
    sends: usize,
}

impl Rules {
    fn beside(&mut self, delivery: usize, id: u8, how: u8, other: usize) -> &'static str {
        if self.state.contains_key(&delivery) || self.messages.contains_key(&id) {
            return "known";
        }
        self.messages.insert(id, delivery);
        let untouched = self.state.get(&other) == Some(&State::Queued)
            && !self.lease.contains_key(&other)
            && self
                .attempts
                .get(&other)
                .is_none_or(|attempts| *attempts == 0)
            && other % 2 == delivery % 2;
        let parts = self.parts.entry(other).or_insert(1);
        let (becomes, word, dropped) = match how {
            4 => (State::Dropped, "beside", true),
            _ if !untouched => (State::Queued, "new", false),
            3 => {
                self.state.insert(other, State::Dropped);
                (State::Queued, "replaced", true)
            }
            1 if *parts == CAP => (State::Dropped, "beside", true),
            _ => {
                let full = *parts == CAP;
                *parts += u32::from(!full);
                (State::Gathered, "beside", full)
            }
        };
        self.sends += usize::from(dropped);
        self.state.insert(delivery, becomes);
        word
    }

    /// What must come of a step; nothing where the rules have no say.
    #[expect(
        clippy::match_same_arms,
        clippy::too_many_lines,
        reason = "an arm for each rule"
    )]
    fn expect(&mut self, step: &Step) -> Option<&'static str> {
        let state = |rules: &Self, number: &usize| rules.state.get(number).copied();
        Some(match step {
            Step::Accept { delivery, origin } => {
                if self.state.contains_key(delivery) {
                    return Some("known");
                }
                match *origin {
                    Some((true, id, _)) if self.messages.contains_key(&id) => return Some("known"),
                    Some((false, key, body)) => match self.keys.get(&key) {
                        Some((_, first)) if *first == body => return Some("known"),
                        Some(_) => return Some("refused"),
                        None => {
                            self.keys.insert(key, (*delivery, body));
                        }
                    },
                    Some((true, id, _)) => {
                        self.messages.insert(id, *delivery);
                    }
                    None => {}
                }
                self.state.insert(*delivery, State::Queued);
                "new"
            }
            Step::Beside {
                delivery,
                id,
                how,
                other,
            } => {
                return Some(self.beside(*delivery, *id, *how, *other));
            }
            Step::Lease(number, generation, turn) => match state(self, number) {
                Some(State::Queued) => {
                    self.state.insert(*number, State::Leased);
                    self.lease.insert(*number, (*generation, *turn));
                    "leased"
                }
                Some(State::Leased) if self.lease[number] == (*generation, *turn) => "leased",
                _ => "refused",
            },
            Step::Requeue(number, generation, blame) => {
                let held = self.lease.get(number).map(|lease| lease.0);
                if state(self, number) != Some(State::Leased) || held != Some(*generation) {
                    return Some("refused");
                }
                let attempts = self.attempts.entry(*number).or_default();
                *attempts += u32::from(blame.is_some());
                if blame.is_some_and(|after| *attempts >= after) {
                    self.state.insert(*number, State::Poison);
                    self.sends += 1;
                    "poisoned"
                } else {
                    self.state.insert(*number, State::Queued);
                    "requeued"
                }
            }
            Step::Settle(number, end, sends) => match state(self, number) {
                None => "refused",
                Some(State::Queued | State::Leased) => {
                    let ended = [State::Replied, State::Failed, State::Cancelled];
                    self.state.insert(*number, ended[usize::from(*end)]);
                    self.sends += usize::from(*sends);
                    "settled"
                }
                Some(_) => "settled before",
            },
            Step::Steered(number, _) => match state(self, number) {
                Some(State::Queued | State::Leased | State::Gathered) => {
                    self.state.insert(*number, State::Gathered);
                    "noted"
                }
                _ => "refused",
            },
            Step::Drop(number) => match state(self, number) {
                Some(State::Queued | State::Poison | State::Dropped) => {
                    self.state.insert(*number, State::Dropped);
                    "noted"
                }
                _ => "refused",
            },
            Step::Retry(number, anew) => match state(self, number) {
                None => "refused",
                Some(_) if self.retried.contains_key(number) => "retried",
                // A name that is taken.
                Some(_) if self.state.contains_key(anew) => return None,
                Some(State::Failed | State::Cancelled | State::Dropped) => {
                    self.state.insert(*anew, State::Queued);
                    self.retried.insert(*number, *anew);
                    for first in self.keys.values_mut().filter(|first| first.0 == *number) {
                        first.0 = *anew;
                    }
                    "retried"
                }
                Some(_) => "refused",
            },
            Step::Revive(number) => match state(self, number) {
                Some(State::Poison) => {
                    self.state.insert(*number, State::Queued);
                    self.attempts.insert(*number, 0);
                    self.lease.remove(number);
                    "revived"
                }
                Some(State::Queued) if self.attempts.get(number).copied().unwrap_or(0) == 0 => {
                    "revived"
                }
                _ => "refused",
            },
            Step::Enqueue => {
                self.sends += 1;
                "enqueued"
            }
            Step::Due(number, schedule, due) => {
                let known = due.is_some_and(|due| self.dues.contains_key(&(*schedule, due)));
                if self.state.contains_key(number) || known {
                    return Some("known");
                }
                if let Some(due) = *due {
                    match self.schedules.get_mut(schedule) {
                        Some((_, false, through)) if *through < due => *through = due,
                        _ => return Some("refused"),
                    }
                    self.dues.insert((*schedule, due), *number);
                }
                self.state.insert(*number, State::Queued);
                "new"
            }
            Step::Schedule(schedule, made_of @ 0..2, now) => {
                let found = self.schedules.entry(*schedule);
                let found = found.or_insert((*made_of, false, *now));
                if found.0 != *made_of {
                    (found.0, found.2) = (*made_of, *now);
                }
                "schedule"
            }
            Step::Schedule(schedule, 6.., _) => {
                self.schedules.remove(schedule);
                "noted"
            }
            Step::Schedule(schedule, what, at) => {
                let Some((_, paused, through)) = self.schedules.get_mut(schedule) else {
                    return Some("refused");
                };
                match what {
                    2 => *through = *at.max(through),
                    3 => *through = *at.min(through),
                    4 => *paused = true,
                    _ if *paused => (*paused, *through) = (false, *at.max(through)),
                    _ => {}
                }
                "schedule"
            }
            _ => return None,
        })
    }
}

fn word(answer: &Answer) -> &'static str {
    match answer {
        Answer::Accepted(Acceptance::New(_)) => "new",
        Answer::Accepted(Acceptance::Known { .. }) => "known",
        Answer::Beside { .. } => "beside",
        Answer::Replaced { .. } => "replaced",
        Answer::Leased => "leased",
        Answer::Requeued { .. } => "requeued",
        Answer::Poisoned { .. } => "poisoned",
        Answer::Settled { before: None, .. } => "settled",
        Answer::Settled { .. } => "settled before",
        Answer::Retried { .. } => "retried",
        Answer::Revived { .. } => "revived",
        Answer::Enqueued(_) => "enqueued",
        Answer::Claimed { .. } => "claimed",
        Answer::Schedule(_) => "schedule",
        Answer::Noted => "noted",
        Answer::Refused(_) => "refused",
    }
}

/// A name for what is tried again is new: nobody chooses one twice.
fn fits(step: &Step, used: &mut HashSet<usize>) -> bool {
    match step {
        Step::Retry(_, anew) => used.insert(*anew),
        _ => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_hold(steps in proptest::collection::vec(step(), 1..60)) {
        let (names, mut rules, mut memory) = (Names::new(), Rules::default(), Memory::default());
        let mut used = HashSet::new();
        for step in steps.iter().filter(|step| fits(step, &mut used)) {
            let Some(op) = step.op(&names) else {
                memory.recall_sends();
                continue;
            };
            let before: HashMap<SendId, SendStanding> =
                memory.sends().into_iter().map(|send| (send.id, send)).collect();
            let Ok(answer) = apply(&mut memory, &op, 1000);
            if let Some(expected) = rules.expect(step) {
                prop_assert_eq!(word(&answer), expected, "{:?}", step);
            }
            for standing in memory.standings() {
                let number = names.deliveries.iter().position(|id| *id == standing.delivery).unwrap();
                prop_assert_eq!(Some(standing.state), rules.state.get(&number).copied());
                prop_assert_eq!(standing.state.is_open(), standing.end.is_none());
                // Where it goes on is another of its session, and that comes to an end.
                let (mut last, mut steps) = (standing.clone(), 0);
                while let Some(next) = last.retried {
                    let all = memory.standings();
                    last = all.into_iter().find(|other| other.delivery == next).unwrap();
                    steps += 1;
                    prop_assert_eq!(&last.session, &standing.session);
                    prop_assert!(steps <= names.deliveries.len(), "it goes in a circle");
                }
            }
            prop_assert_eq!(memory.schedules().len(), rules.schedules.len());
            for mark in memory.schedules() {
                let number = mark.schedule.as_str()[1..].parse().unwrap();
                let (_, paused, through) = rules.schedules[&number];
                prop_assert_eq!((mark.paused, mark.through), (paused, through));
            }
            prop_assert_eq!(memory.sends().len(), rules.sends);
            for send in memory.sends() {
                let Some(before) = before.get(&send.id) else { continue };
                prop_assert!(send.doubtful >= before.doubtful, "a doubt is never forgotten");
                prop_assert!(send.parts_done >= before.parts_done);
                prop_assert!(before.state.is_open() || send == *before, "an end stands");
            }
        }
        // Once more, all that was settled: nothing is said twice.
        let sends = memory.sends().len();
        for standing in memory.standings().iter().filter(|standing| !standing.state.is_open()) {
            let op = Op::Settle { delivery: standing.delivery, end: End::Cancelled, sends: vec![some_send()], turn: None };
            let Ok(answer) = apply(&mut memory, &op, 1001);
            let expected = Answer::Settled { sends: Vec::new(), before: Some(standing.state) };
            prop_assert_eq!(answer, expected);
        }
        prop_assert_eq!(memory.sends().len(), sends);
        let causes: Vec<_> = memory.causes().into_iter().flatten().collect();
        prop_assert!(causes.iter().all(|cause| names.deliveries.contains(cause)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// In groups of any size, some of which fail at any write, with restarts between.
    #[test]
    fn sqlite_does_what_memory_does(
        groups in proptest::collection::vec(
            (proptest::collection::vec(step(), 1..8), proptest::option::weighted(0.2, 1u64..12)),
            1..12,
        ),
    ) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("journal.db");
        let (names, mut memory, points) = (Names::new(), Memory::default(), FailPoints::default());
        let mut file = JournalFile::open(&path, &points).unwrap().file;
        let mut used = HashSet::new();
        for (number, (steps, fail)) in groups.into_iter().enumerate() {
            let steps: Vec<Step> = steps.into_iter().filter(|step| fits(step, &mut used)).collect();
            if steps.iter().any(|step| matches!(step, Step::Recall)) {
                drop(file);
                file = JournalFile::open(&path, &points).unwrap().file;
                file.recall_sends().unwrap();
                memory.recall_sends();
            }
            let ops: Vec<Op> = steps.iter().filter_map(|step| step.op(&names)).collect();
            let now = 1000 + UnixMs::try_from(number).unwrap();
            if let Some(nth) = fail {
                points.arm(Point::Row, Action::Full, nth, u64::MAX);
            }
            let done = file.commit(ops.iter(), now);
            points.disarm();
            let mut after = memory.clone();
            let expected: Vec<Answer> = ops.iter().map(|op| apply(&mut after, op, now).unwrap()).collect();
            match done {
                Ok(answers) => {
                    prop_assert_eq!(answers, expected);
                    memory = after;
                }
                // Nothing of it happened.
                Err(_) => prop_assert!(fail.is_some()),
            }
        }
        same(&mut file, &path, &memory)?;
    }
}

fn same(
    file: &mut JournalFile,
    path: &std::path::Path,
    memory: &Memory,
) -> Result<(), TestCaseError> {
    let reader = Reader::open(path).unwrap();
    let rows = super::super::sql::SqlRows {
        connection: file.connection(),
        points: &FailPoints::default(),
    };
    for standing in memory.standings() {
        let found = rows.delivery(standing.delivery).unwrap();
        prop_assert_eq!(found.as_ref(), Some(&standing));
        let shown = reader.show(standing.delivery).unwrap().unwrap();
        prop_assert_eq!(shown.end, standing.end);
        prop_assert!(shown.text.is_some(), "a text stays with its delivery");
    }
    for send in memory.sends() {
        prop_assert_eq!(rows.send(send.id).unwrap(), Some(send));
    }
    let mut children = reader.children().unwrap();
    children.sort_by(|a, b| a.agent.cmp(&b.agent));
    prop_assert_eq!(children, memory.children());
    let schedules = reader.schedules().unwrap().into_iter();
    let schedules: Vec<ScheduleMark> = schedules.map(|found| found.mark).collect();
    prop_assert_eq!(schedules, memory.schedules());
    prop_assert_eq!(reader.audit(None, 1000).unwrap().len(), memory.audits());
    prop_assert_eq!(reader.chats().unwrap(), memory.chats());
    let listed = reader.list(View::All, None, None, 1000).unwrap();
    prop_assert_eq!(listed.entries.len(), memory.standings().len());
    reader.check().unwrap();
    Ok(())
}

#[test]
fn what_is_requeued_is_ahead_of_what_came_after() {
    let (names, mut memory) = (Names::new(), Memory::default());
    let accept = |delivery| Step::Accept {
        delivery,
        origin: None,
    };
    for step in [
        accept(0),
        accept(1),
        Step::Lease(0, 1, 0),
        Step::Requeue(0, 1, Some(3)),
    ] {
        let Ok(answer) = apply(&mut memory, &step.op(&names).unwrap(), 0);
        assert_ne!(word(&answer), "refused");
    }
    let order: Vec<(DeliveryId, u32)> = memory
        .standings()
        .iter()
        .map(|standing| (standing.delivery, standing.attempts))
        .collect();
    assert_eq!(order, [(names.deliveries[0], 1), (names.deliveries[1], 0)]);
}

#[test]
fn a_caller_s_key_follows_what_is_tried_again() {
    let (names, mut memory) = (Names::new(), Memory::default());
    let ask = Step::Accept {
        delivery: 0,
        origin: Some((false, 1, 1)),
    };
    let again = Step::Accept {
        delivery: 1,
        origin: Some((false, 1, 1)),
    };
    for step in [&ask, &Step::Settle(0, 1, 0), &Step::Retry(0, 9)] {
        apply(&mut memory, &step.op(&names).unwrap(), 0).unwrap();
    }
    let Ok(answer) = apply(&mut memory, &again.op(&names).unwrap(), 0);
    let Answer::Accepted(Acceptance::Known { by, first }) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!((by, first.delivery), (KnownBy::Key, names.deliveries[9]));
    assert_eq!(first.state, State::Queued);
}
