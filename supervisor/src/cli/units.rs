//! Times and sizes in a table: short, at most two units. And what fits on a screen.

/// `2023-11-14T22:13:20.123Z`, of milliseconds since 1970. Times that no calendar holds come from a broken clock: they
/// are shown as its last.
pub(super) fn time(ms: u64) -> humantime::Rfc3339Timestamp {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms.min(253_402_300_799_000));
    humantime::format_rfc3339_millis(at)
}

/// Milliseconds since 1970, now.
pub(super) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// `450ms`, `12s`, `3m05s`, `4h10m`, `12d03h`.
pub(super) fn duration(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0 => format!("{ms}ms"),
        1..60 => format!("{s}s"),
        60..3_600 => format!("{}m{:02}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h{:02}m", s / 3_600, s / 60 % 60),
        _ => format!("{}d{:02}h", s / 86_400, s / 3_600 % 24),
    }
}

/// `980B`, `4.2K`, `12M`, `1.5G`: powers of 1024.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1000 {
        return format!("{bytes}B");
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(value < 9.95);
    format!("{value:.digits$}{}", UNITS[unit])
}

/// `0.3`, `12`, `100`: percent, without the sign.
pub(super) fn percent(value: f64) -> String {
    let digits = usize::from(value < 9.95);
    format!("{value:.digits$}")
}

/// `12M`, or `12M/256M` where there is a cap.
pub(super) fn of_cap(now: u64, cap: Option<u64>, show: impl Fn(u64) -> String) -> String {
    match cap {
        Some(cap) => format!("{}/{}", show(now), show(cap)),
        None => show(now),
    }
}

/// The first lines of `text` that fit on a screen, the cursor's own line below them left free. Lines that
/// are wider than the screen take more than one row.
pub(super) fn lines_that_fit(text: &str, width: Option<usize>, height: Option<usize>) -> Vec<&str> {
    let mut rows = height.map_or(usize::MAX, |height| height.saturating_sub(1));
    let mut fitting = Vec::new();
    for line in text.lines() {
        let length = anstream::adapter::strip_str(line)
            .to_string()
            .chars()
            .count();
        let needed = width.map_or(1, |width| length.div_ceil(width.max(1)).max(1));
        if needed > rows {
            break;
        }
        rows -= needed;
        fitting.push(line);
    }
    fitting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let cases = [
            (0, "0ms"),
            (999, "999ms"),
            (1000, "1s"),
            (59_999, "59s"),
            (65_000, "1m05s"),
            (3_600_000, "1h00m"),
            (86_399_999, "23h59m"),
            (90_000_000, "1d01h"),
            (u64::MAX, "213503982334d14h"),
        ];
        for (ms, expected) in cases {
            assert_eq!(duration(ms), expected);
        }
    }

    #[test]
    fn sizes_have_at_most_four_characters() {
        let cases = [
            (0, "0B"),
            (999, "999B"),
            (1000, "1.0K"),
            (10_200, "10K"),
            (1_023_999, "1.0M"),
            (3_250_586, "3.1M"),
            (268_435_456, "256M"),
            (1_610_612_736, "1.5G"),
        ];
        for (size, expected) in cases {
            assert_eq!(bytes(size), expected, "{size}");
        }
    }

    #[test]
    fn percents_are_short() {
        assert_eq!(
            [0.0, 0.34, 9.96, 100.4].map(percent),
            ["0.0", "0.3", "10", "100"]
        );
    }

    #[test]
    fn a_cap_stands_behind_what_is_used() {
        assert_eq!(of_cap(1 << 20, Some(1 << 28), bytes), "1.0M/256M");
        assert_eq!(of_cap(1 << 20, None, bytes), "1.0M");
    }

    #[test]
    fn only_what_fits_is_drawn() {
        let text = "one\n\x1b[32mtwotwo\x1b[0m\n\nfour\nfive\n";
        let count = |width, height| lines_that_fit(text, width, height).len();
        assert_eq!(count(None, None), 5);
        assert_eq!(count(Some(80), Some(6)), 5);
        assert_eq!(count(Some(80), Some(5)), 4, "a line is left for the cursor");
        // The second takes two rows, colours none.
        assert_eq!(count(Some(6), Some(3)), 2);
        assert_eq!(count(Some(3), Some(3)), 1);
        assert_eq!(count(Some(3), Some(4)), 2);
        assert_eq!(count(Some(80), Some(0)), 0);
    }
}
