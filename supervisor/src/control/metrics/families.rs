//! Every metric, by family. Pure: a [`Scene`] in, a [`Page`] out.

mod fairness;
mod schedules;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{
    Agent, Scene,
    text::{
        Kind::{Counter, Gauge, Info},
        Page, Sample,
    },
    wire::{AgentState, ChannelState},
};
use crate::{
    containment::{Pressure, Reading},
    journal::Health,
    supervision::sampler::{Counters, LifeSample, Waits},
    turns::{
        Histograms, Window,
        budget::{Limits, Spent},
        histogram::Histogram,
    },
};

const STATES: [AgentState; 9] = [
    AgentState::Stopped,
    AgentState::Starting,
    AgentState::Ready,
    AgentState::Draining,
    AgentState::Stopping,
    AgentState::Exited,
    AgentState::BackingOff,
    AgentState::Quarantined,
    AgentState::Hibernated,
];

const RESOURCES: [&str; 3] = ["cpu", "memory", "io"];

/// As [`Histograms::waits`] has them.
const LANES: [&str; 5] = ["session", "agent", "class", "fleet", "held"];

pub(super) fn write(page: &mut Page, scene: &Scene) {
    supervisor(page, scene);
    host(page, scene);
    fleet(page, scene);
    let agents = Agents(&scene.agents);
    life(page, agents);
    processor(page, agents);
    memory(page, agents);
    others(page, agents);
    work(page, agents);
    turns(page, agents);
    budgets(page, agents);
    spans(page, scene.spans);
    fairness::write(page, scene.fairness.as_ref());
    journal(page, &scene.journal);
    channels(page, scene);
    schedules::write(page, &scene.schedules);
}

/// One figure of a window.
type OfBudget = fn(&Limits, &Spent) -> Option<f64>;

/// One histogram of all.
type OfTurns = fn(&Histograms) -> &Histogram;

/// The name of a family, its help, and where its values are.
type Told<T, V> = (&'static str, &'static str, fn(&T) -> V);

/// A number for a sample. What is larger than 2^53 loses its last digits, as it would in any scraper.
#[expect(clippy::cast_precision_loss, reason = "samples are floats")]
fn float(value: u64) -> f64 {
    value as f64
}

fn seconds(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64()
}

fn since_1970(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// One sample without labels, if the value is known.
fn one(value: Option<f64>) -> Option<Sample<'static>> {
    value.map(|value| (Vec::new(), value))
}

fn supervisor(page: &mut Page, scene: &Scene) {
    let own = &scene.sample.supervisor;
    let version = (vec![("version", env!("CARGO_PKG_VERSION"))], 1.0);
    page.family(Info, "kennel_build", "The version of Kennel.", [version]);
    page.family(
        Gauge,
        "kennel_sample_duration_seconds",
        "How long the last look at what everything uses took.",
        one(Some(scene.sample.took.as_secs_f64())),
    );
    page.family(
        Gauge,
        "kennel_sample_age_seconds",
        "How long ago that was; what is told of usage is so old.",
        one(Some(scene.age.as_secs_f64())),
    );
    page.family(
        Counter,
        "process_cpu_seconds",
        "CPU time of the supervisor.",
        one(own.reading.cpu_us.map(seconds)),
    );
    page.family(
        Gauge,
        "process_resident_memory_bytes",
        "Resident memory of the supervisor.",
        one(own.reading.memory.map(float)),
    );
    page.family(
        Gauge,
        "process_start_time_seconds",
        "When the supervisor started, in seconds since 1970.",
        one(Some(since_1970(scene.started))),
    );
    page.family(
        Gauge,
        "process_open_fds",
        "Files that the supervisor has open.",
        one(own.open_files.map(float)),
    );
    page.family(
        Gauge,
        "process_max_fds",
        "Files that it may have open.",
        one(scene.max_files.map(float)),
    );
}

