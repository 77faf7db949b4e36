//! Messages, while agents come and go: none is lost, none is answered twice, and one that kills
//! agents is put aside.

use std::time::Duration;

use kennel_tests::harness::{Kennel, eventually};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

/// The texts of the deltas among these events, together.
fn text_of(events: &[(String, Value)]) -> String {
    let deltas = events.iter().filter(|(name, _)| name == "delta");
    deltas
        .filter_map(|(_, data)| data["text"].as_str())
        .collect()
}

#[tokio::test]
async fn a_message_in_flight_survives_its_agent() {
    let kennel = Kennel::builder().agents(&["one", "two"]).start().await;
    let two = kennel.agent_pid("two").await;
    let before = kennel.agent("one").await;
    let client = kennel.client();
    let asked = {
        let client = client.clone();
        tokio::spawn(async move { client.send("one", "!sleep 500 survived", Some("s")).await })
    };
    kennel
        .until("one", "runs a turn", |agent| agent.running == 1)
        .await;
    kennel.kill("one", Signal::SIGKILL).await;

    assert_eq!(asked.await.expect("no panic").reply(), "survived");
    assert_eq!(kennel.agent("one").await.generation, before.generation + 1);
    // Once the question, once its answer, and this.
    let context = client.send("one", "!context", Some("s")).await;
    assert!(
        context.reply().starts_with("messages=3 "),
        "{}",
        context.reply()
    );
    assert_eq!(kennel.agent_pid("two").await, two);
    kennel.shut_down().await;
}

#[tokio::test]
async fn messages_that_wait_survive_in_their_order() {
    let kennel = Kennel::builder().agents(&["one"]).start().await;
    let client = kennel.client();
    let mut first = client.stream("one", "!sleep 300 first", Some("s")).await;
    first.until("started").await;
    let mut waiting = Vec::new();
    for n in 0..5 {
        let mut events = client.stream("one", &format!("waits {n}"), Some("s")).await;
        events.until("accepted").await;
        waiting.push(events);
    }
    kennel.kill("one", Signal::SIGKILL).await;
    assert_eq!(first.until("finished").await["reply"], "first");
    for (n, events) in waiting.iter_mut().enumerate() {
        assert_eq!(
            events.until("finished").await["reply"],
            format!("waits {n}")
        );
    }
    // Six questions, six answers, and this.
    let context = client.send("one", "!context", Some("s")).await;
    assert!(
        context.reply().starts_with("messages=13 "),
        "{}",
        context.reply()
    );
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_message_that_kills_agents_is_given_up_and_the_next_goes_through() {
    let kennel = Kennel::builder().agents(&["one", "two"]).start().await;
    let two = kennel.agent_pid("two").await;
    let client = kennel.client();
    let mut deadly = client.stream("one", "!abort", None).await;
    let turn = deadly.until("accepted").await["turn_id"].clone();
    let next = tokio::spawn(async move { client.send("one", "next", None).await });

    let failed = deadly.until("failed").await;
    assert_eq!(failed["turn_id"], turn);
    assert_eq!(failed["kind"], "agent_gone");
    let message = failed["message"].as_str().unwrap_or_default();
    assert!(message.contains("stopped working 3 times"), "{message}");
    assert!(message.contains("set aside"), "{message}");

    assert_eq!(next.await.expect("no panic").reply(), "next");
    let one = kennel.agent("one").await;
    assert_eq!((one.restarts, one.queued, one.running), (3, 0, 0));
    assert_eq!(
        kennel
            .log_lines(&["a delivery is set aside", "agent.id=one"])
            .len(),
        1
    );
    assert_eq!(kennel.agent_pid("two").await, two);
    kennel.shut_down().await;
}

#[tokio::test]
async fn turns_are_cancelled_running_and_waiting() {
    let kennel = Kennel::builder().agents(&["one"]).start().await;
    let before = kennel.agent_pid("one").await;
    let client = kennel.client();
    let mut running = client.stream("one", "!hang", None).await;
    let running_id = running.until("accepted").await["turn_id"].clone();
    running.until("started").await;
    let mut waiting = client.stream("one", "waits", None).await;
    let waiting_id = waiting.until("accepted").await["turn_id"].clone();

    for (id, events) in [(waiting_id, &mut waiting), (running_id, &mut running)] {
        let path = format!("/api/v1/turns/{}", id.as_str().expect("an id"));
        let began = Instant::now();
        let reply = client.delete(&path).await.expect("an answer");
        assert_eq!(
            (reply.status, &reply.body["cancelled"]),
            (200, &json!(true))
        );
        assert_eq!(events.until("failed").await["kind"], "cancelled");
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "{:?}",
            began.elapsed()
        );
        // What has ended cannot be cancelled, and that is no error.
        let again = client.delete(&path).await.expect("an answer");
        assert_eq!(
            (again.status, &again.body["cancelled"]),
            (200, &json!(false))
        );
    }
    assert_eq!(kennel.send("one", "and now").await.reply(), "and now");
    assert_eq!(kennel.agent_pid("one").await, before);
    kennel.shut_down().await;
}

