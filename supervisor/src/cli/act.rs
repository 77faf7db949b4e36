//! `start`, `stop`, `restart` and `shutdown`.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    args::{Shutdown, Which},
    exit::{Exit, Failure, Outcome},
    output::Output,
};
use crate::{
    client::{Client, ClientError},
    control::wire::{Action, ActionOutcome, ActionReply, ActionRequest},
};

/// How often a supervisor that is ending is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Acts on all agents at once, and tells of each. The code is that of the first that failed.
pub(super) async fn run(client: &Client, action: Action, which: &Which, out: &Output) -> Outcome {
    let request = ActionRequest {
        wait: true,
        timeout_ms: which
            .timeout
            .map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
    };
    let agents = if which.all {
        let agents = client.agents().await?;
        agents.into_iter().map(|agent| agent.id).collect()
    } else {
        which.agents.clone()
    };

    let spinner = out.spinner(format!("{} {}", doing(action), agents.join(", ")));
    let replies = agents.iter().map(|id| client.act(id, action, &request));
    let replies = futures::future::join_all(replies).await;
    drop(spinner);

    let mut exit = Exit::Ok;
    for (id, reply) in agents.iter().zip(replies) {
        if let Err(failure) = tell(id, action, reply, which.json, out) {
            // Nothing can be told about the others either.
            if failure.silent || failure.exit == Exit::NotRunning {
                return Err(failure);
            }
            out.failure(&failure);
            if exit == Exit::Ok {
                exit = failure.exit;
            }
        }
    }
    Ok(exit)
}

fn tell(
    id: &str,
    action: Action,
    reply: Result<ActionReply, ClientError>,
    json: bool,
    out: &Output,
) -> Result<(), Failure> {
    if json && let Ok(reply) = &reply {
        out.line(serde_json::to_string(reply).expect("wire types are plain data"))?;
    }
    out.note(outcome(id, action, reply)?);
    Ok(())
}

/// What came of an action, in words.
pub(super) fn outcome(
    id: &str,
    action: Action,
    reply: Result<ActionReply, ClientError>,
) -> Result<String, Failure> {
    let reply = reply.map_err(|error| about(id, error))?;
    let agent = &reply.agent;
    let life = match agent.pid {
        Some(pid) => format!(" (pid {pid}, generation {})", agent.generation),
        None => String::new(),
    };
    Ok(match (reply.outcome, action) {
        (ActionOutcome::Denied, _) => {
            let reason = reply
                .reason
                .as_deref()
                .unwrap_or("the supervisor gives no reason");
            let failure = Failure::new(format!("cannot {}: {reason}", action.as_str()));
            return Err(failure.about(id).exit(Exit::Refused));
        }
        (ActionOutcome::Already, Action::Stop) => format!("{id} is stopped already"),
        (ActionOutcome::Already, _) => format!("{id} is {} already{life}", agent.state),
        (ActionOutcome::Done, Action::Start) => format!("{id} started{life}"),
        (ActionOutcome::Done, Action::Stop) => format!("{id} stopped"),
        (ActionOutcome::Done, Action::Restart) => format!("{id} restarted{life}"),
    })
}

fn about(id: &str, error: ClientError) -> Failure {
    let whole = matches!(error, ClientError::NotRunning { .. });
    let failure = Failure::from(error);
    if whole || failure.exit == Exit::NoSuchAgent {
        failure
    } else {
        failure.about(id)
    }
}

fn doing(action: Action) -> &'static str {
    match action {
        Action::Start => "starting",
        Action::Stop => "stopping",
        Action::Restart => "restarting",
    }
}

/// Ends the supervisor and waits for its end.
pub(super) async fn shutdown(client: &Client, args: &Shutdown, out: &Output) -> Outcome {
    let pid = client.shutdown().await?.pid;
    let spinner = out.spinner(format!("the supervisor (pid {pid}) is stopping its agents"));
    let deadline = Instant::now() + args.timeout;
    while Instant::now() < deadline {
        match client.health().await {
            Ok(health) if health.pid == pid => tokio::time::sleep(LOOK).await,
            // Its socket is closed, or belongs to a successor.
            _ => {
                drop(spinner);
                out.note(format_args!("the supervisor (pid {pid}) has ended"));
                return Ok(Exit::Ok);
            }
        }
    }
    let limit = humantime::format_duration(args.timeout);
    let failure = Failure::new(format!(
        "the supervisor (pid {pid}) has not ended within {limit}"
    ));
    Err(failure
        .exit(Exit::TimedOut)
        .hint("it goes on stopping; `kennel status` shows what it waits for"))
}
