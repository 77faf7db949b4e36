//! Names and lines of IRC: what is the same name, whom a mask means, what is addressed to us, and what may go out. Pure.

use crate::channel::text::{self, Unit};

/// The longest line with its CR LF.
pub(super) const LINE_MAX: usize = 512;
/// The most of it that a text gets, however short the names are.
const PAYLOAD_MAX: usize = 400;
/// What a server may put between our nick and the text: `!` user (10) `@` host (63), blanks, PRIVMSG and colons.
const RELAYED: usize = 1 + 1 + 10 + 1 + 63 + " PRIVMSG ".len() + " :".len() + 2;
/// Stands for the lines that were left out.
const MORE: &str = "[…]";

/// Lower case as RFC 1459 has it: `{}|^` are the lower case of `[]\~`.
pub(super) fn lower(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '[' => '{',
            ']' => '}',
            '\\' => '|',
            '~' => '^',
            c => c.to_ascii_lowercase(),
        })
        .collect()
}

/// Whether this is the name of a room.
pub(super) fn is_room(name: &str) -> bool {
    name.starts_with(['#', '&', '+', '!'])
}

/// Whether a name can be a parameter of a command that means only it: no blanks, commas, controls, no colon in front.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(':')
        && !name.contains(|c: char| c == ' ' || c == ',' || c.is_control())
}

/// Whether an entry of an allow list means this sender. An entry with a `!` or `@` is a mask of `nick!user@host`, with
/// `*` for anything and `?` for one character; any other is a nick.
pub(super) fn matches(entry: &str, nick: &str, full: &str) -> bool {
    if entry.contains(['!', '@']) {
        glob(lower(entry).as_bytes(), lower(full).as_bytes())
    } else {
        lower(entry) == lower(nick)
    }
}

/// Matches in linear space and at worst quadratic time, whatever the pattern.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(b'?') => (p, t) = (p + 1, t + 1),
            Some(c) if *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match retry {
                Some((after, from)) => {
                    retry = Some((after, from + 1));
                    (p, t) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// The text behind `nick:` or `nick,`, if it begins with that.
pub(super) fn addressed<'t>(text: &'t str, nick: &str) -> Option<&'t str> {
    let body = text.trim_start();
    let body = body.strip_prefix('@').unwrap_or(body);
    let head = body.get(..nick.len())?;
    let after = body[nick.len()..].strip_prefix([':', ','])?;
    (lower(head) == lower(nick)).then(|| after.trim())
}

/// What somebody said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'t> {
    /// In words, without colours and controls.
    Words(String),
    /// `/me` does something.
    Action(String),
    /// A client-to-client request, which is not answered.
    Ctcp(&'t str),
}

/// Takes a message's text apart.
pub(super) fn said(text: &str) -> Said<'_> {
    let Some(ctcp) = text.strip_prefix('\u{1}') else {
        return Said::Words(clean(text));
    };
    let ctcp = ctcp.strip_suffix('\u{1}').unwrap_or(ctcp);
    match ctcp.strip_prefix("ACTION ") {
        Some(action) => Said::Action(clean(action)),
        None => Said::Ctcp(ctcp),
    }
}

/// Without colours and other controls. A colour is `^C`, up to two digits, and perhaps a comma and two more.
fn clean(text: &str) -> String {
    let mut parts = text.split('\u{3}');
    let first = parts.next().unwrap_or("");
    let coloured = parts.map(|part| {
        let after = skip_digits(part);
        let colour = after.len() < part.len();
        match after
            .strip_prefix(',')
            .map(|back| (back, skip_digits(back)))
        {
            Some((back, rest)) if colour && rest.len() < back.len() => rest,
            _ => after,
        }
    });
    std::iter::once(first)
        .chain(coloured)
        .flat_map(str::chars)
        .filter(|c| !c.is_control())
        .collect()
}

/// The text behind at most two digits.
fn skip_digits(text: &str) -> &str {
    let digits = text.bytes().take(2).take_while(u8::is_ascii_digit).count();
    &text[digits..]
}

/// The lines of a reply: no controls, no blank lines, each as long as our nick and the target leave room for when the
/// server relays it, and at most `lines_max`.
pub(super) fn reply(text: &str, nick: &str, target: &str, lines_max: usize) -> Vec<String> {
    let room = LINE_MAX.saturating_sub(RELAYED + nick.len() + target.len());
    let width = room.clamp(4, PAYLOAD_MAX);
    let mut lines: Vec<String> = Vec::new();
    for line in text.split(['\n', '\r']) {
        let line = harmless(line);
        for piece in text::wrap(&line, width, Unit::Bytes) {
            if lines.len() >= lines_max {
                lines.pop();
                lines.push(MORE.to_owned());
                return lines;
            }
            lines.push(piece.to_owned());
        }
    }
    lines
}

