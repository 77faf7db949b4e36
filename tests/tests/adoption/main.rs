//! Supervisors that die, and what becomes of their agents: they go on, and the next one takes them over.

mod changed;
mod ends;
mod gone;

use std::{collections::BTreeMap, time::Duration};

use kennel_tests::harness::{Kennel, Process, eventually, groups_of, start_time_of};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// An agent's process, as nobody can mistake it.
type Life = (i32, Option<u64>);

async fn lives(kennel: &Kennel, ids: &[&str]) -> BTreeMap<String, Life> {
    let mut lives = BTreeMap::new();
    for id in ids {
        let pid = kennel.agent_pid(id).await;
        lives.insert((*id).to_owned(), (pid, start_time_of(pid)));
    }
    lives
}

/// Begins a turn that nobody will be there to hear the end of, and waits until it runs.
async fn begin(kennel: &Kennel, id: &str, text: &str, session: &str) {
    let mut events = kennel.client().stream(id, text, Some(session)).await;
    events.until("started").await;
    // Kept open, or it would be cancelled.
    tokio::spawn(async move { events.rest().await });
}

/// A turn for each of them at once.
async fn begin_each(kennel: &Kennel, ids: &[&str], text: &str) {
    for id in ids {
        begin(kennel, id, text, "kept").await;
    }
}

/// How many messages a session has, without the question after it.
async fn messages(kennel: &Kennel, id: &str, session: &str) -> usize {
    let answer = kennel.client().send(id, "!context", Some(session)).await;
    let reply = answer.reply().to_owned();
    let count = reply
        .strip_prefix("messages=")
        .and_then(|rest| rest.split(' ').next());
    count.expect("a count").parse::<usize>().expect("a number") - 1
}

#[tokio::test]
async fn agents_outlive_their_supervisor_with_their_turns() {
    const IDS: [&str; 3] = ["one", "two", "three"];
    let mut kennel = Kennel::builder().agents(&IDS).start().await;
    for id in IDS {
        assert_eq!(kennel.send(id, "hello").await.reply(), "hello");
    }
    let before = lives(&kennel, &IDS).await;
    begin_each(&kennel, &IDS, "!sleep 700 slept").await;

    kennel.crash().await;
    kennel.start_again().await;

    kennel.until_ready().await;
    assert_eq!(lives(&kennel, &IDS).await, before);
    for id in IDS {
        let agent = kennel.agent(id).await;
        assert!(agent.adopted && agent.link == "connected", "{agent:?}");
        assert_eq!((agent.generation, agent.restarts), (1, 0));
        assert_eq!(kennel.events(id, "adopted").await.len(), 1);
        assert_eq!(kennel.send(id, "again").await.reply(), "again");
        // The turn that nobody heard the end of is in its session, once.
        eventually("the turn is over", || async {
            (messages(&kennel, id, "kept").await >= 2).then_some(())
        })
        .await;
    }
    // A second one is refused, before and after.
    let (code, said) = kennel.second_supervisor().await;
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains(&kennel.pid().to_string()), "{said}");

    // And once more: what was adopted can be adopted.
    begin_each(&kennel, &IDS, "!sleep 300 slept").await;
    kennel.crash().await;
    kennel.start_again().await;
    kennel.until_ready().await;
    assert_eq!(lives(&kennel, &IDS).await, before);
    for id in IDS {
        assert_eq!(kennel.send(id, "and again").await.reply(), "and again");
    }
    // A restart gives the next generation, which is nobody's adoptee.
    kennel.order("one", "restart").await;
    let after = kennel.until_reborn("one", 1).await;
    assert!(!after.adopted && after.generation == 2, "{after:?}");
    kennel.shut_down().await;
}

/// Who asks again by the same key gets the answer of the turn that went on without a supervisor, and no
/// second one is begun.
#[tokio::test]
async fn a_turn_that_went_on_alone_is_answered_once() {
    let mut kennel = Kennel::builder().agents(&["one"]).start().await;
    let client = kennel.client().header("idempotency-key", "k1");
    let asking = client.clone();
    let first = tokio::spawn(async move {
        let answer = asking.try_send("one", "!sleep 900 slept", Some("kept"));
        answer.await.is_ok_and(|answer| answer.ok().is_some())
    });
    kennel
        .until("one", "has a turn", |agent| agent.running == 1)
        .await;
    kennel.crash().await;
    assert!(!first.await.expect("it ends"), "its caller went with it");
    kennel.start_again().await;
    let answer = client.send("one", "!sleep 900 slept", Some("kept")).await;
    assert_eq!(answer.reply(), "slept");
    assert_eq!(messages(&kennel, "one", "kept").await, 2);
    assert!(kennel.agent("one").await.adopted);

    // One that ended while nobody was there.
    let client = client.header("idempotency-key", "k2");
    let asking = client.clone();
    let first =
        tokio::spawn(async move { asking.try_send("one", "!sleep 300 x", Some("two")).await });
    kennel
        .until("one", "has a turn", |agent| agent.running == 1)
        .await;
    kennel.crash().await;
    let _ = first.await;
    let store = kennel.root().join("state/agents/one/store.db");
    let store = rusqlite::Connection::open(store).expect("its store");
    eventually("the turn is over", || async {
        let ended: u32 = store
            .query_row("SELECT count(*) FROM deliveries", (), |row| row.get(0))
            .expect("a count");
        (ended == 3).then_some(())
    })
    .await;
    kennel.start_again().await;
    let answer = client.send("one", "!sleep 300 x", Some("two")).await;
    assert_eq!(answer.reply(), "x");
    assert_eq!(messages(&kennel, "one", "two").await, 2);
    kennel.shut_down().await;
}

