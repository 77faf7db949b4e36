//! Whether everybody gets the share that weights give: of slots, and of the CPU. Pure, but for [`task`].
//!
//! Once a second what has been used so far is looked at. Slots: who wanted how many, and who had them, is known exactly; each
//! second the slots that there were are shared among those who wanted them, as the configuration says ([`entitle`]),
//! and what each has had stands beside what it was entitled to. CPU: what all agents had together is shared by their CPU weights
//! among those who used it or waited for it (the kernel's pressure). Who gets all that it wants is entitled to just that. So on a machine that
//! has enough for all, everybody has what is theirs, however little that is.
//!
//! One number for each window: Jain's index (R. Jain, D. Chiu, W. Hawe: "A Quantitative Measure of Fairness", DEC TR-301, 1984) of what
//! was used over what was entitled: 1 when that is the same for all, 1/n when one of n has everything. A turn is not taken away from
//! who has begun it, so where turns are longer than a window, the window looks less fair than it is.

mod entitle;
mod task;
mod window;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use kennel_shared::ids::AgentId;

pub use self::task::{FairnessHandle, start};
use self::{
    entitle::{Wish, entitled},
    window::{Ring, Sums},
};
use crate::dispatch::lanes::{ClassUsage, Usage};

/// How far back one looks, and in how many pieces that moves on.
const WINDOWS: [(Duration, u32); 3] = [
    (Duration::from_mins(1), 12),
    (Duration::from_mins(5), 10),
    (Duration::from_hours(1), 12),
];

/// What an agent has had of the CPU so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CpuUsage {
    /// CPU time.
    pub used: Duration,
    /// Time for which some of it waited for a CPU, where the kernel tells; without what its own cap held back.
    pub waited: Option<Duration>,
    /// Its weight.
    pub weight: u32,
}

/// What there is to know of one agent in one class over a window: there is one of these for its own class, and one for each other in
/// which it wanted or had a slot. What it had of the CPU is said with its own class, and of no other.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentShare {
    /// Whose.
    pub agent: AgentId,
    /// The class.
    pub class: Arc<str>,
    /// Its weight in the class.
    pub weight: u32,
    /// Slots that it had, on average.
    pub slots_used: f64,
    /// Slots that it was entitled to.
    pub slots_entitled: f64,
    /// Slots that it could have used.
    pub slots_wanted: f64,
    /// CPUs that it had, on average.
    pub cpu_used: f64,
    /// CPUs that it was entitled to, where it is known who waited.
    pub cpu_entitled: Option<f64>,
    /// The longest wait of what began, or is next.
    pub longest_wait: Duration,
}

/// What there is to know of one class over a window.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassShare {
    /// Which, and what it may have now.
    pub class: ClassUsage,
    /// Slots that it had, on average.
    pub slots_used: f64,
    /// Slots that it was entitled to.
    pub slots_entitled: f64,
}

/// How it was over a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Fairness {
    /// How far back it goes.
    pub window: Duration,
    /// For how much of that anything is known.
    pub covered: Duration,
    /// Jain's index of slots used over slots entitled; `None` when nobody wanted any.
    pub slots_index: Option<f64>,
    /// The same of the CPU; `None` where it is not known who waited.
    pub cpu_index: Option<f64>,
    /// The longest wait, and whose.
    pub longest_wait: Option<(AgentId, Duration)>,
    /// The classes that have agents, by name.
    pub classes: Vec<ClassShare>,
    /// The agents that are there, by name, then by class.
    pub agents: Vec<AgentShare>,
}

/// All windows, the shortest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The slots of the fleet.
    pub slots: usize,
    /// A window each.
    pub windows: Vec<Fairness>,
}

/// An agent in a class.
#[derive(Debug)]
struct Known {
    number: u32,
    /// Whether the class is the agent's own.
    is_own: bool,
    weight: u32,
    cpu_weight: u32,
    slot_time: Duration,
    wanted_time: Duration,
}

/// Adds up what is looked at.
#[derive(Debug)]
pub struct Accumulator {
    agents: BTreeMap<(AgentId, Arc<str>), Known>,
    cpu: HashMap<AgentId, CpuUsage>,
    numbers: u32,
    classes: Vec<ClassUsage>,
    slots: usize,
    /// When it was looked last; nothing is known of before the first time.
    at: Option<Duration>,
    rings: Vec<Ring>,
}

