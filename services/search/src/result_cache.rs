//! The cache service as search sees it. Its errors are misses.

use std::time::Duration;

use bytes::Bytes;
use mediamesh_mesh::identity;
use mediamesh_near::NearCache;
use mediamesh_proto::{
    cache::v1::{
        Entry, GetEntryRequest, ReleaseLeaseRequest, SetEntryRequest, get_entry_response::Outcome,
    },
    search::v1::SearchMediaResponse,
    time::duration,
};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::{patience::within, query::Query};

/// Most hits of an answer that is kept (S1-26).
const MAX_CACHED_HITS: usize = 100;
/// An answer may be given for one part in so many of its time to live longer, while it is computed
/// anew.
const STALE_SHARE: u32 = 10;
/// How long the first of those who search for the same has for it.
const LEASE: Duration = Duration::from_secs(10);
/// Longest that the others wait for it: many times a search's time, and one that takes longer is no answer
/// worth keeping, because a part of it did not come.
const WAIT: Duration = Duration::from_secs(1);
/// Longest that a search waits for the cache: it can do without, and does when nobody answers.
const LIMIT: Duration = Duration::from_millis(1250);

/// What a look-up found.
pub(crate) enum Lookup {
    /// The answer; the lease, if any, is to compute it anew beside it.
    Hit(Box<SearchMediaResponse>, Option<Lease>),
    /// No answer; the lease, if any, must be settled.
    Miss(Option<Lease>),
}

/// The duty to store an answer that others wait for.
///
/// Dropped unsettled, by an error or because the caller is gone, it is given back at once: those who
/// wait then go on, rather than when its time is up.
pub(crate) struct Lease {
    client: NearCache,
    /// Key and token; `None` once the answer is stored.
    held: Option<(String, i64)>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some((key, lease_token)) = self.held.take() else {
            return;
        };
        // Without a runtime the process ends, and nobody waits any more.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let client = self.client.clone();
        // For whom the entry was looked up, or the cache would look among others' entries.
        runtime.spawn(identity::in_current_scope(async move {
            // An error of the cache: the lease ends by itself.
            let _ = client
                .release_lease(ReleaseLeaseRequest { key, lease_token })
                .await;
        }));
    }
}

/// The cache service as search sees it.
pub(crate) struct ResultCache {
    client: NearCache,
    ttl: Duration,
}

impl ResultCache {
    pub(crate) fn new(client: NearCache, ttl: Duration) -> Self {
        Self { client, ttl }
    }

    /// Looks up the answer to `query` on this version of the corpus and these models.
    pub(crate) async fn get(&self, query: &Query, corpus_version: i64, models: &str) -> Lookup {
        if self.ttl.is_zero() || query.image.is_some() || query.explain {
            return Lookup::Miss(None);
        }
        let key = key(query, corpus_version, models);
        let request = GetEntryRequest {
            key: key.clone(),
            lease_ttl: Some(duration(LEASE)),
            wait_timeout: Some(duration(WAIT)),
            early_refresh: true,
        };
        let Ok(answer) = within(LIMIT, self.client.get_entry(request)).await else {
            return Lookup::Miss(None);
        };
        let lease = |token| Lease {
            client: self.client.clone(),
            held: Some((key, token)),
        };
        match answer.outcome {
            Some(Outcome::Entry(entry)) => {
                let refresh = (answer.refresh_token != 0).then(|| lease(answer.refresh_token));
                match SearchMediaResponse::decode(entry.value) {
                    Ok(answer) => Lookup::Hit(Box::new(answer), refresh),
                    Err(_) => Lookup::Miss(refresh),
                }
            }
            Some(Outcome::LeaseToken(token)) => Lookup::Miss(Some(lease(token))),
            None => Lookup::Miss(None),
        }
    }

    /// Stores an answer. One that should not be kept lets the next caller try.
    pub(crate) async fn settle(&self, mut lease: Lease, answer: &SearchMediaResponse) {
        if answer.degraded || answer.results.len() > MAX_CACHED_HITS {
            return;
        }
        let Some((key, lease_token)) = lease.held.clone() else {
            return;
        };
        let entry = Entry {
            key,
            value: Bytes::from(answer.encode_to_vec()),
            negative: false,
            ttl: Some(duration(self.ttl)),
            tags: vec!["search".to_owned()],
            // no staler than its corpus version: only a model may have changed since
            stale_ttl: Some(duration(self.ttl / STALE_SHARE)),
        };
        let request = SetEntryRequest {
            entry: Some(entry),
            lease_token,
        };
        // An error of the cache is a miss for the next caller, nothing more.
        if within(LIMIT, self.client.set_entry(request)).await.is_ok() {
            lease.held = None;
        }
    }
}

/// Scoped by tenant, filters, models and corpus version: a write makes the answer stale at once,
/// and nobody is served another's.
fn key(query: &Query, corpus_version: i64, models: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(query.tenant.0.as_bytes());
    hash.update(corpus_version.to_be_bytes());
    hash.update(Sha256::digest(models));
    hash.update(&query.fingerprint);
    format!("search:{}", hex::encode(hash.finalize()))
}

#[cfg(test)]
mod tests;
