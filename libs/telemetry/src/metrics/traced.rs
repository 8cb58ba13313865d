//! Latency histograms that keep, per bucket, the trace of the last call that fell into it: an
//! OpenMetrics exemplar, which leads from a slow bucket to a trace that shows why.

use std::fmt;
use std::hash::Hash;
use std::time::SystemTime;

use opentelemetry::trace::{TraceContextExt as _, TraceId};
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, LabelSetEncoder, MetricEncoder};
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::{MetricType, TypedMetric};

use super::buckets;

/// A family of latency histograms with exemplars, seconds.
pub type TracedFamily<L> = Family<L, TracedHistogram, fn() -> TracedHistogram>;

/// The trace a measurement belongs to; written as `trace_id` when scraped, not before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exemplar(TraceId);

impl Exemplar {
    /// Returns the current trace if it is recorded: one that nobody receives leads nowhere.
    pub fn current() -> Option<Self> {
        let context = opentelemetry::Context::current();
        let span = context.span();
        let span = span.span_context();
        (span.is_valid() && span.is_sampled()).then(|| Self(span.trace_id()))
    }
}

impl EncodeLabelSet for Exemplar {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        [("trace_id", self.0.to_string())].encode(encoder)
    }
}

/// A histogram over [`buckets::SECONDS`] with one exemplar per bucket. Clones share it.
#[derive(Debug, Clone)]
pub struct TracedHistogram(HistogramWithExemplars<Exemplar>);

impl TracedHistogram {
    /// Returns an empty one.
    pub fn new() -> Self {
        Self(HistogramWithExemplars::new(buckets::SECONDS.into_iter()))
    }

    /// Counts a measurement, and keeps its exemplar if it has one.
    pub fn observe(&self, seconds: f64, exemplar: Option<Exemplar>) {
        // the exemplar's own moment, as its bucket may not be hit again for days
        let now = exemplar.is_some().then(SystemTime::now);
        self.0.observe(seconds, exemplar, now);
    }
}

impl Default for TracedHistogram {
    fn default() -> Self {
        Self::new()
    }
}

impl TypedMetric for TracedHistogram {
    const TYPE: MetricType = Histogram::TYPE;
}

impl EncodeMetric for TracedHistogram {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// Returns a family of [`TracedHistogram`]s.
pub fn traced_family<L: Clone + Hash + Eq>() -> TracedFamily<L> {
    Family::new_with_constructor(TracedHistogram::new)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::Metrics;

    fn in_trace<T>(sampler: Sampler, run: impl FnOnce() -> T) -> T {
        let provider = SdkTracerProvider::builder().with_sampler(sampler).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || tracing::info_span!("call").in_scope(run))
    }

    #[test]
    fn a_bucket_names_the_last_recorded_trace_that_fell_into_it() {
        let metrics = Metrics::new();
        let family: TracedFamily<Vec<(String, String)>> =
            metrics.register("call_seconds", "Calls", traced_family());
        let histogram = family.get_or_create_owned(&Vec::new());
        let (first, last) = (0..2)
            .map(|_| in_trace(Sampler::AlwaysOn, || Exemplar::current().unwrap()))
            .collect::<Vec<_>>()
            .into_iter()
            .fold((None, None), |(_, last), id| (last, Some(id)));
        histogram.observe(0.004, first);
        histogram.observe(0.004, last);
        histogram.observe(0.004, None);
        histogram.observe(2.0, None);
        let text = metrics.encode();
        let bucket = |le: &str| {
            let wanted = format!("call_seconds_bucket{{le=\"{le}\"}}");
            let line = text.lines().find(|line| line.contains(&wanted));
            line.unwrap_or_else(|| panic!("no {wanted} in\n{text}"))
        };
        let id = last.unwrap().0.to_string();
        let expected = format!(" # {{trace_id=\"{id}\"}} 0.004 ");
        assert!(bucket("0.005").contains(&expected), "{}", bucket("0.005"));
        assert!(!bucket("2.5").contains('#'), "{}", bucket("2.5"));
    }

    #[test]
    fn a_trace_that_nobody_records_is_no_exemplar() {
        assert_eq!(Exemplar::current(), None);
        assert_eq!(in_trace(Sampler::AlwaysOff, Exemplar::current), None);
    }
}
