//! Single rules, each by an example; [`reference`] has all of them at once, [`bound`] that nobody starves.

use std::{collections::BTreeMap, time::Duration};

use kennel_shared::ids::DeliveryId;
use nix::{
    sys::resource::{UsageWho, getrusage},
    sys::time::TimeValLike,
};

use super::*;

mod bound;
mod order;
mod own;
mod reference;
mod waits;

/// Lanes whose clock is the test.
struct Bench {
    lanes: Lanes,
    now: Instant,
}

impl Bench {
    fn new(fleet: usize, agents: &[(&str, usize)]) -> Self {
        let now = start();
        let mut bench = Self {
            lanes: Lanes::new(fleet, now),
            now,
        };
        for (agent, max_concurrent) in agents {
            bench.add(agent, *max_concurrent, USUAL_WEIGHT, INTERACTIVE);
        }
        bench
    }

    fn add(&mut self, agent: &str, max_concurrent: usize, weight: u32, class: &str) {
        let agent: AgentId = agent.parse().unwrap();
        self.lanes
            .add(agent.clone(), terms(max_concurrent, weight, class));
        self.lanes.open(&agent);
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.lanes.advance(self.now);
    }

    fn admit(&mut self, agent: &str, session: &str) -> Ticket {
        let ticket = ticket(agent, session);
        assert!(self.lanes.admit(&ticket, None));
        ticket
    }

    fn next(&mut self) -> Option<Ticket> {
        self.lanes.start_next().map(|started| started.ticket)
    }

    /// Starts all that may start; whose they are.
    fn fill(&mut self) -> Vec<Ticket> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "only a point to count from: no test looks how much later it is"
)]
fn start() -> Instant {
    Instant::now()
}

fn terms(max_concurrent: usize, weight: u32, class: &str) -> Terms {
    Terms {
        max_concurrent,
        max_waiting: 10,
        weight,
        class: class.into(),
    }
}

fn ticket(agent: &str, session: &str) -> Ticket {
    Ticket {
        delivery: DeliveryId::new(),
        session: format!("agent:{agent}:{session}").parse().unwrap(),
    }
}

fn whose(tickets: &[Ticket]) -> Vec<&str> {
    tickets.iter().map(|t| t.session.agent_str()).collect()
}

fn id(agent: &str) -> AgentId {
    agent.parse().unwrap()
}

#[test]
fn two_agents_run_at_once_and_each_one_in_turn() {
    let mut bench = Bench::new(2, &[("a", 1), ("b", 1)]);
    let (a1, a2, b1) = (
        bench.admit("a", "x"),
        bench.admit("a", "y"),
        bench.admit("b", "x"),
    );
    assert_eq!(bench.fill(), [a1.clone(), b1]);
    assert!(bench.lanes.finish(&a1));
    assert_eq!(bench.fill(), [a2]);
}

#[test]
fn a_session_has_one_turn_at_a_time_and_holds_up_no_other() {
    let mut bench = Bench::new(8, &[("a", 8)]);
    let (x1, x2, y1) = (
        bench.admit("a", "x"),
        bench.admit("a", "x"),
        bench.admit("a", "y"),
    );
    assert_eq!(bench.fill(), [x1.clone(), y1]);
    bench.lanes.finish(&x1);
    assert_eq!(bench.fill(), [x2]);
}

#[test]
fn the_fleet_s_places_go_round_where_nothing_else_decides() {
    let mut bench = Bench::new(1, &[("a", 1), ("b", 1)]);
    for _ in 0..3 {
        bench.admit("a", "x");
    }
    bench.admit("b", "x");
    let mut order = Vec::new();
    while let Some(next) = bench.next() {
        order.push(next.session.agent_str().to_owned());
        bench.lanes.finish(&next);
    }
    assert_eq!(order, ["a", "b", "a", "a"]);
}

