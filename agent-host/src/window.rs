//! Which part of a session a turn sees. Pure.
//!
//! A session is a row of *exchanges*: a message of the user, what the model did with its tools, and its
//! answer. The window is filled from the newest message backwards, within so many messages and so many
//! bytes, the new message included:
//!
//! - Exchanges come whole, as long as they fit.
//! - From the first that does not fit on, only what was said is taken, without tool calls and results.
//! - It ends before the first exchange that does not fit even so.
//!
//! So a window begins with a message of the user, and no result is in it without its call, nor a call
//! without its result. Whoever fills it is told when to stop: the cost of a turn does not depend on the
//! length of its session.

use kennel_shared::protocol::ContextSpec;
use serde::{Deserialize, Serialize};

/// Takes the place of a result that does not fit.
pub(crate) const LEFT_OUT: &str =
    "[left out to make room: call the tool again if you still need this]";

/// What the model asks to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Call {
    /// Ours, not the provider's: unique, and of a form that every provider takes.
    pub(crate) id: String,
    /// Which tool; perhaps none that there is.
    pub(crate) name: String,
    /// What the model wrote: JSON, or what it took for JSON.
    pub(crate) arguments: String,
    /// What the provider wants back with it, unread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signature: Option<String>,
}

impl Call {
    fn bytes(&self) -> usize {
        self.id.len() + self.name.len() + self.arguments.len()
    }
}

/// One message of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// The person in the chat.
    User(String),
    /// The model, with what it wants done before it goes on.
    Model {
        /// What it said; may be empty beside calls.
        text: String,
        /// In its order.
        calls: Vec<Call>,
    },
    /// What came of a call.
    Result {
        /// The [`Call::id`].
        call: String,
        /// The [`Call::name`].
        name: String,
        /// For the model to read.
        text: String,
    },
}

impl Message {
    /// An answer without calls.
    pub(crate) fn answer(text: impl Into<String>) -> Self {
        Self::Model {
            text: text.into(),
            calls: Vec::new(),
        }
    }

    /// Its text.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::User(text) | Self::Model { text, .. } | Self::Result { text, .. } => text,
        }
    }

    /// How much of a window it takes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::User(text) => text.len(),
            Self::Model { text, calls } => {
                text.len() + calls.iter().map(Call::bytes).sum::<usize>()
            }
            Self::Result { call, name, text } => call.len() + name.len() + text.len(),
        }
    }

    /// Which part it has in its exchange.
    pub(crate) fn part(&self) -> Part {
        match self {
            Self::User(_) => Part::Question,
            Self::Model { calls, .. } if calls.is_empty() => Part::Answer,
            Self::Model { .. } | Self::Result { .. } => Part::Tools,
        }
    }
}

/// The part of a message in its exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// It begins the exchange.
    Question,
    /// A call, or what came of one.
    Tools,
    /// It was said.
    Answer,
}

/// Whether there is room for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// It is to be [pushed](Window::push).
    Yes,
    /// Not for this one, nor for any other of tools.
    NotForTools,
    /// Stop reading.
    Full,
}

/// A window being filled, newest message first.
#[derive(Debug)]
pub(crate) struct Window {
    messages_left: usize,
    bytes_left: usize,
    /// Whole exchanges.
    newest_first: Vec<Message>,
    /// The exchange that is being read, with what each message takes.
    open: Vec<(Message, usize)>,
    /// What [`Window::room`] has promised to the next message.
    promised: usize,
    only_said: bool,
}

impl Window {
    /// The window behind a new message of `new_bytes`, which is in any case part of the turn.
    pub(crate) fn behind(spec: ContextSpec, new_bytes: usize) -> Self {
        let bytes_left = (spec.max_bytes as usize).checked_sub(new_bytes);
        Self {
            messages_left: match bytes_left {
                Some(_) => (spec.max_messages as usize).saturating_sub(1),
                None => 0,
            },
            bytes_left: bytes_left.unwrap_or(0),
            newest_first: Vec::new(),
            open: Vec::new(),
            promised: 0,
            only_said: false,
        }
    }

    /// Whether the next older message is taken; asked before it is read.
    pub(crate) fn room(&mut self, part: Part, bytes: usize) -> Room {
        let tools = part == Part::Tools;
        if tools && self.only_said {
            return Room::NotForTools;
        }
        let fits = |window: &Self| window.messages_left > 0 && bytes <= window.bytes_left;
        if !fits(self) {
            let open = self.open.iter();
            let mut parts = open.map(|(message, _)| message.part());
            if self.only_said || !(tools || parts.any(|part| part == Part::Tools)) {
                return Room::Full;
            }
            self.keep_what_was_said();
            if tools {
                return Room::NotForTools;
            }
            if !fits(self) {
                return Room::Full;
            }
        }
        self.promised = bytes;
        Room::Yes
    }

    /// Takes the message for which there was [room](Self::room).
    pub(crate) fn push(&mut self, message: Message) {
        self.messages_left -= 1;
        self.bytes_left -= self.promised;
        let begins = message.part() == Part::Question;
        self.open.push((message, self.promised));
        if begins {
            let whole = self.open.drain(..).map(|(message, _)| message);
            self.newest_first.extend(whole);
        }
    }

    fn keep_what_was_said(&mut self) {
        self.only_said = true;
        let (tools, said): (Vec<_>, Vec<_>) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|(message, _)| message.part() == Part::Tools);
        self.open = said;
        self.messages_left += tools.len();
        self.bytes_left += tools.iter().map(|(_, bytes)| bytes).sum::<usize>();
    }

    /// The messages, oldest first. An answer whose question fell out of the window is left out too.
    pub(crate) fn into_messages(mut self) -> Vec<Message> {
        self.newest_first.reverse();
        self.newest_first
    }
}

/// What a model is sent: the window, then the messages of the turn so far, in at most `max_bytes` if
/// that can be done by leaving out old exchanges, then old results of this turn. The last answer's
/// results always stay. What the person said in several messages without an answer between them is one:
/// the templates of some models want people and model to take turns.
pub(crate) fn fit(window: &[Message], turn: &[Message], max_bytes: usize) -> Vec<Message> {
    let size = |messages: &[Message]| messages.iter().map(Message::bytes).sum::<usize>();
    let own = size(turn);
    let mut window = window;
    while !window.is_empty() && size(window) + own > max_bytes {
        let next = window
            .iter()
            .skip(1)
            .position(|m| m.part() == Part::Question);
        window = &window[next.map_or(window.len(), |next| next + 1)..];
    }
    let mut messages = [window, turn].concat();
    let mut excess = (size(window) + own).saturating_sub(max_bytes);
    let last_answer = messages
        .iter()
        .rposition(|m| matches!(m, Message::Model { .. }));
    for message in &mut messages[..last_answer.unwrap_or(0)] {
        if excess == 0 {
            break;
        }
        if let Message::Result { text, .. } = message
            && text.len() > LEFT_OUT.len()
        {
            excess = excess.saturating_sub(text.len() - LEFT_OUT.len());
            LEFT_OUT.clone_into(text);
        }
    }
    messages.dedup_by(|next, before| match (before, next) {
        (Message::User(before), Message::User(next)) => {
            before.push_str("\n\n");
            before.push_str(next);
            true
        }
        _ => false,
    });
    messages
}

#[cfg(test)]
mod tests;
