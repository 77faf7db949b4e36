//! Caps of running agents: shown, changed live and in the file, and refused.

use std::{
    collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command,
};

use bytes::Bytes;
use hyper::Method;
use kennel::containment::{Caps, Containment};
use kennel_tests::harness::{Kennel, Response, groups_of, program};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;

/// An agent that runs also where a cap cannot be had: these tests are about what is asked for.
const LAX: (&str, &str) = ("enforcement", "'best-effort'");

async fn patch(kennel: &Kennel, id: &str, body: &Value) -> Response {
    let path = format!("/api/v1/agents/{id}/limits");
    let body = Bytes::from(body.to_string());
    let answer = kennel.client().whole(Method::PATCH, &path, body).await;
    answer.expect("an answer")
}

async fn limits(kennel: &Kennel, id: &str) -> Value {
    let path = format!("/api/v1/agents/{id}/limits");
    let answer = kennel.client().get(&path).await.expect("an answer");
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.body["limits"].clone()
}

/// What the kernel holds a process's groups to, which are its own.
fn memory_caps(pid: i32) -> BTreeSet<u64> {
    let files = ["memory.max", "memory.limit_in_bytes"];
    let groups = groups_of(pid);
    let caps = groups.iter().flat_map(|group| {
        files
            .iter()
            .filter_map(|file| fs::read_to_string(group.join(file)).ok())
    });
    caps.filter_map(|cap| cap.trim().parse().ok()).collect()
}

/// These, where this host counts memory by groups.
fn capped(caps: &[u64]) -> BTreeSet<u64> {
    let asked = Caps {
        memory: Some(MIB),
        ..Caps::default()
    };
    if Containment::probe().unenforced(&asked).is_empty() {
        caps.iter().copied().collect()
    } else {
        BTreeSet::new()
    }
}

