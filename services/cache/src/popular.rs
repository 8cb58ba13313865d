//! What a tenant searches for most (S1-31), and by how many that is.
//!
//! Counts lie in Redis, shared by all processes, or, where there is none, in this process. They
//! are no entries: no invalidation touches them. A count that Redis does not take is lost, and
//! while Redis does not answer, what it last answered is.
//!
//! Who searched is known as a digest only, and as many as are needed to tell whether a wording is
//! one person's: whoever shows wordings to people asks for a least number of searchers.
//!
//! - [`tally`]: the counts of one tenant in memory

use std::{hash::Hash, sync::Arc, time::Duration};

use mediamesh_proto::TenantId;
use moka::{
    future::{Cache, CacheBuilder},
    policy::EvictionPolicy,
};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;

use crate::redis::Redis;

mod tally;

use tally::Tally;

/// Wordings counted for one tenant: four times as many as are ever answered, so that the last of
/// those is not decided by who came last.
pub(crate) const HELD: usize = 4000;
/// Most wordings answered (S1-31).
pub(crate) const MOST_ANSWERED: usize = 1000;
/// Searchers of a wording that are told apart; more are not counted.
pub(crate) const MOST_SEARCHERS: usize = 16;
/// Counts are halved once a week: what was popular a year ago is not what people want now.
pub(crate) const HALF_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Counts of a tenant that searches for nothing live so long in Redis.
pub(crate) const LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// How long an answer is repeated: suggestions are asked for at every key.
const READ_AGE: Duration = Duration::from_secs(1);
/// Tenants counted in memory, and answers remembered; those not asked for longest go first.
const MAX_TENANTS: u64 = 128;

/// Most that one person's searches count for at once.
pub(crate) const MOST_TIMES: u32 = 1_000_000;

/// What one person searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counted {
    /// What counts as the same search.
    pub(crate) wording: String,
    /// Who searched: a digest.
    pub(crate) searcher: u64,
    /// How often.
    pub(crate) times: u32,
}

/// A wording and its count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ranked {
    pub(crate) wording: String,
    pub(crate) searches: u64,
}

/// The wordings of a tenant that so many searched for, counted most first.
type Read = (TenantId, usize);

/// The counts of all tenants.
pub(crate) struct Popular {
    redis: Option<Arc<Redis>>,
    tallies: Cache<TenantId, Arc<Mutex<Tally>>>,
    fresh: Cache<Read, Arc<[Ranked]>>,
    last: Cache<Read, Arc<[Ranked]>>,
    lost: Counter,
}

impl Popular {
    pub(crate) fn new(redis: Option<Arc<Redis>>, lost: Counter) -> Self {
        Self {
            redis,
            tallies: bounded().build(),
            fresh: bounded().time_to_live(READ_AGE).build(),
            last: bounded().build(),
            lost,
        }
    }

    /// Counts searches of a tenant.
    pub(crate) async fn count(&self, tenant: TenantId, searches: Vec<Counted>) {
        match &self.redis {
            None => {
                let tally = self.tallies.get_with(tenant, async { Arc::default() });
                let tally = tally.await;
                let mut tally = tally.lock();
                for search in searches {
                    tally.add(search);
                }
            }
            Some(redis) => {
                if redis.count_searches(tenant, &searches).await.is_err() {
                    let lost = searches.iter().map(|search| u64::from(search.times));
                    self.lost.inc_by(lost.sum());
                }
            }
        }
        // who counted sees it counted
        for searchers in 1..=MOST_SEARCHERS {
            self.fresh.invalidate(&(tenant, searchers)).await;
        }
    }

    /// The wordings of a tenant that start with `prefix` and that at least `min_searchers` searched
    /// for, counted most first.
    pub(crate) async fn list(
        &self,
        tenant: TenantId,
        prefix: &str,
        min_searchers: usize,
        limit: usize,
    ) -> Vec<Ranked> {
        let read = (tenant, min_searchers);
        let all = self.fresh.get_with(read, self.read(read)).await;
        let found = all.iter().filter(|one| one.wording.starts_with(prefix));
        found.take(limit).cloned().collect()
    }

    async fn read(&self, read: Read) -> Arc<[Ranked]> {
        let (tenant, min_searchers) = read;
        let Some(redis) = &self.redis else {
            let tally = self.tallies.get(&tenant).await;
            return tally.map_or_else(Arc::default, |tally| {
                tally.lock().popular(min_searchers).into()
            });
        };
        match redis.popular_searches(tenant, min_searchers).await {
            Ok(answer) => {
                let answer: Arc<[Ranked]> = answer.into();
                self.last.insert(read, Arc::clone(&answer)).await;
                answer
            }
            Err(_) => self.last.get(&read).await.unwrap_or_default(),
        }
    }
}

fn bounded<K, V>() -> CacheBuilder<K, V, Cache<K, V>>
where
    K: Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let builder = Cache::builder().max_capacity(MAX_TENANTS);
    builder.eviction_policy(EvictionPolicy::lru())
}
