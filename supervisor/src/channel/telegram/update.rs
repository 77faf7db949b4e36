//! From Telegram's updates to envelopes. Pure.
//!
//! Only the fields that are used are read, so that whatever Telegram adds to its objects is no trouble. Edited messages,
//! posts of broadcast channels, other bots and messages without text or caption are ignored.

use kennel_shared::envelope::{Envelope, Peer, PeerKind, Sender};
use kennel_shared::ids::ChannelId;
use serde::Deserialize;

use crate::channel::AllowFrom;

/// The longest name that is passed on.
const NAME_MAX: usize = 128;

/// The bot itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Me {
    pub(super) id: i64,
    pub(super) username: Option<String>,
}

impl Me {
    /// For the operator.
    pub(super) fn shown(&self) -> String {
        match &self.username {
            Some(username) => format!("@{username}"),
            None => format!("bot {}", self.id),
        }
    }
}

/// Every update has this much.
#[derive(Debug, Deserialize)]
pub(super) struct UpdateId {
    pub(super) update_id: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Update {
    message: Option<Message>,
}

#[derive(Debug, Deserialize)]
#[expect(clippy::struct_field_names, reason = "Telegram's names")]
struct Message {
    message_id: i64,
    date: u64,
    chat: Chat,
    from: Option<User>,
    message_thread_id: Option<i64>,
    #[serde(default)]
    is_topic_message: bool,
    text: Option<String>,
    #[serde(default)]
    entities: Vec<Entity>,
    caption: Option<String>,
    #[serde(default)]
    caption_entities: Vec<Entity>,
    reply_to_message: Option<RepliedTo>,
}

#[derive(Debug, Deserialize)]
struct RepliedTo {
    from: Option<User>,
}

#[derive(Debug, Deserialize)]
struct Chat {
    id: i64,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Deserialize)]
struct User {
    id: i64,
    #[serde(default)]
    is_bot: bool,
    #[serde(default)]
    first_name: String,
    last_name: Option<String>,
    username: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Entity {
    #[serde(rename = "type")]
    kind: String,
    offset: usize,
    length: usize,
    user: Option<User>,
}

/// What an update is to us.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// A message to answer.
    Message(Box<Envelope>),
    /// A message from somebody who may not write.
    NotAllowed {
        /// Id and user name, as an allow list would have them.
        sender: String,
    },
    /// Nothing.
    Ignored,
}

/// Who reads, and what they care for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) channel: &'a ChannelId,
    pub(super) me: &'a Me,
    pub(super) allow_from: &'a AllowFrom,
    pub(super) mention_only: bool,
}

impl Reader<'_> {
    /// What this update is to us.
    pub(super) fn read(&self, update: Update) -> Reading {
        let Some(message) = update.message else {
            return Reading::Ignored;
        };
        let peer = match message.chat.kind.as_str() {
            "private" => Peer {
                kind: PeerKind::Direct,
                id: message.chat.id.to_string(),
            },
            "group" | "supergroup" => group(&message),
            _ => return Reading::Ignored,
        };
        let (text, entities) = match (message.text, message.caption) {
            (Some(text), _) => (text, message.entities),
            (None, Some(caption)) => (caption, message.caption_entities),
            (None, None) => return Reading::Ignored,
        };
        let Some(from) = message.from.filter(|from| !from.is_bot) else {
            return Reading::Ignored;
        };
        let replied = message
            .reply_to_message
            .and_then(|replied| replied.from)
            .is_some_and(|author| author.id == self.me.id);
        let addressed = peer.kind == PeerKind::Direct
            || !self.mention_only
            || replied
            || self.is_mentioned(&text, &entities);
        if !addressed {
            return Reading::Ignored;
        }
        if !self.is_allowed(&from) {
            return Reading::NotAllowed {
                sender: described(&from),
            };
        }
        let text = match peer.kind {
            PeerKind::Direct => text,
            PeerKind::Group => self.without_address(&text).to_owned(),
        };
        if text.trim().is_empty() {
            return Reading::Ignored;
        }
        Reading::Message(Box::new(Envelope {
            channel: self.channel.clone(),
            message_id: format!("{}:{}", message.chat.id, message.message_id),
            peer,
            text,
            sender: Sender {
                id: from.id.to_string(),
                name: name(&from),
            },
            sent_at_ms: message.date.saturating_mul(1000),
        }))
    }

    fn is_allowed(&self, from: &User) -> bool {
        let id = from.id.to_string();
        self.allow_from.allows(|entry| {
            *entry == id
                || from.username.as_ref().is_some_and(|username| {
                    entry
                        .strip_prefix('@')
                        .is_some_and(|listed| listed.eq_ignore_ascii_case(username))
                })
        })
    }

    /// Whether an entity of the text names the bot, or is a command that is not for another bot.
    fn is_mentioned(&self, text: &str, entities: &[Entity]) -> bool {
        entities.iter().any(|entity| match entity.kind.as_str() {
            "mention" => utf16_slice(text, entity.offset, entity.length)
                .is_some_and(|mention| self.is_me(mention.trim_start_matches('@'))),
            "text_mention" => entity
                .user
                .as_ref()
                .is_some_and(|user| user.id == self.me.id),
            "bot_command" => {
                utf16_slice(text, entity.offset, entity.length).is_some_and(|command| match command
                    .split_once('@')
                {
                    Some((_, bot)) => self.is_me(bot),
                    None => entity.offset == 0,
                })
            }
            _ => false,
        })
    }

    fn is_me(&self, username: &str) -> bool {
        let mine = self.me.username.as_deref();
        mine.is_some_and(|mine| mine.eq_ignore_ascii_case(username))
    }

    /// The text without a leading `@bot`.
    fn without_address<'t>(&self, text: &'t str) -> &'t str {
        let body = text.trim_start();
        let Some(after) = body.strip_prefix('@') else {
            return text;
        };
        let end = after
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(after.len());
        if self.is_me(&after[..end]) {
            after[end..].trim_start_matches([',', ':', ' ', '\n'])
        } else {
            text
        }
    }
}

fn group(message: &Message) -> Peer {
    let chat = message.chat.id;
    // Plain replies have a thread id too; only a topic is a conversation of its own.
    let topic = message
        .message_thread_id
        .filter(|_| message.is_topic_message);
    Peer {
        kind: PeerKind::Group,
        id: topic.map_or_else(|| chat.to_string(), |topic| format!("{chat}/{topic}")),
    }
}

fn described(from: &User) -> String {
    match &from.username {
        Some(username) => format!("{} (@{username})", from.id),
        None => from.id.to_string(),
    }
}

fn name(from: &User) -> Option<String> {
    let full = match &from.last_name {
        Some(last) => format!("{} {last}", from.first_name),
        None => from.first_name.clone(),
    };
    let name: String = full
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(NAME_MAX)
        .collect();
    (!name.is_empty()).then_some(name)
}

/// A part of a text, by UTF-16 offsets, where these fall between characters.
fn utf16_slice(text: &str, offset: usize, length: usize) -> Option<&str> {
    let start = utf16_index(text, offset)?;
    let end = utf16_index(text, offset.checked_add(length)?)?;
    text.get(start..end)
}

fn utf16_index(text: &str, wanted: usize) -> Option<usize> {
    let mut units = 0;
    for (at, c) in text.char_indices() {
        if units >= wanted {
            return (units == wanted).then_some(at);
        }
        units += c.len_utf16();
    }
    (units == wanted).then_some(text.len())
}

#[cfg(test)]
mod tests;
