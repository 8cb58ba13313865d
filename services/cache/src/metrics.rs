//! Every metric of the cache service.

use mediamesh_telemetry::Metrics;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

/// The metrics; clones share them.
#[derive(Clone)]
pub(crate) struct CacheMetrics {
    /// `mediamesh_cache_hits_total`.
    pub(crate) hits: Counter,
    /// `mediamesh_cache_misses_total`.
    pub(crate) misses: Counter,
    /// `mediamesh_cache_evictions_total`: removed to make room.
    pub(crate) evictions: Counter,
    /// `mediamesh_cache_coalesced_total`: waited for another's lease.
    pub(crate) coalesced: Counter,
    /// `mediamesh_cache_leases_total`: granted.
    pub(crate) leases: Counter,
    /// `mediamesh_cache_leases_lost_total`: writes refused.
    pub(crate) leases_lost: Counter,
    /// `mediamesh_cache_size_bytes`.
    pub(crate) size_bytes: Gauge,
    /// `mediamesh_cache_entries`.
    pub(crate) entries: Gauge,
}

impl CacheMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let counter = |name, help| metrics.register(name, help, Counter::default());
        let gauge = |name, help| metrics.register(name, help, Gauge::default());
        Self {
            hits: counter("cache_hits", "Look-ups that found an entry"),
            misses: counter("cache_misses", "Look-ups that found none"),
            evictions: counter("cache_evictions", "Entries removed to make room"),
            coalesced: counter(
                "cache_coalesced",
                "Look-ups that waited for another's lease",
            ),
            leases: counter("cache_leases", "Leases granted"),
            leases_lost: counter(
                "cache_leases_lost",
                "Writes refused because their lease was lost",
            ),
            size_bytes: gauge("cache_size_bytes", "Memory taken by keys, values and tags"),
            entries: gauge("cache_entries", "Entries held"),
        }
    }
}
