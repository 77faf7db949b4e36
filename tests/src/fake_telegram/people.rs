//! The other side of the chat: people, groups, and what they say to bots.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::FakeTelegram;
use super::objects::entities_of;
use super::world::{Author, CallbackAnswer, Group, Message, StoredFile, User, World, unix_now};

/// Who speaks, and where. A bare user id speaks in private.
#[derive(Clone, Copy, Debug)]
pub struct Speaker {
    user: i64,
    chat: i64,
    thread: Option<i64>,
    reply_to: Option<i64>,
}

impl Speaker {
    /// This person, in private with the bot.
    pub fn new(user: i64) -> Self {
        Self {
            user,
            chat: user,
            thread: None,
            reply_to: None,
        }
    }

    /// In this group.
    #[must_use]
    pub fn in_chat(mut self, chat: i64) -> Self {
        self.chat = chat;
        self
    }

    /// In this topic of the group.
    #[must_use]
    pub fn in_topic(mut self, thread: i64) -> Self {
        self.thread = Some(thread);
        self
    }

    /// As a reply to this message.
    #[must_use]
    pub fn replying_to(mut self, message_id: i64) -> Self {
        self.reply_to = Some(message_id);
        self
    }
}

impl From<i64> for Speaker {
    fn from(user: i64) -> Self {
        Self::new(user)
    }
}

/// People act on the bots. Each of these panics when the act is impossible (no such user, the bot takes no such
/// updates, …): a test that speaks into the void is wrong.
impl FakeTelegram {
    /// Adds a person. Answers the id.
    pub fn user(&self, id: i64, name: &str) -> i64 {
        self.user_with_username(id, name, None)
    }

    /// Adds a person who has an `@username` (given without the `@`).
    pub fn user_with_username(&self, id: i64, name: &str, username: Option<&str>) -> i64 {
        assert!(id > 0, "people have positive ids");
        let user = User {
            name: name.to_owned(),
            username: username.map(str::to_owned),
        };
        self.shared.change(|world| world.users.insert(id, user));
        id
    }

    /// Adds a basic group. Answers the id.
    pub fn group(&self, id: i64, title: &str) -> i64 {
        self.add_group(id, title, false)
    }

    /// Adds a supergroup; real ones have ids below -1000000000000. Answers the id.
    pub fn supergroup(&self, id: i64, title: &str) -> i64 {
        self.add_group(id, title, true)
    }

    fn add_group(&self, id: i64, title: &str, supergroup: bool) -> i64 {
        assert!(id < 0, "groups have negative ids");
        let group = Group {
            title: title.to_owned(),
            supergroup,
            topics: BTreeMap::new(),
        };
        self.shared.change(|world| world.groups.insert(id, group));
        id
    }

    /// Adds a topic to a supergroup, which makes it a forum. Answers the `message_thread_id`.
    pub fn topic(&self, chat: i64, name: &str) -> i64 {
        self.shared.change(|world| {
            let id = world.next_serial();
            let group = world.groups.get_mut(&chat).filter(|group| group.supergroup);
            let group = group.unwrap_or_else(|| panic!("no supergroup {chat}"));
            group.topics.insert(id, name.to_owned());
            id
        })
    }

    /// Opens a chat without a word: a person who pressed Start long ago, a group the bot is in.
    pub fn open_chat(&self, token: &str, chat: i64) {
        self.shared.change(|world| {
            let known = world.users.contains_key(&chat) || world.groups.contains_key(&chat);
            assert!(known, "no chat {chat}");
            world.bot_mut(token).chats.insert(chat);
        });
    }

    /// A person blocks the bot, or a group kicks it: sending there fails with 403.
    pub fn block(&self, token: &str, chat: i64) {
        self.shared
            .change(|world| world.bot_mut(token).barred.insert(chat));
    }

    /// Takes [`Self::block`] back.
    pub fn unblock(&self, token: &str, chat: i64) {
        self.shared
            .change(|world| world.bot_mut(token).barred.remove(&chat));
    }

    /// Someone says something that this bot hears. Mentions and commands in it become entities. Answers the
    /// update id.
    pub fn say(&self, token: &str, speaker: impl Into<Speaker>, text: &str) -> i64 {
        let speaker = speaker.into();
        let said = self
            .shared
            .change(|world| say(world, token, speaker, text, None));
        said.unwrap_or_else(|why| panic!("{why}")).0
    }

    /// The same, answering the update id and the message id.
    pub fn say_message(&self, token: &str, speaker: impl Into<Speaker>, text: &str) -> (i64, i64) {
        let speaker = speaker.into();
        let said = self
            .shared
            .change(|world| say(world, token, speaker, text, None));
        said.unwrap_or_else(|why| panic!("{why}"))
    }

