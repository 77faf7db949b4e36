//! `chat`: one conversation, line by line.
//!
//! A thread of its own reads the lines, because reading blocks; it reads only when asked, so that it
//! never holds the terminal while an answer is printed. On the prompt Ctrl-C drops the line, while an
//! answer comes it cancels the turn; Ctrl-D leaves.

mod editor;

use std::path::PathBuf;

use self::editor::{Editor, Line};
use super::{
    args::Chat,
    exit::{Exit, Failure, Outcome},
    interrupt::Interrupts,
    output::Output,
    send::{self, Answered, Show},
};
use crate::{client::Client, control::wire::TurnRequest};

const HELP: &str = "\
/help  this
/new   begin a new conversation
/quit  leave, as does Ctrl-D
Ctrl-C drops the line, or cancels the answer that is coming";

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Input<'a> {
    Nothing,
    Message(&'a str),
    Help,
    New,
    Quit,
    Unknown(&'a str),
}

impl<'a> Input<'a> {
    fn read(line: &'a str) -> Self {
        match line.trim() {
            "" => Self::Nothing,
            "/help" | "/?" => Self::Help,
            "/new" => Self::New,
            "/quit" | "/exit" => Self::Quit,
            // A path, or a word with a slash in front that goes on, is a message.
            word if word.starts_with('/') && !word[1..].contains(['/', ' ']) => Self::Unknown(word),
            text => Self::Message(text),
        }
    }
}

pub(super) async fn run(
    client: &Client,
    args: &Chat,
    history: Option<PathBuf>,
    out: &Output,
) -> Outcome {
    let agent = client.agent(&args.agent).await?;
    let mut session = args.session.clone().unwrap_or_else(fresh_session);
    let mut interrupts = Interrupts::new()?;
    let mut editor = Editor::start(history, format!("{}> ", agent.id))
        .map_err(|error| Failure::new(format!("cannot read lines: {error}")))?;
    out.note(format_args!(
        "{} · {} · session {session} · /help",
        agent.id, agent.model
    ));
    loop {
        let line = tokio::select! {
            line = editor.next() => line,
            // Only where Ctrl-C is no key: lines come from a file or a pipe.
            () = interrupts.next() => return Ok(Exit::Interrupted),
        };
        let line = match line {
            Line::Text(text) => text,
            Line::Dropped => continue,
            Line::End => return Ok(Exit::Ok),
            Line::Broken(error) => {
                return Err(Failure::new(format!("cannot read lines: {error}")));
            }
        };
        match Input::read(&line) {
            Input::Nothing => {}
            Input::Quit => return Ok(Exit::Ok),
            Input::Help => out.line(HELP)?,
            Input::Unknown(word) => {
                out.line(format_args!("{word} is no command; /help lists them"))?;
            }
            Input::New => {
                session = fresh_session();
                out.note(format_args!("session {session}"));
            }
            Input::Message(text) => {
                let request = TurnRequest {
                    text: text.to_owned(),
                    session: Some(session.clone()),
                    stream: true,
                };
                say(client, &agent.id, &request, &mut interrupts, out).await?;
            }
        }
    }
}

/// One message and its answer. A failure is told, and the conversation goes on.
async fn say(
    client: &Client,
    agent: &str,
    request: &TurnRequest,
    interrupts: &mut Interrupts,
    out: &Output,
) -> Result<(), Failure> {
    let answered = send::answer(client, agent, request, Show::Pieces, interrupts, out).await;
    match answered {
        Ok(Answered::Complete | Answered::Interrupted) => {}
        Ok(Answered::Failed(failure)) => out.failure(&send::failed(agent, &failure)),
        Err(failure) if failure.silent => return Err(failure),
        Err(failure) => out.failure(&failure),
    }
    Ok(())
}

/// A name that no other conversation has.
fn fresh_session() -> String {
    format!("chat-{:08x}", fastrand::u32(..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages_or_commands() {
        let cases = [
            ("  ", Input::Nothing),
            ("hello /new", Input::Message("hello /new")),
            (" /new ", Input::New),
            ("/help", Input::Help),
            ("/quit", Input::Quit),
            ("/nwe", Input::Unknown("/nwe")), // typos: on purpose
            ("/etc/passwd", Input::Message("/etc/passwd")),
            ("/ is a slash", Input::Message("/ is a slash")),
        ];
        for (line, expected) in cases {
            assert_eq!(Input::read(line), expected, "{line:?}");
        }
    }
}
