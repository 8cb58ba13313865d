//! One function per operation.

use std::{sync::Arc, time::Duration};

use mediamesh_mesh::MAX_MESSAGE_BYTES;
use mediamesh_proto::{Error, ErrorKind, ErrorReason, TenantId, cache::v1::GetCacheStatsResponse};
use tokio::time::Instant;

use crate::{
    leases::{Claim, Leases},
    metrics::CacheMetrics,
    options::Options,
    tier::{CacheTier, Key, Stored},
};

/// Bytes of values in one answer; what is beyond counts as missing, so that a batch of large
/// values never breaks the message limit.
const MAX_ANSWER_BYTES: usize = MAX_MESSAGE_BYTES / 4 * 3;

/// Outcome of a look-up.
pub(crate) enum Found {
    /// An entry, possibly a negative one.
    Entry(Stored),
    /// Nothing, and the caller fills it.
    Lease(i64),
    /// Nothing.
    Nothing,
}

/// The service.
pub(crate) struct Service {
    pub(crate) options: Options,
    tier: Arc<dyn CacheTier>,
    leases: Leases,
    metrics: CacheMetrics,
}

impl Service {
    pub(crate) fn new(options: Options, tier: Arc<dyn CacheTier>, metrics: CacheMetrics) -> Self {
        Self {
            options,
            tier,
            leases: Leases::new(),
            metrics,
        }
    }

    /// Looks one key up; on a miss takes a lease of `lease_ttl`, or waits for the holder of one,
    /// at most `wait_timeout` in all.
    pub(crate) async fn get(
        &self,
        key: &Key,
        lease_ttl: Option<Duration>,
        wait_timeout: Option<Duration>,
    ) -> Found {
        let found = match self.tier.get(key).await {
            Some(entry) => Found::Entry(entry),
            None => match lease_ttl {
                Some(ttl) => {
                    self.claim(key, ttl.min(self.options.max_lease()), wait_timeout)
                        .await
                }
                None => Found::Nothing,
            },
        };
        match &found {
            Found::Entry(_) => self.metrics.hits.inc(),
            Found::Lease(_) | Found::Nothing => self.metrics.misses.inc(),
        };
        found
    }

    async fn claim(&self, key: &Key, ttl: Duration, wait_timeout: Option<Duration>) -> Found {
        let until = wait_timeout.map(|timeout| Instant::now() + timeout);
        let mut counted = false;
        loop {
            let wait = match self.leases.claim(key, ttl) {
                Claim::Wait(wait) => wait,
                Claim::Granted(token) => {
                    // The last holder may have filled it between the look-up and the grant.
                    if let Some(entry) = self.tier.get(key).await {
                        self.leases.settle(key, token, Some(entry.clone()));
                        return Found::Entry(entry);
                    }
                    self.metrics.leases.inc();
                    return Found::Lease(token);
                }
            };
            if until.is_some_and(|until| until <= Instant::now()) {
                return Found::Nothing;
            }
            if !std::mem::replace(&mut counted, true) {
                self.metrics.coalesced.inc();
            }
            if let Some(entry) = wait.filled(until).await {
                return Found::Entry(entry);
            }
            if let Some(entry) = self.tier.get(key).await {
                return Found::Entry(entry);
            }
        }
    }

    /// Looks keys up, in order.
    pub(crate) async fn get_batch(&self, keys: &[Key]) -> Vec<Option<Stored>> {
        let mut bytes = 0;
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let entry = self.tier.get(key).await.filter(|entry| {
                let tags: usize = entry.tags.iter().map(String::len).sum();
                bytes += key.name.len() + tags + entry.value.as_ref().map_or(0, bytes::Bytes::len);
                bytes <= MAX_ANSWER_BYTES
            });
            match &entry {
                Some(_) => self.metrics.hits.inc(),
                None => self.metrics.misses.inc(),
            };
            found.push(entry);
        }
        found
    }

    /// Stores an entry, under a lease if `token` is not 0.
    ///
    /// Errors: `LeaseLost`.
    pub(crate) async fn set(&self, key: Key, entry: Stored, token: i64) -> Result<(), Error> {
        if token == 0 {
            self.tier.set(key.clone(), entry.clone()).await;
            self.leases.revoke(&key, Some(&entry));
            return Ok(());
        }
        if !self.leases.is_valid(&key, token) {
            return Err(self.lease_lost());
        }
        self.tier.set(key.clone(), entry.clone()).await;
        if self.leases.settle(&key, token, Some(entry)) {
            return Ok(());
        }
        // Lost while it was written: an invalidation that has answered must not be undone.
        self.tier.remove(&key).await;
        Err(self.lease_lost())
    }

    fn lease_lost(&self) -> Error {
        self.metrics.leases_lost.inc();
        Error::new(
            ErrorKind::Conflict,
            ErrorReason::LeaseLost,
            "lease expired, was taken over or was revoked; the entry was not stored",
        )
    }

    /// Gives a lease back; one that is lost already is no error.
    pub(crate) fn release(&self, key: &Key, token: i64) {
        self.leases.settle(key, token, None);
    }

    /// Removes entries by name, tag and prefix; answers how many.
    pub(crate) async fn invalidate(
        &self,
        tenant: TenantId,
        keys: &[Key],
        tags: &[String],
        prefix: &str,
    ) -> u64 {
        let mut removed = 0;
        for key in keys {
            self.leases.revoke(key, None);
            removed += u64::from(self.tier.remove(key).await);
        }
        for tag in tags {
            removed += self.tier.remove_tagged(tenant, tag).await;
        }
        if !prefix.is_empty() {
            self.leases
                .revoke_where(|key| key.tenant == tenant && key.name.starts_with(prefix));
            removed += self.tier.remove_prefix(tenant, prefix).await;
        }
        removed
    }

    /// Describes the cache.
    pub(crate) async fn stats(&self) -> GetCacheStatsResponse {
        let usage = self.tier.usage().await;
        let (hits, misses) = (self.metrics.hits.get(), self.metrics.misses.get());
        let looked_up = hits + misses;
        GetCacheStatsResponse {
            hits: signed(hits),
            misses: signed(misses),
            entries: signed(usage.entries),
            size_bytes: signed(usage.size_bytes),
            max_size_bytes: signed(usage.max_size_bytes),
            evictions: signed(self.metrics.evictions.get()),
            hit_rate: if looked_up == 0 {
                0.0
            } else {
                hits as f64 / looked_up as f64
            },
            coalesced: signed(self.metrics.coalesced.get()),
        }
    }

    #[cfg(test)]
    pub(crate) fn lease_count(&self) -> usize {
        self.leases.len()
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
