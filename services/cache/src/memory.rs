//! The tier in this process's memory: moka, weighed by bytes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mediamesh_proto::TenantId;
use moka::{Expiry, future::Cache, notification::RemovalCause, policy::EvictionPolicy};

use crate::{
    metrics::CacheMetrics,
    tags::Tags,
    tier::{CacheTier, Key, Stored, Usage},
};

/// Share of the capacity that may be written before moka's bookkeeping must catch up: it evicts
/// late, and large values would overshoot the bound between its own rounds.
const SETTLE_SHARE: u64 = 32;

#[derive(Clone)]
struct Slot {
    entry: Stored,
    generation: u64,
}

/// Entries in memory, at most `max_bytes` of them.
pub(crate) struct MemoryTier {
    slots: Cache<Key, Slot>,
    tags: Arc<Tags>,
    generations: AtomicU64,
    unsettled_bytes: AtomicU64,
    max_bytes: u64,
    metrics: CacheMetrics,
}

impl MemoryTier {
    pub(crate) fn new(max_bytes: u64, metrics: CacheMetrics) -> Self {
        let tags = Arc::new(Tags::default());
        let slots = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|key: &Key, slot: &Slot| {
                u32::try_from(weight(key, &slot.entry)).unwrap_or(u32::MAX)
            })
            // Not TinyLFU: it refuses newcomers of a full cache, and a value just computed under a
            // lease is the one that will be asked for next.
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(ByEntry)
            .eviction_listener({
                let (tags, metrics) = (Arc::clone(&tags), metrics.clone());
                move |key: Arc<Key>, slot: Slot, cause| {
                    tags.remove(&key, slot.generation, &slot.entry.tags);
                    if cause == RemovalCause::Size {
                        metrics.evictions.inc();
                    }
                }
            })
            .build();
        Self {
            slots,
            tags,
            generations: AtomicU64::new(0),
            unsettled_bytes: AtomicU64::new(0),
            max_bytes,
            metrics,
        }
    }

    /// Lets moka evict and expire, and reads how full it is.
    async fn settle(&self) -> Usage {
        self.unsettled_bytes.store(0, Ordering::Relaxed);
        self.slots.run_pending_tasks().await;
        let usage = Usage {
            entries: self.slots.entry_count(),
            size_bytes: self.slots.weighted_size(),
            max_size_bytes: self.max_bytes,
        };
        self.metrics
            .size_bytes
            .set(i64::try_from(usage.size_bytes).unwrap_or(i64::MAX));
        self.metrics
            .entries
            .set(i64::try_from(usage.entries).unwrap_or(i64::MAX));
        usage
    }
}

/// Bytes of key, value and tags.
fn weight(key: &Key, entry: &Stored) -> usize {
    let tags: usize = entry.tags.iter().map(String::len).sum();
    key.name.len() + entry.value.as_ref().map_or(0, bytes::Bytes::len) + tags
}

struct ByEntry;

impl Expiry<Key, Slot> for ByEntry {
    fn expire_after_create(&self, _: &Key, slot: &Slot, _: MokaInstant) -> Option<Duration> {
        Some(slot.entry.remaining())
    }

    fn expire_after_update(
        &self,
        _: &Key,
        slot: &Slot,
        _: MokaInstant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(slot.entry.remaining())
    }
}

// moka's signature; it is not used here.
#[allow(clippy::disallowed_types)]
type MokaInstant = std::time::Instant;

#[async_trait::async_trait]
impl CacheTier for MemoryTier {
    async fn get(&self, key: &Key) -> Option<Stored> {
        let entry = self.slots.get(key).await?.entry;
        // moka removes what expired in rounds, and by a clock of its own.
        (!entry.remaining().is_zero()).then_some(entry)
    }

    async fn set(&self, key: Key, entry: Stored) {
        let weight = weight(&key, &entry) as u64;
        let generation = self.generations.fetch_add(1, Ordering::Relaxed);
        // Before the entry can be seen, so that an invalidation never misses one that can.
        self.tags.add(&key, generation, &entry.tags);
        self.slots.insert(key, Slot { entry, generation }).await;
        let unsettled = self.unsettled_bytes.fetch_add(weight, Ordering::Relaxed) + weight;
        if unsettled > self.max_bytes / SETTLE_SHARE {
            self.settle().await;
        }
    }

    async fn remove(&self, key: &Key) -> bool {
        self.slots
            .remove(key)
            .await
            .is_some_and(|slot| !slot.entry.remaining().is_zero())
    }

    async fn remove_tagged(&self, tenant: TenantId, tag: &str) -> u64 {
        let mut removed = 0;
        for name in self.tags.names(tenant, tag) {
            let key = Key { tenant, name };
            let carries = |slot: &Slot| slot.entry.tags.iter().any(|own| own == tag);
            if self
                .slots
                .get(&key)
                .await
                .is_some_and(|slot| carries(&slot))
            {
                removed += u64::from(self.remove(&key).await);
            }
        }
        removed
    }

    async fn remove_prefix(&self, tenant: TenantId, prefix: &str) -> u64 {
        // Walks all keys: an ordered index would cost every write, and this is rare.
        let keys: Vec<Arc<Key>> = self
            .slots
            .iter()
            .map(|(key, _)| key)
            .filter(|key| key.tenant == tenant && key.name.starts_with(prefix))
            .collect();
        let mut removed = 0;
        for key in keys {
            removed += u64::from(self.remove(&key).await);
        }
        removed
    }

    async fn usage(&self) -> Usage {
        self.settle().await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;
    use mediamesh_telemetry::Metrics;
    use tokio::time::Instant;

    use super::*;

    const TENANT: TenantId = TenantId(mediamesh_mesh::LOCAL_TENANT_ID);

    fn tier(max_bytes: u64) -> MemoryTier {
        MemoryTier::new(max_bytes, CacheMetrics::new(&Metrics::new()))
    }

    fn key(name: &str) -> Key {
        Key {
            tenant: TENANT,
            name: name.into(),
        }
    }

    fn entry(bytes: usize, tags: &[&str]) -> Stored {
        Stored {
            value: Some(Bytes::from(vec![7; bytes])),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            expires_at: Instant::now() + Duration::from_secs(60),
        }
    }

    #[tokio::test]
    async fn bytes_stay_within_the_bound_and_the_newest_entry_stays() {
        let tier = tier(100_000);
        for round in 0..500 {
            tier.set(key(&format!("k{round}")), entry(1_000, &["t"]))
                .await;
            assert!(tier.slots.weighted_size() <= 110_000, "round {round}");
        }
        let usage = tier.usage().await;
        assert!(
            usage.size_bytes <= 100_000 && usage.size_bytes > 90_000,
            "{usage:?}"
        );
        assert!(tier.get(&key("k499")).await.is_some());
        assert!(tier.get(&key("k0")).await.is_none());
        assert_eq!(tier.metrics.evictions.get(), 500 - usage.entries);
        assert_eq!(tier.tags.names(TENANT, "t").len() as u64, usage.entries);
    }

    #[tokio::test]
    async fn replaced_and_removed_entries_leave_no_tags_behind() {
        let tier = tier(100_000);
        tier.set(key("k"), entry(1, &["old", "both"])).await;
        tier.set(key("k"), entry(1, &["both"])).await;
        tier.usage().await;
        assert_eq!(tier.remove_tagged(TENANT, "old").await, 0);
        assert_eq!(tier.remove_tagged(TENANT, "both").await, 1);
        tier.usage().await;
        assert!(tier.tags.is_empty());
    }
}
