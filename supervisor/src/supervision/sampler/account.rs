//! What one agent has used, over all its lives. Pure.

use std::{
    ops::{Add, AddAssign},
    time::Instant,
};

use kennel_shared::ids::Generation;

use super::{Detail, rate::CpuRate};
use crate::containment::{Caps, Pressure, Reading};

/// What only ever grows, added up. What was never told counts as nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// CPU time, in microseconds.
    pub cpu_us: u64,
    /// Held back by the CPU cap, in microseconds.
    pub throttled_us: u64,
    /// Denied processes and threads.
    pub pids_denied: u64,
    /// Processes that the kernel ended for want of memory.
    pub oom_kills: u64,
    /// Bytes read from disks.
    pub io_read: u64,
    /// Bytes written to disks.
    pub io_written: u64,
    /// Waiting for the CPU, for memory and for disks.
    pub waits: [Waits; 3],
}

/// Time lost to one kind of pressure, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waits {
    /// Some task waited.
    pub some_us: u64,
    /// All did.
    pub full_us: u64,
}

impl From<&Reading> for Counters {
    fn from(reading: &Reading) -> Self {
        let wait = |pressure: Option<Pressure>| {
            pressure.map_or_else(Waits::default, |pressure| Waits {
                some_us: pressure.some_total_us,
                full_us: pressure.full_total_us,
            })
        };
        Self {
            cpu_us: reading.cpu_us.unwrap_or(0),
            throttled_us: reading.throttled_us.unwrap_or(0),
            pids_denied: reading.pids_denied.unwrap_or(0),
            oom_kills: reading.oom_kills.unwrap_or(0),
            io_read: reading.io_read.unwrap_or(0),
            io_written: reading.io_written.unwrap_or(0),
            waits: [
                wait(reading.cpu_pressure),
                wait(reading.memory_pressure),
                wait(reading.io_pressure),
            ],
        }
    }
}

impl Add for Counters {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.cpu_us += other.cpu_us;
        self.throttled_us += other.throttled_us;
        self.pids_denied += other.pids_denied;
        self.oom_kills += other.oom_kills;
        self.io_read += other.io_read;
        self.io_written += other.io_written;
        for (own, other) in self.waits.iter_mut().zip(other.waits) {
            own.some_us += other.some_us;
            own.full_us += other.full_us;
        }
    }
}

/// An agent at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AgentSample {
    /// The present life, if there is one.
    pub life: Option<LifeSample>,
    /// Over all lives since the supervisor started, the present one included.
    pub total: Counters,
}

/// A life at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LifeSample {
    /// Which.
    pub generation: Generation,
    /// Its agent-host.
    pub pid: i32,
    /// What it may use.
    pub caps: Caps,
    /// Percent of one core over the last beat.
    pub cpu_percent: Option<f64>,
    /// The last of each figure that was read.
    pub reading: Reading,
    /// Open files of its agent-host.
    pub open_files: Option<u64>,
}

/// The books of one agent.
#[derive(Debug, Default)]
pub(super) struct Account {
    past: Counters,
    present: Option<(LifeSample, CpuRate)>,
}

impl Account {
    /// A life begins; one before it has ended.
    pub(super) fn begin(&mut self, generation: Generation, pid: i32, caps: Caps) {
        self.close();
        let life = LifeSample {
            generation,
            pid,
            caps,
            ..LifeSample::default()
        };
        self.present = Some((life, CpuRate::default()));
    }

    /// Takes a reading of the present life that was made `at`.
    pub(super) fn feed(&mut self, reading: &Reading, detail: Detail, at: Instant) {
        if let Some((life, rate)) = &mut self.present {
            rate.feed(reading.cpu_us, at);
            life.cpu_percent = rate.percent();
            life.reading = merge(&life.reading, reading, detail);
        }
    }

    /// The present life.
    pub(super) fn life(&self) -> Option<LifeSample> {
        self.present.as_ref().map(|(life, _)| *life)
    }

    pub(super) fn set_open_files(&mut self, open_files: Option<u64>) {
        if let Some((life, _)) = &mut self.present {
            life.open_files = open_files;
        }
    }

    pub(super) fn set_caps(&mut self, caps: Caps) {
        if let Some((life, _)) = &mut self.present {
            life.caps = caps;
        }
    }

    /// The life `generation` has ended; another one has not. Tells whether it was the present one.
    pub(super) fn end(&mut self, generation: Generation, last: Option<&Reading>) -> bool {
        match &mut self.present {
            Some((life, _)) if life.generation == generation => {
                if let Some(last) = last {
                    life.reading = merge(&life.reading, last, Detail::Full);
                }
                self.close();
                true
            }
            _ => false,
        }
    }

    fn close(&mut self) {
        if let Some((life, _)) = self.present.take() {
            self.past += Counters::from(&life.reading);
        }
    }

    pub(super) fn sample(&self) -> AgentSample {
        let life = self.life();
        let present = life.map(|life| Counters::from(&life.reading));
        AgentSample {
            life,
            total: self.past + present.unwrap_or_default(),
        }
    }
}

