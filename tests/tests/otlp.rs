//! Traces at a real collector (rotel), and what it makes of them: it takes them as JSON and hands them on as protobuf, which is
//! read by the messages that OpenTelemetry publishes, and held against the names of its conventions (`py/otlp_sink.py`).

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::SystemTime,
};

use kennel_tests::harness::{Kennel, counterpart, eventually, patience};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::mpsc, time::timeout};

/// A program that ends with the test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> (Self, ChildStdout) {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let out = child.stdout.take().expect("its output is a pipe");
        (Self(child), out)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A collector, and who stands behind it.
struct Collector {
    endpoint: String,
    spans_rx: mpsc::Receiver<Value>,
    _programs: [Running; 2],
}

impl Collector {
    async fn start() -> Self {
        let python = counterpart("KENNEL_TEST_COLLECTOR", "collector", "bin/python");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("py/otlp_sink.py");
        let mut command = Command::new(python);
        let (sink, out) = Running::start(command.arg(script).env("PYTHONDONTWRITEBYTECODE", "1"));
        let mut spans_rx = lines(out);
        let first = timeout(patience(), spans_rx.recv()).await;
        let first = first
            .expect("it begins in time")
            .expect("it says where it is");
        // Somebody else may take a port before the collector does; then it ends, and another is tried.
        for _ in 0..5 {
            let [http, grpc] = free_ports();
            let program = first["collector"].as_str().expect("its program");
            let mut command = Command::new(program);
            command
                .arg("start")
                .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
                .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
                .args(["--exporter", "otlp", "--otlp-exporter-protocol", "http"])
                .arg("--otlp-exporter-endpoint")
                .arg(format!("http://127.0.0.1:{}", first["port"]))
                .args(["--batch-timeout", "100ms"])
                .env_clear();
            let (mut collector, out) = Running::start(&mut command);
            // What it logs is of interest to nobody, but must not fill its pipe.
            drop(lines(out));
            let up = eventually("the collector listens, or has ended", || {
                let ended = collector.0.try_wait().expect("our own child").is_some();
                async move {
                    let there = TcpStream::connect((Ipv4Addr::LOCALHOST, http)).await;
                    (ended || there.is_ok()).then_some(!ended)
                }
            });
            if up.await {
                return Self {
                    endpoint: format!("http://127.0.0.1:{http}"),
                    spans_rx,
                    _programs: [collector, sink],
                };
            }
        }
        panic!("the collector does not start");
    }

    /// Waits until all have come that `enough` wants.
    async fn until(&mut self, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let mut spans = Vec::new();
        while !enough(&spans) {
            match timeout(patience(), self.spans_rx.recv()).await {
                Ok(Some(span)) => spans.push(span),
                _ => panic!("not all of it comes: {spans:#?}"),
            }
        }
        spans
    }
}

/// What a program says, line by line.
fn lines(out: ChildStdout) -> mpsc::Receiver<Value> {
    let (lines_tx, lines_rx) = mpsc::channel(1024);
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
            // Read to the end, also where nobody listens.
            let _ = lines_tx.blocking_send(line);
        }
    });
    lines_rx
}

fn free_ports() -> [u16; 2] {
    // Both at once, so that they differ.
    let bound = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
    bound.map(|listener| listener.local_addr().expect("it is bound").port())
}

fn named<'a>(spans: &'a [Value], name: &str) -> Vec<&'a Value> {
    spans.iter().filter(|span| span["name"] == name).collect()
}

/// Each is one that a collector knows all names of, with times of just now and an id of its own.
fn well_formed(spans: &[Value]) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = u64::try_from(now.expect("a time").as_nanos()).expect("a time");
    let mut ids = BTreeSet::new();
    for span in spans {
        assert_eq!(span["unknown"], json!([]), "{span}");
        assert_eq!(span["resource"]["service.name"], "kennel", "{span}");
        let (start, end) = (span["start"].as_u64(), span["end"].as_u64());
        let (start, end) = (start.expect("a time"), end.expect("a time"));
        let lately = now - 600_000_000_000;
        assert!(lately < start && start <= end && end <= now, "{span}");
        assert!(ids.insert(span["id"].to_string()), "an id twice: {span}");
        assert_eq!(span["trace"].as_str().map(str::len), Some(32), "{span}");
    }
}

