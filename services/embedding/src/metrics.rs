//! Every metric of the embedding service.

use mediamesh_telemetry::{
    Metrics,
    metrics::{SecondsFamily, seconds_family},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
};

/// Who runs what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RunLabels {
    /// `interactive` or `background`.
    pub(crate) lane: &'static str,
    /// Model id; there are as many as models are loaded.
    pub(crate) model: String,
}

/// Outcome of a look-up in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LookupLabels {
    /// `hit`, `miss` or `error`.
    pub(crate) outcome: &'static str,
}

/// The metrics; clones share them.
#[derive(Clone)]
pub(crate) struct EmbeddingMetrics {
    /// `mediamesh_embedding_queue_wait_seconds`.
    pub(crate) queue_wait: SecondsFamily<RunLabels>,
    /// `mediamesh_embedding_run_seconds`.
    pub(crate) run: SecondsFamily<RunLabels>,
    /// `mediamesh_embedding_batch_size`.
    pub(crate) batch_size: Histogram,
    /// `mediamesh_embedding_cache_lookups_total`.
    pub(crate) cache_lookups: Family<LookupLabels, Counter>,
    /// `mediamesh_embedding_coalesced_total`.
    pub(crate) coalesced: Counter,
    /// `mediamesh_embedding_abandoned_total`.
    pub(crate) abandoned: Counter,
}

impl EmbeddingMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            queue_wait: metrics.register(
                "embedding_queue_wait_seconds",
                "Time inputs waited for a thread",
                seconds_family(),
            ),
            run: metrics.register(
                "embedding_run_seconds",
                "Time of one run of a model",
                seconds_family(),
            ),
            batch_size: metrics.register(
                "embedding_batch_size",
                "Inputs per run of a model",
                Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0]),
            ),
            cache_lookups: metrics.register(
                "embedding_cache_lookups",
                "Vectors looked up in the cache by outcome",
                Family::default(),
            ),
            coalesced: metrics.register(
                "embedding_coalesced",
                "Inputs answered by work that was in flight already",
                Counter::default(),
            ),
            abandoned: metrics.register(
                "embedding_abandoned",
                "Inputs not run because nobody waited for them any more",
                Counter::default(),
            ),
        }
    }
}
