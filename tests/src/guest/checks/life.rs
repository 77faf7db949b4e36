//! That Kennel runs at all, and as what.

use std::{fs, os::unix::fs::MetadataExt as _, process::Command};

use super::super::{
    Guest,
    supervisor::{Supervisor, command, kennel, output},
};

/// The user of the service, as the guest's disk has it.
const USER: u32 = 990;

const UNIT_TESTS: &str = "/usr/local/lib/kennel-test/unit-tests";

/// Whose pid nothing but its own end may change.
const WITNESS: &str = "other";

pub(super) async fn starts(supervisor: &Supervisor) -> String {
    let process = supervisor.start().await;
    let agents = supervisor.all_ready().await;
    let owner = |pid: i32| fs::metadata(format!("/proc/{pid}")).expect("it runs").uid();
    let wanted = match supervisor.guest() {
        Guest::Root => 0,
        Guest::Delegated => USER,
    };
    assert_eq!(owner(process.pid()), wanted);
    let witness = agents.iter().find(|agent| agent.id == WITNESS);
    supervisor.remember(witness.and_then(|agent| agent.pid).expect("a process"));
    format!("{} agents, uid {wanted}", agents.len())
}

pub(super) async fn backend(supervisor: &Supervisor) -> String {
    let wanted = supervisor.guest().backend();
    let status = supervisor.status().await;
    let containment = &status["containment"];
    assert_eq!(containment["backend"], wanted, "{containment}");
    let cannot = containment["cannot"].as_array().expect("a list");
    for cap in [
        "memory",
        "memory_high",
        "cpu",
        "cpu_weight",
        "pids",
        "open_files",
    ] {
        assert!(!cannot.contains(&cap.into()), "{containment}");
    }
    // A person sees it too. What doctor finds fault with is not what is asked here.
    let (_, doctor) = output(command().arg("doctor"));
    assert!(doctor.contains(wanted), "{doctor}");
    let shown = kennel(&["status"]);
    assert!(shown.contains(wanted), "{shown}");
    format!("{wanted}: {}", containment["why"])
}

pub(super) async fn answers(supervisor: &Supervisor) -> String {
    let reply = supervisor.ask("quiet", "hello").await;
    assert!(reply.contains("hello"), "{reply}");
    let sent = kennel(&["send", "capped", "and to you"]);
    assert!(sent.contains("and to you"), "{sent}");
    reply
}

pub(super) async fn restart(supervisor: &Supervisor) -> String {
    let before = supervisor.all_ready().await;
    kennel(&["restart", "quiet"]);
    let after = supervisor.all_ready().await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.id, after.id);
        assert_eq!(
            before.pid != after.pid,
            before.id == "quiet",
            "{before:?} {after:?}"
        );
    }
    format!("{} others", before.len() - 1)
}

/// After all that was done to the others.
pub(super) async fn untouched(supervisor: &Supervisor) -> String {
    let witness = supervisor.ready(WITNESS).await;
    assert_eq!(witness.pid, Some(supervisor.remembered()));
    assert_eq!(witness.generation, 1, "{witness:?}");
    format!("pid {}", supervisor.remembered())
}

/// Those that the host can seldom run, here as this guest's supervisor would run them.
pub(super) async fn unit_tests(supervisor: &Supervisor) -> String {
    let guest = supervisor.guest();
    let run = tokio::task::spawn_blocking(move || match guest {
        Guest::Root => output(Command::new(UNIT_TESTS).args([
            "containment::host_tests::backends::v2::",
            "--ignored",
            "--test-threads=1",
        ])),
        Guest::Delegated => {
            let (success, said) =
                output(Command::new("systemctl").args(["start", "kennel-unit-tests"]));
            let log = fs::read_to_string("/run/kennel-unit-tests.log").unwrap_or_default();
            (success, said + &log)
        }
    });
    let (success, text) = run.await.expect("it does not panic");
    assert!(success, "{text}");
    let passed = text.lines().find_map(|line| {
        line.strip_prefix("test result: ok. ")?
            .split_once(" passed")
    });
    let (passed, _) = passed.unwrap_or_else(|| panic!("no result:\n{text}"));
    let count: u32 = passed.parse().expect("a number of tests");
    assert!(count >= 10, "some are missing:\n{text}");
    format!("{count} passed")
}
