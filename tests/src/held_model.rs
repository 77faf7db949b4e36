//! A model server that holds every answer until it is let go, and remembers who was in it at the same time.
//!
//! What runs at once is so a matter of order, not of time: while it holds, everybody who may be in it comes in and
//! stays, and who does not come in is not let by somebody else. A visit begins when the request is there in full, and
//! has ended before its answer goes out; so two visits that overlap here did so in the fleet, however late anybody is.
//!
//! It speaks `OpenAI`'s protocol, and says what it was told last. The name of the model is the visitor's.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::harness::eventually;

/// One request, from its arrival to just before its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// Whose: the name of the model that was asked for.
    pub model: String,
    /// All that people have said in this conversation, as it was sent, the news last.
    pub said: Vec<String>,
    /// Its place in the order of all beginnings and ends.
    pub began: usize,
    /// The same for its end; none while it is held.
    pub ended: Option<usize>,
}

impl Visit {
    /// What it asks.
    pub fn news(&self) -> &str {
        self.said.last().map_or("", String::as_str)
    }
}

/// How many of these visits were in there at once, at most.
pub fn most_at_once<'a>(visits: impl IntoIterator<Item = &'a Visit>) -> usize {
    let mut turns = Vec::new();
    for visit in visits {
        turns.push((visit.began, true));
        turns.extend(visit.ended.map(|ended| (ended, false)));
    }
    turns.sort_unstable();
    let (mut inside, mut most) = (0_usize, 0);
    for (_, comes) in turns {
        inside = if comes { inside + 1 } else { inside - 1 };
        most = most.max(inside);
    }
    most
}

#[derive(Debug)]
struct Shared {
    book: Mutex<Book>,
    /// How long each answer takes; none while all are held.
    pace: watch::Sender<Option<Duration>>,
}

#[derive(Debug, Default)]
struct Book {
    visits: Vec<Visit>,
    /// Beginnings and ends so far.
    turns: usize,
}

impl Book {
    fn turn(&mut self) -> usize {
        self.turns += 1;
        self.turns
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running server. Dropping it closes the port.
#[derive(Debug)]
pub struct HeldModel {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl HeldModel {
    /// Starts on a free loopback port, and holds.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            book: Mutex::default(),
            pace: watch::Sender::new(None),
        });
        let routes = Router::new()
            .route("/v1/chat/completions", post(answer))
            .with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            // It ends with the task.
            let _ = axum::serve(listener, routes).await;
        });
        Self {
            address,
            shared,
            server,
        }
    }

    /// Its `base_url`, as TOML.
    pub fn base_url(&self) -> String {
        format!("'http://{}/v1'", self.address)
    }

    /// Lets go of all that it holds; from now on each answer takes so long.
    pub fn let_go(&self, pace: Duration) {
        self.shared.pace.send_replace(Some(pace));
    }

    /// Everybody who came, in the order of coming.
    pub fn visits(&self) -> Vec<Visit> {
        self.shared.book().visits.clone()
    }

    /// Who is in there, in the order of coming.
    pub fn inside(&self) -> Vec<Visit> {
        let mut visits = self.visits();
        visits.retain(|visit| visit.ended.is_none());
        visits
    }

    /// Waits until so many are in there.
    pub async fn until_inside(&self, count: usize) -> Vec<Visit> {
        eventually(&format!("{count} at the model"), || async {
            let inside = self.inside();
            (inside.len() == count).then_some(inside)
        })
        .await
    }
}

impl Drop for HeldModel {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Ends a visit, also of somebody who goes away.
struct Stay {
    shared: Arc<Shared>,
    visit: usize,
}

impl Drop for Stay {
    fn drop(&mut self) {
        let mut book = self.shared.book();
        let turn = book.turn();
        book.visits[self.visit].ended = Some(turn);
    }
}

async fn answer(State(shared): State<Arc<Shared>>, Json(request): Json<Value>) -> Response {
    let said = of_people(&request);
    let text = said.last().cloned().unwrap_or_default();
    let stay = {
        let mut book = shared.book();
        let began = book.turn();
        book.visits.push(Visit {
            model: request["model"].as_str().unwrap_or_default().to_owned(),
            said,
            began,
            ended: None,
        });
        Stay {
            shared: Arc::clone(&shared),
            visit: book.visits.len() - 1,
        }
    };
    let mut pace = shared.pace.subscribe();
    let pace = pace.wait_for(Option::is_some).await;
    let pace = pace.ok().and_then(|pace| *pace).unwrap_or_default();
    tokio::time::sleep(pace).await;
    drop(stay);
    let chunk = |delta: Value, reason: Option<&str>| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": reason });
        format!("data: {}\n\n", json!({ "choices": [choice] }))
    };
    let said = chunk(json!({ "role": "assistant", "content": text }), None);
    let body = said + &chunk(json!({}), Some("stop")) + "data: [DONE]\n\n";
    ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// The texts of the user's messages.
fn of_people(request: &Value) -> Vec<String> {
    let messages = request["messages"].as_array().into_iter().flatten();
    let of_people = messages.filter(|message| message["role"] == "user");
    let texts = of_people.map(|message| match &message["content"] {
        Value::String(text) => text.clone(),
        parts => {
            let parts = parts.as_array().into_iter().flatten();
            parts.filter_map(|part| part["text"].as_str()).collect()
        }
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_there_at_once_is_counted() {
        let visit = |began, ended| Visit {
            model: String::new(),
            said: Vec::new(),
            began,
            ended,
        };
        assert_eq!(most_at_once(&[]), 0);
        assert_eq!(most_at_once(&[visit(1, Some(2)), visit(3, None)]), 1);
        assert_eq!(most_at_once(&[visit(1, Some(3)), visit(2, Some(4))]), 2);
        assert_eq!(
            most_at_once(&[visit(1, None), visit(2, Some(3)), visit(4, None)]),
            2
        );
    }
}
