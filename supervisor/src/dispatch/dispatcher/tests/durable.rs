//! What survives the dispatcher: it is ended at every turn of events, and another goes on.

use std::sync::Mutex;

use kennel_shared::{
    envelope::{Peer, PeerKind},
    ids::ChannelId,
    protocol::{FailureKind, Trace, TurnFailure},
};

use super::*;
use crate::dispatch::gather::Queueing;
use crate::journal::{
    entry::{Digest, NewSend, Origin, SendState, State},
    reader::{Shown, View},
};
use crate::turns::{Machine, Price};

/// Answers go to a chat.
struct Chat;

impl ReplySink for Chat {
    fn sends(&self, end: &TurnEnd) -> Vec<NewSend> {
        let text = match end {
            TurnEnd::Replied { text, .. } => text.clone(),
            TurnEnd::Failed { message, .. } => message.clone(),
            TurnEnd::Cancelled => return Vec::new(),
        };
        self.notice(&text).into_iter().collect()
    }
    fn notice(&self, words: &str) -> Option<NewSend> {
        Some(NewSend {
            channel: channel(),
            peer: Peer {
                kind: PeerKind::Direct,
                id: "9".into(),
            },
            reply_to: None,
            text: words.to_owned(),
        })
    }
    fn outlasts(&self) -> bool {
        true
    }
    fn started(&mut self) {}
    fn delta(&mut self, _: &str) {}
    fn end(self: Box<Self>, _: TurnEnd) {}
}

fn channel() -> ChannelId {
    "tg".parse().unwrap()
}

/// With chats behind it, and how often the outbox was rung for.
pub(super) fn outside() -> (Outside, Arc<Mutex<usize>>) {
    let rung = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&rung);
    let outside = Outside {
        sink_for: Arc::new(|message| match message.origin {
            Origin::Channel { .. } => Box::new(Chat),
            Origin::Caller { .. } | Origin::Schedule { .. } => Box::new(Nobody),
        }),
        ring: Arc::new(move |_| *counter.lock().unwrap() += 1),
        events: Events::default(),
        ..Outside::default()
    };
    (outside, rung)
}

impl Bench {
    /// A new journal. No agent is up.
    pub(super) fn fresh() -> Self {
        Self::with_room(10)
    }

    /// The same, and so many may wait.
    pub(super) fn with_room(max_waiting: usize) -> Self {
        let home = tempfile::tempdir().unwrap();
        Self::over(home, max_waiting, outside().0, &HashSet::new())
    }
}

fn key(text: &str) -> CallerKey {
    CallerKey {
        key: "k".into(),
        body: Digest::of(&[text.as_bytes()]),
    }
}

fn sender() -> Sender {
    Sender {
        id: "1".into(),
        name: None,
    }
}

pub(super) fn session() -> SessionKey {
    SessionKey::new(&agent("a"), "test").unwrap()
}

impl Bench {
    /// A message from the chat; what the platform calls it.
    async fn hear(&self, message_id: &str, text: &str) -> Result<Accepted, Rejected> {
        self.hear_as(message_id, text, None).await
    }

    pub(super) async fn hear_as(
        &self,
        message_id: &str,
        text: &str,
        queueing: Option<Queueing>,
    ) -> Result<Accepted, Rejected> {
        self.handle
            .submit(Submission {
                delivery: DeliveryId::new(),
                origin: Origin::Channel {
                    channel: channel(),
                    message_id: message_id.into(),
                },
                session: session(),
                sender: sender(),
                text: text.into(),
                queueing,
                reply_to: None,
                sink: Box::new(Chat),
            })
            .await
    }

    async fn ask_by_key(&self, text: &str) -> Result<TurnStream, Rejected> {
        self.handle
            .ask(session(), sender(), text.into(), Some(key(text)))
            .await
    }

    /// All that is to be sent to the chat, in order.
    pub(super) async fn owed(&self) -> Vec<String> {
        self.handle.flushed().await;
        let owed = self.read().owed(&channel(), None, 100).unwrap();
        owed.entries.into_iter().map(|owed| owed.text).collect()
    }

    pub(super) fn read(&self) -> Reader {
        Reader::open(&self.home.path().join("journal.db")).unwrap()
    }

    /// How a delivery stands once all is written.
    pub(super) async fn shown(&self, delivery: DeliveryId) -> Shown {
        self.handle.flushed().await;
        self.read().show(delivery).unwrap().unwrap()
    }

