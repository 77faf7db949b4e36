//! Nobody starves: what is first of its agent starts within a time that follows from weights and lengths of turns.

use proptest::prelude::*;

use super::*;

/// No turn of these tests is longer, in milliseconds.
const LONGEST: u64 = 10_000;

#[derive(Debug, Clone)]
struct One {
    weight: u32,
    max_concurrent: usize,
    class: usize,
    /// Its turns take so long, one after the other.
    takes: Vec<u64>,
    /// Every so many steps it has nothing to do for a while.
    rests: usize,
}

fn one() -> impl Strategy<Value = One> {
    let weight = prop_oneof![Just(10_u32), Just(100), Just(1000)];
    let takes = prop_oneof![3 => 1_u64..200, 1 => 1..=LONGEST];
    let takes = prop::collection::vec(takes, 1..6);
    (weight, 1_usize..4, 0_usize..2, takes, 2_usize..40).prop_map(
        |(weight, max_concurrent, class, takes, rests)| One {
            weight,
            max_concurrent,
            class,
            takes,
            rests,
        },
    )
}

/// The bound that the module names, in milliseconds.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn bound(agents: &[One], of: &One, slots: f64) -> f64 {
    let class = || agents.iter().filter(|other| other.class == of.class);
    let weights: f64 = class().map(|other| f64::from(other.weight)).sum();
    let behind = (of.max_concurrent as f64 + 1.0) * weights / f64::from(of.weight);
    let turns: usize = class().map(|other| other.max_concurrent).sum();
    LONGEST as f64 * (2.0 + (2.0 * turns as f64 + behind) / slots)
}

/// Runs all of them for so many steps; the longest time for which each was kept waiting by others, in milliseconds.
fn run(fleet: usize, agents: &[One], shares: &BTreeMap<String, Shares>, steps: usize) -> Vec<u64> {
    const CLASSES: [&str; 2] = ["first", "second"];
    let mut bench = Bench::new(fleet, &[]);
    bench.lanes.set_classes(shares);
    let name = |index: usize| format!("a{index}");
    for (index, agent) in agents.iter().enumerate() {
        let class = CLASSES[agent.class];
        bench.add(&name(index), agent.max_concurrent, agent.weight, class);
    }
    let mut turns: Vec<(u64, usize, Ticket)> = Vec::new();
    let (mut now, mut longest, mut begun) = (0, vec![0; agents.len()], vec![0; agents.len()]);
    for step in 0..steps {
        for (index, agent) in agents.iter().enumerate() {
            let waits = bench.lanes.counts(&id(&name(index))).0;
            if step % agent.rests != 0 && waits < agent.max_concurrent + 1 {
                bench.admit(&name(index), &step.to_string());
            }
        }
        while let Some(started) = bench.lanes.start_next() {
            let agent = started.ticket.session.agent_str();
            let index: usize = agent[1..].parse().unwrap();
            let waited = started.waits.fleet + started.waits.class;
            let waited = u64::try_from(waited.as_millis()).unwrap();
            longest[index] = waited.max(longest[index]);
            let takes = &agents[index].takes;
            turns.push((
                now + takes[begun[index] % takes.len()],
                index,
                started.ticket,
            ));
            begun[index] += 1;
        }
        // The next that ends.
        turns.sort_by_key(|(end, ..)| std::cmp::Reverse(*end));
        if let Some((end, _, ticket)) = turns.pop() {
            bench.pass(end - now);
            now = end;
            bench.lanes.finish(&ticket);
        } else {
            bench.pass(1);
            now += 1;
        }
    }
    // What waits still has waited, too.
    for (index, longest) in longest.iter_mut().enumerate() {
        for ticket in bench.lanes.waiting(&id(&name(index))) {
            let (_, waits) = bench.lanes.waits_for(&ticket).unwrap();
            let waited = u64::try_from((waits.fleet + waits.class).as_millis()).unwrap();
            *longest = waited.max(*longest);
        }
    }
    longest
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn in_one_class_everybody_starts_in_time(
        fleet in 1_usize..5,
        mut agents in prop::collection::vec(one(), 1..7),
    ) {
        for agent in &mut agents {
            agent.class = 0;
        }
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let slots = fleet as f64;
        let longest = run(fleet, &agents, &BTreeMap::new(), 400);
        for (agent, longest) in agents.iter().zip(longest) {
            // A message may have others of its agent before it.
            #[expect(clippy::cast_precision_loss, reason = "milliseconds")]
            let waited = longest as f64;
            let before = bound(&agents, agent, slots) * 4.0;
            prop_assert!(waited <= before, "{waited} of {before} in {agent:?}");
        }
    }

    #[test]
    fn a_class_without_a_guarantee_starts_in_time_beside_one_that_has_nearly_all(
        fleet in 1_usize..5,
        agents in prop::collection::vec(one(), 2..7),
        min in prop_oneof![Just(0.0), Just(0.5), Just(1.0)],
    ) {
        let shares = Shares { min, ..Shares::default() };
        let shares = BTreeMap::from([("first".to_owned(), shares)]);
        let longest = run(fleet, &agents, &shares, 400);
        for (agent, longest) in agents.iter().zip(longest) {
            // At worst there is one slot for both classes, and half of it for each.
            let before = bound(&agents, agent, 0.5) * 4.0 + bound(&agents, agent, 1.0);
            #[expect(clippy::cast_precision_loss, reason = "milliseconds")]
            let waited = longest as f64;
            prop_assert!(waited <= before, "{waited} of {before} in {agent:?}");
        }
    }
}
