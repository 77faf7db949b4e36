//! When to ask a model again, and how long to wait before. Pure.

use std::time::Duration;

use super::fault::ProviderError;

/// A provider that asks for more patience than this is not asked again: the person is told instead.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often, and how patiently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetryPolicy {
    pub(crate) max_retries: u32,
    /// The pause before the first retry; each further one doubles it.
    pub(crate) first: Duration,
    /// The longest pause.
    pub(crate) longest: Duration,
}

impl RetryPolicy {
    /// Never asks again.
    pub(crate) const NEVER: Self = Self {
        max_retries: 0,
        first: Duration::ZERO,
        longest: Duration::ZERO,
    };

    /// For model servers.
    pub(crate) fn for_servers(max_retries: u32) -> Self {
        Self {
            max_retries,
            first: Duration::from_millis(500),
            longest: Duration::from_secs(20),
        }
    }

    /// How long to wait before asking again after `error`, with `retries` done already; `None` to give
    /// up. `random` in 0..1 spreads those who failed together: up to half of the pause is taken off.
    /// What the provider asks for is never undercut.
    pub(crate) fn pause(
        &self,
        error: &ProviderError,
        retries: u32,
        random: f64,
    ) -> Option<Duration> {
        if retries >= self.max_retries || !error.is_passing() {
            return None;
        }
        let doubled = self
            .first
            .saturating_mul(1u32.checked_shl(retries).unwrap_or(u32::MAX));
        let pause = doubled.min(self.longest).mul_f64(1.0 - random / 2.0);
        match error.retry_after {
            Some(asked) if asked > PATIENCE => None,
            Some(asked) => Some(pause.max(asked)),
            None => Some(pause),
        }
    }
}

/// The wait that a provider asks for: `retry-after-ms`, else `retry-after` in seconds. A date, which no
/// model server sends, counts as nothing.
pub(super) fn retry_after<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<Duration> {
    let number = |name| header(name)?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms")
        .map(|ms| ms / 1000.0)
        .or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::super::fault::Fault;
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        max_retries: 3,
        first: Duration::from_millis(100),
        longest: Duration::from_millis(350),
    };

    fn status(status: u16, retry_after_s: Option<u64>) -> ProviderError {
        let mut error = ProviderError::new(Fault::Status(status), "");
        error.retry_after = retry_after_s.map(Duration::from_secs);
        error
    }

    #[test]
    fn the_table() {
        let ms = |ms| Some(Duration::from_millis(ms));
        let cases = [
            (status(500, None), 0, 0.0, ms(100)),
            (status(500, None), 1, 0.0, ms(200)),
            (status(500, None), 1, 1.0, ms(100)),
            (status(500, None), 2, 0.0, ms(350)),
            (status(500, None), 3, 0.0, None),
            (status(401, None), 0, 0.0, None),
            (status(400, Some(1)), 0, 0.0, None),
            (status(429, Some(2)), 0, 0.0, ms(2000)),
            (status(429, Some(0)), 0, 0.0, ms(100)),
            (status(429, Some(60)), 2, 0.5, ms(60_000)),
            (status(429, Some(61)), 0, 0.0, None),
            (ProviderError::new(Fault::Disconnected, ""), 0, 0.0, ms(100)),
            (ProviderError::new(Fault::Garbage, ""), 0, 0.0, None),
        ];
        for (error, retries, random, expected) in cases {
            assert_eq!(
                POLICY.pause(&error, retries, random),
                expected,
                "{error} {retries}"
            );
        }
        assert_eq!(RetryPolicy::NEVER.pause(&status(500, None), 0, 0.0), None);
    }

    #[test]
    fn a_long_row_of_retries_does_not_overflow() {
        let policy = RetryPolicy::for_servers(u32::MAX);
        let pause = policy.pause(&status(503, None), 40, 0.0);
        assert_eq!(pause, Some(policy.longest));
    }

    #[test]
    fn headers_are_read() {
        type Headers = &'static [(&'static str, &'static str)];
        let cases: [(Headers, Option<u64>); 6] = [
            (&[], None),
            (&[("retry-after", "2")], Some(2000)),
            (&[("retry-after", " 0.5 ")], Some(500)),
            (
                &[("retry-after", "2"), ("retry-after-ms", "1500")],
                Some(1500),
            ),
            (&[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")], None),
            (&[("retry-after", "-1")], None),
        ];
        for (headers, expected) in cases {
            let found = retry_after(|name| {
                headers
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| *value)
            });
            assert_eq!(found, expected.map(Duration::from_millis), "{headers:?}");
        }
    }
}