    /// Ends this dispatcher as a crash would, and begins another.
    pub(super) async fn next(mut self, adopted: &[u64]) -> Self {
        self.handle.flushed().await;
        self.task.abort();
        let _ = (&mut self.task).await;
        let empty = tempfile::tempdir().unwrap();
        let home = std::mem::replace(&mut self.home, empty);
        let adopted = adopted
            .iter()
            .map(|generation| (agent("a"), Generation(*generation)))
            .collect();
        Self::over(home, 10, outside().0, &adopted)
    }

    pub(super) async fn up(&self, generation: u64) {
        self.handle
            .reports()
            .tell(&agent("a"), Generation(generation), AgentEvent::Up)
            .await;
    }

    pub(super) async fn down(&self, generation: u64, asked: bool) {
        self.handle
            .reports()
            .tell(
                &agent("a"),
                Generation(generation),
                AgentEvent::Down { asked },
            )
            .await;
    }
}

#[tokio::test]
async fn what_waits_and_what_runs_goes_on_under_the_next_dispatcher_in_order() {
    let bench = Bench::fresh();
    bench.up(1).await;
    let mut bench = bench;
    let first = bench.hear("1", "one").await.unwrap().delivery;
    let second = bench.hear("2", "two").await.unwrap().delivery;
    assert_eq!(bench.delivery("a").await.delivery, first);
    assert_eq!(bench.shown(first).await.listed.state, State::Leased);
    let mut bench = bench.next(&[]).await;
    assert_eq!(bench.shown(first).await.listed.state, State::Queued);
    bench.up(2).await;
    for (expected, text) in [(first, "one"), (second, "two")] {
        let delivery = bench.delivery("a").await;
        assert_eq!(
            (delivery.delivery, delivery.text.as_str()),
            (expected, text)
        );
        bench.reply("a", expected, "done").await;
        let shown = bench.shown(expected).await;
        assert_eq!(
            (shown.listed.state, shown.listed.attempts),
            (State::Replied, 0),
            "a supervisor's end is nobody's fault"
        );
        assert_eq!(
            (shown.sends[0].text.as_str(), shown.sends[0].state),
            ("done", SendState::Pending)
        );
    }
}

#[tokio::test]
async fn an_adopted_life_is_handed_again_what_it_has_under_the_name_it_knows() {
    let mut bench = Bench::fresh();
    bench.up(7).await;
    let accepted = bench.hear("1", "one").await.unwrap();
    let first = bench.delivery("a").await;
    let mut bench = bench.next(&[7]).await;
    assert_eq!(
        bench.shown(accepted.delivery).await.listed.state,
        State::Leased
    );
    bench.up(7).await;
    let again = bench.delivery("a").await;
    assert_eq!((again.delivery, again.turn), (first.delivery, first.turn));
    // It dies after all: that is its own doing.
    bench.down(7, false).await;
    let shown = bench.shown(accepted.delivery).await;
    assert_eq!(
        (shown.listed.state, shown.listed.attempts),
        (State::Queued, 1)
    );
    // One that dies before it was handed anything again has had it all the same.
    let bench = bench.next(&[]).await;
    bench.up(8).await;
    let mut bench = bench;
    bench.delivery("a").await;
    let bench = bench.next(&[8]).await;
    bench.down(8, false).await;
    let shown = bench.shown(accepted.delivery).await;
    assert_eq!(
        (shown.listed.state, shown.listed.attempts),
        (State::Queued, 2)
    );
}

#[tokio::test]
async fn a_message_that_comes_twice_is_answered_once() {
    let (outside, rung) = outside();
    let mut bench = Bench::over(tempfile::tempdir().unwrap(), 10, outside, &HashSet::new());
    bench.up(1).await;
    let first = bench.hear("1", "one").await.unwrap();
    let second = bench.hear("1", "one").await.unwrap();
    assert!(!first.repeat && second.repeat);
    assert_eq!(first.delivery, second.delivery);
    bench.delivery("a").await;
    bench.reply("a", first.delivery, "done").await;
    assert_eq!(bench.shown(first.delivery).await.sends.len(), 1);
    assert_eq!(*rung.lock().unwrap(), 1);
    let third = bench.hear("1", "one").await.unwrap();
    assert!(third.repeat);
    // Not a second time, neither now nor later.
    let other = bench.hear("2", "two").await.unwrap();
    assert_eq!(bench.delivery("a").await.delivery, other.delivery);
}

