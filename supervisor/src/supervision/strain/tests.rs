use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;
const SECOND: Duration = Duration::from_secs(1);

/// A life that is looked at again and again.
struct Rig {
    watch: Watch,
    reading: Reading,
    caps: Caps,
    began: Instant,
    at: Instant,
}

impl Rig {
    /// On a kernel that holds everything.
    fn new() -> Self {
        let began = tokio::time::Instant::now().into_std();
        let mut rig = Self {
            watch: Watch::default(),
            reading: Reading {
                throttled_periods: Some(0),
                memory: Some(10 * MIB),
                memory_reclaimable: Some(0),
                memory_high_hits: Some(0),
                memory_pressure: Some(Pressure::default()),
                pids_denied: Some(0),
                ..Reading::default()
            },
            caps: Caps {
                memory: Some(100 * MIB),
                cpu: Some(0.5),
                pids: Some(30),
                ..Caps::default()
            },
            began,
            at: began,
        };
        assert_eq!(rig.look(), []);
        rig
    }

    fn look(&mut self) -> Vec<Notice> {
        self.watch.look(&self.reading, &self.caps, self.at)
    }

    /// One look a second, each after `change`; gives what was told, and on which second since the start.
    fn seconds(&mut self, count: u32, change: impl Fn(&mut Reading)) -> Vec<(u64, Notice)> {
        let mut told = Vec::new();
        for _ in 0..count {
            self.at += SECOND;
            change(&mut self.reading);
            let second = self.at.duration_since(self.began).as_secs();
            told.extend(self.look().into_iter().map(|notice| (second, notice)));
        }
        told
    }
}

fn add(counter: &mut Option<u64>, more: u64) {
    *counter = Some(counter.unwrap_or(0) + more);
}

fn stalls(reading: &mut Reading, all_ms: u64, some_ms: u64) {
    let pressure = reading.memory_pressure.get_or_insert_default();
    pressure.full_total_us += all_ms * 1000;
    pressure.some_total_us += some_ms * 1000;
}

#[test]
fn denied_processes_are_told_at_once_and_then_once_a_minute() {
    let mut rig = Rig::new();
    let denied = |reading: &mut Reading| add(&mut reading.pids_denied, 7);
    let told = rig.seconds(150, denied);
    let expected =
        [(1, 7), (61, 420), (121, 420)].map(|(second, more)| (second, Notice::PidsDenied { more }));
    assert_eq!(told, expected);
    // Nothing new, nothing to tell but what was kept back.
    let rest = rig.seconds(120, |_| {});
    assert_eq!(rest, [(181, Notice::PidsDenied { more: 29 * 7 })]);
}

#[test]
fn a_cpu_cap_that_holds_back_is_told_when_it_begins_and_when_it_is_over() {
    let mut rig = Rig::new();
    let held = |reading: &mut Reading| add(&mut reading.throttled_periods, 9);
    let some = |reading: &mut Reading| add(&mut reading.throttled_periods, 3);
    assert_eq!(rig.seconds(2, held), [], "a burst");
    assert_eq!(rig.seconds(2, some), [], "too little to begin");
    let told = rig.seconds(10, held);
    assert_eq!(told, [(7, Notice::Throttled { percent: 90 })]);
    assert_eq!(rig.seconds(20, some), [], "too much to be over");
    let told = rig.seconds(10, |_| {});
    let lasted = Duration::from_secs(30);
    assert_eq!(told, [(39, Notice::ThrottledOver { lasted })]);
    // Within a minute of the last beginning it is not told again; what still holds then is.
    let told = rig.seconds(40, held);
    assert_eq!(told, [(67, Notice::Throttled { percent: 90 })]);
}

#[test]
fn memory_at_the_soft_mark_is_told_unless_it_is_page_cache() {
    let mut rig = Rig::new();
    let cache = |reading: &mut Reading| {
        reading.memory = Some(90 * MIB);
        reading.memory_reclaimable = Some(50 * MIB);
        add(&mut reading.memory_high_hits, 5);
    };
    assert_eq!(rig.seconds(20, cache), []);
    let stands = |reading: &mut Reading| {
        reading.memory_reclaimable = Some(8 * MIB);
        add(&mut reading.memory_high_hits, 5);
    };
    let (used, high) = (90 * MIB, rig.caps.high().unwrap());
    let told = rig.seconds(10, stands);
    assert_eq!(told, [(23, Notice::MemoryHigh { used, high })]);
    let told = rig.seconds(10, |reading| reading.memory = Some(50 * MIB));
    let lasted = Duration::from_secs(10);
    assert_eq!(told, [(35, Notice::MemoryHighOver { lasted })]);
}

