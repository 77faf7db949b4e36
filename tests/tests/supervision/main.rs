//! Lives of real processes: how they end, and come back, and what their neighbours notice: nothing.

mod capture;
mod ends;
mod shutdown;

use std::time::Duration;

use kennel_tests::{
    harness::{Figures, Kennel, Load, Process, eventually, state_of},
    misbehave::NOW,
};
use nix::sys::signal::Signal;
use tokio::time::Instant;

const MISBEHAVING: &str = env!("CARGO_BIN_EXE_misbehaving-agent");

#[tokio::test]
async fn a_crash_costs_one_agent_one_life() {
    let kennel = Kennel::builder()
        .agents(&["one", "two", "three"])
        .start()
        .await;
    let others = kennel.pids(&["two", "three"]).await;
    let before = kennel.agent("one").await;
    let descriptors = kennel.descriptors();

    kennel.kill("one", Signal::SIGKILL).await;
    let after = kennel.until_reborn("one", before.generation).await;

    assert_eq!(after.generation, before.generation + 1);
    assert_ne!(after.pid, before.pid);
    assert_eq!(after.restarts, 1);
    assert_eq!(kennel.pids(&["two", "three"]).await, others);
    assert_eq!(kennel.send("one", "back?").await.reply(), "back?");
    let log = kennel.agent_log("one").await;
    for told in ["ended by SIGKILL", "backing-off (next start in 50ms)"] {
        assert!(
            log.iter().any(|line| line.contains(told)),
            "{told}: {log:#?}"
        );
    }
    kennel.assert_no_leak(descriptors).await;
    kennel.shut_down().await;
}

/// Waits grow, so an agent that keeps dying does not keep the machine busy.
#[tokio::test]
async fn the_wait_before_a_restart_grows() {
    let kennel = Kennel::builder()
        .agent(
            "bad-crash",
            &[(
                "backoff",
                "{ initial = '50ms', max = '150ms', factor = 2.0, jitter = 0.0 }",
            )],
        )
        .misbehaving(MISBEHAVING)
        .spawn()
        .await;
    kennel
        .until("bad-crash", "was restarted often", |agent| {
            agent.restarts >= 4
        })
        .await;
    let log = kennel.agent_log("bad-crash").await;
    let waits: Vec<&str> = log
        .iter()
        .filter_map(|line| line.split_once("next start in ")?.1.strip_suffix(')'))
        .take(4)
        .collect();
    assert_eq!(waits, ["50ms", "100ms", "150ms", "150ms"]);
    assert!(
        log.iter().any(|line| line.contains("ended by SIGABRT")),
        "{log:#?}"
    );
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_stopped_process_is_found_hanging() {
    let kennel = Kennel::builder().agents(&["one", "two"]).start().await;
    let two = kennel.agent("two").await;
    let before = kennel.agent("one").await;

    kennel.kill("one", Signal::SIGSTOP).await;
    let after = kennel.until_reborn("one", before.generation).await;

    assert_ne!(after.pid, before.pid);
    let lines = kennel.log_lines(&["an agent hangs"]);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("T (stopped)"), "{lines:#?}");
    let log = kennel.agent_log("one").await;
    assert!(
        log.iter().any(|line| line.contains("hung: T (stopped)")),
        "{log:#?}"
    );
    assert_eq!(kennel.agent("two").await.pid, two.pid);
    kennel.shut_down().await;
}

/// The heartbeat comes from the loop that works: a turn that keeps it busy is seen, and given up.
#[tokio::test]
async fn a_busy_loop_is_found_hanging() {
    let kennel = Kennel::builder().agents(&["one", "two"]).start().await;
    let two = kennel.agent("two").await;
    let load = Load::start(kennel.client(), "two", Duration::from_millis(10));

    let answer = kennel.send("one", "!busy 60000").await;

    assert_eq!(answer.0.error_code(), "turn_failed", "{:?}", answer.0);
    assert!(
        answer.error().contains("stopped working 3 times"),
        "{}",
        answer.error()
    );
    let lines = kennel.log_lines(&["an agent hangs", "agent.id=one"]);
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(
        lines.iter().all(|line| line.contains("R (running)")),
        "{lines:#?}"
    );
    kennel.until_state("one", "ready").await;
    assert_eq!(kennel.send("one", "well?").await.reply(), "well?");
    assert_eq!(load.end().await.failures, Vec::<String>::new());
    assert_eq!(kennel.agent("two").await.pid, two.pid);
    kennel.shut_down().await;
}

