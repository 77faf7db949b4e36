//! What an agent leaves behind when it ends: nothing.

use super::*;

/// The processes that `bad-doublefork` left, at least two.
async fn grandchildren(kennel: &Kennel) -> Vec<Process> {
    eventually("two grandchildren", || async {
        let mut found = kennel.processes();
        found.retain(|process| process.command().starts_with("sleep"));
        (found.len() == 2).then_some(found)
    })
    .await
}

#[tokio::test]
async fn grandchildren_end_with_their_agent() {
    let kennel = Kennel::builder()
        .agents(&["bad-doublefork"])
        .misbehaving(MISBEHAVING)
        .spawn()
        .await;
    let before = kennel.until_state("bad-doublefork", "ready").await;

    // When it is killed by a stranger…
    assert_eq!(kennel.send("bad-doublefork", NOW).await.reply(), NOW);
    let left = grandchildren(&kennel).await;
    kennel.kill("bad-doublefork", Signal::SIGKILL).await;
    kennel
        .until_reborn("bad-doublefork", before.generation)
        .await;
    assert!(
        left.iter()
            .all(|process| process.wait(Duration::from_secs(2))),
        "{left:?}"
    );

    // … and when it is stopped, though it leaves by itself.
    assert_eq!(kennel.send("bad-doublefork", NOW).await.reply(), NOW);
    let left = grandchildren(&kennel).await;
    let stopped = kennel.order("bad-doublefork", "stop").await;
    assert_eq!(stopped.body["outcome"], "done");
    assert!(
        left.iter()
            .all(|process| process.wait(Duration::from_secs(2))),
        "{left:?}"
    );
    kennel.shut_down().await;
}

#[tokio::test]
async fn descriptors_that_an_agent_leaks_are_its_own() {
    let kennel = Kennel::builder()
        .agents(&["steady", "bad-fdleak"])
        .misbehaving(MISBEHAVING)
        .start()
        .await;
    let before = kennel.until_state("bad-fdleak", "ready").await;
    let descriptors = kennel.descriptors();

    assert_eq!(kennel.send("bad-fdleak", NOW).await.reply(), NOW);
    let pid = before.pid.expect("it runs");
    eventually("a thousand leaked descriptors", || async {
        (kennel_tests::harness::descriptors(pid) >= 1000).then_some(())
    })
    .await;
    for id in ["bad-fdleak", "steady"] {
        assert_eq!(kennel.send(id, "still here").await.reply(), "still here");
    }
    assert_eq!(kennel.agent("bad-fdleak").await.pid, before.pid);
    kennel.assert_no_leak(descriptors).await;
    kennel.shut_down().await;
}
