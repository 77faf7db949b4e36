//! Between channels and agents: messages in to the dispatcher, answers back out.
//!
//! Channels know nothing of agents, and the dispatcher nothing of channels; this is the one place
//! that knows both. A message counts as accepted once the journal has it: only then its platform is told.
//! An answer is written into the outbox together with the end of its turn, and [`outbox`] sends it from
//! there.

mod accounts;
mod chats;
mod command;
mod outbox;
mod reply;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use kennel_shared::{
    envelope::{Envelope, Sender},
    ids::{ChannelId, DeliveryId},
    session_key::SessionKey,
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
};
use tracing::{info, warn};

pub use self::{
    accounts::Accounts,
    chats::Chats,
    reply::{sink_for, tell},
};
use self::{accounts::Entry, command::Command, reply::ChannelReply};
use crate::{
    channel::{Accepted, AccountHandle, Inbound, Rejected},
    dispatch::{self, DispatcherHandle, Submission, gather::Queueing, router::Router},
    journal::{
        Journal, JournalError, Op,
        entry::{NewSend, Origin},
    },
};

/// What a chat is told, once, whose agent has no room for its message.
const BUSY: &str = "I have too much to do at the moment. I will come to this as soon as I can.";

/// When a channel may try again after a full queue, or while nothing can be written down.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Puts an account to work: what it owes is sent by a task of its own, which ends with the account. It begins once
/// `before` is over: what is owed to one name is sent by one task at a time.
pub fn open(
    accounts: &Accounts,
    id: ChannelId,
    handle: AccountHandle,
    journal: Journal,
    before: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let entry = accounts.insert(id.clone(), handle);
    tokio::spawn(async move {
        before.await;
        outbox::run(id, entry.handle, entry.bell, journal).await;
    })
}

/// Runs until nobody can hand anything in. Takes what accounts hand in, by the bindings of its moment; each account hands in one after the other, so
/// its messages stay in order, and none waits for the disk of another.
pub async fn run(
    mut inbound: mpsc::Receiver<Inbound>,
    accounts: Accounts,
    router: watch::Receiver<Arc<Router>>,
    dispatcher: DispatcherHandle,
    journal: Journal,
    chats: Chats,
) {
    let told = Mutex::default();
    let mut taking: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
    loop {
        let Inbound { envelope, verdict } = tokio::select! {
            inbound = inbound.recv() => match inbound {
                Some(inbound) => inbound,
                None => return,
            },
            Some(()) = taking.next(), if !taking.is_empty() => continue,
        };
        let router = router.borrow().clone();
        let desk = Desk {
            accounts: &accounts,
            dispatcher: &dispatcher,
            journal: &journal,
            chats: &chats,
            told: &told,
        };
        let take = async move {
            let answer = desk.take(envelope, &router).await;
            // An account that was stopped meanwhile hands the message in again later.
            let _ = verdict.send(answer);
        };
        taking.push(take.boxed());
    }
}

/// What it takes to take a message.
struct Desk<'a> {
    accounts: &'a Accounts,
    dispatcher: &'a DispatcherHandle,
    journal: &'a Journal,
    chats: &'a Chats,
    /// Chats that were told that their message is not taken for now, and whose message was not taken since.
    told: &'a Mutex<HashSet<SessionKey>>,
}

