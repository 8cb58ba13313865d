//! One function per operation.

use std::{sync::Arc, time::Duration};

use mediamesh_mesh::MAX_MESSAGE_BYTES;
use mediamesh_near::{Key, Pattern, Stored};
use mediamesh_proto::{
    Error, ErrorKind, ErrorReason, TenantId, cache::v1::GetCacheStatsResponse, time::now_micros,
};
use parking_lot::Mutex;
use tokio::{sync::broadcast, task::JoinSet, time::Instant};

use crate::{
    leases::{Claim, Leases, Reach},
    metrics::CacheMetrics,
    options::Options,
    popular::Popular,
    redis::{Change, Claimed, Told},
    tiers::{Filled, Tiers},
};

/// Bytes of values in one answer; what is beyond counts as missing, so that a batch of large
/// values never breaks the message limit.
const MAX_ANSWER_BYTES: usize = MAX_MESSAGE_BYTES / 4 * 3;
/// How often a lease that another process holds is looked at, in case its end is not heard of.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What a look-up asks for beside the entry.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish {
    /// On a miss, a lease of so long.
    pub(crate) lease_ttl: Option<Duration>,
    /// Longest wait for the holder of one.
    pub(crate) wait_timeout: Option<Duration>,
    /// Stale entries are welcome, and so is the duty to compute one anew.
    pub(crate) early_refresh: bool,
}

/// Outcome of a look-up.
#[derive(Debug)]
pub(crate) enum Found {
    /// An entry, possibly a negative one, and the lease to compute it anew.
    Entry(Stored, Option<i64>),
    /// Nothing, and the caller fills it.
    Lease(i64),
    /// Nothing.
    Nothing,
}

/// The service.
pub(crate) struct Service {
    pub(crate) options: Options,
    tiers: Tiers,
    leases: Leases,
    pub(crate) popular: Popular,
    metrics: CacheMetrics,
    /// What runs beside the calls, until the service is gone.
    tasks: Mutex<JoinSet<()>>,
}

