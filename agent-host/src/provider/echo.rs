//! The built-in provider for tests and benchmarks: it answers with the last message, unchanged, after
//! `delay_ms`, in `chunks` pieces that are `chunk_delay_ms` apart.
//!
//! A message that begins with `!` may be a command, so that tests can provoke what a model server and
//! an agent can do. Only this provider knows them. `[text]` is the answer; the command itself when
//! it is left out.
//!
//! | message | does |
//! | --- | --- |
//! | `!sleep MS [text]` | waits so long, then answers |
//! | `!hang` | never answers |
//! | `!fail STATUS` | fails as a model server that answers with this HTTP status |
//! | `!cut text` | says the text, then loses the connection |
//! | `!repeat N text` | answers with the text so many times |
//! | `!context` | answers `messages=N bytes=N`: what it was asked, without the system prompt |
//! | `!system` | answers with the system prompt |
//! | `!busy MS [text]` | keeps the event loop from everything else so long, then answers |
//! | `!tokens IN OUT [text]` | answers, and says that it read and wrote so many tokens |
//! | `!panic` | panics within the turn |
//! | `!tools JSON` | uses tools, and answers with what came of it: see below |
//! | `!exit CODE` | ends the process at once |
//! | `!abort` | ends the process by SIGABRT |
//!
//! `!tools` is followed by a list of answers, each a list of calls, or an object with `say` and `calls`. A
//! call has a `name` and `arguments`; arguments that are a string are handed on as they are, to try what
//! is no JSON:
//!
//! ```json
//! [[{"name": "exec", "arguments": {"command": "date"}}],
//!  {"say": "One more.", "calls": [{"name": "read", "arguments": "{\"path\": "}]}]
//! ```
//!
//! When all answers were given, or it may use no more tools, it answers with all results, each as
//! `name: text`, with an empty line between them.

use std::time::Duration;

use futures::{StreamExt, stream};
use kennel_shared::protocol::EchoSpec;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{
    Fault, Limits, Piece, Pieces, Provider, ProviderError, Request, RetryPolicy, Usage, calls,
};
use crate::window::{Call, Message};

#[derive(Debug, Clone, Copy)]
pub(super) struct Echo {
    spec: EchoSpec,
}

impl Echo {
    pub(super) fn new(spec: EchoSpec) -> Self {
        Self { spec }
    }
}

impl Provider for Echo {
    fn stream(&self, request: &Request) -> Pieces {
        let plan = Plan::of(request);
        let spec = self.spec;
        let begin = async move {
            pause(spec.delay_ms).await;
            let usage = plan.usage();
            let (text, calls, end) = plan.carry_out().await;
            let last = match end {
                Some(error) => Err(error),
                None => Ok(Piece::End(usage, calls)),
            };
            let gap = spec.chunk_delay_ms;
            let texts = stream::iter(split(&text, spec.chunks).into_iter().enumerate()).then(
                move |(index, text)| async move {
                    if index > 0 {
                        pause(gap).await;
                    }
                    Ok(Piece::Text(text))
                },
            );
            texts.chain(stream::iter([last]))
        };
        Box::pin(stream::once(begin).flatten())
    }

    fn retries(&self) -> RetryPolicy {
        RetryPolicy::NEVER
    }

    /// None of its own: a turn's limit ends it.
    fn limits(&self) -> Limits {
        Limits {
            whole: Duration::MAX,
            first: Duration::MAX,
            between: Duration::MAX,
        }
    }
}

/// An answer of a script.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Answer {
    say: String,
    calls: Vec<Wanted>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Wanted {
    name: String,
    #[serde(default)]
    arguments: Value,
}

/// As it is written: in full, or as its calls alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Calls(Vec<Wanted>),
    Full(Answer),
}

/// What a message asks for.
#[derive(Debug, Clone, PartialEq)]
enum Plan {
    Say(String),
    Use(Answer),
    Sleep(u64, String),
    Busy(u64, String),
    Tokens(Usage, String),
    Fail(u16),
    Cut(String),
    Hang,
    Panic,
    Exit(i32),
    Abort,
}

impl Plan {
    fn of(request: &Request) -> Self {
        let mut messages = request.messages.iter().rev();
        let text = messages.find_map(|message| match message {
            Message::User(text) => Some(text.as_str()),
            _ => None,
        });
        let text = text.unwrap_or_default();
        Self::parse(text, request).unwrap_or_else(|| Self::Say(text.to_owned()))
    }