/// Without anything that a server or a client takes for more than text.
fn harmless(line: &str) -> String {
    line.chars()
        .map(|c| if c == '\t' { ' ' } else { c })
        .filter(|c| !c.is_control())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn case_is_that_of_the_rfc() {
        assert_eq!(lower("Nick[x]\\~"), "nick{x}|^");
        assert_eq!(lower("#Äé"), "#Äé");
    }

    #[test]
    fn masks_and_nicks() {
        let full = "Alice!ali@home.example.org";
        let cases = [
            ("alice", true),
            ("ALICE", true),
            ("alic", false),
            ("*", false),
            ("alice!*@*", true),
            ("*!*@*.example.org", true),
            ("*!ali@home.example.org", true),
            ("al?ce!*@*", true),
            ("*!bob@*", false),
            ("*@*.example.com", false),
            ("*!*@example.org", false),
            ("alice!", false),
        ];
        for (entry, expected) in cases {
            assert_eq!(matches(entry, "Alice", full), expected, "{entry}");
        }
        assert!(matches("a[b]!*@*", "A{B}", "A{B}!u@h"));
    }

    #[test]
    fn what_is_addressed_to_us() {
        let cases = [
            ("kennel: hello", Some("hello")),
            ("Kennel, hello", Some("hello")),
            ("@kennel: hello", Some("hello")),
            ("  kennel:hello", Some("hello")),
            ("kennel:", Some("")),
            ("kennel hello", None),
            ("kennels: hello", None),
            ("hello kennel", None),
            ("kenneé: x", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(addressed(text, "kennel"), expected, "{text:?}");
        }
    }

    #[test]
    fn actions_are_told_from_requests() {
        let words = |text: &str| Said::Words(text.into());
        assert_eq!(said("plain"), words("plain"));
        assert_eq!(said("\u{3}04,05red\u{f} \u{2}bold\u{2}"), words("red bold"));
        assert_eq!(said("\u{3}4,x \u{3}, \u{3}123 \u{3}é"), words(",x , 3 é"));
        assert_eq!(said("\u{1}ACTION waves\u{1}"), Said::Action("waves".into()));
        assert_eq!(said("\u{1}ACTION waves"), Said::Action("waves".into()));
        assert_eq!(said("\u{1}VERSION\u{1}"), Said::Ctcp("VERSION"));
        assert_eq!(said("\u{1}"), Said::Ctcp(""));
    }

    #[test]
    fn a_reply_cannot_smuggle_commands() {
        let text = "one\r\nQUIT :bye\n\0two\u{1}VERSION\u{1}\n\n\tthree";
        assert_eq!(
            reply(text, "kennel", "alice", 40),
            ["one", "QUIT :bye", "twoVERSION", " three"]
        );
    }

    #[test]
    fn a_reply_has_an_end() {
        let lines = reply(&"line\n".repeat(50), "kennel", "alice", 40);
        assert_eq!(lines.len(), 40);
        assert_eq!(lines[39], "[…]");
        assert_eq!(
            reply(&"line\n".repeat(40), "kennel", "alice", 40)[39],
            "line"
        );
        assert_eq!(reply(" \n ", "kennel", "alice", 40), [""; 0]);
    }

    #[test]
    fn names_that_cannot_be_targets() {
        for name in ["", "a b", "a,b", ":a", "a\r\nQUIT", "a\0"] {
            assert!(!is_plain(name), "{name:?}");
        }
        assert!(is_plain("#room") && is_plain("[nick]"));
    }

    proptest! {
        #[test]
        fn relayed_lines_fit(text in "\\PC{0,1500}", nick in "[a-z]{1,30}", target in "#[a-z]{1,50}") {
            for line in reply(&text, &nick, &target, 100) {
                let relayed = format!(
                    ":{nick}!{}@{} PRIVMSG {target} :{line}\r\n",
                    "u".repeat(10),
                    "h".repeat(63)
                );
                prop_assert!(relayed.len() <= LINE_MAX, "{}", relayed.len());
                prop_assert!(!line.contains(['\r', '\n', '\0']));
            }
        }

        #[test]
        fn a_glob_agrees_with_a_simple_one(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            fn simple(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern.split_first(), text.split_first()) {
                    (None, None) => true,
                    (Some((b'*', rest)), _) => {
                        simple(rest, text) || (!text.is_empty() && simple(pattern, &text[1..]))
                    }
                    (Some((b'?', p)), Some((_, t))) => simple(p, t),
                    (Some((a, p)), Some((b, t))) if a == b => simple(p, t),
                    _ => false,
                }
            }
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(glob(pattern, text), simple(pattern, text));
        }
    }
}
