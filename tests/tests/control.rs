//! The control API as any program sees it: who may come in, what it says to what is wrong, and its
//! streams.

use std::os::unix::fs::PermissionsExt as _;

use bytes::Bytes;
use hyper::Method;
use kennel_tests::{
    harness::{Client, Kennel, eventually},
    misbehave::NOW,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const TOKEN: &str = "a-token-for-this-test";

#[tokio::test]
async fn sockets_and_directories_are_the_users_own() {
    let kennel = Kennel::builder().agents(&["one"]).start().await;
    let modes = [
        ("run", 0o700),
        ("run/control.sock", 0o600),
        ("run/link.sock", 0o600),
        ("run/kennel.pid", 0o600),
        ("state", 0o700),
        ("state/logs", 0o700),
        ("state/logs/one.log", 0o600),
        ("state/agents/one", 0o700),
        ("state/agents/one/store.db", 0o600),
    ];
    for (path, mode) in modes {
        let metadata = std::fs::metadata(kennel.root().join(path)).expect(path);
        let actual = metadata.permissions().mode() & 0o777;
        assert_eq!(actual, mode, "{path} is {actual:o}");
    }
    kennel.shut_down().await;
}

#[tokio::test]
async fn the_processes_of_an_agent_are_listed() {
    let kennel = Kennel::builder()
        .agents(&["one", "two", "bad-orphan"])
        .misbehaving(env!("CARGO_BIN_EXE_misbehaving-agent"))
        .start()
        .await;
    kennel.until_state("bad-orphan", "ready").await;
    let client = kennel.client();
    let list = client.get("/api/v1/agents/one/processes").await;
    let list = list.expect("an answer").body;
    let own = kennel.agent_pid("one").await;
    let all = list["processes"].as_array().expect("a list");
    assert_eq!(all.len(), 1, "{list}");
    assert_eq!(all[0]["pid"], own);
    assert_eq!(all[0]["ppid"], kennel.pid());
    assert_eq!(all[0]["name"], "kennel-agent-ho");
    assert_eq!(list["omitted"], 0);
    for figure in ["threads", "memory_bytes"] {
        assert!(all[0][figure].as_u64() > Some(0), "{figure}: {list}");
    }
    // Also one that left its parent and its session.
    let list = client.get("/api/v1/agents/bad-orphan/processes").await;
    assert_eq!(
        list.expect("an answer").body["processes"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    assert_eq!(kennel.send("bad-orphan", NOW).await.reply(), NOW);
    let own = kennel.agent_pid("bad-orphan").await;
    eventually("the orphan, once its parent is gone", || async {
        let list = client.get("/api/v1/agents/bad-orphan/processes").await;
        let list = list.expect("an answer").body;
        let all = list["processes"].as_array()?;
        let orphan = |one: &&Value| one["pid"] != own && one["ppid"] != own;
        (all.len() == 2 && all.iter().any(|one| orphan(&one))).then_some(())
    })
    .await;

    kennel.order("one", "stop").await;
    let list = client.get("/api/v1/agents/one/processes").await;
    let list = list.expect("an answer").body;
    assert_eq!(list["processes"], json!([]));
    let unknown = client.get("/api/v1/agents/onne/processes").await;
    let unknown = unknown.expect("an answer");
    assert_eq!(
        (unknown.status, unknown.error_code()),
        (404, "agent_not_found")
    );
    kennel.shut_down().await;
}

#[tokio::test]
async fn tcp_asks_for_the_token_and_for_the_right_host_and_origin() {
    let kennel = Kennel::builder().agents(&["one"]).http(TOKEN).start().await;
    let bare = Client::tcp(kennel.http_port().await);
    let bearer = format!("Bearer {TOKEN}");
    let known = bare.clone().header("authorization", &bearer);

    let cases = [
        (bare.clone(), 401, "unauthorized"),
        (
            bare.clone().header("authorization", "Bearer wrong"),
            401,
            "unauthorized",
        ),
        (bare.header("authorization", TOKEN), 401, "unauthorized"),
        (
            known.clone().header("host", "evil.example"),
            403,
            "forbidden",
        ),
        (
            known.clone().header("origin", "https://evil.example"),
            403,
            "forbidden",
        ),
        (known.clone().header("origin", "null"), 403, "forbidden"),
    ];
    for (client, status, code) in cases {
        for path in ["/api/v1/status", "/api/v1/openapi.json", "/nowhere"] {
            let refused = client.get(path).await.expect("an answer");
            assert_eq!(
                (refused.status, refused.error_code()),
                (status, code),
                "{client:?} {path}"
            );
        }
        // In the form that clients of this endpoint read.
        let refused = client.get("/v1/models").await.expect("an answer");
        assert_eq!(refused.status, status, "{client:?}");
        assert_eq!(refused.body["error"]["type"], "invalid_request_error");
    }
    assert_eq!(known.send("one", "let in", None).await.reply(), "let in");
    let same_origin = known
        .header("host", "localhost:1")
        .header("origin", "http://localhost:1");
    assert_eq!(
        same_origin
            .get("/api/v1/health")
            .await
            .expect("an answer")
            .status,
        200
    );
    // The token is nowhere in what is logged.
    assert!(!kennel.log().contains(TOKEN));
    kennel.shut_down().await;
}

#[tokio::test]
async fn wrong_requests_are_told_what_is_wrong() {
    let kennel = Kennel::builder().agents(&["hexa"]).start().await;
    let client = kennel.client();
    let turns = "/api/v1/agents/hexa/turns";
    let huge = json!({ "text": "x".repeat(3 * 1024 * 1024) }).to_string();
    let long = json!({ "text": "x".repeat(300 * 1024) }).to_string();
    let cases: [(Method, &str, &str, u16, &str); 14] = [
        (Method::POST, turns, "{", 400, "invalid_request"),
        (Method::POST, turns, "", 400, "invalid_request"),
        (Method::POST, turns, "{\"text\": 5}", 400, "invalid_request"),
        (
            Method::POST,
            turns,
            "{\"text\": \"a\", \"sessions\": \"b\"}",
            400,
            "invalid_request",
        ),
        (
            Method::POST,
            turns,
            "{\"text\": \"  \"}",
            400,
            "invalid_request",
        ),
        (
            Method::POST,
            turns,
            "{\"text\": \"a\", \"session\": \"\\u0000\"}",
            400,
            "invalid_request",
        ),
        (Method::POST, turns, &huge, 413, "too_large"),
        (Method::POST, turns, &long, 413, "too_large"),
        (
            Method::POST,
            "/api/v1/agents/nobody/turns",
            "{\"text\": \"a\"}",
            404,
            "agent_not_found",
        ),
        (
            Method::POST,
            "/api/v1/agents/hexa/start",
            "{\"wait\": 1}",
            400,
            "invalid_request",
        ),
        (
            Method::DELETE,
            "/api/v1/turns/x",
            "",
            400,
            "invalid_request",
        ),
        (
            Method::GET,
            "/api/v1/agents/hexa/logs?tail=many",
            "",
            400,
            "invalid_request",
        ),
        (Method::GET, turns, "", 405, "method_not_allowed"),
        (Method::GET, "/api/v2/status", "", 404, "not_found"),
    ];
    for (method, path, body, status, code) in cases {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let what = format!(
            "{method} {path} {}",
            String::from_utf8_lossy(&body[..body.len().min(60)])
        );
        let refused = client.whole(method, path, body).await.expect("an answer");
        assert_eq!(
            (refused.status, refused.error_code()),
            (status, code),
            "{what}: {}",
            refused.body
        );
        let message = refused.body["error"]["message"]
            .as_str()
            .unwrap_or_default();
        assert!(!message.is_empty(), "{what}");
    }
    let unknown = client.get("/api/v1/agents/hexxa").await.expect("an answer");
    assert_eq!(unknown.body["error"]["hint"], "did you mean `hexa`?");
    let unknown = client
        .get("/api/v1/agents/somebody")
        .await
        .expect("an answer");
    assert_eq!(
        unknown.body["error"]["hint"],
        "`kennel status` lists the agents"
    );
    let unknown = client.get("/nowhere").await.expect("an answer");
    assert_eq!(
        unknown.body["error"]["hint"],
        "GET /api/v1/openapi.json describes the routes"
    );
    assert_eq!(kennel.send("hexa", "unharmed").await.reply(), "unharmed");
    kennel.shut_down().await;
}

#[tokio::test]
async fn logs_are_followed_over_a_restart() {
    let kennel = Kennel::builder().agents(&["one"]).start().await;
    let client = kennel.client();
    let path = "/api/v1/agents/one/logs?tail=0&follow=true";
    let mut lines = client.events(Method::GET, path, Bytes::new()).await;
    kennel.order("one", "restart").await;
    let mut wanted = ["draining", "exited with 0", "started generation 2", "ready"]
        .into_iter()
        .peekable();
    while let Some(part) = wanted.peek() {
        let line = lines.until("line").await;
        if line["text"]
            .as_str()
            .is_some_and(|text| text.contains(part))
        {
            wanted.next();
        }
    }
    // Another restart, without an order.
    kennel.kill("one", Signal::SIGKILL).await;
    loop {
        let line = lines.until("line").await;
        if line["text"]
            .as_str()
            .is_some_and(|text| text.contains("started generation 3"))
        {
            break;
        }
    }
    let tail = client
        .get("/api/v1/agents/one/logs?tail=2")
        .await
        .expect("an answer");
    assert_eq!(tail.body["lines"].as_array().map(Vec::len), Some(2));
    kennel.shut_down().await;
}

#[tokio::test]
async fn events_tell_of_every_life() {
    let kennel = Kennel::builder().agents(&["one", "two"]).start().await;
    let mut events = kennel
        .client()
        .events(
            Method::GET,
            "/api/v1/events?follow=true&agent=one",
            Bytes::new(),
        )
        .await;
    let pid = kennel.agent_pid("one").await;
    for id in ["one", "two"] {
        kennel.kill(id, Signal::SIGKILL).await;
    }
    let mut seen = Vec::new();
    while seen
        .last()
        .is_none_or(|event: &Value| event["kind"] != "ready")
    {
        let event = events.until("lifecycle").await;
        assert_eq!(event["agent"], "one", "{event}");
        seen.push(event);
    }
    seen.retain(|event| event["kind"] != "link-lost");
    let kinds: Vec<_> = seen.iter().map(|event| &event["kind"]).collect();
    assert_eq!(kinds, ["ended", "backing-off", "starting", "ready"]);
    let end = &seen[0]["end"];
    assert_eq!(
        (&end["cause"], &end["signal"]),
        (&json!("signal"), &json!(9))
    );
    let sentence = end["sentence"].as_str().expect("a sentence");
    assert!(sentence.starts_with("ended by SIGKILL; "), "{sentence}");
    assert!(sentence.contains("starts again in"), "{sentence}");

    // The same to one who asks later, and for one agent only.
    let client = kennel.client();
    let past = client.get("/api/v1/events?tail=4&agent=one").await;
    assert_eq!(past.expect("events").body["events"], json!(seen));
    let agent = kennel.agent("one").await;
    assert_ne!(agent.pid, Some(pid));
    let unknown = client.get("/api/v1/events?agent=three").await;
    assert_eq!(unknown.expect("an answer").status, 404);
    kennel.shut_down().await;
}

/// Streams that are never read, and never closed, keep nothing from ending.
#[tokio::test]
async fn open_streams_do_not_hold_up_the_end() {
    let kennel = Kennel::builder().agents(&["one"]).start().await;
    let client = kennel.client();
    let descriptors = kennel.descriptors();
    let mut open = Vec::new();
    for path in [
        "/api/v1/events?follow=true",
        "/api/v1/agents/one/logs?follow=true",
    ] {
        open.push(client.events(Method::GET, path, Bytes::new()).await);
    }
    // One that is dropped is closed at the other end as well.
    for _ in 0..20 {
        drop(
            client
                .events(Method::GET, "/api/v1/events?follow=true", Bytes::new())
                .await,
        );
    }
    kennel.assert_no_leak(descriptors + open.len()).await;
    kennel.shut_down().await;
    drop(open);
}

#[tokio::test]
async fn the_document_lists_every_route() {
    let kennel = Kennel::builder().agents(&["one"]).start().await;
    let client = kennel.client();
    let document = client
        .get("/api/v1/openapi.json")
        .await
        .expect("an answer")
        .body;
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3."))
    );
    let routes = [
        ("get", "/api/v1/health"),
        ("get", "/api/v1/status"),
        ("get", "/api/v1/agents"),
        ("get", "/api/v1/agents/{id}"),
        ("post", "/api/v1/agents/{id}/start"),
        ("post", "/api/v1/agents/{id}/stop"),
        ("post", "/api/v1/agents/{id}/restart"),
        ("get", "/api/v1/agents/{id}/limits"),
        ("patch", "/api/v1/agents/{id}/limits"),
        ("post", "/api/v1/agents/{id}/turns"),
        ("delete", "/api/v1/agents/{id}/sessions"),
        ("get", "/api/v1/agents/{id}/logs"),
        ("get", "/api/v1/agents/{id}/processes"),
        ("get", "/api/v1/agents/{id}/doctor"),
        ("get", "/api/v1/doctor"),
        ("get", "/api/v1/turns"),
        ("get", "/api/v1/turns/{turn_id}"),
        ("delete", "/api/v1/turns/{turn_id}"),
        ("get", "/api/v1/audit"),
        ("get", "/api/v1/budget"),
        ("post", "/api/v1/upgrade"),
        ("get", "/api/v1/queue"),
        ("get", "/api/v1/queue/{id}"),
        ("post", "/api/v1/queue/{id}/drop"),
        ("post", "/api/v1/queue/{id}/retry"),
        ("post", "/api/v1/queue/{id}/requeue"),
        ("get", "/api/v1/schedules"),
        ("post", "/api/v1/schedules/{name}/run"),
        ("post", "/api/v1/schedules/{name}/pause"),
        ("post", "/api/v1/schedules/{name}/resume"),
        ("get", "/api/v1/channels"),
        ("get", "/api/v1/events"),
        ("get", "/api/v1/fairness"),
        ("post", "/api/v1/reload"),
        ("post", "/api/v1/shutdown"),
        ("get", "/metrics"),
    ];
    let paths = document["paths"].as_object().expect("paths");
    for (method, path) in routes {
        assert!(
            paths
                .get(path)
                .is_some_and(|path| path.get(method).is_some()),
            "{method} {path}"
        );
        // And it is there: another method is refused as such, not as an unknown route.
        let path = path
            .replace("{id}", "one")
            .replace("{turn_id}", "x")
            .replace("{name}", "x");
        let other = client
            .whole(Method::PUT, &path, Bytes::new())
            .await
            .expect("an answer");
        assert_eq!(other.status, 405, "{path}");
    }
    let listed: usize = paths
        .values()
        .filter_map(|path| Some(path.as_object()?.len()))
        .sum();
    assert_eq!(listed, routes.len(), "a route is missing from this test");
    // Every reference leads somewhere.
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().expect("a pointer");
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    kennel.shut_down().await;
}
