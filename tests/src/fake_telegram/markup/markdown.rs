//! `parse_mode = MarkdownV2` and the legacy `Markdown`.

use super::Formatted;

/// What `MarkdownV2` wants escaped wherever it is not markup.
const RESERVED: &str = "_*[]()~`>#+-=|{}.!";

/// The marks of `MarkdownV2` that nest: mark, entity, name in errors. Longer marks come first.
const MARKS: [(&str, &str, &str); 5] = [
    ("||", "spoiler", "Spoiler"),
    ("__", "underline", "Underline"),
    ("*", "bold", "Bold"),
    ("_", "italic", "Italic"),
    ("~", "strikethrough", "Strikethrough"),
];

struct Open {
    mark: &'static str,
    kind: &'static str,
    name: &'static str,
    start: usize,
    at: usize,
}

const LINK: Open = Open {
    mark: "[",
    kind: "text_link",
    name: "TextUrl",
    start: 0,
    at: 0,
};

pub(super) fn parse_v2(source: &str) -> Result<Formatted, String> {
    let mut out = Formatted::default();
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    let mut line_start = true;
    while let Some(next) = source[at..].chars().next() {
        let rest = &source[at..];
        let fresh_line = std::mem::replace(&mut line_start, next == '\n');
        if let Some(length) = code(&mut out, rest, at, true)? {
            at += length;
        } else if let Some(escaped) = escaped(rest) {
            out.text.push(escaped);
            at += 2;
        } else if next == ']' && open.last().is_some_and(|top| top.mark == "[") {
            at += 1 + end_link(&mut out, open.pop().map_or(0, |top| top.start), &rest[1..]);
        } else if let Some((mark, kind, name)) =
            MARKS.into_iter().find(|(mark, ..)| rest.starts_with(mark))
        {
            match open.last() {
                Some(top) if top.mark == mark => {
                    out.close(kind, top.start, None);
                    open.pop();
                }
                _ => open.push(Open {
                    mark,
                    kind,
                    name,
                    start: out.len(),
                    at,
                }),
            }
            at += mark.len();
        } else if next == '[' {
            open.push(Open {
                start: out.len(),
                at,
                ..LINK
            });
            at += 1;
        } else if next == '>' && fresh_line {
            at += 1;
        } else if RESERVED.contains(next) {
            return Err(format!(
                "Character '{next}' is reserved and must be escaped with the preceding '\\'"
            ));
        } else {
            out.text.push(next);
            at += next.len_utf8();
        }
    }
    match open.pop() {
        Some(top) => Err(format!(
            "Can't find end of {} entity at byte offset {}",
            top.name, top.at
        )),
        None => Ok(out.sorted()),
    }
}

pub(super) fn parse_legacy(source: &str) -> Result<Formatted, String> {
    let mut out = Formatted::default();
    let mut open: Option<Open> = None;
    let mut at = 0;
    while let Some(next) = source[at..].chars().next() {
        let rest = &source[at..];
        if let Some(top) = open.take() {
            let link = top.mark == "[";
            let ends = rest.starts_with(if link { "]" } else { top.mark });
            if ends && link {
                at += 1 + end_link(&mut out, top.start, &rest[1..]);
            } else if ends {
                out.close(top.kind, top.start, None);
                at += 1;
            } else {
                out.text.push(next);
                at += next.len_utf8();
                open = Some(top);
            }
        } else if let Some(length) = code(&mut out, rest, at, false)? {
            at += length;
        } else if let Some(escaped) = escaped(rest).filter(|escaped| "_*`[".contains(*escaped)) {
            out.text.push(escaped);
            at += 2;
        } else if let Some((mark, kind)) = [("*", "bold"), ("_", "italic"), ("[", "text_link")]
            .into_iter()
            .find(|(mark, _)| rest.starts_with(mark))
        {
            open = Some(Open {
                mark,
                kind,
                name: "",
                start: out.len(),
                at,
            });
            at += 1;
        } else {
            out.text.push(next);
            at += next.len_utf8();
        }
    }
    match open {
        Some(top) => Err(format!(
            "Can't find end of the entity starting at byte offset {}",
            top.at
        )),
        None => Ok(out.sorted()),
    }
}

/// Inline code or a block at the start of `rest`: written out whole. Answers how many bytes it took.
fn code(out: &mut Formatted, rest: &str, at: usize, v2: bool) -> Result<Option<usize>, String> {
    let (fence, kind, name) = if rest.starts_with("```") {
        ("```", "pre", "Pre")
    } else if rest.starts_with('`') {
        ("`", "code", "Code")
    } else {
        return Ok(None);
    };
    let Some(length) = rest[fence.len()..].find(fence) else {
        return Err(if v2 {
            format!("Can't find end of {name} entity at byte offset {at}")
        } else {
            format!("Can't find end of the entity starting at byte offset {at}")
        });
    };
    let inner = &rest[fence.len()..fence.len() + length];
    let (language, body) = match inner.split_once('\n') {
        Some((first, body)) if kind == "pre" && !first.contains(char::is_whitespace) => {
            (first, body)
        }
        _ => ("", inner),
    };
    let start = out.len();
    if v2 {
        out.text
            .push_str(&body.replace("\\`", "`").replace("\\\\", "\\"));
    } else {
        out.text.push_str(body);
    }
    let language = (!language.is_empty()).then_some(("language", language));
    out.close(kind, start, language);
    Ok(Some(2 * fence.len() + length))
}

/// The character behind a backslash that escapes it.
fn escaped(rest: &str) -> Option<char> {
    let next = rest.strip_prefix('\\')?.chars().next()?;
    (next.is_ascii() && !next.is_ascii_alphanumeric() && next != '\n').then_some(next)
}

/// Ends `[text` whose `]` was just read; `after` may begin with `(url)`. Answers how many bytes of it were taken.
fn end_link(out: &mut Formatted, start: usize, after: &str) -> usize {
    let url = after
        .strip_prefix('(')
        .and_then(|url| url.find(')').map(|end| &url[..end]));
    match url {
        Some(url) => {
            if !url.is_empty() {
                out.close("text_link", start, Some(("url", url)));
            }
            url.len() + 2
        }
        None => 0,
    }
}
