//! Screens, as they look.

use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::Buffer,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    layout::Size,
    style::Color,
};

use super::{model::Mode, *};
use crate::control::wire::{
    AgentProcess, AgentState, AgentStatus, AgentUsage, ContainmentStatus, Desired, FairnessSummary,
    FleetUsage, HostUsage, LifecycleEvent, LinkState, LongestWait, ProcessList, Status,
    SupervisorStatus,
};

const MIB: u64 = 1024 * 1024;

/// An agent of which only the least is known.
pub(super) fn agent(id: &str) -> AgentStatus {
    AgentStatus {
        id: id.into(),
        state: AgentState::Ready,
        desired: Desired::Running,
        pid: Some(1000),
        generation: 1,
        adopted: false,
        uptime_ms: Some(65_000),
        restarts: 0,
        queued: 0,
        running: 0,
        turns: 3,
        cpu_percent: Some(1.5),
        memory_bytes: Some(6 * MIB),
        model: "echo/echo".into(),
        link: LinkState::Connected,
        usage: AgentUsage::default(),
        last_end: None,
        detail: None,
    }
}

/// `count` of those, `a000` and so on, on a host that tells nothing.
pub(super) fn status(count: usize) -> Status {
    Status {
        supervisor: SupervisorStatus {
            pid: 4242,
            version: "0.1.0".into(),
            uptime_ms: 11_400_000,
            memory_bytes: Some(8_493_466),
            config: "/etc/kennel/kennel.toml".into(),
        },
        agents: (0..count).map(|n| agent(&format!("a{n:03}"))).collect(),
        fleet: FleetUsage::default(),
        host: HostUsage::default(),
        containment: ContainmentStatus::default(),
        fairness: None,
    }
}

/// Five agents, one of each kind of trouble, on a host that tells everything; `beat` moves the figures.
fn fleet(beat: u32) -> Status {
    let busy = f64::from(beat % 10) * 10.0;
    let mut hexa = agent("hexa");
    hexa.usage = AgentUsage {
        cpu_ms: Some(185_000),
        cpu_cap: Some(1.0),
        throttled_ms: Some(0),
        memory_bytes: Some(6 * MIB),
        memory_peak_bytes: Some(9 * MIB),
        memory_cap_bytes: Some(256 * MIB),
        pids: Some(3),
        pids_cap: Some(64),
        pids_denied: Some(0),
        io_read_bytes: Some(MIB),
        io_written_bytes: Some(12 * MIB),
        cpu_pressure: Some(0.2),
        memory_pressure: Some(0.0),
        io_pressure: Some(0.4),
        oom_kills: 0,
        lag_us: 340,
        open_files: Some(14),
        open_files_cap: Some(1024),
        input_tokens: 12_345,
        output_tokens: 678,
        ..AgentUsage::default()
    };
    let mut reviewer = agent("case-reviewer-with-a-long-name");
    reviewer.pid = Some(1_234_567);
    reviewer.cpu_percent = Some(busy);
    reviewer.running = 1;
    reviewer.queued = 14;
    reviewer.restarts = 2;
    reviewer.usage = AgentUsage {
        throttled_ms: Some(300 * u64::from(beat)),
        memory_bytes: Some((180 + u64::from(beat)) * MIB),
        memory_cap_bytes: Some(200 * MIB),
        cpu_pressure: Some(34.0),
        lag_us: 148_164,
        oom_kills: 2,
        ..hexa.usage.clone()
    };
    reviewer.uptime_ms = Some(60_000 + 1_000 * u64::from(beat));
    reviewer.detail = Some("memory is not enforced\x1b[2J by this host".into());
    let mut down = agent("quiet");
    down.state = AgentState::Stopped;
    down.desired = Desired::Stopped;
    down.link = LinkState::Disconnected;
    (
        down.pid,
        down.uptime_ms,
        down.cpu_percent,
        down.memory_bytes,
    ) = (None, None, None, None);
    let mut failed = down.clone();
    failed.id = "failed".into();
    failed.state = AgentState::Quarantined;
    failed.desired = Desired::Running;
    failed.detail = Some("exited 5 times within 1m (exit status 101)".into());
    let wide = agent("漢字");
    Status {
        agents: vec![reviewer, failed, hexa, down, wide],
        fleet: FleetUsage {
            cpu_percent: Some(busy + 3.0),
            cpu_cap: Some(1.5),
            memory_bytes: Some(200 * MIB),
            memory_cap_bytes: Some(1024 * MIB),
            pids: Some(40),
            pids_cap: Some(512),
        },
        host: HostUsage {
            cpus: 2,
            cpu_percent: 61.0,
            memory_total_bytes: 24_000 * MIB,
            memory_available_bytes: 20_000 * MIB,
            load: [0.4, 1.25, 12.0],
        },
        containment: ContainmentStatus {
            backend: "hybrid".into(),
            why: "the v1 controllers are writable".into(),
            cannot: vec!["io_weight".into()],
        },
        fairness: Some(FairnessSummary {
            slots: 8,
            running: 1,
            slots_index: Some(0.987),
            cpu_index: Some(0.5),
            longest_wait: Some(LongestWait {
                agent: "case-reviewer-with-a-long-name".into(),
                wait_ms: 61_000,
            }),
        }),
        ..status(0)
    }
}