#[test]
fn long_turns_do_not_get_more_than_short_ones() {
    let mut bench = Bench::new(1, &[("long", 1), ("short", 1)]);
    let (mut long, mut short) = (0, 0);
    for _ in 0..4 {
        bench.admit("long", "x");
        bench.admit("short", "x");
    }
    for _ in 0..110 {
        let turn = bench.next().unwrap();
        let agent = turn.session.agent_str().to_owned();
        let takes = if agent == "long" { 1000 } else { 100 };
        bench.pass(takes);
        *(if agent == "long" {
            &mut long
        } else {
            &mut short
        }) += takes;
        bench.lanes.finish(&turn);
        bench.admit(&agent, "x");
    }
    assert!(u64::abs_diff(long, short) <= 1000, "{long} and {short}");
}

#[test]
fn slot_time_goes_by_weight() {
    let mut bench = Bench::new(1, &[]);
    bench.add("heavy", 1, 300, INTERACTIVE);
    bench.add("light", 1, 100, INTERACTIVE);
    let mut turns = HashMap::from([("heavy", 0), ("light", 0)]);
    for agent in ["heavy", "light"] {
        bench.admit(agent, "x");
    }
    for _ in 0..400 {
        let turn = bench.next().unwrap();
        bench.pass(10);
        bench.lanes.finish(&turn);
        *turns.get_mut(turn.session.agent_str()).unwrap() += 1;
        bench.admit(turn.session.agent_str(), "x");
    }
    assert!(u32::abs_diff(turns["heavy"], 300) <= 3, "{turns:?}");
}

/// What an agent did while nobody else wanted anything is not held against it, and whoever did nothing has saved nothing.
#[test]
fn what_was_free_is_not_paid_for_later() {
    let mut bench = Bench::new(1, &[("busy", 1), ("quiet", 1)]);
    for _ in 0..50 {
        bench.admit("busy", "x");
        let turn = bench.next().unwrap();
        bench.pass(60_000);
        bench.lanes.finish(&turn);
    }
    for agent in ["busy", "quiet"] {
        for _ in 0..4 {
            bench.admit(agent, "x");
        }
    }
    let mut order = Vec::new();
    while let Some(turn) = bench.next() {
        bench.pass(100);
        bench.lanes.finish(&turn);
        order.push(turn);
    }
    let busy = whose(&order[..4]).iter().filter(|a| **a == "busy").count();
    assert_eq!(busy, 2, "{:?}", whose(&order));
}

/// One agent cannot take all the slots that happen to be free at one moment.
#[test]
fn slots_that_are_free_at_once_are_shared() {
    let mut bench = Bench::new(8, &[("a", 8), ("b", 8)]);
    for session in ["1", "2", "3", "4", "5", "6", "7", "8"] {
        bench.admit("a", session);
    }
    for session in ["1", "2", "3", "4", "5", "6", "7", "8"] {
        bench.admit("b", session);
    }
    let started = bench.fill();
    let count = whose(&started).iter().filter(|a| **a == "a").count();
    assert_eq!(count, 4, "{:?}", whose(&started));
}

#[test]
fn batch_leaves_the_last_slot() {
    let classes = BTreeMap::from([(BATCH.to_owned(), batch())]);
    for fleet in 1..5 {
        let mut bench = Bench::new(fleet, &[("i", 1)]);
        bench.lanes.set_classes(&classes);
        bench.add("b", 9, 100, BATCH);
        for session in 0..9 {
            bench.admit("b", &session.to_string());
        }
        // The only slot of a fleet of one is nobody's last.
        let most = if fleet == 1 { 1 } else { fleet - 1 };
        assert_eq!(bench.fill().len(), most);
        bench.admit("i", "x");
        let started = bench.fill();
        let wanted: &[&str] = if fleet == 1 { &[] } else { &["i"] };
        assert_eq!(whose(&started), wanted);
    }
}

fn batch() -> Shares {
    Shares {
        max: Most::AllButOne,
        ..Shares::default()
    }
}

