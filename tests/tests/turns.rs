//! What turns took, as `kennel turns`, `kennel why`, the API and a collector of traces are told: with real processes, where
//! each kind of trouble is made on purpose.

use std::time::Duration;

use kennel_tests::harness::{Client, Kennel, eventually, patience};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

const PRICES: (&str, &str) = ("prices", "{ 'echo/echo' = { input = 3.0, output = 15.0 } }");

/// The turn that answered a message, once it is written down.
async fn turn(client: &Client, delivery: &Value) -> Value {
    let id = delivery.as_str().expect("an id");
    eventually("the turn is written down", || async {
        let answer = client.get(&format!("/api/v1/turns/{id}")).await.ok()?;
        (answer.status == 200).then_some(answer.body)
    })
    .await
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

#[tokio::test]
async fn a_slow_model_is_named_and_tokens_have_a_price() {
    let kennel = Kennel::builder()
        .agents(&["one"])
        .supervisor(&[PRICES])
        .echo(&[("delay", "'1500ms'")])
        .start()
        .await;
    let answer = kennel.send("one", "!tokens 1000 200 hello").await;
    assert_eq!(answer.reply(), "hello");
    let client = kennel.client();
    let found = turn(&client, &answer.0.body["turn_id"]).await;
    assert_eq!(found["bound"], "provider", "{found}");
    let verdict = found["verdict"].as_str().expect("a verdict");
    assert!(verdict.starts_with("provider-bound: "), "{verdict}");
    assert_eq!(found["outcome"], "replied");
    assert_eq!(found["model"], "echo/echo");
    assert_eq!(
        (&found["input_tokens"], &found["output_tokens"]),
        (&json!(1000), &json!(200))
    );
    assert_eq!(found["cost_micros"], 6000, "3 and 15 a million: {found}");
    assert!(number(&found["provider_us"]) >= 1_500_000, "{found}");
    assert!(number(&found["first_token_us"]) >= 1_500_000, "{found}");
    assert!(
        number(&found["total_us"]) >= number(&found["run_us"]),
        "{found}"
    );
    let steps = found["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 1, "{found}");
    assert_eq!(steps[0]["tool"], Value::Null);
    assert!(number(&steps[0]["first_token_us"]) >= 1_500_000, "{found}");
    assert!(
        found["cpu_us"].is_number() && found["runnable_us"].is_number(),
        "{found}"
    );
    assert!(number(&found["share"]["cores"]) >= 1, "{found}");

    // Its own id, and the beginning of it, name it as well.
    let id = found["id"].as_str().expect("an id");
    for name in [id, &id[..20], &id.to_uppercase()] {
        let again = client
            .get(&format!("/api/v1/turns/{name}"))
            .await
            .expect("an answer");
        assert_eq!(again.body["id"], found["id"], "{name}");
    }
    for name in ["ffff", "nothing", "%20"] {
        let none = client
            .get(&format!("/api/v1/turns/{name}"))
            .await
            .expect("an answer");
        assert_eq!(
            (none.status, none.error_code()),
            (404, "turn_not_found"),
            "{name}"
        );
        assert!(none.body["error"]["hint"].is_string(), "{name}");
    }
    let (code, text, _) = kennel.run(&["why", id]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with(verdict), "{text}");
    assert!(text.contains("cost 0.006"), "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let (code, text, _) = kennel.run(&["turns", "one"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains(&id[..12]) && text.contains("provider"),
        "{text}"
    );
    let (code, text, _) = kennel.run(&["turns", "--json", "--limit", "1"]).await;
    let list: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, &list["turns"][0]["id"]), (Some(0), &found["id"]));
    assert_eq!(kennel.run(&["turns", "nobody"]).await.0, Some(4));
    let (code, text, _) = kennel.run(&["turns", "--sum"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("one") && text.contains("provider ("),
        "{text}"
    );
    let (_, text, _) = kennel.run(&["turns", "--sum", "--json"]).await;
    let sums: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(sums[0]["total_us"], found["total_us"], "{text}");
    assert_eq!(kennel.run(&["why", "0000"]).await.0, Some(1));
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_tool_that_spins_is_named_as_the_processors() {
    let kennel = Kennel::builder()
        .agent("one", &[("tools", "['exec']")])
        .start()
        .await;
    let spin = "end=$(($(date +%s) + 2)); while [ $(date +%s) -lt $end ]; do i=0; \
                while [ $i -lt 20000 ]; do i=$((i+1)); done; done";
    let script = json!([[{"name": "exec", "arguments": {"command": spin}}]]);
    let answer = kennel.send("one", &format!("!tools {script}")).await;
    assert!(
        answer.reply().starts_with("exec: [exit status 0"),
        "{answer:?}"
    );
    let found = turn(&kennel.client(), &answer.0.body["turn_id"]).await;
    // It had a processor for most of the time, or waited for one.
    assert_eq!(found["bound"], "CPU", "{found}");
    assert!(
        found["verdict"]
            .as_str()
            .is_some_and(|text| text.starts_with("CPU-bound: "))
    );
    let had = number(&found["cpu_us"]) + number(&found["runnable_us"]);
    assert!(had > 1_000_000, "{found}");
    let tools: Vec<_> = found["steps"].as_array().expect("steps").iter().collect();
    assert_eq!(tools.len(), 3, "asked, ran, asked: {found}");
    assert_eq!(tools[1]["tool"], "exec");
    assert!(number(&tools[1]["took_us"]) >= 1_000_000, "{found}");
    assert_eq!(number(&found["tools_us"]), number(&tools[1]["took_us"]));
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_message_in_a_busy_session_waits_in_its_lane() {
    let kennel = Kennel::builder()
        .agents(&["one"])
        .defaults(&[("max_concurrent", "2")])
        .start()
        .await;
    let client = kennel.client();
    let mut first = client.stream("one", "!sleep 1500 first", Some("s")).await;
    first.until("started").await;
    let second = client.send("one", "second", Some("s")).await;
    assert_eq!(second.reply(), "second");
    first.until("finished").await;
    let found = turn(&client, &second.0.body["turn_id"]).await;
    assert_eq!(found["bound"], "session lane", "{found}");
    let waited = number(&found["waits"]["session_us"]);
    assert!(waited >= 1_000_000, "{found}");
    assert_eq!(
        found["verdict"]
            .as_str()
            .map(|text| text.starts_with("queued behind session lane: 1.")),
        Some(true),
        "{found}"
    );
    let all: u64 = [
        "session_us",
        "agent_us",
        "class_us",
        "fleet_us",
        "held_us",
        "lost_us",
    ]
    .iter()
    .map(|lane| number(&found["waits"][lane]))
    .sum();
    assert_eq!(number(&found["queued_us"]), all, "{found}");

    // Two sessions at once have one account of the processor, and say so.
    let mut beside = client.stream("one", "!sleep 700 beside", Some("t")).await;
    beside.until("started").await;
    let shared = client.send("one", "!sleep 100 x", Some("u")).await;
    let found = turn(&client, &shared.0.body["turn_id"]).await;
    assert_eq!(found["cpu_shared"], true, "{found}");
    beside.until("finished").await;
    kennel.shut_down().await;
}

#[tokio::test]
async fn turns_outlive_the_supervisor_and_count_what_was_lost() {
    let mut kennel = Kennel::builder()
        .agents(&["one"])
        .supervisor(&[PRICES])
        .start()
        .await;
    let before = kennel.send("one", "!tokens 10 20 before").await;
    let before = turn(&kennel.client(), &before.0.body["turn_id"]).await;
    // An attempt that is lost with its process has an account of its own, and is no answer.
    let client = kennel.client();
    let mut lost = client.stream("one", "!sleep 700 again", Some("s")).await;
    let id = lost.until("started").await["turn_id"].clone();
    tokio::time::sleep(Duration::from_millis(200)).await;
    kennel.kill("one", nix::sys::signal::Signal::SIGKILL).await;
    lost.until("finished").await;
    let found = turn(&client, &id).await;
    assert_eq!(found["attempts"], 1, "{found}");
    assert!(number(&found["waits"]["lost_us"]) >= 150_000, "{found}");
    kennel.crash().await;
    kennel.start_again().await;
    let client = kennel.client();
    let turns = client
        .get("/api/v1/turns?agent=one")
        .await
        .expect("an answer")
        .body;
    let ids: Vec<_> = turns["turns"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|turn| &turn["id"])
        .collect();
    let [answer, lost, first] = ids[..] else {
        panic!("{turns}");
    };
    assert_eq!((answer, first), (&found["id"], &before["id"]));
    let lost = turn(&client, lost).await;
    assert_eq!((&lost["outcome"], &lost["delivery"]), (&json!("lost"), &id));
    assert_eq!(lost["bound"], "lost attempts");
    assert!(number(&lost["run_us"]) >= 150_000, "{lost}");
    let named = turn(&client, &id).await;
    assert_eq!(named["id"], found["id"], "the message's is its answer's");
    // By pages of one.
    let first = client
        .get("/api/v1/turns?limit=1")
        .await
        .expect("an answer")
        .body;
    assert_eq!(first["turns"][0]["id"], found["id"]);
    let rest = format!("/api/v1/turns?limit=1&before={}", first["next"]);
    let rest = client.get(&rest).await.expect("an answer").body;
    assert_eq!(rest["turns"][0]["id"], lost["id"]);
    let wrong = client
        .get("/api/v1/turns?agent=No%20One")
        .await
        .expect("an answer");
    assert_eq!((wrong.status, wrong.error_code()), (400, "invalid_request"));
    kennel.shut_down().await;
}

/// One request, answered with 200.
async fn request(stream: &mut TcpStream) -> (String, Value) {
    let mut text = Vec::new();
    loop {
        let said = String::from_utf8_lossy(&text).to_string();
        if let Some((head, body)) = said.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.split_once("content-length: ").expect("a length").1;
            let length: usize = length
                .split("\r\n")
                .next()
                .unwrap()
                .parse()
                .expect("a number");
            if body.len() >= length {
                let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer).await.expect("it is answered");
                return (head, serde_json::from_str(body).expect("JSON"));
            }
        }
        assert!(
            stream.read_buf(&mut text).await.expect("a request") > 0,
            "it ended early"
        );
    }
}

#[tokio::test]
async fn a_collector_is_told_and_never_waited_for() {
    let collector = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!(
        "{{ endpoint = 'http://{}', headers = {{ authorization = {{ env = 'HOME' }} }} }}",
        collector.local_addr().expect("an address")
    );
    let kennel = Kennel::builder()
        .agents(&["one"])
        .supervisor(&[("otlp", &endpoint)])
        .start()
        .await;
    // Nobody has taken the connection yet.
    let answer = kennel.send("one", "!tokens 3 4 hello").await;
    assert_eq!(answer.reply(), "hello");
    let told = async {
        let (mut stream, _) = collector.accept().await.expect("a connection");
        request(&mut stream).await
    };
    let (head, body) = timeout(patience(), told).await.expect("it is told");
    assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
    assert!(head.contains("authorization: "), "{head}");
    let spans = &body["resourceSpans"][0]["scopeSpans"][0]["spans"];
    let names: Vec<_> = spans
        .as_array()
        .expect("spans")
        .iter()
        .map(|span| &span["name"])
        .collect();
    assert_eq!(names[0], "invoke_agent one");
    assert!(names.contains(&&json!("chat echo")), "{names:?}");
    assert_eq!(spans[0]["traceId"], answer.0.body["turn_id"]);
    let metrics = || async {
        let page = kennel.client().get("/metrics").await.ok()?.body;
        let page = page.as_str()?.to_owned();
        page.contains("kennel_otlp_turns_total{result=\"sent\"} 1")
            .then_some(())
    };
    eventually("it is counted", metrics).await;
    kennel.shut_down().await;
}

#[tokio::test]
async fn what_has_not_ended_says_what_it_waits_for() {
    let kennel = Kennel::builder()
        .supervisor(&[("max_concurrent", "1")])
        .agents(&["one", "two"])
        .start()
        .await;
    let client = kennel.client();
    let mut held = Vec::new();
    for (agent, session) in [("one", "s"), ("one", "s"), ("one", "other"), ("two", "s")] {
        let mut stream = client.stream(agent, "!hang", Some(session)).await;
        stream.until("accepted").await;
        held.push(stream);
    }
    kennel
        .until("one", "is at work", |agent| agent.running == 1)
        .await;
    let queue = client.get("/api/v1/queue").await.expect("an answer").body;
    let all = queue["deliveries"].as_array().expect("deliveries");
    let waits: Vec<_> = all.iter().map(|one| one["waits_for"].as_str()).collect();
    assert_eq!(
        waits,
        [None, Some("session"), Some("agent"), Some("fleet")],
        "{queue}"
    );
    for (place, expected) in [
        (0, "its turn runs"),
        (1, "it waits for the messages before it in its session"),
        (2, "it waits for a turn of its agent"),
        (3, "it waits for a turn of the fleet"),
    ] {
        let id = all[place]["id"].as_str().expect("an id");
        let (code, text, _) = kennel.run(&["why", id]).await;
        assert_eq!(code, Some(0), "{text}");
        let (first, rest) = text.split_once('\n').expect("lines");
        assert!(first.contains(expected), "{text}");
        assert!(rest.contains("!hang"), "{text}");
    }
    drop(held);
    kennel.shut_down().await;
}
