//! What an agent may spend in an hour, a day and a month, and what follows when it has. Pure.
//!
//! Windows are those of a calendar: an hour begins on the hour, a day at midnight, a month on its first day, where the
//! agent's budget says that it is. All of them begin on a quarter of an hour, which is how the journal adds up.

use std::time::Duration;

use jiff::{Timestamp, ToSpan as _, Zoned, tz::TimeZone};

use super::price::money;

/// Of a calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Window {
    /// From the hour to the next.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From the first to the first.
    Month,
}

impl Window {
    /// All of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Month];

    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// When the one that `now` lies in begins and ends, in milliseconds since 1970.
    pub fn around(self, now_ms: i64, zone: &TimeZone) -> Bounds {
        let now = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        let now = now.to_zoned(zone.clone());
        // Beyond the last year that a calendar has there is nothing but what it was.
        let (begins, ends) = self
            .bounds(&now)
            .unwrap_or_else(|_| (now.clone(), now.clone()));
        Bounds {
            begins_ms: begins.timestamp().as_millisecond(),
            ends_ms: ends.timestamp().as_millisecond(),
        }
    }

    fn bounds(self, now: &Zoned) -> Result<(Zoned, Zoned), jiff::Error> {
        Ok(match self {
            Self::Hour => {
                // Not by the clock's face: where clocks are set back, one hour comes twice.
                let into = i64::from(now.minute()) * 60 + i64::from(now.second());
                let nanos = i64::from(now.subsec_nanosecond());
                let begins = now.checked_sub(into.seconds().nanoseconds(nanos))?;
                let ends = begins.checked_add(1.hour())?;
                (begins, ends)
            }
            Self::Day => {
                let begins = now.start_of_day()?;
                (begins.clone(), begins.tomorrow()?.start_of_day()?)
            }
            Self::Month => {
                let begins = now.first_of_month()?.start_of_day()?;
                let next = begins.checked_add(1.month())?;
                (begins, next.start_of_day()?)
            }
        })
    }
}

/// When a window begins and ends, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Its first moment.
    pub begins_ms: i64,
    /// The first moment after it.
    pub ends_ms: i64,
}

/// How much may be spent in one window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// From so many tokens on it is said.
    pub warn_tokens: Option<u64>,
    /// From so many on nothing more is taken.
    pub max_tokens: Option<u64>,
    /// From so much money on it is said, in millionths of a unit.
    pub warn_cost: Option<u64>,
    /// From so much on nothing more is taken.
    pub max_cost: Option<u64>,
}

/// How much an agent may spend.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// Where its calendar is.
    pub zone: TimeZone,
    /// By window, the shortest first.
    pub limits: [Limits; 3],
    /// Whether it has a cheaper model for what comes after a warning.
    pub downgrades: bool,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            zone: TimeZone::UTC,
            limits: [Limits::default(); 3],
            downgrades: false,
        }
    }
}

/// What was spent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Tokens, read and written.
    pub tokens: u64,
    /// Money, in millionths of a unit.
    pub cost: u64,
}

/// What an agent has spent in the windows that run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Books {
    begins_ms: [i64; 3],
    spent: [Spent; 3],
    /// Windows in which it was said that the budget runs out.
    told: [bool; 3],
}

/// What is to be done with the next turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Let it run.
    Free,
    /// Let it run; some budget runs out, so on the cheaper model if there is one.
    Sparing(Window),
    /// Do not take it.
    Refused(Exhausted),
}

/// A budget that is spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhausted {
    /// Which window's.
    pub window: Window,
    /// When the next begins, in milliseconds since 1970.
    pub resets_ms: i64,
    /// What was spent, of how much.
    pub what: String,
    /// When the next begins, where the budget's calendar is.
    pub resets: String,
}

impl Exhausted {
    /// How long it takes until then.
    pub fn wait(&self, now_ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(self.resets_ms - now_ms).unwrap_or(0))
    }
}

