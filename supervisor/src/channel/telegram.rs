//! Telegram, by long poll of the Bot API.
//!
//! Polling and sending run side by side on connections of their own, so a poll that hangs delays no message. A poll
//! that has not returned some seconds after it should have is dropped and renewed. An update is confirmed, by the offset
//! of the next poll, only after its message was accepted.
//!
//! | chat | peer |
//! | --- | --- |
//! | private chat | direct, `<chat id>` |
//! | group | group, `<chat id>` |
//! | topic of a group | group, `<chat id>/<topic id>` |
//!
//! Senders are allowed by their numeric id, or as `@name`. A name can be given up and taken by somebody else: prefer ids.
//! Texts go out as they are, without markup, in parts of at most 4096 UTF-16 units. In groups, the first part answers the
//! message that it is about.

mod api;
mod update;

use std::convert::Infallible;
use std::time::Duration;

use frankenstein::methods::{SendChatActionParams, SendMessageParams};
use frankenstein::types::{ChatAction, ReplyParameters};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use kennel_shared::envelope::{Peer, PeerKind};
use secrecy::SecretString;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use self::api::{Api, CallError};
use self::update::{Me, Reader, Reading, Update, UpdateId};
use super::text::{self, Unit};
use super::{
    AccountIo, AllowFrom, ChannelError, Inlet, OutboundKind, Outlet, Platform, SendError, Sending,
};

/// The longest text of one message.
const TEXT_MAX: usize = 4096;
/// How many messages, each for another chat, are under way at once.
const CONCURRENT_SENDS: usize = 8;
/// How long a broken poll waits for messages that are under way, so that they are not sent twice.
const LINGER: Duration = Duration::from_secs(5);
/// So many hung polls in a row are a lost connection.
const HUNG_POLLS_MAX: u32 = 3;

/// What a Telegram account needs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The bot's token.
    pub token: SecretString,
    /// The root of a Bot API server of one's own, such as `http://127.0.0.1:8081`.
    pub api_url: Option<String>,
    /// How long the server holds a poll when there is nothing new.
    pub poll_timeout: Duration,
    /// How much longer than that a poll may take before it counts as hung.
    pub poll_patience: Duration,
    /// Who is answered: numeric ids and `@names`.
    pub allow_from: AllowFrom,
    /// Whether in groups only messages count that mention the bot, answer it, or are commands.
    pub mention_only: bool,
}

impl Settings {
    /// The usual settings: polls of 50 s, groups by mention only, nobody allowed.
    pub fn new(token: SecretString) -> Self {
        Self {
            token,
            api_url: None,
            poll_timeout: Duration::from_secs(50),
            poll_patience: Duration::from_secs(10),
            allow_from: AllowFrom::default(),
            mention_only: true,
        }
    }
}

/// One bot.
#[derive(Debug)]
pub struct Telegram {
    settings: Settings,
    /// Made when it is first needed, then kept: it reads the system's certificates.
    api: Option<Api>,
    /// What is below this was accepted. Kept across connections.
    offset: Option<i64>,
}

impl Telegram {
    /// A bot that is not connected yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            api: None,
            offset: None,
        }
    }

    async fn api(&mut self) -> Result<Api, ChannelError> {
        if let Some(api) = &self.api {
            return Ok(api.clone());
        }
        let token = self.settings.token.clone();
        let api_url = self.settings.api_url.clone();
        let making = tokio::task::spawn_blocking(move || Api::new(&token, api_url.as_deref()));
        let api = making
            .await
            .map_err(|error| ChannelError::lost(format!("no HTTP client: {error}")))??;
        Ok(self.api.insert(api).clone())
    }
}

impl Platform for Telegram {
    fn kind(&self) -> &'static str {
        "telegram"
    }

    async fn serve(&mut self, io: &mut AccountIo) -> Result<Infallible, ChannelError> {
        let api = self.api().await?;
        let me = api.me().await?;
        io.inlet.online(me.shown());
        let mut sender = Sender::new(&api, &mut io.outlet);
        let ended = tokio::select! {
            ended = self.poll(&api, &me, &mut io.inlet) => ended,
            never = sender.run() => match never {},
        };
        sender.linger().await;
        ended
    }
}

