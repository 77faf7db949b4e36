//! A configuration that changes while its supervisor runs: what differs is changed, and nothing else is touched.

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt as _, time::Duration};

use kennel_tests::{
    fake_telegram::FakeTelegram,
    harness::{Kennel, Load, Process, eventually},
};
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
async fn a_file_that_is_wrong_changes_nothing_and_says_all_of_it() {
    let kennel = Kennel::builder().agents(&["one", "two"]).start().await;
    let before = identity(&kennel, "one").await;
    let good = kennel.config();
    kennel.edit(|text| {
        text.replace("[agents.one]\n", "[agents.one]\nmodle = 'x'\n")
            .replace("[agents.two]\n", "[agents.two]\nmax_queued = 'many'\n")
    });
    let line = |wanted: &str| {
        let text = kennel.config();
        1 + text
            .lines()
            .position(|line| line.starts_with(wanted))
            .expect("there")
    };
    for args in [&["reload"][..], &["reload", "--dry-run"]] {
        let (code, out, err) = kennel.run(args).await;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
        for place in [
            format!("kennel.toml:{}:1", line("modle")),
            format!("kennel.toml:{}:14", line("max_queued")),
            "did you mean `model`?".to_owned(),
            "nothing was changed: 2 errors".to_owned(),
        ] {
            assert!(err.contains(&place), "{place} in\n{err}");
        }
    }
    let (code, out, _) = kennel.run(&["reload", "--json"]).await;
    let reply: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &reply["outcome"]), (Some(2), &json!("refused")));
    assert_eq!(
        reply["diagnostics"].as_array().map(Vec::len),
        Some(2),
        "{reply}"
    );
    assert_eq!(reply["diagnostics"][0]["line"], line("modle"));

    kennel.signal(Signal::SIGHUP);
    kennel
        .logged(&["SIGHUP", "is refused", "modle", "max_queued"])
        .await;
    let (_, events, _) = kennel.run(&["events", "--json"]).await;
    let refused = events
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let refused = refused.filter(|event| event["kind"] == "reload-refused");
    let refused: Vec<Value> = refused.collect();
    assert_eq!(refused.len(), 3, "{events}");
    assert!(refused.iter().all(|event| event.get("agent").is_none()));
    assert!(kennel.run(&["doctor"]).await.1.contains("is refused"));

    assert_eq!(identity(&kennel, "one").await, before);
    fs::write(kennel.config_path(), good).expect("written");
    assert_eq!(reload(&kennel, &json!({})).await["outcome"], "unchanged");
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_dry_run_tells_and_does_nothing() {
    let kennel = Kennel::builder().agents(&["one"]).start().await;
    let before = identity(&kennel, "one").await;
    kennel.edit(|text| {
        text.replace(
            "max_concurrent = 256",
            "max_concurrent = 3\nlog_format = 'json'",
        )
        .replace(
            "[agents.one]\n",
            "[agents.one]\nmodel = 'echo/other'\n[agents.two]\n",
        )
    });
    let (code, out, err) = kennel.run(&["reload", "--dry-run"]).await;
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(
        out,
        "~ agent one: restarts after its turns: model echo/echo -> echo/other\n\
         + agent two\n\
         ~ supervisor: max_concurrent 256 -> 3\n\
         ! supervisor: log_format: waits for a start of the supervisor\n"
    );
    assert!(err.contains("nothing was changed"), "{err}");
    assert_eq!(ids(&kennel).await, ["one"]);
    assert_eq!(identity(&kennel, "one").await, before);
    assert!(kennel.run(&["doctor"]).await.1.contains("kennel reload"));

    kennel.signal(Signal::SIGHUP);
    kennel.until_reborn("one", before.generation).await;
    kennel.logged(&["started again", "log_format"]).await;
    kennel.until_state("two", "ready").await;
    // What waits for another supervisor is told again.
    let (code, out, _) = kennel.run(&["reload"]).await;
    assert_eq!(code, Some(0));
    assert_eq!(
        out,
        "! supervisor: log_format: waits for a start of the supervisor\n"
    );
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
async fn files_that_change_are_seen() {
    let kennel = Kennel::builder()
        .agents(&["one"])
        .up("--watch")
        .start()
        .await;
    let before = identity(&kennel, "one").await;
    kennel.edit(|text| text + "\n[agents.two]\n");
    let two = || async { ids(&kennel).await.contains(&"two".to_owned()).then_some(()) };
    eventually("the agent that was added", two).await;
    // A folder of fragments, and a prompt that one of them names.
    let folder = kennel.root().join("agents.d");
    fs::create_dir(&folder).expect("a folder");
    fs::write(kennel.root().join("p.md"), "First.").expect("a prompt");
    fs::write(
        folder.join("x.toml"),
        "[agents.three]\nsystem_prompt_file = 'p.md'\n",
    )
    .expect("a file");
    let three = || async {
        ids(&kennel)
            .await
            .contains(&"three".to_owned())
            .then_some(())
    };
    eventually("the agent of a fragment", three).await;
    let generation = kennel.until_state("three", "ready").await.generation;
    assert_eq!(kennel.send("three", "!system").await.reply(), "First.");
    fs::write(kennel.root().join("p.md"), "Second, and longer.").expect("a prompt");
    kennel.until_reborn("three", generation).await;
    assert_eq!(
        kennel.send("three", "!system").await.reply(),
        "Second, and longer."
    );
    // What is wrong is told, and what is mended then is taken.
    let good = kennel.config();
    kennel.edit(|text| text + "nonsense");
    kennel.logged(&["a file that changed", "is refused"]).await;
    fs::write(
        kennel.config_path(),
        good.replace("[agents.two]", "[agents.four]"),
    )
    .expect("written");
    let four = || async {
        let ids = ids(&kennel).await;
        (ids == ["four", "one", "three"]).then_some(())
    };
    eventually("the mended file", four).await;
    assert_eq!(identity(&kennel, "one").await, before);
    kennel.shut_down().await;
}

#[tokio::test]
async fn reloads_at_once_come_one_after_the_other() {
    let kennel = Kennel::builder().agents(&["one", "two"]).start().await;
    let before = identity(&kennel, "one").await;
    let texts: Vec<String> = (0..4)
        .map(|n| kennel.config() + &format!("\n[agents.n{n}]\nmax_queued = {}\n", n + 1))
        .collect();
    let mut asked = Vec::new();
    for round in 0..12 {
        let new = kennel.root().join("kennel.toml.new");
        fs::write(&new, &texts[round % texts.len()]).expect("written");
        fs::rename(&new, kennel.config_path()).expect("it takes the name");
        let client = kennel.client();
        asked.push(tokio::spawn(async move {
            let body = json!({ "wait": round % 3 == 0 });
            client
                .post("/api/v1/reload", &body)
                .await
                .expect("an answer")
                .body
        }));
        if round % 4 == 1 {
            kennel.signal(Signal::SIGHUP);
        }
    }
    for answer in asked {
        let reply = answer.await.expect("an answer");
        let outcome = reply["outcome"].as_str().expect("an outcome");
        assert!(["applied", "unchanged"].contains(&outcome), "{reply}");
    }
    reload(&kennel, &json!({})).await;
    assert_eq!(ids(&kennel).await, ["n3", "one", "two"]);
    kennel.until_state("n3", "ready").await;
    assert_eq!(kennel.send("n3", "hi").await.reply(), "hi");
    assert_eq!(identity(&kennel, "one").await, before);
    // Nobody of the agents that came and went is left.
    eventually("three processes", || async {
        (kennel.processes().len() == 3).then_some(())
    })
    .await;
    kennel.shut_down().await;
}

#[tokio::test]
async fn an_agent_that_comes_back_while_it_leaves_starts_when_it_has_left() {
    let kennel = Kennel::builder().agents(&["one", "two"]).start().await;
    let old = kennel.agent_pid("two").await;
    let client = kennel.client();
    let slow = tokio::spawn(async move { client.send("two", "!sleep 900 done", Some("s")).await });
    kennel
        .until("two", "works", |agent| agent.running == 1)
        .await;
    let with = kennel.config();
    kennel.edit(|text| text.replace("[agents.two]\n", ""));
    let reply = reload(&kennel, &json!({ "wait": false })).await;
    assert_eq!(steps(&reply), ["agent two removed".to_owned()].into());
    assert_eq!(ids(&kennel).await, ["one"]);
    fs::write(kennel.config_path(), with).expect("written");
    applied(&kennel).await;
    assert_eq!(slow.await.expect("an answer").reply(), "done");
    assert_ne!(kennel.agent_pid("two").await, old);
    // Its sessions were kept: the turn of before is in front of this one.
    let context = kennel.client().send("two", "!context", Some("s")).await;
    assert!(
        context.reply().starts_with("messages=3 "),
        "{}",
        context.reply()
    );
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_shutdown_takes_along_who_was_leaving() {
    let kennel = Kennel::builder().agents(&["one", "two"]).start().await;
    let client = kennel.client();
    let slow = tokio::spawn(async move { client.send("two", "!sleep 600 done", None).await });
    kennel
        .until("two", "works", |agent| agent.running == 1)
        .await;
    kennel.edit(|text| text.replace("[agents.two]\n", "[agents.three]\n"));
    reload(&kennel, &json!({ "wait": false })).await;
    kennel.shut_down().await;
    assert_eq!(slow.await.expect("an answer").reply(), "done");
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

const FIRST: &str = "111:first";
const SECOND: &str = "222:second";
const ALICE: i64 = 7;
const WITHIN: Duration = Duration::from_secs(10);

/// How a channel stands.
async fn channel(kennel: &Kennel, id: &str) -> Option<Value> {
    let answer = kennel.client().get("/api/v1/channels").await;
    let channels = answer.expect("an answer").body["channels"].clone();
    let channels = channels.as_array().cloned().unwrap_or_default();
    channels.into_iter().find(|channel| channel["id"] == id)
}

async fn answered(telegram: &FakeTelegram, bot: &str, text: &str) {
    let answer = telegram.wait_for_message(bot, |sent| sent.text == text, WITHIN);
    answer
        .await
        .unwrap_or_else(|error| panic!("{text}: {error}"));
}

#[tokio::test]
async fn a_channel_that_differs_connects_anew_and_another_keeps_its_connection() {
    let telegram = FakeTelegram::start().await.expect("a server");
    telegram.user(ALICE, "Alice");
    for (bot, name) in [(FIRST, "FirstBot"), (SECOND, "SecondBot")] {
        telegram.add_bot(bot, name);
        telegram.open_chat(bot, ALICE);
    }
    let kennel = Kennel::builder()
        .agent("one", &[("system_prompt", "'One.'")])
        .agent("two", &[("system_prompt", "'Two.'")])
        .telegram("tg-first", &telegram.url(), FIRST, "one")
        .telegram("tg-second", &telegram.url(), SECOND, "two")
        .start()
        .await;
    for bot in [FIRST, SECOND] {
        telegram.say(bot, ALICE, "!system");
    }
    answered(&telegram, FIRST, "One.").await;
    answered(&telegram, SECOND, "Two.").await;
    let second = |text: String, change: &dyn Fn(&str) -> String| {
        let (before, own) = text.split_once("[channels.tg-second]").expect("there");
        format!("{before}[channels.tg-second]{}", change(own))
    };

    // Who answers changes for one, the connection of the other; with a turn of each that runs.
    for bot in [FIRST, SECOND] {
        telegram.say(bot, ALICE, "!sleep 600 late");
    }
    kennel
        .until("one", "works", |agent| agent.running == 1)
        .await;
    kennel
        .until("two", "works", |agent| agent.running == 1)
        .await;
    let polls = telegram.calls(SECOND, "getUpdates");
    kennel.edit(|text| {
        let text = text.replacen(
            "channel = 'tg-first'\nagent = 'one'",
            "channel = 'tg-first'\nagent = 'two'",
            1,
        );
        second(text, &|own| own.replacen("'5s'", "'4s'", 1))
    });
    let reply = applied(&kennel).await;
    let wanted = ["bindings  changed", "channel tg-second restarted"];
    assert_eq!(steps(&reply), wanted.map(str::to_owned).into());
    answered(&telegram, FIRST, "late").await;
    answered(&telegram, SECOND, "late").await;
    let connected = || async {
        let state = channel(&kennel, "tg-second").await?["state"].clone();
        (state == "connected").then_some(())
    };
    eventually("the channel is back", connected).await;
    assert!(telegram.calls(SECOND, "getUpdates") > polls);
    let first = channel(&kennel, "tg-first").await.expect("there");
    assert_eq!(
        (&first["received"], &first["reconnects"]),
        (&json!(2), &json!(0)),
        "{first}"
    );
    for bot in [FIRST, SECOND] {
        telegram.say(bot, ALICE, "!context");
    }
    // A conversation of its own with the agent that answers there now.
    answered(&telegram, FIRST, "messages=1 bytes=8").await;
    telegram.say(FIRST, ALICE, "!repeat 3 two");
    answered(&telegram, FIRST, "twotwotwo").await;
    assert_eq!(kennel.agent("one").await.turns, 2);
    let late = telegram.sent(SECOND);
    assert_eq!(
        late.iter().filter(|sent| sent.text == "late").count(),
        1,
        "{late:?}"
    );

    // A channel that goes takes nothing more; what is said there stays with the platform.
    kennel.edit(|text| {
        let (before, _) = text.split_once("[channels.tg-second]").expect("there");
        format!("{before}[[bindings]]\nchannel = 'tg-first'\nagent = 'two'\n")
    });
    let reply = applied(&kennel).await;
    assert!(
        steps(&reply).contains("channel tg-second removed"),
        "{reply}"
    );
    assert_eq!(channel(&kennel, "tg-second").await, None);
    // Once for the connection before, and once for good.
    let ended = || async {
        let ends = kennel.log_lines(&["channel stopped", "tg-second"]).len();
        (ends == 2).then_some(())
    };
    eventually("the end of the channel", ended).await;
    let update = telegram.say(SECOND, ALICE, "anybody?");
    telegram.say(FIRST, ALICE, "!repeat 2 still");
    answered(&telegram, FIRST, "stillstill").await;
    assert!(telegram.pending(SECOND).contains(&update));
    kennel.shut_down().await;
}
