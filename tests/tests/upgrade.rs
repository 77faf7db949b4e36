//! One program after another, in the same process: under load, and when the next one is no good.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kennel_tests::harness::{Client, Kennel, Process, eventually, program};
use serde_json::json;
use tokio::task::JoinHandle;

const AGENTS: [&str; 3] = ["one", "two", "three"];

/// Callers who each connect anew for every question, until they are told to end.
struct Callers {
    over: Arc<AtomicBool>,
    callers: Vec<JoinHandle<u32>>,
}

impl Callers {
    fn start(client: &Client) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let call = |agent: &'static str, client: Client| {
            let over = Arc::clone(&over);
            async move {
                let mut answered = 0;
                while !over.load(Ordering::Relaxed) {
                    let word = format!("{agent}-{answered}");
                    let body = json!({ "text": format!("!sleep 15 {word}"), "session": "load" });
                    let path = format!("/api/v1/agents/{agent}/turns");
                    let answer = client.post(&path, &body).await.expect("an answer");
                    assert_eq!(
                        (answer.status, answer.body["reply"].as_str()),
                        (200, Some(&*word)),
                        "{}",
                        answer.body
                    );
                    answered += 1;
                }
                answered
            }
        };
        let callers = AGENTS.map(|agent| tokio::spawn(call(agent, client.clone())));
        Self {
            over,
            callers: callers.into(),
        }
    }

    /// What was answered; nothing was refused or lost on the way.
    async fn end(self) -> Vec<u32> {
        self.over.store(true, Ordering::Relaxed);
        let mut answered = Vec::new();
        for caller in self.callers {
            answered.push(caller.await.expect("every question is answered"));
        }
        answered
    }
}

async fn upgrade(kennel: &Kennel, words: &[&str]) -> Output {
    let mut command = kennel.command();
    command.arg("upgrade").args(words);
    let output = tokio::task::spawn_blocking(move || command.output());
    output.await.expect("no panic").expect("kennel runs")
}

/// Waits until every agent has answered some more since the last program took over.
async fn answer_on(kennel: &Kennel) {
    for agent in AGENTS {
        kennel
            .until(agent, "has answered", |agent| agent.turns > 2)
            .await;
    }
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).expect("it is there").ino()
}

/// What must not change: the process, its start, the sockets.
fn identity(kennel: &Kennel) -> (u64, u64, u64) {
    // The folder of a process is made anew with it.
    let own = inode(Path::new(&format!("/proc/{}", kennel.pid())));
    (
        own,
        inode(&kennel.control_socket()),
        inode(&kennel.link_socket()),
    )
}

#[tokio::test]
async fn under_load_nothing_is_refused_lost_or_doubled() {
    let kennel = Kennel::builder().agents(&AGENTS).start().await;
    let before = identity(&kennel);
    let pids = kennel.pids(&AGENTS).await;
    let callers = Callers::start(&kennel.client());
    kennel
        .until("one", "has answered", |agent| agent.turns > 5)
        .await;

    let next = program("kennel").display().to_string();
    let output = upgrade(&kennel, &["--program", &next, "--keep-agents"]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(kennel.pids(&AGENTS).await, pids, "agents go on");
    assert!(kennel.agent("one").await.generation == 1);

    // And once more, with new processes for the agents.
    let output = upgrade(&kennel, &["--program", &next]).await;
    assert!(output.status.success(), "{output:?}");
    for (agent, pid) in AGENTS.iter().zip(&pids) {
        let seen = kennel.agent(agent).await;
        assert_eq!((seen.generation, seen.state.as_str()), (2, "ready"));
        assert_ne!(seen.pid, Some(*pid));
    }
    answer_on(&kennel).await;
    let answered = callers.end().await;
    assert_eq!(identity(&kennel), before);
    for (agent, answered) in AGENTS.iter().zip(answered) {
        let context = kennel
            .client()
            .send(agent, "!context", Some("load"))
            .await
            .reply()
            .to_owned();
        let expected = format!("messages={} ", 2 * answered + 1);
        // What is longer than the window is not seen; 50 questions fill it.
        assert!(
            context.starts_with(&expected) || answered >= 50,
            "{agent}: {context} after {answered}"
        );
    }
    assert_eq!(kennel.log_lines(&["another program takes over"]).len(), 2);
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_program_that_would_not_start_changes_nothing() {
    let kennel = Kennel::builder().agents(&["one"]).start().await;
    let before = identity(&kennel);
    let pid = kennel.agent_pid("one").await;
    let broken = kennel.root().join("broken");
    fs::write(
        &broken,
        "#!/bin/sh\necho 'this is not for this machine' >&2\nexit 9\n",
    )
    .expect("written");
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o700)).expect("set");
    for program in [
        broken.display().to_string(),
        "/bin/true".into(),
        "/nowhere".into(),
    ] {
        let output = upgrade(&kennel, &["--program", &program]).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(6), "{program}: {said}");
        assert!(said.contains(&program), "{said}");
    }
    let audit = kennel.command().arg("audit").output().expect("it runs");
    let audit = String::from_utf8_lossy(&audit.stdout).into_owned();
    assert!(audit.contains("this is not for this machine"), "{audit}");
    assert_eq!(identity(&kennel), before);
    assert_eq!(kennel.agent_pid("one").await, pid);
    assert_eq!(kennel.send("one", "still here").await.reply(), "still here");
    kennel.shut_down().await;
}