/// Hanging in its sleep and spinning, in a program that is not ours.
#[tokio::test]
async fn other_loops_that_stop_are_found_too() {
    let kennel = Kennel::builder()
        .agents(&["bad-hang", "bad-spin"])
        .misbehaving(MISBEHAVING)
        .spawn()
        .await;
    for (id, state) in [("bad-hang", "S (sleeping)"), ("bad-spin", "R (running)")] {
        let before = kennel.until_state(id, "ready").await;
        assert_eq!(kennel.send(id, NOW).await.reply(), NOW);
        kennel.until_reborn(id, before.generation).await;
        let lines = kennel.log_lines(&["an agent hangs", &format!("agent.id={id} ")]);
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].contains(state), "{lines:#?}");
    }
    kennel.shut_down().await;
}

/// Idle is not hung: the watchdog's time passes three times over without a message.
#[tokio::test]
async fn an_idle_agent_is_left_alone() {
    let kennel = Kennel::builder().agents(&["one"]).start().await;
    let before = kennel.agent("one").await;
    let client = kennel.client();
    eventually("three seconds of idleness", || async {
        let agent = client
            .get("/api/v1/agents/one")
            .await
            .expect("an answer")
            .body;
        (agent["uptime_ms"].as_u64()? > 3000).then_some(())
    })
    .await;
    let after = kennel.agent("one").await;
    assert_eq!((after.pid, after.restarts), (before.pid, 0));
    kennel.shut_down().await;
}

#[tokio::test]
async fn who_is_not_ready_in_time_is_started_again() {
    let late = ["bad-silent", "bad-noready", "bad-unread-stdin", "bad-mute"];
    let kennel = Kennel::builder()
        .agents(&late)
        .agents(&["steady"])
        .defaults(&[("start_timeout", "'400ms'")])
        .agent("steady", &[("start_timeout", "'5s'")])
        .misbehaving(MISBEHAVING)
        .start()
        .await;
    let steady = kennel.agent("steady").await;
    for id in late {
        let agent = kennel
            .until(id, "was restarted", |agent| agent.restarts >= 2)
            .await;
        assert!(
            ["starting", "stopping", "backing_off"].contains(&agent.state.as_str()),
            "{agent:?}"
        );
        kennel
            .logged(&["an agent hangs", &format!("agent.id={id} ")])
            .await;
    }
    assert_eq!(kennel.agent("steady").await.pid, steady.pid);
    kennel.shut_down().await;
}

#[tokio::test]
async fn too_many_restarts_end_in_quarantine_until_an_operator_says_restart() {
    let kennel = Kennel::builder()
        .agents(&["two"])
        .agent("one", &[("max_restarts", "2")])
        .start()
        .await;
    let two = kennel.agent_pid("two").await;
    for _ in 0..2 {
        let before = kennel.agent("one").await;
        kennel.kill("one", Signal::SIGKILL).await;
        kennel.until_reborn("one", before.generation).await;
    }
    kennel.kill("one", Signal::SIGKILL).await;

    let agent = kennel.until_state("one", "quarantined").await;
    let detail = agent.detail.unwrap_or_default();
    assert!(detail.contains("restarted too often"), "{detail}");
    assert!(detail.contains("SIGKILL"), "{detail}");
    assert_eq!(agent.pid, None);
    assert_eq!(
        kennel
            .log_lines(&["ERROR", "quarantined", "kennel restart"])
            .len(),
        1
    );
    let answer = kennel.send("one", "hello?").await;
    assert_eq!((answer.0.status, answer.0.error_code()), (409, "denied"));
    assert!(answer.error().contains("quarantined"), "{}", answer.error());

    let restarted = kennel.order("one", "restart").await;
    assert_eq!(restarted.body["outcome"], "done", "{}", restarted.body);
    assert_eq!(kennel.send("one", "hello").await.reply(), "hello");
    assert_eq!(kennel.agent_pid("two").await, two);
    kennel.shut_down().await;
}

#[tokio::test]
async fn the_restart_policy_decides_who_comes_back() {
    let kennel = Kennel::builder()
        .agents(&["bad-exit0"])
        .agent("always", &[("restart", "'always'")])
        .agent("never", &[("restart", "'never'")])
        .agent("failure", &[("restart", "'on-failure'")])
        .misbehaving(MISBEHAVING)
        .start()
        .await;

    // Ended with 0, by itself.
    let agent = kennel.until_state("bad-exit0", "exited").await;
    assert_eq!(
        (agent.restarts, agent.pid, agent.desired.as_str()),
        (0, None, "running")
    );
    let answer = kennel.send("bad-exit0", "hello?").await;
    assert_eq!(answer.0.error_code(), "denied");
    let started = kennel.order("bad-exit0", "start").await;
    assert_eq!(started.body["outcome"], "denied", "{}", started.body);

    // The answer is lost with the process, so the message is tried in the next life as well.
    let before = kennel.agent("always").await;
    assert_eq!(
        kennel.send("always", "!exit 0").await.0.error_code(),
        "turn_failed"
    );
    let after = kennel.until_reborn("always", before.generation + 2).await;
    assert_eq!(after.restarts, 3);

    let answer = kennel.send("failure", "!exit 0").await;
    assert!(answer.error().contains("exited"), "{:?}", answer.0);
    kennel.until_state("failure", "exited").await;

    kennel.kill("never", Signal::SIGKILL).await;
    assert_eq!(kennel.until_state("never", "exited").await.restarts, 0);
    let started = kennel.order("never", "start").await;
    assert_eq!(started.body["outcome"], "done", "{}", started.body);
    assert_eq!(kennel.send("never", "back").await.reply(), "back");
    kennel.shut_down().await;
}

