//! Foreign text on the screen: harmless, on one line, and as wide as it may be.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::super::output::printable;

/// Longer text is cut when it comes: no screen is that wide.
const KEPT_CHARS: usize = 1024;

/// `text` on one line, without what could drive the terminal or turn the order of the line around.
pub(super) fn safe(text: &str) -> String {
    // What no screen shows need not be looked through: a sequence has a few bytes to a column.
    let head: String = text.chars().take(4 * KEPT_CHARS).collect();
    printable(&head)
        .chars()
        .map(|c| if matches!(c, '\n' | '\t') { ' ' } else { c })
        .filter(|c| !turns_around(*c))
        .take(KEPT_CHARS)
        .collect()
}

/// Marks that change the direction of writing: with them, one agent's text could reorder its
/// neighbours' columns.
fn turns_around(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` in at most `width` columns; where something was left out, the last is `…`.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut used = 0;
    let mut out: String = text
        .chars()
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used < width
        })
        .collect();
    if width > 0 {
        out.push('…');
    }
    out
}

/// How many columns `text` takes.
pub(super) fn width(text: &str) -> u16 {
    u16::try_from(text.width()).unwrap_or(u16::MAX)
}

/// A duration of microseconds in at most five characters: `0.3ms`, `48ms`, `12s`.
pub(super) fn micros(us: u64) -> String {
    let ms = us / 1000;
    match ms {
        0..10 => format!("{ms}.{}ms", us % 1000 / 100),
        10..1000 => format!("{ms}ms"),
        _ => super::super::units::duration(ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_one_harmless_line() {
        assert_eq!(safe("a\x1b[2Jb\r\nc\td\u{9b}31m"), "ab c d31m");
        assert_eq!(safe("a\u{202e}b\u{2066}c\u{200f}d"), "abcd");
        assert_eq!(safe(&"x".repeat(1_000_000)).len(), KEPT_CHARS);
    }

    #[test]
    fn text_is_cut_by_columns() {
        let cases = [
            ("hexa", 4, "hexa"),
            ("hexa", 3, "he…"),
            ("hexa", 1, "…"),
            ("hexa", 0, ""),
            // Two columns each: half of one is left out.
            ("漢字漢字", 8, "漢字漢字"),
            ("漢字漢字", 6, "漢字…"),
            ("漢字漢字", 5, "漢字…"),
            ("漢字漢字", 4, "漢…"),
        ];
        for (text, columns, expected) in cases {
            assert_eq!(cut(text, columns), expected, "{text} {columns}");
            assert!(usize::from(width(expected)) <= columns.max(1));
        }
    }

    #[test]
    fn lags_are_short() {
        let cases = [
            (0, "0.0ms"),
            (340, "0.3ms"),
            (9_999, "9.9ms"),
            (48_164, "48ms"),
            (48_164_000, "48s"),
        ];
        for (us, expected) in cases {
            assert_eq!(micros(us), expected);
        }
    }
}
