//! That nothing outlives what it belongs to.

use std::{collections::BTreeSet, fs, path::Path};

use nix::sys::signal::Signal;

use super::super::{
    Guest,
    group::Group,
    supervisor::{Supervisor, kennel},
};
use crate::{
    harness::{AgentView, Process, eventually},
    misbehave::NOW,
};

/// Makes `bad-orphan` leave two processes in sessions of their own, and gives it and them.
async fn runaways(supervisor: &Supervisor) -> (AgentView, Group, Vec<Process>) {
    let agent = supervisor.ready("bad-orphan").await;
    let group = supervisor.group("bad-orphan").await;
    for _ in 0..2 {
        supervisor.ask("bad-orphan", NOW).await;
    }
    let members = eventually(
        "two more processes, each in a session of its own",
        || async {
            // The child that founds a session and leaves it to its own child is gone soon.
            let found = group.members();
            let sessions: BTreeSet<i32> = found
                .iter()
                .filter(|pid| agent.pid != Some(**pid))
                .filter_map(|pid| session_of(*pid).filter(|session| session != pid))
                .collect();
            (found.len() == 3 && sessions.len() == 2).then_some(found)
        },
    )
    .await;
    let held = members
        .into_iter()
        .map(|pid| Process::of(pid).expect("it runs"));
    (agent, group, held.collect())
}

fn session_of(pid: i32) -> Option<i32> {
    let session = nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(pid)));
    session.ok().map(nix::unistd::Pid::as_raw)
}

fn assert_ended(processes: &[Process]) {
    for process in processes {
        assert!(
            process.has_ended(),
            "{} {} is left",
            process.pid(),
            process.command()
        );
    }
}

pub(super) async fn restart(supervisor: &Supervisor) -> String {
    let (agent, group, processes) = runaways(supervisor).await;
    kennel(&["restart", "bad-orphan"]);
    // As soon as it is said to be done.
    assert_ended(&processes);
    assert!(!group.exists(), "{group:?} is left");
    let after = supervisor.ready("bad-orphan").await;
    assert!(after.generation > agent.generation);
    format!("{} processes", processes.len())
}

pub(super) async fn crash(supervisor: &Supervisor) -> String {
    let (agent, group, processes) = runaways(supervisor).await;
    let main = processes
        .iter()
        .find(|process| Some(process.pid()) == agent.pid);
    main.expect("it is one of them").signal(Signal::SIGKILL);
    supervisor.reborn("bad-orphan", agent.generation).await;
    assert_ended(&processes);
    assert!(!group.exists(), "{group:?} is left");
    let end = supervisor.end_of("bad-orphan", agent.generation).await;
    assert_eq!(end["cause"], "signal", "{end}");
    assert_eq!(end["signal"], 9, "{end}");
    end["sentence"].as_str().unwrap_or_default().to_owned()
}

pub(super) async fn stop(supervisor: &Supervisor) -> String {
    let (_, group, processes) = runaways(supervisor).await;
    kennel(&["stop", "bad-orphan"]);
    assert_ended(&processes);
    let left = group.parent().below();
    let left: Vec<_> = left
        .iter()
        .filter(|name| name.starts_with("bad-orphan."))
        .collect();
    assert!(left.is_empty(), "{left:?} is left");
    kennel(&["start", "bad-orphan"]);
    supervisor.ready("bad-orphan").await;
    String::new()
}

/// Killed, and started again by systemd or, without one, as before: there is one process of each agent
/// and one group, and whoever ran away is gone.
pub(super) async fn killed(supervisor: &Supervisor) -> String {
    let (_, _, orphans) = runaways(supervisor).await;
    let before = supervisor.process().await;
    before.signal(Signal::SIGKILL);
    eventually("it has ended", || async {
        before.has_ended().then_some(())
    })
    .await;
    if supervisor.guest() == Guest::Root {
        supervisor.start().await;
    }
    let agents = eventually("another supervisor with its agents", || async {
        let health = super::super::supervisor::client()
            .get("/api/v1/health")
            .await
            .ok()?;
        (health.body["pid"].as_i64()? != i64::from(before.pid())).then_some(())
    });
    agents.await;
    let agents = supervisor.all_ready().await;
    let fleet = supervisor.group("quiet").await.parent();
    let wanted: BTreeSet<String> = agents
        .iter()
        .map(|agent| format!("{}.{}", agent.id, agent.generation))
        .collect();
    eventually("the groups of these agents and no others", || async {
        (fleet.below() == wanted).then_some(())
    })
    .await;
    assert_ended(&orphans);
    for agent in &agents {
        let group = supervisor.group(&agent.id).await;
        assert_eq!(
            group.members(),
            [agent.pid.expect("a process")],
            "{group:?}"
        );
    }
    assert_eq!(supervisor.ask("quiet", "still there").await, "still there");
    format!("{} agents", agents.len())
}

/// The supervisor is told to end while processes have run away: none is left, nor a group or a socket.
pub(super) async fn all(supervisor: &Supervisor) -> String {
    let (_, group, mut processes) = runaways(supervisor).await;
    for agent in supervisor.all_ready().await {
        let pid = agent.pid.expect("a process");
        processes.extend(Process::of(pid));
    }
    let instance = group.parent().parent();
    supervisor.stop().await;
    assert_ended(&processes);
    assert!(!instance.exists(), "{instance:?} is left");
    let sockets = fs::read_dir("/run/kennel").into_iter().flatten().flatten();
    let sockets: Vec<_> = sockets
        .map(|entry| entry.path())
        .filter(|path| is_socket(path))
        .collect();
    assert!(sockets.is_empty(), "{sockets:?}");
    format!("{} processes", processes.len())
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}
