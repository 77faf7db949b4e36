//! The machine by example, and by property against a model of the child.

use proptest::prelude::*;

use super::*;

fn policy() -> Policy {
    Policy {
        restart: RestartPolicy::OnFailure,
        backoff: BackoffPolicy {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(1),
            factor: 2.0,
            jitter: 0.0,
        },
        intensity: IntensityPolicy {
            max_restarts: 3,
            window: Duration::from_mins(1),
        },
        stable_after: Duration::from_secs(10),
        start_timeout: Duration::from_secs(5),
        watchdog: Duration::from_secs(3),
        drain_timeout: Duration::from_secs(20),
        stop_grace: Duration::from_secs(2),
    }
}

/// A machine and a clock that only moves when told.
struct Bench {
    machine: Lifecycle,
    now: Instant,
}

impl Bench {
    fn new(policy: Policy) -> Self {
        Self {
            machine: Lifecycle::new(policy, Generation(0), 1),
            now: tokio::time::Instant::now().into_std(),
        }
    }

    fn on(&mut self, event: Event) -> Vec<Action> {
        self.machine.on_event(event, self.now)
    }

    /// Moves to the next deadline and reports it.
    fn wait(&mut self) -> Vec<Action> {
        self.now = self.machine.deadline().expect("something is due");
        self.on(Event::Deadline)
    }

    fn ready(policy: Policy) -> Self {
        let mut bench = Self::new(policy);
        assert_eq!(bench.on(Event::Start), [Action::Spawn(Generation(1))]);
        bench.on(Event::Ready);
        assert_eq!(bench.name(), "ready");
        bench
    }

    fn name(&self) -> &'static str {
        self.machine.state().name()
    }
}

#[test]
fn a_crash_is_restarted_after_a_growing_wait_and_then_quarantined() {
    let mut bench = Bench::ready(policy());
    for (wait, generation) in [(100, 2), (200, 3), (400, 4)] {
        assert_eq!(bench.on(Event::Exited(Exit::Signal(9))), []);
        assert_eq!(
            bench.machine.deadline(),
            Some(bench.now + Duration::from_millis(wait))
        );
        assert_eq!(bench.wait(), [Action::Spawn(Generation(generation))]);
        bench.on(Event::Ready);
    }
    assert_eq!(bench.on(Event::Exited(Exit::Code(1))), []);
    assert_eq!(
        bench.machine.state(),
        State::Quarantined {
            last: Exit::Code(1)
        }
    );
    assert_eq!(
        bench.machine.deadline(),
        None,
        "only an operator ends a quarantine"
    );
    assert_eq!(bench.on(Event::Restart), [Action::Spawn(Generation(5))]);
}

#[test]
fn a_stable_time_starts_the_backoff_over() {
    let mut bench = Bench::ready(policy());
    bench.on(Event::Exited(Exit::Code(1)));
    bench.wait();
    bench.on(Event::Ready);
    bench.now += Duration::from_secs(11);
    bench.on(Event::Heartbeat);
    bench.on(Event::Exited(Exit::Code(1)));
    assert_eq!(
        bench.machine.deadline(),
        Some(bench.now + Duration::from_millis(100))
    );
}

#[test]
fn restart_policies_differ_on_a_clean_exit() {
    for (restart, expected) in [
        (RestartPolicy::Always, "backing-off"),
        (RestartPolicy::OnFailure, "exited"),
        (RestartPolicy::Never, "exited"),
    ] {
        let mut bench = Bench::ready(Policy {
            restart,
            ..policy()
        });
        bench.on(Event::Exited(Exit::Code(0)));
        assert_eq!(bench.name(), expected, "{restart:?}");
    }
    let mut bench = Bench::ready(Policy {
        restart: RestartPolicy::Never,
        ..policy()
    });
    bench.on(Event::Exited(Exit::Signal(11)));
    assert_eq!(bench.name(), "exited");
}

#[test]
fn a_policy_that_changes_holds_for_what_comes() {
    let mut bench = Bench::ready(policy());
    bench.machine.keep_by(Policy {
        watchdog: Duration::from_secs(7),
        restart: RestartPolicy::Never,
        ..policy()
    });
    bench.on(Event::Heartbeat);
    assert_eq!(
        bench.machine.deadline(),
        Some(bench.now + Duration::from_secs(7))
    );
    bench.on(Event::Exited(Exit::Signal(9)));
    assert_eq!(bench.name(), "exited");
}

