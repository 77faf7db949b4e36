//! Signals, as messages to whoever runs the supervisor.

use std::{io, thread};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::{Handle, Signals as Incoming},
    low_level::signal_name,
};
use tokio::sync::mpsc;

use crate::reload::{Asker, Requests};

/// Signals that may wait; more of the same say nothing new.
const QUEUE: usize = 8;

/// Listens for signals on a thread of its own until it is dropped.
pub(super) struct Signals {
    handle: Handle,
    received: mpsc::Receiver<i32>,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        let mut incoming = Incoming::new([SIGHUP, SIGINT, SIGTERM])?;
        let handle = incoming.handle();
        let (signals, received) = mpsc::channel(QUEUE);
        thread::Builder::new()
            .name("signals".into())
            .stack_size(128 * 1024)
            .spawn(move || {
                for signal in incoming.forever() {
                    let _ = signals.try_send(signal);
                }
            })?;
        Ok(Self { handle, received })
    }

    /// The name of the next signal that asks to end. One that asks for the configuration to be read again is passed on
    /// to `reloads`. Cancel-safe.
    pub(super) async fn shutdown(&mut self, reloads: &Requests) -> &'static str {
        loop {
            match self.received.recv().await {
                Some(SIGHUP) => reloads.hint(Asker::Signal),
                Some(signal) => return signal_name(signal).unwrap_or("a signal"),
                None => std::future::pending().await,
            }
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
    }
}
