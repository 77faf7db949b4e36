//! `up`: runs the supervisor, here or in the background.

use std::{io::IsTerminal as _, path::Path};

use tracing_subscriber::EnvFilter;

use super::{
    args::Up,
    block_on, detach,
    exit::{Exit, Failure, Outcome},
    locate::Locator,
    output::Output,
};
use crate::{
    client::{Client, ClientError},
    config::{Loaded, LogFormat, Supervisor},
    supervisor::{HomeError, RunError},
};

/// `--socket` has no say here: a supervisor listens where its configuration says.
pub(super) fn run(args: &Up, locator: &Locator, out: &Output) -> Outcome {
    let file = locator.config_file()?;
    let loaded = locator.load(&file, out)?;
    let client = Client::new(loaded.config.supervisor.control_socket());
    block_on(refuse_second(&client))?;
    if args.detach {
        let supervisor = &loaded.config.supervisor;
        return detach::run(&file, supervisor, &client, args.watch, out);
    }
    if args.detached {
        // Fails only for the leader of a group, which the process that `detach` starts is not.
        let _ = rustix::process::setsid();
    }
    foreground(&file, loaded, args.watch)
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

/// Runs the supervisor until it is told to end.
fn foreground(file: &Path, loaded: Loaded, watch: bool) -> Outcome {
    log_to_stderr(&loaded.config.supervisor);
    // Whoever is told of it may stand in another folder.
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    match crate::supervisor::run(loaded, file, watch) {
        Ok(()) => Ok(Exit::Ok),
        Err(RunError::Home(error @ HomeError::Running { .. })) => {
            let hint = "`kennel status` shows it, `kennel shutdown` ends it";
            Err(Failure::new(error.to_string())
                .exit(Exit::Refused)
                .hint(hint))
        }
        Err(error) => Err(Failure::new(crate::error_chain(&error))),
    }
}

/// `KENNEL_LOG` goes before the configuration, for one run.
fn log_to_stderr(settings: &Supervisor) {
    let level = settings.log_level.as_str();
    let filter = EnvFilter::try_from_env("KENNEL_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A second subscriber can only be a test's, which then has the log.
    let _ = match settings.log_format {
        LogFormat::Text => log.with_target(false).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}
