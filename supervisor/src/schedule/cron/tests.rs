//! Expressions against clocks that are set: by table, and against a search of every minute.

use jiff::Zoned;
use proptest::prelude::*;

use super::*;

fn cron(expression: &str, zone_name: &str) -> Cron {
    let zone = zone(zone_name).expect("there is such a zone");
    Cron::parse(expression, zone_name, zone).expect("it reads")
}

fn at(text: &str) -> UnixMs {
    let time: Zoned = text.parse().expect("a time in a zone");
    time.timestamp().as_millisecond()
}

/// The first due times after `from`.
fn first(cron: &Cron, from: &str, count: usize) -> Vec<String> {
    let mut time = at(from);
    let mut found = Vec::new();
    for _ in 0..count {
        time = cron.after(time).expect("it is due again");
        found.push(cron.local(time));
    }
    found
}

#[test]
fn what_names_hours_happens_once_each_day() {
    // At 02:00 the clock goes to 03:00.
    let spring = "2027-03-27T12:00[Europe/Berlin]";
    assert_eq!(
        first(&cron("30 2 * * *", "Europe/Berlin"), spring, 3),
        [
            "2027-03-28 03:00 CEST",
            "2027-03-29 02:30 CEST",
            "2027-03-30 02:30 CEST"
        ]
    );
    // However many times of a day are skipped, they are due once together, and once with the time behind the gap.
    assert_eq!(
        first(&cron("*/20 2,3 * * *", "Europe/Berlin"), spring, 4),
        [
            "2027-03-28 03:00 CEST",
            "2027-03-28 03:20 CEST",
            "2027-03-28 03:40 CEST",
            "2027-03-29 02:00 CEST"
        ]
    );
    // At 03:00 the clock goes to 02:00.
    let autumn = "2027-10-30T12:00[Europe/Berlin]";
    assert_eq!(
        first(&cron("30 2 * * *", "Europe/Berlin"), autumn, 2),
        ["2027-10-31 02:30 CEST", "2027-11-01 02:30 CET"]
    );
    assert_eq!(
        first(&cron("0 2,3 * * *", "Europe/Berlin"), autumn, 3),
        [
            "2027-10-31 02:00 CEST",
            "2027-10-31 03:00 CET",
            "2027-11-01 02:00 CET"
        ]
    );
    // A clock that skips midnight, one that is set by half an hour, and one that skipped a day.
    assert_eq!(
        first(
            &cron("0 0 * * *", "America/Sao_Paulo"),
            "2018-11-03T12:00[America/Sao_Paulo]",
            2
        ),
        ["2018-11-04 01:00 -02", "2018-11-05 00:00 -02"]
    );
    assert_eq!(
        first(
            &cron("15 2 * * *", "Australia/Lord_Howe"),
            "2027-10-02T12:00[Australia/Lord_Howe]",
            2
        ),
        ["2027-10-03 02:30 +11", "2027-10-04 02:15 +11"]
    );
    assert_eq!(
        first(
            &cron("0 9 * * *", "Pacific/Apia"),
            "2011-12-29T12:00[Pacific/Apia]",
            2
        ),
        ["2011-12-31 00:00 +14", "2011-12-31 09:00 +14"]
    );
}

#[test]
fn what_is_due_every_hour_goes_by_what_the_clock_shows() {
    let half_hours = cron("*/30 * * * *", "Europe/Berlin");
    assert_eq!(
        first(&half_hours, "2027-03-28T01:00[Europe/Berlin]", 3),
        [
            "2027-03-28 01:30 CET",
            "2027-03-28 03:00 CEST",
            "2027-03-28 03:30 CEST"
        ]
    );
    assert_eq!(
        first(&half_hours, "2027-10-31T01:45[Europe/Berlin]", 5),
        [
            "2027-10-31 02:00 CEST",
            "2027-10-31 02:30 CEST",
            "2027-10-31 02:00 CET",
            "2027-10-31 02:30 CET",
            "2027-10-31 03:00 CET"
        ]
    );
    assert_eq!(
        first(&cron("*/20 * * * * *", "UTC"), "2027-01-01T00:00[UTC]", 3),
        [
            "2027-01-01 00:00:20 UTC",
            "2027-01-01 00:00:40 UTC",
            "2027-01-01 00:01 UTC"
        ]
    );
}

