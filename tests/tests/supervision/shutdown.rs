//! The end of a supervisor: in order, at once, or without a word.

use super::*;

#[tokio::test]
async fn a_running_turn_is_finished_before_the_end() {
    let mut kennel = Kennel::builder().agents(&["one", "two"]).start().await;
    let client = kennel.client();
    let late = tokio::spawn(async move { client.send("one", "!sleep 700 late", None).await });
    kennel
        .until("one", "runs a turn", |agent| agent.running == 1)
        .await;

    kennel.signal(Signal::SIGTERM);
    kennel.logged(&["shutting down"]).await;
    let refused = kennel.send("two", "too late").await;
    let restart = kennel.order("two", "restart").await;
    assert_eq!(
        (restart.status, restart.error_code()),
        (503, "shutting_down"),
        "what is started now would hold up the end"
    );
    assert_eq!(
        (refused.0.status, refused.0.error_code()),
        (503, "shutting_down")
    );

    assert_eq!(late.await.expect("no panic").reply(), "late");
    let status = kennel.until_down().await;
    assert!(status.success(), "{status:?}");
    assert_eq!(kennel.log_lines(&["being killed"]), Vec::<String>::new());
    kennel.assert_clean();
}

#[tokio::test]
async fn the_second_signal_means_now() {
    let mut kennel = Kennel::builder()
        .agents(&["one", "two"])
        .defaults(&[("drain_timeout", "'10s'")])
        .supervisor(&[("stop_grace", "'12s'")])
        .start()
        .await;
    let client = kennel.client();
    let never = tokio::spawn(async move { client.try_send("one", "!hang", None).await });
    kennel
        .until("one", "runs a turn", |agent| agent.running == 1)
        .await;

    kennel.signal(Signal::SIGTERM);
    kennel.logged(&["shutting down"]).await;
    let began = Instant::now();
    kennel.signal(Signal::SIGINT);
    let status = kennel.until_down().await;

    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert!(status.success(), "{status:?}");
    // Told so, or cut off: but no answer, and no endless wait.
    let answer = never.await.expect("no panic");
    assert!(
        answer.as_ref().map_or(true, |answer| answer.ok().is_none()),
        "{answer:?}"
    );
    kennel.assert_clean();
}

#[tokio::test]
async fn a_request_ends_it_like_a_signal() {
    let mut kennel = Kennel::builder().agents(&["one"]).start().await;
    let reply = kennel
        .client()
        .post("/api/v1/shutdown", &serde_json::json!({}))
        .await;
    assert_eq!(reply.expect("an answer").body["pid"], kennel.pid());
    assert!(kennel.until_down().await.success());
    kennel.assert_clean();
}

#[tokio::test]
async fn a_second_supervisor_is_refused() {
    let kennel = Kennel::builder().agents(&["one"]).start().await;
    let before = kennel.agent_pid("one").await;

    let (code, said) = kennel.second_supervisor().await;

    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains(&format!("pid {}", kennel.pid())), "{said}");
    assert!(said.contains("running here already"), "{said}");
    assert_eq!(kennel.agent_pid("one").await, before);
    assert_eq!(kennel.send("one", "fine").await.reply(), "fine");
    kennel.shut_down().await;
}

#[tokio::test]
async fn agents_without_a_supervisor_leave_by_themselves() {
    let mut kennel = Kennel::builder()
        .agents(&["one", "two"])
        .supervisor(&[("orphan_grace", "'1s'")])
        .start()
        .await;
    let orphans: Vec<Process> = kennel.processes();
    assert_eq!(orphans.len(), 2);

    kennel.signal(Signal::SIGKILL);
    kennel.until_down().await;
    assert!(
        orphans.iter().all(|orphan| !orphan.has_ended()),
        "they look for a supervisor first"
    );
    eventually("no orphan", || async {
        kennel.processes().is_empty().then_some(())
    })
    .await;

    kennel.start_again().await;
    kennel.until_ready().await;
    assert_eq!(
        kennel.send("one", "hello again").await.reply(),
        "hello again"
    );
    kennel.shut_down().await;
}
