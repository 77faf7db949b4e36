//! Parsers of single values: each takes a [`Node`], and reports what is wrong with it.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::diagnostic::{Location, quoted};
use super::domain::{is_name, plain_duration};
use super::nearest::did_you_mean;
use super::reader::Node;

/// Longer waits are mistakes, and would overflow sums of them.
const LONGEST_DURATION: Duration = Duration::from_hours(366 * 24);

/// A value with the place that it came from.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) at: Location,
}

/// Keeps the place beside what `parse` finds.
pub(super) fn placed<'a, T>(
    parse: impl FnOnce(Node<'a>) -> Option<T>,
) -> impl FnOnce(Node<'a>) -> Option<Placed<T>> {
    move |node| {
        let at = node.at();
        parse(node).map(|value| Placed { value, at })
    }
}

pub(super) fn boolean(node: Node<'_>) -> Option<bool> {
    match node.value.get_ref() {
        DeValue::Boolean(value) => Some(*value),
        _ => node.mismatch("true or false", "true"),
    }
}

/// A string that is not empty.
pub(super) fn text(node: Node<'_>) -> Option<&str> {
    match node.value.get_ref() {
        DeValue::String(text) if text.trim().is_empty() => node.fail(
            format!("`{}` is empty", quoted(node.key)),
            "nothing here",
            "write a value, or remove the key",
        ),
        DeValue::String(text) => Some(text),
        _ => node.mismatch("a string", "\"…\""),
    }
}

pub(super) fn owned_text(node: Node<'_>) -> Option<String> {
    text(node).map(str::to_owned)
}

/// A string on one line without control characters.
pub(super) fn line(node: Node<'_>) -> Option<String> {
    let text = text(node)?;
    if text.chars().any(char::is_control) {
        return node.fail(
            format!("`{}` holds a control character", quoted(node.key)),
            "must be one line of plain text",
            "remove line breaks and escapes",
        );
    }
    Some(text.to_owned())
}

/// A whole number within `range`.
pub(super) fn integer<'a, T>(range: RangeInclusive<T>) -> impl FnOnce(Node<'a>) -> Option<T>
where
    T: TryFrom<i128> + PartialOrd + std::fmt::Display + Copy,
{
    move |node| {
        let DeValue::Integer(written) = node.value.get_ref() else {
            return node.mismatch("a whole number", &range.start().to_string());
        };
        let value = i128::from_str_radix(written.as_str(), written.radix())
            .ok()
            .and_then(|value| T::try_from(value).ok())
            .filter(|value| range.contains(value));
        value.or_else(|| {
            node.fail(
                format!("`{}` is out of range", quoted(node.key)),
                "out of range",
                format!("write a number from {} to {}", range.start(), range.end()),
            )
        })
    }
}

/// A number, with or without a fraction, within `range`.
pub(super) fn number<'a>(range: RangeInclusive<f64>) -> impl FnOnce(Node<'a>) -> Option<f64> {
    move |node| {
        let value = match node.value.get_ref() {
            DeValue::Integer(n) if n.radix() == 10 => n.as_str().parse::<f64>().ok(),
            DeValue::Float(n) => n.as_str().parse::<f64>().ok(),
            _ => return node.mismatch("a number", &format!("{:?}", range.start())),
        };
        // NaN is in no range.
        value.filter(|value| range.contains(value)).or_else(|| {
            node.fail(
                format!("`{}` is out of range", quoted(node.key)),
                "out of range",
                format!("write a number from {} to {}", range.start(), range.end()),
            )
        })
    }
}

/// A time longer than zero, with its unit.
pub(super) fn duration(node: Node<'_>) -> Option<Duration> {
    let value = duration_or_zero(node)?;
    if value.is_zero() {
        return node.fail(
            format!("`{}` must be longer than zero", quoted(node.key)),
            "no time at all",
            format!("write `{} = \"30s\"`", quoted(node.key)),
        );
    }
    Some(value)
}

