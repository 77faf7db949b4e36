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
    is_own: bool,
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
        is_own: true,
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
                    is_own: one.is_own,
                    weight: one.weight,
                    slot_time: so_far(one.slots.0),
                    wanted_time: so_far(one.slots.1),
                    longest_wait: SECOND * u32::from(one.slots.1 > one.slots.0),
                })
                .collect(),
            classes: classes.to_vec(),
        };
        let cpu = agents.iter().filter(|one| one.is_own).map(|one| {
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

/// What an agent has in another class than its own is said there, and its CPU is said once.
#[test]
fn an_agent_in_two_classes_counts_once() {
    let own = One {
        cpu: (0.5, Some(0.1)),
        ..one("a", 100, 1.0, 1.0)
    };
    let other = One {
        class: BATCH,
        is_own: false,
        ..one("a", 100, 0.5, 2.0)
    };
    let batch = One {
        class: BATCH,
        cpu: (0.5, Some(0.1)),
        ..one("b", 300, 2.5, 3.0)
    };
    let classes = [class(INTERACTIVE, 0, 4), class(BATCH, 0, 3)];
    let agents = [own.clone(), other.clone(), batch.clone()];
    let mut accumulator = Accumulator::default();
    watch(&mut accumulator, 4, &classes, &agents, 0..=90);
    let report = accumulator.report();
    let window = &report.windows[0];
    let told: Vec<(&str, &str)> = window
        .agents
        .iter()
        .map(|share| (share.agent.as_str(), &*share.class))
        .collect();
    assert_eq!(told, [("a", BATCH), ("a", INTERACTIVE), ("b", BATCH)]);
    let used = |of: &str| {
        let class = window.classes.iter().find(|one| *one.class.class == *of);
        class.unwrap().slots_used
    };
    assert!(near(used(INTERACTIVE), 1.0) && near(used(BATCH), 3.0));
    // The class has three, of which a quarter is its part by weight.
    assert!(near(window.agents[0].slots_entitled, 0.75), "{window:?}");
    let cpu: f64 = window.agents.iter().map(|share| share.cpu_used).sum();
    assert!(near(cpu, 1.0), "{window:?}");
    assert_eq!(window.agents[0].cpu_entitled, None);
    let entitled = window.agents.iter().filter_map(|share| share.cpu_entitled);
    assert!(near(entitled.sum(), 1.0), "{window:?}");
    // Where it has nothing any more, it has no place, once that was a while ago; and what becomes its own class has not had its CPU
    // time anew.
    let moved = [
        One {
            slots: (0.0, 0.0),
            is_own: false,
            ..own.clone()
        },
        One {
            slots: (0.5, 0.5),
            is_own: true,
            cpu: own.cpu,
            ..other
        },
        batch,
    ];
    watch(&mut accumulator, 4, &classes, &moved, 91..=180);
    let report = accumulator.report();
    let window = &report.windows[0];
    assert_eq!(window.agents.len(), 2, "{window:?}");
    assert!(near(window.agents[0].cpu_used, 0.5), "{window:?}");
    assert!(near(report.windows[1].agents[0].cpu_used, 0.25));
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
