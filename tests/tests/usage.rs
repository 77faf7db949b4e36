//! What agents use, as the API and the metrics tell it; the metrics judged by programs that others wrote:
//! `promtool`, and the reference parsers of both text formats.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

use kennel_tests::harness::{Client, Kennel, counterpart, eventually, until_ended};
use nix::sys::signal::Signal;
use serde_json::Value;

const TOKEN: &str = "a-token-for-this-test";

/// Runs a program with a file as its input; gives what it printed, which is kept in the test's directory.
async fn judge(kennel: &Kennel, command: &mut Command, input: &Path) -> String {
    let out = kennel.root().join("judgement");
    let printed = File::create(&out).expect("a file for the output");
    command
        .stdin(File::open(input).expect("the page"))
        .stderr(printed.try_clone().expect("the same file"))
        .stdout(printed);
    let status = until_ended(&mut command.spawn().expect("it starts")).await;
    let said = fs::read_to_string(&out).expect("its output is text");
    assert!(status.success(), "{command:?}: {status}\n{said}");
    said
}

async fn page(client: &Client, accept: &str) -> String {
    let client = client.clone().header("accept", accept);
    let answer = client.get("/metrics").await.expect("an answer");
    assert_eq!(answer.status, 200);
    let sent = answer.headers["content-type"].to_str().expect("a header");
    assert!(sent.starts_with(accept), "{sent}");
    answer.body.as_str().expect("a text").to_owned()
}

#[tokio::test]
async fn metrics_are_what_others_read() {
    let promtool = counterpart("KENNEL_TEST_PROMTOOL", "promtool/promtool", "");
    let python = counterpart("KENNEL_TEST_VENV", "venv", "bin/python");
    let kennel = Kennel::builder()
        .agents(&["one", "two"])
        .agent("rests", &[("autostart", "false")])
        .http(TOKEN)
        .start()
        .await;
    for text in ["hello", "again"] {
        kennel.send("one", text).await;
    }
    kennel.kill("two", Signal::SIGKILL).await;
    kennel.until_reborn("two", 1).await;

    let bare = Client::tcp(kennel.http_port().await);
    let refused = bare.get("/metrics").await.expect("an answer");
    assert_eq!(
        (refused.status, refused.error_code()),
        (401, "unauthorized")
    );
    let client = bare.header("authorization", &format!("Bearer {TOKEN}"));

    let (older, newer) = (kennel.root().join("older"), kennel.root().join("newer"));
    fs::write(&older, page(&client, "text/plain; version=0.0.4").await).unwrap();
    let accept = "application/openmetrics-text; version=1.0.0";
    fs::write(&newer, page(&client, accept).await).unwrap();

    let mut command = Command::new(promtool);
    let said = judge(&kennel, command.args(["check", "metrics"]), &older).await;
    assert_eq!(said, "", "promtool has something to say");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("py/metrics_reader.py");
    let mut command = Command::new(python);
    let read = judge(&kennel, command.arg(script).args([&older, &newer]), &older).await;
    for series in [
        "kennel_agent_turns_total{agent=one,result=replied} 2\n",
        "kennel_turn_duration_seconds_count{agent=one} 2\n",
        "kennel_turn_queue_seconds_count{agent=one,lane=session} 2\n",
        "kennel_turn_duration_seconds_bucket{agent=one,le=+Inf} 2\n",
        "kennel_agent_restarts_total{agent=two} 1\n",
        "kennel_agent_state{agent=two,state=ready} 1\n",
        "kennel_agent_state{agent=rests,state=stopped} 1\n",
        "kennel_agent_link_up{agent=rests} 0\n",
        "kennel_agent_tokens_total{agent=one,direction=input} ",
        "kennel_agent_memory_bytes{agent=one} ",
        "kennel_host_cpus{} ",
        "process_start_time_seconds{} ",
    ] {
        assert!(read.contains(series), "{series}:\n{read}");
    }
    assert!(
        !read.contains("kennel_agent_memory_bytes{agent=rests}"),
        "{read}"
    );
    // Over the control socket nobody asks for a token.
    let local = kennel.client().get("/metrics").await.expect("an answer");
    assert_eq!(local.status, 200);
    kennel.shut_down().await;
}

#[tokio::test]
async fn usage_is_told_of_agents_fleet_and_host() {
    let kennel = Kennel::builder().agents(&["one", "two"]).start().await;
    kennel.send("one", "some words to count").await;
    let client = kennel.client();
    let get = async |path: &str| client.get(path).await.expect("an answer").body;

    // Two samples make a rate.
    let one = eventually("a share of the CPU", || async {
        let one = get("/api/v1/agents/one").await;
        one["cpu_percent"].is_number().then_some(one)
    })
    .await;
    let usage = &one["usage"];
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    assert!(number(&usage["memory_bytes"]) > 100 * 1024, "{one}");
    assert_eq!(usage["memory_bytes"], one["memory_bytes"]);
    assert!(number(&usage["pids"]) >= 1, "{one}");
    assert!(number(&usage["open_files"]) >= 3, "{one}");
    assert!(usage["cpu_ms"].is_number(), "{one}");
    assert_eq!(usage["memory_pss_bytes"], Value::Null, "{one}");

    let full = get("/api/v1/agents/one?memory=full").await;
    let usage = &full["usage"];
    let (pss, private) = (
        number(&usage["memory_pss_bytes"]),
        number(&usage["memory_private_bytes"]),
    );
    assert!(private > 0 && pss >= private, "{full}");
    assert_eq!(usage["processes"], 1, "{full}");
    let wrong = client
        .get("/api/v1/agents/one?memory=some")
        .await
        .expect("an answer");
    assert_eq!((wrong.status, wrong.error_code()), (400, "invalid_request"));

    let status = get("/api/v1/status").await;
    assert!(number(&status["host"]["cpus"]) >= 1, "{status}");
    let host = |key: &str| number(&status["host"][key]);
    assert!(
        host("memory_available_bytes") < host("memory_total_bytes"),
        "{status}"
    );
    assert!(number(&status["fleet"]["pids"]) >= 2, "{status}");
    assert!(
        number(&status["supervisor"]["memory_bytes"]) > 0,
        "{status}"
    );

    // What a life used goes with it, at once.
    kennel.order("one", "stop").await;
    let stopped = get("/api/v1/agents/one").await;
    assert_eq!(stopped["memory_bytes"], Value::Null, "{stopped}");
    assert_eq!(stopped["usage"]["pids"], Value::Null, "{stopped}");
    kennel.shut_down().await;
}

/// The command line shows one agent in full, by name.
#[tokio::test]
async fn status_of_one_agent() {
    let kennel = Kennel::builder().agents(&["one", "two"]).start().await;
    let out = kennel.root().join("out");
    let run = async |words: &[&str]| {
        let mut command = kennel.command();
        command.args(words).stdin(Stdio::null());
        command.stdout(File::create(&out).expect("a file for the output"));
        let status = until_ended(&mut command.spawn().expect("it starts")).await;
        (status.code(), fs::read_to_string(&out).expect("text"))
    };
    let (code, text) = run(&["status", "two", "one"]).await;
    assert_eq!(code, Some(0), "{text}");
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}:\n{text}"));
    assert!(at("two\n") < at("\none\n"), "{text}");
    assert!(text.contains("(PSS of 1 process)"), "{text}");
    let (code, text) = run(&["status", "two", "--json"]).await;
    let json: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (code, &json["id"]),
        (Some(0), &Value::from("two")),
        "{text}"
    );
    let (code, _) = run(&["status", "nobody"]).await;
    assert_eq!(code, Some(4));
    kennel.shut_down().await;
}
