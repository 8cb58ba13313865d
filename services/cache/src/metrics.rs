//! Every metric of the cache service.

use mediamesh_near::MemoryMetrics;
use mediamesh_telemetry::Metrics;
use prometheus_client::metrics::counter::Counter;

/// The metrics; clones share them.
#[derive(Clone)]
pub(crate) struct CacheMetrics {
    /// `mediamesh_cache_hits_total`.
    pub(crate) hits: Counter,
    /// `mediamesh_cache_misses_total`.
    pub(crate) misses: Counter,
    /// `mediamesh_cache_coalesced_total`: waited for another's lease.
    pub(crate) coalesced: Counter,
    /// `mediamesh_cache_leases_total`: granted.
    pub(crate) leases: Counter,
    /// `mediamesh_cache_leases_lost_total`: writes refused.
    pub(crate) leases_lost: Counter,
    /// `mediamesh_cache_refreshes_total`: callers asked to compute an entry anew.
    pub(crate) refreshes: Counter,
    /// `mediamesh_cache_search_counts_lost_total`: searches that Redis was not there to count.
    pub(crate) search_counts_lost: Counter,
    /// Of the entries in memory.
    pub(crate) memory: MemoryMetrics,
}

impl CacheMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let counter = |name, help| metrics.register(name, help, Counter::default());
        Self {
            hits: counter("cache_hits", "Look-ups that found an entry"),
            misses: counter("cache_misses", "Look-ups that found none"),
            coalesced: counter(
                "cache_coalesced",
                "Look-ups that waited for another's lease",
            ),
            leases: counter("cache_leases", "Leases granted"),
            leases_lost: counter(
                "cache_leases_lost",
                "Writes refused because their lease was lost",
            ),
            refreshes: counter(
                "cache_refreshes",
                "Callers asked to compute an entry anew beside the answer",
            ),
            search_counts_lost: counter(
                "cache_search_counts_lost",
                "Searches not counted because Redis did not answer",
            ),
            memory: MemoryMetrics::new(metrics, "cache"),
        }
    }
}
