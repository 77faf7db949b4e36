//! `send`: one message, one answer.

use std::{
    io::{self, Read as _},
    time::Duration,
};

use kennel_shared::envelope::TEXT_MAX_BYTES;

use super::{
    args::Send,
    exit::{Exit, Failure, Outcome},
    interrupt::Interrupts,
    output::{Output, foreign},
};
use crate::{
    client::{Client, ClientError, TurnStream},
    control::wire::{ErrorBody, TurnEvent, TurnFailure, TurnRequest},
};

/// How long a cancelled turn may take to say that it ended.
const CANCELLED: Duration = Duration::from_secs(3);

/// The message, from the argument or from standard input.
pub(super) fn text(argument: &str) -> Result<String, Failure> {
    let mut text = argument.to_owned();
    if argument == "-" {
        text.clear();
        // One byte more than is allowed, to see that there is more.
        let read = io::stdin()
            .take(TEXT_MAX_BYTES as u64 + 1)
            .read_to_string(&mut text);
        read.map_err(|error| {
            Failure::new(format!("cannot read the message: {error}")).exit(Exit::Usage)
        })?;
    }
    if text.trim().is_empty() {
        return Err(Failure::new("the message is empty").exit(Exit::Usage));
    }
    if text.len() > TEXT_MAX_BYTES {
        let message = format!("the message has more than {TEXT_MAX_BYTES} bytes");
        return Err(Failure::new(message).exit(Exit::Usage));
    }
    Ok(text)
}

pub(super) async fn run(client: &Client, args: &Send, text: String, out: &Output) -> Outcome {
    let request = TurnRequest {
        text,
        session: args.session.clone(),
        stream: !args.json,
    };
    let mut interrupts = Interrupts::new()?;
    if args.json {
        let spinner = out.spinner(format!("{} is thinking", args.agent));
        let answer = tokio::select! {
            answer = client.turn(&args.agent, &request) => answer,
            () = interrupts.next() => return Ok(Exit::Interrupted),
        };
        drop(spinner);
        return print_json(answer.map(|answer| answer.json), out);
    }
    let mode = if args.no_stream {
        Show::Whole
    } else {
        Show::Pieces
    };
    match answer(client, &args.agent, &request, mode, &mut interrupts, out).await? {
        Answered::Complete => Ok(Exit::Ok),
        Answered::Interrupted => Ok(Exit::Interrupted),
        Answered::Failed(failure) => Err(failed(&args.agent, &failure)),
    }
}

fn print_json(answer: Result<String, ClientError>, out: &Output) -> Outcome {
    match answer {
        Ok(json) => {
            out.line(json.trim_end())?;
            Ok(Exit::Ok)
        }
        Err(error) => {
            if let ClientError::Api { error, .. } = &error {
                let body = ErrorBody {
                    error: error.clone(),
                };
                out.line(serde_json::to_string(&body).expect("wire types are plain data"))?;
            }
            Err(error.into())
        }
    }
}

/// What is said about a turn without an answer.
pub(super) fn failed(agent: &str, failure: &TurnFailure) -> Failure {
    Failure::new(failure.message.clone())
        .about(agent)
        .detail(format!("turn {}", failure.turn_id))
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    /// As it comes.
    Pieces,
    /// When it is complete.
    Whole,
}

/// How a turn ended.
#[derive(Debug)]
pub(super) enum Answered {
    /// The whole answer is printed.
    Complete,
    /// There is none.
    Failed(TurnFailure),
    /// Ctrl-C: the turn is cancelled.
    Interrupted,
}

/// Has an agent answer, and prints that. Ctrl-C cancels the turn.
pub(super) async fn answer(
    client: &Client,
    agent: &str,
    request: &TurnRequest,
    show: Show,
    interrupts: &mut Interrupts,
    out: &Output,
) -> Result<Answered, Failure> {
    interrupts.clear();
    let mut printer = Printer::new(show, out, agent);
    let mut events = tokio::select! {
        events = client.turn_stream(agent, request) => events?,
        () = interrupts.next() => return Ok(Answered::Interrupted),
    };
    let mut turn = None;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = interrupts.next() => {
                printer.end_line()?;
                // Who hangs up before the turn has a name has nothing to cancel.
                if let Some(turn) = turn {
                    cancel(client, turn, events, out).await;
                }
                return Ok(Answered::Interrupted);
            }
        };
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                printer.end_line()?;
                return Err(error.into());
            }
        };
        match event {
            TurnEvent::Accepted { turn_id, .. } => turn = Some(turn_id),
            TurnEvent::Started { .. } => {}
            TurnEvent::Delta { text } => printer.delta(&text)?,
            TurnEvent::Finished(reply) => {
                printer.finish(&reply.reply)?;
                return Ok(Answered::Complete);
            }
            TurnEvent::Failed(failure) => {
                printer.end_line()?;
                return Ok(Answered::Failed(failure));
            }
        }
    }
}

/// Cancels a turn and waits for its end, so that the session is free for the next message.
async fn cancel(client: &Client, turn: String, mut events: TurnStream, out: &Output) {
    let cancelled = async {
        client.cancel(&turn).await?;
        while !matches!(
            events.next().await?,
            TurnEvent::Finished(_) | TurnEvent::Failed(_)
        ) {}
        Ok::<(), ClientError>(())
    };
    match tokio::time::timeout(CANCELLED, cancelled).await {
        Ok(Ok(())) => out.note("cancelled"),
        Ok(Err(error)) => out.note(format_args!("not cancelled: {error}")),
        Err(_) => out.note("cancelled; it has not ended yet"),
    }
}

/// Prints an answer, and no more of it than there is.
struct Printer<'a> {
    out: &'a Output,
    show: Show,
    spinner: Option<super::output::Spinner>,
    /// Something was printed, and whether its last character ends a line.
    line_open: Option<bool>,
}

impl<'a> Printer<'a> {
    fn new(show: Show, out: &'a Output, agent: &str) -> Self {
        Self {
            out,
            show,
            spinner: Some(out.spinner(format!("{agent} is thinking"))),
            line_open: None,
        }
    }

    fn delta(&mut self, text: &str) -> io::Result<()> {
        match self.show {
            Show::Pieces => self.print(text),
            Show::Whole => Ok(()),
        }
    }

    fn print(&mut self, text: &str) -> io::Result<()> {
        let text = foreign(text);
        if text.is_empty() {
            return Ok(());
        }
        self.spinner = None;
        self.line_open = Some(!text.ends_with('\n'));
        self.out.text(text)
    }

    /// The whole answer is there; prints it unless its pieces were.
    fn finish(&mut self, reply: &str) -> io::Result<()> {
        if self.line_open.is_none() {
            self.print(reply)?;
        }
        self.end_line()
    }

    fn end_line(&mut self) -> io::Result<()> {
        self.spinner = None;
        if self.line_open.take() == Some(true) {
            self.out.text("\n")?;
        }
        Ok(())
    }
}
