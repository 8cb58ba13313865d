//! Which keys of a tenant carry a tag.
//!
//! Each entry is known by its key and a generation, so that the late removal of a replaced entry
//! never takes the tags of the entry that replaced it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use mediamesh_proto::TenantId;
use parking_lot::Mutex;

use crate::entry::Key;

type Carriers = HashSet<(Arc<str>, u64)>;

/// Index from tags to keys.
#[derive(Default)]
pub(crate) struct Tags {
    by_tag: Mutex<HashMap<TenantId, HashMap<String, Carriers>>>,
}

impl Tags {
    pub(crate) fn add(&self, key: &Key, generation: u64, tags: &[String]) {
        if tags.is_empty() {
            return;
        }
        let mut by_tag = self.by_tag.lock();
        let tenant = by_tag.entry(key.tenant).or_default();
        for tag in tags {
            let carrier = (Arc::clone(&key.name), generation);
            tenant.entry(tag.clone()).or_default().insert(carrier);
        }
    }

    pub(crate) fn remove(&self, key: &Key, generation: u64, tags: &[String]) {
        if tags.is_empty() {
            return;
        }
        let mut by_tag = self.by_tag.lock();
        let Some(tenant) = by_tag.get_mut(&key.tenant) else {
            return;
        };
        for tag in tags {
            if let Some(carriers) = tenant.get_mut(tag) {
                carriers.remove(&(Arc::clone(&key.name), generation));
                if carriers.is_empty() {
                    tenant.remove(tag);
                }
            }
        }
        if tenant.is_empty() {
            by_tag.remove(&key.tenant);
        }
    }

    /// Names that carry `tag` now, or did a moment ago.
    pub(crate) fn names(&self, tenant: TenantId, tag: &str) -> HashSet<Arc<str>> {
        let by_tag = self.by_tag.lock();
        let carriers = by_tag.get(&tenant).and_then(|tags| tags.get(tag));
        carriers
            .into_iter()
            .flatten()
            .map(|(name, _)| Arc::clone(name))
            .collect()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.by_tag.lock().is_empty()
    }
}
