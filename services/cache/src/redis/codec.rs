//! Entries as bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | layout, 1 |
//! | 1 | 1 = negative |
//! | 8 | stamp: when it was made |
//! | 8 | when it is stale |
//! | 8 | when it is gone |
//! | 4 | what it took to compute, in microseconds |
//! | 4 | length of the tags |
//! | n | each tag: 2 bytes of length, then the tag |
//! | rest | the value |
//!
//! Numbers are big-endian, times are microseconds since the epoch by the clock of who wrote it: hosts
//! whose clocks differ see lives that differ by as much. Redis itself drops an entry by its own
//! clock. Scripts read the stamp and the tags; their places are constants there.

use std::{sync::Arc, time::Duration};

use bytes::{Buf as _, BufMut as _, Bytes};
use mediamesh_near::Stored;
use mediamesh_proto::time::now_micros;
use tokio::time::Instant;

const LAYOUT: u8 = 1;
const HEAD_BYTES: usize = 34;

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// The stamp as a script compares it.
pub(crate) fn stamp(stamp: i64) -> [u8; 8] {
    stamp.to_be_bytes()
}

pub(crate) fn encode(entry: &Stored) -> Vec<u8> {
    let now = now_micros();
    let value = entry.value.as_deref().unwrap_or_default();
    let tags: usize = entry.tags.iter().map(|tag| 2 + tag.len()).sum();
    let mut bytes = Vec::with_capacity(HEAD_BYTES + tags + value.len());
    bytes.put_u8(LAYOUT);
    bytes.put_u8(u8::from(entry.value.is_none()));
    bytes.put_i64(entry.stamp);
    bytes.put_i64(now.saturating_add(micros(entry.fresh_for())));
    bytes.put_i64(now.saturating_add(micros(entry.remaining())));
    bytes.put_u32(u32::try_from(entry.cost.as_micros()).unwrap_or(u32::MAX));
    bytes.put_u32(u32::try_from(tags).expect("options bound the tags of an entry"));
    for tag in entry.tags.iter() {
        bytes.put_u16(u16::try_from(tag.len()).expect("options bound a tag"));
        bytes.put_slice(tag.as_bytes());
    }
    bytes.put_slice(value);
    bytes
}

/// Reads an entry; `None` if it is of another layout, broken or gone.
pub(crate) fn decode(bytes: Vec<u8>) -> Option<Stored> {
    let mut bytes = Bytes::from(bytes);
    if bytes.len() < HEAD_BYTES || bytes.get_u8() != LAYOUT {
        return None;
    }
    let negative = bytes.get_u8() == 1;
    let stamp = bytes.get_i64();
    let (wall, now) = (now_micros(), Instant::now());
    let until = |micros: i64| {
        let left = u64::try_from(micros.saturating_sub(wall)).unwrap_or(0);
        now + Duration::from_micros(left)
    };
    let fresh_until = until(bytes.get_i64());
    let expires_at = until(bytes.get_i64());
    let cost = Duration::from_micros(bytes.get_u32().into());
    let length = usize::try_from(bytes.get_u32()).ok()?;
    if bytes.len() < length || expires_at <= now {
        return None;
    }
    let mut rest = bytes.split_to(length);
    let mut tags = Vec::new();
    while rest.len() >= 2 {
        let length = usize::from(rest.get_u16());
        if rest.len() < length {
            return None;
        }
        tags.push(String::from_utf8(rest.split_to(length).to_vec()).ok()?);
    }
    Some(Stored {
        value: (!negative).then_some(bytes),
        tags: Arc::from(tags),
        fresh_until,
        expires_at,
        stamp,
        cost,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_entry_comes_back_as_it_was_and_broken_bytes_are_none() {
        let minute = Duration::from_secs(60);
        let tags = ["a", "bc"].map(str::to_owned);
        for value in [Some(Bytes::from_static(b"value")), Some(Bytes::new()), None] {
            let mut entry = Stored::new(value, tags.clone().into(), minute, minute);
            entry.cost = Duration::from_millis(7);
            let bytes = encode(&entry);
            assert_eq!(bytes[2..10], stamp(entry.stamp));
            let back = decode(bytes.clone()).unwrap();
            let error =
                back.fresh_until.max(entry.fresh_until) - back.fresh_until.min(entry.fresh_until);
            assert!(error < Duration::from_secs(1), "{error:?}");
            assert!(back.expires_at >= back.fresh_until + minute - Duration::from_millis(1));
            let (fresh_until, expires_at) = (entry.fresh_until, entry.expires_at);
            assert_eq!(
                Stored {
                    fresh_until,
                    expires_at,
                    ..back
                },
                entry
            );
            for length in 0..HEAD_BYTES + 5 {
                assert_eq!(decode(bytes[..length].to_vec()), None, "{length}");
            }
        }
        assert_eq!(decode(vec![9; 100]), None);
    }
}
