//! `/control/…`: the test's side of the fake for programs that are not Rust.
//!
//! Requests and answers are JSON; what cannot be done answers 400 with `{"error": …}`.
//!
//! | request | body or query | answer |
//! | --- | --- | --- |
//! | `POST bot` | `token`, `username` | `{"id"}` |
//! | `POST user` | `id`, `name`, `username`? | `{"id"}` |
//! | `POST group` | `id`, `title`, `supergroup`?, `topics`? (names) | `{"id", "topics": {name: thread}}` |
//! | `POST say` | `token`, `user`, `chat`?, `thread`?, `reply_to`?, `text` | `{"update_id", "message_id"}` |
//! | `GET sent` | `token`, `after`? (a message id) | `{"messages": […]}` |
//! | `POST wait` | `token`, `contains`?, `after`?, `timeout_ms`? | the message, or 408 |
//! | `GET state` | `token` | `{"confirmed", "pending", "calls", "parked", "hung", "actions"}` |
//! | `POST fault` | `token`, `kind`, `method`?, `times`?, `code`?, `retry_after`?, `millis`? | `{}` |
//! | `POST clear` | `token` | `{}` |

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest, Query};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::fault::{Fault, FaultRule};
use super::people::{self, Speaker};
use super::world::{Bot, Group, Shared, User};
use super::{sent, wait};

/// How long `wait` waits unless told.
const DEFAULT_WAIT_MS: u64 = 10_000;

/// An error, as status and text.
type Refused = (StatusCode, String);

/// Carries out one request.
pub(super) async fn handle(shared: &Shared, command: &str, request: Request<Body>) -> Response {
    let result = match (request.method().as_str(), command) {
        ("POST", "bot") => body(request).await.and_then(|given| add_bot(shared, given)),
        ("POST", "user") => body(request).await.map(|given| add_user(shared, given)),
        ("POST", "group") => body(request).await.map(|given| add_group(shared, given)),
        ("POST", "say") => body(request).await.and_then(|given| say(shared, &given)),
        ("POST", "fault") => body(request).await.and_then(|given| fault(shared, &given)),
        ("POST", "clear") => body(request).await.and_then(|given| clear(shared, &given)),
        ("GET", "sent") => query(&request).and_then(|given| list_sent(shared, &given)),
        ("GET", "state") => query(&request).and_then(|given| state(shared, &given)),
        ("POST", "wait") => match body(request).await {
            Ok(given) => wait_for(shared, given).await,
            Err(refused) => Err(refused),
        },
        _ => Err((
            StatusCode::NOT_FOUND,
            format!("no such control request: {command}"),
        )),
    };
    match result {
        Ok(value) => Json(value).into_response(),
        Err((status, why)) => (status, Json(json!({"error": why}))).into_response(),
    }
}

fn bad(why: impl Into<String>) -> Refused {
    (StatusCode::BAD_REQUEST, why.into())
}

async fn body<T: DeserializeOwned>(request: Request<Body>) -> Result<T, Refused> {
    let parsed = Json::<T>::from_request(request, &()).await;
    parsed
        .map(|Json(given)| given)
        .map_err(|why| bad(why.body_text()))
}

fn query<T: DeserializeOwned>(request: &Request<Body>) -> Result<T, Refused> {
    let parsed = Query::<T>::try_from_uri(request.uri());
    parsed
        .map(|Query(given)| given)
        .map_err(|why| bad(why.body_text()))
}

/// Changes a bot, if there is one with that token.
fn change_bot(
    shared: &Shared,
    token: &str,
    change: impl FnOnce(&mut Bot),
) -> Result<Value, Refused> {
    shared.change(|world| {
        let bot = world.bots.get_mut(token);
        change(bot.ok_or_else(|| bad("no bot has this token"))?);
        Ok(json!({}))
    })
}

#[derive(Deserialize)]
struct NewBot {
    token: String,
    username: String,
}

fn add_bot(shared: &Shared, given: NewBot) -> Result<Value, Refused> {
    let id = given
        .token
        .split_once(':')
        .and_then(|(id, _)| id.parse().ok());
    let id: i64 = id.ok_or_else(|| bad("a token looks like 123:secret"))?;
    let bot = Bot::new(id, &given.username);
    shared.change(|world| world.bots.insert(given.token, bot));
    Ok(json!({"id": id}))
}

#[derive(Deserialize)]
struct NewUser {
    id: i64,
    name: String,
    username: Option<String>,
}

fn add_user(shared: &Shared, given: NewUser) -> Value {
    let user = User {
        name: given.name,
        username: given.username,
    };
    shared.change(|world| world.users.insert(given.id, user));
    json!({"id": given.id})
}

