//! What the fake knows: bots with their update queues, people, groups and messages.
//!
//! The whole lies behind one lock. A request handler and the test that drives it touch it in short, synchronous
//! steps; every step that may change something bumps a version number, on which parked polls and waiting tests
//! wake. Nothing holds the lock across an await.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use super::fault::Faults;

/// The first update id of every bot. The real ones are large and start anywhere.
const FIRST_UPDATE: i64 = 700_000_001;

/// An offset further ahead than this is taken for a mistake and ignored, as by the real server.
const FURTHEST_OFFSET: i64 = 10;

/// The world behind its lock, and the version number of its last change.
#[derive(Debug)]
pub(super) struct Shared {
    world: Mutex<World>,
    version: watch::Sender<u64>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            world: Mutex::new(World::default()),
            version: watch::Sender::new(0),
        }
    }

    /// Looks, changes nothing, wakes nobody.
    pub(super) fn look<R>(&self, look: impl FnOnce(&World) -> R) -> R {
        look(&self.world.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes something and wakes whoever waits.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut World) -> R) -> R {
        let result = change(&mut self.world.lock().unwrap_or_else(PoisonError::into_inner));
        self.version.send_modify(|version| *version += 1);
        result
    }

    /// Sees every change from now on.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}

/// Everything there is.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) bots: BTreeMap<String, Bot>,
    pub(super) users: BTreeMap<i64, User>,
    pub(super) groups: BTreeMap<i64, Group>,
    pub(super) messages: Vec<Message>,
    pub(super) files: BTreeMap<String, StoredFile>,
    serial: i64,
}

impl World {
    /// A number that nothing else in this world has. Message ids come from here, so one names one message,
    /// whatever its chat; the real ones repeat from chat to chat.
    pub(super) fn next_serial(&mut self) -> i64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn bot(&self, token: &str) -> &Bot {
        self.bots
            .get(token)
            .unwrap_or_else(|| panic!("no bot has the token {token}"))
    }

    pub(super) fn bot_mut(&mut self, token: &str) -> &mut Bot {
        self.bots
            .get_mut(token)
            .unwrap_or_else(|| panic!("no bot has the token {token}"))
    }

    /// The message of that id in that chat, as this bot sees it, unless it was deleted.
    pub(super) fn message(&self, token: &str, chat: i64, id: i64) -> Option<&Message> {
        let mut visible = self.messages.iter();
        visible.find(|message| message.is(token, chat, id) && !message.deleted)
    }

    /// The same, to be changed.
    pub(super) fn message_mut(&mut self, token: &str, chat: i64, id: i64) -> Option<&mut Message> {
        let mut visible = self.messages.iter_mut();
        visible.find(|message| message.is(token, chat, id) && !message.deleted)
    }
}

/// A person.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) username: Option<String>,
}

/// A group or a supergroup; one with topics is a forum.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) title: String,
    pub(super) supergroup: bool,
    pub(super) topics: BTreeMap<i64, String>,
}

/// A bot account.
#[derive(Debug)]
pub(super) struct Bot {
    pub(super) id: i64,
    pub(super) username: String,
    /// Updates that are not yet confirmed, oldest first.
    pub(super) updates: VecDeque<(i64, Value)>,
    pub(super) next_update: i64,
    /// Kinds of updates the bot asked for; `None` is the default set.
    pub(super) allowed: Option<BTreeSet<String>>,
    /// Counts polls that were parked; a poll whose number is passed has been superseded.
    pub(super) parked: u64,
    pub(super) webhook: Option<String>,
    pub(super) logged_out: bool,
    pub(super) commands: BTreeMap<String, Value>,
    pub(super) calls: BTreeMap<String, u64>,
    pub(super) actions: Vec<Action>,
    pub(super) faults: Faults,
    /// Requests that a `Hang` holds at this moment.
    pub(super) hung: usize,
    /// Chats that the bot may write to: people who wrote to it, groups it is in.
    pub(super) chats: BTreeSet<i64>,
    /// People who blocked it, groups that kicked it.
    pub(super) barred: BTreeSet<i64>,
    /// Button presses, with the answer once there is one.
    pub(super) callbacks: BTreeMap<String, Option<CallbackAnswer>>,
}

impl Bot {
    pub(super) fn new(id: i64, username: &str) -> Self {
        Self {
            id,
            username: username.to_owned(),
            updates: VecDeque::new(),
            next_update: FIRST_UPDATE,
            allowed: None,
            parked: 0,
            webhook: None,
            logged_out: false,
            commands: BTreeMap::new(),
            calls: BTreeMap::new(),
            actions: Vec::new(),
            faults: Faults::default(),
            hung: 0,
            chats: BTreeSet::new(),
            barred: BTreeSet::new(),
            callbacks: BTreeMap::new(),
        }
    }

    /// Queues an update of this kind; an error if the bot did not ask for such.
    pub(super) fn push(&mut self, kind: &str, content: &Value) -> Result<i64, String> {
        if self
            .allowed
            .as_ref()
            .is_some_and(|allowed| !allowed.contains(kind))
        {
            return Err(format!("@{} takes no {kind} updates", self.username));
        }
        let id = self.next_update;
        self.next_update += 1;
        self.updates
            .push_back((id, serde_json::json!({"update_id": id, kind: content})));
        Ok(id)
    }

