//! The reference: frames over Unix sockets, and nothing else.
//!
//! A frame is a `u32` and so many bytes. The first of them says whether the echo answers each frame or only now and
//! then.

use std::path::Path;

use bytes::{Buf as _, BufMut as _, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::{AHEAD, ANSWER_EVERY, Chain, patiently};

const CLIENT_SOCKET: &str = "bare-client";
const ECHO_SOCKET: &str = "bare-echo";

const EACH: u8 = 1;
const SOME: u8 = 2;

/// What is written at once when there is much to write.
const BATCH_BYTES: usize = 64 * 1024;

pub(super) async fn router(directory: &Path) -> anyhow::Result<()> {
    let clients = UnixListener::bind(directory.join(CLIENT_SOCKET))?;
    let echoes = UnixListener::bind(directory.join(ECHO_SOCKET))?;
    let (client, echo) = (clients.accept().await?.0, echoes.accept().await?.0);
    let ((client_in, client_out), (echo_in, echo_out)) = (client.into_split(), echo.into_split());
    let there = tokio::spawn(relay(client_in, echo_out));
    let back = tokio::spawn(relay(echo_in, client_out));
    tokio::select! { ended = there => ended?, ended = back => ended? }
}

async fn relay(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> anyhow::Result<()> {
    let mut buffer = BytesMut::with_capacity(BATCH_BYTES);
    loop {
        if from.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let (bytes, _) = whole_frames(&buffer);
        to.write_all(&buffer[..bytes]).await?;
        buffer.advance(bytes);
    }
}

pub(super) async fn echo(directory: &Path) -> anyhow::Result<()> {
    let path = directory.join(ECHO_SOCKET);
    let mut stream = patiently(|| UnixStream::connect(&path)).await?;
    let mut buffer = BytesMut::with_capacity(BATCH_BYTES);
    let mut owed = 0;
    loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        while let (Some(length), (1.., _)) = (length(&buffer), whole_frames(&buffer)) {
            if buffer[4] == SOME {
                owed += 1;
            }
            if buffer[4] == EACH || owed == ANSWER_EVERY {
                owed = 0;
                stream.write_all(&buffer[..4 + length]).await?;
            }
            buffer.advance(4 + length);
        }
    }
}

fn length(buffer: &[u8]) -> Option<usize> {
    buffer
        .first_chunk::<4>()
        .map(|prefix| u32::from_le_bytes(*prefix) as usize)
}

/// How many bytes whole frames at the front have, and how many frames that is.
fn whole_frames(buffer: &[u8]) -> (usize, usize) {
    let (mut bytes, mut frames) = (0, 0);
    while let Some(length) = length(&buffer[bytes..])
        && buffer.len() - bytes >= 4 + length
    {
        bytes += 4 + length;
        frames += 1;
    }
    (bytes, frames)
}

pub(super) struct Client {
    stream: UnixStream,
    buffer: BytesMut,
    each: Vec<u8>,
    some: Vec<u8>,
}

impl Client {
    pub(super) async fn connect(directory: &Path, size: usize) -> anyhow::Result<Self> {
        let path = directory.join(CLIENT_SOCKET);
        Ok(Self {
            stream: patiently(|| UnixStream::connect(&path)).await?,
            buffer: BytesMut::with_capacity(BATCH_BYTES),
            each: frame(EACH, size)?,
            some: frame(SOME, size)?,
        })
    }

    /// Waits for frames and takes them.
    async fn take(&mut self) -> anyhow::Result<usize> {
        loop {
            let (bytes, frames) = whole_frames(&self.buffer);
            self.buffer.advance(bytes);
            if frames > 0 {
                return Ok(frames);
            }
            anyhow::ensure!(
                self.stream.read_buf(&mut self.buffer).await? > 0,
                "the router left"
            );
        }
    }
}

fn frame(kind: u8, size: usize) -> anyhow::Result<Vec<u8>> {
    let mut frame = Vec::with_capacity(4 + size);
    frame.put_u32_le(u32::try_from(size)?);
    frame.put_u8(kind);
    frame.put_bytes(7, size - 1);
    Ok(frame)
}

impl Chain for Client {
    async fn round_trip(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(&self.each).await?;
        anyhow::ensure!(self.take().await? == 1, "one frame, one echo");
        Ok(())
    }

    async fn one_way(&mut self, count: usize) -> anyhow::Result<()> {
        let (mut sent, mut come) = (0, 0);
        while come < count {
            let room = count.min(come + AHEAD) - sent;
            if room == 0 {
                come += self.take().await? * ANSWER_EVERY;
                continue;
            }
            let batch = room.min(BATCH_BYTES / self.some.len());
            self.stream.write_all(&self.some.repeat(batch)).await?;
            sent += batch;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_frames_count() {
        let mut buffer = frame(EACH, 3).unwrap();
        assert_eq!(whole_frames(&buffer), (7, 1));
        assert_eq!(whole_frames(&buffer[..6]), (0, 0));
        buffer.extend_from_slice(&frame(SOME, 1).unwrap());
        assert_eq!(whole_frames(&buffer), (12, 2));
        assert_eq!(whole_frames(&buffer[..11]), (7, 1));
    }
}
