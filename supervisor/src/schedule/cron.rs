//! Cron expressions in a time zone. Pure, but for the zone's rules, which are read when it is made.
//!
//! The expression names times of the wall clock; `croner` reads it and finds those. What the wall clock of a zone does
//! twice a year is decided here:
//!
//! | the hour field | a time that is skipped | a time that is shown twice |
//! | --- | --- | --- |
//! | names hours, as in `30 2 * * *` | is due when the clock goes on, once | is due the first time |
//! | is every hour, as in `*/15 * * * *` | is not due: the clock never shows it | is due both times |
//!
//! So what is to happen each day happens once each day, and what is to happen every few minutes goes on every few minutes.
//!
//! The zone's rules are the system's, where it has some, and else those that this program was built with.

use std::fmt;

use croner::parser::{CronParser, Seconds, Year};
use jiff::{
    Timestamp, ToSpan as _,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};

use crate::journal::entry::UnixMs;

/// How many changes of a zone's clock are looked behind for a time; an expression that names none before is never due.
const CHANGES: usize = 1000;

/// A cron expression in a time zone.
#[derive(Clone)]
pub struct Cron {
    expression: String,
    pattern: croner::Cron,
    /// Whether it is due in every hour.
    hourly: bool,
    zone_name: String,
    zone: TimeZone,
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        (&self.expression, &self.zone_name) == (&other.expression, &other.zone_name)
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.expression, self.zone_name)
    }
}

/// A time zone by its name of the tz database.
pub fn zone(name: &str) -> Option<TimeZone> {
    // It reads names in any case, so that a typo would stay.
    let zone = TimeZone::get(name).ok()?;
    (zone.iana_name() == Some(name)).then_some(zone)
}

/// All names of time zones that there are.
pub fn zones() -> Vec<String> {
    jiff::tz::db()
        .available()
        .map(|name| name.to_string())
        .collect()
}