#[tokio::test]
async fn restarts_under_load_touch_nobody_else_and_lose_nothing() {
    let ids = ["one", "two", "three", "four"];
    let kennel = Kennel::builder().agents(&ids).start().await;
    let others = kennel.pids(&ids[1..]).await;
    let descriptors = kennel.descriptors();
    let loads: Vec<Load> = ids
        .iter()
        .map(|id| Load::start(kennel.client(), id, Duration::from_millis(5)))
        .collect();

    for n in 0..5 {
        let before = kennel.agent("one").await;
        let restarted = kennel.order("one", "restart").await;
        assert_eq!(restarted.body["outcome"], "done", "{}", restarted.body);
        let after = kennel.agent("one").await;
        assert_eq!(after.generation, before.generation + 1, "restart {n}");
        assert_ne!(after.pid, before.pid);
    }

    // Not even the restarted one fails: its messages wait.
    let figures = Figures::merged(Load::end_all(loads).await);
    assert_eq!(figures.failures, Vec::<String>::new());
    assert_eq!(kennel.pids(&ids[1..]).await, others);
    assert_eq!(
        kennel.agent("one").await.restarts,
        0,
        "asked for, so not counted"
    );
    kennel.assert_no_leak(descriptors).await;
    kennel.shut_down().await;
}

#[tokio::test]
async fn orders_are_idempotent() {
    let kennel = Kennel::builder()
        .agents(&["one"])
        .agent("two", &[("autostart", "false")])
        .start()
        .await;
    let two = kennel.agent("two").await;
    assert_eq!(
        (two.state.as_str(), two.desired.as_str(), two.generation),
        ("stopped", "stopped", 0)
    );
    let pid = kennel.agent_pid("one").await;
    let orders = [
        ("one", "start", "already"),
        ("one", "stop", "done"),
        ("one", "stop", "already"),
        ("one", "start", "done"),
        ("one", "start", "already"),
        ("two", "stop", "already"),
        ("two", "start", "done"),
        ("two", "restart", "done"),
    ];
    for (id, order, outcome) in orders {
        let response = kennel.order(id, order).await;
        assert_eq!(response.status, 200, "{order} {id}: {}", response.body);
        assert_eq!(
            response.body["outcome"], outcome,
            "{order} {id}: {}",
            response.body
        );
        let state = if order == "stop" { "stopped" } else { "ready" };
        assert_eq!(response.body["agent"]["state"], state, "{order} {id}");
        if (id, order, outcome) == ("one", "start", "already") && state_of(pid).is_some() {
            assert_eq!(kennel.agent_pid("one").await, pid);
        }
    }
    assert_ne!(kennel.agent_pid("one").await, pid);
    kennel.shut_down().await;
}

#[tokio::test]
async fn who_ignores_term_is_killed_after_its_grace() {
    let kennel = Kennel::builder()
        .agents(&["bad-ignore-term"])
        .defaults(&[("drain_timeout", "'300ms'"), ("stop_grace", "'300ms'")])
        .misbehaving(MISBEHAVING)
        .spawn()
        .await;
    kennel.until_state("bad-ignore-term", "ready").await;
    let process = Process::of(kennel.agent_pid("bad-ignore-term").await).expect("it runs");

    let began = Instant::now();
    let stopped = kennel.order("bad-ignore-term", "stop").await;
    let took = began.elapsed();

    assert_eq!(stopped.body["outcome"], "done", "{}", stopped.body);
    assert!(process.has_ended());
    assert!(
        took >= Duration::from_millis(600),
        "drain and grace first: {took:?}"
    );
    assert!(took < Duration::from_secs(4), "{took:?}");
    let log = kennel.agent_log("bad-ignore-term").await;
    for told in ["draining", "stopping", "ended by SIGKILL", "stopped"] {
        assert!(
            log.iter().any(|line| line.contains(told)),
            "{told}: {log:#?}"
        );
    }
    kennel.shut_down().await;
}