#[tokio::test]
async fn a_caller_with_a_key_gets_the_same_answer_before_and_after_the_end_and_a_restart() {
    let mut bench = Bench::fresh();
    bench.up(1).await;
    let first = bench.ask_by_key("hi").await.unwrap();
    let delivery = bench.delivery("a").await;
    // It goes away and comes back; the turn was not cancelled.
    drop(first);
    let second = bench.ask_by_key("hi").await.unwrap();
    assert_eq!(second.delivery(), delivery.delivery);
    bench.reply("a", delivery.delivery, "hello").await;
    assert_eq!(replied(&second.finish().await), "hello");
    let third = bench.ask_by_key("hi").await.unwrap();
    assert_eq!(replied(&third.finish().await), "hello");
    let bench = bench.next(&[]).await;
    let fourth = bench.ask_by_key("hi").await.unwrap();
    assert_eq!(replied(&fourth.finish().await), "hello");
    let other = bench
        .handle
        .ask(session(), sender(), "other".into(), Some(key("other")))
        .await;
    let error = other.err().unwrap();
    assert!(matches!(error, Rejected::Journal(JournalError::Refused(_))));
    assert!(error.to_string().contains("used before"), "{error}");
}

#[tokio::test]
async fn a_caller_with_a_key_finds_its_turn_under_the_next_dispatcher() {
    let mut bench = Bench::fresh();
    bench.up(1).await;
    let _gone = bench.ask_by_key("hi").await.unwrap();
    let delivery = bench.delivery("a").await;
    let mut bench = bench.next(&[]).await;
    let again = bench.ask_by_key("hi").await.unwrap();
    bench.up(2).await;
    assert_eq!(bench.delivery("a").await.delivery, delivery.delivery);
    bench.reply("a", delivery.delivery, "hello").await;
    assert_eq!(replied(&again.finish().await), "hello");
}

#[tokio::test]
async fn poison_is_set_aside_over_restarts_told_to_the_chat_and_can_be_put_back() {
    let mut bench = Bench::fresh();
    let deadly = bench.hear("1", "deadly").await.unwrap().delivery;
    let next = bench.hear("2", "next").await.unwrap().delivery;
    for generation in 1..=u64::from(POISON_AFTER) {
        bench.up(generation).await;
        assert_eq!(bench.delivery("a").await.delivery, deadly);
        bench.down(generation, false).await;
        bench = bench.next(&[]).await;
    }
    let shown = bench.shown(deadly).await;
    assert_eq!(shown.listed.state, State::Poison);
    assert!(shown.sends[0].text.contains("set aside"), "{shown:?}");
    bench.up(9).await;
    assert_eq!(bench.delivery("a").await.delivery, next);
    bench.reply("a", next, "done").await;
    // An operator has mended what was wrong.
    let operate = |operation| bench.handle.operate(operation, deadly, session());
    let refused = operate(Operation::Retry).await;
    assert!(matches!(refused, Err(OperationError::Journal(_))));
    assert_eq!(operate(Operation::Requeue).await, Ok(deadly));
    assert_eq!(bench.delivery("a").await.delivery, deadly);
    bench.reply("a", deadly, "fine").await;
    assert_eq!(bench.shown(deadly).await.listed.state, State::Replied);
}

#[tokio::test]
async fn an_operator_drops_what_waits_and_has_it_tried_again() {
    let mut bench = Bench::fresh();
    bench.up(1).await;
    let runs = bench.hear("1", "one").await.unwrap().delivery;
    let waits = bench.hear("2", "two").await.unwrap().delivery;
    bench.delivery("a").await;
    let operate = |operation, delivery| bench.handle.operate(operation, delivery, session());
    assert_eq!(
        operate(Operation::Drop, runs).await,
        Err(OperationError::Running)
    );
    assert_eq!(operate(Operation::Drop, waits).await, Ok(waits));
    assert_eq!(bench.shown(waits).await.listed.state, State::Dropped);
    let anew = bench
        .handle
        .operate(Operation::Retry, waits, session())
        .await
        .unwrap();
    assert_ne!(anew, waits);
    // Asked twice, done once.
    let twice = bench
        .handle
        .operate(Operation::Retry, waits, session())
        .await;
    assert_eq!(twice, Ok(anew));
    bench.reply("a", runs, "done").await;
    let delivery = bench.delivery("a").await;
    assert_eq!((delivery.delivery, delivery.text.as_str()), (anew, "two"));
    bench.reply("a", anew, "done").await;
    assert_eq!(bench.shown(anew).await.sends.len(), 1);
}

