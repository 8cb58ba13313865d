//! Metrics of the search service.

use mediamesh_telemetry::{
    Metrics,
    metrics::{SecondsFamily, seconds_family},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
};

/// How a search was answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SearchLabels {
    /// `text`, `example`, `image`, `hybrid` or `filter`.
    pub(crate) kind: &'static str,
    /// `hit` or `miss`.
    pub(crate) cache: &'static str,
}

/// Stage of a search.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StageLabels {
    /// `embed`, `full_text`, `vector` or `hydrate`.
    pub(crate) stage: &'static str,
}

/// Metrics of the search service.
#[derive(Clone)]
pub(crate) struct SearchMetrics {
    /// `mediamesh_search_duration_seconds` (S0-42).
    pub(crate) duration: SecondsFamily<SearchLabels>,
    /// `mediamesh_search_stage_duration_seconds`.
    pub(crate) stages: SecondsFamily<StageLabels>,
    /// `mediamesh_search_results` (S0-42).
    pub(crate) results: Histogram,
    /// `mediamesh_search_degraded_total`.
    pub(crate) degraded: Counter,
    /// `mediamesh_search_plans_total` by plan of the vector index.
    pub(crate) plans: Family<PlanLabels, Counter>,
    /// `mediamesh_search_history_lost_total`: searches missing from histories.
    pub(crate) history_lost: Counter,
    /// `mediamesh_search_warmed_total` by outcome.
    pub(crate) warmed: Family<WarmLabels, Counter>,
}

/// What became of a popular search that was to be warmed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct WarmLabels {
    /// `warmed`, `cached` or `failed`.
    pub(crate) outcome: &'static str,
}

/// How a vector list was searched.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PlanLabels {
    /// `exact_scan`, `graph` or `graph_filtered`.
    pub(crate) plan: &'static str,
}

impl SearchMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let results = || Histogram::new([0.0, 1.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 1000.0]);
        Self {
            duration: metrics.register(
                "search_duration_seconds",
                "Time of whole searches",
                seconds_family(),
            ),
            stages: metrics.register(
                "search_stage_duration_seconds",
                "Time of the stages of searches",
                seconds_family(),
            ),
            results: metrics.register("search_results", "Hits per search", results()),
            degraded: metrics.register(
                "search_degraded",
                "Searches answered without a part that was down",
                Counter::default(),
            ),
            plans: metrics.register(
                "search_vector_plans",
                "Vector lists by the plan that searched them",
                Family::default(),
            ),
            history_lost: metrics.register(
                "search_history_lost",
                "Searches that are missing from the history of their users",
                Counter::default(),
            ),
            warmed: metrics.register(
                "search_warmed",
                "Popular searches answered before they were asked",
                Family::default(),
            ),
        }
    }
}
