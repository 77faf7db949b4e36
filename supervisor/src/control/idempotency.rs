//! `Idempotency-Key`: a caller's name for its request, under which it may ask again after a lost answer.
//!
//! The same key with the same request gets the answer to the first, or waits for it; with another request it is
//! refused. A key is remembered for as long as the journal keeps what it answered.

use axum::http::HeaderMap;
use thiserror::Error;

use crate::journal::entry::{CallerKey, Digest};

/// The header, as the IETF's draft names it (draft-ietf-httpapi-idempotency-key-header).
const HEADER: &str = "idempotency-key";

/// The longest key, in bytes.
const KEY_MAX_BYTES: usize = 255;

/// The header is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "the header `Idempotency-Key` is to hold one key of 1 to {KEY_MAX_BYTES} visible ASCII characters"
)]
pub(super) struct InvalidKey;

/// The key of a request, if it has one. `parts` are all that makes the request what it is.
pub(super) fn key(headers: &HeaderMap, parts: &[&[u8]]) -> Result<Option<CallerKey>, InvalidKey> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let key = value.as_bytes();
    let visible = key.iter().all(u8::is_ascii_graphic);
    if values.next().is_some() || key.is_empty() || key.len() > KEY_MAX_BYTES || !visible {
        return Err(InvalidKey);
    }
    Ok(Some(CallerKey {
        key: String::from_utf8_lossy(key).into_owned(),
        body: Digest::of(parts),
    }))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(keys: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for key in keys {
            headers.append(HEADER, HeaderValue::from_bytes(key).unwrap());
        }
        headers
    }

    #[test]
    fn a_key_names_all_of_its_request() {
        assert_eq!(key(&headers(&[]), &[b"a"]), Ok(None));
        let of = |parts: &[&[u8]]| key(&headers(&[b"k-1"]), parts).unwrap().unwrap();
        assert_eq!(of(&[b"a", b"b"]), of(&[b"a", b"b"]));
        assert_ne!(of(&[b"a", b"b"]).body, of(&[b"ab", b""]).body);
        assert_eq!(of(&[]).key, "k-1");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let long = vec![b'k'; KEY_MAX_BYTES + 1];
        for bad in [
            &[b"".as_slice()][..],
            &[b"a b"],
            &[&long],
            &[b"a", b"a"],
            &["ö".as_bytes()],
        ] {
            assert_eq!(key(&headers(bad), &[]), Err(InvalidKey));
        }
    }
}
