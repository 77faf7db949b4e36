//! The lanes on a virtual clock: two hundred agents in three classes, turns of heavy-tailed length, and a seed.
//!
//! People write to the agents of `interactive`, at random moments. Those of `batch` and `research` always have more to do than
//! they get, if they are there. So the first tell what beside them it costs to be asked, and the others how slot time is shared.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
    time::{Duration, Instant},
};

use kennel::dispatch::lanes::{BATCH, INTERACTIVE, Lanes, Most, Shares, Started, Terms, Ticket};
use kennel_shared::{
    ids::{AgentId, DeliveryId},
    session_key::SessionKey,
};

/// Turns at once in the fleet.
pub const FLEET: usize = 64;

/// The third class, beside those that are always there.
pub const RESEARCH: &str = "research";

/// How many agents are of which class.
pub const AGENTS: [(&str, usize); 3] = [(INTERACTIVE, 100), (BATCH, 60), (RESEARCH, 40)];

/// Agents of a class differ by weight.
pub const WEIGHTS: [u32; 4] = [50, 100, 200, 400];

/// The shortest turns, in seconds; agents differ by that.
const SHORTEST: [f64; 3] = [0.1, 0.4, 1.6];

/// Turns get longer as incomes do.
const TAIL: f64 = 1.5;

/// How much of the time an agent of `interactive` is at work.
pub const BUSY: f64 = 0.1;

/// Sessions of an agent.
const SESSIONS: usize = 8;

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// Whether there are agents with more to do than they get.
    pub saturated: bool,
    /// Messages of people.
    pub questions: usize,
    /// No turn is longer.
    pub longest_turn: Duration,
    /// Makes the same choices again.
    pub seed: u64,
}

/// What has come of it.
#[derive(Debug)]
pub struct Outcome {
    /// Turns that were started, of all classes.
    pub turns: usize,
    /// How long all of it took, on the virtual clock.
    pub took: Duration,
    /// What each question waited, in order.
    pub waits: Vec<Duration>,
    /// Of each agent with more to do than it got: its class, and its slot time by its weight.
    pub shares: Vec<(&'static str, f64)>,
    /// Slots that each class held on average.
    pub slots: BTreeMap<String, f64>,
    /// The longest that anybody waited for others: for its class or the fleet.
    pub longest: Duration,
}

impl Outcome {
    /// Jain's index of fairness over slot time by weight, for the agents of one class that always wanted more: 1 when all are
    /// the same, 1/n when one has all.
    pub fn jain(&self, class: &str) -> f64 {
        let shares = self.shares.iter().filter(|(of, _)| *of == class);
        jain(&shares.map(|(_, share)| *share).collect::<Vec<f64>>())
    }

    /// The wait that 99 of 100 questions do not exceed.
    pub fn p99(&self) -> Duration {
        self.waits[self.waits.len() * 99 / 100]
    }
}

/// The square of the sum by the sum of the squares (R. Jain, D. Chiu, W. Hawe: "A Quantitative Measure of Fairness", 1984).
#[expect(clippy::cast_precision_loss, reason = "agents are few")]
pub fn jain(shares: &[f64]) -> f64 {
    let (sum, squares) = shares
        .iter()
        .fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    if squares > 0.0 {
        sum * sum / (shares.len() as f64 * squares)
    } else {
        1.0
    }
}

/// How long a turn takes, by a bounded Pareto distribution; the shortest in seconds.
pub fn heavy_tailed(chance: &mut fastrand::Rng, shortest: f64, longest: Duration) -> Duration {
    let reach = (shortest / longest.as_secs_f64()).powf(TAIL);
    let chance = 1.0 - chance.f64() * (1.0 - reach);
    Duration::from_secs_f64(shortest * chance.powf(-1.0 / TAIL))
}

/// Between two questions, on average as it takes to have an agent of such turns busy for its part of the time.
pub fn pause(chance: &mut fastrand::Rng, shortest: f64) -> Duration {
    let mean = shortest * TAIL / (TAIL - 1.0) / BUSY;
    Duration::from_secs_f64(-mean * (1.0 - chance.f64()).ln())
}

struct Agent {
    class: &'static str,
    weight: u32,
    sessions: Vec<SessionKey>,
    shortest: f64,
    /// Of its own, so that the turns of the one are the same whoever else is there.
    chance: fastrand::Rng,
    asked: usize,
}

impl Agent {
    fn turn(&mut self, longest: Duration) -> Duration {
        heavy_tailed(&mut self.chance, self.shortest, longest)
    }

    fn pause(&mut self) -> Duration {
        pause(&mut self.chance, self.shortest)
    }