/// A time with its unit.
pub(super) fn duration_or_zero(node: Node<'_>) -> Option<Duration> {
    let unitless = |number: &str| {
        node.fail(
            format!("`{}` needs a unit", quoted(node.key)),
            "a number without a unit",
            format!(
                "write `{} = \"{}s\"` for seconds (also ms, m, h, d)",
                quoted(node.key),
                quoted(number)
            ),
        )
    };
    let text = match node.value.get_ref() {
        DeValue::Integer(number) => return unitless(number.as_str()),
        DeValue::Float(number) => return unitless(number.as_str()),
        DeValue::String(text) => text.trim(),
        _ => return node.mismatch("a time", "\"30s\""),
    };
    if text != "0" && text.parse::<f64>().is_ok_and(f64::is_finite) {
        return unitless(text);
    }
    match parse_duration(text) {
        Some(value) if value <= LONGEST_DURATION => Some(value),
        Some(_) => node.fail(
            format!("`{}` is too long", quoted(node.key)),
            "longer than a year",
            format!("the longest time is {}", plain_duration(LONGEST_DURATION)),
        ),
        None => node.fail(
            format!("`{}` is not a time", quoted(node.key)),
            "cannot be read as a time",
            "write a number with its unit, as in \"250ms\", \"30s\" or \"1h30m\"",
        ),
    }
}

/// `humantime` panics where seconds and carried nanoseconds overflow together, so numbers that long never reach it.
fn parse_duration(text: &str) -> Option<Duration> {
    const LONGEST_TEXT: usize = 64;
    const MOST_DIGITS: usize = 9;
    let longest_run = text
        .split(|c: char| !c.is_ascii_digit())
        .map(str::len)
        .max()
        .unwrap_or(0);
    if text.len() > LONGEST_TEXT || longest_run > MOST_DIGITS {
        return None;
    }
    humantime::parse_duration(text).ok()
}

/// A number of bytes within `range`, with its unit.
pub(super) fn size<'a>(range: RangeInclusive<u64>) -> impl FnOnce(Node<'a>) -> Option<u64> {
    move |node| {
        let parsed = match node.value.get_ref() {
            DeValue::Integer(number) => Err(SizeFault::Unitless(number.as_str().to_owned())),
            DeValue::Float(number) => Err(SizeFault::Unitless(number.as_str().to_owned())),
            DeValue::String(text) => parse_size(text.trim()),
            _ => return node.mismatch("a size", "\"512MiB\""),
        };
        let key = quoted(node.key);
        let bytes = match parsed {
            Ok(bytes) => bytes,
            Err(fault) => {
                let (title, label) = match fault {
                    SizeFault::Unitless(_) => {
                        (format!("`{key}` needs a unit"), "a number without a unit")
                    }
                    SizeFault::TwoMeanings { .. } => (
                        format!("the unit of `{key}` has two meanings"),
                        "binary or decimal?",
                    ),
                    SizeFault::Unreadable => {
                        (format!("`{key}` is not a size"), "cannot be read as a size")
                    }
                };
                return node.fail(title, label, fault.advice(&key));
            }
        };
        if !range.contains(&bytes) {
            return node.fail(
                format!("`{key}` is out of range"),
                "out of range",
                format!(
                    "write a size from {} to {}",
                    bytesize::ByteSize(*range.start()),
                    bytesize::ByteSize(*range.end())
                ),
            );
        }
        Some(bytes)
    }
}

/// Why a text is no number of bytes.
#[derive(Debug)]
pub(super) enum SizeFault {
    Unitless(String),
    TwoMeanings { number: String, unit: String },
    Unreadable,
}

impl SizeFault {
    /// What to write instead.
    pub(super) fn advice(&self, key: &str) -> String {
        match self {
            Self::Unitless(number) => {
                let number = quoted(number);
                format!("write `{key} = \"{number}MiB\"` (also KiB, GiB; B for bytes)")
            }
            Self::TwoMeanings { number, unit } => format!(
                "write \"{number}{unit}iB\" (powers of 1024) or \"{number}{unit}B\" (powers of 1000)"
            ),
            Self::Unreadable => {
                "write a number with its unit, as in \"64KiB\", \"512MiB\" or \"2GiB\"".to_owned()
            }
        }
    }
}

/// A number of bytes with its unit.
pub(super) fn parse_size(text: &str) -> Result<u64, SizeFault> {
    if text.parse::<f64>().is_ok_and(f64::is_finite) {
        return Err(SizeFault::Unitless(text.to_owned()));
    }
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.' || c == ' ');
    if matches!(unit, "K" | "k" | "M" | "m" | "G" | "g" | "T" | "t") {
        return Err(SizeFault::TwoMeanings {
            number: quoted(text[..text.len() - unit.len()].trim_end()),
            unit: unit.to_ascii_uppercase(),
        });
    }
    let bytes = text.parse::<bytesize::ByteSize>();
    bytes
        .map(|bytes| bytes.as_u64())
        .map_err(|_| SizeFault::Unreadable)
}

