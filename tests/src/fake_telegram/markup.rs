//! `parse_mode`: markup into plain text and entities, or the error that the real server would give.
//!
//! Enough of it to refuse what Telegram refuses, which is what a bot that passes a model's prose on must survive:
//! unescaped reserved characters, unclosed entities, unknown or crossed tags. Links keep their URL, code its
//! language; quotes, mentions by id and custom emoji are accepted as plain text.

mod html;
mod markdown;

use serde_json::{Value, json};

use super::error::ApiError;
use super::objects::utf16_len;

/// Text without markup, and what the markup said.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Formatted {
    pub(super) text: String,
    pub(super) entities: Vec<Value>,
}

impl Formatted {
    /// The length so far, which is where the next entity starts.
    fn len(&self) -> usize {
        utf16_len(&self.text)
    }

    /// Closes an entity that began at `start`; an empty one is dropped, as on the real server.
    fn close(&mut self, kind: &str, start: usize, extra: Option<(&str, &str)>) {
        let length = self.len() - start;
        if length == 0 {
            return;
        }
        let mut entity = json!({"type": kind, "offset": start, "length": length});
        if let Some((name, value)) = extra {
            entity[name] = value.into();
        }
        self.entities.push(entity);
    }

    /// Puts outer entities first.
    fn sorted(mut self) -> Self {
        self.entities.sort_by_key(|entity| {
            let length = entity["length"].as_u64().unwrap_or_default();
            (entity["offset"].as_u64(), std::cmp::Reverse(length))
        });
        self
    }
}

/// Takes the markup of `mode` out of `text`.
pub(super) fn parse(text: &str, mode: Option<&str>) -> Result<Formatted, ApiError> {
    let parsed = match mode.map(str::to_ascii_lowercase).as_deref() {
        None | Some("none") => Ok(Formatted {
            text: text.to_owned(),
            entities: Vec::new(),
        }),
        Some("html") => html::parse(text),
        Some("markdown") => markdown::parse_legacy(text),
        Some("markdownv2") => markdown::parse_v2(text),
        Some(_) => return Err(ApiError::bad_request("unsupported parse_mode")),
    };
    parsed.map_err(|what| ApiError::bad_request(format!("can't parse entities: {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(formatted: &Formatted) -> Vec<(String, u64, u64)> {
        let number = |value: &Value| value.as_u64().unwrap();
        let parts = formatted.entities.iter().map(|entity| {
            let kind = entity["type"].as_str().unwrap().to_owned();
            (kind, number(&entity["offset"]), number(&entity["length"]))
        });
        parts.collect()
    }

    #[test]
    fn each_mode_finds_its_entities() {
        let cases = [
            (
                "html",
                "<b>a<i>🙂</i></b> &lt;x&#33; <a href=\"http://x\">l</a>",
            ),
            ("markdownv2", r"*a_🙂_* <x\! [l](http://x)"),
        ];
        for (mode, text) in cases {
            let formatted = parse(text, Some(mode)).unwrap();
            assert_eq!(formatted.text, "a🙂 <x! l", "{mode}");
            let expected = [("bold", 0, 3), ("italic", 1, 2), ("text_link", 8, 1)]
                .map(|(kind, offset, length)| (kind.to_owned(), offset, length));
            assert_eq!(kinds(&formatted), expected, "{mode}");
            assert_eq!(formatted.entities[2]["url"], "http://x", "{mode}");
        }
        let legacy = parse("*a* _b_ `c*` [l](u) snake\\_case.", Some("Markdown")).unwrap();
        assert_eq!(legacy.text, "a b c* l snake_case.");
        assert_eq!(legacy.entities.len(), 4);
        let code = parse("```rust\nlet x = [1];\n```", Some("MarkdownV2")).unwrap();
        assert_eq!(code.text, "let x = [1];\n");
        assert_eq!(code.entities[0]["language"], "rust");
        let code = parse(
            "<pre><code class=\"language-rust\">x</code></pre>",
            Some("HTML"),
        )
        .unwrap();
        assert_eq!((code.text.as_str(), code.entities.len()), ("x", 1));
        assert_eq!(code.entities[0]["language"], "rust");
    }

    #[test]
    fn broken_markup_is_refused_in_telegrams_words() {
        let cases = [
            (
                "MarkdownV2",
                "1. one",
                "Character '.' is reserved and must be escaped with the preceding '\\'",
            ),
            (
                "MarkdownV2",
                "a *b",
                "Can't find end of Bold entity at byte offset 2",
            ),
            (
                "MarkdownV2",
                "`b",
                "Can't find end of Code entity at byte offset 0",
            ),
            (
                "Markdown",
                "snake_case",
                "Can't find end of the entity starting at byte offset 5",
            ),
            (
                "HTML",
                "<b>a",
                "Can't find end tag corresponding to start tag \"b\"",
            ),
            (
                "HTML",
                "a <h1>",
                "Unsupported start tag \"h1\" at byte offset 2",
            ),
            (
                "HTML",
                "<b>a</i>",
                "Unmatched end tag at byte offset 4, expected \"</b>\", found \"</i>\"",
            ),
            ("HTML", "a</i>", "Unexpected end tag at byte offset 1"),
        ];
        for (mode, text, why) in cases {
            let error = parse(text, Some(mode)).unwrap_err();
            assert_eq!(
                error.description,
                format!("Bad Request: can't parse entities: {why}"),
                "{text}"
            );
        }
        assert_eq!(
            parse("x", Some("bbcode")).unwrap_err().description,
            "Bad Request: unsupported parse_mode"
        );
    }
}