#[test]
fn days_and_names_are_those_of_cron() {
    let from = "2026-12-02T00:00[UTC]";
    for (expression, expected) in [
        ("0 9 * * MON-FRI", "2026-12-02 09:00 UTC"),
        ("0 9 * * 0", "2026-12-06 09:00 UTC"),
        ("0 9 * * 7", "2026-12-06 09:00 UTC"),
        ("0 0 L * *", "2026-12-31 00:00 UTC"),
        ("0 0 29 2 *", "2028-02-29 00:00 UTC"),
        // Either of two days that are both named.
        ("0 0 13 * FRI", "2026-12-04 00:00 UTC"),
        ("@monthly", "2027-01-01 00:00 UTC"),
        ("  5   4 * *   * ", "2026-12-02 04:05 UTC"),
    ] {
        assert_eq!(first(&cron(expression, "UTC"), from, 1), [expected]);
    }
    assert_eq!(cron("  5   4 * *   * ", "UTC").expression(), "5 4 * * *");
}

#[test]
fn what_is_not_a_time_is_told() {
    let parse = |text: &str| Cron::parse(text, "UTC", TimeZone::UTC).map(drop);
    for (text, says) in [
        ("61 * * * *", "number out of bounds"),
        (
            "* * *",
            "pattern must have 5 or 6 fields when years are disallowed",
        ),
        ("", "cronPattern cannot be an empty string"),
        (
            "every day",
            "pattern must have 5 or 6 fields when years are disallowed",
        ),
    ] {
        assert_eq!(parse(text), Err(says.to_owned()), "{text}");
    }
    assert_eq!(cron("0 0 30 2 *", "UTC").after(0), None, "it never comes");
    assert_eq!(zone("Europe/Berlim"), None);
    assert_eq!(zone("europe/berlin"), None, "names are as they are written");
    assert!(zones().iter().any(|name| name == "Asia/Tokyo"));
}

#[test]
fn the_program_has_time_zones_of_its_own() {
    let bundled = jiff::tz::TimeZoneDatabase::bundled();
    assert!(bundled.get("Europe/Berlin").is_ok());
}

const ZONES: [&str; 6] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Asia/Kathmandu",
];

/// Every due minute in a stretch of time, by looking at each.
fn looked_up(
    zone: &TimeZone,
    minutes: &[i8],
    hours: Option<&[i8]>,
    from: Timestamp,
    count: i64,
) -> Vec<UnixMs> {
    let named = |shown: DateTime| {
        minutes.contains(&shown.minute()) && hours.is_none_or(|hours| hours.contains(&shown.hour()))
    };
    let moment = |minute: i64| Timestamp::from_second(from.as_second() + 60 * minute).unwrap();
    let mut due = Vec::new();
    let mut shown_before: Vec<DateTime> = (-180..0)
        .map(|minute| zone.to_datetime(moment(minute)))
        .collect();
    for minute in 0..count {
        let now = moment(minute);
        let shown = zone.to_datetime(now);
        let last = *shown_before.last().unwrap();
        let seen = shown_before.contains(&shown);
        let mut skipped =
            std::iter::successors(Some(last), |time| time.checked_add(1.minute()).ok())
                .skip(1)
                .take_while(|time| *time < shown);
        let is_due = match hours {
            None => named(shown),
            Some(_) => (named(shown) && !seen) || skipped.any(named),
        };
        if is_due {
            due.push(now.as_millisecond());
        }
        shown_before.push(shown);
    }
    due
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Around the changes of a year's clocks, forward and backward.
    #[test]
    fn nothing_is_left_out_and_nothing_is_added(
        zone_name in proptest::sample::select(&ZONES[..]),
        minutes in proptest::sample::subsequence(vec![0_i8, 1, 15, 30, 45, 59], 1..4),
        hours in proptest::option::of(proptest::sample::subsequence((0_i8..6).collect::<Vec<_>>(), 1..4)),
        change in 0usize..4,
        earlier in 0i64..2000,
    ) {
        let zone = zone(zone_name).unwrap();
        let year = Timestamp::from_second(1_798_761_600).unwrap();
        let change = zone.following(year).nth(change).map_or(year, |change| change.timestamp());
        let from = Timestamp::from_second((change.as_second() / 60 - earlier) * 60).unwrap();
        let expected = looked_up(&zone, &minutes, hours.as_deref(), from, 3000);
        let words = |numbers: &[i8]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let hours = hours.as_deref().map_or("*".to_owned(), words);
        let cron = cron(&format!("{} {hours} * * *", words(&minutes)), zone_name);
        let (first, end) = (from.as_millisecond(), from.as_millisecond() + 3000 * 60_000);
        let mut found = Vec::new();
        let mut time = first - 1;
        while let Some(due) = cron.after(time).filter(|due| *due < end) {
            found.push(due);
            time = due;
        }
        prop_assert_eq!(&found, &expected, "{:?}", cron);
        let mut back = Vec::new();
        let mut time = end - 1;
        while let Some(due) = cron.until(time).filter(|due| *due >= first) {
            back.push(due);
            time = due - 1;
        }
        back.reverse();
        prop_assert_eq!(&back, &expected, "backwards, {:?}", cron);
    }
}