#[test]
fn a_class_below_its_guarantee_goes_first_and_lends_what_it_does_not_use() {
    let classes = BTreeMap::from([(
        "vip".to_owned(),
        Shares {
            min: 0.5,
            ..Shares::default()
        },
    )]);
    let mut bench = Bench::new(4, &[("i", 9)]);
    bench.lanes.set_classes(&classes);
    bench.add("v", 9, 1, "vip");
    let session = |n: usize| format!("s{n}");
    for n in 0..9 {
        bench.admit("i", &session(n));
    }
    let lent = bench.fill();
    assert_eq!(whose(&lent), ["i"; 4]);
    for n in 0..3 {
        bench.admit("v", &session(n));
    }
    bench.pass(1);
    for turn in &lent[..2] {
        bench.lanes.finish(turn);
    }
    assert_eq!(whose(&bench.fill()), ["v", "v"]);
}

#[test]
fn guarantees_leave_one_slot_for_those_that_have_none() {
    let half = Shares {
        min: 0.5,
        ..Shares::default()
    };
    let classes = BTreeMap::from([("a".to_owned(), half), ("b".to_owned(), half)]);
    let slots = |bench: &mut Bench| -> Vec<usize> {
        let usage = bench.lanes.take_usage();
        let mut classes = usage.classes;
        classes.sort_by(|a, b| a.class.cmp(&b.class));
        classes.iter().map(|class| class.min_slots).collect()
    };
    let mut bench = Bench::new(4, &[]);
    bench.lanes.set_classes(&classes);
    bench.add("a", 1, 100, "a");
    bench.add("b", 1, 100, "b");
    assert_eq!(slots(&mut bench), [2, 2]);
    bench.add("i", 1, 100, INTERACTIVE);
    let mut with_other = slots(&mut bench);
    with_other.sort_unstable();
    assert_eq!(with_other, [0, 1, 2]);
    bench.lanes.remove(&id("i"));
    assert_eq!(slots(&mut bench), [2, 2]);
}

#[test]
fn shares_are_whole_slots() {
    let shares = |min, max| Shares {
        min,
        max: Most::Share(max),
        ..Shares::default()
    };
    for (min, max, fleet, wanted) in [
        (0.25, 0.75, 8, (2, 6)),
        (0.25, 0.75, 2, (0, 1)),
        (0.1, 0.1, 3, (0, 1)),
        (1.0 / 3.0, 2.0 / 3.0, 3, (1, 2)),
        (1.0, 1.0, 10_000, (10_000, 10_000)),
        (0.0, 0.001, 8, (0, 1)),
        (0.7, 0.7, 10, (7, 7)),
    ] {
        let shares = shares(min, max);
        let slots = (shares.min_slots(fleet), shares.max_slots(fleet));
        assert_eq!(slots, wanted, "{min} to {max} of {fleet}");
    }
    assert_eq!(batch().max_slots(1), 1);
    assert_eq!(batch().max_slots(2), 1);
    assert_eq!(batch().max_slots(8), 7);
}

#[test]
fn limits_that_change_hold_for_what_comes() {
    let mut bench = Bench::new(8, &[("a", 4), ("b", 4)]);
    let agent = id("a");
    for n in 0..6 {
        bench.admit("a", &n.to_string());
    }
    let first = bench.next().unwrap();
    bench.next().unwrap();
    let limits = |concurrent, waiting| Terms {
        max_waiting: waiting,
        ..terms(concurrent, 100, INTERACTIVE)
    };
    assert!(bench.lanes.limit(&agent, limits(1, 2)));
    assert_eq!(bench.next(), None, "one too many run already");
    bench.lanes.finish(&first);
    assert_eq!(bench.next(), None);
    assert_eq!(bench.lanes.room("a", 0), Err(Refused::QueueFull(2)));
    bench.lanes.limit(&agent, limits(8, 9));
    bench.lanes.limit_fleet(3);
    assert_eq!(bench.fill().len(), 2, "the fleet runs three");
    bench.lanes.limit_fleet(4);
    assert_eq!(bench.fill().len(), 1);
    assert!(!bench.lanes.limit(&id("z"), limits(1, 1)));
}