pub(super) fn model(width: u16, height: u16) -> Model {
    Model::new(Theme::Mono, Size::new(width, height), SortKey::Cpu)
}

/// A model that has watched [`fleet`] for a while.
fn watched(width: u16, height: u16) -> Model {
    let mut model = model(width, height);
    for beat in 0..28 {
        model.on_event(Event::Status(Box::new(fleet(beat))));
    }
    model
}

pub(super) fn press(model: &mut Model, keys: &str) -> Vec<Effect> {
    let mut effects = Vec::new();
    for c in keys.chars() {
        let code = match c {
            '\n' => KeyCode::Enter,
            '\t' => KeyCode::Tab,
            '\x1b' => KeyCode::Esc,
            '\x08' => KeyCode::Backspace,
            c => KeyCode::Char(c),
        };
        let key = KeyEvent::new(code, KeyModifiers::NONE);
        effects.extend(model.on_event(Event::Key(key)));
    }
    effects
}

/// Looks into the agent that is selected, and fills the pane.
fn look_into(model: &mut Model) {
    press(model, "\n");
    let agent = model.detail.as_ref().expect("a pane").agent.clone();
    let process = |pid, ppid, name: &str| AgentProcess {
        pid,
        ppid,
        name: name.into(),
        threads: 4,
        memory_bytes: u64::from(pid) * 1024,
        cpu_ms: u64::from(pid) * 10,
    };
    let processes = vec![
        process(1000, 1, "kennel-agent-ho"),
        process(1010, 1000, "node"),
        process(1020, 1010, "chrome\x1b[31m"),
        process(1030, 1, "left-behind"),
    ];
    let list = ProcessList {
        processes,
        omitted: 7,
    };
    model.on_event(Event::Processes(agent.clone(), Ok(list)));
    for (generation, kind, detail) in [
        (1, "exited", Some("killed by SIGKILL: over its memory cap")),
        (2, "starting", None),
        (2, "ready", None),
    ] {
        for agent in [&agent, "another"] {
            model.on_event(Event::Lifecycle(Box::new(LifecycleEvent {
                at_ms: 1_700_000_000_123 + generation * 1000,
                agent: Some(agent.to_owned()),
                generation,
                kind: kind.into(),
                detail: detail.map(Into::into),
                end: None,
                held_back: None,
            })));
        }
    }
    model.on_event(Event::LogBegins(agent.clone()));
    for n in 0..40 {
        let line = format!(
            "2026-11-21T14:00:{n:02}Z line {n} \x1b[2J\x1b]0;owned\x07漢字 {}",
            "x".repeat(200)
        );
        model.on_event(Event::LogLine(agent.clone(), line));
    }
}

