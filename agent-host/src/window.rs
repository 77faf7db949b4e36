//! Which part of a session a turn sees. Pure.
//!
//! The window is the longest tail of the session that has at most so many messages and so many bytes,
//! the new message included, and that begins with a message of the user. It is filled from the
//! newest message backwards and says when to stop, so that nobody reads further than it reaches: the
//! cost of a turn does not depend on the length of its session.

use kennel_shared::protocol::ContextSpec;

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The person in the chat.
    User,
    /// The agent.
    Assistant,
}

/// One message of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) role: Role,
    pub(crate) text: String,
}

/// A window being filled, newest message first.
#[derive(Debug)]
pub(crate) struct Window {
    messages_left: usize,
    bytes_left: usize,
    newest_first: Vec<Message>,
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
        }
    }

    /// Whether an older message of `bytes` would be taken. When not, nothing older is either.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.messages_left > 0 && bytes <= self.bytes_left
    }

    /// Takes the next older message. `false` when it does not fit: stop reading.
    pub(crate) fn take(&mut self, message: Message) -> bool {
        if !self.has_room(message.text.len()) {
            return false;
        }
        self.messages_left -= 1;
        self.bytes_left -= message.text.len();
        self.newest_first.push(message);
        true
    }

    /// The messages, oldest first. An answer whose question fell out of the window is left out too.
    pub(crate) fn into_messages(mut self) -> Vec<Message> {
        while self
            .newest_first
            .last()
            .is_some_and(|oldest| oldest.role == Role::Assistant)
        {
            self.newest_first.pop();
        }
        self.newest_first.reverse();
        self.newest_first
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(role: Role, text: &str) -> Message {
        Message {
            role,
            text: text.to_owned(),
        }
    }

    fn fill(history: &[Message], spec: ContextSpec, new_bytes: usize) -> (Vec<Message>, usize) {
        let mut window = Window::behind(spec, new_bytes);
        let mut read = 0;
        for message in history.iter().rev() {
            read += 1;
            if !window.take(message.clone()) {
                break;
            }
        }
        (window.into_messages(), read)
    }

    /// The definition, tried on every tail: the longest one that fits, then the first user's message.
    fn model(history: &[Message], spec: ContextSpec, new_bytes: usize) -> &[Message] {
        let fits = |tail: &&[Message]| {
            tail.is_empty()
                || tail.len() < spec.max_messages as usize
                    && tail.iter().map(|m| m.text.len()).sum::<usize>() + new_bytes
                        <= spec.max_bytes as usize
        };
        let tail = (0..=history.len())
            .map(|start| &history[start..])
            .find(fits)
            .expect("the empty tail fits");
        let first = tail.iter().position(|m| m.role == Role::User);
        &tail[first.unwrap_or(tail.len())..]
    }

    fn any_message() -> impl Strategy<Value = Message> {
        (any::<bool>(), "[a-zä]{0,12}").prop_map(|(user, text)| Message {
            role: if user { Role::User } else { Role::Assistant },
            text,
        })
    }

    #[test]
    fn begins_with_the_user() {
        let history = [
            message(Role::User, "one"),
            message(Role::Assistant, "eins"),
            message(Role::User, "two"),
            message(Role::Assistant, "zwei"),
        ];
        let spec = ContextSpec {
            max_messages: 4,
            max_bytes: 100,
        };
        // Three fit beside the new one, but the oldest of them is an answer.
        assert_eq!(fill(&history, spec, 1).0, history[2..]);
    }

    #[test]
    fn the_new_message_counts() {
        let history = [
            message(Role::User, "12345"),
            message(Role::Assistant, "12345"),
        ];
        let spec = ContextSpec {
            max_messages: 10,
            max_bytes: 20,
        };
        assert_eq!(fill(&history, spec, 10).0, history);
        assert!(fill(&history, spec, 11).0.is_empty());
        assert!(fill(&history, spec, 1000).0.is_empty());
    }

    proptest! {
        #[test]
        fn is_the_longest_tail_that_fits(
            history in prop::collection::vec(any_message(), 0..30),
            max_messages in 0u32..20,
            max_bytes in 0u32..100,
            new_bytes in 0usize..40,
        ) {
            let spec = ContextSpec { max_messages, max_bytes };
            let (window, read) = fill(&history, spec, new_bytes);
            prop_assert_eq!(&window[..], model(&history, spec, new_bytes));
            // One message beyond the window is looked at, to find that it does not fit.
            prop_assert!(read <= max_messages as usize + 1);
        }
    }
}
