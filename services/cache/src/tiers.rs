//! Memory first, Redis behind it, and what both tell the other processes.
//!
//! Every change goes to Redis first and to memory after, so that what is read from Redis in between
//! is noticed (see `mediamesh_near::stripes`), and is told to others last. What Redis could not be
//! told goes to the journal before memory is changed.

use std::{collections::HashSet, sync::Arc, time::Duration};

use mediamesh_near::{Key, Memory, Pattern, Stored, Usage};
use mediamesh_proto::{TenantId, cache::v1::RedisStats};
use tokio::sync::broadcast;

use crate::redis::{Change, Claimed, Fault, FeedWriter, Redis, Removal, Told};

/// Changes that a watcher may lag behind; beyond, it is told to drop everything.
const WATCHED: usize = 1024;
/// Keys that are read from Redis at once: one step of the largest batch of embeddings.
const BATCH: usize = 128;

/// Memory and, if there is one, Redis.
pub(crate) struct Tiers {
    memory: Memory,
    shared: Option<Shared>,
    changes: broadcast::Sender<Arc<Change>>,
}

/// What is there only with a Redis.
pub(crate) struct Shared {
    pub(crate) redis: Arc<Redis>,
    pub(crate) feed: FeedWriter,
}

/// What a write under a lease came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    /// It is stored.
    Stored,
    /// The lease is lost.
    Lost,
    /// Redis cannot say; it is stored nowhere.
    Unknown,
}

impl Tiers {
    pub(crate) fn new(memory: Memory, shared: Option<Shared>) -> Self {
        Self {
            memory,
            shared,
            changes: broadcast::Sender::new(WATCHED),
        }
    }

    /// Whether other processes share what is stored.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Looks an entry up; a stale one too.
    pub(crate) async fn get(&self, key: &Key) -> Option<Stored> {
        if let Some(entry) = self.memory.get(key) {
            return Some(entry);
        }
        let shared = self.shared.as_ref()?;
        let mark = self.memory.mark(key);
        let entry = shared.redis.get(key).await?;
        self.memory.keep(key.clone(), entry.clone(), mark);
        Some(entry)
    }

    /// Looks entries up, in order; those beyond the first `max_bytes` are missing.
    pub(crate) async fn get_batch(&self, keys: &[Key], max_bytes: usize) -> Vec<Option<Stored>> {
        let mut found = Vec::with_capacity(keys.len());
        let mut bytes = 0;
        for chunk in keys.chunks(BATCH) {
            let mut entries = Vec::with_capacity(chunk.len());
            for key in chunk {
                entries.push(self.memory.get(key));
            }
            // what does not fit is not fetched
            if bytes <= max_bytes {
                self.get_missing(chunk, &mut entries).await;
            }
            for (key, entry) in std::iter::zip(chunk, entries) {
                found.push(entry.filter(|entry| {
                    bytes += key.name.len() + entry.size_bytes();
                    bytes <= max_bytes
                }));
            }
        }
        found
    }

    async fn get_missing(&self, keys: &[Key], entries: &mut [Option<Stored>]) {
        let Some(shared) = &self.shared else { return };
        let places: Vec<usize> = (0..keys.len())
            .filter(|place| entries[*place].is_none())
            .collect();
        if places.is_empty() {
            return;
        }
        let missing: Vec<Key> = places.iter().map(|place| keys[*place].clone()).collect();
        let marks: Vec<_> = missing.iter().map(|key| self.memory.mark(key)).collect();
        let found = shared.redis.get_batch(&missing).await;
        for (((place, key), mark), entry) in places.into_iter().zip(missing).zip(marks).zip(found) {
            if let Some(entry) = entry {
                self.memory.keep(key, entry.clone(), mark);
                entries[place] = Some(entry);
            }
        }
    }