#[test]
fn a_stop_drains_then_terminates_then_kills() {
    let mut bench = Bench::ready(policy());
    assert_eq!(bench.on(Event::Stop), [Action::Drain]);
    for _ in 0..7 {
        bench.now += Duration::from_millis(2_800);
        bench.on(Event::Heartbeat);
    }
    assert_eq!(
        bench.wait(),
        [Action::Term],
        "the drain took its twenty seconds"
    );
    assert_eq!(bench.wait(), [Action::Kill]);
    assert_eq!(bench.machine.deadline(), None);
    bench.on(Event::Exited(Exit::Signal(9)));
    assert_eq!(bench.name(), "stopped");
}

#[test]
fn a_silent_child_is_recorded_and_killed() {
    let mut bench = Bench::ready(policy());
    bench.now += Duration::from_secs(2);
    bench.on(Event::Heartbeat);
    bench.now += Duration::from_secs(2);
    assert_eq!(
        bench.on(Event::Deadline),
        [],
        "the heartbeat gave it three more seconds"
    );
    bench.now += Duration::from_secs(1);
    assert_eq!(
        bench.on(Event::Deadline),
        [Action::RecordHang, Action::Kill]
    );
    bench.on(Event::Exited(Exit::Signal(9)));
    assert_eq!(bench.name(), "backing-off");
}

#[test]
fn a_child_that_is_silent_while_it_drains_is_killed_too() {
    let mut bench = Bench::ready(policy());
    bench.on(Event::Stop);
    assert_eq!(bench.wait(), [Action::RecordHang, Action::Kill]);
}

#[test]
fn a_child_that_does_not_get_ready_is_ended_and_tried_again() {
    let mut bench = Bench::new(policy());
    bench.on(Event::Start);
    assert_eq!(bench.wait(), [Action::RecordHang, Action::Term]);
    bench.on(Event::Exited(Exit::Code(0)));
    assert_eq!(
        bench.name(),
        "backing-off",
        "an exit with 0 that we caused is a failure"
    );
}

#[test]
fn an_end_that_another_start_does_not_mend_is_not_tried_again() {
    let mut bench = Bench::ready(policy());
    bench.on(Event::Exited(HOPELESS));
    assert_eq!(bench.machine.state(), State::Quarantined { last: HOPELESS });
    assert_eq!(
        bench.on(Event::Restart),
        [Action::Spawn(Generation(2))],
        "an operator may have mended it"
    );
}

#[test]
fn a_restart_waits_for_the_old_child_and_not_for_the_backoff() {
    let mut bench = Bench::ready(policy());
    assert_eq!(bench.on(Event::Restart), [Action::Drain]);
    assert_eq!(
        bench.on(Event::Exited(Exit::Code(0))),
        [Action::Spawn(Generation(2))]
    );
    assert_eq!(
        bench.machine.restarts(),
        0,
        "asked for, so not counted against it"
    );
}

#[test]
fn commands_are_idempotent() {
    let mut bench = Bench::ready(policy());
    assert_eq!(bench.machine.answer(Event::Start), Answer::Already);
    assert_eq!(bench.on(Event::Start), []);
    bench.on(Event::Stop);
    assert_eq!(bench.machine.answer(Event::Stop), Answer::Already);
    assert_eq!(bench.on(Event::Stop), []);
    // A change of mind during the stop: it comes back.
    assert_eq!(bench.on(Event::Start), []);
    assert_eq!(
        bench.on(Event::Exited(Exit::Code(0))),
        [Action::Spawn(Generation(2))]
    );
}

#[test]
fn kill_cuts_every_wait_short() {
    let mut bench = Bench::ready(policy());
    bench.on(Event::Stop);
    assert_eq!(bench.on(Event::Kill), [Action::Kill]);
    bench.on(Event::Exited(Exit::Signal(9)));
    assert_eq!(bench.name(), "stopped");
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => Just(Event::Start),
        1 => Just(Event::Stop),
        1 => Just(Event::Restart),
        1 => Just(Event::Kill),
        1 => Just(Event::Stuck),
        1 => Just(Event::Ready),
        3 => Just(Event::Heartbeat),
        2 => Just(Event::Exited(Exit::Code(0))),
        2 => Just(Event::Exited(Exit::Code(1))),
        1 => Just(Event::Exited(Exit::Signal(9))),
        4 => Just(Event::Deadline),
    ]
}

