use std::collections::BTreeSet;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::turns::{Outcome, Span, Step, record::tests::record};

fn turn() -> TurnRecord {
    let mut turn = record("hexa");
    turn.ended_ms = 10_000;
    turn.waits.session_us = 1_000_000;
    turn.dispatch_us = 2_000;
    turn.run_us = 3_000_000;
    turn.took.context_us = 1_000;
    turn.took.commit_us = 5_000;
    turn.took.total_us = 2_900_000;
    turn.spans = vec![
        Span {
            step: Step::Model {
                first_token_us: Some(250_000),
                input_tokens: 7,
                output_tokens: 8,
                retries: 1,
            },
            start_us: 1_500,
            took_us: 1_000_000,
        },
        Span {
            step: Step::Tool {
                name: "exec".into(),
            },
            start_us: 1_100_000,
            took_us: 500_000,
        },
    ];
    turn
}

fn spans(body: &Value) -> &[Value] {
    body["resourceSpans"][0]["scopeSpans"][0]["spans"]
        .as_array()
        .unwrap()
}

fn attribute<'a>(span: &'a Value, key: &str) -> &'a Value {
    let all = span["attributes"].as_array().unwrap();
    let found = all.iter().find(|one| one["key"] == key);
    &found.unwrap_or_else(|| panic!("no {key} in {span}"))["value"]
}

#[test]
fn a_turn_is_a_tree_of_spans() {
    let turn = turn();
    let body = encode::request(&[Box::new(turn.clone())]);
    let spans = spans(&body);
    let names: Vec<_> = spans
        .iter()
        .map(|span| span["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "invoke_agent hexa",
            "queue",
            "load context",
            "chat m",
            "execute_tool exec",
            "commit"
        ]
    );
    let root = &spans[0];
    assert_eq!(root["traceId"], turn.delivery.to_string());
    assert!(root.get("parentSpanId").is_none() && root.get("status").is_none());
    assert_eq!(root["startTimeUnixNano"], "6000000000");
    assert_eq!(root["endTimeUnixNano"], "10000000000");
    assert_eq!(
        attribute(root, "gen_ai.operation.name")["stringValue"],
        "invoke_agent"
    );
    assert_eq!(
        attribute(root, "gen_ai.conversation.id")["stringValue"],
        "agent:hexa:x"
    );
    assert_eq!(
        attribute(root, "kennel.wait.session_us")["intValue"],
        "1000000"
    );
    for span in &spans[1..] {
        assert_eq!(span["traceId"], root["traceId"]);
        assert_eq!(span["parentSpanId"], root["spanId"]);
        assert_eq!(span["spanId"].as_str().unwrap().len(), 16);
    }
    let ids: BTreeSet<_> = spans.iter().map(|span| span["spanId"].as_str()).collect();
    assert_eq!(ids.len(), spans.len());
    let chat = &spans[3];
    assert_eq!(
        (&chat["kind"], &chat["startTimeUnixNano"]),
        (&3.into(), &"7003500000".into())
    );
    assert_eq!(attribute(chat, "gen_ai.provider.name")["stringValue"], "p");
    assert_eq!(
        attribute(chat, "gen_ai.usage.output_tokens")["intValue"],
        "8"
    );
    assert_eq!(
        attribute(chat, "gen_ai.response.time_to_first_chunk")["doubleValue"],
        0.25
    );
    assert_eq!(
        attribute(&spans[4], "gen_ai.tool.name")["stringValue"],
        "exec"
    );
}

#[test]
fn a_turn_that_failed_says_so() {
    let mut turn = turn();
    turn.outcome = Outcome::Timeout;
    let body = encode::request(&[Box::new(turn)]);
    let root = &spans(&body)[0];
    assert_eq!(root["status"]["code"], 2);
    assert_eq!(attribute(root, "error.type")["stringValue"], "timeout");
}