/// A reading over an older one: counters never go back or get lost, and what a quick look left out stays.
fn merge(older: &Reading, newer: &Reading, detail: Detail) -> Reading {
    // `None` is less than anything.
    let kept = |older: Option<u64>, newer: Option<u64>| newer.max(older);
    let quick = detail == Detail::Quick;
    let gauge = |older: Option<Pressure>, newer: Option<Pressure>| match newer {
        None if quick => older,
        newer => newer,
    };
    Reading {
        cpu_us: kept(older.cpu_us, newer.cpu_us),
        throttled_us: kept(older.throttled_us, newer.throttled_us),
        throttled_periods: kept(older.throttled_periods, newer.throttled_periods),
        memory: newer.memory,
        memory_peak: kept(older.memory_peak, newer.memory_peak).max(newer.memory),
        memory_anon: match newer.memory_anon {
            None if quick => older.memory_anon,
            newer => newer,
        },
        memory_reclaimable: match newer.memory_reclaimable {
            None if quick => older.memory_reclaimable,
            newer => newer,
        },
        memory_high_hits: kept(older.memory_high_hits, newer.memory_high_hits),
        pids: newer.pids,
        pids_denied: kept(older.pids_denied, newer.pids_denied),
        oom_kills: kept(older.oom_kills, newer.oom_kills),
        io_read: kept(older.io_read, newer.io_read),
        io_written: kept(older.io_written, newer.io_written),
        cpu_pressure: gauge(older.cpu_pressure, newer.cpu_pressure),
        memory_pressure: gauge(older.memory_pressure, newer.memory_pressure),
        io_pressure: gauge(older.io_pressure, newer.io_pressure),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn full(cpu_us: u64, oom_kills: u64) -> Reading {
        Reading {
            cpu_us: Some(cpu_us),
            memory: Some(100),
            memory_peak: Some(150),
            pids: Some(3),
            pids_denied: Some(oom_kills * 2),
            oom_kills: Some(oom_kills),
            cpu_pressure: Some(Pressure {
                some_avg10: 1.5,
                full_avg10: 0.5,
                some_total_us: cpu_us / 2,
                full_total_us: cpu_us / 4,
            }),
            ..Reading::default()
        }
    }

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[test]
    fn counters_add_up_over_lives_and_gauges_do_not() {
        let mut account = Account::default();
        account.begin(Generation(1), 10, Caps::default());
        account.feed(&full(1000, 1), Detail::Full, now());
        // The last look sees more than the last beat.
        assert!(account.end(Generation(1), Some(&full(3000, 2))));
        assert_eq!(account.sample().life, None);
        account.begin(Generation(2), 11, Caps::default());
        account.feed(&full(500, 1), Detail::Full, now());

        let sample = account.sample();
        let life = sample.life.expect("the second life");
        assert_eq!((life.generation, life.pid), (Generation(2), 11));
        assert_eq!(life.reading.cpu_us, Some(500));
        assert_eq!(life.reading.memory, Some(100));
        assert_eq!(sample.total.cpu_us, 3500);
        assert_eq!(sample.total.oom_kills, 3);
        assert_eq!(sample.total.pids_denied, 6);
        assert_eq!(sample.total.waits[0].some_us, 1750);
        assert_eq!(sample.total.waits[0].full_us, 875);
    }

    #[test]
    fn a_life_ends_once_and_only_by_its_own_number() {
        let mut account = Account::default();
        account.begin(Generation(2), 10, Caps::default());
        account.feed(&full(1000, 0), Detail::Full, now());
        assert!(
            !account.end(Generation(1), Some(&full(9000, 9))),
            "a late word about the life before"
        );
        assert!(account.end(Generation(2), None));
        assert!(!account.end(Generation(2), None));
        assert_eq!(account.sample().total.cpu_us, 1000);
    }

    #[test]
    fn a_new_life_closes_the_one_before() {
        let mut account = Account::default();
        account.begin(Generation(1), 10, Caps::default());
        account.feed(&full(1000, 0), Detail::Full, now());
        account.begin(Generation(2), 11, Caps::default());
        assert_eq!(account.sample().total.cpu_us, 1000);
    }

    #[test]
    fn a_quick_look_keeps_what_it_leaves_out() {
        let mut account = Account::default();
        account.begin(Generation(1), 10, Caps::default());
        account.feed(&full(1000, 1), Detail::Full, now());
        let quick = Reading {
            cpu_us: Some(2000),
            memory: Some(400),
            ..Reading::default()
        };
        account.feed(&quick, Detail::Quick, now());
        let reading = account.sample().life.unwrap().reading;
        assert_eq!((reading.cpu_us, reading.memory), (Some(2000), Some(400)));
        assert_eq!(reading.memory_peak, Some(400), "more than the peak is one");
        assert_eq!(reading.oom_kills, Some(1));
        assert!(reading.cpu_pressure.is_some());
        assert_eq!(reading.pids, None, "a gauge that is not told is not known");

        account.feed(&quick, Detail::Full, now());
        assert_eq!(account.sample().life.unwrap().reading.cpu_pressure, None);
    }

    /// The sum over processes goes back when one of them leaves.
    #[test]
    fn counters_never_go_back() {
        let mut account = Account::default();
        let at = now();
        account.begin(Generation(1), 10, Caps::default());
        account.feed(&full(5000, 1), Detail::Full, at);
        account.feed(&full(1000, 0), Detail::Full, at + Duration::from_secs(1));
        let sample = account.sample();
        assert_eq!((sample.total.cpu_us, sample.total.oom_kills), (5000, 1));
        assert_eq!(sample.life.unwrap().cpu_percent, None);
    }
}