#[tokio::test]
async fn what_is_not_kept_in_memory_is_read_when_its_turn_comes() {
    let mut bench = Bench::with_room(100);
    let text = |n: u32| format!("{n} {}", "x".repeat(AT_HAND_BYTES / 8));
    for n in 0..20 {
        bench.hear(&n.to_string(), &text(n)).await.unwrap();
    }
    bench.up(1).await;
    for n in 0..20 {
        let delivery = bench.delivery("a").await;
        assert_eq!(delivery.text, text(n));
        bench.reply("a", delivery.delivery, "done").await;
    }
    bench.handle.flushed().await;
    let open = bench.read().list(View::Open, None, None, 10).unwrap();
    assert_eq!(open.entries, []);
}

#[tokio::test]
async fn a_supervisor_that_leaves_keeps_what_waits_and_tells_who_cannot_come_back() {
    let mut bench = Bench::fresh();
    bench.up(1).await;
    let runs = bench.ask("a", "one").await.unwrap();
    let delivery = bench.delivery("a").await;
    let chat = bench.hear("2", "two").await.unwrap().delivery;
    let caller = bench.ask("a", "three").await.unwrap();
    bench.handle.close().await;
    assert!(matches!(
        caller.finish().await,
        TurnEnd::Failed {
            kind: EndKind::Stopped,
            ..
        }
    ));
    bench.reply("a", delivery.delivery, "done").await;
    assert_eq!(replied(&runs.finish().await), "done");
    bench.report("a", AgentEvent::Down { asked: true }).await;
    bench.report("a", AgentEvent::Resting("stopped")).await;
    let mut bench = bench.next(&[]).await;
    bench.up(2).await;
    assert_eq!(bench.delivery("a").await.delivery, chat);
}

#[tokio::test]
async fn a_chat_of_an_agent_that_rests_is_told_so_through_the_outbox() {
    let bench = Bench::fresh();
    bench.report("a", AgentEvent::Resting("stopped")).await;
    let told = bench.hear("1", "hello?").await.unwrap().delivery;
    let shown = bench.shown(told).await;
    assert_eq!(shown.listed.state, State::Failed);
    assert!(shown.sends[0].text.contains("kennel start a"), "{shown:?}");
}

/// An agent says again what the supervisor that died may not have heard, and not what it had acknowledged: the
/// answers of a session must come in order all the same.
#[tokio::test]
async fn what_an_adopted_life_has_finished_is_heard_in_its_turn() {
    let mut bench = Bench::fresh();
    bench.up(7).await;
    let first = bench.hear("1", "one").await.unwrap().delivery;
    let second = bench.hear("2", "two").await.unwrap().delivery;
    bench.delivery("a").await;
    let mut bench = bench.next(&[7]).await;
    bench.reply("a", second, "2").await;
    bench.up(7).await;
    for (delivery, text) in [(first, "1"), (second, "2")] {
        assert_eq!(bench.delivery("a").await.delivery, delivery);
        bench.reply("a", delivery, text).await;
    }
    bench.handle.flushed().await;
    let owed = bench.read().owed(&channel(), None, 10).unwrap();
    let texts: Vec<_> = owed.entries.iter().map(|owed| &owed.text).collect();
    assert_eq!(texts, ["1", "2"]);
}

#[tokio::test]
async fn what_an_agent_has_no_place_for_is_offered_again_and_nobody_is_to_blame() {
    let mut bench = Bench::new(10).await;
    let stream = bench.ask("a", "hi").await.unwrap();
    for _ in 0..=POISON_AFTER {
        let delivery = bench.delivery("a").await.delivery;
        let outcome = TurnOutcome::Failed(TurnFailure {
            kind: FailureKind::Overloaded,
            message: "busy".into(),
        });
        let finished = AgentEvent::Finished {
            delivery,
            outcome,
            spent: Spent::default(),
            told: Box::default(),
        };
        bench.report("a", finished).await;
    }
    let delivery = bench.delivery("a").await.delivery;
    bench.reply("a", delivery, "done").await;
    assert_eq!(replied(&stream.finish().await), "done");
    assert_eq!(bench.shown(delivery).await.listed.attempts, 0);
}

#[tokio::test]
async fn a_request_with_a_key_waits_out_a_stop_of_its_agent() {
    let mut bench = Bench::fresh();
    let first = bench.ask_by_key("hi").await.unwrap();
    bench.report("a", AgentEvent::Resting("stopped")).await;
    let end = first.finish().await;
    assert!(
        matches!(&end, TurnEnd::Failed { kind: EndKind::Stopped, message } if message.contains("kennel start a")),
        "{end:?}"
    );
    bench.report("a", AgentEvent::Coming).await;
    let second = bench.ask_by_key("hi").await.unwrap();
    bench.up(1).await;
    let delivery = bench.delivery("a").await.delivery;
    bench.reply("a", delivery, "hello").await;
    assert_eq!(replied(&second.finish().await), "hello");
}

