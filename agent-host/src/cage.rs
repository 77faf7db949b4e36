//! The cage: what a child does to itself before it does anything else.
//!
//! Owned by nobody: [`close`] runs once, on the only thread, between reading the bootstrap and building
//! the event loop. What it sets (limits, privileges, Landlock, system calls) is inherited by every
//! process that the agent ever starts, and nothing of it can be undone from inside.
//!
//! ```text
//! descriptors ─ pid-namespace ─ environment ─ session ─ umask ─ core ─ mark ─ group ─ user
//!   ─ capabilities ─ no-new-privs ─ dumpable ─ landlock ─ seccomp ─► the agent
//! ```
//!
//! Each step becomes a [`CageStep`] of the report, which goes to the supervisor in the first hello. A step that
//! fails ends a strict agent; under best effort it is reported and the rest goes on. The exception is
//! `user`: an agent that was to be somebody else never runs as its supervisor.
//!
//! What the cage holds and what it does not is told in `docs/security.md`.

mod calls;
mod files;
mod identity;
mod namespace;
mod process;
mod report;

use std::{fs, os::unix::fs::DirBuilderExt, path::Path};

use kennel_shared::{
    bootstrap::Bootstrap,
    cage::{CageStep, Network},
};

pub use self::report::CageError;
use self::report::Report;

/// The private folder for temporary files, in the agent's own.
const TEMPORARY: &str = "tmp";

const KERNEL: &str = "a newer kernel has it";
const OURS: &str = "every Linux does this; something outside of Kennel prevents it";
const GROUPS: &str = "`kennel doctor` shows which groups the supervisor can make";
const SANDBOX: &str = "boot a kernel with it, or set `sandbox = { enabled = false }`";

/// Closes the cage. Only while there is one thread; and where a PID namespace is founded, whoever calls
/// this is another process when it returns.
pub fn close(bootstrap: &Bootstrap) -> Result<Vec<CageStep>, CageError> {
    let (spec, home) = (&bootstrap.cage, &bootstrap.state_dir);
    let mut report = Report::new(spec.strict);
    report.note("descriptors", OURS, process::close_descriptors())?;
    if spec.pid_namespace {
        let remedy = "allow user namespaces, or run where cgroups are at hand";
        // Nobody asked for it: without it, those who hide from their parents are looked for.
        report.attempt("pid-namespace", remedy, namespace::enter());
    } else {
        report.off("pid-namespace", "its group ends whom it starts");
    }
    let temporary = home.join(TEMPORARY);
    let programs = spec.sandbox.then(|| files::programs(spec, home));
    let environment = process::environment(home, &temporary, programs.as_deref());
    report.note("environment", OURS, environment)?;
    report.note("session", OURS, process::session())?;
    report.note("umask", OURS, process::umask())?;
    report.note("core", OURS, process::no_core())?;
    report.note("mark", OURS, process::mark())?;
    match &spec.group {
        Some(group) => report.note("group", GROUPS, process::in_group(group))?,
        None => report.off("group", "the supervisor has none for it"),
    }
    // Only a process with privileges can drop them for good, and the user step takes them away.
    let bounding = identity::drop_bounding();
    match spec.user {
        Some(user) => identity::become_user(user)
            .map_err(|why| CageError {
                step: "user",
                why,
                remedy: "run the supervisor as root, or leave out `user`",
                optional: false,
            })
            .and_then(|detail| report.note("user", OURS, Ok(detail)))?,
        None => report.off("user", "it runs as its supervisor's user"),
    }
    let dropped = identity::drop_all(bounding, &spec.workspace);
    report.note("capabilities", OURS, dropped)?;
    report.note("no-new-privs", KERNEL, process::no_new_privileges())?;
    report.note("dumpable", OURS, process::not_dumpable())?;
    make_temporary(&temporary)?;
    if !spec.sandbox {
        let why = "`sandbox` is off";
        report.off("landlock", why);
        report.off("seccomp", why);
        return Ok(report.finish());
    }
    let own = files::Own {
        home,
        runtime: bootstrap.socket.parent().unwrap_or(Path::new("/")),
    };
    report.note("landlock", SANDBOX, files::restrict(spec, &own))?;
    report.note("seccomp", SANDBOX, calls::restrict(&spec.network))?;
    Ok(report.finish())
}

/// Not a step: without it nothing of the agent works.
fn make_temporary(path: &Path) -> Result<(), CageError> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|error| CageError {
        step: "environment",
        why: format!("{} cannot be made: {error}", path.display()),
        remedy: "the agent's folder must be its own",
        optional: false,
    })
}

/// Whether connections are restricted at all.
fn restricts(network: &Network) -> bool {
    !matches!(network, Network::Open)
}