fn host(page: &mut Page, scene: &Scene) {
    let host = &scene.sample.host;
    let mut gauge = |name, help, value| page.family(Gauge, name, help, one(Some(value)));
    gauge(
        "kennel_host_cpus",
        "Cores of the machine.",
        float(host.cpus),
    );
    let cores = float(host.cpus.max(1));
    gauge(
        "kennel_host_cpu_usage_ratio",
        "Share of all cores that was used in the last second, from 0 to 1.",
        host.cpu_percent / 100.0 / cores,
    );
    gauge(
        "kennel_host_memory_size_bytes",
        "Memory of the machine.",
        float(host.memory_total),
    );
    gauge(
        "kennel_host_memory_available_bytes",
        "Memory of the machine that programs could still get.",
        float(host.memory_available),
    );
    let loads = [
        ("kennel_host_load1", "Load average of 1 minute."),
        ("kennel_host_load5", "Load average of 5 minutes."),
        ("kennel_host_load15", "Load average of 15 minutes."),
    ];
    for ((name, help), load) in loads.into_iter().zip(host.load) {
        gauge(name, help, load);
    }
}

fn fleet(page: &mut Page, scene: &Scene) {
    let fleet = &scene.sample.fleet;
    let (caps, reading) = (&fleet.caps, &fleet.reading);
    page.family(
        Counter,
        "kennel_fleet_cpu_seconds",
        "CPU time of all agents.",
        one(reading.cpu_us.map(seconds)),
    );
    page.family(
        Counter,
        "kennel_fleet_oom_kills",
        "Processes of all agents that the kernel ended for want of memory.",
        one(reading.oom_kills.map(float)),
    );
    let mut gauge = |name, help, value| page.family(Gauge, name, help, one(value));
    gauge(
        "kennel_fleet_cpu_limit_cores",
        "CPUs that all agents together may use.",
        caps.cpu,
    );
    gauge(
        "kennel_fleet_memory_bytes",
        "Memory of all agents.",
        reading.memory.map(float),
    );
    gauge(
        "kennel_fleet_memory_limit_bytes",
        "Memory that they may use together.",
        caps.memory.map(float),
    );
    gauge(
        "kennel_fleet_pids",
        "Processes and threads of all agents.",
        reading.pids.map(float),
    );
    gauge(
        "kennel_fleet_pids_limit",
        "Processes and threads that they may have together.",
        caps.pids.map(f64::from),
    );
}

/// Families with one sample for each agent.
#[derive(Clone, Copy)]
struct Agents<'a>(&'a [Agent]);

impl<'a> Agents<'a> {
    /// Of those of whom it is known.
    fn each(
        self,
        value: impl Fn(&'a Agent) -> Option<f64> + 'a,
    ) -> impl Iterator<Item = Sample<'a>> {
        self.0.iter().filter_map(move |agent| {
            let value = value(agent)?;
            Some((vec![("agent", agent.id.as_str())], value))
        })
    }

    /// Of those who live.
    fn living(
        self,
        value: impl Fn(&LifeSample) -> Option<f64> + 'a,
    ) -> impl Iterator<Item = Sample<'a>> {
        self.each(move |agent| value(agent.sample.life.as_ref()?))
    }

    /// Of those where it was ever told; nothing is no zero where the host cannot tell.
    fn counted(
        self,
        now: impl Fn(&Reading) -> Option<u64> + 'a,
        total: impl Fn(&Counters) -> f64 + 'a,
    ) -> impl Iterator<Item = Sample<'a>> {
        self.each(move |agent| {
            let sample = &agent.sample;
            let told = sample.life.as_ref().and_then(|life| now(&life.reading));
            let total = total(&sample.total);
            (told.is_some() || total > 0.0).then_some(total)
        })
    }

    /// Several samples of each agent, which differ in the label `name`.
    fn by<const N: usize>(
        self,
        name: &'static str,
        values: impl Fn(&Agent) -> [(&'static str, Option<f64>); N] + 'a,
    ) -> impl Iterator<Item = Sample<'a>> {
        self.0.iter().flat_map(move |agent| {
            let id = agent.id.as_str();
            values(agent).into_iter().filter_map(move |(label, value)| {
                Some((vec![("agent", id), (name, label)], value?))
            })
        })
    }
}

