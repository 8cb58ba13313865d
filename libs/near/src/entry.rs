//! Entries, their names, and how full a tier is.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use mediamesh_proto::{TenantId, time::now_micros};
use tokio::time::Instant;

/// Name of an entry; keys of two tenants never meet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Whose entry it is.
    pub tenant: TenantId,
    /// The caller's own name for it.
    pub name: Arc<str>,
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// `None` records that there is no value.
    pub value: Option<Bytes>,
    /// By which it can be removed together with others.
    pub tags: Arc<[String]>,
    /// When its time to live ends; from then on it may only be answered as stale.
    pub fresh_until: Instant,
    /// When it is gone; at or after `fresh_until`.
    pub expires_at: Instant,
    /// Tells one entry under a key from the next: microseconds since the epoch when it was made.
    pub stamp: i64,
    /// What it took to compute; zero when that is not known.
    pub cost: Duration,
}

impl Stored {
    /// An entry made now that lives for `ttl` and may be answered as stale for `stale` more.
    #[must_use]
    pub fn new(value: Option<Bytes>, tags: Arc<[String]>, ttl: Duration, stale: Duration) -> Self {
        let fresh_until = Instant::now() + ttl;
        Self {
            value,
            tags,
            fresh_until,
            expires_at: fresh_until + stale,
            stamp: now_micros(),
            cost: Duration::ZERO,
        }
    }

    /// What is left until it is gone; zero when it is.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.expires_at.saturating_duration_since(Instant::now())
    }

    /// What is left of the time to live; zero when it is stale.
    #[must_use]
    pub fn fresh_for(&self) -> Duration {
        self.fresh_until.saturating_duration_since(Instant::now())
    }

    /// Whether its time to live is over.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.fresh_for().is_zero()
    }

    /// Bytes of value and tags.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let tags: usize = self.tags.iter().map(String::len).sum();
        self.value.as_ref().map_or(0, Bytes::len) + tags
    }
}

/// How full a tier is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Entries held.
    pub entries: u64,
    /// Bytes of their keys, values and tags.
    pub size_bytes: u64,
    /// Bytes allowed.
    pub max_size_bytes: u64,
}
