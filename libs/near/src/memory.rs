//! Entries in this process's memory: moka, weighed by bytes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mediamesh_proto::TenantId;
use mediamesh_telemetry::Metrics;
use moka::{Expiry, future::Cache, notification::RemovalCause, policy::EvictionPolicy};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

use crate::{
    entry::{Key, Stored, Usage},
    pattern::Pattern,
    stripes::{Mark, Stripes},
    tags::Tags,
};

/// Share of the capacity that may be written before moka's bookkeeping must catch up: it evicts
/// late, and large values would overshoot the bound between its own rounds.
const SETTLE_SHARE: u64 = 32;

/// Metrics of entries in memory; clones share them.
#[derive(Debug, Clone)]
pub struct MemoryMetrics {
    /// `mediamesh_<area>_evictions_total`: removed to make room.
    pub evictions: Counter,
    /// `mediamesh_<area>_size_bytes`.
    pub size_bytes: Gauge,
    /// `mediamesh_<area>_entries`.
    pub entries: Gauge,
}

impl MemoryMetrics {
    /// Registers them under the name of `area`, e.g. `cache`.
    #[must_use]
    pub fn new(metrics: &Metrics, area: &str) -> Self {
        let gauge =
            |name, help| metrics.register(&format!("{area}_{name}"), help, Gauge::default());
        Self {
            evictions: metrics.register(
                &format!("{area}_evictions"),
                "Entries removed to make room",
                Counter::default(),
            ),
            size_bytes: gauge("size_bytes", "Memory taken by keys, values and tags"),
            entries: gauge("entries", "Entries held"),
        }
    }
}

#[derive(Clone)]
struct Slot {
    entry: Stored,
    generation: u64,
}

/// Entries in memory, at most so many bytes of them.
///
/// An entry may vanish at any time, but is never answered after it expired or after a removal that
/// covers it returned.
pub struct Memory {
    slots: Cache<Key, Slot>,
    tags: Arc<Tags>,
    stripes: Stripes,
    generations: AtomicU64,
    unsettled_bytes: AtomicU64,
    max_bytes: u64,
    metrics: MemoryMetrics,
}

