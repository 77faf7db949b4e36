//! What agents print.

use super::*;

use kennel_tests::harness::{begin_peak_memory, peak_memory_bytes};

/// The sizes of an agent's log files together, and how many they are.
fn log_files(kennel: &Kennel, id: &str) -> (u64, usize) {
    let directory = std::fs::read_dir(kennel.root().join("state/logs")).expect("logs are kept");
    let files: Vec<u64> = directory
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(id))
        .filter_map(|entry| Some(entry.metadata().ok()?.len()))
        .collect();
    (files.iter().sum(), files.len())
}

#[tokio::test]
async fn output_is_captured_line_by_line_over_lives() {
    let kennel = Kennel::builder().agents(&["one", "two"]).start().await;
    kennel.order("one", "restart").await;
    let log = eventually("two lives in the log", || async {
        let log = kennel.agent_log("one").await;
        let ready = log
            .iter()
            .filter(|line| line.contains(" err ") && line.contains("ready"));
        (ready.count() == 2).then_some(log)
    })
    .await;
    for told in [
        "kennel started generation 1, pid",
        "kennel started generation 2, pid",
    ] {
        assert_eq!(
            log.iter().filter(|line| line.contains(told)).count(),
            1,
            "{told}: {log:#?}"
        );
    }
    assert!(
        log.iter().all(|line| !line.contains("agent.id=two")),
        "{log:#?}"
    );
    kennel.shut_down().await;
}

#[tokio::test]
async fn alone_a_flood_of_output_is_its_authors() {
    const MAX: u64 = 256 * 1024;
    let kennel = Kennel::builder()
        .agents(&["steady"])
        .agent(
            "bad-flood-log",
            &[("log", "{ max_size = '256KiB', keep = 2 }")],
        )
        .misbehaving(MISBEHAVING)
        .start()
        .await;
    let before = kennel.until_state("bad-flood-log", "ready").await;
    let steady = kennel.agent("steady").await;
    let answers = async |count: u64| {
        let load = Load::start(kennel.client(), "steady", Duration::from_millis(5));
        eventually("answers of the neighbour", || async {
            (kennel.agent("steady").await.turns >= count).then_some(())
        })
        .await;
        load.end().await
    };
    let quiet = answers(200).await;
    let memory = begin_peak_memory(kennel.pid());

    assert_eq!(kennel.send("bad-flood-log", NOW).await.reply(), NOW);
    eventually("a log that was put aside twice", || async {
        (log_files(&kennel, "bad-flood-log").1 == 3).then_some(())
    })
    .await;
    let noisy = answers(600).await;

    let grown = peak_memory_bytes(kennel.pid()).saturating_sub(memory);
    // While they are being put aside there is one less.
    let (size, files) = eventually("all of them", || async {
        let found = log_files(&kennel, "bad-flood-log");
        (found.1 == 3).then_some(found)
    })
    .await;
    println!(
        "quiet p50 {:?} p99 {:?}; beside a flood p50 {:?} p99 {:?}; memory grew by {} KiB; {files} files, {size} bytes",
        quiet.percentile(50),
        quiet.percentile(99),
        noisy.percentile(50),
        noisy.percentile(99),
        grown / 1024,
    );
    for figures in [&quiet, &noisy] {
        assert_eq!(figures.failures, Vec::<String>::new());
    }
    // What is written at once may go beyond: no more than a read of the pipe, with its stamps.
    assert!(size <= 3 * (MAX + 64 * 1024), "{files} files, {size} bytes");
    assert!(grown < 16 * 1024 * 1024, "{grown}");
    noisy.assert_beside(&quiet);
    for seen in [before, steady] {
        assert_eq!(kennel.agent(&seen.id).await.pid, seen.pid);
    }
    kennel.shut_down().await;
}
