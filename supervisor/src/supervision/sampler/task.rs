//! The thread: takes requests, and reads on every beat.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use kennel_shared::ids::{AgentId, Generation};
use tokio::sync::{mpsc, watch};

use super::{
    BEAT, Detail, FleetSample, HostSample, Members, ProcessReader, ReadUsage, Request, Sample,
    account::Account, host::Host, process::open_files, rate::CpuRate,
};
use crate::{
    containment::Caps,
    supervision::strain::{Noticed, Watch},
};

/// What the readings of one beat may take, in microseconds, so that with the rest it stays below half a
/// millisecond; and what a quick and a full reading of a group take, about. A thread that wakes once a second
/// finds nothing of what it reads in the caches.
const BUDGET: usize = 300;
const QUICK: usize = 6;
const FULL: usize = 40;

/// At least so many agents are read in full on a beat, however many there are.
const FULL_AT_LEAST: usize = 2;

/// Who used less of a core, in percent, has hardly changed.
const QUIET: f64 = 2.0;
/// At the latest the quiet are read on every such beat, however many there are.
const STRIDE_MAX: usize = 5;

/// How many of so many agents are read in full on one beat; the others' turn comes on the next ones.
pub(super) fn full_per_beat(agents: usize) -> usize {
    let left = BUDGET.saturating_sub(agents * QUICK);
    (left / FULL).max(FULL_AT_LEAST).min(agents)
}

/// Of `quiet` agents, one in so many is read on a beat, when `lively` ones are read anyway.
pub(super) fn stride(quiet: usize, lively: usize) -> usize {
    let left = BUDGET.saturating_sub(FULL_AT_LEAST * FULL + lively * QUICK);
    (quiet * QUICK).div_ceil(left.max(1)).clamp(1, STRIDE_MAX)
}

struct Agent {
    account: Account,
    /// Whom to read, and how, while it lives.
    life: Option<Held>,
    /// On which beat it is read while it is quiet.
    place: usize,
}

struct Held {
    pid: i32,
    reader: Box<dyn ReadUsage>,
    /// What its caps do to it, and who wants to know.
    watch: Watch,
    notices: mpsc::Sender<Noticed>,
    /// Whether it was near a cap when it was read last.
    is_close: bool,
}

