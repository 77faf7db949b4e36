//! `budget`: what agents may spend, and have.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{
    args,
    exit::{Exit, Outcome},
    output::Output,
    table,
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
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
        out.text(table::budgets(&agents, Output::width(), now))?;
    }
    Ok(Exit::Ok)
}
