//! Between channels and agents: messages in to the dispatcher, answers back out.
//!
//! Channels know nothing of agents, and the dispatcher nothing of channels; this is the one place
//! that knows both. A message counts as accepted once the journal has it: only then its platform is told.
//! An answer is written into the outbox together with the end of its turn, and [`outbox`] sends it from
//! there.

mod accounts;
mod outbox;
mod reply;

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use kennel_shared::{
    envelope::Envelope,
    ids::{ChannelId, DeliveryId},
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
};
use tracing::{info, warn};

pub use self::{accounts::Accounts, reply::sink_for};
use self::{accounts::Entry, reply::ChannelReply};
use crate::{
    channel::{Accepted, AccountHandle, Inbound, Rejected},
    dispatch::{self, DispatcherHandle, Submission, router::Router},
    journal::{Journal, Op, entry::Origin},
};

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
) {
    let mut taking: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
    loop {
        let Inbound { envelope, verdict } = tokio::select! {
            inbound = inbound.recv() => match inbound {
                Some(inbound) => inbound,
                None => return,
            },
            Some(()) = taking.next(), if !taking.is_empty() => continue,
        };
        let (accounts, dispatcher, journal) = (&accounts, &dispatcher, &journal);
        let router = router.borrow().clone();
        let take = async move {
            let answer = take(envelope, accounts, &router, dispatcher, journal).await;
            // An account that was stopped meanwhile hands the message in again later.
            let _ = verdict.send(answer);
        };
        taking.push(take.boxed());
    }
}

async fn take(
    envelope: Envelope,
    accounts: &Accounts,
    router: &Router,
    dispatcher: &DispatcherHandle,
    journal: &Journal,
) -> Result<Accepted, Rejected> {
    let full = Err(Rejected::Full {
        retry_after: RETRY_AFTER,
    });
    let Some(entry) = accounts.entry(&envelope.channel) else {
        warn!(channel.id = %envelope.channel, "a message came from an unknown channel");
        return Err(Rejected::Closed);
    };
    let Ok(place) = place(&entry) else {
        return full;
    };
    let session = match router.route(&envelope) {
        Ok(session) => session,
        Err(error) => {
            // Not to be mended by trying again, so it counts as taken.
            info!(channel.id = %envelope.channel, peer.kind = %envelope.peer.kind, %error, "a message has nobody to go to");
            return Ok(Accepted::New);
        }
    };
    let reply = ChannelReply::new(
        accounts.clone(),
        envelope.channel.clone(),
        envelope.peer,
        envelope.message_id.clone(),
        place,
    );
    let absent = reply.absent();
    let submission = Submission {
        delivery: DeliveryId::new(),
        origin: Origin::Channel {
            channel: envelope.channel.clone(),
            message_id: envelope.message_id,
        },
        session,
        sender: envelope.sender,
        text: envelope.text,
        reply_to: Some(reply.reply_to()),
        sink: Box::new(reply),
    };
    match dispatcher.submit(submission).await {
        Ok(dispatch::Accepted { repeat: false, .. }) => Ok(Accepted::New),
        Ok(dispatch::Accepted { repeat: true, .. }) => Ok(Accepted::Duplicate),
        // One that leaves lets the account go on until what it owes is sent.
        Err(dispatch::Rejected::QueueFull { .. } | dispatch::Rejected::Leaving) => full,
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
            match journal.put(Op::Enqueue(Box::new(absent))).await {
                Ok(_) => {
                    accounts.ring(&envelope.channel);
                    Ok(Accepted::New)
                }
                Err(_) => full,
            }
        }
    }
}

/// A place among the messages of an account that are being answered.
fn place(entry: &Entry) -> Result<tokio::sync::OwnedSemaphorePermit, ()> {
    if entry.is_full() {
        return Err(());
    }
    Semaphore::try_acquire_owned(entry.places.clone()).map_err(|_| ())
}
