//! A hundred agents, four of them in trouble: the others answer as if nothing had happened.

use std::{collections::BTreeMap, time::Duration};

use kennel_tests::{
    harness::{Figures, Kennel, Load, eventually, peak_memory_bytes},
    misbehave::NOW,
};
use nix::sys::signal::Signal;

const MISBEHAVING: &str = env!("CARGO_BIN_EXE_misbehaving-agent");

/// Each agent is asked so often.
const PERIOD: Duration = Duration::from_millis(500);

/// Answers of the whole fleet that a phase lasts, at least.
const ANSWERS: u64 = 1200;

/// Asks every agent; the askers are spread over the period.
fn load_on(kennel: &Kennel, ids: &[String]) -> Vec<Load> {
    let step = PERIOD / u32::try_from(ids.len()).expect("a fleet");
    let delays = (0..).map(|n| step * n);
    ids.iter()
        .zip(delays)
        .map(|(id, delay)| Load::start_after(kennel.client(), id, PERIOD, delay))
        .collect()
}

async fn until_answered(kennel: &Kennel, count: u64) {
    let before: u64 = kennel.agents().await.iter().map(|agent| agent.turns).sum();
    eventually("answers of the whole fleet", || async {
        let now: u64 = kennel.agents().await.iter().map(|agent| agent.turns).sum();
        // Looking is work for the supervisor too, which the figures should not be about.
        tokio::time::sleep(Duration::from_millis(200)).await;
        (now - before >= count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn alone_four_agents_in_trouble_cost_the_other_ninety_six_nothing() {
    let kennel = Kennel::builder()
        .numbered(98)
        .agents(&["bad-garbage", "bad-leave"])
        .defaults(&[
            ("heartbeat_interval", "'500ms'"),
            ("watchdog", "'2s'"),
            ("start_timeout", "'20s'"),
        ])
        .misbehaving(MISBEHAVING)
        .start()
        .await;
    for id in ["bad-garbage", "bad-leave"] {
        kennel.until_state(id, "ready").await;
    }
    let troubled = ["a000", "a001", "bad-garbage", "bad-leave"];
    let before: BTreeMap<String, _> = kennel
        .agents()
        .await
        .into_iter()
        .map(|agent| (agent.id.clone(), agent))
        .collect();
    assert_eq!(before.len(), 100);
    let others: Vec<String> = before
        .keys()
        .filter(|id| !troubled.contains(&id.as_str()))
        .cloned()
        .collect();
    let ids: Vec<String> = before.keys().cloned().collect();
    let descriptors = kennel.descriptors();

    let loads = load_on(&kennel, &ids);
    until_answered(&kennel, ANSWERS).await;
    let quiet = Figures::merged(Load::end_all(loads).await);
    assert_eq!(quiet.failures, Vec::<String>::new());

    let troubled_ids = troubled.map(ToOwned::to_owned);
    let steady = load_on(&kennel, &others);
    let rest = load_on(&kennel, &troubled_ids);
    kennel.kill("a000", Signal::SIGKILL).await;
    kennel.kill("a001", Signal::SIGSTOP).await;
    for id in ["bad-garbage", "bad-leave"] {
        assert_eq!(kennel.send(id, NOW).await.reply(), NOW);
    }
    until_answered(&kennel, ANSWERS).await;
    for id in ["a000", "a001", "bad-garbage"] {
        kennel.until_reborn(id, before[id].generation).await;
    }
    kennel.until_state("bad-leave", "exited").await;
    let noisy = Figures::merged(Load::end_all(steady).await);
    let rest = Figures::merged(Load::end_all(rest).await);

    let limit = quiet.percentile(99) * 2;
    println!(
        "quiet: {} answers, p50 {:?}, p99 {:?}, longest {:?}",
        quiet.waits.len(),
        quiet.percentile(50),
        quiet.percentile(99),
        quiet.longest(),
    );
    println!(
        "96 beside 4 in trouble: {} answers, p50 {:?}, p99 {:?}, longest {:?}; the 4: {} answers, {} denied; limit {limit:?}",
        noisy.waits.len(),
        noisy.percentile(50),
        noisy.percentile(99),
        noisy.longest(),
        rest.waits.len(),
        rest.failures.len(),
    );
    println!(
        "supervisor: {} KiB at its peak, {} descriptors",
        peak_memory_bytes(kennel.pid()) / 1024,
        kennel.descriptors(),
    );

    assert_eq!(noisy.failures, Vec::<String>::new());
    assert!(noisy.waits.len() >= 960, "{}", noisy.waits.len());
    let after = kennel.agents().await;
    for agent in after.iter().filter(|agent| others.contains(&agent.id)) {
        let was = &before[&agent.id];
        assert_eq!(
            (agent.pid, agent.generation, agent.restarts),
            (was.pid, was.generation, 0),
            "{agent:?}"
        );
    }
    assert_eq!(
        kennel
            .log_lines(&["an agent lost its link", "agent.id=bad-garbage"])
            .len(),
        1
    );
    // One agent is down now, and with it its link, its pipes and its process descriptor.
    kennel.assert_no_leak(descriptors).await;
    // Not the longest of a thousand waits: a scheduler that takes a core away for a moment is no neighbour's doing.
    let allowed = limit.max(quiet.percentile(99) + Duration::from_millis(50));
    assert!(
        noisy.percentile(99) <= allowed,
        "{:?} > {allowed:?}",
        noisy.percentile(99)
    );
    kennel.shut_down().await;
}
