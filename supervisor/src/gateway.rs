//! Between channels and agents: messages in to the dispatcher, answers back out.
//!
//! Channels know nothing of agents, and the dispatcher nothing of channels; this is the one place
//! that knows both. A message counts as accepted once the dispatcher has it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use kennel_shared::{
    envelope::{Envelope, Peer},
    ids::{ChannelId, DeliveryId},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::AbortHandle,
    time::interval,
};
use tracing::{info, warn};

use crate::{
    channel::{Accepted, AccountHandle, Inbound, Outbound, OutboundKind, Rejected},
    dispatch::{self, DispatcherHandle, EndKind, ReplySink, Submission, TurnEnd, router::Router},
};

/// When a channel may try again after a full queue.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// How often "is typing" is repeated; platforms show it for about five seconds.
const TYPING_EVERY: Duration = Duration::from_secs(4);

/// Messages of one account that are being answered, answers that wait to be sent included. Full: the
/// account is told to try again, so an account that cannot send takes no more in.
const UNANSWERED: usize = 256;

/// The accounts by id.
pub type Accounts = Arc<HashMap<ChannelId, AccountHandle>>;

/// Runs until no account is left. Takes what they hand in, in order.
pub async fn run(
    mut inbound: mpsc::Receiver<Inbound>,
    accounts: Accounts,
    router: Router,
    dispatcher: DispatcherHandle,
) {
    let places: HashMap<ChannelId, Arc<Semaphore>> = accounts
        .keys()
        .map(|id| (id.clone(), Arc::new(Semaphore::new(UNANSWERED))))
        .collect();
    while let Some(Inbound { envelope, verdict }) = inbound.recv().await {
        let Some(account) = accounts.get(&envelope.channel) else {
            warn!(channel.id = %envelope.channel, "a message came from an unknown channel");
            continue;
        };
        let place = places.get(&envelope.channel).map(Arc::clone);
        let place = place.and_then(|places| places.try_acquire_owned().ok());
        let answer = match place {
            Some(place) => take(envelope, account, place, &router, &dispatcher).await,
            None => Err(Rejected::Full {
                retry_after: RETRY_AFTER,
            }),
        };
        // An account that was stopped meanwhile hands the message in again later.
        let _ = verdict.send(answer);
    }
}

async fn take(
    envelope: Envelope,
    account: &AccountHandle,
    place: OwnedSemaphorePermit,
    router: &Router,
    dispatcher: &DispatcherHandle,
) -> Result<Accepted, Rejected> {
    let reply = ChannelReply {
        account: account.clone(),
        peer: envelope.peer.clone(),
        reply_to: envelope.message_id.clone(),
        typing: None,
        place: Arc::new(place),
    };
    let session = match router.route(&envelope) {
        Ok(session) => session,
        Err(error) => {
            // Not to be mended by trying again, so it counts as taken.
            info!(channel.id = %envelope.channel, peer.kind = %envelope.peer.kind, %error, "a message has nobody to go to");
            return Ok(Accepted::New);
        }
    };
    let submission = Submission {
        delivery: DeliveryId::new(),
        session,
        sender: envelope.sender,
        text: envelope.text,
        sink: Box::new(reply.clone()),
    };
    match dispatcher.submit(submission).await {
        Ok(dispatch::Accepted) => Ok(Accepted::New),
        Err(dispatch::Rejected::QueueFull { .. }) => Err(Rejected::Full {
            retry_after: RETRY_AFTER,
        }),
        Err(dispatch::Rejected::Leaving) => Err(Rejected::Closed),
        Err(error @ (dispatch::Rejected::Resting { .. } | dispatch::Rejected::UnknownAgent(_))) => {
            info!(channel.id = %envelope.channel, %error, "a message came for an agent that does not run");
            let end = TurnEnd::Failed {
                kind: EndKind::Stopped,
                message: String::new(),
            };
            Box::new(reply).end(end);
            Ok(Accepted::New)
        }
    }
}

/// Where the answer to one message goes.
#[derive(Clone)]
struct ChannelReply {
    account: AccountHandle,
    peer: Peer,
    reply_to: String,
    /// Repeats "is typing" while a turn runs.
    typing: Option<AbortHandle>,
    /// Its place among the [`UNANSWERED`], given back when it is dropped.
    place: Arc<OwnedSemaphorePermit>,
}

impl ChannelReply {
    fn outbound(&self, kind: OutboundKind) -> Outbound {
        Outbound {
            peer: self.peer.clone(),
            reply_to: Some(self.reply_to.clone()),
            kind,
        }
    }
}

impl ReplySink for ChannelReply {
    fn started(&mut self) {
        if self.typing.is_some() {
            return;
        }
        let (account, typing) = (self.account.clone(), self.outbound(OutboundKind::Typing));
        let task = tokio::spawn(async move {
            let mut beat = interval(TYPING_EVERY);
            loop {
                beat.tick().await;
                // A full queue has better things to send.
                let _ = account.try_send(typing.clone());
            }
        });
        self.typing = Some(task.abort_handle());
    }

    fn delta(&mut self, _: &str) {}

    fn end(self: Box<Self>, end: TurnEnd) {
        if let Some(typing) = &self.typing {
            typing.abort();
        }
        let text = match end {
            TurnEnd::Replied { text, .. } => text,
            TurnEnd::Failed {
                kind: EndKind::Stopped,
                ..
            } => "I am not running at the moment. Please try again later.".into(),
            TurnEnd::Failed { message, .. } => message,
            TurnEnd::Cancelled => return,
        };
        let outbound = self.outbound(OutboundKind::Text(text));
        // Waits for room in the account's queue beside the dispatcher, which must not wait. Its
        // place is held meanwhile, so there are never more of these than places.
        tokio::spawn(async move {
            if let Err(error) = self.account.send(outbound).await {
                warn!(%error, "an answer could not be handed to its channel");
            }
            drop(self.place);
        });
    }
}
