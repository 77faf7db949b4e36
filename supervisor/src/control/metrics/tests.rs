//! A page of a scene in which everything is known, and `docs/metrics.md`, which is made from it.

use std::{collections::HashMap, fmt::Write as _, fs, path::Path};

use kennel_shared::ids::Generation;

use super::*;
use crate::{
    containment::{Caps, Pressure, Reading},
    dispatch::lanes::{ClassUsage, INTERACTIVE},
    fairness::{AgentShare, ClassShare, Fairness},
    journal::health::Size,
    supervision::sampler::{Counters, FleetSample, HostSample, LifeSample, Waits},
    turns::{
        Window,
        budget::{Limits, Spent},
    },
};

fn reading() -> Reading {
    let pressure = Some(Pressure {
        some_avg10: 12.5,
        full_avg10: 1.0,
        some_total_us: 2_500_000,
        full_total_us: 500_000,
    });
    Reading {
        cpu_us: Some(1_500_000),
        throttled_us: Some(250_000),
        throttled_periods: Some(3),
        memory: Some(4096),
        memory_peak: Some(8192),
        memory_anon: Some(1024),
        pids: Some(5),
        memory_reclaimable: None,
        memory_high_hits: None,
        pids_denied: Some(2),
        oom_kills: Some(1),
        io_read: Some(100),
        io_written: Some(200),
        cpu_pressure: pressure,
        memory_pressure: pressure,
        io_pressure: pressure,
    }
}

fn caps() -> Caps {
    Caps {
        memory: Some(1 << 20),
        cpu: Some(0.5),
        pids: Some(64),
        open_files: Some(256),
        ..Caps::default()
    }
}

fn life() -> LifeSample {
    LifeSample {
        generation: Generation(2),
        pid: 7,
        caps: caps(),
        cpu_percent: Some(3.0),
        reading: reading(),
        open_files: Some(11),
    }
}

fn agent(id: &str, sample: &AgentSample) -> Agent {
    let alive = sample.life.is_some();
    Agent {
        id: id.into(),
        model: "local/a\"b".into(),
        state: if alive {
            wire::AgentState::Ready
        } else {
            wire::AgentState::Stopped
        },
        linked: alive,
        lag: Duration::from_micros(1500),
        restarts: 3,
        started: alive.then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1_000)),
        counts: AgentCounts {
            resting: None,
            waiting: 4,
            running: 1,
            replied: 10,
            failed: 2,
            cancelled: 1,
            poison: 1,
            input_tokens: 1000,
            output_tokens: 200,
        },
        sample: *sample,
        budget: alive.then(|| {
            let limits = Limits {
                max_tokens: Some(5000),
                max_cost: Some(2_500_000),
                ..Limits::default()
            };
            let spent = Spent {
                tokens: 1200,
                cost: 1_250_000,
            };
            let bounds = Window::Day.around(0, &jiff::tz::TimeZone::UTC);
            BudgetView {
                windows: Window::ALL.map(|window| (window, limits, spent, bounds)),
                decision: crate::turns::Decision::Free,
                downgrades: false,
            }
        }),
        turns: alive.then(|| {
            let mut turns = Histograms::default();
            turns.total.count(2_000_000);
            turns.into()
        }),
    }
}

fn fairness() -> Report {
    let share = AgentShare {
        agent: "hexa".parse().unwrap(),
        class: INTERACTIVE.into(),
        weight: 100,
        slots_used: 0.75,
        slots_entitled: 1.0,
        slots_wanted: 1.0,
        cpu_used: 0.1,
        cpu_entitled: None,
        longest_wait: Duration::from_millis(2500),
    };
    let class = ClassUsage {
        class: INTERACTIVE.into(),
        weight: 100,
        min_slots: 0,
        max_slots: 8,
        running: 1,
    };
    let window = Fairness {
        window: Duration::from_mins(1),
        covered: Duration::from_mins(1),
        slots_index: Some(0.9),
        cpu_index: None,
        longest_wait: None,
        classes: vec![ClassShare {
            class,
            slots_used: 0.75,
            slots_entitled: 1.0,
        }],
        agents: vec![share],
    };
    Report {
        slots: 8,
        windows: vec![window; 3],
    }
}

