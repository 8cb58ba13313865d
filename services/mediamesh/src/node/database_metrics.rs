//! What the database does and how its pools of connections are (S0-40, S2-27), as metrics:
//! `mediamesh_database_operation_duration_seconds`, `_statements_total` and `_slow_statements_total` by
//! operation, `mediamesh_database_pool_*` by pool, `mediamesh_database_replica_*`; and a line in the log for slow operations.

use std::{sync::Arc, time::Duration};

use mediamesh_store::{
    pool::{PoolWait, Pools},
    postgres::Replica,
    slow::SlowStatement,
};
use mediamesh_telemetry::{Metrics, metrics::seconds_family};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::ConstGauge,
    },
};

use crate::stores::Observers;

/// An operation over this is named in the log (S0-40); its slow statements are, by the store.
const SLOW: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabels {
    pool: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionLabels {
    pool: &'static str,
    state: &'static str,
}

pub(super) fn observers(metrics: &Metrics) -> Observers {
    let family = metrics.register(
        "database_operation_duration_seconds",
        "Time of store operations, waiting for a connection included",
        seconds_family::<OperationLabels>(),
    );
    let slow = metrics.register(
        "database_slow_statements",
        "Statements that took longer than database.slow_statement_millis",
        Family::<OperationLabels, Counter>::default(),
    );
    let statements = metrics.register(
        "database_statements",
        "SQL statements by store operation; many per operation are one for each row",
        Family::<OperationLabels, Counter>::default(),
    );
    Observers {
        operations: Arc::new(move |operation, duration| {
            family
                .get_or_create(&OperationLabels { operation })
                .observe(duration.as_secs_f64());
            if duration > SLOW {
                tracing::warn!(
                    operation,
                    duration_ms = duration.as_millis(),
                    threshold_ms = SLOW.as_millis(),
                    "slow database operation"
                );
            }
        }),
        slow_statements: Arc::new(move |told: &SlowStatement| {
            // told of again with its plan
            if told.plan.is_none() {
                let operation = told.operation;
                slow.get_or_create(&OperationLabels { operation }).inc();
            }
        }),
        statements: Arc::new(move |operation, count| {
            let labels = OperationLabels { operation };
            statements.get_or_create(&labels).inc_by(count);
        }),
        waits: waits(metrics),
    }
}

fn waits(metrics: &Metrics) -> mediamesh_store::pool::WaitObserver {
    let waits = metrics.register(
        "database_pool_wait_seconds",
        "Wait of a store operation for a connection",
        seconds_family::<PoolLabels>(),
    );
    let timeouts = metrics.register(
        "database_pool_timeouts",
        "Store operations that got no connection",
        Family::<PoolLabels, Counter>::default(),
    );
    Arc::new(move |wait: PoolWait| {
        let labels = PoolLabels { pool: wait.pool };
        waits
            .get_or_create(&labels)
            .observe(wait.duration.as_secs_f64());
        if !wait.served {
            timeouts.get_or_create(&labels).inc();
        }
    })
}

/// Shows the pools at each scrape.
pub(super) fn watch_pools(metrics: &Metrics, pools: Pools) {
    metrics.register_collector(Box::new(PoolCollector(pools)));
}

/// Shows at each scrape how the replica is.
pub(super) fn watch_replica(metrics: &Metrics, replica: Replica) {
    metrics.register_collector(Box::new(ReplicaCollector(replica)));
}

#[derive(Debug)]
struct ReplicaCollector(Replica);

impl Collector for ReplicaCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let status = self.0.status();
        let in_use = encoder.encode_descriptor(
            "database_replica_in_use",
            "Whether searches read from the replica (1) or from the primary (0)",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(i64::from(status.in_use)).encode(in_use)?;
        if let Some(lag) = status.lag {
            let seconds = encoder.encode_descriptor(
                "database_replica_lag_seconds",
                "How far the replica is behind; absent while it is not known",
                None,
                MetricType::Gauge,
            )?;
            ConstGauge::new(lag.as_secs_f64()).encode(seconds)?;
        }
        let mut reads = encoder.encode_descriptor(
            "database_replica_reads",
            "Reads that a replica may answer, by who did",
            None,
            MetricType::Counter,
        )?;
        for (pool, count) in [
            ("replica", status.replica_reads),
            ("primary", status.primary_reads),
        ] {
            let labels = PoolLabels { pool };
            ConstCounter::new(count).encode(reads.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct PoolCollector(Pools);

impl Collector for PoolCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let pools = self.0.status();
        let gauge = |count: usize| ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
        let mut connections = encoder.encode_descriptor(
            "database_pool_connections",
            "Open connections to the database",
            None,
            MetricType::Gauge,
        )?;
        for status in &pools {
            for (state, count) in [("in_use", status.in_use()), ("idle", status.idle)] {
                let labels = ConnectionLabels {
                    pool: status.pool,
                    state,
                };
                gauge(count).encode(connections.encode_family(&labels)?)?;
            }
        }
        let mut max = encoder.encode_descriptor(
            "database_pool_max_connections",
            "Most connections to the database that may be open",
            None,
            MetricType::Gauge,
        )?;
        for status in &pools {
            let labels = PoolLabels { pool: status.pool };
            gauge(status.max).encode(max.encode_family(&labels)?)?;
        }
        let mut waiting = encoder.encode_descriptor(
            "database_pool_waiting",
            "Store operations that wait for a connection",
            None,
            MetricType::Gauge,
        )?;
        for status in &pools {
            let labels = PoolLabels { pool: status.pool };
            gauge(status.waiting).encode(waiting.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
