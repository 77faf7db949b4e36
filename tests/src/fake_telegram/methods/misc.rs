//! The bot's own account, its commands, and small replies: chats, files, actions, button presses.

#![expect(
    clippy::unnecessary_wraps,
    reason = "all methods share one signature, also those that cannot fail"
)]

use serde_json::{Value, json};

use super::super::error::{Answer, ApiError};
use super::super::world::{Action, CallbackAnswer, World};
use super::{Call, chat_of, thread_of};

/// Every chat action that the Bot API documents.
const ACTIONS: [&str; 13] = [
    "cancel",
    "typing",
    "upload_photo",
    "record_video",
    "upload_video",
    "record_voice",
    "upload_voice",
    "upload_document",
    "choose_sticker",
    "find_location",
    "record_video_note",
    "upload_video_note",
    "record_audio",
];

pub(super) fn get_me(world: &mut World, call: &Call<'_>) -> Result<Answer, ApiError> {
    Ok(world.bot(call.token).me_json().into())
}

/// From here on every call of this token fails, until the test adds the bot again.
pub(super) fn log_out(world: &mut World, call: &Call<'_>) -> Result<Answer, ApiError> {
    let bot = world.bot_mut(call.token);
    bot.logged_out = true;
    bot.updates.clear();
    Ok(Value::Bool(true).into())
}

/// Nothing to close: the next call would start the instance again.
pub(super) fn close(_: &mut World, _: &Call<'_>) -> Result<Answer, ApiError> {
    Ok(Value::Bool(true).into())
}

/// Commands are kept apart by scope and language.
fn scope_of(call: &Call<'_>) -> Result<String, ApiError> {
    let scope = call.params.json("scope");
    let scope =
        scope.map_err(|_| ApiError::bad_request("can't parse BotCommandScope JSON object"))?;
    let scope = scope.unwrap_or_else(|| json!({"type": "default"}));
    let language = call.params.text("language_code").unwrap_or_default();
    Ok(format!("{scope} {language}"))
}

pub(super) fn set_my_commands(world: &mut World, call: &Call<'_>) -> Result<Answer, ApiError> {
    let commands = match call.params.json("commands") {
        Ok(Some(Value::Array(commands))) => commands,
        Ok(_) => return Err(ApiError::bad_request("expected an Array of BotCommand")),
        Err(_) => return Err(ApiError::bad_request("can't parse commands JSON object")),
    };
    if commands.len() > 100 {
        return Err(ApiError::bad_request("BOT_COMMANDS_TOO_MUCH"));
    }
    for command in &commands {
        let name = command["command"]
            .as_str()
            .unwrap_or_default()
            .trim_start_matches('/');
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !(1..=32).contains(&name.len()) || !name.chars().all(valid) {
            return Err(ApiError::bad_request("BOT_COMMAND_INVALID"));
        }
        let description = command["description"].as_str().unwrap_or_default();
        if !(1..=256).contains(&description.chars().count()) {
            return Err(ApiError::bad_request("BOT_COMMAND_DESCRIPTION_INVALID"));
        }
    }
    let scope = scope_of(call)?;
    world
        .bot_mut(call.token)
        .commands
        .insert(scope, commands.into());
    Ok(Value::Bool(true).into())
}

pub(super) fn get_my_commands(world: &mut World, call: &Call<'_>) -> Result<Answer, ApiError> {
    let commands = world
        .bot(call.token)
        .commands
        .get(&scope_of(call)?)
        .cloned();
    Ok(commands.unwrap_or_else(|| json!([])).into())
}

pub(super) fn delete_my_commands(world: &mut World, call: &Call<'_>) -> Result<Answer, ApiError> {
    let scope = scope_of(call)?;
    world.bot_mut(call.token).commands.remove(&scope);
    Ok(Value::Bool(true).into())
}

pub(super) fn get_chat(world: &mut World, call: &Call<'_>) -> Result<Answer, ApiError> {
    let chat = chat_of(world, call)?;
    Ok(world.full_chat_json(chat).into())
}

pub(super) fn get_file(world: &mut World, call: &Call<'_>) -> Result<Answer, ApiError> {
    let id = call.params.text("file_id");
    let id = id.ok_or_else(|| ApiError::bad_request("file_id not specified"))?;
    if !world.files.contains_key(&id) {
        return Err(ApiError::bad_request(
            "wrong file_id or the file is temporarily unavailable",
        ));
    }
    let mut file = world.file_json(&id);
    file["file_path"] = format!("documents/{id}").into();
    Ok(file.into())
}

pub(super) fn send_chat_action(world: &mut World, call: &Call<'_>) -> Result<Answer, ApiError> {
    let action = call
        .params
        .text("action")
        .unwrap_or_default()
        .to_ascii_lowercase();
    if !ACTIONS.contains(&action.as_str()) {
        return Err(ApiError::bad_request("wrong parameter action in request"));
    }
    let chat_id = chat_of(world, call)?;
    let thread_id = thread_of(world, call, chat_id)?;
    world.bot_mut(call.token).actions.push(Action {
        chat_id,
        thread_id,
        action,
    });
    Ok(Value::Bool(true).into())
}

pub(super) fn answer_callback_query(
    world: &mut World,
    call: &Call<'_>,
) -> Result<Answer, ApiError> {
    let id = call.params.text("callback_query_id").unwrap_or_default();
    let pending = world.bot_mut(call.token).callbacks.get_mut(&id);
    let pending = pending.filter(|answer| answer.is_none()).ok_or_else(|| {
        ApiError::bad_request(
            "query is too old and response timeout expired or query ID is invalid",
        )
    })?;
    *pending = Some(CallbackAnswer {
        text: call.params.text("text"),
        alert: call.params.flag("show_alert"),
    });
    Ok(Value::Bool(true).into())
}
