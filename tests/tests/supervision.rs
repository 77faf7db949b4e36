//! Lives of real processes: how they end, and come back, and what their neighbours notice: nothing.

use kennel_tests::harness::Kennel;

const MISBEHAVING: &str = env!("CARGO_BIN_EXE_misbehaving-agent");

#[tokio::test]
async fn a_crash_costs_one_agent_one_life() {
    let kennel = Kennel::builder()
        .agents(&["one", "two", "three"])
        .misbehaving(MISBEHAVING)
        .start()
        .await;
    let others = kennel.pids(&["two", "three"]).await;
    let before = kennel.agent("one").await;
    let descriptors = kennel.descriptors();

    kennel.kill("one", nix::sys::signal::Signal::SIGKILL).await;
    let after = kennel.until_reborn("one", before.generation).await;

    assert_eq!(after.generation, before.generation + 1);
    assert_ne!(after.pid, before.pid);
    assert_eq!(after.restarts, 1);
    assert_eq!(kennel.pids(&["two", "three"]).await, others);
    assert_eq!(kennel.send("one", "back?").await.reply(), "back?");
    kennel.assert_no_leak(descriptors).await;
    kennel.shut_down().await;
}
