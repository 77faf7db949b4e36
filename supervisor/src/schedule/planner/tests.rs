//! The planner: by table, and by life stories of a supervisor that sleeps, dies and is refused.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Due times of anybody's choice.
struct Times(BTreeSet<UnixMs>);

impl DueTimes for Times {
    fn after(&self, time: UnixMs) -> Option<UnixMs> {
        self.0.range(time + 1..).next().copied()
    }

    fn until(&self, time: UnixMs) -> Option<UnixMs> {
        self.0.range(..=time).next_back().copied()
    }
}

fn times(list: impl IntoIterator<Item = UnixMs>) -> Times {
    Times(list.into_iter().collect())
}

fn policy(catch_up: CatchUp) -> Policy {
    Policy {
        catch_up,
        jitter: Duration::ZERO,
        seed: 7,
    }
}

fn fresh(through: UnixMs) -> Standing {
    Standing {
        through,
        seen: None,
    }
}

const MINUTE: UnixMs = 60_000;
const HOUR: UnixMs = 60 * MINUTE;

#[test]
fn a_time_that_has_come_is_run_and_the_next_is_waited_for() {
    let times = times([HOUR, 2 * HOUR]);
    for catch_up in [CatchUp::Skip, CatchUp::Once, CatchUp::All] {
        let early = plan(&times, policy(catch_up), fresh(0), HOUR - 1);
        assert_eq!((early.run, early.wake), (vec![], Some(HOUR)));
        let now = plan(&times, policy(catch_up), fresh(0), HOUR);
        assert_eq!((now.run, now.wake), (vec![HOUR], Some(2 * HOUR)));
        let done = plan(&times, policy(catch_up), fresh(HOUR), HOUR);
        assert_eq!((done.run, done.wake), (vec![], Some(2 * HOUR)));
        let over = plan(&times, policy(catch_up), fresh(2 * HOUR), 3 * HOUR);
        assert_eq!(over, Plan::default());
    }
}

#[test]
fn what_nobody_could_run_is_left_out_or_caught_up_with() {
    let times = times((1..=5).map(|hour| hour * HOUR));
    let now = 4 * HOUR + 10 * MINUTE;
    let missed = |count, last| {
        Some(Missed {
            count,
            more: false,
            first: HOUR,
            last,
        })
    };
    let skip = plan(&times, policy(CatchUp::Skip), fresh(0), now);
    assert_eq!((skip.run, skip.missed), (vec![], missed(4, 4 * HOUR)));
    let once = plan(&times, policy(CatchUp::Once), fresh(0), now);
    assert_eq!(
        (once.run, once.missed),
        (vec![4 * HOUR], missed(3, 3 * HOUR))
    );
    let all = plan(&times, policy(CatchUp::All), fresh(0), now);
    let every: Vec<_> = (1..=4).map(|hour| hour * HOUR).collect();
    assert_eq!((all.run, all.missed), (every, None));
    // One that was seen in time stays, and so does one of a moment ago.
    let seen = Standing {
        through: 3 * HOUR,
        seen: Some(4 * HOUR),
    };
    let seen = plan(&times, policy(CatchUp::Skip), seen, now);
    assert_eq!((seen.run, seen.missed), (vec![4 * HOUR], None));
    let moment = plan(&times, policy(CatchUp::Skip), fresh(0), 4 * HOUR + MINUTE);
    assert_eq!(
        (moment.run, moment.missed),
        (vec![4 * HOUR], missed(3, 3 * HOUR))
    );
}

#[test]
fn catching_up_has_an_end() {
    let times = times(0..100_000);
    let all = plan(&times, policy(CatchUp::All), fresh(-1), 99_999);
    assert_eq!(all.run.len(), MOST);
    assert_eq!(all.run.last(), Some(&99_999));
    let missed = all.missed.unwrap();
    assert_eq!((missed.count, missed.more), (COUNTED - MOST, true));
    assert_eq!(missed.last + 1, all.run[0], "all before is dealt with");
}

#[test]
fn a_clock_that_is_set_back() {
    let times = times((1..=48).map(|hour| hour * HOUR));
    // A little: nothing is due twice, nor before the clock has come to where it was.
    let little = plan(
        &times,
        policy(CatchUp::All),
        fresh(5 * HOUR),
        4 * HOUR + 30 * MINUTE,
    );
    let waits = Plan {
        wake: Some(6 * HOUR),
        ..Plan::default()
    };
    assert_eq!(little, waits);
    // A lot: it was wrong before.
    let lot = plan(&times, policy(CatchUp::All), fresh(40 * HOUR), 2 * HOUR);
    assert!(lot.set_back && lot.run.is_empty());
    assert_eq!(lot.wake, Some(3 * HOUR));
}

