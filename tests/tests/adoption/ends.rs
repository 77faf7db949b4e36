//! An adopted agent ends like any other: seen, explained, and with all that it has started.

use super::*;

async fn adopted(kennel: &mut Kennel, id: &str) -> i32 {
    kennel.crash().await;
    kennel.start_again().await;
    kennel.until_ready().await;
    let agent = kennel.agent(id).await;
    assert!(agent.adopted, "{agent:?}");
    agent.pid.expect("it runs")
}

#[tokio::test]
async fn a_crash_is_seen_and_explained() {
    let mut kennel = Kennel::builder().agents(&["one", "two"]).start().await;
    let two = kennel.agent_pid("two").await;
    adopted(&mut kennel, "one").await;
    let descriptors = kennel.descriptors();
    kennel.kill("one", Signal::SIGABRT).await;
    let end = kennel.told("one", "ended").await["end"].clone();
    // Newer kernels tell; on others nobody can know.
    let sentence = end["sentence"].as_str().expect("a sentence").to_owned();
    assert!(
        sentence.contains("SIGABRT") || end["cause"] == "unknown",
        "{sentence}"
    );
    let after = kennel.until_reborn("one", 1).await;
    assert_eq!((after.generation, after.restarts), (2, 1));
    assert!(!after.adopted);
    assert_eq!(kennel.send("one", "back").await.reply(), "back");
    assert_eq!(kennel.agent_pid("two").await, two);

    // One that leaves by itself says how.
    adopted(&mut kennel, "one").await;
    kennel.kill("one", Signal::SIGTERM).await;
    let end = kennel.told("one", "ended").await["end"].clone();
    assert_eq!((&end["cause"], &end["code"]), (&json!("exited"), &json!(0)));
    kennel.until_state("one", "exited").await;
    kennel.assert_no_leak(descriptors).await;
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_stop_ends_all_that_it_started() {
    let mut kennel = Kennel::builder()
        .agent("one", &[("tools", "['exec']")])
        .start()
        .await;
    let earlier = leave_behind(&kennel, "one").await;
    let pid = adopted(&mut kennel, "one").await;
    let groups = groups_of(pid);
    assert!(!earlier.has_ended());
    let stopped = kennel.order("one", "stop").await;
    assert_eq!(stopped.body["outcome"], "done", "{:?}", stopped.body);
    assert!(earlier.wait(Duration::from_secs(2)), "{earlier:?}");
    assert!(groups.iter().all(|group| !group.exists()), "{groups:?}");
    kennel.shut_down().await;
}

#[tokio::test]
async fn caps_hold_and_what_they_end_is_explained() {
    let mut kennel = Kennel::builder()
        .agent(
            "one",
            &[("tools", "['exec']"), ("limits", "{ memory = '64MiB' }")],
        )
        .start()
        .await;
    adopted(&mut kennel, "one").await;
    let hunger = exec("all=$(yes | head -c 300000000); echo ${#all}");
    let answer = kennel.client().stream("one", &hunger, None).await;
    let end = kennel.told("one", "ended").await["end"].clone();
    assert_eq!(end["cause"], "out-of-memory", "{end}");
    assert_eq!(end["cap_value"], 64 << 20, "{end}");
    drop(answer);
    kennel.until_reborn("one", 1).await;
    kennel.shut_down().await;
}

/// One that stands still does not come back; it is ended, and another takes its place.
#[tokio::test]
async fn one_that_does_not_come_back_is_replaced() {
    let mut kennel = Kennel::builder()
        .agents(&["one", "two"])
        .defaults(&[("start_timeout", "'1s'")])
        .start()
        .await;
    let one = kennel.agent_pid("one").await;
    kennel.kill("one", Signal::SIGSTOP).await;
    kennel.crash().await;
    kennel.start_again().await;
    let end = kennel.told("one", "ended").await["end"].clone();
    assert_eq!(end["cause"], "not-back", "{end}");
    let after = kennel.until_reborn("one", 1).await;
    assert_ne!(after.pid, Some(one));
    assert!(!after.adopted && kennel.agent("two").await.adopted);
    kennel.shut_down().await;
}

/// It was told to leave by a supervisor that died; it leaves, and is wanted all the same.
#[tokio::test]
async fn one_that_was_leaving_is_replaced_after_its_turn() {
    let mut kennel = Kennel::builder().agents(&["one"]).start().await;
    begin(&kennel, "one", "!sleep 1200 slept", "kept").await;
    let asked = kennel
        .client()
        .post("/api/v1/agents/one/restart", &json!({ "wait": false }))
        .await;
    asked.expect("the supervisor answers");
    kennel.until_state("one", "draining").await;
    kennel.crash().await;
    kennel.start_again().await;
    let after = kennel.until_reborn("one", 1).await;
    assert_eq!((after.generation, after.restarts), (2, 0), "{after:?}");
    assert_eq!(messages(&kennel, "one", "kept").await, 2);
    kennel.shut_down().await;
}
