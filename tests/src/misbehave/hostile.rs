//! Code that means ill, in the same cage as the real agent.
//!
//! The test leaves a script in the agent's folder; it is run once the cage is closed, with the
//! script's own plan and a place for its results. Whoever runs the same script from outside sees what
//! the cage makes of it.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use kennel_agent_host::cage;
use kennel_shared::{bootstrap::Bootstrap, cage::CageStep};

/// What is run, in Python.
pub const SCRIPT: &str = "acts.py";

/// What it is told.
pub const PLAN: &str = "acts.json";

/// What came of each of its acts; there when all are over.
pub const RESULTS: &str = "results.json";

/// How the cage was closed.
pub const STEPS: &str = "steps.json";

/// The exit code of an agent whose cage cannot be closed.
const REFUSED: i32 = 78;

/// Closes the cage and runs what is there.
pub(super) fn act(bootstrap: &Bootstrap) -> Vec<CageStep> {
    let steps = match cage::close(bootstrap) {
        Ok(steps) => steps,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            std::process::exit(REFUSED);
        }
    };
    let home = &bootstrap.state_dir;
    let text = serde_json::to_vec(&steps).expect("steps are text");
    fs::write(home.join(STEPS), text).expect("its own folder is open to it");
    let status = script("python3", home, RESULTS).status();
    assert!(status.expect("there is Python").success());
    steps
}

/// The script of the agent whose folder this is; to be run from inside, or not.
pub fn script(python: &str, home: &Path, results: &str) -> Command {
    let paths = [SCRIPT, PLAN, results].map(|name| home.join(name));
    let mut command = Command::new(python);
    command
        .args::<_, PathBuf>(paths)
        .current_dir(home)
        .stdin(Stdio::null());
    command
}
