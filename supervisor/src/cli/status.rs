//! `status`: the supervisor and its agents, or some agents in full, once or every second.

use std::{fmt::Write as _, time::Duration};

use super::{
    args::Status as Args,
    detail,
    exit::{Exit, Failure, Outcome},
    interrupt::Interrupts,
    output::Output,
    table,
    units::{self, lines_that_fit},
};
use crate::client::{Client, ClientError};

const EVERY: Duration = Duration::from_secs(1);

/// To the upper left corner.
const HOME: &str = "\x1b[H";
/// Clears the rest of the line.
const END_OF_LINE: &str = "\x1b[K";
/// Clears what is below.
const BELOW: &str = "\x1b[J";
/// Clears all, and goes to the upper left corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

pub(super) async fn run(client: &Client, args: &Args, out: &Output) -> Outcome {
    let first = look(client, args).await?;
    if !args.watch {
        out.text(first)?;
        return Ok(Exit::Ok);
    }
    let mut interrupts = Interrupts::new()?;
    let mut every = tokio::time::interval(EVERY);
    every.tick().await;
    out.control(CLEAR)?;
    draw(&first, args, out)?;
    loop {
        tokio::select! {
            () = interrupts.next() => return Ok(Exit::Ok),
            _ = every.tick() => {}
        }
        // A supervisor that is gone may come back, and is watched for that too.
        let view = tokio::select! {
            () = interrupts.next() => return Ok(Exit::Ok),
            view = look(client, args) => view.unwrap_or_else(|error| gone(error, args.json)),
        };
        draw(&view, args, out)?;
    }
}

async fn look(client: &Client, args: &Args) -> Result<String, ClientError> {
    if !args.agents.is_empty() {
        return look_at(client, args).await;
    }
    let status = client.status().await?;
    Ok(if args.json {
        line(&status.json)
    } else {
        table::status(&status.value, Output::width(), units::now())
    })
}

/// The agents that are named, in this order.
async fn look_at(client: &Client, args: &Args) -> Result<String, ClientError> {
    let mut views = Vec::new();
    for id in &args.agents {
        let agent = client.agent_in_full(id).await?;
        views.push(if args.json {
            line(&agent.json)
        } else {
            detail::agent(&agent.value, units::now())
        });
    }
    Ok(views.join(if args.json { "" } else { "\n" }))
}

fn line(json: &str) -> String {
    format!("{}\n", json.trim_end())
}

fn gone(error: ClientError, json: bool) -> String {
    let message = Failure::from(error).message;
    if json {
        format!(
            "{}\n",
            serde_json::json!({ "error": { "message": message } })
        )
    } else {
        format!("{message}\n")
    }
}

fn draw(view: &str, args: &Args, out: &Output) -> std::io::Result<()> {
    if !Output::on_terminal() {
        let end = if args.json { "" } else { "\n" };
        return out.text(format_args!("{view}{end}"));
    }
    // Over the last one, so that it does not flicker; and not more than fits, since what scrolls cannot be
    // drawn over.
    let mut screen = String::from(HOME);
    for line in lines_that_fit(view, Output::width(), Output::height()) {
        writeln!(screen, "{line}{END_OF_LINE}").expect("a string takes everything");
    }
    out.text(screen)?;
    out.control(BELOW)
}
