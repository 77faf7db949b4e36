//! How a bot gets its updates: `getUpdates`, and the webhook methods, of which only the exclusion counts here.
//!
//! A poll that finds nothing parks, and parking ends an earlier poll of the same bot with 409, as on the real
//! server. Left out on purpose: the real server's brakes (it stretches a repeated short poll to 3 s, and answers a
//! second conflict within 3 s late), and delivery to webhooks.

#![expect(
    clippy::unnecessary_wraps,
    reason = "all methods share one signature, also those that cannot fail"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout_at;

use super::super::error::{Answer, ApiError};
use super::super::params::Params;
use super::super::world::{Bot, Shared, World};
use super::Call;

/// The longest poll, whatever the client asks for.
const MAX_TIMEOUT: i64 = 50;

const WEBHOOK_ACTIVE: &str = "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first";
const OTHER_POLL: &str =
    "terminated by other getUpdates request; make sure that only one bot instance is running";

pub(super) async fn get_updates(
    shared: &Shared,
    token: &str,
    params: &Params,
) -> Result<Answer, ApiError> {
    let limit = params.integer("limit").unwrap_or(100).clamp(1, 100);
    let limit = usize::try_from(limit).unwrap_or(100);
    let timeout = params.integer("timeout").unwrap_or(0).clamp(0, MAX_TIMEOUT);
    let timeout = Duration::from_secs(timeout.unsigned_abs());

    let mut changes = shared.changes();
    let ticket = shared.change(|world| {
        let bot = world.bot_mut(token);
        if bot.webhook.is_some() {
            return Err(ApiError::conflict(WEBHOOK_ACTIVE));
        }
        take_allowed(bot, params);
        bot.confirm(params.integer("offset").unwrap_or(0));
        let parks = bot.updates.is_empty() && !timeout.is_zero();
        bot.parked += u64::from(parks);
        Ok(parks.then_some(bot.parked))
    })?;
    let Some(ticket) = ticket else {
        return Ok(shared.look(|world| Value::from(world.bot(token).batch(limit)).into()));
    };
    let deadline = tokio::time::Instant::now() + timeout;
    loop {
        if let Some(batch) = shared.look(|world| parked(world.bot(token), ticket, limit))? {
            return Ok(batch.into());
        }
        if timeout_at(deadline, changes.changed()).await.is_err() {
            return Ok(json!([]).into());
        }
    }
}

/// What a parked poll may answer now.
fn parked(bot: &Bot, ticket: u64, limit: usize) -> Result<Option<Value>, ApiError> {
    if bot.logged_out {
        return Err(ApiError::logged_out());
    }
    if bot.parked != ticket {
        return Err(ApiError::conflict(OTHER_POLL));
    }
    if bot.webhook.is_some() {
        return Err(ApiError::conflict("terminated by setWebhook request"));
    }
    let batch = bot.batch(limit);
    Ok((!batch.is_empty()).then(|| batch.into()))
}

/// Remembers `allowed_updates` until the next call that has it. An empty list means the default set.
fn take_allowed(bot: &mut Bot, params: &Params) {
    let Ok(Some(Value::Array(kinds))) = params.json("allowed_updates") else {
        return;
    };
    let kinds = kinds.iter().filter_map(Value::as_str).map(str::to_owned);
    let kinds: BTreeSet<String> = kinds.collect();
    bot.allowed = (!kinds.is_empty()).then_some(kinds);
}

pub(super) fn set_webhook(world: &mut World, call: &Call<'_>) -> Result<Answer, ApiError> {
    let Some(url) = call.params.text("url") else {
        return delete_webhook(world, call);
    };
    if !url.starts_with("https://") {
        return Err(ApiError::bad_request(
            "bad webhook: An HTTPS URL must be provided for webhook",
        ));
    }
    let bot = world.bot_mut(call.token);
    take_allowed(bot, call.params);
    drop_pending(bot, call.params);
    let before = bot.webhook.replace(url.clone());
    Ok(Answer {
        result: true.into(),
        description: Some(if before == Some(url) {
            "Webhook is already set"
        } else {
            "Webhook was set"
        }),
    })
}

pub(super) fn delete_webhook(world: &mut World, call: &Call<'_>) -> Result<Answer, ApiError> {
    let bot = world.bot_mut(call.token);
    drop_pending(bot, call.params);
    Ok(Answer {
        result: true.into(),
        description: Some(match bot.webhook.take() {
            Some(_) => "Webhook was deleted",
            None => "Webhook is already deleted",
        }),
    })
}

fn drop_pending(bot: &mut Bot, params: &Params) {
    if params.flag("drop_pending_updates") {
        bot.updates.clear();
    }
}

pub(super) fn get_webhook_info(world: &mut World, call: &Call<'_>) -> Result<Answer, ApiError> {
    let bot = world.bot(call.token);
    let mut info = json!({
        "url": bot.webhook.as_deref().unwrap_or_default(),
        "has_custom_certificate": false,
        "pending_update_count": bot.updates.len(),
    });
    if let Some(allowed) = &bot.allowed {
        info["allowed_updates"] = allowed.iter().map(String::as_str).collect();
    }
    Ok(info.into())
}
