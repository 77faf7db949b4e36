//! `turns` and `why`: what turns took, and what held one up.

use super::{
    args,
    exit::{Exit, Outcome},
    output::Output,
    table,
    units::now,
    why,
};
use crate::{client::Client, control::wire::TurnsQuery};

pub(super) async fn run(client: &Client, args: &args::Turns, out: &Output) -> Outcome {
    if let Some(agent) = &args.agent {
        // A name that nobody has is no agent without turns.
        client.agent(agent).await?;
    }
    let query = TurnsQuery {
        agent: args.agent.clone(),
        limit: args.limit,
        before: args.before,
    };
    let turns = client.turns(&query).await?;
    if args.json {
        out.line(turns.json.trim_end())?;
        return Ok(Exit::Ok);
    }
    let turns = turns.value;
    if turns.turns.is_empty() {
        out.note("no turn has ended, as far as is kept");
    } else {
        out.text(table::turns(&turns.turns, Output::width(), now()))?;
    }
    if let Some(next) = turns.next {
        out.note(format_args!("there may be more: --before {next}"));
    }
    Ok(Exit::Ok)
}

pub(super) async fn why(client: &Client, args: &args::Why, out: &Output) -> Outcome {
    let turn = client.turn_detail(&args.turn).await?;
    if args.json {
        out.line(turn.json.trim_end())?;
    } else {
        out.text(why::draw(&turn.value, Output::width().unwrap_or(80)))?;
    }
    Ok(Exit::Ok)
}