impl Books {
    /// Those of the windows that `now` lies in, of which so much was spent.
    pub fn of(budget: &Budget, now_ms: i64, spent: [Spent; 3]) -> Self {
        let mut books = Self {
            begins_ms: Window::ALL.map(|window| window.around(now_ms, &budget.zone).begins_ms),
            spent,
            told: [false; 3],
        };
        // What is beyond the mark already was told when it came to it.
        for (told, (limits, spent)) in books.told.iter_mut().zip(budget.limits.iter().zip(&spent)) {
            *told = warns(limits, spent);
        }
        books
    }

    /// Begins windows anew that have ended.
    pub fn roll(&mut self, budget: &Budget, now_ms: i64) {
        for (place, window) in Window::ALL.into_iter().enumerate() {
            let begins_ms = window.around(now_ms, &budget.zone).begins_ms;
            if self.begins_ms[place] != begins_ms {
                self.begins_ms[place] = begins_ms;
                self.spent[place] = Spent::default();
                self.told[place] = false;
            }
        }
    }

    /// Adds a turn; gives the windows whose budget begins to run out with it.
    pub fn add(&mut self, budget: &Budget, now_ms: i64, turn: Spent) -> Vec<Window> {
        self.roll(budget, now_ms);
        let mut news = Vec::new();
        for (place, window) in Window::ALL.into_iter().enumerate() {
            let spent = &mut self.spent[place];
            spent.tokens = spent.tokens.saturating_add(turn.tokens);
            spent.cost = spent.cost.saturating_add(turn.cost);
            if !self.told[place] && warns(&budget.limits[place], spent) {
                self.told[place] = true;
                news.push(window);
            }
        }
        news
    }

    /// Another look at the same windows: no less was spent than either knows.
    pub fn join(&mut self, other: &Self) {
        for place in 0..3 {
            if self.begins_ms[place] == other.begins_ms[place] {
                let (own, other_spent) = (&mut self.spent[place], &other.spent[place]);
                own.tokens = own.tokens.max(other_spent.tokens);
                own.cost = own.cost.max(other_spent.cost);
                self.told[place] |= other.told[place];
            } else if other.begins_ms[place] > self.begins_ms[place] {
                self.begins_ms[place] = other.begins_ms[place];
                self.spent[place] = other.spent[place];
                self.told[place] = other.told[place];
            }
        }
    }

    /// What was spent in each window.
    pub fn spent(&self) -> [Spent; 3] {
        self.spent
    }

    /// What is to be done with the next turn. Windows must have been [rolled](Self::roll).
    pub fn decide(&self, budget: &Budget, now_ms: i64) -> Decision {
        let all = || {
            Window::ALL
                .into_iter()
                .zip(budget.limits.iter().zip(&self.spent))
        };
        // The longest wait is the one that counts.
        let refused = all().rev().find_map(|(window, (limits, spent))| {
            let what = beyond(limits, spent)?;
            let resets_ms = window.around(now_ms, &budget.zone).ends_ms;
            Some(Exhausted {
                window,
                resets_ms,
                what,
                resets: words_of(resets_ms, &budget.zone),
            })
        });
        if let Some(exhausted) = refused {
            return Decision::Refused(exhausted);
        }
        let sparing = all().find(|(_, (limits, spent))| warns(limits, spent));
        sparing.map_or(Decision::Free, |(window, _)| Decision::Sparing(window))
    }
}

/// A moment as people read it, where the calendar is.
pub fn words_of(ms: i64, zone: &TimeZone) -> String {
    let at = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
    let at = at.to_zoned(zone.clone());
    at.strftime("%Y-%m-%d %H:%M %Z").to_string()
}

fn reached(limit: Option<u64>, spent: u64) -> bool {
    limit.is_some_and(|limit| spent >= limit)
}

fn warns(limits: &Limits, spent: &Spent) -> bool {
    reached(limits.warn_tokens, spent.tokens) || reached(limits.warn_cost, spent.cost)
}

/// What was spent of what, where all is.
fn beyond(limits: &Limits, spent: &Spent) -> Option<String> {
    if let Some(max) = limits.max_tokens.filter(|max| spent.tokens >= *max) {
        return Some(format!("{} of {max} tokens", spent.tokens));
    }
    let max = limits.max_cost.filter(|max| spent.cost >= *max)?;
    Some(format!("{} of {}", money(spent.cost), money(max)))
}

#[cfg(test)]
mod tests;
