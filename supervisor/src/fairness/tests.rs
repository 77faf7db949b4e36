//! Looks at made-up usage, a second each.

use proptest::prelude::*;

use super::*;
use crate::dispatch::lanes::{AgentUsage, BATCH, INTERACTIVE};

const SECOND: Duration = Duration::from_secs(1);

/// One agent, and how it goes on each second.
#[derive(Debug, Clone)]
struct One {
    name: &'static str,
    class: &'static str,
    weight: u32,
    /// Slots that it has, and that it could use.
    slots: (f64, f64),
    /// CPUs that it uses, and for which part of the time it waits for more.
    cpu: (f64, Option<f64>),
}

fn one(name: &'static str, weight: u32, used: f64, wanted: f64) -> One {
    One {
        name,
        class: INTERACTIVE,
        weight,
        slots: (used, wanted),
        cpu: (0.0, None),
    }
}

fn class(name: &str, min_slots: usize, max_slots: usize) -> ClassUsage {
    ClassUsage {
        class: name.into(),
        weight: 100,
        min_slots,
        max_slots,
        running: 0,
    }
}

/// What is told after so many seconds.
fn told(slots: usize, classes: &[ClassUsage], agents: &[One], seconds: u32) -> Report {
    let mut accumulator = Accumulator::default();
    watch(&mut accumulator, slots, classes, agents, 0..=seconds);
    accumulator.report()
}

fn watch(
    accumulator: &mut Accumulator,
    slots: usize,
    classes: &[ClassUsage],
    agents: &[One],
    seconds: std::ops::RangeInclusive<u32>,
) {
    for second in seconds {
        let so_far = |rate: f64| Duration::from_secs_f64(rate * f64::from(second));
        let usage = Usage {
            at: SECOND * second,
            slots,
            agents: agents
                .iter()
                .map(|one| AgentUsage {
                    agent: one.name.parse().unwrap(),
                    class: one.class.into(),
                    weight: one.weight,
                    slot_time: so_far(one.slots.0),
                    wanted_time: so_far(one.slots.1),
                    longest_wait: SECOND * u32::from(one.slots.1 > one.slots.0),
                })
                .collect(),
            classes: classes.to_vec(),
        };
        let cpu = agents.iter().map(|one| {
            let usage = CpuUsage {
                used: so_far(one.cpu.0),
                waited: one.cpu.1.map(so_far),
                weight: one.weight,
            };
            (one.name.parse().unwrap(), usage)
        });
        accumulator.look(usage, &cpu.collect());
    }
}

fn near(found: f64, wanted: f64) -> bool {
    (found - wanted).abs() < 1e-3
}

#[test]
fn who_gets_all_that_it_wants_has_what_is_his() {
    let agents = [
        one("a", 100, 1.0, 1.0),
        one("b", 1, 0.25, 0.25),
        one("c", 9, 0.0, 0.0),
    ];
    let report = told(8, &[class(INTERACTIVE, 0, 8)], &agents, 30);
    assert_eq!(report.windows.len(), 3);
    for window in &report.windows {
        assert!(near(window.slots_index.unwrap(), 1.0), "{window:?}");
        assert_eq!(window.covered, SECOND * 30);
        assert_eq!(window.longest_wait, None);
        let [a, b, c] = &window.agents[..] else {
            panic!("three")
        };
        assert!(near(a.slots_entitled, 1.0) && near(b.slots_entitled, 0.25));
        assert!(near(c.slots_entitled, 0.0));
        assert_eq!(window.cpu_index, None, "nobody knows who waited");
    }
}

#[test]
fn where_there_is_less_than_is_wanted_weights_decide() {
    let classes = [class(INTERACTIVE, 0, 3)];
    let by_weight = [one("a", 200, 2.0, 4.0), one("b", 100, 1.0, 4.0)];
    let fair = told(3, &classes, &by_weight, 30);
    assert!(near(fair.windows[0].slots_index.unwrap(), 1.0));
    let the_same = [one("a", 200, 1.5, 4.0), one("b", 100, 1.5, 4.0)];
    let report = told(3, &classes, &the_same, 30);
    let window = &report.windows[0];
    assert!(near(window.agents[0].slots_entitled, 2.0));
    assert!(near(window.agents[1].slots_entitled, 1.0));
    // (0.75 + 1.5)² / (2 · (0.75² + 1.5²))
    assert!(near(window.slots_index.unwrap(), 0.9), "{window:?}");
    let (agent, wait) = window.longest_wait.clone().unwrap();
    assert_eq!((agent.as_str(), wait), ("b", SECOND));
    let all = [one("a", 100, 3.0, 4.0), one("b", 100, 0.0, 4.0)];
    let report = told(3, &classes, &all, 30);
    assert!(near(report.windows[0].slots_index.unwrap(), 0.5));
}

