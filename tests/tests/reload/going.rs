//! Agents that come and go, at once and in each other's way.

use std::fs;

use kennel_tests::harness::{Kennel, eventually};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::{applied, identity, ids, reload, steps};

#[tokio::test]
async fn reloads_at_once_come_one_after_the_other() {
    let kennel = Kennel::builder().agents(&["one", "two"]).start().await;
    let before = identity(&kennel, "one").await;
    let texts: Vec<String> = (0..4)
        .map(|n| kennel.config() + &format!("\n[agents.n{n}]\nmax_queued = {}\n", n + 1))
        .collect();
    let mut asked = Vec::new();
    for round in 0..12 {
        let new = kennel.root().join("kennel.toml.new");
        fs::write(&new, &texts[round % texts.len()]).expect("written");
        fs::rename(&new, kennel.config_path()).expect("it takes the name");
        let client = kennel.client();
        asked.push(tokio::spawn(async move {
            let body = json!({ "wait": round % 3 == 0 });
            client
                .post("/api/v1/reload", &body)
                .await
                .expect("an answer")
                .body
        }));
        if round % 4 == 1 {
            kennel.signal(Signal::SIGHUP);
        }
    }
    for answer in asked {
        let reply = answer.await.expect("an answer");
        let outcome = reply["outcome"].as_str().expect("an outcome");
        assert!(["applied", "unchanged"].contains(&outcome), "{reply}");
    }
    reload(&kennel, &json!({})).await;
    assert_eq!(ids(&kennel).await, ["n3", "one", "two"]);
    kennel.until_state("n3", "ready").await;
    assert_eq!(kennel.send("n3", "hi").await.reply(), "hi");
    assert_eq!(identity(&kennel, "one").await, before);
    // Nobody of the agents that came and went is left.
    eventually("three processes", || async {
        (kennel.processes().len() == 3).then_some(())
    })
    .await;
    kennel.shut_down().await;
}

#[tokio::test]
async fn an_agent_that_comes_back_while_it_leaves_starts_when_it_has_left() {
    let kennel = Kennel::builder().agents(&["one", "two"]).start().await;
    let old = kennel.agent_pid("two").await;
    let client = kennel.client();
    let slow = tokio::spawn(async move { client.send("two", "!sleep 900 done", Some("s")).await });
    kennel
        .until("two", "works", |agent| agent.running == 1)
        .await;
    let with = kennel.config();
    kennel.edit(|text| text.replace("[agents.two]\n", ""));
    let reply = reload(&kennel, &json!({ "wait": false })).await;
    assert_eq!(steps(&reply), ["agent two removed".to_owned()].into());
    assert_eq!(ids(&kennel).await, ["one"]);
    fs::write(kennel.config_path(), with).expect("written");
    applied(&kennel).await;
    assert_eq!(slow.await.expect("an answer").reply(), "done");
    assert_ne!(kennel.agent_pid("two").await, old);
    // Its sessions were kept: the turn of before is in front of this one.
    let context = kennel.client().send("two", "!context", Some("s")).await;
    assert!(
        context.reply().starts_with("messages=3 "),
        "{}",
        context.reply()
    );
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_shutdown_takes_along_who_was_leaving() {
    let kennel = Kennel::builder().agents(&["one", "two"]).start().await;
    let client = kennel.client();
    let slow = tokio::spawn(async move { client.send("two", "!sleep 600 done", None).await });
    kennel
        .until("two", "works", |agent| agent.running == 1)
        .await;
    kennel.edit(|text| text.replace("[agents.two]\n", "[agents.three]\n"));
    reload(&kennel, &json!({ "wait": false })).await;
    kennel.shut_down().await;
    assert_eq!(slow.await.expect("an answer").reply(), "done");
}