    /// Stores entries in place of any other, and ends the leases on them in Redis; of several under one
    /// key the last.
    pub(crate) async fn set(&self, mut entries: Vec<(Key, Stored)>) {
        last_of_each(&mut entries);
        let keys: Vec<Key> = entries.iter().map(|(key, _)| key.clone()).collect();
        match &self.shared {
            None => {
                for (key, entry) in entries {
                    self.memory.set(key, entry);
                }
            }
            Some(shared) => {
                let marks: Vec<_> = keys.iter().map(|key| self.memory.mark(key)).collect();
                if let Err(fault) = shared.redis.set(&entries).await {
                    shared.forget(&keys, &fault).await;
                }
                let written = entries.into_iter().zip(marks);
                let written = written.map(|((key, entry), mark)| (key, entry, mark));
                self.memory.set_all_written(written);
            }
        }
        self.tell_keys(&keys).await;
    }

    /// Stores an entry under a lease that is known in Redis.
    pub(crate) async fn fill(&self, key: &Key, entry: &Stored, token: i64) -> Filled {
        let Some(shared) = &self.shared else {
            return Filled::Unknown;
        };
        let mark = self.memory.mark(key);
        match shared.redis.fill(key, entry, token).await {
            Ok(true) => {
                let (key, entry) = (key.clone(), entry.clone());
                self.memory.set_written(key.clone(), entry, mark);
                self.tell_keys(&[key]).await;
                Filled::Stored
            }
            Ok(false) => Filled::Lost,
            Err(fault) => {
                // whether it was stored is not known
                shared.forget(std::slice::from_ref(key), &fault).await;
                Filled::Unknown
            }
        }
    }

    /// Asks Redis for the lease on `key`; `None` if it cannot be asked.
    pub(crate) async fn claim(
        &self,
        key: &Key,
        ttl: Duration,
        seen: Option<i64>,
    ) -> Option<Claimed> {
        let shared = self.shared.as_ref()?;
        let mark = self.memory.mark(key);
        let claim = fastrand::u64(..);
        let claimed = shared.redis.claim(key, ttl, seen, claim).await;
        let unheard = || Removal::Claimed(key.clone(), claim);
        let claimed = claimed.inspect_err(|fault| shared.end_lease(fault, unheard));
        let claimed = claimed.ok()?;
        if let Claimed::Entry(entry) = &claimed {
            self.memory.keep(key.clone(), entry.clone(), mark);
        }
        Some(claimed)
    }

    /// Gives a lease back; those who wait elsewhere hear of it.
    pub(crate) async fn release(&self, key: &Key, token: i64) {
        let Some(shared) = &self.shared else { return };
        let released = shared.redis.release(key, token).await;
        let unheard = || Removal::Released(key.clone(), token);
        let released = released.inspect_err(|fault| shared.end_lease(fault, unheard));
        if released.unwrap_or(false) {
            self.tell_keys(std::slice::from_ref(key)).await;
        }
    }

    /// Removes entries, and the leases on them in Redis; answers how many there were.
    pub(crate) async fn remove(&self, keys: &[Key]) -> u64 {
        if keys.is_empty() {
            return 0;
        }
        let mut there = vec![false; keys.len()];
        if let Some(shared) = &self.shared {
            match shared.redis.remove(keys).await {
                Ok(removed) => there = removed,
                Err(_) => shared.later(keys.iter().cloned().map(Removal::Entry)),
            }
        }
        for (key, there) in std::iter::zip(keys, &mut there) {
            *there |= self.memory.remove(key);
        }
        self.tell_keys(keys).await;
        there.into_iter().map(u64::from).sum()
    }

    /// Removes a tenant's entries that carry `tag`; answers their keys.
    pub(crate) async fn remove_tagged(&self, tenant: TenantId, tag: &str) -> HashSet<Key> {
        let mut removed = HashSet::new();
        if let Some(shared) = &self.shared {
            match shared.redis.remove_tagged(tenant, tag).await {
                Ok(keys) => removed.extend(keys),
                Err(_) => shared.later([Removal::Tagged(tenant, tag.to_owned())]),
            }
        }
        removed.extend(self.memory.remove_tagged(tenant, tag));
        // what was read under an older entry of the same key
        for key in &removed {
            self.memory.remove(key);
        }
        self.tell(Change {
            tenant_id: tenant.to_string(),
            tags: vec![tag.to_owned()],
            ..Change::default()
        })
        .await;
        removed
    }