pub(super) struct Sampler {
    agents: HashMap<AgentId, Agent>,
    /// In which order agents are read in full; the first is next.
    turns: VecDeque<AgentId>,
    beats: usize,
    fleet_reader: Option<Box<dyn ReadUsage>>,
    fleet_rate: CpuRate,
    fleet: FleetSample,
    own: Account,
    own_reader: ProcessReader,
    host_reader: Host,
    host: HostSample,
    at: Instant,
    took: Duration,
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Sampler {
    pub(super) fn new() -> Self {
        let pid = i32::try_from(std::process::id()).expect("a pid fits");
        let mut own = Account::default();
        own.begin(Generation::default(), pid, Caps::default());
        let mut sampler = Self {
            agents: HashMap::new(),
            turns: VecDeque::new(),
            beats: 0,
            fleet_reader: None,
            fleet_rate: CpuRate::default(),
            fleet: FleetSample::default(),
            own,
            own_reader: ProcessReader::new(pid),
            host_reader: Host::new(),
            host: HostSample::default(),
            at: now(),
            took: Duration::ZERO,
        };
        sampler.beat();
        sampler
    }

    /// Until every handle is gone.
    pub(super) fn run(mut self, inbox: &Receiver<Request>, published: &watch::Sender<Arc<Sample>>) {
        let mut next = now() + BEAT;
        loop {
            match inbox.recv_timeout(next.saturating_duration_since(now())) {
                Ok(request) => {
                    let mut news = self.take(request);
                    // What came together is shown together.
                    for request in inbox.try_iter().take(super::REQUESTS) {
                        news |= self.take(request);
                    }
                    if news {
                        published.send_replace(Arc::new(self.sample()));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if now() >= next {
                self.beat();
                published.send_replace(Arc::new(self.sample()));
                // A beat that was missed is not made up for.
                next = (next + BEAT).max(now());
            }
        }
    }

    /// Carries a request out; tells whether there is something new to show.
    pub(super) fn take(&mut self, request: Request) -> bool {
        match request {
            Request::Watch(id, life) => {
                if !self.agents.contains_key(&id) {
                    self.turns.push_back(id.clone());
                }
                let place = self.turns.len();
                let agent = self.agents.entry(id).or_insert_with(|| Agent {
                    account: Account::default(),
                    life: None,
                    place,
                });
                agent.account.begin(life.generation, life.pid, life.caps);
                agent.life = Some(Held {
                    pid: life.pid,
                    reader: life.reader,
                    watch: Watch::default(),
                    notices: life.notices,
                    is_close: false,
                });
                agent.read(Detail::Full);
                true
            }
            Request::Caps(id, caps) => {
                if let Some(agent) = self.agents.get_mut(&id) {
                    agent.account.set_caps(caps);
                }
                true
            }
            Request::Ended {
                agent,
                generation,
                last,
            } => {
                let Some(agent) = self.agents.get_mut(&agent) else {
                    return false;
                };
                let ended = agent.account.end(generation, last.as_ref());
                if ended {
                    agent.life = None;
                }
                ended
            }
            Request::Fleet(caps, reader) => {
                self.fleet.caps = caps;
                self.fleet_reader = reader;
                self.fleet_rate = CpuRate::default();
                self.read_fleet();
                true
            }
            Request::Members { agent, reply } => {
                let agent = self.agents.get_mut(&agent);
                let members = agent.and_then(|agent| {
                    let held = agent.life.as_mut()?;
                    Some(Members {
                        root: held.pid,
                        all: held.reader.members(),
                    })
                });
                // Whoever asked may have gone.
                let _ = reply.send(members);
                false
            }
        }
    }

    pub(super) fn beat(&mut self) {
        let began = now();
        let lively = self.agents.values().filter(|agent| agent.is_lively());
        let lively = lively.count();
        let stride = stride(self.agents.len() - lively, lively);
        let count = full_per_beat(self.turns.len());
        for id in self.turns.iter().take(count) {
            if let Some(agent) = self.agents.get_mut(id) {
                agent.read(Detail::Full);
            }
        }
        let full: HashSet<&AgentId> = self.turns.iter().take(count).collect();
        for (id, agent) in &mut self.agents {
            let is_due = (self.beats + agent.place).is_multiple_of(stride);
            if (is_due || agent.is_lively()) && !full.contains(id) {
                agent.read(Detail::Quick);
            }
        }
        self.turns.rotate_left(count);
        self.beats = self.beats.wrapping_add(1);
        self.read_fleet();
        self.own
            .feed(&self.own_reader.read(Detail::Full), Detail::Full, now());
        self.own.set_open_files(open_files(
            i32::try_from(std::process::id()).expect("a pid fits"),
        ));
        self.host = self.host_reader.read();
        self.at = now();
        self.took = self.at - began;
    }

    fn read_fleet(&mut self) {
        if let Some(reader) = &mut self.fleet_reader {
            let reading = reader.read(Detail::Quick);
            self.fleet_rate.feed(reading.cpu_us, now());
            self.fleet.cpu_percent = self.fleet_rate.percent();
            self.fleet.reading = reading;
        }
    }

    pub(super) fn sample(&self) -> Sample {
        let agents = self.agents.iter();
        let summed = sum(self.agents.values().map(|agent| &agent.account));
        let mut fleet = if self.fleet_reader.is_some() {
            self.fleet
        } else {
            FleetSample {
                caps: self.fleet.caps,
                ..summed
            }
        };
        // Agents know of their kills; in v1 the group above them does not.
        fleet.reading.oom_kills = fleet.reading.oom_kills.max(summed.reading.oom_kills);
        Sample {
            at: self.at,
            took: self.took,
            agents: agents
                .map(|(id, agent)| (id.clone(), agent.account.sample()))
                .collect(),
            fleet,
            supervisor: self.own.sample().life.expect("this process lives"),
            host: self.host,
        }
    }
}

impl Agent {
    /// Whether what was read of it last is likely to be out of date by the next beat. Who used next to no
    /// CPU time took no memory and started nobody.
    fn is_lively(&self) -> bool {
        let Some(held) = &self.life else {
            return false;
        };
        let percent = self.account.life().and_then(|life| life.cpu_percent);
        held.is_close || percent.is_none_or(|percent| percent >= QUIET)
    }

    fn read(&mut self, detail: Detail) {
        let Some(held) = &mut self.life else {
            return;
        };
        let mut detail = detail;
        let mut reading = held.reader.read(detail);
        self.account.feed(&reading, detail, now());
        let Some(life) = self.account.life() else {
            return;
        };
        held.is_close = held.watch.is_close(&reading, &life.caps, life.cpu_percent);
        if detail == Detail::Quick && held.is_close {
            detail = Detail::Full;
            reading = held.reader.read(detail);
            self.account.feed(&reading, detail, now());
        }
        if detail == Detail::Full {
            for notice in held.watch.look(&reading, &life.caps, now()) {
                // Whoever does not listen has more to do, or has gone.
                let _ = held.notices.try_send((life.generation, notice));
            }
            self.account.set_open_files(open_files(held.pid));
        }
    }
}

/// The fleet without a group of its own: what its agents use. CPU time counts the lives before, so
/// that it never goes back.
fn sum<'a>(accounts: impl Iterator<Item = &'a Account>) -> FleetSample {
    let mut fleet = FleetSample::default();
    let add = |sum: &mut Option<u64>, more: Option<u64>| {
        if let Some(more) = more {
            *sum = Some(sum.unwrap_or(0) + more);
        }
    };
    for account in accounts {
        let sample = account.sample();
        let reading = &mut fleet.reading;
        add(&mut reading.cpu_us, Some(sample.total.cpu_us));
        add(&mut reading.oom_kills, Some(sample.total.oom_kills));
        if let Some(life) = sample.life {
            add(&mut reading.memory, life.reading.memory);
            add(&mut reading.pids, life.reading.pids);
            if let Some(percent) = life.cpu_percent {
                fleet.cpu_percent = Some(fleet.cpu_percent.unwrap_or(0.0) + percent);
            }
        }
    }
    fleet
}
