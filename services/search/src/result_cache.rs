//! The cache service as search sees it. Its errors are misses.

use std::time::Duration;

use bytes::Bytes;
use mediamesh_mesh::Channel;
use mediamesh_proto::{
    cache::v1::{
        Entry, GetEntryRequest, ReleaseLeaseRequest, SetEntryRequest,
        cache_service_client::CacheServiceClient, get_entry_response::Outcome,
    },
    search::v1::SearchMediaResponse,
    time::duration,
};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::query::Query;

/// Most hits of an answer that is kept (S1-26).
const MAX_CACHED_HITS: usize = 100;
/// Longest that callers of the same search wait for the first of them.
const LEASE: Duration = Duration::from_secs(10);

/// What a look-up found.
pub(crate) enum Lookup {
    /// The answer.
    Hit(Box<SearchMediaResponse>),
    /// No answer; the lease, if any, must be settled.
    Miss(Option<Lease>),
}

/// The duty to store an answer that others wait for.
pub(crate) struct Lease {
    key: String,
    token: i64,
}

/// The cache service as search sees it.
pub(crate) struct ResultCache {
    client: CacheServiceClient<Channel>,
    ttl: Duration,
}

impl ResultCache {
    pub(crate) fn new(channel: Channel, ttl: Duration) -> Self {
        Self {
            client: CacheServiceClient::new(channel),
            ttl,
        }
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
            wait_timeout: Some(duration(LEASE)),
        };
        match self
            .client
            .clone()
            .get_entry(request)
            .await
            .map(|answer| answer.into_inner().outcome)
        {
            Ok(Some(Outcome::Entry(entry))) => match SearchMediaResponse::decode(entry.value) {
                Ok(answer) => Lookup::Hit(Box::new(answer)),
                Err(_) => Lookup::Miss(None),
            },
            Ok(Some(Outcome::LeaseToken(token))) => Lookup::Miss(Some(Lease { key, token })),
            Ok(None) | Err(_) => Lookup::Miss(None),
        }
    }

    /// Stores an answer, or lets the next caller try when it should not be kept.
    pub(crate) async fn settle(&self, lease: Lease, answer: Option<&SearchMediaResponse>) {
        let mut client = self.client.clone();
        let keep =
            answer.filter(|answer| !answer.degraded && answer.results.len() <= MAX_CACHED_HITS);
        // An error of the cache is a miss for the next caller, nothing more.
        let _ = match keep {
            Some(answer) => {
                let entry = Entry {
                    key: lease.key,
                    value: Bytes::from(answer.encode_to_vec()),
                    negative: false,
                    ttl: Some(duration(self.ttl)),
                    tags: vec!["search".to_owned()],
                };
                let request = SetEntryRequest {
                    entry: Some(entry),
                    lease_token: lease.token,
                };
                client.set_entry(request).await.map(drop)
            }
            None => {
                let request = ReleaseLeaseRequest {
                    key: lease.key,
                    lease_token: lease.token,
                };
                client.release_lease(request).await.map(drop)
            }
        };
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
