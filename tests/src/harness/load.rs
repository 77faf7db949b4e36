//! A steady load on one agent, to see what its neighbours' trouble does to it.

use std::time::Duration;

use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::Client;

/// What a load saw.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// How long each answer took, in the order of asking.
    pub waits: Vec<Duration>,
    /// What was no answer.
    pub failures: Vec<String>,
}

impl Figures {
    /// All of several.
    pub fn merged(all: impl IntoIterator<Item = Self>) -> Self {
        let mut merged = Self::default();
        for one in all {
            merged.waits.extend(one.waits);
            merged.failures.extend(one.failures);
        }
        merged
    }

    /// The wait that so many of a hundred do not exceed.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.waits.clone();
        sorted.sort_unstable();
        let index = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        *sorted.get(index).expect("a load has answers")
    }

    /// These waits, taken beside a flood, are little longer than the `quiet` ones. The median tells
    /// whose turn it is in the supervisor; the last percent is as much about whose turn it is on a
    /// core, which the flood's author and other programs want too, so it is held to less.
    pub fn assert_beside(&self, quiet: &Self) {
        for (percent, factor, more) in [(50, 4, 8), (99, 4, 150)] {
            let before = quiet.percentile(percent);
            let allowed = (before * factor).max(before + Duration::from_millis(more));
            let now = self.percentile(percent);
            assert!(now <= allowed, "p{percent} {now:?}, {before:?} before");
        }
    }

    /// The longest wait.
    pub fn longest(&self) -> Duration {
        self.waits
            .iter()
            .copied()
            .max()
            .expect("a load has answers")
    }
}

/// Asks one agent again and again until it is told to end.
#[derive(Debug)]
pub struct Load {
    stop: watch::Sender<bool>,
    task: JoinHandle<Figures>,
}

impl Load {
    /// Asks every `period`, or as soon as the last answer is there when that takes longer.
    pub fn start(client: Client, id: &str, period: Duration) -> Self {
        Self::start_after(client, id, period, Duration::ZERO)
    }

    /// The same, beginning after `delay`: many loads at once should not ask all in the same instant.
    pub fn start_after(client: Client, id: &str, period: Duration, delay: Duration) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let id = id.to_owned();
        let task = tokio::spawn(async move {
            let mut figures = Figures::default();
            let mut clock = interval_at(Instant::now() + delay, period);
            clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for n in 1_u64.. {
                tokio::select! {
                    _ = stopped.wait_for(|stop| *stop) => break,
                    _ = clock.tick() => {}
                }
                let text = format!("question {n}");
                let asked = Instant::now();
                match client.try_send(&id, &text, None).await {
                    Ok(answer) if answer.ok() == Some(&text) => figures.waits.push(asked.elapsed()),
                    Ok(answer) => figures.failures.push(format!("{id}: {:?}", answer.0)),
                    Err(error) => figures.failures.push(format!("{id}: {error:#}")),
                }
            }
            figures
        });
        Self { stop, task }
    }

    /// Ends several; each lets its last answer come.
    pub async fn end_all(loads: Vec<Self>) -> Vec<Figures> {
        for load in &loads {
            load.stop.send_replace(true);
        }
        let mut figures = Vec::new();
        for load in loads {
            figures.push(load.end().await);
        }
        figures
    }

    /// Lets the last answer come, and gives the figures.
    pub async fn end(self) -> Figures {
        self.stop.send_replace(true);
        self.task.await.expect("a load does not panic")
    }
}
