//! Popular searches are answered before they are asked (S1-35).
//!
//! The key of an answer holds the version of the corpus, so that each change to the items makes
//! all answers stale. Once a tenant's items have been left alone for a moment, its most popular
//! searches are answered anew, one after the other and behind everybody's calls: the next who asks
//! finds them. One that fails does not stop the others.

use std::{collections::HashMap, sync::Arc, time::Duration};

use mediamesh_mesh::{Identity, identity, priority};
use mediamesh_proto::{
    TenantId,
    cache::v1::ListPopularSearchesRequest,
    search::v1::{SearchMediaRequest, WarmSearchesResponse},
};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::{error::Error, metrics::WarmLabels, service::Service};

/// Tenants kept warm by one process; those met first, until they are forgotten with it.
const MAX_TENANTS: usize = 256;

/// How often the counts of a tenant are looked after: a Redis may start empty at any time.
const RESTORE_INTERVAL: Duration = Duration::from_secs(300);

/// What is known of a tenant.
#[derive(Debug, Clone, Copy, Default)]
struct Corpus {
    /// Its version at the last look.
    seen: Option<i64>,
    /// The version for which its searches were warmed.
    warmed: Option<i64>,
    /// When its counts were last looked after.
    restored: Option<Instant>,
}

/// Tenants to keep warm.
#[derive(Default)]
pub(crate) struct Tenants {
    known: Mutex<HashMap<TenantId, Corpus>>,
}

impl Tenants {
    /// A tenant that searches.
    pub(crate) fn meet(&self, tenant: TenantId) {
        let mut known = self.known.lock();
        if known.len() < MAX_TENANTS {
            known.entry(tenant).or_default();
        }
    }

    fn all(&self) -> Vec<TenantId> {
        self.known.lock().keys().copied().collect()
    }

    /// Whether it is time to look after the counts of a tenant.
    fn may_lack_counts(&self, tenant: TenantId) -> bool {
        let mut known = self.known.lock();
        let corpus = known.entry(tenant).or_default();
        let last = corpus.restored;
        let due = last.is_none_or(|last| last.elapsed() >= RESTORE_INTERVAL);
        if due {
            corpus.restored = Some(Instant::now());
        }
        due
    }

    /// Whether the items of a tenant have changed since its searches were warmed, and have been left
    /// alone since the last look.
    fn is_due(&self, tenant: TenantId, version: i64) -> bool {
        let mut known = self.known.lock();
        let corpus = known.entry(tenant).or_default();
        let rests = corpus.seen.replace(version) == Some(version);
        let due = rests && corpus.warmed != Some(version);
        if due {
            corpus.warmed = Some(version);
        }
        due
    }
}

impl Service {
    /// Answers the `limit` most popular searches of a tenant into the cache. Popular is here what any
    /// number searched for: it is not told to anybody.
    ///
    /// Errors: the cache service does not tell what is popular.
    pub(crate) async fn warm(
        self: &Arc<Self>,
        tenant: TenantId,
        limit: i32,
    ) -> Result<WarmSearchesResponse, Error> {
        let request = ListPopularSearchesRequest {
            limit,
            ..ListPopularSearchesRequest::default()
        };
        let popular = self.past.cache.list_popular_searches(request).await;
        let popular = popular.map_err(|status| Error::Dependency {
            dependency: "cache",
            status: Box::new(status),
        })?;
        let mut outcome = WarmSearchesResponse::default();
        for wording in popular {
            let request = SearchMediaRequest {
                query: wording.wording,
                ..SearchMediaRequest::default()
            };
            // boxed: a whole search is large, and every caller would hold it
            let answered = Box::pin(self.answer(request, tenant, None)).await;
            let (count, label) = match answered {
                Ok(answer) if answer.from_cache => (&mut outcome.cached, "cached"),
                Ok(_) => (&mut outcome.warmed, "warmed"),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "a popular search is not warmed");
                    (&mut outcome.failed, "failed")
                }
            };
            *count += 1;
            let labels = WarmLabels { outcome: label };
            self.metrics.warmed.get_or_create(&labels).inc();
        }
        Ok(outcome)
    }

    /// Keeps the counts of every tenant and its popular searches warm until `shutdown`.
    pub(crate) async fn keep_warm(self: &Arc<Self>, shutdown: impl Future<Output = ()>) {
        tokio::select! {
            () = shutdown => {}
            () = priority::background(self.look_after_all()) => {}
        }
    }

    async fn look_after_all(self: &Arc<Self>) {
        // an error: they are met when they search
        for space in self.store.vector_spaces().await.unwrap_or_default() {
            self.tenants.meet(space.tenant_id);
        }
        loop {
            for tenant in self.tenants.all() {
                let identity = Identity::background(tenant.0);
                let outcome = identity::scope(identity, Box::pin(self.look_after(tenant))).await;
                if let Err(error) = outcome {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(error, "popular searches are not warmed");
                }
            }
            sleep(Duration::from_secs(self.options.warm_after_secs)).await;
        }
    }

    async fn look_after(self: &Arc<Self>, tenant: TenantId) -> Result<(), Error> {
        if self.tenants.may_lack_counts(tenant) {
            let restored = self.past.restore(tenant).await;
            restored.map_err(|status| Error::Dependency {
                dependency: "cache",
                status: Box::new(status),
            })?;
        }
        let version = self.store.corpus(tenant).await?.version;
        let limit = i32::try_from(self.options.warm_searches).unwrap_or(0);
        if limit > 0 && self.tenants.is_due(tenant, version) {
            let outcome = self.warm(tenant, limit).await?;
            tracing::debug!(?outcome, "popular searches are warm");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_warmed_once_its_items_rest_and_again_after_the_next_change() {
        let tenants = Tenants::default();
        let tenant = TenantId::generate();
        let looks = [1, 1, 1, 2, 3, 3, 3, 4, 4];
        let due: Vec<bool> = (looks.into_iter())
            .map(|version| tenants.is_due(tenant, version))
            .collect();
        let expected = [false, true, false, false, false, true, false, false, true];
        assert_eq!(due, expected);
    }
}