/// A configuration that the new program refuses is told before anything is given up.
#[tokio::test]
async fn a_configuration_that_is_refused_keeps_the_old_one() {
    let kennel = Kennel::builder().agents(&["one"]).start().await;
    let file = kennel.root().join("kennel.toml");
    let text = fs::read_to_string(&file).expect("a file");
    fs::write(&file, format!("{text}\nnonsense = 1\n")).expect("written");
    let next = program("kennel").display().to_string();
    let output = upgrade(&kennel, &["--program", &next]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(said.contains("nonsense"), "{said}");
    fs::write(&file, text).expect("written");
    assert_eq!(kennel.send("one", "hello").await.reply(), "hello");
    kennel.shut_down().await;
}

/// What passes the preflight and does not come up all the same becomes the old program again, in the same process.
#[tokio::test]
async fn a_program_that_does_not_come_up_goes_back() {
    let kennel = Kennel::builder().agents(&AGENTS).start().await;
    let before = identity(&kennel);
    let pids = kennel.pids(&AGENTS).await;
    let good = fs::read_to_string(kennel.root().join("kennel.toml")).expect("a file");
    let next = program("kennel");
    let token = "listen = '127.0.0.1:0'\ntoken = { command = ['/bin/false'] }";
    let failing = format!("{good}\n[supervisor.http]\n{token}\n");
    let callers = Callers::start(&kennel.client());
    for (bad, why) in [
        (format!("{good}\nnonsense = 1\n"), "is refused"),
        (failing, "token of [supervisor.http]"),
    ] {
        let deceiver = kennel.deceiver(&bad).display().to_string();
        let output = upgrade(&kennel, &["--program", &deceiver]).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(6), "{said}");
        assert!(
            said.contains("did not come up") && said.contains(why),
            "{said}"
        );
        assert_eq!(identity(&kennel), before);
        assert_eq!(kennel.pids(&AGENTS).await, pids, "agents go on");
    }
    let audit = kennel.command().arg("audit").output().expect("it runs");
    let audit = String::from_utf8_lossy(&audit.stdout).into_owned();
    assert_eq!(audit.matches("undone: ").count(), 2, "{audit}");
    // One that is good is taken after that.
    let output = upgrade(&kennel, &["--program", &next.display().to_string()]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(identity(&kennel), before);
    answer_on(&kennel).await;
    callers.end().await;
    kennel.shut_down().await;
}

/// Agents come in as long as callers wait for them, also those that look for the supervisor after a crash.
#[tokio::test]
async fn an_upgrade_right_after_a_crash_answers_callers() {
    let mut kennel = Kennel::builder().agents(&AGENTS).start().await;
    let pids = kennel.pids(&AGENTS).await;
    kennel.crash().await;
    kennel.start_again().await;
    let asked = AGENTS.map(|agent| {
        let client = kennel.client();
        tokio::spawn(async move { client.send(agent, "!sleep 100 here", None).await })
    });
    kennel
        .until("one", "is asked", |agent| agent.queued + agent.running > 0)
        .await;
    let next = program("kennel").display().to_string();
    let output = upgrade(&kennel, &["--program", &next, "--keep-agents"]).await;
    assert!(output.status.success(), "{output:?}");
    for asked in asked {
        assert_eq!(asked.await.expect("no panic").reply(), "here");
    }
    assert_eq!(kennel.pids(&AGENTS).await, pids, "agents go on");
    kennel.shut_down().await;
}

/// Whoever is asked to end between two programs does: the next one hears of it.
#[tokio::test]
async fn a_signal_in_the_middle_of_an_upgrade_is_heeded() {
    let body = json!({ "program": program("kennel") });
    for after in [0, 5, 10, 15, 20, 30, 40, 60] {
        let mut kennel = Kennel::builder().agents(&["one"]).start().await;
        let answer = kennel.client().post("/api/v1/upgrade", &body).await;
        assert_eq!(answer.expect("an answer").status, 200);
        tokio::time::sleep(Duration::from_millis(after)).await;
        kennel.signal(nix::sys::signal::Signal::SIGTERM);
        assert!(kennel.until_down().await.success(), "after {after} ms");
        assert!(kennel.processes().is_empty(), "after {after} ms");
    }
}

/// The one that took over sees the ends of agents that it did not start, and keeps no dead ones.
#[tokio::test]
async fn an_agent_that_dies_after_an_upgrade_is_seen_and_reaped() {
    let kennel = Kennel::builder().agents(&["one"]).start().await;
    let next = program("kennel").display().to_string();
    let output = upgrade(&kennel, &["--program", &next, "--keep-agents"]).await;
    assert!(output.status.success(), "{output:?}");
    kennel.kill("one", nix::sys::signal::Signal::SIGKILL).await;
    kennel.until_reborn("one", 1).await;
    eventually("no zombie", || async {
        Process::zombies_of(kennel.pid()).is_empty().then_some(())
    })
    .await;
    assert!(kennel.send("one", "again").await.reply() == "again");
    tokio::time::timeout(Duration::from_secs(30), kennel.shut_down())
        .await
        .expect("in time");
}
