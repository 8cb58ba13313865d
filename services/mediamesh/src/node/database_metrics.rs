//! `mediamesh_database_operation_duration_seconds` by operation (S0-40), and a line in the log for
//! slow ones.

use std::{sync::Arc, time::Duration};

use mediamesh_store::database::Observer;
use mediamesh_telemetry::{Metrics, metrics::seconds_family};
use prometheus_client::encoding::EncodeLabelSet;

/// An operation over this is named in the log (S0-40).
const SLOW: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
}

pub(super) fn observer(metrics: &Metrics) -> Observer {
    let family = metrics.register(
        "database_operation_duration_seconds",
        "Time of store operations, waiting for a connection included",
        seconds_family::<OperationLabels>(),
    );
    Arc::new(move |operation, duration| {
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
    })
}
