//! Gauges of the tokio runtime that scrapes; only what tokio calls stable.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// Collector of the runtime gauges; silent outside a runtime.
#[derive(Debug)]
pub(crate) struct RuntimeCollector;

impl Collector for RuntimeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Ok(handle) = tokio::runtime::Handle::try_current() else {
            return Ok(());
        };
        let runtime = handle.metrics();
        let gauges = [
            ("tokio_workers", "Worker threads", runtime.num_workers()),
            (
                "tokio_alive_tasks",
                "Tasks not yet finished",
                runtime.num_alive_tasks(),
            ),
            (
                "tokio_global_queue_depth",
                "Tasks waiting in the global queue",
                runtime.global_queue_depth(),
            ),
        ];
        for (name, help, value) in gauges {
            let metric = ConstGauge::new(value as i64);
            metric.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}
