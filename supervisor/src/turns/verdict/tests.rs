use super::{
    super::record::{Span, Took, tests::record},
    *,
};

const MS: u64 = 1_000;
const S: u64 = 1_000_000;

fn turn(run_us: u64, change: impl FnOnce(&mut TurnRecord)) -> Verdict {
    let mut turn = record("a");
    turn.run_us = run_us;
    change(&mut turn);
    let verdict = verdict(&turn);
    assert!(verdict.text.chars().count() <= 78, "{}", verdict.text);
    verdict
}

fn is(verdict: &Verdict, bound: Bound, text: &str) {
    assert_eq!((verdict.bound, verdict.text.as_str()), (bound, text));
}

#[test]
fn a_model_that_is_waited_for() {
    let slow = |turn: &mut TurnRecord| turn.took.provider_us = 3_813 * MS;
    let verdict = turn(4_100 * MS, slow);
    let text = "provider-bound: 93 % of 4.1 s waiting for the model";
    is(&verdict, Bound::Provider, text);
    let verdict = turn(4_100 * MS, |turn| {
        slow(turn);
        turn.took.retries = 2;
    });
    assert!(verdict.text.ends_with("model, asked again 2 times"));
}

#[test]
fn lanes() {
    type Change = fn(&mut TurnRecord);
    let cases: [(Change, Bound, &str); 6] = [
        (
            |t| t.waits.session_us = 12 * S,
            Bound::Session,
            "queued behind session lane: 12 s",
        ),
        (
            |t| t.waits.agent_us = 12 * S,
            Bound::Agent,
            "queued behind agent lane: 12 s",
        ),
        (
            |t| t.waits.class_us = 12 * S,
            Bound::Class,
            "queued behind class lane: 12 s",
        ),
        (
            |t| t.waits.fleet_us = 12 * S,
            Bound::Fleet,
            "queued behind fleet lane: 12 s",
        ),
        (
            |t| t.waits.held_us = 12 * S,
            Bound::Held,
            "held until its agent took it: 12 s",
        ),
        (
            |t| t.lost_us = 12 * S,
            Bound::Lost,
            "begun anew: 12 s were lost with the agent's process",
        ),
    ];
    for (change, bound, text) in cases {
        is(&turn(S, change), bound, text);
    }
    // The lane that held it longest, and only when it queued for half of the time.
    let two = |turn: &mut TurnRecord| {
        turn.waits.session_us = 300 * MS;
        turn.waits.fleet_us = 900 * MS;
        turn.took.provider_us = S;
    };
    assert_eq!(turn(S, two).bound, Bound::Fleet);
    assert_eq!(turn(2 * S, two).bound, Bound::Provider);
}

fn machine(cpu: u64, waited: u64, throttled: u64) -> impl Fn(&mut TurnRecord) {
    move |turn| {
        turn.machine.cpu_us = Some(cpu);
        turn.machine.runnable_us = Some(waited);
        turn.machine.throttled_us = Some(throttled);
        turn.machine.share = Some(Share {
            cores: 2,
            cap_milli: Some(500),
            weight: 50,
            of_weights: 250,
        });
        // Whatever it did meanwhile.
        turn.took.provider_us = turn.run_us * 9 / 10;
    }
}

#[test]
fn the_processor() {
    let waited = turn(4 * S, machine(S, 2 * S, 0));
    let text = "CPU-bound: neighbours share 2 cores, weight 50 of 250; waited 2.0 s of 4.0 s";
    is(&waited, Bound::Cpu, text);
    let alone = turn(4 * S, |turn| {
        machine(S, 2 * S, 0)(turn);
        turn.machine.share = Some(Share {
            cores: 1,
            weight: 100,
            of_weights: 100,
            ..Share::default()
        });
    });
    let text = "CPU-bound: more wants to run than 1 core can; waited 2.0 s of 4.0 s";
    is(&alone, Bound::Cpu, text);
    let capped = turn(4 * S, machine(2 * S, S, 2 * S));
    let text = "CPU-bound: held back by its cap of 0.5 CPUs for 2.0 s of 4.0 s";
    is(&capped, Bound::Cpu, text);
    let busy = turn(4 * S, machine(3_900 * MS, 100 * MS, 0));
    is(&busy, Bound::Cpu, "CPU-bound: used 3.9 s of CPU in 4.0 s");
    // Less is not to blame, and what is not known is not either.
    assert_eq!(turn(4 * S, machine(S, S, S)).bound, Bound::Provider);
    let unknown = turn(4 * S, |turn| turn.took.provider_us = 4 * S);
    assert_eq!(unknown.bound, Bound::Provider);
}

