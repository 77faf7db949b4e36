//! The same with a whole supervisor: users, backends, and whom an agent leaves behind.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    process::{Command, Stdio},
};

use kennel::containment::{BackendKind, Containment};
use kennel_tests::harness::{Kennel, Process, patience, program, until_ended};
use serde_json::json;

use super::{
    assert_done,
    rig::{MISBEHAVING, prepare, results},
};

/// Not in the system's list: nothing on the machine is theirs.
const UID: u32 = 61_234;

fn uid_of(pid: i32) -> Vec<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let numbers = line.unwrap().split_whitespace();
    numbers.map(|uid| uid.parse().unwrap()).collect()
}

#[tokio::test]
async fn an_agent_with_a_user_of_its_own_answers() {
    let mut kennel = Kennel::builder()
        .passable()
        .agent("own", &[("user", "'61234:61235'")])
        .agents(&["plain"])
        .start()
        .await;
    for id in ["own", "plain"] {
        assert_eq!(kennel.send(id, "hello").await.reply(), "hello");
    }
    let plain = kennel.agent_pid("plain").await;
    assert_eq!(uid_of(kennel.agent_pid("own").await), [UID; 4]);
    assert_eq!(uid_of(plain), [0; 4]);
    let agents = kennel.root().join("state/agents");
    let owner = |path: &str| fs::metadata(agents.join(path)).unwrap().uid();
    assert_eq!((owner("own"), owner("own/store.db")), (UID, UID));
    assert_eq!((owner("plain"), owner("plain/store.db")), (0, 0));

    kennel.order("own", "restart").await;
    kennel.until_reborn("own", 1).await;
    assert_eq!(kennel.send("own", "again").await.reply(), "again");
    assert_eq!(kennel.agent_pid("plain").await, plain);

    // Without the setting it is the supervisor's again, and so is what it has written.
    let file = kennel.root().join("kennel.toml");
    let text = fs::read_to_string(&file).unwrap();
    kennel.signal(nix::sys::signal::Signal::SIGTERM);
    kennel.until_down().await;
    fs::write(&file, text.replace("user = '61234:61235'\n", "")).unwrap();
    kennel.start_again().await;
    kennel.until_ready().await;
    assert_eq!(kennel.send("own", "at home").await.reply(), "at home");
    assert_eq!(uid_of(kennel.agent_pid("own").await), [0; 4]);
    assert_eq!((owner("own"), owner("own/store.db")), (0, 0));
    kennel.shut_down().await;
}

/// In a session of its own, its parent gone: no group says whose it is.
#[tokio::test]
async fn without_groups_all_that_an_agent_started_ends_with_it() {
    let kennel = Kennel::builder()
        .supervisor(&[("containment", "'best-effort'")])
        .agents(&["plain"])
        .agent("bad-hostile", &[("autostart", "false")])
        .misbehaving(MISBEHAVING)
        .start()
        .await;
    let status = kennel.status().await;
    assert_eq!(status["containment"]["backend"], "best-effort", "{status}");
    let home = kennel.root().join("state/agents/bad-hostile");
    let plan = json!([["orphan", "orphan"]]);
    let orphans = || {
        let mut all = Process::within(kennel.root());
        all.retain(|process| process.command().contains("sleep 600"));
        all
    };
    for order in ["stop", "restart"] {
        prepare(&home, &plan);
        kennel.order("bad-hostile", "start").await;
        assert_done(&results(&home).await, &["orphan"], "inside");
        kennel.until_state("bad-hostile", "ready").await;
        let left = orphans();
        assert_eq!(left.len(), 1, "{left:?}");
        fs::remove_file(home.join("results.json")).unwrap();
        // The next life leaves nobody.
        prepare(&home, &json!([]));
        kennel.order("bad-hostile", order).await;
        for process in left {
            assert!(process.wait(patience()), "{process:?} is left");
        }
        kennel.order("bad-hostile", "stop").await;
        kennel.until_state("bad-hostile", "stopped").await;
        let _ = fs::remove_file(home.join("results.json"));
    }
    assert_eq!(kennel.send("plain", "hello").await.reply(), "hello");
    kennel.shut_down().await;
}

/// A backend that is asked for by name is had, or the supervisor says why not.
#[tokio::test]
async fn the_backend_is_the_one_that_was_asked_for() {
    let mut had = 0;
    for (name, kinds) in [
        (
            "cgroup-v2",
            &[BackendKind::V2Delegated, BackendKind::V2Root][..],
        ),
        ("hybrid", &[BackendKind::Hybrid]),
        ("cgroup-v1", &[BackendKind::V1]),
        ("best-effort", &[BackendKind::BestEffort]),
    ] {
        let containment = ("containment", format!("'{name}'"));
        let containment = [(containment.0, containment.1.as_str())];
        if kinds.iter().any(|kind| Containment::with(*kind).is_ok()) {
            had += 1;
            let kennel = Kennel::builder()
                .supervisor(&containment)
                .agents(&["plain"])
                .start()
                .await;
            let backend = kennel.status().await["containment"]["backend"].clone();
            assert!(backend.as_str().unwrap().starts_with(name), "{backend}");
            assert_eq!(kennel.send("plain", "hello").await.reply(), "hello");
            kennel.shut_down().await;
            continue;
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("kennel.toml");
        let root = directory.path().display();
        let text = format!("[supervisor]\nstate_dir = '{root}/state'\ncontainment = '{name}'\n");
        fs::write(&file, text).unwrap();
        let log = directory.path().join("log");
        let mut child = Command::new(program("kennel"))
            .arg("--config")
            .arg(&file)
            .arg("up")
            .stdin(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let status = until_ended(&mut child).await;
        let said = fs::read_to_string(&log).unwrap();
        assert!(!status.success(), "{said}");
        for told in ["`containment`", "\"auto\"", "cannot be had"] {
            assert!(said.contains(told), "{told}: {said}");
        }
    }
    // Best effort needs nothing.
    assert!(had >= 1);
}