    /// `None` when it is no command, or a malformed one.
    fn parse(text: &str, request: &Request) -> Option<Self> {
        let (command, rest) = word(text.strip_prefix('!')?);
        let (first, tail) = word(rest);
        let answer = || match tail {
            "" => text.to_owned(),
            _ => tail.to_owned(),
        };
        Some(match command {
            "sleep" => Self::Sleep(first.parse().ok()?, answer()),
            "busy" => Self::Busy(first.parse().ok()?, answer()),
            "tokens" => {
                let (output, said) = word(tail);
                let usage = Usage {
                    input_tokens: first.parse().ok()?,
                    output_tokens: output.parse().ok()?,
                };
                Self::Tokens(usage, if said.is_empty() { text } else { said }.to_owned())
            }
            "fail" => Self::Fail(first.parse().ok()?),
            "cut" => Self::Cut(rest.to_owned()),
            "repeat" => Self::Say(tail.repeat(first.parse().ok()?)),
            "context" => Self::Say(format!(
                "messages={} bytes={}",
                request.messages.len(),
                request
                    .messages
                    .iter()
                    .map(|m| m.text().len())
                    .sum::<usize>()
            )),
            "tools" => Self::script(rest, request)?,
            "system" => Self::Say(request.system.clone()?),
            "hang" => Self::Hang,
            "panic" => Self::Panic,
            "exit" => Self::Exit(first.parse().ok()?),
            "abort" => Self::Abort,
            _ => return None,
        })
    }

    /// The next answer of a script, by how many were given to the last message.
    fn script(text: &str, request: &Request) -> Option<Self> {
        let script: Vec<Written> = serde_json::from_str(text).ok()?;
        let messages = request.messages.iter().rev();
        let since: Vec<_> = messages
            .take_while(|message| !matches!(message, Message::User(_)))
            .collect();
        let given = since
            .iter()
            .filter(|message| matches!(message, Message::Model { .. }))
            .count();
        if request.may_call
            && let Some(next) = script.into_iter().nth(given)
        {
            return Some(Self::Use(match next {
                Written::Full(answer) => answer,
                Written::Calls(calls) => Answer {
                    say: String::new(),
                    calls,
                },
            }));
        }
        let results = since.iter().rev().filter_map(|message| match message {
            Message::Result { name, text, .. } => Some(format!("{name}: {text}")),
            _ => None,
        });
        Some(Self::Say(results.collect::<Vec<_>>().join("\n\n")))
    }

    /// What it says that it took.
    fn usage(&self) -> Usage {
        match self {
            Self::Tokens(usage, _) => *usage,
            _ => Usage::default(),
        }
    }

    /// The text to say, what to do then, and how it ends.
    async fn carry_out(self) -> (String, Vec<Call>, Option<ProviderError>) {
        let (text, end) = match self {
            Self::Use(answer) => {
                let calls = answer.calls.iter();
                let calls = calls::whole(calls.map(|call| (&*call.name, &call.arguments, None)));
                return (answer.say, calls, None);
            }
            Self::Say(text) | Self::Tokens(_, text) => (text, None),
            Self::Sleep(ms, text) => {
                pause(ms).await;
                (text, None)
            }
            Self::Busy(ms, text) => {
                let until = Instant::now() + Duration::from_millis(ms);
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
                (text, None)
            }
            Self::Fail(status) => {
                let error = ProviderError::new(Fault::Status(status), "as it was told to");
                (String::new(), Some(error))
            }
            Self::Cut(text) => {
                let error = ProviderError::new(Fault::Disconnected, "as it was told to");
                (text, Some(error))
            }
            Self::Hang => std::future::pending().await,
            Self::Panic => panic!("as it was told to"),
            Self::Exit(code) => exit(code),
            Self::Abort => abort(),
        };
        (text, Vec::new(), end)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test asked for this sudden end"
)]
fn exit(code: i32) -> ! {
    std::process::exit(code)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test asked for this sudden end"
)]
fn abort() -> ! {
    std::process::abort()
}

/// Sleeps; no wait is no trip through the timer, which would round up to a millisecond.
async fn pause(ms: u64) {
    if ms > 0 {
        sleep(Duration::from_millis(ms)).await;
    }
}

