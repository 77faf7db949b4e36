//! Turns that use tools, under the scripted supervisor.

use std::{fs, path::Path};

use kennel_shared::protocol::{Tool, TurnStep};
use nix::{errno::Errno, sys::signal::killpg, unistd::Pid};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::*;

pub(super) fn spec_with_tools(dir: &TempDir) -> AgentSpec {
    let workspace = dir.path().join("work");
    fs::create_dir_all(&workspace).unwrap();
    AgentSpec {
        workspace,
        tools: ToolsSpec {
            enabled: Tool::ALL.to_vec(),
            ..ToolsSpec::none()
        },
        ..spec()
    }
}

pub(super) fn script(answers: &Value) -> Delivery {
    delivery(&format!("!tools {answers}"))
}

pub(super) fn exec(command: &str) -> Value {
    json!({"name": "exec", "arguments": {"command": command}})
}

/// The steps of a turn as it says them, the text that it shows, and its end.
async fn steps(link: &mut AgentLink, of: &Delivery) -> (Vec<String>, String, TurnOutcome, Spent) {
    let (mut steps, mut text) = (Vec::new(), String::new());
    loop {
        match next(link).await {
            ToSupervisor::Started(turn) if turn == of.turn => steps.push("started".into()),
            ToSupervisor::Step { turn, step } if turn == of.turn => steps.push(match step {
                TurnStep::Asking => "asking".into(),
                TurnStep::Tool(name) => name,
            }),
            ToSupervisor::Delta { text: piece, .. } => text.push_str(&piece),
            ToSupervisor::Finished { outcome, spent, .. } => return (steps, text, outcome, spent),
            other => panic!("{other:?}"),
        }
    }
}

