//! `upgrade`: another program takes over, and every agent gets a new process.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    act,
    args::Upgrade,
    exit::{Exit, Failure, Outcome},
    output::Output,
};
use crate::{
    client::{Client, ClientError},
    control::wire::{Action, ActionRequest, AgentState, Desired, Health, UpgradeRequest},
};

/// How long the new program may take to answer: what it has to wait for first are the callers of the old one.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(50);

pub(super) async fn run(client: &Client, args: &Upgrade, out: &Output) -> Outcome {
    let program = match &args.program {
        Some(program) => std::path::absolute(program),
        None => std::env::current_exe(),
    };
    let program = program
        .map_err(|error| Failure::new(format!("the program has no path: {error}")))?
        .display()
        .to_string();
    let asked = Instant::now();
    let reply = client.upgrade(&UpgradeRequest { program }).await?.value;
    let spinner = out.spinner(format!("kennel {} takes over", reply.version));
    let health = until_new(client, asked).await?;
    until_adopted(client).await?;
    drop(spinner);
    if let Some(why) = health.undone {
        return Err(Failure::new(format!(
            "kennel {} had taken over and did not come up: {why}",
            reply.version
        ))
        .exit(Exit::Refused)
        .hint("the program before it goes on; the supervisor's log says more"));
    }
    out.note(format_args!(
        "kennel {} has taken over (pid {})",
        reply.version, reply.pid
    ));
    if args.keep_agents {
        return Ok(Exit::Ok);
    }
    renew(client, out).await
}

/// Waits until a supervisor answers that began after `asked`.
async fn until_new(client: &Client, asked: Instant) -> Result<Health, Failure> {
    loop {
        let health = tokio::time::timeout(PATIENCE, client.health()).await;
        match health {
            Ok(Ok(health)) if u128::from(health.uptime_ms) < asked.elapsed().as_millis() => {
                return Ok(health);
            }
            // The old one, or none for a moment.
            Ok(Ok(_) | Err(ClientError::NotRunning { .. } | ClientError::Lost(_))) | Err(_) => {}
            Ok(Err(error)) => return Err(error.into()),
        }
        if asked.elapsed() > PATIENCE {
            return Err(Failure::new(format!(
                "the new program does not answer after {PATIENCE:?}"
            ))
            .hint("its log says more; agents go on, and the next `kennel up` adopts them"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until the agents have found the new program.
async fn until_adopted(client: &Client) -> Result<(), Failure> {
    let began = Instant::now();
    loop {
        let agents = client.agents().await?;
        let Some(late) = agents
            .iter()
            .find(|agent| agent.state == AgentState::Starting)
        else {
            return Ok(());
        };
        if began.elapsed() > PATIENCE {
            return Err(Failure::new(format!(
                "agent `{}` is still starting after {PATIENCE:?}",
                late.id
            ))
            .hint("`kennel doctor` says more"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Gives every agent that runs a new process, one after the other, and stops at the first that does not come back.
async fn renew(client: &Client, out: &Output) -> Outcome {
    let request = ActionRequest {
        wait: true,
        timeout_ms: None,
    };
    for agent in client.agents().await? {
        if agent.desired != Desired::Running || agent.state == AgentState::Quarantined {
            continue;
        }
        let spinner = out.spinner(format!("restarting {}", agent.id));
        let reply = client.act(&agent.id, Action::Restart, &request).await;
        drop(spinner);
        let told = act::outcome(&agent.id, Action::Restart, reply).map_err(|failure| {
            failure.hint(
                "the others keep the processes that they have; `kennel restart` goes on by hand",
            )
        })?;
        out.note(told);
    }
    Ok(Exit::Ok)
}
