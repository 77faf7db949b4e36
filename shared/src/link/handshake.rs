//! The exchange before a link: one [`Hello`], one [`HelloReply`].
//!
//! Nobody is known yet, so a hello may have only [`HELLO_MAX_BYTES`], and the caller sets the time
//! limit around these calls. They read not a byte beyond their frame.
//!
//! Whoever says hello in the version before is heard too: it is answered in the same words.

use std::io;

use bytes::BytesMut;
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{
    codec::{
        self, DecodeError, EncodeError, FRAME_MAX_BYTES, Front, HELLO_MAX_BYTES, PREFIX_BYTES,
    },
    protocol::{Hello, HelloReply, PROTOCOL, PROTOCOL_BEFORE, Refusal, Welcome},
};

/// Why there is no link.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// The socket failed, or closed in the middle.
    #[error("the socket failed during the handshake")]
    Io(#[from] io::Error),
    /// What came is no handshake.
    #[error("the peer's handshake is garbage")]
    Decode(#[from] DecodeError),
    /// What was to be said does not fit a frame.
    #[error("the handshake does not fit a frame")]
    Encode(#[from] EncodeError),
    /// The peer speaks another version.
    #[error("the peer speaks protocol {0}, not {PROTOCOL}")]
    Protocol(u16),
    /// The supervisor refused this agent.
    #[error("the supervisor refused this agent: {0}")]
    Refused(Refusal),
}

/// Reads the hello of whoever connected. [`Hello::protocol`] says in which version it came.
pub async fn accept_hello<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Hello, HandshakeError> {
    let body = read_body(stream, HELLO_MAX_BYTES).await?;
    match codec::decode_leading::<u16>(&body)? {
        PROTOCOL | PROTOCOL_BEFORE => Ok(codec::decode_body(&body)?),
        other => Err(HandshakeError::Protocol(other)),
    }
}

/// Answers a hello, of this version or of the one before.
pub async fn reply_hello<S: AsyncWrite + Unpin>(
    stream: &mut S,
    reply: &HelloReply,
) -> Result<(), HandshakeError> {
    write(stream, reply).await
}

/// Says hello and waits for the answer.
pub async fn say_hello<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    hello: &Hello,
) -> Result<Welcome, HandshakeError> {
    write(stream, hello).await?;
    match read(stream, FRAME_MAX_BYTES).await? {
        HelloReply::Welcome(welcome) => Ok(*welcome),
        HelloReply::Refuse(refusal) => Err(HandshakeError::Refused(refusal)),
    }
}

async fn write<S: AsyncWrite + Unpin, T: Serialize>(
    stream: &mut S,
    message: &T,
) -> Result<(), HandshakeError> {
    let mut frame = BytesMut::new();
    codec::encode_frame(message, &mut frame)?;
    stream.write_all(&frame).await?;
    Ok(stream.flush().await?)
}

async fn read<S: AsyncRead + Unpin, T: DeserializeOwned>(
    stream: &mut S,
    limit: usize,
) -> Result<T, HandshakeError> {
    Ok(codec::decode_body(&read_body(stream, limit).await?)?)
}

async fn read_body<S: AsyncRead + Unpin>(
    stream: &mut S,
    limit: usize,
) -> Result<Vec<u8>, HandshakeError> {
    let mut prefix = [0; PREFIX_BYTES];
    stream.read_exact(&mut prefix).await?;
    let length = match codec::front(&prefix, limit)? {
        Front::Incomplete(length) | Front::Frame(length) => length,
    };
    let mut body = Vec::new();
    stream.take(length as u64).read_to_end(&mut body).await?;
    if body.len() < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(body)
}
