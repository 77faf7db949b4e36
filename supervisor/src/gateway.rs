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
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
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

/// Who is connected, and who answers whom: both at one moment.
#[derive(Default)]
pub struct Routes {
    /// The accounts.
    pub accounts: Accounts,
    /// The bindings.
    pub router: Router,
}

/// The routes as they are now.
pub type RoutesNow = watch::Receiver<Arc<Routes>>;

/// Runs until nobody can hand anything in. Takes what the accounts hand in, in order, each by the routes of its moment.
pub async fn run(
    mut inbound: mpsc::Receiver<Inbound>,
    routes_now: RoutesNow,
    dispatcher: DispatcherHandle,
) {
    let mut places: HashMap<ChannelId, Arc<Semaphore>> = HashMap::new();
    while let Some(Inbound { envelope, verdict }) = inbound.recv().await {
        let routes = routes_now.borrow().clone();
        if !routes.accounts.contains_key(&envelope.channel) {
            warn!(channel.id = %envelope.channel, "a message came from a channel that is not there any more");
            continue;
        }
        let place = places.entry(envelope.channel.clone());
        let place = place.or_insert_with(|| Arc::new(Semaphore::new(UNANSWERED)));
        let place = Arc::clone(place).try_acquire_owned().ok();
        let answer = match place {
            Some(place) => {
                let reply = ChannelReply {
                    routes: routes_now.clone(),
                    channel: envelope.channel.clone(),
                    peer: envelope.peer.clone(),
                    reply_to: envelope.message_id.clone(),
                    typing: None,
                    place: Arc::new(place),
                };
                take(envelope, reply, &routes.router, &dispatcher).await
            }
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
    reply: ChannelReply,
    router: &Router,
    dispatcher: &DispatcherHandle,
) -> Result<Accepted, Rejected> {
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
    /// Where its account is looked up when there is something to send: it may have been connected anew by then.
    routes: RoutesNow,
    channel: ChannelId,
    peer: Peer,
    reply_to: String,
    /// Repeats "is typing" while a turn runs.
    typing: Option<AbortHandle>,
    /// Its place among the [`UNANSWERED`], given back when it is dropped.
    place: Arc<OwnedSemaphorePermit>,
}

impl ChannelReply {
    /// The account as it is now; `None` when the channel was removed meanwhile.
    fn account(&self) -> Option<AccountHandle> {
        self.routes.borrow().accounts.get(&self.channel).cloned()
    }

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
        let (reply, typing) = (self.clone(), self.outbound(OutboundKind::Typing));
        let task = tokio::spawn(async move {
            let mut beat = interval(TYPING_EVERY);
            loop {
                beat.tick().await;
                let Some(account) = reply.account() else {
                    return;
                };
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
            let sent = match self.account() {
                Some(account) => account
                    .send(outbound)
                    .await
                    .map_err(|error| error.to_string()),
                None => Err("the channel was removed".to_owned()),
            };
            if let Err(error) = sent {
                warn!(channel.id = %self.channel, error, "an answer could not be handed to its channel");
            }
            drop(self.place);
        });
    }
}
