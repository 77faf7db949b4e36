use anstream::adapter::strip_str;

use super::*;
use crate::control::wire::{
    AgentEnd, AgentUsage, ChannelStatus, ContainmentStatus, Desired, FleetUsage, HostUsage,
    LinkState, SupervisorStatus,
};

fn agent(id: &str, state: AgentState) -> AgentStatus {
    AgentStatus {
        id: id.into(),
        state,
        desired: Desired::Running,
        pid: Some(1_234_567),
        generation: 12,
        adopted: false,
        uptime_ms: Some(86_399_000),
        restarts: 3,
        queued: 4,
        running: 1,
        turns: 12_345,
        cpu_percent: Some(12.3),
        memory_bytes: Some(268_435_456),
        model: "local/smollm2-135m-instruct".into(),
        link: LinkState::Connected,
        usage: AgentUsage::default(),
        last_end: None,
        detail: None,
    }
}

const NOW: u64 = 1_185_000;

/// Of generation 11, three minutes ago.
fn end(cause: &str) -> AgentEnd {
    AgentEnd {
        at_ms: 1_000_000,
        generation: 11,
        cause: cause.into(),
        code: (cause == "exited").then_some(101),
        signal: (cause != "exited").then_some(9),
        cap: None,
        cap_value: Some(512 << 20),
        memory_high_bytes: None,
        memory_peak_bytes: None,
        turns: Vec::new(),
        next: "stays down until `kennel restart`".into(),
        sentence: "killed at its memory cap of 512.0 MiB".into(),
    }
}

fn fleet() -> Status {
    let mut failed = agent("case-review-bot", AgentState::Quarantined);
    failed.pid = None;
    failed.uptime_ms = None;
    failed.cpu_percent = None;
    failed.memory_bytes = None;
    failed.running = 0;
    failed.generation = 11;
    failed.last_end = Some(end("exited"));
    failed.detail = Some("exited 5 times within 1m (exit status 101)".into());
    Status {
        supervisor: SupervisorStatus {
            pid: 4242,
            version: "0.1.0".into(),
            uptime_ms: 11_400_000,
            memory_bytes: Some(8_493_466),
            config: "/etc/kennel/kennel.toml".into(),
        },
        agents: vec![
            AgentStatus {
                last_end: Some(end("out-of-memory")),
                ..agent("hexa", AgentState::Ready)
            },
            failed,
        ],
        fleet: FleetUsage::default(),
        host: HostUsage::default(),
        containment: ContainmentStatus::default(),
        fairness: None,
    }
}

fn plain(text: &str) -> String {
    strip_str(text).to_string()
}

#[test]
fn without_a_width_everything_is_shown() {
    insta::assert_snapshot!(plain(&status(&fleet(), None, NOW)));
}

#[test]
fn eighty_columns_are_enough() {
    insta::assert_snapshot!(plain(&status(&fleet(), Some(80), NOW)));
}

#[test]
fn a_narrow_screen_keeps_what_matters() {
    insta::assert_snapshot!(plain(&status(&fleet(), Some(40), NOW)));
}

fn measured() -> Status {
    let mut fleet = fleet();
    fleet.agents[0].usage.memory_cap_bytes = Some(512 << 20);
    fleet.fleet = FleetUsage {
        cpu_percent: Some(12.3),
        cpu_cap: None,
        memory_bytes: Some(256 << 20),
        memory_cap_bytes: Some(2 << 30),
        pids: Some(9),
        pids_cap: None,
    };
    fleet.host = HostUsage {
        cpus: 2,
        cpu_percent: 81.0,
        memory_total_bytes: 24 << 30,
        memory_available_bytes: 20 << 30,
        load: [0.51, 0.4, 0.3],
    };
    fleet.containment = ContainmentStatus {
        backend: "hybrid".into(),
        why: "v1 has the controllers".into(),
        cannot: vec!["memory_high".into(), "io_weight".into()],
    };
    fleet
}

#[test]
fn caps_and_totals_are_shown_where_they_are_known() {
    insta::assert_snapshot!(plain(&status(&measured(), Some(100), NOW)));
}

#[test]
fn no_line_is_wider_than_the_screen() {
    for width in 42..200 {
        let text = plain(&status(&measured(), Some(width), NOW));
        let (_, table) = text.split_once("\n\n").unwrap();
        let (table, _) = table.split_once("\n\n").unwrap();
        for line in table.lines() {
            assert!(line.chars().count() <= width, "{width}: {line:?}");
        }
    }
}

#[test]
fn a_state_has_its_colour_and_nothing_else_has() {
    let text = status(&fleet(), None, NOW);
    assert!(text.contains("\x1b[38;5;10mready"), "{text:?}");
    assert!(text.contains("\x1b[38;5;9mquarantined"), "{text:?}");
    assert_eq!(text.matches("\x1b[38").count(), 2);
}

#[test]
fn foreign_text_is_made_harmless() {
    let mut fleet = fleet();
    fleet.agents[0].model = "a\x1b[2Jb".into();
    fleet.agents[0].detail = Some("c\x1b]0;x\x07d\r".into());
    let text = plain(&status(&fleet, None, NOW));
    assert!(text.contains("ab\n"), "{text:?}");
    assert!(text.contains("hexa: cd\n"), "{text:?}");
}

#[test]
fn channels_have_a_table_too() {
    let channel = |id: &str, state, detail: Option<&str>| ChannelStatus {
        id: id.into(),
        kind: "telegram".into(),
        state,
        since_ms: 65_000,
        detail: detail.map(Into::into),
        received: 12,
        sent: 11,
        reconnects: 2,
    };
    let list = ChannelList {
        channels: vec![
            channel("tg-hexa", ChannelState::Connected, None),
            channel(
                "tg-two",
                ChannelState::Failed,
                Some("the platform refuses the token"),
            ),
        ],
    };
    insta::assert_snapshot!(plain(&channels(&list, Some(80))));
}
