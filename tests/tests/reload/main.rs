//! A configuration that changes while its supervisor runs: what differs is changed, and nothing else is touched.

mod channels;
mod files;
mod going;

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt as _, time::Duration};

use kennel_tests::harness::{Kennel, Load, Process};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// An agent that runs also where a cap cannot be had.
const LAX: (&str, &str) = ("enforcement", "'best-effort'");

/// All of an agent's process that a restart would change.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    pid: i32,
    generation: u64,
    /// In clock ticks since the machine started.
    started: String,
    sockets: BTreeSet<String>,
}

fn sockets(pid: i32) -> BTreeSet<String> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    let links = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links
        .map(|link| link.display().to_string())
        .filter(|link| link.starts_with("socket:"))
        .collect()
}

/// What the supervisor listens on.
fn listens(kennel: &Kennel) -> [u64; 2] {
    [kennel.control_socket(), kennel.link_socket()]
        .map(|socket| fs::metadata(socket).expect("it listens").ino())
}

async fn identity(kennel: &Kennel, id: &str) -> Identity {
    let agent = kennel.agent(id).await;
    let pid = agent.pid.expect("it runs");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let behind = stat.rsplit(')').next().expect("a name in brackets");
    Identity {
        pid,
        generation: agent.generation,
        started: behind
            .split_whitespace()
            .nth(19)
            .expect("a time")
            .to_owned(),
        sockets: sockets(pid),
    }
}

async fn reload(kennel: &Kennel, body: &Value) -> Value {
    let answer = kennel.client().post("/api/v1/reload", body).await;
    let answer = answer.expect("the supervisor answers");
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.body
}

async fn applied(kennel: &Kennel) -> Value {
    let reply = reload(kennel, &json!({})).await;
    assert_eq!(reply["outcome"], "applied", "{reply}");
    assert_eq!(reply.get("troubles"), None, "{reply}");
    reply
}

/// What becomes of things, as `agent hexa restarted`.
fn steps(reply: &Value) -> BTreeSet<String> {
    let changes = reply["changes"].as_array().cloned().unwrap_or_default();
    let step = |change: &Value| {
        let word = |key: &str| change[key].as_str().unwrap_or_default().to_owned();
        [word("what"), word("id"), word("step")].join(" ")
    };
    changes.iter().map(step).collect()
}

async fn ids(kennel: &Kennel) -> Vec<String> {
    let agents = kennel.agents().await;
    agents.into_iter().map(|agent| agent.id).collect()
}

#[tokio::test]
async fn what_differs_is_changed_and_the_rest_keeps_all_it_has() {
    let kennel = Kennel::builder()
        .agents(&["same", "gone", "new-prompt"])
        .agent("capped", &[LAX, ("limits", "{ open_files = 700 }")])
        .agent("off", &[("enabled", "false")])
        .start()
        .await;
    let before = [
        identity(&kennel, "same").await,
        identity(&kennel, "capped").await,
    ];
    let listening = listens(&kennel);
    let generation = kennel.agent("new-prompt").await.generation;
    let gone = Process::of(kennel.agent_pid("gone").await).expect("it runs");
    let load = Load::start(kennel.client(), "same", Duration::from_millis(5));
    let (client, other) = (kennel.client(), kennel.client());
    // A turn that runs on one that is to be restarted, and one on one that is to go.
    let slow =
        tokio::spawn(async move { client.send("new-prompt", "!sleep 700 done", None).await });
    let last = tokio::spawn(async move { other.send("gone", "!sleep 700 last", None).await });
    for id in ["new-prompt", "gone"] {
        kennel.until(id, "works", |agent| agent.running == 1).await;
    }
    let client = kennel.client();
    let waits = tokio::spawn(async move { client.send("gone", "never", None).await });
    kennel
        .until("gone", "has one waiting", |agent| agent.queued == 1)
        .await;

    kennel.edit(|text| {
        text.replace("[agents.gone]\n", "")
            .replace(
                "[agents.new-prompt]\n",
                "[agents.new-prompt]\nsystem_prompt = 'Be new.'\n",
            )
            .replace("open_files = 700", "open_files = 600")
            .replace("enabled = false", "enabled = true")
            + "\n[agents.fresh]\nsystem_prompt = 'Hello.'\n"
    });
    let reply = applied(&kennel).await;
    let wanted = [
        "agent capped changed",
        "agent fresh added",
        "agent gone removed",
        "agent new-prompt restarted",
        "agent off added",
    ];
    assert_eq!(steps(&reply), wanted.map(str::to_owned).into());

    // Turns that ran have come to their ends; what waited is told why it has none.
    assert_eq!(slow.await.expect("an answer").reply(), "done");
    assert_eq!(last.await.expect("an answer").reply(), "last");
    let waits = waits.await.expect("an answer");
    assert_eq!(
        waits.error(),
        "agent `gone` was removed from the configuration"
    );

    let after = [
        identity(&kennel, "same").await,
        identity(&kennel, "capped").await,
    ];
    assert_eq!(after, before);
    assert_eq!(listens(&kennel), listening);
    let limits = fs::read_to_string(format!("/proc/{}/limits", after[1].pid)).expect("it runs");
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    assert!(files.expect("a limit").contains(" 600 "), "{limits}");

    // Answered means that they are there.
    assert_eq!(
        ids(&kennel).await,
        ["capped", "fresh", "new-prompt", "off", "same"]
    );
    assert_eq!(kennel.agent("new-prompt").await.generation, generation + 1);
    assert_eq!(
        kennel.send("new-prompt", "!system").await.reply(),
        "Be new."
    );
    assert_eq!(kennel.send("fresh", "!system").await.reply(), "Hello.");
    assert_eq!(kennel.send("off", "hi").await.reply(), "hi");
    assert!(gone.has_ended());
    let unknown = kennel.send("gone", "hi").await;
    assert_eq!(unknown.0.error_code(), "agent_not_found");
    assert!(kennel.root().join("state/agents/gone/store.db").exists());
    let figures = load.end().await;
    assert_eq!(
        figures.failures,
        [] as [String; 0],
        "nobody was refused meanwhile"
    );

    // It says what it has done, and the doctor agrees that the file is what runs.
    let (code, out, _) = kennel.run(&["events", "-n", "200"]).await;
    assert_eq!(code, Some(0));
    let line = out
        .lines()
        .find(|line| line.contains("supervisor reloaded: "));
    let line = line.unwrap_or_else(|| panic!("no such event:\n{out}"));
    assert!(
        line.contains("2 agents added") && line.contains("1 agent restarted"),
        "{line}"
    );
    assert!(out.contains(" new-prompt #"), "{out}");
    let doctor = kennel.run(&["doctor"]).await.1;
    assert!(!doctor.contains("kennel reload"), "{doctor}");
    assert_eq!(reload(&kennel, &json!({})).await["outcome"], "unchanged");
    kennel.shut_down().await;
}