fn scene() -> Scene {
    let alive = AgentSample {
        life: Some(life()),
        total: Counters::from(&reading()),
    };
    let host = HostSample {
        cpus: 2,
        cpu_percent: 50.0,
        memory_total: 1 << 30,
        memory_available: 1 << 29,
        load: [0.5, 0.25, 0.125],
    };
    let now = tokio::time::Instant::now().into_std();
    let sample = Sample {
        at: now,
        took: Duration::from_micros(400),
        agents: HashMap::new(),
        fleet: FleetSample {
            caps: caps(),
            cpu_percent: Some(3.0),
            reading: reading(),
        },
        supervisor: life(),
        host,
    };
    Scene {
        started: SystemTime::UNIX_EPOCH + Duration::from_secs(500),
        age: Duration::from_millis(250),
        sample: Arc::new(sample),
        max_files: Some(65_536),
        journal: Health {
            size: Size {
                used: 4096,
                ..Size::default()
            },
            ..Health::default()
        },
        spans: Some((30, 2)),
        fairness: Some(fairness()),
        agents: vec![
            agent("hexa", &alive),
            agent("rest", &AgentSample::default()),
        ],
        channels: vec![wire::ChannelStatus {
            id: "tg".into(),
            kind: "telegram".into(),
            state: wire::ChannelState::Connected,
            since_ms: 1,
            detail: None,
            received: 5,
            sent: 4,
            reconnects: 1,
        }],
        schedules: BTreeMap::from([(
            "morning".parse().expect("a name"),
            Observed {
                next: Some(1_500_500),
                held: None,
                paused: false,
                runs: 7,
                missed: 1,
            },
        )]),
    }
}

fn page(format: Format) -> String {
    let mut page = Page::new(format);
    families::write(&mut page, &scene());
    page.end()
}

#[test]
fn a_whole_page() {
    insta::assert_snapshot!(page(Format::Prometheus));
}

#[test]
fn both_formats_have_the_same_samples() {
    let samples = |format| -> Vec<String> {
        let page = page(format);
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        lines.map(Into::into).collect()
    };
    assert_eq!(samples(Format::Prometheus), samples(Format::OpenMetrics));
}

#[test]
fn every_name_is_unique_and_has_the_prefix() {
    let page = page(Format::Prometheus);
    let mut names: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let foreign = |name: &&&str| !name.starts_with("kennel_") && !name.starts_with("process_");
    assert_eq!(names.iter().find(foreign), None);
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

/// An agent that never lived has no gauges of a life, and the counters of one that did stay.
#[test]
fn what_is_not_known_is_left_out() {
    let mut scene = scene();
    let ended = Counters {
        throttled_us: 1_000_000,
        waits: [
            Waits {
                some_us: 1_000_000,
                full_us: 0,
            },
            Waits::default(),
            Waits::default(),
        ],
        ..Counters::default()
    };
    scene.agents = vec![
        agent("never", &AgentSample::default()),
        agent(
            "ended",
            &AgentSample {
                life: None,
                total: ended,
            },
        ),
    ];
    let mut page = Page::new(Format::Prometheus);
    families::write(&mut page, &scene);
    let text = page.end();
    for absent in [
        "kennel_agent_memory_bytes",
        "kennel_agent_pressure_ratio",
        "kennel_agent_event_loop_lag_seconds",
        "kennel_agent_cpu_throttled_seconds_total{agent=\"never\"}",
        "resource=\"memory\"",
    ] {
        assert!(!text.contains(absent), "{absent}:\n{text}");
    }
    for present in [
        "kennel_agent_cpu_throttled_seconds_total{agent=\"ended\"} 1\n",
        "kennel_agent_pressure_waiting_seconds_total{agent=\"ended\",resource=\"cpu\"} 1\n",
        "kennel_agent_pressure_stalled_seconds_total{agent=\"ended\",resource=\"cpu\"} 0\n",
        "kennel_agent_oom_kills_total{agent=\"never\"} 0\n",
        "kennel_agent_state{agent=\"never\",state=\"stopped\"} 1\n",
        "kennel_agent_state{agent=\"never\",state=\"ready\"} 0\n",
    ] {
        assert!(text.contains(present), "{present}:\n{text}");
    }
}

const BEGIN: &str = "<!-- made by `UPDATE_DOCS=1 cargo test -p kennel metrics` -->\n";
const END: &str = "<!-- end -->\n";

/// The table of all metrics, from a page.
fn table() -> String {
    let page = page(Format::Prometheus);
    let mut table = String::from("| metric | kind | labels | |\n| --- | --- | --- | --- |\n");
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((name, help)) = line
            .strip_prefix("# HELP ")
            .and_then(|line| line.split_once(' '))
        else {
            continue;
        };
        let kind = lines
            .next()
            .and_then(|line| line.rsplit(' ').next())
            .unwrap();
        let sample = lines.peek().expect("a family has samples");
        let labels = sample.split_once('{').map_or("", |(_, labels)| labels);
        let labels: Vec<String> = labels
            .split("\",")
            .filter_map(|label| Some(format!("`{}`", label.split_once('=')?.0)))
            .collect();
        writeln!(
            table,
            "| `{name}` | {kind} | {} | {help} |",
            labels.join(", ")
        )
        .unwrap();
    }
    table
}

#[test]
fn docs_list_every_metric() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let found = fs::read_to_string(&path).expect("docs/metrics.md");
    let (before, rest) = found.split_once(BEGIN).expect("the table's begin");
    let (_, after) = rest.split_once(END).expect("the table's end");
    let expected = format!("{before}{BEGIN}\n{}\n{END}{after}", table());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &expected).unwrap();
    } else {
        assert!(
            found == expected,
            "docs/metrics.md is stale: run this test with UPDATE_DOCS=1"
        );
    }
}
