//! Entries in this process's memory: quick_cache, weighed by bytes.
//!
//! A look-up does no bookkeeping but for a counter: moka, which keeps the order of its look-ups in a
//! journal, works it off in every 64th of them, for microseconds.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use mediamesh_proto::TenantId;
use mediamesh_telemetry::Metrics;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter, sync::Cache};
use tokio::time::Instant;

use crate::{
    entry::{Key, Stored, Usage},
    pattern::Pattern,
    stripes::{Mark, Stripes},
    tags::Tags,
};

/// Bytes of a shard at least: each holds its share of the bound, and no entry may be larger than that.
const SHARD_BYTES: u64 = 64 << 20;
/// Bytes of an entry, from which the number of entries is guessed.
const USUAL_BYTES: u64 = 2 << 10;
/// Share of the newcomers: they have so much room until they are asked for again.
const NEW_SHARE: f64 = 0.1;
/// What is written between two updates of the gauges, as a share of the bound.
const REPORT_SHARE: u64 = 64;

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
    /// When it is to be forgotten whatever its time to live.
    forget_at: Option<Instant>,
}

impl Slot {
    fn is_over(&self) -> bool {
        self.entry.remaining().is_zero() || self.forget_at.is_some_and(|at| at <= Instant::now())
    }
}

/// Entries in memory, at most so many bytes of them.
///
/// An entry may vanish at any time, but is never answered after it expired or after a removal that
/// covers it returned.
pub struct Memory {
    slots: Cache<Key, Slot, Bytes, DefaultHashBuilder, Leavers>,
    tags: Tags,
    stripes: Stripes,
    generations: AtomicU64,
    unreported_bytes: AtomicU64,
    max_bytes: u64,
    max_age: Option<Duration>,
    metrics: MemoryMetrics,
}

/// Weighs entries.
#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Slot> for Bytes {
    fn weight(&self, key: &Key, slot: &Slot) -> u64 {
        weight(key, &slot.entry)
    }
}

/// Tells a writer which entries leave on its account: those that make room, the one it replaces, or
/// its own, if it is too large.
#[derive(Clone)]
struct Leavers;

impl Lifecycle<Key, Slot> for Leavers {
    type RequestState = Vec<(Key, Slot)>;

    fn on_evict(&self, left: &mut Self::RequestState, key: Key, slot: Slot) {
        left.push((key, slot));
    }
}

impl Memory {
    /// Holds at most `max_bytes`, and no entry for longer than `max_age` whatever its time to live.
    #[must_use]
    pub fn new(max_bytes: u64, max_age: Option<Duration>, metrics: MemoryMetrics) -> Self {
        let entries = usize::try_from(max_bytes / USUAL_BYTES).unwrap_or(usize::MAX);
        let shards = usize::try_from(max_bytes / SHARD_BYTES).unwrap_or(usize::MAX);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let options = OptionsBuilder::new()
            .weight_capacity(max_bytes)
            .estimated_items_capacity(entries.max(1))
            .hot_allocation(1.0 - NEW_SHARE)
            // rounded up to a power of two, and a shard must not become too small
            .shards((shards / 2 + 1).min(4 * cores))
            .build();
        // both of what it asks for are given
        #[allow(clippy::expect_used)]
        let options = options.expect("capacities are set");
        Self {
            slots: Cache::with_options(options, Bytes, DefaultHashBuilder::default(), Leavers),
            tags: Tags::default(),
            stripes: Stripes::new(),
            generations: AtomicU64::new(0),
            unreported_bytes: AtomicU64::new(0),
            max_bytes,
            max_age,
            metrics,
        }
    }