#[derive(Deserialize)]
struct NewGroup {
    id: i64,
    title: String,
    #[serde(default)]
    supergroup: bool,
    #[serde(default)]
    topics: Vec<String>,
}

fn add_group(shared: &Shared, given: NewGroup) -> Value {
    shared.change(|world| {
        let topics = given.topics.into_iter();
        let topics: BTreeMap<i64, String> =
            topics.map(|name| (world.next_serial(), name)).collect();
        let ids: BTreeMap<&String, &i64> = topics.iter().map(|(id, name)| (name, id)).collect();
        let answer = json!({"id": given.id, "topics": ids});
        let group = Group {
            title: given.title,
            supergroup: given.supergroup || !topics.is_empty(),
            topics,
        };
        world.groups.insert(given.id, group);
        answer
    })
}

#[derive(Deserialize)]
struct Say {
    token: String,
    user: i64,
    chat: Option<i64>,
    thread: Option<i64>,
    reply_to: Option<i64>,
    text: String,
}

fn say(shared: &Shared, given: &Say) -> Result<Value, Refused> {
    let mut speaker = Speaker::new(given.user);
    if let Some(chat) = given.chat {
        speaker = speaker.in_chat(chat);
    }
    if let Some(thread) = given.thread {
        speaker = speaker.in_topic(thread);
    }
    if let Some(message) = given.reply_to {
        speaker = speaker.replying_to(message);
    }
    let said = shared.change(|world| people::say(world, &given.token, speaker, &given.text, None));
    let (update_id, message_id) = said.map_err(bad)?;
    Ok(json!({"update_id": update_id, "message_id": message_id}))
}

#[derive(Deserialize)]
struct Which {
    token: String,
    #[serde(default)]
    after: i64,
    contains: Option<String>,
    timeout_ms: Option<u64>,
}

fn list_sent(shared: &Shared, given: &Which) -> Result<Value, Refused> {
    shared.look(|world| {
        if !world.bots.contains_key(&given.token) {
            return Err(bad("no bot has this token"));
        }
        let mut messages = sent(world, &given.token);
        messages.retain(|message| message.message_id > given.after);
        Ok(json!({"messages": messages}))
    })
}

async fn wait_for(shared: &Shared, given: Which) -> Result<Value, Refused> {
    let within = Duration::from_millis(given.timeout_ms.unwrap_or(DEFAULT_WAIT_MS));
    let contains = given.contains.unwrap_or_default();
    let find = |world: &super::World| {
        let mut messages = sent(world, &given.token).into_iter();
        messages
            .find(|message| message.message_id > given.after && message.text.contains(&contains))
    };
    let found = wait(shared, find, within).await;
    found.map(|message| json!(message)).ok_or_else(|| {
        (
            StatusCode::REQUEST_TIMEOUT,
            "no such message in time".to_owned(),
        )
    })
}

fn state(shared: &Shared, given: &Which) -> Result<Value, Refused> {
    shared.look(|world| {
        let bot = world.bots.get(&given.token);
        let bot = bot.ok_or_else(|| bad("no bot has this token"))?;
        let pending: Vec<i64> = bot.updates.iter().map(|(id, _)| *id).collect();
        Ok(json!({
            "confirmed": bot.confirmed(),
            "pending": pending,
            "calls": bot.calls,
            "parked": bot.parked,
            "hung": bot.hung,
            "actions": bot.actions,
        }))
    })
}

#[derive(Deserialize)]
struct NewFault {
    token: String,
    kind: String,
    method: Option<String>,
    times: Option<u32>,
    code: Option<u16>,
    retry_after: Option<u32>,
    millis: Option<u64>,
}

fn fault(shared: &Shared, given: &NewFault) -> Result<Value, Refused> {
    let fault = match given.kind.as_str() {
        "hang" => Fault::Hang,
        "status" => Fault::Status {
            code: given.code.ok_or_else(|| bad("a status needs its code"))?,
            retry_after: given.retry_after,
        },
        "disconnect" => Fault::Disconnect,
        "garbage" => Fault::Garbage,
        "slow" => {
            let millis = given.millis.ok_or_else(|| bad("slow needs its millis"))?;
            Fault::Slow(Duration::from_millis(millis))
        }
        other => return Err(bad(format!("no such fault: {other}"))),
    };
    let mut rule = FaultRule::new(fault);
    if let Some(method) = &given.method {
        rule = rule.on(method);
    }
    if let Some(times) = given.times {
        rule = rule.times(times);
    }
    change_bot(shared, &given.token, |bot| bot.faults.add(rule))
}

fn clear(shared: &Shared, given: &Which) -> Result<Value, Refused> {
    change_bot(shared, &given.token, |bot| bot.faults.clear())
}
