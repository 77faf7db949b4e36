//! What agents may spend: at the way in, at the way out of a lane, over restarts and reloads.

use kennel_tests::harness::{Kennel, eventually};
use serde_json::{Value, json};

/// With a window of a month, so that no test runs into the next one but once in a month.
async fn with_budget(budget: &str, delay: &str) -> Kennel {
    Kennel::builder()
        .agents(&["free"])
        .agent("one", &[("budget", budget)])
        .supervisor(&[(
            "prices",
            "{ 'echo/echo' = { input = 1000, output = 1000 }, 'echo/small' = { input = 1, output = 1 } }",
        )])
        .echo(&[("delay", delay)])
        .start()
        .await
}

async fn budget_of(kennel: &Kennel) -> Value {
    let list = kennel
        .client()
        .get("/api/v1/budget")
        .await
        .expect("an answer")
        .body;
    list["agents"][0].clone()
}

#[tokio::test]
async fn what_is_spent_is_refused_until_it_begins_anew_over_restarts_too() {
    let mut kennel = with_budget("{ month = { max_tokens = 100 } }", "'0s'").await;
    assert_eq!(
        kennel.send("one", "!tokens 60 20 first").await.reply(),
        "first"
    );
    assert_eq!(
        kennel.send("one", "!tokens 20 10 second").await.reply(),
        "second"
    );
    let refused = kennel.send("one", "third").await;
    assert_eq!(
        (refused.0.status, refused.0.error_code()),
        (429, "budget_spent")
    );
    assert!(
        refused
            .error()
            .contains("the budget of the month is spent (110 of 100 tokens)"),
        "{refused:?}"
    );
    let hint = refused.0.body["error"]["hint"].as_str().expect("a hint");
    assert!(hint.contains("kennel budget one"), "{hint}");
    let wait = refused.0.headers["retry-after"].to_str().expect("a number");
    let wait: u64 = wait.parse().expect("seconds");
    assert!(wait > 1 && wait <= 31 * 24 * 3600, "{wait}");
    // Nobody else is concerned.
    assert_eq!(kennel.send("free", "hello").await.reply(), "hello");
    let ask = json!({ "model": "agent/one", "messages": [{ "role": "user", "content": "hi" }] });
    let openai = kennel
        .client()
        .post("/v1/chat/completions", &ask)
        .await
        .expect("an answer");
    assert_eq!(
        (openai.status, openai.error_code()),
        (429, "insufficient_quota")
    );

    let budget = budget_of(&kennel).await;
    assert_eq!(
        (&budget["agent"], &budget["state"]),
        (&json!("one"), &json!("spent"))
    );
    assert_eq!(budget["windows"][0]["tokens"], 110, "{budget}");
    assert_eq!(budget["windows"][0]["cost_micros"], 110_000, "{budget}");
    let (code, text, _) = kennel.run(&["budget", "one"]).await;
    assert!(
        code == Some(0) && text.contains("110/100") && text.contains("spent"),
        "{text}"
    );
    assert_eq!(kennel.run(&["budget", "nobody"]).await.0, Some(4));
    let page = kennel
        .client()
        .get("/metrics")
        .await
        .expect("an answer")
        .body;
    let page = page.as_str().expect("a text");
    assert!(
        page.contains("kennel_agent_budget_tokens{agent=\"one\",window=\"month\"} 110"),
        "{page}"
    );

    kennel.crash().await;
    kennel.start_again().await;
    kennel.until_ready().await;
    let refused = kennel.send("one", "still").await;
    assert_eq!(refused.0.error_code(), "budget_spent", "{refused:?}");

    // More is granted while it runs, and what was spent still counts.
    let pid = kennel.agent_pid("one").await;
    kennel.edit(|text| text.replace("max_tokens = 100", "max_tokens = 1000"));
    let (code, out, error) = kennel.run(&["reload"]).await;
    assert_eq!(code, Some(0), "{out}{error}");
    assert_eq!(kennel.send("one", "again").await.reply(), "again");
    assert_eq!(kennel.agent_pid("one").await, pid, "at once");
    assert_eq!(budget_of(&kennel).await["windows"][0]["tokens"], 110);
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_message_that_waits_when_the_budget_is_spent_is_refused_in_its_turn() {
    let kennel = with_budget("{ month = { max_tokens = 100 } }", "'700ms'").await;
    let client = kennel.client();
    let mut first = client.stream("one", "!tokens 90 20 first", Some("s")).await;
    first.until("started").await;
    let mut slow = client.stream("one", "second", Some("s")).await;
    slow.until("accepted").await;
    first.until("finished").await;
    // It was accepted while there was something left.
    let failed = slow.until("failed").await;
    assert_eq!(failed["kind"], "budget", "{failed}");
    let message = failed["message"].as_str().expect("words");
    assert!(
        message.starts_with("the budget of the month is spent"),
        "{message}"
    );
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_budget_that_runs_out_is_told_once_and_turns_to_a_cheaper_model() {
    let kennel = with_budget(
        "{ downgrade = 'echo/small', month = { warn_cost = 0.05 } }",
        "'0s'",
    )
    .await;
    let client = kennel.client();
    let model = async |text: &str| {
        let answer = kennel.send("one", text).await;
        assert!(answer.ok().is_some(), "{answer:?}");
        let id = answer.0.body["turn_id"].as_str().expect("an id").to_owned();
        eventually("the turn is written down", || async {
            let turn = client.get(&format!("/api/v1/turns/{id}")).await.ok()?;
            (turn.status == 200).then(|| turn.body["model"].clone())
        })
        .await
    };
    assert_eq!(model("!tokens 20 20 one").await, "echo/echo");
    assert_eq!(kennel.events("one", "budget").await.len(), 0);
    assert_eq!(model("!tokens 20 20 two").await, "echo/echo");
    let told = kennel.told("one", "budget").await;
    let detail = told["detail"].as_str().expect("words");
    assert!(
        detail.contains("the budget of the month runs out"),
        "{detail}"
    );
    for text in ["!tokens 20 20 three", "!tokens 20 20 four"] {
        assert_eq!(model(text).await, "echo/small");
    }
    assert_eq!(kennel.events("one", "budget").await.len(), 1, "once");
    let budget = budget_of(&kennel).await;
    assert_eq!(
        (&budget["state"], &budget["downgrade"]),
        (&json!("runs-out"), &json!("echo/small"))
    );
    assert_eq!(budget["windows"][0]["cost_micros"], 80_080, "{budget}");
    let audit = client.get("/api/v1/audit").await.expect("an answer").body;
    let entries = audit["entries"].as_array().expect("a list");
    assert!(
        entries.iter().any(|entry| entry["what"] == "budget"),
        "{audit}"
    );
    kennel.shut_down().await;
}