#[tokio::test]
async fn caps_that_were_set_give_way_to_the_file() {
    let kennel = Kennel::builder()
        .supervisor(&[("fleet", "{ memory = '1GiB' }")])
        .agent(
            "one",
            &[LAX, ("limits", "{ memory = '512MiB', pids = 60 }")],
        )
        .agent("two", &[LAX, ("limits", "{ memory = '256MiB' }")])
        .start()
        .await;
    let before = identity(&kennel, "one").await;
    let (code, ..) = kennel
        .run(&["set", "one", "pids=70", "memory=300MiB"])
        .await;
    assert_eq!(code, Some(0));
    let (_, out, _) = kennel.run(&["reload", "--dry-run"]).await;
    assert_eq!(
        out,
        "~ agent one: goes on: limits.memory 300MiB -> 512MiB, limits.pids 70 -> 60\n"
    );
    // The whole must fit: with what the file says for the one, there is no room for this.
    kennel.edit(|text| text.replace("256MiB", "513MiB"));
    let (code, _, err) = kennel.run(&["reload"]).await;
    assert_eq!(code, Some(2));
    assert!(err.contains("adds up to 1025MiB"), "{err}");
    let path = "/api/v1/agents/one/limits";
    let limits = |kennel: &Kennel| {
        let client = kennel.client();
        async move { client.get(path).await.expect("an answer").body["limits"].clone() }
    };
    assert_eq!(limits(&kennel).await["pids"], 70);
    // A ceiling that is raised live makes room.
    kennel.edit(|text| text.replace("{ memory = '1GiB' }", "{ memory = '2GiB' }"));
    applied(&kennel).await;
    assert_eq!(limits(&kennel).await["pids"], 60);
    assert_eq!(limits(&kennel).await["memory"], 512 << 20);
    assert_eq!(identity(&kennel, "one").await, before);
    let (code, ..) = kennel.run(&["set", "two", "memory=1536MiB"]).await;
    assert_eq!(code, Some(0), "the new ceiling holds for `set` too");
    kennel.shut_down().await;
}

#[tokio::test]
async fn policies_change_without_a_restart_and_an_agent_that_cannot_start_is_told() {
    let kennel = Kennel::builder()
        .agents(&["one"])
        .agent("lazy", &[("autostart", "false")])
        .start()
        .await;
    let before = identity(&kennel, "one").await;
    kennel.edit(|text| {
        text.replace(
            "[agents.one]\n",
            "[agents.one]\nrestart = 'never'\nwatchdog = '2s'\n",
        )
        .replace(
            "[agents.lazy]\n",
            "[agents.lazy]\nsystem_prompt = 'Be lazy.'\n",
        )
    });
    let reply = applied(&kennel).await;
    let wanted = ["agent lazy restarted", "agent one changed"];
    assert_eq!(steps(&reply), wanted.map(str::to_owned).into());
    assert_eq!(identity(&kennel, "one").await, before);
    // One that rests goes on resting, and is what it shall be when it is started.
    assert_eq!(kennel.agent("lazy").await.state, "stopped");
    kennel.order("lazy", "start").await;
    assert_eq!(kennel.send("lazy", "!system").await.reply(), "Be lazy.");
    kennel.kill("one", Signal::SIGKILL).await;
    kennel.until_state("one", "exited").await;

    // A new agent whose process ends at once.
    kennel.edit(|text| text + "\n[agents.heavy]\nstart_timeout = '1ms'\nmax_restarts = 0\n");
    let (code, _, err) = kennel.run(&["reload"]).await;
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("`heavy` did not become ready"), "{err}");
    kennel.shut_down().await;
}
