//! Many entries at once, as the tests store and read them.

use mediamesh_proto::{
    TenantId,
    cache::v1::{
        BatchGetEntriesRequest, BatchSetEntriesRequest, Lookup, cache_service_server::CacheService,
    },
};

use crate::{subject::by, suite::entry};

/// Stores entries `<prefix>0` and so on, whose value is their number.
pub(crate) async fn set_many(
    cache: &impl CacheService,
    tenant: TenantId,
    (prefix, count): (&str, usize),
    tags: &[&str],
) {
    let entries = (0..count)
        .map(|number| entry(&format!("{prefix}{number}"), &number.to_string(), tags))
        .collect();
    let request = BatchSetEntriesRequest { entries };
    cache.batch_set_entries(by(tenant, request)).await.unwrap();
}

/// Which of them are answered; the wrong value for a key is none.
pub(crate) async fn get_many(
    cache: &impl CacheService,
    tenant: TenantId,
    (prefix, count): (&str, usize),
) -> Vec<bool> {
    let keys = names(prefix, count);
    let request = BatchGetEntriesRequest { keys };
    let answer = cache.batch_get_entries(by(tenant, request)).await.unwrap();
    let lookups = answer.into_inner().lookups;
    assert_eq!(lookups.len(), count);
    let is_right = |(number, lookup): (usize, Lookup)| {
        lookup.entry.is_some_and(|entry| {
            assert_eq!(entry.key, format!("{prefix}{number}"));
            assert_eq!(entry.value, number.to_string());
            true
        })
    };
    lookups.into_iter().enumerate().map(is_right).collect()
}

pub(crate) fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{prefix}{number}"))
        .collect()
}