impl Memory {
    /// Holds at most `max_bytes`, and no entry for longer than `max_age` whatever its time to live.
    #[must_use]
    pub fn new(max_bytes: u64, max_age: Option<Duration>, metrics: MemoryMetrics) -> Self {
        let tags = Arc::new(Tags::default());
        let slots = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|key: &Key, slot: &Slot| {
                u32::try_from(weight(key, &slot.entry)).unwrap_or(u32::MAX)
            })
            // Not TinyLFU: it refuses newcomers of a full cache, and a value just computed under a
            // lease is the one that will be asked for next.
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(ByEntry { max_age })
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
            stripes: Stripes::new(),
            generations: AtomicU64::new(0),
            unsettled_bytes: AtomicU64::new(0),
            max_bytes,
            metrics,
        }
    }

    /// Looks an entry up; a stale one too.
    pub async fn get(&self, key: &Key) -> Option<Stored> {
        let entry = self.slots.get(key).await?.entry;
        // moka removes what expired in rounds, and by a clock of its own.
        (!entry.remaining().is_zero()).then_some(entry)
    }

    /// The mark of now, to be taken before an entry is read elsewhere.
    #[must_use]
    pub fn mark(&self, key: &Key) -> Mark {
        self.stripes.mark(key)
    }

    /// Whether `key` was last changed so long ago, or never.
    #[must_use]
    pub fn is_quiet(&self, key: &Key, time: Duration) -> bool {
        self.stripes.is_quiet(key, time)
    }

    /// Stores an entry in place of any other under the key.
    pub async fn set(&self, key: Key, entry: Stored) {
        let (_, mark) = self.stripes.change(&key);
        self.insert(key, entry, mark).await;
    }

    /// Stores an entry that was written elsewhere after `mark` was taken, unless the key was changed
    /// since: then it is not known which of the two is there, and none is kept.
    pub async fn set_written(&self, key: Key, entry: Stored, mark: Mark) {
        let (before, after) = self.stripes.change(&key);
        if before == mark {
            self.insert(key, entry, after).await;
        } else {
            self.take(&key).await;
        }
    }

    /// Keeps an entry that was read elsewhere after `mark` was taken, unless the key was changed
    /// since.
    pub async fn keep(&self, key: Key, entry: Stored, mark: Mark) {
        if self.stripes.mark(&key) == mark {
            self.insert(key, entry, mark).await;
        }
    }

    async fn insert(&self, key: Key, entry: Stored, mark: Mark) {
        let weight = weight(&key, &entry) as u64;
        let generation = self.generations.fetch_add(1, Ordering::Relaxed);
        // Before the entry can be seen, so that an invalidation never misses one that can.
        self.tags.add(&key, generation, &entry.tags);
        self.slots
            .insert(key.clone(), Slot { entry, generation })
            .await;
        if self.stripes.mark(&key) != mark {
            self.slots.remove(&key).await;
        }
        let unsettled = self.unsettled_bytes.fetch_add(weight, Ordering::Relaxed) + weight;
        if unsettled > self.max_bytes / SETTLE_SHARE {
            self.usage().await;
        }
    }

    /// Removes an entry; answers whether there was one.
    pub async fn remove(&self, key: &Key) -> bool {
        self.stripes.change(key);
        self.take(key).await
    }

    async fn take(&self, key: &Key) -> bool {
        self.slots
            .remove(key)
            .await
            .is_some_and(|slot| !slot.entry.remaining().is_zero())
    }

    /// Removes a tenant's entries that carry `tag`; answers their keys.
    pub async fn remove_tagged(&self, tenant: TenantId, tag: &str) -> Vec<Key> {
        self.stripes.change_everything();
        let mut removed = Vec::new();
        for name in self.tags.names(tenant, tag) {
            let key = Key { tenant, name };
            let carries = |slot: &Slot| slot.entry.tags.iter().any(|own| own == tag);
            let carried = self
                .slots
                .get(&key)
                .await
                .is_some_and(|slot| carries(&slot));
            if carried && self.take(&key).await {
                removed.push(key);
            }
        }
        removed
    }

    /// Removes a tenant's entries whose name matches; answers how many.
    pub async fn remove_matching(&self, tenant: TenantId, pattern: &Pattern) -> u64 {
        self.stripes.change_everything();
        // Walks all keys: an ordered index would cost every write, and this is rare.
        let keys: Vec<Arc<Key>> = self
            .slots
            .iter()
            .map(|(key, _)| key)
            .filter(|key| key.tenant == tenant && pattern.matches(&key.name))
            .collect();
        let mut removed = 0;
        for key in keys {
            removed += u64::from(self.take(&key).await);
        }
        removed
    }

    /// Removes everything.
    pub async fn clear(&self) {
        self.stripes.change_everything();
        let keys: Vec<Arc<Key>> = self.slots.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.take(&key).await;
        }
    }

    /// Lets moka evict and expire, and tells how full it is.
    pub async fn usage(&self) -> Usage {
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
    key.name.len() + entry.size_bytes()
}

struct ByEntry {
    max_age: Option<Duration>,
}

impl ByEntry {
    fn time(&self, slot: &Slot) -> Option<Duration> {
        let remaining = slot.entry.remaining();
        Some(self.max_age.map_or(remaining, |age| remaining.min(age)))
    }
}

impl Expiry<Key, Slot> for ByEntry {
    fn expire_after_create(&self, _: &Key, slot: &Slot, _: MokaInstant) -> Option<Duration> {
        self.time(slot)
    }

    fn expire_after_update(
        &self,
        _: &Key,
        slot: &Slot,
        _: MokaInstant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.time(slot)
    }
}

