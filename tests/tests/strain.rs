//! What caps do to an agent short of ending it, on the groups of this host: told once when it begins, and
//! once when it is over, however much the agent goes on.

use bytes::Bytes;
use hyper::Method;
use kennel_tests::{
    harness::{Events, Kennel, eventually},
    misbehave::NOW,
};
use serde_json::{Value, json};

const MISBEHAVING: &str = env!("CARGO_BIN_EXE_misbehaving-agent");

/// The kinds of event that are about a cap that holds back.
const KINDS: [&str; 5] = [
    "pids-denied",
    "throttled",
    "throttled-over",
    "memory-high",
    "memory-high-over",
];

/// Agents that run only where their caps hold: on a host that holds none, these tests fail and say so.
async fn start(agents: &[(&str, &str)]) -> Kennel {
    let mut builder = Kennel::builder().misbehaving(MISBEHAVING).agents(&["one"]);
    for (id, limits) in agents {
        // Spinning threads leave the agent's own loop little of its cap.
        let keys = [("limits", *limits), ("watchdog", "'20s'")];
        builder = builder.agent(id, &keys);
    }
    let kennel = builder.start().await;
    for (id, _) in agents {
        kennel.until_state(id, "ready").await;
    }
    kennel
}

async fn follow(kennel: &Kennel) -> Events {
    let path = "/api/v1/events?follow=true";
    kennel
        .client()
        .events(Method::GET, path, Bytes::new())
        .await
}

/// The next event about a cap that holds an agent back.
async fn next(events: &mut Events) -> Value {
    loop {
        let event = events.until("lifecycle").await;
        if event.get("held_back").is_some() {
            return event;
        }
    }
}

/// All of them so far, as `kennel events` prints them, without their times.
async fn printed(kennel: &Kennel, id: &str) -> Vec<String> {
    let mut command = kennel.command();
    command.args(["events", id, "--lines", "500"]);
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output.expect("it does not panic").expect("kennel starts");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("kennel prints text");
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .map(|(_, line)| line.to_owned())
        .filter(|line| {
            KINDS
                .iter()
                .any(|kind| line.contains(&format!(" {kind}: ")))
        })
        .collect()
}

#[tokio::test]
async fn forks_that_are_denied_are_told_once() {
    let kennel = start(&[("bad-fork", "{ pids = 20 }")]).await;
    let mut events = follow(&kennel).await;
    let before = kennel.agent("bad-fork").await;
    kennel.send("bad-fork", &format!("{NOW} 1000")).await;

    let event = next(&mut events).await;
    assert_eq!(event["kind"], "pids-denied", "{event}");
    assert_eq!(event["agent"], "bad-fork");
    assert_eq!(event["generation"], before.generation);
    assert_eq!(
        event["held_back"],
        json!({ "cap": "pids", "cap_value": 20.0 })
    );
    let detail = event["detail"].as_str().expect("words");
    assert!(detail.starts_with("denied one more process "), "{detail}");
    assert!(
        detail.ends_with("by its cap of 20; held back, not ended"),
        "{detail}"
    );

    // It goes on to be denied, thousands of times a second, and nothing more is told.
    let denied = || async {
        let agent = kennel.client().get("/api/v1/agents/bad-fork").await;
        agent.expect("an answer").body["usage"]["pids_denied"].as_u64()
    };
    let first = denied().await;
    eventually("more is denied, and seen", || async {
        (denied().await > first).then_some(())
    })
    .await;
    assert_eq!(
        printed(&kennel, "bad-fork").await,
        [format!(
            "bad-fork #{} pids-denied: {detail}",
            before.generation
        )]
    );
    let logged = kennel
        .logged(&["a cap holds an agent back", "bad-fork"])
        .await;
    assert!(
        logged.contains("WARN") && logged.contains("pids"),
        "{logged}"
    );
    let own = kennel.agent_log("bad-fork").await;
    assert!(own.iter().any(|line| line.contains(detail)), "{own:#?}");
    assert_eq!(
        kennel.agent("bad-fork").await.pid,
        before.pid,
        "it lives on"
    );
    assert_eq!(kennel.send("one", "quiet?").await.reply(), "quiet?");
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_cpu_cap_that_holds_back_is_told_when_it_begins_and_when_it_is_over() {
    let kennel = start(&[("bad-spin-turn", "{ cpu = 0.25 }")]).await;
    let mut events = follow(&kennel).await;
    let before = kennel.agent("bad-spin-turn").await;
    // Its turn never ends.
    let client = kennel.client();
    let mut turn = client.stream("bad-spin-turn", NOW, None).await;
    let accepted = turn.next().await;

    let event = next(&mut events).await;
    assert_eq!(event["kind"], "throttled", "{event}");
    assert_eq!(event["agent"], "bad-spin-turn");
    assert_eq!(event["generation"], before.generation);
    let held = &event["held_back"];
    assert_eq!(
        (&held["cap"], &held["cap_value"]),
        (&json!("cpu"), &json!(0.25))
    );
    assert_eq!(held["turn"]["step"], "asking", "{event} {accepted:?}");
    let detail = event["detail"].as_str().expect("words");
    let running = held["turn"]["turn"].as_str().expect("a turn");
    assert!(
        detail.starts_with("stopped by its cap of 0.25 CPUs in "),
        "{detail}"
    );
    assert!(
        detail.contains("; held back, not ended; turn ") && detail.contains(running),
        "{detail}"
    );

    // Eight threads in two processors: nobody is held back by a cap of sixteen.
    let path = "/api/v1/agents/bad-spin-turn/limits";
    let body = Bytes::from(json!({ "cpu": 16.0 }).to_string());
    let answer = kennel.client().whole(Method::PATCH, path, body).await;
    assert_eq!(answer.expect("an answer").status, 200);
    let event = next(&mut events).await;
    assert_eq!(event["kind"], "throttled-over", "{event}");
    let detail = event["detail"].as_str().expect("words");
    assert!(
        detail.starts_with("no longer stopped by its cap"),
        "{detail}"
    );
    assert_eq!(kennel.agent("bad-spin-turn").await.pid, before.pid);

    let told = printed(&kennel, "bad-spin-turn").await;
    let kinds: Vec<&str> = told
        .iter()
        .filter_map(|line| line.split(' ').nth(2))
        .collect();
    assert_eq!(kinds, ["throttled:", "throttled-over:"], "{told:#?}");
    drop(turn);
    kennel.shut_down().await;
}
