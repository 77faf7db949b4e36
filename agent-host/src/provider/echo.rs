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
//! | `!panic` | panics within the turn |
//! | `!exit CODE` | ends the process at once |
//! | `!abort` | ends the process by SIGABRT |

use std::time::Duration;

use futures::{StreamExt, stream};
use kennel_shared::protocol::EchoSpec;
use tokio::time::{Instant, sleep};

use super::{Fault, Limits, Piece, Pieces, Provider, ProviderError, Request, RetryPolicy};

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
            let (text, end) = plan.carry_out().await;
            let gap = spec.chunk_delay_ms;
            let texts = stream::iter(split(&text, spec.chunks).into_iter().enumerate()).then(
                move |(index, text)| async move {
                    if index > 0 {
                        pause(gap).await;
                    }
                    Ok(Piece::Text(text))
                },
            );
            texts.chain(stream::iter(end.map(Err)))
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

/// What a message asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Plan {
    Say(String),
    Sleep(u64, String),
    Busy(u64, String),
    Fail(u16),
    Cut(String),
    Hang,
    Panic,
    Exit(i32),
    Abort,
}

impl Plan {
    fn of(request: &Request) -> Self {
        let text = request.messages.last().map_or("", |last| &*last.text);
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
            "fail" => Self::Fail(first.parse().ok()?),
            "cut" => Self::Cut(rest.to_owned()),
            "repeat" => Self::Say(tail.repeat(first.parse().ok()?)),
            "context" => Self::Say(format!(
                "messages={} bytes={}",
                request.messages.len(),
                request.messages.iter().map(|m| m.text.len()).sum::<usize>()
            )),
            "system" => Self::Say(request.system.clone()?),
            "hang" => Self::Hang,
            "panic" => Self::Panic,
            "exit" => Self::Exit(first.parse().ok()?),
            "abort" => Self::Abort,
            _ => return None,
        })
    }

    /// The text to say, and how it ends.
    async fn carry_out(self) -> (String, Option<ProviderError>) {
        match self {
            Self::Say(text) => (text, None),
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
        }
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
    use crate::window::{Message, Role};

    fn request(text: &str) -> Request {
        Request {
            system: Some("Be kind.".into()),
            messages: vec![Message {
                role: Role::User,
                text: text.into(),
            }],
        }
    }

    async fn answer(spec: EchoSpec, text: &str) -> (Vec<String>, Option<Fault>) {
        let mut pieces = Echo::new(spec).stream(&request(text));
        let mut texts = Vec::new();
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(Piece::Text(text)) => texts.push(text),
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
