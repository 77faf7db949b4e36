use anstream::adapter::strip_str;

use super::*;
use crate::control::wire;

fn check(area: &str, name: &str, state: CheckState, message: &str, remedy: Option<&str>) -> Check {
    Check {
        area: area.into(),
        name: name.into(),
        state,
        message: message.into(),
        remedy: remedy.map(Into::into),
    }
}

fn found() -> Doctor {
    Doctor {
        state: CheckState::Fail,
        running: true,
        version: "0.1.0".into(),
        checks: vec![
            check(
                "supervisor",
                "running",
                CheckState::Ok,
                "the supervisor answers: pid 4242, up 3h 10m",
                None,
            ),
            check(
                "containment",
                "io_weight",
                CheckState::Ok,
                "`io_weight` cannot be enforced, and nobody asks for it",
                Some("write bfq somewhere"),
            ),
            check(
                "agents",
                "coder",
                CheckState::Fail,
                "`coder` is quarantined; generation 2, 3m 5s ago: killed at its memory cap of 512.0 MiB",
                Some("see in `kennel logs coder` what it did; then `kennel restart coder`"),
            ),
            check(
                "agents",
                "hexa",
                CheckState::Warn,
                "`hexa` waits\x1b[2J for its next start",
                Some("`kennel logs hexa` says why"),
            ),
        ],
        containment: wire::Containment {
            backend: "hybrid".into(),
            why: "so it is".into(),
            cannot: Vec::new(),
        },
        host: wire::DoctorHost {
            kernel: "Linux 6.18".into(),
            cpus: 2,
            memory_total_bytes: None,
            memory_available_bytes: None,
            landlock_abi: Some(7),
            seccomp: true,
            user_namespaces: true,
            cgroup_layout: "hybrid".into(),
            cgroups: Vec::new(),
        },
    }
}

fn coder() -> AgentDoctor {
    AgentDoctor {
        agent: "coder".into(),
        state: CheckState::Warn,
        running: true,
        checks: vec![
            check("life", "coder", CheckState::Ok, "`coder` is ready", None),
            check(
                "caps",
                "io_weight",
                CheckState::Warn,
                "`io_weight` is not enforced: hybrid found no disk",
                Some("write bfq into /sys/block/<disk>/queue/scheduler"),
            ),
            check(
                "cage",
                "cage",
                CheckState::Ok,
                "2 of 3 steps taken in full; not asked for: user",
                None,
            ),
        ],
        life: Some(AgentLife {
            state: wire::AgentState::Ready,
            desired: wire::Desired::Running,
            pid: Some(4711),
            generation: 3,
            uptime_ms: Some(185_000),
            restarts: 2,
            last_end: None,
        }),
        backend: "hybrid".into(),
        group: Some("/kennel-0a1b2c3d/fleet/coder.3".into()),
        asked: wire::Limits {
            memory: Some(512 << 20),
            io_weight: Some(50),
            ..wire::Limits::default()
        },
        in_force: wire::Limits {
            memory: Some(512 << 20),
            pids: Some(512),
            ..wire::Limits::default()
        },
        unenforced: Vec::new(),
        cage: ["umask", "user", "landlock"]
            .into_iter()
            .map(|name| CageStep {
                name: name.into(),
                outcome: if name == "user" { "off" } else { "done" }.into(),
                detail: format!("{name}: so it is, in so many words that they do not fit"),
            })
            .collect(),
    }
}

fn plain(text: &str) -> String {
    strip_str(text).to_string()
}

#[test]
fn a_fleet_on_eighty_columns() {
    insta::assert_snapshot!(plain(&fleet(&found(), Some(80))));
}

#[test]
fn an_agent_on_eighty_columns() {
    insta::assert_snapshot!(plain(&agent(&coder(), Some(80))));
}

#[test]
fn no_line_is_wider_than_the_screen_and_no_word_is_lost() {
    let words = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let whole = plain(&fleet(&found(), None));
    for width in 60..160 {
        let text = plain(&fleet(&found(), Some(width)));
        assert_eq!(words(&text), words(&whole));
        for line in text
            .lines()
            .chain(plain(&agent(&coder(), Some(width))).lines())
        {
            assert!(line.chars().count() <= width, "{width}: {line:?}");
        }
    }
    assert_eq!(plain(&fleet(&found(), Some(5))), whole);
}

#[test]
fn states_have_colours_and_foreign_text_has_none() {
    let text = fleet(&found(), None);
    assert!(text.contains("\x1b[1m\x1b[31mfail"), "{text:?}");
    assert!(!text.contains("\x1b[2J"), "{text:?}");
}
