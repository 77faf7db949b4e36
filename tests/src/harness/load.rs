//! A steady load on one agent, to see what its neighbours' trouble does to it.

use std::time::Duration;

use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
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

    /// The longest wait.
    pub fn longest(&self) -> Duration {
        self.waits.iter().copied().max().expect("a load has answers")
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
        let (stop, stopped) = watch::channel(false);
        let id = id.to_owned();
        let task = tokio::spawn(async move {
            let mut figures = Figures::default();
            let mut clock = interval(period);
            clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut n = 0_u64;
            while !*stopped.borrow() {
                clock.tick().await;
                n += 1;
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

    /// Lets the last answer come, and gives the figures.
    pub async fn end(self) -> Figures {
        self.stop.send_replace(true);
        self.task.await.expect("a load does not panic")
    }
}
