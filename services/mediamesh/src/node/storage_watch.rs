//! Looks whether the bucket answers and tells operators: the metric `mediamesh_storage_available` and the
//! component `storage` of health. Local files are always there.

use std::{error::Error as _, time::Duration};

use mediamesh_blob::{BlobStore, Error, key::STAGING};
use mediamesh_telemetry::{HealthRegistry, Metrics};
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Between two looks; each is one HEAD, 1.3 million a month.
const EVERY: Duration = Duration::from_secs(2);
/// Longest wait for an answer: a bucket needs some 50 ms.
const PATIENCE: Duration = Duration::from_secs(1);

/// Looks until the process ends.
pub(super) fn watch(blobs: BlobStore, metrics: &Metrics, health: HealthRegistry) {
    let available: Gauge = metrics.register(
        "storage_available",
        "1 while the bucket answers",
        Gauge::default(),
    );
    tokio::spawn(async move {
        let mut told = true;
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let fault = look(&blobs).await;
            available.set(i64::from(fault.is_none()));
            match (&fault, told) {
                (None, false) => tracing::info!("the bucket answers again"),
                (Some(fault), true) => tracing::warn!(fault, "the bucket does not answer"),
                (None, true) | (Some(_), false) => {}
            }
            told = fault.is_none();
            match fault {
                None => health.serving("storage"),
                Some(fault) => health.degraded("storage", format!("no bytes: {fault}")),
            }
        }
    });
}

/// Asks for an object that is not there; `None` if that is what comes back. Whoever may not list a bucket is
/// told 403 instead, which is an answer as well.
async fn look(blobs: &BlobStore) -> Option<String> {
    let key = format!("{STAGING}/is-anybody-there");
    match timeout(PATIENCE, blobs.head(&key)).await {
        Ok(Ok(_) | Err(Error::NotFound { .. } | Error::Denied(_))) => None,
        Ok(Err(error)) => {
            let cause = error.source().map(|cause| format!(": {cause}"));
            Some(format!("{error}{}", cause.unwrap_or_default()))
        }
        Err(_) => Some(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}
