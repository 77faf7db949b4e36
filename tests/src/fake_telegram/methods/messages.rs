//! Messages that a bot sends, edits and deletes.

use serde_json::Value;

use super::super::error::{Answer, ApiError};
use super::super::markup::{self, Formatted};
use super::super::objects::utf16_len;
use super::super::world::{Author, Message, World, unix_now};
use super::{Call, chat_of, thread_of};

/// The longest text after its markup is taken out, in UTF-16 units.
const MAX_TEXT: usize = 4096;

/// The longest text before, in bytes.
const MAX_RAW: usize = 1 << 15;

pub(super) fn send_message(world: &mut World, call: &Call<'_>) -> Result<Answer, ApiError> {
    let formatted = text_of(call)?;
    let markup = markup_of(call)?;
    let chat = chat_of(world, call)?;
    let thread = thread_of(world, call, chat)?;
    let reply_to = reply_of(world, call, chat)?;
    let message = Message {
        id: world.next_serial(),
        token: call.token.to_owned(),
        chat,
        thread,
        author: Author::Bot,
        date: unix_now(),
        edited: None,
        text: formatted.text,
        entities: formatted.entities,
        parse_mode: call.params.text("parse_mode"),
        reply_to,
        markup,
        file: None,
        silent: call.params.flag("disable_notification"),
        revisions: Vec::new(),
        deleted: false,
    };
    let object = world.message_json(&message);
    world.messages.push(message);
    Ok(object.into())
}

pub(super) fn edit_message_text(world: &mut World, call: &Call<'_>) -> Result<Answer, ApiError> {
    let formatted = text_of(call)?;
    let markup = markup_of(call)?;
    let chat = chat_of(world, call)?;
    let id = message_id(call)?;
    let message = world
        .message_mut(call.token, chat, id)
        .ok_or_else(|| ApiError::bad_request("message to edit not found"))?;
    if message.author != Author::Bot {
        return Err(ApiError::bad_request("message can't be edited"));
    }
    if (&message.text, &message.entities, &message.markup)
        == (&formatted.text, &formatted.entities, &markup)
    {
        return Err(ApiError::bad_request(
            "message is not modified: specified new message content and reply markup are exactly the same as a \
             current content and reply markup of the message",
        ));
    }
    let before = std::mem::replace(&mut message.text, formatted.text);
    message.revisions.push(before);
    message.entities = formatted.entities;
    message.parse_mode = call.params.text("parse_mode");
    message.markup = markup;
    message.edited = Some(unix_now());
    let edited = message.clone();
    Ok(world.message_json(&edited).into())
}

pub(super) fn delete_message(world: &mut World, call: &Call<'_>) -> Result<Answer, ApiError> {
    let chat = chat_of(world, call)?;
    let id = message_id(call)?;
    let message = world
        .message_mut(call.token, chat, id)
        .ok_or_else(|| ApiError::bad_request("message to delete not found"))?;
    message.deleted = true;
    Ok(Value::Bool(true).into())
}

fn message_id(call: &Call<'_>) -> Result<i64, ApiError> {
    let id = call.params.integer("message_id");
    id.ok_or_else(|| ApiError::bad_request("message identifier is not specified"))
}

/// The text of a call without its markup and without white space around it.
fn text_of(call: &Call<'_>) -> Result<Formatted, ApiError> {
    let raw = call.params.text("text");
    let raw = raw.ok_or_else(|| ApiError::bad_request("message text is empty"))?;
    if raw.len() > MAX_RAW {
        return Err(ApiError::bad_request("text is too long"));
    }
    let mut formatted = markup::parse(&raw, call.params.text("parse_mode").as_deref())?;
    if let Ok(Some(Value::Array(given))) = call.params.json("entities") {
        formatted.entities.extend(given);
    }
    let trimmed = formatted.text.trim_end();
    let leading = trimmed.len() - trimmed.trim_start().len();
    if trimmed.len() == leading {
        return Err(ApiError::bad_request("text must be non-empty"));
    }
    let shift = utf16_len(&trimmed[..leading]);
    let text = trimmed[leading..].to_owned();
    if utf16_len(&text) > MAX_TEXT {
        return Err(ApiError::bad_request("message is too long"));
    }
    for entity in &mut formatted.entities {
        let number =
            |name: &str| usize::try_from(entity[name].as_u64().unwrap_or_default()).unwrap_or(0);
        let offset = number("offset").saturating_sub(shift);
        let length = number("length").min(utf16_len(&text).saturating_sub(offset));
        entity["offset"] = offset.into();
        entity["length"] = length.into();
    }
    Ok(Formatted {
        text,
        entities: formatted.entities,
    })
}

fn markup_of(call: &Call<'_>) -> Result<Option<Value>, ApiError> {
    match call.params.json("reply_markup") {
        Ok(None) => Ok(None),
        Ok(Some(markup)) if markup.is_object() => Ok(Some(markup)),
        Ok(Some(_)) => Err(ApiError::bad_request("object expected as reply markup")),
        Err(_) => Err(ApiError::bad_request(
            "can't parse reply keyboard markup JSON object",
        )),
    }
}

/// The message that a call replies to, by `reply_parameters` or the older `reply_to_message_id`.
fn reply_of(world: &World, call: &Call<'_>, chat: i64) -> Result<Option<i64>, ApiError> {
    let parameters = call
        .params
        .json("reply_parameters")
        .map_err(|_| ApiError::bad_request("can't parse reply parameters JSON object"))?;
    let (id, optional) = match parameters {
        Some(Value::Object(given)) => {
            let optional = given.get("allow_sending_without_reply") == Some(&Value::Bool(true));
            (given.get("message_id").and_then(Value::as_i64), optional)
        }
        Some(_) => return Err(ApiError::bad_request("object expected as reply parameters")),
        None => (
            call.params.integer("reply_to_message_id"),
            call.params.flag("allow_sending_without_reply"),
        ),
    };
    let Some(id) = id.filter(|id| *id != 0) else {
        return Ok(None);
    };
    if world.message(call.token, chat, id).is_some() {
        Ok(Some(id))
    } else if optional {
        Ok(None)
    } else {
        Err(ApiError::bad_request("message to be replied not found"))
    }
}
