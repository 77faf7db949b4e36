use std::time::Instant;

use super::super::lifecycle::Phase;
use super::*;

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn stopping(reason: EndReason) -> State {
    State::Stopping {
        phase: Phase::Kill,
        deadline: now(),
        reason,
    }
}

fn ready() -> State {
    State::Ready {
        since: now(),
        watchdog: now(),
    }
}

fn evidence(exit: Exit, state: State, oom_kills: u64) -> Evidence {
    Evidence {
        exit,
        state,
        reading: Reading {
            oom_kills: Some(oom_kills),
            ..Reading::default()
        },
        over: None,
        hang: None,
        awaited: false,
    }
}

#[test]
fn the_same_signal_has_many_causes() {
    let kill = Exit::Signal(9);
    let cases = [
        (evidence(kill, ready(), 0), Cause::Signal(9)),
        (evidence(kill, ready(), 1), Cause::OutOfMemory),
        (
            evidence(kill, stopping(EndReason::Watchdog), 0),
            Cause::Hung,
        ),
        // It hung because the kernel was busy finding memory for it.
        (
            evidence(kill, stopping(EndReason::Watchdog), 1),
            Cause::OutOfMemory,
        ),
        (evidence(kill, stopping(EndReason::Asked), 0), Cause::Asked),
        (
            evidence(Exit::Signal(15), stopping(EndReason::StartTimeout), 0),
            Cause::StartTimeout,
        ),
        (evidence(Exit::Signal(11), ready(), 0), Cause::Signal(11)),
        // A tool was what the kernel chose, earlier.
        (evidence(Exit::Code(0), ready(), 1), Cause::Code(0)),
        (evidence(Exit::Code(101), ready(), 0), Cause::Code(101)),
    ];
    for (evidence, cause) in cases {
        assert_eq!(evidence.cause(), cause, "{evidence:?}");
    }
}

#[test]
fn a_cap_that_we_watch_decides() {
    let mut ours = evidence(Exit::Signal(9), ready(), 0);
    ours.over = Some(Cause::TooManyProcesses);
    assert_eq!(ours.cause(), Cause::TooManyProcesses);
    assert_eq!(ours.cause().cap(), Some("pids"));
    // The kernel may have come first, a moment before.
    let mut stalled = evidence(Exit::Signal(9), ready(), 1);
    let lasted = Duration::from_secs(2);
    stalled.over = Some(Cause::Stalled {
        cap: Cap::MemoryHigh,
        high: 50 << 20,
        lasted,
    });
    assert_eq!(
        (stalled.cause().as_str(), stalled.cause().cap()),
        ("out-of-memory", Some("memory_high"))
    );
    let end = End {
        cause: stalled.cause(),
        exit: stalled.exit,
        caps: Caps::default(),
        peak: None,
        hang: None,
        turns: vec![],
        next: "stays down".into(),
    };
    assert_eq!(
        end.what(),
        "killed for want of memory: it was stuck for 2s above its soft mark of 50.0 MiB"
    );
}

#[test]
fn the_sentence_names_cap_peak_turn_and_what_is_next() {
    let turn = TurnId::new();
    let mut turns = Turns::default();
    let now = now();
    turns.handed(turn, "agent:hexa:api:x".parse().unwrap(), now);
    turns.at(turn, Step::said(TurnStep::Tool("exec".into())));
    let end = End {
        cause: Cause::OutOfMemory,
        exit: Exit::Signal(9),
        caps: Caps {
            memory: Some(256 << 20),
            ..Caps::default()
        },
        peak: Some(256 << 20),
        hang: None,
        turns: turns.take(now + Duration::from_millis(3_400)),
        next: next(
            State::BackingOff {
                until: now,
                attempt: 0,
            },
            2,
            Some(Duration::from_millis(200)),
        ),
    };
    assert_eq!(
        end.sentence(),
        format!(
            "killed at its memory cap of 256.0 MiB; peak memory 256.0 MiB; turn {turn} was running exec for 3s; \
             starts again in 200ms"
        )
    );
    assert_eq!(turns.oldest(), None, "they were taken");
}

#[test]
fn turns_are_told_the_oldest_first_and_ended_ones_not() {
    let mut turns = Turns::default();
    let now = now();
    let session: SessionKey = "agent:hexa:api:x".parse().unwrap();
    let [first, second, third] = [TurnId::new(), TurnId::new(), TurnId::new()];
    turns.handed(second, session.clone(), now + Duration::from_secs(1));
    turns.handed(first, session.clone(), now);
    turns.handed(third, session, now + Duration::from_secs(2));
    turns.over(third);
    turns.at(third, Step::Asking);
    assert_eq!(turns.oldest(), Some((first, Step::Loading)));
    let told: Vec<TurnId> = turns
        .take(now + Duration::from_secs(3))
        .iter()
        .map(|turn| turn.turn)
        .collect();
    assert_eq!(told, [first, second]);
}

#[test]
fn an_adopted_child_may_end_without_a_word() {
    let unknown = evidence(Exit::Unknown, ready(), 0);
    assert_eq!(unknown.cause(), Cause::Unknown);
    assert_eq!(
        evidence(Exit::Unknown, ready(), 1).cause(),
        Cause::OutOfMemory
    );
    let late = Evidence {
        awaited: true,
        ..evidence(Exit::Signal(9), stopping(EndReason::StartTimeout), 0)
    };
    assert_eq!(late.cause(), Cause::NotBack);
    assert!(status(Exit::Unknown).contains("another supervisor"));
}
