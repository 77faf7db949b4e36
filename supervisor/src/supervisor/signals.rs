//! Signals, as messages to whoever runs the supervisor.

use std::{
    io,
    thread::{self, JoinHandle},
};

use nix::sys::signal::{SigSet, Signal, raise};
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
    listener: Option<JoinHandle<Incoming>>,
}

impl Signals {
    /// Those that the program before has [passed on](Self::pass_on) are the first to come.
    pub(super) fn listen() -> io::Result<Self> {
        let mut incoming = Incoming::new([SIGHUP, SIGINT, SIGTERM])?;
        let handle = incoming.handle();
        let (signals, received) = mpsc::channel(QUEUE);
        let listener = thread::Builder::new()
            .name("signals".into())
            .stack_size(128 * 1024)
            .spawn(move || {
                for signal in incoming.forever() {
                    let _ = signals.try_send(signal);
                }
                incoming
            })?;
        // Only now: before, they would have ended this process.
        all().thread_unblock()?;
        Ok(Self {
            handle,
            received,
            listener: Some(listener),
        })
    }

    /// Leaves those that nobody has heeded, and all that come from now on, to the program that this process becomes
    /// next: they wait until it listens. From this thread, once there are no others who could catch them.
    pub(super) fn pass_on(&mut self) -> io::Result<()> {
        all().thread_block()?;
        self.handle.close();
        let listener = self.listener.take().map(JoinHandle::join);
        if let Some(Ok(mut incoming)) = listener {
            incoming.pending().try_for_each(again)?;
        }
        while let Ok(signal) = self.received.try_recv() {
            again(signal)?;
        }
        Ok(())
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

/// Those that are listened for.
fn all() -> SigSet {
    [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM]
        .into_iter()
        .collect()
}

/// Sends a signal to this thread.
fn again(signal: i32) -> io::Result<()> {
    Ok(raise(Signal::try_from(signal)?)?)
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
    }
}
