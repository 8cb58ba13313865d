//! Which items a filter lets through, remembered until the corpus changes.

use std::sync::Arc;

use mediamesh_proto::TenantId;
use mediamesh_store::{SearchStore, search::Filter};
use moka::future::Cache;
use roaring::RoaringBitmap;

use crate::error::Error;

/// Tenant, version of its corpus, and the filter as text.
type Key = (TenantId, i64, String);

/// Matching sets of the filters used last.
pub(crate) struct MatchingSets {
    store: Arc<dyn SearchStore>,
    sets: Cache<Key, Arc<RoaringBitmap>>,
}

impl MatchingSets {
    /// Keeps sets up to `max_bytes` in all.
    pub(crate) fn new(store: Arc<dyn SearchStore>, max_bytes: u64) -> Self {
        let sets = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|(_, _, filter): &Key, set: &Arc<RoaringBitmap>| {
                u32::try_from(filter.len() + set.serialized_size() + 64).unwrap_or(u32::MAX)
            })
            .build();
        Self { store, sets }
    }

    /// Keys of the items that match; the set is as new as `corpus_version`, or newer.
    pub(crate) async fn of(
        &self,
        tenant: TenantId,
        corpus_version: i64,
        filter: &Filter,
    ) -> Result<Arc<RoaringBitmap>, Error> {
        let key = (tenant, corpus_version, format!("{filter:?}"));
        // Of those who ask at once one reads; its error is its own.
        let mut failed = None;
        let reading = async {
            let set = self.read(tenant, filter).await;
            set.map_err(|error| failed = Some(error))
        };
        match (self.sets.try_get_with(key, reading).await, failed) {
            (Ok(set), _) => Ok(set),
            (Err(_), Some(error)) => Err(error),
            (Err(_), None) => self.read(tenant, filter).await,
        }
    }

    async fn read(&self, tenant: TenantId, filter: &Filter) -> Result<Arc<RoaringBitmap>, Error> {
        let keys = self.store.matching_keys(tenant, filter).await?;
        Ok(Arc::new(
            RoaringBitmap::from_sorted_iter(keys).unwrap_or_default(),
        ))
    }
}
