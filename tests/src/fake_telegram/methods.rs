//! The Bot API's methods: looks a name up and carries it out.
//!
//! Everything but `getUpdates` is one synchronous step on the world.

mod messages;
mod misc;
mod updates;

use super::error::{Answer, ApiError};
use super::params::Params;
use super::world::{Shared, World};

/// What a call runs on: whose it is, and what it said.
struct Call<'a> {
    token: &'a str,
    params: &'a Params,
}

type Method = fn(&mut World, &Call<'_>) -> Result<Answer, ApiError>;

/// The method of this (lower-case) name.
fn find(name: &str) -> Option<Method> {
    Some(match name {
        "getme" => misc::get_me,
        "logout" => misc::log_out,
        "close" => misc::close,
        "setmycommands" => misc::set_my_commands,
        "getmycommands" => misc::get_my_commands,
        "deletemycommands" => misc::delete_my_commands,
        "getchat" => misc::get_chat,
        "getfile" => misc::get_file,
        "answercallbackquery" => misc::answer_callback_query,
        "sendchataction" => misc::send_chat_action,
        "setwebhook" => updates::set_webhook,
        "deletewebhook" => updates::delete_webhook,
        "getwebhookinfo" => updates::get_webhook_info,
        "sendmessage" => messages::send_message,
        "editmessagetext" => messages::edit_message_text,
        "deletemessage" => messages::delete_message,
        _ => return None,
    })
}

/// Carries out one call. `name` is in lower case.
pub(super) async fn call(
    shared: &Shared,
    token: &str,
    name: &str,
    params: &Params,
) -> Result<Answer, ApiError> {
    if name == "getupdates" {
        return updates::get_updates(shared, token, params).await;
    }
    let method = find(name).ok_or_else(ApiError::method_not_found)?;
    shared.change(|world| method(world, &Call { token, params }))
}

/// The chat that a call names, if the bot may write there.
fn chat_of(world: &World, call: &Call<'_>) -> Result<i64, ApiError> {
    let given = call.params.text("chat_id");
    let given = given.ok_or_else(|| ApiError::bad_request("chat_id is empty"))?;
    let bot = world.bot(call.token);
    let id = match given.strip_prefix('@') {
        Some(_) => None,
        None => given.trim().parse::<i64>().ok(),
    };
    let id = id
        .filter(|id| bot.chats.contains(id))
        .ok_or_else(|| ApiError::bad_request("chat not found"))?;
    if bot.barred.contains(&id) {
        return Err(ApiError::forbidden(match world.groups.get(&id) {
            None => "bot was blocked by the user",
            Some(group) if group.supergroup => "bot was kicked from the supergroup chat",
            Some(_) => "bot was kicked from the group chat",
        }));
    }
    Ok(id)
}

/// The topic that a call names in this chat.
fn thread_of(world: &World, call: &Call<'_>, chat: i64) -> Result<Option<i64>, ApiError> {
    let Some(thread) = call
        .params
        .integer("message_thread_id")
        .filter(|id| *id != 0)
    else {
        return Ok(None);
    };
    let group = world.groups.get(&chat);
    if group.is_some_and(|group| group.topics.contains_key(&thread)) {
        Ok(Some(thread))
    } else {
        Err(ApiError::bad_request("message thread not found"))
    }
}