/// Whoever asks while the end is on its way to the disk gets that end, and starts nothing.
#[tokio::test]
async fn a_repeat_that_meets_the_end_does_not_bring_it_back() {
    let mut bench = Bench::with_room(100);
    bench.up(1).await;
    for n in 0..50 {
        let text = format!("hi {n}");
        let key = CallerKey {
            key: format!("k{n}"),
            body: Digest::of(&[text.as_bytes()]),
        };
        let ask = || {
            bench
                .handle
                .ask(session(), sender(), text.clone(), Some(key.clone()))
        };
        let first = ask().await.unwrap();
        let (handle, delivery) = (bench.handle.clone(), first.delivery());
        let (cancelled, second) = tokio::join!(handle.cancel(delivery), ask());
        assert!(cancelled);
        let second = second.unwrap();
        assert_eq!(second.delivery(), delivery);
        // It was with the agent already, or it was not.
        if let Ok(Command::Deliver(delivery)) = bench.drivers.get_mut("a").unwrap().try_recv() {
            let finished = AgentEvent::Finished {
                delivery: delivery.delivery,
                outcome: TurnOutcome::Cancelled,
                spent: Spent::default(),
                told: Box::default(),
            };
            bench.report("a", finished).await;
        }
        assert_eq!(second.finish().await, TurnEnd::Cancelled);
        while bench.drivers.get_mut("a").unwrap().try_recv().is_ok() {}
    }
    bench.handle.flushed().await;
    let open = bench.read().list(View::Open, None, None, 10).unwrap();
    assert_eq!(open.entries, []);
}

/// What lanes, agent and driver know of a turn comes together in the commit of its end.
#[tokio::test]
async fn the_account_of_a_turn_is_put_down_with_its_end() {
    let priced = Price {
        input: 3_000_000,
        output: 15_000_000,
    };
    let outside = Outside {
        prices: [("p/m".to_owned(), priced)].into_iter().collect(),
        ..outside().0
    };
    let mut bench = Bench::over(tempfile::tempdir().unwrap(), 10, outside, &HashSet::new());
    let first = bench.ask("a", "one").await.unwrap();
    bench.up(1).await;
    let one = bench.delivery("a").await;
    bench.report("a", AgentEvent::Started(one.turn)).await;
    let second = bench.ask("a", "two").await.unwrap();
    let spent = Spent {
        provider_us: 5,
        input_tokens: 1000,
        output_tokens: 100,
        asked: 1,
        ..Spent::default()
    };
    let finished = AgentEvent::Finished {
        delivery: one.delivery,
        outcome: TurnOutcome::Replied("yes".into()),
        spent,
        told: Box::new(Told {
            trace: Trace {
                model: "p/m".into(),
                ..Trace::default()
            },
            machine: Machine {
                cpu_us: Some(7),
                ..Machine::default()
            },
        }),
    };
    bench.report("a", finished).await;
    assert_eq!(replied(&first.finish().await), "yes");
    let two = bench.delivery("a").await;
    bench.reply("a", two.delivery, "no").await;
    assert_eq!(replied(&second.finish().await), "no");
    // One that waits and is cancelled was no turn.
    bench.report("a", AgentEvent::Closed).await;
    let third = bench.ask("a", "three").await.unwrap();
    assert!(bench.handle.cancel(third.delivery()).await);
    bench.handle.flushed().await;

    let turns = bench.read().turns(None, None, 10).unwrap();
    let turns: Vec<_> = turns.into_iter().map(|(turn, _)| turn).collect();
    let [no, yes] = &turns[..] else {
        panic!("{turns:?}")
    };
    assert_eq!((yes.turn, yes.delivery), (one.turn, one.delivery));
    assert_eq!((yes.cost, yes.machine.cpu_us), (Some(4_500), Some(7)));
    assert_eq!(yes.model.as_deref(), Some("p/m"));
    assert!(yes.waits.held_us > 0, "its agent was not up: {yes:?}");
    assert_eq!(no.delivery, two.delivery);
    assert!(no.waits.session_us > 0, "it waited for the first: {no:?}");
    assert_eq!((no.model.as_deref(), no.cost), (None, None));
    let histograms = bench.handle.histograms().await;
    let total: u64 = histograms[&agent("a")].total.counts.iter().sum();
    assert_eq!((total, histograms.len()), (2, 1));
}