/// At whatever moment it is hit: every agent is there, once, and answers.
#[tokio::test]
async fn a_supervisor_killed_at_any_moment_leaves_each_agent_once() {
    const IDS: [&str; 4] = ["one", "two", "three", "four"];
    const ROUNDS: u64 = 12;
    let seed = std::env::var("KENNEL_TEST_SEED").map_or_else(
        |_| fastrand::u64(..),
        |seed| seed.parse().expect("KENNEL_TEST_SEED is a number"),
    );
    println!("KENNEL_TEST_SEED={seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut kennel = Kennel::builder().agents(&IDS).start().await;
    for _ in 0..ROUNDS {
        kennel.crash().await;
        // Some die while they start.
        while dice.bool() {
            kennel
                .start_and_kill_after(Duration::from_millis(dice.u64(..120)))
                .await;
        }
        kennel.start_again().await;
        if dice.bool() {
            kennel.until_ready().await;
        }
        if dice.bool() {
            let id = IDS[dice.usize(..IDS.len())];
            let path = format!("/api/v1/agents/{id}/restart");
            let asked = kennel.client().post(&path, &json!({ "wait": false })).await;
            asked.expect("the supervisor answers");
        }
    }
    kennel.until_ready().await;
    for id in IDS {
        assert_eq!(kennel.send(id, "here").await.reply(), "here");
    }
    let hosts = || {
        let mut hosts = kennel.processes();
        hosts.retain(|process| process.command().contains("--agent"));
        hosts
    };
    // One that was started and not written down may take a moment to see that it is nobody's.
    eventually("one process for each agent", || async {
        (hosts().len() == IDS.len()).then_some(())
    })
    .await;
    assert_eq!(kennel.events("one", "left-behind").await, [] as [Value; 0]);
    kennel.shut_down().await;
}

/// Where no group holds them, they are found by their pids, and all they start by its descent.
#[tokio::test]
async fn agents_without_groups_are_adopted() {
    let mut kennel = Kennel::builder()
        .supervisor(&[("containment", "'best-effort'")])
        .agent("one", &[("tools", "['exec']"), LAX])
        .start()
        .await;
    let before = lives(&kennel, &["one"]).await;
    begin(&kennel, "one", "!sleep 300 slept", "kept").await;
    kennel.crash().await;
    kennel.start_again().await;
    kennel.until_ready().await;
    assert_eq!(lives(&kennel, &["one"]).await, before);
    assert!(kennel.agent("one").await.adopted);
    let left = leave_behind(&kennel, "one").await;
    kennel.order("one", "stop").await;
    assert!(left.wait(Duration::from_secs(2)), "{left:?}");
    kennel.shut_down().await;
}

/// An agent with a user of its own stays what it is.
#[tokio::test]
async fn agents_with_users_of_their_own_are_adopted() {
    assert!(nix::unistd::geteuid().is_root(), "this test is root's");
    let mut kennel = Kennel::builder()
        .passable()
        .agent("own", &[("user", "'61234:61235'")])
        .start()
        .await;
    let before = lives(&kennel, &["own"]).await;
    kennel.crash().await;
    kennel.start_again().await;
    kennel.until_ready().await;
    assert_eq!(lives(&kennel, &["own"]).await, before);
    assert_eq!(kennel.send("own", "here").await.reply(), "here");
    kennel.shut_down().await;
}

/// An agent that runs also where a cap cannot be had.
const LAX: (&str, &str) = ("enforcement", "'best-effort'");

/// What is to be run by an agent with the tool `exec`.
fn exec(command: &str) -> String {
    let call = json!([[{ "name": "exec", "arguments": { "command": command } }]]);
    format!("!tools {call}")
}

/// Has an agent start a process that leaves its session, and its parent.
async fn leave_behind(kennel: &Kennel, id: &str) -> Process {
    // What is still in the tool's session when it ends, ends with it.
    let command = exec(
        "rm -f left; setsid sh -c ': > left; exec sleep 1234' >/dev/null 2>&1 </dev/null & \
         until [ -e left ]; do sleep 0.01; done; echo started",
    );
    let answer = kennel.send(id, &command).await;
    assert!(answer.reply().contains("started"), "{}", answer.reply());
    eventually("the process that was left", || async {
        let mut found = kennel.processes();
        found.retain(|process| process.command().starts_with("sleep 1234"));
        found.pop()
    })
    .await
}