impl Default for Accumulator {
    fn default() -> Self {
        Self {
            agents: BTreeMap::new(),
            cpu: HashMap::new(),
            numbers: 0,
            classes: Vec::new(),
            slots: 0,
            at: None,
            rings: WINDOWS
                .iter()
                .map(|(length, pieces)| Ring::new(*length, *pieces))
                .collect(),
        }
    }
}

impl Accumulator {
    /// Takes in what has been used by now.
    pub fn look(&mut self, usage: Usage, cpu: &HashMap<AgentId, CpuUsage>) {
        let passed = self.at.map(|at| usage.at.saturating_sub(at));
        self.at = Some(usage.at);
        (self.classes, self.slots) = (usage.classes, usage.slots);
        let mut sums: Vec<(u32, Arc<str>, u32, Sums)> = Vec::with_capacity(usage.agents.len());
        let mut there = BTreeMap::new();
        for agent in usage.agents {
            let key = (agent.agent, agent.class);
            let before = self.agents.remove(&key);
            let number = before.as_ref().map_or_else(
                || {
                    self.numbers += 1;
                    self.numbers
                },
                |before| before.number,
            );
            // What it has of the CPU, it has in no class.
            let cpu = cpu.get(&key.0);
            let cpu_weight = cpu.map_or(0, |cpu| cpu.weight);
            let cpu = cpu.filter(|_| agent.is_own).copied().unwrap_or_default();
            if passed.is_some() {
                // One that is new has used what it has used since.
                let zero = (Duration::ZERO, Duration::ZERO);
                let (slot_time, wanted_time) =
                    before.map_or(zero, |before| (before.slot_time, before.wanted_time));
                let had = self.cpu.get(&key.0).copied().unwrap_or_default();
                let waited = cpu.waited.map(|waited| {
                    let before = had.waited.unwrap_or(waited);
                    seconds(waited.saturating_sub(before))
                });
                let one = Sums {
                    used: seconds(agent.slot_time.saturating_sub(slot_time)),
                    wanted: seconds(agent.wanted_time.saturating_sub(wanted_time)),
                    entitled: 0.0,
                    cpu: seconds(cpu.used.saturating_sub(had.used)),
                    cpu_waited: waited,
                    longest_wait: seconds(agent.longest_wait),
                };
                sums.push((number, Arc::clone(&key.1), agent.weight, one));
            }
            let known = Known {
                number,
                is_own: agent.is_own,
                weight: agent.weight,
                cpu_weight,
                slot_time: agent.slot_time,
                wanted_time: agent.wanted_time,
            };
            there.insert(key, known);
        }
        self.cpu.clone_from(cpu);
        self.agents = there;
        let Some(passed) = passed else { return };
        self.entitle(seconds(passed), &mut sums);
        for ring in &mut self.rings {
            ring.add(
                usage.at,
                passed,
                sums.iter().map(|(number, _, _, sums)| (*number, *sums)),
            );
        }
    }

    /// Says what everybody was entitled to of the slots, in `passed` seconds.
    fn entitle(&self, passed: f64, sums: &mut [(u32, Arc<str>, u32, Sums)]) {
        let all = float(self.slots) * passed;
        let wishes = self.classes.iter().map(|class| {
            let wanted = sums.iter().filter(|(_, of, _, _)| *of == class.class);
            let wanted: f64 = wanted.map(|(_, _, _, sums)| sums.wanted).sum();
            let least = float(class.min_slots) * passed;
            Wish {
                weight: f64::from(class.weight),
                least,
                wants: wanted.min(float(class.max_slots) * passed),
            }
        });
        let classes = entitled(all, &wishes.collect::<Vec<Wish>>());
        for (class, all) in self.classes.iter().zip(classes) {
            let own: Vec<usize> = (0..sums.len())
                .filter(|index| sums[*index].1 == class.class)
                .collect();
            let wishes: Vec<Wish> = own
                .iter()
                .map(|index| Wish {
                    weight: f64::from(sums[*index].2),
                    least: 0.0,
                    wants: sums[*index].3.wanted,
                })
                .collect();
            for (index, part) in own.into_iter().zip(entitled(all, &wishes)) {
                sums[index].3.entitled = part;
            }
        }
    }