    /// Someone sends a document, with a caption that may be empty. Answers the update id.
    pub fn say_file(
        &self,
        token: &str,
        speaker: impl Into<Speaker>,
        name: &str,
        bytes: &[u8],
        caption: &str,
    ) -> i64 {
        let speaker = speaker.into();
        let file = StoredFile {
            name: name.to_owned(),
            bytes: bytes.to_vec(),
        };
        let said = self
            .shared
            .change(|world| say(world, token, speaker, caption, Some(file)));
        said.unwrap_or_else(|why| panic!("{why}")).0
    }

    /// Someone edits what they said to this bot. Answers the id of the `edited_message` update.
    pub fn amend(&self, token: &str, message_id: i64, text: &str) -> i64 {
        let amended = self
            .shared
            .change(|world| amend(world, token, message_id, text));
        amended.unwrap_or_else(|why| panic!("{why}"))
    }

    /// Someone presses an inline button under a message of this bot. Answers the update id and the query id.
    pub fn press(&self, token: &str, user: i64, message_id: i64, data: &str) -> (i64, String) {
        let pressed = self
            .shared
            .change(|world| press(world, token, user, message_id, data));
        pressed.unwrap_or_else(|why| panic!("{why}"))
    }

    /// What the bot answered to a button press, once it did.
    pub fn callback_answer(&self, token: &str, query: &str) -> Option<CallbackAnswer> {
        self.shared
            .look(|world| world.bot(token).callbacks.get(query).cloned().flatten())
    }
}

/// Adds the message and queues its update; answers the update id and the message id.
pub(super) fn say(
    world: &mut World,
    token: &str,
    speaker: Speaker,
    text: &str,
    file: Option<StoredFile>,
) -> Result<(i64, i64), String> {
    if !world.users.contains_key(&speaker.user) {
        return Err(format!("there is no user {}", speaker.user));
    }
    if speaker.chat != speaker.user && !world.groups.contains_key(&speaker.chat) {
        return Err(format!("there is no group {}", speaker.chat));
    }
    if !world.bots.contains_key(token) {
        return Err("no bot has this token".to_owned());
    }
    if world.bot(token).barred.contains(&speaker.chat) {
        return Err(format!("the bot is barred from {}", speaker.chat));
    }
    let id = world.next_serial();
    let file = file.map(|file| {
        let key = format!("file-{id}");
        world.files.insert(key.clone(), file);
        key
    });
    let message = Message {
        id,
        token: token.to_owned(),
        chat: speaker.chat,
        thread: speaker.thread,
        author: Author::User(speaker.user),
        date: unix_now(),
        edited: None,
        text: text.to_owned(),
        entities: entities_of(text),
        parse_mode: None,
        reply_to: speaker.reply_to,
        markup: None,
        file,
        silent: false,
        revisions: Vec::new(),
        deleted: false,
    };
    let content = world.message_json(&message);
    world.messages.push(message);
    let bot = world.bot_mut(token);
    bot.chats.insert(speaker.chat);
    Ok((bot.push("message", &content)?, id))
}

fn amend(world: &mut World, token: &str, id: i64, text: &str) -> Result<i64, String> {
    let mut all = world.messages.iter_mut();
    let message = all.find(|message| message.id == id && message.token == token);
    let message = message
        .filter(|message| matches!(message.author, Author::User(_)))
        .ok_or_else(|| format!("nobody sent a message {id} to this bot"))?;
    let before = std::mem::replace(&mut message.text, text.to_owned());
    message.revisions.push(before);
    message.entities = entities_of(text);
    message.edited = Some(unix_now());
    let message = message.clone();
    let content = world.message_json(&message);
    world.bot_mut(token).push("edited_message", &content)
}

fn press(
    world: &mut World,
    token: &str,
    user: i64,
    id: i64,
    data: &str,
) -> Result<(i64, String), String> {
    let mut all = world.messages.iter();
    let message =
        all.find(|message| message.id == id && message.token == token && !message.deleted);
    let message = message
        .filter(|message| has_button(message.markup.as_ref(), data))
        .ok_or_else(|| format!("no message {id} has a button with the data {data:?}"))?;
    let message = world.message_json(message);
    let from = world.user_json(user);
    let query = world.next_serial().to_string();
    let content = json!({
        "id": query,
        "from": from,
        "message": message,
        "chat_instance": format!("instance-{}", message["chat"]["id"]),
        "data": data,
    });
    let bot = world.bot_mut(token);
    bot.callbacks.insert(query.clone(), None);
    Ok((bot.push("callback_query", &content)?, query))
}

fn has_button(markup: Option<&Value>, data: &str) -> bool {
    let rows = markup.and_then(|markup| markup["inline_keyboard"].as_array());
    let mut buttons = rows
        .into_iter()
        .flatten()
        .filter_map(Value::as_array)
        .flatten();
    buttons.any(|button| button["callback_data"] == data)
}
