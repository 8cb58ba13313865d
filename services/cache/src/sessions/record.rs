//! A session as it is stored.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | revision, grows with every update |
//! | 8 | when it was made |
//! | 8 | when it was last used |
//! | 8 | when it ends unless it is used before |
//! | 8 | when it ends however it is used |
//! | 8 | time to live |
//! | rest | what it holds, a message [`Data`] |
//!
//! Numbers are big-endian, times are milliseconds, since the epoch by the clock of the store: of Redis,
//! or of the process that keeps sessions in its memory. Scripts read and write the numbers; their
//! places are constants there.

use std::{collections::BTreeMap, time::Duration};

use bytes::{Buf as _, BufMut as _, Bytes};
use mediamesh_proto::{SessionHandle, TenantId};
use prost::Message as _;

/// Bytes before what a session holds.
pub(crate) const HEAD_BYTES: usize = 48;

/// Whose sessions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Owner {
    pub(crate) tenant: TenantId,
    pub(crate) user: String,
}

/// The numbers of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) revision: i64,
    pub(crate) created: i64,
    pub(crate) active: i64,
    pub(crate) expires: i64,
    pub(crate) ends: i64,
    pub(crate) ttl: i64,
}

impl Head {
    /// A session that is made now.
    pub(crate) fn new(now: i64, ttl: Duration, life: Duration) -> Self {
        let (ttl, life) = (millis(ttl), millis(life));
        Self {
            revision: 1,
            created: now,
            active: now,
            expires: now.saturating_add(ttl.min(life)),
            ends: now.saturating_add(life),
            ttl,
        }
    }

    /// It is used now.
    pub(crate) fn touch(&mut self, now: i64) {
        self.active = now;
        self.expires = now.saturating_add(self.ttl).min(self.ends);
    }

    pub(crate) fn is_over(&self, now: i64) -> bool {
        self.expires <= now
    }
}

/// What a session holds. Stored: fields are never renumbered.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Data {
    #[prost(string, tag = "1")]
    pub(crate) external_user_id: String,
    #[prost(string, tag = "2")]
    pub(crate) email: String,
    #[prost(string, tag = "3")]
    pub(crate) subscription_tier: String,
    #[prost(btree_map = "string, string", tag = "4")]
    pub(crate) metadata: BTreeMap<String, String>,
    /// Numbers of the contract.
    #[prost(int32, repeated, tag = "5")]
    pub(crate) scopes: Vec<i32>,
    #[prost(string, tag = "6")]
    pub(crate) api_key_id: String,
}

impl Data {
    /// What counts against the limit.
    pub(crate) fn size(&self) -> usize {
        let pairs = self.metadata.iter();
        let pairs: usize = pairs.map(|(key, value)| key.len() + value.len()).sum();
        self.external_user_id.len() + self.email.len() + self.subscription_tier.len() + pairs
    }
}

/// A session.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub(crate) handle: SessionHandle,
    pub(crate) head: Head,
    pub(crate) data: Data,
}

/// Reads what a store holds; `None` if it is broken.
pub(crate) fn decode(handle: SessionHandle, bytes: &[u8]) -> Option<Record> {
    let mut bytes = bytes;
    if bytes.len() < HEAD_BYTES {
        return None;
    }
    let head = Head {
        revision: bytes.get_i64(),
        created: bytes.get_i64(),
        active: bytes.get_i64(),
        expires: bytes.get_i64(),
        ends: bytes.get_i64(),
        ttl: bytes.get_i64(),
    };
    let data = Data::decode(bytes).ok()?;
    Some(Record { handle, head, data })
}

/// Writes what the journal holds.
pub(crate) fn encode(head: &Head, data: &Data) -> Bytes {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + data.encoded_len());
    for number in [
        head.revision,
        head.created,
        head.active,
        head.expires,
        head.ends,
        head.ttl,
    ] {
        bytes.put_i64(number);
    }
    data.encode_raw(&mut bytes);
    bytes.into()
}

/// A duration as it is stored: at least one.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis())
        .unwrap_or(i64::MAX)
        .max(1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_session_comes_back_as_it_was_and_slides_to_its_end_at_most() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let mut head = Head::new(1_000_000, second, minute);
        assert_eq!((head.expires, head.ends), (1_001_000, 1_060_000));
        head.touch(1_059_500);
        assert_eq!(head.expires, 1_060_000);
        assert!(!head.is_over(1_059_999) && head.is_over(1_060_000));
        let data = Data {
            email: "a@b.example".to_owned(),
            metadata: BTreeMap::from([("theme".to_owned(), "dark".to_owned())]),
            scopes: vec![1, 2],
            ..Data::default()
        };
        assert_eq!(data.size(), 11 + 9);
        let handle = SessionHandle([7; 16]);
        let bytes = encode(&head, &data);
        assert_eq!(
            decode(handle, &bytes).unwrap(),
            Record { handle, head, data }
        );
        for length in 0..HEAD_BYTES {
            assert_eq!(decode(handle, &bytes[..length]), None);
        }
    }
}