/// Who hangs up wants no answer any more.
#[tokio::test]
async fn a_caller_that_is_gone_costs_no_turn() {
    let kennel = Kennel::builder().agents(&["one"]).start().await;
    let mut events = kennel.client().stream("one", "!hang", None).await;
    events.until("started").await;
    drop(events);
    kennel
        .until("one", "is free", |agent| agent.running == 0)
        .await;
    assert_eq!(kennel.send("one", "free?").await.reply(), "free?");
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_full_queue_says_so() {
    let kennel = Kennel::builder()
        .agents(&["two"])
        .agent("one", &[("max_queued", "2")])
        .start()
        .await;
    let client = kennel.client();
    let mut running = client.stream("one", "!sleep 500 done", None).await;
    running.until("started").await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut events = client.stream("one", "waits", None).await;
        events.until("accepted").await;
        waiting.push(events);
    }
    assert_eq!(kennel.agent("one").await.queued, 2);

    let refused = kennel.send("one", "one too many").await;
    assert_eq!(
        (refused.0.status, refused.0.error_code()),
        (429, "overloaded")
    );
    assert_eq!(refused.0.headers["retry-after"], "1");
    assert!(
        refused.error().contains("2 messages waiting"),
        "{}",
        refused.error()
    );
    assert_eq!(kennel.send("two", "free").await.reply(), "free");

    assert_eq!(running.until("finished").await["reply"], "done");
    for events in &mut waiting {
        assert_eq!(events.until("finished").await["reply"], "waits");
    }
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_stopped_agent_says_how_to_start_it() {
    let kennel = Kennel::builder().agents(&["one"]).start().await;
    kennel.order("one", "stop").await;
    let denied = kennel.send("one", "hello?").await;
    assert_eq!((denied.0.status, denied.0.error_code()), (409, "denied"));
    assert_eq!(
        denied.error(),
        "agent `one` is stopped; start it with `kennel start one`"
    );
    kennel.order("one", "start").await;
    assert_eq!(kennel.send("one", "hello").await.reply(), "hello");
    kennel.shut_down().await;
}

#[tokio::test]
async fn pieces_come_in_order_as_they_are_made() {
    let kennel = Kennel::builder()
        .agents(&["one"])
        .echo(&[("chunks", "20"), ("chunk_delay", "'5ms'")])
        .start()
        .await;
    let text = (0..200)
        .map(|n| n.to_string())
        .collect::<Vec<_>>()
        .join(" ");
    let events = kennel
        .client()
        .stream("one", &text, None)
        .await
        .rest()
        .await;

    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[..2], ["accepted", "started"]);
    assert_eq!(names.last(), Some(&"finished"));
    let pieces = names.iter().filter(|name| **name == "delta").count();
    assert!(pieces >= 5, "{names:?}");
    assert_eq!(pieces + 3, names.len(), "{names:?}");
    assert_eq!(text_of(&events), text);
    assert_eq!(events.last().expect("the end").1["reply"], text.as_str());
    kennel.shut_down().await;
}

/// A caller that does not read holds nothing up, and still gets every byte.
#[tokio::test]
async fn a_slow_reader_gets_everything() {
    let kennel = Kennel::builder()
        .agents(&["one", "two"])
        .echo(&[("chunks", "1000")])
        .start()
        .await;
    let client = kennel.client();
    let mut slow = client.stream("one", "!repeat 40000 0123456789", None).await;
    slow.until("accepted").await;
    // Nothing is read until the turn is over.
    eventually("the end of the turn", || async {
        (kennel.agent("one").await.turns == 1).then_some(())
    })
    .await;
    assert_eq!(
        kennel.send("one", "not held up").await.reply(),
        "not held up"
    );
    assert_eq!(kennel.send("two", "nor I").await.reply(), "nor I");

    let events = slow.rest().await;
    let whole = "0123456789".repeat(40_000);
    assert!(
        text_of(&events) == whole,
        "{} bytes came",
        text_of(&events).len()
    );
    let (name, end) = events.last().expect("the end");
    assert_eq!(name, "finished");
    assert!(end["reply"] == whole);
    kennel.shut_down().await;
}
