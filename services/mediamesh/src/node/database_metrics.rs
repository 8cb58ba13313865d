//! `mediamesh_database_operation_duration_seconds` by operation (S0-40), a line in the log for slow
//! ones, and `mediamesh_database_slow_statements_total`.

use std::{sync::Arc, time::Duration};

use mediamesh_store::slow::SlowStatement;
use mediamesh_telemetry::{Metrics, metrics::seconds_family};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

use crate::stores::Observers;

/// An operation over this is named in the log (S0-40); its slow statements are, by the store.
const SLOW: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
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
    }
}