    fn ticket(&mut self) -> Ticket {
        self.asked += 1;
        Ticket {
            delivery: DeliveryId::new(),
            session: self.sessions[self.asked % SESSIONS].clone(),
        }
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    End(usize, DeliveryId),
    Question(usize),
}

struct World {
    setup: Setup,
    lanes: Lanes,
    agents: Vec<Agent>,
    began: Instant,
    now: Duration,
    /// What happens next is on top; the number keeps the order of what happens at once.
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    planned: u64,
    running: HashMap<DeliveryId, Ticket>,
    questions: usize,
    outcome: Outcome,
}

/// Runs it until the last question has been answered.
pub fn simulate(setup: Setup) -> Outcome {
    let mut world = World::new(setup);
    while let Some(Reverse((at, _, event))) = world.events.pop() {
        world.now = at;
        world.lanes.advance(world.began + at);
        match event {
            Event::End(agent, delivery) => world.end(agent, delivery),
            Event::Question(agent) => world.ask(agent),
        }
        while let Some(started) = world.lanes.start_next() {
            world.start(started);
        }
        if world.outcome.waits.len() == setup.questions {
            break;
        }
    }
    world.tell()
}

impl World {
    fn new(setup: Setup) -> Self {
        let began = tokio::time::Instant::now().into_std();
        let mut world = Self {
            setup,
            lanes: Lanes::new(FLEET, began),
            agents: Vec::new(),
            began,
            now: Duration::ZERO,
            events: BinaryHeap::new(),
            planned: 0,
            running: HashMap::new(),
            questions: 0,
            outcome: Outcome {
                turns: 0,
                took: Duration::ZERO,
                waits: Vec::with_capacity(setup.questions),
                shares: Vec::new(),
                slots: BTreeMap::new(),
                longest: Duration::ZERO,
            },
        };
        world.lanes.set_classes(&classes());
        for (class, count) in AGENTS {
            for number in 0..count {
                if class == INTERACTIVE || setup.saturated {
                    world.add(class, number);
                }
            }
        }
        world
    }

    fn add(&mut self, class: &'static str, number: usize) {
        let index = self.agents.len();
        let id: AgentId = format!("{class}-{number}").parse().expect("a name");
        let sessions = (0..SESSIONS).map(|n| SessionKey::new(&id, &n.to_string()).expect("a key"));
        let mut agent = Agent {
            class,
            weight: WEIGHTS[number % WEIGHTS.len()],
            sessions: sessions.collect(),
            shortest: SHORTEST[number % SHORTEST.len()],
            chance: fastrand::Rng::with_seed(self.setup.seed.wrapping_mul(1 << 20) + index as u64),
            asked: 0,
        };
        let terms = Terms {
            // People's agents as they are by default; the others have room for the largest weight.
            max_concurrent: if class == INTERACTIVE { 1 } else { 4 },
            max_waiting: usize::MAX,
            weight: agent.weight,
            class: class.into(),
        };
        self.lanes.add(id.clone(), terms);
        self.lanes.open(&id);
        if class == INTERACTIVE {
            let first = agent.pause();
            self.agents.push(agent);
            self.plan(first, Event::Question(index));
        } else {
            for _ in 0..2 * SESSIONS {
                self.lanes.admit(&agent.ticket(), None);
            }
            self.agents.push(agent);
        }
    }

    fn plan(&mut self, after: Duration, event: Event) {
        self.planned += 1;
        let event = (self.now + after, self.planned, event);
        self.events.push(Reverse(event));
    }

    fn ask(&mut self, index: usize) {
        if self.questions == self.setup.questions {
            return;
        }
        self.questions += 1;
        let agent = &mut self.agents[index];
        self.lanes.admit(&agent.ticket(), None);
        let pause = agent.pause();
        self.plan(pause, Event::Question(index));
    }

    fn start(&mut self, started: Started) {
        let Started { ticket, waits, .. } = started;
        let id = ticket.session.agent_str();
        let index = self.agents.iter().position(|agent| {
            let own = agent.sessions[0].agent_str();
            own == id
        });
        let index = index.expect("it is one of them");
        self.outcome.turns += 1;
        self.outcome.longest = self.outcome.longest.max(waits.class + waits.fleet);
        if self.agents[index].class == INTERACTIVE {
            self.outcome.waits.push(waits.total());
        }
        let takes = self.agents[index].turn(self.setup.longest_turn);
        self.plan(takes, Event::End(index, ticket.delivery));
        self.running.insert(ticket.delivery, ticket);
    }

    fn end(&mut self, index: usize, delivery: DeliveryId) {
        let ticket = self.running.remove(&delivery).expect("it runs");
        self.lanes.finish(&ticket);
        let agent = &mut self.agents[index];
        if agent.class != INTERACTIVE {
            self.lanes.admit(&agent.ticket(), None);
        }
    }

    fn tell(mut self) -> Outcome {
        let usage = self.lanes.take_usage();
        let took = self.now.as_secs_f64();
        for agent in usage.agents {
            let used = agent.slot_time.as_secs_f64();
            *self
                .outcome
                .slots
                .entry(agent.class.to_string())
                .or_default() += used / took;
            let class = AGENTS.iter().find(|(class, _)| **class == *agent.class);
            let (class, _) = class.expect("it is one of them");
            if *class != INTERACTIVE {
                let share = used / f64::from(agent.weight);
                self.outcome.shares.push((class, share));
            }
        }
        self.outcome.took = self.now;
        self.outcome.waits.sort_unstable();
        self.outcome
    }
}

/// What people would set: a quarter is guaranteed to them, research has a quarter at most.
fn classes() -> BTreeMap<String, Shares> {
    let usual = Shares::default();
    BTreeMap::from([
        (INTERACTIVE.to_owned(), Shares { min: 0.25, ..usual }),
        (
            BATCH.to_owned(),
            Shares {
                max: Most::AllButOne,
                ..usual
            },
        ),
        (
            RESEARCH.to_owned(),
            Shares {
                weight: 50,
                max: Most::Share(0.25),
                ..usual
            },
        ),
    ])
}