#[test]
fn what_other_turns_did_is_not_blamed_on_one_that_waited_for_its_model() {
    let shared = |change: fn(&mut TurnRecord)| {
        turn(4 * S, move |turn| {
            machine(3_900 * MS, 0, 0)(turn);
            turn.machine.shared = true;
            change(turn);
        })
    };
    assert_eq!(shared(|_| ()).bound, Bound::Provider);
    let held_back = shared(|turn| turn.machine.throttled_us = Some(3 * S));
    assert_eq!(held_back.bound, Bound::Provider);
    let pressed = shared(|turn| turn.machine.runnable_us = Some(3 * S));
    assert_eq!(pressed.bound, Bound::Provider);
    // The answer may have been there long before the loop was.
    let blamed = "CPU-bound: used 3.9 s of CPU in 4.0 s, with other turns";
    let late = shared(|turn| turn.machine.lag_us = 2 * S);
    is(&late, Bound::Cpu, blamed);
    let late = shared(|turn| turn.took.lag_us = 2 * S);
    is(&late, Bound::Cpu, blamed);
    // Whose commands it was that computed cannot be told.
    let working = shared(|turn| {
        turn.took.provider_us = S;
        turn.took.tools_us = 3 * S;
    });
    is(&working, Bound::Cpu, blamed);
}

fn ran(name: &str, took_us: u64) -> Span {
    Span {
        step: Step::Tool { name: name.into() },
        start_us: 0,
        took_us,
    }
}

#[test]
fn tools_store_and_dispatch() {
    let one = turn(4 * S, |turn| {
        turn.took.tools_us = 3 * S;
        turn.spans = vec![ran("exec", S), ran("exec", 2 * S)];
    });
    is(&one, Bound::Tools, "tool-bound: 75 % of 4.0 s in exec");
    let two = turn(4 * S, |turn| {
        turn.took.tools_us = 3 * S;
        turn.spans = vec![ran("read", S), ran("exec", 2 * S)];
    });
    is(
        &two,
        Bound::Tools,
        "tool-bound: 75 % of 4.0 s in its tools, exec most",
    );
    let store = turn(S, |turn| {
        (turn.took.context_us, turn.took.commit_us) = (300 * MS, 400 * MS);
    });
    is(
        &store,
        Bound::Store,
        "store-bound: 70 % of 1.0 s loading and committing",
    );
    let dispatch = turn(S, |turn| turn.dispatch_us = 800 * MS);
    is(
        &dispatch,
        Bound::Dispatch,
        "dispatch-bound: 80 % of 1.0 s until its agent had it",
    );
}

#[test]
fn a_bit_of_everything() {
    let mixed = turn(S, |turn| {
        turn.took = Took {
            provider_us: 400 * MS,
            tools_us: 300 * MS,
            commit_us: MS,
            ..Took::default()
        };
    });
    let text = "nothing stands out in 1.0 s: model 40 %, tools 30 %";
    is(&mixed, Bound::Mixed, text);
    is(&turn(0, |_| ()), Bound::Mixed, "nothing stands out in 0 µs");
}

#[test]
fn no_number_is_too_large() {
    let verdict = turn(u64::MAX, |turn| {
        turn.waits.session_us = u64::MAX;
        turn.waits.held_us = u64::MAX;
        turn.lost_us = u64::MAX;
        turn.took.provider_us = u64::MAX;
        turn.took.context_us = u64::MAX;
        turn.took.commit_us = u64::MAX;
    });
    assert_eq!(verdict.bound, Bound::Lost);
}

#[test]
fn times_in_words() {
    let cases = [
        (0, "0 µs"),
        (999, "999 µs"),
        (1_000, "1.0 ms"),
        (9_949, "9.9 ms"),
        (9_950, "10 ms"),
        (999_499, "999 ms"),
        (999_500, "1.0 s"),
        (4_100_000, "4.1 s"),
        (12_000_000, "12 s"),
        (99_500_000, "1 min 40 s"),
        (125_000_000, "2 min 5 s"),
        (7_384_000_000, "2 h 3 min"),
    ];
    for (us, text) in cases {
        assert_eq!(words(us), text, "{us}");
    }
    assert_eq!(
        (thousandths(500), thousandths(2000)),
        ("0.5".into(), "2".into())
    );
}
