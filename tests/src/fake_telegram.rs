//! A Telegram Bot API server for tests, and the people who write to its bots.
//!
//! The real server cannot be had offline, and a client that is only ever tested against its author's idea of it proves
//! little. So this one follows the real server's source in what a client can notice: parameter encodings, update
//! confirmation, parked polls and their conflicts, limits, and the wording of errors; and it is held against
//! python-telegram-bot and aiogram (`tests/fake_telegram.rs`), which must not tell it from the real one.
//!
//! A test holds a [`FakeTelegram`]: it adds bots and people, says things as those people, and sees what the bots sent,
//! which updates they confirmed and what they called. Faults are injected per bot and method. Outside Rust the
//! `fake-telegram` binary serves the same through `/control/…` (see `control.rs`).
//!
//! Deliberately absent: media other than documents, inline mode, payments, administration, rate limits that nobody
//! asked for, delivery to webhooks, and privacy mode (bots hear everything in their groups).

mod control;
mod error;
mod fault;
mod markup;
mod methods;
mod objects;
mod params;
mod people;
mod wire;
mod world;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use fault::{Fault, FaultRule};
pub use people::Speaker;
pub use world::{Action, CallbackAnswer, Sent};

use world::{Author, Bot, Shared, World};

/// A running server. Dropping it closes the port and every connection.
#[derive(Debug)]
pub struct FakeTelegram {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: Mutex<Option<JoinHandle<()>>>,
}

impl FakeTelegram {
    /// Starts on a free loopback port.
    pub async fn start() -> io::Result<Self> {
        Self::start_on((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Starts on this address.
    pub async fn start_on(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let fake = Self {
            address: listener.local_addr()?,
            shared: Arc::new(Shared::new()),
            server: Mutex::new(None),
        };
        fake.serve(listener);
        Ok(fake)
    }

    fn serve(&self, listener: TcpListener) {
        let task = tokio::spawn(wire::serve(listener, Arc::clone(&self.shared)));
        let before = self.task().replace(task);
        debug_assert!(before.is_none(), "the port was still served");
    }

    fn task(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes away: the port is closed and every connection is cut, while all that is known stays.
    pub async fn go_down(&self) {
        let task = self.task().take();
        if let Some(task) = task {
            task.abort();
            // It ends as cancelled; what counts is that it has ended.
            let _ = task.await;
        }
    }

    /// Comes back on the same port after [`Self::go_down`].
    pub async fn come_back(&self) -> io::Result<()> {
        self.serve(TcpListener::bind(self.address).await?);
        Ok(())
    }

    /// The root, such as `http://127.0.0.1:4711`; aiogram's `TelegramAPIServer.from_base` takes this.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The root of one bot's methods, `http://…/bot<token>`; frankenstein's `Bot::new_url` takes this.
    pub fn bot_url(&self, token: &str) -> String {
        format!("{}/bot{token}", self.url())
    }

    /// Adds a bot, or replaces it by a fresh one. Answers its id, the number in front of the token's colon.
    pub fn add_bot(&self, token: &str, username: &str) -> i64 {
        let id = token.split_once(':').and_then(|(id, _)| id.parse().ok());
        let id = id.unwrap_or_else(|| panic!("a token looks like 123:secret, not {token}"));
        self.shared
            .change(|world| world.bots.insert(token.to_owned(), Bot::new(id, username)));
        id
    }

    /// What this bot sent so far, oldest first, deleted ones included.
    pub fn sent(&self, token: &str) -> Vec<Sent> {
        self.shared.look(|world| sent(world, token))
    }

    /// Waits until this bot has sent a message that `wanted` accepts. The error lists what it sent instead.
    pub async fn wait_for_message(
        &self,
        token: &str,
        mut wanted: impl FnMut(&Sent) -> bool,
        within: Duration,
    ) -> Result<Sent, String> {
        let found = |world: &World| sent(world, token).into_iter().find(&mut wanted);
        wait(&self.shared, found, within).await.ok_or_else(|| {
            format!(
                "no such message within {within:?}; it sent {:#?}",
                self.sent(token)
            )
        })
    }

    /// Waits until `done` holds; answers whether it did in time. Whatever changes in here wakes it.
    pub async fn wait_until(&self, mut done: impl FnMut(&Self) -> bool, within: Duration) -> bool {
        let mut changes = self.shared.changes();
        let poll = async {
            while !done(self) {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(within, poll).await.is_ok()
    }

    /// The highest update id that this bot has acknowledged, 0 before the first.
    pub fn confirmed(&self, token: &str) -> i64 {
        self.shared.look(|world| world.bot(token).confirmed())
    }

    /// Update ids that this bot has not acknowledged.
    pub fn pending(&self, token: &str) -> Vec<i64> {
        self.shared.look(|world| {
            let updates = world.bot(token).updates.iter();
            updates.map(|(id, _)| *id).collect()
        })
    }

    /// How often this bot called a method, faults included (case does not matter).
    pub fn calls(&self, token: &str, method: &str) -> u64 {
        let method = method.to_ascii_lowercase();
        let calls = |world: &World| world.bot(token).calls.get(&method).copied();
        self.shared.look(calls).unwrap_or(0)
    }

    /// How many polls of this bot have parked so far: found nothing, and waited. A call is counted when it arrives;
    /// only a parked poll can be ended by another, or wake.
    pub fn parked(&self, token: &str) -> u64 {
        self.shared.look(|world| world.bot(token).parked)
    }

    /// How many requests of this bot hang at this moment.
    pub fn hung(&self, token: &str) -> usize {
        self.shared.look(|world| world.bot(token).hung)
    }

    /// Chat actions that this bot showed, oldest first.
    pub fn actions(&self, token: &str) -> Vec<Action> {
        self.shared.look(|world| world.bot(token).actions.clone())
    }

    /// Makes this bot's next calls meet trouble.
    pub fn fault(&self, token: &str, rule: impl Into<FaultRule>) {
        let rule = rule.into();
        self.shared
            .change(|world| world.bot_mut(token).faults.add(rule));
    }

    /// Ends all trouble for this bot's later calls. What hangs already keeps hanging.
    pub fn clear_faults(&self, token: &str) {
        self.shared
            .change(|world| world.bot_mut(token).faults.clear());
    }
}

impl Drop for FakeTelegram {
    fn drop(&mut self) {
        if let Some(task) = self.task().take() {
            task.abort();
        }
    }
}

/// The messages that a bot wrote.
fn sent(world: &World, token: &str) -> Vec<Sent> {
    let own = world.messages.iter();
    own.filter(|message| message.token == token && message.author == Author::Bot)
        .map(Sent::from)
        .collect()
}

/// Waits until `find` finds something.
async fn wait<R>(
    shared: &Shared,
    mut find: impl FnMut(&World) -> Option<R>,
    within: Duration,
) -> Option<R> {
    let mut changes = shared.changes();
    let poll = async {
        loop {
            if let Some(found) = shared.look(&mut find) {
                return Some(found);
            }
            changes.changed().await.ok()?;
        }
    };
    tokio::time::timeout(within, poll).await.ok().flatten()
}
