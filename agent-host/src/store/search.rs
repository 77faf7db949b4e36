//! Finds a text in a text. Pure.
//!
//! Upper and lower case are the same: by bytes where the wanted text is ASCII, which is how nearly all are
//! and costs no copy; else by Unicode's simple rules.

/// How much of a message is shown around what was found, in bytes to each side.
const AROUND: usize = 120;

/// What is searched for.
pub(super) struct Needle {
    /// In lower case.
    text: String,
    is_ascii: bool,
}

impl Needle {
    pub(super) fn new(text: &str) -> Self {
        Self {
            is_ascii: text.is_ascii(),
            text: text.to_lowercase(),
        }
    }

    /// The surroundings of its first place in `text`.
    pub(super) fn find(&self, text: &str) -> Option<String> {
        if self.text.is_empty() {
            return None;
        }
        if self.is_ascii {
            let at = self.find_ascii(text.as_bytes())?;
            return Some(excerpt(text, at, self.text.len()));
        }
        // Places in it are not those in the text: a letter may have another length in lower case.
        let lower = text.to_lowercase();
        let at = lower.find(&self.text)?;
        Some(if lower.len() == text.len() {
            excerpt(text, at, self.text.len())
        } else {
            excerpt(&lower, at, self.text.len())
        })
    }

    fn find_ascii(&self, text: &[u8]) -> Option<usize> {
        let needle = self.text.as_bytes();
        let (lower, upper) = (needle[0], needle[0].to_ascii_uppercase());
        let last = text.len().checked_sub(needle.len())?;
        let mut from = 0;
        while from <= last {
            let next = text[from..=last]
                .iter()
                .position(|byte| *byte == lower || *byte == upper)?;
            let at = from + next;
            if text[at..at + needle.len()].eq_ignore_ascii_case(needle) {
                return Some(at);
            }
            from = at + 1;
        }
        None
    }
}

fn excerpt(text: &str, at: usize, length: usize) -> String {
    let from = text.floor_char_boundary(at.saturating_sub(AROUND));
    let to = text.ceil_char_boundary((at + length + AROUND).min(text.len()));
    let before = if from > 0 { "…" } else { "" };
    let behind = if to < text.len() { "…" } else { "" };
    format!("{before}{}{behind}", &text[from..to])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn case_does_not_matter() {
        let cases = [
            ("invoice", "The INVOICE of May", true),
            ("INVOICE", "the invoice", true),
            ("invoice", "invoic", false),
            ("", "anything", false),
            ("ärger", "ÄRGER im Haus", true),
            ("straße", "STRASSE", false),
            ("aab", "aaab", true),
        ];
        for (needle, text, found) in cases {
            assert_eq!(Needle::new(needle).find(text).is_some(), found, "{needle}");
        }
    }

    #[test]
    fn the_surroundings_are_cut_between_letters() {
        let text = format!("{}Needle{}", "ü".repeat(500), "é".repeat(500));
        let found = Needle::new("needle").find(&text).unwrap();
        assert!(found.starts_with("…ü") && found.ends_with("é…"), "{found}");
        assert!(found.contains("Needle") && found.len() < 400);
        assert_eq!(Needle::new("b").find("abc").unwrap(), "abc");
    }

    proptest! {
        /// It finds what the standard library finds.
        #[test]
        fn as_by_the_book(needle in "[abAB]{1,4}", text in "[abABü ]{0,40}") {
            let found = Needle::new(&needle).find(&text).is_some();
            let expected = text.to_ascii_lowercase().contains(&needle.to_ascii_lowercase());
            prop_assert_eq!(found, expected);
        }
    }
}
