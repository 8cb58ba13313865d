//! Every metric of the second tier.

use mediamesh_telemetry::{
    Metrics,
    metrics::{SecondsFamily, seconds_family},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};

/// What was asked of Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OperationLabels {
    /// `get`, `set`, `remove`, `lease`, `searches`, `feed`, `session` or `probe`.
    pub(crate) operation: &'static str,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ErrorLabels {
    /// As of [`OperationLabels`].
    pub(crate) operation: &'static str,
    /// `timeout`, `connection` or `refused`.
    pub(crate) kind: &'static str,
}

/// The metrics; clones share them.
#[derive(Clone)]
pub(crate) struct RedisMetrics {
    /// `mediamesh_cache_redis_connected`: 1 while it answers and is used.
    pub(crate) connected: Gauge,
    /// `mediamesh_cache_redis_hits_total`.
    pub(crate) hits: Counter,
    /// `mediamesh_cache_redis_misses_total`.
    pub(crate) misses: Counter,
    /// `mediamesh_cache_redis_operation_seconds`.
    pub(crate) seconds: SecondsFamily<OperationLabels>,
    /// `mediamesh_cache_redis_errors_total`.
    pub(crate) errors: Family<ErrorLabels, Counter>,
    /// `mediamesh_cache_redis_pending_removals`.
    pub(crate) pending_removals: Gauge,
    /// `mediamesh_cache_feed_changes_total`: heard from other processes.
    pub(crate) heard: Counter,
    /// `mediamesh_cache_feed_resets_total`: memory dropped because changes were missed.
    pub(crate) resets: Counter,
}

impl RedisMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let counter = |name, help| metrics.register(name, help, Counter::default());
        let gauge = |name, help| metrics.register(name, help, Gauge::default());
        Self {
            connected: gauge(
                "cache_redis_connected",
                "1 while Redis answers and what it holds is used",
            ),
            hits: counter("cache_redis_hits", "Look-ups in Redis that found an entry"),
            misses: counter("cache_redis_misses", "Look-ups in Redis that found none"),
            seconds: metrics.register(
                "cache_redis_operation_seconds",
                "Time of what was asked of Redis",
                seconds_family(),
            ),
            errors: metrics.register(
                "cache_redis_errors",
                "What was asked of Redis in vain",
                Family::default(),
            ),
            pending_removals: gauge(
                "cache_redis_pending_removals",
                "Removals that Redis has not been told of yet",
            ),
            heard: counter("cache_feed_changes", "Changes heard from other processes"),
            resets: counter(
                "cache_feed_resets",
                "Times that memory was dropped because changes were missed",
            ),
        }
    }

    /// Those of a Redis that holds sessions alone: `mediamesh_sessions_redis_connected`,
    /// `mediamesh_sessions_redis_operation_seconds` and `mediamesh_sessions_redis_errors_total`; the others
    /// stay at 0 and are not shown.
    pub(crate) fn of_sessions(metrics: &Metrics) -> Self {
        Self {
            connected: metrics.register(
                "sessions_redis_connected",
                "1 while the Redis of sessions answers",
                Gauge::default(),
            ),
            seconds: metrics.register(
                "sessions_redis_operation_seconds",
                "Time of what was asked of the Redis of sessions",
                seconds_family(),
            ),
            errors: metrics.register(
                "sessions_redis_errors",
                "What was asked of the Redis of sessions in vain",
                Family::default(),
            ),
            hits: Counter::default(),
            misses: Counter::default(),
            pending_removals: Gauge::default(),
            heard: Counter::default(),
            resets: Counter::default(),
        }
    }
}
