//! Settings of the search service.

use std::time::Duration;

use mediamesh_imaging::Limits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the search service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Hits answered when a request does not say how many (S0-22).
    pub default_limit: u32,
    /// Most hits of one answer.
    pub max_limit: u32,
    /// Deepest hit that paging or offset reaches.
    pub max_depth: u32,
    /// Hits taken from each list before fusion, at least.
    pub list_depth: u32,
    /// Items that full text weighs against each other; of more matches the newest are ranked first.
    pub full_text_block: u32,
    /// Rank constant of reciprocal rank fusion.
    pub rrf_k: u32,
    /// Largest query image, in bytes.
    pub max_query_image_bytes: u64,
    /// Most memory that decoding one query image may take, in bytes; one is decoded per core.
    pub max_query_image_memory_bytes: u64,
    /// Memory for the matching sets of the filters used last, in bytes.
    pub max_matching_sets_bytes: u64,
    /// Longest a cached answer lives, in seconds (S0-14); a write makes it stale at once.
    pub cache_ttl_secs: u64,
    /// Snapshot interval of changed vector indexes, in seconds.
    pub snapshot_interval_secs: u64,
    /// How long the database keeps the row of a removed vector, in seconds: an index that did not hear of it by
    /// then is made anew at the next start.
    pub removed_vectors_secs: u64,
    /// Days for which a user's own searches are kept; 0 = none are.
    pub history_retention_days: u32,
    /// Searches kept of one user, the newest; 0 = none.
    pub max_history_per_user: u32,
    /// Users that must have searched for something before others of the tenant are told that people
    /// do, 1 to 16.
    pub popular_min_searchers: u32,
    /// Popular searches that are answered into the cache before they are asked, at most 100 (S1-35);
    /// 0 = none.
    pub warm_searches: u32,
    /// How long the items of a tenant must rest before that is done, in seconds.
    pub warm_after_secs: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            default_limit: 20,
            max_limit: 200,
            max_depth: 10_000,
            list_depth: 200,
            // 2,000 BM25 scores take about 5 ms (docs/performance.md)
            full_text_block: 2000,
            // Cormack, Clarke and Buettcher 2009: 60 works across collections.
            rrf_k: 60,
            max_query_image_bytes: 32 * 1024 * 1024,
            // that of stored pictures: whatever went in can be asked with
            max_query_image_memory_bytes: Limits::default().max_alloc_bytes,
            max_matching_sets_bytes: 16 * 1024 * 1024,
            cache_ttl_secs: 3600,
            snapshot_interval_secs: 60,
            // a day, in which every index has been read or its process has ended
            removed_vectors_secs: 24 * 3600,
            history_retention_days: 90,
            max_history_per_user: 1000,
            // of two, each could read what the other is looking for
            popular_min_searchers: 3,
            warm_searches: 20,
            warm_after_secs: 10,
        }
    }
}

impl Options {
    /// Every fault of these settings, one sentence each.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.default_limit == 0 || self.default_limit > self.max_limit {
            faults.push(format!(
                "search.default_limit is {}; it must be 1 to search.max_limit ({})",
                self.default_limit, self.max_limit
            ));
        }
        if self.max_limit > 1000 {
            faults.push(format!(
                "search.max_limit is {}; limit is 1000",
                self.max_limit
            ));
        }
        if self.max_depth > 100_000 {
            faults.push(format!(
                "search.max_depth is {}; limit is 100000",
                self.max_depth
            ));
        }
        if !(100..=100_000).contains(&self.full_text_block) {
            faults.push(format!(
                "search.full_text_block is {}; it must be 100 to 100000",
                self.full_text_block
            ));
        }
        if self.list_depth == 0 || self.rrf_k == 0 || self.snapshot_interval_secs == 0 {
            faults.push(
                "search.list_depth, search.rrf_k and search.snapshot_interval_secs must be at least 1"
                    .to_owned(),
            );
        }
        if !(1..=16).contains(&self.popular_min_searchers) {
            faults.push(format!(
                "search.popular_min_searchers is {}; it must be 1 to 16",
                self.popular_min_searchers
            ));
        }
        if self.warm_searches > 100 {
            faults.push(format!(
                "search.warm_searches is {}; limit is 100",
                self.warm_searches
            ));
        }
        if self.warm_after_secs == 0 {
            faults.push("search.warm_after_secs is 0; it must be at least 1".to_owned());
        }
        faults
    }

    /// Longest a cached answer lives.
    #[must_use]
    pub fn cache_ttl(&self) -> Duration {
        Duration::from_secs(self.cache_ttl_secs)
    }

    /// How long the row of a removed vector is kept.
    #[must_use]
    pub fn removed_vectors(&self) -> Duration {
        Duration::from_secs(self.removed_vectors_secs)
    }

    /// Snapshot interval.
    #[must_use]
    pub fn snapshot_interval(&self) -> Duration {
        Duration::from_secs(self.snapshot_interval_secs)
    }
}