async fn gone(group: i32) {
    let begun = Instant::now();
    while killpg(Pid::from_raw(group), None) != Err(Errno::ESRCH) {
        assert!(begun.elapsed() < PATIENCE, "group {group} lives");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Reads on until a file has a line, and returns the number in it.
async fn number_in(link: &mut AgentLink, path: &Path) -> i32 {
    loop {
        if let Some(number) = fs::read_to_string(path)
            .unwrap_or_default()
            .strip_suffix('\n')
        {
            return number.parse().unwrap();
        }
        incoming(link).await;
    }
}

#[tokio::test]
async fn tools_are_run_one_by_one_and_said_by_name() {
    let dir = dir();
    let (_rig, mut link) = Rig::start(&dir, spec_with_tools(&dir)).await;
    let turn = script(&json!([
        {"say": "Writing.", "calls": [
            {"name": "write", "arguments": {"path": "f", "content": "one\n"}},
            exec("cat f; sleep 0.05; echo two >> f"),
        ]},
        [{"name": "read", "arguments": {"path": "f"}}, {"name": "nosuch"}],
    ]));
    deliver(&mut link, &turn);
    let (steps, streamed, outcome, spent) = steps(&mut link, &turn).await;
    let expected = ["started", "write", "exec", "asking", "read", "asking"];
    assert_eq!(steps, expected);
    let results = "write: wrote 4 bytes\n\nexec: [exit status 0]\none\n\n\nread: one\ntwo\n\n\n\
                   nosuch: error: there is no such tool; there are read, write, edit, list, exec";
    let reply = format!("Writing.\n\n{results}");
    assert_eq!(outcome, replied(&reply));
    assert_eq!(streamed, reply, "what is shown is what is replied");
    assert!(spent.tools_us >= 50_000 && spent.total_us >= spent.tools_us + spent.provider_us);

    // Sent again, it is known; and the session has all of it, calls and results.
    assert_eq!(answer(&mut link, &turn).await, replied(&reply));
    let TurnOutcome::Replied(context) = answer(&mut link, &delivery("!context")).await else {
        panic!("no answer");
    };
    assert!(context.starts_with("messages=9 "), "{context}");
}

#[tokio::test]
async fn without_tools_none_is_run() {
    let dir = dir();
    let without = AgentSpec {
        tools: ToolsSpec::none(),
        ..spec_with_tools(&dir)
    };
    let workspace = without.workspace.clone();
    let (_rig, mut link) = Rig::start(&dir, without).await;
    let turn = script(&json!([[exec("touch ran")]]));
    // The echo provider is told that it may not, and has nothing to say.
    let outcome = answer(&mut link, &turn).await;
    assert_eq!(kind(&outcome), Some(FailureKind::Provider));
    assert!(!workspace.join("ran").exists());
}

#[tokio::test]
async fn the_last_step_is_for_an_answer() {
    let dir = dir();
    let mut few = spec_with_tools(&dir);
    few.tools.max_steps = 3;
    let workspace = few.workspace.clone();
    let (_rig, mut link) = Rig::start(&dir, few).await;
    let step = json!([exec("echo x >> runs")]);
    let outcome = answer(&mut link, &script(&json!([step, step, step, step]))).await;
    let nothing = "exec: [exit status 0; it wrote nothing]";
    assert_eq!(outcome, replied(&format!("{nothing}\n\n{nothing}")));
    assert_eq!(
        fs::read_to_string(workspace.join("runs")).unwrap(),
        "x\nx\n"
    );
}

#[tokio::test]
async fn hostile_arguments_are_told_and_the_turn_goes_on() {
    let dir = dir();
    let mut spec = spec_with_tools(&dir);
    spec.context.max_bytes = 10_000_000;
    let (_rig, mut link) = Rig::start(&dir, spec).await;
    let deep = "[".repeat(50_000);
    let long = "x".repeat(200_000);
    let turn = script(&json!([
        [
            {"name": "exec", "arguments": "{\"command\":"},
            {"name": "read", "arguments": deep},
            {"name": "write", "arguments": {"path": "../escape", "content": "x"}},
            {"name": "read", "arguments": {"path": "/etc/shadow"}},
            {"name": "edit", "arguments": [1, 2, 3]},
            {"name": "../../bin/sh", "arguments": {}},
            {"name": "list", "arguments": {"path": "a\0b"}},
            {"name": "exec", "arguments": {"command": long}},
        ],
        (0..40).map(|_| json!({"name": "list", "arguments": {}})).collect::<Vec<_>>(),
    ]));
    let TurnOutcome::Replied(reply) = answer(&mut link, &turn).await else {
        panic!("no answer");
    };
    let told: Vec<&str> = reply.split("\n\n").collect();
    assert!(
        told[..8].iter().all(|told| told.contains(": error: ")),
        "{reply}"
    );
    assert!(told[5].starts_with("unknown: error: there is no such tool"));
    assert_eq!(
        told.len(),
        8 + 16,
        "no more calls are heard than there may be"
    );
    assert!(!dir.path().join("escape").exists());
}

#[tokio::test]
async fn heartbeats_go_on_while_tools_run() {
    let dir = dir();
    let (_rig, mut link) = Rig::start(&dir, spec_with_tools(&dir)).await;
    // Much output, and much to write.
    let turn = script(&json!([[exec(
        "i=0; while [ $i -lt 100 ]; do seq 1 2000; sleep 0.005; i=$((i+1)); done"
    ),]]));
    deliver(&mut link, &turn);
    let mut beats = 0;
    loop {
        match incoming(&mut link).await {
            Incoming::Heartbeat(_) => beats += 1,
            Incoming::Message(ToSupervisor::Finished { outcome, .. }) => {
                assert!(matches!(outcome, TurnOutcome::Replied(_)), "{outcome:?}");
                break;
            }
            Incoming::Message(_) => {}
        }
    }
    // One each 20 ms, and it took more than half a second; a loop that waits for its tool would say one.
    assert!(beats >= 10, "{beats} heartbeats");
}

#[tokio::test]
async fn cancel_ends_a_command_with_all_that_it_started() {
    let dir = dir();
    let spec = spec_with_tools(&dir);
    let file = spec.workspace.join("group");
    let (_rig, mut link) = Rig::start(&dir, spec).await;
    let command = "sleep 1000 & (trap '' TERM; sleep 1000) & echo $$ > group; wait";
    let turn = script(&json!([[exec(command)], [exec("touch never")]]));
    deliver(&mut link, &turn);
    let group = number_in(&mut link, &file).await;
    link.send(ToAgent::Cancel(turn.turn)).unwrap();
    assert_eq!(finished(&mut link, &turn).await.1, TurnOutcome::Cancelled);
    gone(group).await;
    assert!(!file.with_file_name("never").exists());
    assert_eq!(answer(&mut link, &turn).await, TurnOutcome::Cancelled);
}

#[tokio::test]
async fn a_turn_whose_time_is_over_ends_its_command() {
    let dir = dir();
    let impatient = AgentSpec {
        turn_timeout_ms: 400,
        ..spec_with_tools(&dir)
    };
    let file = impatient.workspace.join("group");
    let (_rig, mut link) = Rig::start(&dir, impatient).await;
    let turn = script(&json!([[exec("sleep 1000 & echo $$ > group; wait")]]));
    deliver(&mut link, &turn);
    let group = number_in(&mut link, &file).await;
    let (_, outcome, spent) = finished(&mut link, &turn).await;
    assert_eq!(kind(&outcome), Some(FailureKind::Timeout));
    assert!(spent.tools_us > 0, "what was broken off counts too");
    gone(group).await;
}

#[tokio::test]
async fn a_stop_ends_a_command_and_the_next_life_goes_on_behind_it() {
    let dir = dir();
    let spec = spec_with_tools(&dir);
    let work = spec.workspace.clone();
    let (mut rig, mut link) = Rig::start(&dir, spec.clone()).await;
    let turn = script(&json!([
        {"say": "First.", "calls": [exec("echo one >> runs"), exec("echo two >> runs; echo $$ > group; sleep 1000")]},
        {"say": "Second.", "calls": [exec("echo three >> runs; cat runs")]},
    ]));
    deliver(&mut link, &turn);
    let group = number_in(&mut link, &work.join("group")).await;
    rig.stop();
    while link.next().await.is_ok() {}
    assert_eq!(rig.exit().await, Exit::Done);
    gone(group).await;

    let (_rig, mut link) = Rig::start(&dir, spec).await;
    let again = Delivery {
        turn: TurnId::new(),
        ..turn.clone()
    };
    deliver(&mut link, &again);
    let (steps, streamed, outcome, _) = steps(&mut link, &again).await;
    // The model's first answer is not asked for again, and neither of its tools is run again.
    assert_eq!(steps, ["started", "asking", "exec", "asking"]);
    let TurnOutcome::Replied(reply) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(streamed, reply, "what was said before is shown again");
    let expected =
        "First.\n\nSecond.\n\nexec: [exit status 0; it wrote nothing]\n\nexec: [interrupted: ";
    assert!(reply.starts_with(expected), "{reply}");
    assert!(
        reply.ends_with("exec: [exit status 0]\none\ntwo\nthree\n"),
        "{reply}"
    );
}

#[tokio::test]
async fn a_panic_amid_a_turn_leaves_the_others_alone() {
    let dir = dir();
    let (_rig, mut link) = Rig::start(&dir, spec_with_tools(&dir)).await;
    let quiet = delivery_in(
        "quiet",
        &format!("!tools {}", json!([[exec("sleep 0.2; echo here")]])),
    );
    deliver(&mut link, &quiet);
    let outcome = answer(&mut link, &delivery("!panic")).await;
    assert_eq!(kind(&outcome), Some(FailureKind::Unavailable));
    let outcome = finished(&mut link, &quiet).await.1;
    assert_eq!(outcome, replied("exec: [exit status 0]\nhere\n"));
}
