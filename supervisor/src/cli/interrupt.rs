//! Ctrl-C, and other signals that end a command, as something to await.
//!
//! A thread waits for the signal, so that no handler of ours runs in signal context. While one of
//! these lives, its signals no longer end the process by themselves.

use std::{io, thread};

use signal_hook::{
    consts::SIGINT,
    iterator::{Handle, Signals},
};
use tokio::sync::mpsc;

/// Receives signals.
#[derive(Debug)]
pub(super) struct Interrupts {
    signal_rx: mpsc::Receiver<()>,
    handle: Handle,
}

impl Interrupts {
    /// Ctrl-C.
    pub(super) fn new() -> io::Result<Self> {
        Self::of(&[SIGINT])
    }

    /// Any of these.
    pub(super) fn of(signals: &[i32]) -> io::Result<Self> {
        let mut signals = Signals::new(signals)?;
        let handle = signals.handle();
        // One is enough: who is told twice before it looks has been told.
        let (signal_tx, signal_rx) = mpsc::channel(1);
        thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for _ in &mut signals {
                    let _ = signal_tx.try_send(());
                }
            })?;
        Ok(Self { signal_rx, handle })
    }

    /// Returns at the next signal. Cancel safe.
    pub(super) async fn next(&mut self) {
        if self.signal_rx.recv().await.is_none() {
            // The thread is gone, and with it the last signal that could come.
            std::future::pending::<()>().await;
        }
    }

    /// Forgets a signal that came before now.
    pub(super) fn clear(&mut self) {
        while self.signal_rx.try_recv().is_ok() {}
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.handle.close();
    }
}
