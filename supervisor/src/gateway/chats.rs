//! What people have chosen for their chats: a mode, a new conversation. In the journal, and here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kennel_shared::session_key::SessionKey;

use crate::{
    dispatch::gather::Mode,
    journal::{Journal, JournalError, Op, ReadError, Reader, entry::Chat},
};

/// See the module. A clone is the same.
#[derive(Clone)]
pub struct Chats {
    journal: Journal,
    known: Arc<Mutex<HashMap<SessionKey, Choice>>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Choice {
    mode: Option<Mode>,
    /// How many conversations were begun anew.
    begun: u32,
}

impl Chats {
    /// What the journal has. Reads from the disk.
    pub fn load(journal: Journal) -> Result<Self, ReadError> {
        let chats = Reader::open(journal.path())?.chats()?.into_iter();
        let known = chats.map(|chat| {
            let Chat { key, mode, begun } = chat;
            (key, Choice { mode, begun })
        });
        Ok(Self {
            known: Arc::new(Mutex::new(known.collect())),
            journal,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionKey, Choice>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn choice(&self, chat: &SessionKey) -> Choice {
        self.lock().get(chat).copied().unwrap_or_default()
    }

    /// The mode that was chosen in a chat.
    pub(super) fn mode(&self, chat: &SessionKey) -> Option<Mode> {
        self.choice(chat).mode
    }

    /// The conversation of a chat: the chat's own key for the first, then with a number behind it.
    pub(super) fn session(&self, chat: &SessionKey) -> SessionKey {
        numbered(chat, self.choice(chat).begun)
    }

    /// Chooses a mode; the configuration's when there is none.
    pub(super) async fn choose(
        &self,
        chat: &SessionKey,
        mode: Option<Mode>,
    ) -> Result<(), JournalError> {
        let choice = self.choice(chat);
        self.put(chat, Choice { mode, ..choice }).await
    }

    /// Begins a new conversation.
    pub(super) async fn begin(&self, chat: &SessionKey) -> Result<(), JournalError> {
        let mut choice = self.choice(chat);
        choice.begun += 1;
        self.put(chat, choice).await
    }

    async fn put(&self, chat: &SessionKey, choice: Choice) -> Result<(), JournalError> {
        let entry = Chat {
            key: chat.clone(),
            mode: choice.mode,
            begun: choice.begun,
        };
        self.journal.put(Op::SetChat(Box::new(entry))).await?;
        self.lock().insert(chat.clone(), choice);
        Ok(())
    }
}

/// No chat's own key ends so: no platform has peers with a colon.
fn numbered(chat: &SessionKey, begun: u32) -> SessionKey {
    if begun == 0 {
        return chat.clone();
    }
    let rest = format!("{}:new-{begun}", chat.rest());
    // One that would be too long stays with its first conversation.
    SessionKey::new(&chat.agent(), &rest).unwrap_or_else(|_| chat.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Options;

    #[tokio::test]
    async fn choices_outlive_the_supervisor() {
        let home = tempfile::tempdir().unwrap();
        let open = || {
            let options = Options::new(home.path().join("journal.db"));
            let (journal, writer) = Journal::open(options).unwrap();
            (Chats::load(journal).unwrap(), writer)
        };
        let chat: SessionKey = "agent:a:tg:direct:7".parse().unwrap();
        let (chats, writer) = open();
        assert_eq!(
            (chats.mode(&chat), chats.session(&chat)),
            (None, chat.clone())
        );
        chats.choose(&chat, Some(Mode::Followup)).await.unwrap();
        chats.begin(&chat).await.unwrap();
        chats.begin(&chat).await.unwrap();
        drop(chats);
        writer.join().unwrap();
        let (chats, _writer) = open();
        assert_eq!(chats.mode(&chat), Some(Mode::Followup));
        assert_eq!(chats.session(&chat).as_str(), "agent:a:tg:direct:7:new-2");
        chats.choose(&chat, None).await.unwrap();
        assert_eq!(chats.mode(&chat), None);
        assert_eq!(chats.session(&chat).as_str(), "agent:a:tg:direct:7:new-2");
    }
}