// moka's signature; it is not used here.
#[allow(clippy::disallowed_types)]
type MokaInstant = std::time::Instant;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;

    use super::*;

    const TENANT: TenantId = TenantId(mediamesh_mesh::LOCAL_TENANT_ID);
    const MINUTE: Duration = Duration::from_secs(60);

    fn memory(max_bytes: u64) -> Memory {
        Memory::new(
            max_bytes,
            None,
            MemoryMetrics::new(&Metrics::new(), "cache"),
        )
    }

    fn key(name: &str) -> Key {
        Key {
            tenant: TENANT,
            name: name.into(),
        }
    }

    fn entry(bytes: usize, tags: &[&str]) -> Stored {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let value = Some(Bytes::from(vec![7; bytes]));
        Stored::new(value, tags, MINUTE, Duration::ZERO)
    }

    #[tokio::test]
    async fn bytes_stay_within_the_bound_and_the_newest_entry_stays() {
        let memory = memory(100_000);
        for round in 0..500 {
            memory
                .set(key(&format!("k{round}")), entry(1_000, &["t"]))
                .await;
            assert!(memory.slots.weighted_size() <= 110_000, "round {round}");
        }
        let usage = memory.usage().await;
        assert!(
            usage.size_bytes <= 100_000 && usage.size_bytes > 90_000,
            "{usage:?}"
        );
        assert!(memory.get(&key("k499")).await.is_some());
        assert!(memory.get(&key("k0")).await.is_none());
        assert_eq!(memory.metrics.evictions.get(), 500 - usage.entries);
        assert_eq!(memory.tags.names(TENANT, "t").len() as u64, usage.entries);
    }

    #[tokio::test]
    async fn replaced_and_removed_entries_leave_no_tags_behind() {
        let memory = memory(100_000);
        memory.set(key("k"), entry(1, &["old", "both"])).await;
        memory.set(key("k"), entry(1, &["both"])).await;
        memory.usage().await;
        assert!(memory.remove_tagged(TENANT, "old").await.is_empty());
        assert_eq!(memory.remove_tagged(TENANT, "both").await, [key("k")]);
        memory.usage().await;
        assert!(memory.tags.is_empty());
    }

    #[tokio::test]
    async fn an_entry_that_arrives_after_a_change_is_not_kept() {
        let memory = memory(100_000);
        let late = |name| (key(name), entry(1, &[]), memory.mark(&key(name)));
        let (removed, tagged, prefix, cleared) = (late("a"), late("b"), late("c"), late("d"));
        memory.remove(&key("a")).await;
        memory.keep(removed.0, removed.1, removed.2).await;
        assert!(memory.get(&key("a")).await.is_none());
        memory.remove_tagged(TENANT, "any").await;
        memory.keep(tagged.0, tagged.1, tagged.2).await;
        assert!(memory.get(&key("b")).await.is_none());
        memory.remove_matching(TENANT, &Pattern::prefix("c")).await;
        memory.keep(prefix.0, prefix.1, prefix.2).await;
        assert!(memory.get(&key("c")).await.is_none());
        memory.clear().await;
        memory.keep(cleared.0, cleared.1, cleared.2).await;
        assert!(memory.get(&key("d")).await.is_none());
        let (first, second) = (memory.mark(&key("f")), memory.mark(&key("f")));
        memory.set_written(key("f"), entry(1, &[]), first).await;
        assert!(memory.get(&key("f")).await.is_some());
        memory.set_written(key("f"), entry(2, &[]), second).await;
        assert!(memory.get(&key("f")).await.is_none(), "one of two writers");
        let mark = memory.mark(&key("e"));
        memory.keep(key("e"), entry(1, &[]), mark).await;
        assert!(memory.get(&key("e")).await.is_some());
    }

    #[tokio::test]
    async fn no_entry_is_held_for_longer_than_the_age_allowed() {
        let age = Duration::from_millis(100);
        let memory = Memory::new(
            100_000,
            Some(age),
            MemoryMetrics::new(&Metrics::new(), "cache"),
        );
        memory.set(key("k"), entry(1, &[])).await;
        assert!(memory.get(&key("k")).await.is_some());
        tokio::time::sleep(2 * age).await;
        assert!(memory.get(&key("k")).await.is_none());
    }
}
