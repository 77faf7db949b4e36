//! Sends what an account owes, from the journal: each thing is claimed before the platform gets it, and
//! settled when the platform has it.
//!
//! ```text
//! journal ──window──► claim ─► account ─► platform
//!    ▲                            │
//!    └── parts, sent, failed ◄────┘
//! ```
//!
//! Between the platform's yes and the record of it lies a moment in which a supervisor that dies knows no
//! better than to send again: such a thing is marked in the journal as one that may have been sent twice.

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use kennel_shared::ids::ChannelId;
use tokio::time::{Duration, sleep};
use tracing::{error, warn};

use super::accounts::Bell;
use crate::{
    channel::{AccountHandle, Outbound, OutboundKind, Receipt, Settlement},
    journal::{
        Answer, Journal, JournalError, Op,
        entry::SendId,
        op::SendEnd,
        reader::{Owed, Window},
    },
};

/// Things that are with the account at once; not more than its queue holds, so that handing in one
/// never waits for long.
const IN_FLIGHT: usize = crate::channel::OUTBOUND_QUEUE;

/// When a journal that could not be read is tried again.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// Runs until the account has ended and all that it had is settled.
pub(super) async fn run(channel: ChannelId, account: AccountHandle, bell: Bell, journal: Journal) {
    let mut outbox = Outbox {
        channel,
        account,
        bell,
        journal,
        after: None,
        flights: FuturesUnordered::new(),
    };
    outbox.count().await;
    outbox.serve().await;
    while outbox.flights.next().await.is_some() {}
}

struct Outbox {
    channel: ChannelId,
    account: AccountHandle,
    bell: Bell,
    journal: Journal,
    /// The last that was taken out.
    after: Option<SendId>,
    flights: FuturesUnordered<BoxFuture<'static, ()>>,
}

/// The account takes no more.
struct Ended;

impl Outbox {
    /// What earlier supervisors have left.
    async fn count(&mut self) {
        let channel = self.channel.clone();
        match self
            .journal
            .read(move |reader| reader.owed_count(&channel))
            .await
        {
            Ok(owed) => self.bell.found(owed),
            Err(error) => {
                warn!(channel.id = %self.channel, error = crate::error_chain(&error), "it is not known what is to be sent");
            }
        }
    }

    async fn serve(&mut self) {
        let mut rung = self.bell.rung();
        loop {
            let seen = *rung.borrow_and_update();
            let room = IN_FLIGHT.saturating_sub(self.flights.len());
            let more = match self.take(room).await {
                Ok(more) => more,
                Err(Ended) => return,
            };
            if self.flights.is_empty() && !more {
                self.bell.serve(seen);
            }
            if more && self.flights.len() < IN_FLIGHT {
                continue;
            }
            tokio::select! {
                changed = rung.changed() => if changed.is_err() {
                    return;
                },
                Some(()) = self.flights.next(), if !self.flights.is_empty() => {}
                () = self.account.ended() => return,
            }
        }
    }

    /// Hands up to `room` things to the account; whether there is more.
    async fn take(&mut self, room: usize) -> Result<bool, Ended> {
        if room == 0 {
            return Ok(true);
        }
        let (channel, after) = (self.channel.clone(), self.after);
        let limit = u32::try_from(room).unwrap_or(u32::MAX);
        let read = move |reader: &crate::journal::Reader| reader.owed(&channel, after, limit);
        let window = match self.journal.read(read).await {
            Ok(window) => window,
            Err(error) => {
                warn!(channel.id = %self.channel, error = crate::error_chain(&error), "what is to be sent cannot be read for now");
                sleep(READ_AGAIN).await;
                return Ok(true);
            }
        };
        let Window { entries, next } = window;
        for owed in entries {
            let id = owed.id;
            if !self.send(owed).await? {
                // Nothing overtakes it.
                sleep(READ_AGAIN).await;
                return Ok(true);
            }
            self.after = Some(id);
        }
        Ok(next.is_some())
    }

    /// Hands one thing to the account; whether it is dealt with.
    async fn send(&mut self, owed: Owed) -> Result<bool, Ended> {
        let id = owed.id;
        // No platform that we speak to knows a repeat when it sees one.
        let claim = Op::Claim {
            send: id,
            repeatable: false,
        };
        let parts_done = match self.journal.put(claim).await {
            Ok(Answer::Claimed { parts_done, .. }) => parts_done,
            Ok(_) | Err(JournalError::Refused(_)) => {
                // It was settled meanwhile.
                self.bell.settled();
                return Ok(true);
            }
            Err(JournalError::Closed) => return Err(Ended),
            Err(error) => {
                error!(channel.id = %self.channel, %error, "something cannot be sent, since it cannot be noted");
                return Ok(false);
            }
        };
        let outbound = Outbound {
            peer: owed.peer,
            reply_to: owed.reply_to,
            kind: OutboundKind::Text(owed.text),
        };
        let (journal, bell) = (self.journal.clone(), self.bell.clone());
        let parts_done = usize::try_from(parts_done).unwrap_or(0);
        if let Ok(receipt) = self.account.send_from(outbound, parts_done).await {
            self.flights
                .push(settle(journal, bell, id, receipt).boxed());
            Ok(true)
        } else {
            note(&journal, id, SendEnd::Again { doubtful: false }).await;
            Err(Ended)
        }
    }
}

/// Writes down what becomes of one thing.
async fn settle(journal: Journal, bell: Bell, id: SendId, mut receipt: Receipt) {
    while let Some(parts_done) = receipt.progress().await {
        let progress = Op::Progress {
            send: id,
            parts_done: u32::try_from(parts_done).unwrap_or(u32::MAX),
            platform_id: None,
        };
        if let Err(error) = journal.put(progress).await {
            warn!(%error, "it was not written down how much of a message is out");
        }
    }
    let how = match receipt.settled().await {
        Settlement::Delivered { doubtful } => SendEnd::Sent {
            platform_id: None,
            doubtful,
        },
        Settlement::Failed(why) => SendEnd::Failed { why },
        Settlement::Abandoned { tried } => SendEnd::Again { doubtful: tried },
    };
    note(&journal, id, how).await;
    bell.settled();
}

async fn note(journal: &Journal, send: SendId, how: SendEnd) {
    match journal.put(Op::SettleSend { send, how }).await {
        Ok(_) | Err(JournalError::Closed) => {}
        Err(error) => error!(%error, "it was not written down what became of a message"),
    }
}
