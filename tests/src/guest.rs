//! What is checked inside a virtual machine: Kennel's release programs on a kernel with the whole of
//! cgroup v2, as root and as an unprivileged user below systemd (see `scripts/vm`).
//!
//! One supervisor, one configuration (`tests/vm/kennel.toml`), and checks that follow each other on it.
//! A check that fails does not keep the next from running. What it asserts about a group it reads from
//! the kernel's files itself; what Kennel says of it is compared with that.
//!
//! This runs as root and trusts the guest to be its own: it is no test that a developer's machine runs.

mod checks;
mod group;
mod machine;
mod supervisor;

use std::{panic::AssertUnwindSafe, process::ExitCode, time::Duration};

use futures::FutureExt as _;
use tokio::time::{Instant, timeout};

use self::supervisor::Supervisor;

/// The longest that one check may take.
const CHECK_LIMIT: Duration = Duration::from_secs(100);

/// In whose name, and below whom, the supervisor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guest {
    /// Root, on a machine without an init system.
    Root,
    /// A user of its own, in the group that systemd gave its service.
    Delegated,
}

impl Guest {
    /// What the supervisor calls the way in which it holds agents here.
    fn backend(self) -> &'static str {
        match self {
            Self::Root => "cgroup-v2-root",
            Self::Delegated => "cgroup-v2-delegated",
        }
    }
}

/// Runs every check and says how each went. The one argument is the guest: `root` or `delegated`.
#[expect(clippy::print_stdout, reason = "it is a program's report")]
pub fn run(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let guest = match arguments.next().as_deref() {
        Some("root") => Guest::Root,
        Some("delegated") => Guest::Delegated,
        _ => panic!("usage: kennel-guest-suite root|delegated"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    println!("{}", machine::description());
    let failed = runtime.block_on(checks(guest));
    // What a check still waits for is not waited for: the guest ends with this program.
    runtime.shutdown_background();
    if failed.is_empty() {
        println!("every check passed");
        ExitCode::SUCCESS
    } else {
        println!("failed: {}", failed.join(", "));
        ExitCode::FAILURE
    }
}

/// Runs the checks one after the other; gives the names of those that failed.
#[expect(clippy::print_stdout, reason = "it is a program's report")]
async fn checks(guest: Guest) -> Vec<&'static str> {
    let supervisor = Supervisor::new(guest);
    let mut failed = Vec::new();
    for (name, check) in checks::ALL {
        let start = Instant::now();
        let outcome = timeout(
            CHECK_LIMIT,
            AssertUnwindSafe(check(&supervisor)).catch_unwind(),
        )
        .await;
        let took = start.elapsed().as_secs_f64();
        match outcome {
            Ok(Ok(seen)) => println!("ok   {name:<44} {took:>5.1} s  {seen}"),
            // The panic itself has been printed.
            Ok(Err(_)) => {
                println!("NOT  {name:<44} {took:>5.1} s");
                failed.push(name);
            }
            Err(_) => {
                println!("NOT  {name:<44} {took:>5.1} s  took too long");
                failed.push(name);
            }
        }
        if failed.last() == Some(&name) {
            // At once, for a guest that is ended before the end tells nothing more.
            print!("{}", group::overview());
            if failed.len() == 1 {
                print!("{}", supervisor.last_words());
            }
            if name == checks::ALL[0].0 {
                // Without a supervisor each of the others would wait in vain.
                break;
            }
        }
    }
    if !failed.is_empty() {
        println!("--- log of the supervisor\n{}---", supervisor.log());
    }
    failed
}
