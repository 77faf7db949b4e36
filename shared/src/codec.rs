//! Messages to bytes and back. The only module that names `bincode`.
//!
//! bincode 2.0.1 is the last release that builds, and unmaintained (RUSTSEC-2025-0141). Two of its
//! habits need guarding: without a limit it allocates what a hostile length asks for and aborts the
//! process, and it accepts trailing bytes in silence. So every call here has a limit, and a body
//! must be consumed whole. Golden bytes in `tests/golden.rs` hold the format still; `postcard` can
//! take its place behind these same functions.

#![expect(
    clippy::disallowed_methods,
    reason = "the one module that may call bincode: with a limit, and to the last byte"
)]

use bincode::config::{Configuration, Limit};
use bytes::{BufMut, BytesMut};
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

/// The longest body of a frame, in bytes.
pub const FRAME_MAX_BYTES: usize = 1024 * 1024;

/// The longest body of a frame before the handshake is done: nobody unknown may make us buffer more.
pub const HELLO_MAX_BYTES: usize = 4 * 1024;

/// The length of the prefix: `u32`, little-endian.
pub const PREFIX_BYTES: usize = 4;

const CONFIG: Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    Limit<FRAME_MAX_BYTES>,
> = bincode::config::standard().with_limit::<FRAME_MAX_BYTES>();

/// Why a message could not be encoded.
#[derive(Debug, Error)]
pub enum EncodeError {
    /// It takes more than [`FRAME_MAX_BYTES`].
    #[error("the message takes {0} bytes, more than the {FRAME_MAX_BYTES} of a frame")]
    TooLarge(usize),
    /// serde refused it.
    #[error("the message cannot be encoded: {0}")]
    Serialize(String),
}

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The bytes do not have the form of the message.
    #[error("the body is not a message: {0}")]
    Malformed(String),
    /// The message ended before the body did.
    #[error("{0} bytes follow the message in its body")]
    Trailing(usize),
    /// The prefix announces more than the limit.
    #[error("the frame announces {announced} bytes, more than the {limit} allowed")]
    TooLarge {
        /// What the prefix says.
        announced: usize,
        /// What is allowed here.
        limit: usize,
    },
}

/// Appends one frame (prefix and body) to `buffer` and returns the length of its body in bytes. On
/// an error `buffer` is as it was.
pub fn encode_frame<T: Serialize>(
    message: &T,
    buffer: &mut BytesMut,
) -> Result<usize, EncodeError> {
    let start = buffer.len();
    buffer.put_u32_le(0);
    let written = bincode::serde::encode_into_std_write(message, &mut buffer.writer(), CONFIG);
    let length = buffer.len() - start - PREFIX_BYTES;
    let error = match written {
        Err(error) => EncodeError::Serialize(error.to_string()),
        Ok(_) if length > FRAME_MAX_BYTES => EncodeError::TooLarge(length),
        Ok(_) => {
            let prefix = u32::try_from(length).expect("bounded by FRAME_MAX_BYTES");
            buffer[start..start + PREFIX_BYTES].copy_from_slice(&prefix.to_le_bytes());
            return Ok(length);
        }
    };
    buffer.truncate(start);
    Err(error)
}

/// Decodes one body. All of `body` must be the message.
pub fn decode_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    let (message, consumed) = bincode::serde::decode_from_slice(body, CONFIG)
        .map_err(|error| DecodeError::Malformed(error.to_string()))?;
    match body.len() - consumed {
        0 => Ok(message),
        trailing => Err(DecodeError::Trailing(trailing)),
    }
}

/// Decodes the first field of a body, whatever follows: for a version number that must be readable
/// when nothing else is.
pub fn decode_leading<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    bincode::serde::decode_from_slice(body, CONFIG)
        .map(|(leading, _)| leading)
        .map_err(|error| DecodeError::Malformed(error.to_string()))
}

/// What is at the front of a read buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// The prefix or the body is not complete; this many bytes more are needed at least.
    Incomplete(usize),
    /// A whole frame: its body is `buffer[PREFIX_BYTES..PREFIX_BYTES + length]`.
    Frame(usize),
}

/// Looks at the front of `buffer`. A prefix above `limit` is refused before anything is allocated
/// for it.
pub fn front(buffer: &[u8], limit: usize) -> Result<Front, DecodeError> {
    let Some(prefix) = buffer.first_chunk::<PREFIX_BYTES>() else {
        return Ok(Front::Incomplete(PREFIX_BYTES - buffer.len()));
    };
    let length = u32::from_le_bytes(*prefix) as usize;
    if length > limit {
        return Err(DecodeError::TooLarge {
            announced: length,
            limit,
        });
    }
    let have = buffer.len() - PREFIX_BYTES;
    Ok(if have < length {
        Front::Incomplete(length - have)
    } else {
        Front::Frame(length)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn four_gigabytes_are_refused_by_the_prefix_alone() {
        let error = front(&[0xff; 4], FRAME_MAX_BYTES).unwrap_err();
        assert_eq!(
            error,
            DecodeError::TooLarge {
                announced: u32::MAX as usize,
                limit: FRAME_MAX_BYTES
            }
        );
    }

    #[test]
    fn a_hostile_length_inside_a_body_is_refused() {
        // A bincode varint of 2^62: the length that a string claims to have.
        let body = [253, 0, 0, 0, 0, 0, 0, 0, 64];
        assert!(matches!(
            decode_body::<String>(&body),
            Err(DecodeError::Malformed(_))
        ));
        assert!(matches!(
            decode_body::<Vec<u64>>(&body),
            Err(DecodeError::Malformed(_))
        ));
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut buffer = BytesMut::new();
        encode_frame(&7u8, &mut buffer).unwrap();
        buffer.put_u8(0);
        assert_eq!(
            decode_body::<u8>(&buffer[PREFIX_BYTES..]),
            Err(DecodeError::Trailing(1))
        );
    }

    #[test]
    fn what_does_not_fit_leaves_the_buffer_alone() {
        let mut buffer = BytesMut::from(&b"before"[..]);
        let big = "x".repeat(FRAME_MAX_BYTES);
        assert!(matches!(
            encode_frame(&big, &mut buffer),
            Err(EncodeError::TooLarge(_))
        ));
        assert_eq!(&buffer[..], b"before");
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(
            messages in prop::collection::vec((any::<u64>(), ".{0,40}"), 0..20),
            cut in 1usize..64,
        ) {
            let mut wire = BytesMut::new();
            for message in &messages {
                encode_frame(message, &mut wire).unwrap();
            }
            // Fed in pieces of any size, the same frames are found.
            let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
            for piece in wire.chunks(cut) {
                buffer.extend_from_slice(piece);
                while let Front::Frame(length) = front(&buffer, FRAME_MAX_BYTES).unwrap() {
                    let frame = buffer.split_to(PREFIX_BYTES + length);
                    found.push(decode_body::<(u64, String)>(&frame[PREFIX_BYTES..]).unwrap());
                }
            }
            prop_assert_eq!(found, messages);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn garbage_is_an_error_and_never_a_panic(body in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = decode_body::<Vec<(u64, Option<String>)>>(&body);
        }
    }
}
