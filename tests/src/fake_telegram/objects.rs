//! The Bot API's objects, as JSON, made from what the world knows.

use serde_json::{Value, json};

use super::world::{Author, Bot, Message, World};

impl World {
    /// A `User` object for a person.
    pub(super) fn user_json(&self, id: i64) -> Value {
        let user = &self.users[&id];
        let mut object = json!({
            "id": id,
            "is_bot": false,
            "first_name": user.name,
            "language_code": "en",
        });
        if let Some(username) = &user.username {
            object["username"] = username.as_str().into();
        }
        object
    }

    /// A `Chat` object. A positive id is a person's, a negative one a group's.
    pub(super) fn chat_json(&self, id: i64) -> Value {
        if let Some(user) = self.users.get(&id) {
            let mut object = json!({"id": id, "type": "private", "first_name": user.name});
            if let Some(username) = &user.username {
                object["username"] = username.as_str().into();
            }
            return object;
        }
        let group = &self.groups[&id];
        let kind = if group.supergroup {
            "supergroup"
        } else {
            "group"
        };
        let mut object = json!({"id": id, "type": kind, "title": group.title});
        if !group.topics.is_empty() {
            object["is_forum"] = true.into();
        }
        object
    }

    /// A `ChatFullInfo` object, as `getChat` answers.
    pub(super) fn full_chat_json(&self, id: i64) -> Value {
        let mut object = self.chat_json(id);
        let private = self.users.contains_key(&id);
        object["accent_color_id"] = 0.into();
        object["max_reaction_count"] = 11.into();
        object["accepted_gift_types"] = json!({
            "unlimited_gifts": private,
            "limited_gifts": private,
            "unique_gifts": private,
            "premium_subscription": private,
            "gifts_from_channels": private,
        });
        if !private {
            object["permissions"] = json!({"can_send_messages": true});
        }
        object
    }

    /// A `Message` object, with the message it replies to, but not what that one replied to.
    pub(super) fn message_json(&self, message: &Message) -> Value {
        let mut object = self.bare_message_json(message);
        let replied = message.reply_to.and_then(|id| {
            let mut all = self.messages.iter();
            all.find(|other| other.id == id && !other.deleted)
        });
        if let Some(replied) = replied {
            object["reply_to_message"] = self.bare_message_json(replied);
        }
        object
    }

    fn bare_message_json(&self, message: &Message) -> Value {
        let from = match message.author {
            Author::User(id) => self.user_json(id),
            Author::Bot => self.bot(&message.token).user_json(),
        };
        let mut object = json!({
            "message_id": message.id,
            "from": from,
            "chat": self.chat_json(message.chat),
            "date": message.date,
        });
        if let Some(thread) = message.thread {
            object["message_thread_id"] = thread.into();
            object["is_topic_message"] = true.into();
        }
        if let Some(edited) = message.edited {
            object["edit_date"] = edited.into();
        }
        let (text, entities) = if message.file.is_some() {
            ("caption", "caption_entities")
        } else {
            ("text", "entities")
        };
        if !message.text.is_empty() {
            object[text] = message.text.as_str().into();
        }
        if !message.entities.is_empty() {
            object[entities] = message.entities.clone().into();
        }
        if let Some(id) = &message.file {
            let file = &self.files[id];
            let mut document = self.file_json(id);
            document["file_name"] = file.name.as_str().into();
            object["document"] = document;
        }
        if let Some(markup) = message
            .markup
            .as_ref()
            .filter(|m| m.get("inline_keyboard").is_some())
        {
            object["reply_markup"] = markup.clone();
        }
        object
    }

    /// The fields that a `File` and a `Document` share.
    pub(super) fn file_json(&self, id: &str) -> Value {
        json!({
            "file_id": id,
            "file_unique_id": format!("unique-{id}"),
            "file_size": self.files[id].bytes.len(),
        })
    }
}

impl Bot {
    /// A `User` object, as in messages.
    pub(super) fn user_json(&self) -> Value {
        json!({
            "id": self.id,
            "is_bot": true,
            "first_name": self.username,
            "username": self.username,
        })
    }

    /// A `User` object with the fields that only `getMe` answers. Privacy mode is off: the bot hears all of a group.
    pub(super) fn me_json(&self) -> Value {
        let mut object = self.user_json();
        object["can_join_groups"] = true.into();
        object["can_read_all_group_messages"] = true.into();
        for name in [
            "supports_inline_queries",
            "can_connect_to_business",
            "has_main_web_app",
            "has_topics_enabled",
        ] {
            object[name] = false.into();
        }
        object
    }
}

/// `mention` and `bot_command` entities of a text that a user wrote, offsets in UTF-16 units.
pub(super) fn entities_of(text: &str) -> Vec<Value> {
    let mut entities = Vec::new();
    let mut offset = 0;
    for word in text.split_inclusive(char::is_whitespace) {
        let kind = match word.chars().next() {
            Some('@') => Some("mention"),
            Some('/') => Some("bot_command"),
            _ => None,
        };
        let name = |c: char| {
            c.is_ascii_alphanumeric() || c == '_' || (c == '@' && kind == Some("bot_command"))
        };
        let length = 1 + word.chars().skip(1).take_while(|c| name(*c)).count();
        if let Some(kind) = kind.filter(|_| length > 1) {
            entities.push(json!({"type": kind, "offset": offset, "length": length}));
        }
        offset += utf16_len(word);
    }
    entities
}

/// The length of a text as the Bot API counts it.
pub(super) fn utf16_len(text: &str) -> usize {
    text.encode_utf16().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mentions_and_commands_are_found() {
        assert_eq!(
            entities_of("🙂 @some_bot, do /start@some_bot now, a@b / @"),
            vec![
                json!({"type": "mention", "offset": 3, "length": 9}),
                json!({"type": "bot_command", "offset": 17, "length": 15}),
            ]
        );
    }
}
