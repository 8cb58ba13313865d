//! The metrics registry handle.
//!
//! - [`buckets`]: house histogram buckets
//! - [`traced`]: latency histograms whose buckets lead to traces
//! - `process`: memory, CPU, threads, descriptors, uptime
//! - `runtime`: tokio gauges

pub mod buckets;
mod process;
mod runtime;
pub mod traced;

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

pub use buckets::{
    BytesFamily, SecondsFamily, bytes_family, bytes_histogram, seconds_family, seconds_histogram,
};
pub use traced::{Exemplar, TracedFamily, TracedHistogram, traced_family};

/// Prefix of every metric this project defines.
pub const PREFIX: &str = "mediamesh";
/// Content type of [`Metrics::encode`].
/// Source: OpenMetrics 1.0.0, section 4.1.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Handle of one metrics registry; clones share it. There is no global one.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    registry: Registry,
    /// Metrics by name, so that two users of one name share one metric.
    known: HashMap<String, Box<dyn Any + Send>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Returns a registry that already has process, runtime and build metrics.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::ProcessCollector::new()));
        registry.register_collector(Box::new(runtime::RuntimeCollector));
        registry.sub_registry_with_prefix(PREFIX).register(
            "build",
            "Version of the running program",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        Self {
            inner: Arc::new(Mutex::new(Inner {
                registry,
                known: HashMap::new(),
            })),
        }
    }

    /// Registers `metric` as `mediamesh_<name>` and returns it.
    ///
    /// A second registration of the same name and type returns the first metric, so that several
    /// services in one process share their common metrics. The same name with another type is a
    /// bug: the given metric is returned but not exported.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        let mut inner = self.inner.lock();
        if let Some(known) = inner.known.get(name) {
            return known.downcast_ref::<M>().cloned().unwrap_or_else(|| {
                debug_assert!(false, "metric {name} is registered twice with two types");
                tracing::error!(name, "metric is registered twice with two types");
                metric
            });
        }
        inner
            .registry
            .sub_registry_with_prefix(PREFIX)
            .register(name, help, metric.clone());
        inner
            .known
            .insert(name.to_owned(), Box::new(metric.clone()));
        metric
    }

    /// Adds metrics that are worked out at each scrape; names come without the `mediamesh_` prefix.
    pub fn register_collector(&self, collector: Box<dyn Collector>) {
        self.inner
            .lock()
            .registry
            .sub_registry_with_prefix(PREFIX)
            .register_collector(collector);
    }

    /// Returns all metrics as OpenMetrics text; serve it with [`CONTENT_TYPE`].
    ///
    /// Blocking: reads a few files under `/proc`, well under a millisecond.
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        text::encode(&mut text, &self.inner.lock().registry)
            .expect("writing to a string does not fail");
        text
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn two_users_of_one_name_count_together() {
        let metrics = Metrics::new();
        let first = metrics.register::<Counter>("jobs", "Jobs", Counter::default());
        let second = metrics.register::<Counter>("jobs", "Jobs", Counter::default());
        first.inc();
        second.inc();
        let text = metrics.encode();
        assert!(text.contains("\nmediamesh_jobs_total 2\n"), "{text}");
        assert_eq!(text.matches("# TYPE mediamesh_jobs ").count(), 1);
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_process_and_the_build_are_described() {
        let text = Metrics::new().encode();
        assert!(text.contains("mediamesh_build_info{version="), "{text}");
        assert!(text.contains("process_uptime_seconds "), "{text}");
        if cfg!(target_os = "linux") {
            let memory = text
                .lines()
                .find_map(|line| line.strip_prefix("process_resident_memory_bytes "))
                .and_then(|value| value.parse::<f64>().ok());
            assert!(memory.is_some_and(|bytes| bytes > 1e6), "{text}");
            assert!(
                text.contains("process_open_fds ") && text.contains("process_threads "),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn the_runtime_is_described_inside_one() {
        assert!(Metrics::new().encode().contains("tokio_workers 1\n"));
    }

    #[test]
    fn histogram_buckets_span_the_promised_range() {
        let seconds: Vec<f64> = buckets::SECONDS.to_vec();
        assert_eq!(
            (seconds.first(), seconds.last()),
            (Some(&100e-6), Some(&60.0))
        );
        assert!(seconds.is_sorted() && buckets::BYTES.is_sorted());
    }
}