/// The kernel holds no such mark in v1: nobody stands at it.
#[test]
fn without_a_mark_that_is_held_nothing_is_said_of_it() {
    let mut rig = Rig::new();
    rig.reading.memory_high_hits = None;
    let told = rig.seconds(20, |reading| {
        reading.memory = Some(99 * MIB);
        stalls(reading, 990, 990);
    });
    assert_eq!(told, []);
}

fn first_stall(told: &[(u64, Notice)]) -> Option<(u64, Duration)> {
    told.iter().find_map(|(second, notice)| match notice {
        Notice::Stalled { lasted, .. } => Some((*second, *lasted)),
        _ => None,
    })
}

#[test]
fn a_standstill_above_the_mark_is_said_after_its_bound() {
    type Change = fn(&mut Reading);
    let above = |reading: &mut Reading| reading.memory = Some(95 * MIB);
    let cases: [(&str, Change, Option<u64>); 9] = [
        ("all of it", |reading| stalls(reading, 950, 950), Some(2)),
        (
            "a part, next to others that work",
            |reading| stalls(reading, 0, 950),
            Some(10),
        ),
        (
            "slowly forward",
            |reading| stalls(reading, 500, 600),
            Some(10),
        ),
        ("forward", |reading| stalls(reading, 300, 300), None),
        (
            "waits, but memory can be taken back",
            |reading| {
                reading.memory_reclaimable = Some(20 * MIB);
                stalls(reading, 990, 990);
            },
            None,
        ),
        (
            "waits, at the mark and not above it",
            |reading| {
                reading.memory = Some(89 * MIB);
                stalls(reading, 990, 990);
            },
            None,
        ),
        (
            "on a kernel without pressure",
            |reading| {
                reading.memory_pressure = None;
                add(&mut reading.memory_high_hits, 1);
            },
            Some(10),
        ),
        (
            "without pressure, and it asks for no more",
            |reading| reading.memory_pressure = None,
            None,
        ),
        (
            "on and off",
            |reading| {
                let total = reading.memory_pressure.unwrap().full_total_us;
                let ms = if total % 2_000 == 0 { 951 } else { 301 };
                stalls(reading, ms, ms);
            },
            None,
        ),
    ];
    for (what, change, expected) in cases {
        let mut rig = Rig::new();
        let told = rig.seconds(30, |reading| {
            above(reading);
            change(reading);
        });
        let stall = first_stall(&told);
        assert_eq!(
            stall.map(|(second, _)| second),
            expected,
            "{what}: {told:?}"
        );
        if let Some((second, lasted)) = stall {
            assert_eq!(lasted, SECOND * u32::try_from(second).unwrap(), "{what}");
            let again = told
                .iter()
                .filter(|(_, one)| matches!(one, Notice::Stalled { .. }));
            assert!(again.count() > 1, "{what}: it is said until it is heard");
        }
    }
}

/// Looks that were far apart do not tell what was between them.
#[test]
fn a_long_pause_is_not_taken_for_a_long_standstill() {
    let mut rig = Rig::new();
    rig.at += SECOND * 30;
    rig.reading.memory = Some(95 * MIB);
    stalls(&mut rig.reading, 30_000, 30_000);
    add(&mut rig.reading.throttled_periods, 300);
    assert_eq!(rig.look(), []);
    let told = rig.seconds(2, |reading| stalls(reading, 1_000, 1_000));
    assert_eq!(first_stall(&told), Some((32, SECOND * 2)));
}