#[test]
fn classes_have_what_is_guaranteed_and_no_more_than_they_may() {
    let of = |class, mut agent: One| {
        agent.class = class;
        agent
    };
    let agents = [
        of(INTERACTIVE, one("a", 100, 3.0, 9.0)),
        of(BATCH, one("b", 100, 1.0, 9.0)),
    ];
    let classes = [class(INTERACTIVE, 3, 4), class(BATCH, 0, 3)];
    let report = told(4, &classes, &agents, 10);
    let window = &report.windows[0];
    let names: Vec<_> = window
        .classes
        .iter()
        .map(|share| &*share.class.class)
        .collect();
    assert_eq!(names, [BATCH, INTERACTIVE]);
    assert!(near(window.classes[1].slots_entitled, 3.0), "{window:?}");
    assert!(near(window.classes[0].slots_entitled, 1.0));
    assert!(near(window.slots_index.unwrap(), 1.0));
    // Alone it may have no more than its most, though there is more.
    let alone = told(4, &classes, &agents[1..], 10);
    assert!(near(alone.windows[0].classes[0].slots_entitled, 3.0));
}

#[test]
fn the_cpu_that_all_had_is_shared_among_those_who_waited() {
    let mut agents = [
        one("a", 100, 0.0, 0.0),
        one("b", 100, 0.0, 0.0),
        one("c", 100, 0.0, 0.0),
    ];
    // One takes most of two CPUs, while another waits all the time; the third gets what it wants.
    agents[0].cpu = (1.5, Some(0.1));
    agents[1].cpu = (0.25, Some(0.75));
    agents[2].cpu = (0.25, Some(0.0));
    let report = told(8, &[class(INTERACTIVE, 0, 8)], &agents, 30);
    let window = &report.windows[0];
    let entitled: Vec<f64> = window
        .agents
        .iter()
        .map(|a| a.cpu_entitled.unwrap())
        .collect();
    assert!(near(entitled[0], 0.875), "{entitled:?}");
    assert!(near(entitled.iter().sum(), 2.0));
    assert!(near(entitled[2], 0.25));
    assert!(window.cpu_index.unwrap() < 0.8, "{window:?}");
    agents[0].cpu.1 = None;
    agents[1].cpu = (0.25, Some(0.0));
    let report = told(8, &[class(INTERACTIVE, 0, 8)], &agents, 30);
    // Of one it is not known; the others have what they want.
    assert_eq!(report.windows[0].agents[0].cpu_entitled, None);
    assert!(near(report.windows[0].cpu_index.unwrap(), 1.0));
}

#[test]
fn windows_forget_and_agents_come_and_go() {
    let classes = [class(INTERACTIVE, 0, 2)];
    let mut accumulator = Accumulator::default();
    let unfair = [one("a", 100, 2.0, 2.0), one("b", 100, 0.0, 2.0)];
    watch(&mut accumulator, 2, &classes, &unfair, 0..=100);
    let gone = [one("a", 100, 1.0, 1.0)];
    // Its counts begin anew: so does an agent that was removed and is back.
    watch(&mut accumulator, 2, &classes, &gone, 101..=300);
    let report = accumulator.report();
    assert!(
        near(report.windows[0].slots_index.unwrap(), 1.0),
        "{report:?}"
    );
    assert_eq!(report.windows[0].agents.len(), 1);
    assert!(report.windows[1].agents[0].slots_used > 1.0);
    assert_eq!(Accumulator::default().report().windows[0].slots_index, None);
}

proptest! {
    /// Nobody is said to have been entitled to more than he wanted, nor all to more than there was.
    #[test]
    fn what_is_entitled_fits(
        agents in prop::collection::vec((1_u32..500, 0.0..4.0_f64, any::<bool>()), 1..6),
        slots in 1_usize..9,
        least in 0_usize..4,
    ) {
        const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
        let agents: Vec<One> = agents
            .into_iter()
            .zip(NAMES)
            .map(|((weight, wanted, batch), name)| One {
                class: if batch { BATCH } else { INTERACTIVE },
                ..one(name, weight, 0.0, wanted)
            })
            .collect();
        let classes = [
            class(INTERACTIVE, least.min(slots), slots),
            class(BATCH, 0, slots.saturating_sub(1).max(1)),
        ];
        let report = told(slots, &classes, &agents, 5);
        let window = &report.windows[0];
        let mut all = 0.0;
        for share in &window.agents {
            prop_assert!(share.slots_entitled <= share.slots_wanted + 1e-6);
            all += share.slots_entitled;
        }
        prop_assert!(all <= float(slots) + 1e-6);
        let wanted: f64 = window.agents.iter().map(|share| share.slots_wanted).sum();
        let one_class = agents.iter().all(|one| one.class == INTERACTIVE);
        prop_assert!(!one_class || (all - wanted.min(float(slots))).abs() < 1e-3);
    }
}
