//! The thread, with readers that say what they are told to.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use super::{super::strain::Notice, *};

const PATIENCE: Duration = Duration::from_secs(20);

/// Says the same until it is told otherwise, and counts how often it was asked.
#[derive(Clone, Default)]
struct Scripted {
    reading: Arc<Mutex<Reading>>,
    quick: Arc<AtomicUsize>,
    full: Arc<AtomicUsize>,
}

impl Scripted {
    fn new(memory: u64, cpu_us: u64) -> Self {
        let scripted = Self::default();
        scripted.say(memory, cpu_us);
        scripted
    }

    fn say(&self, memory: u64, cpu_us: u64) {
        let mut reading = self.reading.lock().unwrap();
        reading.memory = Some(memory);
        reading.cpu_us = Some(cpu_us);
    }
}

impl ReadUsage for Scripted {
    fn read(&mut self, detail: Detail) -> Reading {
        match detail {
            Detail::Quick => &self.quick,
            Detail::Full => &self.full,
        }
        .fetch_add(1, Ordering::Relaxed);
        *self.reading.lock().unwrap()
    }

    fn members(&mut self) -> Option<Vec<i32>> {
        Some(vec![7, 8])
    }
}

fn id(name: &str) -> AgentId {
    name.parse().unwrap()
}

fn life(generation: u64, reader: &Scripted) -> Life {
    Life {
        generation: Generation(generation),
        pid: i32::try_from(std::process::id()).unwrap(),
        caps: Caps {
            memory: Some(1000),
            ..Caps::default()
        },
        reader: Box::new(reader.clone()),
        notices: mpsc::channel(1).0,
    }
}

async fn until(handle: &SamplerHandle, wanted: impl Fn(&Sample) -> bool) -> Arc<Sample> {
    let mut sample = handle.sample.clone();
    let found = tokio::time::timeout(PATIENCE, sample.wait_for(|sample| wanted(sample))).await;
    found.expect("in time").expect("the thread runs").clone()
}

#[tokio::test]
async fn there_is_a_sample_from_the_start() {
    let handle = start().unwrap();
    let sample = handle.latest();
    assert!(sample.host.cpus > 0 && sample.supervisor.reading.memory > Some(0));
    assert!(sample.supervisor.open_files > Some(0));
    assert!(sample.agents.is_empty());
}

#[tokio::test]
async fn a_life_is_read_at_once_then_on_every_beat_and_counted_when_it_ends() {
    let handle = start().unwrap();
    let (hexa, reader) = (id("hexa"), Scripted::new(500, 1000));
    handle.watch(&hexa, life(1, &reader));
    let sample = until(&handle, |sample| sample.agents.contains_key(&hexa)).await;
    let seen = sample.agents[&hexa].life.expect("it lives");
    assert_eq!(
        (seen.reading.memory, seen.caps.memory),
        (Some(500), Some(1000))
    );
    assert_eq!(
        sample.fleet.reading.memory,
        Some(500),
        "nobody else is there"
    );

    reader.say(700, 900_000);
    let busy = |sample: &Sample| {
        sample.agents[&hexa]
            .life
            .is_some_and(|life| life.cpu_percent > Some(0.0))
    };
    let sample = until(&handle, busy).await;
    assert_eq!(sample.agents[&hexa].life.unwrap().reading.memory, Some(700));

    handle.caps(&hexa, Caps::default());
    let freed = |sample: &Sample| {
        sample.agents[&hexa]
            .life
            .is_some_and(|life| life.caps == Caps::default())
    };
    until(&handle, freed).await;

    // A word about a life that is over changes nothing; the last look at this one counts.
    handle.ended(&hexa, Generation(0), None);
    let last = Reading {
        oom_kills: Some(1),
        cpu_us: Some(1_000_000),
        ..Reading::default()
    };
    handle.ended(&hexa, Generation(1), Some(&last));
    let sample = until(&handle, |sample| sample.agents[&hexa].life.is_none()).await;
    let total = sample.agents[&hexa].total;
    assert_eq!((total.oom_kills, total.cpu_us), (1, 1_000_000));
    assert_eq!(sample.fleet.reading.memory, None);
    assert_eq!(sample.fleet.reading.cpu_us, Some(1_000_000));
    assert_eq!(handle.members(&hexa).await, None);
}

#[tokio::test]
async fn the_fleets_own_group_is_preferred_to_a_sum() {
    let handle = start().unwrap();
    handle.watch(&id("one"), life(1, &Scripted::new(500, 0)));
    let caps = Caps {
        pids: Some(9),
        ..Caps::default()
    };
    handle.fleet(caps, Some(Box::new(Scripted::new(900, 0))));
    let sample = until(&handle, |sample| sample.fleet.caps == caps).await;
    assert_eq!(sample.fleet.reading.memory, Some(900));
    let members = handle.members(&id("one")).await.expect("it lives");
    assert_eq!(members.all, Some(vec![7, 8]));
}

