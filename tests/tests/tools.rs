//! Tools in a whole fleet: what an agent may do, what is told of it when it ends amid a tool, and that a
//! turn goes on behind it.

use std::time::Duration;

use kennel_tests::harness::{Kennel, eventually};
use serde_json::{Value, json};

fn script(answers: &Value) -> String {
    format!("!tools {answers}")
}

fn exec(command: &str) -> Value {
    json!({"name": "exec", "arguments": {"command": command}})
}

async fn with_tools(tools: &str) -> Kennel {
    Kennel::builder()
        .agents(&["two"])
        .agent("one", &[("tools", tools)])
        .start()
        .await
}

#[tokio::test]
async fn a_command_that_ends_its_agent_is_named_and_not_run_again() {
    let kennel = with_tools("['exec']").await;
    let before = kennel.agent("one").await;
    let two = kennel.agent_pid("two").await;
    let deadly = script(&json!([
        {"say": "Let me try.", "calls": [exec("echo ran >> runs; kill -9 $PPID; sleep 1000")]},
        [exec("cat runs")],
    ]));
    let answer = kennel.send("one", &deadly).await;
    let reply = answer.reply();
    assert!(
        reply.starts_with("Let me try.\n\nexec: [interrupted: "),
        "{reply}"
    );
    assert!(
        reply.ends_with("exec: [exit status 0]\nran\n"),
        "it ran once: {reply}"
    );

    assert_eq!(kennel.agent("one").await.generation, before.generation + 1);
    assert_eq!(kennel.agent_pid("two").await, two);
    let events = kennel
        .client()
        .get("/api/v1/events?tail=50&agent=one")
        .await;
    let events = events.expect("events").body["events"].clone();
    let ended = events
        .as_array()
        .expect("a list")
        .iter()
        .find(|event| event["kind"] == "ended");
    let end = &ended.expect("it has ended")["end"];
    assert_eq!(end["turns"][0]["step"], "running exec", "{end}");
    let sentence = end["sentence"].as_str().expect("a sentence");
    assert!(sentence.contains(" was running exec for "), "{sentence}");
    let left = || {
        kennel
            .processes()
            .iter()
            .any(|process| process.command().starts_with("sleep"))
    };
    assert!(!left(), "what it had started ended with it");
    kennel.shut_down().await;
}

#[tokio::test]
async fn what_is_not_listed_is_not_to_be_had() {
    let kennel = with_tools("['write', 'read', 'list']").await;
    let turn = script(&json!([
        [
            {"name": "write", "arguments": {"path": "notes/a.txt", "content": "kept\n"}},
            {"name": "read", "arguments": {"path": "notes/a.txt"}},
            exec("touch ran"),
            {"name": "list", "arguments": {}},
        ],
    ]));
    let answer = kennel.send("one", &turn).await;
    let told: Vec<&str> = answer.reply().split("\n\n").collect();
    assert_eq!(told[0], "write: wrote 5 bytes");
    assert_eq!(told[1].trim_end(), "read: kept");
    let refused = "exec: error: there is no such tool; there are write, read, list";
    assert!(answer.reply().contains(refused), "{told:?}");
    assert!(answer.reply().ends_with("list: notes/\n"), "{told:?}");
    // An agent without tools has none.
    let answer = kennel
        .send("two", &script(&json!([[exec("touch ran")]])))
        .await;
    assert_eq!(answer.ok(), None, "{answer:?}");
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_cancelled_turn_leaves_no_process() {
    let kennel = with_tools("['exec']").await;
    let turn = script(&json!([[exec(
        "sleep 1000 & (trap '' TERM; sleep 1001) & wait"
    )]]));
    let client = kennel.client();
    let mut events = client.stream("one", &turn, None).await;
    let id = events.until("accepted").await["turn_id"].clone();
    let sleeping = || {
        let found = kennel.processes();
        let sleeping = found
            .iter()
            .filter(|process| process.command().starts_with("sleep"));
        sleeping.count()
    };
    eventually("both sleep", || async { (sleeping() == 2).then_some(()) }).await;
    let path = format!("/api/v1/turns/{}", id.as_str().expect("an id"));
    client.delete(&path).await.expect("an answer");
    events.until("failed").await;
    eventually("none sleeps", || async { (sleeping() == 0).then_some(()) }).await;
    // The agent is the same, and serves on.
    let answer = kennel.send("one", "still here").await;
    assert_eq!(answer.reply(), "still here");
    kennel.shut_down().await;
}

#[tokio::test]
async fn an_agent_is_alive_while_its_tool_runs() {
    let kennel = Kennel::builder()
        .agent("one", &[("tools", "['exec']"), ("watchdog", "'500ms'")])
        .start()
        .await;
    let before = kennel.agent("one").await;
    let turn = script(&json!([[exec("sleep 1.5; echo awake")]]));
    let asked = tokio::time::Instant::now();
    let answer = kennel.send("one", &turn).await;
    assert_eq!(answer.reply(), "exec: [exit status 0]\nawake\n");
    assert!(asked.elapsed() >= Duration::from_millis(1500));
    assert_eq!(
        kennel.agent("one").await.pid,
        before.pid,
        "nobody took it for hung"
    );
    kennel.shut_down().await;
}
