//! `up`: runs the supervisor, here or in the background.

use std::path::Path;

use super::{
    args::Up,
    block_on, detach,
    exit::{Exit, Failure, Outcome},
    locate::Locator,
    output::Output,
};
use crate::{
    client::{Client, ClientError},
    config::Loaded,
};

/// `--socket` has no say here: a supervisor listens where its configuration says.
pub(super) fn run(args: &Up, locator: &Locator, out: &Output) -> Outcome {
    let file = locator.config_file()?;
    let loaded = locator.load(&file, out)?;
    let client = Client::new(loaded.config.supervisor.control_socket());
    block_on(refuse_second(&client))?;
    if args.detach {
        let supervisor = &loaded.config.supervisor;
        return detach::run(&file, supervisor, &client, out);
    }
    if args.detached {
        // Fails only for the leader of a group, which the process that `detach` starts is not.
        let _ = rustix::process::setsid();
    }
    foreground(&file, loaded)
}

/// Two supervisors would fight over the agents. The pid file's lock decides; this only says it better.
async fn refuse_second(client: &Client) -> Outcome {
    match client.health().await {
        Ok(health) => {
            let message = format!("a supervisor is running here already (pid {})", health.pid);
            Err(Failure::new(message)
                .exit(Exit::Refused)
                .hint("`kennel status` shows it, `kennel shutdown` ends it"))
        }
        Err(ClientError::NotRunning { .. }) => Ok(Exit::Ok),
        Err(error) => Err(error.into()),
    }
}

/// The supervisor's entry.
fn foreground(file: &Path, loaded: Loaded) -> Outcome {
    drop(loaded);
    Err(Failure::new(format!(
        "this build has no supervisor to run {}",
        file.display()
    )))
}
