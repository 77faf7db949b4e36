//! The lanes on a virtual clock, at a size that an unoptimized build takes some seconds for; `scripts/bench lanes-sim` has a
//! million messages.

use std::time::Duration;

use kennel_tests::lanes_sim::{Outcome, RESEARCH, Setup, simulate};

fn run(saturated: bool) -> Outcome {
    simulate(Setup {
        saturated,
        questions: 15_000,
        longest_turn: Duration::from_mins(1),
        seed: 7,
    })
}

#[test]
fn slot_time_goes_by_weight_and_people_hardly_notice_who_else_is_there() {
    let (alone, beside) = (run(false), run(true));
    assert!(beside.turns > 80_000, "{} turns", beside.turns);
    for class in ["batch", RESEARCH] {
        assert!(
            beside.jain(class) >= 0.99,
            "{class}: {}",
            beside.jain(class)
        );
    }
    // Who always wants more has all that is left, or may be had.
    let slots: f64 = beside.slots.values().sum();
    assert!(slots > 63.5, "{:?}", beside.slots);
    assert!(beside.slots[RESEARCH] > 15.5, "{:?}", beside.slots);
    let (with, without) = (beside.p99(), alone.p99());
    let ratio = with.as_secs_f64() / without.as_secs_f64();
    assert!(ratio <= 1.1, "{with:?} beside others, {without:?} alone");
    // Everybody gets something, and nobody waits for ever: the lightest has a sixth of a slot, and 16 messages wait for it.
    assert!(beside.shares.iter().all(|(_, share)| *share > 0.0));
    assert!(beside.longest < beside.took, "{:?}", beside.longest);
}
