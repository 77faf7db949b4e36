//! The fake as a program: one line with its URL, everything else through `/control/…`.

#![allow(
    clippy::disallowed_methods,
    reason = "a test starts its own child; the supervisor's spawner is for agents"
)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::http::call;

const TOKEN: &str = "12345:not-a-secret";

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_test_in_any_language_can_drive_it() {
    let child = Command::new(env!("CARGO_BIN_EXE_fake-telegram"))
        .args(["--until-eof", "--bot", &format!("{TOKEN}=some_bot")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut program = Program(child.expect("it starts"));
    let mut url = String::new();
    let stdout = program.0.stdout.take().expect("stdout is piped");
    BufReader::new(stdout).read_line(&mut url).expect("its URL");
    let url = url.trim();
    let control = |path: &str, body: Value| {
        let url = format!("{url}/control/{path}");
        async move { call(&url, body).await }
    };

    control("user", json!({"id": 5, "name": "Ada"})).await;
    let (_, group) = control(
        "group",
        json!({"id": -1_000_000_000_009_i64, "title": "G", "topics": ["T"]}),
    )
    .await;
    let thread = group["topics"]["T"].as_i64().expect("a thread");
    let words =
        json!({"token": TOKEN, "user": 5, "chat": group["id"], "thread": thread, "text": "/go"});
    let (status, said) = control("say", words).await;
    assert_eq!(status, 200, "{said}");
    let (_, updates) = call(&format!("{url}/bot{TOKEN}/getUpdates"), json!({})).await;
    assert_eq!(updates["result"][0]["update_id"], said["update_id"]);
    let message = &updates["result"][0]["message"];
    assert_eq!(message["message_thread_id"], thread);
    assert_eq!(
        message["entities"],
        json!([{"type": "bot_command", "offset": 0, "length": 3}])
    );

    let reply = json!({"chat_id": group["id"], "text": "gone", "message_thread_id": thread});
    let send = format!("{url}/bot{TOKEN}/sendMessage");
    let wait = json!({"token": TOKEN, "contains": "gone", "after": said["message_id"]});
    let (waited, _) = tokio::join!(control("wait", wait), call(&send, reply.clone()));
    assert_eq!((waited.0, &waited.1["text"]), (200, &json!("gone")));
    let (_, outbox) = control(&format!("sent?token={TOKEN}"), Value::Null).await;
    assert_eq!(outbox["messages"], json!([waited.1]));
    let late = json!({"token": TOKEN, "contains": "never", "timeout_ms": 10});
    assert_eq!(control("wait", late).await.0, 408);

    let fault =
        json!({"token": TOKEN, "kind": "status", "code": 503, "method": "sendMessage", "times": 1});
    assert_eq!(control("fault", fault).await, (200, json!({})));
    assert_eq!(call(&send, reply.clone()).await.0, 503);
    assert_eq!(call(&send, reply.clone()).await.0, 200);
    let garbage = json!({"token": TOKEN, "kind": "status", "code": 500});
    control("fault", garbage).await;
    control("clear", json!({"token": TOKEN})).await;
    assert_eq!(call(&send, reply).await.0, 200);

    let (_, state) = control(&format!("state?token={TOKEN}"), Value::Null).await;
    assert_eq!(state["pending"], json!([said["update_id"]]));
    assert_eq!(state["calls"]["sendmessage"], 4);
    for (path, body) in [
        ("say", json!({"token": TOKEN, "user": 6, "text": "x"})),
        ("say", json!({"text": "x"})),
        ("fault", json!({"token": TOKEN, "kind": "curse"})),
        ("bot", json!({"token": "no colon", "username": "x"})),
        ("state?token=1:2", Value::Null),
    ] {
        let (status, reply) = control(path, body).await;
        assert_eq!(status, 400, "{path}");
        assert!(reply["error"].is_string(), "{path}: {reply}");
    }

    drop(program.0.stdin.take());
    assert!(program.0.wait().expect("it is our child").success());
}