#[test]
fn close_to_a_cap_a_quick_look_is_not_enough() {
    let caps = Rig::new().caps;
    let reading = |memory: u64, pids: u64| Reading {
        memory: Some(memory * MIB),
        pids: Some(pids),
        ..Reading::default()
    };
    let cases = [
        (reading(10, 5), Some(10.0), false),
        (reading(87, 5), None, true),
        (reading(80, 5), None, false),
        (reading(10, 29), None, true),
        (reading(10, 20), None, false),
        (reading(10, 5), Some(45.0), true),
        (reading(10, 5), Some(30.0), false),
    ];
    for (reading, cpu, close) in cases {
        let found = Watch::default().is_close(&reading, &caps, cpu);
        assert_eq!(found, close, "{reading:?} {cpu:?}");
        assert!(!Watch::default().is_close(&reading, &Caps::default(), cpu));
    }
    // Somebody who was near a cap is looked at until that is over.
    let mut rig = Rig::new();
    rig.seconds(5, |reading| add(&mut reading.throttled_periods, 10));
    assert!(rig.watch.is_close(&reading(10, 5), &caps, Some(0.0)));
}

/// What a kernel may say on one look, and how long after the one before.
fn steps() -> impl Strategy<Value = Vec<(u64, Reading)>> {
    let number = || proptest::option::of(prop_oneof![0..200_u64, Just(u64::MAX / 2), any::<u64>()]);
    let pressure = proptest::option::of((0..2_000_000_u64, 0..2_000_000_u64));
    let reading = (number(), number(), number(), number(), number(), pressure).prop_map(
        |(periods, memory, reclaimable, hits, denied, pressure)| Reading {
            throttled_periods: periods,
            memory,
            memory_reclaimable: reclaimable,
            memory_high_hits: hits,
            pids_denied: denied,
            memory_pressure: pressure.map(|(some, full)| Pressure {
                some_total_us: some,
                full_total_us: full,
                ..Pressure::default()
            }),
            ..Reading::default()
        },
    );
    proptest::collection::vec((0..4_000_u64, reading), 1..400)
}

fn kind(notice: &Notice) -> &'static str {
    match notice {
        Notice::PidsDenied { .. } => "denied",
        Notice::Throttled { .. } => "throttled",
        Notice::ThrottledOver { .. } => "throttled-over",
        Notice::MemoryHigh { .. } => "high",
        Notice::MemoryHighOver { .. } => "high-over",
        Notice::Stalled { .. } => "stalled",
    }
}

proptest! {
    /// Whatever the kernel says: no kind is told twice within a minute, nothing is over that had not
    /// begun, and no more processes are told than were denied.
    #[test]
    fn the_rate_is_bounded(
        steps in steps(), high in 0..300_u64, add_up in any::<bool>(),
    ) {
        let caps = Caps { memory_high: Some(high), cpu: Some(1.0), pids: Some(5), ..Caps::default() };
        let mut watch = Watch::default();
        let mut at = tokio::time::Instant::now().into_std();
        let mut told: Vec<(Instant, Notice)> = Vec::new();
        let (mut periods, mut most_denied) = (0_u64, 0);
        for (millis, mut reading) in steps {
            at += Duration::from_millis(millis);
            if add_up {
                // As counters are that only grow: so spells do begin.
                periods += reading.throttled_periods.unwrap_or(0) % 40;
                reading.throttled_periods = Some(periods);
            }
            most_denied = most_denied.max(reading.pids_denied.unwrap_or(0));
            told.extend(watch.look(&reading, &caps, at).into_iter().map(|notice| (at, notice)));
        }
        for begins in ["denied", "throttled", "high"] {
            let times: Vec<Instant> = told
                .iter()
                .filter(|(_, notice)| kind(notice) == begins)
                .map(|(at, _)| *at)
                .collect();
            prop_assert!(times.windows(2).all(|two| two[1] - two[0] >= SPACING), "{begins}: {times:?}");
        }
        for (begins, ends) in [("throttled", "throttled-over"), ("high", "high-over")] {
            let both: Vec<_> = told.iter().map(|(_, notice)| kind(notice)).filter(|kind| [begins, ends].contains(kind)).collect();
            prop_assert!(both.iter().enumerate().all(|(n, kind)| *kind == [begins, ends][n % 2]), "{both:?}");
        }
        let denied: u64 = told.iter().map(|(_, notice)| match notice {
            Notice::PidsDenied { more } => *more,
            _ => 0,
        }).sum();
        prop_assert!(denied <= most_denied);
    }
}
