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
    supervisor::{Handover, HomeError, Launch, Numbers, READY, RunError, WayBack},
};

/// `--socket` has no say here: a supervisor listens where its configuration says.
pub(super) fn run(args: &Up, locator: &Locator, out: &Output) -> Outcome {
    if let Some(numbers) = args.take_over {
        return take_over(numbers, args, locator, out);
    }
    let file = locator.config_file()?;
    let loaded = locator.load(&file, out)?;
    if args.preflight {
        crate::supervisor::preflight(&loaded).map_err(Failure::new)?;
        out.line(format!("{READY}{}", env!("CARGO_PKG_VERSION")))?;
        return Ok(Exit::Ok);
    }
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
    foreground(&file, loaded, args, None, || {})
}

/// Goes on where the program before in this process has stopped, or goes back to it.
fn take_over(numbers: Numbers, args: &Up, locator: &Locator, out: &Output) -> Outcome {
    // Before anything else is opened.
    let mut handed = Handover::take(numbers)
        .map_err(|error| Failure::new(format!("what was handed over cannot be used: {error}")))?;
    let back = handed.back.take().zip(args.return_to.clone());
    let back = back
        .map(|(program, config)| WayBack::keep(&handed, program, config, args.watch))
        .transpose()
        .map_err(|error| Failure::new(format!("there is no way back: {error}")))?;
    let up = || back.iter().for_each(WayBack::arrived);
    let outcome = locator
        .config_file()
        .and_then(|file| Ok((locator.load(&file, out)?, file)))
        .and_then(|(loaded, file)| foreground(&file, loaded, args, Some(handed), up));
    if let (Err(failure), Some(back)) = (&outcome, &back)
        && let Some(error) = back.go(&failure.message)
    {
        out.note(format_args!(
            "the program before cannot be started again: {error}"
        ));
    }
    outcome
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
fn foreground(
    file: &Path,
    loaded: Loaded,
    args: &Up,
    handed: Option<Handover>,
    up: impl FnOnce(),
) -> Outcome {
    log_to_stderr(&loaded.config.supervisor);
    // Whoever is told of it may stand in another folder.
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let launch = Launch {
        loaded,
        config_path: &file,
        watch: args.watch,
        handed,
        undone: args.undone.clone(),
    };
    match crate::supervisor::run(launch, up) {
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
