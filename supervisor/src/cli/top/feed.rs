//! Asks the supervisor, and goes on asking when it is away. Each is a task; what it learns goes to
//! the screen's loop, which is the only one that changes the model.
//!
//! The queue to the loop is bounded; a task that finds it full waits, and so the supervisor's stream
//! waits, which then tells what it left out.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
};

use super::{
    super::{act, exit::Failure},
    model::Event,
};
use crate::{
    client::{Client, ClientError},
    control::wire::{Action, ActionRequest, EventsQuery, LifecycleEvent, LogLine},
};

/// How long a stream that ended is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// A supervisor that is silent for so long is said to be: what is on the screen is old.
const SILENCE: Duration = Duration::from_secs(3);

/// How many lines of a log are asked for.
const TAIL: u32 = 500;

/// The shortest time between two looks at an agent's processes: each look reads `/proc`.
const PROCESSES_EVERY: Duration = Duration::from_secs(2);

/// More actions than a person waits for at once are not begun.
const ACTIONS_MAX: usize = 32;

/// What the tasks have to say.
pub(super) const NEWS_MAX: usize = 256;

/// The tasks that ask.
pub(super) struct Feed {
    client: Client,
    every: Duration,
    news_tx: mpsc::Sender<Event>,
    /// Asks for the status before its time.
    now: Arc<Notify>,
    /// Status and events.
    standing: JoinSet<()>,
    /// Of the agent that is looked into.
    watching: JoinSet<()>,
    acting: JoinSet<()>,
}

impl Feed {
    pub(super) fn start(client: Client, every: Duration, news_tx: mpsc::Sender<Event>) -> Self {
        let now = Arc::new(Notify::new());
        let mut standing = JoinSet::new();
        standing.spawn(status(
            client.clone(),
            every,
            Arc::clone(&now),
            news_tx.clone(),
        ));
        standing.spawn(events(client.clone(), news_tx.clone()));
        Self {
            client,
            every,
            news_tx,
            now,
            standing,
            watching: JoinSet::new(),
            acting: JoinSet::new(),
        }
    }

    /// Looks into this agent, and no longer into another.
    pub(super) fn watch(&mut self, agent: Option<String>) {
        self.watching = JoinSet::new();
        if let Some(agent) = agent {
            let (client, news_tx) = (self.client.clone(), self.news_tx.clone());
            self.watching.spawn(log(client, agent.clone(), news_tx));
            let (client, news_tx) = (self.client.clone(), self.news_tx.clone());
            let every = self.every.max(PROCESSES_EVERY);
            self.watching
                .spawn(processes(client, agent, every, news_tx));
        }
    }

    /// Does it, and tells what came of it. `None` when too much is being done already.
    pub(super) fn act(&mut self, agent: String, action: Action) -> Option<()> {
        if self.acting.len() >= ACTIONS_MAX {
            return None;
        }
        let (client, news_tx) = (self.client.clone(), self.news_tx.clone());
        let now = Arc::clone(&self.now);
        self.acting.spawn(async move {
            let reply = client.act(&agent, action, &ActionRequest::default()).await;
            let told = act::outcome(&agent, action, reply).map_err(one_line);
            now.notify_one();
            // Nobody is there any more to be told.
            let _ = news_tx.send(Event::Acted(told)).await;
        });
        Some(())
    }

    /// Returns only by passing on the panic of a task: none of them ends otherwise but those that act.
    pub(super) async fn failed(&mut self) {
        loop {
            let ended = tokio::select! {
                Some(ended) = self.standing.join_next() => ended,
                Some(ended) = self.watching.join_next() => ended,
                Some(ended) = self.acting.join_next() => ended,
                else => std::future::pending().await,
            };
            if let Err(error) = ended
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn one_line(failure: Failure) -> String {
    match failure.hint {
        Some(hint) => format!("{}; {hint}", failure.message),
        None => failure.message,
    }
}

fn why(error: ClientError) -> String {
    Failure::from(error).message
}

async fn status(client: Client, every: Duration, now: Arc<Notify>, news_tx: mpsc::Sender<Event>) {
    let mut beat = tokio::time::interval(every);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            () = now.notified() => {}
        }
        let limit = SILENCE;
        let answer = tokio::time::timeout(limit, client.status()).await;
        let event = match answer.unwrap_or(Err(ClientError::Timeout { limit })) {
            Ok(status) => Event::Status(Box::new(status.value)),
            Err(error) => Event::Lost(why(error)),
        };
        if news_tx.send(event).await.is_err() {
            return;
        }
    }
}

/// Events of the past that are shown.
const PAST_EVENTS: u32 = 500;

async fn events(client: Client, news_tx: mpsc::Sender<Event>) {
    // The past once: what came while nobody was there is another supervisor's, or was seen before.
    let tail = AtomicU32::new(PAST_EVENTS);
    again(&news_tx, async || {
        let query = EventsQuery {
            tail: tail.swap(0, Ordering::Relaxed),
            ..EventsQuery::default()
        };
        let mut events = client.events(&query).await?;
        while let Some(event) = events.next_named::<LifecycleEvent>("lifecycle").await? {
            if news_tx
                .send(Event::Lifecycle(Box::new(event)))
                .await
                .is_err()
            {
                break;
            }
        }
        Ok(())
    })
    .await;
}

async fn log(client: Client, agent: String, news_tx: mpsc::Sender<Event>) {
    again(&news_tx, async || {
        let mut lines = client.follow_logs(&agent, TAIL).await?;
        let begins = Event::LogBegins(agent.clone());
        let mut sent = news_tx.send(begins).await;
        while sent.is_ok()
            && let Some(line) = lines.next_named::<LogLine>("line").await?
        {
            let line = Event::LogLine(agent.clone(), line.text);
            sent = news_tx.send(line).await;
        }
        Ok(())
    })
    .await;
}

/// Reads a stream anew whenever it ends. Why it ended is not told: the status tells of a supervisor
/// that is gone, and an agent that is not known any more leaves the table.
async fn again<F>(news_tx: &mpsc::Sender<Event>, mut read: impl FnMut() -> F)
where
    F: Future<Output = Result<(), ClientError>>,
{
    while !news_tx.is_closed() {
        let _ = read().await;
        tokio::time::sleep(RETRY).await;
    }
}

async fn processes(client: Client, agent: String, every: Duration, news_tx: mpsc::Sender<Event>) {
    let mut beat = tokio::time::interval(every);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let processes = client.processes(&agent).await.map_err(why);
        let event = Event::Processes(agent.clone(), processes);
        if news_tx.send(event).await.is_err() {
            return;
        }
    }
}
