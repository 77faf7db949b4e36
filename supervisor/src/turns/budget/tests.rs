use proptest::prelude::*;

use super::*;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// A moment of UTC.
fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

#[test]
fn windows_are_those_of_the_calendar() {
    let cases = [
        (
            "UTC",
            Window::Hour,
            "2026-03-29T00:59:59Z",
            "2026-03-29T00:00:00Z",
            "2026-03-29T01:00:00Z",
        ),
        (
            "UTC",
            Window::Day,
            "2026-03-29T23:59:59Z",
            "2026-03-29T00:00:00Z",
            "2026-03-30T00:00:00Z",
        ),
        (
            "UTC",
            Window::Month,
            "2026-12-31T23:59:59Z",
            "2026-12-01T00:00:00Z",
            "2027-01-01T00:00:00Z",
        ),
        // Clocks are set forward: a day of 23 hours, and one of 25 when they are set back.
        (
            "Europe/Vienna",
            Window::Day,
            "2026-03-29T12:00:00Z",
            "2026-03-28T23:00:00Z",
            "2026-03-29T22:00:00Z",
        ),
        (
            "Europe/Vienna",
            Window::Day,
            "2026-10-25T12:00:00Z",
            "2026-10-24T22:00:00Z",
            "2026-10-25T23:00:00Z",
        ),
        // The hour that comes twice.
        (
            "Europe/Vienna",
            Window::Hour,
            "2026-10-25T00:30:00Z",
            "2026-10-25T00:00:00Z",
            "2026-10-25T01:00:00Z",
        ),
        (
            "Europe/Vienna",
            Window::Hour,
            "2026-10-25T01:30:00Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T02:00:00Z",
        ),
        // Half an hour, and three quarters, apart from others.
        (
            "Asia/Kolkata",
            Window::Hour,
            "2026-05-01T10:10:00Z",
            "2026-05-01T09:30:00Z",
            "2026-05-01T10:30:00Z",
        ),
        (
            "Asia/Kathmandu",
            Window::Month,
            "2026-05-01T10:10:00Z",
            "2026-04-30T18:15:00Z",
            "2026-05-31T18:15:00Z",
        ),
    ];
    for (name, window, now, begins, ends) in cases {
        let expected = Bounds {
            begins_ms: at(begins),
            ends_ms: at(ends),
        };
        assert_eq!(
            window.around(at(now), &zone(name)),
            expected,
            "{name} {window:?} {now}"
        );
    }
}

proptest! {
    #[test]
    fn every_moment_is_in_its_windows_and_they_begin_on_a_quarter(
        now in 0..4_102_444_800_000_i64,
        name in prop::sample::select(vec!["UTC", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Chatham", "Africa/Casablanca"]),
    ) {
        let zone = zone(name);
        for window in Window::ALL {
            let Bounds { begins_ms, ends_ms } = window.around(now, &zone);
            prop_assert!(begins_ms <= now && now < ends_ms, "{window:?} {begins_ms} {now} {ends_ms}");
            prop_assert_eq!(window.around(begins_ms, &zone).begins_ms, begins_ms);
            prop_assert_eq!(window.around(ends_ms, &zone).begins_ms, ends_ms);
            // Within memory of any computer; before, zones were to the second.
            prop_assert_eq!(begins_ms % (15 * MINUTE), 0);
        }
    }
}

fn budget(limits: [Limits; 3]) -> Budget {
    Budget {
        limits,
        ..Budget::default()
    }
}

fn tokens(warn: u64, max: u64) -> Limits {
    Limits {
        warn_tokens: Some(warn),
        max_tokens: Some(max),
        ..Limits::default()
    }
}

fn spent(tokens: u64, cost: u64) -> Spent {
    Spent { tokens, cost }
}

#[test]
fn a_budget_is_free_then_runs_out_then_is_spent_and_begins_anew() {
    let budget = budget([Limits::default(), tokens(50, 100), Limits::default()]);
    let noon = at("2026-05-05T12:00:00Z");
    let mut books = Books::of(&budget, noon, [Spent::default(); 3]);
    assert_eq!(books.decide(&budget, noon), Decision::Free);
    assert_eq!(books.add(&budget, noon, spent(49, 0)), []);
    assert_eq!(books.decide(&budget, noon), Decision::Free);
    assert_eq!(books.add(&budget, noon + HOUR, spent(1, 0)), [Window::Day]);
    assert_eq!(books.decide(&budget, noon), Decision::Sparing(Window::Day));
    // It is said once.
    assert_eq!(books.add(&budget, noon + HOUR, spent(70, 0)), []);
    let Decision::Refused(exhausted) = books.decide(&budget, noon + 2 * HOUR) else {
        panic!("{books:?}")
    };
    assert_eq!(exhausted.window, Window::Day);
    assert_eq!(exhausted.what, "120 of 100 tokens");
    assert_eq!(exhausted.resets, "2026-05-06 00:00 UTC");
    assert_eq!(exhausted.wait(noon + 2 * HOUR), Duration::from_hours(10));
    books.roll(&budget, noon + 12 * HOUR);
    assert_eq!(books.decide(&budget, noon + 12 * HOUR), Decision::Free);
    assert_eq!(books.spent()[2].tokens, 120, "the month goes on");
    assert_eq!(
        books.add(&budget, noon + 12 * HOUR, spent(50, 0)),
        [Window::Day]
    );
}

#[test]
fn the_longest_wait_counts_and_money_does_too() {
    let cost = |max| Limits {
        max_cost: Some(max),
        ..Limits::default()
    };
    let budget = budget([tokens(1, 1), cost(1_500_000), Limits::default()]);
    let now = at("2026-05-05T12:10:00Z");
    let books = Books::of(
        &budget,
        now,
        [spent(5, 0), spent(5, 1_500_000), Spent::default()],
    );
    let Decision::Refused(exhausted) = books.decide(&budget, now) else {
        panic!("{books:?}")
    };
    assert_eq!(
        (exhausted.window, exhausted.what.as_str()),
        (Window::Day, "1.50 of 1.50")
    );
    let books = Books::of(
        &budget,
        now,
        [spent(5, 0), spent(5, 1_499_999), Spent::default()],
    );
    let Decision::Refused(exhausted) = books.decide(&budget, now) else {
        panic!("{books:?}")
    };
    assert_eq!(exhausted.window, Window::Hour);
    // What was beyond its mark when it was read is no news.
    let mut books = books;
    assert_eq!(books.add(&budget, now, spent(1, 0)), []);
}

#[test]
fn no_less_was_spent_than_either_knows() {
    let budget = budget([tokens(10, 20); 3]);
    let now = at("2026-05-05T12:10:00Z");
    let mut read = Books::of(&budget, now, [spent(5, 1), spent(5, 1), spent(5, 1)]);
    let mut known = Books::of(&budget, now, [spent(3, 9), spent(3, 9), spent(3, 9)]);
    known.add(&budget, now, spent(12, 0));
    read.join(&known);
    assert_eq!(read.spent(), [spent(15, 9); 3]);
    assert_eq!(
        read.add(&budget, now, spent(0, 0)),
        [],
        "it was told before"
    );
    // Of an hour that is over nothing is taken over.
    let later = Books::of(&budget, now + HOUR, [spent(0, 0), spent(6, 6), spent(6, 6)]);
    read.join(&later);
    assert_eq!(read.spent(), [spent(0, 0), spent(15, 9), spent(15, 9)]);
}
