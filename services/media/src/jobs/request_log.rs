//! The log of requests: room for those to come, and an end of the old ones.

use std::{sync::Arc, time::Duration};

use mediamesh_proto::time::now_micros;
use mediamesh_store::RequestLogStore;
use tokio::time::{interval, sleep};

use crate::options::RequestLogOptions;

/// Microseconds of a day.
const DAY: i64 = 24 * 3600 * 1_000_000;
/// How often what is too old is removed.
const EVERY: Duration = Duration::from_secs(3600);
/// Rows removed at once: others write in between.
const AT_ONCE: i64 = 5000;
/// Pause between two of them.
const PAUSE: Duration = Duration::from_millis(100);

/// Turns the log over, for ever.
pub(super) async fn run(store: Arc<dyn RequestLogStore>, options: RequestLogOptions) {
    let mut ticks = interval(EVERY);
    loop {
        ticks.tick().await;
        let kept = i64::from(options.retention_days).saturating_mul(DAY);
        if let Err(error) = turn(&*store, now_micros().saturating_sub(kept), options.archive).await
        {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "turning the log of requests over failed");
        }
    }
}

async fn turn(
    store: &dyn RequestLogStore,
    before: i64,
    archive: bool,
) -> mediamesh_store::Result<()> {
    for partition in store.turn_request_log(before, archive).await? {
        tracing::info!(partition, archive, "partition of the request log taken out");
    }
    // what is detached as a whole is whole: it waits for the end of its month
    while !(archive && store.is_partitioned()) && store.sweep_requests(before, AT_ONCE).await? > 0 {
        sleep(PAUSE).await;
    }
    Ok(())
}