/// Every name is a field of the published messages, in their JSON form.
#[test]
fn nothing_is_sent_that_the_protocol_does_not_name() {
    const FIELDS: &[(&str, &[&str])] = &[
        ("", &["resourceSpans"]),
        ("resourceSpans", &["resource", "scopeSpans", "schemaUrl"]),
        (
            "resource",
            &["attributes", "droppedAttributesCount", "entityRefs"],
        ),
        ("scopeSpans", &["scope", "spans", "schemaUrl"]),
        (
            "scope",
            &["name", "version", "attributes", "droppedAttributesCount"],
        ),
        (
            "spans",
            &[
                "traceId",
                "spanId",
                "traceState",
                "parentSpanId",
                "flags",
                "name",
                "kind",
                "startTimeUnixNano",
                "endTimeUnixNano",
                "attributes",
                "droppedAttributesCount",
                "events",
                "droppedEventsCount",
                "links",
                "droppedLinksCount",
                "status",
            ],
        ),
        ("status", &["message", "code"]),
        ("attributes", &["key", "value"]),
        (
            "value",
            &[
                "stringValue",
                "boolValue",
                "intValue",
                "doubleValue",
                "arrayValue",
                "kvlistValue",
                "bytesValue",
            ],
        ),
    ];
    fn walk(name: &str, value: &Value) {
        match value {
            Value::Object(object) => {
                let known = FIELDS.iter().find(|(message, _)| *message == name);
                let (_, known) = known.unwrap_or_else(|| panic!("no message {name}"));
                for (field, value) in object {
                    assert!(known.contains(&field.as_str()), "{name}.{field}");
                    walk(field, value);
                }
            }
            Value::Array(all) => all.iter().for_each(|value| walk(name, value)),
            _ => {}
        }
    }
    let mut failed = turn();
    failed.outcome = Outcome::Provider;
    walk("", &encode::request(&[Box::new(turn()), Box::new(failed)]));
}

/// Answers each connection's one request with the next of these, and gives what it was asked.
async fn collector(answers: Vec<&'static str>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = Vec::new();
            loop {
                let said = String::from_utf8_lossy(&text).to_string();
                if let Some((head, body)) = said.split_once("\r\n\r\n") {
                    let head = head.to_ascii_lowercase();
                    let length = head.split_once("content-length: ").unwrap().1;
                    let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
                    if body.len() == length {
                        asked.push(said);
                        break;
                    }
                }
                assert!(
                    stream.read_buf(&mut text).await.unwrap() > 0,
                    "the request ended early"
                );
            }
            let answer =
                format!("HTTP/1.1 {answer}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        asked
    });
    (url, task)
}

#[tokio::test]
async fn a_collector_gets_them_in_batches_with_the_headers_and_again_after_trouble() {
    let (url, collector) = collector(vec!["503 Busy\r\nretry-after: 0", "200 OK"]).await;
    let headers = vec![("authorization".to_owned(), SecretString::from("Bearer t\n"))];
    let (sink, exporter) = prepare(&url, headers);
    let counts = sink.counts();
    sink.offer(&turn());
    sink.offer(&turn());
    drop(sink);
    exporter.run().await;
    let asked = collector.await.unwrap();
    assert_eq!(asked.len(), 2);
    let (head, body) = asked[1].split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
    let head = head.to_ascii_lowercase();
    assert!(head.contains("content-type: application/json"), "{head}");
    assert!(head.contains("authorization: bearer t"), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(spans(&body).len(), 12);
    assert_eq!((counts.sent(), counts.dropped()), (2, 0));
}

#[tokio::test]
async fn what_a_collector_refuses_is_dropped_and_counted() {
    let (url, collector) = collector(vec!["400 No"]).await;
    let (sink, exporter) = prepare(&url, Vec::new());
    let counts = sink.counts();
    sink.offer(&turn());
    drop(sink);
    exporter.run().await;
    assert_eq!(collector.await.unwrap().len(), 1);
    assert_eq!((counts.sent(), counts.dropped()), (0, 1));
}

#[tokio::test]
async fn a_full_queue_drops_and_nobody_waits() {
    let (sink, exporter) = prepare("http://127.0.0.1:1", Vec::new());
    for _ in 0..QUEUE + 3 {
        sink.offer(&turn());
    }
    assert_eq!(sink.counts().dropped(), 3);
    drop(exporter);
}