    /// Forgets what an offset confirms. A negative one keeps that many of the newest.
    pub(super) fn confirm(&mut self, offset: i64) {
        if offset < 0 {
            let keep = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
            let surplus = self.updates.len().saturating_sub(keep);
            self.updates.drain(..surplus);
        } else if offset <= self.next_update + FURTHEST_OFFSET {
            self.updates.retain(|(id, _)| *id >= offset);
        }
    }

    /// The highest update id that the bot has acknowledged, 0 before the first.
    pub(super) fn confirmed(&self) -> i64 {
        let lowest_pending = self.updates.front().map_or(self.next_update, |(id, _)| *id);
        if lowest_pending == FIRST_UPDATE {
            0
        } else {
            lowest_pending - 1
        }
    }

    /// Up to `limit` of the oldest pending updates.
    pub(super) fn batch(&self, limit: usize) -> Vec<Value> {
        let oldest = self.updates.iter().take(limit);
        oldest.map(|(_, update)| update.clone()).collect()
    }
}

/// Who wrote a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Author {
    User(i64),
    Bot,
}

/// One message, in the dialogue of one bot.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) id: i64,
    /// The token of the bot that wrote or received it.
    pub(super) token: String,
    pub(super) chat: i64,
    pub(super) thread: Option<i64>,
    pub(super) author: Author,
    pub(super) date: u64,
    pub(super) edited: Option<u64>,
    pub(super) text: String,
    pub(super) entities: Vec<Value>,
    pub(super) parse_mode: Option<String>,
    pub(super) reply_to: Option<i64>,
    pub(super) markup: Option<Value>,
    /// A document that came with it; the text is then its caption.
    pub(super) file: Option<String>,
    pub(super) silent: bool,
    /// Earlier texts, oldest first.
    pub(super) revisions: Vec<String>,
    pub(super) deleted: bool,
}

impl Message {
    fn is(&self, token: &str, chat: i64, id: i64) -> bool {
        self.id == id && self.chat == chat && self.token == token
    }
}

/// A file that a user sent.
#[derive(Clone, Debug)]
pub(super) struct StoredFile {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// A message that a bot sent, as a test sees it.
#[derive(Clone, Debug, Serialize)]
pub struct Sent {
    /// Its id, unique in the whole fake.
    pub message_id: i64,
    /// Where it went.
    pub chat_id: i64,
    /// The topic it went to.
    pub thread_id: Option<i64>,
    /// The message it answers.
    pub reply_to: Option<i64>,
    /// The text now, without markup.
    pub text: String,
    /// What `parse_mode` the bot gave.
    pub parse_mode: Option<String>,
    /// Formatting of the text, as `MessageEntity` objects.
    pub entities: Vec<Value>,
    /// Texts it had before edits, oldest first.
    pub revisions: Vec<String>,
    /// Sent with `disable_notification`.
    pub silent: bool,
    /// The bot has deleted it since.
    pub deleted: bool,
}

impl From<&Message> for Sent {
    fn from(message: &Message) -> Self {
        Self {
            message_id: message.id,
            chat_id: message.chat,
            thread_id: message.thread,
            reply_to: message.reply_to,
            text: message.text.clone(),
            parse_mode: message.parse_mode.clone(),
            entities: message.entities.clone(),
            revisions: message.revisions.clone(),
            silent: message.silent,
            deleted: message.deleted,
        }
    }
}

/// A chat action, such as `typing`, that a bot showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Action {
    /// Where.
    pub chat_id: i64,
    /// In which topic.
    pub thread_id: Option<i64>,
    /// Which.
    pub action: String,
}

/// How a bot answered a button press.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallbackAnswer {
    /// The notice shown to the user.
    pub text: Option<String>,
    /// Shown as an alert that the user must dismiss.
    pub alert: bool,
}

/// Seconds since 1970, as the Bot API counts.
pub(super) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn offsets_confirm_and_forget() {
        let mut bot = Bot::new(1, "b");
        assert_eq!(bot.confirmed(), 0);
        let ids: Vec<i64> = (0..5)
            .map(|n| bot.push("message", &json!(n)).unwrap())
            .collect();
        assert_eq!(bot.confirmed(), 0);
        bot.confirm(ids[2]);
        assert_eq!(bot.confirmed(), ids[1]);
        assert_eq!(bot.batch(2).len(), 2);
        assert_eq!(bot.batch(100)[0]["update_id"], ids[2]);
        bot.confirm(ids[4] + 100);
        assert_eq!(bot.confirmed(), ids[1], "an offset far ahead is ignored");
        bot.confirm(-1);
        assert_eq!(bot.confirmed(), ids[3]);
        bot.confirm(ids[4] + 1);
        assert_eq!(bot.confirmed(), ids[4]);
        assert!(bot.updates.is_empty());
    }

    #[test]
    fn only_wanted_kinds_are_queued() {
        let mut bot = Bot::new(1, "b");
        bot.allowed = Some(["message".to_owned()].into());
        assert!(bot.push("message", &json!({})).is_ok());
        assert!(bot.push("callback_query", &json!({})).is_err());
        assert_eq!(bot.updates.len(), 1);
    }
}
