//! Where the answer to a message from a chat goes, and that to a run of a schedule.

use std::{sync::Arc, time::Duration};

use kennel_shared::{envelope::Peer, ids::ChannelId};
use serde::{Deserialize, Serialize};
use tokio::{sync::OwnedSemaphorePermit, task::AbortHandle, time::interval};
use tracing::error;

use super::accounts::Accounts;
use crate::{
    channel::{Outbound, OutboundKind},
    dispatch::{EndKind, Nobody, ReplySink, TurnEnd},
    journal::{
        entry::{NewSend, Origin},
        reader::Message,
    },
    schedule::{ScheduleId, Tell},
};

/// How often "is typing" is repeated; platforms show it for about five seconds.
const TYPING_EVERY: Duration = Duration::from_secs(4);

/// What the journal keeps for us beside a message, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ReplyTo {
    peer: Peer,
    /// The platform's id of the message.
    message: String,
}

/// The chat and the message that an answer is for.
pub(super) struct ChannelReply {
    accounts: Accounts,
    channel: ChannelId,
    to: ReplyTo,
    /// Repeats "is typing" while a turn runs.
    typing: Option<AbortHandle>,
    /// Its place among the account's messages that are being answered, given back when it is dropped.
    place: Option<Arc<OwnedSemaphorePermit>>,
}

impl ChannelReply {
    pub(super) fn new(accounts: Accounts, channel: ChannelId, peer: Peer, message: String) -> Self {
        Self {
            accounts,
            channel,
            to: ReplyTo { peer, message },
            typing: None,
            place: None,
        }
    }

    /// With a place among the account's messages that are being answered.
    pub(super) fn at(mut self, place: OwnedSemaphorePermit) -> Self {
        self.place = Some(Arc::new(place));
        self
    }

    /// Something to be sent to the chat.
    pub(super) fn send(&self, text: String) -> NewSend {
        NewSend {
            channel: self.channel.clone(),
            peer: self.to.peer.clone(),
            reply_to: Some(self.to.message.clone()),
            text,
        }
    }

    /// What the chat is told when there is no agent to answer it.
    pub(super) fn absent(&self) -> NewSend {
        self.send(ABSENT.into())
    }

    /// For the journal.
    pub(super) fn reply_to(&self) -> String {
        serde_json::to_string(&self.to).expect("a few texts serialize")
    }
}

/// Who is told of the answer to a message that an earlier supervisor took.
pub fn sink_for(accounts: &Accounts, message: &Message) -> Box<dyn ReplySink> {
    let channel = match &message.origin {
        Origin::Channel { channel, .. } => channel,
        Origin::Caller { .. } => return Box::new(Nobody),
        Origin::Schedule { schedule, .. } => {
            let tell = message.reply_to.as_deref().map(serde_json::from_str);
            let tell = tell.transpose().unwrap_or_else(|error| {
                error!(delivery.id = %message.delivery, %error, "it is not known who is to be told an answer");
                None
            });
            return self::tell(schedule, tell.as_ref()).0;
        }
    };
    let to = message.reply_to.as_deref().unwrap_or_default();
    match serde_json::from_str(to) {
        Ok(to) => Box::new(ChannelReply {
            accounts: accounts.clone(),
            channel: channel.clone(),
            to,
            typing: None,
            place: None,
        }),
        Err(error) => {
            error!(delivery.id = %message.delivery, %error, "it is not known to which chat an answer goes");
            Box::new(Nobody)
        }
    }
}

/// Who is told the answer of a schedule's run, and that for the journal.
pub fn tell(schedule: &ScheduleId, tell: Option<&Tell>) -> (Box<dyn ReplySink>, Option<String>) {
    let Some(tell) = tell else {
        return (Box::new(Nobody), None);
    };
    let told = Told {
        schedule: schedule.clone(),
        to: tell.clone(),
    };
    let kept = serde_json::to_string(tell).expect("a few texts serialize");
    (Box::new(told), Some(kept))
}

/// A chat that is told something which it has not asked for.
struct Told {
    schedule: ScheduleId,
    to: Tell,
}

