//! `parse_mode = HTML`.

use super::Formatted;

struct Open<'a> {
    tag: String,
    attributes: &'a str,
    start: usize,
}

/// The entity that a tag makes; `None` if Telegram does not know the tag.
fn kind_of(tag: &str) -> Option<&'static str> {
    Some(match tag {
        "b" | "strong" => "bold",
        "i" | "em" => "italic",
        "u" | "ins" => "underline",
        "s" | "strike" | "del" => "strikethrough",
        "tg-spoiler" | "span" => "spoiler",
        "code" => "code",
        "pre" => "pre",
        "blockquote" => "blockquote",
        "a" => "text_link",
        "tg-emoji" => "custom_emoji",
        _ => return None,
    })
}

pub(super) fn parse(source: &str) -> Result<Formatted, String> {
    let mut out = Formatted::default();
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut at = 0;
    while let Some(next) = source[at..].chars().next() {
        let rest = &source[at..];
        match next {
            '<' => {
                let end = rest
                    .find('>')
                    .ok_or_else(|| format!("Unclosed start tag at byte offset {at}"))?;
                let inner = &rest[1..end];
                if let Some(name) = inner.strip_prefix('/') {
                    close(&mut out, &mut open, name.trim(), at)?;
                } else {
                    let name = inner.split_whitespace().next().unwrap_or_default();
                    let tag = name.to_ascii_lowercase();
                    if kind_of(&tag).is_none() {
                        return Err(format!(
                            "Unsupported start tag \"{tag}\" at byte offset {at}"
                        ));
                    }
                    open.push(Open {
                        tag,
                        attributes: &inner[name.len()..],
                        start: out.len(),
                    });
                }
                at += end + 1;
            }
            '&' => {
                let (decoded, length) = decode(rest);
                out.text.push(decoded);
                at += length;
            }
            other => {
                out.text.push(other);
                at += other.len_utf8();
            }
        }
    }
    match open.pop() {
        Some(open) => Err(format!(
            "Can't find end tag corresponding to start tag \"{}\"",
            open.tag
        )),
        None => Ok(out.sorted()),
    }
}

fn close(
    out: &mut Formatted,
    open: &mut Vec<Open<'_>>,
    name: &str,
    at: usize,
) -> Result<(), String> {
    let Some(top) = open.pop() else {
        return Err(format!("Unexpected end tag at byte offset {at}"));
    };
    if !name.is_empty() && !name.eq_ignore_ascii_case(&top.tag) {
        return Err(format!(
            "Unmatched end tag at byte offset {at}, expected \"</{}>\", found \"</{name}>\"",
            top.tag
        ));
    }
    let kind = kind_of(&top.tag).unwrap_or_default();
    let language =
        attribute(top.attributes, "class").and_then(|class| class.strip_prefix("language-"));
    match kind {
        "text_link" => {
            if let Some(url) = attribute(top.attributes, "href").filter(|url| !url.is_empty()) {
                out.close(kind, top.start, Some(("url", url)));
            }
        }
        "custom_emoji" => {}
        // `<pre><code class="language-x">` is one entity: the inner tag only names the language.
        "code" if open.last().is_some_and(|outer| outer.tag == "pre") && language.is_some() => {
            out.close(
                "pre",
                top.start,
                language.map(|language| ("language", language)),
            );
        }
        "pre"
            if out
                .entities
                .last()
                .is_some_and(|inner| inner["language"].is_string()) => {}
        kind => out.close(kind, top.start, None),
    }
    Ok(())
}

fn attribute<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    let start = attributes.find(&format!("{name}="))? + name.len() + 1;
    let value = &attributes[start..];
    match value.chars().next()? {
        quote @ ('"' | '\'') => value[1..].split(quote).next(),
        _ => value.split_whitespace().next(),
    }
}

/// The character that an `&…;` stands for, and how many bytes it took; an unknown one is just an ampersand.
fn decode(rest: &str) -> (char, usize) {
    let plain = ('&', 1);
    let Some(end) = rest.find(';').filter(|end| *end < 12) else {
        return plain;
    };
    let name = &rest[1..end];
    let number = |digits: &str, radix| {
        u32::from_str_radix(digits, radix)
            .ok()
            .and_then(char::from_u32)
    };
    let decoded = match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        _ => match name.strip_prefix('#') {
            Some(digits) => match digits.strip_prefix('x') {
                Some(hex) => number(hex, 16),
                None => number(digits, 10),
            },
            None => None,
        },
    };
    decoded.map_or(plain, |decoded| (decoded, end + 1))
}