impl Telegram {
    async fn poll(
        &mut self,
        api: &Api,
        me: &Me,
        inlet: &mut Inlet,
    ) -> Result<Infallible, ChannelError> {
        let Settings {
            poll_timeout,
            poll_patience,
            ..
        } = self.settings;
        let mut hung_in_a_row = 0;
        let mut hung = 0_u64;
        loop {
            match api.updates(self.offset, poll_timeout, poll_patience).await {
                Ok(updates) => {
                    hung_in_a_row = 0;
                    self.take(updates, me, inlet).await?;
                }
                Err(CallError::TimedOut(after)) => {
                    hung_in_a_row += 1;
                    hung += 1;
                    warn!(?after, "a poll hung: renewing it");
                    if hung_in_a_row >= HUNG_POLLS_MAX {
                        let detail = format!("{hung_in_a_row} polls in a row hung");
                        return Err(ChannelError::Lost { detail });
                    }
                    inlet.remark(format!("{}; renewed hung polls: {hung}", me.shown()));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Hands updates in, one by one; each that was accepted moves the offset.
    async fn take(
        &mut self,
        updates: Vec<serde_json::Value>,
        me: &Me,
        inlet: &mut Inlet,
    ) -> Result<(), ChannelError> {
        let channel = inlet.channel().clone();
        for update in updates {
            let Ok(UpdateId { update_id }) = serde::Deserialize::deserialize(&update) else {
                return Err(CallError::Nonsense.into());
            };
            let reader = Reader {
                channel: &channel,
                me,
                allow_from: &self.settings.allow_from,
                mention_only: self.settings.mention_only,
            };
            match serde_json::from_value::<Update>(update).map(|update| reader.read(update)) {
                Ok(Reading::Message(envelope)) => {
                    let accepted = inlet.deliver(*envelope).await?;
                    debug!(update_id, ?accepted, "took an update");
                }
                Ok(Reading::NotAllowed { sender }) => inlet.turned_away(&sender),
                Ok(Reading::Ignored) => {}
                // It would come back for ever if it were not confirmed.
                Err(error) => warn!(update_id, %error, "skipped an update that cannot be read"),
            }
            self.offset = Some(update_id + 1);
        }
        Ok(())
    }
}

/// What became of a message.
struct Flight {
    id: u64,
    result: Result<(), SendError>,
}

/// A message of which so many parts are out.
struct Progress {
    id: u64,
    parts_done: usize,
}

/// Sends what the outlet gives, several chats at a time.
struct Sender<'a, F> {
    outlet: &'a mut Outlet,
    flights: FuturesUnordered<F>,
    launch: Box<dyn Fn(Sending) -> F + Send + 'a>,
    /// From those that are under way.
    progress: mpsc::Receiver<Progress>,
}

impl<'a> Sender<'a, futures::future::BoxFuture<'a, Flight>> {
    fn new(api: &'a Api, outlet: &'a mut Outlet) -> Self {
        let (parts, progress) = mpsc::channel(CONCURRENT_SENDS);
        Self {
            outlet,
            flights: FuturesUnordered::new(),
            launch: Box::new(move |sending| Box::pin(send(api, sending, parts.clone()))),
            progress,
        }
    }

    async fn run(&mut self) -> Infallible {
        loop {
            tokio::select! {
                sending = self.outlet.next(), if self.flights.len() < CONCURRENT_SENDS => {
                    self.flights.push((self.launch)(sending));
                }
                Some(flight) = self.flights.next() => self.land(flight),
                Some(progress) = self.progress.recv() => self.note(&progress),
            }
        }
    }

    /// Waits a little for what is under way, and takes nothing new.
    async fn linger(mut self) {
        let landing = async {
            while !self.flights.is_empty() {
                tokio::select! {
                    Some(flight) = self.flights.next() => self.land(flight),
                    Some(progress) = self.progress.recv() => self.note(&progress),
                }
            }
        };
        // Those that are too late go out again, perhaps for the second time.
        let _ = tokio::time::timeout(LINGER, landing).await;
    }

    fn land(&mut self, flight: Flight) {
        // What it said before it landed.
        while let Ok(progress) = self.progress.try_recv() {
            self.note(&progress);
        }
        self.outlet.sent(flight.id, flight.result);
    }

    fn note(&mut self, progress: &Progress) {
        self.outlet.progress(progress.id, progress.parts_done);
    }
}

async fn send(api: &Api, sending: Sending, parts: mpsc::Sender<Progress>) -> Flight {
    let result = send_parts(api, &sending, &parts).await;
    Flight {
        id: sending.id,
        result,
    }
}

async fn send_parts(
    api: &Api,
    sending: &Sending,
    progress: &mpsc::Sender<Progress>,
) -> Result<(), SendError> {
    let outbound = &sending.outbound;
    let Some((chat, topic)) = address(&outbound.peer) else {
        return Err(SendError::Permanent {
            detail: format!("{:?} is not a Telegram chat", outbound.peer.id),
        });
    };
    let text = match &outbound.kind {
        OutboundKind::Text(text) => text,
        OutboundKind::Typing => return Ok(api.send_action(&typing(chat, topic)).await?),
    };
    let parts = text::split(text, TEXT_MAX, Unit::Utf16);
    for (index, part) in parts.into_iter().enumerate().skip(sending.parts_done) {
        let answered = (index == 0 && outbound.peer.kind == PeerKind::Group)
            .then_some(outbound.reply_to.as_deref())
            .flatten();
        let mut params = message(chat, topic, part, answered);
        let mut sent = api.send_message(&params).await;
        if let Err(CallError::Refused {
            migrated_to: Some(supergroup),
            ..
        }) = sent
        {
            params.chat_id = supergroup.into();
            sent = api.send_message(&params).await;
        }
        sent?;
        let part = Progress {
            id: sending.id,
            parts_done: index + 1,
        };
        // It is heard for as long as there are flights.
        let _ = progress.send(part).await;
    }
    Ok(())
}

/// Chat and topic of a peer.
fn address(peer: &Peer) -> Option<(i64, Option<i32>)> {
    match peer.id.split_once('/') {
        Some((chat, topic)) => Some((chat.parse().ok()?, Some(topic.parse().ok()?))),
        None => Some((peer.id.parse().ok()?, None)),
    }
}

fn typing(chat: i64, topic: Option<i32>) -> SendChatActionParams {
    SendChatActionParams::builder()
        .chat_id(chat)
        .maybe_message_thread_id(topic)
        .action(ChatAction::Typing)
        .build()
}

/// `answered` is a message id of ours, `<chat>:<message>`.
fn message(
    chat: i64,
    topic: Option<i32>,
    text: String,
    answered: Option<&str>,
) -> SendMessageParams {
    let answered = answered
        .and_then(|id| id.rsplit_once(':'))
        .and_then(|(_, message)| message.parse::<i32>().ok());
    let reply = answered.map(|message| {
        ReplyParameters::builder()
            .message_id(message)
            .allow_sending_without_reply(true)
            .build()
    });
    SendMessageParams::builder()
        .chat_id(chat)
        .maybe_message_thread_id(topic)
        .text(text)
        .maybe_reply_parameters(reply)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_addresses() {
        let at = |id: &str| {
            address(&Peer {
                kind: PeerKind::Group,
                id: id.into(),
            })
        };
        assert_eq!(at("42"), Some((42, None)));
        assert_eq!(at("-100/3"), Some((-100, Some(3))));
        for id in ["", "x", "1/x", "1/", "/1", "#room", "1/2/3"] {
            assert_eq!(at(id), None, "{id:?}");
        }
    }

    #[test]
    fn an_answer_names_its_message() {
        let reply = |answered| {
            message(1, None, "x".into(), answered)
                .reply_parameters
                .and_then(|reply| reply.message_id)
        };
        assert_eq!(reply(Some("-100:5")), Some(5));
        assert_eq!(reply(Some("5")), None);
        assert_eq!(reply(None), None);
    }

    #[test]
    fn settings_hide_the_token() {
        let settings = Settings::new("1:secret".to_owned().into());
        assert!(!format!("{settings:?}").contains("secret"));
        assert!(!settings.allow_from.allows(|_| true));
    }
}
