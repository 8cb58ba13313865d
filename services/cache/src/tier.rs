//! Where entries live.

use std::time::Duration;

use bytes::Bytes;
use mediamesh_proto::TenantId;
use tokio::time::Instant;

/// Name of an entry; keys of two tenants never meet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Whose entry it is.
    pub tenant: TenantId,
    /// The caller's own name for it.
    pub name: std::sync::Arc<str>,
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// `None` records that there is no value.
    pub value: Option<Bytes>,
    /// By which it can be removed together with others.
    pub tags: std::sync::Arc<[String]>,
    /// When it is gone.
    pub expires_at: Instant,
}

impl Stored {
    /// What is left of the time to live; zero when it is over.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.expires_at.saturating_duration_since(Instant::now())
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

/// One tier of a cache.
///
/// Nothing here fails: a tier that cannot answer has no such entry, and one that cannot store
/// drops the entry. An entry may vanish at any time, but is never answered after it expired or
/// after a removal that covers it returned.
#[async_trait::async_trait]
pub trait CacheTier: Send + Sync + 'static {
    /// Looks an entry up.
    async fn get(&self, key: &Key) -> Option<Stored>;

    /// Stores an entry in place of any other under the key.
    async fn set(&self, key: Key, entry: Stored);

    /// Removes an entry; answers whether there was one.
    async fn remove(&self, key: &Key) -> bool;

    /// Removes a tenant's entries that carry `tag`; answers how many.
    async fn remove_tagged(&self, tenant: TenantId, tag: &str) -> u64;

    /// Removes a tenant's entries whose name starts with `prefix`; answers how many.
    async fn remove_prefix(&self, tenant: TenantId, prefix: &str) -> u64;

    /// Tells how full the tier is.
    async fn usage(&self) -> Usage;
}
