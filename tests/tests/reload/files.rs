//! The files: wrong ones, ones that are only looked at, and ones that are watched.

use std::fs;

use kennel_tests::harness::{Kennel, eventually};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{identity, ids, reload};

#[tokio::test]
async fn a_file_that_is_wrong_changes_nothing_and_says_all_of_it() {
    let kennel = Kennel::builder().agents(&["one", "two"]).start().await;
    let before = identity(&kennel, "one").await;
    let good = kennel.config();
    kennel.edit(|text| {
        text.replace("[agents.one]\n", "[agents.one]\nmodel_ = 'x'\n")
            .replace("[agents.two]\n", "[agents.two]\nmax_queued = 'many'\n")
    });
    let line = |wanted: &str| {
        let text = kennel.config();
        1 + text
            .lines()
            .position(|line| line.starts_with(wanted))
            .expect("there")
    };
    for args in [&["reload"][..], &["reload", "--dry-run"]] {
        let (code, out, err) = kennel.run(args).await;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
        for place in [
            format!("kennel.toml:{}:1", line("model_")),
            format!("kennel.toml:{}:14", line("max_queued")),
            "did you mean `model`?".to_owned(),
            "nothing was changed: 2 errors".to_owned(),
        ] {
            assert!(err.contains(&place), "{place} in\n{err}");
        }
    }
    let (code, out, _) = kennel.run(&["reload", "--json"]).await;
    let reply: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &reply["outcome"]), (Some(2), &json!("refused")));
    assert_eq!(
        reply["diagnostics"].as_array().map(Vec::len),
        Some(2),
        "{reply}"
    );
    assert_eq!(reply["diagnostics"][0]["line"], line("model_"));

    kennel.signal(Signal::SIGHUP);
    kennel
        .logged(&["SIGHUP", "is refused", "model_", "max_queued"])
        .await;
    let (_, events, _) = kennel.run(&["events", "--json"]).await;
    let refused = events
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let refused = refused.filter(|event| event["kind"] == "reload-refused");
    let refused: Vec<Value> = refused.collect();
    assert_eq!(refused.len(), 3, "{events}");
    assert!(refused.iter().all(|event| event.get("agent").is_none()));
    assert!(kennel.run(&["doctor"]).await.1.contains("is refused"));

    assert_eq!(identity(&kennel, "one").await, before);
    fs::write(kennel.config_path(), good).expect("written");
    assert_eq!(reload(&kennel, &json!({})).await["outcome"], "unchanged");
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_dry_run_tells_and_does_nothing() {
    let kennel = Kennel::builder().agents(&["one"]).start().await;
    let before = identity(&kennel, "one").await;
    kennel.edit(|text| {
        text.replace(
            "max_concurrent = 256",
            "max_concurrent = 3\nlog_format = 'json'",
        )
        .replace(
            "[agents.one]\n",
            "[agents.one]\nmodel = 'echo/other'\n[agents.two]\n",
        )
    });
    let (code, out, err) = kennel.run(&["reload", "--dry-run"]).await;
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(
        out,
        "~ agent one: restarts after its turns: model echo/echo -> echo/other\n\
         + agent two\n\
         ~ supervisor: max_concurrent 256 -> 3\n\
         ! supervisor: log_format: waits for a start of the supervisor\n"
    );
    assert!(err.contains("nothing was changed"), "{err}");
    assert_eq!(ids(&kennel).await, ["one"]);
    assert_eq!(identity(&kennel, "one").await, before);
    assert!(kennel.run(&["doctor"]).await.1.contains("kennel reload"));

    kennel.signal(Signal::SIGHUP);
    kennel.until_reborn("one", before.generation).await;
    kennel.logged(&["started again", "log_format"]).await;
    kennel.until_state("two", "ready").await;
    // What waits for another supervisor is told again.
    let (code, out, _) = kennel.run(&["reload"]).await;
    assert_eq!(code, Some(0));
    assert_eq!(
        out,
        "! supervisor: log_format: waits for a start of the supervisor\n"
    );
    kennel.shut_down().await;
}

#[tokio::test]
async fn files_that_change_are_seen() {
    let kennel = Kennel::builder()
        .agents(&["one"])
        .up("--watch")
        .start()
        .await;
    let before = identity(&kennel, "one").await;
    kennel.edit(|text| text + "\n[agents.two]\n");
    let two = || async { ids(&kennel).await.contains(&"two".to_owned()).then_some(()) };
    eventually("the agent that was added", two).await;
    // A folder of fragments, and a prompt that one of them names.
    let folder = kennel.root().join("agents.d");
    fs::create_dir(&folder).expect("a folder");
    fs::write(kennel.root().join("p.md"), "First.").expect("a prompt");
    fs::write(
        folder.join("x.toml"),
        "[agents.three]\nsystem_prompt_file = 'p.md'\n",
    )
    .expect("a file");
    let three = || async {
        ids(&kennel)
            .await
            .contains(&"three".to_owned())
            .then_some(())
    };
    eventually("the agent of a fragment", three).await;
    let generation = kennel.until_state("three", "ready").await.generation;
    assert_eq!(kennel.send("three", "!system").await.reply(), "First.");
    fs::write(kennel.root().join("p.md"), "Second, and longer.").expect("a prompt");
    kennel.until_reborn("three", generation).await;
    assert_eq!(
        kennel.send("three", "!system").await.reply(),
        "Second, and longer."
    );
    // What is wrong is told, and what is mended then is taken.
    let good = kennel.config();
    kennel.edit(|text| text + "nonsense");
    kennel.logged(&["a file that changed", "is refused"]).await;
    fs::write(
        kennel.config_path(),
        good.replace("[agents.two]", "[agents.four]"),
    )
    .expect("written");
    let four = || async {
        let ids = ids(&kennel).await;
        (ids == ["four", "one", "three"]).then_some(())
    };
    eventually("the mended file", four).await;
    assert_eq!(identity(&kennel, "one").await, before);
    kennel.shut_down().await;
}