#[tokio::test]
async fn a_real_collector_reads_the_traces_and_knows_their_names() {
    let mut collector = Collector::start().await;
    let kennel = Kennel::builder()
        .agent("one", &[("tools", "['exec']")])
        .supervisor(&[
            (
                "otlp",
                &format!("{{ endpoint = '{}' }}", collector.endpoint),
            ),
            ("prices", "{ 'echo/echo' = { input = 3.0, output = 15.0 } }"),
        ])
        .start()
        .await;
    let client = kennel.client();
    let said = client.send("one", "!tokens 30 4 hello", Some("s")).await;
    assert_eq!(said.reply(), "hello");
    let calls = json!([[{ "name": "exec", "arguments": { "command": "true" } }]]);
    let ran = client
        .send("one", &format!("!tools {calls}"), Some("s"))
        .await;
    assert!(ran.reply().starts_with("exec: "), "{ran:?}");
    let failed = client.send("one", "!fail 500", Some("s")).await;
    assert_eq!(failed.0.status, 502, "{failed:?}");

    let root = "invoke_agent one";
    let spans = collector.until(|spans| {
        let count = |name| named(spans, name).len();
        count(root) == 3 && count("chat echo") >= 3 && count("execute_tool exec") == 1
    });
    let spans = spans.await;
    well_formed(&spans);
    // By trace, which has the name of the message.
    let of = |trace: &Value| -> BTreeMap<&str, &Value> {
        let own = spans.iter().filter(|span| span["trace"] == *trace);
        own.map(|span| (span["name"].as_str().expect("a name"), span))
            .collect()
    };
    for answer in [&said, &ran] {
        let trace = of(&answer.0.body["turn_id"]);
        let root = trace[root];
        assert_eq!(root["parent"], "", "{root}");
        assert_eq!(root["kind"], "SPAN_KIND_INTERNAL");
        assert_eq!(root["status"], "STATUS_CODE_UNSET", "{root}");
        let attributes = &root["attributes"];
        assert_eq!(attributes["gen_ai.operation.name"], "invoke_agent");
        assert_eq!(attributes["gen_ai.agent.name"], "one");
        assert_eq!(attributes["gen_ai.conversation.id"], "agent:one:api:s");
        for (name, span) in &trace {
            if span["id"] != root["id"] {
                assert_eq!(span["parent"], root["id"], "{name}: {span}");
            }
        }
        let chat = trace["chat echo"];
        assert_eq!(chat["kind"], "SPAN_KIND_CLIENT");
        assert_eq!(chat["attributes"]["gen_ai.operation.name"], "chat");
        assert_eq!(chat["attributes"]["gen_ai.provider.name"], "echo");
        assert_eq!(chat["attributes"]["gen_ai.request.model"], "echo");
    }
    let first = of(&said.0.body["turn_id"]);
    let chat = &first["chat echo"]["attributes"];
    assert_eq!(
        (
            &chat["gen_ai.usage.input_tokens"],
            &chat["gen_ai.usage.output_tokens"]
        ),
        (&json!(30), &json!(4)),
    );
    assert!(
        chat["gen_ai.response.time_to_first_chunk"].is_f64(),
        "{chat}"
    );
    assert_eq!(first[root]["attributes"]["kennel.cost_micros"], 150);
    let tool = of(&ran.0.body["turn_id"])["execute_tool exec"];
    let attributes = &tool["attributes"];
    assert_eq!(attributes["gen_ai.operation.name"], "execute_tool");
    assert_eq!(attributes["gen_ai.tool.name"], "exec");
    let failed = named(&spans, root);
    let failed: Vec<_> = failed
        .iter()
        .filter(|span| span["status"] == "STATUS_CODE_ERROR")
        .collect();
    assert_eq!(failed.len(), 1, "{spans:#?}");
    assert_eq!(failed[0]["attributes"]["error.type"], "unavailable");
    eventually("all three are counted", || async {
        let page = client.get("/metrics").await.ok()?.body;
        let page = page.as_str()?.to_owned();
        let counted = |what: &str, count: u8| {
            page.contains(&format!(
                "kennel_otlp_turns_total{{result=\"{what}\"}} {count}"
            ))
        };
        (counted("sent", 3) && counted("dropped", 0)).then_some(())
    })
    .await;
    kennel.shut_down().await;
}
