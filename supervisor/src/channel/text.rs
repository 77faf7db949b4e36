//! Cutting texts to what a platform takes. Pure.

/// How a text is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// UTF-8 bytes.
    Bytes,
    /// UTF-16 code units, as Telegram counts.
    Utf16,
}

impl Unit {
    fn of(self, c: char) -> usize {
        match self {
            Self::Bytes => c.len_utf8(),
            Self::Utf16 => c.len_utf16(),
        }
    }

    /// The length of a text in this unit.
    pub fn length(self, text: &str) -> usize {
        match self {
            Self::Bytes => text.len(),
            Self::Utf16 => text.chars().map(char::len_utf16).sum(),
        }
    }
}

/// Cuts a text off at `max` bytes, at the end of a character.
pub fn truncate(text: &mut String, max: usize) {
    text.truncate(text.floor_char_boundary(max));
}

/// A fence that a part leaves open costs this much to close and to open again.
const FENCE: &str = "```";

/// Splits a text into parts of at most `max` units, at a paragraph, else a line, else a space, else anywhere between
/// two characters. A code fence that a cut falls into is closed at its end and opened again in the next part, with
/// its language. White space around a cut goes; parts are never empty, so a blank text has none.
///
/// # Panics
/// When `max` is below 32, which leaves no room for text between fences.
pub fn split(text: &str, max: usize, unit: Unit) -> Vec<String> {
    assert!(max >= 32, "a part needs room for its fences");
    let mut parts = Vec::new();
    let mut rest = text.trim_end();
    let mut opening: Option<String> = None;
    loop {
        let prefix = opening.take().map_or(String::new(), |fence| fence + "\n");
        // An unfenced text starts at its first visible line; code keeps its indentation.
        rest = if prefix.is_empty() {
            rest.trim_start_matches('\n')
        } else {
            rest
        };
        if rest.trim().is_empty() {
            return parts;
        }
        let used = unit.length(&prefix);
        if used + unit.length(rest) <= max {
            parts.push(prefix + rest);
            return parts;
        }
        let room = max - used - FENCE.len() - 1;
        let (head, tail) = cut(rest, room, unit);
        let mut part = prefix + head.trim_end();
        opening = open_fence(&part, max / 4, unit);
        if opening.is_some() {
            part.push('\n');
            part.push_str(FENCE);
        }
        if !part.trim().is_empty() {
            parts.push(part);
        }
        rest = if opening.is_some() {
            tail.strip_prefix('\n').unwrap_or(tail)
        } else {
            tail.trim_start()
        };
    }
}

