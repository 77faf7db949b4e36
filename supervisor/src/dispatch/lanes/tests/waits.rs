//! Each moment of a wait is somebody's.

use super::*;

fn waits(session: u64, agent: u64, class: u64, fleet: u64, held: u64) -> Waits {
    let millis = Duration::from_millis;
    Waits {
        session: millis(session),
        agent: millis(agent),
        class: millis(class),
        fleet: millis(fleet),
        held: millis(held),
    }
}

#[test]
fn a_wait_goes_to_the_first_that_stands_in_the_way() {
    let mut bench = Bench::new(2, &[("a", 1), ("b", 2)]);
    let x1 = bench.admit("a", "x");
    assert_eq!(bench.lanes.start_next().unwrap().waits, Waits::default());
    let (x2, y1) = (bench.admit("a", "x"), bench.admit("a", "y"));
    bench.pass(10);
    assert_eq!(
        bench.lanes.waits_for(&x2),
        Some((WaitsFor::Session, waits(10, 0, 0, 0, 0)))
    );
    assert_eq!(
        bench.lanes.waits_for(&y1),
        Some((WaitsFor::Agent, waits(0, 10, 0, 0, 0)))
    );
    bench.lanes.close(&id("a"));
    bench.lanes.finish(&x1);
    bench.pass(20);
    assert_eq!(
        bench.lanes.waits_for(&x2),
        Some((WaitsFor::Held, waits(10, 0, 0, 0, 20)))
    );
    bench.admit("b", "1");
    bench.admit("b", "2");
    assert_eq!(bench.fill().len(), 2);
    bench.lanes.open(&id("a"));
    bench.pass(5);
    assert_eq!(
        bench.lanes.waits_for(&x2),
        Some((WaitsFor::Fleet, waits(10, 0, 0, 5, 20)))
    );
    for turn in bench.lanes.running(&id("b")) {
        bench.lanes.finish(&turn);
    }
    let started = bench.lanes.start_next().unwrap();
    assert_eq!(started.ticket, x2);
    assert_eq!(started.waits, waits(10, 0, 0, 5, 20));
    assert_eq!(bench.lanes.waits_for(&x2), None);
    bench.pass(7);
    bench.lanes.finish(&x2);
    let started = bench.lanes.start_next().unwrap();
    assert_eq!(started.waits, waits(0, 17, 0, 5, 20));
}

#[test]
fn a_class_that_is_full_is_told_apart_from_a_fleet_that_is() {
    let mut bench = Bench::new(2, &[]);
    bench
        .lanes
        .set_classes(&BTreeMap::from([(BATCH.to_owned(), super::batch())]));
    bench.add("a", 1, 100, BATCH);
    bench.add("b", 1, 100, BATCH);
    bench.add("c", 2, 100, INTERACTIVE);
    let a1 = bench.admit("a", "x");
    let b1 = bench.admit("b", "x");
    assert_eq!(bench.next().as_ref(), Some(&a1));
    bench.pass(3);
    let c1 = bench.admit("c", "1");
    let c2 = bench.admit("c", "2");
    assert_eq!(bench.fill(), [c1]);
    bench.pass(4);
    // The class is nearer than the fleet.
    assert_eq!(
        bench.lanes.waits_for(&b1).unwrap(),
        (WaitsFor::Class, waits(0, 0, 7, 0, 0))
    );
    assert_eq!(bench.lanes.waits_for(&c2).unwrap().0, WaitsFor::Fleet);
    bench.lanes.finish(&a1);
    bench.pass(6);
    assert_eq!(
        bench.lanes.waits_for(&b1).unwrap(),
        (WaitsFor::Fleet, waits(0, 0, 7, 6, 0))
    );
    let started = bench.lanes.start_next().unwrap();
    assert_eq!((started.ticket, started.waits), (b1, waits(0, 0, 7, 6, 0)));
    assert_eq!(
        bench.lanes.waits_for(&c2).unwrap(),
        (WaitsFor::Fleet, waits(0, 0, 0, 10, 0))
    );
}

#[test]
fn what_ran_in_vain_keeps_what_it_has_waited() {
    let mut bench = Bench::new(1, &[("a", 1), ("b", 1)]);
    let b1 = bench.admit("b", "x");
    bench.next();
    let x1 = bench.admit("a", "x");
    bench.pass(8);
    bench.lanes.finish(&b1);
    assert_eq!(
        bench.lanes.start_next().unwrap().waits,
        waits(0, 0, 0, 8, 0)
    );
    bench.pass(100);
    bench.lanes.close(&id("a"));
    bench.lanes.requeue(&x1);
    bench.pass(30);
    bench.lanes.open(&id("a"));
    let started = bench.lanes.start_next().unwrap();
    assert_eq!((started.ticket, started.waits), (x1, waits(0, 0, 0, 8, 30)));
}

#[test]
fn what_is_held_itself_waits_for_that() {
    let mut bench = Bench::new(1, &[("a", 1)]);
    let (x1, x2) = (bench.admit("a", "x"), bench.admit("a", "x"));
    bench.lanes.hold(&x1);
    bench.pass(5);
    assert_eq!(bench.lanes.waits_for(&x1).unwrap().0, WaitsFor::Held);
    bench.lanes.withdraw(&x1);
    bench.lanes.hold(&x2);
    bench.pass(6);
    bench.lanes.release(&x2);
    let started = bench.lanes.start_next().unwrap();
    assert_eq!(started.waits, waits(5, 0, 0, 0, 6));
    assert_eq!(bench.lanes.waits_for(&ticket("z", "x")), None);
}