    /// Removes a tenant's entries whose name matches; answers how many.
    ///
    /// Others are told of all names that start so: they forget some more, and need not know patterns.
    pub(crate) async fn remove_matching(&self, tenant: TenantId, pattern: &Pattern) -> u64 {
        let mut removed = 0;
        if let Some(shared) = &self.shared {
            match shared.redis.remove_matching(tenant, pattern).await {
                Ok(count) => removed = count,
                Err(_) => shared.later([Removal::Matching(tenant, pattern.clone())]),
            }
        }
        removed = removed.max(self.memory.remove_matching(tenant, pattern));
        self.tell(Change {
            tenant_id: tenant.to_string(),
            key_prefix: pattern.beginning().to_owned(),
            everything: pattern.beginning().is_empty(),
            ..Change::default()
        })
        .await;
        removed
    }

    async fn tell_keys(&self, keys: &[Key]) {
        let mut rest = keys;
        // a batch is of one tenant
        while let Some(first) = rest.first() {
            let many = rest
                .iter()
                .take_while(|key| key.tenant == first.tenant)
                .count();
            let (these, others) = rest.split_at(many);
            self.tell(Change {
                tenant_id: first.tenant.to_string(),
                keys: these.iter().map(|key| key.name.to_string()).collect(),
                ..Change::default()
            })
            .await;
            rest = others;
        }
    }

    async fn tell(&self, change: Change) {
        if let Some(shared) = &self.shared {
            let wait = shared.redis.is_usable();
            shared.feed.tell(change.clone(), wait).await;
        }
        // an error: nobody watches
        let _ = self.changes.send(Arc::new(change));
    }

    /// What happens here and elsewhere, from now on.
    pub(crate) fn watch(&self) -> broadcast::Receiver<Arc<Change>> {
        self.changes.subscribe()
    }

    /// Takes what another process changed out of memory.
    pub(crate) fn hear(&self, told: Told) -> Arc<Change> {
        let change = match told {
            Told::Changed(change) => change,
            Told::Missed => Change {
                everything: true,
                ..Change::default()
            },
        };
        match change.tenant_id.parse::<TenantId>() {
            Ok(tenant) if !change.everything => {
                for name in &change.keys {
                    let name = name.as_str().into();
                    self.memory.remove(&Key { tenant, name });
                }
                for tag in &change.tags {
                    self.memory.remove_tagged(tenant, tag);
                }
                if !change.key_prefix.is_empty() {
                    let pattern = Pattern::prefix(&change.key_prefix);
                    self.memory.remove_matching(tenant, &pattern);
                }
            }
            _ => self.memory.clear(),
        }
        let change = Arc::new(change);
        let _ = self.changes.send(Arc::clone(&change));
        change
    }

    /// How full memory is.
    pub(crate) fn usage(&self) -> Usage {
        self.memory.usage()
    }

    /// What Redis says of itself, if there is one.
    pub(crate) async fn redis_stats(&self) -> Option<RedisStats> {
        let shared = self.shared.as_ref()?;
        Some(shared.redis.stats().await)
    }
}

/// Leaves the last entry of each key.
fn last_of_each(entries: &mut Vec<(Key, Stored)>) {
    let mut last = HashSet::new();
    let mut keep: Vec<bool> = (entries.iter().rev())
        .map(|(key, _)| last.insert(key.clone()))
        .collect();
    entries.retain(|_| keep.pop().unwrap_or(true));
}

impl Shared {
    /// Removes what is not known to be right any more: now if Redis is there and only refused to
    /// store it, else as soon as it is back.
    async fn forget(&self, keys: &[Key], fault: &Fault) {
        let refused = matches!(fault, Fault::Refused(_));
        if refused && self.redis.remove(keys).await.is_ok() {
            return;
        }
        self.later(keys.iter().cloned().map(Removal::Entry));
    }

    /// Ends a lease that may be held for nobody: Redis was asked about it, and nobody heard the answer.
    fn end_lease(&self, fault: &Fault, lease: impl FnOnce() -> Removal) {
        if fault.is_failure() {
            self.later([lease()]);
        }
    }

    fn later(&self, removals: impl IntoIterator<Item = Removal>) {
        for removal in removals {
            self.redis.journal.add(removal);
        }
    }
}