/// One of a few words.
pub(super) fn choice<'a, T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl FnOnce(Node<'a>) -> Option<T> {
    move |node| {
        let DeValue::String(written) = node.value.get_ref() else {
            return node.mismatch("a word", &format!("\"{}\"", words[0].0));
        };
        let found = words.iter().find(|(word, _)| *word == written.as_ref());
        if let Some((_, value)) = found {
            return Some(*value);
        }
        let known: Vec<_> = words
            .iter()
            .map(|(word, _)| format!("\"{word}\""))
            .collect();
        let known = format!("one of {}", known.join(", "));
        let near = did_you_mean(written, words.iter().map(|(word, _)| *word));
        node.fail(
            format!("unknown {} \"{}\"", quoted(node.key), quoted(written)),
            "not a known word",
            match near {
                Some(near) => format!("{near} It is {known}"),
                None => format!("it is {known}"),
            },
        )
    }
}

/// A name by the rule of [`is_name`].
pub(super) fn name(node: Node<'_>) -> Option<String> {
    let name = text(node)?;
    if is_name(name) {
        return Some(name.to_owned());
    }
    node.fail(
        format!("`{}` is not a name", quoted(node.key)),
        "not a name",
        NAME_RULE,
    )
}

pub(super) const NAME_RULE: &str =
    "a name is 1 to 64 of a-z, 0-9, `_` and `-`, and begins with a letter or a digit";

/// A path; `~/` is the home folder, a relative one begins at the folder of the main file.
pub(super) fn path(node: Node<'_>) -> Option<PathBuf> {
    let written = text(node)?;
    if written.contains('\0') {
        return node.fail(
            format!("`{}` is not a path", quoted(node.key)),
            "holds a NUL character",
            "remove it",
        );
    }
    let Some(rest) = written.strip_prefix('~') else {
        return Some(node.context.base_dir.join(written));
    };
    match (&node.context.home, rest.strip_prefix('/')) {
        (Some(home), Some(rest)) => Some(home.join(rest)),
        (Some(home), None) if rest.is_empty() => Some(home.clone()),
        (None, Some(_)) => node.fail(
            format!("`{}` needs a home folder", quoted(node.key)),
            "HOME is not set",
            "write an absolute path",
        ),
        _ => node.fail(
            format!("`{}` names another user's home", quoted(node.key)),
            "only `~/` is understood",
            "write an absolute path",
        ),
    }
}

/// An `http://` or `https://` address with a host.
pub(super) fn url(node: Node<'_>) -> Option<String> {
    let written = line(node)?;
    let bad = |why: &str| {
        node.fail(
            format!("`{}` is not a web address", quoted(node.key)),
            why,
            "write it as in \"http://127.0.0.1:8080/v1\"",
        )
    };
    let Ok(uri) = written.parse::<hyper::Uri>() else {
        return bad("cannot be read");
    };
    match uri.scheme_str() {
        Some("http" | "https") => {}
        _ => return bad("must begin with http:// or https://"),
    }
    if uri.host().is_none_or(str::is_empty) {
        return bad("has no host");
    }
    if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
        node.mask();
        return bad("must not hold a user name or password");
    }
    if uri.query().is_some() {
        node.mask();
        return bad("must not hold a query");
    }
    Some(written.trim_end_matches('/').to_owned())
}

/// Whether an address that [`url`] accepted stays on this machine.
pub(crate) fn is_loopback(url: &str) -> bool {
    let Ok(uri) = url.parse::<hyper::Uri>() else {
        return false;
    };
    let host = uri.host().unwrap_or("").trim_matches(['[', ']']);
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// A list, each element read by `parse`; one bad element spoils the list, and all bad ones are reported.
pub(super) fn list<'a, T>(
    example: &'static str,
    mut parse: impl FnMut(Node<'a>) -> Option<T>,
) -> impl FnOnce(Node<'a>) -> Option<Vec<T>> {
    move |node| {
        let elements = node.elements("a list", example)?;
        let parsed: Vec<Option<T>> = elements.into_iter().map(&mut parse).collect();
        parsed.into_iter().collect()
    }
}

/// Whether a path is short enough for a Unix socket.
pub(super) fn fits_socket(path: &Path) -> bool {
    // `sun_path` with its closing NUL.
    let longest = if cfg!(target_os = "linux") { 107 } else { 103 };
    path.as_os_str().len() <= longest
}