#[test]
fn an_agent_that_changes_its_class_takes_its_turns_along() {
    let mut bench = Bench::new(4, &[("a", 4)]);
    let one = Shares {
        max: Most::Share(0.25),
        ..Shares::default()
    };
    bench
        .lanes
        .set_classes(&BTreeMap::from([("slow".to_owned(), one)]));
    for n in 0..4 {
        bench.admit("a", &n.to_string());
    }
    let first = bench.next().unwrap();
    bench.lanes.limit(&id("a"), terms(4, 100, "slow"));
    assert_eq!(bench.next(), None, "it has the only slot of the class");
    bench.lanes.finish(&first);
    assert_eq!(bench.fill().len(), 1);
    bench.lanes.limit(&id("a"), terms(4, 100, INTERACTIVE));
    assert_eq!(bench.fill().len(), 2);
}

#[test]
fn an_agent_that_is_removed_leaves_its_places_to_others() {
    let mut bench = Bench::new(1, &[("a", 1), ("b", 1)]);
    let (a1, a2, b1) = (
        bench.admit("a", "x"),
        bench.admit("a", "x"),
        bench.admit("b", "x"),
    );
    assert_eq!(bench.next().as_ref(), Some(&a1));
    let agent = id("a");
    assert_eq!(bench.lanes.remove(&agent), [a1.clone(), a2]);
    assert!(bench.lanes.remove(&agent).is_empty());
    assert_eq!(bench.fill(), [b1]);
    assert!(!bench.lanes.finish(&a1), "it is nobody's any more");
    assert!(!bench.lanes.admit(&ticket("a", "x"), None));
}

#[test]
fn a_full_queue_and_an_unknown_agent_refuse() {
    let mut bench = Bench::new(1, &[("a", 1)]);
    for _ in 0..10 {
        bench.admit("a", "x");
    }
    assert_eq!(bench.lanes.room("a", 0), Err(Refused::QueueFull(10)));
    assert_eq!(bench.lanes.room("z", 0), Err(Refused::UnknownAgent));
    assert!(!bench.lanes.admit(&ticket("z", "x"), None));
    let first = bench.next().unwrap();
    assert_eq!(bench.lanes.room("a", 0), Ok(()));
    assert_eq!(bench.lanes.room("a", 1), Err(Refused::QueueFull(10)));
    // What was admitted once has its place.
    bench.lanes.requeue(&first);
    assert_eq!(bench.next(), Some(first));
}

/// Of this thread, so that others on the machine do not count.
fn cpu_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    Duration::from_micros(usage.user_time().num_microseconds().try_into().unwrap())
}

/// An operation takes as long with a hundred thousand messages as with one: all of this in a second or two, unoptimized,
/// where looking through the queue for each would take minutes.
#[test]
fn a_long_queue_costs_no_time() {
    const MANY: usize = 100_000;
    for sessions in [1, 1000, MANY] {
        let mut bench = Bench::new(4, &[("a", 4)]);
        let keys: Vec<_> = (0..sessions).map(|n| ticket("a", &n.to_string())).collect();
        let tickets: Vec<Ticket> = (0..MANY)
            .map(|n| Ticket {
                delivery: DeliveryId::new(),
                session: keys[n % sessions].session.clone(),
            })
            .collect();
        let began = cpu_time();
        for ticket in &tickets {
            assert!(bench.lanes.admit(ticket, None));
        }
        for _ in 0..10_000 {
            let ticket = bench.next().unwrap();
            assert!(bench.lanes.finish(&ticket));
        }
        for ticket in tickets.iter().rev().step_by(3).take(10_000) {
            assert!(bench.lanes.hold(ticket));
            bench.lanes.release(ticket);
            assert!(bench.lanes.waits_for(ticket).is_some());
            assert!(bench.lanes.withdraw(ticket));
        }
        let took = cpu_time().saturating_sub(began);
        assert!(took < Duration::from_secs(15), "{sessions}: {took:?}");
        assert_eq!(bench.lanes.counts(&id("a")), (MANY - 20_000, 0));
    }
}