fn life(page: &mut Page, agents: Agents<'_>) {
    let models = agents.0.iter().map(|agent| {
        let labels = vec![
            ("agent", agent.id.as_str()),
            ("model", agent.model.as_str()),
        ];
        (labels, 1.0)
    });
    page.family(
        Info,
        "kennel_agent",
        "The agents, and their models.",
        models,
    );
    page.family(
        Gauge,
        "kennel_agent_state",
        "1 for the state that the agent is in, 0 for the others.",
        agents.by("state", |agent| {
            STATES.map(|state| {
                let is = f64::from(u8::from(agent.state == state));
                (state.as_str(), Some(is))
            })
        }),
    );
    page.family(
        Gauge,
        "kennel_agent_link_up",
        "Whether the agent is connected to the supervisor.",
        agents.each(|agent| Some(f64::from(u8::from(agent.linked)))),
    );
    page.family(
        Gauge,
        "kennel_agent_start_time_seconds",
        "When its present process started, in seconds since 1970.",
        agents.each(|agent| agent.started.map(since_1970)),
    );
    page.family(
        Counter,
        "kennel_agent_restarts",
        "Starts that nobody asked for.",
        agents.each(|agent| Some(float(agent.restarts))),
    );
    page.family(
        Gauge,
        "kennel_agent_event_loop_lag_seconds",
        "How late its event loop was at the last heartbeat.",
        agents.each(|agent| agent.linked.then_some(agent.lag.as_secs_f64())),
    );
}

fn processor(page: &mut Page, agents: Agents<'_>) {
    page.family(
        Counter,
        "kennel_agent_cpu_seconds",
        "CPU time of the agent and all that it started.",
        agents.each(|agent| Some(seconds(agent.sample.total.cpu_us))),
    );
    page.family(
        Counter,
        "kennel_agent_cpu_throttled_seconds",
        "Time for which its CPU cap held it back.",
        agents.counted(
            |reading| reading.throttled_us,
            |total| seconds(total.throttled_us),
        ),
    );
    page.family(
        Gauge,
        "kennel_agent_cpu_limit_cores",
        "CPUs that it may use.",
        agents.living(|life| life.caps.cpu),
    );
    page.family(
        Gauge,
        "kennel_agent_pressure_ratio",
        "Share of the last 10 s in which some of it waited for the resource, from 0 to 1.",
        agents.by("resource", |agent| {
            let pressures = agent.sample.life.map(|life| pressures(&life.reading));
            let share = |index: usize| {
                let pressure = pressures?[index]?;
                Some(f64::from(pressure.some_avg10) / 100.0)
            };
            [0, 1, 2].map(|index| (RESOURCES[index], share(index)))
        }),
    );
    let totals: [Told<Waits, u64>; 2] = [
        (
            "kennel_agent_pressure_waiting_seconds",
            "Time in which some of it waited for the resource.",
            |waits| waits.some_us,
        ),
        (
            "kennel_agent_pressure_stalled_seconds",
            "Time in which all of it waited for the resource.",
            |waits| waits.full_us,
        ),
    ];
    for (name, help, of) in totals {
        let samples = agents.by("resource", |agent| {
            let now = agent.sample.life.map(|life| pressures(&life.reading));
            let total = |index: usize| {
                let waits = &agent.sample.total.waits[index];
                let told = now.is_some_and(|now| now[index].is_some()) || waits.some_us > 0;
                told.then(|| seconds(of(waits)))
            };
            [0, 1, 2].map(|index| (RESOURCES[index], total(index)))
        });
        page.family(Counter, name, help, samples);
    }
}

fn pressures(reading: &Reading) -> [Option<Pressure>; 3] {
    [
        reading.cpu_pressure,
        reading.memory_pressure,
        reading.io_pressure,
    ]
}

fn memory(page: &mut Page, agents: Agents<'_>) {
    let gauges: [Told<LifeSample, Option<u64>>; 4] = [
        (
            "kennel_agent_memory_bytes",
            "Memory that counts against its cap.",
            |life| life.reading.memory,
        ),
        (
            "kennel_agent_memory_anon_bytes",
            "What of it is no page cache.",
            |life| life.reading.memory_anon,
        ),
        (
            "kennel_agent_memory_peak_bytes",
            "The most memory that this life had.",
            |life| life.reading.memory_peak,
        ),
        (
            "kennel_agent_memory_limit_bytes",
            "Memory that it may use.",
            |life| life.caps.memory,
        ),
    ];
    for (name, help, of) in gauges {
        let samples = agents.living(move |life| of(life).map(float));
        page.family(Gauge, name, help, samples);
    }
    page.family(
        Counter,
        "kennel_agent_oom_kills",
        "Processes of it that the kernel ended for want of memory.",
        agents.each(|agent| Some(float(agent.sample.total.oom_kills))),
    );
}

