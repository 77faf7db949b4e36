//! Hides secrets in a configuration's text before anything can show it.
//!
//! Two nets: the values that the reader knows to be secrets, and, for lines that could not be read at all, every
//! quoted value whose key looks like one. A masked text keeps its length and its lines, so that spans stay true.

use std::ops::Range;

use super::nearest::nearest;

/// A key that contains one of these has a value that is not shown.
const TELLTALE: [&str; 6] = [
    "token",
    "key",
    "secret",
    "passw",
    "credential",
    "authorization",
];

/// Keys of secrets, which may be misspelt.
const SECRETS: [&str; 4] = ["token", "api_key", "password", "secret"];

/// A key that looks like one of the above and is none.
const HARMLESS: [&str; 1] = ["max_tokens"];

/// Overwrites the known values and the suspicious ones with asterisks.
pub(super) fn mask(text: &mut String, known: impl Iterator<Item = Range<usize>>) {
    let mut spans: Vec<Range<usize>> = known.collect();
    spans.extend(suspicious(text));
    let mut bytes = std::mem::take(text).into_bytes();
    for span in spans {
        let end = span.end.min(bytes.len());
        for byte in &mut bytes[span.start.min(end)..end] {
            if !matches!(byte, b'\n' | b'\r' | b'"' | b'\'') {
                *byte = b'*';
            }
        }
    }
    // A span that splits a character leaves half of it; then nothing is shown rather than something wrong.
    *text = String::from_utf8(bytes).unwrap_or_else(|error| {
        let bytes = error.into_bytes();
        bytes
            .iter()
            .map(|byte| if *byte == b'\n' { '\n' } else { '*' })
            .collect()
    });
}

fn tells(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    if HARMLESS.contains(&key.as_str()) {
        return false;
    }
    TELLTALE.iter().any(|word| key.contains(word)) || nearest(&key, SECRETS.into_iter()).is_some()
}

/// `key = "value"` where the key tells: the span between the quotes, or to the end of an unclosed line.
fn suspicious(text: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    for (equals, _) in text.match_indices('=') {
        let before = text[..equals].trim_end_matches([' ', '\t', '"', '\'']);
        let rest =
            before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        if !tells(&before[rest.len()..]) {
            continue;
        }
        let after = text[equals + 1..].trim_start_matches([' ', '\t']);
        let quote_at = text.len() - after.len();
        let Some(quote @ ('"' | '\'')) = after.chars().next() else {
            continue;
        };
        let triple = quote.to_string().repeat(3);
        let body = quote_at + if after.starts_with(&triple) { 3 } else { 1 };
        let rest = &text[body..];
        let length = if after.starts_with(&triple) {
            rest.find(&triple)
        } else {
            rest.find([quote, '\n'])
        };
        spans.push(body..body + length.unwrap_or(rest.len()));
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        let mut text = text.to_owned();
        mask(&mut text, std::iter::empty());
        text
    }

    #[test]
    fn telltale_keys_lose_their_values() {
        assert_eq!(masked("token = \"abc\" # x"), "token = \"***\" # x");
        assert_eq!(masked("tokne = \"abc\""), "tokne = \"***\""); // typos: on purpose
        assert_eq!(masked("ዃkey = \"abc\""), "ዃkey = \"***\"");
        assert_eq!(masked("bot-token='abc'"), "bot-token='***'");
        assert_eq!(masked("api_key = \"abc"), "api_key = \"***");
        assert_eq!(
            masked("t = { kind = \"irc\", password = \"p\" }"),
            "t = { kind = \"irc\", password = \"*\" }"
        );
        assert_eq!(masked("\"token\" = \"é\""), "\"token\" = \"**\"");
        assert_eq!(masked("key = \"\"\"a\nb\"\"\""), "key = \"\"\"*\n*\"\"\"");
    }

    #[test]
    fn other_values_stay() {
        for text in [
            "model = \"a/b\"",
            "token = { env = \"NAME\" }",
            "max_tokens = \"12\"",
            "= \"x\"",
            "token =",
        ] {
            assert_eq!(masked(text), text);
        }
    }

    #[test]
    fn a_span_inside_a_character_never_shows_more() {
        let mut text = "a é\nb".to_owned();
        mask(&mut text, std::iter::once(0..3));
        assert_eq!(text, "****\n*");
    }
}