impl Cron {
    /// Reads an expression of five fields, or of six with the seconds first. The error says what is wrong with it.
    pub fn parse(expression: &str, zone_name: &str, zone: TimeZone) -> Result<Self, String> {
        let parser = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed)
            .build();
        let pattern = parser
            .parse(expression)
            .map_err(|error| plain(&error.to_string()))?;
        Ok(Self {
            expression: expression.split_whitespace().collect::<Vec<_>>().join(" "),
            hourly: pattern.pattern.hours.values().len() == 24,
            pattern,
            zone_name: zone_name.to_owned(),
            zone,
        })
    }

    /// As it was written.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The name of its zone.
    pub fn zone(&self) -> &str {
        &self.zone_name
    }

    /// A time as the clocks of its zone show it.
    pub fn local(&self, time: UnixMs) -> String {
        show(time, &self.zone)
    }

    /// The first due time after `time`.
    pub fn after(&self, time: UnixMs) -> Option<UnixMs> {
        let time = second(time)?;
        let due = if self.hourly {
            self.after_hourly(time)
        } else {
            self.after_named(time)
        };
        due.map(Timestamp::as_millisecond)
    }

    /// The last due time that is not after `time`.
    pub fn until(&self, time: UnixMs) -> Option<UnixMs> {
        let time = second(time)?;
        let due = if self.hourly {
            self.until_hourly(time)
        } else {
            self.until_named(time)
        };
        due.map(Timestamp::as_millisecond)
    }

    /// The next time of the wall clock that is named.
    fn next(&self, shown: DateTime) -> Option<DateTime> {
        self.pattern.find_next_occurrence(&shown, false).ok()
    }

    /// The last time of the wall clock up to `shown` that is named.
    fn last(&self, shown: DateTime, inclusive: bool) -> Option<DateTime> {
        self.pattern
            .find_previous_occurrence(&shown, inclusive)
            .ok()
    }

    fn after_named(&self, time: Timestamp) -> Option<Timestamp> {
        let mut shown = self.zone.to_datetime(time);
        loop {
            // Those that the clock shows the second time have had their turn.
            shown = self.next(shown)?;
            let due = self.moment(shown)?;
            if due > time {
                return Some(due);
            }
        }
    }

    fn until_named(&self, time: Timestamp) -> Option<Timestamp> {
        let mut shown = self.last(self.latest_shown(time)?, true)?;
        loop {
            let due = self.moment(shown)?;
            if due <= time {
                return Some(due);
            }
            shown = self.last(shown, false)?;
        }
    }

    /// When a named time of the wall clock is due.
    fn moment(&self, shown: DateTime) -> Option<Timestamp> {
        match self.zone.to_ambiguous_timestamp(shown).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(shown).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(shown).ok(),
            AmbiguousOffset::Gap { before, .. } => {
                // By the clock as it was before, it is at most as long behind the change as the clock skips.
                let behind = before.to_timestamp(shown).ok()?;
                self.changed(behind)
            }
        }
    }

    /// The latest time that the wall clock has shown by `time`: more than it shows, when it was set back since.
    fn latest_shown(&self, time: Timestamp) -> Option<DateTime> {
        let shown = self.zone.to_datetime(time);
        let Some(changed) = self.changed(time) else {
            return Some(shown);
        };
        let before = self.zone.to_offset(changed.checked_sub(1.second()).ok()?);
        let before = before.to_datetime(changed).checked_sub(1.second()).ok()?;
        Some(shown.max(before))
    }

    /// The last change of the zone's clock that is not after `time`.
    fn changed(&self, time: Timestamp) -> Option<Timestamp> {
        let behind = time.checked_add(1.second()).ok()?;
        let change = self.zone.preceding(behind).next()?;
        Some(change.timestamp())
    }

    fn after_hourly(&self, time: Timestamp) -> Option<Timestamp> {
        let mut from = time;
        for _ in 0..CHANGES {
            let offset = self.zone.to_offset(from);
            let next = self.next(offset.to_datetime(from))?;
            let due = offset.to_timestamp(next).ok()?;
            match self.zone.following(from).next() {
                Some(change) if change.timestamp() <= due => {
                    from = change.timestamp();
                    if self.is_named(self.zone.to_datetime(from)) {
                        return Some(from);
                    }
                }
                _ => return Some(due),
            }
        }
        None
    }

    fn until_hourly(&self, time: Timestamp) -> Option<Timestamp> {
        let mut from = time;
        for _ in 0..CHANGES {
            let offset = self.zone.to_offset(from);
            let last = self.last(offset.to_datetime(from), true)?;
            let due = offset.to_timestamp(last).ok()?;
            match self.changed(from) {
                Some(change) if due < change => from = change.checked_sub(1.second()).ok()?,
                _ => return Some(due),
            }
        }
        None
    }

    fn is_named(&self, shown: DateTime) -> bool {
        self.pattern.is_time_matching(&shown).unwrap_or(false)
    }
}

/// The second that a time is in.
fn second(time: UnixMs) -> Option<Timestamp> {
    Timestamp::from_second(time.div_euclid(1000)).ok()
}

/// What `croner` says, as we would.
fn plain(error: &str) -> String {
    let (_, rest) = error.split_once(": ").unwrap_or(("", error));
    let mut text = rest.trim_end_matches('.').to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    text
}

/// A time as the clocks of a zone show it: `2027-03-28 03:00 CEST`.
pub(super) fn show(time: UnixMs, zone: &TimeZone) -> String {
    let Ok(time) = Timestamp::from_millisecond(time) else {
        return "?".to_owned();
    };
    let shown = time.to_zoned(zone.clone());
    let form = if shown.second() == 0 {
        "%Y-%m-%d %H:%M %Z"
    } else {
        "%Y-%m-%d %H:%M:%S %Z"
    };
    shown.strftime(form).to_string()
}

#[cfg(test)]
mod tests;