fn others(page: &mut Page, agents: Agents<'_>) {
    let gauges: [Told<LifeSample, Option<u64>>; 4] = [
        (
            "kennel_agent_pids",
            "Processes and threads of it.",
            |life| life.reading.pids,
        ),
        (
            "kennel_agent_pids_limit",
            "Processes and threads that it may have.",
            |life| life.caps.pids.map(u64::from),
        ),
        (
            "kennel_agent_open_fds",
            "Files that its agent-host has open.",
            |life| life.open_files,
        ),
        (
            "kennel_agent_max_fds",
            "Files that each process of it may have open.",
            |life| life.caps.open_files.map(u64::from),
        ),
    ];
    for (name, help, of) in gauges {
        let samples = agents.living(move |life| of(life).map(float));
        page.family(Gauge, name, help, samples);
    }
    page.family(
        Counter,
        "kennel_agent_pids_denied",
        "Processes and threads that it was denied.",
        agents.counted(
            |reading| reading.pids_denied,
            |total| float(total.pids_denied),
        ),
    );
    page.family(
        Counter,
        "kennel_agent_disk_read_bytes",
        "Bytes that it read from disks.",
        agents.counted(|reading| reading.io_read, |total| float(total.io_read)),
    );
    page.family(
        Counter,
        "kennel_agent_disk_written_bytes",
        "Bytes that it wrote to disks.",
        agents.counted(
            |reading| reading.io_written,
            |total| float(total.io_written),
        ),
    );
}

fn work(page: &mut Page, agents: Agents<'_>) {
    page.family(
        Gauge,
        "kennel_agent_queued_messages",
        "Messages that wait for it.",
        agents.each(|agent| Some(float(agent.counts.waiting as u64))),
    );
    page.family(
        Gauge,
        "kennel_agent_running_turns",
        "Turns that it works on.",
        agents.each(|agent| Some(float(agent.counts.running as u64))),
    );
    page.family(
        Counter,
        "kennel_agent_turns",
        "Turns that ended.",
        agents.by("result", |agent| {
            let counts = &agent.counts;
            [
                ("replied", Some(float(counts.replied))),
                ("failed", Some(float(counts.failed))),
                ("cancelled", Some(float(counts.cancelled))),
            ]
        }),
    );
    page.family(
        Counter,
        "kennel_agent_poison_messages",
        "Messages that were set aside, since its process died of them.",
        agents.each(|agent| Some(float(agent.counts.poison))),
    );
    page.family(
        Counter,
        "kennel_agent_tokens",
        "Tokens that its models read (input) and wrote (output), where they say.",
        agents.by("direction", |agent| {
            let counts = &agent.counts;
            [
                ("input", Some(float(counts.input_tokens))),
                ("output", Some(float(counts.output_tokens))),
            ]
        }),
    );
}

fn turns(page: &mut Page, agents: Agents<'_>) {
    let known = agents.0.iter().filter_map(|agent| {
        let turns = agent.turns.as_deref()?;
        Some((agent.id.as_str(), turns))
    });
    let waits = known.clone().flat_map(|(id, turns)| {
        let lanes = LANES.into_iter().zip(&turns.waits);
        lanes.map(move |(lane, histogram)| (vec![("agent", id), ("lane", lane)], histogram))
    });
    page.histograms(
        "kennel_turn_queue_seconds",
        "Time that turns waited before they were handed out, by what they waited for.",
        waits,
    );
    let others: [(&str, &str, OfTurns); 6] = [
        (
            "kennel_turn_dispatch_seconds",
            "Time from the lane until the agent had the turn.",
            |turns| &turns.dispatch,
        ),
        (
            "kennel_turn_provider_seconds",
            "Time that turns waited for the provider.",
            |turns| &turns.provider,
        ),
        (
            "kennel_turn_first_token_seconds",
            "Time from the agent's having a turn to the first piece of its answer.",
            |turns| &turns.first_token,
        ),
        (
            "kennel_turn_tools_seconds",
            "Time in tools, of turns that ran some.",
            |turns| &turns.tools,
        ),
        (
            "kennel_turn_cpu_seconds",
            "CPU time of the agent and all that it started, during a turn.",
            |turns| &turns.cpu,
        ),
        (
            "kennel_turn_duration_seconds",
            "Time from the acceptance of a message to the end of its turn.",
            |turns| &turns.total,
        ),
    ];
    for (name, help, of) in others {
        let samples = known.clone();
        let samples = samples.map(|(id, turns)| (vec![("agent", id)], of(turns)));
        page.histograms(name, help, samples);
    }
}