/// The first word, and what follows it and one space.
fn word(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

/// Splits into at most `chunks` pieces of about the same number of bytes, at character boundaries and
/// none of them empty.
fn split(text: &str, chunks: u32) -> Vec<String> {
    let chunks = usize::try_from(chunks.max(1))
        .unwrap_or(usize::MAX)
        .min(text.len());
    let mut pieces = Vec::with_capacity(chunks);
    let mut start = 0;
    for chunk in 1..=chunks {
        let end = text.ceil_char_boundary(text.len() * chunk / chunks);
        if end > start {
            pieces.push(text[start..end].to_owned());
            start = end;
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use kennel_shared::protocol::EchoSpec;
    use proptest::prelude::*;

    use super::*;

    fn request(text: &str) -> Request {
        Request {
            system: Some("Be kind.".into()),
            messages: vec![Message::User(text.into())],
            may_call: true,
            ..Request::default()
        }
    }

    async fn answer(spec: EchoSpec, text: &str) -> (Vec<String>, Option<Fault>) {
        let mut pieces = Echo::new(spec).stream(&request(text));
        let mut texts = Vec::new();
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(Piece::Text(text)) => texts.push(text),
                Ok(Piece::End(..)) => {}
                Ok(other) => panic!("{other:?}"),
                Err(error) => return (texts, Some(error.fault)),
            }
        }
        (texts, None)
    }

    #[tokio::test(start_paused = true)]
    async fn answers_after_its_delay_in_pieces() {
        let spec = EchoSpec {
            delay_ms: 1000,
            chunks: 3,
            chunk_delay_ms: 100,
        };
        let begun = Instant::now();
        let (texts, fault) = answer(spec, "abcdef").await;
        assert_eq!(
            (texts.as_slice(), fault),
            (&["ab", "cd", "ef"].map(String::from)[..], None)
        );
        let took = begun.elapsed();
        assert!(
            took >= Duration::from_millis(1200) && took < Duration::from_millis(1210),
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn commands() {
        let cases = [
            ("hello", "hello", None),
            ("!sleep 50 awake", "awake", None),
            ("!sleep 50", "!sleep 50", None),
            ("!sleep soon", "!sleep soon", None),
            ("!unknown", "!unknown", None),
            ("!repeat 3 ab", "ababab", None),
            ("!context", "messages=1 bytes=8", None),
            ("!tokens 3 4 said", "said", None),
            ("!tokens 3 4", "!tokens 3 4", None),
            ("!tokens 3 some", "!tokens 3 some", None),
            ("!system", "Be kind.", None),
            ("!fail 401", "", Some(Fault::Status(401))),
            ("!cut half an", "half an", Some(Fault::Disconnected)),
        ];
        for (text, expected, fault) in cases {
            let (texts, ended) = answer(EchoSpec::default(), text).await;
            assert_eq!(
                (texts.concat().as_str(), ended),
                (expected, fault),
                "{text}"
            );
        }
    }

    /// What it answers and what it wants done.
    async fn next(request: &Request) -> (String, Vec<Call>) {
        let mut pieces = Echo::new(EchoSpec::default()).stream(request);
        let (mut text, mut calls) = (String::new(), Vec::new());
        while let Some(piece) = pieces.next().await {
            match piece.unwrap() {
                Piece::Text(piece) => text.push_str(&piece),
                Piece::End(_, wanted) => calls = wanted,
                Piece::Progress => {}
            }
        }
        (text, calls)
    }

    #[tokio::test]
    async fn it_says_what_it_was_told_to_have_taken() {
        let mut pieces = Echo::new(EchoSpec::default()).stream(&request("!tokens 3 4 said"));
        let mut last = None;
        while let Some(piece) = pieces.next().await {
            last = Some(piece.unwrap());
        }
        let usage = Usage {
            input_tokens: 3,
            output_tokens: 4,
        };
        assert_eq!(last, Some(Piece::End(usage, Vec::new())));
    }

    #[tokio::test]
    async fn a_script_of_tools_is_followed_answer_by_answer() {
        let script = r#"!tools [[{"name": "list"}, {"name": "exec", "arguments": {"command": "date"}}],
            {"say": "More.", "calls": [{"name": "read", "arguments": "{\"path"}]}]"#;
        let mut request = request(script);
        let mut wanted = Vec::new();
        for _ in 0..2 {
            let (text, calls) = next(&request).await;
            wanted.push(text.clone());
            let results: Vec<_> = calls
                .iter()
                .map(|call| Message::Result {
                    call: call.id.clone(),
                    name: call.name.clone(),
                    text: call.arguments.clone(),
                })
                .collect();
            request.messages.push(Message::Model { text, calls });
            request.messages.extend(results);
        }
        assert_eq!(wanted, ["", "More."]);
        let told = "list: {}\n\nexec: {\"command\":\"date\"}\n\nread: {\"path";
        assert_eq!(next(&request).await, (told.to_owned(), Vec::new()));
        // What it may not do, it does not want.
        request.messages.truncate(1);
        request.may_call = false;
        assert_eq!(next(&request).await, (String::new(), Vec::new()));
        request.messages = vec![Message::User("!tools [{]".into())];
        assert_eq!(next(&request).await.0, "!tools [{]");
    }

    #[tokio::test(start_paused = true)]
    async fn hang_hangs() {
        let answer = answer(EchoSpec::default(), "!hang");
        let waited = tokio::time::timeout(Duration::from_hours(1), answer).await;
        assert!(waited.is_err());
    }

    proptest! {
        #[test]
        fn pieces_are_the_text(text in ".{0,50}", chunks in 0u32..80) {
            let pieces = split(&text, chunks);
            prop_assert_eq!(pieces.concat(), &*text);
            prop_assert!(pieces.len() <= chunks.max(1) as usize);
            prop_assert!(pieces.iter().all(|piece| !piece.is_empty()));
        }
    }
}
