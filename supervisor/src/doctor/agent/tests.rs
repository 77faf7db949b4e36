use super::*;
use crate::{
    doctor::{
        State,
        facts::{Group, LastEnd, Stage, Usage},
        samples, worst,
    },
    supervision::{ending::Cause, lifecycle::Exit},
};

fn coder() -> OneAgent {
    let caps = Caps {
        memory: Some(512 << 20),
        memory_high: Some(400 << 20),
        cpu: Some(0.5),
        pids: Some(64),
        ..Caps::default()
    };
    OneAgent {
        supervisor: Supervisor::Running {
            pid: 4242,
            up: Duration::from_secs(200),
        },
        agent: samples::agent("coder"),
        disabled: false,
        backend: samples::backend(),
        group: Some(Group {
            path: "/kennel.service/kennel-0a1b2c3d/fleet/coder.3".into(),
            strays: Vec::new(),
        }),
        asked: caps,
        caps,
        unenforced: Vec::new(),
        changed: false,
        usage: Usage {
            memory: Some(20 << 20),
            pids: Some(3),
            pids_denied: Some(0),
            throttled: Some(Duration::from_secs(1)),
        },
    }
}

fn of(facts: &OneAgent, name: &str) -> Check {
    let checks = checks(facts);
    let found = checks.iter().find(|check| check.name == name).cloned();
    found.unwrap_or_else(|| panic!("no check `{name}`: {checks:#?}"))
}

#[test]
fn an_agent_that_is_well() {
    let checks = checks(&coder());
    assert_eq!(worst(&checks), State::Ok, "{checks:#?}");
    let told: Vec<String> = checks
        .iter()
        .map(|check| format!("{}: {}", check.area.as_str(), check.says))
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_cap_that_does_not_hold_is_refused_or_done_without() {
    let mut facts = coder();
    facts.unenforced = vec![Unenforced {
        cap: Cap::MemoryHigh,
        why: "hybrid has the v1 memory controller".into(),
        remedy: "boot with v2".into(),
    }];
    let strict = of(&facts, "memory_high");
    assert_eq!(strict.state, State::Fail);
    assert!(strict.remedy.unwrap().contains("best-effort"));
    facts.agent.strict = false;
    let lax = of(&facts, "memory_high");
    assert_eq!(
        (lax.state, lax.remedy.as_deref()),
        (State::Warn, Some("boot with v2"))
    );
    assert_eq!(
        of(&facts, "caps").says,
        "in force as asked: memory, cpu, pids"
    );
    // What nobody asked for is no trouble.
    facts.asked.memory_high = None;
    assert!(
        checks(&facts)
            .iter()
            .all(|check| check.name != "memory_high")
    );
}

#[test]
fn a_process_outside_of_its_group_fails() {
    let mut facts = coder();
    facts.group.as_mut().unwrap().strays = vec!["memory".into()];
    let check = of(&facts, "group");
    assert_eq!(check.state, State::Fail);
    assert!(check.says.contains("(memory)"), "{check:?}");
}

#[test]
fn what_comes_near_its_caps_is_warned_of() {
    let mut facts = coder();
    facts.usage = Usage {
        memory: Some(480 << 20),
        pids: Some(64),
        pids_denied: Some(7),
        throttled: Some(Duration::from_secs(100)),
    };
    for (name, remedy) in [
        ("memory-use", "kennel set coder memory=1GiB"),
        ("pids-denied", "kennel set coder pids=128"),
        ("cpu-throttled", "kennel set coder cpu=1 "),
    ] {
        let check = of(&facts, name);
        assert_eq!(check.state, State::Warn);
        assert!(
            check.remedy.as_deref().unwrap().contains(remedy),
            "{check:?}"
        );
    }
}

#[test]
fn the_last_end_is_told_in_full_even_when_it_was_asked_for() {
    let mut facts = coder();
    let end = |cause| Some(samples::last_end(cause, Exit::Code(0), 185));
    facts.agent.life.as_mut().unwrap().last_end = end(Cause::Asked);
    assert_eq!(
        of(&facts, "last-end").says,
        "generation 2 ended 3m 5s ago: ended as asked: exited with 0; peak memory 512.0 MiB; generation 3 starts now"
    );
    assert_eq!(worst(&checks(&facts)), State::Ok);
    facts.agent.life.as_mut().unwrap().last_end = Some(LastEnd {
        ago: Duration::from_secs(5),
        ..end(Cause::OutOfMemory).unwrap()
    });
    facts.agent.life.as_mut().unwrap().stage = Stage::Quarantined;
    assert_eq!(of(&facts, "coder").state, State::Fail);
}

fn step(name: &str, outcome: CageOutcome) -> CageStep {
    CageStep {
        name: name.into(),
        outcome,
        detail: "so it is".into(),
    }
}

#[test]
fn steps_that_were_not_taken_in_full_stand_out() {
    let mut facts = coder();
    facts.agent.life.as_mut().unwrap().cage = vec![
        step("umask", CageOutcome::Done),
        step("user", CageOutcome::Off),
        step("capabilities", CageOutcome::Partial),
        step("landlock", CageOutcome::Failed),
    ];
    assert_eq!(
        of(&facts, "cage").says,
        "1 of 4 steps taken in full; not asked for: user"
    );
    assert_eq!(of(&facts, "capabilities").state, State::Warn);
    let failed = of(&facts, "landlock");
    assert_eq!(failed.state, State::Warn);
    assert!(
        failed.says.contains("runs without it: so it is"),
        "{failed:?}"
    );
    facts.agent.sandbox = false;
    assert_eq!(of(&facts, "sandbox").state, State::Warn);
}

#[test]
fn without_a_supervisor_there_are_caps_and_no_life() {
    let mut facts = coder();
    facts.supervisor = Supervisor::Absent {
        socket: "/run/kennel/control.sock".into(),
    };
    facts.agent.life = None;
    facts.group = None;
    facts.usage = Usage::default();
    let absent = checks(&facts);
    assert_eq!(absent[0].state, State::Warn);
    assert!(
        absent
            .iter()
            .all(|check| !matches!(check.area, Area::Life | Area::Cage))
    );
    assert!(absent.iter().any(|check| check.name == "caps"));
    facts.disabled = true;
    let disabled = of(&facts, "coder");
    assert_eq!(disabled.state, State::Ok);
    assert!(disabled.says.contains("disabled"), "{disabled:?}");
}

#[test]
fn what_is_in_force_is_what_was_set_and_can_be_held() {
    let caps = Caps {
        memory: Some(1000),
        io_weight: Some(7),
        pids: Some(512),
        ..Caps::default()
    };
    let cannot = |cap| Unenforced {
        cap,
        why: "no".into(),
        remedy: "get it".into(),
    };
    let all = in_force(&caps, &[]);
    assert_eq!(all.memory_high, Some(900), "it comes with memory");
    let held = in_force(&caps, &[cannot(Cap::MemoryHigh), cannot(Cap::IoWeight)]);
    let expected = Caps {
        io_weight: None,
        ..caps
    };
    assert_eq!(held, expected);
}
