//! The configuration has changed while nobody was there.

use super::*;

/// What cannot be changed in a life is changed after its turns.
#[tokio::test]
async fn another_cage_takes_another_life() {
    let mut kennel = Kennel::builder().agents(&["one", "two"]).start().await;
    let before = lives(&kennel, &["two"]).await;
    begin(&kennel, "one", "!sleep 800 slept", "kept").await;
    kennel.crash().await;
    kennel.rewrite(|text| {
        text.replace(
            "[agents.one]\n",
            "[agents.one]\nsandbox = { read = ['/etc'] }\n",
        )
    });
    kennel.start_again().await;
    let after = kennel.until_reborn("one", 1).await;
    assert_eq!((after.generation, after.restarts), (2, 0), "{after:?}");
    assert_eq!(kennel.events("one", "leaving").await.len(), 1);
    assert_eq!(messages(&kennel, "one", "kept").await, 2);
    assert_eq!(lives(&kennel, &["two"]).await, before);
    kennel.shut_down().await;
}

/// What can be changed in a life is changed in it.
#[tokio::test]
async fn other_settings_and_caps_reach_the_life_that_goes_on() {
    let mut kennel = Kennel::builder()
        .agent("one", &[("limits", "{ pids = 100 }")])
        .start()
        .await;
    let before = lives(&kennel, &["one"]).await;
    kennel.crash().await;
    kennel.rewrite(|text| {
        text.replace(
            "limits = { pids = 100 }",
            "limits = { pids = 77 }\nsystem_prompt = 'Be brief.'",
        )
    });
    kennel.start_again().await;
    kennel.until_ready().await;
    assert_eq!(lives(&kennel, &["one"]).await, before);
    assert_eq!(kennel.send("one", "!system").await.reply(), "Be brief.");
    let groups = groups_of(before["one"].0);
    let pids = |group: &std::path::PathBuf| std::fs::read_to_string(group.join("pids.max")).ok();
    let held: Vec<String> = groups.iter().filter_map(pids).collect();
    assert_eq!(held, ["77\n"], "{groups:?}");
    kennel.shut_down().await;
}

/// An agent that is not wanted any more finishes its turn; then nothing is left of it.
#[tokio::test]
async fn one_that_was_removed_leaves_after_its_turn() {
    let mut kennel = Kennel::builder().agents(&["one", "two"]).start().await;
    let two = Process::of(kennel.agent_pid("two").await).expect("it runs");
    let groups = groups_of(two.pid());
    begin(&kennel, "two", "!sleep 1000 slept", "kept").await;
    kennel.crash().await;
    kennel.rewrite(|text| text.replace("[agents.two]\n", ""));
    kennel.start_again().await;
    kennel.until_ready().await;
    assert!(!two.has_ended(), "it has a turn to finish");
    let ids: Vec<String> = kennel
        .agents()
        .await
        .into_iter()
        .map(|one| one.id)
        .collect();
    assert_eq!(ids, ["one"]);
    let ended = tokio::task::spawn_blocking(move || two.wait(Duration::from_secs(10)));
    assert!(ended.await.expect("it waits"));
    eventually("its groups are gone", || async {
        groups.iter().all(|group| !group.exists()).then_some(())
    })
    .await;
    let store = kennel.root().join("state/agents/two/store.db");
    let store = rusqlite::Connection::open(store).expect("its store");
    let replied: u32 = store
        .query_row(
            "SELECT count(*) FROM deliveries WHERE outcome = 0",
            (),
            |row| row.get(0),
        )
        .expect("a count");
    assert_eq!(replied, 1, "its turn was finished");
    kennel.shut_down().await;
}