/// Breaks one line into several of at most `max` units, at white space where there is some.
///
/// # Panics
/// When `max` is below 4: a character may need that much.
pub fn wrap(line: &str, max: usize, unit: Unit) -> Vec<&str> {
    assert!(max >= 4, "a line has room for every character");
    let mut lines = Vec::new();
    let mut rest = line.trim_end();
    while unit.length(rest) > max {
        let (head, tail) = cut(rest, max, unit);
        if !head.trim().is_empty() {
            lines.push(head.trim_end());
        }
        rest = tail.trim_start();
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// The fence that is open at the end of a part, with its language if that is short.
fn open_fence(part: &str, language_max: usize, unit: Unit) -> Option<String> {
    let mut open: Option<&str> = None;
    for line in part.lines() {
        let line = line.trim_start();
        if line.starts_with(FENCE) {
            open = if open.is_some() {
                None
            } else {
                Some(line.trim_end())
            };
        }
    }
    let fence = open?;
    let fits = fence.len() <= 16 && unit.length(fence) <= language_max;
    Some(if fits { fence } else { FENCE }.to_owned())
}

/// Cuts off at most `room` units, at the best place in the second half of them.
fn cut(text: &str, room: usize, unit: Unit) -> (&str, &str) {
    let mut hard = text.len();
    let mut half = 0;
    let mut used = 0;
    for (at, c) in text.char_indices() {
        if used <= room / 2 {
            half = at;
        }
        used += unit.of(c);
        if used > room {
            hard = at;
            break;
        }
    }
    let window = &text[half..hard];
    let soft = window
        .rfind("\n\n")
        .or_else(|| window.rfind('\n'))
        .or_else(|| window.rfind(char::is_whitespace))
        .map(|at| half + at)
        .filter(|at| *at > 0);
    text.split_at(soft.unwrap_or(hard))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(text: &str) -> Vec<String> {
        split(text, 40, Unit::Bytes)
    }

    #[test]
    fn short_texts_stay_whole() {
        assert_eq!(bytes("hello"), ["hello"]);
        assert_eq!(bytes("  indented\n"), ["  indented"]);
        assert_eq!(bytes(&"x".repeat(40)), ["x".repeat(40)]);
        for blank in ["", " ", "\n\n \n"] {
            assert_eq!(bytes(blank), [""; 0], "{blank:?}");
        }
    }

    #[test]
    fn it_cuts_at_the_best_place() {
        let cases: [(&str, &[&str]); 4] = [
            (
                "first paragraph is here\n\nsecond one\nwith two lines in it",
                &[
                    "first paragraph is here",
                    "second one\nwith two lines in it",
                ],
            ),
            (
                "first line that is long\nsecond one is even longer",
                &["first line that is long", "second one is even longer"],
            ),
            (
                "words words words words words words words words",
                &["words words words words words words", "words words"],
            ),
            (
                "123456789012345678901234567890123456789012345678",
                &["123456789012345678901234567890123456", "789012345678"],
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(bytes(text), expected);
        }
    }

    #[test]
    fn a_fence_is_closed_and_opened_again() {
        let text = "```rust\nlet a = 1;\nlet b = 2;\nlet c = 3;\nlet d = 4;\n```\ndone";
        let parts = bytes(text);
        assert_eq!(
            parts,
            [
                "```rust\nlet a = 1;\nlet b = 2;\n```",
                "```rust\nlet c = 3;\nlet d = 4;\n```\ndone",
            ]
        );
    }

    #[test]
    fn utf16_is_counted_as_telegram_does() {
        let text = "😀".repeat(30);
        assert_eq!(Unit::Utf16.length(&text), 60);
        let parts = split(&text, 40, Unit::Utf16);
        assert_eq!(parts.concat(), text);
        assert!(parts.iter().all(|part| Unit::Utf16.length(part) <= 40));
    }

    #[test]
    fn lines_are_wrapped() {
        let wrapped = |line| wrap(line, 10, Unit::Bytes);
        assert_eq!(wrapped("short"), ["short"]);
        assert_eq!(wrapped("two words here"), ["two words", "here"]);
        assert_eq!(wrapped("0123456789abc"), ["0123456789", "abc"]);
        assert_eq!(wrapped("ééééééé"), ["ééééé", "éé"]);
        assert_eq!(wrapped("``` not a fence"), ["``` not a", "fence"]);
        assert_eq!(wrapped("   "), [""; 0]);
    }

    #[test]
    fn truncation_keeps_characters_whole() {
        let mut text = "aé".to_owned();
        truncate(&mut text, 2);
        assert_eq!(text, "a");
        truncate(&mut text, 9);
        assert_eq!(text, "a");
    }

    fn visible(text: &str) -> String {
        text.chars()
            .filter(|c| !c.is_whitespace() && *c != '`')
            .collect()
    }

    proptest! {
        #[test]
        fn wrapped_lines_fit_and_nothing_visible_is_lost(line in "\\PC{0,200}", max in 4_usize..60) {
            let lines = wrap(&line, max, Unit::Bytes);
            let squeezed = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert!(lines.iter().all(|line| line.len() <= max && !line.trim().is_empty()), "{lines:?}");
            prop_assert_eq!(squeezed(&lines.concat()), squeezed(&line));
        }

        #[test]
        fn parts_fit_and_nothing_visible_is_lost(
            text in "([a-z😀é]{0,30}[ \n`]{0,3}){0,20}",
            max in 32_usize..120,
            utf16 in any::<bool>(),
        ) {
            let unit = if utf16 { Unit::Utf16 } else { Unit::Bytes };
            let parts = split(&text, max, unit);
            for part in &parts {
                prop_assert!(unit.length(part) <= max, "{part:?}");
                prop_assert!(!part.trim().is_empty());
            }
            // A fence's language may be repeated, so texts with fences are only measured.
            if !text.contains("```") {
                prop_assert_eq!(visible(&parts.concat()), visible(&text));
            }
        }
    }
}
