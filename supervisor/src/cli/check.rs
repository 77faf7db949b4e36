//! `check`: whether the configuration is right, and what of it this host cannot do.

use serde::Serialize;

use super::{
    exit::{Exit, Failure, Outcome},
    locate::Locator,
    output::Output,
};
use crate::{
    config::{Diagnostics, Host, Loaded, Report},
    containment::{Cap, Containment},
    plan,
};

/// The JSON of `check --json`.
#[derive(Serialize)]
struct Verdict {
    /// Whether `up` would take it.
    valid: bool,
    file: String,
    errors: usize,
    warnings: usize,
    diagnostics: Vec<Report>,
}

pub(super) fn run(json: bool, locator: &Locator, out: &Output) -> Outcome {
    let file = locator.config_file()?;
    let (found, content) = match locator.inspect(&file) {
        // The secrets are looked for too: here somebody reads what is said about them.
        Ok(loaded) => {
            let found = loaded.check_secrets().merge(on_this_host(&loaded));
            let config = &loaded.config;
            let content = [
                count(config.agents.len(), "agent"),
                count(config.channels.len(), "channel"),
            ]
            .join(", ");
            (loaded.warnings.merge(found), content)
        }
        Err(found) => (found, String::new()),
    };
    let file = file.display().to_string();
    if json {
        out.line(verdict(file, &found))?;
        return Ok(if found.errors() == 0 {
            Exit::Ok
        } else {
            Exit::Usage
        });
    }
    out.diagnostics(&found);
    if found.errors() > 0 {
        let message = format!("{file} is refused: {}", found.summary());
        return Err(Failure::new(message).exit(Exit::Usage));
    }
    out.line(format_args!("{file} is right: {content}"))?;
    Ok(Exit::Ok)
}

/// What the machine says about it, as seen by this process: a supervisor that a service starts may be given more.
fn on_this_host(loaded: &Loaded) -> Diagnostics {
    let (containment, refused) = match plan::containment(&loaded.config) {
        Ok(containment) => (containment, None),
        Err(error) => (Containment::probe(), Some(crate::error_chain(&error))),
    };
    let memory = sysinfo::System::new().map(|mut system| {
        system.refresh_memory();
        system.total_memory()
    });
    loaded.check_host(&Host {
        memory: memory.ok(),
        refused,
        root: rustix::process::geteuid().is_root(),
        unenforced: &|limits| {
            let (mut caps, requested) = plan::caps(limits);
            if !requested.contains(&Cap::Pids) {
                caps.pids = None;
            }
            containment.unenforced(&caps)
        },
    })
}

fn verdict(file: String, found: &Diagnostics) -> String {
    let verdict = Verdict {
        valid: found.errors() == 0,
        file,
        errors: found.errors(),
        warnings: found.warnings(),
        diagnostics: found.reports(),
    };
    serde_json::to_string_pretty(&verdict).expect("plain data")
}

fn count(n: usize, what: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {what}{s}")
}
