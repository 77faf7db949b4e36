//! Who goes before whom in one agent.

use super::*;

#[test]
fn what_is_requeued_comes_first_and_a_closed_agent_starts_nothing() {
    let mut bench = Bench::new(1, &[("a", 1)]);
    let (first, _) = (bench.admit("a", "x"), bench.admit("a", "x"));
    assert_eq!(bench.next(), Some(first.clone()));
    bench.lanes.close(&id("a"));
    bench.lanes.requeue(&first);
    assert_eq!(bench.next(), None);
    bench.lanes.open(&id("a"));
    assert_eq!(bench.next(), Some(first));
}

#[test]
fn what_is_held_keeps_its_place_and_its_session_waits_for_it() {
    let mut bench = Bench::new(8, &[("a", 8)]);
    let (x1, x2, y1) = (
        bench.admit("a", "x"),
        bench.admit("a", "x"),
        bench.admit("a", "y"),
    );
    assert!(bench.lanes.hold(&x1));
    assert!(!bench.lanes.hold(&x1), "once");
    assert_eq!(bench.fill(), [y1]);
    bench.lanes.release(&x1);
    assert_eq!(bench.next(), Some(x1.clone()));
    assert!(!bench.lanes.hold(&x1), "it runs");
    bench.lanes.finish(&x1);
    assert!(bench.lanes.hold(&x2));
    assert!(bench.lanes.withdraw(&x2));
    let x0 = Ticket {
        delivery: x1.delivery,
        ..x2.clone()
    };
    assert!(bench.lanes.admit(&x2, None));
    assert!(bench.lanes.admit_in_place(&x0, None));
    assert_eq!(bench.next(), Some(x0));
}

#[test]
fn what_is_put_back_in_place_goes_before_a_later_one_that_was_requeued() {
    let mut bench = Bench::new(1, &[("a", 1)]);
    let early = ticket("a", "x");
    let (late, last) = (bench.admit("a", "x"), bench.admit("a", "x"));
    assert_eq!(bench.next(), Some(late.clone()));
    bench.lanes.requeue(&late);
    assert!(bench.lanes.admit_in_place(&early, None));
    assert_eq!(bench.lanes.waiting(&id("a")), [early, late, last]);
}

#[test]
fn a_session_keeps_the_order_of_admission_whatever_the_numbers_say() {
    let mut bench = Bench::new(1, &[("a", 1)]);
    let mut tickets: Vec<_> = (0..5).map(|_| ticket("a", "x")).collect();
    tickets.swap(0, 4);
    tickets.swap(1, 3);
    for ticket in &tickets {
        assert!(bench.lanes.admit(ticket, None));
    }
    assert_eq!(bench.lanes.waiting(&id("a")), tickets);
    assert!(bench.lanes.withdraw(&tickets[0]));
    assert!(bench.lanes.hold(&tickets[1]));
    bench.lanes.release(&tickets[1]);
    for ticket in &tickets[1..] {
        assert_eq!(bench.next().as_ref(), Some(ticket));
        bench.lanes.finish(ticket);
    }
}

#[test]
fn between_sessions_the_one_that_came_first_is_first() {
    let mut bench = Bench::new(1, &[("a", 1)]);
    let order: Vec<_> = ["x", "y", "x", "z", "y"]
        .into_iter()
        .map(|session| bench.admit("a", session))
        .collect();
    for ticket in &order {
        assert_eq!(bench.next().as_ref(), Some(ticket));
        bench.lanes.finish(ticket);
    }
    // What goes ahead of all does so whichever session it is of.
    let (_, w) = (bench.admit("a", "x"), ticket("a", "w"));
    assert!(bench.lanes.admit_first(&w, None));
    assert_eq!(bench.next(), Some(w));
}
