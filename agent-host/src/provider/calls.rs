//! What a model wants done, put together from what its provider sends. Hostile until it is run: here only
//! lengths, numbers and names are held within bounds.

use serde_json::Value;

use crate::window::Call;

/// The most calls of one answer; what is beyond is not heard.
const CALLS_MAX: usize = 16;

/// The most that is kept of the arguments of one call. Longer ones are cut, and so no JSON any more.
pub(crate) const ARGUMENTS_MAX_BYTES: usize = 256 * 1024;

/// The longest name.
const NAME_MAX_BYTES: usize = 64;

/// What stands for a name that is none.
const NO_NAME: &str = "unknown";

/// Ids are made anew: some providers make none, some make the same twice, and some take only nine
/// letters and digits.
const ID_LENGTH: usize = 9;

impl Call {
    pub(super) fn new(name: &str, arguments: String, signature: Option<String>) -> Self {
        let is_name = !name.is_empty()
            && name.len() <= NAME_MAX_BYTES
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        Self {
            id: std::iter::repeat_with(fastrand::alphanumeric)
                .take(ID_LENGTH)
                .collect(),
            name: if is_name { name } else { NO_NAME }.to_owned(),
            arguments: match arguments.trim() {
                "" => "{}".to_owned(),
                _ => arguments,
            },
            signature,
        }
    }
}

/// Calls that came whole.
pub(super) fn whole<'a>(
    calls: impl IntoIterator<Item = (&'a str, &'a Value, Option<String>)>,
) -> Vec<Call> {
    let calls = calls.into_iter().take(CALLS_MAX);
    calls
        .map(|(name, arguments, signature)| {
            let mut text = match arguments {
                // What could not be read as JSON.
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                arguments => arguments.to_string(),
            };
            cut(&mut text);
            Call::new(name, text, signature)
        })
        .collect()
}

fn cut(text: &mut String) {
    text.truncate(text.floor_char_boundary(ARGUMENTS_MAX_BYTES));
}

/// A call as far as it has come.
#[derive(Debug)]
struct Part {
    id: String,
    name: String,
    arguments: String,
}

/// Calls that come in pieces, as OpenAI's API streams them.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    calls: Vec<Part>,
    left_out: usize,
}

impl Pieces {
    /// Takes a piece. Only the first of a call has a name, as a rule; the others say their place, which
    /// the library writes into the id as `call_<place>` when they have none.
    pub(super) fn take(&mut self, id: &str, name: &str, arguments: &str) {
        let place = || id.strip_prefix("call_")?.parse::<usize>().ok();
        let last = self.calls.len().checked_sub(1);
        let known = self.calls.iter().position(|call| call.id == id);
        let at = if name.is_empty() {
            match (known, place()) {
                (Some(known), _) => Some(known),
                (None, Some(place)) => Some(place).filter(|place| *place < self.calls.len()),
                (None, None) => last,
            }
        } else {
            // Some servers say all of it with every piece.
            known.filter(|known| Some(*known) == last && !id.is_empty())
        };
        match at {
            Some(at) => {
                let kept = &mut self.calls[at].arguments;
                if kept.len() < ARGUMENTS_MAX_BYTES {
                    kept.push_str(arguments);
                    cut(kept);
                }
            }
            None if name.is_empty() => {}
            None if self.calls.len() == CALLS_MAX => self.left_out += 1,
            None => {
                let mut arguments = arguments.to_owned();
                cut(&mut arguments);
                self.calls.push(Part {
                    id: id.to_owned(),
                    name: name.to_owned(),
                    arguments,
                });
            }
        }
    }

    /// The calls, when the answer is whole.
    pub(super) fn finish(self) -> Vec<Call> {
        if self.left_out > 0 {
            tracing::warn!(
                left_out = self.left_out,
                "an answer has more calls than are heard"
            );
        }
        self.calls
            .into_iter()
            .map(|part| Call::new(&part.name, part.arguments, None))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(pieces: &[(&str, &str, &str)]) -> Vec<(String, String)> {
        let mut calls = Pieces::default();
        for (id, name, arguments) in pieces {
            calls.take(id, name, arguments);
        }
        calls
            .finish()
            .into_iter()
            .map(|call| (call.name, call.arguments))
            .collect()
    }

    fn expected(calls: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, arguments): &(&str, &str)| (name.to_string(), arguments.to_string());
        calls.iter().map(owned).collect()
    }

    #[test]
    fn pieces_find_their_call() {
        let interleaved = [
            ("id-a", "read", ""),
            ("id-b", "list", "{"),
            ("call_0", "", r#"{"path":"#),
            ("call_1", "", "}"),
            ("call_0", "", r#""x"}"#),
        ];
        let all = expected(&[("read", r#"{"path":"x"}"#), ("list", "{}")]);
        assert_eq!(told(&interleaved), all);
        let all_of_it_each_time = [
            ("id-a", "read", r#"{"path":"#),
            ("id-a", "read", r#""x"}"#),
            ("id-b", "list", "{}"),
        ];
        assert_eq!(told(&all_of_it_each_time), all);
        let without_ids = [
            ("call_0", "read", r#"{"path":"x"}"#),
            ("call_1", "list", ""),
        ];
        assert_eq!(told(&without_ids), all);
        let same_tool_twice_without_ids = [("call_0", "list", ""), ("call_1", "list", "")];
        assert_eq!(
            told(&same_tool_twice_without_ids),
            expected(&[("list", "{}"), ("list", "{}")])
        );
    }

    #[test]
    fn what_has_no_place_or_no_bounds_does_no_harm() {
        let stray = [
            ("call_4294967295", "", "{}"),
            ("", "", "{}"),
            ("call_0", "list", "{"),
            ("call_18446744073709551616", "", "}"),
        ];
        // The last is no number, so it goes on with the last call.
        assert_eq!(told(&stray), expected(&[("list", "{}")]));
        let many: Vec<_> = (0..100).map(|_| ("", "list", "{}")).collect();
        assert_eq!(told(&many).len(), CALLS_MAX);
        let piece = "ä".repeat(1000);
        let long: Vec<_> = std::iter::once(("a", "write", ""))
            .chain((0..1000).map(|_| ("a", "", piece.as_str())))
            .collect();
        let arguments = &told(&long)[0].1;
        assert!(
            arguments.len() <= ARGUMENTS_MAX_BYTES && arguments.len() > ARGUMENTS_MAX_BYTES - 2
        );
    }

    #[test]
    fn names_and_ids_are_of_a_form_that_every_provider_takes() {
        let long = "x".repeat(65);
        for name in ["", "no such", "../exec", "naïve", long.as_str()] {
            assert_eq!(Call::new(name, String::new(), None).name, NO_NAME);
        }
        let (a, b) = (
            Call::new("read", " ".into(), None),
            Call::new("read", String::new(), None),
        );
        assert_eq!((a.name.as_str(), a.arguments.as_str()), ("read", "{}"));
        assert_ne!(a.id, b.id);
        assert!(a.id.len() == ID_LENGTH && a.id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }

    #[test]
    fn whole_calls_keep_what_could_not_be_read() {
        let (object, text, null) = (json!({"path": "x"}), json!("{\"path"), json!(null));
        let calls = whole([
            ("read", &object, Some("signed".into())),
            ("read", &text, None),
            ("read", &null, None),
        ]);
        let arguments: Vec<_> = calls.iter().map(|call| call.arguments.as_str()).collect();
        assert_eq!(arguments, [r#"{"path":"x"}"#, "{\"path", "{}"]);
        assert_eq!(calls[0].signature.as_deref(), Some("signed"));
    }
}