    /// How it was.
    pub fn report(&self) -> Report {
        Report {
            slots: self.slots,
            windows: self.rings.iter().map(|ring| self.window(ring)).collect(),
        }
    }

    fn window(&self, ring: &Ring) -> Fairness {
        let (covered, sums) = ring.sums();
        let time = seconds(covered).max(f64::MIN_POSITIVE);
        let of = |known: &Known| sums.get(&known.number).copied().unwrap_or_default();
        let cpu = self.cpu_entitled(&sums);
        let agents: Vec<AgentShare> = self
            .agents
            .iter()
            .filter(|(_, known)| known.is_own || of(known) != Sums::default())
            .map(|((agent, class), known)| {
                let sums = of(known);
                AgentShare {
                    agent: agent.clone(),
                    class: Arc::clone(class),
                    weight: known.weight,
                    slots_used: sums.used / time,
                    slots_entitled: sums.entitled / time,
                    slots_wanted: sums.wanted / time,
                    cpu_used: sums.cpu / time,
                    cpu_entitled: cpu.get(&known.number).map(|entitled| entitled / time),
                    longest_wait: Duration::from_secs_f64(sums.longest_wait),
                }
            })
            .collect();
        let classes = self.classes.iter().map(|class| {
            let own = || agents.iter().filter(|agent| agent.class == class.class);
            ClassShare {
                class: class.clone(),
                slots_used: own().map(|agent| agent.slots_used).sum(),
                slots_entitled: own().map(|agent| agent.slots_entitled).sum(),
            }
        });
        let mut classes: Vec<ClassShare> = classes.collect();
        classes.sort_by(|a, b| a.class.class.cmp(&b.class.class));
        let slots = agents.iter();
        let slots = slots.map(|agent| (agent.slots_used, agent.slots_entitled));
        let cpu = agents.iter();
        let cpu = cpu.filter_map(|agent| Some((agent.cpu_used, agent.cpu_entitled?)));
        let longest = agents.iter().max_by_key(|agent| agent.longest_wait);
        let longest = longest.filter(|agent| !agent.longest_wait.is_zero());
        Fairness {
            window: ring.length(),
            covered,
            slots_index: jain(slots),
            cpu_index: jain(cpu),
            longest_wait: longest.map(|agent| (agent.agent.clone(), agent.longest_wait)),
            classes,
            agents,
        }
    }

    /// What each was entitled to of the CPU that all of them had, for those of whom it is known whether they waited.
    fn cpu_entitled(&self, sums: &HashMap<u32, Sums>) -> HashMap<u32, f64> {
        let known: Vec<(u32, f64, Sums)> = self
            .agents
            .values()
            .filter_map(|known| {
                let sums = sums.get(&known.number)?;
                sums.cpu_waited?;
                let weight = known.cpu_weight.max(1);
                Some((known.number, f64::from(weight), *sums))
            })
            .collect();
        let all = known.iter().map(|(_, _, sums)| sums.cpu).sum();
        let wishes: Vec<Wish> = known
            .iter()
            .map(|(_, weight, sums)| Wish {
                weight: *weight,
                least: 0.0,
                wants: sums.cpu + sums.cpu_waited.unwrap_or(0.0),
            })
            .collect();
        let parts = entitled(all, &wishes);
        known
            .into_iter()
            .zip(parts)
            .map(|((number, _, _), part)| (number, part))
            .collect()
    }
}

/// Less than this, in slots or CPUs, is nothing: two roundings of next to nothing have any ratio.
const NOTHING: f64 = 1e-4;

/// Jain's index of what was used over what was entitled, of those that were entitled to something.
fn jain(shares: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for (used, entitled) in shares {
        if entitled > NOTHING {
            let ratio = used / entitled;
            (count, sum, squares) = (count + 1.0, sum + ratio, squares + ratio * ratio);
        }
    }
    // All of them have nothing at all: that is the same for everybody.
    let index = if squares > 0.0 {
        sum * sum / (count * squares)
    } else {
        1.0
    };
    (count > 0.0).then_some(index)
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "slots are few")]
fn float(slots: usize) -> f64 {
    slots as f64
}

#[cfg(test)]
mod tests;
