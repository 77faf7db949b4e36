//! The process itself: its lock, its signals, and the crate's only `unsafe` code, which the cage needs.

pub(crate) mod raw;

use std::{
    fs::{File, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};

use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::{io::AsyncReadExt, net::UnixStream, time::Instant};

/// How long a second instance waits for the first to leave.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// How often it looks.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// Takes the agent's exclusive lock; it is held as long as the file is open, so the kernel releases it
/// however this process ends. `WouldBlock` when another instance keeps it.
pub(crate) async fn lock(path: &Path) -> io::Result<File> {
    let file = lock_file(path)?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_POLL).await,
        }
    }
}

/// The file to lock; made, if it is not there.
pub(crate) fn lock_file(path: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
}

/// The request to stop now: SIGTERM, or SIGINT when somebody runs this in a terminal.
#[derive(Debug)]
pub(crate) struct StopSignal(UnixStream);

impl StopSignal {
    /// Catches both from here on.
    pub(crate) fn catch() -> io::Result<Self> {
        let (receiver, sender) = std::os::unix::net::UnixStream::pair()?;
        for signal in [SIGTERM, SIGINT] {
            signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        receiver.set_nonblocking(true)?;
        Ok(Self(UnixStream::from_std(receiver)?))
    }

    /// Waits for one. Cancel-safe.
    pub(crate) async fn caught(&mut self) {
        // The other end is never closed, so an error cannot come; waiting forever is right if it does.
        if self.0.read_u8().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_lock_is_exclusive_and_waits_for_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = lock(&path).await.unwrap();
        let error = lock(&path).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);

        let (second, ()) = tokio::join!(lock(&path), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(held);
        });
        second.unwrap();
    }
}
