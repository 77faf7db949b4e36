//! `kennel doctor` beside real supervisors, and without one.

use std::{fs, path::Path, process::Stdio};

use kennel::containment::{BackendKind, Containment};
use kennel_tests::harness::{Kennel, until_ended};
use nix::sys::signal::Signal;
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// What a command printed, and its code.
async fn run(kennel: &Kennel, words: &[&str]) -> (Option<i32>, String) {
    let out = kennel.root().join("out");
    let printed = fs::File::create(&out).expect("a file for the output");
    let mut command = kennel.command();
    command
        .args(words)
        .env(
            "KENNEL_AGENT_HOST",
            kennel_tests::harness::program("kennel-agent-host"),
        )
        .stdin(Stdio::null())
        .stderr(printed.try_clone().expect("the same file"))
        .stdout(printed);
    let status = until_ended(&mut command.spawn().expect("kennel starts")).await;
    (status.code(), fs::read_to_string(&out).expect("text"))
}

async fn json(kennel: &Kennel, words: &[&str]) -> (Option<i32>, Value) {
    let (code, text) = run(kennel, &[words, &["--json"]].concat()).await;
    let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
    (code, json)
}

fn checks(found: &Value) -> &[Value] {
    found["checks"].as_array().expect("a list of checks")
}

fn check<'a>(found: &'a Value, area: &str, name: &str) -> &'a Value {
    let of = |check: &&Value| check["area"] == area && check["name"] == name;
    let found_check = checks(found).iter().find(of);
    found_check.unwrap_or_else(|| panic!("no check {area}/{name}: {found:#}"))
}