impl ReplySink for Told {
    fn sends(&self, end: &TurnEnd) -> Vec<NewSend> {
        let text = match end {
            TurnEnd::Replied { text, .. } => text.clone(),
            TurnEnd::Failed { message, .. } => {
                format!("The schedule {} has no answer: {message}", self.schedule)
            }
            TurnEnd::Cancelled => return Vec::new(),
        };
        vec![NewSend {
            channel: self.to.channel.clone(),
            peer: self.to.peer.clone(),
            reply_to: None,
            text,
        }]
    }

    fn outlasts(&self) -> bool {
        true
    }

    fn started(&mut self) {}

    fn delta(&mut self, _: &str) {}

    fn end(self: Box<Self>, _: TurnEnd) {}
}

/// What a chat is told when nobody is there to answer it.
const ABSENT: &str = "I am not running at the moment. Please try again later.";

/// What a chat is told of an end; nothing of one that it asked for.
fn words(end: &TurnEnd) -> Option<String> {
    Some(match end {
        TurnEnd::Replied { text, .. } => text.clone(),
        TurnEnd::Failed {
            kind: EndKind::Stopped,
            ..
        } => ABSENT.into(),
        TurnEnd::Failed { message, .. } => message.clone(),
        TurnEnd::Cancelled => return None,
    })
}

impl ReplySink for ChannelReply {
    fn sends(&self, end: &TurnEnd) -> Vec<NewSend> {
        words(end).map(|text| self.send(text)).into_iter().collect()
    }

    fn notice(&self, words: &str) -> Option<NewSend> {
        Some(self.send(words.to_owned()))
    }

    fn outlasts(&self) -> bool {
        true
    }

    fn started(&mut self) {
        if self.typing.is_some() {
            return;
        }
        let Some(account) = self.accounts.get(&self.channel) else {
            return;
        };
        let typing = Outbound {
            peer: self.to.peer.clone(),
            reply_to: Some(self.to.message.clone()),
            kind: OutboundKind::Typing,
        };
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

    fn end(self: Box<Self>, _: TurnEnd) {}
}

impl Drop for ChannelReply {
    fn drop(&mut self) {
        if let Some(typing) = &self.typing {
            typing.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use kennel_shared::{
        envelope::{PeerKind, Sender},
        ids::DeliveryId,
    };

    use super::*;

    fn message(origin: Origin, reply_to: Option<String>) -> Message {
        Message {
            delivery: DeliveryId::new(),
            origin,
            session: "agent:a:x".parse().unwrap(),
            sender: Sender {
                id: "1".into(),
                name: None,
            },
            text: "hi".into(),
            reply_to,
        }
    }

    #[tokio::test]
    async fn the_next_supervisor_answers_the_same_message_of_the_same_chat() {
        let places = Arc::new(tokio::sync::Semaphore::new(1));
        let peer = Peer {
            kind: PeerKind::Group,
            id: "-100".into(),
        };
        let channel: ChannelId = "tg".parse().unwrap();
        let first = ChannelReply::new(
            Accounts::default(),
            channel.clone(),
            peer.clone(),
            "77".into(),
        )
        .at(places.try_acquire_owned().unwrap());
        let origin = Origin::Channel {
            channel: channel.clone(),
            message_id: "77".into(),
        };
        let end = TurnEnd::Failed {
            kind: EndKind::Timeout,
            message: "too slow".into(),
        };
        let again = sink_for(
            &Accounts::default(),
            &message(origin.clone(), Some(first.reply_to())),
        );
        let expected = NewSend {
            channel,
            peer,
            reply_to: Some("77".into()),
            text: "too slow".into(),
        };
        let expected = [expected];
        assert_eq!(again.sends(&end), expected);
        assert_eq!(first.sends(&end), expected);
        assert_eq!(again.sends(&TurnEnd::Cancelled), []);
        // What cannot be read has nobody, and harms nobody.
        let lost = sink_for(&Accounts::default(), &message(origin, Some("{".into())));
        assert_eq!(lost.sends(&end), []);
        let caller = message(Origin::Caller { key: None }, None);
        assert_eq!(sink_for(&Accounts::default(), &caller).sends(&end), []);
    }
}
