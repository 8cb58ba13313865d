//! What was popular is known again after a restart: where there is no Redis, or it started empty,
//! the histories of users tell.

use std::time::Duration;

use mediamesh_proto::{
    TenantId,
    cache::v1::{
        Entry, GetEntryRequest, ListPopularSearchesRequest, SetEntryRequest,
        get_entry_response::Outcome,
    },
    time::{duration, now_micros},
};
use mediamesh_store::history::NewSearch;
use tonic::Status;

use crate::past::Past;

/// Entry that says it was done: it is lost together with the counts.
const MARK: &str = "searches:restored";
/// How long the mark lives at most; the cache service cuts it to its own longest.
const MARK_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
/// Longest that one process takes to restore.
const LEASE: Duration = Duration::from_secs(30);
/// Rows of all users that are counted: as many wordings as are held.
const ROWS: i64 = 4000;
/// The time in which the cache service halves a count.
const HALF_LIFE_MICROS: i64 = 7 * 24 * 3600 * 1_000_000;

impl Past {
    /// Counts what the histories of a tenant hold, unless that was done. Works for the tenant that the
    /// current caller stands for.
    ///
    /// Errors: the cache service or the database does not answer; the next process tries.
    pub(crate) async fn restore(&self, tenant: TenantId) -> Result<(), Status> {
        let request = GetEntryRequest {
            key: MARK.to_owned(),
            lease_ttl: Some(duration(LEASE)),
            wait_timeout: Some(duration(Duration::ZERO)),
            early_refresh: false,
        };
        let outcome = self.cache.get_entry(request).await?.outcome;
        let Some(Outcome::LeaseToken(lease_token)) = outcome else {
            // it was done, or somebody does it
            return Ok(());
        };
        let known = ListPopularSearchesRequest {
            limit: 1,
            ..ListPopularSearchesRequest::default()
        };
        if self.cache.list_popular_searches(known).await?.is_empty() {
            let past = self.store.recent_searches(tenant, ROWS).await;
            let past = past.map_err(crate::Error::from)?;
            let now = now_micros();
            let counted: Vec<_> = (past.into_iter())
                .filter_map(|search| aged(search, now))
                .collect();
            self.count(tenant, &counted).await;
        }
        let entry = Entry {
            key: MARK.to_owned(),
            negative: true,
            ttl: Some(duration(MARK_TTL)),
            ..Entry::default()
        };
        let request = SetEntryRequest {
            entry: Some(entry),
            lease_token,
        };
        self.cache.set_entry(request).await
    }
}

/// A search with as much of its count as would be left of it now; `None` if that is nothing.
fn aged(search: NewSearch, now: i64) -> Option<NewSearch> {
    let age = now.saturating_sub(search.search_time).max(0);
    let halvings = u32::try_from(age / HALF_LIFE_MICROS).unwrap_or(u32::MAX);
    // half a search still counts as one
    let doubled = search.searches.saturating_mul(2);
    let left = doubled.checked_shr(halvings).unwrap_or(0);
    (left > 0).then(|| NewSearch {
        searches: (left / 2).max(1),
        ..search
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_counts_for_less_and_then_for_nothing() {
        let left = |searches, weeks| {
            let search = NewSearch {
                subject: String::new(),
                wording: String::new(),
                query: String::new(),
                searches,
                search_time: 0,
            };
            let aged = aged(search, weeks * HALF_LIFE_MICROS + 1);
            aged.map_or(0, |search| search.searches)
        };
        assert_eq!([left(1, 0), left(1, 1), left(1, 2)], [1, 1, 0]);
        assert_eq!([left(9, 0), left(9, 1), left(9, 3)], [9, 4, 1]);
        assert_eq!(left(i64::MAX, 500), 0);
    }
}