fn budgets(page: &mut Page, agents: Agents<'_>) {
    let families: [(&str, &str, OfBudget); 4] = [
        (
            "kennel_agent_budget_tokens",
            "Tokens that it has spent in this hour, day and month.",
            |limits, spent| (*limits != Limits::default()).then(|| float(spent.tokens)),
        ),
        (
            "kennel_agent_budget_tokens_limit",
            "Tokens that it may spend.",
            |limits, _| limits.max_tokens.map(float),
        ),
        (
            "kennel_agent_budget_cost",
            "Money that it has spent, in units of the prices.",
            |limits, spent| (*limits != Limits::default()).then(|| units(spent.cost)),
        ),
        (
            "kennel_agent_budget_cost_limit",
            "Money that it may spend.",
            |limits, _| limits.max_cost.map(units),
        ),
    ];
    for (name, help, of) in families {
        let samples = agents.by("window", |agent| {
            let windows = agent.budget.as_ref().map(|budget| &budget.windows);
            [0, 1, 2].map(|at| {
                let value = windows.and_then(|windows| {
                    let (_, limits, spent, _) = &windows[at];
                    of(limits, spent)
                });
                (Window::ALL[at].as_str(), value)
            })
        });
        page.family(Gauge, name, help, samples);
    }
}

/// Money in units.
fn units(micros: u64) -> f64 {
    float(micros) / 1e6
}

fn spans(page: &mut Page, spans: Option<(u64, u64)>) {
    page.family(
        Counter,
        "kennel_otlp_turns",
        "Turns that the collector of traces has (sent), and those that it will not get (dropped).",
        spans.into_iter().flat_map(|(sent, dropped)| {
            [("sent", sent), ("dropped", dropped)]
                .map(|(result, count)| (vec![("result", result)], float(count)))
        }),
    );
}

fn journal(page: &mut Page, health: &Health) {
    page.family(
        Gauge,
        "kennel_journal_accepting",
        "Whether messages are accepted: 0 while nothing can be written down.",
        one(Some(float(u64::from(health.refusing.is_none())))),
    );
    page.family(
        Gauge,
        "kennel_journal_used_bytes",
        "What the journal has in use.",
        one(Some(float(health.size.used))),
    );
}

fn channels(page: &mut Page, scene: &Scene) {
    let channels = &scene.channels;
    page.family(
        Gauge,
        "kennel_channel_up",
        "Whether the chat connection takes and sends messages.",
        channels.iter().map(|channel| {
            let up = channel.state == ChannelState::Connected;
            let labels = vec![("channel", channel.id.as_str()), ("kind", &channel.kind)];
            (labels, f64::from(u8::from(up)))
        }),
    );
    page.family(
        Counter,
        "kennel_channel_messages",
        "Messages taken in (received) and sent (sent).",
        channels.iter().flat_map(|channel| {
            let directions = [("received", channel.received), ("sent", channel.sent)];
            directions.map(|(direction, count)| {
                let labels = vec![("channel", channel.id.as_str()), ("direction", direction)];
                (labels, float(count))
            })
        }),
    );
    page.family(
        Counter,
        "kennel_channel_reconnects",
        "Connections that were made anew.",
        channels.iter().map(|channel| {
            let labels = vec![("channel", channel.id.as_str())];
            (labels, float(channel.reconnects))
        }),
    );
}
