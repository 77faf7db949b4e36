//! Deliveries that have a class of their own, other than that of their agent.

use super::*;

/// Of four slots, one is for `batch`.
fn bench() -> Bench {
    let mut bench = Bench::new(4, &[("a", 2), ("b", 4)]);
    let one = Shares {
        max: Most::Share(0.25),
        ..Shares::default()
    };
    bench
        .lanes
        .set_classes(&BTreeMap::from([(BATCH.to_owned(), one)]));
    bench
}

fn admit_in(bench: &mut Bench, agent: &str, session: &str, class: &str) -> Ticket {
    let ticket = ticket(agent, session);
    assert!(bench.lanes.admit(&ticket, Some(class)));
    ticket
}

#[test]
fn it_takes_its_slot_there_and_waits_for_that() {
    let mut bench = bench();
    let b1 = admit_in(&mut bench, "b", "x", BATCH);
    let started = bench.lanes.start_next().unwrap();
    assert_eq!((&started.ticket, &*started.class), (&b1, BATCH));
    let night = admit_in(&mut bench, "a", "night", BATCH);
    let chat = bench.admit("a", "chat");
    // Behind it in its session, whatever class that is of.
    let behind = bench.admit("a", "night");
    let started = bench.lanes.start_next().unwrap();
    assert_eq!((&started.ticket, &*started.class), (&chat, INTERACTIVE));
    assert_eq!(bench.next(), None);
    bench.pass(5);
    let waits = |bench: &Bench, ticket| bench.lanes.waits_for(ticket).unwrap();
    assert_eq!(waits(&bench, &night).0, WaitsFor::Class);
    assert_eq!(waits(&bench, &behind).0, WaitsFor::Session);
    // What the agent may have at once, it may have in all classes together.
    let other = bench.admit("a", "other");
    assert_eq!(bench.next(), Some(other));
    bench.pass(7);
    assert_eq!(waits(&bench, &night).0, WaitsFor::Agent);
    bench.lanes.finish(&b1);
    assert_eq!(bench.next(), None);
    bench.lanes.finish(&chat);
    let started = bench.lanes.start_next().unwrap();
    assert_eq!((&started.ticket, &*started.class), (&night, BATCH));
    let waited = |millis| Duration::from_millis(millis);
    assert_eq!(
        (started.waits.class, started.waits.agent),
        (waited(5), waited(7))
    );
    bench.lanes.requeue(&night);
    assert_eq!(&*bench.lanes.start_next().unwrap().class, BATCH);
    bench.lanes.finish(&night);
    let started = bench.lanes.start_next().unwrap();
    assert_eq!((&started.ticket, &*started.class), (&behind, INTERACTIVE));
}

#[test]
fn it_stays_in_its_class_when_its_agent_gets_another() {
    let mut bench = bench();
    let own = admit_in(&mut bench, "a", "own", INTERACTIVE);
    let follows = bench.admit("a", "follows");
    bench.lanes.limit(&id("a"), terms(2, 100, BATCH));
    let class = |bench: &mut Bench| bench.lanes.start_next().unwrap().class;
    assert_eq!(
        [&*class(&mut bench), &*class(&mut bench)],
        [INTERACTIVE, BATCH]
    );
    // And back: what follows its agent takes its slot along.
    bench.lanes.limit(&id("a"), terms(2, 100, INTERACTIVE));
    let b1 = admit_in(&mut bench, "b", "x", BATCH);
    assert_eq!(bench.next().as_ref(), Some(&b1));
    assert!(bench.lanes.set_class(&b1, None));
    assert!(bench.lanes.set_class(&own, Some(BATCH)));
    let b2 = admit_in(&mut bench, "b", "y", BATCH);
    assert_eq!(bench.next(), None, "the only slot was taken along");
    bench.lanes.finish(&own);
    assert_eq!(bench.next().as_ref(), Some(&b2));
    for ticket in [follows, b1, b2] {
        assert!(bench.lanes.finish(&ticket));
    }
    let usage = bench.lanes.take_usage();
    assert!(usage.classes.iter().all(|class| class.running == 0));
}

/// A class whose only messages have it of their own counts as one with agents, for as long as there are such.
#[test]
fn a_class_that_is_only_visited_is_not_kept_waiting_for_ever() {
    let all = Shares {
        min: 1.0,
        ..Shares::default()
    };
    let mut bench = Bench::new(2, &[("a", 9)]);
    bench
        .lanes
        .set_classes(&BTreeMap::from([(INTERACTIVE.to_owned(), all)]));
    let least = |bench: &mut Bench| {
        let usage = bench.lanes.take_usage();
        let mut classes = usage.classes.iter();
        let own = classes.find(|class| *class.class == *INTERACTIVE);
        own.unwrap().min_slots
    };
    assert_eq!(least(&mut bench), 2);
    let visits = admit_in(&mut bench, "a", "night", "visited");
    assert_eq!(least(&mut bench), 1);
    bench.next();
    assert_eq!(least(&mut bench), 1);
    bench.lanes.finish(&visits);
    assert_eq!(least(&mut bench), 2);
}
