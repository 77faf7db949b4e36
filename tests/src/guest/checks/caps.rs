//! That caps bite, and that Kennel says so.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{
    super::{
        group::Group,
        supervisor::{Supervisor, kennel},
    },
    MIB,
};
use crate::{harness::eventually, misbehave::NOW};

/// For how long a spinning agent is watched.
const WATCHED: Duration = Duration::from_secs(4);

pub(super) async fn tree(supervisor: &Supervisor) -> String {
    let own = Group::of(supervisor.process().await.pid());
    assert_eq!(own.name(), "supervisor");
    let instance = own.parent();
    assert!(instance.name().starts_with("kennel-"), "{instance:?}");
    let mut fleet = None;
    for agent in supervisor.all_ready().await {
        let group = Group::of(agent.pid.expect("a process"));
        assert_eq!(group.name(), format!("{}.{}", agent.id, agent.generation));
        assert_eq!(group.parent().parent(), instance);
        fleet = Some(group.parent());
    }
    let fleet = fleet.expect("there are agents");
    assert_eq!(fleet.name(), "fleet");
    assert_eq!(fleet.number("memory.max"), 600 * MIB);
    assert_eq!(fleet.number("pids.max"), 2000);
    fleet.path().display().to_string()
}

pub(super) async fn written(supervisor: &Supervisor) -> String {
    let group = supervisor.group("capped").await;
    assert_eq!(group.number("memory.max"), 96 * MIB);
    let high = group.number("memory.high");
    assert!((85 * MIB..88 * MIB).contains(&high), "90 % of it: {high}");
    assert_eq!(group.number("memory.swap.max"), 0);
    assert_eq!(group.number("memory.oom.group"), 1);
    assert_eq!(group.read("cpu.max"), "50000 100000");
    assert_eq!(group.number("cpu.weight"), 50);
    assert_eq!(group.number("pids.max"), 40);
    let uncapped = supervisor.group("quiet").await;
    assert_eq!(uncapped.read("memory.max"), "max");
    assert_eq!(uncapped.number("pids.max"), 512);
    String::new()
}

/// It takes memory without end, and little lies between the soft mark and the cap: the kernel ends it, the
/// supervisor says so, and it lives again.
pub(super) async fn memory(supervisor: &Supervisor) -> String {
    let fleet = supervisor.group("bad-memory").await.parent();
    let kills = fleet.counter("memory.events", "oom_kill");
    let end = ends_for_want_of_memory(supervisor, "bad-memory", 64 * MIB).await;
    let killed = fleet.counter("memory.events", "oom_kill") - kills;
    assert!(killed >= 1, "it was not the kernel");
    assert!(end.get("memory_high_bytes").is_none(), "{end}");
    let usage = supervisor.usage("bad-memory").await;
    assert!(usage["oom_kills"].as_u64() >= Some(1), "{usage}");
    end["sentence"].as_str().unwrap_or_default().to_owned()
}

/// The same where the kernel would slow it down for half a minute: the supervisor ends it long before.
pub(super) async fn memory_by_default(supervisor: &Supervisor) -> String {
    let high = supervisor.group("bad-memory-2").await.number("memory.high");
    let end = ends_for_want_of_memory(supervisor, "bad-memory-2", 256 * MIB).await;
    // What was written is a whole number of pages.
    let told = end["memory_high_bytes"].as_u64();
    let told = told.unwrap_or_else(|| panic!("the kernel was faster: {end}"));
    assert_eq!(told / 4096, high / 4096, "{end}");
    end["sentence"].as_str().unwrap_or_default().to_owned()
}

/// Waits for an end for want of memory, and gives what is said of it.
async fn ends_for_want_of_memory(supervisor: &Supervisor, id: &str, cap: u64) -> Value {
    let before = supervisor.ready(id).await;
    let group = supervisor.group(id).await;
    supervisor.ask(id, &format!("{NOW} 512")).await;
    let after = supervisor.reborn(id, before.generation).await;
    assert!(!group.exists(), "{group:?} is left");

    let end = supervisor.end_of(id, before.generation).await;
    assert_eq!(end["cause"], "out-of-memory", "{end}");
    assert_eq!(end["cap"], "memory", "{end}");
    assert_eq!(end["cap_value"], cap, "{end}");
    let peak = end["memory_peak_bytes"].as_u64();
    // Older kernels do not tell it.
    assert!(
        peak.is_none_or(|peak| (cap / 2..=cap).contains(&peak)),
        "{end}"
    );
    let sentence = end["sentence"].as_str().expect("a sentence");
    let shown = kennel(&["events", id]);
    assert!(shown.contains(sentence), "{sentence}\n{shown}");
    assert!(after.generation > before.generation);
    end
}