/// What `kennel set` says, and its code.
async fn set(kennel: &Kennel, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(program("kennel"));
    command
        .arg("--socket")
        .arg(kennel.control_socket())
        .arg("set")
        .args(args)
        .env_clear()
        .env("HOME", kennel.root())
        .current_dir(kennel.root());
    let ended = tokio::task::spawn_blocking(move || command.output());
    let ended = ended.await.expect("it ends").expect("kennel starts");
    let text = |bytes| String::from_utf8(bytes).expect("kennel prints text");
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

#[tokio::test]
async fn caps_are_shown_and_changed() {
    let kennel = Kennel::builder()
        .agent(
            "one",
            &[("limits", "{ memory = '512MiB', cpu = 1.5 }"), LAX],
        )
        .agent("two", &[LAX])
        .start()
        .await;
    let start = json!({ "memory": 512 * MIB, "cpu": 1.5, "pids": 512 });
    assert_eq!(limits(&kennel, "one").await, start);
    assert_eq!(limits(&kennel, "two").await, json!({ "pids": 512 }));

    let answer = patch(
        &kennel,
        "one",
        &json!({ "memory": 600 * MIB, "cpu": null, "open_files": 900 }),
    )
    .await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert_eq!(answer.body["live"], true, "{:?}", answer.body);
    let pid = kennel.agent_pid("one").await;
    let open_files = || {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let hard = line.and_then(|line| line.split_whitespace().nth(4));
        hard.expect("a limit").to_owned()
    };
    assert_eq!(open_files(), "900");
    assert_eq!(memory_caps(pid), capped(&[600 * MIB]));
    let now = json!({ "memory": 600 * MIB, "pids": 512, "open_files": 900 });
    assert_eq!(
        (&answer.body["before"], &answer.body["limits"]),
        (&start, &now)
    );
    assert_eq!(limits(&kennel, "one").await, now);
    // Lifted, the default is back.
    patch(&kennel, "one", &json!({ "pids": 100 })).await;
    patch(&kennel, "one", &json!({ "pids": null })).await;
    assert_eq!(limits(&kennel, "one").await, now);
    // They hold the next life too.
    kennel.order("one", "restart").await;
    assert_eq!(limits(&kennel, "one").await, now);
    assert_eq!(limits(&kennel, "two").await, json!({ "pids": 512 }));
    kennel.shut_down().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let kennel = Kennel::builder()
        .agent("one", &[("limits", "{ memory = '512MiB' }"), LAX])
        .agent("bad-off", &[("enabled", "false")])
        .start()
        .await;
    let before = limits(&kennel, "one").await;
    for (id, body, status, code, hint) in [
        ("one", json!({}), 400, "invalid_request", "memory_high"),
        (
            "one",
            json!({ "memory": 1, "pids": 7 }),
            400,
            "invalid_request",
            "`kennel set one`",
        ),
        (
            "one",
            json!({ "memory_high": 513 * MIB }),
            400,
            "invalid_request",
            "`kennel set one`",
        ),
        (
            "one",
            json!({ "cpu": 0.0 }),
            400,
            "invalid_request",
            "`kennel set one`",
        ),
        ("one", json!({ "cpus": 1 }), 400, "invalid_request", ""),
        (
            "one",
            json!({ "memory": "1GiB" }),
            400,
            "invalid_request",
            "",
        ),
        (
            "ones",
            json!({ "pids": 7 }),
            404,
            "agent_not_found",
            "did you mean `one`?",
        ),
        (
            "bad-off",
            json!({ "pids": 7 }),
            409,
            "denied",
            "enabled = true",
        ),
    ] {
        let answer = patch(&kennel, id, &body).await;
        assert_eq!(
            (answer.status, answer.error_code()),
            (status, code),
            "{body}"
        );
        let said = answer.body["error"]["hint"].as_str().unwrap_or_default();
        assert!(said.contains(hint), "{body}: {said}");
    }
    assert_eq!(limits(&kennel, "one").await, before);
    kennel.shut_down().await;
}

#[tokio::test]
async fn the_fleets_ceiling_holds_live_too() {
    let kennel = Kennel::builder()
        .supervisor(&[("fleet", "{ memory = '1GiB', pids = 600 }")])
        .agent("one", &[("limits", "{ memory = '512MiB' }"), LAX])
        .agent(
            "two",
            &[("limits", "{ memory = '512MiB', pids = 90 }"), LAX],
        )
        .start()
        .await;
    let refused = patch(&kennel, "one", &json!({ "memory": 513 * MIB })).await;
    assert_eq!((refused.status, refused.error_code()), (409, "denied"));
    assert_eq!(
        refused.body["error"]["message"],
        "the agents' `memory` adds up to 1025MiB, more than the fleet's 1GiB"
    );
    let hint = refused.body["error"]["hint"].as_str().expect("a hint");
    assert!(
        hint.contains("`one` (513MiB)") && hint.contains("overcommit = true"),
        "{hint}"
    );
    // Room is made by another; and the default of pids counts against nothing.
    for (id, body, status) in [
        ("two", json!({ "memory": 256 * MIB }), 200),
        ("one", json!({ "memory": 768 * MIB }), 200),
        ("two", json!({ "memory": 257 * MIB }), 409),
        ("two", json!({ "pids": 601 }), 409),
        ("two", json!({ "pids": 600 }), 200),
        ("one", json!({ "pids": 1 }), 409),
    ] {
        let answer = patch(&kennel, id, &body).await;
        assert_eq!(answer.status, status, "{id} {body}: {:?}", answer.body);
    }
    kennel.shut_down().await;
}

/// Whatever this host cannot enforce is refused to an agent that runs under nothing less.
#[tokio::test]
async fn a_strict_agent_is_given_no_cap_that_does_not_hold() {
    let kennel = Kennel::builder()
        .agents(&["strict"])
        .agent("lax", &[LAX])
        .start()
        .await;
    let host = Containment::probe();
    let caps = [
        (
            "memory",
            json!(64 * MIB),
            Caps {
                memory: Some(1),
                ..Caps::default()
            },
        ),
        (
            "memory_high",
            json!(64 * MIB),
            Caps {
                memory_high: Some(1),
                ..Caps::default()
            },
        ),
        (
            "cpu",
            json!(2.0),
            Caps {
                cpu: Some(1.0),
                ..Caps::default()
            },
        ),
        (
            "cpu_weight",
            json!(50),
            Caps {
                cpu_weight: Some(1),
                ..Caps::default()
            },
        ),
        (
            "pids",
            json!(99),
            Caps {
                pids: Some(1),
                ..Caps::default()
            },
        ),
        (
            "open_files",
            json!(512),
            Caps {
                open_files: Some(1),
                ..Caps::default()
            },
        ),
        (
            "io_weight",
            json!(50),
            Caps {
                io_weight: Some(1),
                ..Caps::default()
            },
        ),
    ];
    for (name, value, caps) in caps {
        let cannot = host.unenforced(&caps);
        let body = json!({ name: value });
        let strict = patch(&kennel, "strict", &body).await;
        let lax = patch(&kennel, "lax", &body).await;
        assert_eq!(lax.status, 200, "{name}: {:?}", lax.body);
        let told = lax.body["unenforced"].as_array().expect("a list");
        assert_eq!(
            told.iter().any(|one| one["cap"] == name),
            !cannot.is_empty()
        );
        match cannot.first() {
            None => assert_eq!(strict.status, 200, "{name}: {:?}", strict.body),
            Some(one) => {
                assert_eq!((strict.status, strict.error_code()), (409, "denied"));
                let error = strict.body["error"].to_string();
                assert!(
                    error.contains(name) && error.contains("best-effort"),
                    "{error}"
                );
                let hint = strict.body["error"]["hint"].as_str().expect("a hint");
                assert!(hint.starts_with(&one.remedy), "{hint}");
            }
        }
    }
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_change_is_saved_where_the_agent_is_declared() {
    let mut kennel = Kennel::builder()
        .agent("one", &[("limits", "{ memory = '512MiB' } # enough"), LAX])
        .start()
        .await;
    let file = kennel.root().join("kennel.toml");
    let before = fs::read_to_string(&file).expect("the configuration");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("chmod");

    let (code, out, err) = set(&kennel, &["one", "memory=640MiB", "pids=64"]).await;
    assert_eq!(code, Some(0), "{err}");
    let words: Vec<_> = out.split_whitespace().collect();
    assert_eq!(
        words[..9],
        [
            "CAP", "BEFORE", "NOW", "memory", "512MiB", "640MiB", "pids", "512", "64"
        ],
        "{out}"
    );
    assert_eq!(
        fs::read_to_string(&file).expect("there"),
        before,
        "nothing is saved unasked"
    );

    let (code, _, err) = set(&kennel, &["one", "memory=768MiB", "--save"]).await;
    assert_eq!(code, Some(0), "{err}");
    let said = format!(
        "saved in {}: agents.one: limits.memory: '512MiB' -> \"768MiB\"",
        file.display()
    );
    assert!(err.contains(&said), "{err}");
    let after = before.replace("'512MiB'", "\"768MiB\"");
    assert_eq!(fs::read_to_string(&file).expect("there"), after);
    assert_eq!(mode(&file), 0o640);
    assert_eq!(limits(&kennel, "one").await["memory"], 768 * MIB);

    // What the supervisor refuses is not saved either, and what the file refuses is not made live.
    for args in [
        ["one", "memory_high=1GiB", "--save"],
        ["ones", "cpu=1", "--save"],
    ] {
        let (code, _, err) = set(&kennel, &args).await;
        assert_ne!(code, Some(0), "{args:?}: {err}");
        assert_eq!(fs::read_to_string(&file).expect("there"), after, "{args:?}");
    }
    assert_eq!(limits(&kennel, "one").await["memory"], 768 * MIB);

    // The next supervisor has them from the file; that of before it had only live, it does not.
    kennel.signal(Signal::SIGTERM);
    kennel.until_down().await;
    kennel.start_again().await;
    let again = json!({ "memory": 768 * MIB, "pids": 512 });
    assert_eq!(limits(&kennel, "one").await, again);
    kennel.shut_down().await;
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).expect("there").permissions().mode() & 0o7777
}

#[tokio::test]
async fn set_shows_and_explains() {
    let kennel = Kennel::builder()
        .agent("one", &[("limits", "{ memory = '512MiB' }"), LAX])
        .start()
        .await;
    let (code, out, _) = set(&kennel, &["one"]).await;
    assert_eq!(code, Some(0));
    let shown = |cap: &str| {
        let line = out.lines().find(|line| line.starts_with(cap));
        let line = line.unwrap_or_else(|| panic!("{cap} in\n{out}"));
        line[cap.len()..].trim().to_owned()
    };
    assert!(shown("memory ").starts_with("512MiB"), "{out}");
    assert!(
        shown("memory_high").starts_with("(90 % of 512MiB)"),
        "{out}"
    );
    assert!(shown("pids").starts_with("512"), "{out}");
    assert!(shown("open_files").starts_with("none"), "{out}");

    let (code, out, _) = set(&kennel, &["one", "cpu=2", "--json"]).await;
    let json: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &json["limits"]["cpu"]), (Some(0), &json!(2.0)));
    for (args, code, words) in [
        (&["one", "memory=1G"][..], 2, "\"1GiB\" (powers of 1024)"),
        (&["one", "cpus=1"], 2, "did you mean `cpu`?"),
        (&["one", "cpu=1", "cpu=2"], 2, "`cpu` is given twice"),
        (
            &["one", "memory_high=1GiB"],
            2,
            "must not exceed `memory` (512MiB)",
        ),
        (&["ones"], 4, "did you mean `one`?"),
        (&["one", "--save"], 2, "CAP=VALUE"),
    ] {
        let (found, _, err) = set(&kennel, args).await;
        assert_eq!(found, Some(code), "{args:?}: {err}");
        assert!(err.contains(words), "{args:?}: {err}");
    }
    kennel.shut_down().await;
}
