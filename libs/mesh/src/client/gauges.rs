//! Gauges that are read from the pools at each scrape.

use std::collections::BTreeMap;
use std::sync::Weak;

use arc_swap::ArcSwapOption;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::pool::Pool;
use crate::ServiceName;
use crate::registry::Target;

/// Reads every registered pool; it holds none, so that closing the registry ends them.
#[derive(Debug)]
pub(crate) struct Gauges {
    pub(crate) slots: Weak<[std::sync::Arc<ArcSwapOption<Target>>; ServiceName::ALL.len()]>,
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(slots) = self.slots.upgrade() else {
            return Ok(());
        };
        let targets: Vec<_> = slots.iter().filter_map(|slot| slot.load_full()).collect();
        let pools: Vec<&Pool> = targets
            .iter()
            .filter_map(|target| match &**target {
                Target::Remote(remote) => Some(&*remote.pool),
                Target::Local(_) => None,
            })
            .collect();
        if pools.is_empty() {
            return Ok(());
        }
        let mut endpoints = encoder.encode_descriptor(
            "mesh_endpoints",
            "Endpoints by connectivity and state of their circuit breaker",
            None,
            MetricType::Gauge,
        )?;
        for pool in &pools {
            let mut counts = BTreeMap::new();
            for endpoint in pool.endpoints().iter() {
                let states = (
                    endpoint.connectivity().as_str(),
                    endpoint.breaker.state().as_str(),
                );
                *counts.entry(states).or_insert(0_i64) += 1;
            }
            for ((connectivity, breaker), count) in counts {
                let labels = [
                    ("service", pool.shared.service),
                    ("connectivity", connectivity),
                    ("breaker", breaker),
                ];
                ConstGauge::new(count).encode(endpoints.encode_family(&labels)?)?;
            }
        }
        let mut in_flight = encoder.encode_descriptor(
            "mesh_endpoint_calls_in_flight",
            "Calls of this process that endpoints have not answered yet",
            None,
            MetricType::Gauge,
        )?;
        for pool in &pools {
            let calls: i64 = pool
                .endpoints()
                .iter()
                .map(|endpoint| i64::from(endpoint.load.in_flight()))
                .sum();
            let labels = [("service", pool.shared.service)];
            ConstGauge::new(calls).encode(in_flight.encode_family(&labels)?)?;
        }
        let mut tokens = encoder.encode_descriptor(
            "mesh_retry_tokens",
            "Tokens left in the retry budget; retries need more than half of them",
            None,
            MetricType::Gauge,
        )?;
        for pool in &pools {
            let labels = [("service", pool.shared.service)];
            ConstGauge::new(pool.throttle.tokens().0).encode(tokens.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