fn restart_policy() -> impl Strategy<Value = RestartPolicy> {
    prop_oneof![
        Just(RestartPolicy::Always),
        Just(RestartPolicy::OnFailure),
        Just(RestartPolicy::Never)
    ]
}

proptest! {
    #[test]
    fn there_is_never_a_second_child_and_never_a_forgotten_one(
        restart in restart_policy(),
        script in prop::collection::vec((event(), 0u64..4_000), 1..200),
    ) {
        let mut bench = Bench::new(Policy { restart, ..policy() });
        // The model: what the driver would see of the operating system.
        let (mut child, mut generation) = (false, 0);
        for (event, pause) in script {
            bench.now += Duration::from_millis(pause);
            if matches!(event, Event::Exited(_) | Event::Ready) && !child {
                continue;
            }
            child &= !matches!(event, Event::Exited(_));
            for action in bench.on(event) {
                match action {
                    Action::Spawn(next) => {
                        prop_assert!(!child, "a second child");
                        prop_assert_eq!(next.0, generation + 1);
                        (child, generation) = (true, next.0);
                    }
                    Action::Drain | Action::Term | Action::Kill | Action::RecordHang => {
                        prop_assert!(child, "{action:?} without a child");
                    }
                }
            }
            let state = bench.machine.state();
            prop_assert_eq!(state.has_child(), child, "{:?}", state);
            let killed = matches!(state, State::Stopping { phase: Phase::Kill, .. });
            let rests = matches!(state, State::Stopped | State::Exited(_) | State::Quarantined { .. });
            prop_assert_eq!(bench.machine.deadline().is_none(), killed || rests);
            if bench.machine.desired() == Desired::Stopped {
                let runs = matches!(state, State::BackingOff { .. } | State::Ready { .. } | State::Starting { .. });
                prop_assert!(!runs);
            }
        }
        // Left alone after a stop, with a child that obeys nothing but KILL, it comes to rest.
        bench.on(Event::Stop);
        for _ in 0..4 {
            if bench.machine.deadline().is_some() {
                bench.wait();
            }
        }
        if child {
            let killed = matches!(bench.machine.state(), State::Stopping { phase: Phase::Kill, .. });
            prop_assert!(killed);
            bench.on(Event::Exited(Exit::Signal(9)));
        }
        prop_assert_eq!(bench.machine.state(), State::Stopped);
    }
}

/// A child that another supervisor has started is waited for like one of its own; then it is like any.
#[test]
fn an_adopted_child_is_waited_for_and_its_generation_goes_on() {
    let adopted = || {
        let mut bench = Bench::new(policy());
        bench.machine = Lifecycle::new(policy(), Generation(7), 1);
        bench.machine.adopt(bench.now);
        assert_eq!(bench.machine.desired(), Desired::Running);
        assert_eq!(bench.machine.generation(), Generation(7));
        assert_eq!(bench.machine.answer(Event::Start), Answer::Already);
        bench
    };
    // It comes back.
    let mut bench = adopted();
    assert_eq!(bench.on(Event::Start), []);
    assert_eq!(bench.on(Event::Ready), []);
    assert!(matches!(bench.machine.state(), State::Ready { .. }));
    assert_eq!(bench.on(Event::Restart), [Action::Drain]);
    assert_eq!(
        bench.on(Event::Exited(Exit::Code(0))),
        [Action::Spawn(Generation(8))]
    );
    // It does not.
    let mut bench = adopted();
    assert_eq!(bench.wait(), [Action::RecordHang, Action::Term]);
    assert_eq!(bench.wait(), [Action::Kill]);
    assert_eq!(bench.on(Event::Exited(Exit::Unknown)), []);
    assert!(matches!(bench.machine.state(), State::BackingOff { .. }));
    assert_eq!(bench.wait(), [Action::Spawn(Generation(8))]);
    // It is to go before it has come back.
    let mut bench = adopted();
    assert_eq!(bench.on(Event::Stop), [Action::Term]);
}
