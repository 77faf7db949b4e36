//! The accounts that run, and what each of them owes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kennel_shared::ids::ChannelId;
use tokio::sync::{Semaphore, watch};

use crate::channel::AccountHandle;

/// Messages of one account that are being answered. Full: the account is told to try again.
const UNANSWERED: usize = 256;

/// What the outbox of one account is told, and tells.
#[derive(Debug, Clone)]
pub(super) struct Bell {
    /// How often something was put into the outbox.
    rung: watch::Sender<u64>,
    /// For how much of that nothing is left to be sent.
    served: watch::Sender<u64>,
    /// What is in the outbox, sent or waiting.
    owed: watch::Sender<usize>,
}

impl Bell {
    fn new() -> Self {
        Self {
            rung: watch::Sender::new(0),
            served: watch::Sender::new(0),
            owed: watch::Sender::new(0),
        }
    }

    /// Something was put into the outbox.
    fn ring(&self) {
        self.owed.send_modify(|owed| *owed += 1);
        self.rung.send_modify(|rung| *rung += 1);
    }

    /// To wait for [`Bell::ring`].
    pub(super) fn rung(&self) -> watch::Receiver<u64> {
        self.rung.subscribe()
    }

    /// All that was rung for up to `rung` is done with, and nothing is in the outbox.
    pub(super) fn serve(&self, rung: u64) {
        self.served.send_replace(rung);
        if *self.rung.borrow() == rung {
            // It may have been rung for something that was there already.
            self.owed.send_replace(0);
        }
    }

    /// So much was found at the start.
    pub(super) fn found(&self, owed: usize) {
        self.owed.send_modify(|sum| *sum += owed);
    }

    /// One thing is sent, or given up.
    pub(super) fn settled(&self) {
        self.owed.send_modify(|owed| *owed = owed.saturating_sub(1));
    }

    async fn quiet(&self) {
        let rung = *self.rung.borrow();
        let mut served = self.served.subscribe();
        // The sender is in `self`, so this ends only by the number.
        let _ = served.wait_for(|served| *served >= rung).await;
    }
}

/// One account.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) handle: AccountHandle,
    pub(super) bell: Bell,
    /// For messages that are being answered.
    pub(super) places: Arc<Semaphore>,
}

impl Entry {
    /// Whether it has so much to send that it may take no more in.
    pub(super) fn is_full(&self) -> bool {
        *self.bell.owed.borrow() >= UNANSWERED
    }
}

/// The accounts by id. A clone is the same.
#[derive(Debug, Clone, Default)]
pub struct Accounts(Arc<Mutex<BTreeMap<ChannelId, Entry>>>);

impl Accounts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ChannelId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an account, or puts another in the place of one.
    pub(super) fn insert(&self, id: ChannelId, handle: AccountHandle) -> Entry {
        let entry = Entry {
            handle,
            bell: Bell::new(),
            places: Arc::new(Semaphore::new(UNANSWERED)),
        };
        self.lock().insert(id, entry.clone());
        entry
    }

    /// Takes an account out. It runs until it is stopped.
    pub fn remove(&self, id: &ChannelId) -> Option<AccountHandle> {
        self.lock().remove(id).map(|entry| entry.handle)
    }

    /// Waits until all that was rung for by now of one account is sent or given up, also when it was taken out
    /// meanwhile. Bound it: an account that cannot connect sends nothing.
    pub fn drained_of(&self, id: &ChannelId) -> impl Future<Output = ()> + Send + use<> {
        let entry = self.entry(id);
        async move {
            if let Some(entry) = entry {
                entry.bell.quiet().await;
            }
        }
    }

    pub(super) fn entry(&self, id: &ChannelId) -> Option<Entry> {
        self.lock().get(id).cloned()
    }

    /// One account.
    pub fn get(&self, id: &ChannelId) -> Option<AccountHandle> {
        self.entry(id).map(|entry| entry.handle)
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<AccountHandle> {
        let accounts = self.lock();
        accounts
            .values()
            .map(|entry| entry.handle.clone())
            .collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says that something was put into an account's outbox. One that is gone sends nothing; it stays
    /// in the journal.
    pub fn ring(&self, id: &ChannelId) {
        if let Some(entry) = self.entry(id) {
            entry.bell.ring();
        }
    }

    /// Waits until all that was rung for by now is sent or given up. Bound it: an account that cannot
    /// connect sends nothing.
    pub async fn drained(&self) {
        let entries: Vec<Entry> = self.lock().values().cloned().collect();
        for entry in entries {
            entry.bell.quiet().await;
        }
    }
}