/// A little above the soft mark it is held back and told, not ended; and told when that is over.
pub(super) async fn soft_mark(supervisor: &Supervisor) -> String {
    let before = supervisor.ready("bad-hoard").await;
    let group = supervisor.group("bad-hoard").await;
    let high = group.number("memory.high");
    let mut more = 32;
    // What of it is page cache makes room for a while.
    while group.number("memory.current") <= high {
        let wanted = group.counter("memory.stat", "anon") + more * MIB;
        supervisor.ask("bad-hoard", &format!("{NOW} {more}")).await;
        eventually("it has taken that", || async {
            (group.counter("memory.stat", "anon") >= wanted).then_some(())
        })
        .await;
        more = 1;
    }
    let began = supervisor.event("bad-hoard", "memory-high").await;
    assert_eq!(began["held_back"]["cap"], "memory_high", "{began}");
    assert_eq!(
        began["held_back"]["cap_value"],
        48.0 * 1_048_576.0,
        "{began}"
    );
    kennel(&["set", "bad-hoard", "memory_high=88MiB"]);
    supervisor.event("bad-hoard", "memory-high-over").await;
    assert_eq!(supervisor.ready("bad-hoard").await.pid, before.pid);
    began["detail"].as_str().unwrap_or_default().to_owned()
}

/// Eight threads that spin get a quarter of a processor, and the agent next to them answers.
pub(super) async fn cpu(supervisor: &Supervisor) -> String {
    let group = supervisor.group("bad-spin-all").await;
    supervisor.ask("bad-spin-all", NOW).await;
    eventually("it is held back", || async {
        (group.counter("cpu.stat", "nr_throttled") > 2).then_some(())
    })
    .await;
    let (used, start) = (group.counter("cpu.stat", "usage_usec"), Instant::now());
    sleep(WATCHED).await;
    let used = Duration::from_micros(group.counter("cpu.stat", "usage_usec") - used);
    let share = used.as_secs_f64() / start.elapsed().as_secs_f64();
    assert!((0.1..0.35).contains(&share), "{share:.2} of a processor");
    assert_eq!(supervisor.ask("quiet", "still there").await, "still there");

    let told = supervisor.event("bad-spin-all", "throttled").await;
    assert_eq!(told["held_back"]["cap_value"], 0.25, "{told}");
    eventually("status tells of it", || async {
        let usage = supervisor.usage("bad-spin-all").await;
        (usage["throttled_ms"].as_u64()? > 0 && usage["cpu_cap"] == 0.25).then_some(())
    })
    .await;
    format!("{share:.2} of a processor")
}

/// It forks until it is denied; what it has stays within the cap, and it goes on.
pub(super) async fn pids(supervisor: &Supervisor) -> String {
    let before = supervisor.ready("bad-fork").await;
    let group = supervisor.group("bad-fork").await;
    supervisor.ask("bad-fork", &format!("{NOW} 100")).await;
    eventually("the kernel denies one more", || async {
        (group.counter("pids.events", "max") > 0).then_some(())
    })
    .await;
    assert_eq!(group.number("pids.current"), 30);
    assert_eq!(supervisor.ready("bad-fork").await.pid, before.pid);
    let denied = eventually("status tells of it", || async {
        let usage = supervisor.usage("bad-fork").await;
        let denied = usage["pids_denied"].as_u64()?;
        (denied > 0 && usage["pids_cap"] == 30).then_some(denied)
    })
    .await;
    let told = supervisor.event("bad-fork", "pids-denied").await;
    assert_eq!(told["held_back"]["cap_value"], 30.0, "{told}");
    // It is to leave the processor to the others.
    kennel(&["restart", "bad-fork"]);
    assert!(!group.exists(), "{group:?} is left");
    format!("denied {denied} times")
}

/// The spinning agent waits for the processor, and that is seen.
pub(super) async fn pressure(supervisor: &Supervisor) -> String {
    let group = supervisor.group("bad-spin-all").await;
    let waited = group.pressure("cpu");
    assert!(waited > 0, "eight threads share a quarter of a processor");
    for what in ["memory", "io"] {
        group.pressure(what);
    }
    let shown = eventually("status tells of it", || async {
        let usage = supervisor.usage("bad-spin-all").await;
        usage["cpu_pressure"]
            .as_f64()
            .filter(|percent| *percent > 0.0)
    })
    .await;
    kennel(&["restart", "bad-spin-all"]);
    format!("{} ms in all, {shown:.0} % of the last 10 s", waited / 1000)
}

/// Caps change under a process that goes on.
pub(super) async fn set(supervisor: &Supervisor) -> String {
    let before = supervisor.ready("capped").await;
    let group = supervisor.group("capped").await;
    let said = kennel(&["set", "capped", "memory=80MiB", "pids=33", "cpu=0.75"]);
    assert_eq!(group.number("memory.max"), 80 * MIB, "{said}");
    assert_eq!(group.number("pids.max"), 33, "{said}");
    assert_eq!(group.read("cpu.max"), "75000 100000", "{said}");
    assert_eq!(supervisor.ready("capped").await.pid, before.pid);
    assert_eq!(supervisor.ask("capped", "as before").await, "as before");
    said.trim().replace('\n', "; ")
}