/// The cost of a beat does not grow with what is expensive: everybody has a turn all the same.
#[test]
fn full_readings_go_round() {
    const AGENTS: usize = 60;
    let each = task::full_per_beat(AGENTS);
    assert!(each < AGENTS, "{each}");
    let mut sampler = task::Sampler::new();
    let readers: Vec<Scripted> = (0..AGENTS).map(|_| Scripted::new(1, 1)).collect();
    for (index, reader) in readers.iter().enumerate() {
        let life = life(1, reader);
        sampler.take(Request::Watch(id(&format!("a{index}")), life));
    }
    let counts = |kind: fn(&Scripted) -> &AtomicUsize| -> Vec<usize> {
        let count = |reader| kind(reader).load(Ordering::Relaxed);
        readers.iter().map(count).collect()
    };
    let at_once = counts(|reader| &reader.full);
    assert!(at_once.iter().all(|count| *count == 1), "{at_once:?}");
    sampler.beat();
    let full: usize = counts(|reader| &reader.full).iter().sum();
    assert_eq!(full, AGENTS + each);
    let quick: usize = counts(|reader| &reader.quick).iter().sum();
    assert_eq!(quick, AGENTS - each);
    for _ in 1..AGENTS.div_ceil(each) {
        sampler.beat();
    }
    let all = counts(|reader| &reader.full);
    assert!(all.iter().all(|count| *count >= 2), "{all:?}");
}

/// Who is close to a cap is looked at closely on every beat, and its driver hears of it.
#[test]
fn strain_is_seen_at_once_among_many() {
    const AGENTS: usize = 60;
    let mut sampler = task::Sampler::new();
    for index in 0..AGENTS {
        let life = life(1, &Scripted::new(1, 1));
        sampler.take(Request::Watch(id(&format!("a{index}")), life));
    }
    let (notices_tx, mut notices_rx) = mpsc::channel(1);
    let reader = Scripted::new(950, 1);
    let near = Life {
        notices: notices_tx,
        ..life(7, &reader)
    };
    sampler.take(Request::Watch(id("near"), near));
    for beat in 1..=3 {
        reader.reading.lock().unwrap().pids_denied = Some(beat);
        let before = reader.full.load(Ordering::Relaxed);
        sampler.beat();
        assert_eq!(reader.full.load(Ordering::Relaxed), before + 1);
    }
    let notice = Notice::PidsDenied { more: 1 };
    assert_eq!(notices_rx.try_recv(), Ok((Generation(7), notice)));
    assert!(
        notices_rx.try_recv().is_err(),
        "the rest is told a minute later"
    );
}

#[test]
fn small_fleets_are_read_in_full_and_large_ones_in_turn() {
    let cases = [(0, 0), (1, 1), (5, 5), (10, 6), (30, 3), (1000, 2)];
    for (agents, full) in cases {
        assert_eq!(task::full_per_beat(agents), full, "{agents}");
    }
    let cases = [
        ((0, 0), 1),
        ((30, 0), 1),
        ((100, 0), 3),
        ((80, 20), 5),
        ((1000, 0), 5),
    ];
    for ((quiet, lively), stride) in cases {
        assert_eq!(task::stride(quiet, lively), stride, "{quiet} {lively}");
    }
}

/// Of many agents that do nothing some are read on each beat, and all of them soon; who works, always.
#[test]
fn the_quiet_are_read_in_turn() {
    const AGENTS: usize = 120;
    let mut sampler = task::Sampler::new();
    let readers: Vec<Scripted> = (0..AGENTS).map(|_| Scripted::new(1, 1)).collect();
    for (index, reader) in readers.iter().enumerate() {
        let life = life(1, reader);
        sampler.take(Request::Watch(id(&format!("a{index}")), life));
    }
    let count = |reader: &Scripted| {
        reader.quick.load(Ordering::Relaxed) + reader.full.load(Ordering::Relaxed)
    };
    let all = || readers.iter().map(count).sum::<usize>();
    let busy = &readers[7];
    // Nobody has a rate before two readings that are some way apart.
    let mut used = 1;
    let rates = |sampler: &task::Sampler| {
        let sample = sampler.sample();
        let mut lives = sample.agents.values().filter_map(|agent| agent.life);
        lives.all(|life| life.cpu_percent.is_some())
    };
    while !rates(&sampler) {
        used += 1_000_000;
        busy.say(1, used);
        sampler.beat();
    }
    let stride = task::stride(AGENTS - 1, 1);
    assert!(stride > 1);
    let before = (all(), readers.iter().map(count).collect::<Vec<_>>());
    for _ in 0..stride {
        used += 1_000_000_000;
        busy.say(1, used);
        sampler.beat();
    }
    let each = (all() - before.0) / stride;
    assert!(each < AGENTS * 2 / 3, "{each} on each beat");
    for (reader, before) in readers.iter().zip(before.1) {
        assert!(count(reader) > before, "all have a turn");
    }
    assert!(count(busy) >= stride, "who works has no turns");
}