impl Service {
    pub(crate) fn new(
        options: Options,
        tiers: Tiers,
        popular: Popular,
        metrics: CacheMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            options,
            tiers,
            leases: Leases::new(),
            popular,
            metrics,
            tasks: Mutex::default(),
        })
    }

    /// Runs `task` for as long as the service is there.
    pub(crate) fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().spawn(task);
    }

    /// Looks one key up; on a miss takes a lease, or waits for the holder of one.
    pub(crate) async fn get(self: &Arc<Self>, key: &Key, wish: Wish) -> Found {
        let found = match self.tiers.get(key).await {
            Some(entry) if !entry.is_stale() || wish.early_refresh => {
                self.refreshed(key, entry, wish).await
            }
            other => {
                let seen = other.map(|entry| entry.stamp);
                match wish.lease_ttl {
                    Some(ttl) => {
                        self.claim(key, self.lease(ttl), wish.wait_timeout, seen)
                            .await
                    }
                    None => Found::Nothing,
                }
            }
        };
        match &found {
            Found::Entry(..) => self.metrics.hits.inc(),
            Found::Lease(_) | Found::Nothing => self.metrics.misses.inc(),
        };
        found
    }

    fn lease(&self, ttl: Duration) -> Duration {
        ttl.min(self.options.max_lease())
    }

    /// Asks the caller to compute an entry anew if it is time for that and nobody else does.
    async fn refreshed(self: &Arc<Self>, key: &Key, entry: Stored, wish: Wish) -> Found {
        let ttl = match wish.lease_ttl {
            Some(ttl) if wish.early_refresh && is_due(&entry) => self.lease(ttl),
            _ => return Found::Entry(entry, None),
        };
        let Claim::Granted(token) = self.leases.claim(key, ttl) else {
            return Found::Entry(entry, None);
        };
        match self.shared_claim(key, ttl, token, Some(entry.stamp)).await {
            None => self.granted(entry, token),
            Some(Claimed::Granted(token)) => self.granted(entry, token),
            Some(Claimed::Held(_)) => {
                self.leases.settle(key, token, None);
                Found::Entry(entry, None)
            }
            Some(Claimed::Entry(newer)) => Found::Entry(newer, None),
        }
    }

    fn granted(&self, entry: Stored, token: i64) -> Found {
        self.metrics.refreshes.inc();
        Found::Entry(entry, Some(token))
    }

    /// Takes the lease on a missing key or waits; `seen` is the stamp of a stale entry that counts as
    /// missing.
    async fn claim(
        self: &Arc<Self>,
        key: &Key,
        ttl: Duration,
        wait_timeout: Option<Duration>,
        seen: Option<i64>,
    ) -> Found {
        let until = wait_timeout.map(|timeout| Instant::now() + timeout);
        let mut counted = false;
        loop {
            let wait = match self.leases.claim(key, ttl) {
                Claim::Wait(wait) => wait,
                Claim::Granted(token) => {
                    match self.granted_or_filled(key, ttl, token, seen).await {
                        Some(found) => return found,
                        // another process holds it, and all of this one wait
                        None => continue,
                    }
                }
            };
            if until.is_some_and(|until| until <= Instant::now()) {
                return Found::Nothing;
            }
            if !std::mem::replace(&mut counted, true) {
                self.metrics.coalesced.inc();
            }
            if let Some(entry) = wait.filled(until).await {
                return Found::Entry(entry, None);
            }
            if let Some(entry) = self.fresh(key, seen).await {
                return Found::Entry(entry, None);
            }
        }
    }

    /// An entry that is not the one seen, which counts as missing.
    async fn fresh(&self, key: &Key, seen: Option<i64>) -> Option<Stored> {
        let entry = self.tiers.get(key).await?;
        (seen != Some(entry.stamp) && !entry.is_stale()).then_some(entry)
    }

    async fn granted_or_filled(
        self: &Arc<Self>,
        key: &Key,
        ttl: Duration,
        token: i64,
        seen: Option<i64>,
    ) -> Option<Found> {
        match self.shared_claim(key, ttl, token, seen).await {
            None => {
                // The last holder may have filled it between the look-up and the grant.
                if let Some(entry) = self.fresh(key, seen).await {
                    self.leases.settle(key, token, Some(entry.clone()));
                    return Some(Found::Entry(entry, None));
                }
                self.metrics.leases.inc();
                Some(Found::Lease(token))
            }
            Some(Claimed::Granted(token)) => {
                self.metrics.leases.inc();
                Some(Found::Lease(token))
            }
            Some(Claimed::Entry(entry)) => Some(Found::Entry(entry, None)),
            Some(Claimed::Held(_)) => None,
        }
    }

    /// Asks for the lease in Redis and settles the one here accordingly; `None` if there is no Redis
    /// to ask, and the one here stands alone.
    ///
    /// Runs to its end though the caller goes away: what was granted for nobody is given back.
    async fn shared_claim(
        self: &Arc<Self>,
        key: &Key,
        ttl: Duration,
        token: i64,
        seen: Option<i64>,
    ) -> Option<Claimed> {
        if !self.tiers.is_shared() {
            return None;
        }
        let (service, key) = (Arc::clone(self), key.clone());
        let (answer, wait) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let claimed = service.tiers.claim(&key, ttl, seen).await;
            let mut held = token;
            match &claimed {
                None => {}
                Some(Claimed::Granted(shared)) => {
                    held = *shared;
                    service.leases.share(&key, token, held);
                }
                Some(Claimed::Held(left)) => {
                    let look = LOOK_AGAIN.min(*left);
                    service.leases.yield_to_another(&key, token, look);
                }
                Some(Claimed::Entry(entry)) => {
                    service.leases.settle(&key, token, Some(entry.clone()));
                }
            }
            let granted = !matches!(claimed, Some(Claimed::Held(_) | Claimed::Entry(_)));
            if answer.send(claimed).is_err() && granted {
                service.leases.settle(&key, held, None);
                service.tiers.release(&key, held).await;
            }
        });
        wait.await.ok().flatten()
    }

    /// Looks keys up, in order.
    pub(crate) async fn get_batch(&self, keys: &[Key]) -> Vec<Option<Stored>> {
        let mut found = self.tiers.get_batch(keys, MAX_ANSWER_BYTES).await;
        for entry in &mut found {
            // who cannot compute it anew is not given what should be
            if entry.as_ref().is_some_and(Stored::is_stale) {
                *entry = None;
            }
            match entry {
                Some(_) => self.metrics.hits.inc(),
                None => self.metrics.misses.inc(),
            };
        }
        found
    }

    /// Stores entries in place of any other.
    pub(crate) async fn set_batch(self: &Arc<Self>, entries: Vec<(Key, Stored)>) {
        let service = Arc::clone(self);
        self.finish(async move {
            let stored = entries.clone();
            service.tiers.set(entries).await;
            for (key, entry) in &stored {
                service.leases.revoke(key, Some(entry));
            }
        })
        .await;
    }

    /// Stores an entry, under a lease if `token` is not 0.
    ///
    /// Errors: `LeaseLost`.
    pub(crate) async fn set(
        self: &Arc<Self>,
        key: Key,
        entry: Stored,
        token: i64,
    ) -> Result<(), Error> {
        if token == 0 {
            self.set_batch(vec![(key, entry)]).await;
            return Ok(());
        }
        let service = Arc::clone(self);
        self.finish(async move { service.fill(key, entry, token).await })
            .await
            .unwrap_or_else(|| Err(self.lease_lost()))
    }

    async fn fill(&self, key: Key, mut entry: Stored, token: i64) -> Result<(), Error> {
        // tokens are the time of their grant
        let cost = u64::try_from(now_micros().saturating_sub(token)).unwrap_or(0);
        entry.cost = Duration::from_micros(cost).min(self.options.max_lease());
        let reach = self.leases.reach(&key, token);
        if reach != Some(Reach::Process) && self.tiers.is_shared() {
            match self.tiers.fill(&key, &entry, token).await {
                Filled::Stored => {
                    self.leases.settle(&key, token, Some(entry));
                    return Ok(());
                }
                Filled::Lost => {
                    self.leases.settle(&key, token, None);
                    return Err(self.lease_lost());
                }
                // what is known here decides
                Filled::Unknown => {}
            }
        }
        if reach.is_none() {
            return Err(self.lease_lost());
        }
        self.tiers.set(vec![(key.clone(), entry.clone())]).await;
        if self.leases.settle(&key, token, Some(entry)) {
            return Ok(());
        }
        // Lost while it was written: an invalidation that has answered must not be undone.
        self.tiers.remove(&[key]).await;
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
    pub(crate) async fn release(self: &Arc<Self>, key: &Key, token: i64) {
        let (service, key) = (Arc::clone(self), key.clone());
        self.finish(async move {
            service.tiers.release(&key, token).await;
            service.leases.settle(&key, token, None);
        })
        .await;
    }

    /// Removes entries by name, tag and pattern; answers how many.
    pub(crate) async fn invalidate(
        self: &Arc<Self>,
        tenant: TenantId,
        keys: Vec<Key>,
        tags: Vec<String>,
        patterns: Vec<Pattern>,
    ) -> u64 {
        let service = Arc::clone(self);
        self.finish(async move {
            let mut removed = service.tiers.remove(&keys).await;
            for key in &keys {
                service.leases.revoke(key, None);
            }
            for tag in &tags {
                let tagged = service.tiers.remove_tagged(tenant, tag).await;
                // what is computed anew for an entry that is stale in this way
                for key in &tagged {
                    service.leases.revoke(key, None);
                }
                removed += tagged.len() as u64;
            }
            for pattern in &patterns {
                let covered = |key: &Key| key.tenant == tenant && pattern.matches(&key.name);
                removed += service.tiers.remove_matching(tenant, pattern).await;
                service.leases.revoke_where(covered);
            }
            removed
        })
        .await
        .unwrap_or_default()
    }

    /// Runs a write to its end, also if the caller goes away in the middle of it.
    async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        match self.tiers.is_shared() {
            // an error: it panicked, which was logged
            true => tokio::spawn(work).await.ok(),
            // memory is changed without a wait
            false => Some(work.await),
        }
    }

    /// What happens here and elsewhere, from now on.
    pub(crate) fn watch(&self) -> broadcast::Receiver<Arc<Change>> {
        self.tiers.watch()
    }

    /// Takes in what happened in another process.
    pub(crate) async fn hear(&self, told: Told) {
        let change = self.tiers.hear(told);
        let Ok(tenant) = change.tenant_id.parse::<TenantId>() else {
            return;
        };
        for name in &change.keys {
            let name = name.as_str().into();
            self.leases.revoke(&Key { tenant, name }, None);
        }
        if !change.key_prefix.is_empty() {
            let prefix = &change.key_prefix;
            self.leases
                .revoke_where(|key| key.tenant == tenant && key.name.starts_with(prefix));
        }
    }

    /// Describes the cache.
    pub(crate) async fn stats(&self) -> GetCacheStatsResponse {
        let usage = self.tiers.usage();
        let (hits, misses) = (self.metrics.hits.get(), self.metrics.misses.get());
        let looked_up = hits + misses;
        GetCacheStatsResponse {
            hits: signed(hits),
            misses: signed(misses),
            entries: signed(usage.entries),
            size_bytes: signed(usage.size_bytes),
            max_size_bytes: signed(usage.max_size_bytes),
            evictions: signed(self.metrics.memory.evictions.get()),
            hit_rate: if looked_up == 0 {
                0.0
            } else {
                hits as f64 / looked_up as f64
            },
            coalesced: signed(self.metrics.coalesced.get()),
            redis: self.tiers.redis_stats().await,
        }
    }
}

/// Whether an entry should be computed anew: it is stale, or soon will be and this call is the one
/// of many that goes first.
///
/// Source: Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB
/// 2015, with beta 1: the nearer the end and the dearer the entry, the likelier.
fn is_due(entry: &Stored) -> bool {
    let lead = entry.cost.as_secs_f64() * -fastrand::f64().max(f64::MIN_POSITIVE).ln();
    entry.fresh_for().as_secs_f64() <= lead
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