fn painted(model: &Model) -> Buffer {
    let Size { width, height } = model.size;
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::draw(model, frame)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(model: &Model) -> String {
    let Size { width, height } = model.size;
    let buffer = painted(model);
    let mut lines = Vec::new();
    for y in 0..height {
        let mut line = String::new();
        let mut x = 0;
        while x < width {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            x += super::text::width(symbol).max(1);
        }
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n")
}

#[test]
fn a_fleet_on_80_by_24() {
    insta::assert_snapshot!(text(&watched(80, 24)));
}

#[test]
fn a_fleet_on_160_by_50() {
    insta::assert_snapshot!(text(&watched(160, 50)));
}

#[test]
fn an_agent_on_80_by_24() {
    let mut model = watched(80, 24);
    look_into(&mut model);
    insta::assert_snapshot!(text(&model));
}

#[test]
fn an_agent_on_160_by_50() {
    let mut model = watched(160, 50);
    look_into(&mut model);
    insta::assert_snapshot!(text(&model));
}

#[test]
fn the_sections_of_an_agent() {
    let mut model = watched(80, 16);
    look_into(&mut model);
    let mut sections = Vec::new();
    for _ in 0..3 {
        press(&mut model, "\t");
        sections.push(text(&model));
    }
    // Some lines back in the log.
    press(&mut model, "kkk");
    sections.push(text(&model));
    insta::assert_snapshot!(sections.join("\n\n"));
}

#[test]
fn no_agents() {
    let mut model = model(80, 24);
    model.on_event(Event::Status(Box::new(status(0))));
    insta::assert_snapshot!(text(&model));
}

#[test]
fn two_hundred_agents() {
    let mut model = model(80, 24);
    model.on_event(Event::Status(Box::new(status(200))));
    press(&mut model, "n");
    for _ in 0..120 {
        press(&mut model, "j");
    }
    insta::assert_snapshot!(text(&model));
    press(&mut model, "G");
    let end = text(&model);
    assert!(end.contains("a199") && end.contains("200/200"), "{end}");
    assert!(!end.contains("a120"), "{end}");
}

#[test]
fn no_supervisor() {
    let mut model = model(80, 24);
    assert!(text(&model).contains("connecting…"));
    let why = "no supervisor is running here: start one with `kennel up`";
    model.on_event(Event::Lost(why.into()));
    insta::assert_snapshot!(text(&model));

    // One that went away: what was seen last stays.
    let mut model = watched(80, 24);
    model.on_event(Event::Lost(why.into()));
    let lost = text(&model);
    assert!(lost.starts_with(" no supervisor; retrying"), "{lost}");
    assert!(lost.contains("hexa"), "{lost}");
    model.on_event(Event::Status(Box::new(fleet(0))));
    assert!(!text(&model).contains("retrying"));
}

#[test]
fn the_help_fits_80_by_24() {
    let mut model = watched(80, 24);
    press(&mut model, "?");
    assert_eq!(model.mode, Mode::Help);
    insta::assert_snapshot!(text(&model));
}

#[test]
fn the_last_line_asks_and_tells() {
    let mut model = watched(80, 24);
    let last = |model: &Model| text(model).lines().last().unwrap_or_default().to_owned();
    let mut lines = vec![last(&model)];
    for keys in ["r", "n", "s", "y", "/he", "\n", "\x1b"] {
        press(&mut model, keys);
        lines.push(last(&model));
    }
    for told in [
        Ok("hexa stopped".to_owned()),
        Err("hexa: it did not stop\x1b[2J within 1m".to_owned()),
    ] {
        model.on_event(Event::Acted(told));
        lines.push(last(&model));
    }
    insta::assert_snapshot!(lines.join("\n"));
}

/// Everything that can be on the screen.
fn scenes(width: u16, height: u16) -> Vec<Model> {
    let mut scenes = vec![model(width, height), watched(width, height)];
    let mut many = model(width, height);
    many.on_event(Event::Status(Box::new(status(200))));
    scenes.push(many);
    for keys in ["?", "/", "r", "\x1b", "", "\t", "\t\t", "\t\t\tkk"] {
        let mut model = watched(width, height);
        if keys.starts_with('\t') || keys.is_empty() {
            look_into(&mut model);
        }
        press(&mut model, keys);
        scenes.push(model);
    }
    let mut lost = watched(width, height);
    lost.on_event(Event::Lost("gone".into()));
    scenes.push(lost);
    scenes
}

#[test]
fn every_screen_is_painted_on_a_terminal_of_any_size() {
    for width in [0, 1, 2, 3, 7, 12, 19, 40, 79, 120, 300] {
        for height in [0, 1, 2, 3, 4, 5, 9, 10, 15, 16, 31, 60] {
            for model in scenes(width, height) {
                painted(&model);
            }
        }
    }
    // The terminal is another than the model was told.
    for model in scenes(80, 24) {
        for (width, height) in [(0, 0), (10, 3), (200, 60)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| draw::draw(&model, frame)).unwrap();
        }
    }
}

#[test]
fn without_colour_there_is_none() {
    let colors = |model: &Model| {
        let buffer = painted(model);
        let cells = buffer.content().iter();
        cells
            .filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
            .count()
    };
    for mut model in scenes(160, 50) {
        assert_eq!(colors(&model), 0);
        model.theme = Theme::Color;
        let told = model.status.is_some() && model.mode != Mode::Help;
        assert!(colors(&model) > 0 || !told, "{:?}", model.mode);
    }
}

#[test]
fn foreign_text_cannot_drive_the_terminal() {
    for model in scenes(160, 50) {
        let buffer = painted(&model);
        for cell in buffer.content() {
            assert!(!cell.symbol().contains(char::is_control), "{cell:?}");
        }
        assert!(!text(&model).contains("owned"));
    }
}