impl Desk<'_> {
    async fn take(&self, envelope: Envelope, router: &Router) -> Result<Accepted, Rejected> {
        let full = Err(Rejected::Full {
            retry_after: RETRY_AFTER,
        });
        let Some(entry) = self.accounts.entry(&envelope.channel) else {
            warn!(channel.id = %envelope.channel, "a message came from an unknown channel");
            return Err(Rejected::Closed);
        };
        let chat = match router.route(&envelope) {
            Ok(chat) => chat,
            Err(error) => {
                // Not to be mended by trying again, so it counts as taken.
                info!(channel.id = %envelope.channel, peer.kind = %envelope.peer.kind, %error, "a message has nobody to go to");
                return Ok(Accepted::New);
            }
        };
        let configured = router.queueing(chat.agent_str(), &envelope.channel);
        let reply = ChannelReply::new(
            self.accounts.clone(),
            envelope.channel.clone(),
            envelope.peer,
            envelope.message_id.clone(),
        );
        if let Some(command) = command::read(&envelope.text) {
            let answer = self
                .obey(command, &chat, &envelope.sender, configured)
                .await;
            return match answer {
                Ok(words) => self.say(&envelope.channel, reply.send(words)).await,
                Err(error) => {
                    warn!(channel.id = %envelope.channel, %error, "a command is not carried out for now");
                    full
                }
            };
        }
        let Ok(place) = place(&entry) else {
            return full;
        };
        let reply = reply.at(place);
        let (absent, busy) = (reply.absent(), reply.send(BUSY.into()));
        let submission = Submission {
            delivery: DeliveryId::new(),
            origin: Origin::Channel {
                channel: envelope.channel.clone(),
                message_id: envelope.message_id,
            },
            session: self.chats.session(&chat),
            sender: envelope.sender,
            text: envelope.text,
            reply_to: Some(reply.reply_to()),
            queueing: Some(Queueing {
                mode: self.chats.mode(&chat).unwrap_or(configured.mode),
                ..configured
            }),
            sink: Box::new(reply),
        };
        let submitted = self.dispatcher.submit(submission).await;
        if submitted.is_ok() {
            self.told().remove(&chat);
        }
        match submitted {
            Ok(dispatch::Accepted { repeat: false, .. }) => Ok(Accepted::New),
            Ok(dispatch::Accepted { repeat: true, .. }) => Ok(Accepted::Duplicate),
            Err(dispatch::Rejected::QueueFull { max, .. }) => {
                if max > 0 && self.told().insert(chat) {
                    // The message itself is handed in again.
                    let _ = self.say(&envelope.channel, busy).await;
                }
                full
            }
            // One that leaves lets the account go on until what it owes is sent.
            Err(dispatch::Rejected::Leaving) => full,
            Err(dispatch::Rejected::Journal(error)) => {
                warn!(channel.id = %envelope.channel, %error, "a message is not taken for now");
                full
            }
            // A chat's message is taken over the budget too, and answered by what is said of that.
            Err(
                error @ (dispatch::Rejected::Resting { .. }
                | dispatch::Rejected::OverBudget { .. }
                | dispatch::Rejected::UnknownAgent(_)),
            ) => {
                info!(channel.id = %envelope.channel, %error, "a message came for an agent that is not there");
                self.say(&envelope.channel, absent).await
            }
        }
    }

    fn told(&self) -> MutexGuard<'_, HashSet<SessionKey>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has something sent that is no answer of an agent.
    async fn say(&self, channel: &ChannelId, send: NewSend) -> Result<Accepted, Rejected> {
        match self.journal.put(Op::Enqueue(Box::new(send))).await {
            Ok(_) => {
                self.accounts.ring(channel);
                Ok(Accepted::New)
            }
            Err(_) => Err(Rejected::Full {
                retry_after: RETRY_AFTER,
            }),
        }
    }

    /// Carries a command out; what is answered.
    async fn obey(
        &self,
        command: Command<'_>,
        chat: &SessionKey,
        sender: &Sender,
        configured: Queueing,
    ) -> Result<String, JournalError> {
        let session = self.chats.session(chat);
        Ok(match command {
            Command::ShowQueue => {
                let chosen = self.chats.mode(chat);
                let mode = chosen.unwrap_or(configured.mode).as_str();
                let whence = if chosen.is_some() {
                    "chosen in this chat"
                } else {
                    "as configured"
                };
                let Queueing { cap, drop, .. } = configured;
                let (modes, drop) = (command::modes(), drop.as_str());
                format!(
                    "Messages wait in mode {mode} ({whence}); at most {cap}, then: drop {drop}. Change it by /queue and one of {modes}, default."
                )
            }
            Command::Queue(mode) => {
                self.chats.choose(chat, Some(mode)).await?;
                format!("Messages in this chat now wait in mode {}.", mode.as_str())
            }
            Command::QueueDefault => {
                self.chats.choose(chat, None).await?;
                let mode = configured.mode.as_str();
                format!("Messages in this chat now wait as configured: {mode}.")
            }
            Command::UnknownMode(mode) => format!(
                "There is no mode {mode}; there are {}, and default.",
                command::modes()
            ),
            Command::Stop => match self.dispatcher.stop_session(session).await {
                0 => "There was nothing to stop.".into(),
                _ => "Stopped.".into(),
            },
            Command::New => {
                self.dispatcher.stop_session(session).await;
                self.chats.begin(chat).await?;
                "A new conversation begins here.".into()
            }
            Command::Status => self.status(chat, session, configured).await,
            Command::WhoAmI => {
                let name = sender.name.as_deref().unwrap_or("without a name");
                let id = &sender.id;
                format!("You are {name}, id {id}. This conversation is {session}.")
            }
        })
    }

    async fn status(&self, chat: &SessionKey, session: SessionKey, configured: Queueing) -> String {
        let agent = chat.agent();
        let counts = self.dispatcher.counts().await;
        let counts = counts.get(&agent).copied().unwrap_or_default();
        let (waiting, running) = self.dispatcher.session_counts(session).await;
        let mode = self.chats.mode(chat).unwrap_or(configured.mode).as_str();
        let here = match (running, waiting) {
            (0, 0) => "Nothing of this chat is being answered.".to_owned(),
            (0, waiting) => format!("{waiting} of this chat wait."),
            (_, 0) => "One of this chat is being answered.".to_owned(),
            (_, waiting) => format!("One of this chat is being answered, {waiting} wait."),
        };
        let (runs, waits) = (counts.running, counts.waiting);
        let state = counts.resting.unwrap_or("running");
        format!("Agent {agent} is {state}: {runs} at work, {waits} waiting. {here} Mode: {mode}.")
    }
}

/// A place among the messages of an account that are being answered.
fn place(entry: &Entry) -> Result<tokio::sync::OwnedSemaphorePermit, ()> {
    if entry.is_full() {
        return Err(());
    }
    Semaphore::try_acquire_owned(entry.places.clone()).map_err(|_| ())
}
