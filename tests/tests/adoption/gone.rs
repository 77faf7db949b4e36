//! There is nobody to adopt: it left, it died, or its pid is a stranger's.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
};

use kennel_tests::harness::program;

use super::*;

/// Without a supervisor agents finish their turns, wait for the grace, and leave.
#[tokio::test]
async fn agents_leave_when_nobody_returns() {
    let mut kennel = Kennel::builder()
        .agents(&["idle", "busy"])
        .supervisor(&[("orphan_grace", "'700ms'")])
        .start()
        .await;
    let lives = lives(&kennel, &["idle", "busy"]).await;
    let process = |id: &str| Process::of(lives[id].0).expect("it runs");
    let (idle, busy) = (process("idle"), process("busy"));
    begin(&kennel, "busy", "!sleep 2500 slept", "kept").await;
    kennel.crash().await;
    let waited = tokio::task::spawn_blocking(move || {
        let idle = idle.wait(Duration::from_secs(10));
        // Longer than the grace, and not cut short by it.
        let still_busy = !busy.has_ended();
        (idle, still_busy, busy.wait(Duration::from_secs(10)))
    });
    assert_eq!(waited.await.expect("they wait"), (true, true, true));

    kennel.start_again().await;
    kennel.until_ready().await;
    for id in ["idle", "busy"] {
        let agent = kennel.agent(id).await;
        assert_eq!((agent.generation, agent.adopted), (2, false), "{agent:?}");
        let told = kennel.events(id, "not-adopted").await;
        let detail = told[0]["detail"].as_str().expect("words");
        assert!(detail.contains("exited with 69"), "{detail}");
    }
    assert_eq!(messages(&kennel, "busy", "kept").await, 2);
    kennel.shut_down().await;
}

/// The same program, the same agent, even the same pid: another process all the same. It is no agent of
/// this supervisor, and nobody ends it.
#[tokio::test]
async fn a_pid_that_was_given_away_is_nobody_s() {
    assert!(nix::unistd::geteuid().is_root(), "this test is root's");
    let mut kennel = Kennel::builder().agents(&["one"]).start().await;
    let pid = kennel.agent_pid("one").await;
    let one = Process::of(pid).expect("it runs");
    kennel.crash().await;
    one.signal(Signal::SIGKILL);
    assert!(one.wait(Duration::from_secs(5)));
    let mut stranger = with_pid(pid).await;
    kennel.start_again().await;
    kennel.until_ready().await;
    let agent = kennel.agent("one").await;
    assert_eq!((agent.generation, agent.adopted), (2, false), "{agent:?}");
    assert_ne!(agent.pid, Some(pid));
    assert_eq!(kennel.send("one", "here").await.reply(), "here");
    assert_eq!(
        stranger.try_wait().expect("our child"),
        None,
        "it was ended"
    );
    kennel.shut_down().await;
    stranger.kill().expect("our child");
    stranger.wait().expect("our child");
}

/// An agent-host that waits for its bootstrap, with this very pid.
async fn with_pid(pid: i32) -> Child {
    eventually("the pid to come around", || async {
        // The next process gets the next number, unless somebody else is quicker.
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string())
            .expect("root may say which pid is next");
        let mut child = Command::new(program("kennel-agent-host"))
            .arg0("kennel-agent-host")
            .args(["--agent", "one"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        if child.id().cast_signed() == pid {
            return Some(child);
        }
        child.kill().expect("our child");
        child.wait().expect("our child");
        None
    })
    .await
}

/// What is in an agent's group and not written down is ended before anything starts.
#[tokio::test]
async fn whoever_is_left_of_an_agent_that_died_is_ended() {
    let mut kennel = Kennel::builder()
        .agent("one", &[("tools", "['exec']")])
        .start()
        .await;
    let left = leave_behind(&kennel, "one").await;
    let one = Process::of(kennel.agent_pid("one").await).expect("it runs");
    kennel.crash().await;
    one.signal(Signal::SIGKILL);
    assert!(one.wait(Duration::from_secs(5)));
    kennel.start_again().await;
    assert!(left.has_ended(), "{left:?}");
    kennel.until_ready().await;
    assert_eq!(kennel.agent("one").await.generation, 2);
    kennel.shut_down().await;
}