#[test]
fn a_clock_that_is_set_forward_is_a_time_without_anybody() {
    let times = times((1..=48).map(|hour| hour * HOUR));
    let plan = plan(&times, policy(CatchUp::Once), fresh(HOUR), 30 * HOUR);
    assert_eq!(plan.run, [30 * HOUR]);
    assert_eq!(plan.missed.unwrap().count, 28);
}

#[test]
fn jitter_is_the_same_each_time_and_ends_before_the_next_due_time() {
    let times = times((1..=200).map(|minute| minute * MINUTE));
    let mut shares = BTreeSet::new();
    for due in (1..200).map(|minute| minute * MINUTE) {
        let policy = Policy {
            jitter: Duration::from_hours(1),
            ..policy(CatchUp::Skip)
        };
        let waits = plan(&times, policy, fresh(due - MINUTE), due);
        let ripe_at = waits.wake.unwrap();
        assert!((due..due + MINUTE).contains(&ripe_at));
        let again = plan(&times, policy, fresh(due - MINUTE), ripe_at - 1);
        assert_eq!((again.waits, again.wake), (Some(due), Some(ripe_at)));
        let then = plan(&times, policy, fresh(due - MINUTE), ripe_at);
        assert_eq!(then.run, [due]);
        shares.insert(ripe_at - due);
    }
    assert!(shares.len() > 150, "{} of 199", shares.len());
}

/// What happens to a schedule.
#[derive(Debug, Clone)]
enum Happens {
    /// So much time passes; whoever watches looks at the end of it.
    Passes(UnixMs),
    /// The supervisor dies, and another one goes on.
    Dies,
    /// Nothing is taken until the next look.
    Refused,
    /// The clock is set back.
    SetBack(UnixMs),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        6 => (1..5 * MINUTE).prop_map(Happens::Passes),
        1 => (1..200 * MINUTE).prop_map(Happens::Passes),
        1 => Just(Happens::Dies),
        2 => Just(Happens::Refused),
        1 => (1..30 * MINUTE).prop_map(Happens::SetBack),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn each_due_time_is_dealt_with_once_and_in_order(
        gaps in proptest::collection::vec(1..30 * MINUTE, 1..60),
        story in proptest::collection::vec(happens(), 1..60),
        catch_up in proptest::sample::select(vec![CatchUp::Skip, CatchUp::Once, CatchUp::All]),
        jitter in prop_oneof![Just(0u64), 1..60 * 60 * 1000u64],
    ) {
        let mut sum = 0;
        let times = times(gaps.into_iter().map(|gap| { sum += gap; sum }));
        let policy = Policy { catch_up, jitter: Duration::from_millis(jitter), seed: 3 };
        let (mut now, mut standing) = (0, fresh(0));
        let (mut ran, mut over) = (Vec::new(), Vec::new());
        let mut refused = false;
        for happens in story {
            match happens {
                Happens::Passes(time) => now += time,
                Happens::Dies => { standing.seen = None; continue }
                Happens::Refused => { refused = true; continue }
                Happens::SetBack(time) => { now = (now - time).max(0); continue }
            }
            let plan = plan(&times, policy, standing, now);
            prop_assert!(!plan.set_back);
            prop_assert!(plan.wake.is_none_or(|wake| wake > now), "it looks again later");
            prop_assert!(plan.wake.is_some() || times.after(now.max(standing.through)).is_none());
            if let Some(missed) = plan.missed {
                let these: Vec<_> = times.0.range(standing.through + 1..=missed.last).copied().collect();
                prop_assert_eq!((missed.count, missed.first), (these.len(), these[0]));
                over.extend(these);
                standing.through = missed.last;
            }
            standing.seen = plan.waits.or(plan.run.last().copied()).or(standing.seen);
            for due in plan.run {
                prop_assert!(due <= now && due > standing.through);
                prop_assert!(times.0.range(standing.through + 1..due).next().is_none(), "none is passed over");
                if refused {
                    break;
                }
                ran.push(due);
                standing.through = due;
            }
            refused = false;
        }
        prop_assert!(ran.is_sorted_by(|a, b| a < b));
        let all: BTreeSet<_> = ran.iter().chain(&over).copied().collect();
        prop_assert_eq!(all.len(), ran.len() + over.len(), "none is run and missed, or run twice");
        let dealt: BTreeSet<_> = times.0.range(..=standing.through).copied().collect();
        prop_assert_eq!(all, dealt);
        if catch_up == CatchUp::All {
            prop_assert_eq!(over, Vec::<UnixMs>::new(), "so few are never missed");
        }
    }
}