    /// Looks an entry up; a stale one too.
    pub fn get(&self, key: &Key) -> Option<Stored> {
        let slot = self.slots.get(key)?;
        if slot.is_over() {
            self.taken(self.slots.remove_if(key, Slot::is_over));
            return None;
        }
        Some(slot.entry)
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
    pub fn set(&self, key: Key, entry: Stored) {
        let (_, mark) = self.stripes.change(&key);
        self.insert(key, entry, mark);
    }

    /// Stores an entry that was written elsewhere after `mark` was taken, unless the key was changed
    /// since: then it is not known which of the two is there, and none is kept.
    pub fn set_written(&self, key: Key, entry: Stored, mark: Mark) {
        self.set_all_written([(key, entry, mark)]);
    }

    /// The same for entries that were written together, of different keys: those of them that share a
    /// stripe do not spoil each other.
    pub fn set_all_written(&self, written: impl IntoIterator<Item = (Key, Stored, Mark)>) {
        let mut changes = HashMap::new();
        for (key, entry, mark) in written {
            let change = || self.stripes.change(&key);
            let (before, after) = *changes
                .entry(self.stripes.place(&key))
                .or_insert_with(change);
            if before == mark {
                self.insert(key, entry, after);
            } else {
                self.take(&key);
            }
        }
    }

    /// Keeps an entry that was read elsewhere after `mark` was taken, unless the key was changed
    /// since.
    pub fn keep(&self, key: Key, entry: Stored, mark: Mark) {
        if self.stripes.mark(&key) == mark {
            self.insert(key, entry, mark);
        }
    }

    fn insert(&self, key: Key, entry: Stored, mark: Mark) {
        let weight = weight(&key, &entry);
        let generation = self.generations.fetch_add(1, Ordering::Relaxed);
        // Before the entry can be seen, so that an invalidation never misses one that can.
        self.tags.add(&key, generation, &entry.tags);
        let mut left = Vec::new();
        let slot = Slot {
            entry,
            generation,
            forget_at: self.max_age.map(|age| Instant::now() + age),
        };
        self.slots
            .insert_with_lifecycle(key.clone(), slot, &mut left);
        for (other, slot) in left {
            self.tags.remove(&other, slot.generation, &slot.entry.tags);
            // else it is the one before
            if other != key || slot.generation == generation {
                self.metrics.evictions.inc();
            }
        }
        if self.stripes.mark(&key) != mark {
            self.take(&key);
        }
        let unreported = self.unreported_bytes.fetch_add(weight, Ordering::Relaxed) + weight;
        if unreported > self.max_bytes / REPORT_SHARE {
            self.usage();
        }
    }

    /// Removes an entry; answers whether there was one.
    pub fn remove(&self, key: &Key) -> bool {
        self.stripes.change(key);
        self.take(key)
    }

    fn take(&self, key: &Key) -> bool {
        self.taken(self.slots.remove(key))
    }

    /// Forgets the tags of what was removed; answers whether it was still there for anybody.
    fn taken(&self, removed: Option<(Key, Slot)>) -> bool {
        let Some((key, slot)) = removed else {
            return false;
        };
        self.tags.remove(&key, slot.generation, &slot.entry.tags);
        !slot.is_over()
    }

    /// Removes a tenant's entries that carry `tag`; answers their keys.
    pub fn remove_tagged(&self, tenant: TenantId, tag: &str) -> Vec<Key> {
        self.stripes.change_everything();
        let mut removed = Vec::new();
        for name in self.tags.names(tenant, tag) {
            let key = Key { tenant, name };
            let carries = |slot: &Slot| slot.entry.tags.iter().any(|own| own == tag);
            if self.taken(self.slots.remove_if(&key, carries)) {
                removed.push(key);
            }
        }
        removed
    }

    /// Removes a tenant's entries whose name matches; answers how many.
    pub fn remove_matching(&self, tenant: TenantId, pattern: &Pattern) -> u64 {
        self.stripes.change_everything();
        // Walks all keys: an ordered index would cost every write, and this is rare.
        let matches = |key: &Key| key.tenant == tenant && pattern.matches(&key.name);
        let keys = self.slots.iter().map(|(key, _)| key).filter(matches);
        keys.map(|key| u64::from(self.take(&key))).sum()
    }

    /// Removes everything.
    pub fn clear(&self) {
        self.stripes.change_everything();
        for (key, _) in self.slots.iter() {
            self.take(&key);
        }
    }

    /// Tells how full it is, with what has expired and was not asked for since.
    pub fn usage(&self) -> Usage {
        self.unreported_bytes.store(0, Ordering::Relaxed);
        let usage = Usage {
            entries: self.slots.len() as u64,
            size_bytes: self.slots.weight(),
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
fn weight(key: &Key, entry: &Stored) -> u64 {
    (key.name.len() + entry.size_bytes()) as u64
}

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

    #[test]
    fn bytes_stay_within_the_bound_and_the_newest_entry_stays() {
        let memory = memory(100_000);
        for round in 0..500 {
            memory.set(key(&format!("k{round}")), entry(1_000, &["t"]));
            assert!(memory.slots.weight() <= 110_000, "round {round}");
        }
        let usage = memory.usage();
        assert!(
            usage.size_bytes <= 100_000 && usage.size_bytes > 90_000,
            "{usage:?}"
        );
        assert!(memory.get(&key("k499")).is_some());
        assert_eq!(memory.metrics.evictions.get(), 500 - usage.entries);
        assert_eq!(memory.tags.names(TENANT, "t").len() as u64, usage.entries);
    }

    #[test]
    fn replaced_and_removed_entries_leave_no_tags_behind() {
        let memory = memory(100_000);
        memory.set(key("k"), entry(1, &["old", "both"]));
        memory.set(key("k"), entry(1, &["both"]));
        memory.usage();
        assert!(memory.remove_tagged(TENANT, "old").is_empty());
        assert_eq!(memory.remove_tagged(TENANT, "both"), [key("k")]);
        memory.usage();
        assert!(memory.tags.is_empty());
    }

    #[test]
    fn an_entry_that_arrives_after_a_change_is_not_kept() {
        let memory = memory(100_000);
        let late = |name| (key(name), entry(1, &[]), memory.mark(&key(name)));
        let (removed, tagged, prefix, cleared) = (late("a"), late("b"), late("c"), late("d"));
        memory.remove(&key("a"));
        memory.keep(removed.0, removed.1, removed.2);
        assert!(memory.get(&key("a")).is_none());
        memory.remove_tagged(TENANT, "any");
        memory.keep(tagged.0, tagged.1, tagged.2);
        assert!(memory.get(&key("b")).is_none());
        memory.remove_matching(TENANT, &Pattern::prefix("c"));
        memory.keep(prefix.0, prefix.1, prefix.2);
        assert!(memory.get(&key("c")).is_none());
        memory.clear();
        memory.keep(cleared.0, cleared.1, cleared.2);
        assert!(memory.get(&key("d")).is_none());
        let (first, second) = (memory.mark(&key("f")), memory.mark(&key("f")));
        memory.set_written(key("f"), entry(1, &[]), first);
        assert!(memory.get(&key("f")).is_some());
        memory.set_written(key("f"), entry(2, &[]), second);
        assert!(memory.get(&key("f")).is_none(), "one of two writers");
        let mark = memory.mark(&key("e"));
        memory.keep(key("e"), entry(1, &[]), mark);
        assert!(memory.get(&key("e")).is_some());
    }

    #[test]
    fn what_is_written_together_is_kept_together_and_a_change_meanwhile_spoils_its_own() {
        let memory = memory(64 << 20);
        // many more than there would have to be for two to share a stripe
        let names: Vec<String> = (0..1000).map(|number| format!("k{number}")).collect();
        let written = || {
            let one = |name: &String| (key(name), entry(1, &[]), memory.mark(&key(name)));
            names.iter().map(one).collect::<Vec<_>>()
        };
        memory.set_all_written(written());
        let there = |name: &&String| memory.get(&key(name)).is_some();
        assert_eq!(names.iter().filter(there).count(), 1000);
        let late = written();
        memory.remove(&key("k7"));
        memory.set_all_written(late);
        assert!(!there(&&"k7".to_owned()));
        assert!(names.iter().filter(there).count() >= 990);
        let late = written();
        memory.clear();
        memory.set_all_written(late);
        assert_eq!(names.iter().filter(there).count(), 0);
    }

    #[test]
    fn no_entry_is_held_for_longer_than_the_age_allowed() {
        let age = Duration::from_secs(2);
        let memory = Memory::new(
            100_000,
            Some(age),
            MemoryMetrics::new(&Metrics::new(), "cache"),
        );
        memory.set(key("k"), entry(1, &[]));
        assert!(memory.get(&key("k")).is_some());
        std::thread::sleep(2 * age);
        assert!(memory.get(&key("k")).is_none());
    }
}
