//! `budget`: what agents may spend, and have.

use super::{
    args,
    exit::{Exit, Outcome},
    output::Output,
    table,
    units::now,
};
use crate::client::Client;

pub(super) async fn run(client: &Client, args: &args::Budget, out: &Output) -> Outcome {
    if let Some(agent) = &args.agent {
        // A name that nobody has is no agent without a budget.
        client.agent(agent).await?;
    }
    let budget = client.budget().await?;
    if args.json {
        out.line(budget.json.trim_end())?;
        return Ok(Exit::Ok);
    }
    let mut agents = budget.value.agents;
    if let Some(agent) = &args.agent {
        agents.retain(|budget| budget.agent == *agent);
    }
    if agents.is_empty() {
        out.note("nothing limits what is spent; `budget` of an agent does");
    } else {
        out.text(table::budgets(&agents, Output::width(), now()))?;
    }
    Ok(Exit::Ok)
}