/// The verdict is the worst, and who is not well has a remedy.
fn assert_sound(found: &Value) {
    let rank = |state: &Value| ["ok", "warn", "fail"].iter().position(|word| state == word);
    let worst = checks(found)
        .iter()
        .map(|check| rank(&check["state"]))
        .max();
    assert_eq!(Some(rank(&found["state"])), worst, "{found:#}");
    for check in checks(found) {
        let has_remedy = check["remedy"]
            .as_str()
            .is_some_and(|text| !text.is_empty());
        assert!(has_remedy || check["state"] == "ok", "{check:#}");
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

#[tokio::test]
async fn a_fleet_and_an_agent_that_was_killed() {
    let kennel = Kennel::builder()
        .agent(
            "one",
            &[
                ("limits", "{ memory = '64MiB' }"),
                ("enforcement", "'best-effort'"),
            ],
        )
        .agents(&["two"])
        .start()
        .await;
    let backend = Containment::probe().backend();

    let (code, found) = json(&kennel, &["doctor"]).await;
    assert_eq!(code, Some(0), "{found:#}");
    assert_sound(&found);
    assert_eq!(found["running"], true);
    assert_eq!(found["containment"]["backend"], backend.as_str());
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel");
    assert_eq!(found["host"]["kernel"], format!("Linux {}", release.trim()));
    let told = text(&check(&found, "supervisor", "running")["message"]);
    assert!(told.contains(&format!("pid {}", kennel.pid())), "{told}");
    let told = text(&check(&found, "agents", "agents")["message"]);
    assert!(told.ends_with("2 ready"), "{told}");
    let told = text(&check(&found, "files", "state_dir")["message"]);
    assert!(
        told.contains(&kennel.root().join("state").display().to_string()),
        "{told}"
    );
    let api = kennel
        .client()
        .get("/api/v1/doctor")
        .await
        .expect("an answer");
    assert_eq!(api.body["containment"], found["containment"]);

    let (code, shown) = run(&kennel, &["doctor"]).await;
    assert_eq!(code, Some(0), "{shown}");
    for part in ["agents are held by", "2 ready", "0 fail"] {
        assert!(shown.contains(part), "{part}:\n{shown}");
    }

    kennel.kill("one", Signal::SIGKILL).await;
    let reborn = kennel.until_reborn("one", 1).await;
    let (code, one) = json(&kennel, &["doctor", "one"]).await;
    assert_eq!(code, Some(0), "{one:#}");
    assert_sound(&one);
    let pid = reborn.pid.expect("it runs");
    assert_eq!(
        (&one["agent"], &one["life"]["pid"]),
        (&"one".into(), &pid.into())
    );
    assert_eq!(one["life"]["restarts"], 1);
    assert_eq!(one["life"]["last_end"]["cause"], "signal");
    assert_eq!(one["asked"], serde_json::json!({ "memory": 64 * MIB }));
    assert_eq!(check(&one, "life", "one")["state"], "warn", "{one:#}");
    let steps = one["cage"].as_array().expect("a list of steps");
    let names: Vec<&str> = steps.iter().map(|step| text(&step["name"])).collect();
    assert_eq!(names.first(), Some(&"descriptors"), "{steps:?}");
    assert_eq!(names.last(), Some(&"seccomp"), "{steps:?}");
    assert!(
        steps.iter().all(|step| step["outcome"] != "failed"),
        "{steps:?}"
    );
    let told = text(&check(&one, "cage", "cage")["message"]);
    assert!(
        told.contains(&format!("of {} steps", steps.len())),
        "{told}"
    );
    if backend == BackendKind::BestEffort {
        assert_eq!(one["group"], Value::Null);
        assert_eq!(check(&one, "caps", "memory")["state"], "warn");
    } else {
        let group = text(&one["group"]);
        let lines = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
        assert!(
            lines
                .lines()
                .any(|line| line.ends_with(&format!(":{group}"))),
            "{group}:\n{lines}"
        );
        assert!(group.ends_with("/fleet/one.2"), "{group}");
        assert_eq!(check(&one, "caps", "group")["state"], "ok");
        assert_eq!(one["in_force"]["memory"], 64 * MIB);
    }
    let (code, shown) = run(&kennel, &["doctor", "one"]).await;
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.starts_with("one: ready, pid "), "{shown}");
    for part in ["ended by SIGKILL", "  landlock ", "  64MiB"] {
        assert!(shown.contains(part), "{part}:\n{shown}");
    }
    let (_, status) = run(&kennel, &["status"]).await;
    assert!(status.contains("\none: ended by SIGKILL "), "{status}");
    assert!(status.contains(" ago, restarted\n"), "{status}");

    let (code, shown) = run(&kennel, &["doctor", "nobody"]).await;
    assert_eq!(code, Some(4), "{shown}");
    kennel.shut_down().await;
}

#[tokio::test]
async fn an_agent_in_quarantine_fails_until_it_is_restarted() {
    let kennel = Kennel::builder()
        .agents(&["one"])
        .agent("two", &[("max_restarts", "2")])
        .start()
        .await;
    let mut generation = 0;
    loop {
        let two = kennel
            .until("two", "is settled", |two| {
                two.state == "quarantined" || (two.state == "ready" && two.generation > generation)
            })
            .await;
        if two.state == "quarantined" {
            break;
        }
        generation = two.generation;
        kennel.kill("two", Signal::SIGKILL).await;
    }

    let (code, found) = json(&kennel, &["doctor"]).await;
    assert_eq!(code, Some(7), "{found:#}");
    assert_sound(&found);
    let two = check(&found, "agents", "two");
    assert_eq!(two["state"], "fail");
    assert!(
        text(&two["message"]).contains("ended by SIGKILL"),
        "{two:#}"
    );
    assert!(
        text(&two["remedy"]).ends_with("`kennel restart two`"),
        "{two:#}"
    );
    let failing = checks(&found).iter().filter(|one| one["state"] == "fail");
    assert_eq!(failing.count(), 1, "{found:#}");
    assert_eq!(json(&kennel, &["doctor", "two"]).await.0, Some(7));
    assert_eq!(json(&kennel, &["doctor", "one"]).await.0, Some(0));

    // The remedy helps.
    assert_eq!(run(&kennel, &["restart", "two"]).await.0, Some(0));
    let (code, found) = json(&kennel, &["doctor"]).await;
    assert_eq!(code, Some(0), "{found:#}");
    assert_eq!(check(&found, "agents", "two")["state"], "warn");
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_start_that_comes_to_no_process_says_why() {
    let prompt = tempfile::NamedTempFile::new().expect("a file for the prompt");
    let path = format!("'{}'", prompt.path().display());
    let kennel = Kennel::builder()
        .agents(&["one"])
        .agent(
            "two",
            &[("system_prompt_file", &path), ("max_restarts", "2")],
        )
        .start()
        .await;
    drop(prompt);
    kennel.kill("two", Signal::SIGKILL).await;
    kennel.until_state("two", "quarantined").await;

    // The configuration is refused by now: it does not tell where the supervisor is.
    let socket = kennel.control_socket();
    let socket = text_of(&socket);
    let (code, found) = json(&kennel, &["--socket", socket, "doctor", "two"]).await;
    assert_eq!(code, Some(7), "{found:#}");
    let two = check(&found, "life", "two");
    let told = text(&two["message"]);
    assert!(told.contains("the system prompt cannot be read"), "{told}");
    assert!(!told.contains("SIGKILL"), "{told}");
    let (_, status) = run(&kennel, &["--socket", socket, "status"]).await;
    let line = "two: restarted too often; cannot be started: the system prompt cannot be read";
    assert!(status.contains(line), "{status}");
    kennel.shut_down().await;
}

#[tokio::test]
async fn without_groups_it_says_what_does_not_hold() {
    let limits = ("limits", "{ memory = '64MiB', cpu = 0.5 }");
    let kennel = Kennel::builder()
        .supervisor(&[("containment", "'best-effort'")])
        .agent("lax", &[limits, ("enforcement", "'best-effort'")])
        .start()
        .await;
    let (code, found) = json(&kennel, &["doctor"]).await;
    assert_eq!(code, Some(0), "{found:#}");
    assert_sound(&found);
    let backend = check(&found, "containment", "backend");
    assert_eq!(backend["state"], "warn");
    assert!(
        text(&backend["remedy"]).contains("remove `containment`"),
        "{backend:#}"
    );
    for cap in ["memory", "cpu"] {
        let told = text(&check(&found, "containment", cap)["message"]).to_owned();
        assert!(
            told.starts_with(&format!("`{cap}` of `lax` is not enforced")),
            "{told}"
        );
    }
    // What the host has is told all the same.
    assert_ne!(found["host"]["cgroups"], serde_json::json!([]), "{found:#}");

    let (code, lax) = json(&kennel, &["doctor", "lax"]).await;
    assert_eq!(code, Some(0), "{lax:#}");
    assert_eq!(lax["group"], Value::Null);
    assert_eq!(lax["asked"]["memory"], 64 * MIB);
    assert_eq!(lax["in_force"], serde_json::json!({}), "{lax:#}");
    let names = lax["unenforced"].as_array().expect("a list").iter();
    let names: Vec<&str> = names.map(|one| text(&one["cap"])).collect();
    assert_eq!(names, ["memory", "cpu"]);

    // The same under nothing less would not run.
    let file = kennel.root().join("kennel.toml");
    let config = fs::read_to_string(&file).expect("the configuration");
    let strict = config.replace("enforcement = 'best-effort'", "enforcement = 'strict'");
    fs::write(&file, strict).expect("another configuration");
    let nobody = kennel.root().join("nobody.sock");
    let (code, found) = json(&kennel, &["--socket", text_of(&nobody), "doctor"]).await;
    let running = &found["running"];
    assert_eq!((code, running), (Some(7), &false.into()), "{found:#}");
    let told = text(&check(&found, "containment", "cpu")["message"]);
    assert!(told.contains("`lax` cannot run without it"), "{told}");
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_configuration_that_changes_below_a_supervisor() {
    let kennel = Kennel::builder()
        .agent("one", &[("enforcement", "'best-effort'")])
        .start()
        .await;
    let file = kennel.root().join("kennel.toml");
    let socket = kennel.control_socket();
    let socket = text_of(&socket);
    // The file may be broken: then only the socket tells where the supervisor is.
    let words = ["--socket", socket, "doctor"];
    let state = async || {
        let (code, found) = json(&kennel, &words).await;
        assert_sound(&found);
        let file = check(&found, "configuration", "file").clone();
        (
            code,
            text(&file["state"]).to_owned(),
            text(&file["message"]).to_owned(),
        )
    };
    assert_eq!(state().await.1, "ok");

    // What is changed live and saved is what runs.
    let (code, said) = run(&kennel, &["set", "one", "memory=128MiB", "--save"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(state().await.1, "ok");
    let saved = fs::read_to_string(&file).expect("the configuration");

    fs::write(&file, format!("{saved}\n[agents.three]\n")).expect("a change");
    let (code, file_state, message) = state().await;
    assert_eq!((code, file_state.as_str()), (Some(0), "warn"), "{message}");
    assert!(message.contains("was changed since"), "{message}");

    let secret =
        "[providers.far]\nkind = 'openai'\napi_key = { env = 'KENNEL_TEST_NO_SUCH_KEY' }\n";
    let three = "[agents.three]\nmodel = 'far/m'\n";
    fs::write(&file, format!("{saved}\n{secret}{three}")).expect("a change");
    let (code, found) = json(&kennel, &words).await;
    assert_eq!(code, Some(7), "{found:#}");
    let missing = check(&found, "secrets", "secret");
    assert!(
        text(&missing["remedy"]).contains("set KENNEL_TEST_NO_SUCH_KEY"),
        "{missing:#}"
    );

    fs::write(&file, format!("{saved}\n[agents.three]\nflavour = 1\n")).expect("a change");
    let (code, file_state, message) = state().await;
    assert_eq!((code, file_state.as_str()), (Some(7), "fail"), "{message}");
    assert!(message.contains("flavour"), "{message}");

    fs::write(&file, &saved).expect("as it was");
    assert_eq!(state().await.1, "ok");
    kennel.shut_down().await;
}

#[tokio::test]
async fn without_a_supervisor_it_tells_what_one_would_get() {
    let mut kennel = Kennel::builder()
        .agent(
            "one",
            &[
                ("limits", "{ memory = '64MiB' }"),
                ("enforcement", "'best-effort'"),
            ],
        )
        .agents(&["two"])
        .start()
        .await;
    kennel.signal(Signal::SIGTERM);
    assert!(kennel.until_down().await.success());

    let (code, found) = json(&kennel, &["doctor"]).await;
    assert_eq!(code, Some(0), "{found:#}");
    assert_sound(&found);
    assert_eq!(found["running"], false);
    assert_eq!(check(&found, "supervisor", "running")["state"], "warn");
    assert_eq!(
        found["containment"]["backend"],
        Containment::probe().backend().as_str()
    );
    assert!(checks(&found).iter().all(|one| one["area"] != "agents"));
    let (_, shown) = run(&kennel, &["doctor"]).await;
    for part in [
        "no supervisor is running here",
        "this is what one started here would get",
        "agents would be held by",
        "`kennel up --detach` starts one",
        "2 agents, 0 channels",
    ] {
        assert!(shown.contains(part), "{part}:\n{shown}");
    }

    let (code, one) = json(&kennel, &["doctor", "one"]).await;
    assert_eq!(code, Some(0), "{one:#}");
    assert_eq!(
        (&one["running"], &one["life"]),
        (&false.into(), &Value::Null)
    );
    assert_eq!(one["asked"]["memory"], 64 * MIB);
    assert_eq!(run(&kennel, &["doctor", "nobody"]).await.0, Some(4));

    let open = kennel.root().join("state");
    set_mode(&open, 0o777);
    let (code, found) = json(&kennel, &["doctor"]).await;
    assert_eq!(code, Some(7), "{found:#}");
    let remedy = text(&check(&found, "files", "state_dir")["remedy"]);
    assert_eq!(remedy, format!("`chmod go-w {}`", open.display()));
    set_mode(&open, 0o700);

    // Nobody can tell where the supervisor would be; the rest is told.
    fs::write(kennel.root().join("kennel.toml"), "][").expect("a change");
    let (code, found) = json(&kennel, &["doctor"]).await;
    assert_eq!(code, Some(7), "{found:#}");
    assert_eq!(check(&found, "configuration", "file")["state"], "fail");
    assert_eq!(check(&found, "supervisor", "running")["state"], "warn");
    assert_eq!(run(&kennel, &["doctor", "one"]).await.0, Some(2));
    kennel.assert_clean();
}

fn text_of(path: &Path) -> &str {
    path.to_str().expect("a path of letters")
}

fn set_mode(path: &Path, mode: u32) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(path, mode).expect("the mode is set");
}
